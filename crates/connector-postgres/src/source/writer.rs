//! From decoded row messages to the changes of a batch: the hot path. No allocation per change.

use hashbrown::HashMap;
use wavemark_domain::batch::RowStart;
use wavemark_domain::{Batch, Cell, ChangeKind, Problem, Relayout, TableId, TableName};

use super::canonical::{Form, Unreadable};
use super::layout::{Expected, Layout, Use, changed, dropped};
use super::oversized::Oversized;
use super::told::{Altered, Rewrite};
use crate::pgoutput::{self, Delete, Insert, Message, OldRow, OwnedRelation, RelationBody, Truncate, Tuple, Update};

/// Where the messages of one relation go.
enum Route {
    /// A planned table with the plan's layout.
    Followed(Layout),
    /// Not in the plan (a partition, whose rows come under its root's name), or behind its barrier.
    Ignored,
    /// A planned table that a subtransaction that was rolled back described otherwise. It is described again before its
    /// next row, unless another subtransaction had changed it.
    Doubted(TableId),
}

/// Writes changes into the batch at hand.
pub(super) struct Writer {
    pub(super) expected: Vec<Expected>,
    routes: HashMap<u32, Route>,
    pub(super) barred: Vec<TableId>,
    /// What `expected` must not be compared with any more: the table is barred at its first relation.
    pub(super) doubtful: Vec<(TableId, Problem)>,
    /// Bytes that a row may have.
    most_row: u64,
    /// Whether the next layout of a table is looked for, rather than ending the table.
    pub(super) follows_layouts: bool,
    /// Whether a table that has another name goes on, so that one under its old name is another.
    pub(super) follows_names: bool,
    /// A relation that is not as expected: nothing more may be written before it is known what becomes of it.
    pub(super) unresolved: Option<Unresolved>,
    /// Tables whose rows were written anew, as the source told; before it describes what they are now.
    pub(super) rewritten: Vec<(TableId, Rewrite)>,
    /// Tables that have other names in the transaction in hand, as the source told.
    pub(super) renamed: Vec<(TableId, TableName)>,
    /// Whether there were alterations that the source could not tell.
    pub(super) is_untold: bool,
    /// Layouts that hold from the beginning of the batch on.
    pub(super) layouts: Vec<Relayout>,
    pub(super) batch: Batch,
    pub(super) barriers: Vec<(TableId, Problem)>,
}

/// A relation of which it is to be found out what becomes of its table.
#[derive(Clone)]
pub(super) struct Unresolved {
    pub(super) table: TableId,
    pub(super) relation: OwnedRelation,
    /// What the source itself told of it.
    pub(super) told: Option<Altered>,
    pub(super) rewrite: Rewrite,
}

/// Why a row can't be read by its table's layout.
enum Unfit {
    /// Another number of cells than the relation has columns.
    Width,
    /// A value in text form where the plan's is binary, or the other way round.
    Form,
    /// A value, at that place of the log's row, that can't be written in its column's form.
    Value(usize, Unreadable),
    /// An old row that names no key.
    NoKey,
    /// A row came into the filter by an update, and the log has not all of it.
    Partial,
}

impl Writer {
    pub(super) fn new(expected: Vec<Expected>, doubtful: Vec<(TableId, Problem)>) -> Self {
        Self {
            expected,
            routes: HashMap::new(),
            barred: Vec::new(),
            doubtful,
            most_row: u64::MAX,
            follows_layouts: false,
            follows_names: false,
            unresolved: None,
            rewritten: Vec::new(),
            renamed: Vec::new(),
            is_untold: false,
            layouts: Vec::new(),
            batch: Batch::default(),
            barriers: Vec::new(),
        }
    }

    /// The same, for a reader that finds out what a table's next layout is.
    pub(super) fn following_layouts(self) -> Self {
        Self { follows_layouts: true, ..self }
    }

    /// The same, for a reader that follows tables under other names, too.
    pub(super) fn following_names(self, follows: bool) -> Self {
        Self { follows_names: follows, ..self }
    }

    /// The same, for a reader that refuses rows of more bytes than that.
    pub(super) fn refusing_above(self, bytes: usize) -> Self {
        Self { most_row: bytes as u64, ..self }
    }

    /// The relation of which it is to be found out what becomes of it.
    pub(super) fn unresolved(&self) -> Option<&Unresolved> {
        self.unresolved.as_ref()
    }

    /// What was told of the relation is known.
    pub(super) fn pass(&mut self) {
        self.unresolved = None;
    }

    /// What becomes of it. The batch is empty. Gives the width of the table's rows if that may be another.
    pub(super) fn resolve(&mut self, next: Result<(Expected, Option<Relayout>), Problem>) -> Option<(TableId, usize)> {
        let Unresolved { table, relation, .. } = self.unresolved.take()?;
        let relation = relation.body();
        match next.and_then(|(expected, relayout)| Ok((expected.compare(&relation)?, expected, relayout))) {
            Ok((layout, expected, relayout)) => {
                let width = expected.width;
                self.expected.iter_mut().filter(|before| before.table == table).for_each(|before| {
                    *before = expected.clone();
                });
                self.routes.insert(relation.id, Route::Followed(layout));
                self.layouts.extend(relayout);
                Some((table, width))
            }
            Err(problem) => {
                self.bar(relation.id, table, problem);
                None
            }
        }
    }

    /// Takes in what a table looked like to a subtransaction that was rolled back.
    pub(super) fn described_in_vain(&mut self, relation: &RelationBody<'_>) {
        let route = match self.planned(relation) {
            None => Route::Ignored,
            Some(expected) if self.barred.contains(&expected.table) => Route::Ignored,
            Some(expected) => expected.compare(relation).map_or(Route::Doubted(expected.table), Route::Followed),
        };
        self.routes.insert(relation.id, route);
    }

    fn planned(&self, relation: &RelationBody<'_>) -> Option<&Expected> {
        let by_number = self.expected.iter().find(|expected| expected.oid == relation.id);
        let by_name = || self.expected.iter().find(|expected| expected.is_named(relation));
        if self.follows_names { by_number } else { by_number.or_else(by_name) }
    }

    /// Takes in what a table looks like from here on.
    pub(super) fn relation(&mut self, relation: &RelationBody<'_>) {
        let Some(expected) = self.planned(relation) else {
            self.routes.insert(relation.id, Route::Ignored);
            return;
        };
        let table = expected.table;
        let doubt = self.doubtful.iter().find(|(doubtful, _)| *doubtful == table).map(|(_, problem)| problem.clone());
        let is_same = expected.oid == relation.id && (self.follows_names || expected.is_named(relation));
        let may_follow = self.follows_layouts && is_same && doubt.is_none();
        let compared = doubt.map_or_else(|| expected.compare(relation), Err);
        let rewrite = self.take_rewrite(table);
        match compared {
            _ if self.barred.contains(&table) => {
                self.routes.insert(relation.id, Route::Ignored);
            }
            Ok(layout) if !rewrite.is_one() => {
                self.routes.insert(relation.id, Route::Followed(layout));
            }
            _ if may_follow => {
                self.unresolved = Some(Unresolved { table, relation: relation.into(), told: None, rewrite });
            }
            Err(problem) => self.bar(relation.id, table, problem),
            Ok(_) => self.end_rewritten(table),
        }
    }

    /// A planned table whose changes don't come any more, or not all of them.
    pub(super) fn end_table(&mut self, table: TableId, how: &str) {
        self.end_with(table, |name| changed(name, how));
    }

    /// A planned table of which every change was read, and that is gone.
    pub(super) fn end_dropped(&mut self, table: TableId) {
        self.end_with(table, dropped);
    }

    fn end_with(&mut self, table: TableId, problem: impl FnOnce(&TableName) -> Problem) {
        if self.barred.contains(&table) {
            return;
        }
        if let Some(expected) = self.expected.iter().find(|expected| expected.table == table) {
            let problem = problem(&expected.name);
            self.bar(expected.oid, table, problem);
        }
    }

    fn end_doubted(&mut self, table: TableId) {
        self.end_table(table, "in a transaction that rolled a part of itself back");
    }

    /// Ends a table here: nothing of it comes after.
    pub(super) fn bar(&mut self, relation: u32, table: TableId, problem: Problem) {
        self.routes.insert(relation, Route::Ignored);
        // A relation of the same table under another number is ended with it.
        let same = |route: &Route| match route {
            Route::Followed(layout) => layout.table == table,
            Route::Doubted(doubted) => *doubted == table,
            Route::Ignored => false,
        };
        self.routes.values_mut().filter(|route| same(route)).for_each(|route| *route = Route::Ignored);
        self.barred.push(table);
        self.batch.push_change(table, ChangeKind::Barrier, None, None);
        self.barriers.push((table, problem));
    }

    /// Writes a row message.
    pub(super) fn change(&mut self, message: &Message<'_>) -> Result<(), Problem> {
        let relation = match message {
            Message::Insert(_, Insert { relation, .. })
            | Message::Update(_, Update { relation, .. })
            | Message::Delete(_, Delete { relation, .. }) => *relation,
            Message::Truncate(_, truncate) => return self.truncate(truncate),
            Message::Relation(_, relation) => {
                self.relation(relation);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let layout = match self.routes.get(&relation) {
            Some(Route::Followed(layout)) => layout,
            Some(Route::Ignored) => return Ok(()),
            Some(Route::Doubted(table)) => {
                self.end_doubted(*table);
                return Ok(());
            }
            None => return Err(undescribed(relation)),
        };
        let written = match message {
            Message::Insert(_, insert) => write_insert(&mut self.batch, layout, insert),
            Message::Update(_, update) => write_update(&mut self.batch, layout, update),
            Message::Delete(_, delete) => write_delete(&mut self.batch, layout, delete),
            _ => Ok(()),
        };
        written.or_else(|unfit| self.refuse(relation, &unfit))
    }

    /// Ends the table of a row that is larger than allowed.
    #[cold]
    pub(super) fn oversized(&mut self, row: Oversized) -> Result<(), Problem> {
        let table = match self.routes.get(&row.relation) {
            Some(Route::Followed(layout)) => layout.table,
            Some(Route::Ignored) => return Ok(()),
            Some(Route::Doubted(table)) => {
                self.end_doubted(*table);
                return Ok(());
            }
            None => return Err(undescribed(row.relation)),
        };
        let expected = self.expected.iter().find(|expected| expected.table == table);
        let expected = expected.ok_or_else(|| undescribed(row.relation))?;
        let column = row.column.and_then(|(at, _)| expected.column(at));
        let problem = row.problem(&expected.name, column, self.most_row);
        self.bar(row.relation, table, problem);
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, relation: u32, unfit: &Unfit) -> Result<(), Problem> {
        let Some(Route::Followed(layout)) = self.routes.get(&relation) else { return Ok(()) };
        let table = layout.table;
        let how = match unfit {
            Unfit::Width => "a row has another number of columns than was announced",
            Unfit::Form => "a value has another form than was asked for",
            Unfit::Value(at, why) => {
                let expected = self.expected.iter().find(|expected| expected.table == table);
                let expected = expected.ok_or_else(|| undescribed(relation))?;
                let problem = why.problem(&expected.name, expected.column(*at).unwrap_or("that was added"));
                self.bar(relation, table, problem);
                return Ok(());
            }
            Unfit::NoKey => "a row comes without its key",
            Unfit::Partial => {
                "an update brought a row into its filter, and the log leaves out a large value of it that did not change; \
                 with replica identity full it is not left out"
            }
        };
        let expected = self.expected.iter().find(|expected| expected.table == table);
        let problem = expected.map(|expected| expected.changed(how)).ok_or_else(|| undescribed(relation))?;
        self.bar(relation, table, problem);
        Ok(())
    }

    fn truncate(&mut self, truncate: &Truncate<'_>) -> Result<(), Problem> {
        for relation in truncate.relations.iter() {
            match self.routes.get(&relation) {
                Some(Route::Followed(layout)) => {
                    self.batch.push_change(layout.table, ChangeKind::Truncate, None, None);
                }
                Some(Route::Ignored) => {}
                Some(Route::Doubted(table)) => self.end_doubted(*table),
                None => return Err(undescribed(relation)),
            }
        }
        Ok(())
    }
}

#[cold]
fn undescribed(relation: u32) -> Problem {
    Problem::internal(format!("The log has a change of relation {relation} that it never described."))
}

#[inline]
fn write_insert(batch: &mut Batch, layout: &Layout, insert: &Insert<'_>) -> Result<(), Unfit> {
    if layout.filtered && is_partial(layout, &insert.new) {
        return Err(Unfit::Partial);
    }
    let new = write_row(batch, layout, &insert.new)?;
    batch.push_change(layout.table, ChangeKind::Insert, None, Some(new));
    Ok(())
}

#[inline]
fn write_update(batch: &mut Batch, layout: &Layout, update: &Update<'_>) -> Result<(), Unfit> {
    let (old, new) = match &update.old {
        None if layout.keyless => return Err(Unfit::NoKey),
        None => (None, write_row(batch, layout, &update.new)?),
        Some(old) => {
            let (OldRow::Key(tuple) | OldRow::Full(tuple)) = old;
            let whole = matches!(old, OldRow::Full(_));
            if layout.keyless && !whole {
                return Err(Unfit::NoKey);
            }
            let old = (layout.keyless || key_differs(layout, tuple, &update.new))
                .then(|| write_old(batch, layout, tuple))
                .transpose()?;
            (old, write_filled(batch, layout, &update.new, tuple, whole)?)
        }
    };
    batch.push_change(layout.table, ChangeKind::Update, old, Some(new));
    Ok(())
}

#[inline]
fn write_delete(batch: &mut Batch, layout: &Layout, delete: &Delete<'_>) -> Result<(), Unfit> {
    let (OldRow::Key(tuple) | OldRow::Full(tuple)) = &delete.old;
    if layout.keyless && matches!(delete.old, OldRow::Key(_)) {
        return Err(Unfit::NoKey);
    }
    let old = write_old(batch, layout, tuple)?;
    batch.push_change(layout.table, ChangeKind::Delete, Some(old), None);
    Ok(())
}

/// Whether a new row lacks a value that travels: the server makes an insert of an update that brings a row into a filter,
/// and the log of an update leaves out what it does not change and is stored out of line.
fn is_partial(layout: &Layout, new: &Tuple<'_>) -> bool {
    new.cells().zip(&layout.columns).any(|(cell, column)| column.travels && cell == pgoutput::Cell::Unchanged)
}

/// Whether the key of the new row has other bytes than that of the old one.
fn key_differs(layout: &Layout, old: &Tuple<'_>, new: &Tuple<'_>) -> bool {
    let cells = old.cells().zip(new.cells()).zip(&layout.columns);
    cells.into_iter().any(|((old, new), column)| column.key && new != pgoutput::Cell::Unchanged && old != new)
}

/// A whole new row.
#[inline]
fn write_row(batch: &mut Batch, layout: &Layout, tuple: &Tuple<'_>) -> Result<RowStart, Unfit> {
    if tuple.len() != layout.columns.len() {
        return Err(Unfit::Width);
    }
    let row = batch.begin_row();
    if let Some(order) = &layout.order {
        for column in order {
            let at = usize::from(*column);
            push(batch, at, layout.columns[at], tuple.cells().nth(at).unwrap_or(pgoutput::Cell::Null))?;
        }
        return Ok(row);
    }
    for (at, (cell, column)) in tuple.cells().zip(&layout.columns).enumerate() {
        if column.travels {
            push(batch, at, *column, cell)?;
        }
    }
    Ok(row)
}

/// A new row whose unchanged cells are taken from the old one, as far as that has them: in a whole old row all, in a
/// key the key's.
fn write_filled(
    batch: &mut Batch,
    layout: &Layout,
    new: &Tuple<'_>,
    old: &Tuple<'_>,
    whole: bool,
) -> Result<RowStart, Unfit> {
    if new.len() != layout.columns.len() || old.len() != new.len() {
        return Err(Unfit::Width);
    }
    let fill =
        |new: pgoutput::Cell<'_>, at: usize| new == pgoutput::Cell::Unchanged && (whole || layout.columns[at].key);
    let row = batch.begin_row();
    if let Some(order) = &layout.order {
        for column in order.iter().map(|column| usize::from(*column)) {
            let cell = new.cells().nth(column).unwrap_or(pgoutput::Cell::Null);
            let from_old = fill(cell, column).then(|| old.cells().nth(column)).flatten();
            push(batch, column, layout.columns[column], from_old.unwrap_or(cell))?;
        }
        return Ok(row);
    }
    for (at, (cell, old)) in new.cells().zip(old.cells()).enumerate() {
        if layout.columns[at].travels {
            push(batch, at, layout.columns[at], if fill(cell, at) { old } else { cell })?;
        }
    }
    Ok(row)
}

/// An old row: the key's cells, or all for a table without a key.
#[inline]
fn write_old(batch: &mut Batch, layout: &Layout, tuple: &Tuple<'_>) -> Result<RowStart, Unfit> {
    if tuple.len() != layout.columns.len() {
        return Err(Unfit::Width);
    }
    if layout.keyless {
        return write_row(batch, layout, tuple);
    }
    let row = batch.begin_row();
    let keyed = |cell: pgoutput::Cell<'_>, at: usize, batch: &mut Batch| match (layout.columns[at].key, cell) {
        (true, pgoutput::Cell::Unchanged) => Err(Unfit::NoKey),
        (true, cell) => push(batch, at, layout.columns[at], cell),
        (false, _) => {
            batch.push_marker(Cell::NULL);
            Ok(())
        }
    };
    if let Some(order) = &layout.order {
        for column in order.iter().map(|column| usize::from(*column)) {
            keyed(tuple.cells().nth(column).unwrap_or(pgoutput::Cell::Null), column, batch)?;
        }
        return Ok(row);
    }
    for (at, cell) in tuple.cells().enumerate() {
        if layout.columns[at].travels {
            keyed(cell, at, batch)?;
        }
    }
    Ok(row)
}

/// `at` is the cell's place in the log's row.
#[inline]
fn push(batch: &mut Batch, at: usize, column: Use, cell: pgoutput::Cell<'_>) -> Result<(), Unfit> {
    match (cell, column.form) {
        (pgoutput::Cell::Binary(value), None) => batch.push_value(value),
        (pgoutput::Cell::Null, _) => batch.push_marker(Cell::NULL),
        (pgoutput::Cell::Unchanged, _) => batch.push_marker(Cell::UNCHANGED),
        (pgoutput::Cell::Text(text), Some(form)) => push_text(batch, at, form, text)?,
        (pgoutput::Cell::Binary(_), Some(_)) | (pgoutput::Cell::Text(_), None) => return Err(Unfit::Form),
    }
    Ok(())
}

/// Apart, so that what all other rows go through stays small.
#[inline(never)]
fn push_text(batch: &mut Batch, at: usize, form: Form, text: &[u8]) -> Result<(), Unfit> {
    batch.push_written(|out| form.write(text, out)).map_err(|why| Unfit::Value(at, why))
}
