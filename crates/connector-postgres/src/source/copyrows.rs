//! The rows in a stream of `COPY … (FORMAT binary)` (manual: sql-copy, "Binary Format"), read as they arrive.
//!
//! Pure: bytes are pushed in, cut anywhere; whole rows come out. No allocation per row.

use wavemark_domain::Problem;

/// `PGCOPY\n\377\r\n\0`, no flags, no extension.
pub(super) const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A row with −1 fields ends the stream.
pub(super) const TRAILER: [u8; 2] = [0xff, 0xff];
const SIGNATURE: usize = 11;

/// Takes rows out of the stream.
#[derive(Default)]
pub(super) struct CopyRows {
    bytes: Vec<u8>,
    at: usize,
    started: bool,
    ended: bool,
}

/// One row: its bytes as they were, and its fields.
pub(super) struct CopyRow<'a> {
    /// With the number of fields in front, as the stream has it.
    pub(super) raw: &'a [u8],
}

impl CopyRows {
    /// Adds bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 && self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        } else if self.at > 1 << 20 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the stream's end was read.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next whole row; `None` when more bytes are needed or the stream ended.
    pub(super) fn next(&mut self) -> Result<Option<CopyRow<'_>>, Problem> {
        if !self.started && !self.start()? {
            return Ok(None);
        }
        let rest = &self.bytes[self.at..];
        let Some((count, fields)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let Ok(count) = u16::try_from(i16::from_be_bytes(*count)) else {
            self.ended = true;
            return Ok(None);
        };
        let Some(length) = fields_length(fields, count)? else { return Ok(None) };
        let start = self.at;
        self.at += 2 + length;
        Ok(Some(CopyRow { raw: &self.bytes[start..self.at] }))
    }

    fn start(&mut self) -> Result<bool, Problem> {
        let rest = &self.bytes[self.at..];
        let Some(head) = rest.get(..HEADER.len()) else { return Ok(false) };
        if head[..SIGNATURE] != HEADER[..SIGNATURE] {
            return Err(broken());
        }
        let extension: [u8; 4] = head[SIGNATURE + 4..].try_into().map_err(|_| broken())?;
        let length = usize::try_from(i32::from_be_bytes(extension)).map_err(|_| broken())?;
        if rest.len() < HEADER.len() + length {
            return Ok(false);
        }
        self.at += HEADER.len() + length;
        self.started = true;
        Ok(true)
    }
}

/// How many bytes the fields take; `None` if not all are there.
fn fields_length(fields: &[u8], count: u16) -> Result<Option<usize>, Problem> {
    let mut at = 0;
    for _ in 0..count {
        let Some(length) = fields.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
        at += 4;
        match i32::from_be_bytes(*length) {
            -1 => {}
            length => at += usize::try_from(length).map_err(|_| broken())?,
        }
    }
    Ok((at <= fields.len()).then_some(at))
}

fn broken() -> Problem {
    Problem::internal("The server sent bytes that are no COPY in binary format.")
}

impl<'a> CopyRow<'a> {
    /// The fields in order, `None` for NULL.
    pub(super) fn fields(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut rest = self.raw.get(2..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = after;
                return Some(None);
            };
            let (value, after) = after.split_at_checked(length)?;
            rest = after;
            Some(Some(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[u8] = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\x02\0\0\0\0\0\0\0\x03xyz\xff\xff";

    #[test]
    fn rows_come_out_however_the_stream_is_cut() {
        let stream = [&HEADER[..], ROWS].concat();
        for size in 1..stream.len() {
            let mut rows = CopyRows::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                rows.push(piece);
                while let Some(row) = rows.next().unwrap() {
                    found.push(row.fields().map(|field| field.map(<[u8]>::to_vec)).collect::<Vec<_>>());
                }
            }
            assert!(rows.is_ended());
            assert_eq!(found, [vec![Some(b"a".to_vec()), None], vec![Some(vec![]), Some(b"xyz".to_vec())]]);
        }
    }

    #[test]
    fn a_row_keeps_its_bytes() {
        let mut rows = CopyRows::default();
        rows.push(HEADER);
        rows.push(ROWS);
        assert_eq!(rows.next().unwrap().unwrap().raw, b"\0\x02\0\0\0\x01a\xff\xff\xff\xff");
    }

    #[test]
    fn bytes_of_another_format_are_refused() {
        let mut rows = CopyRows::default();
        rows.push(b"1\tone\n2\ttwo\n3\tthree\n");
        assert!(rows.next().is_err());
    }
}
