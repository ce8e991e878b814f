//! How bytes stand in a field of `LOAD DATA` and in a statement.

/// Where a value is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A field: tabs end it, line feeds its row, a backslash takes both their meaning.
    Field,
    /// A literal, of a session that takes a backslash for what it is by default.
    Literal,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

impl Style {
    /// A text.
    pub(super) fn text(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Field => field(text, out),
            Self::Literal => {
                out.push(b'\'');
                escape(text, |byte| matches!(byte, b'\'' | b'\\' | 0), out);
                out.push(b'\'');
            }
        }
    }

    /// What has nothing in it that could need an escape.
    pub(super) fn plain<E>(
        self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        out: &mut Vec<u8>,
    ) -> Result<(), E> {
        match self {
            Self::Field => write(out),
            Self::Literal => {
                out.push(b'\'');
                write(out)?;
                out.push(b'\'');
                Ok(())
            }
        }
    }

    /// Bytes.
    pub(super) fn bytes(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Field => field(bytes, out),
            Self::Literal => {
                out.extend_from_slice(b"X'");
                out.extend(bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
                out.push(b'\'');
            }
        }
    }
}

fn field(bytes: &[u8], out: &mut Vec<u8>) {
    escape(bytes, |byte| matches!(byte, b'\t' | b'\n' | b'\\' | 0), out);
}

/// Puts a backslash before the bytes that need one, of which a zero becomes a `0`.
fn escape(bytes: &[u8], needs: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| needs(*byte)) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', if rest[at] == 0 { b'0' } else { rest[at] }]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(style: Style, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        style.text(text, &mut out);
        out
    }

    #[test]
    fn what_has_a_meaning_is_escaped() {
        assert_eq!(written(Style::Field, b"a\tb\nc\\d\0e'f\r"), b"a\\\tb\\\nc\\\\d\\0e'f\r");
        assert_eq!(written(Style::Field, b"\\N"), b"\\\\N");
        assert_eq!(written(Style::Field, b""), b"");
        assert_eq!(written(Style::Literal, b"it's \\ a\0\n"), b"'it\\'s \\\\ a\\0\n'");
        let mut out = Vec::new();
        Style::Literal.bytes(&[0, 0x1F, 0xAB], &mut out);
        assert_eq!(out, b"X'001FAB'");
    }

    /// As the manual says of `LOAD DATA`: a field ends at a tab that no backslash is before.
    fn read(field: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut bytes = field.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\t' | b'\n' | 0 => return None,
                b'\\' => out.push(match bytes.next()? {
                    b'0' => 0,
                    b'\\' | b'\t' | b'\n' => field[field.len() - bytes.len() - 1],
                    _ => return None,
                }),
                other => out.push(*other),
            }
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn a_field_reads_as_what_was_written(bytes: Vec<u8>, more in "[\t\n\\\\\0N0n]{0,8}") {
            let bytes = [bytes, more.into_bytes()].concat();
            prop_assert_eq!(read(&written(Style::Field, &bytes)), Some(bytes));
        }
    }
}
