//! The cells of one row.

use std::fmt;

use super::reader::Reader;
use super::{DecodeError, Reason};

/// One cell of a row as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL. In the old row of a `K` tuple also every column outside the key.
    Null,
    /// An unchanged TOASTed value that the log left out: a state, not a value.
    Unchanged,
    /// The type's text form.
    Text(&'a [u8]),
    /// The type's binary (send) form.
    Binary(&'a [u8]),
}

/// One row (`TupleData`), checked when its message was decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: u16,
    // Invariant: exactly `count` well-formed cells, which `Tuple::read` has walked.
    cells: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Walks over a `TupleData` and keeps it.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.count16("the number of cells")?;
        let start = reader.at();
        for _ in 0..count {
            match reader.u8("the kind of a cell")? {
                b'n' | b'u' => {}
                b't' | b'b' => {
                    let length = reader.count32("the length of a cell")?;
                    reader.bytes(length, "a cell")?;
                }
                other => return Err(reader.unexpected("the kind of a cell", other)),
            }
        }
        Ok(Self { count, cells: reader.since(start) })
    }

    /// How many cells the row has.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the row has no cells (a table without columns).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The cells in the order of the relation's columns.
    #[inline]
    #[must_use]
    pub fn cells(&self) -> Cells<'a> {
        Cells { left: self.count, rest: self.cells }
    }
}

impl fmt::Debug for Tuple<'_> {
    /// Row values stay out of logs: only the number of cells is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tuple({} cells)", self.count)
    }
}

/// The cells of a [`Tuple`], one after the other.
#[derive(Clone)]
pub struct Cells<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    #[inline]
    fn value(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.rest = rest;
        Some(value)
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        let (kind, rest) = self.rest.split_first()?;
        self.left = self.left.saturating_sub(1);
        self.rest = rest;
        match kind {
            b'n' => Some(Cell::Null),
            b'u' => Some(Cell::Unchanged),
            b't' => self.value(rest).map(Cell::Text),
            _ => self.value(rest).map(Cell::Binary),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Cells<'_> {}

/// Reads the mark of a tuple and the tuple after it.
#[inline]
pub(super) fn marked<'a>(reader: &mut Reader<'a>, mark: u8) -> Result<Tuple<'a>, DecodeError> {
    match reader.u8("the mark of a row")? {
        found if found == mark => Tuple::read(reader),
        other => {
            let mut error = reader.error(Reason::Unexpected("the mark of a row", other));
            error.at -= 1;
            Err(error)
        }
    }
}
