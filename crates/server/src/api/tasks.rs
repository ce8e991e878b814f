//! Tasks: make, read, edit, delete.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use wavemark_domain::mapping::{MappingError, Mappings};
use wavemark_domain::state::{TaskEvent, TaskStatus};
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{EndpointId, TaskId};
use wavemark_store::endpoints::{self, Endpoint};
use wavemark_store::tasks::{self, Config, Locked, Task};
use wavemark_store::{PgConnection, audit, leases};

use super::created;
use super::shapes::TaskProblem;
use super::task_views::ProgressBody;
use crate::auth::{Operator, Viewer};
use crate::extract::{Create, IfMatch, Json, Page, Paging, Path, Query, etag};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// The endpoint of a task.
#[derive(Serialize, ToSchema)]
pub struct EndpointRef {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
}

/// The worker that holds a task's lease.
#[derive(Serialize, ToSchema)]
pub struct HolderBody {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Whether the lease's time is over: the worker is not heard of.
    pub lapsed: bool,
    /// When it last reported.
    #[serde(with = "time::serde::rfc3339")]
    pub renewed_at: OffsetDateTime,
}

/// What a clean-up left behind.
#[derive(Serialize, ToSchema)]
pub struct CleanUpBody {
    /// Why.
    pub problem: TaskProblem,
    /// What a person can run instead.
    pub statements: Vec<String>,
}

/// One task.
#[derive(Serialize, ToSchema)]
pub struct TaskBody {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// `full-load`, `cdc` or `full-load-and-cdc`.
    #[schema(value_type = String)]
    pub kind: TaskKind,
    /// Where from.
    pub source: EndpointRef,
    /// Where to.
    pub target: EndpointRef,
    /// `ready`, `starting`, `running`, `degraded`, `stopping`, `stopped`, `failed`, `deleting` or `clean-up-pending`.
    #[schema(value_type = String)]
    pub status: TaskStatus,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub status_since: OffsetDateTime,
    /// Counts its configurations; the `ETag`.
    pub config_version: i32,
    /// Counts the lives of its artefacts.
    pub generation: i32,
    /// The newest lease's number.
    pub epoch: i64,
    /// Who holds the lease.
    pub worker: Option<HolderBody>,
    /// How many tables are known.
    pub tables: i64,
    /// How many of them are parked.
    pub tables_parked: i64,
    /// What its worker last said.
    pub progress: Option<ProgressBody>,
    /// When it said so.
    #[serde(with = "time::serde::rfc3339::option")]
    pub progress_at: Option<OffsetDateTime>,
    /// Why it failed.
    pub problem: Option<TaskProblem>,
    /// What a clean-up left behind.
    pub clean_up: Option<CleanUpBody>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last started.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it last ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub stopped_at: Option<OffsetDateTime>,
}

impl From<Task> for TaskBody {
    fn from(task: Task) -> Self {
        Self {
            id: task.id.0,
            name: task.name,
            kind: task.kind,
            source: EndpointRef { id: task.source.0, name: task.source_name },
            target: EndpointRef { id: task.target.0, name: task.target_name },
            status: task.status,
            status_since: task.status_since,
            config_version: task.config_version.0,
            generation: task.generation.0,
            epoch: task.epoch.0,
            worker: task.worker.map(|worker| HolderBody {
                id: worker.id.0,
                name: worker.name,
                lapsed: worker.lapsed,
                renewed_at: worker.renewed_at,
            }),
            tables: task.tables,
            tables_parked: task.parked,
            progress: task.progress.map(ProgressBody::from),
            progress_at: task.progress_at,
            problem: task.problem.map(TaskProblem::from),
            clean_up: task
                .clean_up
                .map(|left| CleanUpBody { problem: left.problem.into(), statements: left.statements }),
            created_at: task.created_at,
            started_at: task.started_at,
            stopped_at: task.stopped_at,
        }
    }
}

/// A task with its configuration.
#[derive(Serialize, ToSchema)]
pub struct TaskDetail {
    /// The task.
    #[serde(flatten)]
    pub task: TaskBody,
    /// Its table mappings, `{"rules": […]}`.
    #[schema(value_type = Object)]
    pub mappings: Value,
    /// Its settings, each with its value.
    #[schema(value_type = Object)]
    pub settings: TaskSettings,
}

/// Which tasks.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TaskFilter {
    /// Only with this status.
    pub status: Option<String>,
    /// Only those that read from or write to this endpoint.
    pub endpoint: Option<Uuid>,
}

/// List tasks
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(TaskFilter, Paging), responses(
    (status = 200, body = Page<TaskBody>, description = "by name"),
    (status = 400, body = ProblemBody, description = "the query can't be read"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn list(
    State(state): State<AppState>,
    _: Viewer,
    Query(filter): Query<TaskFilter>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<TaskBody>>> {
    let status = filter.status.as_deref().map(|word| {
        let wrong =
            || ApiProblem::new(StatusCode::BAD_REQUEST, "invalid-query", format!("\"{word}\" is not a status."));
        TaskStatus::from_word(word).ok_or_else(|| wrong().in_field("status"))
    });
    let filter = tasks::Filter { id: None, endpoint: filter.endpoint.map(EndpointId), status: status.transpose()? };
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let after: String = paging.after()?.unwrap_or_default();
    let rows = tasks::list(&mut connection, &filter, &after, paging.rows()).await?;
    Ok(Json(paging.page(rows, |task| task.name.clone(), TaskBody::from)))
}

/// What a task is made of.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskInput {
    /// Its name: 1 to 100 characters.
    pub name: String,
    /// `full-load`, `cdc` or `full-load-and-cdc`.
    #[schema(value_type = String)]
    pub kind: TaskKind,
    /// The source endpoint.
    pub source_id: Uuid,
    /// The target endpoint.
    pub target_id: Uuid,
    /// Table mappings in the JSON of AWS DMS, `{"rules": […]}`.
    #[schema(value_type = Object)]
    pub mappings: Value,
    /// Settings that are not the default.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: TaskSettings,
}

/// Checks what can be checked without a worker.
pub(super) async fn accept(state: &AppState, connection: &mut PgConnection, input: TaskInput) -> ApiResult<Config> {
    let name = &input.name;
    if name.trim() != name || !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(ApiProblem::field("name", "A name has 1 to 100 characters, none of them control."));
    }
    let source = endpoint(connection, input.source_id, "source_id").await?;
    if !source.role.is_source() {
        return Err(ApiProblem::field("source_id", format!("\"{}\" is used as a target only.", source.name)));
    }
    let target = endpoint(connection, input.target_id, "target_id").await?;
    if !target.role.is_target() {
        return Err(ApiProblem::field("target_id", format!("\"{}\" is used as a source only.", target.name)));
    }
    if source.id == target.id {
        return Err(ApiProblem::field("target_id", "Source and target are the same endpoint."));
    }
    Mappings::parse(&input.mappings).map_err(|error| mapping_problem(&error))?;
    if let Some((field, range)) = input.settings.out_of_range() {
        return Err(ApiProblem::field(format!("settings.{field}"), format!("The setting {field} takes {range}.")));
    }
    if let Some((field, why)) = input.settings.misfit(input.kind) {
        return Err(ApiProblem::field(format!("settings.{field}"), why));
    }
    if let Some(spec) = state.spec(&source.engine) {
        spec.check_task(&input.settings)
            .map_err(|error| ApiProblem::field(format!("settings.{}", error.field), error.text))?;
    }
    Ok(Config {
        name: input.name,
        kind: input.kind,
        source: source.id,
        target: target.id,
        mappings: input.mappings,
        settings: input.settings,
    })
}

/// The problem with a mapping, with rule and field named.
pub(super) fn mapping_problem(error: &MappingError) -> ApiProblem {
    let field = match &error.rule_id {
        Some(id) => format!("mappings.rules[rule-id={id}].{}", error.field),
        None if error.field == "mappings" => "mappings".to_owned(),
        None => format!("mappings.{}", error.field),
    };
    let code =
        ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-mapping", format!("The table mappings: {error}."));
    code.in_field(field)
}

async fn endpoint(connection: &mut PgConnection, id: Uuid, field: &str) -> ApiResult<Endpoint> {
    let found = endpoints::get(connection, EndpointId(id)).await?;
    found.ok_or_else(|| ApiProblem::field(field, "There is no such endpoint."))
}

fn taken(error: wavemark_store::Error) -> ApiProblem {
    if error.is_duplicate() {
        return ApiProblem::conflict("name-taken", "There is a task of this name.").in_field("name");
    }
    error.into()
}

pub(super) async fn detail(connection: &mut PgConnection, id: TaskId) -> ApiResult<TaskDetail> {
    let task = tasks::get(connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let config = tasks::config(connection, id, task.config_version).await?;
    let config = config.ok_or_else(|| ApiProblem::not_found("configuration"))?;
    Ok(TaskDetail { task: task.into(), mappings: config.mappings, settings: config.settings })
}

pub(super) async fn lock(connection: &mut PgConnection, id: TaskId) -> ApiResult<Locked> {
    tasks::lock(connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))
}

/// Make a task
#[utoipa::path(post, path = "/tasks", tag = "tasks", request_body = TaskInput,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes the create safe to repeat")), responses(
    (status = 201, body = TaskDetail, description = "made; it is ready"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 409, body = ProblemBody, description = "the name is taken"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted")))]
pub async fn create(
    State(state): State<AppState>,
    Operator(caller): Operator,
    create: Create<TaskInput>,
) -> ApiResult<Response> {
    let mut transaction = state.begin().await?;
    if let Some(answer) = created::before(&mut transaction, &caller, &create).await? {
        return Ok(answer);
    }
    let config = accept(&state, &mut transaction, create.value.clone()).await?;
    let id = TaskId(Uuid::now_v7());
    tasks::create(&mut transaction, id, &config, &caller.user.name).await.map_err(taken)?;
    let mut deed = caller.deed("task.create", "task", id, Some(&config.name));
    deed.difference = Some(serde_json::to_value(&create.value).map_err(wavemark_store::Error::from)?);
    audit::write(&mut transaction, &deed).await?;
    let body = detail(&mut transaction, id).await?;
    created::finish(transaction, &caller, &create, body).await
}

/// Read a task
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = Uuid, Path, description = "the task")), responses(
    (status = 200, body = TaskDetail, description = "it, with the ETag of its configuration"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such task")))]
pub async fn get(State(state): State<AppState>, _: Viewer, Path(id): Path<TaskId>) -> ApiResult<Response> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let body = detail(&mut connection, id).await?;
    Ok((etag(body.task.config_version), Json(body)).into_response())
}

/// Edit a task that doesn't run; what changes the target's tables holds after a reload
#[utoipa::path(put, path = "/tasks/{id}", tag = "tasks", request_body = TaskInput,
    params(("id" = Uuid, Path, description = "the task"), ("If-Match" = String, Header, description = "the ETag that was read")),
    responses(
    (status = 200, body = TaskDetail, description = "edited"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it runs, or the name is taken"),
    (status = 412, body = ProblemBody, description = "edited in the meantime"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted"),
    (status = 428, body = ProblemBody, description = "If-Match is missing")))]
pub async fn update(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
    if_match: IfMatch,
    Json(input): Json<TaskInput>,
) -> ApiResult<Response> {
    let mut transaction = state.begin().await?;
    let task = lock(&mut transaction, id).await?;
    if_match.check(task.config_version.0)?;
    if !matches!(task.status, TaskStatus::Ready | TaskStatus::Stopped | TaskStatus::Failed) {
        let text = format!("The task is {}: stop it before you edit it.", task.status.word());
        return Err(ApiProblem::conflict("task-busy", text));
    }
    let before = tasks::config(&mut transaction, id, task.config_version).await?;
    let before = before.ok_or_else(|| ApiProblem::not_found("configuration"))?;
    let config = accept(&state, &mut transaction, input.clone()).await?;
    if task.epoch.0 > 0 && (before.source, before.target) != (config.source, config.target) {
        let text = "A task that ran keeps its endpoints: its bookmark and its slot are there. Make another task.";
        return Err(ApiProblem::conflict("endpoints-fixed", text));
    }
    tasks::edit(&mut transaction, id, &config, &caller.user.name).await.map_err(taken)?;
    let mut deed = caller.deed("task.update", "task", id, Some(&config.name));
    deed.difference = Some(json!({
        "before": {"name": before.name, "kind": before.kind, "mappings": before.mappings, "settings": before.settings},
        "after": input,
    }));
    audit::write(&mut transaction, &deed).await?;
    let body = detail(&mut transaction, id).await?;
    commit(transaction).await?;
    Ok((etag(body.task.config_version), Json(body)).into_response())
}

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteQuery {
    /// Forget a task whose clean-up is pending: its statements were run by a person, or what it left is gone.
    #[serde(default)]
    pub forget: bool,
}

/// Delete a task that doesn't run: a worker first removes its slot, publication and bookmark
#[utoipa::path(delete, path = "/tasks/{id}", tag = "tasks",
    params(("id" = Uuid, Path, description = "the task"), DeleteQuery, ("If-Match" = String, Header, description = "the ETag that was read")),
    responses(
    (status = 202, description = "the clean-up was asked for; the task is gone when it is done"),
    (status = 204, description = "deleted: it never ran, or was forgotten"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it runs"),
    (status = 412, body = ProblemBody, description = "edited in the meantime"),
    (status = 428, body = ProblemBody, description = "If-Match is missing")))]
pub async fn delete(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
    Query(query): Query<DeleteQuery>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = state.begin().await?;
    let mut task = lock(&mut transaction, id).await?;
    if_match.check(task.config_version.0)?;
    let name = task.name.clone();
    audit::write(&mut transaction, &caller.deed("task.delete", "task", id, Some(&name))).await?;
    let never_held = task.epoch.0 == 0 && leases::holder(&mut transaction, id).await?.is_none();
    let status = if (query.forget && task.status == TaskStatus::CleanUpPending)
        || (never_held && task.status.next(TaskEvent::DeleteAsked).is_some())
    {
        tasks::delete(&mut transaction, &task).await?;
        StatusCode::NO_CONTENT
    } else {
        let next = tasks::transition(&mut transaction, &mut task, TaskEvent::DeleteAsked, None).await?;
        if next.is_none() {
            let text = format!("The task is {}: stop it before you delete it.", task.status.word());
            return Err(ApiProblem::conflict("task-busy", text));
        }
        StatusCode::ACCEPTED
    };
    commit(transaction).await?;
    Ok(status)
}
