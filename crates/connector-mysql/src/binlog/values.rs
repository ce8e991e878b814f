//! The cells of a row in the log (server sources: `log_event.cc`, `my_time.cc`).

use wavemark_domain::moment::{DAY, Date, Timestamp};

use crate::fields::{Fields, Malformed};
use crate::value::{Packed, Value};

use super::table_map::LoggedColumn;

const SECOND: i64 = 1_000_000;

/// The next cell, of a column of this kind.
pub(super) fn read<'a>(column: LoggedColumn, fields: &mut Fields<'a>) -> Result<Value<'a>, Malformed> {
    Ok(match column {
        LoggedColumn::Whole(width) => Value::Int(whole(fields.take(width.into())?)),
        LoggedColumn::Float => Value::Float(f32::from_le_bytes(fields.array()?)),
        LoggedColumn::Double => Value::Double(f64::from_le_bytes(fields.array()?)),
        LoggedColumn::Decimal { precision, scale } => {
            let width = Packed::width(precision, scale).ok_or(Malformed("a decimal has no digits"))?;
            Value::Packed(Packed { bytes: fields.take(width)?, precision, scale })
        }
        LoggedColumn::Year => {
            let year = u64::from(fields.u8()?);
            Value::Uint(if year == 0 { 0 } else { year + 1_900 })
        }
        LoggedColumn::Date => {
            let [a, b, c] = fields.array()?;
            let packed = u32::from_le_bytes([a, b, c, 0]);
            Value::Moment(Timestamp { date: day(packed >> 9, packed >> 5 & 15, packed & 31), micros: 0 })
        }
        LoggedColumn::Time(digits) => Value::Time(time(digits, fields)?),
        LoggedColumn::Datetime(digits) => Value::Moment(datetime(digits, fields)?),
        LoggedColumn::Timestamp(digits) => Value::Moment(timestamp(digits, fields)?),
        LoggedColumn::Bytes(width) | LoggedColumn::Json(width) | LoggedColumn::Geometry(width) => {
            Value::Bytes(sized(width, fields)?)
        }
        LoggedColumn::Deflated(width) => Value::Deflated(sized(width, fields)?),
        LoggedColumn::Enum(width) => {
            let ordinal = unsigned(fields.take(width.into())?);
            Value::Ordinal(u16::try_from(ordinal).map_err(|_| Malformed("a label has no number"))?)
        }
        LoggedColumn::Set(width) => Value::Members(unsigned(fields.take(width.into())?)),
        LoggedColumn::Bits(width) => Value::Bytes(fields.take(width.into())?),
        LoggedColumn::Unknown(_) => return Err(Malformed("a column is of a type that is not known")),
    })
}

/// What changed in a JSON value, behind its length.
pub(super) fn changes<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
    sized(4, fields)
}

fn sized<'a>(width: u8, fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
    let length = unsigned(fields.take(width.into())?);
    fields.take(usize::try_from(length).map_err(|_| Malformed("a value has no length"))?)
}

/// Little-endian, of up to eight bytes.
fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn whole(bytes: &[u8]) -> i64 {
    let shift = 64 - 8 * u32::try_from(bytes.len().clamp(1, 8)).unwrap_or(8);
    (unsigned(bytes) << shift).cast_signed() >> shift
}

/// Big-endian, of up to eight bytes.
fn big(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte))
}

fn day(year: u32, month: u32, day: u32) -> Date {
    let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    Date { year: i32::try_from(year).unwrap_or(i32::MAX - 1), month: small(month), day: small(day) }
}

/// What stands behind the second's point: a byte for every two digits, as microseconds.
fn fraction(digits: u8, fields: &mut Fields<'_>) -> Result<i64, Malformed> {
    let bytes = usize::from(digits.div_ceil(2));
    let scale = [1, 10_000, 100, 1][bytes.min(3)];
    Ok(big(fields.take(bytes)?) * scale)
}

fn datetime(digits: u8, fields: &mut Fields<'_>) -> Result<Timestamp, Malformed> {
    let packed = big(fields.take(5)?) - 0x80_0000_0000;
    let micros = fraction(digits, fields)?;
    let packed = u64::try_from(packed).map_err(|_| Malformed("a moment is before every year"))?;
    let part = |shift: u32, bits: u32| u32::try_from(packed >> shift & ((1 << bits) - 1)).unwrap_or(0);
    let months = part(22, 17);
    let clock = (i64::from(part(12, 5)) * 60 + i64::from(part(6, 6))) * 60 + i64::from(part(0, 6));
    Ok(Timestamp { date: day(months / 13, months % 13, part(17, 5)), micros: clock * SECOND + micros })
}

/// Seconds since 1970 in UTC; nothing at all stands for the date that is all zeros.
fn timestamp(digits: u8, fields: &mut Fields<'_>) -> Result<Timestamp, Malformed> {
    let seconds = big(fields.take(4)?);
    let micros = fraction(digits, fields)?;
    if seconds == 0 && micros == 0 {
        return Ok(Timestamp { date: Date { year: 0, month: 0, day: 0 }, micros: 0 });
    }
    let since = seconds * SECOND + micros;
    let date = Date::from_days(since.div_euclid(DAY)).ok_or(Malformed("a moment is after every year"))?;
    Ok(Timestamp { date, micros: since.rem_euclid(DAY) })
}

/// Hours, minutes, seconds and what is behind the point are one number, which is shifted so that it has no sign.
fn time(digits: u8, fields: &mut Fields<'_>) -> Result<i64, Malformed> {
    let bytes = usize::from(digits.div_ceil(2));
    let bits = 8 * bytes;
    let packed = big(fields.take(3 + bytes)?) - (0x80_0000_i64 << bits);
    let magnitude = packed.abs();
    let scale = [1, 10_000, 100, 1][bytes.min(3)];
    let micros = (magnitude & ((1 << bits) - 1)) * scale;
    let clock = magnitude >> bits;
    let seconds = ((clock >> 12 & 0x3FF) * 60 + (clock >> 6 & 0x3F)) * 60 + (clock & 0x3F);
    Ok((seconds * SECOND + micros) * packed.signum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(column: LoggedColumn, bytes: &[u8]) -> Value<'_> {
        let mut fields = Fields(bytes);
        let value = read(column, &mut fields).unwrap();
        assert!(fields.0.is_empty());
        value
    }

    #[test]
    fn numbers_have_their_sign_at_every_width() {
        assert_eq!(of(LoggedColumn::Whole(1), &[0x80]), Value::Int(-128));
        assert_eq!(of(LoggedColumn::Whole(3), &[0xFF, 0xFF, 0x7F]), Value::Int(8_388_607));
        assert_eq!(of(LoggedColumn::Whole(3), &[0, 0, 0x80]), Value::Int(-8_388_608));
        assert_eq!(of(LoggedColumn::Whole(8), &[0xFF; 8]), Value::Int(-1));
        assert_eq!(of(LoggedColumn::Year, &[0]), Value::Uint(0));
        assert_eq!(of(LoggedColumn::Year, &[255]), Value::Uint(2_155));
    }

    #[test]
    fn dates_are_packed_in_three_bytes() {
        let date = |year, month, day| Value::Moment(Timestamp { date: Date { year, month, day }, micros: 0 });
        // 2024-02-29: 2024 << 9 | 2 << 5 | 29
        assert_eq!(of(LoggedColumn::Date, &[0x5D, 0xD0, 0x0F]), date(2_024, 2, 29));
        assert_eq!(of(LoggedColumn::Date, &[0, 0, 0]), date(0, 0, 0));
    }

    #[test]
    fn a_moment_is_read_with_its_digits() {
        // 2024-02-29 12:00:00.000001: (2024 * 13 + 2) << 22 | 29 << 17 | 12 << 12, and the sign's bit
        let packed = (2_024 * 13 + 2) << 22 | 29 << 17 | 12 << 12 | 0x80_0000_0000_u64;
        let bytes = [&packed.to_be_bytes()[3..], &[0, 0, 1]].concat();
        let date = Date { year: 2_024, month: 2, day: 29 };
        assert_eq!(
            of(LoggedColumn::Datetime(6), &bytes),
            Value::Moment(Timestamp { date, micros: 12 * 3_600 * SECOND + 1 })
        );
        let bytes = [&packed.to_be_bytes()[3..], &[12]].concat();
        assert_eq!(
            of(LoggedColumn::Datetime(2), &bytes),
            Value::Moment(Timestamp { date, micros: 12 * 3_600 * SECOND + 120_000 })
        );
    }

    #[test]
    fn a_moment_in_utc_counts_from_1970() {
        let date = Date { year: 1_970, month: 1, day: 2 };
        assert_eq!(
            of(LoggedColumn::Timestamp(0), &86_401_u32.to_be_bytes()),
            Value::Moment(Timestamp { date, micros: SECOND })
        );
        let zero = Date { year: 0, month: 0, day: 0 };
        assert_eq!(of(LoggedColumn::Timestamp(0), &[0; 4]), Value::Moment(Timestamp { date: zero, micros: 0 }));
    }

    #[test]
    fn times_are_of_either_sign() {
        let packed = |hours: i64, minutes: i64, seconds: i64| hours << 12 | minutes << 6 | seconds;
        let plain = |value: i64| (value + 0x80_0000).to_be_bytes()[5..].to_vec();
        let longest = (838 * 3_600 + 59 * 60 + 59) * SECOND;
        assert_eq!(of(LoggedColumn::Time(0), &plain(packed(838, 59, 59))), Value::Time(longest));
        assert_eq!(of(LoggedColumn::Time(0), &plain(-packed(838, 59, 59))), Value::Time(-longest));
        // -00:00:00.000001, of six digits
        let bytes = (-1_i64 + (0x80_0000_i64 << 24)).to_be_bytes()[2..].to_vec();
        assert_eq!(of(LoggedColumn::Time(6), &bytes), Value::Time(-1));
        // -00:00:01.50, of two
        let bytes = (-(1_i64 << 8 | 0x32) + (0x80_0000_i64 << 8)).to_be_bytes()[4..].to_vec();
        assert_eq!(of(LoggedColumn::Time(2), &bytes), Value::Time(-1_500_000));
    }

    #[test]
    fn texts_stand_behind_their_length() {
        assert_eq!(of(LoggedColumn::Bytes(1), &[2, b'o', b'k']), Value::Bytes(b"ok"));
        assert_eq!(of(LoggedColumn::Bytes(2), &[1, 0, b'x']), Value::Bytes(b"x"));
        assert!(read(LoggedColumn::Bytes(4), &mut Fields(&[0xFF; 4])).is_err());
        assert_eq!(of(LoggedColumn::Enum(2), &[0, 1]), Value::Ordinal(256));
        assert_eq!(of(LoggedColumn::Set(8), &[1, 0, 0, 0, 0, 0, 0, 0x80]), Value::Members(1 << 63 | 1));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, width in 1..9_u8, digits in 0..7_u8) {
            for column in [
                LoggedColumn::Whole(width),
                LoggedColumn::Decimal { precision: width * 8, scale: digits },
                LoggedColumn::Date,
                LoggedColumn::Time(digits),
                LoggedColumn::Datetime(digits),
                LoggedColumn::Timestamp(digits),
                LoggedColumn::Bytes(width.min(4)),
            ] {
                let _ = read(column, &mut Fields(&bytes));
            }
        }
    }
}
