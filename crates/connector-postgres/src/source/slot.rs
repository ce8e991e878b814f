//! Slot and publication: made, found, freed, removed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{Column, Fault, Problem, TableName, TablePlan};

use super::layout::changed;
use super::names::{ASIDE, by_hand, literal, numbers, quoted, task_prefix};
use super::shape::{self, Shape, Shapes};
use super::{rows, standby, watch};
use crate::error;
use crate::native::TableNative;
use crate::wire::quote_identifier;

/// How long a slot's holder may take to go once it was told to.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// What a task keeps at its source: a slot and a publication of one name, or a slot alone for tables loaded aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Artefact {
    pub(super) name: String,
    pub(super) generation: i32,
    /// The grant that made it.
    pub(super) epoch: i64,
}

/// Every slot or publication of a task, the newest last; without the slots for tables that are loaded aside.
pub(super) async fn find(client: &Client, task: &TaskContext) -> Result<Vec<Artefact>, Problem> {
    let found = find_named(client, task).await?;
    Ok(artefacts(&found, task, |name| Some(name)))
}

/// Every slot for tables that are loaded aside, the newest last.
pub(super) async fn find_aside(client: &Client, task: &TaskContext) -> Result<Vec<Artefact>, Problem> {
    let found = find_named(client, task).await?;
    Ok(artefacts(&found, task, |name| name.strip_suffix(ASIDE)))
}

/// The names that have a generation and an epoch where `of` finds them.
fn artefacts(names: &[String], task: &TaskContext, of: impl Fn(&str) -> Option<&str>) -> Vec<Artefact> {
    let artefact = |name: &String| {
        let (generation, epoch) = numbers(of(name)?, task.task)?;
        Some(Artefact { name: name.clone(), generation, epoch })
    };
    let mut found: Vec<Artefact> = names.iter().filter_map(artefact).collect();
    found.sort_by_key(|artefact| (artefact.generation, artefact.epoch));
    found
}

async fn find_named(client: &Client, task: &TaskContext) -> Result<Vec<String>, Problem> {
    let statement = "\
        SELECT slot_name::text FROM pg_replication_slots WHERE starts_with(slot_name::text, $1) AND NOT temporary \
        UNION SELECT pubname::text FROM pg_publication WHERE starts_with(pubname::text, $1)";
    let rows = client
        .query(statement, &[&task_prefix(task.task)])
        .await
        .map_err(|error| error::driver(&error, "look up slots and publications of the task"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The task's own of this generation: that of the highest epoch. One above the task's epoch was made by a successor.
pub(super) fn newest<'a>(found: &'a [Artefact], task: &TaskContext) -> Result<Option<&'a Artefact>, Problem> {
    let newest = found.iter().rfind(|artefact| artefact.generation == task.generation.0);
    match newest {
        Some(newest) if newest.epoch > task.epoch.0 => {
            let text = format!("Epoch {} of the task has made slot and publication of its own.", newest.epoch);
            Err(Problem::new(Fault::Fenced, "fenced", text))
        }
        newest => Ok(newest),
    }
}

/// Removes a slot and its publication.
pub(super) async fn remove(client: &Client, name: &str) -> Result<(), Problem> {
    remove_slot(client, name).await?;
    remove_publication(client, name).await
}

/// The name of the publication that a slot is read with: its own, unless people made it.
pub(super) async fn publication(client: &Client, task: &TaskContext, slot: &str) -> Result<String, Problem> {
    let statement = "SELECT pubname::text FROM pg_publication WHERE pubname IN ($1, $2) ORDER BY pubname <> $1 LIMIT 1";
    let row = client
        .query_opt(statement, &[&slot, &by_hand(task)])
        .await
        .map_err(|error| error::driver(&error, &format!("look up the publication of the slot {slot}")))?;
    Ok(row.map_or_else(|| slot.to_owned(), |row| row.get(0)))
}

/// Ends the session that holds a slot, if one does: a sender behind a broken network holds it until its own
/// timeout, and only we name slots so. Returns once the slot is free or gone.
pub(super) async fn free(client: &Client, slot: &str) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, &format!("free the replication slot {slot}"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = client
            .query_opt(
                "SELECT active_pid, pg_terminate_backend(active_pid) FROM pg_replication_slots \
                 WHERE slot_name = $1 AND active_pid IS NOT NULL",
                &[&slot],
            )
            .await
            .map_err(failed)?;
        let Some(row) = held else { return Ok(()) };
        if Instant::now() > deadline {
            let pid: i32 = row.get(0);
            let text = format!("The replication slot {slot} is still held by server process {pid}.");
            return Err(Problem::transient("slot-held", text)
                .advice(format!("End that process: SELECT pg_terminate_backend({pid});")));
        }
        sleep(PAUSE).await;
    }
}

/// Ends a session if it is the one that holds a slot.
pub(super) async fn end(client: &Client, slot: &str, pid: i32) -> Result<(), Problem> {
    let sql =
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid = $2";
    let ended = client.execute(sql, &[&slot, &pid]).await;
    ended.map(drop).map_err(|error| error::driver(&error, &format!("free the replication slot {slot}")))
}

/// Removes a slot, whoever holds it.
pub(super) async fn remove_slot(client: &Client, slot: &str) -> Result<(), Problem> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        free(client, slot).await?;
        let dropped = client
            .execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
                &[&slot],
            )
            .await;
        match dropped {
            Ok(_) => return Ok(()),
            // Held again, or gone, since the look before.
            Err(error) if Instant::now() < deadline && is_race(&error) => sleep(PAUSE).await,
            Err(error) => return Err(error::driver(&error, &format!("drop the replication slot {slot}"))),
        }
    }
}

fn is_race(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "55006" | "42704"))
}

/// Removes a publication; its tables stay as they are. A standby refuses only to remove one that is there.
pub(super) async fn remove_publication(client: &Client, publication: &str) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, &format!("drop the publication {publication}"));
    let found = client.query_opt("SELECT 1 FROM pg_publication WHERE pubname = $1", &[&publication]).await;
    if found.map_err(failed)?.is_none() {
        return Ok(());
    }
    let statement = format!("DROP PUBLICATION IF EXISTS {}", quote_identifier(publication));
    client.batch_execute(&statement).await.map_err(failed)
}

/// A publication as it is now.
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
pub(super) struct Published {
    /// Whether it gives every kind of change.
    pub(super) is_whole: bool,
    /// Whether partitions come under the name of their root.
    pub(super) via_root: bool,
    /// Whether it has stored generated columns of tables for which it names no columns (version 18 and newer).
    pub(super) generated: bool,
    /// Whether it has all tables, rather than named ones.
    has_all: bool,
    /// Its tables, by OID, however it came to have them.
    pub(super) tables: BTreeSet<u32>,
    /// What it has of them.
    pub(super) shapes: Shapes,
}

impl Published {
    /// Looks a publication up; `None` if there is none.
    pub(super) async fn read(client: &Client, name: &str) -> Result<Option<Self>, Problem> {
        let failed = |error: tokio_postgres::Error| error::driver(&error, &format!("look up the publication {name}"));
        let head = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot, puballtables, \
                    coalesce(to_jsonb(p) ->> 'pubgencols', 'n') = 's' FROM pg_publication p WHERE pubname = $1";
        let Some(head) = client.query_opt(head, &[&name]).await.map_err(failed)? else { return Ok(None) };
        // What the view of published tables asks, without its joins over all tables.
        let tables = "SELECT t.relid FROM pg_publication p CROSS JOIN LATERAL \
                      pg_get_publication_tables(p.pubname::text) t WHERE p.pubname = $1";
        let tables = client.query(tables, &[&name]).await.map_err(failed)?;
        Ok(Some(Self {
            is_whole: head.get(0),
            via_root: head.get(1),
            has_all: head.get(2),
            generated: head.get(3),
            tables: tables.iter().map(|row| row.get(0)).collect(),
            shapes: shape::read(client, name).await?,
        }))
    }

    /// What it has of a table that it has.
    pub(super) fn shape(&self, oid: u32) -> Shape {
        self.shapes.get(&oid).cloned().unwrap_or_default()
    }

    /// Whether it still is as [`statement`] makes it.
    pub(super) fn is_as_made(&self) -> bool {
        self.is_whole && self.via_root && !self.has_all
    }
}

/// Publishes the planned tables, partitions under the name of their root. Views can't be.
///
/// A table whose rows the log can't name, or not those that are filtered, is refused: publishing it would make its users'
/// updates fail.
pub(super) async fn publish(
    client: &Client,
    task: &TaskContext,
    name: &str,
    plan: &[TablePlan],
) -> Result<(), Problem> {
    checked(client, (task, plan), &statement(task, name, plan)?, &format!("create the publication {name}")).await
}

/// Alters publications; nothing is done if updates of a table would fail then. The statement's locks keep what is checked
/// as it is, for tables without partitions.
async fn checked(
    client: &Client,
    (task, plan): (&TaskContext, &[TablePlan]),
    statement: &str,
    doing: &str,
) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, doing);
    client.batch_execute("BEGIN").await.map_err(failed)?;
    let done = match client.batch_execute(statement).await {
        Ok(()) => shape::check(client, plan, &task.settings).await,
        // It went since the plan was made: the next plan is without it.
        Err(error) if is_missing(&error) => Err(Problem { fault: Fault::Transient, ..failed(error) }),
        Err(error) => Err(failed(error)),
    };
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    done.and(client.batch_execute(end).await.map_err(failed))
}

fn is_missing(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "42P01" | "3F000"))
}

/// What makes the publication.
pub(super) fn statement(task: &TaskContext, name: &str, plan: &[TablePlan]) -> Result<String, Problem> {
    let tables: Vec<&TablePlan> = plan.iter().filter(|table| table.source.kind != TableKind::View).collect();
    if let Some(table) = tables.iter().find(|table| !has_identity(table)) {
        return Err(no_identity(&table.source));
    }
    let list: Vec<String> = tables.iter().map(|table| entry(table, &task.settings)).collect();
    let list = if list.is_empty() { String::new() } else { format!(" FOR TABLE {}", list.join(", ")) };
    Ok(format!(
        "CREATE PUBLICATION {name}{list} WITH (publish_via_partition_root = true); \
         COMMENT ON PUBLICATION {name} IS {comment};",
        name = quote_identifier(name),
        comment = literal(&format!("Wavemark task {} ({})", task.name, task.task)),
    ))
}

/// A table in a list of those to publish.
pub(super) fn entry(table: &TablePlan, settings: &TaskSettings) -> String {
    let names = |listed: Vec<&Column>| listed.iter().map(|column| quote_identifier(&column.name)).collect::<Vec<_>>();
    let columns = shape::listed(table, settings).map(|listed| format!(" ({})", names(listed).join(", ")));
    let rows = rows::condition(table).map(|condition| format!(" WHERE ({condition})"));
    format!("ONLY {}{}{}", quoted(table.name()), columns.unwrap_or_default(), rows.unwrap_or_default())
}

/// Publishes planned tables that aren't published yet, or not as they are planned: those that are about to be loaded.
pub(super) async fn publish_more(
    client: &Client,
    task: &TaskContext,
    name: &str,
    plan: &[TablePlan],
) -> Result<(), Problem> {
    let wanted = Wanted::of(client, task, name, plan).await?;
    let Some(statement) = wanted.statement(name, &task.settings) else { return Ok(()) };
    checked(client, (task, plan), &statement, &format!("add tables to the publication {name}")).await
}

/// The same where we can't: says what has to be run.
pub(super) async fn publish_more_at_primary(
    client: &Client,
    task: &TaskContext,
    name: &str,
    plan: &[TablePlan],
) -> Result<(), Problem> {
    let wanted = Wanted::of(client, task, name, plan).await?;
    let Some(statement) = wanted.statement(name, &task.settings) else { return Ok(()) };
    shape::check(client, plan, &task.settings).await?;
    let tables: Vec<&TableName> = wanted.missing.iter().chain(&wanted.others).map(|table| table.name()).collect();
    Err(standby::lacks(name, &tables, &statement))
}

/// What a publication lacks.
struct Wanted<'a> {
    missing: Vec<&'a TablePlan>,
    /// Tables of which it has other rows or columns.
    others: Vec<&'a TablePlan>,
}

impl<'a> Wanted<'a> {
    async fn of(client: &Client, task: &TaskContext, name: &str, plan: &'a [TablePlan]) -> Result<Self, Problem> {
        let mut wanted = Self { missing: Vec::new(), others: Vec::new() };
        let Some(published) = Published::read(client, name).await? else { return Ok(wanted) };
        let oids: Vec<u32> = plan.iter().map(shape::oid).collect();
        let names = watch::names(client, &oids).await?;
        // Of one that is gone, or has another name, entering it tells.
        let is_there = |table: &&TablePlan| names.get(&shape::oid(table)) == Some(table.name());
        let wanted_of = |table: &&TablePlan| table.source.kind != TableKind::View && has_identity(table);
        for table in plan.iter().filter(wanted_of).filter(is_there) {
            let shape = published.shape(shape::oid(table));
            if !published.tables.contains(&shape::oid(table)) {
                wanted.missing.push(table);
            } else if shape.is_wider(table, &task.settings)
                || shape.differs(client, table, &task.settings).await?.is_some()
            {
                wanted.others.push(table);
            }
        }
        Ok(wanted)
    }

    fn statement(&self, name: &str, settings: &TaskSettings) -> Option<String> {
        let name = quote_identifier(name);
        let out: Vec<String> = self.others.iter().map(|table| format!("ONLY {}", quoted(table.name()))).collect();
        let into: Vec<String> = self.missing.iter().chain(&self.others).map(|table| entry(table, settings)).collect();
        let out = (!out.is_empty()).then(|| format!("ALTER PUBLICATION {name} DROP TABLE {}; ", out.join(", ")));
        let into = (!into.is_empty()).then(|| format!("ALTER PUBLICATION {name} ADD TABLE {};", into.join(", ")));
        into.map(|into| format!("{}{into}", out.unwrap_or_default()))
    }
}

/// Whether the log can name a table's rows.
pub(super) fn has_identity(table: &TablePlan) -> bool {
    identity(table.source.as_ref())
}

/// The same for a table as discovered.
pub(crate) fn identity(table: &wavemark_domain::Table) -> bool {
    let Ok(native) = TableNative::of(table) else { return false };
    native.partition_without_identity.is_none()
        && match native.replica_identity.as_str() {
            "f" => true,
            "n" => false,
            _ => !table.key.is_empty(),
        }
}

/// The problem of such a table.
pub(super) fn no_identity(table: &wavemark_domain::Table) -> Problem {
    let name = &table.name;
    let has_key = TableNative::of(table).is_ok_and(|native| native.primary_key.is_some_and(|key| !key.deferrable));
    if has_key && table.key.is_empty() {
        return changed(name, "it has a primary key by now, and its rows in the target were not loaded by one");
    }
    let (what, sql) = match TableNative::of(table).ok().and_then(|native| native.partition_without_identity) {
        Some(partition) => (format!("Partition {partition} of table {name}"), partition),
        None => (format!("Table {name}"), quoted(name)),
    };
    let text = format!(
        "{what} has neither a primary key (a deferrable one is none here) nor a replica identity, so the log can't say which \
         row changed."
    );
    Problem::new(Fault::Settings, "no-replica-identity", text)
        .advice(format!("ALTER TABLE {sql} REPLICA IDENTITY FULL;"))
        .table(name)
}
