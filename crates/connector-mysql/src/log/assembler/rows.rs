//! Rows of the log: what they are of, and their cells in the plan's order.

use std::sync::Arc;

use wavemark_domain::batch::RowStart;
use wavemark_domain::{Batch, Cell, ChangeKind, Fault, Problem, TableName};

use super::annotated::{Annotated, replaced};
use super::followed::Followed;
use super::{Announced, Assembler, Failed};
use crate::binlog::{LoggedColumn, RowKind, Rows, TableMap};
use crate::fields::Malformed;
use crate::log::columns::Scratch;
use crate::log::layout::changed;
use crate::log::malformed;
use crate::value::Value;

impl Assembler {
    /// Before each statement's rows it is said again what they are of.
    pub(super) fn announce(&mut self, map: &TableMap<'_>) {
        let is_known = |known: &Announced| {
            !known.is_passed
                && *known.names[0] == *map.schema
                && *known.names[1] == *map.table
                && *known.columns == *map.columns
        };
        if self.announced.get(&map.id).is_some_and(is_known) {
            return;
        }
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = self.tables.named(&TableName::new(name(map.schema), name(map.table)));
        let table = found.filter(|at| self.tables.at(*at).has(&self.place));
        if let Some(at) = table.filter(|at| !fits(self.tables.at(*at), map)) {
            let how = "its rows in the log have other columns than it is planned with";
            self.end_table(at, changed(self.tables.at(at).name(), how));
        }
        let names = [map.schema.into(), map.table.into()];
        let is_passed = table.is_none() && found.is_some();
        self.announced.insert(map.id, Announced { names, table, is_passed, columns: map.columns.clone().into() });
    }

    pub(super) fn rows(&mut self, rows: Rows<'_>) -> Result<(), Problem> {
        let Some(announced) = self.announced.get(&rows.table) else {
            return Err(malformed(Malformed("rows come of a table that was not announced"), &self.place));
        };
        let Some(at) = announced.table.filter(|at| !self.tables.at(*at).ended) else { return Ok(()) };
        let columns = Arc::clone(&announced.columns);
        if columns.len() != rows.columns() {
            return Err(malformed(Malformed("rows have another number of columns than their table"), &self.place));
        }
        let may_replace = rows.kind == RowKind::Update && self.may_replace(announced, self.tables.at(at).name());
        let ends_statement = rows.ends_statement;
        let taken = self.take_rows(at, (&columns, may_replace), rows);
        if ends_statement {
            self.annotated = Annotated::default();
        }
        match taken {
            Ok(()) => Ok(()),
            Err(Failed::Malformed(cause)) => Err(malformed(cause, &self.place)),
            Err(Failed::Row(problem)) => {
                self.end_table(at, problem);
                Ok(())
            }
        }
    }

    fn take_rows(
        &mut self,
        at: usize,
        (columns, may_replace): (&[LoggedColumn], bool),
        rows: Rows<'_>,
    ) -> Result<(), Failed> {
        let Self { tables, batch, scratch, rules, .. } = self;
        let follows_defaults = rules.replan.is_some();
        // Its values may come of the table, too.
        let (table, mut rows) = (tables.at(at), rows);
        let kind = rows.kind;
        let (mut old, mut new) = (Image::of(table), Image::of(table));
        loop {
            let is_there = match kind {
                RowKind::Write => new.read(&mut rows, true, columns)?,
                RowKind::Delete | RowKind::Update => old.read(&mut rows, false, columns)?,
            };
            if !is_there {
                return Ok(());
            }
            if kind == RowKind::Update && !new.read(&mut rows, true, columns)? {
                return Err(Malformed("an update has no new row").into());
            }
            if kind == RowKind::Update {
                if may_replace && new.is_partial() {
                    return Err(Failed::Row(replaced(table.name())));
                }
                new.take_what_changed(&old);
            }
            match kind {
                RowKind::Write => {
                    new.take_absent(table, follows_defaults);
                    let row = new.push(table, batch, scratch, Part::Whole)?;
                    batch.push_change(table.id, ChangeKind::Insert, None, Some(row));
                }
                RowKind::Delete => {
                    let row = old.push(table, batch, scratch, Part::of_old(table))?;
                    batch.push_change(table.id, ChangeKind::Delete, Some(row), None);
                }
                RowKind::Update => {
                    let is_needed = table.key.is_empty() || new.moves(&old, &table.key);
                    let before = is_needed.then(|| old.push(table, batch, scratch, Part::of_old(table))).transpose()?;
                    new.take_key(&old, &table.key);
                    let part = if table.key.is_empty() { Part::Whole } else { Part::Changed };
                    let after = new.push(table, batch, scratch, part)?;
                    batch.push_change(table.id, ChangeKind::Update, before, Some(after));
                }
            }
        }
    }
}

/// Whether rows that are announced so are the planned table's.
fn fits(table: &Followed, map: &TableMap<'_>) -> bool {
    let columns = &table.columns;
    let has_names = |names: &Vec<&[u8]>| {
        names.iter().zip(&table.plan.source.columns).all(|(name, column)| *name == column.name.as_bytes())
    };
    // Behind them may come what the server keeps of unique indexes.
    let more = map.columns.get(columns.len()..);
    let is_hash = |logged: &LoggedColumn| *logged == LoggedColumn::Whole(8);
    more.is_some_and(|more| more.len() <= table.hashes && more.iter().all(is_hash))
        && columns.iter().zip(&map.columns).all(|(column, logged)| column.is(*logged))
        && map.names.as_ref().is_none_or(has_names)
}

/// Which cells of an image are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All, and all must be there.
    Whole,
    /// Those of the key; the others are nothing.
    Key,
    /// Those that are there.
    Changed,
}

impl Part {
    fn of_old(table: &Followed) -> Self {
        if table.key.is_empty() { Self::Whole } else { Self::Key }
    }
}

/// One image of a row: its cells in the plan's order, each with its column in the log.
struct Image<'a> {
    cells: Vec<Option<Value<'a>>>,
    /// The log's column of each cell.
    columns: Vec<usize>,
}

impl<'a> Image<'a> {
    fn of(table: &Followed) -> Self {
        let mut columns = vec![0; table.width];
        for (at, column) in table.columns.iter().enumerate() {
            if let Some(cell) = column.cell {
                columns[cell] = at;
            }
        }
        Self { cells: vec![None; table.columns.len()], columns }
    }

    fn read(&mut self, rows: &mut Rows<'a>, is_new: bool, columns: &[LoggedColumn]) -> Result<bool, Malformed> {
        rows.next(is_new, columns, |at, value| {
            // Behind all columns may come what the server has for itself.
            if let Some(cell) = self.cells.get_mut(at) {
                *cell = value;
            }
            Ok(())
        })
    }

    /// Whether it leaves out a column that travels.
    fn is_partial(&self) -> bool {
        self.columns.iter().any(|at| self.cells[*at].is_none())
    }

    /// An inserted row may leave out columns whose value is known.
    fn take_absent(&mut self, table: &'a Followed, follows_defaults: bool) {
        for at in &self.columns {
            if self.cells[*at].is_none() {
                self.cells[*at] = table.columns[*at].absent(follows_defaults);
            }
        }
    }

    /// Of a JSON value the new row may have only what changed since the old one.
    fn take_what_changed(&mut self, old: &Self) {
        for (new, old) in self.cells.iter_mut().zip(&old.cells) {
            if let (Some(Value::Changes(changes)), Some(Value::Bytes(before))) = (*new, *old) {
                *new = Some(if changes.is_empty() { Value::Bytes(before) } else { Value::Changed(before, changes) });
            }
        }
    }

    fn cell(&self, cell: usize) -> Option<Value<'a>> {
        self.cells[self.columns[cell]]
    }

    /// Whether the key is another one than before.
    fn moves(&self, old: &Self, key: &[usize]) -> bool {
        key.iter().any(|at| self.cell(*at).is_some() && self.cell(*at) != old.cell(*at))
    }

    /// A new row may leave out the key that stays; of a table without one that is all of the row.
    fn take_key(&mut self, old: &Self, key: &[usize]) {
        let whole = if key.is_empty() { 0..self.columns.len() } else { 0..0 };
        for at in key.iter().copied().chain(whole) {
            if self.cell(at).is_none() {
                self.cells[self.columns[at]] = old.cell(at);
            }
        }
    }

    fn push(&self, table: &Followed, batch: &mut Batch, scratch: &mut Scratch, part: Part) -> Result<RowStart, Failed> {
        let row = batch.begin_row();
        for cell in 0..table.width {
            let column = &table.columns[self.columns[cell]];
            match self.cell(cell) {
                _ if part == Part::Key && !table.key.contains(&cell) => batch.push_marker(Cell::NULL),
                Some(value) => column.push(batch, value, scratch).map_err(Failed::Row)?,
                None if part == Part::Changed => batch.push_marker(Cell::UNCHANGED),
                None => return Err(Failed::Row(incomplete(table))),
            }
        }
        Ok(row)
    }
}

fn incomplete(table: &Followed) -> Problem {
    let text = format!("The log has a row of {} without all of its columns where all are needed.", table.name());
    Problem::new(Fault::Data, "row-incomplete", text).advice(
        "SET GLOBAL binlog_row_image = FULL at the source, let its sessions connect anew, and reload the table.",
    )
}
