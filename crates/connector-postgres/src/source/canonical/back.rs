//! The other way: keys that the log touched are looked up again by the text that the server reads.

use wavemark_domain::moment::{Date, Timestamp};

use super::Form;
use super::moments::{date_text, time_text};

impl Form {
    /// A text that the server reads as the value; `None` if the bytes are none of this form.
    pub(in super::super) fn text(self, value: &[u8]) -> Option<String> {
        Some(match self {
            Self::Boolean => if value == [1] { "t" } else { "f" }.to_owned(),
            Self::Int16 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Int32 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
            Self::Int64 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
            // The shortest digits that mean this value and no other.
            Self::Float32 => float(f32::from_be_bytes(value.try_into().ok()?).to_string()),
            Self::Float64 => float(f64::from_be_bytes(value.try_into().ok()?).to_string()),
            Self::Text | Self::Decimal => std::str::from_utf8(value).ok()?.to_owned(),
            Self::Bytes => bytes(value),
            Self::Date => date_text(Date::from_bytes(value)?, ""),
            Self::Time => time_text(i64::from_be_bytes(value.try_into().ok()?)),
            Self::Timestamp => moment(value, "")?,
            Self::Instant => moment(value, "+00")?,
            Self::Uuid => uuid::Uuid::from_slice(value).ok()?.to_string(),
            Self::Bits => bits(value),
        })
    }
}

fn float(text: String) -> String {
    match text.as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        _ => text,
    }
}

fn bytes(value: &[u8]) -> String {
    let digits = value.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    ['\\', 'x'].into_iter().chain(digits).collect()
}

fn bits(value: &[u8]) -> String {
    let digits = value.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    digits.map(|bit| if bit == 1 { '1' } else { '0' }).collect()
}

fn moment(value: &[u8], zone: &str) -> Option<String> {
    let Timestamp { date, micros } = Timestamp::from_bytes(value)?;
    Some(date_text(date, &format!(" {}{zone}", time_text(micros))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_the_same_value() {
        for (form, text) in [
            (Form::Boolean, "t"),
            (Form::Boolean, "f"),
            (Form::Int16, "-32768"),
            (Form::Int32, "2147483647"),
            (Form::Int64, "-9223372036854775808"),
            (Form::Float32, "16777217"),
            (Form::Float32, "-Infinity"),
            (Form::Float64, "0.1"),
            (Form::Float64, "5e-324"),
            (Form::Float64, "NaN"),
            (Form::Decimal, "-12.50"),
            (Form::Text, "it's \\ ü"),
            (Form::Bytes, "\\x00ff5c"),
            (Form::Date, "0044-02-01 BC"),
            (Form::Time, "24:00:00"),
            (Form::Timestamp, "4713-01-01 00:00:00.000001 BC"),
            (Form::Timestamp, "infinity"),
            (Form::Instant, "294276-12-31 23:59:59.999999+00"),
            (Form::Instant, "4713-01-01 00:00:00+00 BC"),
            (Form::Uuid, "00112233-4455-6677-8899-aabbccddeeff"),
        ] {
            let mut value = Vec::new();
            form.write(text.as_bytes(), &mut value).unwrap();
            let back = form.text(&value).unwrap();
            let mut again = Vec::new();
            form.write(back.as_bytes(), &mut again).unwrap();
            assert_eq!(value, again, "{text}: {back}");
            if !matches!(form, Form::Float32 | Form::Float64) {
                assert_eq!(back, text);
            }
        }
    }

    #[test]
    fn bits_come_back_by_whole_bytes() {
        let mut value = Vec::new();
        Form::Bits.write(b"1110000001", &mut value).unwrap();
        assert_eq!(Form::Bits.text(&value).unwrap(), "0000001110000001");
    }
}
