//! Applying one change by a statement of its own, in the source's order.

use bytes::{Bytes, BytesMut};
use tokio_postgres::{Client, Statement};
use wavemark_domain::{Batch, Cell, Change, ChangeKind, Fault, Problem, TableId};

use wavemark_netting::{NetRow, NetTable};

use super::copy::rewritten;
use super::pipeline::{Param, Task};
use super::statements;
use super::table::{TargetColumn, TargetTable};

/// What a single change is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Insert,
    Update,
    /// An update of a column that the server only makes itself: the row goes and comes again.
    Replace,
    Delete,
}

impl Verb {
    /// For "Could not … shop.orders".
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert a row into",
            Self::Update | Self::Replace => "update a row of",
            Self::Delete => "delete a row from",
        }
    }
}

/// One change ready to be sent.
pub(crate) struct Single<'a> {
    pub(crate) verb: Verb,
    /// Of an update: which columns it gives.
    pub(crate) set: Vec<usize>,
    found_by: FoundBy<'a>,
    new: Option<&'a [Cell]>,
}

/// How the target finds the row.
enum FoundBy<'a> {
    /// A row whose key cells count, or all of them in a table without a key.
    Row(&'a [Cell]),
    /// The key's cells.
    Key(&'a [Cell]),
}

impl<'a> Single<'a> {
    /// Reads a change; `None` for what is no change of a row.
    pub(crate) fn read(batch: &'a Batch, change: &Change, table: &TargetTable) -> Result<Option<Self>, Problem> {
        let width = table.columns.len();
        let (old, new) = (batch.old(change, width), batch.new_row(change, width));
        let lacks = |what: &str| Err(Problem::internal(format!("A change of {} has no {what}.", table.name)));
        let verb = match (change.kind, old, new) {
            (ChangeKind::Insert, _, Some(_)) => Verb::Insert,
            (ChangeKind::Update, Some(old), Some(new)) if moves_identity(batch, table, old, new) => Verb::Replace,
            (ChangeKind::Update, old, Some(_)) if old.is_some() || !table.key.is_empty() => Verb::Update,
            (ChangeKind::Delete, Some(_), _) => Verb::Delete,
            (ChangeKind::Truncate | ChangeKind::Barrier, ..) => return Ok(None),
            (ChangeKind::Insert, ..) => return lacks("new row"),
            _ => return lacks("old row"),
        };
        if verb == Verb::Replace && table.has_more {
            return Err(identity_moves(table));
        }
        let set = match (verb, new) {
            (Verb::Update | Verb::Replace, Some(new)) => columns_given(table, old.is_some(), new),
            _ => Vec::new(),
        };
        Ok(Some(Self { verb, set, found_by: FoundBy::Row(old.or(new).unwrap_or_default()), new }))
    }

    /// The same for an update whose row has another value than it is to have in a column that only the server makes: the
    /// row goes and comes again. `None` if the change gives no such column.
    pub(crate) fn anew(batch: &'a Batch, change: &Change, table: &TargetTable) -> Result<Option<Self>, Problem> {
        let gives_made = |single: &Self| single.set.iter().any(|at| table.columns[*at].always);
        let anew = Self::read(batch, change, table)?.filter(|single| single.verb == Verb::Update && gives_made(single));
        Ok(anew.map(|single| Self { verb: Verb::Replace, ..single }))
    }

    /// A row of a net result.
    pub(crate) fn netted(batch: &'a Batch, net: &'a NetTable, verb: Verb, row: NetRow, set: &[usize]) -> Self {
        let new = (verb != Verb::Delete).then(|| net.cells(batch, row));
        let keyed = net.times.is_empty();
        let found_by = if keyed { FoundBy::Key(net.key(row)) } else { FoundBy::Row(net.cells(batch, row)) };
        Self { verb, set: set.to_vec(), found_by, new }
    }

    /// The row of these cells' key, or the row itself without a key: to look it up or to delete it.
    pub(crate) fn found(cells: &'a [Cell]) -> Self {
        Self { verb: Verb::Delete, set: Vec::new(), found_by: FoundBy::Row(cells), new: None }
    }

    /// A whole row as it is to be, put in the place of the one with its key, or added.
    pub(crate) fn whole(table: &TargetTable, new: &'a [Cell], is_there: bool) -> Self {
        let is_made = !table.has_more && table.columns.iter().any(|column| column.always);
        let verb = match (is_there, is_made) {
            (false, _) => Verb::Insert,
            (true, true) => Verb::Replace,
            (true, false) => Verb::Update,
        };
        let set = if is_there { (0..table.columns.len()).collect() } else { Vec::new() };
        Self { verb, set, found_by: FoundBy::Row(new), new: Some(new) }
    }

    /// The values to bind, in the order of the statement.
    pub(crate) fn params(&self, batch: &Batch, table: &TargetTable) -> Result<Vec<Param>, Problem> {
        let mut params = Params::default();
        let columns = &table.columns;
        match self.verb {
            Verb::Insert => {
                for (cell, column) in self.new.unwrap_or_default().iter().zip(columns) {
                    if cell.is_unchanged() {
                        let text = format!("An insert into {} lacks column {}.", table.name, column.name);
                        return Err(Problem::internal(text));
                    }
                    params.push(batch, *cell, column)?;
                }
                return Ok(params.finish());
            }
            Verb::Update | Verb::Replace => {
                let new = self.new.unwrap_or_default();
                for at in &self.set {
                    params.push(batch, new[*at], &columns[*at])?;
                }
            }
            Verb::Delete => {}
        }
        for (at, cell) in self.identity(table) {
            params.push(batch, cell, &columns[at])?;
        }
        Ok(params.finish())
    }

    /// The key's cells, or the whole row's without a key: what an exception names.
    pub(crate) fn identity(&self, table: &TargetTable) -> Vec<(usize, Cell)> {
        match self.found_by {
            FoundBy::Row(row) if table.key.is_empty() => row.iter().copied().enumerate().collect(),
            FoundBy::Row(row) => table.key.iter().map(|at| (*at, row[*at])).collect(),
            FoundBy::Key(key) => table.key.iter().copied().zip(key.iter().copied()).collect(),
        }
    }
}

/// The key is given only if it may have changed, which the log says by giving the old one.
fn columns_given(table: &TargetTable, with_old: bool, new: &[Cell]) -> Vec<usize> {
    (0..new.len()).filter(|at| !new[*at].is_unchanged() && (with_old || !table.key.contains(at))).collect()
}

/// Columns that the plan doesn't give would be lost with the row that goes.
pub(crate) fn identity_moves(table: &TargetTable) -> Problem {
    let text = format!(
        "A column of {} changes that is GENERATED ALWAYS AS IDENTITY, which no UPDATE may set, and the table has columns \
         that the source does not have.",
        table.name
    );
    Problem::new(Fault::Data, "identity-moves", text)
        .advice(format!("ALTER TABLE {} ALTER COLUMN … SET GENERATED BY DEFAULT; then reload it.", table.name))
}

/// Whether a key changes that an UPDATE may not set.
fn moves_identity(batch: &Batch, table: &TargetTable, old: &[Cell], new: &[Cell]) -> bool {
    let moves = |at: &usize| table.columns[*at].always && batch.value(old[*at]) != batch.value(new[*at]);
    table.key.iter().any(moves)
}

/// Values on their way into parameters: copied once, then shared.
#[derive(Default)]
pub(crate) struct Params {
    bytes: BytesMut,
    spans: Vec<Option<(usize, usize)>>,
    scratch: Vec<u8>,
}

impl Params {
    pub(crate) fn push(&mut self, batch: &Batch, cell: Cell, column: &TargetColumn) -> Result<(), Problem> {
        let Some(value) = batch.value(cell) else {
            self.spans.push(None);
            return Ok(());
        };
        let value = rewritten(value, column, &mut self.scratch)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.spans.push(Some((start, self.bytes.len())));
        Ok(())
    }

    /// The bytes as they came.
    pub(crate) fn push_raw(&mut self, batch: &Batch, cell: Cell) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(batch.value(cell).unwrap_or_default());
        self.spans.push(batch.value(cell).map(|_| (start, self.bytes.len())));
    }

    pub(crate) fn finish(self) -> Vec<Param> {
        let bytes: Bytes = self.bytes.freeze();
        self.spans.into_iter().map(|span| Param(span.map(|(start, end)| bytes.slice(start..end)))).collect()
    }
}

/// The prepared statements of one table.
#[derive(Default)]
pub(crate) struct Prepared {
    /// By verb, columns set and whether it is guarded.
    singles: Vec<(Verb, Vec<usize>, bool, Statement)>,
    /// Of sets and COPY, by their SQL.
    sets: Vec<(String, Statement)>,
}

impl Prepared {
    /// The statement for a change, if it is prepared.
    pub(crate) fn single(&self, verb: Verb, set: &[usize], guarded: bool) -> Option<&Statement> {
        self.singles
            .iter()
            .find(|(one, columns, guard, _)| *one == verb && *guard == guarded && columns == set)
            .map(|(.., statement)| statement)
    }

    /// Prepares the statement for a change.
    pub(crate) async fn prepare_single(
        &mut self,
        client: &Client,
        table: &TargetTable,
        verb: Verb,
        set: &[usize],
        guarded: bool,
    ) -> Result<(), tokio_postgres::Error> {
        let sql = match (verb, table.key.is_empty()) {
            (Verb::Insert, _) => statements::insert(table, guarded),
            (Verb::Update, false) => statements::update(table, set, guarded),
            (Verb::Replace, _) => statements::replace(table, set),
            (Verb::Update, true) => statements::update_keyless(table, set, guarded),
            (Verb::Delete, false) => statements::delete(table, guarded),
            (Verb::Delete, true) => statements::delete_keyless(table, guarded),
        };
        let statement = client.prepare(&sql).await?;
        self.singles.push((verb, set.to_vec(), guarded, statement));
        Ok(())
    }

    /// The statement for a set or a COPY, if it is prepared.
    pub(crate) fn known_set(&self, sql: &str) -> Option<Statement> {
        self.sets.iter().find(|(one, _)| one == sql).map(|(_, statement)| statement.clone())
    }

    /// The statement for a set or a COPY. Nothing may be outstanding on the client if it is not prepared.
    pub(crate) async fn set(&mut self, client: &Client, sql: String) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.known_set(&sql) {
            return Ok(statement);
        }
        let statement = client.prepare(&sql).await?;
        self.sets.push((sql, statement.clone()));
        Ok(statement)
    }
}

/// What a single change's statement must do.
pub(crate) fn single_task(table: TableId, verb: Verb) -> Task {
    Task { verb: verb.word(), table: Some(table), rows: Some(1) }
}
