//! Where the follower stops for a moment so that both systems stand at one position.
//!
//! 1. Between two waves the source is asked for a view, at P. Nothing is written meanwhile, so that the bookmark stays
//!    at or before P; if that takes too long the follower goes on and it is tried again later.
//! 2. Everything that ended up to P is applied as always; the wave is cut before the first transaction that ended
//!    after P, or where the log was read up to P with nothing pending.
//! 3. The bookmark is set to exactly P: each transaction that ended up to P is in the target, none after.
//! 4. Rows that are to be repaired are fetched from the view and put in the place of the target's, one commit a table.
//! 5. The target takes its snapshot, and the log goes on. Both snapshots are read beside it ([`crate::compare`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use wavemark_connector::source::View;
use wavemark_domain::compare::{CompareOrder, CompareState, ComparedTable, RepairOrder};
use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, Position, Problem, TablePlan};

use super::Follower;
use crate::attempt::Stop;
use crate::compare::{self, Compares, Sides};
use crate::connections::{self, Taken};
use crate::load::format_for;

/// How long nothing is written because the source makes a view.
const PATIENCE: Duration = Duration::from_secs(10);

/// A view that waits for the bookmark to reach its position.
pub(super) struct Hold {
    at: Position,
    view: Box<dyn View>,
    room: Taken,
    order: CompareOrder,
    waited: Duration,
}

impl Follower<'_> {
    /// Begins the next comparison, unless one is being read.
    pub(super) async fn begin_compare(&mut self) -> Result<(), Stop> {
        let compares = self.run.orders.compares.clone();
        let Some(mut order) = compares.next() else { return Ok(()) };
        let began = Instant::now();
        compares.update(order.number, |progress| progress.tries += 1);
        let room = match connections::for_compare(self.run, order.sessions) {
            Ok((room, sessions)) => {
                order.sessions = sessions;
                room
            }
            Err(problem) => {
                not_begun(&compares, order.number, problem);
                return Ok(());
            }
        };
        let view = tokio::select! {
            biased;
            () = self.run.stop.cancelled() => return Ok(()),
            view = timeout(PATIENCE, self.run.source.view_beside(&self.run.task)) => view,
        };
        match view {
            Ok(Ok(view)) => {
                let at = view.position().clone();
                self.hold = Some(Hold { at, view, room, order, waited: began.elapsed() });
                self.nudge.notify_one();
                self.cut_if_there().await
            }
            Ok(Err(problem)) if problem.fault == Fault::Fenced => Err(problem.into()),
            Ok(Err(problem)) => {
                not_begun(&compares, order.number, problem);
                Ok(())
            }
            Err(_) => {
                compares.postpone(order.number, slow());
                Ok(())
            }
        }
    }

    /// Whether a transaction with this end is applied only after the cut.
    pub(super) fn is_held(&self, end: Option<&Position>) -> bool {
        self.hold.as_ref().is_some_and(|hold| end.is_some_and(|end| *end > hold.at))
    }

    /// Cuts where everything up to the view's position is applied and nothing is pending.
    pub(super) async fn cut_if_there(&mut self) -> Result<(), Stop> {
        let Some(hold) = self.hold.as_ref().filter(|_| !self.streaming) else { return Ok(()) };
        let read = self.idle_position.as_ref().is_some_and(|idle| *idle >= hold.at);
        if self.bookmark.position >= hold.at || read { self.cut().await } else { Ok(()) }
    }

    /// Everything up to the view's position is applied, and nothing after.
    pub(super) async fn cut(&mut self) -> Result<(), Stop> {
        let Some(hold) = self.hold.take() else { return Ok(()) };
        let compares = self.run.orders.compares.clone();
        let number = hold.order.number;
        if self.bookmark.position > hold.at {
            let text = "The log was applied beyond the position of the view.";
            compares.postpone(number, Problem::transient("position-passed", text));
            return Ok(());
        }
        if !compares.is_wanted(number) {
            return Ok(());
        }
        let began = Instant::now();
        if self.bookmark.position < hold.at {
            self.commit_empty(Some(hold.at.clone())).await?;
        }
        let mut tables = self.chosen(&hold.order);
        for repair in &hold.order.repair {
            self.repair(&hold, repair, &mut tables).await?;
        }
        let sides = async {
            let target = self.session.side(hold.order.sessions, &hold.at).await?;
            Ok::<_, Problem>((hold.view.side(hold.order.sessions).await?, target))
        };
        let sides = match timeout(PATIENCE, sides).await {
            Ok(Ok((source, target))) => Sides { source, target, _room: hold.room },
            Ok(Err(problem)) => {
                compares.postpone(number, problem);
                return Ok(());
            }
            Err(_) => {
                compares.postpone(number, slow());
                return Ok(());
            }
        };
        let position = self.run.source.describe(&hold.at);
        let stood_still = hold.waited + began.elapsed();
        compares.update(number, |progress| {
            progress.state = CompareState::Running;
            progress.problem = None;
            progress.position = Some(position);
            progress.held_ms = u64::try_from(stood_still.as_millis()).ok();
            progress.tables = tables;
        });
        self.comparing.spawn(compare::compare(self.run.clone(), Arc::clone(&self.plan), number, sides));
        Ok(())
    }

    /// The tables of an order: those that are live take part.
    fn chosen(&self, order: &CompareOrder) -> Vec<ComparedTable> {
        let known = self.run.status.progress().tables;
        let names: Vec<_> = match &order.tables {
            Some(tables) => tables.clone(),
            None => known.iter().map(|table| table.table.clone()).collect(),
        };
        let table = |name: wavemark_domain::TableName| match self.plan.iter().find(|plan| *plan.name() == name) {
            Some(plan) if self.tables.is_live(plan.id) => ComparedTable::new(name, key_of(plan)),
            Some(plan) if self.tables.is_parked(plan.id) => ComparedTable::left_out(name, "It is parked.".to_owned()),
            Some(_) => ComparedTable::left_out(name, "It is not live yet.".to_owned()),
            None => ComparedTable::left_out(name, "It is not among the tables that are followed.".to_owned()),
        };
        names.into_iter().map(table).collect()
    }

    /// Puts the source's rows in the place of the target's.
    async fn repair(&mut self, hold: &Hold, order: &RepairOrder, tables: &mut [ComparedTable]) -> Result<(), Stop> {
        let Some(compared) = tables.iter_mut().find(|table| table.table == order.table) else { return Ok(()) };
        let all = Arc::clone(&self.plan);
        let Some(plan) = all.iter().find(|plan| *plan.name() == order.table) else { return Ok(()) };
        if !self.tables.is_live(plan.id) || plan.is_keyless() {
            return Ok(());
        }
        match self.replace(hold, plan, order).await {
            Ok(added) => {
                compared.repaired = order.keys.len() as u64;
                let position = self.run.source.describe(&hold.at);
                let text = format!(
                    "{} keys of {} were made equal as of {position}: {added} rows were taken from the source",
                    order.keys.len(),
                    plan.name()
                );
                self.run.status.table_event(Severity::Info, "repaired", plan, text);
                Ok(())
            }
            Err(problem) if matches!(problem.fault, Fault::Data | Fault::Settings) => {
                let problem = problem.table(plan.name());
                compared.reason = Some(format!("It could not be repaired: {problem}"));
                self.run.status.problem(Severity::Warning, &problem);
                Ok(())
            }
            Err(problem) => Err(problem.into()),
        }
    }

    async fn replace(&mut self, hold: &Hold, plan: &TablePlan, order: &RepairOrder) -> Result<u64, Problem> {
        let keys = compare::keys_of(order)?;
        let entered = hold.view.enter(plan).await?;
        if !entered.readable {
            let text = format!("{} was truncated or rewritten at the source.", plan.name());
            return Err(Problem::new(Fault::Data, "table-rewritten", text));
        }
        let mut rows = hold.view.read_keys(plan, &keys, format_for(self.run, plan)).await?;
        self.session.replace_rows(plan, &keys, rows.as_mut()).await
    }
}

/// What passes is waited for.
fn not_begun(compares: &Compares, number: i64, problem: Problem) {
    if problem.fault == Fault::Transient {
        compares.postpone(number, problem);
    } else {
        compares.fail(number, problem);
    }
}

fn key_of(plan: &TablePlan) -> Vec<String> {
    plan.key.iter().map(|at| plan.source.columns[plan.columns[*at].source].name.clone()).collect()
}

fn slow() -> Problem {
    let text = format!(
        "Within {} s the source gave no position at which it could be compared: it waits for transactions that were \
         open before. It is tried again.",
        PATIENCE.as_secs()
    );
    Problem::transient("compare-waits", text).advice("End transactions that are open for long at the source.")
}
