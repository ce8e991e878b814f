//! The log that the source keeps for the task: shown, judged and, as the settings say, let go, with its tables or without.
//!
//! It is watched for as long as the run lasts, whatever else goes on: a target that is away is when the log grows.
//! Dropping the slot makes the position lost and never a gap: what reads the log compares slot and bookmark first.

use std::time::Duration;

use tokio::time::Instant;
use wavemark_connector::source::LogState;
use wavemark_domain::Problem;
use wavemark_domain::kept_log::{self, Growth, KeptLog, OverBudget};
use wavemark_domain::progress::Severity;

use crate::connections;
use crate::run::Run;

/// How often the source is asked how much log it keeps.
const EVERY: Duration = Duration::from_secs(5);
/// The same while the run has no connections yet: then a look is a short one, like a job's.
const EVERY_SHORT: Duration = Duration::from_secs(30);
/// After how many vain questions in a row people are told.
const LOUD_AFTER: u32 = 12;

/// Watches until the budget is exceeded and the settings want the log to be let go; returns the budget.
pub(crate) async fn until_over_budget(run: Run) -> u64 {
    let began = Instant::now();
    let mut growth = Growth::default();
    let mut over = Over::default();
    let mut vain = 0;
    loop {
        let bookmark = run.status.progress().bookmark_key;
        match run.source.log_state(&run.task, bookmark.as_ref(), EVERY / 2).await {
            Ok(state) => {
                vain = 0;
                look(&run, &state, &mut growth, began.elapsed().as_secs());
                let kept = state.kept_bytes.unwrap_or_default();
                park(&run, kept, &mut over);
                if let Some(budget) = kept_log::exceeded(&run.task.settings, kept, OverBudget::DropSlot) {
                    return budget;
                }
            }
            Err(problem) => {
                vain += 1;
                tracing::debug!("the source's log state is not known: {problem}");
                if vain == LOUD_AFTER {
                    tell(&run, Some((Severity::Warning, kept_log::unknown(&problem))));
                }
            }
        }
        if run.status.progress().waiting_for.is_some_and(|waiting| waiting.code == connections::WAITS) {
            run.source.rest().await;
            tokio::time::sleep(EVERY_SHORT).await;
        } else {
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Drops what keeps the log, if it is still more than the budget, and gives the problem with which the run ends.
///
/// Passing errors are waited out: the source must not fill its disk.
pub(crate) async fn let_go(run: &Run, budget: u64) -> Option<Problem> {
    let mut wait = Duration::from_millis(200);
    loop {
        match run.source.let_go(&run.task, budget).await {
            Ok(kept) => return kept.map(|kept| kept_log::let_go(kept, budget)),
            Err(problem) if problem.fault != wavemark_domain::Fault::Transient => return Some(problem),
            Err(problem) => tracing::warn!("the log that is kept could not be let go: {problem}"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(EVERY);
    }
}

/// What looks over the budget have led to, while they follow each other.
#[derive(Default)]
struct Over {
    before: bool,
    parked_at: Option<u64>,
}

/// Has tables parked where the settings say so. One look alone may see a burst that the task is about to work off, or
/// come before the task has failed on the table that holds it up: it takes two. What was parked takes a while to show:
/// more is parked only once the log has grown by another tenth of the budget.
fn park(run: &Run, kept: u64, over: &mut Over) {
    let Some(budget) = kept_log::exceeded(&run.task.settings, kept, OverBudget::ParkTables) else {
        *over = Over::default();
        return run.orders.park_for_log(None);
    };
    let lasts = std::mem::replace(&mut over.before, true);
    if lasts && over.parked_at.is_none_or(|then| kept > then + budget / 10) {
        over.parked_at = Some(kept);
        run.orders.park_for_log(Some((kept, budget)));
    }
}

/// Shows and judges one look.
fn look(run: &Run, state: &LogState, growth: &mut Growth, seconds: u64) {
    let settings = &run.task.settings;
    let end = run.source.describe(&state.end);
    let kept = state.counted_bytes().map(|bytes| {
        growth.see(seconds, bytes);
        KeptLog {
            bytes,
            limit: state.limit_bytes,
            seconds_left: state.limit_bytes.and_then(|limit| growth.seconds_until(limit)),
            seconds_to_budget: kept_log::budget(settings).and_then(|budget| growth.seconds_until(budget)),
        }
    });
    run.status.update(|progress| {
        progress.source_position = Some(end);
        progress.behind_bytes = state.behind_bytes;
        progress.log_kept_bytes = state.counted_bytes();
        progress.log_limit_bytes = state.limit_bytes;
        progress.log_budget_bytes = kept_log::budget(settings);
        progress.log_seconds_left = kept.and_then(|kept| kept.seconds_left).or(state.drops_in_seconds);
    });
    let judged = kept.and_then(|kept| kept_log::judge(settings, &kept));
    tell(run, judged.or_else(|| kept_log::judge_age(settings, state.drops_in_seconds)));
}

/// Shows a judgement; one of another kind than before is an event too.
fn tell(run: &Run, judged: Option<(Severity, Problem)>) {
    let code = |problem: &Option<Problem>| problem.as_ref().map(|problem| problem.code.clone());
    let before = code(&run.status.progress().log_problem);
    let problem = judged.as_ref().map(|(_, problem)| problem.clone());
    if let Some((severity, problem)) = judged.filter(|(_, problem)| before.as_ref() != Some(&problem.code)) {
        run.status.problem(severity, &problem);
    }
    run.status.update(|progress| progress.log_problem = problem);
}
