//! Applying a wave: whole transactions at once; split at their borders if one of them fails on data, down to the one
//! that does ([`super::careful`]). What is larger than a batch is applied while it is read ([`super::stream`]).

use tokio::time::Instant;
use wavemark_connector::target::Segment;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_domain::{Fault, Problem, TableId};

use super::Follower;
use super::capture::Captured;
use super::pieces::{Piece, by_batch, pieces_of};
use crate::attempt::Stop;

impl Follower<'_> {
    /// Applies and commits what was gathered; leaves the wave open if its last transaction goes on.
    pub(super) async fn take(&mut self, wave: Vec<Captured>) -> Result<(), Stop> {
        self.show_pending(&wave);
        for of_one_layout in wave.chunk_by(|_, next| next.read.layouts.is_empty()) {
            self.take_run(of_one_layout).await?;
        }
        self.rejoin_where_read().await?;
        self.show_live(&wave);
        self.make_due_keys().await
    }

    /// A run of what was gathered in which no layout changes.
    async fn take_run(&mut self, run: &[Captured]) -> Result<(), Stop> {
        let pieces = pieces_of(run);
        self.take_up_layouts(&run[0], pieces.first()).await?;
        let mut rest = &pieces[..];
        if self.streaming {
            let goes_on = rest.iter().take_while(|piece| piece.mark.is_none()).count();
            let (tail, after) = rest.split_at((goes_on + 1).min(rest.len()));
            if tail.iter().any(|piece| self.is_beyond_stop(piece)) {
                return Err(Stop::Over);
            }
            self.stream(tail).await?;
            rest = after;
        }
        let closed = rest.iter().take_while(|piece| piece.mark.is_some()).count();
        let (closed, open) = rest.split_at(closed);
        self.apply_closed(closed).await?;
        if let Some(first) = open.first() {
            self.carry_out_what_waits().await?;
            self.come_to(first).await?;
            self.leave_dropped(first);
            self.streaming = true;
            self.stream(open).await?;
        }
        Ok(())
    }

    /// Whole transactions: up to a change of a table's layout, then the rest without that table.
    async fn apply_closed(&mut self, mut pieces: &[Piece<'_>]) -> Result<(), Stop> {
        while !pieces.is_empty() {
            let is_free = |piece: &&Piece<'_>| {
                let is_here = self.barred(piece).is_none() && !self.is_beyond_rejoin(piece);
                is_here && !self.is_held(piece.end()) && !self.is_beyond_stop(piece)
            };
            let (before, from) = pieces.split_at(pieces.iter().take_while(is_free).count());
            self.apply(before).await?;
            if let Some(piece) = from.first() {
                self.come_to(piece).await?;
                while let Some(table) = self.barred(piece) {
                    if !self.rejoins(piece, table) {
                        let problem = self.ends(piece, table)?;
                        if !self.leaves(table, &problem) {
                            self.park(table, problem);
                        }
                    }
                }
            }
            pieces = from;
        }
        Ok(())
    }

    /// Everything before the piece is applied: what has to be done there is done before it, or instead of it.
    pub(super) async fn come_to(&mut self, piece: &Piece<'_>) -> Result<(), Stop> {
        if self.is_held(piece.end()) {
            self.cut().await?;
        }
        if self.is_beyond_rejoin(piece) {
            return self.rejoin().await;
        }
        if self.is_beyond_stop(piece) {
            return Err(Stop::Over);
        }
        Ok(())
    }

    /// The first table whose layout changes in the piece and that isn't left out yet.
    pub(super) fn barred(&self, piece: &Piece<'_>) -> Option<TableId> {
        if piece.captured.read.barriers.is_empty() {
            return None;
        }
        piece.barriers().find(|table| !self.tables.is_left_out(*table))
    }

    /// Why a table ends in the piece; an error where the task is to end for that.
    pub(super) fn ends(&self, piece: &Piece<'_>, table: TableId) -> Result<Problem, Stop> {
        let problem = piece.barrier_problem(table);
        let stops = self.run.task.settings.data_errors == DataErrorPolicy::StopTask;
        if stops && problem.code == "row-too-large" { Err(problem.into()) } else { Ok(problem) }
    }

    /// Whether the table has the piece's transaction, and the layout that came with it, from its load.
    pub(super) fn rejoins(&mut self, piece: &Piece<'_>, table: TableId) -> bool {
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

    /// The same once the log is read up to there, also where nobody writes anything beyond.
    async fn rejoin_where_read(&mut self) -> Result<(), Stop> {
        let is_there = self.tables.rejoin_at().is_some_and(|at| at <= self.reached());
        if is_there && !self.streaming && !self.held { self.rejoin().await } else { Ok(()) }
    }

    pub(super) async fn apply(&mut self, pieces: &[Piece<'_>]) -> Result<(), Stop> {
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
                if self.differs_from_catalog(&problem).await? {
                    return self.start_again().await;
                }
                tracing::info!(row_count = pieces.len(), table.name = table, "a wave is divided: {problem}");
                self.take_back().await?;
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
            self.session.apply(&self.plan, &segment).await?;
            self.tally.add(&segment, &[]);
        }
        self.show_applied(began);
        self.commit_pieces(pieces, began).await
    }

    pub(super) async fn commit_pieces(&mut self, pieces: &[Piece<'_>], began: Instant) -> Result<(), Problem> {
        let mark = pieces.last().and_then(|piece| piece.mark);
        let mark = mark.ok_or_else(|| Problem::internal("a wave must end with a transaction"))?;
        self.commit(mark.end.clone(), Some(mark.committed_at)).await?;
        self.show_committed(pieces, mark.committed_at, began);
        Ok(())
    }

    pub(super) fn without(&self, captured: &Captured) -> Option<Vec<bool>> {
        self.tables.leave_out(&captured.read, &self.bookmark.position)
    }
}
