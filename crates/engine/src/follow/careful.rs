//! One transaction row by row: the policy decides about the row that fails.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use wavemark_connector::target::{Checks, Refused, Segment, Verdict};
use wavemark_domain::progress::Severity;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_domain::{Fault, Problem, TableId, TableName, TablePlan};

use super::Follower;
use super::conflicts::Settled;
use super::pieces::Piece;
use crate::attempt::Stop;

/// How long the source's catalog is not looked at again, at least, and how many times as long as a look takes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_SELDOM: u32 = 20;

impl Follower<'_> {
    /// One transaction, row by row. What only its commit refuses is looked for once more, with every constraint
    /// checked at once.
    pub(super) async fn apply_alone(&mut self, piece: &Piece<'_>) -> Result<(), Stop> {
        let began = Instant::now();
        let mut applied = self.apply_carefully(piece, Checks::AsDeclared).await;
        self.show_applied(began);
        if applied.is_ok() {
            match self.commit_pieces(std::slice::from_ref(piece), began).await {
                Err(problem) if problem.fault == Fault::Data => {}
                done => return done.map_err(Stop::from),
            }
            self.take_back().await?;
            applied = self.apply_carefully(piece, Checks::AtOnce).await;
        }
        match applied {
            Ok(()) => self.commit_pieces(std::slice::from_ref(piece), began).await.map_err(Stop::from),
            Err(CarefulStop::Park(table, problem)) => {
                self.take_back().await?;
                self.park(table, problem);
                Box::pin(self.apply(std::slice::from_ref(piece))).await
            }
            Err(CarefulStop::Stop(problem)) => {
                self.take_back().await?;
                Err(problem.into())
            }
        }
    }

    /// Whether the source describes a table that failed on data otherwise than the plan does, as after a label was
    /// added to an enum: the next attempt's plan has it.
    pub(super) async fn differs_from_catalog(&mut self, problem: &Problem) -> Result<bool, Problem> {
        let began = Instant::now();
        if self.carried.look_again_at.is_some_and(|at| began < at) {
            return Ok(false);
        }
        let concerned = |plan: &&TablePlan| problem.table.as_ref().is_none_or(|table| table == plan.name());
        let concerned: Vec<&TablePlan> = self.plan.iter().filter(concerned).collect();
        let names: BTreeSet<&TableName> = concerned.iter().map(|plan| plan.name()).collect();
        let tables = self.run.source.tables(&|name| names.contains(name)).await?;
        // Where many rows fail, the looks take a small part of the time, however large the catalog is.
        self.carried.look_again_at = Some(Instant::now() + LOOK_AGAIN.max(began.elapsed() * LOOK_SELDOM));
        Ok(concerned.iter().any(|plan| {
            let now = tables.iter().find(|table| table.name == *plan.name());
            now.is_some_and(|now| self.run.source.as_kept(&plan.source, "", now).native != plan.source.native)
        }))
    }

    /// Every row of the piece by itself; the policy decides about one that fails.
    pub(super) async fn apply_carefully(&mut self, piece: &Piece<'_>, checks: Checks) -> Result<(), CarefulStop> {
        let policy = self.run.task.settings.data_errors;
        let batch = &piece.captured.read.batch;
        let without = self.without(piece.captured);
        let segment = Segment { batch, range: piece.range.clone(), without: without.as_deref() };
        let mut failed = None;
        let (mut left_out, mut rows) = (Vec::new(), Vec::new());
        let mut settled = Settled::new(self.run.task.settings.conflicts);
        let position = piece.mark.map(|mark| self.run.source.describe(&mark.end));
        let mut verdict = |refused: Refused<'_>| {
            let change = &batch.changes()[refused.index];
            if let Some(verdict) = settled.verdict(&refused, change) {
                return verdict;
            }
            if policy == DataErrorPolicy::LogError {
                let problem = refused.problem.clone().table(self.plan[change.table.index()].name());
                left_out.push((change.table, Problem { position: position.clone(), ..problem }));
                rows.push(refused.index);
                return Verdict::LeaveOut;
            }
            failed = Some((change.table, refused.problem.clone()));
            Verdict::Abort
        };
        let outcome = self.session.apply_carefully(&self.plan, &segment, checks, &mut verdict).await;
        self.left_out.append(&mut left_out);
        rows.extend(settled.without_effect());
        rows.sort_unstable();
        self.conflicts.append(&mut settled.rows);
        self.tally.add(&segment, &rows);
        match (outcome, failed) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some((table, problem))) if policy == DataErrorPolicy::ParkTable => {
                Err(CarefulStop::Park(table, problem))
            }
            (Err(problem), _) => Err(CarefulStop::Stop(problem)),
        }
    }

    /// Counts and tells the rows that a wave left out, which is committed now.
    pub(super) fn tell_left_out(&mut self) {
        for (table, problem) in self.left_out.drain(..) {
            self.run.status.update_table(table, |progress| progress.exceptions += 1);
            self.run.status.problem(Severity::Warning, &problem);
        }
    }
}

/// Why applying row by row ended.
pub(super) enum CarefulStop {
    /// A row of this table failed and the policy parks the table.
    Park(TableId, Problem),
    /// Anything else.
    Stop(Problem),
}
