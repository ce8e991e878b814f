//! Dates and times. The server rounds or cuts what is finer than its column without a word, and MySQL makes the longest
//! time of one that is longer by less than a second.

use wavemark_domain::moment::{DAY, Date, Timestamp};

use super::unfit::Unfit;
use crate::defaults::Dialect;

pub(super) const SECOND: i64 = 1_000_000;
/// The longest time.
const LONGEST: i64 = ((838 * 60 + 59) * 60 + 59) * SECOND;
/// `0000-00-00 00:00:00` stands for itself also among moments.
const ZERO: Timestamp = Timestamp { date: Date { year: 0, month: 0, day: 0 }, micros: 0 };

/// `YYYY-MM-DD`, also one that no calendar has: months and days may be 0, and any month may have 31 days.
pub(super) fn date(date: Date, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if matches!(date.year, i32::MAX | i32::MIN) {
        return Err(Unfit::Infinite);
    }
    let year = u32::try_from(date.year).ok().filter(|year| *year <= 9_999).ok_or(Unfit::NoSuchYear)?;
    if date.month > 12 || date.day > 31 {
        return Err(Unfit::NoSuchMoment);
    }
    padded(year, 4, out);
    out.push(b'-');
    padded(date.month.into(), 2, out);
    out.push(b'-');
    padded(date.day.into(), 2, out);
    Ok(())
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`.
pub(super) fn datetime(moment: Timestamp, digits: u8, out: &mut Vec<u8>) -> Result<(), Unfit> {
    date(moment.date, out)?;
    if !(0..DAY).contains(&moment.micros) {
        return Err(Unfit::NoSuchMoment);
    }
    out.push(b' ');
    clock(moment.micros, digits, out)
}

/// A time of day or a span: `-838:59:59.000000`.
pub(super) fn time(micros: i64, digits: u8, dialect: Dialect, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let longest = longest(dialect);
    if !(-longest..=longest).contains(&micros) {
        return Err(Unfit::OutOfRange);
    }
    if micros < 0 {
        out.push(b'-');
    }
    clock(micros.abs(), digits, out)
}

/// The longest time of a server.
pub(super) const fn longest(dialect: Dialect) -> i64 {
    match dialect {
        Dialect::Mysql => LONGEST,
        Dialect::Mariadb => LONGEST + SECOND - 1,
    }
}

/// What a `timestamp` can be: the zero, and moments of 31 bits of seconds, of which MySQL has not the first. MariaDB has 32
/// bits from 11.5 on, and says itself where it has less.
pub(super) fn must_be_timestamp(moment: Timestamp, dialect: Dialect) -> Result<(), Unfit> {
    if matches!(moment.date.year, i32::MAX | i32::MIN) {
        return Err(Unfit::Infinite);
    }
    let within = match dialect {
        Dialect::Mysql => SECOND..(1 << 31) * SECOND,
        Dialect::Mariadb => 1..(1 << 32) * SECOND,
    };
    let fits = moment == ZERO || moment.since_1970().is_some_and(|micros| within.contains(&micros));
    if fits { Ok(()) } else { Err(Unfit::NoSuchTimestamp) }
}

/// `HH:MM:SS`, and so many digits behind the point if there are any.
fn clock(micros: i64, digits: u8, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let micros = u64::try_from(micros).map_err(|_| Unfit::NoSuchMoment)?;
    let part = |number: u64| u32::try_from(number).map_err(|_| Unfit::NoSuchMoment);
    let (seconds, behind) = (micros / 1_000_000, part(micros % 1_000_000)?);
    let digits = u32::from(digits.min(6));
    let unit = 10_u32.pow(6 - digits);
    if behind % unit != 0 {
        return Err(Unfit::Rounded);
    }
    padded(part(seconds / 3_600)?, 2, out);
    out.push(b':');
    padded(part(seconds / 60 % 60)?, 2, out);
    out.push(b':');
    padded(part(seconds % 60)?, 2, out);
    if digits > 0 {
        out.push(b'.');
        padded(behind / unit, digits as usize, out);
    }
    Ok(())
}

/// A number with zeros in front up to so many digits; a longer one has its own.
fn padded(mut number: u32, width: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    while number > 0 || out.len() < begin + width {
        out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
    }
    out[begin..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unfit>) -> Result<String, Unfit> {
        let mut out = Vec::new();
        write(&mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn on(year: i32, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn dates_that_no_calendar_has_are_dates_here() {
        for (date, text) in [
            (on(0, 0, 0), "0000-00-00"),
            (on(2024, 2, 0), "2024-02-00"),
            (on(2023, 2, 31), "2023-02-31"),
            (on(1, 1, 1), "0001-01-01"),
            (on(9999, 12, 31), "9999-12-31"),
        ] {
            assert_eq!(of(|out| super::date(date, out)).as_deref(), Ok(text));
        }
        for (date, unfit) in [
            (on(-1, 12, 31), Unfit::NoSuchYear),
            (on(10_000, 1, 1), Unfit::NoSuchYear),
            (on(i32::MAX, 0, 0), Unfit::Infinite),
            (on(i32::MIN, 0, 0), Unfit::Infinite),
            (on(2024, 13, 1), Unfit::NoSuchMoment),
            (on(2024, 1, 32), Unfit::NoSuchMoment),
        ] {
            assert_eq!(of(|out| super::date(date, out)), Err(unfit), "{date}");
        }
    }

    #[test]
    fn a_moment_is_as_fine_as_its_column_or_unfit() {
        let at = |micros, digits| of(|out| datetime(Timestamp { date: on(2024, 2, 29), micros }, digits, out));
        assert_eq!(at(0, 0).as_deref(), Ok("2024-02-29 00:00:00"));
        assert_eq!(at(DAY - 1, 6).as_deref(), Ok("2024-02-29 23:59:59.999999"));
        assert_eq!(at(3_661_120_000, 2).as_deref(), Ok("2024-02-29 01:01:01.12"));
        assert_eq!(at(3_661_123_000, 2), Err(Unfit::Rounded));
        assert_eq!(at(1, 0), Err(Unfit::Rounded));
        assert_eq!(at(DAY, 6), Err(Unfit::NoSuchMoment));
        assert_eq!(at(-1, 6), Err(Unfit::NoSuchMoment));
    }

    #[test]
    fn times_are_spans_of_838_hours() {
        let at = |micros, dialect| of(|out| time(micros, 6, dialect, out));
        assert_eq!(at(DAY, Dialect::Mysql).as_deref(), Ok("24:00:00.000000"));
        assert_eq!(at(-1, Dialect::Mysql).as_deref(), Ok("-00:00:00.000001"));
        assert_eq!(at(-LONGEST, Dialect::Mysql).as_deref(), Ok("-838:59:59.000000"));
        assert_eq!(at(LONGEST + 1, Dialect::Mysql), Err(Unfit::OutOfRange));
        assert_eq!(at(LONGEST + 999_999, Dialect::Mariadb).as_deref(), Ok("838:59:59.999999"));
        assert_eq!(at(LONGEST + SECOND, Dialect::Mariadb), Err(Unfit::OutOfRange));
        assert_eq!(at(i64::MIN, Dialect::Mariadb), Err(Unfit::OutOfRange));
    }

    #[test]
    fn timestamps_end_in_2038() {
        let fits = |date, micros, dialect| must_be_timestamp(Timestamp { date, micros }, dialect).is_ok();
        let last = (3 * 3_600 + 14 * 60 + 7) * SECOND + 999_999;
        assert!(fits(on(0, 0, 0), 0, Dialect::Mysql));
        assert!(!fits(on(0, 0, 0), 1, Dialect::Mysql));
        assert!(!fits(on(1970, 1, 1), SECOND - 1, Dialect::Mysql));
        assert!(fits(on(1970, 1, 1), SECOND, Dialect::Mysql));
        assert!(fits(on(1970, 1, 1), 1, Dialect::Mariadb));
        assert!(!fits(on(1970, 1, 1), 0, Dialect::Mariadb));
        assert!(fits(on(2038, 1, 19), last, Dialect::Mysql));
        assert!(!fits(on(2038, 1, 19), last + 1, Dialect::Mysql));
        assert!(!fits(on(2024, 2, 30), 0, Dialect::Mysql));
        assert!(!fits(on(i32::MAX, 0, 0), 0, Dialect::Mariadb));
    }
}
