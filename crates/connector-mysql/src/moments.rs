//! Dates and times as servers write them in texts.

use wavemark_domain::moment::{Date, Timestamp};

/// `YYYY-MM-DD`.
pub(crate) fn date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = year.len() == 4 && parts.next().is_none();
    is_whole.then_some(Date { year: number(year)?, month: number(month)?, day: number(day)? })
}

/// A date, a blank, a time.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once(' ')?;
    Some(Timestamp { date: date(day)?, micros: clock(time)? })
}

/// `HH:MM:SS` with a point and digits or without, and a sign before it.
pub(crate) fn clock(text: &str) -> Option<i64> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, behind) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || behind.len() > 6 {
        return None;
    }
    let hours: u16 = number(hours)?;
    let [minutes, seconds] = [minutes, seconds].map(number::<u8>);
    let seconds = (i64::from(hours) * 60 + i64::from(minutes?)) * 60 + i64::from(seconds?);
    let micros = seconds * 1_000_000 + number::<i64>(&format!("{behind:0<6}"))?;
    Some(if is_negative { -micros } else { micros })
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
