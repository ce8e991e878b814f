//! Jobs: what workers were asked to look at, and what they found.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::ids::JobId;
use wavemark_store::audit;
use wavemark_store::jobs::{self, Job, JobKind};

use crate::auth::{Caller, Viewer};
use crate::extract::{Json, Path};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// A job that was asked for.
#[derive(Serialize, ToSchema)]
pub struct JobRef {
    /// Read it at `/jobs/{id}`.
    pub job: Uuid,
}

/// The answer to whoever asks for a job.
pub type Asked = (StatusCode, Json<JobRef>);

/// Asks a worker for a job about something that the transaction holds: its kind in words, its id and its name.
pub(super) async fn ask(
    mut transaction: Transaction<'static, Postgres>,
    caller: &Caller,
    job: JobKind,
    (kind, id, name): (&str, Uuid, &str),
) -> ApiResult<Asked> {
    let number = JobId(Uuid::now_v7());
    jobs::create(&mut transaction, number, job, &caller.user.name).await?;
    let action = format!("{kind}.{}", job.word());
    audit::write(&mut transaction, &caller.deed(&action, kind, id, Some(name))).await?;
    commit(transaction).await?;
    Ok((StatusCode::ACCEPTED, Json(JobRef { job: number.0 })))
}

/// One job.
#[derive(Serialize, ToSchema)]
pub struct JobBody {
    /// Its id.
    pub id: Uuid,
    /// `test`, `discover`, `assess`, `adoptable`, or `look-at-log`, which the server asks for itself.
    pub kind: &'static str,
    /// The endpoint that it is about.
    pub endpoint_id: Option<Uuid>,
    /// The task that it is about.
    pub task_id: Option<Uuid>,
    /// `waiting`, `running`, `done` or `failed`.
    pub status: String,
    /// What was found, by `job`: `tested` with `steps` (name, passed, text, mend), `discovered` with `table_count`
    /// (the tables are at the endpoint), `assessed` with `findings` (weight, code, text, mend),
    /// `adoptable` with `found` (task, name, generation, epoch, bookmark, tables, refused, notes), `looked-at-log` with `kept_bytes`, `limit_bytes`, `let_go`, `failed` with `problem`.
    #[schema(value_type = Option<Object>)]
    pub outcome: Option<Value>,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When a worker took it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        let (endpoint_id, task_id) = match job.kind {
            JobKind::Test(id) | JobKind::Discover(id) => (Some(id.0), None),
            JobKind::Assess(id) | JobKind::Adoptable(id) | JobKind::LookAtLog(id) => (None, Some(id.0)),
        };
        Self {
            id: job.id.0,
            kind: job.kind.word(),
            endpoint_id,
            task_id,
            status: job.status,
            outcome: job.outcome,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}

/// Read a job
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path, description = "the job")), responses(
    (status = 200, body = JobBody, description = "it"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such job")))]
pub async fn get(State(state): State<AppState>, _: Viewer, Path(id): Path<JobId>) -> ApiResult<Json<JobBody>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let job = jobs::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("job"))?;
    Ok(Json(job.into()))
}
