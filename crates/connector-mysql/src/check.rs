//! The test of an endpoint: really connects, step by step, and says what mends a step that fails.

use wavemark_connector::{Connector, EndpointSettings};
use wavemark_domain::Problem;
use wavemark_domain::check::{Step, Weight};
use wavemark_tls::TlsMode;

use crate::client::{self, Refusal};
use crate::settings::Settings;
use crate::wire::{Connection, WireError};
use crate::{Mysql, discover, error, source};

type Steps<'a> = &'a mut (dyn FnMut(Step) + Send);

/// Runs the test. The first failed step that others need ends it.
pub(crate) async fn test(
    connector: &Mysql,
    endpoint: &EndpointSettings,
    as_source: bool,
    as_target: bool,
    steps: Steps<'_>,
) {
    let settings = match Settings::parse(endpoint) {
        Ok(settings) => settings,
        Err(problem) => return steps(Step::failed("settings", &problem)),
    };
    let Some(mut connection) = reach(&settings, steps).await else { return };
    steps(Step::passed("version", version(&connection.version)));
    match discover::tables(&mut connection, &|_| true).await {
        Ok(tables) => steps(readable(&settings, tables.len())),
        Err(problem) => steps(Step::failed("read tables", &problem)),
    }
    if as_source {
        log(&settings, &mut connection, steps).await;
    }
    connection.close().await;
    if as_target && let Err(problem) = connector.target(endpoint) {
        steps(Step::failed("target", &problem));
    }
}

/// What following needs of the server's log. A load needs none of it.
async fn log(settings: &Settings, connection: &mut Connection, steps: Steps<'_>) {
    match source::assess_log(connection, settings).await {
        Ok(found) if found.is_empty() => {
            steps(Step::passed("log", "The server logs whole rows, and keeps what it logged."));
        }
        Ok(found) => found.into_iter().for_each(|finding| {
            let passed = finding.weight != Weight::Blocker;
            steps(Step { name: "log".to_owned(), passed, text: finding.text, mend: finding.mend });
        }),
        Err(problem) => steps(Step::failed("log", &problem)),
    }
}

fn readable(settings: &Settings, tables: usize) -> Step {
    let user = &settings.user;
    Step::judged(
        "read tables",
        tables > 0,
        format!("{tables} tables can be read."),
        (
            format!("User {user} may read no table."),
            format!("GRANT SELECT ON *.* TO `{user}`; -- or on single schemas"),
        ),
    )
}

/// MariaDB puts a number in front that old clients take for a version they know.
fn version(told: &str) -> String {
    let told = told.strip_prefix("5.5.5-").unwrap_or(told);
    if told.contains("MariaDB") { format!("MariaDB {told}.") } else { format!("MySQL {told}.") }
}

/// Resolve, connect, TLS, log in.
async fn reach(settings: &Settings, steps: Steps<'_>) -> Option<Connection> {
    let (step, problem) = match client::log_in(settings).await {
        Ok(connection) => {
            steps(Step::passed("connect", format!("{} answers.", settings.address())));
            steps(Step::passed("TLS", tls_text(&connection, settings.tls.mode)));
            steps(Step::passed("log in", format!("User {} is in.", settings.user)));
            return Some(connection);
        }
        Err(Refusal::Tls(problem)) => ("TLS", problem),
        Err(Refusal::Wire(cause)) => (failed_at(&cause), refused(&cause, settings)),
    };
    if !matches!(step, "resolve" | "connect") {
        steps(Step::passed("connect", format!("{} answers.", settings.address())));
    }
    steps(Step::failed(step, &problem));
    None
}

fn refused(cause: &WireError, settings: &Settings) -> Problem {
    error::problem(cause, &format!("log in to {} as {}", settings.address(), settings.user))
}

fn failed_at(cause: &WireError) -> &'static str {
    match cause {
        WireError::Resolve { .. } => "resolve",
        WireError::Connect { .. } | WireError::Timeout { .. } => "connect",
        WireError::Tls { .. } | WireError::TlsNotOffered => "TLS",
        _ => "log in",
    }
}

fn tls_text(connection: &Connection, mode: TlsMode) -> &'static str {
    match mode {
        _ if !connection.is_encrypted() => "The connection is not encrypted (tls_mode is disable).",
        TlsMode::VerifyFull => "Encrypted; the certificate is from the CA and for this host.",
        TlsMode::VerifyCa => "Encrypted; the certificate is from the CA.",
        _ => "Encrypted, but the server's certificate is not checked (tls_mode is require).",
    }
}
