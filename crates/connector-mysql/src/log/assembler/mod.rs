//! From the log's events to changes of the task's tables, transaction by transaction: `followed` knows the tables, `rows` their
//! rows, `annotated` by which statements, `definitions` what others do to them, `temporary` what hides them from such,
//! `transactions` where each begins and ends, `prepared` those that are prepared first, `numbers` which were read.

mod annotated;
mod definitions;
mod followed;
mod numbers;
mod prepared;
mod rows;
mod temporary;
mod transactions;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use wavemark_domain::{Batch, Fault, Position, Problem, Relayout, TableId, TablePlan};

use super::columns::Scratch;
use super::layout::Rules;
use super::start::Start;
use super::{end_of, malformed};
use crate::binlog::{Checksum, Event, Events, Follows, LoggedColumn, Pieces};
use crate::charset::Charsets;
use crate::fields::Malformed;
use crate::position::Place;
use annotated::Annotated;
use followed::Tables;
use numbers::Numbers;
use prepared::Branches;
pub(super) use prepared::{Kept, Wanted};
use temporary::Temporary;
use transactions::Open;

#[cfg(test)]
pub(super) mod tests;

/// A table as the log announced it.
struct Announced {
    /// The names of schema and table, one after the other.
    names: [Box<[u8]>; 2],
    /// The place among the followed ones; none if the task does not have it.
    table: Option<usize>,
    /// Whether it is none of the task's only because of where it stands.
    is_passed: bool,
    columns: Arc<[LoggedColumn]>,
}

/// What leaves the assembler.
pub(super) struct Taken {
    pub(super) batch: Batch,
    pub(super) open_end: Option<Position>,
    pub(super) open_committed_at: Option<i64>,
    /// Layouts that hold from the batch's first change on.
    pub(super) layouts: Vec<Relayout>,
    pub(super) barriers: Vec<(TableId, Problem)>,
    /// Whether tables may have come, or others got their names.
    pub(super) tables_came: bool,
}

/// See the module.
pub(super) struct Assembler {
    rules: Rules,
    tables: Tables,
    announced: HashMap<u64, Announced>,
    checksum: Checksum,
    /// Where the next event begins.
    place: Place,
    numbers: Numbers,
    branches: Branches,
    temporary: Temporary,
    annotated: Annotated,
    batch: Batch,
    /// Tables that end with the transaction, or between two.
    ending: Vec<(TableId, Problem)>,
    barriers: Vec<(TableId, Problem)>,
    /// Layouts that hold from the batch's first change on.
    layouts: Vec<Relayout>,
    /// Those that hold from behind the batch on: it is given out before anything else is taken.
    layouts_behind: Vec<Relayout>,
    /// Whether the statement that follows is not in force.
    is_announced: bool,
    open: Option<Open>,
    packed: Option<Packed>,
    /// Of an event of rows that stands in several.
    pieces: Option<Pieces>,
    tables_came: bool,
    /// Up to where in the file marks were given; nothing before the first, which says that the log is read.
    marked: Option<u64>,
    /// When the last event was written (microseconds since 1970).
    seen: i64,
    scratch: Scratch,
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
    pub(super) fn new(plan: &[TablePlan], from: Start, rules: Rules) -> Self {
        Self {
            numbers: Numbers::from(&from),
            branches: Branches::default(),
            temporary: Temporary::default(),
            annotated: Annotated::default(),
            tables: Tables::of(plan, rules.server.folds_names),
            rules,
            announced: HashMap::new(),
            checksum: Checksum::None,
            marked: None,
            seen: 0,
            place: from.place,
            batch: Batch::default(),
            ending: Vec::new(),
            barriers: Vec::new(),
            layouts: Vec::new(),
            layouts_behind: Vec::new(),
            is_announced: false,
            open: None,
            packed: None,
            pieces: None,
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

    /// Whether what it holds is to be given out before anything else is taken.
    pub(super) fn is_full(&self) -> bool {
        !self.layouts_behind.is_empty()
    }

    /// Sets of characters of which the server has to be asked before another event is taken.
    pub(super) fn lacking(&self) -> &BTreeSet<String> {
        self.tables.lacking()
    }

    /// Takes up what the server said of them.
    pub(super) fn learn(&mut self, told: Charsets) {
        self.tables.learn(told);
    }

    /// Whether it is in the middle of a transaction.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some() || self.branches.is_open()
    }

    /// Where the log is read up to.
    pub(super) fn position(&self) -> Position {
        self.place.to_position(&self.numbers.memo)
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
            self.place.offset = end_of(&header, begin.offset).map_err(|cause| malformed(cause, &begin))?;
            if self.numbers.passes_over(&begin, &event)? {
                return Ok(());
            }
        }
        if let Event::Payload(payload) = event {
            let events = payload.events(bytes).map_err(|cause| malformed(cause, &begin))?;
            self.packed = Some(Packed { events, begin, is_over: false });
            return Ok(());
        }
        self.take_event(event, (bytes, self.checksum), header.timestamp, begin)
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
            Event::Format { .. } | Event::Rotate { .. } | Event::Payload(_) | Event::Numbered(_) => {
                return Err(refuse(Malformed("a compressed transaction has an event that can't be within one")));
            }
            Event::Other => {}
            _ if packed.is_over => {
                return Err(refuse(Malformed("a compressed transaction goes on behind its end")));
            }
            event => {
                let was_open = self.is_open();
                self.take_event(event, (bytes, Checksum::None), header.timestamp, begin)?;
                packed.is_over = was_open && !self.is_open();
            }
        }
        self.packed = Some(packed);
        Ok(true)
    }

    fn take_event(
        &mut self,
        event: Event<'_>,
        raw: (&[u8], Checksum),
        timestamp: u32,
        begin: Place,
    ) -> Result<(), Problem> {
        let at = i64::from(timestamp) * 1_000_000;
        self.seen = self.seen.max(at);
        if self.branches.is_open() && self.branch_event(&event, raw, &begin, at)? {
            return Ok(());
        }
        let is_of_file = matches!(event, Event::Rotate { .. } | Event::Format { .. });
        if self.pieces.is_some() && !is_of_file && !matches!(event, Event::Piece(_) | Event::Other) {
            return Err(malformed(Malformed("rows in several events are not finished"), &begin));
        }
        match event {
            Event::Format { checksum, is_start } => {
                self.abandon(at);
                if is_start {
                    self.temporary.clear();
                }
                self.numbers.file_is(&self.place, timestamp)?;
                self.checksum = checksum;
                self.announced.clear();
            }
            Event::Rotate { file, position } => self.rotate(file, position)?,
            Event::Numbered(numbered) => {
                self.abandon_changes(at);
                self.numbers.next(Some(numbered.gtid));
                match numbered.follows {
                    Follows::Changes => self.begin(begin, at),
                    Follows::Branch => self.branches.begin(begin),
                    Follows::Announced => self.is_announced = true,
                    Follows::Statement => {}
                }
            }
            Event::Unnumbered => {
                self.abandon_changes(at);
                self.numbers.next(None);
            }
            Event::Previous(executed) => self.numbers.before_file(executed),
            Event::Query(query) => self.query(&query, begin, at)?,
            Event::Annotated(text) => self.annotated = Annotated::of(text),
            Event::Xid => self.end(at),
            Event::TableMap(map) => self.announce(&map),
            Event::Rows(rows) => self.rows(rows)?,
            Event::Piece(piece) => {
                let whole = piece.put(&mut self.pieces).map_err(|cause| malformed(cause, &begin))?;
                if let Some(whole) = whole {
                    let event = whole.event().map_err(|cause| malformed(cause, &begin))?;
                    self.take_event(event, raw, timestamp, begin)?;
                }
            }
            Event::Compressed(compressed) => {
                let body = compressed.body().map_err(|cause| malformed(cause, &self.place))?;
                let event = compressed.event(&body).map_err(|cause| malformed(cause, &self.place))?;
                self.take_event(event, raw, timestamp, begin)?;
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
            Event::Unknown(kind) => return Err(unknown(kind, &begin)),
            // One that is not within another is taken by `event`.
            Event::Payload(_) | Event::Other | Event::Prepared { .. } => {}
        }
        Ok(())
    }

    fn rotate(&mut self, file: &[u8], position: u64) -> Result<(), Problem> {
        let file = String::from_utf8_lossy(file);
        let place = Place::new(&file, position, Arc::clone(&self.place.server)).ok_or_else(|| {
            let text = format!("The source's log goes on in a file whose name has no number: {file}.");
            Problem::new(Fault::Settings, "log-unreadable", text)
        })?;
        if place.number != self.place.number {
            self.marked = None;
        }
        self.place = place.in_era(self.place.era);
        Ok(())
    }

    /// A layout holds from here on, with rows or without: the statement is a transaction of its own.
    fn take_up(&mut self, relayout: Relayout) {
        let list = if self.batch.is_empty() { &mut self.layouts } else { &mut self.layouts_behind };
        list.push(relayout);
    }

    fn end_table(&mut self, at: usize, problem: Problem) {
        if self.tables.end(at) {
            let table = self.tables.at(at);
            self.ending.push((table.id, problem.table(table.name())));
        }
    }

    /// Hands the batch out; progress without changes is told if there is any and no transaction is open.
    pub(super) fn take(&mut self) -> Taken {
        if self.has_progress() {
            self.batch.end_transaction(self.place.to_position(&self.numbers.memo), self.seen);
            self.marked = Some(self.place.offset);
        }
        let mut batch = std::mem::take(&mut self.batch);
        if let Some(end) = batch.transactions().last().map(|mark| mark.changes_end)
            && batch.is_open()
        {
            let tables = &self.tables;
            self.batch.append_changes(&batch, end..batch.changes().len(), |table| tables.width(table));
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
            (open_end, open_committed_at) = (Some(place.to_position(&self.numbers.memo)), Some(open.committed_at));
        }
        let barriers = std::mem::take(&mut self.barriers);
        let layouts = std::mem::replace(&mut self.layouts, std::mem::take(&mut self.layouts_behind));
        if !self.layouts.is_empty() {
            self.close(false, self.seen);
        }
        Taken {
            batch,
            layouts,
            open_end,
            open_committed_at,
            barriers,
            tables_came: std::mem::take(&mut self.tables_came),
        }
    }

    /// Whether the log went on without a change of ours.
    pub(super) fn has_progress(&self) -> bool {
        let is_between = !self.is_open() && self.packed.is_none() && !self.is_full() && self.numbers.is_between();
        is_between && self.marked.is_none_or(|marked| self.place.offset > marked)
    }
}

/// Passing over an event that nobody here knows could be passing over rows.
fn unknown(kind: u8, place: &Place) -> Problem {
    let text = format!(
        "The source's log has an event of a kind that this version does not know, at {}:{}: number {kind}.",
        place.file, place.offset
    );
    Problem::new(Fault::Settings, "log-event-unknown", text)
        .advice("Switch off at the server what writes it, then reload the tables; or use a version that knows it.")
}
