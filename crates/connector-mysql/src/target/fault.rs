//! From the target server's errors to problems. A statement that the server refuses because of a row or an object is a
//! *data* problem: it parks the one table. The server's message is repeated only where it can't hold row values.

use wavemark_domain::{Fault, Problem};

use crate::error;
use crate::wire::WireError;

/// The problem that an error is; `doing` says what was attempted, e.g. `copy into shop.orders`.
pub(crate) fn problem(cause: &WireError, doing: &str) -> Problem {
    let WireError::Server { code, state, message } = cause else { return error::problem(cause, doing) };
    refused(*code, state, message, doing)
}

/// The problem that an error of the server is.
pub(crate) fn refused(code: u16, state: &str, message: &str, doing: &str) -> Problem {
    let (fault, word) = kind(code, state);
    let text = format!("Could not {doing}: {}.", sentence(code, message).trim_end_matches('.'));
    let problem = Problem::new(fault, word, text).server_code(format!("{code} {state}"));
    match advice(code) {
        Some(advice) => problem.advice(advice),
        None => problem,
    }
}

/// By the server's number (manual: "Server Error Message Reference"; MariaDB's own from 1900 and 4000 on).
fn kind(code: u16, state: &str) -> (Fault, &'static str) {
    match code {
        DUPLICATE | 1586 | 1761 | 1762 => (Fault::Data, "duplicate-key"),
        1048 | 1263 | 1364 | 1566 => (Fault::Data, "null-not-allowed"),
        1216 | 1217 | 1451 | 1452 => (Fault::Data, "foreign-key"),
        3819 | 4025 => (Fault::Data, "check-violated"),
        1205 => (Fault::Transient, "lock-timeout"),
        1213 | 1020 | 3101 => (Fault::Transient, "deadlock"),
        1290 | 1836 | 3032 => (Fault::Transient, "read-only"),
        1021 | 1030 | 1037 | 1041 | 1114 | 3675 => (Fault::Transient, "disk-full"),
        1040 | 1203 | 1226 | 1637 => (Fault::Transient, "too-many-connections"),
        1044 | 1142 | 1143 | 1227 | 1370 => (Fault::Settings, "missing-privilege"),
        1045 | 1698 | 3118 | 4151 => (Fault::Settings, "login-refused"),
        1053 | 1079 | 1105 | 1152 | 1158..=1161 | 1180 | 1184 | 1206 | 1317 | 1927 | 3024 => {
            (Fault::Transient, "server-unavailable")
        }
        _ if state.starts_with("08") || state.starts_with("70") => (Fault::Transient, "server-unavailable"),
        _ => (Fault::Data, "refused"),
    }
}

/// A row with the same unique values is there.
pub(crate) const DUPLICATE: u16 = 1062;

const UNQUOTED: &str = "the server refused it (its message is left out, since it can hold row values)";

/// What the server says, made of names only.
fn sentence(code: u16, message: &str) -> String {
    let at_column = |text: &str| match name_after(message, " for column ") {
        Some(column) => format!("{text}, column {column}"),
        None => text.to_owned(),
    };
    match code {
        DUPLICATE | 1586 => {
            let key = name_after(message, " for key ").map_or_else(String::new, |key| format!(", key {key}"));
            format!("a row with this key or unique value is there already{key}")
        }
        1048 | 1263 | 1364 | 1566 => "a column that must not be NULL would be".to_owned(),
        1216 | 1217 | 1451 | 1452 => "a foreign key would be violated".to_owned(),
        3819 | 4025 => "a check would be violated".to_owned(),
        1406 => at_column("a value is too long for its column"),
        1264 | 1690 => at_column("a number is out of its column's range"),
        1265 | 1292 | 1300 | 1366 | 1411 | 3140 | 3141 | 3988 => {
            at_column("a value is not valid for its column's type")
        }
        1153 => "a row is larger than the server's max_allowed_packet".to_owned(),
        _ if names_objects(code) => message.to_owned(),
        _ => UNQUOTED.to_owned(),
    }
}

/// Errors whose messages name objects, settings and accounts, and never hold a value.
fn names_objects(code: u16) -> bool {
    matches!(
        code,
        1005 | 1007 | 1008 | 1020 | 1021 | 1030 | 1040 | 1041 | 1044..=1046 | 1049..=1051 | 1053 | 1054 | 1059..=1061
            | 1068..=1075 | 1079 | 1089 | 1091 | 1101 | 1103 | 1113..=1115 | 1118 | 1142 | 1143 | 1146 | 1163 | 1166
            | 1170 | 1171 | 1193 | 1203 | 1205 | 1213 | 1215 | 1226 | 1227 | 1235 | 1273 | 1286 | 1290 | 1317 | 1419
            | 1665 | 1698 | 1785 | 1822..=1836 | 1927 | 3032 | 3098 | 3105 | 3106 | 3118 | 3675 | 3780 | 3948 | 4151 | 4166
    )
}

/// The name at a message's end, without quotes: of a value before it nothing is left.
fn name_after(message: &str, words: &str) -> Option<String> {
    let (_, name) = message.rsplit_once(words)?;
    let name = name.rsplit_once(" at row ").map_or(name, |(name, _)| name);
    let name = name.trim_matches(['\'', '`']).replace("`.`", ".");
    (name.len() <= 200 && !name.contains(['\'', '`'])).then_some(name)
}

fn advice(code: u16) -> Option<&'static str> {
    Some(match code {
        1044 | 1142 | 1143 | 1227 | 1370 => "Grant the missing right to the endpoint's user.",
        1153 => "Raise max_allowed_packet at the server.",
        1665 => "Set binlog_format to ROW at the server.",
        1290 | 1836 => "Look whether the server is a replica (read_only), and point the endpoint at the primary.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: u16, state: &str, message: &str) -> Problem {
        refused(code, state, message, "copy into shop.orders")
    }

    #[test]
    fn a_message_is_told_without_the_values_in_it() {
        for (code, message, expected) in [
            (
                1062,
                "Duplicate entry 'se'cret for key x' for key 'orders.PRIMARY'",
                "Could not copy into shop.orders: a row with this key or unique value is there already, key orders.PRIMARY.",
            ),
            (
                1366,
                "Incorrect integer value: 'secret' for column `shop`.`orders`.`id` at row 7",
                "Could not copy into shop.orders: a value is not valid for its column's type, column shop.orders.id.",
            ),
            (
                1406,
                "Data too long for column 'name' at row 1",
                "Could not copy into shop.orders: a value is too long for its column, column name.",
            ),
            (1064, "You have an error in your SQL syntax; near 'secret'", ""),
            (
                1146,
                "Table 'shop.orders' doesn't exist",
                "Could not copy into shop.orders: Table 'shop.orders' doesn't exist.",
            ),
        ] {
            let problem = text(code, "HY000", message);
            assert!(!problem.text.contains("secret") && !problem.text.contains("se'cret"), "{problem}");
            assert!(expected.is_empty() || problem.text == expected, "{problem}");
            assert_eq!(problem.fault, Fault::Data);
        }
    }

    #[test]
    fn codes_lead_to_what_is_done_about_them() {
        for (code, state, fault, word) in [
            (1205, "HY000", Fault::Transient, "lock-timeout"),
            (1213, "40001", Fault::Transient, "deadlock"),
            (1290, "HY000", Fault::Transient, "read-only"),
            (1114, "HY000", Fault::Transient, "disk-full"),
            (1142, "42000", Fault::Settings, "missing-privilege"),
            (1264, "22003", Fault::Data, "refused"),
            (1927, "70100", Fault::Transient, "server-unavailable"),
        ] {
            let problem = text(code, state, "x");
            assert_eq!((problem.fault, problem.code.as_str()), (fault, word), "{code}");
        }
    }
}
