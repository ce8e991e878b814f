//! What can be asked of single tables of a task: load again, leave behind.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::state::TaskStatus;
use wavemark_domain::{TableName, TableWish, TaskId};
use wavemark_store::{PgConnection, audit, orders, task_tables, tasks};

use super::shapes::NameBody;
use super::tasks::lock;
use crate::auth::{Caller, Operator};
use crate::extract::{Json, Path};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// Most tables in one request.
const MOST: usize = 1_000;

/// Which tables.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TablesBody {
    /// Their names at the source; at most 1,000.
    #[schema(min_items = 1, max_items = 1000)]
    pub tables: Vec<NameBody>,
}

/// What was asked of which tables.
#[derive(Serialize, ToSchema)]
pub struct OrderedBody {
    /// The task.
    pub id: Uuid,
    /// The tables.
    pub tables: Vec<NameBody>,
    /// `reload` or `park`.
    #[schema(value_type = String)]
    pub wish: TableWish,
}

type Ordered = (StatusCode, Json<OrderedBody>);

/// Load tables again, or for the first time
///
/// A worker that runs the task does it at once, else the next that takes it. The other tables are followed meanwhile.
#[utoipa::path(post, path = "/tasks/{id}/tables/reload", tag = "tasks", request_body = TablesBody,
    params(("id" = Uuid, Path, description = "the task")), responses(
    (status = 202, body = OrderedBody, description = "a worker does it soon"),
    (status = 400, body = ProblemBody, description = "not JSON of this shape"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "the task never ran, is being deleted, or loads nothing"),
    (status = 422, body = ProblemBody, description = "a table is not one of the task's")))]
pub async fn reload(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
    Json(body): Json<TablesBody>,
) -> ApiResult<Ordered> {
    order(&state, &caller, id, body, TableWish::Reload).await
}

/// Leave tables behind where they are
///
/// Their later changes are not kept: the way back is a reload.
#[utoipa::path(post, path = "/tasks/{id}/tables/park", tag = "tasks", request_body = TablesBody,
    params(("id" = Uuid, Path, description = "the task")), responses(
    (status = 202, body = OrderedBody, description = "a worker does it soon"),
    (status = 400, body = ProblemBody, description = "not JSON of this shape"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "the task never ran, is being deleted, or follows nothing"),
    (status = 422, body = ProblemBody, description = "a table is not one of the task's")))]
pub async fn park(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
    Json(body): Json<TablesBody>,
) -> ApiResult<Ordered> {
    order(&state, &caller, id, body, TableWish::Park).await
}

async fn order(state: &AppState, caller: &Caller, id: TaskId, body: TablesBody, wish: TableWish) -> ApiResult<Ordered> {
    let wanted: Vec<TableName> = body.tables.into_iter().map(TableName::from).collect();
    let mut transaction = state.begin().await?;
    let task = lock(&mut transaction, id).await?;
    may_ask(&mut transaction, &task, wish).await?;
    are_known(&mut transaction, id, &wanted).await?;
    let action = format!("task.table-{}", wish.word());
    audit::write(&mut transaction, &caller.deed(&action, "task", id, Some(&task.name))).await?;
    orders::give(&mut transaction, id, &wanted, wish, &caller.user.name).await?;
    commit(transaction).await?;
    let tables = wanted.into_iter().map(NameBody::from).collect();
    Ok((StatusCode::ACCEPTED, Json(OrderedBody { id: id.0, tables, wish })))
}

async fn may_ask(connection: &mut PgConnection, task: &tasks::Locked, wish: TableWish) -> ApiResult<()> {
    match task.status {
        TaskStatus::Ready => {
            return Err(ApiProblem::conflict("never-started", "The task never ran: start it, and it loads all."));
        }
        TaskStatus::Deleting | TaskStatus::CleanUpPending => {
            return Err(ApiProblem::conflict("task-busy", "The task is being deleted."));
        }
        _ => {}
    }
    let config = tasks::config(connection, task.id, task.config_version).await?;
    let kind = config.ok_or_else(|| ApiProblem::not_found("configuration"))?.kind;
    match wish {
        TableWish::Reload if !kind.loads() => {
            Err(ApiProblem::conflict("loads-nothing", "The task only follows: it has no load to repeat."))
        }
        TableWish::Park if !kind.follows() => Err(ApiProblem::conflict(
            "follows-nothing",
            "The task only loads: there is nothing to leave a table out of.",
        )),
        _ => Ok(()),
    }
}

pub(super) async fn are_known(connection: &mut PgConnection, id: TaskId, wanted: &[TableName]) -> ApiResult<()> {
    if wanted.is_empty() || wanted.len() > MOST {
        return Err(ApiProblem::field("tables", format!("Name one table or more, at most {MOST}.")));
    }
    let Some(at) = task_tables::first_unknown(connection, id, wanted).await? else { return Ok(()) };
    let text = format!("{} is not one of the task's tables.", wanted[at]);
    Err(ApiProblem::field(format!("tables[{at}]"), text))
}
