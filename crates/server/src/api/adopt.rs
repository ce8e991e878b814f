//! Adoption: a task that never ran goes on as one whose metadata was lost, from the bookmark in the target.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::TaskId;
use wavemark_domain::adopt::Adoptable;
use wavemark_domain::ids::JobId;
use wavemark_domain::state::TaskStatus;
use wavemark_protocol::JobOutcome;
use wavemark_store::jobs::{self as store_jobs, JobKind};
use wavemark_store::tasks::Locked;
use wavemark_store::{PgConnection, adopt as store, audit};

use super::jobs::{self, Asked, JobRef};
use super::sharing;
use super::task_actions::{self, Accepted, StatusBody};
use super::tasks::lock;
use crate::auth::Operator;
use crate::extract::{Json, Path};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// How long what a job found counts: after that somebody may have changed the target.
const FRESH: time::Duration = time::Duration::minutes(10);

/// Say which of the tasks that the target holds this one could go on as; a worker really looks
#[utoipa::path(post, path = "/tasks/{id}/adoptable", tag = "tasks", params(("id" = Uuid, Path, description = "the task")),
    responses(
    (status = 202, body = JobRef, description = "asked for; read the job"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it ran before")))]
pub async fn adoptable(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
) -> ApiResult<Asked> {
    let mut transaction = state.begin().await?;
    let task = lock_new(&mut transaction, id).await?;
    jobs::ask(transaction, &caller, JobKind::Adoptable(id), ("task", id.0, &task.name)).await
}

/// Which task to go on as.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptInput {
    /// The job that looked, at most ten minutes ago.
    pub job: Uuid,
    /// The identity, one of those that it found.
    pub task: Uuid,
}

/// Go on as a task that the target holds
///
/// The task takes its id, so that slot, publication and bookmark are found; another worker that still runs it is fenced.
#[utoipa::path(post, path = "/tasks/{id}/adopt", tag = "tasks", request_body = AdoptInput,
    params(("id" = Uuid, Path, description = "the task, which has another id after this")), responses(
    (status = 202, body = StatusBody, description = "a worker takes it soon; the id is the adopted one's"),
    (status = 400, body = ProblemBody, description = "not JSON of this shape"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task or job"),
    (status = 409, body = ProblemBody, description = "it ran before, the other is known here, or can't be adopted"),
    (status = 422, body = ProblemBody, description = "the job did not find such a task")))]
pub async fn adopt(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
    Json(input): Json<AdoptInput>,
) -> ApiResult<Accepted> {
    let mut transaction = state.begin().await?;
    let task = lock_new(&mut transaction, id).await?;
    let found = found(&mut transaction, &state, &task, &input).await?;
    let mut deed = caller.deed("task.adopt", "task", id, Some(&task.name));
    deed.difference = Some(serde_json::to_value(&found).map_err(wavemark_store::Error::from)?);
    audit::write(&mut transaction, &deed).await?;
    let adopted = store::adopt(&mut transaction, &task, &found).await.map_err(known)?;
    let mut adopted = adopted.ok_or_else(|| ApiProblem::not_found("task"))?;
    sharing::check(&mut transaction, &adopted, false).await?;
    let status = task_actions::resumed(&mut transaction, &mut adopted).await?;
    commit(transaction).await?;
    Ok((StatusCode::ACCEPTED, Json(StatusBody { id: adopted.id.0, status })))
}

fn known(error: wavemark_store::Error) -> ApiProblem {
    if error.is_duplicate() {
        return ApiProblem::conflict("task-known", "A task of this identity is known here: resume that one.");
    }
    error.into()
}

/// Only a task that has nothing of its own anywhere can take another's identity.
async fn lock_new(connection: &mut PgConnection, id: TaskId) -> ApiResult<Locked> {
    let task = lock(connection, id).await?;
    if task.status != TaskStatus::Ready || task.epoch.0 > 0 {
        let text = "The task ran before: make a new one with the same tables, and adopt with that.";
        return Err(ApiProblem::conflict("already-started", text));
    }
    Ok(task)
}

async fn found(
    connection: &mut PgConnection,
    state: &AppState,
    task: &Locked,
    input: &AdoptInput,
) -> ApiResult<Adoptable> {
    let job = store_jobs::get(connection, JobId(input.job)).await?;
    let job = job.filter(|job| job.kind == JobKind::Adoptable(task.id)).ok_or_else(|| ApiProblem::not_found("job"))?;
    if job.finished_at.is_none_or(|at: OffsetDateTime| at + FRESH < state.now()) {
        return Err(ApiProblem::conflict("job-stale", "What the job found is not known, or is too old: look again."));
    }
    let outcome = job.outcome.map(serde_json::from_value::<JobOutcome>).transpose();
    let Some(JobOutcome::Adoptable { found }) = outcome.map_err(wavemark_store::Error::from)? else {
        return Err(ApiProblem::conflict(
            "job-failed",
            "The job could not look at the target: see why, and look again.",
        ));
    };
    let found = found.into_iter().find(|found| found.task.0 == input.task);
    let found = found.ok_or_else(|| ApiProblem::field("task", "The job did not find such a task at the target."))?;
    if !found.refused.is_empty() {
        let text = format!("\"{}\" can't be adopted: {}", found.name, found.refused.join(" "));
        return Err(ApiProblem::conflict("not-adoptable", text));
    }
    Ok(found)
}
