//! Tasks, their versioned configurations and the state of their tables.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::ids::{ConfigVersion, Generation};
use wavemark_domain::progress::{Severity, TableProgress, TaskProgress};
use wavemark_domain::state::{TaskEvent, TaskStatus};
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{EndpointId, Epoch, Problem, TableName, TaskId, WorkerId};

use crate::events::{self, About};
use crate::{Error, Result};

/// One configuration of a task. Each edit makes the next; old ones stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: TaskKind,
    /// Where from.
    pub source: EndpointId,
    /// Where to.
    pub target: EndpointId,
    /// The table mappings (`{"rules": […]}`).
    pub mappings: Value,
    /// Its settings.
    pub settings: TaskSettings,
}

/// One task as pages and the API show it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: TaskKind,
    /// Where from.
    pub source: EndpointId,
    /// The source's name.
    pub source_name: String,
    /// Where to.
    pub target: EndpointId,
    /// The target's name.
    pub target_name: String,
    /// The newest configuration.
    pub config_version: ConfigVersion,
    /// Its status.
    pub status: TaskStatus,
    /// Since when.
    pub status_since: OffsetDateTime,
    /// Which life of its artefacts this is.
    pub generation: Generation,
    /// The newest grant.
    pub epoch: Epoch,
    /// What its worker last said, without its tables.
    pub progress: Option<TaskProgress>,
    /// When it said so.
    pub progress_at: Option<OffsetDateTime>,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// What a clean-up left behind.
    pub clean_up: Option<CleanUp>,
    /// The worker that holds its lease, also after the lease's time is over.
    pub worker: Option<Holder>,
    /// How many tables are known and how many are parked.
    pub tables: i64,
    /// How many tables are parked.
    pub parked: i64,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last started.
    pub started_at: Option<OffsetDateTime>,
    /// When it last ended.
    pub stopped_at: Option<OffsetDateTime>,
    /// Whether a drain is asked for and not done.
    pub draining: bool,
}

/// What a clean-up left behind.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CleanUp {
    /// Why.
    pub problem: Problem,
    /// What a person can run instead.
    pub statements: Vec<String>,
}

/// Who holds a task's lease.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The worker.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// Whether the lease's time is over.
    pub lapsed: bool,
    /// When it was last renewed.
    pub renewed_at: OffsetDateTime,
}

/// Makes a task with its first configuration.
///
/// # Errors
/// The name is taken ([`Error::is_duplicate`]).
pub async fn create(connection: &mut PgConnection, id: TaskId, config: &Config, by: &str) -> Result<()> {
    sqlx::query!(
        "insert into tasks (id, name, kind, source_id, target_id) values ($1, $2, $3, $4, $5)",
        id.0,
        config.name,
        config.kind.word(),
        config.source.0,
        config.target.0
    )
    .execute(&mut *connection)
    .await?;
    write_config(connection, id, ConfigVersion(1), config, by).await?;
    crate::announce_change(connection).await
}

/// Makes the next configuration.
///
/// # Errors
/// The name is taken ([`Error::is_duplicate`]).
pub async fn edit(connection: &mut PgConnection, id: TaskId, config: &Config, by: &str) -> Result<ConfigVersion> {
    let version = sqlx::query_scalar!(
        "update tasks set name = $2, kind = $3, source_id = $4, target_id = $5, config_version = config_version + 1,
                updated_at = clock_timestamp() where id = $1 returning config_version",
        id.0,
        config.name,
        config.kind.word(),
        config.source.0,
        config.target.0
    )
    .fetch_one(&mut *connection)
    .await?;
    write_config(connection, id, ConfigVersion(version), config, by).await?;
    crate::announce_change(connection).await?;
    Ok(ConfigVersion(version))
}

async fn write_config(
    connection: &mut PgConnection,
    id: TaskId,
    version: ConfigVersion,
    config: &Config,
    by: &str,
) -> Result<()> {
    sqlx::query!(
        "insert into task_configs (task_id, version, name, kind, source_id, target_id, mappings, settings, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id.0,
        version.0,
        config.name,
        config.kind.word(),
        config.source.0,
        config.target.0,
        config.mappings,
        serde_json::to_value(&config.settings)?,
        by
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One configuration of a task.
///
/// # Errors
/// The statement failed.
pub async fn config(connection: &mut PgConnection, id: TaskId, version: ConfigVersion) -> Result<Option<Config>> {
    let row = sqlx::query!(
        "select name, kind, source_id, target_id, mappings, settings from task_configs
         where task_id = $1 and version = $2",
        id.0,
        version.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Config {
            name: row.name,
            kind: kind(&row.kind)?,
            source: EndpointId(row.source_id),
            target: EndpointId(row.target_id),
            mappings: row.mappings,
            settings: serde_json::from_value(row.settings)?,
        })
    })
    .transpose()
}

pub(crate) fn kind(word: &str) -> Result<TaskKind> {
    TaskKind::from_word(word).ok_or_else(|| Error::unreadable(format!("the task kind \"{word}\"")))
}

pub(crate) fn status(word: &str) -> Result<TaskStatus> {
    TaskStatus::from_word(word).ok_or_else(|| Error::unreadable(format!("the task status \"{word}\"")))
}

/// Which tasks are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this one.
    pub id: Option<TaskId>,
    /// Only those that read from or write to this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only those with this status.
    pub status: Option<TaskStatus>,
}

/// One task.
///
/// # Errors
/// The statement failed.
pub async fn get(connection: &mut PgConnection, id: TaskId) -> Result<Option<Task>> {
    let filter = Filter { id: Some(id), ..Filter::default() };
    Ok(list(connection, &filter, "", 1).await?.pop())
}

/// Tasks after a name, by name.
///
/// # Errors
/// The statement failed.
pub async fn list(connection: &mut PgConnection, filter: &Filter, after: &str, limit: i64) -> Result<Vec<Task>> {
    let rows = sqlx::query!(
        r#"select t.id, t.name, t.kind, t.source_id, t.target_id, t.config_version, t.status, t.status_since,
                  t.generation, t.epoch, t.progress, t.progress_at, t.problem, t.clean_up, t.created_at,
                  t.started_at, t.stopped_at, t.drain_asked > t.drain_done as "draining!", s.name as source_name, d.name as target_name,
                  l.worker_id as "worker_id?", w.name as "worker_name?", l.renewed_at as "renewed_at?",
                  coalesce(l.expires_at <= clock_timestamp(), false) as "lapsed!",
                  (select count(*) from task_tables b where b.task_id = t.id) as "tables!",
                  (select count(*) from task_tables b where b.task_id = t.id and b.state = 'parked') as "parked!"
           from tasks t
           join endpoints s on s.id = t.source_id
           join endpoints d on d.id = t.target_id
           left join leases l on l.task_id = t.id
           left join workers w on w.id = l.worker_id
           where ($1::uuid is null or t.id = $1)
             and ($2::uuid is null or t.source_id = $2 or t.target_id = $2)
             and ($3::text is null or t.status = $3)
             and t.name > $4
           order by t.name limit $5"#,
        filter.id.map(|id| id.0),
        filter.endpoint.map(|id| id.0),
        filter.status.map(TaskStatus::word),
        after,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let worker = row.worker_id.zip(row.worker_name).zip(row.renewed_at);
            Ok(Task {
                id: TaskId(row.id),
                name: row.name,
                kind: kind(&row.kind)?,
                source: EndpointId(row.source_id),
                source_name: row.source_name,
                target: EndpointId(row.target_id),
                target_name: row.target_name,
                config_version: ConfigVersion(row.config_version),
                status: status(&row.status)?,
                status_since: row.status_since,
                generation: Generation(row.generation),
                epoch: Epoch(row.epoch),
                progress: row.progress.map(serde_json::from_value).transpose()?,
                progress_at: row.progress_at,
                problem: row.problem.map(events::problem).transpose()?,
                clean_up: row.clean_up.map(serde_json::from_value).transpose()?,
                worker: worker.map(|((id, name), renewed_at)| Holder {
                    id: WorkerId(id),
                    name,
                    lapsed: row.lapsed,
                    renewed_at,
                }),
                tables: row.tables,
                parked: row.parked,
                created_at: row.created_at,
                started_at: row.started_at,
                stopped_at: row.stopped_at,
                draining: row.draining,
            })
        })
        .collect()
}

/// How many tasks have each status.
///
/// # Errors
/// The statement failed.
pub async fn counts(connection: &mut PgConnection) -> Result<Vec<(TaskStatus, i64)>> {
    let rows =
        sqlx::query!(r#"select status, count(*) as "count!" from tasks group by status"#).fetch_all(connection).await?;
    rows.into_iter().map(|row| Ok((status(&row.status)?, row.count))).collect()
}

/// A task whose row is locked until the transaction ends: the only form on which its status changes.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the row")]
pub struct Locked {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: TaskStatus,
    /// The newest configuration.
    pub config_version: ConfigVersion,
    /// Which life of its artefacts this is.
    pub generation: Generation,
    /// The highest epoch granted or found.
    pub epoch: Epoch,
    /// Whether a worker said that it opened the target in this generation.
    pub opened: bool,
    /// Whether something is asked of single tables.
    pub ordered: bool,
    /// The number of the drain that is asked for and not done.
    pub drain: Option<i64>,
    /// Whether its log was let go, so that its next start loads everything again.
    pub must_reload: bool,
    /// Whether a comparison is asked for and not over.
    pub compared: bool,
}

impl Locked {
    pub(crate) fn about(&self) -> About<'_> {
        About { task: Some((self.id, &self.name)), config: Some(self.config_version), ..About::default() }
    }
}

/// Locks a task.
///
/// # Errors
/// The statement failed.
pub async fn lock(connection: &mut PgConnection, id: TaskId) -> Result<Option<Locked>> {
    Ok(lock_all(connection, &[id]).await?.remove(&id))
}

/// Locks several tasks, in the order in which everyone does; those that are there.
pub(crate) async fn lock_all(connection: &mut PgConnection, ids: &[TaskId]) -> Result<HashMap<TaskId, Locked>> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"select id, name, status, config_version, generation, granted_generation, epoch, drain_asked, drain_done, must_reload,
                  exists (select from table_orders o where o.task_id = tasks.id) as "ordered!",
                  exists (select from compares c where c.task_id = tasks.id and c.state in ('waiting', 'running'))
                      as "compared!"
           from tasks where id = any($1) order by id for update"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    let locked = rows.into_iter().map(|row| {
        let id = TaskId(row.id);
        let locked = Locked {
            id,
            name: row.name,
            status: status(&row.status)?,
            config_version: ConfigVersion(row.config_version),
            generation: Generation(row.generation),
            epoch: Epoch(row.epoch),
            opened: row.granted_generation >= row.generation,
            ordered: row.ordered,
            drain: (row.drain_asked > row.drain_done).then_some(row.drain_asked),
            must_reload: row.must_reload,
            compared: row.compared,
        };
        Ok((id, locked))
    });
    locked.collect()
}

/// Moves a task on, as [`TaskStatus::next`] says, and notes it. `None` if the event can't happen now; nothing is
/// changed then.
///
/// # Errors
/// The statement failed.
pub async fn transition(
    connection: &mut PgConnection,
    task: &mut Locked,
    event: TaskEvent,
    problem: Option<&Problem>,
) -> Result<Option<TaskStatus>> {
    let Some(next) = task.status.next(event) else { return Ok(None) };
    if next == task.status {
        return Ok(Some(next));
    }
    let asked = event == TaskEvent::StartAsked;
    sqlx::query!(
        "update tasks set status = $2, status_since = clock_timestamp(),
                problem = case when $3 then null else coalesce($4, problem) end,
                started_at = case when $3 then clock_timestamp() else started_at end,
                not_before = case when $3 or $2 = 'deleting' then null else not_before end,
                stopped_at = case when $5 then clock_timestamp() when $3 then null else stopped_at end
         where id = $1",
        task.id.0,
        next.word(),
        asked,
        problem.map(serde_json::to_value).transpose()?,
        matches!(next, TaskStatus::Stopped | TaskStatus::Failed)
    )
    .execute(&mut *connection)
    .await?;
    task.status = next;
    let severity = match next {
        TaskStatus::Failed => Severity::Error,
        TaskStatus::Degraded | TaskStatus::CleanUpPending => Severity::Warning,
        _ => Severity::Info,
    };
    let text = problem.map_or_else(
        || format!("The task \"{}\" is {}.", task.name, next.word().replace('-', " ")),
        |problem| format!("The task \"{}\" is {}: {}", task.name, next.word().replace('-', " "), problem.text),
    );
    events::note(connection, task.about(), severity, &format!("task-{}", next.word()), &text, problem).await?;
    if next == TaskStatus::Stopping {
        note_ask(connection, task.id).await?;
    }
    crate::announce_change(connection).await?;
    if next.wants_worker() {
        crate::announce_work(connection).await?;
    }
    Ok(Some(next))
}

/// Begins the next life of a task's artefacts: everything is loaded again.
///
/// # Errors
/// The statement failed.
pub async fn begin_generation(connection: &mut PgConnection, task: &mut Locked) -> Result<()> {
    let generation = sqlx::query_scalar!(
        "update tasks set generation = generation + 1, progress = null, progress_at = null,
                must_reload = false where id = $1
         returning generation",
        task.id.0
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!("delete from task_tables where task_id = $1", task.id.0).execute(&mut *connection).await?;
    crate::orders::clear(connection, task.id).await?;
    task.generation = Generation(generation);
    task.opened = false;
    task.must_reload = false;
    Ok(())
}

/// Lets the worker that holds a task know at once that something is asked of it. The caller holds the lock of the task's
/// row. A wish that commits after one with a higher number waits for the next report, a second at most.
///
/// # Errors
/// A statement failed.
pub(crate) async fn note_ask(connection: &mut PgConnection, id: TaskId) -> Result<()> {
    sqlx::query!("update tasks set last_ask = nextval('asks') where id = $1", id.0).execute(&mut *connection).await?;
    crate::announce_work(connection).await?;
    crate::announce_change(connection).await
}

/// Asks for a drain; returns its number.
///
/// # Errors
/// The statement failed.
pub async fn ask_drain(connection: &mut PgConnection, task: &Locked) -> Result<i64> {
    let number = sqlx::query_scalar!(
        "update tasks set drain_asked = greatest(drain_asked, drain_done) + 1 where id = $1 returning drain_asked",
        task.id.0
    )
    .fetch_one(&mut *connection)
    .await?;
    note_ask(connection, task.id).await?;
    Ok(number)
}

/// Removes a task; its events and its audit entries stay.
///
/// # Errors
/// The statement failed.
pub async fn delete(connection: &mut PgConnection, task: &Locked) -> Result<()> {
    let text = format!("The task \"{}\" is deleted.", task.name);
    events::note(connection, task.about(), Severity::Info, "task-deleted", &text, None).await?;
    sqlx::query!("delete from tasks where id = $1", task.id.0).execute(&mut *connection).await?;
    crate::announce_change(connection).await
}

/// Another task on the same target endpoint.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Its mappings.
    pub mappings: Value,
    /// Its source.
    pub source: EndpointId,
    /// The target tables that it is known to write.
    pub targets: Vec<TableName>,
}

/// Tasks other than this one, started at some time and not deleted, that write to the same target endpoint.
///
/// # Errors
/// The statement failed.
pub async fn neighbours(connection: &mut PgConnection, id: TaskId, target: EndpointId) -> Result<Vec<Neighbour>> {
    let rows = sqlx::query!(
        r#"select t.id, t.name, t.source_id, c.mappings,
                  array(select target_schema from task_tables b where b.task_id = t.id
                        order by target_schema, target_table) as "schemas!",
                  array(select target_table from task_tables b where b.task_id = t.id
                        order by target_schema, target_table) as "names!"
           from tasks t join task_configs c on c.task_id = t.id and c.version = t.config_version
           where t.target_id = $1 and t.id <> $2 and t.status not in ('ready', 'deleting', 'clean-up-pending')"#,
        target.0,
        id.0
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Neighbour {
            id: TaskId(row.id),
            name: row.name,
            mappings: row.mappings,
            source: EndpointId(row.source_id),
            targets: row
                .schemas
                .into_iter()
                .zip(row.names)
                .map(|(schema, table)| TableName { schema, table })
                .collect(),
        })
        .collect())
}

/// Every table of every task, with the task's name.
///
/// # Errors
/// The statement failed.
pub async fn all_tables(connection: &mut PgConnection) -> Result<Vec<(String, TableProgress)>> {
    let rows = sqlx::query!(
        "select t.name, b.progress from task_tables b join tasks t on t.id = b.task_id
         order by t.name, b.source_schema, b.source_table"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.name, serde_json::from_value(row.progress)?))).collect()
}

/// Ends a task that was leased in this transaction and can't be handed out: a clean-up is left pending, anything
/// else fails.
///
/// # Errors
/// A statement failed.
pub async fn fail(connection: &mut PgConnection, id: TaskId, problem: &Problem) -> Result<()> {
    let Some(mut task) = lock(connection, id).await? else { return Ok(()) };
    crate::leases::end(connection, id).await?;
    let event = if task.status.is_cleaned_up() { TaskEvent::CleanUpFailed } else { TaskEvent::Broke };
    transition(connection, &mut task, event, Some(problem)).await?;
    Ok(())
}
