//! Tokens for programs: API tokens of users and tokens of workers. A secret is shown once.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::ids::TokenId;
use wavemark_store::users::Role;
use wavemark_store::{audit, tokens};

use super::users::role;
use crate::auth::{Admin, Caller, LoggedIn, Viewer, secret};
use crate::extract::{Json, Page, Paging, Path, Query};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// One API token, without its secret.
#[derive(Serialize, ToSchema)]
pub struct TokenBody {
    /// Its id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub user_id: Uuid,
    /// The most that it may do.
    pub role: &'static str,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was last used, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

impl From<tokens::ApiToken> for TokenBody {
    fn from(token: tokens::ApiToken) -> Self {
        Self {
            id: token.id.0,
            name: token.name,
            user_id: token.user.0,
            role: token.role.word(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        }
    }
}

/// List API tokens: your own; an admin sees all
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(Paging), responses(
    (status = 200, body = Page<TokenBody>, description = "oldest first"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<TokenBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let rows = tokens::list(&mut connection, own(&caller), paging.after()?, paging.rows()).await?;
    Ok(Json(paging.page(rows, |token| token.id, TokenBody::from)))
}

/// Whose tokens a caller may touch: all (`None`) or its own.
fn own(caller: &Caller) -> Option<wavemark_domain::ids::UserId> {
    (caller.user.role < Role::Admin).then_some(caller.user.id)
}

/// A new API token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// The most that it may do, not more than you: `viewer`, `operator` or `admin`.
    pub role: String,
    /// After how many days it ends (1 to 3650); never, if left out.
    pub days: Option<i32>,
}

/// A new token with its secret.
#[derive(Serialize, ToSchema)]
pub struct NewTokenBody {
    /// Its id.
    pub id: Uuid,
    /// The secret: shown now and never again.
    pub token: String,
}

/// Make an API token for yourself; its secret is shown once
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken, responses(
    (status = 201, body = NewTokenBody, description = "made"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "more than you may do yourself, or asked for by an API token"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted")))]
pub async fn create(
    State(state): State<AppState>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<NewToken>,
) -> ApiResult<(StatusCode, Json<NewTokenBody>)> {
    named(&body.name)?;
    let role = role(&body.role)?;
    caller.need(role)?;
    if body.days.is_some_and(|days| !(1..=3_650).contains(&days)) {
        return Err(ApiProblem::field("days", "A token lasts 1 to 3650 days."));
    }
    let (id, token) = (TokenId(Uuid::now_v7()), secret::make(secret::API_PREFIX));
    let mut transaction = state.begin().await?;
    let digest = secret::digest(&token);
    tokens::create(&mut transaction, id, caller.user.id, &body.name, &digest, role, body.days).await?;
    audit::write(&mut transaction, &caller.deed("token.create", "token", id, Some(&body.name))).await?;
    commit(transaction).await?;
    Ok((StatusCode::CREATED, Json(NewTokenBody { id: id.0, token })))
}

fn named(name: &str) -> ApiResult<()> {
    let fits = (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(ApiProblem::field("name", "A name has 1 to 100 characters.")) }
}

/// Revoke an API token: your own; an admin any
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = Uuid, Path, description = "the token")),
    responses(
    (status = 204, description = "revoked"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such token")))]
pub async fn revoke(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(id): Path<TokenId>,
) -> ApiResult<StatusCode> {
    let mut transaction = state.begin().await?;
    if !tokens::revoke(&mut transaction, id, own(&caller)).await? {
        return Err(ApiProblem::not_found("token"));
    }
    audit::write(&mut transaction, &caller.deed("token.revoke", "token", id, None)).await?;
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One worker token, without its secret.
#[derive(Serialize, ToSchema)]
pub struct WorkerTokenBody {
    /// Its id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last used, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// List worker tokens
#[utoipa::path(get, path = "/worker-tokens", tag = "tokens", params(Paging), responses(
    (status = 200, body = Page<WorkerTokenBody>, description = "oldest first"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin")))]
pub async fn list_worker(
    State(state): State<AppState>,
    _: Admin,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<WorkerTokenBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let rows = tokens::list_worker(&mut connection, paging.after()?, paging.rows()).await?;
    Ok(Json(paging.page(
        rows,
        |token| token.id,
        |token| WorkerTokenBody {
            id: token.id.0,
            name: token.name,
            created_at: token.created_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        },
    )))
}

/// A new worker token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWorkerToken {
    /// What it is for.
    pub name: String,
}

/// Make a worker token; its secret is shown once
#[utoipa::path(post, path = "/worker-tokens", tag = "tokens", request_body = NewWorkerToken, responses(
    (status = 201, body = NewTokenBody, description = "made"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted")))]
pub async fn create_worker(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Json(body): Json<NewWorkerToken>,
) -> ApiResult<(StatusCode, Json<NewTokenBody>)> {
    named(&body.name)?;
    let (id, token) = (TokenId(Uuid::now_v7()), secret::make(secret::WORKER_PREFIX));
    let mut transaction = state.begin().await?;
    tokens::create_worker(&mut transaction, id, &body.name, &secret::digest(&token)).await?;
    audit::write(&mut transaction, &caller.deed("worker-token.create", "worker-token", id, Some(&body.name))).await?;
    commit(transaction).await?;
    Ok((StatusCode::CREATED, Json(NewTokenBody { id: id.0, token })))
}

/// Revoke a worker token; workers that use it get no more work and end, and their leases lapse
#[utoipa::path(delete, path = "/worker-tokens/{id}", tag = "tokens",
    params(("id" = Uuid, Path, description = "the token")), responses(
    (status = 204, description = "revoked"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin"),
    (status = 404, body = ProblemBody, description = "no such token")))]
pub async fn revoke_worker(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<TokenId>,
) -> ApiResult<StatusCode> {
    let mut transaction = state.begin().await?;
    if !tokens::revoke_worker(&mut transaction, id).await? {
        return Err(ApiProblem::not_found("worker token"));
    }
    audit::write(&mut transaction, &caller.deed("worker-token.revoke", "worker-token", id, None)).await?;
    // Polls that wait look again, and are refused.
    wavemark_store::announce_work(&mut transaction).await?;
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}
