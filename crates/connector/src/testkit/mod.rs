//! A simulated source and target: they keep the contracts of [`crate::source`] and [`crate::target`] in memory, on
//! virtual time, from a seed, and go wrong in every way that real systems do.
//!
//! Whoever drives them owns the runtime (single-threaded, paused clock) and writes source transactions with
//! [`model::SourceState::write_transaction`]. [`oracle`] says after each commit whether the target is what the
//! source was. A [`Sabotage`] breaks one rule of the contracts on purpose, so that a test can show that the oracle
//! notices.

pub mod model;
pub mod oracle;
pub mod reader;
pub mod source;
pub mod target;

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
    /// Opening doesn't wait for a predecessor's commit that is under way.
    CommitUnderWayIgnored,
    /// A column that the log left out is written as a value.
    UnchangedCellWritten,
    /// A worker that was overtaken makes the slot anew under its successor.
    LateBeginAllowed,
    /// Chunks of one load are read from different snapshots.
    ChunksFromTwoSnapshots,
}

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
    /// What broke, to show that it was tried.
    pub lost_calls: u64,
    /// Answers lost after the work was done.
    pub lost_answers: u64,
}

impl Chance {
    /// Dice from a seed.
    #[must_use]
    pub fn new(seed: u64, odds: Odds) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), odds, lost_calls: 0, lost_answers: 0 }
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

    /// Fails a call before it did anything, now and then.
    pub fn lose_call(&mut self, what: &str) -> Result<(), Problem> {
        let odds = self.odds.lost_call;
        if self.hits(odds) {
            self.lost_calls += 1;
            return Err(Problem::transient("lost", format!("simulated: {what} was not reached")));
        }
        Ok(())
    }

    /// Fails a call after it did its work, now and then.
    pub fn lose_answer(&mut self, what: &str) -> Result<(), Problem> {
        let odds = self.odds.lost_answer;
        if self.hits(odds) {
            self.lost_answers += 1;
            return Err(Problem::transient("lost", format!("simulated: the answer of {what} was lost")));
        }
        Ok(())
    }
}
