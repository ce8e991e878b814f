//! The test of an endpoint: really connects, step by step, and says what mends a step that fails.

use wavemark_connector::EndpointSettings;
use wavemark_domain::Problem;
use wavemark_domain::check::{Step, Weight};
use wavemark_tls::TlsMode;

use crate::client::{self, Refusal};
use crate::settings::Settings;
use crate::wire::{Connection, Row, WireError};
use crate::{discover, error, source};

type Steps<'a> = &'a mut (dyn FnMut(Step) + Send);

/// Runs the test. The first failed step that others need ends it.
pub(crate) async fn test(endpoint: &EndpointSettings, as_source: bool, as_target: bool, steps: Steps<'_>) {
    let settings = match Settings::parse(endpoint) {
        Ok(settings) => settings,
        Err(problem) => return steps(Step::failed("settings", &problem)),
    };
    let Some(mut connection) = reach(&settings, steps).await else { return };
    steps(Step::passed("version", version(&connection.version)));
    if as_source {
        match discover::tables(&mut connection, &|_| true).await {
            Ok(tables) => steps(readable(&settings, tables.len())),
            Err(problem) => steps(Step::failed("read tables", &problem)),
        }
        log(&settings, &mut connection, steps).await;
    }
    if as_target {
        if let Err(cause) = target(&settings, &mut connection, steps).await {
            steps(Step::failed("write", &error::problem(&cause, "look whether the server can be written to")));
        }
    }
    connection.close().await;
}

/// What writing needs.
async fn target(settings: &Settings, connection: &mut Connection, steps: Steps<'_>) -> Result<(), WireError> {
    let is_on = |rows: &[Row]| rows.first().and_then(|row| row.text(0)).is_some_and(|on| on == "1" || on == "ON");
    let read_only = is_on(&connection.query("SELECT @@global.read_only").await?);
    steps(Step::judged(
        "write",
        !read_only,
        "The server takes changes.".to_owned(),
        (
            "The server is read-only (read_only): it is a replica, or was set so.".to_owned(),
            "SET GLOBAL read_only = OFF".to_owned(),
        ),
    ));
    let grants: Vec<String> = connection.query("SHOW GRANTS").await?.iter().filter_map(|row| row.text(0)).collect();
    let user = &settings.user;
    steps(Step::judged(
        "bookkeeping",
        grants.iter().any(|grant| may_keep(grant)),
        format!("User {user} may make database wavemark and its tables."),
        (
            format!("User {user} may not make database wavemark, in which the target keeps its bookmarks."),
            format!("GRANT ALL ON wavemark.* TO `{user}`; -- and on the schemas that are written"),
        ),
    ));
    let loads = is_on(&connection.query("SELECT @@local_infile").await?);
    let text = if loads {
        "The server takes LOAD DATA from its clients."
    } else {
        "The server takes no LOAD DATA from its clients (local_infile is OFF): rows are loaded by inserts, which is slower."
    };
    steps(Step::passed("load", text));
    Ok(())
}

/// Whether a grant, as the server writes it, lets tables be made in database `wavemark`. A role is taken at its word.
fn may_keep(grant: &str) -> bool {
    let Some((rights, rest)) = grant.split_once(" ON ") else { return grant.starts_with("GRANT `") };
    let on = rest.split(" TO ").next().unwrap_or_default().replace(['`', '\\'], "");
    let makes = rights.contains("ALL PRIVILEGES") || rights.replace("CREATE TEMPORARY", "").contains("CREATE,");
    makes && matches!(on.as_str(), "*.*" | "wavemark.*")
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
    let (step, problem) = match client::log_in(settings, false).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_says_whether_bookmarks_can_be_kept() {
        for (grant, may) in [
            ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", true),
            ("GRANT ALL PRIVILEGES ON `wavemark`.* TO `writer`@`127.0.0.1`", true),
            ("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON *.* TO `writer`@`%`", true),
            ("GRANT SELECT, CREATE TEMPORARY TABLES, LOCK TABLES ON *.* TO `writer`@`%`", false),
            ("GRANT ALL PRIVILEGES ON `shop`.* TO `writer`@`127.0.0.1`", false),
            ("GRANT USAGE ON *.* TO `writer`@`127.0.0.1`", false),
            ("GRANT `writers`@`%` TO `writer`@`%`", true),
        ] {
            assert_eq!(may_keep(grant), may, "{grant}");
        }
    }
}
