//! From the log's events to changes of the task's tables, transaction by transaction.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use wavemark_connector::source::TABLE_DROPPED;
use wavemark_domain::{Batch, Cell, ChangeKind, Fault, Position, Problem, TableId, TableName, TablePlan};

use super::columns::{LogColumn, Scratch};
use super::file_too_large;
use super::statement::{self, Statement};
use crate::binlog::{Checksum, Event, Events, LoggedColumn, RowKind, Rows, TableMap};
use crate::fields::Malformed;
use crate::position::Place;
use crate::value::Value;

#[cfg(test)]
mod tests;

/// A table of the task.
struct Followed {
    id: TableId,
    name: TableName,
    columns: Vec<LogColumn>,
    width: usize,
    key: Vec<usize>,
    /// Nothing more of it is told.
    ended: bool,
}

/// A table as the log announced it.
struct Announced {
    /// The names of schema and table, one after the other.
    names: [Box<[u8]>; 2],
    /// The place among the followed ones; none if the task does not have it.
    table: Option<usize>,
    columns: Arc<[LoggedColumn]>,
}

/// What leaves the assembler.
pub(super) struct Taken {
    pub(super) batch: Batch,
    pub(super) open_end: Option<Position>,
    pub(super) open_committed_at: Option<i64>,
    pub(super) barriers: Vec<(TableId, Problem)>,
    /// Whether tables may have come, or others got their names.
    pub(super) tables_came: bool,
}

/// See the module.
pub(super) struct Assembler {
    /// By their numbers.
    tables: Vec<Followed>,
    by_name: HashMap<TableName, usize>,
    announced: HashMap<u64, Announced>,
    checksum: Checksum,
    /// Where the next event begins.
    place: Place,
    batch: Batch,
    /// Tables that end with the transaction, or between two.
    ending: Vec<(TableId, Problem)>,
    barriers: Vec<(TableId, Problem)>,
    open: Option<Open>,
    packed: Option<Packed>,
    tables_came: bool,
    /// Up to where in the file marks were given; nothing before the first, which says that the log is read.
    marked: Option<u64>,
    /// When the last event was written (microseconds since 1970).
    seen: i64,
    scratch: Scratch,
}

/// A transaction that is being read.
struct Open {
    /// Where it begins.
    begin: Place,
    committed_at: i64,
    /// Savepoints, each with the number of changes before it.
    savepoints: Vec<(String, usize)>,
    /// Whether a part of it was given out.
    is_given: bool,
}

/// A transaction that came in one event and is being unpacked.
struct Packed {
    events: Events,
    /// Where that event begins.
    begin: Place,
    /// Whether the transaction's end was read.
    is_over: bool,
}

/// Why a row was not taken.
enum Failed {
    Malformed(Malformed),
    Row(Problem),
}

impl From<Malformed> for Failed {
    fn from(cause: Malformed) -> Self {
        Self::Malformed(cause)
    }
}

impl Assembler {
    pub(super) fn new(plan: &[TablePlan], from: Place) -> Self {
        let tables: Vec<Followed> = plan
            .iter()
            .map(|table| Followed {
                id: table.id,
                name: table.name().clone(),
                columns: LogColumn::all(table),
                width: table.columns.len(),
                key: table.key.clone(),
                ended: false,
            })
            .collect();
        let by_name = tables.iter().enumerate().map(|(at, table)| (table.name.clone(), at)).collect();
        Self {
            tables,
            by_name,
            announced: HashMap::new(),
            checksum: Checksum::None,
            marked: None,
            seen: 0,
            place: from,
            batch: Batch::default(),
            ending: Vec::new(),
            barriers: Vec::new(),
            open: None,
            packed: None,
            tables_came: false,
            scratch: Scratch::default(),
        }
    }

    /// About how much it holds.
    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Whether there are transactions to give out.
    pub(super) fn has_transactions(&self) -> bool {
        !self.batch.transactions().is_empty()
    }

    /// Whether it is in the middle of a transaction.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Where the log is read up to.
    pub(super) fn position(&self) -> Position {
        self.place.to_position()
    }

    /// How much it holds of a transaction that came in one event.
    pub(super) fn packed_bytes(&self) -> usize {
        self.packed.as_ref().map_or(0, |packed| packed.events.bytes())
    }

    /// Takes one event. What [`Self::packed_event`] has comes before the next one.
    pub(super) fn event(&mut self, bytes: &Bytes) -> Result<(), Problem> {
        let (header, event) = Event::read(bytes, self.checksum).map_err(|cause| malformed(cause, &self.place))?;
        let begin = self.place.clone();
        if header.next != 0 {
            // The server counts in 32 bits, and begins anew beyond them.
            let next = u64::from(header.next);
            self.place.offset = if next < begin.offset { return Err(file_too_large(&begin)) } else { next };
        }
        if let Event::Payload(payload) = event {
            let events = payload.events(bytes).map_err(|cause| malformed(cause, &begin))?;
            self.packed = Some(Packed { events, begin, is_over: false });
            return Ok(());
        }
        self.take_event(event, header.timestamp, begin)
    }

    /// Takes the next event of a transaction that came in one; false if there is none.
    ///
    /// Invariant: the place is the end of that one event all the while, so that the transaction ends there, whatever the
    /// events within say.
    pub(super) fn packed_event(&mut self) -> Result<bool, Problem> {
        let Some(mut packed) = self.packed.take() else { return Ok(false) };
        let begin = packed.begin.clone();
        let refuse = |cause| malformed(cause, &begin);
        let Some(bytes) = packed.events.next().map_err(refuse)? else {
            return match self.open {
                Some(_) => Err(refuse(Malformed("a compressed transaction has no end"))),
                None => Ok(true),
            };
        };
        let (header, event) = Event::read(bytes, Checksum::None).map_err(refuse)?;
        match event {
            Event::Format(_) | Event::Rotate { .. } | Event::Payload(_) => {
                return Err(refuse(Malformed("a compressed transaction has an event that can't be within one")));
            }
            Event::Other => {}
            _ if packed.is_over => {
                return Err(refuse(Malformed("a compressed transaction goes on behind its end")));
            }
            event => {
                let was_open = self.is_open();
                self.take_event(event, header.timestamp, begin)?;
                packed.is_over = was_open && !self.is_open();
            }
        }
        self.packed = Some(packed);
        Ok(true)
    }

    fn take_event(&mut self, event: Event<'_>, timestamp: u32, begin: Place) -> Result<(), Problem> {
        let at = i64::from(timestamp) * 1_000_000;
        self.seen = self.seen.max(at);
        match event {
            Event::Format(checksum) => {
                self.checksum = checksum;
                self.announced.clear();
            }
            Event::Rotate { file, position } => self.rotate(file, position)?,
            Event::Begin => self.begin(begin, at),
            Event::Query { schema, text } => self.query(schema, text, begin, at),
            Event::Xid => self.end(at),
            Event::TableMap(map) => self.announce(&map),
            Event::Rows(rows) => self.rows(rows)?,
            Event::Compressed(compressed) => {
                let body = compressed.body().map_err(|cause| malformed(cause, &self.place))?;
                let event = compressed.event(&body).map_err(|cause| malformed(cause, &self.place))?;
                self.take_event(event, timestamp, begin)?;
            }
            Event::Incident => {
                let text =
                    "The source's log has an incident: the server may have lost changes before it wrote them there.";
                return Err(Problem::new(Fault::PositionLost, "log-incident", text).advice("Reload the tables."));
            }
            Event::Unreadable(why) => {
                let text = format!("The source's log can't be read: {why}.");
                return Err(Problem::new(Fault::Settings, "log-unreadable", text)
                    .advice("Switch that off at the server, then reload the tables."));
            }
            // One that is not within another is taken by `event`.
            Event::Payload(_) | Event::Other => {}
        }
        Ok(())
    }

    fn rotate(&mut self, file: &[u8], position: u64) -> Result<(), Problem> {
        let file = String::from_utf8_lossy(file);
        let place = Place::new(&file, position, &self.place.server).ok_or_else(|| {
            let text = format!("The source's log goes on in a file whose name has no number: {file}.");
            Problem::new(Fault::Settings, "log-unreadable", text)
        })?;
        if place.number != self.place.number {
            self.marked = None;
        }
        self.place = place;
        Ok(())
    }

    fn begin(&mut self, begin: Place, committed_at: i64) {
        self.open = Some(Open { begin, committed_at, savepoints: Vec::new(), is_given: false });
    }

    fn query(&mut self, schema: &[u8], text: &[u8], begin: Place, at: i64) {
        let (schema, text) = (String::from_utf8_lossy(schema), String::from_utf8_lossy(text));
        match Statement::of(&text) {
            Statement::Begin | Statement::XaBegin => self.begin(begin, at),
            Statement::Commit => self.end(at),
            Statement::Rollback => self.roll_back(0, at),
            Statement::Savepoint(name) => {
                let changes = self.batch.changes().len();
                if let Some(open) = &mut self.open {
                    open.savepoints.retain(|(other, _)| other != name);
                    open.savepoints.push((name.to_owned(), changes));
                }
            }
            Statement::RollbackTo(name) => {
                let found = self.open.as_ref().and_then(|open| open.savepoints.iter().find(|(other, _)| other == name));
                match found.map(|(_, changes)| *changes) {
                    Some(changes) => self.take_back(changes),
                    None => self.end_touched("rolls back to a savepoint that is not in the log"),
                }
            }
            Statement::Xa => {
                self.end_touched("is prepared (XA), and committed or not later, which is not followed yet");
                self.end(at);
            }
            Statement::Truncate(name) => self.truncate(&schema, &name),
            Statement::Drop(names) => names.iter().for_each(|name| self.drop_table(&schema, name)),
            Statement::Harmless => {}
            Statement::Other => self.other(&text),
        }
        if self.open.is_none() {
            self.end(at);
        }
    }

    fn drop_table(&mut self, schema: &str, name: &str) {
        let name = qualified(schema, name);
        if let Some(at) = self.by_name.get(&name).copied() {
            let text = format!("Table {name} was dropped at the source.");
            self.end_table(at, Problem::new(Fault::Data, TABLE_DROPPED, text));
        }
    }

    fn truncate(&mut self, schema: &str, name: &str) {
        let name = qualified(schema, name);
        let found = self.by_name.get(&name).map(|at| &self.tables[*at]).filter(|table| !table.ended);
        if let Some(table) = found {
            self.batch.push_change(table.id, ChangeKind::Truncate, None, None);
        }
    }

    /// A definition, or a statement in place of rows.
    fn other(&mut self, text: &str) {
        self.tables_came = true;
        let named: Vec<usize> = (0..self.tables.len())
            .filter(|at| !self.tables[*at].ended && statement::names(text, &self.tables[*at].name.table))
            .collect();
        for at in named {
            let name = self.tables[at].name.clone();
            let word = text.split_ascii_whitespace().next().unwrap_or_default();
            let why = format!("Table {name} was altered, dropped or written by a statement in the log ({word} …).");
            self.end_table(at, Problem::new(Fault::Data, "table-altered", why).advice("Reload the table."));
        }
    }

    fn end_table(&mut self, at: usize, problem: Problem) {
        let table = &mut self.tables[at];
        if !table.ended {
            table.ended = true;
            self.ending.push((table.id, problem.table(&table.name)));
        }
    }

    /// Ends every table that the open transaction has written so far.
    fn end_touched(&mut self, why: &str) {
        let first = self.batch.transactions().last().map_or(0, |mark| mark.changes_end);
        let mut touched: Vec<usize> = self.batch.changes()[first..].iter().map(|change| change.table.index()).collect();
        touched.sort_unstable();
        touched.dedup();
        self.take_back(0);
        for at in touched {
            let text = format!("A transaction that writes {} {why}.", self.tables[at].name);
            self.end_table(at, Problem::new(Fault::Data, "transaction-not-followed", text).advice("Reload the table."));
        }
    }

    /// Takes back what the open transaction did after so many changes.
    fn take_back(&mut self, changes: usize) {
        let first = self.batch.transactions().last().map_or(0, |mark| mark.changes_end);
        if self.open.as_ref().is_some_and(|open| open.is_given) {
            // What is in the target's hands already can't be taken back by itself.
            for at in 0..self.tables.len() {
                let text =
                    format!("A large transaction that may write {} was rolled back in the log.", self.tables[at].name);
                self.end_table(
                    at,
                    Problem::new(Fault::Data, "transaction-not-followed", text).advice("Reload the table."),
                );
            }
            return;
        }
        self.batch.truncate_changes(changes.max(first));
    }

    fn roll_back(&mut self, changes: usize, at: i64) {
        self.take_back(changes);
        self.end(at);
    }

    /// The transaction is over, or there was none.
    fn end(&mut self, committed_at: i64) {
        let was_given = self.open.take().is_some_and(|open| open.is_given);
        for (table, problem) in self.ending.drain(..) {
            self.batch.push_change(table, ChangeKind::Barrier, None, None);
            self.barriers.push((table, problem));
        }
        // One of which all was given out already has its end to give.
        if was_given || self.batch.is_open() {
            self.batch.end_transaction(self.place.to_position(), committed_at);
            self.marked = Some(self.place.offset);
        }
    }

    /// Before each statement's rows it is said again what they are of.
    fn announce(&mut self, map: &TableMap<'_>) {
        let is_known = |known: &Announced| {
            *known.names[0] == *map.schema && *known.names[1] == *map.table && *known.columns == *map.columns
        };
        if self.announced.get(&map.id).is_some_and(is_known) {
            return;
        }
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let table = self.by_name.get(&TableName::new(name(map.schema), name(map.table))).copied();
        if let Some(at) = table.filter(|at| !self.tables[*at].ended) {
            let columns = &self.tables[at].columns;
            let fits = columns.len() == map.columns.len()
                && columns.iter().zip(&map.columns).all(|(column, logged)| column.is(*logged));
            if !fits {
                let text = format!(
                    "The rows of {} in the log have other columns than when it was planned.",
                    self.tables[at].name
                );
                self.end_table(at, Problem::new(Fault::Data, "table-altered", text).advice("Reload the table."));
            }
        }
        let names = [map.schema.into(), map.table.into()];
        self.announced.insert(map.id, Announced { names, table, columns: map.columns.clone().into() });
    }

    fn rows(&mut self, rows: Rows<'_>) -> Result<(), Problem> {
        let Some(announced) = self.announced.get(&rows.table) else {
            return Err(malformed(Malformed("rows come of a table that was not announced"), &self.place));
        };
        let Some(at) = announced.table.filter(|at| !self.tables[*at].ended) else { return Ok(()) };
        let columns = Arc::clone(&announced.columns);
        if columns.len() != rows.columns() {
            return Err(malformed(Malformed("rows have another number of columns than their table"), &self.place));
        }
        match self.take_rows(at, &columns, rows) {
            Ok(()) => Ok(()),
            Err(Failed::Malformed(cause)) => Err(malformed(cause, &self.place)),
            Err(Failed::Row(problem)) => {
                self.end_table(at, problem);
                Ok(())
            }
        }
    }

    fn take_rows(&mut self, at: usize, columns: &[LoggedColumn], mut rows: Rows<'_>) -> Result<(), Failed> {
        let Self { tables, batch, scratch, .. } = self;
        let table = &tables[at];
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
            match kind {
                RowKind::Write => {
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

    /// Hands the batch out; progress without changes is told if there is any and no transaction is open.
    pub(super) fn take(&mut self) -> Taken {
        if self.has_progress() {
            self.batch.end_transaction(self.place.to_position(), self.seen);
            self.marked = Some(self.place.offset);
        }
        let mut batch = std::mem::take(&mut self.batch);
        if let Some(end) = batch.transactions().last().map(|mark| mark.changes_end)
            && batch.is_open()
        {
            let tables = &self.tables;
            self.batch.append_changes(&batch, end..batch.changes().len(), |table| tables[table.index()].width);
            batch.truncate_changes(end);
            if let Some(open) = &mut self.open {
                open.savepoints.iter_mut().for_each(|(_, changes)| *changes = changes.saturating_sub(end));
            }
        }
        let is_open = batch.is_open();
        let open = self.open.as_mut().filter(|_| is_open);
        let (mut open_end, mut open_committed_at) = (None, None);
        if let Some(open) = open {
            open.is_given = true;
            // No other transaction ends between its beginning and its end, so just after the one compares as the other.
            let place = Place { offset: open.begin.offset + 1, ..open.begin.clone() };
            (open_end, open_committed_at) = (Some(place.to_position()), Some(open.committed_at));
        }
        Taken {
            batch,
            open_end,
            open_committed_at,
            barriers: std::mem::take(&mut self.barriers),
            tables_came: std::mem::take(&mut self.tables_came),
        }
    }

    /// Whether the log went on without a change of ours.
    pub(super) fn has_progress(&self) -> bool {
        self.open.is_none() && self.packed.is_none() && self.marked.is_none_or(|marked| self.place.offset > marked)
    }
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
            self.cells[at] = value;
            Ok(())
        })
    }

    fn cell(&self, cell: usize) -> Option<Value<'a>> {
        self.cells[self.columns[cell]]
    }

    /// Whether the key is another one than before.
    fn moves(&self, old: &Self, key: &[usize]) -> bool {
        key.iter().any(|at| self.cell(*at).is_some() && self.cell(*at) != old.cell(*at))
    }

    /// A new row may leave out the key that stays.
    fn take_key(&mut self, old: &Self, key: &[usize]) {
        for at in key {
            if self.cell(*at).is_none() {
                self.cells[self.columns[*at]] = old.cell(*at);
            }
        }
    }

    fn push(
        &self,
        table: &Followed,
        batch: &mut Batch,
        scratch: &mut Scratch,
        part: Part,
    ) -> Result<wavemark_domain::batch::RowStart, Failed> {
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

/// A name in a statement that was run in a schema.
fn qualified(schema: &str, name: &str) -> TableName {
    match name.split_once('.') {
        Some((schema, table)) => TableName::new(schema, table),
        None => TableName::new(schema, name),
    }
}

fn incomplete(table: &Followed) -> Problem {
    let text = format!("The log has a row of {} without all of its columns where all are needed.", table.name);
    Problem::new(Fault::Data, "row-incomplete", text).advice(
        "SET GLOBAL binlog_row_image = FULL at the source, let its sessions connect anew, and reload the table.",
    )
}

fn malformed(cause: Malformed, place: &Place) -> Problem {
    let text = format!("The source's log can't be read at {}:{}: {cause}.", place.file, place.offset);
    Problem::new(Fault::Internal, "log-malformed", text)
}
