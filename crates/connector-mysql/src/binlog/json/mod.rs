//! JSON as the log has it, to the text that the server prints for it (server sources: `json_binary.h` for the bytes,
//! `json_dom.cc` for the text, `dtoa.cc` for doubles, `my_time.cc` for moments).
//!
//! An array or an object points at what it holds, and a hostile one at the same place again and again: the text is held
//! to what so many bytes can be, and the time with it, for whatever is read is written.

mod diff;
mod path;

use std::fmt::Write as _;

use wavemark_domain::moment::Date;

use crate::fields::{Fields, Malformed};
use crate::value::Packed;

pub(crate) use diff::write_changed;

/// Arrays and objects within each other: the server's own limit.
const DEEPEST: u8 = 100;
/// What a byte can become: one that is no character to print is `\u0001`.
const LONGEST: usize = 6;
/// What a value can be beyond that, of few bytes as it is: a type, quotes, zeros of a number.
const BESIDE: usize = 64;
/// Characters of base64 in a line, which the server breaks also here.
const LINE: usize = 76;

const SHORT: Malformed = Malformed("a JSON value is shorter than it says");

/// Writes a document behind what `out` has; on an error nothing. No bytes at all are the server's `null`.
pub(crate) fn write(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let Some((kind, value)) = bytes.split_first() else {
        out.push_str("null");
        return Ok(());
    };
    let begin = out.len();
    let written = Text::new(out, bytes.len()).value(*kind, value);
    if written.is_err() {
        out.truncate(begin);
    }
    written
}

struct Text<'o> {
    out: &'o mut String,
    /// Invariant: what `out` has beyond it is one scalar at most, which is no longer than the document makes it.
    limit: usize,
    depth: u8,
}

impl<'o> Text<'o> {
    /// Of so many bytes.
    fn new(out: &'o mut String, length: usize) -> Self {
        let limit = out.len().saturating_add(length.saturating_mul(LONGEST)).saturating_add(BESIDE);
        Self { out, limit, depth: 0 }
    }

    /// Whatever lies behind a value is not looked at, as the server does not.
    fn value(&mut self, kind: u8, bytes: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields(bytes);
        match kind {
            0x00..=0x03 => self.container(Container::read(kind, bytes)?)?,
            0x04 => self.out.push_str(literal(fields.u8()?)?),
            0x05 => self.plain(i16::from_le_bytes(fields.array()?)),
            0x06 => self.plain(fields.u16()?),
            0x07 => self.plain(i32::from_le_bytes(fields.array()?)),
            0x08 => self.plain(fields.u32()?),
            0x09 => self.plain(i64::from_le_bytes(fields.array()?)),
            0x0A => self.plain(u64::from_le_bytes(fields.array()?)),
            0x0B => self.double(f64::from_le_bytes(fields.array()?))?,
            0x0C => self.string(sized(&mut fields)?)?,
            0x0F => self.opaque(fields.u8()?, sized(&mut fields)?)?,
            _ => return Err(Malformed("a JSON value is of a kind that is not known")),
        }
        self.within_limit()
    }

    /// Invariant: asked after whatever is read by an offset; this is what bounds the time.
    fn within_limit(&self) -> Result<(), Malformed> {
        if self.out.len() > self.limit { Err(Malformed("a JSON value holds the same one again")) } else { Ok(()) }
    }

    fn plain(&mut self, value: impl std::fmt::Display) {
        let _ = write!(self.out, "{value}");
    }

    fn container(&mut self, mut container: Container<'_>) -> Result<(), Malformed> {
        let (open, close) = if container.is_object { ('{', '}') } else { ('[', ']') };
        self.held(open, 0..container.count, close, |text, _| {
            if container.is_object {
                text.name(container.key()?)?;
            }
            let (kind, bytes) = container.value()?;
            text.value(kind, bytes)
        })
    }

    /// What an array or an object holds, one after the other.
    fn held<T>(
        &mut self,
        open: char,
        held: impl IntoIterator<Item = T>,
        close: char,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.depth == DEEPEST {
            return Err(Malformed("a JSON value is too deep"));
        }
        self.depth += 1;
        self.out.push(open);
        for (at, one) in held.into_iter().enumerate() {
            if at > 0 {
                self.out.push_str(", ");
            }
            write(self, one)?;
        }
        self.out.push(close);
        self.depth -= 1;
        Ok(())
    }

    fn name(&mut self, name: &[u8]) -> Result<(), Malformed> {
        self.string(name)?;
        self.out.push_str(": ");
        self.within_limit()
    }

    /// With an exponent where the server has one, else with a point.
    fn double(&mut self, number: f64) -> Result<(), Malformed> {
        const NONE: Malformed = Malformed("a JSON number is none");
        let text = Some(number).filter(|number| number.is_finite()).map(shortest).ok_or(NONE)?;
        let (mantissa, exponent) = text.split_once('e').ok_or(NONE)?;
        let exponent: i32 = exponent.parse().map_err(|_| NONE)?;
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
        let digits = mantissa.replace('.', "");
        // Sixteen digits before the point are written out only if there is one behind it.
        if (-15..15).contains(&exponent) || exponent == 15 && digits.len() > 16 {
            self.plain(format_args!("{sign}{}", with_point(&digits, exponent)));
        } else {
            self.out.push_str(&text);
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a JSON string is no UTF-8"))?;
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\x08' => self.out.push_str("\\b"),
                '\t' => self.out.push_str("\\t"),
                '\n' => self.out.push_str("\\n"),
                '\x0C' => self.out.push_str("\\f"),
                '\r' => self.out.push_str("\\r"),
                '\0'..='\x1F' => self.plain(format_args!("\\u{:04x}", u32::from(character))),
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
        Ok(())
    }

    /// A value of a column's type that JSON has not.
    fn opaque(&mut self, kind: u8, bytes: &[u8]) -> Result<(), Malformed> {
        match kind {
            7 | 12 => self.moment(packed(bytes)?),
            10 => packed(bytes).and_then(date).map(|date| self.plain(format_args!("\"{date}\""))),
            11 => self.time(packed(bytes)?),
            246 => self.decimal(bytes),
            // What a statement computes: the server takes it for a string.
            253 => self.string(bytes),
            _ => {
                self.base64(kind, bytes);
                Ok(())
            }
        }
    }

    fn moment(&mut self, packed: i64) -> Result<(), Malformed> {
        let (date, clock) = (date(packed)?, Clock::read(packed & ((1 << 41) - 1))?);
        if clock.hours > 23 {
            return Err(Malformed("a moment is of no day"));
        }
        self.plain(format_args!("\"{date} {clock}\""));
        Ok(())
    }

    fn time(&mut self, packed: i64) -> Result<(), Malformed> {
        let sign = if packed < 0 { "-" } else { "" };
        let clock = Clock::read(packed.saturating_abs())?;
        self.plain(format_args!("\"{sign}{clock}\""));
        Ok(())
    }

    fn decimal(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        const NONE: Malformed = Malformed("a JSON decimal is none");
        let mut fields = Fields(bytes);
        let (precision, scale) = (fields.u8()?, fields.u8()?);
        Packed::width(precision, scale).filter(|width| *width == fields.0.len()).ok_or(NONE)?;
        let mut text = Vec::new();
        if !(Packed { bytes: fields.0, precision, scale }).write(&mut text) {
            return Err(NONE);
        }
        self.out.push_str(std::str::from_utf8(&text).map_err(|_| NONE)?);
        Ok(())
    }

    fn base64(&mut self, kind: u8, bytes: &[u8]) {
        self.plain(format_args!("\"base64:type{kind}:"));
        for (at, group) in bytes.chunks(3).enumerate() {
            if at > 0 && at * 4 % LINE == 0 {
                self.out.push_str("\\n");
            }
            let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or_default()));
            self.out.extend((0..=group.len()).map(|at| sextet(bits >> (18 - 6 * at))));
            self.out.extend((group.len()..3).map(|_| '='));
        }
        self.out.push('"');
    }
}

/// An array or an object: how many it holds, its length, an entry for each key, one for each value, what they point at.
struct Container<'a> {
    is_object: bool,
    is_large: bool,
    count: usize,
    keys: Fields<'a>,
    values: Fields<'a>,
    bytes: &'a [u8],
    /// Where in them what it points at begins.
    begin: usize,
}

impl<'a> Container<'a> {
    fn read(kind: u8, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (is_object, is_large) = (kind < 2, kind & 1 == 1);
        let width = if is_large { 4 } else { 2 };
        let mut fields = Fields(bytes);
        let (count, length) = (offset(is_large, &mut fields)?, offset(is_large, &mut fields)?);
        let bytes = bytes.get(..length).ok_or(SHORT)?;
        let mut fields = Fields(bytes.get(2 * width..).ok_or(SHORT)?);
        let keys = if is_object { count.saturating_mul(width + 2) } else { 0 };
        let keys = Fields(fields.take(keys)?);
        let values = Fields(fields.take(count.saturating_mul(width + 1))?);
        let begin = length - fields.0.len();
        Ok(Self { is_object, is_large, count, keys, values, bytes, begin })
    }

    fn key(&mut self) -> Result<&'a [u8], Malformed> {
        let at = offset(self.is_large, &mut self.keys)?;
        let length = self.keys.u16()?;
        self.behind(at)?.get(..length.into()).ok_or(SHORT)
    }

    /// The next value's kind and its bytes, or more of them: what is small stands in the entry itself.
    fn value(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let kind = self.values.u8()?;
        let entry = self.values.0;
        let at = offset(self.is_large, &mut self.values)?;
        let is_inlined = matches!(kind, 4..=6) || self.is_large && matches!(kind, 7 | 8);
        Ok((kind, if is_inlined { entry } else { self.behind(at)? }))
    }

    fn behind(&self, at: usize) -> Result<&'a [u8], Malformed> {
        self.bytes.get(at..).filter(|_| at >= self.begin).ok_or(Malformed("a JSON value lies outside of what holds it"))
    }
}

struct Clock {
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
}

impl Clock {
    /// Microseconds in 24 bits, seconds and minutes in six each, hours in the rest.
    fn read(packed: i64) -> Result<Self, Malformed> {
        let part = |shift: u32, bits: u32| packed >> shift & ((1 << bits) - 1);
        let clock = Self { hours: packed >> 36, minutes: part(30, 6), seconds: part(24, 6), micros: part(0, 24) };
        let is_one = clock.hours <= 838 && clock.minutes < 60 && clock.seconds < 60 && clock.micros < 1_000_000;
        if is_one { Ok(clock) } else { Err(Malformed("a time is none")) }
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hours, minutes, seconds, micros } = self;
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
    }
}

/// Of a moment: 41 bits are the time of the day, above it five the day, and months are counted by thirteen to a year.
fn date(packed: i64) -> Result<Date, Malformed> {
    const NONE: Malformed = Malformed("a date is none");
    let months = packed >> 46;
    let year = i32::try_from(months.div_euclid(13)).ok().filter(|year| (0..10_000).contains(year)).ok_or(NONE)?;
    let small = |number: i64| u8::try_from(number).map_err(|_| NONE);
    Ok(Date { year, month: small(months % 13)?, day: small(packed >> 41 & 31)? })
}

fn packed(bytes: &[u8]) -> Result<i64, Malformed> {
    bytes.try_into().map(i64::from_le_bytes).map_err(|_| Malformed("a moment is not of eight bytes"))
}

fn literal(byte: u8) -> Result<&'static str, Malformed> {
    match byte {
        0 => Ok("null"),
        1 => Ok("true"),
        2 => Ok("false"),
        _ => Err(Malformed("a JSON literal is none")),
    }
}

/// The lowest six bits as a character of base64.
fn sextet(bits: u32) -> char {
    match u8::try_from(bits & 63).unwrap_or_default() {
        bits @ 0..26 => char::from(b'A' + bits),
        bits @ 26..52 => char::from(b'a' + bits - 26),
        bits @ 52..62 => char::from(b'0' + bits - 52),
        62 => '+',
        _ => '/',
    }
}

fn offset(is_large: bool, fields: &mut Fields<'_>) -> Result<usize, Malformed> {
    if is_large { usize::try_from(fields.u32()?).map_err(|_| SHORT) } else { fields.u16().map(usize::from) }
}

/// Bytes behind their length, which has seven bits in each byte and a last one without the eighth.
fn sized<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = fields.u8()?;
        length |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return fields.take(usize::try_from(length).map_err(|_| SHORT)?);
        }
    }
    Err(Malformed("a JSON value's length has no end"))
}

/// Like `-1.25e-7`, in as few digits as give the number back. Of two that are as near, the server writes the even one,
/// and `{:e}` the upper one.
fn shortest(number: f64) -> String {
    let text = format!("{number:e}");
    let places = text.split(['.', 'e']).nth(1).filter(|_| text.contains('.')).map_or(0, str::len);
    let even = format!("{number:.places$e}");
    if even.parse() == Ok(number) { even } else { text }
}

/// Digits, of which the first stands where the exponent says, with a point and at least one digit on either side.
fn with_point(digits: &str, exponent: i32) -> String {
    let zeros = usize::try_from(-exponent).unwrap_or_default();
    let before = usize::try_from(exponent).unwrap_or_default() + 1;
    let width = (before + 1).saturating_sub(zeros);
    let all = format!("{:0<zeros$}{digits:0<width$}", "");
    let (whole, behind) = all.split_at_checked(before).unwrap_or_default();
    format!("{whole}.{behind}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> Result<String, Malformed> {
        let mut out = String::new();
        write(bytes, &mut out).map(|()| out)
    }

    fn is(bytes: &[u8], expected: &str) {
        assert_eq!(text(bytes).as_deref(), Ok(expected));
    }

    fn opaque(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[0x0F, kind, u8::try_from(value.len()).unwrap()], value].concat()
    }

    /// An array that holds so many times what stands behind its entries.
    fn array(count: u16, kind: u8, value: &[u8]) -> Vec<u8> {
        let begin = 4 + 3 * count;
        let length = begin + u16::try_from(value.len()).unwrap();
        let mut bytes = [count.to_le_bytes(), length.to_le_bytes()].concat();
        for _ in 0..count {
            bytes.push(kind);
            bytes.extend(begin.to_le_bytes());
        }
        [&bytes, value].concat()
    }

    fn nested(depth: usize, count: u16) -> Vec<u8> {
        let innermost = vec![0, 0, 4, 0];
        let value = (1..depth).fold(innermost, |value, _| array(count, 2, &value));
        [&[2], value.as_slice()].concat()
    }

    #[test]
    fn objects_and_arrays_are_written_with_spaces() {
        let object = [
            &[0x00, 2, 0, 30, 0, 18, 0, 1, 0, 19, 0, 1, 0][..],
            &[0x05, 1, 0, 0x02, 20, 0, b'a', b'b'],
            &[2, 0, 10, 0, 0x05, 1, 0, 0x05, 2, 0],
        ];
        is(&object.concat(), r#"{"a": 1, "b": [1, 2]}"#);
        is(&[0x00, 0, 0, 4, 0], "{}");
        is(&[0x02, 0, 0, 4, 0], "[]");
        is(&[0x02, 3, 0, 13, 0, 4, 0, 0, 4, 1, 0, 4, 2, 0], "[null, true, false]");
    }

    #[test]
    fn large_ones_have_wider_entries() {
        let array = [2, 0, 0, 0, 20, 0, 0, 0, 0x07, 0x90, 0xEE, 0xFE, 0xFF, 0x0C, 18, 0, 0, 0, 1, b'x'];
        is(&[&[0x03], &array[..]].concat(), r#"[-70000, "x"]"#);
        let object = [1, 0, 0, 0, 20, 0, 0, 0, 19, 0, 0, 0, 1, 0, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, b'k'];
        is(&[&[0x01], &object[..]].concat(), r#"{"k": 4294967295}"#);
    }

    #[test]
    fn no_bytes_are_null() {
        is(&[], "null");
        is(&[0x04, 0], "null");
    }

    #[test]
    fn numbers_have_their_sign_at_every_width() {
        is(&[0x05, 0, 0x80], "-32768");
        is(&[0x06, 0xFF, 0xFF], "65535");
        is(&[0x07, 0, 0, 0, 0x80], "-2147483648");
        is(&[0x08, 0xFF, 0xFF, 0xFF, 0xFF], "4294967295");
        is(&[0x09, 0, 0, 0, 0, 0, 0, 0, 0x80], "-9223372036854775808");
        is(&[&[0x0A], &[0xFF; 8][..]].concat(), "18446744073709551615");
        // A small array does not inline what takes four bytes.
        is(&[0x02, 1, 0, 11, 0, 0x07, 7, 0, 0x70, 0x11, 1, 0], "[70000]");
    }

    /// As MySQL 9.7 prints them.
    #[test]
    fn doubles_are_written_as_the_server_does() {
        for (number, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (100.0, "100.0"),
            (3.25, "3.25"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (1e100, "1e100"),
            (1e-15, "0.000000000000001"),
            (1.5e-15, "0.0000000000000015"),
            (1e-16, "1e-16"),
            (-1e-20, "-1e-20"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (1_234_567_890_123_456.0, "1.234567890123456e15"),
            (12_345_678_901_234_567.0, "1.2345678901234568e16"),
            (5.684_341_886_080_802e-14, "0.00000000000005684341886080802"),
            (2_f64.powi(50) + 0.25, "1125899906842624.2"),
            (-2_f64.powi(50) - 1.75, "-1125899906842625.8"),
        ] {
            is(&[&[0x0B], &f64::to_le_bytes(number)[..]].concat(), expected);
        }
        assert!(text(&[&[0x0B], &f64::NAN.to_le_bytes()[..]].concat()).is_err());
    }

    #[test]
    fn strings_are_escaped() {
        is(b"\x0C\x0Ba\x01\x08\t\n\x0B\x0C\r\"\\/", r#""a\u0001\b\t\n\u000b\f\r\"\\/""#);
        is("\x0C\x0Aé€😀\x7F".as_bytes(), "\"é€😀\x7F\"");
        is(&[&[0x0C, 0x80, 0x01], &[b'z'; 128][..]].concat(), &format!("\"{}\"", "z".repeat(128)));
        assert!(text(&[0x0C, 1, 0xFF]).is_err());
    }

    #[test]
    fn decimals_are_plain_numbers() {
        let value = [14, 4, 0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2];
        is(&opaque(246, &value), "1234567890.1234");
        is(&opaque(246, &[3, 3, 0x81, 0xF4]), "0.500");
        is(&opaque(246, &[3, 3, 0x7E, 0x0B]), "-0.500");
        for wrong in [&[14, 4, 0x81][..], &[3, 4, 0, 0], &[0, 0], &[1], &[1, 0, 0x8A]] {
            assert!(text(&opaque(246, wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn moments_are_strings() {
        let date = ((2_024_i64 * 13 + 1) << 46) + (2 << 41);
        let clock = (3_i64 << 36) + (4 << 30) + (5 << 24);
        is(&opaque(10, &date.to_le_bytes()), r#""2024-01-02""#);
        is(&opaque(12, &(date + clock).to_le_bytes()), r#""2024-01-02 03:04:05.000000""#);
        is(&opaque(7, &(date + clock + 120_000).to_le_bytes()), r#""2024-01-02 03:04:05.120000""#);
        is(&opaque(12, &[0; 8]), r#""0000-00-00 00:00:00.000000""#);
        is(&opaque(11, &(12_i64 << 36).to_le_bytes()), r#""12:00:00.000000""#);
        is(&opaque(11, &(-1_i64).to_le_bytes()), r#""-00:00:00.000001""#);
        let longest = (838_i64 << 36) + (59 << 30) + (59 << 24);
        is(&opaque(11, &(-longest).to_le_bytes()), r#""-838:59:59.000000""#);
    }

    #[test]
    fn moments_that_are_none_are_refused() {
        for packed in [i64::MIN, -1, i64::MAX, 24 << 36, 60 << 30, 60 << 24, 1_000_000] {
            assert!(text(&opaque(12, &packed.to_le_bytes())).is_err(), "{packed}");
        }
        for packed in [i64::MIN, i64::MAX, 839 << 36] {
            assert!(text(&opaque(11, &packed.to_le_bytes())).is_err(), "{packed}");
        }
        assert!(text(&opaque(10, &[0; 7])).is_err());
    }

    #[test]
    fn whatever_else_is_base64_in_lines() {
        is(&opaque(16, &[0x02, 0xAB]), r#""base64:type16:Aqs=""#);
        is(&opaque(252, &[0xFB, 0xEF, 0xFF]), r#""base64:type252:++//""#);
        is(&opaque(15, b"a"), r#""base64:type15:YQ==""#);
        is(&opaque(15, b""), r#""base64:type15:""#);
        let line = "eHh4".repeat(19);
        is(&opaque(252, &[b'x'; 57]), &format!(r#""base64:type252:{line}""#));
        is(&opaque(252, &[b'x'; 58]), &format!(r#""base64:type252:{line}\neA==""#));
        is(&opaque(253, b"a\"b"), r#""a\"b""#);
    }

    #[test]
    fn what_is_malformed_is_refused_and_nothing_is_written() {
        let cases: [&[u8]; 14] = [
            &[0x00],
            &[0x0D],
            &[0x10, 0],
            &[0x04, 3],
            &[0x05, 1],
            &[0x0C, 2, b'a'],
            &[0x0C, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            &[0x0F, 252],
            &[0x02, 0xFF, 0xFF, 4, 0],
            &[0x02, 0, 0, 3, 0],
            &[0x02, 0, 0, 5, 0],
            // An array that points at its own entries, one that points behind its end, and a key that ends there.
            &[0x02, 1, 0, 8, 0, 0x0C, 6, 0, 0],
            &[0x02, 1, 0, 7, 0, 0x0C, 8, 0, 0],
            &[0x00, 1, 0, 12, 0, 11, 0, 2, 0, 0x04, 1, 0, b'k'],
        ];
        for bytes in cases {
            let mut out = "before".to_owned();
            assert!(write(bytes, &mut out).is_err(), "{bytes:?}");
            assert_eq!(out, "before");
        }
    }

    #[test]
    fn a_hundred_levels_are_read_and_no_more() {
        is(&nested(100, 1), &format!("{}{}", "[".repeat(100), "]".repeat(100)));
        assert_eq!(text(&nested(101, 1)), Err(Malformed("a JSON value is too deep")));
    }

    #[test]
    fn one_place_is_not_read_again_and_again() {
        let again = Err(Malformed("a JSON value holds the same one again"));
        assert_eq!(text(&nested(90, 2)), again);
        let long = [&[0xB0, 0x6D][..], &[b'z'; 14_000]].concat();
        assert_eq!(text(&[&[2], array(10_000, 0x0C, &long).as_slice()].concat()), again);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![0..32_u8, any::<u8>()], 0..200)) {
            let mut out = String::new();
            if write(&bytes, &mut out).is_ok() {
                prop_assert!(out.len() <= LONGEST * bytes.len() + 2 * BESIDE);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
            }
        }

        #[test]
        fn a_double_is_the_same_when_it_is_read_back(number in any::<f64>()) {
            let read = text(&[&[0x0B], &number.to_le_bytes()[..]].concat());
            let expected = Some(number).filter(|number| number.is_finite());
            prop_assert_eq!(read.ok().and_then(|text| text.parse().ok()), expected);
        }
    }
}
