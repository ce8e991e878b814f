//! What the progress says of waves.

use tokio::time::Instant;
use wavemark_domain::Position;
use wavemark_domain::state::TableState;

use super::capture::Captured;
use super::pieces::Piece;
use super::{Follower, micros};

impl Follower<'_> {
    pub(super) fn show_pending(&self, wave: &[Captured]) {
        if let Some(first) = wave.iter().find(|captured| !captured.read.batch.changes().is_empty()) {
            self.run.status.pending(first.read_at, first.age_ms());
        }
    }

    /// Shows what was committed with the last of these.
    pub(super) fn show_committed(&mut self, pieces: &[Piece<'_>], committed_at: i64, began: Instant) {
        let lag = self.run.status.caught_up();
        let tally = &mut self.tally;
        self.run.status.update(|progress| {
            tally.show(progress, committed_at);
            progress.transactions_written += pieces.iter().filter(|piece| piece.mark.is_some()).count() as u64;
            progress.wave_ms = u64::try_from(began.elapsed().as_millis()).ok();
            progress.lag_ms = lag.or(progress.lag_ms);
        });
    }

    /// Counts the time that something took to be applied.
    pub(super) fn show_applied(&self, began: Instant) {
        self.run.status.update(|progress| progress.apply_us += micros(began.elapsed()));
    }

    /// Up to where everything is in the target.
    pub(super) fn reached(&self) -> &Position {
        self.idle_position.as_ref().unwrap_or(&self.bookmark.position)
    }

    /// Tables whose load the bookmark has passed are live once nothing more is at hand.
    pub(super) fn show_live(&mut self, wave: &[Captured]) {
        let more = wave.last().is_none_or(|captured| captured.read.more);
        if more || self.streaming {
            return;
        }
        let reached = self.reached().clone();
        for table in self.tables.become_live(&reached) {
            self.run.status.table_state(&self.plan[table.index()], TableState::Live);
        }
    }
}
