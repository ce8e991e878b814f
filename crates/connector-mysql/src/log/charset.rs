//! Texts in the log are in their column's character set; on the way they are UTF-8.
//!
//! Only sets are here whose every character is known to be what the server itself makes of it.

/// A character set whose texts can be read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// `utf8mb4`, and what is a part of it.
    Utf8,
    /// `latin1`, which is Windows' code page 1252, and the bytes that are free there as they are.
    Latin1,
    /// `ucs2`, `utf16`: two bytes, the higher first.
    Utf16,
    Utf16Le,
    /// Four bytes, the highest first.
    Utf32,
}

/// What `latin1` has from 0x80 to 0x9F.
const LATIN1: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

impl Charset {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Self::Utf8,
            "latin1" => Self::Latin1,
            "ucs2" | "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16Le,
            "utf32" => Self::Utf32,
            _ => return None,
        })
    }

    /// The text as UTF-8: as it is, or written into `out`; `None` if the bytes are none of this set.
    pub(crate) fn decode<'a>(self, bytes: &'a [u8], out: &'a mut String) -> Option<&'a [u8]> {
        out.clear();
        match self {
            Self::Utf8 => return std::str::from_utf8(bytes).ok().map(str::as_bytes),
            Self::Latin1 if bytes.is_ascii() => return Some(bytes),
            Self::Latin1 => out.extend(bytes.iter().map(|byte| match byte {
                0x80..=0x9F => LATIN1[usize::from(*byte - 0x80)],
                other => char::from(*other),
            })),
            Self::Utf16 => utf16(bytes, u16::from_be_bytes, out)?,
            Self::Utf16Le => utf16(bytes, u16::from_le_bytes, out)?,
            Self::Utf32 => {
                let (words, []) = bytes.as_chunks::<4>() else { return None };
                for word in words {
                    out.push(char::from_u32(u32::from_be_bytes(*word))?);
                }
            }
        }
        Some(out.as_bytes())
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut String) -> Option<()> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    for char in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        out.push(char.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, bytes: &[u8]) -> Option<String> {
        let mut out = String::new();
        Charset::named(name)?.decode(bytes, &mut out).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn texts_become_utf8() {
        assert_eq!(decoded("utf8mb4", "grüß €".as_bytes()).unwrap(), "grüß €");
        assert_eq!(decoded("latin1", b"gr\xFC\xDF \x80\x81").unwrap(), "grüß €\u{81}");
        assert_eq!(decoded("ucs2", &[0x20, 0xAC]).unwrap(), "€");
        assert_eq!(decoded("utf16", &[0xD8, 0x3D, 0xDE, 0x00]).unwrap(), "😀");
        assert_eq!(decoded("utf16le", &[0xAC, 0x20]).unwrap(), "€");
        assert_eq!(decoded("utf32", &[0, 1, 0xF6, 0]).unwrap(), "😀");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(decoded("utf8mb4", &[0xFF]), None);
        assert_eq!(decoded("utf16", &[0xD8, 0x3D]), None);
        assert_eq!(decoded("ucs2", &[0x20]), None);
        assert_eq!(decoded("utf32", &[0, 0x11, 0, 0]), None);
        assert_eq!(Charset::named("gbk"), None);
    }
}
