//! Bringing a table whose load isn't over to a later position.

use bytes::Bytes;
use futures_util::{SinkExt, pin_mut};
use tokio_postgres::{Client, CopyInSink, Transaction};
use wavemark_connector::crash;
use wavemark_connector::source::{KeySet, RowReader};
use wavemark_connector::target::Loaded;
use wavemark_connector::unfit::Tally;
use wavemark_domain::{Batch, Fault, Position, Problem, TablePlan};

use super::copy::Writer;
use super::fault::problem;
use super::fence::Grant;
use super::table::TargetTable;
use super::unfit::{self, Part};
use super::{loader, marks, table};
use crate::client::Connected;

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
    client: &mut Client,
    version: i32,
    grant: &Grant,
    plan: &TablePlan,
    stale: &KeySet,
    rows: &mut dyn RowReader,
    to: To<'_>,
) -> Result<Loaded, Problem> {
    let failed = |error: tokio_postgres::Error| {
        problem(&error, &format!("bring {} to a later position", plan.target)).table(plan.name())
    };
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&grant.share()).await.map_err(failed)?;
    let target = table::read(&transaction, version, plan).await?;
    if !stale.is_empty() {
        remove(&transaction, plan, &target, stale).await?;
    }
    let (loaded, unfit) = loader::copy(&transaction, plan, &target, rows, &|_| {}).await?;
    let counted = unfit.named(std::slice::from_ref(plan));
    unfit::add(&transaction, grant.task, Part::Rest, &counted).await.map_err(failed)?;
    marks::set_position(&transaction, grant.task, plan.name(), to.position, to.storage).await.map_err(failed)?;
    crash::point("forward.before-commit");
    transaction.commit().await.map_err(failed)?;
    to.unfit.add(counted);
    crash::point("forward.committed");
    Ok(loaded)
}

/// Puts rows in the place of those under the same keys, in one commit.
///
/// Removing a row must not remove others by a foreign key's `ON DELETE`: that, and triggers, are off where the role may
/// set `session_replication_role`; where it may not, a table that others point at is refused.
pub(crate) async fn replace(
    connected: &mut Connected,
    grant: &Grant,
    plan: &TablePlan,
    keys: &KeySet,
    (rows, tally): (&mut dyn RowReader, &Tally),
) -> Result<u64, Problem> {
    let failed =
        |error: tokio_postgres::Error| problem(&error, &format!("repair rows of {}", plan.target)).table(plan.name());
    let transaction = connected.client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&grant.hold()).await.map_err(failed)?;
    let target = table::read(&transaction, connected.version, plan).await?;
    if target.referenced && !connected.replica {
        let text = format!(
            "Foreign keys point at {}, and they can't be switched off while its rows are repaired",
            plan.target
        );
        return Err(Problem::new(Fault::Data, "repair-refused", text)
            .table(plan.name())
            .advice("Grant the endpoint's role SET on the parameter session_replication_role, or reload the table."));
    }
    if !keys.is_empty() {
        remove(&transaction, plan, &target, keys).await?;
    }
    let (loaded, unfit) = loader::copy(&transaction, plan, &target, rows, &|_| {}).await?;
    let counted = unfit.named(std::slice::from_ref(plan));
    unfit::add(&transaction, grant.task, Part::Rest, &counted).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    tally.add(counted);
    Ok(loaded.rows)
}

/// The table may have no index yet, so the keys are joined as a set. Keys without a row are all right: they were
/// inserted or deleted in between.
async fn remove(
    transaction: &Transaction<'_>,
    plan: &TablePlan,
    target: &TargetTable,
    stale: &KeySet,
) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| {
        problem(&error, &format!("remove stale rows from {}", plan.target)).table(plan.name())
    };
    let columns: Vec<String> = target
        .key
        .iter()
        .enumerate()
        .map(|(at, column)| format!("k{at} {}", target.columns[*column].base_text))
        .collect();
    let create = format!("CREATE TEMPORARY TABLE wavemark_stale ({}) ON COMMIT DROP", columns.join(", "));
    transaction.batch_execute(&create).await.map_err(failed)?;
    let sink: CopyInSink<Bytes> =
        transaction.copy_in("COPY pg_temp.wavemark_stale FROM STDIN (FORMAT binary)").await.map_err(failed)?;
    pin_mut!(sink);
    let mut writer = Writer::new();
    for key in stale.iter() {
        let mut batch = Batch::default();
        let row = batch.begin_row();
        for cell in &key {
            batch.push_value(cell);
        }
        batch.push_change(plan.id, wavemark_domain::ChangeKind::Delete, Some(row), None);
        let change = batch.changes()[0];
        let cells = batch.old(&change, key.len()).unwrap_or_default();
        writer.begin(cells.len());
        for (cell, at) in cells.iter().zip(&target.key) {
            writer.cell(&batch, *cell, &target.columns[*at])?;
        }
        if writer.len() > 64 * 1024 {
            sink.send(writer.take()).await.map_err(failed)?;
        }
    }
    writer.end();
    sink.send(writer.take()).await.map_err(failed)?;
    sink.finish().await.map_err(failed)?;
    let condition: Vec<String> = target
        .key
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let column = &target.columns[*column];
            format!("t.{} {} {}", column.name, column.equals, column.given(&format!("s.k{at}")))
        })
        .collect();
    let delete = format!(
        "ANALYZE pg_temp.wavemark_stale; DELETE FROM {} AS t USING pg_temp.wavemark_stale AS s WHERE {}",
        target.alone(),
        condition.join(" AND ")
    );
    transaction.batch_execute(&delete).await.map_err(failed)
}
