//! Dates and times as the server writes them with `DateStyle` ISO, read and written.

use std::fmt::Write as _;

use wavemark_domain::moment::{Date, Timestamp};

const SECOND: i64 = 1_000_000;

/// `2024-02-29`, `0044-02-01 BC`, `infinity`.
pub(super) fn date(text: &[u8]) -> Option<Date> {
    if let Some(date) = infinite(text) {
        return Some(date);
    }
    let (text, is_before) = era(text);
    day(text, is_before)
}

/// `23:59:59.999999`; also `24:00:00`.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let (clock, behind) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, &b"0"[..]),
    };
    let [h0, h1, b':', m0, m1, b':', s0, s1] = *<&[u8; 8]>::try_from(clock).ok()? else { return None };
    let two = |high: u8, low: u8| number(&[high, low]);
    let (hours, minutes, seconds) = (two(h0, h1)?, two(m0, m1)?, two(s0, s1)?);
    if behind.is_empty() || behind.len() > 6 {
        return None;
    }
    let scale = 10_i64.pow(6 - u32::try_from(behind.len()).ok()?);
    Some(((hours * 60 + minutes) * 60 + seconds) * SECOND + number(behind)? * scale)
}

/// `2024-02-29 12:00:00.5`, with ` BC` behind it.
pub(super) fn timestamp(text: &[u8]) -> Option<Timestamp> {
    if let Some(date) = infinite(text) {
        return Some(Timestamp { date, micros: 0 });
    }
    let (text, is_before) = era(text);
    let at = text.iter().position(|byte| *byte == b' ')?;
    Some(Timestamp { date: day(&text[..at], is_before)?, micros: time(&text[at + 1..])? })
}

/// The same with `+00`: the session writes moments in UTC, and one in another zone is none that it wrote.
pub(super) fn instant(text: &[u8]) -> Option<Timestamp> {
    if let Some(date) = infinite(text) {
        return Some(Timestamp { date, micros: 0 });
    }
    let (text, is_before) = era(text);
    let text = text.strip_suffix(b"+00")?;
    let at = text.iter().position(|byte| *byte == b' ')?;
    Some(Timestamp { date: day(&text[..at], is_before)?, micros: time(&text[at + 1..])? })
}

fn infinite(text: &[u8]) -> Option<Date> {
    match text {
        b"infinity" => Some(Date { year: i32::MAX, month: 0, day: 0 }),
        b"-infinity" => Some(Date { year: i32::MIN, month: 0, day: 0 }),
        _ => None,
    }
}

/// Without what marks a year before 1, and whether that is there.
fn era(text: &[u8]) -> (&[u8], bool) {
    text.strip_suffix(b" BC").map_or((text, false), |text| (text, true))
}

/// The year has four digits or more.
fn day(text: &[u8], is_before: bool) -> Option<Date> {
    let (year, rest) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let [b'-', m0, m1, b'-', d0, d1] = *<&[u8; 6]>::try_from(rest).ok()? else { return None };
    let year = if (4..=7).contains(&year.len()) { i32::try_from(number(year)?).ok()? } else { return None };
    // The year before 1 is 1 BC, which is written so, and 0 here.
    let year = if is_before { 1 - year } else { year };
    let small = |high: u8, low: u8| number(&[high, low]).and_then(|number| u8::try_from(number).ok());
    Some(Date { year, month: small(m0, m1)?, day: small(d0, d1)? })
}

fn number(digits: &[u8]) -> Option<i64> {
    let mut number = 0_i64;
    for digit in digits {
        number = number * 10 + i64::from(char::from(*digit).to_digit(10)?);
    }
    Some(number)
}

/// A date as the server reads it, with something between it and the mark of its era.
pub(super) fn date_text(date: Date, between: &str) -> String {
    match date.year {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        year => {
            let (year, era) = if year < 1 { (1 - i64::from(year), " BC") } else { (i64::from(year), "") };
            format!("{year:04}-{:02}-{:02}{between}{era}", date.month, date.day)
        }
    }
}

/// A time of day as the server reads it.
pub(super) fn time_text(micros: i64) -> String {
    let (seconds, behind) = (micros.div_euclid(SECOND), micros.rem_euclid(SECOND));
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if behind > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{behind:06}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(year: i32, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn dates_are_read_and_written_as_the_server_writes_them() {
        for (text, expected) in [
            ("2024-02-29", of(2024, 2, 29)),
            ("0001-01-01", of(1, 1, 1)),
            ("0001-12-31 BC", of(0, 12, 31)),
            ("0044-02-01 BC", of(-43, 2, 1)),
            ("4713-01-01 BC", of(-4712, 1, 1)),
            ("10000-01-01", of(10_000, 1, 1)),
            ("5874897-12-31", of(5_874_897, 12, 31)),
            ("infinity", of(i32::MAX, 0, 0)),
            ("-infinity", of(i32::MIN, 0, 0)),
        ] {
            assert_eq!(date(text.as_bytes()), Some(expected), "{text}");
            assert_eq!(date_text(expected, ""), text);
        }
        for text in ["", "2024", "24-02-29", "2024-2-29", "2024-02-29 ", "2024/02/29", "02-29-2024", "x024-02-29"] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_and_written_as_the_server_writes_them() {
        for (text, expected, written) in [
            ("00:00:00", 0, "00:00:00"),
            ("24:00:00", 86_400_000_000, "24:00:00"),
            ("23:59:59.999999", 86_399_999_999, "23:59:59.999999"),
            ("12:34:56.5", 45_296_500_000, "12:34:56.500000"),
            ("00:00:00.000001", 1, "00:00:00.000001"),
        ] {
            assert_eq!(time(text.as_bytes()), Some(expected), "{text}");
            assert_eq!(time_text(expected), written);
        }
        for text in ["", "1:00:00", "12:00", "12:00:00.", "12:00:00.1234567", "12:00:00+00", "12:00:00 PM", "-1:00:00"]
        {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn moments_are_read_as_the_server_writes_them() {
        let at = |date, micros| Some(Timestamp { date, micros });
        assert_eq!(timestamp(b"2024-03-31 02:30:00"), at(of(2024, 3, 31), 9_000_000_000));
        assert_eq!(timestamp(b"294276-12-31 23:59:59.999999"), at(of(294_276, 12, 31), 86_399_999_999));
        assert_eq!(timestamp(b"4713-01-01 00:00:00 BC"), at(of(-4712, 1, 1), 0));
        assert_eq!(timestamp(b"-infinity"), at(of(i32::MIN, 0, 0), 0));
        assert_eq!(instant(b"2024-10-27 01:30:00.5+00"), at(of(2024, 10, 27), 5_400_500_000));
        assert_eq!(instant(b"4713-01-01 00:00:00+00 BC"), at(of(-4712, 1, 1), 0));
        assert_eq!(instant(b"infinity"), at(of(i32::MAX, 0, 0), 0));
        for text in ["2024-03-31", "2024-03-31T02:30:00", "2024-03-31 02:30:00+00", "31.03.2024 02:30:00"] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
        for text in ["2024-03-31 02:30:00", "2024-03-31 02:30:00+02", "2024-03-31 02:30:00-00:53:28"] {
            assert_eq!(instant(text.as_bytes()), None, "{text}");
        }
    }
}
