//! Defaults of another system as expressions of this one. One that its column's type here could refuse, or would take for
//! something else, is left out.

use wavemark_domain::Logical;
use wavemark_domain::extras::DefaultValue;
use wavemark_domain::moment::Date;

/// The most microseconds of a time of day or of a moment have so many digits.
const MOST_DIGITS: usize = 6;

/// The expression, if the column's type has the value.
pub(super) fn of(default: &DefaultValue, logical: &Logical) -> Option<String> {
    let text = match default {
        DefaultValue::Literal { text } => text.as_str(),
        DefaultValue::Now { digits } => return now(*digits, logical),
    };
    let quoted = |fits: bool| fits.then(|| literal(text));
    match logical {
        Logical::Boolean if text == "1" => Some("true".to_owned()),
        Logical::Boolean if text == "0" => Some("false".to_owned()),
        Logical::Int16 => text.parse::<i16>().ok().map(|number| number.to_string()),
        Logical::Int32 => text.parse::<i32>().ok().map(|number| number.to_string()),
        Logical::Int64 => text.parse::<i64>().ok().map(|number| number.to_string()),
        Logical::Uint64 => text.parse::<u64>().ok().map(|number| number.to_string()),
        Logical::Decimal { .. } => is_decimal(text).then(|| text.to_owned()),
        Logical::Float32 => text.parse::<f32>().ok().filter(|number| number.is_finite()).map(|_| literal(text)),
        Logical::Float64 => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| literal(text)),
        Logical::Text { length } => {
            let fits = length.is_none_or(|most| text.chars().count() <= most as usize);
            quoted(fits && !text.contains('\0'))
        }
        Logical::Enum { labels } => quoted(labels.iter().any(|label| label == text)),
        Logical::Set { labels } => {
            quoted(text.is_empty() || text.split(',').all(|one| labels.iter().any(|label| label == one)))
        }
        Logical::Date => quoted(is_date(text)),
        Logical::Time { .. } => quoted(is_time(text)),
        Logical::Timestamp { .. } => {
            quoted(text.split_once(' ').is_some_and(|(date, time)| is_date(date) && is_time(time)))
        }
        Logical::Instant { .. } => {
            let fits = text.split_once(' ').is_some_and(|(date, time)| is_date(date) && is_time(time));
            fits.then(|| literal(&format!("{text}+00")))
        }
        Logical::Bytes => is_hex(text).then(|| format!("'\\x{text}'::bytea")),
        Logical::Bits { length } => is_bits(text, (*length).into()).then(|| format!("B'{text}'")),
        Logical::Uuid => quoted(uuid::Uuid::try_parse(text).is_ok_and(|id| id.to_string() == text)),
        // Of another system's values none comes here, for what it has instead of them are expressions.
        Logical::Boolean | Logical::Json => None,
    }
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_bits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0' | b'1'))
}

fn now(digits: u8, logical: &Logical) -> Option<String> {
    let has_moments = matches!(logical, Logical::Timestamp { .. } | Logical::Instant { .. });
    (has_moments && usize::from(digits) <= MOST_DIGITS).then(|| format!("CURRENT_TIMESTAMP({digits})"))
}

fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text).trim_start().to_owned()
}

/// Digits and at most one point, with a sign or without.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    is_digits(whole) && is_digits(rest)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it is `YYYY-MM-DD`, and a day that the calendar has.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let lengths = [year, month, day].map(|part| if is_digits(part) { part.len() } else { 0 });
    let (Ok(year), Ok(month), Ok(day)) = (year.parse(), month.parse(), day.parse()) else { return false };
    lengths == [4, 2, 2] && year > 0 && Date { year, month, day }.days().is_some()
}

/// Whether it is `HH:MM:SS` with digits behind the point or without, and a time of day.
fn is_time(text: &str) -> bool {
    let (clock, behind) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let below = |part: &str, most: u8| part.len() == 2 && is_digits(part) && part.parse().is_ok_and(|n: u8| n < most);
    let [hours, minutes, seconds] = parts[..] else { return false };
    below(hours, 24) && below(minutes, 60) && below(seconds, 60) && is_digits(behind) && behind.len() <= MOST_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal_of(text: &str, logical: &Logical) -> Option<String> {
        of(&DefaultValue::Literal { text: text.to_owned() }, logical)
    }

    #[test]
    fn a_value_that_the_type_has_is_its_default() {
        let labels = || vec!["a".to_owned(), "it's".to_owned()];
        for (text, logical, expected) in [
            ("000042", Logical::Int32, "42"),
            ("-7", Logical::Int16, "-7"),
            ("18446744073709551615", Logical::Uint64, "18446744073709551615"),
            ("-1.50", Logical::Decimal { precision: Some(10), scale: Some(2) }, "-1.50"),
            ("1e100", Logical::Float64, "'1e100'"),
            ("", Logical::Text { length: Some(5) }, "''"),
            ("it's", Logical::Text { length: Some(5) }, "'it''s'"),
            ("a\\b", Logical::Text { length: None }, r"E'a\\b'"),
            ("it's", Logical::Enum { labels: labels() }, "'it''s'"),
            ("a,it's", Logical::Set { labels: labels() }, "'a,it''s'"),
            ("2024-02-29", Logical::Date, "'2024-02-29'"),
            ("23:59:59.5", Logical::Time { digits: 1 }, "'23:59:59.5'"),
            ("2024-02-29 00:00:00", Logical::Timestamp { digits: 0 }, "'2024-02-29 00:00:00'"),
            ("2024-02-29 00:00:00", Logical::Instant { digits: 0 }, "'2024-02-29 00:00:00+00'"),
            ("101", Logical::Bits { length: 3 }, "B'101'"),
            ("616263", Logical::Bytes, r"'\x616263'::bytea"),
            ("", Logical::Bytes, r"'\x'::bytea"),
            ("00000000-0000-0000-0000-00000000000a", Logical::Uuid, "'00000000-0000-0000-0000-00000000000a'"),
        ] {
            assert_eq!(literal_of(text, &logical).as_deref(), Some(expected), "{text} of {logical}");
        }
        let now = DefaultValue::Now { digits: 3 };
        assert_eq!(of(&now, &Logical::Instant { digits: 3 }).as_deref(), Some("CURRENT_TIMESTAMP(3)"));
        assert_eq!(of(&now, &Logical::Date), None);
    }

    #[test]
    fn a_value_that_the_type_lacks_is_left_out() {
        for (text, logical) in [
            ("40000", Logical::Int16),
            ("1 + 1", Logical::Int32),
            ("-1", Logical::Uint64),
            ("1e3", Logical::Decimal { precision: None, scale: None }),
            (".", Logical::Decimal { precision: None, scale: None }),
            ("nan", Logical::Float64),
            ("longer", Logical::Text { length: Some(5) }),
            ("b", Logical::Enum { labels: vec!["a".to_owned()] }),
            ("0000-00-00", Logical::Date),
            ("2023-02-29", Logical::Date),
            ("20230228", Logical::Date),
            ("0000-00-00 00:00:00", Logical::Timestamp { digits: 0 }),
            ("-838:59:59", Logical::Time { digits: 0 }),
            ("0000-00-00 00:00:00", Logical::Instant { digits: 0 }),
            ("b'101'", Logical::Bits { length: 3 }),
            ("01", Logical::Bits { length: 3 }),
            ("1", Logical::Uuid),
            ("0x616263", Logical::Bytes),
        ] {
            assert_eq!(literal_of(text, &logical), None, "{text} of {logical}");
        }
    }
}
