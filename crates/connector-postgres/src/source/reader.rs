//! Reading the log: the socket on one side, batches on the other.
//!
//! While the reader is behind it lets the socket fill between reads, for a part of the time by which it is late: a server
//! whose socket is emptied after every message sends message by message, which costs it three times the work. When it is
//! up to date it reads at once.
//!
//! A server that is frozen, or whose answers get lost on their way, ends no connection. So silence has a limit, as
//! `wal_receiver_timeout` is one for PostgreSQL's own standbys: at half of it the server is asked for a sign of life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::Client;
use wavemark_connector::source::{ChangeReader, InHand, Read, Replan};
use wavemark_connector::{TaskContext, crash};
use wavemark_domain::layout::RenamedTablePolicy;
use wavemark_domain::{Position, Problem, TableId};

use super::altered::REWRITTEN;
use super::assembler::{Assembler, EPOCH_OFFSET};
use super::doubts::Doubt;
use super::events::Hearing;
use super::heart::{self, BEAT, Heart};
use super::known::Known;
use super::layout::changed;
use super::named;
use super::watch::Watch;
use super::writer::Unresolved;
use super::{described, made_of, oversized, relayout, session, unspoken};
use crate::error;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Frame, Lsn, ReplicationStream, WireError};

/// How long the socket may fill at most while the reader is behind.
const GULP: Duration = Duration::from_millis(20);
/// The part of its lateness by which a change may become later for it.
const PART: u32 = 8;
/// A read of at least so many bytes probably left more in the socket.
const LARGE: usize = 32 * 1024;
/// Progress without changes is told at most this often.
const PROGRESS: Duration = Duration::from_millis(100);

/// What tables' next layouts are found with.
pub(super) struct Layouts {
    pub(super) known: Known,
    /// None if a table ends where its layout changes.
    pub(super) replan: Option<Arc<dyn Replan>>,
    pub(super) hearing: Hearing,
}

impl Layouts {
    /// Whether what the source told of a table is what is known of it.
    fn is_known(&self, unresolved: &Unresolved) -> bool {
        let told = unresolved.told.as_ref().filter(|_| !unresolved.rewrite.is_one());
        told.is_some_and(|told| !self.known.has_other_columns(told.relation, &told.columns()))
    }
}

/// What was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// All that was at hand.
    All,
    /// As much as a batch holds.
    Full,
    /// Up to a relation of which it is to be found out what becomes of its table.
    Unresolved,
}

/// Reads the log of one slot.
pub(super) struct LogReader {
    settings: Settings,
    task: TaskContext,
    stream: ReplicationStream,
    assembler: Assembler,
    /// What was last confirmed; sent again in every report.
    confirmed: Lsn,
    /// The server asked for a report.
    owes_report: bool,
    /// Bytes taken in since the socket was read last.
    gulp: usize,
    bytes_read: u64,
    log_end: Lsn,
    clock: Option<i64>,
    progress_told: Instant,
    heart: Arc<Heart>,
    watch: Watch,
    /// Seen, and not told yet.
    tables_came: bool,
    layouts: Layouts,
    unspoken: unspoken::Look,
    /// Set to false where the server fails at a transaction in progress.
    streams: Option<Arc<AtomicBool>>,
    /// Why nothing more may be read.
    broken: Option<Problem>,
    /// Until when something must be heard of the server.
    patience: Instant,
    /// Whether it was asked for a sign of life since it was heard last.
    asked: bool,
}

impl LogReader {
    pub(super) fn new(
        settings: &Settings,
        task: &TaskContext,
        mut stream: ReplicationStream,
        assembler: Assembler,
        (confirmed, watch, layouts): (Lsn, Watch, Layouts),
    ) -> Self {
        stream.reader.set_most(oversized::most(&task.settings));
        Self {
            settings: settings.clone(),
            task: task.clone(),
            stream,
            assembler,
            confirmed,
            owes_report: false,
            gulp: 0,
            bytes_read: 0,
            log_end: Lsn(0),
            clock: None,
            progress_told: Instant::now(),
            heart: heart::of(settings),
            watch,
            tables_came: false,
            layouts,
            unspoken: unspoken::Look::following_names(task.settings.renamed_tables == RenamedTablePolicy::Apply),
            streams: None,
            broken: None,
            patience: Instant::now() + settings.silence_limit / 2,
            asked: false,
        }
    }

    /// The same for a log in which transactions in progress come, too. Versions 15 and older fail at some of those that
    /// alter a table in a subtransaction and roll it back; once they are committed all do well.
    pub(super) fn streaming(self, streams: Arc<AtomicBool>) -> Self {
        Self { streams: Some(streams), ..self }
    }

    /// Takes in what is at hand.
    fn drain(&mut self, most: usize) -> Result<Drained, Problem> {
        loop {
            if let Some(unresolved) = self.assembler.unresolved() {
                if !self.layouts.is_known(unresolved) {
                    return Ok(Drained::Unresolved);
                }
                self.assembler.pass();
            }
            if self.assembler.bytes() >= most {
                return Ok(Drained::Full);
            }
            if self.assembler.speak()? {
                continue;
            }
            if self.assembler.is_replaying() {
                self.assembler.replay(most)?;
                continue;
            }
            match self.stream.reader.next_frame().map_err(|error| lost(&error, self.streams.as_deref()))? {
                Some(Frame::XLogData { data, start, clock, .. }) => {
                    self.gulp += data.len();
                    self.bytes_read += data.len() as u64;
                    self.clock = Some(clock);
                    self.log_end = self.log_end.max(start);
                    self.assembler.message(data, clock)?;
                }
                Some(Frame::Beginning { start, clock, data, size }) => {
                    self.gulp += size;
                    self.bytes_read += size as u64;
                    self.clock = Some(clock);
                    self.log_end = self.log_end.max(start);
                    self.assembler.oversized(data, size)?;
                }
                Some(Frame::Keepalive { end, clock, reply_requested }) => {
                    self.clock = Some(clock);
                    self.log_end = self.log_end.max(end);
                    self.owes_report |= reply_requested;
                    self.assembler.keepalive(end, clock);
                }
                Some(Frame::End) => {
                    return Err(Problem::transient("log-ended", "The source ended the stream of its log."));
                }
                None => return Ok(Drained::All),
            }
        }
    }

    /// Lets the socket fill if the reader is behind and the server may have more to send than what is there.
    async fn pause(&mut self, lets_fill: bool) {
        let behind = self.assembler.behind();
        self.stream.reader.is_unhurried(behind.is_some());
        if let Some(late) = behind.filter(|_| lets_fill) {
            sleep((late / PART).min(GULP)).await;
        }
    }

    /// Takes what the socket has, after a pause if that lets the server work in gulps; false if it has nothing.
    async fn more(&mut self) -> Result<bool, Problem> {
        self.pause(self.gulp < LARGE).await;
        let filled = self.stream.reader.fill().now_or_never();
        if filled.is_some() {
            self.gulp = 0;
            self.hear();
        }
        filled.transpose().map(|filled| filled.is_some()).map_err(|error| lost(&error, None))
    }

    /// Waits for the socket; false if progress is due to be told first.
    async fn wait(&mut self) -> Result<bool, Problem> {
        self.pause(self.gulp > 0 && self.gulp < LARGE).await;
        self.gulp = 0;
        let told = self.assembler.has_progress().then(|| self.progress_told + PROGRESS);
        let until = told.map_or(self.patience, |told| told.min(self.patience));
        match timeout_at(until, self.stream.reader.fill()).await {
            Ok(filled) => {
                filled.map_err(|error| lost(&error, None))?;
                self.hear();
                Ok(true)
            }
            Err(_) if told == Some(until) => Ok(false),
            Err(_) => self.ask().await.map(|()| true),
        }
    }

    async fn read_on(&mut self, most_bytes: usize) -> Result<Read, Problem> {
        loop {
            if let Some(problem) = self.broken.take() {
                return Err(problem);
            }
            let drained = self.drain(most_bytes)?;
            if self.owes_report {
                self.report(false).await?;
                self.owes_report = false;
            }
            if drained == Drained::Unresolved && self.assembler.is_empty() {
                self.resolve().await?;
                continue;
            }
            if drained != Drained::All {
                return Ok(self.give(true));
            }
            if self.assembler.has_transactions() {
                if !self.more().await? {
                    return Ok(self.give(false));
                }
            } else if !self.wait().await? {
                return Ok(self.give(false));
            }
        }
    }

    fn hear(&mut self) {
        self.patience = Instant::now() + self.settings.silence_limit / 2;
        self.asked = false;
    }

    /// Asks a silent server for a sign of life; gives it up if it was asked before.
    async fn ask(&mut self) -> Result<(), Problem> {
        if self.asked {
            let limit = self.settings.silence_limit.as_secs();
            let text = format!("The source's log was silent for {limit} s, also when asked for an answer.");
            return Err(Problem::transient("source-silent", text)
                .advice("Look whether the server hangs (pg_stat_replication there) and what the network does."));
        }
        self.asked = true;
        // Nobody may have listened for long, so the time for the answer begins now.
        self.patience = Instant::now() + self.settings.silence_limit / 2;
        self.report(true).await
    }

    fn give(&mut self, more: bool) -> Read {
        // What a large row came through is not held beside it.
        self.stream.reader.release();
        let taken = self.assembler.take();
        if taken.batch.changes().is_empty() {
            self.progress_told = Instant::now();
        } else {
            crash::point("wave.read");
        }
        Read {
            batch: taken.batch,
            open_end: taken.open_end,
            open_committed_at: taken.open_committed_at,
            more,
            log_end: (self.log_end > Lsn(0)).then(|| self.assembler.position(self.log_end)),
            source_clock: self.clock.map(|clock| clock.saturating_add(EPOCH_OFFSET)),
            layouts: taken.layouts,
            barriers: taken.barriers,
            tables_came: std::mem::take(&mut self.tables_came),
        }
    }

    /// Reports what is confirmed; with `answer` the server sends a keepalive at once.
    pub(super) async fn report(&mut self, answer: bool) -> Result<(), Problem> {
        let at = self.confirmed;
        self.stream.sender.standby_status(at, at, at, answer).await.map_err(|error| lost(&error, None))
    }

    /// Finds out what becomes of a table whose layout changes, by the catalog. Cancel safe: it is asked again.
    async fn resolve(&mut self) -> Result<(), Problem> {
        let Some(Unresolved { table, relation, told, rewrite }) = self.assembler.unresolved().cloned() else {
            return Ok(());
        };
        let mut client = session::ordinary(&self.settings, &self.task, "layout").await?;
        let (Some((plan, before)), Some(replan)) = (self.layouts.known.plan(table), &self.layouts.replan) else {
            return Err(Problem::internal(format!(
                "The layout of table number {table} is looked for without its plan."
            )));
        };
        let relation = relation.body();
        let next = match described::present(&mut client, &relation).await? {
            None => Err(changed(plan.name(), "it was altered and then dropped, so that nothing says how")),
            Some(present) => {
                // Where the source tells all, other files alone mean nothing: a VACUUM FULL, say.
                let is_proved = told.is_some() && self.layouts.hearing.are_told() && !self.assembler.is_untold();
                let is_rewritten =
                    rewrite.is_one() || (!is_proved && self.layouts.known.is_rewritten(table, &present.storage));
                let (settings, replan) = (&self.task.settings, replan.as_ref());
                let context = relayout::Context {
                    plan,
                    before,
                    relation: &relation,
                    told: told.as_ref(),
                    present: &present,
                    is_rewritten,
                    settings,
                    replan,
                };
                let next = context.next().map(|next| (next, present.storage));
                next.and_then(
                    |next| if rewrite.is_of_known() { Err(changed(plan.name(), REWRITTEN)) } else { Ok(next) },
                )
            }
        };
        match &next {
            Ok((next, storage)) => self.layouts.known.take_up(table, next, storage),
            Err(_) => self.layouts.known.end(table),
        }
        self.assembler.resolve(next.map(|(next, _)| (next.expected, next.relayout)));
        Ok(())
    }

    fn end_tables(&mut self, ended: Vec<(TableId, String)>) {
        for (table, what) in ended {
            self.assembler.end_table(table, &what);
            self.layouts.known.end(table);
        }
    }

    /// Looks after the followed tables.
    async fn look(&mut self, client: &Client) -> Result<(), Problem> {
        let Some(seen) = self.watch.look(client).await? else {
            // Seen again, with what it means, when the log is opened.
            let text = "The publication of the task is gone.";
            self.broken = Some(Problem::transient("log-interrupted", text));
            return Ok(());
        };
        self.tables_came |= seen.tables_came;
        self.end_tables(seen.ended);
        self.assembler.expect_end(seen.read, &seen.dropped);
        let altered = made_of::altered(client, self.layouts.known.plans()).await?;
        self.end_tables(altered);
        let doubtful = self.layouts.known.look(client).await?;
        self.layouts.hearing.look(client, self.watch.publication(), self.confirmed).await;
        // The log tells of it itself, at its place; else the table ends where the catalog was read.
        let from = if self.layouts.hearing.are_told() { Some(unspoken::end(client).await?) } else { None };
        for (table, problem) in doubtful {
            if let Some(from) = from {
                self.assembler.doubt(Doubt { from, table, problem, unless_told: true });
            } else {
                self.layouts.known.end(table);
                self.assembler.end_doubtful(table, problem);
            }
        }
        let (publication, known) = (self.watch.publication(), &self.layouts.known);
        self.assembler.expect(self.unspoken.look(client, publication, known).await?);
        self.layouts.hearing.looked(client).await
    }
}

/// What an error of the log's connection means.
fn lost(error: &WireError, streams: Option<&AtomicBool>) -> Problem {
    if let Some(streams) = streams.filter(|_| error.code() == Some("XX000")) {
        streams.store(false, Ordering::Relaxed);
    }
    let problem = error::log(error, "read the source's log");
    match error.code() {
        // The slot was dropped or invalidated while it was read, or the publication was: seen again, with its
        // reason, when the log is opened.
        Some("55000" | "42704") => Problem::transient("log-interrupted", problem.text),
        _ => problem,
    }
}

#[async_trait]
impl ChangeReader for LogReader {
    async fn next(&mut self, most_bytes: usize) -> Result<Read, Problem> {
        self.read_on(most_bytes).await.map_err(|problem| named::explained(&self.task, problem))
    }

    async fn confirm(&mut self, position: &Position) -> Result<(), Problem> {
        let place = Place::from_position(position).filter(|place| place.system == self.assembler.place().system);
        let place = place.ok_or_else(|| Problem::internal("A position of another system was to be confirmed."))?;
        self.confirmed = self.confirmed.max(place.lsn);
        self.report(false).await?;
        crash::point("source.confirmed");
        Ok(())
    }

    async fn keep_alive(&mut self) -> Result<(), Problem> {
        self.report(false).await
    }

    async fn heartbeat(&mut self, within: Duration) -> Result<(), Problem> {
        let heart = Arc::clone(&self.heart);
        if timeout(BEAT, heart.beat(within)).await.is_err() || !self.watch.is_due() || !self.assembler.is_between() {
            // Only where no transaction is in hand a table can be ended.
            return Ok(());
        }
        let Ok(Ok(client)) = timeout(BEAT, heart.client()).await else { return Ok(()) };
        match timeout(BEAT, self.look(&client)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => {
                tracing::debug!(task.id = %self.task.task, %problem, "the tables were not looked after");
            }
            Err(_) => heart.give_up(&client).await,
        }
        Ok(())
    }

    fn in_hand(&self) -> InHand {
        InHand { bytes_read: self.bytes_read, ..self.assembler.in_hand() }
    }
}
