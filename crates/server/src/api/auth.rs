//! Logging in and out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_store::sessions;

use crate::auth::login::{self, Tokens};
use crate::auth::{Caller, Via, Viewer, jwt};
use crate::extract::Json;
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::AppState;

/// From where a request comes, for handlers that have no caller yet.
pub struct From(Option<String>);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(crate::auth::address(parts)))
    }
}

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// The user's name.
    pub name: String,
    /// Its password.
    #[schema(value_type = String, format = "password")]
    pub password: SecretString,
}

/// What a login gives.
#[derive(Serialize, ToSchema)]
pub struct TokensBody {
    /// For the Authorization header.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// For how many seconds the access token holds.
    pub expires_in: i64,
    /// For the next access token; holds for 14 days, once.
    pub refresh_token: String,
}

impl std::convert::From<Tokens> for TokensBody {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access,
            token_type: "Bearer",
            expires_in: jwt::LASTS,
            refresh_token: tokens.refresh,
        }
    }
}

/// Log in
#[utoipa::path(post, path = "/auth/login", tag = "auth", security(()), request_body = LoginBody, responses(
    (status = 200, body = TokensBody, description = "logged in"),
    (status = 401, body = ProblemBody, description = "wrong name or password"),
    (status = 429, body = ProblemBody, description = "too many failed logins")))]
pub async fn login(
    State(state): State<AppState>,
    From(address): From,
    Json(body): Json<LoginBody>,
) -> ApiResult<Json<TokensBody>> {
    let user = login::check(&state, &body.name, body.password, address.as_deref()).await?;
    Ok(Json(login::open(&state, user.id, address.as_deref()).await?.into()))
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// The newest refresh token of the login.
    pub refresh_token: String,
}

/// Get a new access token; the refresh token changes too
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", security(()), request_body = RefreshBody, responses(
    (status = 200, body = TokensBody, description = "new tokens"),
    (status = 401, body = ProblemBody, description = "not the newest refresh token of an open login")))]
pub async fn refresh(State(state): State<AppState>, Json(body): Json<RefreshBody>) -> ApiResult<Json<TokensBody>> {
    Ok(Json(login::refresh(&state, &body.refresh_token).await?.into()))
}

/// Log out: access and refresh token end at once
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses(
    (status = 204, description = "logged out"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 409, body = ProblemBody, description = "an API token is revoked, not logged out")))]
pub async fn logout(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    let Via::Session(session) = caller.via else {
        return Err(ApiProblem::conflict("not-a-login", "An API token is revoked, not logged out."));
    };
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    sessions::close(&mut connection, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The first admin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstRunBody {
    /// The one-time code that the server printed.
    pub code: String,
    /// The admin's name.
    pub name: String,
    /// Its password: 10 to 1000 characters.
    #[schema(value_type = String, format = "password")]
    pub password: SecretString,
}

/// Make the first admin by the one-time code that the server printed, and log in
#[utoipa::path(post, path = "/auth/first-run", tag = "auth", security(()), request_body = FirstRunBody, responses(
    (status = 200, body = TokensBody, description = "made and logged in"),
    (status = 401, body = ProblemBody, description = "wrong code"),
    (status = 409, body = ProblemBody, description = "there is a user already"),
    (status = 422, body = ProblemBody, description = "name or password can't be accepted"),
    (status = 429, body = ProblemBody, description = "too many wrong codes")))]
pub async fn first_run(
    State(state): State<AppState>,
    From(address): From,
    Json(body): Json<FirstRunBody>,
) -> ApiResult<Json<TokensBody>> {
    let user = login::first_run(&state, &body.code, &body.name, body.password, address.as_deref()).await?;
    Ok(Json(login::open(&state, user.id, address.as_deref()).await?.into()))
}

/// Who you are.
#[derive(Serialize, ToSchema)]
pub struct MeBody {
    /// Your id.
    pub id: Uuid,
    /// Your name.
    pub name: String,
    /// What you may do with what you showed: `viewer`, `operator` or `admin`.
    pub role: &'static str,
}

/// Who am I
#[utoipa::path(get, path = "/me", tag = "auth", responses(
    (status = 200, body = MeBody, description = "you"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn me(Viewer(caller): Viewer) -> Json<MeBody> {
    Json(MeBody { id: caller.user.id.0, name: caller.user.name, role: caller.user.role.word() })
}
