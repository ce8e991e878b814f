//! Start, resume, stop, reload, drain, assess.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::TaskId;
use wavemark_domain::state::{TaskEvent, TaskStatus};
use wavemark_store::jobs::JobKind;
use wavemark_store::tasks::{self, Locked};
use wavemark_store::{PgConnection, audit, leases};

use super::jobs::{self, Asked, JobRef};
use super::sharing;
use super::tasks::lock;
use crate::auth::{Caller, Operator};
use crate::extract::{Json, Path};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// A task's status after an action.
#[derive(Serialize, ToSchema)]
pub struct StatusBody {
    /// The task.
    pub id: Uuid,
    /// Its status now.
    #[schema(value_type = String)]
    pub status: TaskStatus,
}

/// A drain that was asked for.
#[derive(Serialize, ToSchema)]
pub struct DrainBody {
    /// The task.
    pub id: Uuid,
    /// The drain's number: it is done once `progress.drained.number` is this or higher.
    pub number: i64,
}

pub(super) type Accepted = (StatusCode, Json<StatusBody>);

/// How a task is set going.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    First,
    On,
    Again,
}

/// Start a task for the first time
#[utoipa::path(post, path = "/tasks/{id}/start", tag = "tasks", params(("id" = Uuid, Path, description = "the task")),
    responses(
    (status = 202, body = StatusBody, description = "a worker takes it soon"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it runs or ran already, or another task's target tables would be lost")))]
pub async fn start(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
) -> ApiResult<Accepted> {
    go(&state, &caller, id, Going::First, "task.start").await
}

/// Go on from the bookmark in the target; a task whose log was let go over its budget loads everything again
#[utoipa::path(post, path = "/tasks/{id}/resume", tag = "tasks", params(("id" = Uuid, Path, description = "the task")),
    responses(
    (status = 202, body = StatusBody, description = "a worker takes it soon"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it runs, or never ran")))]
pub async fn resume(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
) -> ApiResult<Accepted> {
    go(&state, &caller, id, Going::On, "task.resume").await
}

/// Load everything again, from a stopped or failed task
#[utoipa::path(post, path = "/tasks/{id}/reload", tag = "tasks", params(("id" = Uuid, Path, description = "the task")),
    responses(
    (status = 202, body = StatusBody, description = "a worker takes it soon"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it runs, or another task's target tables would be lost")))]
pub async fn reload(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
) -> ApiResult<Accepted> {
    go(&state, &caller, id, Going::Again, "task.reload").await
}

async fn go(state: &AppState, caller: &Caller, id: TaskId, going: Going, action: &str) -> ApiResult<Accepted> {
    let mut transaction = state.begin().await?;
    let mut task = lock(&mut transaction, id).await?;
    let ran = task.status != TaskStatus::Ready;
    if task.status.next(TaskEvent::StartAsked).is_none() {
        let text = format!("The task is {}: it can't be started now.", task.status.word());
        return Err(ApiProblem::conflict("task-busy", text));
    }
    // The log was let go on purpose: going on means to load everything again.
    let going = if going == Going::On && task.must_reload { Going::Again } else { going };
    match going {
        Going::First if ran => {
            let text = "The task ran before: resume it from its bookmark, or reload everything.";
            return Err(ApiProblem::conflict("already-started", text));
        }
        Going::On if !ran => return Err(ApiProblem::conflict("never-started", "The task never ran: start it.")),
        Going::Again if ran => tasks::begin_generation(&mut transaction, &mut task).await?,
        _ => {}
    }
    let name = task.name.clone();
    audit::write(&mut transaction, &caller.deed(action, "task", id, Some(&name))).await?;
    sharing::check(&mut transaction, &task, going != Going::On).await?;
    let status = move_on(&mut transaction, &mut task, TaskEvent::StartAsked).await?;
    commit(transaction).await?;
    Ok((StatusCode::ACCEPTED, Json(StatusBody { id: id.0, status })))
}

/// An adopted task goes on from its bookmark.
pub(super) async fn resumed(connection: &mut PgConnection, task: &mut Locked) -> ApiResult<TaskStatus> {
    move_on(connection, task, TaskEvent::StartAsked).await
}

async fn move_on(connection: &mut PgConnection, task: &mut Locked, event: TaskEvent) -> ApiResult<TaskStatus> {
    let before = task.status.word();
    let next = tasks::transition(connection, task, event, None).await?;
    next.ok_or_else(|| ApiProblem::conflict("task-busy", format!("The task is {before}: this can't be done now.")))
}

/// Stop a task at the end of the wave
#[utoipa::path(post, path = "/tasks/{id}/stop", tag = "tasks", params(("id" = Uuid, Path, description = "the task")),
    responses(
    (status = 202, body = StatusBody, description = "stopping until a worker confirms it"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it does not run")))]
pub async fn stop(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
) -> ApiResult<Accepted> {
    let mut transaction = state.begin().await?;
    let mut task = lock(&mut transaction, id).await?;
    let name = task.name.clone();
    audit::write(&mut transaction, &caller.deed("task.stop", "task", id, Some(&name))).await?;
    let mut status = match task.status {
        // Asking twice is fine.
        TaskStatus::Stopping | TaskStatus::Stopped => task.status,
        _ => move_on(&mut transaction, &mut task, TaskEvent::StopAsked).await?,
    };
    // Without a lease no worker can be writing: each gave its lease back, or none ever had one.
    if status == TaskStatus::Stopping && leases::holder(&mut transaction, id).await?.is_none() {
        status = move_on(&mut transaction, &mut task, TaskEvent::Ended).await?;
    }
    commit(transaction).await?;
    Ok((StatusCode::ACCEPTED, Json(StatusBody { id: id.0, status })))
}

/// Say when the target has all that the source has now
///
/// Call it once writing to the source has stopped. The worker takes the end of the source's log, waits until the
/// bookmark has it, raises the target's counters, and shows `progress.drained`.
#[utoipa::path(post, path = "/tasks/{id}/drain", tag = "tasks", params(("id" = Uuid, Path, description = "the task")),
    responses(
    (status = 202, body = DrainBody, description = "the worker that runs the task does it"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it does not run, or follows nothing")))]
pub async fn drain(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
) -> ApiResult<(StatusCode, Json<DrainBody>)> {
    let mut transaction = state.begin().await?;
    let task = lock(&mut transaction, id).await?;
    if !matches!(task.status, TaskStatus::Starting | TaskStatus::Running | TaskStatus::Degraded) {
        let text = format!("The task is {}: only one that runs can be drained.", task.status.word());
        return Err(ApiProblem::conflict("task-busy", text));
    }
    let config = tasks::config(&mut transaction, id, task.config_version).await?;
    if !config.ok_or_else(|| ApiProblem::not_found("configuration"))?.kind.follows() {
        return Err(ApiProblem::conflict(
            "follows-nothing",
            "The task only loads: it ends by itself when all is there.",
        ));
    }
    audit::write(&mut transaction, &caller.deed("task.drain", "task", id, Some(&task.name))).await?;
    let number = tasks::ask_drain(&mut transaction, &task).await?;
    commit(transaction).await?;
    Ok((StatusCode::ACCEPTED, Json(DrainBody { id: id.0, number })))
}

/// Look for what stands in a task's way; a worker really looks
#[utoipa::path(post, path = "/tasks/{id}/assess", tag = "tasks", params(("id" = Uuid, Path, description = "the task")),
    responses(
    (status = 202, body = JobRef, description = "asked for; read the job"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task")))]
pub async fn assess(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
) -> ApiResult<Asked> {
    let mut transaction = state.begin().await?;
    let task = lock(&mut transaction, id).await?;
    jobs::ask(transaction, &caller, JobKind::Assess(id), ("task", id.0, &task.name)).await
}
