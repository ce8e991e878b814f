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
use wavemark_connector::source::{KeptFor, KeySet, Touched, View};
use wavemark_connector::target::{Loader, Stage, TableMark};
use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, Position, Problem, TableId, TablePlan};

use super::{Job, format_for, jobs_of, rewritten};
use crate::pace;
use crate::run::Run;

/// The marks in the plan's order.
pub(super) fn marks_by_table(plan: &[TablePlan], kept: Vec<TableMark>) -> Vec<Option<TableMark>> {
    let mut by_name: BTreeMap<_, _> = kept.into_iter().map(|mark| (mark.source.clone(), mark)).collect();
    plan.iter().map(|table| by_name.remove(table.name())).collect()
}

/// What bringing tables forward gave.
#[derive(Default)]
pub(super) struct Forward {
    /// Chunks left to copy.
    pub(super) jobs: Vec<Job>,
    /// Tables that have to start over, and why.
    pub(super) again: BTreeMap<usize, String>,
    /// Tables that failed on data.
    pub(super) failed: Vec<(usize, Problem)>,
}

pub(super) fn has_open_chunks(mark: &TableMark) -> bool {
    mark.chunks.iter().any(|chunk| chunk.done.is_none())
}

/// Brings tables whose load isn't over to the view's position, by what was touched `since` then; a table without such
/// a place stays where it is. Lists what is left to do for each.
pub(super) async fn bring_forward(
    run: &Run,
    plan: &Arc<[TablePlan]>,
    view: &dyn View,
    loader: &mut dyn Loader,
    marks: &mut [Option<TableMark>],
    kept: KeptFor,
    since: impl Fn(&TableMark) -> Option<Position>,
) -> Result<Forward, Problem> {
    let mut touched = touched_since(run, plan, view.position(), marks, kept, &since).await?;
    let mut forward = Forward::default();
    for (index, table) in plan.iter().enumerate() {
        let Some(mark) = marks[index].as_mut().filter(|mark| mark.stage == Stage::Loading) else { continue };
        if since(mark).is_none() {
            forward.jobs.extend(jobs_of(index, mark, None));
            continue;
        }
        let what = touched.remove(&index).unwrap_or_else(|| Touched::StartOver("it has no log to go by".to_owned()));
        match continue_table(run, table, view, loader, mark, what).await {
            Ok(Ok(without)) => {
                let without = Some(&without).filter(|keys| !keys.is_empty());
                forward.jobs.extend(jobs_of(index, mark, without));
            }
            Ok(Err(why)) => {
                forward.again.insert(index, why);
            }
            Err(problem) if problem.fault == Fault::Data => forward.failed.push((index, problem)),
            Err(problem) => return Err(problem),
        }
    }
    Ok(forward)
}

/// What the log did to each table whose load isn't over. One pass over the log per distinct beginning.
async fn touched_since(
    run: &Run,
    plan: &[TablePlan],
    to: &Position,
    marks: &[Option<TableMark>],
    kept: KeptFor,
    since: impl Fn(&TableMark) -> Option<Position>,
) -> Result<BTreeMap<usize, Touched>, Problem> {
    let mut touched = BTreeMap::new();
    if !run.task.kind.follows() {
        return Ok(touched);
    }
    // By what is kept of them: two views at one place may have come to be in different ways.
    let mut by_beginning: BTreeMap<Box<[u8]>, Vec<TableId>> = BTreeMap::new();
    for (index, mark) in marks.iter().enumerate() {
        if let Some(from) = mark.as_ref().filter(|mark| mark.stage == Stage::Loading).and_then(&since) {
            by_beginning.entry(from.as_bytes().into()).or_default().push(plan[index].id);
        }
    }
    for (from, tables) in by_beginning {
        let from = Position::new(from);
        let found = run.source.touched(&run.task, plan, &tables, (&from, to), kept).await?;
        touched.extend(tables.into_iter().map(TableId::index).zip(found));
    }
    Ok(touched)
}

/// Brings one table forward. `Ok(Err(why))` if it must start over.
async fn continue_table(
    run: &Run,
    table: &TablePlan,
    view: &dyn View,
    loader: &mut dyn Loader,
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
    let rows = view.read_keys(table, &keys, format_for(run, table)).await?;
    let mut rows = pace::paced(rows, &run.paces);
    let added = loader.bring_forward(table, &keys, rows.as_mut(), view.position(), &entered.storage).await?;
    crash::point("forward.committed");
    mark.position = view.position().clone();
    mark.storage = entered.storage;
    run.status.update_table(table.id, |progress| progress.rows_refetched += added);
    if has_open_chunks(mark) {
        let done = mark.chunks.iter().filter(|chunk| chunk.done.is_some()).count();
        let text = format!(
            "The load of {} goes on after {done} of {} chunks; {} touched keys were fetched again",
            table.name(),
            mark.chunks.len(),
            keys.len()
        );
        run.status.table_event(Severity::Info, "load-continued", table, text);
    }
    Ok(Ok(Arc::new(keys)))
}
