//! Defaults of another system. One that its column's type here could refuse, or would take for something else, is left out.

use wavemark_domain::Logical;
use wavemark_domain::extras::DefaultValue;
use wavemark_domain::moment::Date;

use crate::native::ColumnNative;
use crate::target::values::fits_decimal;

/// The most digits of a second behind the point.
const MOST_DIGITS: usize = 6;

/// The default, if the column's type has the value.
pub(super) fn of(default: &DefaultValue, logical: &Logical, native: &ColumnNative) -> Option<DefaultValue> {
    let text = match default {
        DefaultValue::Literal { text } => text.as_str(),
        DefaultValue::Now { .. } => {
            let (digits, has_moments) =
                (native.digits, matches!(logical, Logical::Timestamp { .. } | Logical::Instant { .. }));
            return has_moments.then_some(DefaultValue::Now { digits });
        }
    };
    let literal = |fits: bool| fits.then(|| DefaultValue::Literal { text: text.to_owned() });
    let number = |text: Option<String>| text.map(|text| DefaultValue::Literal { text });
    match logical {
        Logical::Boolean => number(truth(text).map(str::to_owned)),
        Logical::Int16 => number(text.parse::<i16>().ok().map(|number| number.to_string())),
        Logical::Int32 => number(text.parse::<i32>().ok().map(|number| number.to_string())),
        Logical::Int64 => number(text.parse::<i64>().ok().map(|number| number.to_string())),
        Logical::Uint64 => number(text.parse::<u64>().ok().map(|number| number.to_string())),
        Logical::Decimal { .. } => {
            let (precision, scale) = (native.precision?, native.scale?);
            literal(fits_decimal(text, precision.checked_sub(scale)?, scale))
        }
        Logical::Float32 => literal(text.parse::<f32>().is_ok_and(f32::is_finite)),
        Logical::Float64 => literal(text.parse::<f64>().is_ok_and(f64::is_finite)),
        Logical::Text { .. } => literal(native.length.is_some_and(|most| text.chars().count() <= most as usize)),
        Logical::Enum { labels } => literal(labels.iter().any(|label| label == text)),
        Logical::Set { labels } => {
            literal(text.is_empty() || text.split(',').all(|one| labels.iter().any(|label| label == one)))
        }
        Logical::Date => literal(is_date(text)),
        Logical::Time { .. } => literal(is_time(text, native.digits)),
        Logical::Timestamp { .. } | Logical::Instant { .. } => {
            let parts = text.split_once(' ');
            literal(parts.is_some_and(|(date, time)| is_date(date) && is_time(time, native.digits)))
        }
        Logical::Uuid => literal(is_uuid(text)),
        // Whether the server keeps it exactly is seen where that is known.
        Logical::Json => literal(true),
        Logical::Bits { length } => {
            let fits = native.data_type == "bit" && is_bits(text, (*length).into());
            fits.then(|| DefaultValue::Literal { text: format!("b'{text}'") })
        }
        Logical::Bytes => {
            let fits = is_hex(text) && native.length.is_some_and(|most| text.len() / 2 <= most as usize);
            fits.then(|| DefaultValue::Literal { text: format!("0x{text}") })
        }
    }
}

fn is_bits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0' | b'1'))
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As the values that travel are written: `00000000-0000-0000-0000-000000000001`.
fn is_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

fn truth(text: &str) -> Option<&'static str> {
    match text {
        "1" | "t" | "true" => Some("1"),
        "0" | "f" | "false" => Some("0"),
        _ => None,
    }
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

/// Whether it is `HH:MM:SS` with so many digits behind the point or fewer, and a time of day.
fn is_time(text: &str, digits: u8) -> bool {
    let (clock, behind) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let below = |part: &str, most: u8| part.len() == 2 && is_digits(part) && part.parse().is_ok_and(|n: u8| n < most);
    let [hours, minutes, seconds] = parts[..] else { return false };
    let used = behind.trim_end_matches('0').len();
    below(hours, 24)
        && below(minutes, 60)
        && below(seconds, 60)
        && is_digits(behind)
        && behind.len() <= MOST_DIGITS
        && used <= usize::from(digits)
}

#[cfg(test)]
mod tests {
    use super::super::{Room, of as declared};
    use super::*;

    fn literal_of(text: &str, logical: &Logical) -> Option<String> {
        let native = declared(logical, Room::Own).native;
        match of(&DefaultValue::Literal { text: text.to_owned() }, logical, &native)? {
            DefaultValue::Literal { text } => Some(text),
            DefaultValue::Now { .. } => None,
        }
    }

    #[test]
    fn a_value_that_the_type_has_is_its_default() {
        for (text, logical, expected) in [
            ("true", Logical::Boolean, "1"),
            ("0", Logical::Boolean, "0"),
            ("000042", Logical::Int32, "42"),
            ("18446744073709551615", Logical::Uint64, "18446744073709551615"),
            ("-1.50", Logical::Decimal { precision: Some(10), scale: Some(2) }, "-1.50"),
            ("1e100", Logical::Float64, "1e100"),
            ("it's", Logical::Text { length: Some(5) }, "it's"),
            ("2024-02-29", Logical::Date, "2024-02-29"),
            ("23:59:59.5", Logical::Time { digits: 1 }, "23:59:59.5"),
            ("2024-02-29 00:00:00", Logical::Timestamp { digits: 0 }, "2024-02-29 00:00:00"),
            ("2024-02-29 00:00:00.5", Logical::Instant { digits: 1 }, "2024-02-29 00:00:00.5"),
            ("101", Logical::Bits { length: 3 }, "b'101'"),
            ("00ff", Logical::Bytes, "0x00ff"),
            ("{\"a\": 1}", Logical::Json, "{\"a\": 1}"),
            ("00000000-0000-0000-0000-00000000000a", Logical::Uuid, "00000000-0000-0000-0000-00000000000a"),
        ] {
            assert_eq!(literal_of(text, &logical).as_deref(), Some(expected), "{text} of {logical}");
        }
        let now =
            |logical: &Logical| of(&DefaultValue::Now { digits: 0 }, logical, &declared(logical, Room::Own).native);
        assert_eq!(now(&Logical::Timestamp { digits: 3 }), Some(DefaultValue::Now { digits: 3 }));
        assert_eq!(now(&Logical::Instant { digits: 3 }), Some(DefaultValue::Now { digits: 3 }));
        assert_eq!(now(&Logical::Date), None);
    }

    #[test]
    fn a_value_that_the_type_lacks_is_left_out() {
        for (text, logical) in [
            ("yes", Logical::Boolean),
            ("40000", Logical::Int16),
            ("-1", Logical::Uint64),
            ("1e3", Logical::Decimal { precision: None, scale: None }),
            ("1.005", Logical::Decimal { precision: Some(10), scale: Some(2) }),
            ("nan", Logical::Float64),
            ("longer", Logical::Text { length: Some(5) }),
            ("b", Logical::Enum { labels: vec!["a".to_owned()] }),
            ("2023-02-29", Logical::Date),
            ("23:59:59.25", Logical::Time { digits: 1 }),
            ("24:00:00", Logical::Time { digits: 0 }),
            ("2024-01-01 00:00:00+02", Logical::Instant { digits: 0 }),
            ("01", Logical::Bits { length: 3 }),
            ("102", Logical::Bits { length: 3 }),
            ("abc", Logical::Bytes),
            ("it", Logical::Bytes),
            ("00000000-0000-0000-0000-00000000000A", Logical::Uuid),
            ("1", Logical::Uuid),
        ] {
            assert_eq!(literal_of(text, &logical), None, "{text} of {logical}");
        }
    }
}
