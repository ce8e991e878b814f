//! What was gathered, as transactions.

use std::ops::Range;

use wavemark_domain::{ChangeKind, Fault, Position, Problem, TableId, TransactionMark};

use super::capture::Captured;

/// One transaction, or the part of one that is in a batch.
pub(super) struct Piece<'a> {
    pub(super) captured: &'a Captured,
    pub(super) range: Range<usize>,
    /// Its end; none while the transaction goes on in the next batch.
    pub(super) mark: Option<&'a TransactionMark>,
}

impl<'a> Piece<'a> {
    pub(super) fn has_changes(&self) -> bool {
        !self.range.is_empty()
    }

    /// Where its transaction ends, or a position that compares as that does; none if that isn't known yet.
    pub(super) fn end(&self) -> Option<&'a Position> {
        self.mark.map_or(self.captured.read.open_end.as_ref(), |mark| Some(&mark.end))
    }

    /// When the source committed its transaction, if that is known yet.
    pub(super) fn committed_at(&self) -> Option<i64> {
        self.mark.map_or(self.captured.read.open_committed_at, |mark| Some(mark.committed_at))
    }

    pub(super) fn barriers(&self) -> impl Iterator<Item = TableId> {
        let changes = &self.captured.read.batch.changes()[self.range.clone()];
        changes.iter().filter(|change| change.kind == ChangeKind::Barrier).map(|change| change.table)
    }

    pub(super) fn barrier_problem(&self, table: TableId) -> Problem {
        let known = self.captured.read.barriers.iter().find(|(barred, _)| *barred == table);
        known.map_or_else(
            || Problem::new(Fault::Data, "schema-changed", "the table's layout changed at the source"),
            |(_, problem)| problem.clone(),
        )
    }
}

/// Runs of pieces that lie side by side in one batch.
pub(super) fn by_batch<'p, 'a>(
    pieces: &'p [Piece<'a>],
) -> impl Iterator<Item = (&'a Captured, Range<usize>)> + use<'p, 'a> {
    pieces.chunk_by(|a, b| std::ptr::eq(a.captured, b.captured)).map(|run| {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        (first.captured, first.range.start..last.range.end)
    })
}

/// The transactions of what was gathered, in order.
pub(super) fn pieces_of(wave: &[Captured]) -> Vec<Piece<'_>> {
    // One more for each batch that ends within a transaction.
    let most = wave.iter().map(|captured| captured.read.batch.transactions().len() + 1).sum();
    let mut pieces = Vec::with_capacity(most);
    for captured in wave {
        let batch = &captured.read.batch;
        let mut start = 0;
        for mark in batch.transactions() {
            pieces.push(Piece { captured, range: start..mark.changes_end, mark: Some(mark) });
            start = mark.changes_end;
        }
        if start < batch.changes().len() {
            pieces.push(Piece { captured, range: start..batch.changes().len(), mark: None });
        }
    }
    pieces
}
