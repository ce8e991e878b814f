//! Logging in, for the API (access and refresh token) and for pages (a cookie).

use std::time::Instant;

use axum::http::StatusCode;
use secrecy::SecretString;
use time::Duration;
use uuid::Uuid;
use wavemark_domain::ids::UserId;
use wavemark_store::users::{Role, User};
use wavemark_store::{audit, instance, sessions, users};

use super::{jwt, password, secret};
use crate::problem::{ApiProblem, ApiResult};
use crate::state::{AppState, commit};

/// How long a refresh token holds.
pub const REFRESH_LASTS: Duration = Duration::days(14);
/// How long a page's cookie holds.
pub const PAGE_LASTS: Duration = Duration::hours(12);

/// What a login for the API gives.
#[derive(Debug)]
pub struct Tokens {
    /// Signed, for ten minutes.
    pub access: String,
    /// For the next access token; changes at each use.
    pub refresh: String,
}

/// Whose password this is. Counts failures, by name and address; writes both outcomes to the audit log.
///
/// # Errors
/// 401 for a wrong name or password, 429 for too many.
pub async fn check(state: &AppState, name: &str, given: SecretString, address: Option<&str>) -> ApiResult<User> {
    // What no user can be named is neither looked up nor kept.
    let name = if user_name(name).is_ok() { name } else { "" };
    state.attempts.begin(name, address, Instant::now())?;
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let found = users::by_name(&mut connection, name).await?;
    let (user, hash) = found.map_or((None, None), |(user, hash)| (Some(user), Some(hash)));
    let fits = password::fits(state, given, hash).await?;
    // A name that nobody has may be a password in the wrong field.
    let known = user.as_ref().map(|user: &User| user.name.clone());
    let user = user.filter(|user| fits && !user.disabled);
    let deed = audit::Deed {
        actor: known.as_deref().unwrap_or("unknown"),
        actor_id: user.as_ref().map(|user| user.id.0),
        address,
        action: if user.is_some() { "login" } else { "login.failed" },
        object_kind: "user",
        object_id: user.as_ref().map(|user| user.id.to_string()),
        object_name: known.as_deref(),
        difference: None,
    };
    audit::write(&mut connection, &deed).await?;
    let wrong = || ApiProblem::new(StatusCode::UNAUTHORIZED, "wrong-login", "The name or the password is wrong.");
    let user = user.ok_or_else(wrong)?;
    state.attempts.succeeded(name, address);
    Ok(user)
}

/// Opens a session for the API.
///
/// # Errors
/// 503.
pub async fn open(state: &AppState, user: UserId, address: Option<&str>) -> ApiResult<Tokens> {
    let session = Uuid::now_v7();
    let refresh = secret::make(secret::REFRESH_PREFIX);
    let mut transaction = state.begin().await?;
    sessions::open(&mut transaction, session, user, &secret::digest(&refresh), address, REFRESH_LASTS).await?;
    commit(transaction).await?;
    Ok(Tokens { access: access(state, user, session)?, refresh })
}

/// Opens a session for pages; gives the cookie's value for [`super::cookie::set`].
///
/// # Errors
/// 503.
pub async fn open_page(state: &AppState, user: UserId, address: Option<&str>) -> ApiResult<String> {
    let cookie = secret::make(secret::PAGE_PREFIX);
    let mut transaction = state.begin().await?;
    sessions::open(&mut transaction, Uuid::now_v7(), user, &secret::digest(&cookie), address, PAGE_LASTS).await?;
    commit(transaction).await?;
    Ok(cookie)
}

/// A new access token and a new refresh token for an old one.
///
/// # Errors
/// 401 for what is not the newest refresh token of an open session; one that was used before closes its session.
pub async fn refresh(state: &AppState, old: &str) -> ApiResult<Tokens> {
    let refused = || ApiProblem::new(StatusCode::UNAUTHORIZED, "wrong-refresh-token", "Log in again.");
    if !old.starts_with(secret::REFRESH_PREFIX) {
        return Err(refused());
    }
    let new = secret::make(secret::REFRESH_PREFIX);
    let mut transaction = state.begin().await?;
    let rotated = sessions::rotate(&mut transaction, &secret::digest(old), &secret::digest(&new)).await?;
    commit(transaction).await?;
    match rotated {
        sessions::Refreshed::Rotated(session, user) => {
            Ok(Tokens { access: access(state, user, session)?, refresh: new })
        }
        sessions::Refreshed::Stolen => {
            tracing::warn!("a refresh token was used twice; its session is closed");
            Err(refused())
        }
        sessions::Refreshed::Unknown => Err(refused()),
    }
}

fn access(state: &AppState, user: UserId, session: Uuid) -> ApiResult<String> {
    jwt::sign(&state.jwt_sign, user.0, session, state.now()).map_err(|error| {
        tracing::error!(error = %error, "signing an access token failed");
        ApiProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The token could not be signed.")
    })
}

/// Makes the first admin by the code that the server printed.
///
/// # Errors
/// 409 if there is a user already, 401 for a wrong code, 422 for a bad name or password.
pub async fn first_run(
    state: &AppState,
    code: &str,
    name: &str,
    given: SecretString,
    address: Option<&str>,
) -> ApiResult<User> {
    state.attempts.begin("first run", address, Instant::now())?;
    user_name(name)?;
    password::acceptable(&given)?;
    let hash = password::hash(state, given).await?;
    let mut transaction = state.begin().await?;
    instance::lock_first_run(&mut transaction).await?;
    if users::count(&mut transaction).await? > 0 {
        return Err(ApiProblem::conflict("not-first-run", "There is a user already: log in."));
    }
    if !instance::use_first_run(&mut transaction, &secret::digest(code.trim())).await? {
        let text = "The code is wrong. The server prints it when it starts without a user.";
        return Err(ApiProblem::new(StatusCode::UNAUTHORIZED, "wrong-code", text));
    }
    let user = make_admin(&mut transaction, name, &hash, address).await?;
    commit(transaction).await?;
    state.attempts.succeeded("first run", address);
    Ok(user)
}

/// Makes an admin while there is no user.
pub(crate) async fn make_admin(
    connection: &mut wavemark_store::PgConnection,
    name: &str,
    hash: &str,
    address: Option<&str>,
) -> ApiResult<User> {
    let id = UserId(Uuid::now_v7());
    users::create(connection, id, name, hash, Role::Admin).await?;
    let deed = audit::Deed {
        actor: name,
        actor_id: Some(id.0),
        address,
        action: "first-run",
        object_kind: "user",
        object_id: Some(id.to_string()),
        object_name: Some(name),
        difference: None,
    };
    audit::write(connection, &deed).await?;
    users::get(connection, id).await?.ok_or_else(|| ApiProblem::not_found("user"))
}

/// Refuses names that would confuse.
///
/// # Errors
/// 422.
pub fn user_name(name: &str) -> ApiResult<()> {
    let fits = (1..=100).contains(&name.chars().count()) && name.trim() == name && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(ApiProblem::field("name", "A name has 1 to 100 characters, none of them control.")) }
}
