//! Comparing source and target while a task follows, and repairing what differs.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::compare::{CompareState, ComparedState, ComparedTable, Difference, DifferingRow, RepairOrder};
use wavemark_domain::state::TaskStatus;
use wavemark_domain::{TableName, TaskId};
use wavemark_store::compares::{self, Compare, Wanted};
use wavemark_store::users::Role;
use wavemark_store::{PgConnection, audit, tasks};

use super::shapes::{NameBody, TaskProblem};
use super::tasks::lock;
use crate::auth::{Caller, Operator, Viewer};
use crate::extract::{Json, Path};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// Sessions that read on each side, unless asked otherwise.
const SESSIONS: u16 = 2;
/// The most keys of one repair; a table with more differences is loaded again.
const MOST_KEYS: usize = 10_000;
/// Most tables in one request.
const MOST_TABLES: usize = 1_000;

/// What to compare.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// The tables by their names at the source, at most 1,000; all without it.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub tables: Option<Vec<NameBody>>,
    /// How many sessions read on each side (1 to 8, else 2): fewer leave more to others.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 8)]
    pub sessions: Option<u16>,
}

/// What to repair.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairRequest {
    /// The tables by their names at the source; all that differ without it.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub tables: Option<Vec<NameBody>>,
}

/// A comparison.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CompareBody {
    /// Its id.
    pub id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// `waiting`, `running`, `done`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    pub state: CompareState,
    /// Why it waits or failed.
    pub problem: Option<TaskProblem>,
    /// The position at which both sides are read.
    pub position: Option<String>,
    /// For how many milliseconds nothing was written to the target so that both sides stand at one position.
    pub held_ms: Option<u64>,
    /// How many milliseconds both sides were read.
    pub read_ms: Option<u64>,
    /// How often it was begun.
    pub tries: u32,
    /// The comparison whose differences were repaired first.
    pub repairs: Option<Uuid>,
    /// Who asked.
    pub created_by: String,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When both sides stood at one position.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it was over.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// Differing rows of all tables together.
    pub differences: u64,
    /// Each table.
    pub tables: Vec<ComparedBody>,
}

/// One table of a comparison.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ComparedBody {
    /// Its name at the source.
    pub table: NameBody,
    /// `waiting`, `running`, `done` or `left-out`.
    #[schema(value_type = String)]
    pub state: ComparedState,
    /// Why it was not compared or not repaired.
    pub reason: Option<String>,
    /// Rows read at the source so far; what is read again counts again.
    pub source_read: u64,
    /// Rows read at the target so far.
    pub target_read: u64,
    /// Its rows at the source.
    pub source_rows: Option<u64>,
    /// Its rows at the target.
    pub target_rows: Option<u64>,
    /// Rows that the source has and the target doesn't.
    pub missing: u64,
    /// Rows that the target has and the source doesn't.
    pub extra: u64,
    /// Rows that both have with other values.
    pub different: u64,
    /// Keys whose rows were made equal before it was compared.
    pub repaired: u64,
    /// The names of the key's columns.
    pub key_columns: Vec<String>,
    /// The first 1,000 differing rows by key; shown to operators, since they are values of rows.
    pub keys: Vec<DifferingBody>,
}

/// A row that differs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DifferingBody {
    /// `missing`, `extra` or `different`.
    #[schema(value_type = String)]
    pub difference: Difference,
    /// Its key, column by column, as text.
    pub key: Vec<String>,
}

impl CompareBody {
    /// With the keys of differing rows or without.
    fn of(compare: Compare, with_keys: bool) -> Self {
        let progress = compare.progress;
        Self {
            id: compare.id,
            task_id: compare.task.0,
            state: compare.state,
            problem: progress.problem.map(TaskProblem::from),
            position: progress.position,
            held_ms: progress.held_ms,
            read_ms: progress.read_ms,
            tries: progress.tries,
            repairs: compare.repairs,
            created_by: compare.created_by,
            created_at: compare.created_at,
            started_at: compare.started_at,
            finished_at: compare.finished_at,
            differences: progress.tables.iter().map(ComparedTable::differences).sum(),
            tables: progress.tables.into_iter().map(|table| ComparedBody::of(table, with_keys)).collect(),
        }
    }
}

impl ComparedBody {
    fn of(table: ComparedTable, with_keys: bool) -> Self {
        let body = |row: DifferingRow| DifferingBody { difference: row.difference, key: row.key.text };
        Self {
            table: table.table.into(),
            state: table.state,
            reason: table.reason,
            source_read: table.read[0],
            target_read: table.read[1],
            source_rows: table.rows.map(|rows| rows[0]),
            target_rows: table.rows.map(|rows| rows[1]),
            missing: table.missing,
            extra: table.extra,
            different: table.different,
            repaired: table.repaired,
            key_columns: table.key,
            keys: if with_keys { table.keys.into_iter().map(body).collect() } else { Vec::new() },
        }
    }
}

/// Compare source and target at one position, while the task follows
///
/// The worker applies everything up to a position of the source, notes it, and reads both sides as of there beside the
/// log. Tables that are not live are named with the reason.
#[utoipa::path(post, path = "/tasks/{id}/compares", tag = "compares", request_body = CompareRequest,
    params(("id" = Uuid, Path, description = "the task")), responses(
    (status = 202, body = CompareBody, description = "the worker that runs the task does it"),
    (status = 400, body = ProblemBody, description = "not JSON of this shape"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such task"),
    (status = 409, body = ProblemBody, description = "it does not run, or follows nothing"),
    (status = 422, body = ProblemBody, description = "a table is not one of the task's, or too many sessions")))]
pub async fn create(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<TaskId>,
    Json(body): Json<CompareRequest>,
) -> ApiResult<(StatusCode, Json<CompareBody>)> {
    let sessions = body.sessions.unwrap_or(SESSIONS);
    if !(1..=8).contains(&sessions) {
        return Err(ApiProblem::field("sessions", "1 to 8 sessions read on each side."));
    }
    let wanted: Option<Vec<TableName>> = body.tables.map(|tables| tables.into_iter().map(TableName::from).collect());
    let mut transaction = state.begin().await?;
    let task = lock(&mut transaction, id).await?;
    must_follow(&mut transaction, &task).await?;
    if let Some(wanted) = &wanted {
        super::table_actions::are_known(&mut transaction, id, wanted).await?;
    }
    audit::write(&mut transaction, &caller.deed("task.compare", "task", id, Some(&task.name))).await?;
    let wanted = Wanted {
        id: Uuid::now_v7(),
        task: id,
        tables: wanted.as_deref(),
        sessions,
        repair: &[],
        repairs: None,
        by: &caller.user.name,
    };
    compares::create(&mut transaction, &wanted).await?;
    let made = read(&mut transaction, wanted.id).await?;
    commit(transaction).await?;
    Ok((StatusCode::ACCEPTED, Json(CompareBody::of(made, true))))
}

/// The comparisons of a task, newest first, without keys; the newest 50 are kept
#[utoipa::path(get, path = "/tasks/{id}/compares", tag = "compares",
    params(("id" = Uuid, Path, description = "the task")), responses(
    (status = 200, body = Vec<CompareBody>, description = "newest first"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such task")))]
pub async fn list(
    State(state): State<AppState>,
    _: Viewer,
    Path(id): Path<TaskId>,
) -> ApiResult<Json<Vec<CompareBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    if tasks::get(&mut connection, id).await?.is_none() {
        return Err(ApiProblem::not_found("task"));
    }
    let found = compares::list(&mut connection, id).await?;
    Ok(Json(found.into_iter().map(|compare| CompareBody::of(compare, false)).collect()))
}

/// Read a comparison
///
/// Keys of differing rows are values of the users' rows: those with the role viewer see counts alone.
#[utoipa::path(get, path = "/compares/{id}", tag = "compares",
    params(("id" = Uuid, Path, description = "the comparison")), responses(
    (status = 200, body = CompareBody, description = "it"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such comparison")))]
pub async fn get(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(id): Path<Uuid>,
) -> ApiResult<Json<CompareBody>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let found = read(&mut connection, id).await?;
    Ok(Json(CompareBody::of(found, sees_keys(&caller))))
}

/// Take a comparison back that is not over
#[utoipa::path(delete, path = "/compares/{id}", tag = "compares",
    params(("id" = Uuid, Path, description = "the comparison")), responses(
    (status = 204, description = "it is taken back; the worker stops reading"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such comparison"),
    (status = 409, body = ProblemBody, description = "it is over")))]
pub async fn cancel(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<Uuid>,
) -> ApiResult<StatusCode> {
    let mut transaction = state.begin().await?;
    let found = read(&mut transaction, id).await?;
    if !compares::cancel(&mut transaction, id).await? {
        return Err(ApiProblem::conflict("compare-over", "The comparison is over."));
    }
    audit::write(&mut transaction, &caller.deed("task.compare-cancel", "task", found.task, None)).await?;
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make the rows equal that a comparison found to differ, then compare their tables again
///
/// At a new position the target's rows under these keys are removed and the source's are put in their place, one commit
/// per table, while the other changes wait. At most 10,000 keys; a table of which not every differing key is known is
/// refused: load it again.
#[utoipa::path(post, path = "/compares/{id}/repair", tag = "compares", request_body = RepairRequest,
    params(("id" = Uuid, Path, description = "the comparison")), responses(
    (status = 202, body = CompareBody, description = "the comparison that repairs first"),
    (status = 400, body = ProblemBody, description = "not JSON of this shape"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such comparison"),
    (status = 409, body = ProblemBody, description = "nothing to repair, or the task does not run"),
    (status = 422, body = ProblemBody, description = "a table can't be repaired by key")))]
pub async fn repair(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<Uuid>,
    Json(body): Json<RepairRequest>,
) -> ApiResult<(StatusCode, Json<CompareBody>)> {
    let mut transaction = state.begin().await?;
    let found = read(&mut transaction, id).await?;
    let task = lock(&mut transaction, found.task).await?;
    if found.state != CompareState::Done {
        return Err(ApiProblem::conflict(
            "compare-not-done",
            "The comparison is not done: there is nothing to repair.",
        ));
    }
    must_follow(&mut transaction, &task).await?;
    let repair = repairs(&found, body.tables)?;
    let tables: Vec<TableName> = repair.iter().map(|order| order.table.clone()).collect();
    audit::write(&mut transaction, &caller.deed("task.repair", "task", task.id, Some(&task.name))).await?;
    let wanted = Wanted {
        id: Uuid::now_v7(),
        task: task.id,
        tables: Some(&tables),
        sessions: SESSIONS,
        repair: &repair,
        repairs: Some(id),
        by: &caller.user.name,
    };
    compares::create(&mut transaction, &wanted).await?;
    let made = read(&mut transaction, wanted.id).await?;
    commit(transaction).await?;
    Ok((StatusCode::ACCEPTED, Json(CompareBody::of(made, true))))
}

/// What is to be repaired of a comparison's tables.
fn repairs(found: &Compare, chosen: Option<Vec<NameBody>>) -> ApiResult<Vec<RepairOrder>> {
    let tables: Vec<&ComparedTable> = match chosen {
        None => found.progress.tables.iter().filter(|table| table.differences() > 0).collect(),
        Some(chosen) => {
            if chosen.len() > MOST_TABLES {
                return Err(ApiProblem::field("tables", format!("Name at most {MOST_TABLES} tables.")));
            }
            let named = |(at, name): (usize, NameBody)| {
                let name = TableName::from(name);
                let table = found.progress.tables.iter().find(|table| table.table == name);
                table.filter(|table| table.differences() > 0).ok_or_else(|| {
                    ApiProblem::field(format!("tables[{at}]"), format!("The comparison found no difference in {name}."))
                })
            };
            chosen.into_iter().enumerate().map(named).collect::<ApiResult<_>>()?
        }
    };
    if tables.is_empty() {
        return Err(ApiProblem::conflict("nothing-differs", "The comparison found no difference."));
    }
    let keys: usize = tables.iter().map(|table| table.keys.len()).sum();
    if keys > MOST_KEYS {
        return Err(ApiProblem::field("tables", format!("These are more than {MOST_KEYS} keys: choose fewer tables.")));
    }
    tables.into_iter().map(order_of).collect()
}

fn order_of(table: &ComparedTable) -> ApiResult<RepairOrder> {
    let name = &table.table;
    if table.key.is_empty() {
        let text = format!("{name} has no key by which rows could be repaired: load the table again.");
        return Err(ApiProblem::field("tables", text));
    }
    if (table.keys.len() as u64) < table.differences() {
        let text = format!("{name} differs in more rows than are known by key: load the table again.");
        return Err(ApiProblem::field("tables", text));
    }
    Ok(RepairOrder { table: name.clone(), keys: table.keys.iter().map(|row| row.key.clone()).collect() })
}

/// Whether someone may see keys of rows.
pub(crate) fn sees_keys(caller: &Caller) -> bool {
    caller.user.role >= Role::Operator
}

async fn read(connection: &mut PgConnection, id: Uuid) -> ApiResult<Compare> {
    compares::get(connection, id).await?.ok_or_else(|| ApiProblem::not_found("comparison"))
}

async fn must_follow(connection: &mut PgConnection, task: &tasks::Locked) -> ApiResult<()> {
    if !matches!(task.status, TaskStatus::Starting | TaskStatus::Running | TaskStatus::Degraded) {
        let text = format!("The task is {}: only one that runs can be compared.", task.status.word());
        return Err(ApiProblem::conflict("task-busy", text));
    }
    let config = tasks::config(connection, task.id, task.config_version).await?;
    if !config.ok_or_else(|| ApiProblem::not_found("configuration"))?.kind.follows() {
        let text = "The task only loads: without the source's log there is no position to compare at.";
        return Err(ApiProblem::conflict("follows-nothing", text));
    }
    Ok(())
}
