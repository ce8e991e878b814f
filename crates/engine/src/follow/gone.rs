//! Tables that were dropped at the source: ended in the target as the task's settings say.
//!
//! All changes of such a table are committed before its barrier is come to, and no later one comes. So it can be ended at
//! any moment after that, in one commit with its mark; a worker that goes on from the bookmark before that finds the table
//! gone once more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wavemark_connector::target::{Kept, Stage};
use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, Problem, TableId};

use super::Follower;
use super::pieces::Piece;
use crate::attempt::Stop;
use crate::plan::NOT_CHOSEN;

/// After how long it is tried again where somebody else uses the table.
const AGAIN: Duration = Duration::from_secs(30);

impl Follower<'_> {
    /// Whether a table ends for this without being parked; from here on nothing of it is expected.
    pub(super) fn leaves(&mut self, table: TableId, problem: &Problem) -> bool {
        let leaves = self.run.ends_for(problem);
        if leaves {
            self.tables.leave(table);
            self.ends.insert(table, problem.clone());
            self.ending_at = Some(Instant::now());
        }
        leaves
    }

    /// Tables that were parked because they are gone: in a load, or when the settings were others.
    pub(super) fn leave_parked(&mut self, kept: &Kept) {
        let marks = kept.marks();
        for plan in Arc::clone(&self.plan).iter() {
            if let Some(Stage::Parked(problem)) = marks.get(plan.name()).map(|mark| &mark.stage)
                && !self.loading.contains_key(&plan.id)
            {
                self.leaves(plan.id, problem);
            }
        }
    }

    /// Tables that are gone before a transaction of which nothing is applied yet.
    pub(super) fn leave_dropped(&mut self, first: &Piece<'_>) {
        let barred: Vec<TableId> = first.barriers().filter(|table| !self.tables.is_left_out(*table)).collect();
        for table in barred {
            self.leaves(table, &first.barrier_problem(table));
        }
    }

    /// Ends what is gone. The plan is made anew without it, and with what has its name by now.
    pub(super) async fn end_gone(&mut self) -> Result<(), Stop> {
        self.ending_at = None;
        let mut ended = false;
        for table in self.tables.gone() {
            ended |= self.end_table(table).await?;
        }
        if ended { Err(Stop::Again) } else { Ok(()) }
    }

    async fn end_table(&mut self, table: TableId) -> Result<bool, Stop> {
        let plan = self.plan[table.index()].clone();
        let why = self.ends.get(&table).cloned();
        let was_dropped = why.as_ref().is_none_or(|why| why.code != NOT_CHOSEN);
        let drops = was_dropped && self.run.drops_tables();
        let keys = match self.session.end_table(&plan, drops).await {
            Ok(Some(keys)) => keys,
            Ok(None) => {
                let text = format!("{} is in use in the target: it is ended later", plan.target);
                self.run.status.table_event(Severity::Warning, "table-in-use", &plan, text);
                self.ending_at = Some(Instant::now() + AGAIN);
                return Ok(false);
            }
            Err(problem) if problem.fault == Fault::Data => {
                self.park(table, problem);
                self.commit_empty(None).await?;
                return Ok(false);
            }
            Err(problem) => return Err(problem.into()),
        };
        self.commit_idle().await?;
        let how = if drops { "so it is in the target" } else { "the target keeps it as it was then" };
        let without =
            if keys.is_empty() { String::new() } else { format!("; without it these go: {}", keys.join(", ")) };
        let what = match why.filter(|_| !was_dropped) {
            Some(why) => format!("{} is followed no longer. {why} So", plan.name()),
            None => format!("{} was dropped at the source:", plan.name()),
        };
        let text = format!("{what} {how}, and the task is done with it{without}");
        self.run.status.table_event(Severity::Info, "table-ended", &plan, text);
        Ok(true)
    }
}
