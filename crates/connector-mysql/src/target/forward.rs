//! Bringing a table whose load isn't over to a later position, and putting rows in the place of others.

use wavemark_connector::crash;
use wavemark_connector::source::{KeySet, RowReader};
use wavemark_connector::unfit::{Counted, Counts, Tally};
use wavemark_domain::{Batch, Cell, ChangeKind, Position, Problem, TablePlan};

use super::fault::problem;
use super::fence::Grant;
use super::script::{Script, Task};
use super::statements::{self, FoundBy};
use super::table::{self, TargetTable};
use super::unfit::{self, Part};
use super::{loader, marks};
use crate::wire::{Connection, WireError};

/// Where a table's mark goes.
#[derive(Clone, Copy)]
pub(crate) struct To<'a> {
    pub(crate) position: &'a Position,
    pub(crate) storage: &'a str,
    /// What is counted of values that had no place.
    pub(crate) unfit: &'a Tally,
}

/// Removes the stale keys, adds the rows, and moves the mark, in one commit.
pub(crate) async fn bring(
    connection: &mut Connection,
    grant: &Grant,
    loads: bool,
    plan: &TablePlan,
    stale: &KeySet,
    rows: &mut dyn RowReader,
    to: To<'_>,
) -> Result<u64, Problem> {
    let doing = format!("bring {} to a later position", plan.target);
    let failed = |cause: WireError| problem(&cause, &doing).table(plan.name());
    let target = table::read(connection, plan).await?;
    grant.begin(connection, &doing).await?;
    remove(connection, plan, &target, stale).await?;
    let (loaded, unfit) = loader::copy(connection, loads, plan, &target, rows, &|_| {}).await?;
    let counted = count(connection, grant, plan, &unfit).await.map_err(failed)?;
    marks::set_position(connection, grant.task, plan.name(), to.position, to.storage).await.map_err(failed)?;
    crash::point("forward.before-commit");
    connection.query("COMMIT").await.map_err(failed)?;
    to.unfit.add(counted);
    crash::point("forward.committed");
    Ok(loaded.rows)
}

/// Puts rows in the place of those under the same keys, in one commit. Foreign keys are off in the session, so that removing a
/// row removes no other.
pub(crate) async fn replace(
    connection: &mut Connection,
    grant: &Grant,
    loads: bool,
    plan: &TablePlan,
    keys: &KeySet,
    (rows, tally): (&mut dyn RowReader, &Tally),
) -> Result<u64, Problem> {
    let doing = format!("repair rows of {}", plan.target);
    let failed = |cause: WireError| problem(&cause, &doing).table(plan.name());
    let target = table::read(connection, plan).await?;
    grant.begin(connection, &doing).await?;
    remove(connection, plan, &target, keys).await?;
    let (loaded, unfit) = loader::copy(connection, loads, plan, &target, rows, &|_| {}).await?;
    let counted = count(connection, grant, plan, &unfit).await.map_err(failed)?;
    connection.query("COMMIT").await.map_err(failed)?;
    tally.add(counted);
    Ok(loaded.rows)
}

/// Adds to the counts what these rows had altered.
async fn count(
    connection: &mut Connection,
    grant: &Grant,
    plan: &TablePlan,
    unfit: &Counts,
) -> Result<Vec<Counted>, WireError> {
    let counted = unfit.named(std::slice::from_ref(plan));
    if let Some(sql) = unfit::add(grant.task, Part::Rest, &counted) {
        connection.query(&sql).await?;
    }
    Ok(counted)
}

/// Keys without a row are all right: they were inserted or deleted in between.
async fn remove(
    connection: &mut Connection,
    plan: &TablePlan,
    target: &TargetTable,
    stale: &KeySet,
) -> Result<(), Problem> {
    let task = Task { table: Some(plan.id), ..Task::wave("remove stale rows from") };
    let tables = std::slice::from_ref(plan);
    let mut script = Script::default();
    for key in stale.iter() {
        let (batch, cells) = cells_of(plan, &key);
        let written = script.push(task, |out| statements::delete(target, &batch, FoundBy::Key(&cells), out));
        written.map_err(|problem| problem.table(plan.name()))?;
        if script.is_full() {
            script.run(connection, tables).await?;
        }
    }
    script.run(connection, tables).await
}

fn cells_of(plan: &TablePlan, key: &[&[u8]]) -> (Batch, Vec<Cell>) {
    let mut batch = Batch::default();
    let row = batch.begin_row();
    for cell in key {
        batch.push_value(cell);
    }
    batch.push_change(plan.id, ChangeKind::Delete, Some(row), None);
    let cells = batch.last_cells(key.len()).to_vec();
    (batch, cells)
}
