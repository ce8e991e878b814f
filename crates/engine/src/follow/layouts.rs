//! Tables whose layout changes at the source: the target's is altered at the same place between the rows.
//!
//! What came before is applied by then. Between two transactions the alteration is a wave of its own that leaves the
//! bookmark where it is; inside one it belongs to its wave, with rows of the old layout before it and of the new one
//! after it. Either way the layout is noted with the commit, so that whoever goes on from the bookmark reads the log on
//! with the layout that the rows have.

use std::sync::Arc;

use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, LayoutStep, Problem, Relayout, TablePlan};

use super::Follower;
use super::capture::Captured;
use super::pieces::Piece;
use crate::attempt::Stop;

impl Follower<'_> {
    /// Takes up the layouts that hold from the first piece of what was read on.
    pub(super) async fn take_up_layouts(&mut self, captured: &Captured, first: Option<&Piece<'_>>) -> Result<(), Stop> {
        if captured.read.layouts.is_empty() {
            return Ok(());
        }
        if let Some(first) = first.filter(|_| !self.streaming) {
            self.come_to(first).await?;
        }
        for next in &captured.read.layouts {
            let table = next.plan.id;
            let is_left_out = self.tables.is_left_out(table) || first.is_some_and(|first| self.rejoins(first, table));
            if !is_left_out {
                self.take_up(next).await?;
            }
        }
        Ok(())
    }

    async fn take_up(&mut self, next: &Relayout) -> Result<(), Stop> {
        let table = next.plan.id;
        let before = self.plan[table.index()].clone();
        let plan = with(&self.plan, &next.plan);
        match self.session.alter(&plan, &before, next).await {
            Ok(()) => {}
            Err(problem) if problem.fault == Fault::Data && self.streaming => {
                return self.start_without(table, refused(problem)).await;
            }
            Err(problem) if problem.fault == Fault::Data => {
                self.take_back().await?;
                self.park(table, refused(problem));
                return Ok(());
            }
            Err(problem) => return Err(problem.into()),
        }
        self.plan = plan;
        self.run.status.update_table(table, |shown| {
            shown.table = next.plan.name().clone();
            shown.target = next.plan.target.clone();
        });
        let words: Vec<String> = next.steps.iter().map(LayoutStep::words).collect();
        // What is only read otherwise is nothing to tell.
        if !words.is_empty() {
            self.taken_up.push((table, words.join(", ")));
        }
        if !self.streaming {
            self.commit_empty(None).await?;
        }
        Ok(())
    }

    /// Tells of the layouts that were taken up in a wave that is committed now.
    pub(super) fn tell_taken_up(&mut self) {
        for (table, _) in &self.taken_up {
            self.marked[table.index()] = self.plan[table.index()].name().clone();
        }
        for (table, words) in self.taken_up.drain(..) {
            let plan = &self.plan[table.index()];
            let text = format!("{} was changed as at the source: {words}", plan.target);
            self.run.status.table_event(Severity::Info, "table-altered", plan, text);
        }
    }
}

fn with(plan: &[TablePlan], next: &TablePlan) -> Arc<[TablePlan]> {
    plan.iter().map(|table| if table.id == next.id { next.clone() } else { table.clone() }).collect()
}

fn refused(problem: Problem) -> Problem {
    let text = format!("The target's table could not be changed as the source's was: {}", problem.text);
    Problem { code: "table-not-altered".into(), text, ..problem }
}
