//! How a snapshot and a place in the log come to fit together.
//!
//! 1. Leftovers of the same generation go: the caller knows that the target holds nothing of it; so do those of the
//!    generations before, which a reload has replaced. Names carry the epoch that made them, so that a worker that was
//!    overtaken can't remove what its successor made; and should it make its own late, the successor's is the newer
//!    one, and counts.
//! 2. The publication is made and committed, so that the slot's log has it from its first record on. Of a standby it
//!    was made at the primary (`standby`).
//! 3. The slot is made and exports the snapshot of its consistent point P: a transaction is in the snapshot exactly
//!    if its commit record lies before P, that is if it ended at or before P.
//! 4. A second session imports the snapshot; from then on two sessions keep it.
//! 5. Transactions that the snapshot counts as committed are waited for until the server's own tables say so too.
//!    The slot's snapshot is built from the log, and the log has a commit before the shared tables have it: a scan
//!    in between would miss that transaction's rows, and the log, read from P, would not bring them either.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use wavemark_connector::{TaskContext, crash};
use wavemark_domain::{Fault, Problem, TablePlan};

use super::view::SnapshotView;
use super::{events, names, session, slot, standby};
use crate::error;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Connection, Lsn, SlotLife, SlotSnapshot};

/// How long a commit may take from its log record to the shared tables; it waits there for a synchronous standby.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long a slot may wait for the transactions that were open before it, before that is told as a problem.
const SLOT_PATIENCE: Duration = Duration::from_mins(5);

/// A snapshot that a session keeps, and the place that it belongs to.
pub(super) struct Exported {
    /// The session that made it. It does nothing more: its next command would end the snapshot.
    pub(super) keeper: Keeper,
    /// The snapshot's name.
    pub(super) snapshot: String,
    /// As of where.
    pub(super) place: Place,
}

/// A session that keeps a snapshot for as long as it lives.
#[expect(dead_code, reason = "held for its lifetime")]
pub(super) enum Keeper {
    /// The session that made a slot.
    Slot(Connection),
    /// An ordinary transaction.
    Transaction(Client),
}

/// Makes what the source keeps, and the first view.
pub(super) async fn begin(
    settings: &Settings,
    task: &TaskContext,
    plan: &[TablePlan],
) -> Result<SnapshotView, Problem> {
    if !task.kind.follows() {
        return SnapshotView::open(settings, task, unkept(settings, task).await?).await;
    }
    let name = names::artefact(task);
    let control = session::ordinary(settings, task, "control").await?;
    let is_standby = standby::is_one(&control).await?;
    let found = slot::find(&control, task).await?;
    slot::newest(&found, task)?;
    let aside = slot::find_aside(&control, task).await?;
    for leftover in aside.iter().chain(&found).filter(|artefact| artefact.generation <= task.generation.0) {
        slot::remove_slot(&control, &leftover.name).await?;
        if !is_standby {
            slot::remove_publication(&control, &leftover.name).await?;
        }
    }
    events::ensure(&control, task).await?;
    let is_told = events::settle(&control, task).await;
    // Opened first: what can't be connected to leaves no publication behind.
    let connection = session::replication(settings, &task.name, "snapshot").await?;
    if is_standby {
        standby::is_published(&control, task, plan).await?;
    } else {
        slot::publish(&control, task, &name, plan).await?;
    }
    // A standby can't hand on what is its own.
    let life = if is_standby { SlotLife::Permanent } else { SlotLife::Failover };
    let exported = export_by(connection, &name, life).await?;
    if is_told && task.kind.loads() && !is_standby {
        // A table that is loaded is as its plan when it is entered, after this place.
        events::note_heard(&control, &name, Some(exported.place.lsn)).await;
    }
    let view = SnapshotView::open(settings, task, exported).await?;
    crash::point("source.begun");
    Ok(view)
}

/// Another view, by a slot that goes with its session. What the publication has of these tables is made right before: the
/// mapping may have been edited since their load began.
pub(super) async fn again(
    settings: &Settings,
    task: &TaskContext,
    tables: &[TablePlan],
) -> Result<SnapshotView, Problem> {
    let exported = if task.kind.follows() {
        let control = session::ordinary(settings, task, "control").await?;
        publish_more(&control, task, tables).await?;
        drop(control);
        export(settings, task, &names::temporary(task), SlotLife::Temporary).await?
    } else {
        unkept(settings, task).await?
    };
    SnapshotView::open(settings, task, exported).await
}

/// A view with a slot of its own that keeps the log from there on, for tables that are loaded while others are followed.
///
/// Tables that were chosen since the publication was made are added to it, and that is committed, before the slot.
pub(super) async fn aside(
    settings: &Settings,
    task: &TaskContext,
    tables: &[TablePlan],
) -> Result<SnapshotView, Problem> {
    let control = session::ordinary(settings, task, "control").await?;
    // The others go on; a person may mend it meanwhile.
    publish_more(&control, task, tables).await.map_err(|problem| match problem.fault {
        Fault::Settings => standby::waited_for(problem),
        _ => problem,
    })?;
    end_aside_with(&control, task).await?;
    let exported = export(settings, task, &names::aside(task), SlotLife::Permanent).await?;
    let view = SnapshotView::open(settings, task, exported).await?;
    crash::point("aside.begun");
    Ok(view)
}

/// Has the task's publication give these tables as they are planned.
async fn publish_more(control: &Client, task: &TaskContext, tables: &[TablePlan]) -> Result<(), Problem> {
    let Some(own) = slot::newest(&slot::find(control, task).await?, task)?.cloned() else { return Ok(()) };
    let publication = slot::publication(control, task, &own.name).await?;
    if standby::is_one(control).await? {
        return slot::publish_more_at_primary(control, task, &publication, tables).await;
    }
    slot::publish_more(control, task, &publication, tables).await
}

/// Drops the slots for tables loaded aside, unless a successor made one.
pub(super) async fn end_aside(settings: &Settings, task: &TaskContext) -> Result<(), Problem> {
    end_aside_with(&session::ordinary(settings, task, "control").await?, task).await
}

async fn end_aside_with(control: &Client, task: &TaskContext) -> Result<(), Problem> {
    let found = slot::find_aside(control, task).await?;
    slot::newest(&found, task)?;
    for leftover in found.iter().filter(|artefact| artefact.generation <= task.generation.0) {
        slot::remove(control, &leftover.name).await?;
    }
    Ok(())
}

fn waits(name: &str) -> Problem {
    let text = format!(
        "The replication slot {name} was not made within {} s: it waits for transactions that were open before.",
        SLOT_PATIENCE.as_secs()
    );
    Problem::transient("slot-waits", text).advice(format!(
        "End them: SELECT pid, usename, xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY \
         xact_start; and see pg_prepared_xacts. {}",
        standby::NEEDS_RECORD
    ))
}

async fn export(settings: &Settings, task: &TaskContext, name: &str, life: SlotLife) -> Result<Exported, Problem> {
    export_by(session::replication(settings, &task.name, "snapshot").await?, name, life).await
}

/// The same on a connection that is open.
pub(super) async fn export_by(mut connection: Connection, name: &str, life: SlotLife) -> Result<Exported, Problem> {
    let doing = format!("create the replication slot {name}");
    let identity = connection.identify_system().await.map_err(|error| error::wire(&error, &doing))?;
    let slot = tokio::time::timeout(SLOT_PATIENCE, connection.create_slot(name, life, SlotSnapshot::Export))
        .await
        .map_err(|_| waits(name))?
        .map_err(|error| error::wire(&error, &doing))?;
    let snapshot =
        slot.snapshot.ok_or_else(|| Problem::internal("A slot was made but exported no snapshot.".to_owned()))?;
    let place = Place { system: identity.system_id, timeline: identity.timeline, lsn: slot.consistent_point };
    Ok(Exported { keeper: Keeper::Slot(connection), snapshot, place })
}

/// A view for a task that doesn't follow: no slot, and so a place that is only told to people.
async fn unkept(settings: &Settings, task: &TaskContext) -> Result<Exported, Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, "export a snapshot");
    let client = session::ordinary(settings, task, "snapshot").await?;
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
    let row = client
        .query_one(
            "SELECT pg_export_snapshot(), (SELECT system_identifier FROM pg_control_system()), \
             (SELECT timeline_id FROM pg_control_checkpoint()), \
             (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END \
              - '0/0'::pg_lsn)::int8",
            &[],
        )
        .await
        .map_err(failed)?;
    let place = Place {
        system: row.get::<_, i64>(1).cast_unsigned(),
        timeline: row.get::<_, i32>(2).cast_unsigned(),
        lsn: Lsn(row.get::<_, i64>(3).cast_unsigned()),
    };
    Ok(Exported { keeper: Keeper::Transaction(client), snapshot: row.get(0), place })
}

/// Step 5: waits until every transaction that the snapshot counts as committed is so for everyone.
///
/// `importer` has the snapshot in an open transaction, `fresh` takes a new one with each statement.
pub(super) async fn settle(importer: &Client, fresh: &Client) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, "wait for the transactions of a snapshot");
    let snapshot: String = importer.query_one("SELECT pg_current_snapshot()::text", &[]).await.map_err(failed)?.get(0);
    if !has_range(&snapshot) {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    while unsettled(fresh, &snapshot).await.map_err(failed)? > 0 {
        if Instant::now() > deadline {
            let text = format!(
                "Transactions that the snapshot {snapshot} counts as committed are still under way after {} s.",
                PATIENCE.as_secs()
            );
            return Err(Problem::transient("snapshot-unsettled", text).advice(
                "Look for a commit that waits for a synchronous standby (pg_stat_activity, wait_event SyncRep).",
            ));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Whether a snapshot (`xmin:xmax:list`) has transactions between its bounds. The log's snapshot builder moves xmin with
/// every record of running transactions and xmax only with commits, so xmin may lie above xmax; then everything that
/// the snapshot counts as committed was over before that record, and the server refuses to read the text back.
fn has_range(snapshot: &str) -> bool {
    let mut bounds = snapshot.split(':').map(|number| number.parse::<u64>().unwrap_or(0));
    matches!((bounds.next(), bounds.next()), (Some(xmin), Some(xmax)) if xmin < xmax)
}

async fn unsettled(fresh: &Client, snapshot: &str) -> Result<i64, tokio_postgres::Error> {
    let statement = "\
        WITH given AS (SELECT $1::text::pg_snapshot AS snapshot), \
        committed AS ( \
            SELECT n::text::xid8 AS xid \
            FROM given, generate_series(pg_snapshot_xmin(snapshot)::text::int8, \
                                        pg_snapshot_xmax(snapshot)::text::int8 - 1) n \
            WHERE pg_visible_in_snapshot(n::text::xid8, snapshot)) \
        SELECT count(*) FROM committed \
        WHERE pg_xact_status(xid) = 'in progress' OR NOT pg_visible_in_snapshot(xid, pg_current_snapshot())";
    Ok(fresh.query_one(statement, &[&snapshot]).await?.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_whose_lower_bound_is_above_has_nothing_to_wait_for() {
        assert!(has_range("749:752:750"));
        assert!(!has_range("749:749:"));
        assert!(!has_range("760:755:"));
    }
}
