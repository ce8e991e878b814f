//! The server's side of the workers' protocol, as `wavemark_protocol` describes it.

mod grant;
mod poll;
mod report;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::post;
use uuid::Uuid;
use wavemark_domain::WorkerId;
use wavemark_domain::ids::{JobId, TokenId};
use wavemark_protocol::{JobOutcome, Register, Registered, VERSION_HEADER};
use wavemark_store::{LEASE_SECONDS, endpoints, jobs, kept_log, tokens, workers};

use crate::auth::secret;
use crate::extract::{Json, Path, text_header};
use crate::problem::{ApiProblem, ApiResult};
use crate::state::{AppState, commit};

pub(crate) fn router() -> Router<AppState> {
    let routes = Router::new()
        .route("/register", post(register))
        .route("/poll", post(poll::poll))
        .route("/report", post(report::report))
        .route("/jobs/{id}", post(job_done));
    Router::new().nest(wavemark_protocol::PREFIX, routes)
}

/// A request with a worker token that holds and a protocol version that we speak.
pub(crate) struct WorkerToken(pub(crate) TokenId);

impl FromRequestParts<AppState> for WorkerToken {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiProblem> {
        let spoken = text_header(&parts.headers, VERSION_HEADER).unwrap_or("none");
        if !wavemark_protocol::understands(spoken) {
            let text = format!(
                "This server speaks version {} of the worker protocol, the worker version {spoken}: only the same \
                 major version works together. Upgrade the older of the two.",
                wavemark_protocol::spoken()
            );
            return Err(ApiProblem::new(StatusCode::UPGRADE_REQUIRED, "protocol-version", text));
        }
        let Presented(digest) = Presented::from_request_parts(parts, state).await?;
        let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
        let known = tokens::worker(&mut connection, &digest).await?;
        known.map(Self).ok_or_else(token_refused)
    }
}

/// The digest of the token that a request carries, whether it holds or not; for those who look again later.
pub(crate) struct Presented(pub(crate) [u8; 32]);

impl FromRequestParts<AppState> for Presented {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiProblem> {
        let token = text_header(&parts.headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        token.map(|token| Self(secret::digest(token))).ok_or_else(token_refused)
    }
}

/// The answer to a worker without a token that holds: it ends.
pub(crate) fn token_refused() -> ApiProblem {
    ApiProblem::new(StatusCode::UNAUTHORIZED, "worker-token", "The worker token is missing or does not hold.")
}

/// The answer to a worker that isn't known under this token: it shall register again.
pub(crate) fn unknown_worker() -> ApiProblem {
    ApiProblem::new(StatusCode::NOT_FOUND, "unknown-worker", "This worker is not known here. Register again.")
}

async fn register(
    State(state): State<AppState>,
    WorkerToken(token): WorkerToken,
    Json(body): Json<Register>,
) -> ApiResult<Json<Registered>> {
    // The name goes into logs, where a line end would begin a line of somebody's own making.
    if body.name.is_empty() || body.name.len() > 200 || body.name.chars().any(char::is_control) {
        return Err(ApiProblem::field("name", "A worker's name has 1 to 200 bytes, none of them control characters."));
    }
    let id = WorkerId(Uuid::now_v7());
    let introduction = workers::Introduction {
        name: &body.name,
        version: &body.version,
        places: body.places.into(),
        engines: &body.engines,
    };
    let mut transaction = state.begin().await?;
    workers::register(&mut transaction, id, token, &introduction).await?;
    wavemark_store::announce_change(&mut transaction).await?;
    commit(transaction).await?;
    tracing::info!(worker.id = %id, worker.name = %body.name, "a worker registered");
    let lease_seconds = u32::try_from(LEASE_SECONDS).unwrap_or(10);
    Ok(Json(Registered { worker: id, lease_seconds, report_millis: 1_000 }))
}

async fn job_done(
    State(state): State<AppState>,
    WorkerToken(token): WorkerToken,
    Path(id): Path<JobId>,
    Json(outcome): Json<JobOutcome>,
) -> ApiResult<StatusCode> {
    let failed = matches!(outcome, JobOutcome::Failed { .. });
    // A discovery is kept once, at its endpoint; the job itself says only how it ended.
    let kept = match &outcome {
        JobOutcome::Discovered { tables } => serde_json::json!({"job": "discovered", "table_count": tables.len()}),
        other => serde_json::to_value(other).map_err(wavemark_store::Error::from)?,
    };
    let mut transaction = state.begin().await?;
    let Some(kind) = jobs::finish(&mut transaction, id, token, failed, &kept).await? else {
        return Err(ApiProblem::not_found("job of this worker"));
    };
    match (kind, &outcome) {
        (jobs::JobKind::Test(endpoint), JobOutcome::Tested { steps }) => {
            endpoints::set_test(&mut transaction, endpoint, steps).await?;
        }
        (jobs::JobKind::Discover(endpoint), JobOutcome::Discovered { tables }) => {
            endpoints::set_discovery(&mut transaction, endpoint, tables).await?;
        }
        (
            jobs::JobKind::LookAtLog(task),
            JobOutcome::LookedAtLog { position, kept_bytes, limit_bytes, let_go, drops_in_seconds },
        ) => {
            let found = kept_log::Looked {
                position: Some(position.clone()),
                kept_bytes: *kept_bytes,
                limit_bytes: *limit_bytes,
                let_go: *let_go,
                drops_in_seconds: *drops_in_seconds,
            };
            kept_log::looked(&mut transaction, task, &found).await?;
        }
        (jobs::JobKind::LookAtLog(task), JobOutcome::Failed { problem }) => {
            kept_log::not_looked(&mut transaction, task, problem).await?;
        }
        _ => {}
    }
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}
