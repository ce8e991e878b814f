//! Texts, labels, and what is written as text.

use super::escape::Style;
use super::holds::{Charset, Text};
use super::spelled;
use super::unfit::Unfit;
use super::write::{Form, array};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a text that the limits hold.
pub(super) fn write(form: Form, value: &[u8], limits: Text, style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if form == Form::Uuid {
        if limits.characters.is_some_and(|most| most < 36) {
            return Err(Unfit::TooLong);
        }
        return style.plain(|out| uuid(value, out), out);
    }
    let words = spelled::has_words(form).then(|| spelled::text(form, value)).transpose()?;
    let value = words.as_deref().unwrap_or(value);
    let text = std::str::from_utf8(value).map_err(|_| Unfit::Misshapen)?;
    limits.hold(text)?;
    style.text(value, out);
    Ok(())
}

/// Writes a text that the server judges.
pub(super) fn write_any(value: &[u8], style: Style, out: &mut Vec<u8>) -> Result<(), Unfit> {
    std::str::from_utf8(value).map_err(|_| Unfit::Misshapen)?;
    style.text(value, out);
    Ok(())
}

impl Text {
    /// What is longer by blanks alone the server cuts with no more than a note, so lengths are counted here.
    fn hold(&self, text: &str) -> Result<(), Unfit> {
        self.charset.has(text)?;
        let is_utf8 = self.charset != Charset::Other;
        // In another character set it has as many bytes as characters at least.
        let length = || text.chars().count();
        let too_long = self.characters.is_some_and(|most| text.len() > most && length() > most)
            || self.bytes.is_some_and(|most| text.len() > most && (is_utf8 || length() > most));
        if too_long {
            return Err(Unfit::TooLong);
        }
        if self.is_trimmed && text.ends_with(' ') { Err(Unfit::TrailingBlank) } else { Ok(()) }
    }
}

impl Charset {
    /// Whether it has the characters, as far as that can be told here.
    fn has(self, text: &str) -> Result<(), Unfit> {
        let fits = match self {
            Self::Utf8mb4 | Self::Other => true,
            Self::Utf8mb3 => !text.bytes().any(|byte| byte >= 0xF0),
            Self::Ascii => text.is_ascii(),
        };
        if fits { Ok(()) } else { Err(Unfit::CharacterSet) }
    }
}

/// A label of an enum to the last byte: the server would take one in other letters, and digits for a label's number.
pub(super) fn label(
    value: &[u8],
    labels: &[String],
    charset: Charset,
    style: Style,
    out: &mut Vec<u8>,
) -> Result<(), Unfit> {
    let label = labels.iter().find(|label| label.as_bytes() == value).ok_or(Unfit::NoLabel)?;
    charset.has(label)?;
    style.text(value, out);
    Ok(())
}

/// Labels of a set in the set's order, none twice: the server would put them in order.
pub(super) fn labels(
    value: &[u8],
    labels: &[String],
    charset: Charset,
    style: Style,
    out: &mut Vec<u8>,
) -> Result<(), Unfit> {
    let mut rest = labels.iter();
    if !value.is_empty() {
        for one in value.split(|byte| *byte == b',') {
            let label = rest.find(|label| label.as_bytes() == one).ok_or(Unfit::NoLabel)?;
            charset.has(label)?;
        }
    }
    style.text(value, out);
    Ok(())
}

/// `00112233-4455-6677-8899-aabbccddeeff`.
pub(super) fn uuid(value: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    for (at, byte) in array::<16>(value)?.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    Ok(())
}
