//! Events.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use wavemark_domain::TaskId;
use wavemark_domain::progress::Severity;
use wavemark_store::events::{self, Event, Filter};

use super::shapes::{NameBody, TaskProblem};
use crate::auth::Viewer;
use crate::extract::{Json, Page, Paging, Query};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::AppState;

/// One thing that happened.
#[derive(Serialize, ToSchema)]
pub struct EventBody {
    /// Its number; grows with time.
    pub id: i64,
    /// When it was written down, by the database's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// When it happened, by the worker's clock.
    #[serde(with = "time::serde::rfc3339::option")]
    pub worker_at: Option<OffsetDateTime>,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// A stable code.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// The task.
    pub task_id: Option<Uuid>,
    /// Its name then.
    pub task_name: Option<String>,
    /// Its configuration then.
    pub config_version: Option<i32>,
    /// The worker.
    pub worker_id: Option<Uuid>,
    /// The lease.
    pub epoch: Option<i64>,
    /// The source table.
    pub table: Option<NameBody>,
    /// The problem, if it is one.
    pub problem: Option<TaskProblem>,
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            at: event.at,
            worker_at: event.worker_at,
            severity: event.severity,
            code: event.code,
            text: event.text,
            task_id: event.task.map(|task| task.0),
            task_name: event.task_name,
            config_version: event.config_version,
            worker_id: event.worker.map(|worker| worker.0),
            epoch: event.epoch,
            table: event.table.map(NameBody::from),
            problem: event.problem.map(TaskProblem::from),
        }
    }
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventFilter {
    /// Of one task.
    pub task: Option<Uuid>,
    /// At least this loud: `info`, `warning` or `error`.
    pub severity: Option<String>,
    /// Not older than this (RFC 3339).
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[param(value_type = Option<String>, format = "date-time")]
    pub since: Option<OffsetDateTime>,
    /// With this code.
    pub code: Option<String>,
}

impl EventFilter {
    pub(super) fn read(self) -> ApiResult<Filter> {
        let at_least = match self.severity.as_deref() {
            None => None,
            Some("info") => Some(Severity::Info),
            Some("warning") => Some(Severity::Warning),
            Some("error") => Some(Severity::Error),
            Some(_) => {
                let text = "A severity is info, warning or error.";
                return Err(ApiProblem::new(StatusCode::BAD_REQUEST, "invalid-query", text).in_field("severity"));
            }
        };
        Ok(Filter { task: self.task.map(TaskId), at_least, since: self.since, code: self.code })
    }
}

/// What happened, newest first
#[utoipa::path(get, path = "/events", tag = "events", params(EventFilter, Paging), responses(
    (status = 200, body = Page<EventBody>, description = "newest first"),
    (status = 400, body = ProblemBody, description = "the query can't be read"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn list(
    State(state): State<AppState>,
    _: Viewer,
    Query(filter): Query<EventFilter>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<EventBody>>> {
    let filter = filter.read()?;
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let rows = events::list(&mut connection, &filter, paging.after()?, paging.rows()).await?;
    Ok(Json(paging.page(rows, |event| event.id, EventBody::from)))
}
