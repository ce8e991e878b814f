//! Applying a wave: whole transactions at once; split at their borders if one of them fails on data; row by row
//! inside the one that does.
//!
//! A transaction that is larger than a batch is applied while it is read. If it fails, all of it is taken back and
//! read again from the bookmark, row by row this time.

use std::ops::Range;

use tokio::time::Instant;
use wavemark_connector::target::{Segment, Verdict};
use wavemark_domain::progress::{Severity, TableProgress};
use wavemark_domain::state::TableState;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_domain::{ChangeKind, Fault, Position, Problem, TableId, TransactionMark};

use super::capture::Captured;
use super::{Follower, micros};
use crate::attempt::Stop;

/// One transaction, or the part of one that is in a batch.
struct Piece<'a> {
    captured: &'a Captured,
    range: Range<usize>,
    /// Its end; none while the transaction goes on in the next batch.
    mark: Option<&'a TransactionMark>,
}

impl<'a> Piece<'a> {
    fn has_changes(&self) -> bool {
        !self.range.is_empty()
    }

    /// Where its transaction ends, or a position that compares as that does; none if that isn't known yet.
    fn end(&self) -> Option<&'a Position> {
        self.mark.map_or(self.captured.read.open_end.as_ref(), |mark| Some(&mark.end))
    }

    fn barriers(&self) -> impl Iterator<Item = TableId> {
        let changes = &self.captured.read.batch.changes()[self.range.clone()];
        changes.iter().filter(|change| change.kind == ChangeKind::Barrier).map(|change| change.table)
    }

    fn barrier_problem(&self, table: TableId) -> Problem {
        let known = self.captured.read.barriers.iter().find(|(barred, _)| *barred == table);
        known.map_or_else(
            || Problem::new(Fault::Data, "schema-changed", "the table's layout changed at the source"),
            |(_, problem)| problem.clone(),
        )
    }
}

impl Follower<'_> {
    /// Applies and commits what was gathered; leaves the wave open if its last transaction goes on.
    pub(super) async fn take(&mut self, wave: Vec<Captured>) -> Result<(), Stop> {
        self.show_pending(&wave);
        let pieces = pieces_of(&wave);
        let mut rest = &pieces[..];
        if self.streaming {
            let goes_on = rest.iter().take_while(|piece| piece.mark.is_none()).count();
            let (tail, after) = rest.split_at((goes_on + 1).min(rest.len()));
            self.stream(tail).await?;
            rest = after;
        }
        let closed = rest.iter().take_while(|piece| piece.mark.is_some()).count();
        let (closed, open) = rest.split_at(closed);
        self.apply_closed(closed).await?;
        if let Some(first) = open.first() {
            self.carry_out_what_waits().await?;
            if self.is_held(first.end()) {
                self.cut().await?;
            }
            if self.is_beyond_rejoin(first) {
                return self.rejoin().await;
            }
            self.streaming = true;
            self.stream(open).await?;
        }
        self.show_live(&wave);
        self.make_due_keys().await
    }

    /// Whole transactions: up to a change of a table's layout, then the rest without that table.
    async fn apply_closed(&mut self, mut pieces: &[Piece<'_>]) -> Result<(), Stop> {
        while !pieces.is_empty() {
            let is_free = |piece: &&Piece<'_>| {
                self.barred(piece).is_none() && !self.is_beyond_rejoin(piece) && !self.is_held(piece.end())
            };
            let (before, from) = pieces.split_at(pieces.iter().take_while(is_free).count());
            self.apply(before).await?;
            if let Some(piece) = from.first() {
                if self.is_held(piece.end()) {
                    self.cut().await?;
                }
                if self.is_beyond_rejoin(piece) {
                    return self.rejoin().await;
                }
                while let Some(table) = self.barred(piece) {
                    if !self.rejoins(piece, table) {
                        self.park(table, piece.barrier_problem(table));
                    }
                }
            }
            pieces = from;
        }
        Ok(())
    }

    /// The first table whose layout changes in the piece and that isn't left out yet.
    fn barred(&self, piece: &Piece<'_>) -> Option<TableId> {
        if piece.captured.read.barriers.is_empty() {
            return None;
        }
        piece.barriers().find(|table| !self.tables.is_left_out(*table))
    }

    /// Whether the table has the piece's transaction, and the layout that came with it, from its load.
    fn rejoins(&mut self, piece: &Piece<'_>, table: TableId) -> bool {
        piece.end().is_some_and(|end| self.tables.rejoin_after(table, end))
    }

    fn is_beyond_rejoin(&self, piece: &Piece<'_>) -> bool {
        self.tables.rejoin_at().is_some_and(|at| piece.end().is_some_and(|end| end > at))
    }

    /// All up to there is applied: the bookmark goes exactly there, and the log is read anew with every table in it.
    async fn rejoin(&mut self) -> Result<(), Stop> {
        if let Some(position) = self.tables.rejoin_at().filter(|at| **at > self.bookmark.position).cloned() {
            self.commit_empty(Some(position)).await?;
        }
        Err(Stop::Again)
    }

    async fn apply(&mut self, pieces: &[Piece<'_>]) -> Result<(), Stop> {
        let Some(last) = pieces.last() else { return Ok(()) };
        // A wave that is divided can take long: what is not committed yet is left to the next run.
        if self.run.stop.is_cancelled() {
            return Err(Stop::Asked);
        }
        if !pieces.iter().any(Piece::has_changes) {
            self.idle_position = last.mark.map(|mark| mark.end.clone());
            self.run.status.update(|progress| progress.lag_ms = Some(0));
            if self.idle_at() <= Instant::now() {
                self.commit_idle().await?;
            }
            return Ok(());
        }
        match self.try_apply(pieces).await {
            Ok(()) => Ok(()),
            Err(problem) if problem.fault == Fault::Data => {
                let table = problem.table.as_ref().map(ToString::to_string);
                tracing::info!(row_count = pieces.len(), table.name = table, "a wave is divided: {problem}");
                self.session.roll_back().await?;
                self.apply_divided(pieces).await
            }
            Err(problem) => Err(problem.into()),
        }
    }

    /// After a failure on data: half by half, and alone the one that fails.
    async fn apply_divided(&mut self, pieces: &[Piece<'_>]) -> Result<(), Stop> {
        if let [piece] = pieces {
            return self.apply_alone(piece).await;
        }
        self.run.status.update(|progress| progress.retries += 1);
        let (first, second) = pieces.split_at(pieces.len() / 2);
        Box::pin(self.apply(first)).await?;
        Box::pin(self.apply(second)).await
    }

    /// Applies all pieces and commits at the end of the last.
    async fn try_apply(&mut self, pieces: &[Piece<'_>]) -> Result<(), Problem> {
        let began = Instant::now();
        for (captured, range) in by_batch(pieces) {
            let without = self.without(captured);
            let segment = Segment { batch: &captured.read.batch, range, without: without.as_deref() };
            self.session.apply(self.plan, &segment).await?;
        }
        self.commit_pieces(pieces, began).await
    }

    async fn commit_pieces(&mut self, pieces: &[Piece<'_>], began: Instant) -> Result<(), Problem> {
        let mark = pieces.last().and_then(|piece| piece.mark);
        let mark = mark.ok_or_else(|| Problem::internal("a wave must end with a transaction"))?;
        self.run.status.update(|progress| progress.apply_us += micros(began.elapsed()));
        let before = self.bookmark.position.clone();
        self.commit(mark.end.clone(), Some(mark.committed_at)).await?;
        self.count(pieces, &before, began);
        Ok(())
    }

    /// One transaction, row by row; the policy decides about the row that fails.
    async fn apply_alone(&mut self, piece: &Piece<'_>) -> Result<(), Stop> {
        let began = Instant::now();
        match self.apply_carefully(piece).await {
            Ok(()) => self.commit_pieces(std::slice::from_ref(piece), began).await.map_err(Stop::from),
            Err(CarefulStop::Park(table, problem)) => {
                self.session.roll_back().await?;
                self.park(table, problem);
                Box::pin(self.apply(std::slice::from_ref(piece))).await
            }
            Err(CarefulStop::Stop(problem)) => {
                self.session.roll_back().await?;
                Err(problem.into())
            }
        }
    }

    async fn apply_carefully(&mut self, piece: &Piece<'_>) -> Result<(), CarefulStop> {
        let policy = self.run.task.settings.data_errors;
        let batch = &piece.captured.read.batch;
        let without = self.without(piece.captured);
        let segment = Segment { batch, range: piece.range.clone(), without: without.as_deref() };
        let mut failed = None;
        let mut left_out = Vec::new();
        let mut verdict = |index: usize, problem: &Problem| {
            let table = batch.changes()[index].table;
            if policy == DataErrorPolicy::LogError {
                left_out.push((table, problem.clone()));
                return Verdict::LeaveOut;
            }
            failed = Some((table, problem.clone()));
            Verdict::Abort
        };
        let outcome = self.session.apply_carefully(self.plan, &segment, &mut verdict).await;
        let position = piece.mark.map(|mark| self.run.source.describe(&mark.end));
        for (table, problem) in left_out {
            self.note_exception(table, problem, position.clone());
        }
        match (outcome, failed) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some((table, problem))) if policy == DataErrorPolicy::ParkTable => {
                Err(CarefulStop::Park(table, problem))
            }
            (Err(problem), _) => Err(CarefulStop::Stop(problem)),
        }
    }

    fn note_exception(&self, table: TableId, problem: Problem, position: Option<String>) {
        let problem = Problem { position, ..problem.table(self.plan[table.index()].name()) };
        self.run.status.update_table(table, |progress| progress.exceptions += 1);
        self.run.status.problem(Severity::Warning, &problem);
    }

    /// Parts of a transaction that is applied while it is read; commits with its last.
    async fn stream(&mut self, pieces: &[Piece<'_>]) -> Result<(), Stop> {
        let careful = self.carried.careful_after.as_ref() == Some(&self.bookmark.position);
        let began = Instant::now();
        for piece in pieces {
            while let Some(table) = self.barred(piece) {
                if !self.rejoins(piece, table) {
                    let problem = piece.barrier_problem(table);
                    return self.start_again(Some((table, problem))).await;
                }
            }
            let outcome = if careful { self.apply_carefully(piece).await } else { self.try_stream(piece).await };
            match outcome {
                Ok(()) => {}
                Err(CarefulStop::Park(table, problem)) => return self.start_again(Some((table, problem))).await,
                Err(CarefulStop::Stop(problem)) if problem.fault == Fault::Data && !careful => {
                    return self.start_again(None).await;
                }
                Err(CarefulStop::Stop(problem)) => return Err(problem.into()),
            }
        }
        if pieces.last().is_some_and(|piece| piece.mark.is_some()) {
            self.streaming = false;
            match self.commit_pieces(pieces, began).await {
                Err(problem) if problem.fault == Fault::Data && !careful => return self.start_again(None).await,
                other => other?,
            }
            self.carried.careful_after = None;
        }
        Ok(())
    }

    async fn try_stream(&mut self, piece: &Piece<'_>) -> Result<(), CarefulStop> {
        let without = self.without(piece.captured);
        let segment =
            Segment { batch: &piece.captured.read.batch, range: piece.range.clone(), without: without.as_deref() };
        self.session.apply(self.plan, &segment).await.map_err(CarefulStop::Stop)
    }

    /// Takes the open wave back and reads it again from the bookmark: with a table parked, or row by row.
    async fn start_again(&mut self, park: Option<(TableId, Problem)>) -> Result<(), Stop> {
        self.session.roll_back().await?;
        self.run.status.update(|progress| progress.retries += 1);
        match park {
            Some((table, problem)) => {
                self.carried.parks.insert(self.plan[table.index()].name().clone(), problem);
            }
            None => self.carried.careful_after = Some(self.bookmark.position.clone()),
        }
        // Tables parked with this wave and not committed yet are kept for the next attempt.
        for (table, _, problem) in self.parks.drain(..) {
            self.carried.parks.insert(self.plan[table.index()].name().clone(), problem);
        }
        Err(Stop::Again)
    }

    fn without(&self, captured: &Captured) -> Option<Vec<bool>> {
        self.tables.leave_out(&captured.read, &self.bookmark.position)
    }

    fn show_pending(&self, wave: &[Captured]) {
        if let Some(first) = wave.iter().find(|captured| !captured.read.batch.changes().is_empty()) {
            self.run.status.pending(first.read_at, first.age_ms());
        }
    }

    /// Counts what was committed.
    fn count(&self, pieces: &[Piece<'_>], before: &Position, began: Instant) {
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
    fn show_live(&mut self, wave: &[Captured]) {
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

/// Why applying row by row ended.
enum CarefulStop {
    /// A row of this table failed and the policy parks the table.
    Park(TableId, Problem),
    /// Anything else.
    Stop(Problem),
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

/// Runs of pieces that lie side by side in one batch.
fn by_batch<'p, 'a>(pieces: &'p [Piece<'a>]) -> impl Iterator<Item = (&'a Captured, Range<usize>)> + use<'p, 'a> {
    pieces.chunk_by(|a, b| std::ptr::eq(a.captured, b.captured)).map(|run| {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        (first.captured, first.range.start..last.range.end)
    })
}

/// The transactions of what was gathered, in order.
fn pieces_of(wave: &[Captured]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
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
