//! What a task's worker says: progress, tables, samples, events.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use wavemark_domain::progress::{Drained, Phase, TaskProgress};
use wavemark_domain::state::TableState;
use wavemark_domain::{TableName, TableWish, TaskId, UnfitCount, UnfitPolicy};
use wavemark_store::samples::{self, Sample};
use wavemark_store::task_tables::{self, TaskTable};
use wavemark_store::{events, tasks};

use super::events::{EventBody, EventFilter};
use super::shapes::{NameBody, TaskProblem, from_micros};
use crate::auth::Viewer;
use crate::extract::{Json, Page, Paging, Path, Query};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::AppState;

/// What a running task says about itself. Counters count since this run began; what isn't known is null, never 0.
#[derive(Serialize, ToSchema)]
pub struct ProgressBody {
    /// `preparing`, `loading`, `finishing`, `following`, `retrying` or `cleaning-up`.
    #[schema(value_type = String)]
    pub phase: Phase,
    /// Where the source's log ends.
    pub source_position: Option<String>,
    /// How far the log has been read.
    pub read_position: Option<String>,
    /// What the target has, durably.
    pub bookmark: Option<String>,
    /// Number of the newest wave.
    pub wave: Option<i64>,
    /// When the source committed the newest transaction in the target.
    #[serde(with = "time::serde::rfc3339::option")]
    pub applied_commit_at: Option<OffsetDateTime>,
    /// Source commit to target commit of the newest wave, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Bytes of log between the bookmark and the log's end.
    pub behind_bytes: Option<u64>,
    /// Bytes of log that the source keeps for this task.
    pub log_kept_bytes: Option<u64>,
    /// Bytes of log that the source would keep at most.
    pub log_limit_bytes: Option<u64>,
    /// Bytes of log that the task's settings allow.
    pub log_budget_bytes: Option<u64>,
    /// Seconds until the source's limit is reached, at the rate of late.
    pub log_seconds_left: Option<u64>,
    /// What people must know about the log that is kept.
    pub log_problem: Option<TaskProblem>,
    /// Changes read from the log.
    pub changes_read: u64,
    /// Bytes of log messages read.
    pub bytes_read: u64,
    /// Changes committed in the target.
    pub changes_written: u64,
    /// Bytes of row data of those.
    pub bytes_written: u64,
    /// Source transactions committed in the target.
    pub transactions_written: u64,
    /// Rows copied by the load.
    pub rows_loaded: u64,
    /// Bytes copied by the load.
    pub bytes_loaded: u64,
    /// Waves committed.
    pub waves: u64,
    /// Changes in the newest wave.
    pub wave_changes: u64,
    /// Time of the newest wave, in milliseconds.
    pub wave_ms: Option<u64>,
    /// Time spent waiting for the source, in microseconds.
    pub read_wait_us: u64,
    /// Time spent applying waves before their commit, in microseconds.
    pub apply_us: u64,
    /// Time spent in commits, in microseconds.
    pub commit_us: u64,
    /// Time the reader waited because memory was full, in microseconds.
    pub blocked_us: u64,
    /// Transactions read and not yet in the target.
    pub in_hand_transactions: u64,
    /// Bytes of those in memory.
    pub in_hand_bytes: u64,
    /// Bytes of those on disk.
    pub spilled_bytes: u64,
    /// Problems that were met and retried.
    pub retries: u64,
    /// The passing problem that is being waited out.
    pub waiting_for: Option<TaskProblem>,
    /// Why the source is not told to forget what the target has committed: a standby that the target endpoint's
    /// settings name does not have it yet.
    pub confirm_waits_for: Option<TaskProblem>,
    /// The newest drain that is done.
    pub drained: Option<DrainedBody>,
}

/// Everything that the source had when a drain was asked for is in the target, and counters are raised.
#[derive(Serialize, ToSchema)]
pub struct DrainedBody {
    /// The drain's number.
    pub number: i64,
    /// Where the source's log ended then.
    pub position: String,
    /// Tables that were not up to date then: parked ones.
    pub tables_behind: u64,
    /// Whether changes have come since: something still writes to the source.
    pub written_since: bool,
    /// Whether the target can take over: nothing is behind and nothing has come since.
    pub safe_to_switch: bool,
}

impl From<Drained> for DrainedBody {
    fn from(drained: Drained) -> Self {
        Self {
            safe_to_switch: drained.is_safe(),
            number: drained.number,
            position: drained.position,
            tables_behind: drained.behind,
            written_since: drained.written_since,
        }
    }
}

impl From<TaskProgress> for ProgressBody {
    fn from(progress: TaskProgress) -> Self {
        Self {
            phase: progress.phase,
            source_position: progress.source_position,
            read_position: progress.read_position,
            bookmark: progress.bookmark,
            wave: progress.wave,
            applied_commit_at: progress.applied_commit_at.and_then(from_micros),
            lag_ms: progress.lag_ms,
            behind_bytes: progress.behind_bytes,
            log_kept_bytes: progress.log_kept_bytes,
            log_limit_bytes: progress.log_limit_bytes,
            log_budget_bytes: progress.log_budget_bytes,
            log_seconds_left: progress.log_seconds_left,
            log_problem: progress.log_problem.map(TaskProblem::from),
            changes_read: progress.changes_read,
            bytes_read: progress.bytes_read,
            changes_written: progress.changes_written,
            bytes_written: progress.bytes_written,
            transactions_written: progress.transactions_written,
            rows_loaded: progress.rows_loaded,
            bytes_loaded: progress.bytes_loaded,
            waves: progress.waves,
            wave_changes: progress.wave_changes,
            wave_ms: progress.wave_ms,
            read_wait_us: progress.read_wait_us,
            apply_us: progress.apply_us,
            commit_us: progress.commit_us,
            blocked_us: progress.blocked_us,
            in_hand_transactions: progress.in_hand_transactions,
            in_hand_bytes: progress.in_hand_bytes,
            spilled_bytes: progress.spilled_bytes,
            retries: progress.retries,
            waiting_for: progress.waiting_for.map(TaskProblem::from),
            confirm_waits_for: progress.confirm_waits_for.map(TaskProblem::from),
            drained: progress.drained.map(DrainedBody::from),
        }
    }
}

/// One table of a task.
#[derive(Serialize, ToSchema)]
pub struct TaskTableBody {
    /// The name in the source.
    pub source: NameBody,
    /// The name in the target.
    pub target: NameBody,
    /// `waiting`, `loading`, `catching-up`, `live`, `parked` or `done`.
    #[schema(value_type = String)]
    pub state: TableState,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub state_since: OffsetDateTime,
    /// What was asked of it last and no worker has done yet: `reload` or `park`.
    #[schema(value_type = Option<String>)]
    pub asked: Option<TableWish>,
    /// The source's own estimate when the load was planned.
    pub rows_estimated: Option<u64>,
    /// Rows copied, over all runs.
    pub rows_loaded: u64,
    /// Bytes copied, over all runs.
    pub bytes_loaded: u64,
    /// Chunks of its load.
    pub chunks: u32,
    /// Chunks committed in the target, over all runs.
    pub chunks_done: u32,
    /// Chunks read from the source in this run.
    pub chunks_read: u32,
    /// Rows fetched again by key because they changed while the load was interrupted.
    pub rows_refetched: u64,
    /// Inserts applied.
    pub inserts: u64,
    /// Updates applied.
    pub updates: u64,
    /// Deletes applied.
    pub deletes: u64,
    /// Truncates applied.
    pub truncates: u64,
    /// Rows left out and written to `wavemark.exceptions`.
    pub exceptions: u64,
    /// Changes that found the target's row otherwise than expected, decided about as `conflicts` says.
    pub conflicts: u64,
    /// Values that the target's columns can't hold and that were written otherwise, as `unfit_values` or a mapping rule says.
    pub unfit: Vec<UnfitBody>,
    /// When the source committed its newest applied change.
    #[serde(with = "time::serde::rfc3339::option")]
    pub applied_commit_at: Option<OffsetDateTime>,
    /// Why it is parked.
    pub problem: Option<TaskProblem>,
}

/// How many values of a column had no place in the target.
#[derive(Serialize, ToSchema)]
pub struct UnfitBody {
    /// The column's name in the source.
    pub column: String,
    /// What was written: `null`, or with `clamp` the nearest value that the column holds.
    #[schema(value_type = String)]
    pub way: UnfitPolicy,
    /// How many, since the table's load began: counted with each row that brings one.
    pub values: u64,
    /// When the first was written.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

impl From<UnfitCount> for UnfitBody {
    fn from(UnfitCount { column, way, values, since }: UnfitCount) -> Self {
        Self { column, way, values, since: from_micros(since) }
    }
}

impl From<TaskTable> for TaskTableBody {
    fn from(TaskTable { since, progress: table, asked }: TaskTable) -> Self {
        Self {
            source: table.table.into(),
            target: table.target.into(),
            state: table.state,
            state_since: since,
            asked,
            rows_estimated: table.rows_estimated,
            rows_loaded: table.rows_loaded,
            bytes_loaded: table.bytes_loaded,
            chunks: table.chunks,
            chunks_done: table.chunks_done,
            chunks_read: table.chunks_read,
            rows_refetched: table.rows_refetched,
            inserts: table.inserts,
            updates: table.updates,
            deletes: table.deletes,
            truncates: table.truncates,
            exceptions: table.exceptions,
            conflicts: table.conflicts,
            unfit: table.unfit.into_iter().map(UnfitBody::from).collect(),
            applied_commit_at: table.applied_commit_at.and_then(from_micros),
            problem: table.problem.map(TaskProblem::from),
        }
    }
}

async fn exists(connection: &mut wavemark_store::PgConnection, id: TaskId) -> ApiResult<()> {
    tasks::get(connection, id).await?.map(|_| ()).ok_or_else(|| ApiProblem::not_found("task"))
}

/// The tables of a task
#[utoipa::path(get, path = "/tasks/{id}/tables", tag = "tasks",
    params(("id" = Uuid, Path, description = "the task"), Paging), responses(
    (status = 200, body = Page<TaskTableBody>, description = "by source schema and name"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such task")))]
pub async fn tables(
    State(state): State<AppState>,
    _: Viewer,
    Path(id): Path<TaskId>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<TaskTableBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    exists(&mut connection, id).await?;
    let after: Option<TableName> = paging.after()?;
    let rows = task_tables::list(&mut connection, id, after.as_ref(), paging.rows()).await?;
    Ok(Json(paging.page(rows, |table| table.progress.table.clone(), TaskTableBody::from)))
}

/// One point of the charts.
#[derive(Serialize, ToSchema)]
pub struct SampleBody {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Source commit to target commit, in milliseconds.
    pub lag_ms: Option<i64>,
    /// Bytes of log between bookmark and end.
    pub behind_bytes: Option<i64>,
    /// Bytes of log that the source keeps.
    pub log_kept_bytes: Option<i64>,
    /// Changes read per second.
    pub read_rate: Option<f64>,
    /// Changes committed in the target per second.
    pub write_rate: Option<f64>,
    /// Bytes of those per second.
    pub write_byte_rate: Option<f64>,
    /// Rows copied per second.
    pub load_rate: Option<f64>,
}

impl From<Sample> for SampleBody {
    fn from(sample: Sample) -> Self {
        Self {
            at: sample.at,
            lag_ms: sample.lag_ms,
            behind_bytes: sample.behind_bytes,
            log_kept_bytes: sample.log_kept_bytes,
            read_rate: sample.read_rate,
            write_rate: sample.write_rate,
            write_byte_rate: sample.write_byte_rate,
            load_rate: sample.load_rate,
        }
    }
}

/// From when on.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SamplesQuery {
    /// The last so many minutes (1 to 44640, else 60).
    #[param(value_type = Option<i64>, minimum = 0)]
    pub minutes: Option<u32>,
}

/// The figures of a task over time: every five seconds for a day, every minute for a month
#[utoipa::path(get, path = "/tasks/{id}/samples", tag = "tasks",
    params(("id" = Uuid, Path, description = "the task"), SamplesQuery), responses(
    (status = 200, body = Vec<SampleBody>, description = "oldest first"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such task")))]
pub async fn samples(
    State(state): State<AppState>,
    _: Viewer,
    Path(id): Path<TaskId>,
    Query(query): Query<SamplesQuery>,
) -> ApiResult<Json<Vec<SampleBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    exists(&mut connection, id).await?;
    let minutes = query.minutes.unwrap_or(60).clamp(1, 44_640);
    let since = state.now() - time::Duration::minutes(i64::from(minutes));
    let rows = samples::list(&mut connection, id, since, 50_000).await?;
    Ok(Json(rows.into_iter().map(SampleBody::from).collect()))
}

/// What happened to a task, newest first
#[utoipa::path(get, path = "/tasks/{id}/events", tag = "tasks",
    params(("id" = Uuid, Path, description = "the task"), Paging), responses(
    (status = 200, body = Page<EventBody>, description = "newest first; also of a deleted task"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn events(
    State(state): State<AppState>,
    _: Viewer,
    Path(id): Path<TaskId>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<EventBody>>> {
    let filter = EventFilter { task: Some(id.0), ..EventFilter::default() }.read()?;
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let rows = events::list(&mut connection, &filter, paging.after()?, paging.rows()).await?;
    Ok(Json(paging.page(rows, |event| event.id, EventBody::from)))
}
