//! Workers.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::WorkerId;
use wavemark_store::audit;
use wavemark_store::workers::{self, Worker};

use crate::auth::{Operator, Viewer};
use crate::extract::{Json, Page, Paging, Path, Query};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// One worker.
#[derive(Serialize, ToSchema)]
pub struct WorkerBody {
    /// Its id.
    pub id: Uuid,
    /// Its name, usually the host's.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// How many tasks it takes at once.
    pub places: i32,
    /// How many tasks it holds.
    pub tasks: i64,
    /// Which systems it has connectors for.
    pub engines: Vec<String>,
    /// When it introduced itself.
    #[serde(with = "time::serde::rfc3339")]
    pub registered_at: OffsetDateTime,
    /// When it was last heard of.
    #[serde(with = "time::serde::rfc3339")]
    pub seen_at: OffsetDateTime,
    /// Whether it was heard of in the last ten seconds.
    pub alive: bool,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// CPU in percent of one core.
    pub cpu_percent: Option<f32>,
    /// Resident memory in bytes.
    pub memory_bytes: Option<i64>,
}

impl From<Worker> for WorkerBody {
    fn from(worker: Worker) -> Self {
        Self {
            id: worker.id.0,
            name: worker.name,
            version: worker.version,
            places: worker.places,
            tasks: worker.tasks,
            engines: worker.engines,
            registered_at: worker.registered_at,
            seen_at: worker.seen_at,
            alive: worker.alive,
            draining: worker.draining,
            cpu_percent: worker.cpu_percent,
            memory_bytes: worker.memory_bytes,
        }
    }
}

/// List workers
#[utoipa::path(get, path = "/workers", tag = "workers", params(Paging), responses(
    (status = 200, body = Page<WorkerBody>, description = "oldest first"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn list(
    State(state): State<AppState>,
    _: Viewer,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<WorkerBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let rows = workers::list(&mut connection, paging.after()?, paging.rows()).await?;
    Ok(Json(paging.page(rows, |worker| worker.id, WorkerBody::from)))
}

/// Ask a worker to take nothing new, give its tasks back and end
#[utoipa::path(post, path = "/workers/{id}/drain", tag = "workers", params(("id" = Uuid, Path, description = "the worker")),
    responses(
    (status = 202, description = "it is told with its next report"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such worker")))]
pub async fn drain(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<WorkerId>,
) -> ApiResult<StatusCode> {
    let mut transaction = state.begin().await?;
    if !workers::drain(&mut transaction, id).await? {
        return Err(ApiProblem::not_found("worker"));
    }
    audit::write(&mut transaction, &caller.deed("worker.drain", "worker", id, None)).await?;
    commit(transaction).await?;
    Ok(StatusCode::ACCEPTED)
}
