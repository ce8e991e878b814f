//! Netting: what a run of changes leaves of each row.
//!
//! A pure function from changes in commit order to, per table, the rows to delete, to update and to insert. Values
//! stay where they are: the result refers to cells of the batch's arena.
//!
//! The rules, by key (techniques: "Coalescing rules"):
//!
//! | first | then | net |
//! |---|---|---|
//! | insert | update | insert of the merged row |
//! | insert | delete | nothing |
//! | update | update | update with the later cells; an *unchanged* cell inherits the pending one |
//! | update | delete | delete |
//! | delete | insert | update of all columns, if the key is the target's own; else both |
//!
//! A key update moves the row: it is found in the target by the key that it had before the run. A cell that no
//! change of the run gave a value stays unchanged and is never written.
//!
//! The result is to be applied as sets in the order deletes, updates, inserts. That gives the same table as one by
//! one, unless a statement would meet a unique value that another row of the *same* statement still holds:
//!
//! - on the key that is seen here ([`NetTable::ordered`]): a moved row takes a key that another moved row leaves;
//! - on other unique columns it can't be seen, since the log doesn't say what a row held before. The target then
//!   refuses the statement, and the caller applies the run in the source's order. It is never silently wrong.
//!
//! What the changes themselves contradict (an insert onto a row of the run, an update after a delete) is also marked
//! as ordered, so that one by one finds the offending change.
//!
//! Of a table without a key the rows are a multiset: what is left are whole rows to delete, each with how often, and
//! whole rows to insert. An update is the one and the other, so nothing is left to update. A change with an unchanged
//! cell doesn't say which row it leaves, and makes the table ordered.
//!
//! What is absent: truncates and barriers, which [`runs`] splits off before.

mod keyless;
mod run;
mod table;

#[cfg(test)]
mod keys;
#[cfg(test)]
mod model;
#[cfg(test)]
mod multiset;

use wavemark_domain::{Batch, Cell, Change, TableId};

use keyless::KeylessState;
pub use run::{Run, runs};
use table::TableState;

/// What netting must know of a table.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Cells in a row.
    pub columns: usize,
    /// Which of them identify a row; empty for a table without a key.
    pub key: &'a [usize],
}

/// A row in the result: where its cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowRef {
    /// The new row of a change of the batch.
    Change(u32),
    /// Merged, in the result's own cells.
    Merged(u32),
}

/// One row to update or to insert.
#[derive(Clone, Copy, Debug)]
pub struct NetRow {
    key: u32,
    row: RowRef,
}

/// Rows to update that have the same cells present.
#[derive(Clone, Debug)]
pub struct UpdateGroup {
    /// Indexes of the columns to set, ascending. Key columns are among them only if the key changes.
    pub columns: Vec<usize>,
    /// The rows.
    pub rows: Vec<NetRow>,
}

/// What the run leaves of one table.
#[derive(Clone, Debug)]
pub struct NetTable {
    /// The table.
    pub table: TableId,
    /// Indexes in the batch of all its changes, in order: how to apply them one by one.
    pub changes: Vec<u32>,
    /// True when only one by one is right. Then the sets below are empty.
    pub ordered: bool,
    /// Rows to delete; only their key counts. Without a key they are whole and distinct.
    pub deletes: Vec<NetRow>,
    /// Of a table without a key, how many of each row in `deletes` go; else empty.
    pub times: Vec<usize>,
    /// Rows to update.
    pub updates: Vec<UpdateGroup>,
    /// Rows to insert.
    pub inserts: Vec<NetRow>,
    width: usize,
    key_width: usize,
    cells: Vec<Cell>,
    keys: Vec<Cell>,
}

impl NetTable {
    /// The key by which the target finds the row, in the order of the layout's key.
    #[must_use]
    pub fn key(&self, row: NetRow) -> &[Cell] {
        &self.keys[row.key as usize..row.key as usize + self.key_width]
    }

    /// The row's cells; of one to update some may be unchanged.
    ///
    /// # Panics
    /// If the batch isn't the one that was netted, or the row is one to delete in a table with a key.
    #[must_use]
    pub fn cells<'a>(&'a self, batch: &'a Batch, row: NetRow) -> &'a [Cell] {
        match row.row {
            RowRef::Change(at) => batch
                .new_row(&batch.changes()[at as usize], self.width)
                .expect("a row to write comes from a change with a new row"),
            RowRef::Merged(at) => &self.cells[at as usize..at as usize + self.width],
        }
    }

    /// How many rows a table without a key loses.
    #[must_use]
    pub fn removals(&self) -> usize {
        self.times.iter().sum()
    }
}

/// A table of the run, by whether it has a key.
enum State<'l> {
    Keyed(TableState<'l>),
    Keyless(KeylessState),
}

impl<'l> State<'l> {
    /// `changes` says how many there are.
    fn new(table: TableId, layout: Layout<'l>, changes: usize) -> Self {
        if layout.key.is_empty() {
            Self::Keyless(KeylessState::new(table, layout.columns))
        } else {
            Self::Keyed(TableState::new(table, layout, changes))
        }
    }

    fn push(&mut self, batch: &Batch, at: u32, change: &Change) {
        match self {
            Self::Keyed(state) => state.push(batch, at, change),
            Self::Keyless(state) => state.push(batch, at, change),
        }
    }

    fn finish(self, batch: &Batch) -> NetTable {
        match self {
            Self::Keyed(state) => state.finish(batch),
            Self::Keyless(state) => state.finish(),
        }
    }
}

/// Nets a run of inserts, updates and deletes; `changes` come with their index in the batch, `layout` tells of each
/// table. Tables come back in the order of their first change.
pub fn net<'a, 'l>(
    batch: &Batch,
    changes: impl Iterator<Item = (usize, &'a Change)> + Clone,
    layout: impl Fn(TableId) -> Layout<'l>,
) -> Vec<NetTable> {
    let counts = counted(changes.clone());
    let mut places = vec![u32::MAX; counts.len()];
    let mut states: Vec<State<'l>> = Vec::new();
    for (at, change) in changes {
        let index = change.table.index();
        if places[index] == u32::MAX {
            places[index] = u32::try_from(states.len()).expect("fewer tables than 2^32");
            states.push(State::new(change.table, layout(change.table), counts[index]));
        }
        let at = u32::try_from(at).expect("a batch has fewer than 2^32 changes");
        states[places[index] as usize].push(batch, at, change);
    }
    states.into_iter().map(|state| state.finish(batch)).collect()
}

/// How many changes each table has, by its number.
fn counted<'a>(changes: impl Iterator<Item = (usize, &'a Change)>) -> Vec<usize> {
    let mut counts = Vec::new();
    for (_, change) in changes {
        let index = change.table.index();
        if index >= counts.len() {
            counts.resize(index + 1, 0);
        }
        counts[index] += 1;
    }
    counts
}
