//! From the messages of the log to batches of whole transactions, in commit order. Pure: no I/O but the spill files.
//!
//! - A transaction between Begin and Commit is known to be committed: its changes go straight into the batch, and it
//!   may leave in several batches if it is larger than one.
//! - A transaction that comes in chunks is kept until its Stream Commit, then replayed the same way.
//! - A Relation message in a chunk belongs to its subtransaction. What one of a rolled-back subtransaction says may be what
//!   that one had changed: then the server describes the table again before its next row. Or it may be what stays, changed
//!   by another part of the transaction: a row that comes without another description ends its table.
//! - A Relation message with another layout than its table's stops all until it is known what becomes of the table
//!   ([`Assembler::resolve`]). What was read before it is handed out first, so that a batch has one layout of a table.
//! - A transaction ended at or before `from` if and only if its commit record lies before `from`.

use std::time::Duration;

use wavemark_connector::source::InHand;
use wavemark_domain::{Batch, Position, Problem, Relayout, TableId};

use super::doubts::{Doubt, Doubts};
use super::layout::Expected;
use super::oversized::{self, Oversized};
use super::streamed::{Replay, Streamed};
use super::told::{self, Told};
use super::unspoken::Unspoken;
use super::writer::{Unresolved, Writer};
use crate::pgoutput::{DecodeError, LogicalMessage, Message, StreamCommit, decode};
use crate::position::Place;
use crate::wire::Lsn;

/// Microseconds from 1970 to 2000, where the server's clock starts.
pub(super) const EPOCH_OFFSET: i64 = 946_684_800_000_000;
/// Between a commit and the sending of it, above which the reader counts as behind.
const BEHIND: Duration = Duration::from_millis(20);
/// How far behind a reader counts to which a transaction in progress comes: there is much of it, and nobody sees it yet.
const IN_PROGRESS: Duration = Duration::from_secs(1);

/// A batch begins with room for at most so many bytes: one after a large row need not be as large.
const ROOM: usize = 8 << 20;

/// Puts batches together.
pub(super) struct Assembler {
    place: Place,
    from: Lsn,
    writer: Writer,
    widths: Vec<usize>,
    streamed: Streamed,
    /// Between Begin and Commit.
    open: Option<Open>,
    /// Between Stream Start and Stream Stop: the top-level transaction.
    chunk: Option<u32>,
    replay: Option<(Replay, StreamCommit)>,
    /// The newest end that was marked.
    marked: Lsn,
    /// The log's progress with nothing pending, not marked yet, and the server's clock then.
    progress: Option<(Lsn, i64)>,
    /// Between the last commit and when the server sent it.
    lag: Duration,
    beside: Beside,
    /// Tables that are gone, and how far the log must be read to have every change of them.
    dropped: Vec<(Lsn, TableId)>,
    doubts: Doubts,
}

/// What tells of layouts beside the log's own descriptions.
#[derive(Default)]
struct Beside {
    /// What holds once the log is read so far, unless the log says it itself.
    unspoken: Vec<Unspoken>,
    /// The number that the source's event triggers write with what they tell, if they are heard.
    token: Option<i64>,
}

impl Beside {
    /// The log describes the relation.
    fn described(&mut self, relation: u32) {
        self.unspoken.retain(|unspoken| unspoken.relation != relation);
    }

    /// What the source tells of an alteration. Nobody else's messages are meant.
    fn told(&mut self, message: &LogicalMessage<'_>) -> Option<Told> {
        let token = self.token.filter(|_| message.transactional && message.prefix == told::PREFIX)?;
        let told = Told::of(message.content, token)?;
        if let Told::Altered(altered) = &told {
            self.described(altered.relation);
        }
        Some(told)
    }
}

/// A committed transaction that is being read.
#[derive(Clone, Copy)]
struct Open {
    commit: Lsn,
    time: i64,
    passed_over: bool,
}

/// What leaves the assembler.
pub(super) struct Taken {
    pub(super) batch: Batch,
    /// Where the batch's unfinished transaction ends.
    pub(super) open_end: Option<Position>,
    /// When that was committed.
    pub(super) open_committed_at: Option<i64>,
    pub(super) barriers: Vec<(TableId, Problem)>,
    pub(super) layouts: Vec<Relayout>,
}

impl Assembler {
    /// `widths` holds the cells of a row of each planned table.
    pub(super) fn new(from: Place, writer: Writer, widths: Vec<usize>, streamed: Streamed) -> Self {
        Self {
            place: from,
            from: from.lsn,
            writer,
            widths,
            streamed,
            open: None,
            chunk: None,
            replay: None,
            marked: from.lsn,
            progress: None,
            lag: Duration::ZERO,
            beside: Beside::default(),
            dropped: Vec::new(),
            doubts: Doubts::default(),
        }
    }

    /// These tables are gone: each ends once the log is read so far.
    pub(super) fn expect_end(&mut self, read: Lsn, dropped: &[TableId]) {
        self.dropped.extend(dropped.iter().map(|table| (read, *table)));
    }

    /// The same, for a log in which event triggers with this number tell of alterations.
    pub(super) fn hearing(self, token: Option<i64>) -> Self {
        Self { beside: Beside { token, ..self.beside }, ..self }
    }

    /// Ends a table once the log is read so far.
    pub(super) fn doubt(&mut self, doubt: Doubt) {
        self.doubts.add(doubt);
    }

    /// Whether there were alterations that the source could not tell.
    pub(super) fn is_untold(&self) -> bool {
        self.writer.is_untold
    }

    /// Takes in what the log may not say; instead of what was given before.
    pub(super) fn expect(&mut self, unspoken: Vec<Unspoken>) {
        self.beside.unspoken = unspoken;
    }

    /// Takes in the next of what the log did not say, if it is read so far; false if there is none.
    #[inline]
    pub(super) fn speak(&mut self) -> Result<bool, Problem> {
        if (self.beside.unspoken.is_empty() && self.dropped.is_empty() && self.doubts.is_empty()) || !self.is_between()
        {
            return Ok(false);
        }
        let read_to = self.progress.map_or(self.marked, |(at, _)| at.max(self.marked));
        if let Some(at) = self.dropped.iter().position(|(from, _)| *from <= read_to) {
            self.writer.end_dropped(self.dropped.swap_remove(at).1);
            return Ok(true);
        }
        if let Some(doubt) = self.doubts.due(read_to) {
            self.writer.end_doubtful(doubt.table, doubt.problem);
            return Ok(true);
        }
        let unspoken = &mut self.beside.unspoken;
        let Some(at) = unspoken.iter().position(|unspoken| unspoken.from <= read_to) else { return Ok(false) };
        let unspoken = unspoken.swap_remove(at);
        if let Message::Relation(_, relation) = decode(&unspoken.message, false).map_err(undecodable)? {
            self.writer.relation(&relation);
        }
        Ok(true)
    }

    /// Takes in one message; `clock` is the server's when it sent it.
    #[inline]
    pub(super) fn message(&mut self, data: &[u8], clock: i64) -> Result<(), Problem> {
        if let Some(transaction) = self.chunk {
            return self.chunk_message(transaction, data);
        }
        let message = decode(data, false).map_err(undecodable)?;
        match message {
            Message::Insert(..) | Message::Update(..) | Message::Delete(..) | Message::Truncate(..)
                if self.open.is_some_and(|open| !open.passed_over) =>
            {
                if !self.writer.batch.fits(data.len()) {
                    return Err(Problem::internal("A batch of the log is too large."));
                }
                self.writer.change(&message)
            }
            Message::Relation(_, relation) => {
                self.beside.described(relation.id);
                self.writer.relation(&relation);
                Ok(())
            }
            Message::Begin(begin) => {
                let commit = Lsn(begin.final_lsn);
                self.open = Some(Open { commit, time: begin.time, passed_over: commit < self.from });
                self.lag = between(begin.time, clock);
                Ok(())
            }
            Message::Commit(commit) => {
                if self.open.take().is_some_and(|open| !open.passed_over) {
                    self.end(Lsn(commit.end_lsn), commit.time);
                }
                self.lag = between(commit.time, clock);
                Ok(())
            }
            Message::LogicalMessage(_, message) if self.open.is_some_and(|open| !open.passed_over) => {
                self.beside.told(&message).map_or(Ok(()), |told| self.writer.told(told).map_err(undecodable))
            }
            other => self.control(&other),
        }
    }

    /// Takes in a row that is larger than allowed, by the beginning of its message: its table ends there.
    #[cold]
    pub(super) fn oversized(&mut self, data: &[u8], size: usize) -> Result<(), Problem> {
        if data.first() == Some(&b'M') {
            // Others write such messages; one of the triggers that is not read leaves an alteration untold.
            self.writer.is_untold |= told::is_one(data, self.chunk.is_some());
            return Ok(());
        }
        let no_row = || Problem::internal(format!("A message of the log has {size} bytes and is no row."));
        if let Some(transaction) = self.chunk {
            return self.streamed.keep(transaction, &oversized::to_keep(data, size).ok_or_else(no_row)?);
        }
        let row = Oversized::of(data, size).ok_or_else(no_row)?;
        if self.open.is_some_and(|open| !open.passed_over) { self.writer.oversized(row) } else { Ok(()) }
    }

    fn control(&mut self, message: &Message<'_>) -> Result<(), Problem> {
        match message {
            Message::StreamStart(start) => {
                self.chunk = Some(start.xid);
                self.lag = IN_PROGRESS;
            }
            Message::StreamAbort(abort) => self.streamed.abort(abort.xid, abort.subxid),
            Message::StreamCommit(commit) => self.replay = Some((self.streamed.commit(commit.xid)?, *commit)),
            _ => {}
        }
        Ok(())
    }

    /// Rows are kept as they come and decoded when they are replayed.
    fn chunk_message(&mut self, transaction: u32, data: &[u8]) -> Result<(), Problem> {
        match data.first() {
            Some(b'I' | b'U' | b'D' | b'R' | b'T') => self.streamed.keep(transaction, data),
            Some(b'M') if told::is_one(data, true) => self.streamed.keep(transaction, data),
            Some(b'E') => {
                self.chunk = None;
                Ok(())
            }
            // Types, messages, origins.
            _ => decode(data, true).map(drop).map_err(undecodable),
        }
    }

    /// Whether a committed transaction waits to be replayed; no message may be taken in before.
    #[inline]
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Goes on with the replay until the batch holds about `most` bytes.
    pub(super) fn replay(&mut self, most: usize) -> Result<(), Problem> {
        let Some((replay, commit)) = &mut self.replay else { return Ok(()) };
        let passed_over = Lsn(commit.commit_lsn) < self.from;
        let is_broken_up = replay.is_broken_up();
        while let Some((data, aborted)) = replay.next()? {
            // Only relations matter of what is passed over.
            if (aborted || passed_over) && data.first() != Some(&b'R') {
                continue;
            }
            if data.first() == Some(&oversized::MARK) {
                let row = Oversized::kept(data).ok_or_else(|| Problem::internal("A kept row can't be read back."))?;
                self.writer.oversized(row)?;
                continue;
            }
            let message = decode(data, true).map_err(undecodable)?;
            if let Message::Relation(_, relation) = &message {
                self.beside.described(relation.id);
            }
            match message {
                Message::Relation(_, relation) if aborted => self.writer.described_in_vain(&relation),
                // The server sends it under the number of the whole transaction: whether it was of a part that was rolled
                // back nobody knows.
                Message::LogicalMessage(..) if is_broken_up => {
                    self.writer.is_untold |= told::is_one(data, true);
                }
                Message::LogicalMessage(_, message) => {
                    if let Some(told) = self.beside.told(&message) {
                        self.writer.told(told).map_err(undecodable)?;
                    }
                }
                message => self.writer.change(&message)?,
            }
            if self.writer.batch.bytes() >= most || self.writer.unresolved().is_some() {
                return Ok(());
            }
        }
        let (end, time) = (Lsn(commit.end_lsn), commit.time);
        self.replay = None;
        if !passed_over {
            self.end(end, time);
        }
        Ok(())
    }

    fn end(&mut self, end: Lsn, time: i64) {
        self.writer.end_transaction();
        // A layout holds from a transaction on, with rows or without.
        if self.writer.batch.is_open() || !self.writer.layouts.is_empty() {
            self.mark(end, time);
        } else {
            // Nothing of it concerns the plan: it is progress like a keepalive.
            self.progress = Some((end, time));
        }
    }

    fn mark(&mut self, end: Lsn, time: i64) {
        self.writer.batch.end_transaction(self.place.at(end).to_position(), time.saturating_add(EPOCH_OFFSET));
        self.marked = self.marked.max(end);
    }

    /// The server has sent everything that committed before `end`.
    pub(super) fn keepalive(&mut self, end: Lsn, clock: i64) {
        if self.is_between() && end > self.marked && self.progress.is_none_or(|(at, _)| at < end) {
            self.progress = Some((end, clock));
        }
    }

    /// A relation of which it is to be found out what becomes of it, before anything else is taken in.
    #[inline]
    pub(super) fn unresolved(&self) -> Option<&Unresolved> {
        self.writer.unresolved()
    }

    /// What was told of it is known.
    pub(super) fn pass(&mut self) {
        self.writer.pass();
    }

    /// Whether there is nothing to hand out.
    pub(super) fn is_empty(&self) -> bool {
        self.writer.batch.is_empty()
    }

    /// What becomes of the relation. There is nothing to hand out.
    pub(super) fn resolve(&mut self, next: Result<(Expected, Option<Relayout>), Problem>) {
        if let Some(told) = self.writer.unresolved().filter(|unresolved| unresolved.told.is_some()) {
            self.doubts.told(told.table);
        }
        if let Some((table, width)) = self.writer.resolve(next) {
            self.widths[table.index()] = width;
        }
    }

    /// Nothing of the table comes any more, or not all. No transaction is in hand.
    pub(super) fn end_table(&mut self, table: TableId, how: &str) {
        self.writer.end_table(table, how);
    }

    /// The same with another reason.
    pub(super) fn end_doubtful(&mut self, table: TableId, problem: Problem) {
        self.writer.end_doubtful(table, problem);
    }

    /// Whether no committed transaction is in hand half-way.
    pub(super) fn is_between(&self) -> bool {
        self.open.is_none() && self.replay.is_none()
    }

    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.writer.batch.bytes()
    }

    /// Whether the end of a transaction with changes is in the batch.
    pub(super) fn has_transactions(&self) -> bool {
        !self.writer.batch.transactions().is_empty()
    }

    /// Whether there is progress to tell.
    pub(super) fn has_progress(&self) -> bool {
        self.is_between() && self.progress.is_some_and(|(end, _)| end > self.marked)
    }

    /// By how much what comes is late when the server sends it, if that is worth a pause.
    #[inline]
    pub(super) fn behind(&self) -> Option<Duration> {
        (self.lag > BEHIND).then_some(self.lag)
    }

    pub(super) fn in_hand(&self) -> InHand {
        let mut held = self.streamed.in_hand();
        held.transactions += u64::from(self.open.is_some()) + u64::from(self.replay.is_some());
        held.bytes += self.replay.as_ref().map_or(0, |(replay, _)| replay.bytes() as u64);
        held.bytes += self.writer.batch.bytes() as u64;
        held
    }

    /// Hands the batch out. If it holds the end of a transaction, what follows the last one stays for the next batch;
    /// else it is part of one transaction, and open.
    pub(super) fn take(&mut self) -> Taken {
        if self.has_progress()
            && let Some((end, time)) = self.progress.take()
        {
            self.mark(end, time);
        }
        let room = Batch::with_room_of(&self.writer.batch, ROOM);
        let mut batch = std::mem::replace(&mut self.writer.batch, room);
        if let Some(end) = batch.transactions().last().map(|mark| mark.changes_end)
            && batch.is_open()
        {
            let widths = &self.widths;
            self.writer.batch.append_changes(&batch, end..batch.changes().len(), |table| widths[table.index()]);
            batch.truncate_changes(end);
        }
        let open_end = batch.is_open().then(|| self.open_end()).flatten();
        let open_committed_at = batch.is_open().then(|| self.open_time()).flatten();
        let layouts = std::mem::take(&mut self.writer.layouts);
        Taken { barriers: self.barriers(&batch), layouts, open_end, open_committed_at, batch }
    }

    /// Where the transaction in hand ends. Before its Commit message only the place of its commit record is known; no
    /// other transaction ends between that and its end, so just after it compares as the end does.
    fn open_end(&self) -> Option<Position> {
        let replayed = self.replay.as_ref().map(|(_, commit)| Lsn(commit.end_lsn));
        let read = self.open.map(|open| Lsn(open.commit.0 + 1));
        replayed.or(read).map(|end| self.position(end))
    }

    fn open_time(&self) -> Option<i64> {
        let replayed = self.replay.as_ref().map(|(_, commit)| commit.time);
        replayed.or(self.open.map(|open| open.time)).map(|time| time.saturating_add(EPOCH_OFFSET))
    }

    /// The reasons of the barriers in this batch.
    fn barriers(&mut self, batch: &Batch) -> Vec<(TableId, Problem)> {
        if self.writer.barriers.is_empty() {
            return Vec::new();
        }
        let is_in = |table: TableId| {
            let barrier = |change: &wavemark_domain::Change| {
                change.kind == wavemark_domain::ChangeKind::Barrier && change.table == table
            };
            batch.changes().iter().any(barrier)
        };
        let (now, later) = std::mem::take(&mut self.writer.barriers).into_iter().partition(|(table, _)| is_in(*table));
        self.writer.barriers = later;
        now
    }

    /// A position of this log.
    pub(super) fn position(&self, lsn: Lsn) -> Position {
        self.place.at(lsn).to_position()
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }
}

/// The time between two of the server's clock in microseconds; none if it was set back.
fn between(from: i64, to: i64) -> Duration {
    Duration::from_micros(to.saturating_sub(from).try_into().unwrap_or(0))
}

#[cold]
fn undecodable(error: DecodeError) -> Problem {
    Problem::internal(format!("A message of the log can't be read: {error}."))
}
