//! Going on with a load whose view is gone.
//!
//! A half-loaded table has finished chunks that are exact as of its mark's position. Between the view in which its
//! load began and the new one, some of its rows changed, and rows may have moved between finished and unfinished
//! chunks. So:
//!
//! 1. The log between the two tells every key that was touched (old and new), for all of the load's time: also keys
//!    that an earlier resume fetched, for their rows may lie in unfinished chunks.
//! 2. In one commit those keys are removed from the target and their rows, as of the new view, are added.
//! 3. The unfinished chunks are read in the new view without those keys.
//!
//! Each row is then there once: touched ones from step 2, the others from their chunk, finished or not. A table
//! where keys can't tell (no key, truncated, rewritten, changed layout) starts over.

use std::collections::BTreeMap;
use std::sync::Arc;

use wavemark_connector::crash;
use wavemark_connector::source::{KeySet, Touched, View};
use wavemark_connector::target::{Session, Stage, TableMark};
use wavemark_domain::progress::Severity;
use wavemark_domain::{Position, Problem, TableId, TablePlan};

use super::{Job, format_for, jobs_of, park, rewritten, start_over};
use crate::run::Run;

/// The marks in the plan's order.
pub(super) fn marks_by_table(plan: &[TablePlan], kept: Vec<TableMark>) -> Vec<Option<TableMark>> {
    let mut by_name: BTreeMap<_, _> = kept.into_iter().map(|mark| (mark.source.clone(), mark)).collect();
    plan.iter().map(|table| by_name.remove(table.name())).collect()
}

/// Brings every half-loaded table to the view's position and lists its unfinished chunks.
pub(super) async fn bring_forward(
    run: &Run,
    plan: &Arc<[TablePlan]>,
    view: &dyn View,
    session: &mut dyn Session,
    marks: &mut [Option<TableMark>],
) -> Result<Vec<Job>, Problem> {
    let mut touched = touched_since(run, plan, view.position(), marks).await?;
    let mut jobs = Vec::new();
    for (index, table) in plan.iter().enumerate() {
        let Some(mark) = marks[index].as_mut().filter(|mark| mark.stage == Stage::Loading) else { continue };
        if mark.chunks.iter().all(|chunk| chunk.done.is_some()) {
            // Exact as of its own position; only its keys and indexes are missing.
            jobs.extend(jobs_of(index, mark, None));
            continue;
        }
        let what = touched.remove(&index).unwrap_or_else(|| Touched::StartOver("it has no log to go by".to_owned()));
        let continued = match continue_table(run, table, view, session, mark, what).await {
            Ok(Err(why)) => match start_over(run, table, view, session, &why).await {
                Ok(fresh) => {
                    *mark = fresh;
                    Ok(None)
                }
                Err(problem) => Err(problem),
            },
            other => other.map(Result::ok),
        };
        match continued {
            Ok(without) => jobs.extend(jobs_of(index, mark, without.as_ref().filter(|keys| !keys.is_empty()))),
            Err(problem) => *mark = park(run, table, session, view.position(), problem).await?,
        }
    }
    Ok(jobs)
}

/// What the log did to each half-loaded table since its load began. One pass over the log per distinct beginning.
async fn touched_since(
    run: &Run,
    plan: &[TablePlan],
    to: &Position,
    marks: &[Option<TableMark>],
) -> Result<BTreeMap<usize, Touched>, Problem> {
    let mut touched = BTreeMap::new();
    if !run.task.kind.follows() {
        return Ok(touched);
    }
    let mut by_beginning: BTreeMap<Position, Vec<TableId>> = BTreeMap::new();
    for (index, mark) in marks.iter().enumerate() {
        if let Some(mark) = mark.as_ref().filter(|mark| mark.stage == Stage::Loading)
            && mark.chunks.iter().any(|chunk| chunk.done.is_none())
        {
            by_beginning.entry(mark.began.clone()).or_default().push(plan[index].id);
        }
    }
    for (from, tables) in by_beginning {
        let found = run.source.touched(&run.task, plan, &tables, &from, to).await?;
        touched.extend(tables.into_iter().map(TableId::index).zip(found));
    }
    Ok(touched)
}

/// Brings one table forward. `Ok(Err(why))` if it must start over.
async fn continue_table(
    run: &Run,
    table: &TablePlan,
    view: &dyn View,
    session: &mut dyn Session,
    mark: &mut TableMark,
    touched: Touched,
) -> Result<Result<Arc<KeySet>, String>, Problem> {
    let keys = match touched {
        Touched::Keys(keys) if !table.is_keyless() => keys,
        Touched::Keys(_) => return Ok(Err("it has no key".to_owned())),
        Touched::StartOver(why) => return Ok(Err(why)),
    };
    let entered = view.enter(table).await?;
    if !entered.readable {
        return Err(rewritten(table));
    }
    if entered.storage != mark.storage {
        return Ok(Err("its storage was rewritten meanwhile".to_owned()));
    }
    let mut rows = view.read_keys(table, &keys, format_for(run, table)).await?;
    let added = session.bring_forward(table, &keys, rows.as_mut(), view.position(), &entered.storage).await?;
    crash::point("forward.committed");
    mark.position = view.position().clone();
    mark.storage = entered.storage;
    let done = mark.chunks.iter().filter(|chunk| chunk.done.is_some()).count();
    let text = format!(
        "The load of {} goes on after {done} of {} chunks; {} touched keys were fetched again",
        table.name(),
        mark.chunks.len(),
        keys.len()
    );
    run.status.update_table(table.id, |progress| progress.rows_refetched += added);
    run.status.table_event(Severity::Info, "load-continued", table, text);
    Ok(Ok(Arc::new(keys)))
}
