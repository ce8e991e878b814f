//! COPY in binary form (manual: "COPY", section "Binary Format"): rows written, and streams passed on.

use bytes::{BufMut, Bytes, BytesMut};
use wavemark_domain::{Batch, Cell, Problem};

use super::canonical::Unfit;
use super::table::{Rewrite, TargetColumn};
use super::types::Cursor;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Rows on their way into a COPY. [`Writer::take`] gives what is ready.
pub(crate) struct Writer {
    bytes: BytesMut,
    scratch: Vec<u8>,
    pub(crate) rows: u64,
}

impl Writer {
    pub(crate) fn new() -> Self {
        let mut bytes = BytesMut::with_capacity(64 * 1024);
        bytes.put_slice(SIGNATURE);
        bytes.put_u64(0);
        Self { bytes, scratch: Vec::new(), rows: 0 }
    }

    /// Begins a row of so many fields.
    pub(crate) fn begin(&mut self, fields: usize) {
        self.rows += 1;
        self.bytes.put_i16(i16::try_from(fields).expect("a table has at most 1600 columns"));
    }

    pub(crate) fn null(&mut self) {
        self.bytes.put_i32(-1);
    }

    pub(crate) fn int2(&mut self, value: i16) {
        self.bytes.put_i32(2);
        self.bytes.put_i16(value);
    }

    pub(crate) fn int8(&mut self, value: i64) {
        self.bytes.put_i32(8);
        self.bytes.put_i64(value);
    }

    /// The length of a value whose bytes follow.
    pub(crate) fn length(&mut self, bytes: usize) {
        self.bytes.put_i32(i32::try_from(bytes).expect("a value is smaller than 1 GiB"));
    }

    /// Bytes of a value whose length went before.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    /// One cell of a row. An unchanged one is written as NULL: only for columns that nothing reads.
    pub(crate) fn cell(&mut self, batch: &Batch, cell: Cell, column: &TargetColumn) -> Result<(), Problem> {
        match batch.value(cell) {
            None => self.null(),
            Some(value) => {
                let value = rewritten(value, column, &mut self.scratch)?;
                self.bytes.put_i32(i32::try_from(value.len()).expect("a value is smaller than 1 GiB"));
                self.bytes.put_slice(value);
            }
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) {
        self.bytes.put_i16(-1);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }
}

/// A value as the target takes it: with its oids in it, or in this system's form.
pub(crate) fn rewritten<'a>(
    value: &'a [u8],
    column: &TargetColumn,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], Problem> {
    scratch.clear();
    match &column.rewrite {
        None => return Ok(value),
        Some(Rewrite::Oids(shape)) => {
            scratch.extend_from_slice(value);
            shape.overwrite(scratch).map_err(|_| misshapen(column))?;
        }
        Some(Rewrite::Canonical(canonical)) => {
            canonical.write(value, scratch).map_err(|unfit| does_not_fit(column, unfit))?;
        }
    }
    Ok(scratch)
}

fn does_not_fit(column: &TargetColumn, unfit: Unfit) -> Problem {
    let text = format!("A value of column {} has no place in {}: {unfit}.", column.name, column.type_text);
    Problem::new(wavemark_domain::Fault::Data, "value-does-not-fit", text)
        .advice("Change the value at the source, or leave the column out with a remove-column rule.")
}

fn misshapen(column: &TargetColumn) -> Problem {
    let text =
        format!("A value of column {} has another shape than the target's type {}.", column.name, column.base_text);
    Problem::new(wavemark_domain::Fault::Data, "type-differs", text)
        .advice("Compare the type's definition on both sides.")
}

/// Passes a stream on and overwrites the oids in it. Rows are cut anywhere.
pub(crate) struct Rewriter<'t> {
    columns: &'t [TargetColumn],
    kept: BytesMut,
    past_header: bool,
    done: bool,
    /// Rows that went through.
    pub(crate) rows: u64,
}

impl<'t> Rewriter<'t> {
    pub(crate) fn new(columns: &'t [TargetColumn]) -> Self {
        Self { columns, kept: BytesMut::new(), past_header: false, done: false, rows: 0 }
    }

    /// Takes the next piece of the stream and gives the whole rows that are ready.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Bytes, Problem> {
        self.kept.extend_from_slice(piece);
        let mut ready = 0;
        if !self.past_header {
            let Some(length) = header(&self.kept) else { return Ok(Bytes::new()) };
            self.past_header = true;
            ready = length;
        }
        while !self.done {
            match row_length(&self.kept[ready..]) {
                Some(RowLength::Trailer) => {
                    self.done = true;
                    ready += 2;
                }
                Some(RowLength::Row(length)) => {
                    self.row(ready, length)?;
                    self.rows += 1;
                    ready += length;
                }
                None => break,
            }
        }
        Ok(self.kept.split_to(ready).freeze())
    }

    /// Whether the stream ended where a stream ends.
    pub(crate) fn is_complete(&self) -> bool {
        self.done && self.kept.is_empty()
    }

    fn row(&mut self, at: usize, length: usize) -> Result<(), Problem> {
        let broken = |_| Problem::internal("A row of a binary COPY stream has another length than it says.");
        let mut rest = Cursor(&mut self.kept[at..at + length]);
        rest.take(2).map_err(broken)?;
        for column in self.columns {
            if let (Some(value), Some(shape)) = (rest.sized().map_err(broken)?, column.rewrites_oids()) {
                shape.overwrite(value).map_err(|_| misshapen(column))?;
            }
        }
        Ok(())
    }
}

/// The length of the header, extension included, once all of it is there.
fn header(bytes: &[u8]) -> Option<usize> {
    let extension = bytes.get(15..19)?;
    let length = 19 + u32::from_be_bytes(extension.try_into().ok()?) as usize;
    (bytes.len() >= length).then_some(length)
}

enum RowLength {
    Trailer,
    Row(usize),
}

/// The length of the row that begins here, once all of it is there.
fn row_length(bytes: &[u8]) -> Option<RowLength> {
    let fields = i16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    if fields < 0 {
        return Some(RowLength::Trailer);
    }
    let mut at = 2;
    for _ in 0..fields {
        let length = i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    (bytes.len() >= at).then_some(RowLength::Row(at))
}

#[cfg(test)]
mod tests {
    use super::super::types::Shape;
    use super::*;

    fn column(rewrite: Option<Shape>) -> TargetColumn {
        TargetColumn {
            name: "c".to_owned(),
            type_text: "x".to_owned(),
            always: false,
            base_text: "x".to_owned(),
            base: 0,
            casts: false,
            unnests: true,
            rewrite: rewrite.map(Rewrite::Oids),
            equals: "=".to_owned(),
        }
    }

    #[test]
    fn a_stream_cut_anywhere_comes_out_whole_with_the_targets_oids() {
        let array = |oid: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, oid];
        let stream = |oid: u8| {
            let mut stream = [&SIGNATURE[..], &[0; 8]].concat();
            for _ in 0..2 {
                stream.extend([0, 2, 0, 0, 0, 1, b'x', 0, 0, 0, 12]);
                stream.extend(array(oid));
            }
            stream.extend([0xff, 0xff]);
            stream
        };
        let columns = [column(None), column(Some(Shape::Array { element: 0x4009, inner: Box::new(Shape::Opaque) }))];
        for size in 1..stream(1).len() {
            let mut rewriter = Rewriter::new(&columns);
            let out: Vec<u8> = stream(1).chunks(size).flat_map(|piece| rewriter.push(piece).unwrap()).collect();
            assert_eq!(out, stream(9), "pieces of {size} bytes");
            assert!(rewriter.is_complete());
        }
    }
}
