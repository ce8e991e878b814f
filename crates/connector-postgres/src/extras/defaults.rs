//! Defaults as the server writes them (`pg_get_expr`), as far as they are plain values or the present moment.

use wavemark_domain::extras::DefaultValue;
use wavemark_domain::{Column, Logical};

use crate::logical;
use crate::source::is_written_so;

/// Texts that the server takes for each other.
const TEXTS: [&str; 5] = ["text", "character varying", "bpchar", "character", "name"];
/// What gives the moment of the row, of its statement or of its transaction.
const NOW: [&str; 7] = [
    "now()",
    "CURRENT_TIMESTAMP",
    "LOCALTIMESTAMP",
    "transaction_timestamp()",
    "statement_timestamp()",
    "clock_timestamp()",
    "('now'::text)::timestamp with time zone",
];

/// The default, if it is a plain value that the column's type writes so, or the present moment.
pub(super) fn of(sql: &str, column: &Column) -> Option<DefaultValue> {
    let logical = logical::of(column)?;
    if let Logical::Timestamp { digits } | Logical::Instant { digits } = logical
        && let Some(own) = now(sql)
    {
        return Some(DefaultValue::Now { digits: own.min(digits) });
    }
    let (text, kind) = literal(sql)?;
    Some(DefaultValue::Literal { text: value(text, kind, &logical, column)? })
}

/// The digits of what gives the present moment.
fn now(sql: &str) -> Option<u8> {
    if NOW.contains(&sql) {
        return Some(6);
    }
    let digits = sql.strip_prefix("CURRENT_TIMESTAMP(").or_else(|| sql.strip_prefix("LOCALTIMESTAMP("))?;
    digits.strip_suffix(')')?.parse().ok()
}

/// A literal and the type that is written behind it, none of a bare number.
fn literal(sql: &str) -> Option<(String, Option<&str>)> {
    let Some(rest) = sql.strip_prefix('\'') else {
        let bare = sql.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(sql);
        let is_number =
            !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
        return (is_number || matches!(bare, "true" | "false")).then(|| (bare.to_owned(), None));
    };
    let (text, rest) = quoted(rest)?;
    let kind = rest.strip_prefix("::")?;
    let is_name = kind.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_' | '.' | '"' | '[' | ']' | '$'));
    is_name.then_some((text, Some(kind)))
}

/// A text up to its last quote, and what is behind that.
fn quoted(sql: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut rest = sql;
    loop {
        let (part, after) = rest.split_once('\'')?;
        text.push_str(part);
        let Some(more) = after.strip_prefix('\'') else { return Some((text, after)) };
        text.push('\'');
        rest = more;
    }
}

/// The value, if the column has it: what the server would round, cut or take in another way is left out.
fn value(text: String, kind: Option<&str>, logical: &Logical, column: &Column) -> Option<String> {
    let is_own = kind.is_some_and(|kind| kind == column.declared);
    match logical {
        Logical::Boolean => match (text.as_str(), kind) {
            ("true", None) => Some("1".to_owned()),
            ("false", None) => Some("0".to_owned()),
            _ => None,
        },
        Logical::Decimal { scale, .. } => {
            let behind = text.split_once('.').map_or(0, |(_, behind)| behind.len());
            let fits = scale.is_none_or(|scale| behind <= scale.into());
            (fits && is_written_so(logical, &text)).then_some(text)
        }
        Logical::Text { length } => {
            let is_text = kind.is_some_and(|kind| TEXTS.contains(&kind)) && is_text(column);
            let fits = length.is_none_or(|length| text.chars().count() <= length as usize);
            ((is_own || is_text) && fits).then(|| padded(text, *length, column))
        }
        Logical::Json => (kind == Some("jsonb")).then_some(text),
        Logical::Bytes => text.strip_prefix("\\x").filter(|_| kind == Some("bytea")).map(str::to_owned),
        Logical::Bits { length } => {
            let fits = text.len() == usize::from(*length) && text.bytes().all(|byte| matches!(byte, b'0' | b'1'));
            (fits && kind == Some("\"bit\"")).then_some(text)
        }
        // The session's time zone is UTC.
        Logical::Instant { digits } => {
            let text = text.strip_suffix("+00").filter(|_| kind == Some("timestamp with time zone"))?;
            is_written_so(&Logical::Timestamp { digits: *digits }, text).then(|| text.to_owned())
        }
        _ => is_written_so(logical, &text).then_some(text),
    }
}

/// Whether the column holds texts that are not something else's.
fn is_text(column: &Column) -> bool {
    let declared = column.declared.split('(').next().unwrap_or_default();
    TEXTS.contains(&declared)
}

/// A `character(5)` has five characters, whatever it is given.
fn padded(mut text: String, length: Option<u32>, column: &Column) -> String {
    if let (Some(length), true) = (length, column.declared.starts_with("character(")) {
        let missing = (length as usize).saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n(' ', missing));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::column;
    use super::*;

    fn read(sql: &str, declared: &str, kind: &str, modifier: i32) -> Option<DefaultValue> {
        of(sql, &Column { declared: declared.into(), ..column("c", kind, modifier, &json!({})) })
    }

    fn literal_of(sql: &str, declared: &str, kind: &str, modifier: i32) -> Option<String> {
        match read(sql, declared, kind, modifier) {
            Some(DefaultValue::Literal { text }) => Some(text),
            _ => None,
        }
    }

    /// The left sides are what version 15 answers to `pg_get_expr`.
    #[test]
    fn a_plain_value_is_kept() {
        for (sql, declared, kind, modifier, expected) in [
            ("42", "integer", "int4", -1, "42"),
            ("'-5'::integer", "integer", "int4", -1, "-5"),
            ("(-5)", "integer", "int4", -1, "-5"),
            ("'9223372036854775807'::bigint", "bigint", "int8", -1, "9223372036854775807"),
            ("1.50", "numeric(10,2)", "numeric", (10 << 16 | 2) + 4, "1.50"),
            ("'-1.5'::numeric", "numeric", "numeric", -1, "-1.5"),
            ("'1e+100'::double precision", "double precision", "float8", -1, "1e+100"),
            ("true", "boolean", "bool", -1, "1"),
            ("false", "boolean", "bool", -1, "0"),
            ("'it''s \\ a'::text", "text", "text", -1, "it's \\ a"),
            ("''::character varying", "character varying(5)", "varchar", 9, ""),
            ("'ab'::bpchar", "character(5)", "bpchar", 9, "ab   "),
            ("'2024-02-29'::date", "date", "date", -1, "2024-02-29"),
            (
                "'2024-02-29 12:00:00'::timestamp without time zone",
                "timestamp without time zone",
                "timestamp",
                -1,
                "2024-02-29 12:00:00",
            ),
            (
                "'2024-02-29 12:00:00+00'::timestamp with time zone",
                "timestamp with time zone",
                "timestamptz",
                -1,
                "2024-02-29 12:00:00",
            ),
            ("'\\x00ff'::bytea", "bytea", "bytea", -1, "00ff"),
            ("'101'::\"bit\"", "bit(3)", "bit", 3, "101"),
            ("'1 day'::interval", "interval", "interval", -1, "1 day"),
            ("'{}'::jsonb", "jsonb", "jsonb", -1, "{}"),
            (
                "'00000000-0000-0000-0000-000000000001'::uuid",
                "uuid",
                "uuid",
                -1,
                "00000000-0000-0000-0000-000000000001",
            ),
        ] {
            assert_eq!(literal_of(sql, declared, kind, modifier).as_deref(), Some(expected), "{sql}");
        }
    }

    #[test]
    fn what_is_computed_or_would_be_changed_is_left_out() {
        for (sql, declared, kind, modifier) in [
            ("(1 + 2)", "integer", "int4", -1),
            ("1.5", "integer", "int4", -1),
            ("1.25", "numeric(10,1)", "numeric", (10 << 16 | 1) + 4),
            ("NULL::character varying", "character varying", "varchar", -1),
            ("('a'::text || 'b'::text)", "text", "text", -1),
            ("'longer'::character varying", "character varying(5)", "varchar", 9),
            ("'2024-01-01'::date", "text", "text", -1),
            ("'2024-01-01'::date", "timestamp without time zone", "timestamp", -1),
            ("'2024-01-01 02:00:00+02'::timestamp with time zone", "timestamp with time zone", "timestamptz", -1),
            ("'2024-01-01 00:00:00+00'::timestamp with time zone", "timestamp without time zone", "timestamp", -1),
            ("'\\x00'::text", "bytea", "bytea", -1),
            ("'101'::\"bit\"", "bit(5)", "bit", 5),
            ("gen_random_uuid()", "uuid", "uuid", -1),
            ("CURRENT_DATE", "date", "date", -1),
            ("CURRENT_USER", "text", "text", -1),
            ("ARRAY['a'::text]", "text[]", "_text", -1),
        ] {
            assert_eq!(read(sql, declared, kind, modifier), None, "{sql}");
        }
    }

    #[test]
    fn the_present_moment_has_no_more_digits_than_the_column() {
        let of = |sql, modifier| read(sql, "timestamp with time zone", "timestamptz", modifier);
        for sql in ["now()", "CURRENT_TIMESTAMP", "clock_timestamp()"] {
            assert_eq!(of(sql, -1), Some(DefaultValue::Now { digits: 6 }), "{sql}");
        }
        assert_eq!(of("now()", 0), Some(DefaultValue::Now { digits: 0 }));
        assert_eq!(of("CURRENT_TIMESTAMP(3)", -1), Some(DefaultValue::Now { digits: 3 }));
        assert_eq!(of("(now() + '1 day'::interval)", -1), None);
        assert_eq!(read("now()", "text", "text", -1), None);
    }
}
