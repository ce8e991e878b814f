//! One transaction row by row: the policy decides about the row that fails.

use tokio::time::Instant;
use wavemark_connector::target::{Segment, Verdict};
use wavemark_domain::progress::Severity;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_domain::{Problem, TableId};

use super::Follower;
use super::pieces::Piece;
use crate::attempt::Stop;

impl Follower<'_> {
    /// One transaction, row by row; the policy decides about the row that fails.
    pub(super) async fn apply_alone(&mut self, piece: &Piece<'_>) -> Result<(), Stop> {
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

    pub(super) async fn apply_carefully(&mut self, piece: &Piece<'_>) -> Result<(), CarefulStop> {
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
}

/// Why applying row by row ended.
pub(super) enum CarefulStop {
    /// A row of this table failed and the policy parks the table.
    Park(TableId, Problem),
    /// Anything else.
    Stop(Problem),
}
