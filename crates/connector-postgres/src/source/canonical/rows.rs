//! The rows in a stream of `COPY … TO STDOUT` in text form (manual: sql-copy, "Text Format"), read as they arrive.
//!
//! Pure: bytes are pushed in, cut anywhere; whole rows come out. A row is a line, its fields have tabs between, and what
//! would be mistaken for either stands behind a backslash.

/// Takes rows out of the stream.
#[derive(Default)]
pub(in super::super) struct TextRows {
    bytes: Vec<u8>,
    at: usize,
    /// Up to where there is no end of the row at `at`.
    looked: usize,
}

impl TextRows {
    /// Adds bytes of the stream.
    pub(in super::super) fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.looked -= self.at;
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether nothing is left of what was pushed.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next whole row; `None` when more bytes are needed.
    pub(in super::super) fn next(&mut self) -> Option<TextRow<'_>> {
        let Some(length) = self.bytes[self.looked..].iter().position(|byte| *byte == b'\n') else {
            self.looked = self.bytes.len();
            return None;
        };
        let (start, end) = (self.at, self.looked + length);
        (self.at, self.looked) = (end + 1, end + 1);
        Some(TextRow(&self.bytes[start..end]))
    }
}

/// One row, without its end.
#[derive(Clone, Copy)]
pub(in super::super) struct TextRow<'a>(&'a [u8]);

impl<'a> TextRow<'a> {
    /// Its bytes.
    pub(in super::super) fn len(self) -> usize {
        self.0.len()
    }

    /// The fields in order as they are written, `None` for NULL.
    pub(in super::super) fn fields(self) -> impl Iterator<Item = Option<Field<'a>>> {
        self.0.split(|byte| *byte == b'\t').map(|field| (field != b"\\N").then_some(Field(field)))
    }
}

/// A value as it is written.
#[derive(Clone, Copy)]
pub(in super::super) struct Field<'a>(&'a [u8]);

impl<'a> Field<'a> {
    /// The value; `scratch` holds it if it is not written as it is.
    pub(in super::super) fn value<'b>(self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if !self.0.contains(&b'\\') {
            return self.0;
        }
        scratch.clear();
        let mut rest = self.0.iter();
        while let Some(byte) = rest.next() {
            scratch.push(match byte {
                b'\\' => rest.next().map_or(b'\\', |byte| escaped(*byte)),
                _ => *byte,
            });
        }
        scratch
    }
}

fn escaped(byte: u8) -> u8 {
    match byte {
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0B,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"1\tone\t\\N\n2\t\\\\N\t\n3\ta\\tb\\nc\\rd\\\\e\\b\\f\\v\\.\t\xC3\xBC\n";

    fn found(rows: &mut TextRows) -> Vec<Vec<Option<Vec<u8>>>> {
        let mut found = Vec::new();
        while let Some(row) = rows.next() {
            let value = |field: Option<Field<'_>>| field.map(|field| field.value(&mut Vec::new()).to_vec());
            found.push(row.fields().map(value).collect());
        }
        found
    }

    #[test]
    fn rows_come_out_however_the_stream_is_cut() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        for size in 1..=STREAM.len() {
            let mut rows = TextRows::default();
            let mut all = Vec::new();
            for piece in STREAM.chunks(size) {
                rows.push(piece);
                all.extend(found(&mut rows));
            }
            assert!(rows.is_empty());
            assert_eq!(
                all,
                [
                    vec![text("1"), text("one"), None],
                    vec![text("2"), text("\\N"), text("")],
                    vec![text("3"), text("a\tb\nc\rd\\e\u{8}\u{c}\u{b}."), text("ü")],
                ]
            );
        }
    }

    #[test]
    fn a_row_that_is_not_whole_is_kept() {
        let mut rows = TextRows::default();
        rows.push(b"1\tone\n2");
        assert_eq!(found(&mut rows).len(), 1);
        assert!(!rows.is_empty());
        rows.push(b"\ttwo\n");
        assert_eq!(found(&mut rows), [[Some(b"2".to_vec()), Some(b"two".to_vec())]]);
    }
}
