//! The nearest value that a column holds, for one that it does not hold, in the form in which that came.

use wavemark_domain::moment::{DAY, Date, Timestamp};

use super::decimals;
use super::holds::{Float, Holds, Text};
use super::moments::{SECOND, longest};
use super::write::{Form, array};
use crate::defaults::Dialect;

/// `None` where nothing is near: `NaN`, labels, JSON, characters that a character set lacks.
pub(super) fn nearest(form: Form, holds: &Holds, value: &[u8]) -> Option<Vec<u8>> {
    match holds {
        Holds::Whole { least, most } => whole(form, value, (*least).into(), (*most).into()),
        Holds::Year => whole(form, value, 1901, 2155),
        Holds::Decimal { whole, scale, unsigned } if form == Form::Decimal => {
            decimals::nearest(value, *whole, *scale, *unsigned)
        }
        Holds::Decimal { whole: digits, unsigned, .. } => {
            let most = u32::try_from(*digits)
                .ok()
                .and_then(|digits| 10_i128.checked_pow(digits))
                .map_or(i128::MAX, |next| next - 1);
            self::whole(form, value, if *unsigned { 0 } else { -most }, most)
        }
        Holds::Float { kind, unsigned } => float(form, value, *kind, *unsigned),
        Holds::Text(limits) if form == Form::Text => text(value, *limits),
        Holds::Bytes { most, fixed } if form == Form::Bytes => {
            let mut bytes = value[..value.len().min(*most)].to_vec();
            if *fixed {
                bytes.resize(*most, 0);
            }
            Some(bytes)
        }
        Holds::Bits { length } => Some(all_ones(*length)),
        Holds::Date => Some(date(Date::from_bytes(value)?).to_bytes().to_vec()),
        Holds::Datetime { digits } => Some(datetime(Timestamp::from_bytes(value)?, *digits).to_bytes().to_vec()),
        Holds::Timestamp { digits, dialect } => {
            Some(timestamp(Timestamp::from_bytes(value)?, *digits, *dialect)?.to_bytes().to_vec())
        }
        Holds::Time { digits, dialect } => {
            let longest = longest(*dialect);
            let micros = cut(i64::from_be_bytes(array(value).ok()?).clamp(-longest, longest), *digits);
            Some(micros.to_be_bytes().to_vec())
        }
        Holds::Text(_)
        | Holds::Bytes { .. }
        | Holds::Json
        | Holds::Label { .. }
        | Holds::Labels { .. }
        | Holds::Uuid
        | Holds::Address => None,
    }
}

/// What is nearest lies between the number and the limit, so it is one of the form's.
fn whole(form: Form, value: &[u8], least: i128, most: i128) -> Option<Vec<u8>> {
    let nearest = |number: i128| number.clamp(least, most);
    Some(match form {
        Form::Int16 => {
            let number = nearest(i16::from_be_bytes(array(value).ok()?).into());
            i16::try_from(number).ok()?.to_be_bytes().to_vec()
        }
        Form::Int32 => {
            let number = nearest(i32::from_be_bytes(array(value).ok()?).into());
            i32::try_from(number).ok()?.to_be_bytes().to_vec()
        }
        Form::Int64 => {
            let number = nearest(i64::from_be_bytes(array(value).ok()?).into());
            i64::try_from(number).ok()?.to_be_bytes().to_vec()
        }
        Form::Uint64 => {
            let number = nearest(u64::from_be_bytes(array(value).ok()?).into());
            u64::try_from(number).ok()?.to_be_bytes().to_vec()
        }
        _ => return None,
    })
}

fn float(form: Form, value: &[u8], kind: Float, unsigned: bool) -> Option<Vec<u8>> {
    let (number, most) = match form {
        Form::Float32 => (f64::from(f32::from_be_bytes(array(value).ok()?)), f64::from(f32::MAX)),
        Form::Float64 => (f64::from_be_bytes(array(value).ok()?), f64::MAX),
        _ => return None,
    };
    if number.is_nan() {
        return None;
    }
    let mut nearest = number.clamp(if unsigned { 0.0 } else { -most }, most);
    if let Some(scale) = kind.scale {
        nearest = format!("{nearest:.scale$}").parse().ok()?;
    }
    if nearest == 0.0 && !kind.has_negative_zero {
        nearest = 0.0;
    }
    Some(match form {
        Form::Float32 => single(nearest).to_be_bytes().to_vec(),
        _ => nearest.to_be_bytes().to_vec(),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "it came as one, or was rounded from one")]
fn single(number: f64) -> f32 {
    number as f32
}

/// The beginning, cut between two characters.
fn text(value: &[u8], limits: Text) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let characters = limits.characters.unwrap_or(usize::MAX);
    let by_characters = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    let by_bytes = text.floor_char_boundary(limits.bytes.unwrap_or(usize::MAX).min(text.len()));
    let text = &text[..by_characters.min(by_bytes)];
    let text = if limits.is_trimmed { text.trim_end_matches(' ') } else { text };
    Some(text.as_bytes().to_vec())
}

fn all_ones(length: u16) -> Vec<u8> {
    let mut bytes = vec![0xFF; usize::from(length).div_ceil(8)];
    if let Some(first) = bytes.first_mut().filter(|_| !length.is_multiple_of(8)) {
        *first >>= 8 - length % 8;
    }
    bytes
}

const FIRST: Date = Date { year: 0, month: 1, day: 1 };
const LAST: Date = Date { year: 9_999, month: 12, day: 31 };

fn date(date: Date) -> Date {
    match date.year {
        ..0 => FIRST,
        0..=9_999 => date,
        _ => LAST,
    }
}

fn datetime(moment: Timestamp, digits: u8) -> Timestamp {
    let micros = match moment.date.year {
        ..0 => 0,
        0..=9_999 => moment.micros.clamp(0, DAY - 1),
        _ => DAY - 1,
    };
    Timestamp { date: date(moment.date), micros: cut(micros, digits) }
}

/// Where MariaDB's end is its version says, so nothing is near to what is later.
fn timestamp(moment: Timestamp, digits: u8, dialect: Dialect) -> Option<Timestamp> {
    const MYSQLS_LAST: i64 = (1 << 31) * SECOND - 1;
    let micros = match moment.date.year {
        i32::MIN => i64::MIN,
        i32::MAX => i64::MAX,
        _ => moment.since_1970()?,
    };
    let micros = match dialect {
        Dialect::Mysql => micros.clamp(SECOND, MYSQLS_LAST),
        Dialect::Mariadb if micros >= (1 << 32) * SECOND => return None,
        // With fewer digits the first is a whole second: of the one before nothing would be left.
        Dialect::Mariadb => micros.max(SECOND),
    };
    let micros = cut(micros, digits);
    Some(Timestamp { date: Date::from_days(micros.div_euclid(DAY))?, micros: micros.rem_euclid(DAY) })
}

/// Without what is finer than so many digits behind the second's point.
fn cut(micros: i64, digits: u8) -> i64 {
    micros - micros % 10_i64.pow(6 - u32::from(digits.min(6)))
}

#[cfg(test)]
mod tests;
