//! Opening the log: first it is proved that the source still has the position, then the slot is streamed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_connector::source::{KeptFor, Replan};
use wavemark_connector::spill::Spill;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::layout::RenamedTablePolicy;
use wavemark_domain::{Fault, Position, Problem, TableId, TablePlan};

use super::assembler::Assembler;
use super::doubts::Doubt;
use super::events::{self, Hearing};
use super::known::Known;
use super::layout::Expected;
use super::reader::{Layouts, LogReader};
use super::streamed::Streamed;
use super::watch::{self, Watch};
use super::writer::Writer;
use super::{canonical, made_of, named, names, oversized, session, slot, unspoken};
use crate::error;
use crate::native::TableNative;
use crate::position::{Place, describe};
use crate::settings::Settings;
use crate::wire::{Connection, Lsn, PgoutputOptions, ReplicationStream, Streaming};

const PATIENCE: Duration = Duration::from_secs(15);

/// Opens the log after `from`, as it is kept for the task or for what is loaded aside.
pub(super) async fn open(
    settings: &Settings,
    task: &TaskContext,
    plan: &[TablePlan],
    from: &Position,
    kept: KeptFor,
    (streaming, replan): (Streaming, Option<Arc<dyn Replan>>),
) -> Result<LogReader, Problem> {
    let bookmark = Place::from_position(from).ok_or_else(|| {
        lost("another-system", "The bookmark is not a position of a PostgreSQL server.".to_owned(), from)
    })?;
    let control = session::ordinary(settings, task, "control").await?;
    let (own, publication) = own(&control, task, from).await?;
    let name = match kept {
        KeptFor::Task => own,
        KeptFor::Aside => own_aside(&control, task).await?,
    };
    let confirmed = check_slot(&control, &name, bookmark, from).await.map_err(|problem| match kept {
        KeptFor::Task => problem,
        // Only the load that goes on aside has lost its position: it begins again.
        KeptFor::Aside => Problem { fault: Fault::Transient, ..problem },
    })?;
    // What goes to another system is read as text, all of it.
    let as_text = canonical::are_wanted(plan);
    let mut connection = log_session(settings, task, as_text).await?;
    let place = check_system(&mut connection, bookmark, from).await?;
    let published = published(&control, task, &publication, from).await?;
    events::ensure(&control, task).await?;
    let (hearing, token) = Hearing::begin(&control, task, &publication, (bookmark.lsn, replan.is_some())).await?;
    let are_told = hearing.are_told();
    let (known, mut doubtful) = Known::begin(&control, plan).await?;
    // Where every alteration is told, the log says what became of these.
    let told_of = if are_told { std::mem::take(&mut doubtful) } else { Vec::new() };
    let (from, mut doubts) = (unspoken::end(&control).await?, Vec::new());
    doubts.extend(told_of.into_iter().map(|(table, problem)| Doubt { from, table, problem, unless_told: true }));
    let mut writer = Writer::new(expected(plan)?, doubtful).refusing_above(oversized::most(&task.settings));
    if replan.is_some() {
        writer = writer.following_layouts();
        writer = writer.following_names(task.settings.renamed_tables == RenamedTablePolicy::Apply);
    }
    let (dropped, read) = dropped(&control, plan, &published).await?;
    for table in plan.iter().filter(|table| is_followed(table)) {
        let oid = oid(table)?;
        if replan.is_some() && dropped.contains(&table.id) {
            continue;
        }
        if !published.tables.contains(&oid) {
            writer.end_table(table.id, "it is not in the task's publication any more");
        } else if let Some(how) = published.shape(oid).differs(&control, table, &task.settings).await? {
            writer.end_table(table.id, how);
        }
    }
    for (table, how) in made_of::altered(&control, plan.iter()).await? {
        writer.end_table(table, &how);
    }
    let slot = Slot { name: &name, publication: &publication, as_text };
    let stream = start(settings, task, &control, connection, slot, (bookmark.lsn, streaming)).await?;
    let budget = (task.settings.memory_mib as usize) << 18;
    let spill = Spill::new(task.spill_dir.clone(), u64::from(task.settings.spill_mib) << 20);
    let widths = plan.iter().map(|table| table.columns.len()).collect();
    let mut assembler = Assembler::new(place, writer, widths, Streamed::new(budget, spill)).hearing(token);
    if replan.is_some() {
        assembler.expect_end(read, &dropped);
    }
    for doubt in doubts {
        assembler.doubt(doubt);
    }
    let watch = Watch::begin(&control, &publication, plan, &task.settings).await?;
    let layouts = Layouts { known, replan, hearing };
    Ok(LogReader::new(settings, task, stream, assembler, (confirmed, watch, layouts)))
}

/// The tables that are gone, and how far the log must be read to have every change of them.
async fn dropped(
    control: &Client,
    plan: &[TablePlan],
    published: &slot::Published,
) -> Result<(Vec<TableId>, Lsn), Problem> {
    let followed = plan.iter().filter(|table| is_followed(table));
    let known: Vec<(TableId, u32)> =
        followed.map(|table| Ok((table.id, oid(table)?))).collect::<Result<_, Problem>>()?;
    let missing: Vec<u32> = known.iter().map(|(_, oid)| *oid).filter(|oid| !published.tables.contains(oid)).collect();
    if missing.is_empty() {
        return Ok((Vec::new(), Lsn(0)));
    }
    let there = watch::names(control, &missing).await?;
    let is_gone = |oid: &u32| missing.contains(oid) && !there.contains_key(oid);
    let dropped = known.iter().filter(|(_, oid)| is_gone(oid)).map(|(table, _)| *table).collect();
    Ok((dropped, unspoken::end(control).await?))
}

/// Checks what [`open`] does before it opens the log, and changes nothing.
pub(super) async fn still_has(settings: &Settings, task: &TaskContext, from: &Position) -> Result<(), Problem> {
    let bookmark = Place::from_position(from).ok_or_else(|| {
        lost("another-system", "The bookmark is not a position of a PostgreSQL server.".to_owned(), from)
    })?;
    let control = session::ordinary(settings, task, "control").await?;
    let (own, publication) = if let Some(named) = named::of(task) {
        (named.slot.to_owned(), named.publication.to_owned())
    } else {
        let found = slot::find(&control, task).await?;
        let text = || format!("The replication slot {}… is gone.", names::prefix(task));
        let newest = slot::newest(&found, task)?.ok_or_else(|| lost("slot-missing", text(), from))?;
        (newest.name.clone(), slot::publication(&control, task, &newest.name).await?)
    };
    check_slot(&control, &own, bookmark, from).await?;
    let mut connection = session::replication(settings, &task.name, "look").await?;
    check_system(&mut connection, bookmark, from).await?;
    published(&control, task, &publication, from).await.map(drop)
}

/// The names of the task's slot and publication. What an overtaken worker made late keeps log for nobody, and goes.
async fn own(control: &Client, task: &TaskContext, from: &Position) -> Result<(String, String), Problem> {
    if let Some(named) = named::of(task) {
        return Ok((named.slot.to_owned(), named.publication.to_owned()));
    }
    let found = slot::find(control, task).await?;
    let newest = slot::newest(&found, task)?.ok_or_else(|| {
        let text = format!("The replication slot {}… is gone.", names::prefix(task));
        lost("slot-missing", text, from)
    })?;
    // What people made has epoch 0, and is in use.
    let stale =
        |other: &&slot::Artefact| other.generation == newest.generation && (1..newest.epoch).contains(&other.epoch);
    for stale in found.iter().filter(stale) {
        slot::remove(control, &stale.name).await?;
    }
    let publication = slot::publication(control, task, &newest.name).await?;
    Ok((newest.name.clone(), publication))
}

/// The name of the slot for tables that are loaded aside.
async fn own_aside(control: &Client, task: &TaskContext) -> Result<String, Problem> {
    let found = slot::find_aside(control, task).await?;
    let gone = || Problem::transient("slot-missing", "The replication slot of the load that goes on aside is gone.");
    slot::newest(&found, task)?.map(|newest| newest.name.clone()).ok_or_else(gone)
}

/// Whether the slot for tables that are loaded aside is there and keeps the log after `since`.
pub(super) async fn keeps_aside(settings: &Settings, task: &TaskContext, since: &Position) -> Result<bool, Problem> {
    let Some(place) = Place::from_position(since) else { return Ok(false) };
    let control = session::ordinary(settings, task, "control").await?;
    let found = slot::find_aside(&control, task).await?;
    let Some(newest) = slot::newest(&found, task)? else { return Ok(false) };
    match check_slot(&control, &newest.name, place, since).await {
        Ok(_) => Ok(true),
        Err(problem) if problem.fault == Fault::PositionLost => Ok(false),
        Err(problem) => Err(problem),
    }
}

fn is_followed(table: &TablePlan) -> bool {
    table.source.kind != TableKind::View
}

fn expected(plan: &[TablePlan]) -> Result<Vec<Expected>, Problem> {
    plan.iter().filter(|table| is_followed(table)).map(Expected::of).collect()
}

pub(super) fn oid(table: &TablePlan) -> Result<u32, Problem> {
    TableNative::of(&table.source)
        .map(|native| native.oid)
        .map_err(|error| Problem::internal(format!("The plan of table {} can't be read: {error}.", table.name())))
}

fn lost(code: &str, text: String, at: &Position) -> Problem {
    Problem::new(Fault::PositionLost, code, text)
        .advice("Reload the task: changes since the bookmark may be missing.")
        .position(describe(at))
}

/// The slot must be ours, alive, and not past the bookmark: the server would skip forward in silence.
pub(super) async fn check_slot(control: &Client, slot: &str, bookmark: Place, from: &Position) -> Result<Lsn, Problem> {
    let row = control
        .query_opt(
            "SELECT plugin::text, database = current_database(), wal_status, \
                    (restart_lsn - '0/0'::pg_lsn)::int8, (confirmed_flush_lsn - '0/0'::pg_lsn)::int8, \
                    to_jsonb(s) ->> 'invalidation_reason', (to_jsonb(s) ->> 'conflicting')::bool \
             FROM pg_replication_slots s WHERE slot_name = $1",
            &[&slot],
        )
        .await
        .map_err(|error| error::driver(&error, &format!("look up the replication slot {slot}")))?;
    let Some(row) = row else {
        return Err(lost("slot-missing", format!("The replication slot {slot} is gone."), from));
    };
    let ours = row.get::<_, Option<&str>>(0) == Some("pgoutput") && row.get::<_, Option<bool>>(1) == Some(true);
    if !ours {
        return Err(lost("slot-recreated", format!("The replication slot {slot} is not the one that was made."), from));
    }
    if row.get::<_, Option<&str>>(2) == Some("lost") || row.get::<_, Option<i64>>(3).is_none() {
        let (why, advice) = invalidated(row.get(5), row.get::<_, Option<bool>>(6) == Some(true));
        return Err(lost(
            "slot-invalidated",
            format!("The source invalidated the replication slot {slot}: {why}."),
            from,
        )
        .advice(format!("Reload the task, and {advice}.")));
    }
    let confirmed = Lsn(row.get::<_, Option<i64>>(4).unwrap_or(i64::MAX).cast_unsigned());
    if confirmed > bookmark.lsn {
        let text = format!(
            "The replication slot {slot} begins at {confirmed}, after the bookmark {}: it was made again or read by \
             someone else.",
            bookmark.lsn
        );
        return Err(lost("slot-ahead", text, from));
    }
    Ok(confirmed)
}

/// Why the server gave a slot up, by the reason that it tells from version 17 on, and what keeps it from doing so again.
fn invalidated(reason: Option<&str>, conflicts: bool) -> (&'static str, &'static str) {
    match reason {
        Some("idle_timeout") => (
            "nobody read it for longer than idle_replication_slot_timeout",
            "set idle_replication_slot_timeout = 0 at the source: a task that is stopped or loads reads nothing",
        ),
        Some("wal_level_insufficient") => (
            "wal_level is no longer logical",
            "set wal_level = logical at the source, and at its primary if it is a standby",
        ),
        Some("rows_removed") => ("the source's primary removed what it needs", KEEP_ROWS),
        None if conflicts => ("it was in the way of what came from the source's primary", KEEP_ROWS),
        _ => ("it kept too much log", "raise max_slot_wal_keep_size at the source"),
    }
}

const KEEP_ROWS: &str =
    "set hot_standby_feedback = on and primary_slot_name at the source, and wal_level = logical at its primary";

/// The bookmark must lie in this server's own history.
async fn check_system(connection: &mut Connection, bookmark: Place, from: &Position) -> Result<Place, Problem> {
    let doing = "identify the source";
    let identity = connection.identify_system().await.map_err(|error| error::wire(&error, doing))?;
    if identity.system_id != bookmark.system {
        let text = format!(
            "The source is another system than the one that was loaded (identifier {} instead of {}).",
            identity.system_id, bookmark.system
        );
        return Err(lost("another-system", text, from));
    }
    let place = Place { timeline: identity.timeline, ..bookmark };
    if identity.timeline == bookmark.timeline {
        if bookmark.lsn > identity.flushed {
            let text = format!("The target is ahead of the source, whose log ends at {}.", identity.flushed);
            return Err(lost("diverged", text, from));
        }
        return Ok(place);
    }
    let history = connection.timeline_history(identity.timeline).await.map_err(|error| error::log(&error, doing))?;
    match fork(&history, bookmark.timeline) {
        Some(fork) if bookmark.lsn <= fork => Ok(place),
        Some(fork) => {
            let text = format!(
                "The source was promoted at {fork} (timeline {}); the target has changes up to {} that it never had.",
                identity.timeline, bookmark.lsn
            );
            Err(lost("diverged", text, from))
        }
        None => {
            let text = format!(
                "Timeline {} of the bookmark is not in the history of the source's timeline {}.",
                bookmark.timeline, identity.timeline
            );
            Err(lost("diverged", text, from))
        }
    }
}

/// Where a timeline was left, by a history file: lines of timeline, place and reason.
fn fork(history: &[u8], timeline: u32) -> Option<Lsn> {
    let text = std::str::from_utf8(history).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let number: u32 = fields.next()?.parse().ok()?;
        (number == timeline).then(|| fields.next()?.parse().ok())?
    })
}

/// The task's publication. One that leaves kinds of changes out has lost some.
async fn published(
    control: &Client,
    task: &TaskContext,
    name: &str,
    from: &Position,
) -> Result<slot::Published, Problem> {
    let changed = || lost("publication-changed", format!("The publication {name} was changed by someone else."), from);
    let missing = || lost("publication-missing", format!("The publication {name} is gone."), from);
    let found = slot::Published::read(control, name).await?.ok_or_else(missing)?;
    let is_good = if named::of(task).is_some() { found.is_whole } else { found.is_as_made() };
    if is_good { Ok(found) } else { Err(changed()) }
}

/// A slot, the publication that it is read with, and how.
#[derive(Clone, Copy)]
struct Slot<'a> {
    name: &'a str,
    publication: &'a str,
    as_text: bool,
}

/// A connection to read the log with.
async fn log_session(settings: &Settings, task: &TaskContext, as_text: bool) -> Result<Connection, Problem> {
    let mut connection = session::replication(settings, &task.name, "follow").await?;
    if as_text {
        let set = connection.query(canonical::SESSION).await;
        set.map_err(|error| error::wire(&error, "set up a session"))?;
    }
    Ok(connection)
}

/// Streams the slot; whoever holds it is ended. A connection that was refused is opened again.
async fn start(
    settings: &Settings,
    task: &TaskContext,
    control: &Client,
    first: Connection,
    Slot { name, publication, as_text }: Slot<'_>,
    (from, streaming): (Lsn, Streaming),
) -> Result<ReplicationStream, Problem> {
    let publications = vec![publication.to_owned()];
    let options = PgoutputOptions { publications, binary: !as_text, streaming, messages: events::are_wanted(task) };
    let deadline = Instant::now() + PATIENCE;
    let mut connection = first;
    loop {
        match named::of(task) {
            Some(named) => named::free(control, named.slot).await?,
            None => slot::free(control, name).await?,
        }
        match connection.start_replication(name, from, &options).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.code() == Some("55006") && Instant::now() < deadline => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error::log(&error, &format!("read the replication slot {name}"))),
        }
        connection = log_session(settings, task, as_text).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_given_up_is_told_with_the_servers_reason() {
        assert!(invalidated(None, false).1.contains("max_slot_wal_keep_size"));
        assert!(invalidated(Some("wal_removed"), false).1.contains("max_slot_wal_keep_size"));
        assert!(invalidated(Some("idle_timeout"), false).0.contains("idle_replication_slot_timeout"));
        assert!(invalidated(Some("rows_removed"), true).1.contains("hot_standby_feedback"));
        assert!(invalidated(None, true).1.contains("hot_standby_feedback"));
        assert!(invalidated(Some("wal_level_insufficient"), true).1.contains("wal_level"));
    }

    #[test]
    fn a_history_file_says_where_a_timeline_was_left() {
        let history = b"1\t0/5000060\tno recovery target specified\n\n2\t3A/91C0F2B8\tno recovery target specified\n";
        assert_eq!(fork(history, 1), Some(Lsn(0x500_0060)));
        assert_eq!(fork(history, 2), Some(Lsn(0x3A_91C0_F2B8)));
        assert_eq!(fork(history, 3), None);
    }
}
