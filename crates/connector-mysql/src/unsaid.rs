//! What an inserted row has in a column of which its statement says nothing.
//!
//! Both servers leave such a column out of the log where `binlog_row_image` is `MINIMAL`. The row has the column's default in it, which is
//! what the catalog tells where the table is begun to be followed, and what each definition in the log made of it since.

use serde::{Deserialize, Serialize};
use wavemark_domain::extras::DefaultValue;
use wavemark_domain::moment::Timestamp;

use crate::log::{implicit, plain};
use crate::moments::{clock, date, moment};
use crate::native::ColumnNative;
use crate::value::Value;

/// The value, where it is known exactly; a text is as the log's value is written in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unsaid {
    Null,
    Text(String),
}

/// What the catalog says of a column: whether its default is NULL or none, and whether it may be NULL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) is_null: bool,
    pub(crate) not_null: bool,
}

/// Below this every server writes each whole number that a float is in full.
const EXACT: f64 = 100_000.0;

impl Unsaid {
    /// By the catalog, if `native` has the column's default as far as that is a plain value.
    pub(crate) fn told(native: &ColumnNative, told: Told) -> Option<Self> {
        if native.auto_increment {
            return None;
        }
        match &native.default {
            // The catalog has a question mark for what it can't write.
            Some(DefaultValue::Literal { text }) if native.charset.is_none() || !text.contains('?') => {
                plain(text, native).and_then(|text| Self::of(Some(text), native))
            }
            None if told.is_null && told.not_null => Self::nothing(native),
            None if told.is_null => Some(Self::Null),
            _ => None,
        }
    }

    /// Of a column that has no default and may not be NULL, where the server does not refuse the row.
    pub(crate) fn nothing(native: &ColumnNative) -> Option<Self> {
        implicit(native).ok().and_then(|text| Self::of(Some(text), native))
    }

    /// Of a value as a definition has it; none for NULL.
    pub(crate) fn of(text: Option<String>, native: &ColumnNative) -> Option<Self> {
        let Some(text) = text else { return Some(Self::Null) };
        let text = match native.data_type.as_str() {
            "decimal" => padded(&text, native.scale?)?,
            "float" | "double" => whole(&text)?,
            _ => text,
        };
        let unsaid = Self::Text(text);
        unsaid.value(native).is_some().then_some(unsaid)
    }

    /// As the log would have it.
    pub(crate) fn value<'v>(&'v self, native: &'v ColumnNative) -> Option<Value<'v>> {
        let Self::Text(text) = self else { return Some(Value::Null) };
        match native.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" if native.unsigned => {
                text.parse().ok().map(Value::Uint)
            }
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => text.parse().ok().map(Value::Int),
            "float" => text.parse().ok().map(Value::Float),
            "double" => text.parse().ok().map(Value::Double),
            "decimal" => Some(Value::Bytes(text.as_bytes())),
            "char" | "varchar" if has_bytes_of(text, native) => Some(Value::Bytes(text.as_bytes())),
            "enum" => {
                let at = native.labels.iter().position(|label| label == text)?;
                u16::try_from(at + 1).ok().map(Value::Ordinal)
            }
            "set" => members(text, &native.labels).map(Value::Members),
            "date" => Some(Value::Moment(Timestamp { date: date(text)?, micros: 0 })),
            "time" => clock(text).map(Value::Time),
            "datetime" => moment(text).map(Value::Moment),
            _ => None,
        }
    }
}

/// Whether the text is the same bytes in its column's character set, which a definition may change without a word of the default.
fn has_bytes_of(text: &str, native: &ColumnNative) -> bool {
    match native.charset.as_deref() {
        Some("utf8mb4" | "utf8mb3") => true,
        Some("ascii" | "latin1") => text.is_ascii(),
        _ => false,
    }
}

/// A decimal with all digits behind its point and no more before it than it needs.
fn padded(text: &str, scale: u16) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let before = before.trim_start_matches('0');
    let before = if before.is_empty() { "0" } else { before };
    let scale = usize::from(scale);
    let is_zero = before == "0" && behind.bytes().all(|digit| digit == b'0');
    let fits = behind.len() <= scale && (sign.is_empty() || !is_zero);
    let point = if scale > 0 { "." } else { "" };
    fits.then(|| format!("{sign}{before}{point}{behind:0<scale$}"))
}

/// A whole number that is short enough to be told as it is.
fn whole(text: &str) -> Option<String> {
    let number: f64 = text.parse().ok()?;
    let is_plain = number.fract() == 0.0 && number.abs() < EXACT && !(number == 0.0 && number.is_sign_negative());
    is_plain.then(|| number.to_string())
}

fn members(text: &str, labels: &[String]) -> Option<u64> {
    let mut members = 0;
    for one in text.split(',').filter(|one| !one.is_empty()) {
        members |= 1_u64.checked_shl(u32::try_from(labels.iter().position(|label| label == one)?).ok()?)?;
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use wavemark_domain::moment::Date;

    use super::*;

    fn of_type(data_type: &str) -> ColumnNative {
        ColumnNative { data_type: data_type.to_owned(), charset: Some("utf8mb4".to_owned()), ..ColumnNative::default() }
    }

    fn told(native: &ColumnNative, default: &str) -> Option<Unsaid> {
        let default = Some(DefaultValue::Literal { text: default.to_owned() });
        Unsaid::told(&ColumnNative { default, ..native.clone() }, Told { is_null: false, not_null: false })
    }

    #[test]
    fn a_default_of_the_catalog_is_the_value_that_the_log_would_have() {
        let int = of_type("int");
        let unsigned = ColumnNative { unsigned: true, ..of_type("bigint") };
        let decimal = ColumnNative { precision: Some(9), scale: Some(3), ..of_type("decimal") };
        let word = ColumnNative { length: Some(9), ..of_type("varchar") };
        let time = ColumnNative { digits: 3, ..of_type("time") };
        let datetime = ColumnNative { digits: 6, ..of_type("datetime") };
        let labels = ColumnNative { labels: vec!["a".into(), "b".into(), "c".into()], ..of_type("enum") };
        let set = ColumnNative { data_type: "set".to_owned(), ..labels.clone() };
        let day = Date { year: 2024, month: 2, day: 29 };
        for (native, default, value) in [
            (&int, "-7", Value::Int(-7)),
            (&unsigned, "18446744073709551615", Value::Uint(u64::MAX)),
            (&of_type("year"), "2024", Value::Int(2024)),
            (&of_type("float"), "0", Value::Float(0.0)),
            (&of_type("double"), "-12", Value::Double(-12.0)),
            (&decimal, "-1.50", Value::Bytes(b"-1.500")),
            (&decimal, "0.000", Value::Bytes(b"0.000")),
            (&decimal, "12", Value::Bytes(b"12.000")),
            (&word, "größe ", Value::Bytes("größe ".as_bytes())),
            (&word, "", Value::Bytes(b"")),
            (&labels, "c", Value::Ordinal(3)),
            (&set, "a,c", Value::Members(5)),
            (&set, "", Value::Members(0)),
            (&of_type("date"), "2024-02-29", Value::Moment(Timestamp { date: day, micros: 0 })),
            (&time, "01:02:03.5", Value::Time(3_723_500_000)),
            (&datetime, "2024-02-29 00:00:01.000002", Value::Moment(Timestamp { date: day, micros: 1_000_002 })),
        ] {
            assert_eq!(
                told(native, default).as_ref().and_then(|unsaid| unsaid.value(native)),
                Some(value),
                "{default}"
            );
        }
    }

    /// The catalog rounds floats, writes marks for letters, and has instants in somebody's time zone.
    #[test]
    fn what_the_catalog_does_not_tell_exactly_is_not_known() {
        let word = ColumnNative { length: Some(9), ..of_type("varchar") };
        let other = ColumnNative { charset: Some("sjis".to_owned()), ..word.clone() };
        let decimal = ColumnNative { precision: Some(9), scale: Some(3), ..of_type("decimal") };
        for (native, default) in [
            (&of_type("float"), "1.5"),
            (&of_type("double"), "123456"),
            (&word, "what?"),
            (&other, "plain"),
            (&decimal, "-0.000"),
            (&of_type("timestamp"), "2024-02-29 00:00:00"),
            (&of_type("date"), "0000-00-00"),
            (&of_type("bit"), "b'1'"),
            (&of_type("binary"), "0x41"),
            (&of_type("uuid"), "0"),
        ] {
            assert_eq!(told(native, default), None, "{default}");
        }
    }

    #[test]
    fn a_text_is_not_known_any_more_in_another_character_set() {
        let word = ColumnNative { length: Some(9), ..of_type("varchar") };
        let unsaid = told(&word, "größe").unwrap();
        for charset in ["latin1", "ucs2"] {
            assert_eq!(unsaid.value(&ColumnNative { charset: Some(charset.to_owned()), ..word.clone() }), None);
        }
    }

    #[test]
    fn without_a_default_it_is_null_or_what_the_type_has_for_nothing() {
        let word = ColumnNative { length: Some(9), ..of_type("varchar") };
        let of = |native: &ColumnNative, is_null, not_null| Unsaid::told(native, Told { is_null, not_null });
        assert_eq!(of(&of_type("bit"), true, false), Some(Unsaid::Null));
        assert_eq!(of(&of_type("int"), true, true), Some(Unsaid::Text("0".to_owned())));
        assert_eq!(of(&word, true, true), Some(Unsaid::Text(String::new())));
        assert_eq!(of(&of_type("datetime"), true, true), None);
        // Its default is an expression.
        assert_eq!(of(&of_type("int"), false, false), None);
        let counted = ColumnNative { auto_increment: true, ..of_type("int") };
        assert_eq!(of(&counted, true, true), None);
    }
}
