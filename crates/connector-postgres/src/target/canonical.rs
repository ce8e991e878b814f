//! Values of other systems, from the form that `domain::logical` gives them to this server's binary form.

use wavemark_domain::ColumnPlan;
use wavemark_domain::moment::{DAY, Date, Timestamp};

use super::spelled::Spelled;

/// Days from 1970 to 2000, from which this server counts.
const EPOCH_DAYS: i64 = 10_957;

/// The days that a `date` can be, as it counts them: 4714-11-24 BC to 5874897-12-31.
const DATES: std::ops::RangeInclusive<i64> = -2_451_545..=2_145_031_948;
/// The microseconds that a `timestamp` can be: 4714-11-24 BC to before 294277-01-01.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// How a value is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canonical {
    Decimal,
    Unsigned,
    Date,
    Time,
    Timestamp,
    Json,
    Bits {
        length: u16,
    },
    /// As words, into a column that is a text.
    Spelled(Spelled),
}

/// Why a value has no place in this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("its bytes are not of the form that was agreed")]
    Misshapen,
    #[error("it is a date that no calendar has, or one beyond those that PostgreSQL has")]
    NoSuchDate,
    #[error("it is less than 0 or more than 24 hours")]
    NoTimeOfDay,
    #[error("it has more digits than a number can have")]
    TooManyDigits,
}

impl Canonical {
    /// What is done to the values of a planned column, whose type at the target is written so; `None` where they are the same in both forms.
    pub(crate) fn of(planned: &ColumnPlan, declared: &str) -> Option<Self> {
        let spelled = planned.as_text.as_ref().and_then(Spelled::of);
        if let Some(spelled) = spelled.filter(|_| declared == "text" || declared.starts_with("character varying")) {
            return Some(Self::Spelled(spelled));
        }
        let length = || declared.trim_start_matches("bit(").trim_end_matches(')').parse().unwrap_or(1);
        match planned.encoding.name() {
            "canonical decimal" => Some(Self::Decimal),
            "canonical uint64" => Some(Self::Unsigned),
            "canonical date" => Some(Self::Date),
            "canonical time" => Some(Self::Time),
            "canonical timestamp" | "canonical instant" => Some(Self::Timestamp),
            "canonical json" => Some(Self::Json),
            "canonical bits" => Some(Self::Bits { length: length() }),
            _ => None,
        }
    }

    /// Writes the value behind what `out` has.
    pub(crate) fn write(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Decimal => decimal(value, out)?,
            Self::Unsigned => {
                let value = u64::from_be_bytes(value.try_into().map_err(|_| Unfit::Misshapen)?);
                decimal(value.to_string().as_bytes(), out)?;
            }
            Self::Date => out.extend(date(Date::from_bytes(value).ok_or(Unfit::Misshapen)?)?.to_be_bytes()),
            Self::Time => {
                let micros = i64::from_be_bytes(value.try_into().map_err(|_| Unfit::Misshapen)?);
                if !(0..=DAY).contains(&micros) {
                    return Err(Unfit::NoTimeOfDay);
                }
                out.extend(micros.to_be_bytes());
            }
            Self::Timestamp => {
                out.extend(timestamp(Timestamp::from_bytes(value).ok_or(Unfit::Misshapen)?)?.to_be_bytes());
            }
            Self::Json => {
                // The version of `jsonb_recv`.
                out.push(1);
                out.extend_from_slice(value);
            }
            Self::Bits { length } => bits(value, length, out)?,
            Self::Spelled(spelled) => spelled.write(value, out)?,
        }
        Ok(())
    }
}

fn date(date: Date) -> Result<i32, Unfit> {
    match date.year {
        i32::MAX | i32::MIN => Ok(date.year),
        _ => {
            let days = date.days().map(|days| days - EPOCH_DAYS).filter(|days| DATES.contains(days));
            days.and_then(|days| i32::try_from(days).ok()).ok_or(Unfit::NoSuchDate)
        }
    }
}

fn timestamp(timestamp: Timestamp) -> Result<i64, Unfit> {
    match timestamp.date.year {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        _ => {
            // Those since 1970 would be too many for the last of them.
            let days = timestamp.date.days().map(|days| days - EPOCH_DAYS);
            let micros = days.and_then(|days| days.checked_mul(DAY)?.checked_add(timestamp.micros));
            micros.filter(|micros| TIMESTAMPS.contains(micros)).ok_or(Unfit::NoSuchDate)
        }
    }
}

/// `bit_recv`: the number of bits, and the bits from the highest on, padded at the end.
fn bits(value: &[u8], length: u16, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let bytes = usize::from(length).div_ceil(8);
    let shift = u32::try_from(bytes * 8 - usize::from(length)).unwrap_or(0);
    if value.len() != bytes || value.first().is_some_and(|first| first.leading_zeros() < shift) {
        return Err(Unfit::Misshapen);
    }
    out.extend(i32::from(length).to_be_bytes());
    for (at, byte) in value.iter().enumerate() {
        let next = value.get(at + 1).copied().unwrap_or(0);
        let both = u16::from_be_bytes([*byte, next]) << shift;
        out.push(both.to_be_bytes()[0]);
    }
    Ok(())
}

const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xC000;
const INFINITE: u16 = 0xD000;
const NEGATIVE_INFINITE: u16 = 0xF000;
/// Digits of ten in one of the server's digits.
const GROUP: usize = 4;

/// `numeric_recv`: how many digits of ten thousand, the weight of the first, the sign, how many decimal digits behind the
/// point are shown, the digits.
fn decimal(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let special = match text {
        b"NaN" => Some(NOT_A_NUMBER),
        b"Infinity" => Some(INFINITE),
        b"-Infinity" => Some(NEGATIVE_INFINITE),
        _ => None,
    };
    if let Some(sign) = special {
        out.extend(header(0, 0, sign, 0));
        return Ok(());
    }
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (NEGATIVE, digits),
        None => (0, text),
    };
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (whole, behind) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if whole.is_empty() && behind.is_empty() || !whole.iter().chain(behind).all(u8::is_ascii_digit) {
        return Err(Unfit::Misshapen);
    }
    let scale = u16::try_from(behind.len()).ok().filter(|scale| *scale <= 16_383).ok_or(Unfit::TooManyDigits)?;
    let whole = &whole[whole.iter().take_while(|digit| **digit == b'0').count()..];
    let first = out.len();
    out.extend([0; 8]);
    // The first group before the point has what is left over; behind it the last one is filled up with zeros.
    let (odd, even) = whole.split_at(whole.len() % GROUP);
    let groups = (!odd.is_empty()).then_some(odd).into_iter().chain(even.chunks(GROUP));
    let before_point = whole.len().div_ceil(GROUP);
    let mut count = 0_usize;
    let mut push = |group: &[u8], wide: usize, out: &mut Vec<u8>| {
        let padded = group.iter().map(|digit| digit - b'0').chain(std::iter::repeat_n(0, wide - group.len()));
        let digit = padded.fold(0_u16, |sum, digit| sum * 10 + u16::from(digit));
        out.extend(digit.to_be_bytes());
        count += 1;
    };
    groups.for_each(|group| push(group, group.len(), out));
    behind.chunks(GROUP).for_each(|group| push(group, GROUP, out));
    // Zero groups at either end are not kept.
    while count > 0 && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
        count -= 1;
    }
    let zeros = out[first + 8..].chunks(2).take_while(|group| *group == [0, 0]).count();
    out.drain(first + 8..first + 8 + zeros * 2);
    let too_many = |_| Unfit::TooManyDigits;
    let header = match u16::try_from(count - zeros).map_err(too_many)? {
        0 => header(0, 0, 0, scale),
        count => {
            let number = |count: usize| i32::try_from(count).map_err(too_many);
            let weight = number(before_point)? - 1 - number(zeros)?;
            header(count, i16::try_from(weight).map_err(too_many)?, sign, scale)
        }
    };
    out[first..first + 8].copy_from_slice(&header);
    Ok(())
}

fn header(count: u16, weight: i16, sign: u16, scale: u16) -> [u8; 8] {
    let mut header = [0; 8];
    let words = [count.to_be_bytes(), weight.to_be_bytes(), sign.to_be_bytes(), scale.to_be_bytes()];
    header.copy_from_slice(words.as_flattened());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(canonical: Canonical, value: &[u8]) -> Result<Vec<u8>, Unfit> {
        let mut out = Vec::new();
        canonical.write(value, &mut out).map(|()| out)
    }

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// The right sides are what version 15 sends: `SELECT encode(numeric_send('…'), 'hex')`.
    #[test]
    fn decimals_are_as_the_server_sends_them() {
        for (text, sent) in [
            ("0", words(&[0, 0, 0, 0])),
            ("-0.00", words(&[0, 0, 0, 2])),
            ("1", words(&[1, 0, 0, 0, 1])),
            ("10000", words(&[1, 1, 0, 0, 1])),
            ("-12345.678", words(&[3, 1, 0x4000, 3, 1, 2345, 6780])),
            ("0.00001", words(&[1, 0xFFFE, 0, 5, 1000])),
            ("0.10", words(&[1, 0xFFFF, 0, 2, 1000])),
            ("100000000.5", words(&[4, 2, 0, 1, 1, 0, 0, 5000])),
            ("007", words(&[1, 0, 0, 0, 7])),
            ("18446744073709551615", words(&[5, 4, 0, 0, 1844, 6744, 737, 955, 1615])),
            ("NaN", words(&[0, 0, 0xC000, 0])),
            ("-Infinity", words(&[0, 0, 0xF000, 0])),
        ] {
            assert_eq!(written(Canonical::Decimal, text.as_bytes()).unwrap(), sent, "{text}");
        }
        for text in ["", "-", ".", "1e5", "1.2.3", "+1", "x"] {
            assert_eq!(written(Canonical::Decimal, text.as_bytes()), Err(Unfit::Misshapen), "{text}");
        }
    }

    /// As many digits as the server has before the point, and one more.
    #[test]
    fn the_longest_decimal_has_its_place() {
        let sent = written(Canonical::Decimal, "9".repeat(131_072).as_bytes()).unwrap();
        assert_eq!(sent[..10], words(&[32_768, 32_767, 0, 0, 9999])[..]);
        let longer = "9".repeat(131_073);
        assert_eq!(written(Canonical::Decimal, longer.as_bytes()), Err(Unfit::TooManyDigits));
    }

    #[test]
    fn a_number_without_a_sign_is_a_decimal() {
        let decimal = written(Canonical::Decimal, b"18446744073709551615");
        assert_eq!(written(Canonical::Unsigned, &u64::MAX.to_be_bytes()), decimal);
    }

    #[test]
    fn dates_count_from_2000() {
        let of = |year, month, day| written(Canonical::Date, &Date { year, month, day }.to_bytes());
        assert_eq!(of(2000, 1, 1).unwrap(), 0_i32.to_be_bytes());
        assert_eq!(of(1999, 12, 31).unwrap(), (-1_i32).to_be_bytes());
        assert_eq!(of(i32::MAX, 0, 0).unwrap(), i32::MAX.to_be_bytes());
        assert_eq!(of(-4713, 11, 24).unwrap(), (-2_451_545_i32).to_be_bytes());
        for (year, month, day) in [(0, 0, 0), (2024, 2, 30), (1, 0, 0), (-4713, 11, 23), (5_874_898, 1, 1)] {
            assert_eq!(of(year, month, day), Err(Unfit::NoSuchDate), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn a_time_is_one_of_a_day() {
        assert_eq!(written(Canonical::Time, &DAY.to_be_bytes()).unwrap(), DAY.to_be_bytes());
        for micros in [-1, DAY + 1] {
            assert_eq!(written(Canonical::Time, &micros.to_be_bytes()), Err(Unfit::NoTimeOfDay));
        }
    }

    #[test]
    fn timestamps_count_from_2000() {
        let of = |year, month, day, micros| {
            written(Canonical::Timestamp, &Timestamp { date: Date { year, month, day }, micros }.to_bytes())
        };
        assert_eq!(of(2000, 1, 1, 1).unwrap(), 1_i64.to_be_bytes());
        assert_eq!(of(1970, 1, 1, 0).unwrap(), (-946_684_800_000_000_i64).to_be_bytes());
        assert_eq!(of(i32::MIN, 0, 0, 0).unwrap(), i64::MIN.to_be_bytes());
        assert_eq!(of(294_276, 12, 31, DAY - 1).unwrap(), 9_223_371_331_199_999_999_i64.to_be_bytes());
        assert_eq!(of(0, 0, 0, 0), Err(Unfit::NoSuchDate));
        assert_eq!(of(294_277, 1, 1, 0), Err(Unfit::NoSuchDate));
    }

    #[test]
    fn bits_stand_at_the_front() {
        let of = |length, value: &[u8]| written(Canonical::Bits { length }, value);
        assert_eq!(of(3, &[0b101]).unwrap(), [0, 0, 0, 3, 0b1010_0000]);
        assert_eq!(of(8, &[0xAB]).unwrap(), [0, 0, 0, 8, 0xAB]);
        assert_eq!(of(10, &[0b11, 0b1000_0001]).unwrap(), [0, 0, 0, 10, 0b1110_0000, 0b0100_0000]);
        assert_eq!(of(3, &[0b1000]), Err(Unfit::Misshapen));
        assert_eq!(of(9, &[1]), Err(Unfit::Misshapen));
    }
}
