//! Values of another system in its own words, for columns that are texts because no type here holds all of them. PostgreSQL is
//! the one that has such values, so these are its words: `EncodeDateTime` and the shortest floats of its sources.

use std::io::Write as _;

use wavemark_domain::Logical;
use wavemark_domain::moment::{Date, Timestamp};

use super::unfit::Unfit;
use super::write::{Form, array};

/// Whether the type that is declared for such values lacks a place for some.
pub(crate) fn is_spelled(logical: &Logical) -> bool {
    matches!(
        logical,
        Logical::Decimal { .. }
            | Logical::Float32
            | Logical::Float64
            | Logical::Date
            | Logical::Timestamp { .. }
            | Logical::Instant { .. }
            | Logical::Json
    )
}

/// Whether values of this form have other bytes than their text.
pub(super) fn has_words(form: Form) -> bool {
    matches!(form, Form::Float32 | Form::Float64 | Form::Date | Form::Timestamp | Form::Instant)
}

/// The value's text.
pub(super) fn text(form: Form, value: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::with_capacity(32);
    match form {
        Form::Float32 => {
            let number = f32::from_be_bytes(array(value)?);
            float(number.into(), &format!("{number:e}"), 6, &mut out);
        }
        Form::Float64 => {
            let number = f64::from_be_bytes(array(value)?);
            float(number, &format!("{number:e}"), 15, &mut out);
        }
        Form::Date => moment(Date::from_bytes(value).ok_or(Unfit::Misshapen)?, None, &mut out)?,
        Form::Timestamp | Form::Instant => {
            let Timestamp { date, micros } = Timestamp::from_bytes(value).ok_or(Unfit::Misshapen)?;
            let zone = if form == Form::Instant { "+00" } else { "" };
            moment(date, Some((micros, zone)), &mut out)?;
        }
        _ => out.extend_from_slice(value),
    }
    Ok(out)
}

/// With an exponent from so many digits before the point on, and for what is less than a ten-thousandth.
fn float(number: f64, shortest: &str, most: i32, out: &mut Vec<u8>) {
    if number.is_nan() || number.is_infinite() {
        let sign: &[u8] = if number < 0.0 { b"-" } else { b"" };
        out.extend_from_slice(sign);
        out.extend_from_slice(if number.is_nan() { b"NaN" } else { b"Infinity" });
        return;
    }
    let (sign, rest) = shortest.strip_prefix('-').map_or(("", shortest), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once('e').unwrap_or((rest, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let text = match exponent {
        ..-4 => format!("{sign}{mantissa}e-{:02}", -exponent),
        -4..0 => format!("{sign}0.{}{digits}", "0".repeat(usize::try_from(-exponent - 1).unwrap_or_default())),
        whole if whole < most => {
            let before = usize::try_from(whole).unwrap_or_default() + 1;
            match digits.split_at_checked(before) {
                Some((before, "")) => format!("{sign}{before}"),
                Some((before, behind)) => format!("{sign}{before}.{behind}"),
                None => format!("{sign}{digits:0<before$}"),
            }
        }
        _ => format!("{sign}{mantissa}e+{exponent:02}"),
    };
    out.extend_from_slice(text.as_bytes());
}

/// A date, with a time of day and a zone behind it if there is one.
fn moment(date: Date, time: Option<(i64, &str)>, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let infinite = match date.year {
        i32::MAX => Some("infinity"),
        i32::MIN => Some("-infinity"),
        _ => None,
    };
    if let Some(text) = infinite {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let failed = |_| Unfit::Misshapen;
    let (year, era) = if date.year > 0 { (date.year, "") } else { (1 - date.year, " BC") };
    write!(out, "{year:04}-{:02}-{:02}", date.month, date.day).map_err(failed)?;
    if let Some((micros, zone)) = time {
        let (seconds, behind) = (micros / 1_000_000, micros % 1_000_000);
        write!(out, " {:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60).map_err(failed)?;
        if behind > 0 {
            out.extend_from_slice(format!(".{behind:06}").trim_end_matches('0').as_bytes());
        }
        out.extend_from_slice(zone.as_bytes());
    }
    out.extend_from_slice(era.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(form: Form, value: &[u8]) -> String {
        String::from_utf8(text(form, value).unwrap()).unwrap()
    }

    /// The right sides are what version 15 writes.
    #[test]
    fn floats_are_as_the_server_writes_them() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (100.0, "100"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.000_123_45, "-0.00012345"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.25e300, "1.25e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(of(Form::Float64, &f64::to_be_bytes(number)), expected);
        }
        for (number, expected) in
            [(0.1_f32, "0.1"), (123_456.0, "123456"), (1_234_567.0, "1.234567e+06"), (f32::MAX, "3.4028235e+38")]
        {
            assert_eq!(of(Form::Float32, &number.to_be_bytes()), expected);
        }
    }

    #[test]
    fn moments_are_as_the_server_writes_them() {
        let date = |year, month, day| Date { year, month, day };
        let at = |form, date, micros| of(form, &Timestamp { date, micros }.to_bytes());
        assert_eq!(of(Form::Date, &date(2024, 2, 29).to_bytes()), "2024-02-29");
        assert_eq!(of(Form::Date, &date(-43, 3, 15).to_bytes()), "0044-03-15 BC");
        assert_eq!(of(Form::Date, &date(0, 1, 1).to_bytes()), "0001-01-01 BC");
        assert_eq!(of(Form::Date, &date(20_000, 1, 1).to_bytes()), "20000-01-01");
        assert_eq!(of(Form::Date, &date(i32::MAX, 0, 0).to_bytes()), "infinity");
        assert_eq!(at(Form::Timestamp, date(2024, 1, 2), 43_200_500_000), "2024-01-02 12:00:00.5");
        assert_eq!(at(Form::Instant, date(-43, 3, 15), 1), "0044-03-15 00:00:00.000001+00 BC");
        assert_eq!(at(Form::Instant, date(i32::MIN, 0, 0), 0), "-infinity");
    }
}
