//! What the progress says of waves.

use tokio::time::Instant;
use wavemark_domain::progress::TableProgress;
use wavemark_domain::state::TableState;
use wavemark_domain::{ChangeKind, Position};

use super::Follower;
use super::capture::Captured;
use super::pieces::{Piece, by_batch};

impl Follower<'_> {
    pub(super) fn show_pending(&self, wave: &[Captured]) {
        if let Some(first) = wave.iter().find(|captured| !captured.read.batch.changes().is_empty()) {
            self.run.status.pending(first.read_at, first.age_ms());
        }
    }

    /// Counts what was committed.
    pub(super) fn count(&self, pieces: &[Piece<'_>], before: &Position, began: Instant) {
        let lag = self.run.status.caught_up();
        self.run.status.update(|progress| {
            let mut changes = 0;
            for (captured, range) in by_batch(pieces) {
                let batch = &captured.read.batch;
                let without = self.tables.leave_out(&captured.read, before);
                progress.bytes_written += (batch.arena_len() * range.len() / batch.changes().len().max(1)) as u64;
                let committed_at = batch.transactions().last().map(|mark| mark.committed_at);
                for (index, change) in range.clone().zip(&batch.changes()[range]) {
                    if !without.as_ref().is_some_and(|without| without[index]) {
                        changes += 1;
                        if let Some(table) = progress.tables.get_mut(change.table.index()) {
                            count_change(table, change.kind, committed_at);
                        }
                    }
                }
            }
            progress.changes_written += changes;
            if let Some(drained) = progress.drained.as_mut().filter(|_| changes > 0) {
                drained.written_since = true;
            }
            progress.transactions_written += pieces.iter().filter(|piece| piece.mark.is_some()).count() as u64;
            progress.wave_changes = changes;
            progress.wave_ms = u64::try_from(began.elapsed().as_millis()).ok();
            progress.lag_ms = lag.or(progress.lag_ms);
        });
    }

    /// Tables whose load the bookmark has passed are live once nothing more is at hand.
    pub(super) fn show_live(&mut self, wave: &[Captured]) {
        let more = wave.last().is_none_or(|captured| captured.read.more);
        if more || self.streaming {
            return;
        }
        let reached = self.idle_position.as_ref().unwrap_or(&self.bookmark.position).clone();
        for table in self.tables.become_live(&reached) {
            self.run.status.table_state(&self.plan[table.index()], TableState::Live);
        }
    }
}

fn count_change(table: &mut TableProgress, kind: ChangeKind, committed_at: Option<i64>) {
    match kind {
        ChangeKind::Insert => table.inserts += 1,
        ChangeKind::Update => table.updates += 1,
        ChangeKind::Delete => table.deletes += 1,
        ChangeKind::Truncate => table.truncates += 1,
        ChangeKind::Barrier => {}
    }
    table.applied_commit_at = committed_at.or(table.applied_commit_at);
}
