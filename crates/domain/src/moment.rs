//! Dates and timestamps as they travel between systems.
//!
//! A date is what was written, not a count of days: some systems hold dates that no calendar has (`0000-00-00`,
//! `2024-02-00`), and whether the other one can hold them is for it to say.

use serde::{Deserialize, Serialize};

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;
/// The days from 0000-03-01 to 1970-01-01 in the Gregorian calendar.
const EPOCH: i64 = 719_468;

/// A date as written, also one that no calendar has; years before 1 are as astronomers count them (0 is 1 BC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Date {
    /// The year; [`i32::MAX`] and [`i32::MIN`] stand for later and earlier than every date, with month and day 0.
    pub year: i32,
    /// 1 to 12; 0 if there is none.
    pub month: u8,
    /// 1 to 31; 0 if there is none.
    pub day: u8,
}

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    /// The date.
    pub date: Date,
    /// Microseconds since midnight.
    pub micros: i64,
}

impl Date {
    /// Its bytes: the year in four, month and day in one each.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 6] {
        let [a, b, c, d] = self.year.to_be_bytes();
        [a, b, c, d, self.month, self.day]
    }

    /// A date from its bytes; `None` if they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, month, day] = *<&[u8; 6]>::try_from(bytes).ok()?;
        Some(Self { year: i32::from_be_bytes([a, b, c, d]), month, day })
    }

    /// Days since 1970-01-01; `None` for what is no day of the Gregorian calendar.
    #[must_use]
    pub fn days(self) -> Option<i64> {
        if !(1..=12).contains(&self.month) || self.day == 0 || self.day > month_length(self.year, self.month) {
            return None;
        }
        // Years that begin in March end with the day that some of them have more.
        let (year, month) = (i64::from(self.year) - i64::from(self.month <= 2), i64::from(self.month));
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH)
    }

    /// The date that many days after 1970-01-01; `None` if its year is too far away.
    #[must_use]
    pub fn from_days(days: i64) -> Option<Self> {
        let days = days.checked_add(EPOCH)?;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * years + years / 4 - years / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = i32::try_from(era * 400 + years + i64::from(month <= 2)).ok()?;
        Some(Self { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? })
    }
}

/// Like `YYYY-MM-DD`.
impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Timestamp {
    /// Its bytes: the date's six, and the microseconds in eight.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 14] {
        let mut bytes = [0; 14];
        bytes[..6].copy_from_slice(&self.date.to_bytes());
        bytes[6..].copy_from_slice(&self.micros.to_be_bytes());
        bytes
    }

    /// A timestamp from its bytes; `None` if they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (date, micros) = bytes.split_at_checked(6)?;
        Some(Self { date: Date::from_bytes(date)?, micros: i64::from_be_bytes(micros.try_into().ok()?) })
    }

    /// Microseconds since 1970-01-01; `None` for what no calendar has, or what is too far away.
    #[must_use]
    pub fn since_1970(self) -> Option<i64> {
        self.date.days()?.checked_mul(DAY)?.checked_add(self.micros)
    }
}

fn month_length(year: i32, month: u8) -> u8 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn date(year: i32, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (days, date) in [
            (0, date(1970, 1, 1)),
            (-1, date(1969, 12, 31)),
            (10_957, date(2000, 1, 1)),
            (11_016, date(2000, 2, 29)),
            (19_782, date(2024, 2, 29)),
            (-719_528, date(0, 1, 1)),
            (2_932_896, date(9999, 12, 31)),
        ] {
            assert_eq!(date.days(), Some(days), "{date}");
            assert_eq!(Date::from_days(days), Some(date));
        }
    }

    #[test]
    fn what_no_calendar_has_is_no_day() {
        for date in
            [date(0, 0, 0), date(1, 0, 0), date(2024, 2, 0), date(2023, 2, 29), date(1900, 2, 29), date(1, 13, 1)]
        {
            assert_eq!(date.days(), None, "{date}");
            assert_eq!(Date::from_bytes(&date.to_bytes()), Some(date));
        }
    }

    #[test]
    fn bytes_of_another_length_are_no_date() {
        assert_eq!(Date::from_bytes(&[0; 5]), None);
        assert_eq!(Timestamp::from_bytes(&[0; 13]), None);
        assert_eq!(Timestamp::from_bytes(&[0; 3]), None);
    }

    proptest! {
        #[test]
        fn each_day_has_one_date(days in -800_000_000_i64..700_000_000_000) {
            let date = Date::from_days(days).unwrap();
            prop_assert_eq!(date.days(), Some(days));
            let next = Date::from_days(days + 1).unwrap();
            prop_assert!((date.year, date.month, date.day) < (next.year, next.month, next.day));
        }

        #[test]
        fn a_timestamp_comes_back_from_its_bytes(year: i32, month: u8, day: u8, micros: i64) {
            let timestamp = Timestamp { date: date(year, month, day), micros };
            prop_assert_eq!(Timestamp::from_bytes(&timestamp.to_bytes()), Some(timestamp));
        }
    }
}
