//! From errors of the driver and of the replication client to problems.
//!
//! The server's sentences can quote row values (`invalid input syntax for type integer: "…"`, `Key (id)=(…)`), so
//! those of the classes that do are replaced by the names that the error carries; details never go on.

use std::error::Error as _;

use tokio_postgres::error::DbError;
use wavemark_domain::{Fault, Problem};

use crate::pooler;
use crate::wire::{ServerError, WireError};

/// The code of the problem of what a server did not expect of itself, such as something that went while it was looked at.
pub(crate) const INTERNAL: &str = "server-error";
/// Text that isn't what its encoding says.
pub(crate) const INVALID_TEXT: &str = "22021";
/// A character that the other encoding lacks.
pub(crate) const UNTRANSLATABLE_TEXT: &str = "22P05";
pub(crate) const MEND_TEXT: &str = "The text is not valid in its encoding, as that of an SQL_ASCII database may be: \
    mend it at the source, or use a target of encoding SQL_ASCII.";
pub(crate) const MEND_CHARACTER: &str =
    "An encoding lacks a character of the text: use a target of encoding UTF8, or change the text.";

/// Whether the server refuses a statement because policies hide rows of a table from the role. Our sessions set
/// `row_security` off, which turns rows that would be missing in silence into this error. Its sentence is in the server's
/// language; where in the server it was raised is not.
pub(crate) fn hides_rows(error: &DbError) -> bool {
    is_hiding(error.code().code(), error.routine())
}

fn is_hiding(code: &str, routine: Option<&str>) -> bool {
    code == "42501" && routine == Some("check_enable_rls")
}

/// That policies of a table hide rows from the role.
pub(crate) fn rows_hidden(text: String) -> Problem {
    Problem::new(Fault::Settings, "row-security", text).advice(
        "Let the endpoint's role see all rows (ALTER ROLE … BYPASSRLS, or own a table without FORCE ROW LEVEL SECURITY), \
         or ALTER TABLE … DISABLE ROW LEVEL SECURITY; then resume the task.",
    )
}

/// An error of the driver; `doing` says what was attempted and on what, e.g. `read table shop.orders`.
pub(crate) fn driver(error: &tokio_postgres::Error, doing: &str) -> Problem {
    match error.as_db_error() {
        // Ours are named anew in each session, so only somebody who deals sessions out can mix them up.
        Some(error) if matches!(error.code().code(), "26000" | "42P05") => {
            pooler::problem(doing, &format!("it says \"{}\"", sentence(error)))
        }
        Some(error) if hides_rows(error) => rows_hidden(text(doing, &sentence(error))).server_code("42501"),
        Some(error) => reported(error.code().code(), &sentence(error), doing),
        None => unreported(error, doing),
    }
}

/// An error of the replication client.
pub(crate) fn wire(error: &WireError, doing: &str) -> Problem {
    match error {
        WireError::Server(error) if pooler::is_refusal(error) => {
            pooler::problem(doing, &format!("it says \"{}\"", server_sentence(error)))
        }
        WireError::Server(error) if is_hiding(&error.code, error.routine.as_deref()) => {
            rows_hidden(text(doing, &server_sentence(error))).server_code("42501")
        }
        WireError::Server(error) => reported(&error.code, &server_sentence(error), doing),
        WireError::Resolve { .. } => Problem::transient("unknown-host", text(doing, &causes(error)))
            .advice("Check the endpoint's host name, and that the worker's machine can resolve it."),
        WireError::Connect { .. } | WireError::Timeout { .. } => {
            Problem::transient("unreachable", text(doing, &causes(error)))
                .advice("Check host, port and firewall, and that the server listens on that address.")
        }
        WireError::TlsNotOffered => Problem::new(Fault::Settings, "tls-not-offered", text(doing, &causes(error)))
            .advice("Turn TLS on at the server (ssl = on), or set the endpoint's tls_mode to disable."),
        WireError::Tls { .. } => Problem::new(error.fault(), "tls-failed", text(doing, &causes(error)))
            .advice("Check tls_ca and that the certificate is for this host; verify-ca doesn't check the host name."),
        WireError::Login(_) => Problem::new(Fault::Settings, "login-refused", text(doing, &causes(error)))
            .advice("Check user, password and pg_hba.conf."),
        WireError::Io(_) | WireError::Closed => Problem::transient("connection-lost", text(doing, &causes(error))),
        other => Problem::new(other.fault(), "protocol", text(doing, &causes(other))),
    }
}

/// The server's SQLSTATE for a file that is not there.
const NO_SUCH_FILE: &str = "58P01";

/// An error of the replication client while it opens or reads the log, where a file that is not there is the log's.
pub(crate) fn log(error: &WireError, doing: &str) -> Problem {
    let problem = wire(error, doing);
    if error.code() != Some(NO_SUCH_FILE) {
        return problem;
    }
    Problem::new(Fault::PositionLost, "log-removed", problem.text)
        .server_code(NO_SUCH_FILE)
        .advice("Reload the task; raise wal_keep_size or drop the limit.")
}

/// An error with a SQLSTATE.
pub(crate) fn reported(code: &str, sentence: &str, doing: &str) -> Problem {
    let (fault, name, advice) = judge(code);
    let problem = Problem::new(fault, name, text(doing, sentence)).server_code(code);
    match advice {
        Some(advice) => problem.advice(advice),
        None => problem,
    }
}

/// What the classes and codes of the manual's appendix A mean to a task.
fn judge(code: &str) -> (Fault, &'static str, Option<&'static str>) {
    use Fault::{Data, Settings, Transient};
    match code {
        "28P01" => (Settings, "wrong-password", Some("Correct the endpoint's user and password.")),
        "28000" => (
            Settings,
            "login-refused",
            Some("Check the role's LOGIN (and REPLICATION) attribute and the server's pg_hba.conf."),
        ),
        "3D000" => (Settings, "no-such-database", Some("Correct the endpoint's database.")),
        "42501" => (Settings, "missing-privilege", Some("Grant the right, or use a role that has it.")),
        "53300" => (Transient, "too-many-connections", Some("Raise max_connections, or the role's limit.")),
        "53400" => (
            Settings,
            "no-slots-left",
            Some("Raise max_replication_slots and restart the server, or drop a slot that nobody needs."),
        ),
        "53100" => (Transient, "disk-full", Some("Make room on the server's disk.")),
        "55P03" => (Transient, "lock-timeout", Some("Another session holds the table's lock; it is tried again.")),
        "40P01" => (Transient, "deadlock", None),
        "25006" => (Transient, "read-only", Some("The server is a standby or was set to read only.")),
        INVALID_TEXT => (Data, "invalid-text", Some(MEND_TEXT)),
        UNTRANSLATABLE_TEXT => (Data, "untranslatable-text", Some(MEND_CHARACTER)),
        "42P01" | "3F000" => (Data, "table-missing", Some("Restore the table, or take it out of the task.")),
        "42703" => (Data, "column-missing", Some("Restore the column, or remove it from the task.")),
        _ => match code.get(..2).unwrap_or_default() {
            "08" => (Transient, "connection-lost", None),
            "40" => (Transient, "serialization-failure", None),
            "53" => (Transient, "server-resources", None),
            "57" => (Transient, "server-stopping", None),
            // Such as that of a foreign table, which is no passing thing.
            _ if code == NO_SUCH_FILE => (Data, "file-missing", None),
            "58" | "XX" => (Transient, INTERNAL, None),
            "22" => (Data, "value-refused", None),
            "23" => (Data, "constraint-violated", None),
            "28" => (Settings, "login-refused", Some("Check user, password and pg_hba.conf.")),
            _ => (Settings, "statement-refused", None),
        },
    }
}

fn unreported(error: &tokio_postgres::Error, doing: &str) -> Problem {
    let sentence = causes(error);
    let code = if error.is_closed() { "connection-lost" } else { "unreachable" };
    let tls = error.source().is_some_and(|source| {
        let inner = source.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
    });
    if tls {
        return Problem::new(Fault::Settings, "tls-failed", text(doing, &sentence))
            .advice("Check tls_ca and that the certificate is for this host.");
    }
    Problem::transient(code, text(doing, &sentence))
}

fn text(doing: &str, sentence: &str) -> String {
    format!("Could not {doing}: {sentence}.")
}

fn sentence(error: &DbError) -> String {
    let names = [("constraint", error.constraint()), ("column", error.column()), ("type", error.datatype())];
    safe(error.code().code(), error.message(), &names)
}

fn server_sentence(error: &ServerError) -> String {
    safe(&error.code, &error.message, &[])
}

fn safe(code: &str, message: &str, names: &[(&str, Option<&str>)]) -> String {
    if names_only(code) {
        return message.trim_end_matches('.').to_owned();
    }
    let known: Vec<_> = names.iter().filter_map(|(kind, name)| name.map(|name| format!("{kind} {name}"))).collect();
    let what = if code.starts_with("23") { "a constraint was violated" } else { "a value was refused" };
    if known.is_empty() { what.to_owned() } else { format!("{what} ({})", known.join(", ")) }
}

/// Whether the server's sentences of this class never quote values: those of the manual's appendix A but for data
/// exceptions, violated constraints and whatever functions raise. Other classes are somebody's own.
fn names_only(code: &str) -> bool {
    const CLASSES: [&str; 27] = [
        "01", "03", "08", "0A", "0L", "0P", "24", "25", "26", "28", "2B", "2D", "34", "3B", "3D", "3F", "40", "42",
        "53", "54", "55", "57", "58", "F0", "HV", "XX", "WM",
    ];
    code.get(..2).is_some_and(|class| CLASSES.contains(&class))
}

/// The error with its causes, outermost first, said once each.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stops_is_waited_for_and_a_wrong_password_is_not() {
        assert_eq!(reported("57P01", "terminating connection", "read").fault, Fault::Transient);
        let wrong = reported("28P01", "password authentication failed for user \"u\"", "log in to db:5432");
        assert_eq!((wrong.fault, wrong.code.as_str()), (Fault::Settings, "wrong-password"));
        assert_eq!(
            wrong.to_string(),
            "Could not log in to db:5432: password authentication failed for user \"u\". [28P01]"
        );
    }

    #[test]
    fn a_file_that_is_missing_is_lost_log_only_where_the_log_is_read() {
        let missing =
            |code: &str| WireError::Server(Box::new(ServerError { code: code.to_owned(), ..ServerError::default() }));
        let told = |problem: Problem| (problem.fault, problem.code);
        assert_eq!(told(log(&missing("58P01"), "read")), (Fault::PositionLost, "log-removed".to_owned()));
        assert_eq!(told(wire(&missing("58P01"), "read")), (Fault::Data, "file-missing".to_owned()));
        assert_eq!(told(log(&missing("57P01"), "read")), (Fault::Transient, "server-stopping".to_owned()));
    }

    #[test]
    fn values_that_the_server_quotes_are_left_out() {
        let message = "duplicate key value violates unique constraint \"t_pkey\" Key (name)=(secret)";
        let said = safe("23505", message, &[("constraint", Some("t_pkey"))]);
        assert_eq!(said, "a constraint was violated (constraint t_pkey)");
        for code in ["22P02", "P0001", "38000", "45000", "ZZ001"] {
            assert_eq!(safe(code, "the value secret", &[]), "a value was refused", "{code}");
        }
        assert_eq!(safe("57014", "canceling statement.", &[]), "canceling statement");
    }
}
