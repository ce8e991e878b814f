//! Values for targets of other systems: from the text that the server writes of them to the form that `domain::logical`
//! gives them, and back.
//!
//! In the log and in COPY alike the text is what the type's output function makes of the value, in sessions that write
//! moments in UTC and floats with all of their digits. So there is one conversion, and a value is the same bytes whichever
//! way it came.

mod back;
mod moments;
mod rows;

use wavemark_domain::moment::Timestamp;
use wavemark_domain::{Encoding, Fault, Logical, Problem, TableName, TablePlan};

use crate::encoding::BINARY;

pub(super) use rows::{TextRow, TextRows};

/// What has the log's session write values as they are read here; the rest of that is set when it begins.
pub(super) const SESSION: &str = "SET TimeZone = 'UTC'; SET search_path = ''";

/// Whether the rows of these tables go to another system, so that they are read as text.
pub(super) fn are_wanted<'a>(plan: impl IntoIterator<Item = &'a TablePlan>) -> bool {
    plan.into_iter()
        .any(|table| table.declared.is_some() || table.columns.iter().any(|column| column.encoding != BINARY))
}

/// Whether the text is one that the server writes of a value of the type.
pub(crate) fn is_written_so(logical: &Logical, text: &str) -> bool {
    Form::of(&logical.encoding()).is_some_and(|form| form.write(text.as_bytes(), &mut Vec::new()).is_ok())
}

/// How a column's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    /// The text itself: what it says is what the form says.
    Text,
    Decimal,
    Bytes,
    Date,
    Time,
    Timestamp,
    Instant,
    Uuid,
    Bits,
}

/// Why a text can't be written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is not valid UTF-8")]
    NotUtf8,
    #[error("the server wrote it in another form than its type's")]
    Misshapen,
}

impl Unreadable {
    /// The problem of a table with such a value.
    pub(super) fn problem(self, table: &TableName, column: &str) -> Problem {
        let text = format!("A value in column {column} of {table} can't be read: {self}.");
        let (code, advice) = match self {
            Self::NotUtf8 => (
                "invalid-text",
                "Mend the text at the source, whose database has the encoding SQL_ASCII; then reload the table.",
            ),
            Self::Misshapen => ("type-differs", "Leave the column out with a remove-column rule, and report this."),
        };
        Problem::new(Fault::Data, code, text).table(table).advice(advice)
    }
}

impl Form {
    /// The form of an encoding; `None` for one that is not written here.
    pub(super) fn of(encoding: &Encoding) -> Option<Self> {
        Some(match encoding.name().strip_prefix("canonical ")? {
            "boolean" => Self::Boolean,
            "int16" => Self::Int16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            "decimal" => Self::Decimal,
            "text" | "json" => Self::Text,
            "bytes" => Self::Bytes,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "instant" => Self::Instant,
            "uuid" => Self::Uuid,
            "bits" => Self::Bits,
            _ => return None,
        })
    }

    /// Writes what the server's text says behind what `out` has.
    #[inline]
    pub(super) fn write(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self {
            Self::Text => out.extend_from_slice(utf8(text)?.as_bytes()),
            Self::Int32 => out.extend(parsed::<i32>(text)?.to_be_bytes()),
            Self::Int64 => out.extend(parsed::<i64>(text)?.to_be_bytes()),
            Self::Int16 => out.extend(parsed::<i16>(text)?.to_be_bytes()),
            Self::Boolean => out.push(boolean(text)?),
            Self::Decimal => out.extend_from_slice(decimal(text)?),
            Self::Float32 => out.extend(parsed::<f32>(text)?.to_be_bytes()),
            Self::Float64 => out.extend(parsed::<f64>(text)?.to_be_bytes()),
            Self::Bytes => bytes(text, out)?,
            Self::Date => out.extend(moments::date(text).ok_or(Unreadable::Misshapen)?.to_bytes()),
            Self::Time => out.extend(moments::time(text).ok_or(Unreadable::Misshapen)?.to_be_bytes()),
            Self::Timestamp => out.extend(moment(moments::timestamp(text))?),
            Self::Instant => out.extend(moment(moments::instant(text))?),
            Self::Uuid => out.extend(uuid(text)?),
            Self::Bits => bits(text, out)?,
        }
        Ok(())
    }
}

fn utf8(text: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(text).map_err(|_| Unreadable::NotUtf8)
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Result<T, Unreadable> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Unreadable::Misshapen)
}

fn boolean(text: &[u8]) -> Result<u8, Unreadable> {
    match text {
        b"t" => Ok(1),
        b"f" => Ok(0),
        _ => Err(Unreadable::Misshapen),
    }
}

/// The server writes numbers without an exponent, and with a digit before the point, as the form has them.
fn decimal(text: &[u8]) -> Result<&[u8], Unreadable> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_number = digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let is_special = matches!(text, b"NaN" | b"Infinity" | b"-Infinity");
    if is_number || is_special { Ok(text) } else { Err(Unreadable::Misshapen) }
}

fn moment(found: Option<Timestamp>) -> Result<[u8; 14], Unreadable> {
    found.map(Timestamp::to_bytes).ok_or(Unreadable::Misshapen)
}

/// `\x` and two digits for each byte (`bytea_output` is `hex`).
fn bytes(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    let digits = text.strip_prefix(b"\\x").ok_or(Unreadable::Misshapen)?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Unreadable::Misshapen);
    }
    out.reserve(pairs.len());
    for [high, low] in pairs {
        out.push(digit(*high)? << 4 | digit(*low)?);
    }
    Ok(())
}

fn digit(byte: u8) -> Result<u8, Unreadable> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(Unreadable::Misshapen),
    }
}

fn uuid(text: &[u8]) -> Result<[u8; 16], Unreadable> {
    let parsed = uuid::Uuid::try_parse_ascii(text).map_err(|_| Unreadable::Misshapen)?;
    Ok(parsed.into_bytes())
}

/// As many digits 0 and 1 as there are bits. Those of the first byte are fewer if they don't come out even.
fn bits(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    if !text.iter().all(|byte| matches!(byte, b'0' | b'1')) {
        return Err(Unreadable::Misshapen);
    }
    let byte = |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum << 1 | (digit - b'0'));
    let (first, rest) = text.split_at(text.len() % 8);
    if !first.is_empty() {
        out.push(byte(first));
    }
    out.extend(rest.chunks(8).map(byte));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Form; 15] = [
        Form::Boolean,
        Form::Int16,
        Form::Int32,
        Form::Int64,
        Form::Float32,
        Form::Float64,
        Form::Text,
        Form::Decimal,
        Form::Bytes,
        Form::Date,
        Form::Time,
        Form::Timestamp,
        Form::Instant,
        Form::Uuid,
        Form::Bits,
    ];

    fn written(form: Form, text: &str) -> Result<Vec<u8>, Unreadable> {
        let mut out = Vec::new();
        form.write(text.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn each_form_has_a_name_that_is_agreed() {
        assert_eq!(Form::of(&Logical::Json.encoding()), Some(Form::Text));
        assert_eq!(Form::of(&Logical::Instant { digits: 3 }.encoding()), Some(Form::Instant));
        assert_eq!(Form::of(&Logical::Bits { length: 3 }.encoding()), Some(Form::Bits));
        for encoding in [Logical::Uint64.encoding(), Logical::Set { labels: Vec::new() }.encoding(), BINARY] {
            assert_eq!(Form::of(&encoding), None, "{encoding}");
        }
    }

    #[test]
    fn numbers_are_as_many_bytes_as_their_type_has() {
        assert_eq!(written(Form::Int16, "-32768").unwrap(), [0x80, 0]);
        assert_eq!(written(Form::Int32, "2147483647").unwrap(), [0x7F, 0xFF, 0xFF, 0xFF]);
        assert_eq!(written(Form::Int64, "-1").unwrap(), [0xFF; 8]);
        assert_eq!(written(Form::Int64, "4294967295").unwrap(), [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(written(Form::Boolean, "t").unwrap(), [1]);
        assert_eq!(written(Form::Boolean, "f").unwrap(), [0]);
        assert_eq!(written(Form::Float32, "0.1").unwrap(), [0x3D, 0xCC, 0xCC, 0xCD]);
        assert_eq!(written(Form::Float32, "1e-45").unwrap(), [0, 0, 0, 1]);
        assert_eq!(written(Form::Float32, "-Infinity").unwrap(), [0xFF, 0x80, 0, 0]);
        assert_eq!(written(Form::Float64, "-0").unwrap(), [0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(written(Form::Float64, "1e+22").unwrap(), [0x44, 0x80, 0xF0, 0xCF, 0x06, 0x4D, 0xD5, 0x92]);
        assert_eq!(written(Form::Float64, "NaN").unwrap(), [0x7F, 0xF8, 0, 0, 0, 0, 0, 0]);
        for number in ["0", "-0.00", "12345678901234567890.10", "NaN", "Infinity", "-Infinity"] {
            assert_eq!(written(Form::Decimal, number).unwrap(), number.as_bytes());
        }
        for (form, text) in [
            (Form::Int16, "32768"),
            (Form::Int32, ""),
            (Form::Int64, "1.0"),
            (Form::Boolean, "true"),
            (Form::Float64, "x"),
            (Form::Decimal, "1e5"),
            (Form::Decimal, ".5"),
            (Form::Decimal, "-"),
        ] {
            assert_eq!(written(form, text), Err(Unreadable::Misshapen), "{text}");
        }
    }

    #[test]
    fn bytes_and_bits_are_read_from_their_digits() {
        assert_eq!(written(Form::Bytes, "\\x").unwrap(), [0_u8; 0]);
        assert_eq!(written(Form::Bytes, "\\x00deadbeef").unwrap(), [0, 0xDE, 0xAD, 0xBE, 0xEF]);
        assert_eq!(written(Form::Bits, "101").unwrap(), [0b101]);
        assert_eq!(written(Form::Bits, "10101011").unwrap(), [0xAB]);
        assert_eq!(written(Form::Bits, "1110000001").unwrap(), [0b11, 0b1000_0001]);
        let uuid = written(Form::Uuid, "00112233-4455-6677-8899-aabbccddeeff").unwrap();
        assert_eq!(uuid[..3], [0, 0x11, 0x22]);
        assert_eq!(uuid[13..], [0xDD, 0xEE, 0xFF]);
        for (form, text) in
            [(Form::Bytes, "abc"), (Form::Bytes, "\\x0"), (Form::Bytes, "\\xZZ"), (Form::Bits, "2"), (Form::Uuid, "0")]
        {
            assert_eq!(written(form, text), Err(Unreadable::Misshapen), "{text}");
        }
    }

    #[test]
    fn a_text_is_its_own_bytes_if_they_are_utf8() {
        assert_eq!(written(Form::Text, "😀 a\\b\n").unwrap(), "😀 a\\b\n".as_bytes());
        assert_eq!(Form::Text.write(b"\xE9", &mut Vec::new()), Err(Unreadable::NotUtf8));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..40)) {
            for form in ALL {
                let _ = form.write(&text, &mut Vec::new());
                let _ = form.text(&text);
            }
        }

        #[test]
        fn digits_and_signs_make_nothing_panic(text in "[-0-9:. +BCxt\\\\]{0,40}") {
            for form in ALL {
                let _ = form.write(text.as_bytes(), &mut Vec::new());
            }
        }
    }
}
