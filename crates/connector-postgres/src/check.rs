//! The test of an endpoint: really connects, step by step, and says what mends a step that fails.

use std::time::Duration;

use tokio_postgres::{Client, Row};
use wavemark_connector::EndpointSettings;
use wavemark_domain::Problem;
use wavemark_domain::check::{Step, Weight};

use crate::assess::{LEAST_SOURCE_VERSION, LEAST_STANDBY_VERSION};
use crate::managed;
use crate::pooler;
use crate::settings::{ConfirmAfter, Settings};
use crate::source::{replication, wire_settings};
use crate::tls::TlsMode;
use crate::wire::{Connection, SlotLife, SlotSnapshot, WireError, quote_identifier};
use crate::{error, job_client};

/// The oldest version that can be written to.
const LEAST_TARGET_VERSION: i32 = 130_000;

type Steps<'a> = &'a mut (dyn FnMut(Step) + Send);

/// Runs the test. The first failed step that others need ends it.
pub(crate) async fn test(endpoint: &EndpointSettings, as_source: bool, as_target: bool, steps: Steps<'_>) {
    let settings = match Settings::parse(endpoint) {
        Ok(settings) => settings,
        Err(problem) => return steps(Step::failed("settings", &problem)),
    };
    if !reach(&settings, steps).await {
        return;
    }
    let client = match job_client(&settings, "test").await {
        Ok(client) => client,
        Err(problem) => return steps(Step::failed("log in", &problem)),
    };
    if !version(&client, as_source, steps).await {
        return;
    }
    if as_source {
        source(&settings, &client, steps).await;
    }
    if as_target {
        target(&client, steps).await;
        durability(&settings, &client, steps).await;
    }
}

/// Resolve, connect, TLS, log in.
async fn reach(settings: &Settings, steps: Steps<'_>) -> bool {
    match tokio::net::lookup_host((settings.host.as_str(), settings.port)).await {
        Ok(addresses) => {
            let found: Vec<_> = addresses.map(|address| address.ip().to_string()).collect();
            steps(Step::passed("resolve", format!("{} is {}.", settings.host, found.join(", "))));
        }
        Err(cause) => {
            let problem = error::wire(
                &WireError::Resolve { host: settings.host.clone(), source: cause },
                &format!("resolve {}", settings.host),
            );
            steps(Step::failed("resolve", &problem));
            return false;
        }
    }
    match open(settings).await {
        Ok(encrypted) => {
            steps(Step::passed("connect", format!("{} answers.", settings.address())));
            let mode = settings.tls.mode;
            steps(Step::passed("TLS", tls_text(encrypted, mode).to_owned()));
            steps(Step::passed("log in", format!("Role {} is in database {}.", settings.user, settings.database)));
            true
        }
        Err((step, problem)) => {
            if step != "connect" {
                steps(Step::passed("connect", format!("{} answers.", settings.address())));
            }
            if step == "log in" {
                let encrypted = settings.tls.mode != TlsMode::Disable;
                steps(Step::passed("TLS", tls_text(encrypted, settings.tls.mode).to_owned()));
            }
            steps(Step::failed(step, &problem));
            false
        }
    }
}

fn tls_text(encrypted: bool, mode: TlsMode) -> &'static str {
    match (encrypted, mode) {
        (false, _) => "The connection is not encrypted (tls_mode is disable).",
        (true, TlsMode::VerifyFull) => "Encrypted; the certificate is from the CA and for this host.",
        (true, TlsMode::VerifyCa) => "Encrypted; the certificate is from the CA.",
        (true, _) => "Encrypted, but the server's certificate is not checked (tls_mode is require).",
    }
}

/// Logs in without the replication protocol, whose rights are a later step.
async fn open(settings: &Settings) -> Result<bool, (&'static str, Problem)> {
    let mut connect = wire_settings(settings, "job", "test").map_err(|problem| ("TLS", problem))?;
    connect.replication = false;
    let doing = format!("log in to {} as {}", settings.address(), settings.user);
    match Connection::connect(&connect).await {
        Ok(mut connection) => {
            let encrypted = connection.is_encrypted();
            let answers =
                connection.query(pooler::WHO).await.map_err(|cause| ("log in", error::wire(&cause, &doing)))?;
            let serves = answers.first().and_then(|rows| rows.rows.first()?.text(0));
            pooler::refuse(&connection, serves, &connect, &doing).await.map_err(|problem| ("log in", problem))?;
            // It has served; that it doesn't say goodbye is no finding.
            drop(connection.close().await);
            Ok(encrypted)
        }
        Err(error) => {
            let step = match &error {
                WireError::Resolve { .. } | WireError::Connect { .. } | WireError::Timeout { .. } => "connect",
                WireError::Tls { .. } | WireError::TlsNotOffered => "TLS",
                _ => "log in",
            };
            Err((step, error::wire(&error, &doing)))
        }
    }
}

async fn version(client: &Client, as_source: bool, steps: Steps<'_>) -> bool {
    let row =
        client.query_one("SELECT current_setting('server_version_num')::int4, current_setting('server_version')", &[]);
    let row = match row.await {
        Ok(row) => row,
        Err(cause) => {
            steps(Step::failed("version", &error::driver(&cause, "read the server's version")));
            return false;
        }
    };
    let (number, text): (i32, &str) = (row.get(0), row.get(1));
    let least = if as_source { LEAST_SOURCE_VERSION } else { LEAST_TARGET_VERSION };
    let least = least / 10_000;
    let bad = if as_source {
        format!(
            "The server has version {text}: its log can be followed from {least} on; full-load tasks work from 13 on."
        )
    } else {
        format!("The server has version {text}; at least {least} is needed.")
    };
    let ok = number >= least * 10_000;
    steps(Step::judged("version", ok, format!("PostgreSQL {text}."), (bad, "Upgrade the server.".to_owned())));
    ok
}

fn source_sql() -> String {
    format!("{SOURCE}, {} {SOURCE_ROLES}", managed::IS_RDS)
}

const SOURCE: &str = "\
    SELECT current_setting('wal_level'), r.rolsuper, \
           r.rolsuper OR r.rolreplication OR coalesce(pg_has_role(rds.oid, 'MEMBER'), false), \
           current_setting('max_replication_slots')::int8 - (SELECT count(*) FROM pg_replication_slots), \
           current_setting('max_wal_senders')::int8 - (SELECT count(*) FROM pg_stat_replication), \
           has_database_privilege(current_database(), 'CREATE'), current_database()::text, \
           (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
              AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')), \
           pg_is_in_recovery(), current_setting('server_version_num')::int4, \
           current_setting('hot_standby_feedback')::bool";

const SOURCE_ROLES: &str = "\
    FROM pg_roles r LEFT JOIN pg_roles rds ON rds.rolname = 'rds_replication' WHERE r.rolname = current_user";

async fn source(settings: &Settings, client: &Client, steps: Steps<'_>) {
    let row = match client.query_one(&source_sql(), &[]).await {
        Ok(row) => row,
        Err(cause) => return steps(Step::failed("rights", &error::driver(&cause, "read the source's settings"))),
    };
    let logical = row.get::<_, &str>(0) == "logical";
    for step in source_steps(settings, &row) {
        steps(step);
    }
    let may = row.get::<_, bool>(2);
    let free = row.get::<_, i64>(3) > 0 && row.get::<_, i64>(4) > 0;
    let decodes = !row.get::<_, bool>(8) || row.get::<_, i32>(9) >= LEAST_STANDBY_VERSION;
    if logical && may && free && decodes {
        steps(slot(settings).await);
    }
}

fn source_steps(settings: &Settings, row: &Row) -> Vec<Step> {
    let (level, slots, senders): (&str, i64, i64) = (row.get(0), row.get(3), row.get(4));
    let role = quote_identifier(&settings.user);
    let database = quote_identifier(row.get(6));
    let readable: i64 = row.get(7);
    let is_rds: bool = row.get(11);
    vec![
        Step::judged(
            "read tables",
            readable > 0,
            format!("{readable} tables can be read."),
            (
                format!("Role {} may read no table.", settings.user),
                format!(
                    "GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
                ),
            ),
        ),
        Step::judged(
            "log level",
            level == "logical",
            "wal_level is logical.".to_owned(),
            (format!("wal_level is {level}; following the log needs logical."), managed::set_logical(is_rds)),
        ),
        Step::judged(
            "replication right",
            row.get(2),
            format!("Role {} may replicate.", settings.user),
            (format!("Role {} may not replicate.", settings.user), managed::grant_replication(is_rds, &settings.user)),
        ),
        if row.get(8) {
            standby(row)
        } else {
            Step::judged(
                "publication right",
                row.get::<_, bool>(1) || row.get::<_, bool>(5),
                "Publications can be made.".to_owned(),
                (
                    format!("Role {} may not make a publication.", settings.user),
                    format!("GRANT CREATE ON DATABASE {database} TO {role};"),
                ),
            )
        },
        Step::judged(
            "slots left",
            slots > 0,
            format!("{slots} replication slots are left."),
            ("All replication slots are in use.".to_owned(), managed::set(is_rds, "max_replication_slots", "20", true)),
        ),
        Step::judged(
            "senders left",
            senders > 0,
            format!("{senders} WAL senders are left."),
            ("All WAL senders are in use.".to_owned(), managed::set(is_rds, "max_wal_senders", "20", true)),
        ),
    ]
}

/// What a standby needs to be read from.
fn standby(row: &Row) -> Step {
    let version: i32 = row.get(9);
    let bad = if version < LEAST_STANDBY_VERSION {
        (
            format!("The server is a standby of version {}: its log can be followed from 16 on.", version / 10_000),
            "Use its primary as the source.".to_owned(),
        )
    } else {
        (
            "The server is a standby without hot_standby_feedback: its primary removes what a slot here needs."
                .to_owned(),
            "ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); -- at the standby".to_owned(),
        )
    };
    let good = "The server is a standby: publications are made at its primary, by the statement that a task's first \
                start tells."
        .to_owned();
    Step::judged("standby", version >= LEAST_STANDBY_VERSION && row.get::<_, bool>(10), good, bad)
}

/// Really makes a slot, which goes with its connection. It waits for running transactions, so not for long.
async fn slot(settings: &Settings) -> Step {
    let name = format!("wavemark_test_{:08x}", rand::random::<u32>());
    let attempt = async {
        let doing = format!("make a replication slot at {}", settings.address());
        let mut connection = replication(settings, "job", "test").await?;
        let made = connection.create_slot(&name, SlotLife::Temporary, SlotSnapshot::Nothing).await;
        made.map_err(|cause| error::wire(&cause, &doing))
    };
    match tokio::time::timeout(Duration::from_secs(10), attempt).await {
        Ok(Ok(_)) => Step::passed("replication", "A slot for pgoutput was made and removed.".to_owned()),
        Ok(Err(problem)) => Step::failed("replication", &problem),
        Err(_) => Step::passed(
            "replication",
            "The slot was not made within 10 s: it waits for a transaction that has been open for long, or at a standby \
             for its primary's next record of running ones."
                .to_owned(),
        ),
    }
}

/// What the setting *confirm after* needs of the server.
async fn durability(settings: &Settings, client: &Client, steps: Steps<'_>) {
    if settings.confirm_after == ConfirmAfter::LocalFlush {
        return;
    }
    match crate::target::assess_durability(client, settings).await {
        Ok(found) if found.is_empty() => {
            steps(Step::passed(
                "confirm after",
                "The standbys are there, and how far they are can be seen.".to_owned(),
            ));
        }
        Ok(found) => found.into_iter().for_each(|finding| {
            let passed = finding.weight != Weight::Blocker;
            steps(Step { name: "confirm after".to_owned(), passed, text: finding.text, mend: finding.mend });
        }),
        Err(problem) => steps(Step::failed("confirm after", &problem)),
    }
}

const TARGET: &str = "\
    SELECT has_database_privilege(current_database(), 'CREATE'), current_database()::text, \
           pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'";

async fn target(client: &Client, steps: Steps<'_>) {
    let row = match client.query_one(TARGET, &[]).await {
        Ok(row) => row,
        Err(cause) => return steps(Step::failed("rights", &error::driver(&cause, "read the target's settings"))),
    };
    let role =
        client.query_one("SELECT current_user::text", &[]).await.map_or_else(|_| String::new(), |row| row.get(0));
    let (database, role) = (quote_identifier(row.get(1)), quote_identifier(&role));
    steps(Step::judged(
        "write",
        !row.get::<_, bool>(2),
        "The server takes writes.".to_owned(),
        (
            "The server is a standby or set to read only.".to_owned(),
            format!("ALTER DATABASE {database} SET default_transaction_read_only = off; -- or use the primary"),
        ),
    ));
    steps(Step::judged(
        "create schemas",
        row.get(0),
        "Schemas can be made in the database.".to_owned(),
        (
            "The role may not make schemas in the database; wavemark keeps its bookmark in one of its own.".to_owned(),
            format!("GRANT CREATE ON DATABASE {database} TO {role};"),
        ),
    ));
    let replica = client.batch_execute("SET session_replication_role = replica").await.is_ok();
    let text = if replica {
        "Triggers and foreign keys can be switched off for our sessions."
    } else {
        // Not a failure: it works without, slower and with the target's triggers firing.
        "Triggers of the target will fire: the role may not set session_replication_role (version 15: GRANT SET ON \
         PARAMETER session_replication_role TO the role)."
    };
    steps(Step::passed("triggers", text.to_owned()));
}
