//! Event triggers at the source, by which alterations of its tables are told in its log at their place: only where the
//! task's settings ask for them, for they stand in the way of every `ALTER TABLE` there.
//!
//! They are of the database and shared by all of its tasks. Whoever finds them missing, older, or off makes them anew; the
//! last task that is deleted removes them. What they tell is [`super::told`].

mod hearing;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::{Fault, Problem};

use super::standby;
use crate::error;
use crate::wire::Lsn;
pub(super) use hearing::Hearing;

/// Schema, functions and triggers.
const MAKE: &str = include_str!("make.sql");

/// What is made. A newer program replaces what an older one made, and leaves what a newer one did.
const FORM: i32 = 1;

/// Two tasks must not make or remove them at once.
const LOCK: i64 = 7_813_457_201_128_643;

const IS_THERE: &str = "\
    SELECT count(*) = 3 FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc f ON f.oid = e.evtfoid \
    JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace \
    CROSS JOIN LATERAL regexp_match(f.prosrc, '-- form (\\d+) for (\\d+)') AS made \
    WHERE n.nspname = 'wavemark_source' AND f.proname = 'tell' AND e.evtenabled = 'A' AND (made[1]::int4 > $1 \
        OR (made[1]::int4 = $1 AND made[2]::int4 = current_setting('server_version_num')::int4 / 10000))";

const SINCE: &str = "SELECT (since - '0/0')::int8, token FROM wavemark_source.since()";

/// Whether nobody else may need them: a task that is there has a publication or a slot.
const IS_LAST: &str = "\
    SELECT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'wavemark_altered') AND NOT pg_is_in_recovery() \
    AND NOT EXISTS (SELECT FROM pg_publication WHERE starts_with(pubname::text, 'wavemark_')) \
    AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE starts_with(slot_name::text, 'wavemark_') \
        AND database = current_database())";

/// What removes them.
const REMOVE: &str = "\
    DROP EVENT TRIGGER IF EXISTS wavemark_altered; DROP EVENT TRIGGER IF EXISTS wavemark_dropped; \
    DROP EVENT TRIGGER IF EXISTS wavemark_rewritten; DROP FUNCTION IF EXISTS wavemark_source.tell(); \
    DROP FUNCTION IF EXISTS wavemark_source.since(); DROP SEQUENCE IF EXISTS wavemark_source.token; \
    DROP SCHEMA IF EXISTS wavemark_source;";

/// How long a start waits for transactions that were open before the triggers were.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the task is told of alterations.
pub(super) fn are_wanted(task: &TaskContext) -> bool {
    task.settings.event_triggers && task.kind.follows()
}

/// Makes the triggers where the task wants them and they are not there. A role that may not is refused.
pub(super) async fn ensure(client: &Client, task: &TaskContext) -> Result<(), Problem> {
    if !are_wanted(task) || is_there(client).await? {
        return Ok(());
    }
    if standby::is_one(client).await? {
        return Err(missing_at_standby());
    }
    within(client, &format!("SELECT pg_advisory_xact_lock({LOCK})")).await.map_err(|error| failed(&error))?;
    let made = match is_there(client).await {
        Ok(true) => Ok(()),
        Ok(false) => make(client).await,
        Err(problem) => Err(problem),
    };
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    made.and(client.batch_execute(end).await.map_err(|error| failed(&error)))
}

async fn within(client: &Client, first: &str) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&format!("BEGIN; {first}")).await
}

async fn make(client: &Client) -> Result<(), Problem> {
    let script = script(client).await?;
    client.batch_execute(&script).await.map_err(|error| match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("42501") => refused(),
        _ => failed(&error),
    })
}

async fn is_there(client: &Client) -> Result<bool, Problem> {
    let row = client.query_one(IS_THERE, &[&FORM]).await.map_err(|error| failed(&error))?;
    Ok(row.get(0))
}

/// The statements that make them at this server.
async fn script(client: &Client) -> Result<String, Problem> {
    let major = "SELECT current_setting('server_version_num')::int4 / 10000";
    let major: i32 = client.query_one(major, &[]).await.map_err(|error| failed(&error))?.get(0);
    let by_schema = "OR EXISTS (SELECT FROM pg_publication_namespace p WHERE p.pnnspid = c.relnamespace)";
    Ok(MAKE
        .replace("{form}", &format!("{FORM} for {major}"))
        .replace("{or_by_schema}", if major < 15 { "" } else { by_schema })
        .replace("{lock}", &LOCK.to_string()))
}

/// What is known of the triggers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// From where in the log on every alteration is told; none while that is not known.
    pub(super) since: Option<Lsn>,
    /// The number that they write with it; none for a role that may not know it.
    pub(super) token: Option<i64>,
}

/// Asks for that. Without an answer all goes on by the log and the catalog alone.
pub(super) async fn since(client: &Client) -> Told {
    match client.query_one(SINCE, &[]).await {
        Ok(row) => Told { since: row.get::<_, Option<i64>>(0).map(|lsn| Lsn(lsn.cast_unsigned())), token: row.get(1) },
        Err(error) => {
            tracing::warn!(%error, "it is not known since when the source tells of alterations");
            Told::default()
        }
    }
}

/// From where in the log on every reader with this publication has heard the triggers; none where one did not.
pub(super) async fn heard(client: &Client, publication: &str) -> Result<Option<Lsn>, Problem> {
    let sql = "SELECT (substring(obj_description(oid, 'pg_publication') FROM ' heard from (\\S+)$')::pg_lsn - '0/0')::int8 \
               FROM pg_publication WHERE pubname = $1";
    let row = client.query_opt(sql, &[&publication]).await.map_err(|error| failed(&error))?;
    Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).map(|lsn| Lsn(lsn.cast_unsigned())))
}

/// Notes that, in the comment of a publication of ours. Where we can't, whoever opens the log next begins with doubts.
pub(super) async fn note_heard(client: &Client, publication: &str, from: Option<Lsn>) {
    if !publication.starts_with("wavemark_") {
        return;
    }
    let sql = "SELECT format('COMMENT ON PUBLICATION %I IS %L', pubname, \
                   regexp_replace(obj_description(oid, 'pg_publication'), ' heard from \\S+$', '') || $2) \
               FROM pg_publication WHERE pubname = $1";
    let heard = from.map(|from| format!(" heard from {from}")).unwrap_or_default();
    let noted = async {
        let row = client.query_one(sql, &[&publication, &heard]).await?;
        client.batch_execute(&row.get::<_, String>(0)).await
    };
    if let Err(error) = noted.await {
        tracing::debug!(%error, "since when alterations are heard is not noted");
    }
}

/// Waits a while until every alteration is told, so that what is begun now knows it; false if it is not, because others
/// are open for longer. Then what is told is taken with more doubt.
pub(super) async fn settle(client: &Client, task: &TaskContext) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while are_wanted(task) && Instant::now() < deadline {
        if since(client).await.since.is_some() {
            return true;
        }
        sleep(PAUSE).await;
    }
    false
}

/// Removes them if no task is left. Those that somebody else made stay.
pub(super) async fn remove_last(client: &Client) -> Result<(), Problem> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
    within(client, &lock).await.map_err(|error| failed(&error))?;
    let done = match client.query_one(IS_LAST, &[]).await {
        Ok(row) if row.get(0) => client.batch_execute(REMOVE).await,
        other => other.map(drop),
    };
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await;
    match done.and(ended) {
        Err(error) if error.code().is_some_and(|code| code.code() == "42501") => Ok(()),
        done => done.map_err(|error| failed(&error)),
    }
}

/// What a person runs in the source's database when we can't.
pub(super) fn statement(task: &TaskContext) -> Option<String> {
    let is_last = "NOT EXISTS (SELECT FROM pg_publication WHERE starts_with(pubname::text, 'wavemark_'))";
    are_wanted(task).then(|| format!("DO $$ BEGIN IF {is_last} THEN {REMOVE} END IF; END $$;"))
}

/// What stands in the way of them. Making them is tried and taken back: roles that are no superusers may where the server
/// is a managed one.
pub(crate) async fn assess(client: &Client, task: &TaskContext) -> Result<Option<Finding>, Problem> {
    if !are_wanted(task) || is_there(client).await? {
        return Ok(None);
    }
    let problem = if standby::is_one(client).await? {
        missing_at_standby()
    } else {
        within(client, "SELECT 1").await.map_err(|error| failed(&error))?;
        let made = make(client).await;
        client.batch_execute("ROLLBACK").await.map_err(|error| failed(&error))?;
        match made {
            Ok(()) => return Ok(None),
            Err(problem) => problem,
        }
    };
    let mend = script(client).await?;
    Ok(Some(Finding { weight: Weight::Blocker, code: problem.code, text: problem.text, mend: Some(mend) }))
}

fn failed(error: &tokio_postgres::Error) -> Problem {
    error::driver(error, "make event triggers at the source")
}

const INSTEAD: &str = "Have a superuser run there what the task's assessment gives for it, or set event_triggers to false: \
    then alterations are found by the log and the catalog alone.";

fn refused() -> Problem {
    let text = "The endpoint's role may not make the event triggers at the source that event_triggers asks for.";
    Problem::new(Fault::Settings, "event-triggers", text).advice(INSTEAD)
}

fn missing_at_standby() -> Problem {
    let text =
        "The source is a standby, and its primary does not have the event triggers that event_triggers asks for.";
    let advice =
        format!("{INSTEAD} After it run SELECT since FROM wavemark_source.since(); there until it gives a place.");
    Problem::new(Fault::Settings, "event-triggers", text).advice(advice)
}
