//! Where the log stands and what it keeps for a task; the counters of tables; the last of a task.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row};
use wavemark_connector::TaskContext;
use wavemark_connector::source::{Counter, LeftBehind, LogState};
use wavemark_domain::{Position, Problem, TablePlan};

use super::names::{literal, prefix, task_prefix};
use super::{events, named, session, slot, standby};
use crate::error;
use crate::native::TableNative;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::Lsn;

const LOG: &str = "\
    WITH log AS MATERIALIZED ( \
        SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END \
                - '0/0'::pg_lsn)::int8 AS ends, \
               (SELECT system_identifier FROM pg_control_system()) AS system, \
               (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline, \
               pg_size_bytes(current_setting('max_slot_wal_keep_size')) AS most) \
    SELECT log.ends, log.system, log.timeline, log.most, s.slot_name::text, \
           (s.restart_lsn - '0/0'::pg_lsn)::int8, s.safe_wal_size \
    FROM log LEFT JOIN pg_replication_slots s ON true";

/// The log's end and what every slot keeps of it, as of one moment: asked for once, it answers for all tasks.
pub(super) struct Log {
    end: Place,
    /// The most that any slot keeps.
    most: Option<u64>,
    slots: BTreeMap<String, Slot>,
}

struct Slot {
    restart: Option<u64>,
    /// Bytes that may still be written before it is given up.
    safe: Option<u64>,
}

impl Log {
    pub(super) async fn read(client: &Client) -> Result<Self, Problem> {
        let failed = |error| error::driver(&error, "read the state of the source's log");
        let rows = client.query(LOG, &[]).await.map_err(failed)?;
        let first = rows.first().ok_or_else(|| Problem::internal("The source does not say where its log ends."))?;
        let end = Place {
            system: first.get::<_, i64>(1).cast_unsigned(),
            timeline: first.get::<_, i32>(2).cast_unsigned(),
            lsn: Lsn(first.get::<_, Option<i64>>(0).unwrap_or_default().cast_unsigned()),
        };
        let slot = |row: &Row| Slot {
            restart: row.get::<_, Option<i64>>(5).map(i64::cast_unsigned),
            safe: row.get::<_, Option<i64>>(6).map(|safe| u64::try_from(safe).unwrap_or(0)),
        };
        let slots = rows.iter().filter_map(|row| Some((row.get::<_, Option<String>>(4)?, slot(row)))).collect();
        Ok(Self { end, most: u64::try_from(first.get::<_, i64>(3)).ok(), slots })
    }

    /// What of it concerns a task.
    pub(super) fn state(&self, task: &TaskContext, bookmark: Option<&Position>) -> LogState {
        let bytes = |lsn: u64| self.end.lsn.0.saturating_sub(lsn);
        let slots = self.of(task);
        let kept = slots.iter().filter_map(|slot| slot.restart).min().map(bytes);
        let safe = slots.iter().filter_map(|slot| slot.safe).min();
        LogState {
            end: self.end.to_position(),
            behind_bytes: bookmark.and_then(Place::from_position).map(|bookmark| bytes(bookmark.lsn.0)),
            kept_bytes: kept,
            limit_bytes: kept.zip(safe).map(|(kept, safe)| kept + safe).or(self.most),
            drops_in_seconds: None,
        }
    }

    /// The slots of a task's generation; with the one that its settings name.
    fn of(&self, task: &TaskContext) -> Vec<&Slot> {
        let prefix = prefix(task);
        let own = self.slots.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let named = named::of(task).and_then(|named| self.slots.get(named.slot));
        own.map(|(_, slot)| slot).chain(named).collect()
    }
}

/// Drops the task's slots and publications if they keep more than so many bytes.
pub(super) async fn let_go(settings: &Settings, task: &TaskContext, more_than: u64) -> Result<Option<u64>, Problem> {
    let client = session::ordinary(settings, task, "control").await?;
    let mut found = slot::find(&client, task).await?;
    // A successor that began anew has a log of its own, and this one's measure is no longer asked for.
    slot::newest(&found, task)?;
    let kept = Log::read(&client).await?.state(task, None).kept_bytes.filter(|kept| *kept > more_than);
    if kept.is_some() {
        found.extend(slot::find_aside(&client, task).await?);
        let is_standby = standby::is_one(&client).await?;
        for artefact in found.iter().filter(|artefact| artefact.generation <= task.generation.0) {
            slot::remove_slot(&client, &artefact.name).await?;
            if !is_standby {
                slot::remove_publication(&client, &artefact.name).await?;
            }
        }
    }
    Ok(kept)
}

/// Sequences that columns own, are, or take their defaults from, with the last value that each gave.
pub(super) async fn counters(client: &Client, plan: &[TablePlan]) -> Result<Vec<Counter>, Problem> {
    let statement = "\
        WITH feeds AS ( \
            SELECT d.refobjid AS relation, d.refobjsubid AS attnum, d.objid AS sequence FROM pg_depend d \
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') \
            UNION \
            SELECT f.adrelid, f.adnum, d.refobjid FROM pg_attrdef f JOIN pg_depend d ON d.objid = f.oid \
            WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass) \
        SELECT f.relation, a.attname::text, \
               CASE WHEN has_sequence_privilege(c.oid, 'USAGE, SELECT') THEN pg_sequence_last_value(c.oid) END \
        FROM feeds f JOIN pg_class c ON c.oid = f.sequence AND c.relkind = 'S' \
        JOIN pg_attribute a ON a.attrelid = f.relation AND a.attnum = f.attnum \
        WHERE f.relation = any($1) \
        ORDER BY f.relation, f.attnum";
    let oids: Vec<u32> =
        plan.iter().map(|table| TableNative::of(&table.source).map_or(0, |native| native.oid)).collect();
    let rows = client
        .query(statement, &[&oids])
        .await
        .map_err(|error| error::driver(&error, "read the source's sequences"))?;
    let counter = |row: &tokio_postgres::Row| {
        let at = oids.iter().position(|oid| *oid == row.get::<_, u32>(0))?;
        Some(Counter { table: plan.get(at)?.id, column: row.get(1), last_value: row.get(2) })
    };
    Ok(rows.iter().filter_map(counter).collect())
}

/// Removes slots and publications of all generations up to the task's; a slot that people made only if they said so.
pub(super) async fn clean_up(settings: &Settings, task: &TaskContext) -> Result<(), LeftBehind> {
    let left = |problem: Problem| LeftBehind { problem, statements: statements(task) };
    let client = session::ordinary(settings, task, "control").await.map_err(left)?;
    let mut found = slot::find_aside(&client, task).await.map_err(left)?;
    found.extend(slot::find(&client, task).await.map_err(left)?);
    let ours = || found.iter().filter(|artefact| artefact.generation <= task.generation.0);
    // A standby's publication can only go at its primary; the slots, which keep log, go all the same.
    for artefact in ours() {
        slot::remove_slot(&client, &artefact.name).await.map_err(left)?;
    }
    named::clean_up(&client, task).await.map_err(left)?;
    for artefact in ours() {
        slot::remove_publication(&client, &artefact.name).await.map_err(left)?;
    }
    events::remove_last(&client).await.map_err(left)
}

/// What a person runs in the source's database when we can't; of a standby the last at its primary.
fn statements(task: &TaskContext) -> Vec<String> {
    let prefix = literal(&task_prefix(task.task));
    let slots = format!("FROM pg_replication_slots WHERE starts_with(slot_name::text, {prefix})");
    let mut statements = vec![
        format!("SELECT pg_terminate_backend(active_pid) {slots} AND active;"),
        format!("SELECT pg_drop_replication_slot(slot_name) {slots};"),
        format!(
            "DO $$ DECLARE p name; BEGIN FOR p IN SELECT pubname FROM pg_publication WHERE \
             starts_with(pubname::text, {prefix}) LOOP EXECUTE format('DROP PUBLICATION %I', p); END LOOP; END $$;"
        ),
    ];
    statements.extend(named::statement(task));
    statements.extend(events::statement(task));
    statements
}
