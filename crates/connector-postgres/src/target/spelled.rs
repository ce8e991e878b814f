//! Values of another system in its own words, for columns that are texts because no type here holds all of them. MySQL and
//! MariaDB are those that have such values, so these are their words.

use std::io::Write as _;

use wavemark_domain::Logical;
use wavemark_domain::moment::{Date, Timestamp};

use super::canonical::Unfit;

/// What is written as words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelled {
    Date,
    /// With so many digits behind the second's point.
    Time {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
}

impl Spelled {
    /// Those of which the type that is declared for them lacks some.
    pub(crate) fn of(logical: &Logical) -> Option<Self> {
        match logical {
            Logical::Date => Some(Self::Date),
            Logical::Time { digits } => Some(Self::Time { digits: *digits }),
            Logical::Timestamp { digits } | Logical::Instant { digits } => Some(Self::Timestamp { digits: *digits }),
            _ => None,
        }
    }

    /// Writes the value's text behind what `out` has.
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Date => date(Date::from_bytes(value).ok_or(Unfit::Misshapen)?, out),
            Self::Time { digits } => {
                let micros = i64::from_be_bytes(value.try_into().map_err(|_| Unfit::Misshapen)?);
                clock(micros, digits, out)
            }
            Self::Timestamp { digits } => {
                let moment = Timestamp::from_bytes(value).ok_or(Unfit::Misshapen)?;
                date(moment.date, out)?;
                out.push(b' ');
                clock(moment.micros, digits, out)
            }
        }
    }
}

fn date(Date { year, month, day }: Date, out: &mut Vec<u8>) -> Result<(), Unfit> {
    write!(out, "{year:04}-{month:02}-{day:02}").map_err(|_| Unfit::Misshapen)
}

/// `-838:59:59.000`.
fn clock(micros: i64, digits: u8, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let failed = |_| Unfit::Misshapen;
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, behind) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    write!(out, "{sign}{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60).map_err(failed)?;
    let behind = format!(".{behind:06}");
    if digits > 0 {
        out.extend_from_slice(&behind.as_bytes()[..=usize::from(digits.min(6))]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spelled: Spelled, value: &[u8]) -> String {
        let mut out = Vec::new();
        spelled.write(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_are_as_the_other_server_writes_them() {
        let date = |year, month, day| Date { year, month, day };
        assert_eq!(of(Spelled::Date, &date(0, 0, 0).to_bytes()), "0000-00-00");
        assert_eq!(of(Spelled::Date, &date(2024, 2, 31).to_bytes()), "2024-02-31");
        let moment = Timestamp { date: date(2024, 2, 0), micros: 43_200_500_000 }.to_bytes();
        assert_eq!(of(Spelled::Timestamp { digits: 0 }, &moment), "2024-02-00 12:00:00");
        assert_eq!(of(Spelled::Timestamp { digits: 3 }, &moment), "2024-02-00 12:00:00.500");
        let time = |digits, micros: i64| of(Spelled::Time { digits }, &micros.to_be_bytes());
        assert_eq!(time(0, -(838 * 3_600 + 59 * 60 + 59) * 1_000_000), "-838:59:59");
        assert_eq!(time(6, -1), "-00:00:00.000001");
        assert_eq!(time(2, 90_000_000), "00:01:30.00");
    }
}
