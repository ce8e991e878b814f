//! The read side: hands batches over through a queue bounded in bytes, and tells the source what it may forget.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use wavemark_connector::crash;
use wavemark_connector::source::{ChangeReader, Read};
use wavemark_domain::{Position, Problem};

use super::micros;
use crate::run::Run;

/// What was read, with the memory that it holds until it is dropped.
pub(super) struct Captured {
    pub(super) read: Read,
    pub(super) read_at: Instant,
    memory: OwnedSemaphorePermit,
}

impl Captured {
    /// Puts what was read next behind this, so that a wave is netted as a whole; gives it back if it must stay apart.
    pub(super) fn join(&mut self, next: Self) -> Option<Self> {
        let begins_anew = !next.read.layouts.is_empty() || !self.read.barriers.is_empty();
        // A large batch is not copied behind another: both would be held meanwhile.
        let is_large = self.read.batch.bytes().max(next.read.batch.bytes()) > LARGE;
        if begins_anew || is_large || next.read.batch.is_open() || !self.read.batch.can_append(&next.read.batch) {
            return Some(next);
        }
        self.read.batch.append(&next.read.batch);
        self.read.more = next.read.more;
        self.read.tables_came |= next.read.tables_came;
        self.read.barriers.extend(next.read.barriers);
        self.memory.merge(next.memory);
        None
    }

    /// How long ago the source committed its first transaction, by the source's own clock when it was read.
    pub(super) fn age_ms(&self) -> u64 {
        let committed = self.read.batch.transactions().first().map(|mark| mark.committed_at);
        match (self.read.source_clock, committed) {
            (Some(sent), Some(committed)) => u64::try_from((sent - committed) / 1_000).unwrap_or(0),
            _ => 0,
        }
    }
}

const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
/// A batch of more bytes has a large row.
const LARGE: usize = 16 << 20;
/// Memory is counted in pieces of this many bytes.
const PIECE: usize = 1_024;

/// Reads until an error, which is handed over like a batch, or until nobody listens.
pub(super) async fn capture(
    run: Run,
    reader: Box<dyn ChangeReader>,
    batches: mpsc::UnboundedSender<Result<Captured, Problem>>,
    confirmed: watch::Receiver<Option<Position>>,
    nudge: Arc<Notify>,
) {
    let budget = (run.task.settings.memory_mib as usize) << 20;
    let pieces = budget / PIECE;
    let mut capture = Capture {
        most_bytes: (budget / 8).clamp(64 << 10, 8 << 20),
        memory: Arc::new(Semaphore::new(pieces)),
        pieces,
        alive: ticker(KEEP_ALIVE_EVERY),
        beat: ticker(Duration::from_secs(u64::from(run.task.settings.idle_seconds))),
        run,
        reader,
        confirmed,
        nudge,
    };
    // With an idle source this tells at once that nothing more is at hand, so that tables are soon shown as live.
    if let Err(problem) = capture.reader.heartbeat(Duration::ZERO).await {
        let _ = batches.send(Err(problem));
        return;
    }
    while let Some(outcome) = capture.step(&batches).await {
        let failed = outcome.is_err();
        if batches.send(outcome).is_err() || failed {
            return;
        }
    }
}

struct Capture {
    run: Run,
    reader: Box<dyn ChangeReader>,
    confirmed: watch::Receiver<Option<Position>>,
    nudge: Arc<Notify>,
    most_bytes: usize,
    memory: Arc<Semaphore>,
    pieces: usize,
    /// These go on from one read or wait to the next: many short ones don't put them off. So a source whose log is not
    /// read while a large transaction is applied hears of the reader in time, and heartbeats are not put off by those of
    /// others or by changes.
    alive: Interval,
    beat: Interval,
}

impl Capture {
    /// The next batch with its memory; `None` when nobody listens any more.
    async fn step(
        &mut self,
        batches: &mpsc::UnboundedSender<Result<Captured, Problem>>,
    ) -> Option<Result<Captured, Problem>> {
        let outcome = tokio::select! {
            biased;
            () = batches.closed() => return None,
            outcome = self.read() => outcome,
        };
        let read = match outcome {
            Ok(read) => read,
            Err(problem) => return Some(Err(problem)),
        };
        self.show(&read);
        let read_at = Instant::now();
        tokio::select! {
            biased;
            () = batches.closed() => None,
            memory = self.wait_for_memory(read.batch.bytes()) => {
                Some(memory.map(|memory| Captured { read, read_at, memory }))
            }
        }
    }

    /// Reads, and meanwhile confirms, keeps the connection alive and the log moving.
    async fn read(&mut self) -> Result<Read, Problem> {
        let began = Instant::now();
        let idle = self.beat.period();
        loop {
            tokio::select! {
                biased;
                changed = self.confirmed.changed() => confirm(self.reader.as_mut(), &mut self.confirmed, changed.is_ok()).await?,
                _ = self.alive.tick() => self.reader.keep_alive().await?,
                _ = self.beat.tick() => self.reader.heartbeat(idle / 2).await?,
                () = self.nudge.notified() => self.reader.heartbeat(Duration::ZERO).await?,
                read = self.reader.next(self.most_bytes) => {
                    self.run.status.update(|progress| progress.read_wait_us += micros(began.elapsed()));
                    return read;
                }
            }
        }
    }

    /// Waits until the batch fits the budget; one larger than all of it waits until it is alone.
    async fn wait_for_memory(&mut self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE).min(self.pieces)).unwrap_or(u32::MAX);
        let began = Instant::now();
        let acquire = Arc::clone(&self.memory).acquire_many_owned(pieces);
        tokio::pin!(acquire);
        loop {
            tokio::select! {
                biased;
                permit = &mut acquire => {
                    self.run.status.update(|progress| progress.blocked_us += micros(began.elapsed()));
                    return permit.map_err(|_| Problem::internal("the memory budget was closed"));
                }
                changed = self.confirmed.changed() => confirm(self.reader.as_mut(), &mut self.confirmed, changed.is_ok()).await?,
                _ = self.alive.tick() => self.reader.keep_alive().await?,
            }
        }
    }

    fn show(&self, read: &Read) {
        let in_hand = self.reader.in_hand();
        let queued = (self.pieces - self.memory.available_permits()) * PIECE;
        let position = read.batch.transactions().last().map(|mark| self.run.source.describe(&mark.end));
        let end = read.log_end.as_ref().map(|end| self.run.source.describe(end));
        self.run.status.update(|progress| {
            progress.changes_read += read.batch.changes().len() as u64;
            progress.bytes_read = in_hand.bytes_read;
            progress.in_hand_transactions = in_hand.transactions;
            progress.in_hand_bytes = in_hand.bytes + queued as u64;
            progress.spilled_bytes = in_hand.spilled_bytes;
            if position.is_some() {
                progress.read_position = position;
            }
            if end.is_some() {
                progress.source_position = end;
            }
        });
    }
}

async fn confirm(
    reader: &mut dyn ChangeReader,
    confirmed: &mut watch::Receiver<Option<Position>>,
    open: bool,
) -> Result<(), Problem> {
    if !open {
        // The writer is gone; the select on the batches' sender ends the reader.
        return std::future::pending().await;
    }
    let position = confirmed.borrow_and_update().clone();
    if let Some(position) = position {
        reader.confirm(&position).await?;
        crash::point("source.confirmed");
    }
    Ok(())
}

fn ticker(every: Duration) -> Interval {
    let mut ticker = interval(every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker.reset();
    ticker
}
