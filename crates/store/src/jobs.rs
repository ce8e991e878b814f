//! Short work for workers: test an endpoint, discover its tables, assess a task.

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::ids::{JobId, TokenId};
use wavemark_domain::{EndpointId, TaskId, WorkerId};

use crate::{Error, Result};

/// What a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Connect and check.
    Test(EndpointId),
    /// List tables.
    Discover(EndpointId),
    /// Look for what stands in a task's way.
    Assess(TaskId),
    /// See which of the tasks that its target knows a task could go on as.
    Adoptable(TaskId),
    /// See how much log the source keeps for a task that no worker runs.
    LookAtLog(TaskId),
}

impl JobKind {
    /// The word used in the API and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Test(_) => "test",
            Self::Discover(_) => "discover",
            Self::Assess(_) => "assess",
            Self::Adoptable(_) => "adoptable",
            Self::LookAtLog(_) => "look-at-log",
        }
    }

    fn endpoint(self) -> Option<EndpointId> {
        match self {
            Self::Test(id) | Self::Discover(id) => Some(id),
            Self::Assess(_) | Self::Adoptable(_) | Self::LookAtLog(_) => None,
        }
    }

    fn task(self) -> Option<TaskId> {
        match self {
            Self::Assess(id) | Self::Adoptable(id) | Self::LookAtLog(id) => Some(id),
            Self::Test(_) | Self::Discover(_) => None,
        }
    }

    fn read(kind: &str, endpoint: Option<uuid::Uuid>, task: Option<uuid::Uuid>) -> Result<Self> {
        match (kind, endpoint, task) {
            ("test", Some(id), _) => Ok(Self::Test(EndpointId(id))),
            ("discover", Some(id), _) => Ok(Self::Discover(EndpointId(id))),
            ("assess", _, Some(id)) => Ok(Self::Assess(TaskId(id))),
            ("adoptable", _, Some(id)) => Ok(Self::Adoptable(TaskId(id))),
            ("look-at-log", _, Some(id)) => Ok(Self::LookAtLog(TaskId(id))),
            _ => Err(Error::unreadable("a job's kind")),
        }
    }
}

/// One job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it is about.
    pub kind: JobKind,
    /// `waiting`, `running`, `done` or `failed`.
    pub status: String,
    /// What was found.
    pub outcome: Option<Value>,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When a worker took it.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
}

/// Asks for a job and wakes the workers.
///
/// # Errors
/// The statement failed.
pub async fn create(connection: &mut PgConnection, id: JobId, kind: JobKind, created_by: &str) -> Result<()> {
    sqlx::query!(
        "insert into jobs (id, kind, endpoint_id, task_id, created_by) values ($1, $2, $3, $4, $5)",
        id.0,
        kind.word(),
        kind.endpoint().map(|id| id.0),
        kind.task().map(|id| id.0),
        created_by
    )
    .execute(&mut *connection)
    .await?;
    crate::announce_work(connection).await
}

/// One job.
///
/// # Errors
/// The statement failed.
pub async fn get(connection: &mut PgConnection, id: JobId) -> Result<Option<Job>> {
    let row = sqlx::query!(
        "select id, kind, endpoint_id, task_id, status, outcome, created_at, started_at, finished_at
         from jobs where id = $1",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Job {
            id: JobId(row.id),
            kind: JobKind::read(&row.kind, row.endpoint_id, row.task_id)?,
            status: row.status,
            outcome: row.outcome,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    })
    .transpose()
}

/// Takes the oldest waiting jobs that a worker with these connectors can do.
///
/// # Errors
/// The statement failed.
pub async fn claim(
    connection: &mut PgConnection,
    worker: WorkerId,
    engines: &[String],
    limit: i64,
) -> Result<Vec<(JobId, JobKind)>> {
    let rows = sqlx::query!(
        "update jobs set status = 'running', worker_id = $1, started_at = clock_timestamp()
         where id in (
             select j.id from jobs j
             left join endpoints e on e.id = j.endpoint_id
             left join tasks t on t.id = j.task_id
             left join endpoints s on s.id = t.source_id
             left join endpoints d on d.id = t.target_id
             where j.status = 'waiting'
               and (e.id is null or e.engine = any($2))
               and (t.id is null or (s.engine = any($2) and d.engine = any($2)))
             order by j.created_at limit $3 for update of j skip locked)
         returning id, kind, endpoint_id, task_id",
        worker.0,
        engines,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((JobId(row.id), JobKind::read(&row.kind, row.endpoint_id, row.task_id)?))).collect()
}

/// Keeps a job's outcome. `None` if no worker with this token holds the job (any more).
///
/// # Errors
/// The statement failed.
pub async fn finish(
    connection: &mut PgConnection,
    id: JobId,
    token: TokenId,
    failed: bool,
    outcome: &Value,
) -> Result<Option<JobKind>> {
    let row = sqlx::query!(
        "update jobs set status = case when $3 then 'failed' else 'done' end, outcome = $4,
                finished_at = clock_timestamp()
         where id = $1 and status = 'running' 
           and worker_id in (select w.id from workers w where w.token_id = $2)
         returning kind, endpoint_id, task_id",
        id.0,
        token.0,
        failed,
        outcome
    )
    .fetch_optional(&mut *connection)
    .await?;
    if row.is_some() {
        crate::announce_change(connection).await?;
    }
    row.map(|row| JobKind::read(&row.kind, row.endpoint_id, row.task_id)).transpose()
}

/// Fails jobs that no worker took within a minute, or whose worker has been silent about them for two; returns them.
///
/// # Errors
/// The statement failed.
pub async fn give_up(connection: &mut PgConnection, unclaimed: &Value, silent: &Value) -> Result<Vec<JobKind>> {
    let rows = sqlx::query!(
        "update jobs set outcome = case when status = 'waiting' then $1::jsonb else $2::jsonb end, status = 'failed',
                finished_at = clock_timestamp()
         where (status = 'waiting' and created_at < clock_timestamp() - interval '60 seconds')
            or (status = 'running' and started_at < clock_timestamp() - interval '120 seconds')
         returning kind, endpoint_id, task_id",
        unclaimed,
        silent
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| JobKind::read(&row.kind, row.endpoint_id, row.task_id)).collect()
}
