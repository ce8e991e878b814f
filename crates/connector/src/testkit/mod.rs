//! A simulated source and target: they keep the contracts of [`crate::source`] and [`crate::target`] in memory, on
//! virtual time, from a seed, and go wrong in every way that real systems do.
//!
//! Whoever drives them owns the runtime (single-threaded, paused clock) and writes source transactions with
//! [`model::SourceState::write_transaction`]. [`oracle`] says after each commit whether the target is what the
//! source was. A [`Sabotage`] breaks one rule of the contracts on purpose, so that a test can show that the oracle
//! notices. A [`Witness`] hears of everything that goes wrong, so that a test can show that it was tried.

mod backend;
pub mod contract;
mod log;
pub mod model;
mod open;
pub mod oracle;
mod reader;
mod rows;
mod session;
mod side;
pub mod source;
pub mod standby;
pub mod target;
mod view;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use wavemark_domain::Problem;

/// One rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The bookmark is committed before the rows of its wave.
    BookmarkBeforeRows,
    /// Nobody looks at the epoch, and predecessors are left alone.
    NoEpochCheck,
    /// The reader says that a transaction ends in its middle.
    WaveCutInsideTransaction,
    /// The source forgets what was read, not what was confirmed.
    ConfirmBeforeCommit,
    /// The log begins after the bookmark by the place where a commit begins, not where it ends.
    CommitPositionCompared,
    /// A chunk's mark is committed before its rows.
    ChunkMarkOutsideCommit,
    /// Opening under the same epoch doesn't wait for a commit that is under way.
    CommitUnderWayIgnored,
    /// A column that the log left out is written as a value.
    UnchangedCellWritten,
    /// A worker that was overtaken makes the slot anew under its successor.
    LateBeginAllowed,
    /// Chunks of one load are read from different snapshots.
    ChunksFromTwoSnapshots,
    /// A subtransaction's changes are kept although it was rolled back.
    AbortedSubtransactionKept,
    /// A parked table is followed again without a reload when the target is opened.
    ParkedTableLetBackIn,
    /// Opening leaves a predecessor's open transactions alone, and nothing but a look at the epoch when they began
    /// keeps them from being committed later.
    OpenTransactionLeftAlone,
    /// Rows that were written with another layout are read with the plan's.
    LayoutIgnored,
    /// What is committed is said to be durable although no standby has it.
    ConfirmBeforeDurable,
    /// The log is not kept for tables that are loaded aside.
    AsideNotKept,
    /// A table is marked loaded with its keys, before it has caught up with the bookmark.
    LoadedBeforeHandOver,
    /// What the source gives to be compared is read later than its position.
    ComparedLater,
}

/// What goes wrong. Some concern one table, the others the task as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// A call fails before it did anything.
    LostCall,
    /// A call did what it should and its answer is lost.
    LostAnswer,
    /// A client dies while its commit is under way; the commit may still land.
    CommitLeftUnderWay,
    /// A client dies with a transaction open, and its backend lives on and keeps its locks.
    TransactionLeftOpen,
    /// Another session at the target holds rows of a table.
    RowsHeld,
    /// The source sends a transaction again that the target has.
    Resend,
    /// A table's layout changes.
    LayoutChange,
    /// A table in the target is brought to its next layout, with the rows of its wave or between two.
    LayoutTakenUp,
    /// A table is truncated.
    Truncate,
    /// A table gets new storage without a change of its rows.
    Rewrite,
    /// A change of a table is rolled back with its subtransaction, after it was sent.
    AbortedSubtransaction,
    /// A transaction is given to the target in parts.
    TransactionInParts,
    /// A row is written that the target can't take.
    Poison,
    /// The target's standby does not have what the target committed.
    StandbyBehind,
}

/// Hears of mishaps: what, and to which table if it concerns one. It is called while a simulated system is locked, so
/// it must not look at one.
pub type Witness = Arc<dyn Fn(Mishap, Option<usize>) + Send + Sync>;

/// How often things go wrong, out of 1,000.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    /// A call fails before it did anything.
    pub lost_call: u32,
    /// A call did what it should and the answer is lost.
    pub lost_answer: u32,
    /// A source row that the target can't take.
    pub poison: u32,
}

/// The dice of one simulated system.
pub struct Chance {
    rng: StdRng,
    odds: Odds,
    /// Whether the next answer is lost for sure.
    pub lose_next_answer: bool,
    witness: Option<Witness>,
}

impl Chance {
    /// Dice from a seed.
    #[must_use]
    pub fn new(seed: u64, odds: Odds) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), odds, lose_next_answer: false, witness: None }
    }

    /// The same dice with somebody who hears of mishaps.
    #[must_use]
    pub fn witnessed(mut self, witness: Witness) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Other dice with the same odds.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self {
            rng: StdRng::seed_from_u64(self.rng.random()),
            odds: self.odds,
            lose_next_answer: false,
            witness: self.witness.clone(),
        }
    }

    /// Goes on from another seed.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = StdRng::seed_from_u64(seed);
    }

    /// Tells of a mishap.
    pub fn note(&self, mishap: Mishap, table: Option<usize>) {
        if let Some(witness) = &self.witness {
            witness(mishap, table);
        }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.rng.random_range(0..n)
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.rng.random_range(0..len)
    }

    /// True `n` times out of 1,000.
    pub fn hits(&mut self, n: u32) -> bool {
        self.rng.random_range(0..1_000) < n
    }

    /// Whether a row should be one that the target can't take.
    pub fn poisons(&mut self) -> bool {
        let odds = self.odds.poison;
        self.hits(odds)
    }

    /// A pause as a network or a disk makes it.
    pub fn pause(&mut self) -> Duration {
        Duration::from_micros(match self.below(20) {
            0 => self.below(400_000),
            1..=4 => self.below(20_000),
            _ => self.below(800),
        })
    }

    /// A pause as a commit makes it: now and then a disk or a standby takes seconds.
    pub fn commit_pause(&mut self) -> Duration {
        if self.hits(25) { Duration::from_micros(self.below(4_000_000)) } else { self.pause() }
    }

    /// Fails a call before it did anything, now and then.
    pub fn lose_call(&mut self, what: &str) -> Result<(), Problem> {
        let odds = self.odds.lost_call;
        if self.hits(odds) {
            self.note(Mishap::LostCall, None);
            return Err(Problem::transient("lost", format!("simulated: {what} was not reached")));
        }
        Ok(())
    }

    /// Fails a call after it did its work, now and then.
    pub fn lose_answer(&mut self, what: &str) -> Result<(), Problem> {
        let odds = self.odds.lost_answer;
        if self.hits(odds) || std::mem::take(&mut self.lose_next_answer) {
            self.note(Mishap::LostAnswer, None);
            return Err(Problem::transient("lost", format!("simulated: the answer of {what} was lost")));
        }
        Ok(())
    }
}
