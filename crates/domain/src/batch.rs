//! Rows on their way: one arena of bytes per batch, offsets per cell, never a heap object per cell or row.

use std::ops::Range;

use crate::{Position, TableId};

/// One cell: null, unchanged, or a slice of its batch's arena.
///
/// *Unchanged* is a state of a cell and not a value: the log left the column out because the statement did not
/// touch it (in `PostgreSQL` a value in `TOAST`). It must never be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    start: u32,
    len: u32,
}

const NULL: u32 = u32::MAX;
const UNCHANGED: u32 = u32::MAX - 1;

impl Cell {
    /// The SQL NULL.
    pub const NULL: Self = Self { start: 0, len: NULL };
    /// A column that the log left out.
    pub const UNCHANGED: Self = Self { start: 0, len: UNCHANGED };

    /// Whether this is the SQL NULL.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.len == NULL
    }

    /// Whether the log left this column out.
    #[must_use]
    pub fn is_unchanged(self) -> bool {
        self.len == UNCHANGED
    }
}

/// What happened to a row or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// `new` holds the row.
    Insert,
    /// `new` holds the row (cells may be unchanged); `old` holds the old key if the key changed, or the whole old
    /// row for a table without a key.
    Update,
    /// `old` holds the key cells (others are null), or the whole old row for a table without a key.
    Delete,
    /// All rows of the table went. No cells.
    Truncate,
    /// From here on the source's rows of this table have a layout that isn't proved to be the plan's. No cells,
    /// and no change of the table follows in this or a later batch.
    Barrier,
}

impl ChangeKind {
    /// As exceptions name it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Barrier => "barrier",
        }
    }
}

/// One change. `old` and `new` are the index of a row's first cell in the batch's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table, as in the task's plan.
    pub table: TableId,
    /// What happened.
    pub kind: ChangeKind,
    old: u32,
    new: u32,
}

const NO_ROW: u32 = u32::MAX;

/// The end of one source transaction within a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMark {
    /// Where the transaction ends in the log: what a bookmark after it says.
    pub end: Position,
    /// When the source committed it, in microseconds since 1970-01-01 UTC, by the source's clock.
    pub committed_at: i64,
    /// One past the index of its last change in the batch.
    pub changes_end: usize,
}

/// A run of changes in the source's commit order, of any tables.
///
/// `transactions` marks where source transactions end. Changes after the last mark belong to a transaction that
/// goes on in the next batch (one too large to be held); then `is_open` is true and nothing may be committed
/// before a batch closes it.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    arena: Vec<u8>,
    cells: Vec<Cell>,
    changes: Vec<Change>,
    transactions: Vec<TransactionMark>,
}

impl Batch {
    /// An empty batch with room for as much as another holds, but for its row data at most so many bytes.
    #[must_use]
    pub fn with_room_of(other: &Self, most_bytes: usize) -> Self {
        Self {
            arena: Vec::with_capacity(other.arena.len().min(most_bytes)),
            cells: Vec::with_capacity(other.cells.len().min(most_bytes / size_of::<Cell>())),
            changes: Vec::with_capacity(other.changes.len().min(most_bytes / size_of::<Change>())),
            transactions: Vec::with_capacity(other.transactions.len().min(most_bytes / size_of::<TransactionMark>())),
        }
    }

    /// The changes in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Where source transactions end, in order.
    #[must_use]
    pub fn transactions(&self) -> &[TransactionMark] {
        &self.transactions
    }

    /// Whether the last transaction goes on in the next batch.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.changes.len() > self.transactions.last().map_or(0, |mark| mark.changes_end)
    }

    /// Whether the batch holds nothing, not even the end of a transaction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.transactions.is_empty()
    }

    /// About how much memory the batch holds, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
            + self.cells.len() * size_of::<Cell>()
            + self.changes.len() * size_of::<Change>()
            + self.transactions.len() * size_of::<TransactionMark>()
    }

    /// The cells of the old row or key of a change, if the log gave one.
    #[must_use]
    pub fn old(&self, change: &Change, columns: usize) -> Option<&[Cell]> {
        (change.old != NO_ROW).then(|| &self.cells[change.old as usize..change.old as usize + columns])
    }

    /// The cells of the new row of a change, if it has one.
    #[must_use]
    pub fn new_row(&self, change: &Change, columns: usize) -> Option<&[Cell]> {
        (change.new != NO_ROW).then(|| &self.cells[change.new as usize..change.new as usize + columns])
    }

    /// The bytes of a cell: `None` for null and unchanged.
    #[must_use]
    pub fn value(&self, cell: Cell) -> Option<&[u8]> {
        (cell.len < UNCHANGED).then(|| &self.arena[cell.start as usize..(cell.start + cell.len) as usize])
    }

    /// How many bytes of row data the arena holds; it can hold at most [`Batch::MAX_BYTES`].
    #[must_use]
    pub fn arena_len(&self) -> usize {
        self.arena.len()
    }

    /// What one arena can address. A writer closes a batch long before; one row must fit.
    pub const MAX_BYTES: usize = (u32::MAX - 2) as usize;

    /// Starts a row; its cells are pushed next and the returned row is given to [`Batch::push_change`].
    ///
    /// # Panics
    /// If the batch holds more than 2³² − 2 cells, which [`Batch::MAX_BYTES`] keeps out of reach.
    #[must_use]
    pub fn begin_row(&self) -> RowStart {
        RowStart(u32::try_from(self.cells.len()).expect("a batch is closed long before 2^32 cells"))
    }

    /// Appends a null or unchanged cell to the row being written.
    pub fn push_marker(&mut self, cell: Cell) {
        debug_assert!(cell.len >= UNCHANGED, "a value is pushed with its bytes");
        self.cells.push(cell);
    }

    /// Appends a cell with a value to the row being written.
    ///
    /// # Panics
    /// If the arena would exceed [`Batch::MAX_BYTES`]; callers check [`Batch::fits`] first.
    pub fn push_value(&mut self, value: &[u8]) {
        let start = u32::try_from(self.arena.len()).expect("callers check `fits`");
        let len = u32::try_from(value.len()).expect("callers check `fits`");
        assert!(self.fits(value.len()), "callers check `fits`");
        self.arena.extend_from_slice(value);
        self.cells.push(Cell { start, len });
    }

    /// Appends a cell whose value is written behind what the function is given; nothing is appended if it fails.
    ///
    /// # Errors
    /// The function's.
    ///
    /// # Panics
    /// As [`Batch::push_value`].
    pub fn push_written<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let before = self.arena.len();
        if let Err(error) = write(&mut self.arena) {
            self.arena.truncate(before);
            return Err(error);
        }
        assert!(self.fits(0), "callers check `fits`");
        let start = u32::try_from(before).expect("callers check `fits`");
        let len = u32::try_from(self.arena.len() - before).expect("a value is written behind what was there");
        self.cells.push(Cell { start, len });
        Ok(())
    }

    /// The cells that were pushed last.
    #[must_use]
    pub fn last_cells(&self, count: usize) -> &[Cell] {
        &self.cells[self.cells.len().saturating_sub(count)..]
    }

    /// Whether so many more bytes of values fit in the arena.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        self.arena.len().checked_add(bytes).is_some_and(|sum| sum < Self::MAX_BYTES)
    }

    /// Appends a change whose rows were written since their [`Batch::begin_row`].
    pub fn push_change(&mut self, table: TableId, kind: ChangeKind, old: Option<RowStart>, new: Option<RowStart>) {
        self.changes.push(Change {
            table,
            kind,
            old: old.map_or(NO_ROW, |row| row.0),
            new: new.map_or(NO_ROW, |row| row.0),
        });
    }

    /// Ends the transaction that the changes since the last mark belong to (none: an empty transaction, or the
    /// log's progress with nothing pending).
    pub fn end_transaction(&mut self, end: Position, committed_at: i64) {
        self.transactions.push(TransactionMark { end, committed_at, changes_end: self.changes.len() });
    }

    /// Takes back the rows and changes pushed since the given lengths; transactions stay.
    pub fn truncate_changes(&mut self, changes: usize) {
        debug_assert!(self.transactions.last().is_none_or(|mark| mark.changes_end <= changes));
        self.changes.truncate(changes);
    }

    /// Copies a run of another batch's changes to the end of this one, leaving its transaction marks behind.
    /// `columns` gives the number of cells of a table's row.
    pub fn append_changes(&mut self, from: &Self, range: Range<usize>, columns: impl Fn(TableId) -> usize) {
        for change in &from.changes[range] {
            let width = columns(change.table);
            let old = from.old(change, width).map(|row| self.copy_row(from, row));
            let new = from.new_row(change, width).map(|row| self.copy_row(from, row));
            self.push_change(change.table, change.kind, old, new);
        }
    }

    /// Puts another value, or NULL, in the place of a cell of a change's new or old row, which it must have. A column is given
    /// by its place and the number of a row's cells.
    ///
    /// # Panics
    /// As [`Batch::push_value`].
    pub fn replace(&mut self, change: usize, is_new: bool, (column, columns): (usize, usize), value: Option<&[u8]>) {
        let Change { old, new, .. } = self.changes[change];
        let row = if is_new { new } else { old };
        debug_assert!(row != NO_ROW && column < columns, "callers name a cell that there is");
        match value {
            Some(value) => self.push_value(value),
            None => self.push_marker(Cell::NULL),
        }
        if let Some(cell) = self.cells.pop() {
            self.cells[row as usize + column] = cell;
        }
    }

    /// Whether another batch fits behind this one, which must not end in an open transaction.
    #[must_use]
    pub fn can_append(&self, other: &Self) -> bool {
        !self.is_open() && self.fits(other.arena.len())
    }

    /// Appends another batch with its transactions.
    ///
    /// # Panics
    /// If [`Batch::can_append`] says no.
    pub fn append(&mut self, other: &Self) {
        assert!(self.can_append(other), "callers check `can_append`");
        let arena = u32::try_from(self.arena.len()).expect("callers check `can_append`");
        let cells = u32::try_from(self.cells.len()).expect("a batch is closed long before 2^32 cells");
        let changes = self.changes.len();
        self.arena.extend_from_slice(&other.arena);
        self.cells.extend(other.cells.iter().map(|cell| Cell { start: cell.start + arena, len: cell.len }));
        let moved = |row: u32| if row == NO_ROW { NO_ROW } else { row + cells };
        self.changes.extend(other.changes.iter().map(|change| Change {
            old: moved(change.old),
            new: moved(change.new),
            ..*change
        }));
        self.transactions.extend(
            other
                .transactions
                .iter()
                .map(|mark| TransactionMark { changes_end: mark.changes_end + changes, ..mark.clone() }),
        );
    }

    fn copy_row(&mut self, from: &Self, row: &[Cell]) -> RowStart {
        let start = self.begin_row();
        for cell in row {
            match from.value(*cell) {
                Some(value) => self.push_value(value),
                None => self.push_marker(*cell),
            }
        }
        start
    }
}

/// The place of a row being written into a batch.
#[derive(Clone, Copy, Debug)]
pub struct RowStart(u32);

#[cfg(test)]
mod tests {
    use super::*;

    fn position(n: u8) -> Position {
        Position::new(vec![n])
    }

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        let mut batch = Batch::default();
        let row = batch.begin_row();
        batch.push_value(b"seven");
        batch.push_marker(Cell::NULL);
        batch.push_marker(Cell::UNCHANGED);
        batch.push_value(b"");
        batch.push_change(TableId(3), ChangeKind::Insert, None, Some(row));
        assert!(batch.is_open());
        batch.end_transaction(position(9), 42);
        assert!(!batch.is_open());

        let change = batch.changes()[0];
        assert!(batch.old(&change, 4).is_none());
        let cells = batch.new_row(&change, 4).unwrap();
        assert_eq!(batch.value(cells[0]), Some(&b"seven"[..]));
        assert!(cells[1].is_null() && !cells[1].is_unchanged());
        assert!(cells[2].is_unchanged() && !cells[2].is_null());
        assert_eq!(batch.value(cells[2]), None);
        assert_eq!(batch.value(cells[3]), Some(&b""[..]));
    }

    #[test]
    fn an_appended_batch_reads_as_before() {
        let mut first = Batch::default();
        let row = first.begin_row();
        first.push_value(b"one");
        first.push_change(TableId(0), ChangeKind::Insert, None, Some(row));
        first.end_transaction(position(1), 0);
        let mut second = Batch::default();
        let old = second.begin_row();
        second.push_value(b"two");
        let new = second.begin_row();
        second.push_marker(Cell::NULL);
        second.push_change(TableId(0), ChangeKind::Update, Some(old), Some(new));
        second.end_transaction(position(2), 0);
        first.append(&second);
        let change = first.changes()[1];
        assert_eq!(first.value(first.old(&change, 1).unwrap()[0]), Some(&b"two"[..]));
        assert!(first.new_row(&change, 1).unwrap()[0].is_null());
        assert_eq!(first.transactions().iter().map(|mark| mark.changes_end).collect::<Vec<_>>(), vec![1, 2]);
        assert!(!first.is_open());
    }

    #[test]
    fn a_cell_is_replaced_and_the_others_stay() {
        let mut batch = Batch::default();
        let (old, new) = (batch.begin_row(), [b"one", b"two"]);
        for value in new {
            batch.push_value(value);
        }
        let row = batch.begin_row();
        for value in new {
            batch.push_value(value);
        }
        batch.push_change(TableId(0), ChangeKind::Update, Some(old), Some(row));
        batch.replace(0, true, (1, 2), Some(b"more"));
        batch.replace(0, false, (0, 2), None);
        let change = batch.changes()[0];
        let values =
            |cells: &[Cell]| [batch.value(cells[0]), batch.value(cells[1])].map(|value| value.map(<[u8]>::to_vec));
        assert_eq!(values(batch.old(&change, 2).unwrap()), [None, Some(b"two".to_vec())]);
        assert_eq!(values(batch.new_row(&change, 2).unwrap()), [Some(b"one".to_vec()), Some(b"more".to_vec())]);
    }

    #[test]
    fn changes_copied_to_another_batch_keep_their_cells() {
        let mut from = Batch::default();
        for value in [&b"a"[..], b"bb"] {
            let row = from.begin_row();
            from.push_value(value);
            from.push_change(TableId(0), ChangeKind::Delete, Some(row), None);
            from.end_transaction(position(1), 0);
        }
        let mut to = Batch::default();
        let row = to.begin_row();
        to.push_value(b"first");
        to.push_change(TableId(0), ChangeKind::Insert, None, Some(row));
        to.append_changes(&from, 1..2, |_| 1);
        let copied = to.changes()[1];
        assert_eq!(copied.kind, ChangeKind::Delete);
        assert_eq!(to.value(to.old(&copied, 1).unwrap()[0]), Some(&b"bb"[..]));
    }
}
