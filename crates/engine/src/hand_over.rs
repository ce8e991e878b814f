//! What is brought up to date in the target before others take it over, as the task's settings say. Nothing of the task
//! depends on it: what can't be done is told, and the task goes on.

use std::ops::ControlFlow;

use wavemark_connector::target::{Refresh, Session};
use wavemark_domain::TablePlan;
use wavemark_domain::progress::Severity;
use wavemark_domain::state::TableState;
use wavemark_domain::task::{MaterializedViews, Statistics};

use crate::run::Run;

/// When that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A drain.
    Drain,
    /// The place where a task ends by itself.
    End,
    /// The end of a task that only loads; its tables have just got their statistics.
    Loaded,
}

/// Brings it up to date while the waves stand still; breaks if the run is stopped meanwhile.
pub(crate) async fn refresh(
    run: &Run,
    plan: &[TablePlan],
    session: &mut dyn Session,
    moment: Moment,
) -> ControlFlow<()> {
    let what = due(run, moment);
    if what == Refresh::default() {
        return ControlFlow::Continue(());
    }
    let tables = not_parked(run, plan);
    let told = |text: String| run.status.event(Severity::Info, "refreshed", text);
    let left = tokio::select! {
        biased;
        () = run.stop.cancelled() => return ControlFlow::Break(()),
        left = session.refresh(&tables, what, &told) => left,
    };
    for problem in left {
        run.status.problem(Severity::Warning, &problem);
    }
    ControlFlow::Continue(())
}

fn due(run: &Run, moment: Moment) -> Refresh {
    let settings = &run.task.settings;
    Refresh {
        statistics: settings.statistics == Statistics::AlsoAtHandOver && moment != Moment::Loaded,
        materialized_views: settings.materialized_views == MaterializedViews::Refresh,
    }
}

/// A parked table may not even be there.
fn not_parked(run: &Run, plan: &[TablePlan]) -> Vec<TablePlan> {
    let tables = run.status.progress().tables;
    let parked =
        |plan: &TablePlan| tables.iter().any(|table| table.table == *plan.name() && table.state == TableState::Parked);
    plan.iter().filter(|table| !parked(table)).cloned().collect()
}
