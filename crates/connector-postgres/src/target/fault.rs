//! From the target server's errors to problems: what a SQLSTATE means to whoever writes rows and makes tables.
//!
//! A statement that the server refuses because of an object (missing, of another shape, in the way) is a *data*
//! problem here: it parks the one table. The server's message is repeated only where it can't hold row values.

use tokio_postgres::error::DbError;
use wavemark_domain::{Fault, Problem};

use crate::error::{self, INVALID_TEXT, UNTRANSLATABLE_TEXT};

/// SQLSTATE raised by the functions of schema `wavemark` when another epoch holds the target.
pub(crate) const FENCED: &str = "WM001";
/// SQLSTATE raised by the functions of schema `wavemark` when a statement touched more or fewer rows than it must.
pub(crate) const ROW_COUNT: &str = "WM002";

/// The problem that an error of the driver is; `doing` says what was attempted, e.g. `copy into shop.orders`.
pub(crate) fn problem(error: &tokio_postgres::Error, doing: &str) -> Problem {
    match error.as_db_error() {
        // A pooler's doing, not the value's.
        Some(server) if matches!(server.code().code(), "26000" | "42P05") => error::driver(error, doing),
        Some(server) if error::hides_rows(server) => error::driver(error, doing),
        Some(server) => server_problem(server, doing),
        None => error::driver(error, doing),
    }
}

fn server_problem(error: &DbError, doing: &str) -> Problem {
    let code = error.code().code();
    let fault = fault(code);
    let text = match fault {
        Fault::Data => data_text(error),
        // A class that the manual does not list is somebody's own, raised in a trigger or a function.
        Fault::Internal => UNQUOTED.to_owned(),
        _ => error.message().to_owned(),
    };
    let problem = Problem::new(fault, kind(code, fault), format!("Could not {doing}: {text}.")).server_code(code);
    let advice = match code {
        "42501" => "Grant the missing right to the endpoint's role.",
        INVALID_TEXT => error::MEND_TEXT,
        UNTRANSLATABLE_TEXT => error::MEND_CHARACTER,
        _ => return problem,
    };
    problem.advice(advice)
}

/// What a supervisor does about a SQLSTATE (manual: "PostgreSQL Error Codes", errcodes-appendix).
pub(crate) fn fault(code: &str) -> Fault {
    match code {
        FENCED => return Fault::Fenced,
        // The name is "protocol violation", but 08P01 is what `recv` functions say of a value of the wrong length.
        ROW_COUNT | "08P01" => return Fault::Data,
        // Lock not available, object in use, read-only, idle in transaction too long, I/O.
        "55P03" | "55006" | "25006" | "25P03" | "58030" => return Fault::Transient,
        "42501" => return Fault::Settings,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        // Connection, transaction rollback, resources, operator intervention, the server's own bugs.
        "08" | "40" | "53" | "57" | "XX" => Fault::Transient,
        "28" | "3D" | "3F" => Fault::Settings,
        // Values and constraints; objects that are missing, of another shape, or in the way; triggers.
        "0A" | "21" | "22" | "23" | "27" | "2B" | "38" | "39" | "42" | "44" | "54" | "55" | "P0" => Fault::Data,
        _ => Fault::Internal,
    }
}

fn kind(code: &str, fault: Fault) -> &'static str {
    match (code, fault) {
        (ROW_COUNT, _) => "divergence",
        ("23505", _) => "duplicate-key",
        ("23502", _) => "null-not-allowed",
        ("23503", _) => "foreign-key",
        ("23514", _) => "check-violated",
        ("23P01", _) => "exclusion-violated",
        ("25006", _) => "read-only",
        ("53100", _) => "disk-full",
        ("55P03", _) => "lock-timeout",
        ("42501", _) => "missing-privilege",
        (INVALID_TEXT, _) => "invalid-text",
        (UNTRANSLATABLE_TEXT, _) => "untranslatable-text",
        (FENCED, _) => "fenced",
        (_, Fault::Transient) => "server-unavailable",
        (_, Fault::Data) => "refused",
        (_, _) => "statement-refused",
    }
}

const UNQUOTED: &str = "the server refused a value (its message is left out, since it can hold row values)";

/// The server's sentence for a refused row, made of names only. Messages of classes 22 and P0 quote values.
fn data_text(error: &DbError) -> String {
    let code = error.code().code();
    let text = match code {
        "23505" => "a row with this key or unique value is there already",
        "23502" => "a column that must not be NULL would be",
        "23503" => "a foreign key would be violated",
        "23514" => "a check would be violated",
        "23P01" => "an exclusion constraint would be violated",
        "22001" => "a value is too long for its column",
        "22003" => "a number is out of its column's range",
        INVALID_TEXT | UNTRANSLATABLE_TEXT => "a text can't be represented in the database's encoding",
        "22P02" | "22P03" | "08P01" => "a value is not valid for its column's type",
        _ if code.starts_with("22") || code.starts_with("P0") || code.starts_with("38") => UNQUOTED,
        _ => error.message(),
    };
    let mut text = text.to_owned();
    for (label, name) in
        [("constraint", error.constraint()), ("column", error.column()), ("data type", error.datatype())]
    {
        if let Some(name) = name {
            text = format!("{text}, {label} {name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_to_what_is_done_about_them() {
        for (code, expected) in [
            ("40P01", Fault::Transient),
            ("55P03", Fault::Transient),
            ("57P01", Fault::Transient),
            ("53100", Fault::Transient),
            ("25006", Fault::Transient),
            ("23505", Fault::Data),
            ("22003", Fault::Data),
            ("08P01", Fault::Data),
            ("21000", Fault::Data),
            ("42501", Fault::Settings),
            ("28P01", Fault::Settings),
            ("3D000", Fault::Settings),
            ("WM001", Fault::Fenced),
            ("WM002", Fault::Data),
        ] {
            assert_eq!(fault(code), expected, "{code}");
        }
    }
}
