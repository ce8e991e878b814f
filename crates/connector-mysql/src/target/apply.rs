//! Applying one change by a statement of its own, in the source's order.

use wavemark_domain::{Batch, Cell, Change, ChangeKind, Problem, TableId};
use wavemark_netting::{NetRow, NetTable};

use super::script::Task;
use super::statements::{self, FoundBy};
use super::table::TargetTable;

/// What a change of one row is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Insert,
    Update,
    Delete,
}

impl Verb {
    /// For "Could not … shop.orders".
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert a row into",
            Self::Update => "update a row of",
            Self::Delete => "delete a row from",
        }
    }
}

/// One change ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Single<'a> {
    pub(crate) verb: Verb,
    /// Of an update: which columns it gives.
    set: Vec<usize>,
    pub(crate) found_by: FoundBy<'a>,
    new: &'a [Cell],
    /// How many rows it touches.
    rows: usize,
}

impl<'a> Single<'a> {
    /// Reads a change; `None` for what is no change of a row.
    pub(crate) fn read(batch: &'a Batch, change: &Change, table: &TargetTable) -> Result<Option<Self>, Problem> {
        let width = table.columns.len();
        let (old, new) = (batch.old(change, width), batch.new_row(change, width));
        let verb = match (change.kind, old, new) {
            (ChangeKind::Insert, _, Some(_)) => Verb::Insert,
            (ChangeKind::Update, old, Some(_)) if old.is_some() || !table.key.is_empty() => Verb::Update,
            (ChangeKind::Delete, Some(_), _) => Verb::Delete,
            (ChangeKind::Truncate | ChangeKind::Barrier, ..) => return Ok(None),
            _ => return Err(Problem::internal(format!("A change of {} lacks its row.", table.name))),
        };
        let new_row = new.unwrap_or_default();
        let set = if verb == Verb::Update { columns_given(table, old.is_some(), new_row) } else { Vec::new() };
        Ok(Some(Self { verb, set, found_by: found(table, old.or(new).unwrap_or_default()), new: new_row, rows: 1 }))
    }

    /// A row of a net result; `times` says how many rows of a table without a key go.
    pub(crate) fn netted(
        batch: &'a Batch,
        net: &'a NetTable,
        verb: Verb,
        row: NetRow,
        (set, times): (&[usize], Option<usize>),
    ) -> Self {
        let cells = || net.cells(batch, row);
        let found_by = times.map_or_else(|| FoundBy::Key(net.key(row)), |times| FoundBy::Whole(cells(), times));
        let new = if verb == Verb::Delete { &[][..] } else { cells() };
        Self { verb, set: set.to_vec(), found_by, new, rows: times.unwrap_or(1) }
    }

    /// A whole row as it is to be, put in the place of the one with its key, or added.
    pub(crate) fn whole(table: &TargetTable, new: &'a [Cell], is_there: bool) -> Self {
        let verb = if is_there { Verb::Update } else { Verb::Insert };
        Self { verb, set: (0..table.columns.len()).collect(), found_by: found(table, new), new, rows: 1 }
    }

    /// The deletion of the row of these cells.
    pub(crate) fn gone(table: &TargetTable, cells: &'a [Cell]) -> Self {
        Self { verb: Verb::Delete, set: Vec::new(), found_by: found(table, cells), new: &[], rows: 1 }
    }

    /// Writes the statement.
    pub(crate) fn write(&self, batch: &Batch, table: &TargetTable, out: &mut Vec<u8>) -> Result<(), Problem> {
        match self.verb {
            Verb::Insert => {
                out.extend_from_slice(statements::insert(table).as_bytes());
                statements::row(table, batch, self.new, out)
            }
            Verb::Update => statements::update(table, batch, (&self.set, self.new), self.found_by, out),
            Verb::Delete => statements::delete(table, batch, self.found_by, out),
        }
    }

    /// What the statement must do.
    pub(crate) fn task(&self, table: TableId) -> Task {
        Task::rows(self.verb.word(), table, self.rows as u64)
    }

    /// The key's cells, or the whole row's without a key: what an exception names.
    pub(crate) fn identity(&self, table: &TargetTable) -> Vec<(usize, Cell)> {
        match self.found_by {
            FoundBy::Whole(row, _) => row.iter().copied().enumerate().collect(),
            FoundBy::Row(row) => table.key.iter().map(|at| (*at, row[*at])).collect(),
            FoundBy::Key(key) => table.key.iter().copied().zip(key.iter().copied()).collect(),
        }
    }
}

/// How a row of the table is found that has these cells.
pub(crate) fn found<'a>(table: &TargetTable, cells: &'a [Cell]) -> FoundBy<'a> {
    if table.key.is_empty() { FoundBy::Whole(cells, 1) } else { FoundBy::Row(cells) }
}

/// The key is given only if it may have changed, which the log says by giving the old one.
fn columns_given(table: &TargetTable, with_old: bool, new: &[Cell]) -> Vec<usize> {
    (0..new.len()).filter(|at| !new[*at].is_unchanged() && (with_old || !table.key.contains(at))).collect()
}
