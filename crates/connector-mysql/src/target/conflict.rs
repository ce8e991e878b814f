//! Rows of the target that are not as a change expects them: told apart from other refusals by a look at the key, and
//! settled by statements of their own. Only row by row, under the savepoint of the row; each statement still touches exactly
//! one row or fails.

use wavemark_connector::target::Conflict;
use wavemark_domain::{Batch, Cell, Change, Problem, TableId};

use super::apply::{Single, Verb, found as found_by};
use super::script::Task;
use super::statements;
use super::wave::Waves;

/// What a refused change found. The wave must be back at the row's savepoint.
pub(super) async fn found(
    waves: &mut Waves,
    batch: &Batch,
    change: &Change,
    problem: &Problem,
) -> Result<Option<Conflict>, Problem> {
    let target = waves.target(change.table)?;
    let (width, keyed) = (target.columns.len(), !target.key.is_empty());
    let new = batch.new_row(change, width);
    let new_key = new.filter(|cells| keyed && target.key.iter().all(|at| !cells[*at].is_unchanged()));
    let Ok(Some(single)) = Single::read(batch, change, target) else { return Ok(None) };
    match (problem.code.as_str(), single.verb, new_key) {
        ("duplicate-key", Verb::Insert, Some(cells)) => exists(waves, batch, change.table, cells).await,
        ("duplicate-key", Verb::Update, Some(cells)) if moves(waves, batch, change)? => {
            exists(waves, batch, change.table, cells).await
        }
        ("divergence", Verb::Update | Verb::Delete, _) => {
            let whole = keyed && new.is_some_and(is_whole);
            let Some(cells) = batch.old(change, width).or(new) else { return Ok(None) };
            let is_there = finds(waves, batch, change.table, cells).await?;
            Ok((!is_there).then_some(Conflict::RowMissing { whole }))
        }
        _ => Ok(None),
    }
}

async fn exists(waves: &mut Waves, batch: &Batch, table: TableId, cells: &[Cell]) -> Result<Option<Conflict>, Problem> {
    Ok(finds(waves, batch, table, cells).await?.then_some(Conflict::RowExists))
}

/// Whether a row is there, as the open wave sees it.
async fn finds(waves: &mut Waves, batch: &Batch, table: TableId, cells: &[Cell]) -> Result<bool, Problem> {
    waves.drain().await?;
    let target = waves.target(table)?;
    let sql = statements::find(target, batch, found_by(target, cells))?;
    let task = Task { table: Some(table), ..Task::wave("look for a row of") };
    let mut rows = 0;
    let found = waves.connection.execute_many(&sql, &mut |done| rows += done.affected).await;
    found.map_err(|cause| task.failed(&waves.plan, &cause))?;
    Ok(rows > 0)
}

/// Whether an update gives its row another key.
fn moves(waves: &Waves, batch: &Batch, change: &Change) -> Result<bool, Problem> {
    let target = waves.target(change.table)?;
    let width = target.columns.len();
    let (Some(old), Some(new)) = (batch.old(change, width), batch.new_row(change, width)) else { return Ok(false) };
    Ok(target.key.iter().any(|at| batch.value(old[*at]) != batch.value(new[*at])))
}

fn is_whole(cells: &[Cell]) -> bool {
    cells.iter().all(|cell| !cell.is_unchanged())
}

/// Makes the row what the change says it is. An error is the row's, as that of the change itself.
pub(super) async fn settle(
    waves: &mut Waves,
    batch: &Batch,
    change: &Change,
    conflict: Conflict,
) -> Result<(), Problem> {
    let table = change.table;
    let target = waves.target(table)?.clone();
    let Some(single) = Single::read(batch, change, &target)? else { return Ok(()) };
    let new = batch.new_row(change, target.columns.len()).unwrap_or_default();
    match (conflict, single.verb) {
        (_, Verb::Delete) => return Ok(()),
        // What the log left out of the new row is in the old one, which moves there.
        (Conflict::RowExists, Verb::Update) => {
            waves.write_single(batch, table, &Single::gone(&target, new)).await?;
            waves.write_single(batch, table, &single).await?;
        }
        (Conflict::RowExists, Verb::Insert) => {
            waves.write_single(batch, table, &Single::whole(&target, new, true)).await?;
        }
        (Conflict::RowMissing { .. }, _) => {
            let is_there = finds(waves, batch, table, new).await?;
            waves.write_single(batch, table, &Single::whole(&target, new, is_there)).await?;
        }
    }
    waves.drain().await
}
