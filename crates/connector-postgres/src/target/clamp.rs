//! The nearest value that this system holds, for one of another system that it does not hold, in the form in which that
//! came.

use wavemark_domain::moment::{DAY, Date, Timestamp};

use super::canonical::Canonical;

/// The first and the last date.
const FIRST: Date = Date { year: -4713, month: 11, day: 24 };
const LAST: Date = Date { year: 5_874_897, month: 12, day: 31 };
/// The last date that a timestamp has.
const LAST_MOMENT: Date = Date { year: 294_276, month: 12, day: 31 };

/// `None` where nothing is near.
pub(super) fn nearest(canonical: Canonical, value: &[u8]) -> Option<Vec<u8>> {
    match canonical {
        Canonical::Date => Some(date(Date::from_bytes(value)?, LAST).to_bytes().to_vec()),
        Canonical::Time => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            Some(micros.clamp(0, DAY).to_be_bytes().to_vec())
        }
        Canonical::Timestamp => {
            let moment = Timestamp::from_bytes(value)?;
            let day = date(moment.date, LAST_MOMENT);
            let micros = match (moment.date.year, day.year) {
                (was, is) if was < is => 0,
                (was, is) if was > is => DAY - 1,
                _ => moment.micros.clamp(0, DAY - 1),
            };
            Some(Timestamp { date: day, micros }.to_bytes().to_vec())
        }
        Canonical::Decimal | Canonical::Unsigned | Canonical::Json | Canonical::Bits { .. } | Canonical::Spelled(_) => {
            None
        }
    }
}

/// Month and day are brought to those that the calendar has: `2024-00-00` to the first of January, `2024-02-31` to the last of
/// February.
fn date(date: Date, last: Date) -> Date {
    let Date { year, .. } = date;
    let month = date.month.clamp(1, 12);
    let in_calendar =
        (1..=date.day.max(1)).rev().map(|day| Date { year, month, day }).find(|date| date.days().is_some());
    let nearest = in_calendar.unwrap_or(Date { year, month, day: 1 });
    match nearest.days() {
        Some(days) if FIRST.days().is_some_and(|first| days < first) => FIRST,
        Some(days) if last.days().is_some_and(|last| days > last) => last,
        _ => nearest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_no_calendar_has_becomes_one_beside_it() {
        let of = |year, month, day| {
            let bytes = Date { year, month, day }.to_bytes();
            Date::from_bytes(&nearest(Canonical::Date, &bytes).unwrap()).unwrap().to_string()
        };
        assert_eq!(of(0, 0, 0), "0000-01-01");
        assert_eq!(of(2024, 2, 0), "2024-02-01");
        assert_eq!(of(2024, 0, 0), "2024-01-01");
        assert_eq!(of(2024, 2, 31), "2024-02-29");
        assert_eq!(of(2023, 2, 30), "2023-02-28");
        assert_eq!(of(2023, 11, 31), "2023-11-30");
        assert_eq!(of(-4714, 1, 1), "-4713-11-24");
        assert_eq!(of(5_874_898, 1, 1), "5874897-12-31");
    }

    #[test]
    fn a_moment_keeps_its_time_of_day() {
        let of = |year, month, day, micros| {
            let bytes = Timestamp { date: Date { year, month, day }, micros }.to_bytes();
            let nearest = Timestamp::from_bytes(&nearest(Canonical::Timestamp, &bytes).unwrap()).unwrap();
            (nearest.date.to_string(), nearest.micros)
        };
        assert_eq!(of(0, 0, 0, 0), ("0000-01-01".to_owned(), 0));
        assert_eq!(of(2024, 2, 31, 7), ("2024-02-29".to_owned(), 7));
        assert_eq!(of(300_000, 1, 1, 7), ("294276-12-31".to_owned(), DAY - 1));
        assert_eq!(of(-5_000, 1, 1, 7), ("-4713-11-24".to_owned(), 0));
    }

    #[test]
    fn a_time_becomes_one_of_a_day() {
        let of = |micros: i64| nearest(Canonical::Time, &micros.to_be_bytes()).unwrap();
        assert_eq!(of(-1), 0_i64.to_be_bytes());
        assert_eq!(of(838 * 3_600_000_000), DAY.to_be_bytes());
    }

    #[test]
    fn nothing_is_near_to_documents_and_bits() {
        for canonical in [Canonical::Json, Canonical::Decimal, Canonical::Bits { length: 3 }] {
            assert_eq!(nearest(canonical, b"x"), None);
        }
    }
}
