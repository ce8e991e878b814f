//! Values as their source writes them in a text, in the form that they travel in: what the rows have that were there before a
//! column was. PostgreSQL's sessions and this family's write what is read here.

use super::write::Form;
use crate::moments::{clock, date, moment};

/// The value's bytes; `None` if the text is not one of the form that is known.
pub(super) fn value(form: Form, text: &str) -> Option<Vec<u8>> {
    Some(match form {
        Form::Boolean => vec![u8::from(truth(text)?)],
        Form::Int16 => text.parse::<i16>().ok()?.to_be_bytes().to_vec(),
        Form::Int32 => text.parse::<i32>().ok()?.to_be_bytes().to_vec(),
        Form::Int64 => text.parse::<i64>().ok()?.to_be_bytes().to_vec(),
        Form::Uint64 => text.parse::<u64>().ok()?.to_be_bytes().to_vec(),
        Form::Float32 => text.parse::<f32>().ok()?.to_be_bytes().to_vec(),
        Form::Float64 => text.parse::<f64>().ok()?.to_be_bytes().to_vec(),
        Form::Decimal | Form::Text | Form::Json | Form::Enum | Form::Set => text.as_bytes().to_vec(),
        Form::Bytes if text.is_empty() => Vec::new(),
        Form::Bytes => hex(text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x"))?)?,
        Form::Date => date(text)?.to_bytes().to_vec(),
        Form::Time => clock(text)?.to_be_bytes().to_vec(),
        Form::Timestamp => moment(text)?.to_bytes().to_vec(),
        // In any other zone it would be another moment.
        Form::Instant => moment(text.strip_suffix("+00").unwrap_or(text))?.to_bytes().to_vec(),
        Form::Uuid => hex(&text.replace('-', "")).filter(|bytes| bytes.len() == 16)?,
        Form::Bits => bits(text)?,
    })
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "t" | "true" | "1" => Some(true),
        "f" | "false" | "0" => Some(false),
        _ => None,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn bits(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("b'").and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
    let mut bytes = vec![0_u8; text.len().div_ceil(8)];
    for (at, digit) in text.bytes().rev().enumerate() {
        let place = bytes.iter_mut().rev().nth(at / 8)?;
        match digit {
            b'0' => {}
            b'1' => *place |= 1 << (at % 8),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wavemark_domain::moment::{Date, Timestamp};

    use super::*;

    #[test]
    fn a_text_is_the_value_that_it_says() {
        let noon = 43_200_000_000_i64;
        let day = Date { year: 2024, month: 2, day: 29 };
        let at = |micros| Timestamp { date: day, micros }.to_bytes().to_vec();
        for (form, text, expected) in [
            (Form::Boolean, "t", vec![1]),
            (Form::Int16, "-2", vec![0xFF, 0xFE]),
            (Form::Float64, "1.5", 1.5_f64.to_be_bytes().to_vec()),
            (Form::Text, "", vec![]),
            (Form::Bytes, "\\x00ff", vec![0, 0xFF]),
            (Form::Bytes, "", vec![]),
            (Form::Date, "2024-02-29", day.to_bytes().to_vec()),
            (Form::Time, "12:00:00", noon.to_be_bytes().to_vec()),
            (Form::Time, "-00:00:00.5", (-500_000_i64).to_be_bytes().to_vec()),
            (Form::Timestamp, "2024-02-29 12:00:00.000001", at(noon + 1)),
            (Form::Instant, "2024-02-29 12:00:00.12+00", at(noon + 120_000)),
            (Form::Uuid, "00112233-4455-6677-8899-aabbccddeeff", (0..16).map(|n| n * 17).collect()),
            (Form::Bits, "1000000001", vec![2, 1]),
        ] {
            assert_eq!(value(form, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_of_another_form_is_none() {
        for (form, text) in [
            (Form::Boolean, "yes"),
            (Form::Int16, "40000"),
            (Form::Bytes, "ff"),
            (Form::Bytes, "\\x0"),
            (Form::Date, "infinity"),
            (Form::Date, "0044-03-15 BC"),
            (Form::Date, "24-02-29"),
            (Form::Time, "12:00"),
            (Form::Instant, "2024-02-29 12:00:00+01"),
            (Form::Timestamp, "2024-02-29T12:00:00"),
            (Form::Uuid, "0011"),
            (Form::Bits, "12"),
        ] {
            assert_eq!(value(form, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, more in "[-0-9:. +é\\\\xb']{0,30}") {
            for form in [Form::Bytes, Form::Date, Form::Time, Form::Timestamp, Form::Instant, Form::Uuid, Form::Bits] {
                drop(value(form, &text));
                drop(value(form, &more));
            }
        }
    }
}
