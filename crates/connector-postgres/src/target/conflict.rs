//! Rows of the target that are not as a change expects them: told apart from other refusals by a look at the key, and
//! settled by statements of their own. Only row by row, under the savepoint of the row; nothing here is ON CONFLICT, so
//! that each statement still touches exactly one row or fails.
//!
//! A look and what follows from it are two statements, and somebody else writes in between: then the second fails as the
//! first did, and the row is looked at again.

use wavemark_connector::target::Conflict;
use wavemark_domain::{Batch, Cell, Change, Problem};

use super::apply::{Single, Verb};
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
    // What can't even be read as a statement is wrong in another way.
    let Ok(Some(single)) = Single::read(batch, change, target) else { return Ok(None) };
    match (problem.code.as_str(), single.verb, new_key) {
        ("duplicate-key", Verb::Insert, Some(cells)) => exists(waves, batch, change, cells).await,
        ("duplicate-key", Verb::Update | Verb::Replace, Some(cells)) if moves(waves, batch, change)? => {
            exists(waves, batch, change, cells).await
        }
        ("divergence", Verb::Update | Verb::Replace | Verb::Delete, _) => {
            let whole = keyed && new.is_some_and(is_whole);
            let Some(cells) = batch.old(change, width).or(new) else { return Ok(None) };
            let is_there = waves.finds(batch, change.table, &Single::found(cells)).await?;
            Ok((!is_there).then_some(Conflict::RowMissing { whole }))
        }
        _ => Ok(None),
    }
}

async fn exists(
    waves: &mut Waves,
    batch: &Batch,
    change: &Change,
    cells: &[Cell],
) -> Result<Option<Conflict>, Problem> {
    let is_there = waves.finds(batch, change.table, &Single::found(cells)).await?;
    Ok(is_there.then_some(Conflict::RowExists))
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
    let target = waves.target(table)?;
    let Some(single) = Single::anew(batch, change, target)?.or(Single::read(batch, change, target)?) else {
        return Ok(());
    };
    let new = batch.new_row(change, target.columns.len()).unwrap_or_default();
    match (conflict, single.verb) {
        (_, Verb::Delete) => return Ok(()),
        // What the log left out of the new row is in the old one, which moves there.
        (Conflict::RowExists, Verb::Update | Verb::Replace) => {
            waves.send_single(batch, table, &Single::found(new), true).await?;
            waves.send_single(batch, table, &single, true).await?;
        }
        (Conflict::RowExists, Verb::Insert) => {
            let whole = Single::whole(waves.target(table)?, new, true);
            waves.send_single(batch, table, &whole, true).await?;
        }
        (Conflict::RowMissing { .. }, _) => {
            let is_there = waves.finds(batch, table, &Single::found(new)).await?;
            let whole = Single::whole(waves.target(table)?, new, is_there);
            waves.send_single(batch, table, &whole, true).await?;
        }
    }
    waves.drain().await
}
