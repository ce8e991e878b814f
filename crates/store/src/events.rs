//! What happened: every change of state and every error, of tasks and workers.

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::ids::ConfigVersion;
use wavemark_domain::progress::{Severity, TaskEventRecord};
use wavemark_domain::{Epoch, Problem, TableName, TaskId, WorkerId};

use crate::{Error, Result};

/// What an event is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The task with its name.
    pub task: Option<(TaskId, &'a str)>,
    /// The configuration that it ran with.
    pub config: Option<ConfigVersion>,
    /// The worker.
    pub worker: Option<WorkerId>,
    /// The lease.
    pub epoch: Option<Epoch>,
}

/// One event as kept.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number; grows with time.
    pub id: i64,
    /// When it was written down, by the database's clock.
    pub at: OffsetDateTime,
    /// When it happened, by the worker's clock.
    pub worker_at: Option<OffsetDateTime>,
    /// How loud it is.
    pub severity: String,
    /// A stable code.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// The task.
    pub task: Option<TaskId>,
    /// The task's name then.
    pub task_name: Option<String>,
    /// The configuration then.
    pub config_version: Option<i32>,
    /// The worker.
    pub worker: Option<WorkerId>,
    /// The lease.
    pub epoch: Option<i64>,
    /// The source table.
    pub table: Option<TableName>,
    /// The problem, if it is one.
    pub problem: Option<Problem>,
}

/// The word of a severity.
#[must_use]
pub fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Appends an event of the server's own.
///
/// # Errors
/// The statement failed.
pub async fn note(
    connection: &mut PgConnection,
    about: About<'_>,
    severity: Severity,
    code: &str,
    text: &str,
    problem: Option<&Problem>,
) -> Result<()> {
    write(connection, about, severity, code, text, None, problem, None).await
}

/// Appends an event that a worker reported.
///
/// # Errors
/// The statement failed.
pub async fn reported(connection: &mut PgConnection, about: About<'_>, event: &TaskEventRecord) -> Result<()> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.at) * 1_000).ok();
    let table = event.table.as_ref().or_else(|| event.problem.as_ref().and_then(|problem| problem.table.as_ref()));
    write(connection, about, event.severity, &event.code, &event.text, at, event.problem.as_ref(), table).await
}

#[expect(clippy::too_many_arguments, reason = "one line of a table; private, called twice")]
async fn write(
    connection: &mut PgConnection,
    about: About<'_>,
    severity: Severity,
    code: &str,
    text: &str,
    worker_at: Option<OffsetDateTime>,
    problem: Option<&Problem>,
    table: Option<&TableName>,
) -> Result<()> {
    let problem = problem.map(serde_json::to_value).transpose()?;
    sqlx::query!(
        "insert into events (worker_at, severity, code, text, task_id, task_name, config_version, worker_id, epoch,
                             table_schema, table_name, problem)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        worker_at,
        severity_word(severity),
        code,
        text,
        about.task.map(|(id, _)| id.0),
        about.task.map(|(_, name)| name),
        about.config.map(|config| config.0),
        about.worker.map(|worker| worker.0),
        about.epoch.map(|epoch| epoch.0),
        table.map(|table| table.schema.as_str()),
        table.map(|table| table.table.as_str()),
        problem
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which events are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one task.
    pub task: Option<TaskId>,
    /// At least this loud.
    pub at_least: Option<Severity>,
    /// Not older.
    pub since: Option<OffsetDateTime>,
    /// With this code.
    pub code: Option<String>,
}

/// The newest events before a number.
///
/// # Errors
/// The statement failed.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Event>> {
    let severities: Vec<String> = [Severity::Info, Severity::Warning, Severity::Error]
        .into_iter()
        .skip(filter.at_least.map_or(0, |least| match least {
            Severity::Info => 0,
            Severity::Warning => 1,
            Severity::Error => 2,
        }))
        .map(|severity| severity_word(severity).to_owned())
        .collect();
    let rows = sqlx::query!(
        "select id, at, worker_at, severity, code, text, task_id, task_name, config_version, worker_id, epoch,
                table_schema, table_name, problem
         from events
         where ($1::uuid is null or task_id = $1) and severity = any($2) and ($3::timestamptz is null or at >= $3)
           and ($4::text is null or code = $4) and ($5::bigint is null or id < $5)
         order by id desc limit $6",
        filter.task.map(|task| task.0),
        &severities,
        filter.since,
        filter.code,
        before,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Event {
                id: row.id,
                at: row.at,
                worker_at: row.worker_at,
                severity: row.severity,
                code: row.code,
                text: row.text,
                task: row.task_id.map(TaskId),
                task_name: row.task_name,
                config_version: row.config_version,
                worker: row.worker_id.map(WorkerId),
                epoch: row.epoch,
                table: row.table_schema.zip(row.table_name).map(|(schema, table)| TableName { schema, table }),
                problem: row.problem.map(problem).transpose()?,
            })
        })
        .collect()
}

/// How many error events each task that exists has had, by its name.
///
/// # Errors
/// The statement failed.
pub async fn error_counts(connection: &mut PgConnection) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"select t.name, (select count(*) from events e where e.task_id = t.id and e.severity = 'error') as "count!"
           from tasks t order by t.name"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.count)).collect())
}

pub(crate) fn problem(value: Value) -> Result<Problem> {
    serde_json::from_value(value).map_err(|error| Error::unreadable(format!("a problem ({error})")))
}
