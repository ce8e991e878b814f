//! What the engine reads the log from.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};
use wavemark_connector::source::{ChangeReader, InHand, Read, Replan};
use wavemark_connector::{TaskContext, crash};
use wavemark_domain::{Position, Problem, TablePlan};

use super::assembler::Assembler;
use super::branch::{Piece, Rereading};
use super::layout::{Rules, Server};
use super::start::Start;
use super::stream::{LogStream, SILENCE, passing_number, silent};
use crate::position::Place;
use crate::settings::Settings;
use crate::source::Looker;

/// Progress without changes is told at most this often.
const PROGRESS: Duration = Duration::from_millis(500);

/// Reads the log from one place on.
pub(crate) struct BinlogReader {
    looker: Arc<Looker>,
    stream: LogStream,
    assembler: Assembler,
    /// A transaction that was prepared before, of which the log says now that it is committed.
    rereading: Option<Rereading>,
    bytes_read: u64,
    told: Instant,
    /// When the server was heard last.
    heard: Instant,
}

/// What the log is read for. The server has one reader of each number.
pub(crate) enum Purpose {
    /// To follow it, also where a table's layout changes.
    Follow(Arc<dyn Replan>),
    /// To see what it touched, beside the follower.
    LookBack,
}

/// Opens the log after a place that the server was seen to have.
pub(crate) async fn open(
    looker: &Arc<Looker>,
    task: &TaskContext,
    plan: &[TablePlan],
    (from, server): (Start, Server),
    purpose: Purpose,
) -> Result<BinlogReader, Problem> {
    let (replan, is_second) = match purpose {
        Purpose::Follow(replan) => (Some(replan), false),
        Purpose::LookBack => (None, true),
    };
    let rules = Rules { replan, settings: task.settings.clone(), server };
    let mut assembler = Assembler::new(plan, from.clone(), rules);
    learn(&mut assembler, looker).await?;
    let stream = LogStream::open(&looker.settings, &from, number(task, is_second)).await?;
    Ok(BinlogReader {
        looker: Arc::clone(looker),
        rereading: None,
        stream,
        assembler,
        bytes_read: 0,
        told: Instant::now(),
        heard: Instant::now(),
    })
}

/// Asks the server what it makes of texts whose sets are not known yet.
async fn learn(assembler: &mut Assembler, looker: &Looker) -> Result<(), Problem> {
    if !assembler.lacking().is_empty() {
        let told = looker.charsets(assembler.lacking().clone()).await?;
        assembler.learn(told);
    }
    Ok(())
}

/// Numbers of the task's own, among those that people don't give to servers: a reader that was overtaken is sent away when
/// its successor comes.
fn number(task: &TaskContext, is_second: bool) -> u32 {
    let (high, low) = task.task.0.as_u64_pair();
    let [a, b] = [(high ^ low) >> 32, high ^ low].map(|half| u32::try_from(half & 0xFFFF_FFFF).unwrap_or_default());
    ((a ^ b) & !1) | u32::from(is_second) | 1 << 31
}

/// Whether the log can be had from there: asks for it, and waits for its first word.
pub(crate) async fn try_out(settings: &Settings, from: &Place) -> Result<(), Problem> {
    let mut stream = LogStream::open(settings, &Start::at(from.clone()), passing_number()).await?;
    stream.next().await.map(drop)
}

impl BinlogReader {
    fn give(&mut self, more: bool) -> Read {
        self.told = Instant::now();
        let taken = self.assembler.take();
        if !taken.batch.changes().is_empty() {
            crash::point("wave.read");
        }
        Read {
            batch: taken.batch,
            open_end: taken.open_end,
            open_committed_at: taken.open_committed_at,
            more,
            log_end: Some(self.assembler.position()),
            source_clock: Some(self.stream.clock()),
            layouts: taken.layouts,
            barriers: taken.barriers,
            tables_came: taken.tables_came,
        }
    }

    /// Takes the next piece of a transaction that is read once more. Cancel safe.
    async fn read_again(&mut self) -> Result<(), Problem> {
        let Some(wanted) = self.assembler.wanted() else { return Ok(()) };
        let rereading = self.rereading.get_or_insert_with(|| Rereading::start(&self.looker.settings, wanted));
        match rereading.next().await.transpose()? {
            Some(Piece::Event(event)) => self.assembler.read_again(&event)?,
            over => {
                self.assembler.has_read_again(over.is_none());
                self.rereading = None;
                self.heard = Instant::now();
            }
        }
        Ok(())
    }

    fn take(&mut self, event: BytesMut) -> Result<(), Problem> {
        self.heard = Instant::now();
        self.bytes_read += event.len() as u64;
        self.assembler.event(&event.freeze())
    }
}

#[async_trait]
impl ChangeReader for BinlogReader {
    async fn next(&mut self, most_bytes: usize) -> Result<Read, Problem> {
        loop {
            learn(&mut self.assembler, &self.looker).await?;
            if self.assembler.is_full() || self.assembler.bytes() >= most_bytes {
                return Ok(self.give(true));
            }
            if self.assembler.packed_event()? {
                // A large transaction of other tables' rows would have the thread to itself until it is unpacked.
                consume_budget().await;
                continue;
            }
            if self.assembler.wanted().is_some() {
                self.read_again().await?;
                continue;
            }
            let at_hand = self.stream.next().now_or_never();
            if let Some(event) = at_hand {
                self.take(event?)?;
                continue;
            }
            if self.assembler.has_transactions() {
                return Ok(self.give(false));
            }
            let tell = self.assembler.has_progress().then(|| self.told + PROGRESS);
            match timeout_at(tell.unwrap_or(self.heard + SILENCE), self.stream.next()).await {
                Ok(event) => self.take(event?)?,
                Err(_) if tell.is_some() => return Ok(self.give(false)),
                Err(_) => return Err(silent()),
            }
        }
    }

    /// The server keeps its log for as long as its own settings say, whatever is confirmed.
    async fn confirm(&mut self, _: &Position) -> Result<(), Problem> {
        Ok(())
    }

    /// The session lets the server wait for an hour.
    async fn keep_alive(&mut self) -> Result<(), Problem> {
        Ok(())
    }

    async fn heartbeat(&mut self, _: Duration) -> Result<(), Problem> {
        Ok(())
    }

    fn in_hand(&self) -> InHand {
        InHand {
            transactions: u64::from(self.assembler.is_open()),
            bytes: self.assembler.packed_bytes() as u64,
            spilled_bytes: 0,
            bytes_read: self.bytes_read,
        }
    }
}
