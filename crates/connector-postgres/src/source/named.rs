//! A slot and a publication that people made themselves, for a task that only follows: what they loaded by other means
//! is the source as of where that slot begins.
//!
//! 1. The publication must be older than the slot: the log is read with the catalog of its own time.
//! 2. The task begins where the slot stands, or at a later place. The slot's confirmed place must not be beyond that:
//!    the server would skip forward in silence.
//! 3. From then on the slot is the task's: it is confirmed as one of ours is. Nobody else may read it.
//!
//! Neither is ours: the publication is never altered or dropped, the slot only if the settings say so.

use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_connector::spec::FieldError;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Fault, Position, Problem, TableName, TablePlan};

use super::{events, follow, names, session, slot};
use crate::error;
use crate::native::TableNative;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::Lsn;

/// The names that the settings have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) slot: &'a str,
    pub(super) publication: &'a str,
}

/// The slot and publication of the task's settings, if it follows those.
pub(super) fn of(task: &TaskContext) -> Option<Named<'_>> {
    let TaskSettings { start_slot: slot, start_publication: publication, .. } = &task.settings;
    (task.kind == TaskKind::Cdc && !slot.is_empty()).then_some(Named { slot, publication })
}

/// Whether the task has a slot of that name that is not ours to drop.
pub(crate) fn is_named(task: &TaskContext) -> bool {
    of(task).is_some()
}

/// What of the settings can't be a start, by their texts alone.
pub(crate) fn check(settings: &TaskSettings) -> Result<(), FieldError> {
    let refuse = |field: &str, text: &str| Err(FieldError { field: field.to_owned(), text: text.to_owned() });
    let TaskSettings { start_slot: slot, start_publication: publication, start_position: position, .. } = settings;
    if slot.is_empty() && !position.is_empty() {
        return refuse(
            "start_position",
            "PostgreSQL keeps its log by slots: name the one that has this place in start_slot.",
        );
    }
    if slot.is_empty() != publication.is_empty() {
        let field = if slot.is_empty() { "start_slot" } else { "start_publication" };
        return refuse(field, "A slot is read with the publication that was made before it: give both, or neither.");
    }
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if slot.len() > 63 || !slot.bytes().all(is_name) {
        return refuse("start_slot", "A slot's name has at most 63 lower-case letters, digits and underscores.");
    }
    if slot.starts_with("wavemark_") {
        return refuse("start_slot", "Slots that begin with wavemark_ are made and dropped by tasks.");
    }
    if publication.len() > 63 || publication.chars().any(char::is_control) {
        return refuse("start_publication", "A publication's name has at most 63 bytes.");
    }
    Ok(())
}

/// Makes sure that the named slot has the log from the start on, and gives the start. Nothing is made; slots of our own
/// that earlier lives of the task left are dropped.
pub(super) async fn begin(
    settings: &Settings,
    task: &TaskContext,
    named: Named<'_>,
    plan: &[TablePlan],
) -> Result<Position, Problem> {
    let control = session::ordinary(settings, task, "control").await?;
    let position = look(settings, task, named, &control).await?;
    events::ensure(&control, task).await?;
    covers(&control, task, named, plan).await?;
    for leftover in slot::find(&control, task).await?.iter().filter(|old| old.generation <= task.generation.0) {
        slot::remove_slot(&control, &leftover.name).await?;
    }
    Ok(position)
}

/// The same look without a plan, for an assessment.
pub(crate) async fn assess(settings: &Settings, task: &TaskContext) -> Result<(), Problem> {
    let Some(named) = of(task) else { return Ok(()) };
    let control = session::ordinary(settings, task, "control").await?;
    look(settings, task, named, &control).await.map(drop)
}

async fn look(
    settings: &Settings,
    task: &TaskContext,
    named: Named<'_>,
    control: &Client,
) -> Result<Position, Problem> {
    let doing = "identify the source";
    let mut connection = session::replication(settings, &task.name, "look").await?;
    let identity = connection.identify_system().await.map_err(|error| error::wire(&error, doing))?;
    let confirmed = stands(control, named).await?;
    let lsn = match task.settings.start_position.as_str() {
        "" => confirmed,
        text => text.parse().map_err(|_| {
            let text = format!("start_position \"{text}\" is not a position of PostgreSQL.");
            Problem::new(Fault::Settings, "not-a-position", text)
        })?,
    };
    if lsn > identity.flushed {
        let text = format!("The task is to start at {lsn}, and the source's log ends at {}.", identity.flushed);
        return Err(Problem::new(Fault::Settings, "start-ahead", text)
            .advice("Set start_position to a place that the log has, or leave it out."));
    }
    let place = Place { system: identity.system_id, timeline: identity.timeline, lsn };
    let position = place.to_position();
    follow::check_slot(control, named.slot, place, &position).await.map_err(|problem| {
        let advice = format!("Start at a place that {} still has, or load again with another slot.", named.slot);
        problem.advice(advice)
    })?;
    Ok(position)
}

/// Where the slot stands. One that can't be read, or that somebody reads, is refused.
async fn stands(control: &Client, named: Named<'_>) -> Result<Lsn, Problem> {
    let slot = named.slot;
    let row = control
        .query_opt(
            "SELECT slot_type, coalesce(plugin::text, ''), coalesce(database::text, ''), current_database()::text, \
                    temporary, coalesce(to_jsonb(s) ->> 'two_phase', 'false') = 'true', \
                    (confirmed_flush_lsn - '0/0'::pg_lsn)::int8 \
             FROM pg_replication_slots s WHERE slot_name = $1",
            &[&slot],
        )
        .await
        .map_err(|error| error::driver(&error, &format!("look up the replication slot {slot}")))?;
    let refuse = |text: String| Problem::new(Fault::Settings, "start-slot", text);
    let make = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput');");
    let Some(row) = row else {
        return Err(refuse(format!("There is no replication slot {slot}, which start_slot names.")).advice(make));
    };
    let text = |at: usize| row.get::<_, String>(at);
    if text(0) != "logical" || text(1) != "pgoutput" {
        let text = format!("The replication slot {slot} is not a logical one with the plugin pgoutput.");
        return Err(refuse(text).advice(make));
    }
    if text(2) != text(3) {
        return Err(refuse(format!("The replication slot {slot} is one of database {}, not of {}.", text(2), text(3))));
    }
    if row.get(4) || row.get(5) {
        let text = format!("The replication slot {slot} is temporary or has two_phase on: neither can be followed.");
        return Err(refuse(text).advice(make));
    }
    free(control, slot).await?;
    Ok(Lsn(row.get::<_, Option<i64>>(6).unwrap_or_default().cast_unsigned()))
}

/// Ends a reader of ours that holds the slot; somebody else's is waited for.
pub(super) async fn free(control: &Client, slot: &str) -> Result<(), Problem> {
    let sql = "SELECT a.pid, a.application_name FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid \
               WHERE s.slot_name = $1 AND NOT starts_with(a.application_name, 'wavemark ')";
    let held = control.query_opt(sql, &[&slot]).await;
    let held = held.map_err(|error| error::driver(&error, &format!("look up the replication slot {slot}")))?;
    match held {
        Some(row) => {
            let (pid, who): (i32, String) = (row.get(0), row.get(1));
            let text =
                format!("The replication slot {slot} is read by somebody else: server process {pid} (\"{who}\").");
            Err(Problem::transient("slot-held", text).advice("Stop that reader; what it confirms, the task loses."))
        }
        None => slot::free(control, slot).await,
    }
}

/// The publication must have every planned table whole, with every kind of change.
async fn covers(control: &Client, task: &TaskContext, named: Named<'_>, plan: &[TablePlan]) -> Result<(), Problem> {
    let refuse = |text: String, advice: String| {
        Err(Problem::new(Fault::Settings, "start-publication", text).advice(format!("{advice} {AGAIN}")))
    };
    let name = crate::wire::quote_identifier(named.publication);
    let Some(found) = slot::Published::read(control, named.publication).await? else {
        let text = format!("There is no publication {}, which start_publication names.", named.publication);
        return refuse(text, format!("CREATE PUBLICATION {name} FOR ALL TABLES;"));
    };
    if !found.is_whole {
        let text = format!("The publication {} leaves kinds of changes out.", named.publication);
        return refuse(text, format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');"));
    }
    let is_partitioned = |table: &&TablePlan| table.source.kind == TableKind::Partitioned;
    if let Some(table) = plan.iter().find(is_partitioned).filter(|_| !found.via_root) {
        let text = format!("The publication {} names partitions of {}, not it.", named.publication, table.name());
        return refuse(text, format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true);"));
    }
    let generates = |table: &&TablePlan| table.source.columns.iter().any(|column| column.generated);
    if let Some(table) = plan.iter().find(generates).filter(|_| found.generated) {
        let text = format!(
            "The publication {} has the generated columns of {}, which the target makes itself.",
            named.publication,
            table.name()
        );
        return refuse(text, format!("ALTER PUBLICATION {name} SET (publish_generated_columns = none);"));
    }
    let is_missing =
        |table: &&TablePlan| TableNative::of(&table.source).is_ok_and(|native| !found.tables.contains(&native.oid));
    let missing: Vec<&TableName> = plan.iter().filter(is_missing).map(TablePlan::name).collect();
    if missing.is_empty() {
        return whole((control, &task.settings), named, plan, &found).await;
    }
    let words = |texts: Vec<String>| texts.join(", ");
    let text = format!(
        "The publication {} does not have {}.",
        named.publication,
        words(missing.iter().map(ToString::to_string).collect())
    );
    let list = words(missing.iter().map(|table| names::quoted(table)).collect());
    refuse(text, format!("ALTER PUBLICATION {name} ADD TABLE {list};"))
}

/// The publication must have the rows and columns of each table that the task's mapping has.
async fn whole(
    (control, settings): (&Client, &TaskSettings),
    named: Named<'_>,
    plan: &[TablePlan],
    found: &slot::Published,
) -> Result<(), Problem> {
    for table in plan {
        if let Some(how) = found.shape(super::follow::oid(table)?).differs(control, table, settings).await? {
            let text =
                format!("The publication {} does not fit the mapping for {}: {how}.", named.publication, table.name());
            let name = crate::wire::quote_identifier(named.publication);
            let advice = format!(
                "ALTER PUBLICATION {name} DROP TABLE {}; ALTER PUBLICATION {name} ADD TABLE {}; {AGAIN}",
                names::quoted(table.name()),
                slot::entry(table, settings)
            );
            return Err(Problem::new(Fault::Settings, "start-publication", text).advice(advice));
        }
    }
    Ok(())
}

const AGAIN: &str = "Then make the slot anew, and load from its snapshot: the log before that was written without it.";

/// What an interruption of the log means here: a publication that is younger than the slot is missing in the catalog of
/// that time, however often the log is opened.
pub(super) fn explained(task: &TaskContext, problem: Problem) -> Problem {
    let Some(named) = of(task) else { return problem };
    if problem.code != "log-interrupted" || !problem.text.contains(named.publication) {
        return problem;
    }
    let text = format!(
        "The publication {} was not there yet where the replication slot {} begins, so its log can't be read.",
        named.publication, named.slot
    );
    Problem::new(Fault::Settings, "start-publication", text)
        .advice("Make the slot anew, after the publication, and load from its snapshot.")
}

/// Drops the slot, if the settings say that it goes with the task.
pub(super) async fn clean_up(control: &Client, task: &TaskContext) -> Result<(), Problem> {
    match of(task).filter(|_| task.settings.drop_start_slot) {
        Some(named) => slot::remove_slot(control, named.slot).await,
        None => Ok(()),
    }
}

/// The statement that does the same.
pub(super) fn statement(task: &TaskContext) -> Option<String> {
    let named = of(task).filter(|_| task.settings.drop_start_slot)?;
    let slot = names::literal(named.slot);
    Some(format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {slot};"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(slot: &str, publication: &str, position: &str) -> Option<String> {
        let settings = TaskSettings {
            start_slot: slot.to_owned(),
            start_publication: publication.to_owned(),
            start_position: position.to_owned(),
            ..TaskSettings::default()
        };
        check(&settings).err().map(|error| error.field)
    }

    #[test]
    fn a_start_is_a_slot_with_its_publication_and_perhaps_a_place() {
        assert_eq!(field("", "", ""), None);
        assert_eq!(field("mine", "my \"tables\"", "1/2"), None);
        for (slot, publication, position, wrong) in [
            ("", "", "1/2", "start_position"),
            ("mine", "", "", "start_publication"),
            ("", "tables", "", "start_slot"),
            ("Mine", "tables", "", "start_slot"),
            ("mine'; drop", "tables", "", "start_slot"),
            ("wavemark_x_1_1", "tables", "", "start_slot"),
            ("mine", "tab\nles", "", "start_publication"),
        ] {
            assert_eq!(field(slot, publication, position).as_deref(), Some(wrong), "{slot:?} {publication:?}");
        }
    }
}
