//! Log in, log out, first run.

use axum::extract::FromRequestParts;
use axum::extract::{Form, Query, State};
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::cookie::CookieJar;
use secrecy::SecretString;
use serde::Deserialize;
use wavemark_store::sessions;

use super::page::{PageError, PageResult, Who, first_run_is_due, html};
use super::view::door::Door;
use crate::auth::{Via, cookie, login};
use crate::problem::ApiProblem;
use crate::state::AppState;

/// From where a request comes.
pub(super) struct Address(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(crate::auth::address(parts)))
    }
}

/// Where to go after the log in.
#[derive(Debug, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /login`
pub(super) async fn form(State(state): State<AppState>, Query(query): Query<Next>) -> PageResult {
    if first_run_is_due(&state).await? {
        return Ok(Redirect::to("/first-run").into_response());
    }
    Ok(html(StatusCode::OK, &Door::log_in("", &query.next, None)))
}

/// What the log in's form holds.
#[derive(Deserialize)]
pub(super) struct LogIn {
    name: String,
    password: SecretString,
    #[serde(default)]
    next: String,
}

/// `POST /login`
pub(super) async fn log_in(State(state): State<AppState>, address: Address, Form(form): Form<LogIn>) -> Response {
    match open(&state, &form, address.0.as_deref()).await {
        Ok(jar) => (jar, Redirect::to(local(&form.next))).into_response(),
        Err(problem) => {
            let error = Some(problem.detail().to_owned());
            let mut response = html(problem.status(), &Door::log_in(&form.name, &form.next, error));
            if let Some(seconds) = problem.retry_seconds() {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

async fn open(state: &AppState, form: &LogIn, address: Option<&str>) -> Result<CookieJar, ApiProblem> {
    let user = login::check(state, &form.name, form.password.clone(), address).await?;
    let secret = login::open_page(state, user.id, address).await?;
    Ok(CookieJar::new().add(cookie::set(state, secret)))
}

/// Only paths of this site: `//host` and `https:` lead elsewhere.
fn local(next: &str) -> &str {
    let plain = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if plain { next } else { "/" }
}

/// `POST /logout`
pub(super) async fn log_out(State(state): State<AppState>, who: Who) -> PageResult {
    if let Via::Session(session) = who.0.via {
        let mut connection = state.pool.acquire().await?;
        sessions::close(&mut connection, session).await?;
    }
    Ok((CookieJar::new().add(cookie::clear(&state)), Redirect::to("/login")).into_response())
}

/// `GET /first-run`
pub(super) async fn first_run_form(State(state): State<AppState>) -> PageResult {
    if first_run_is_due(&state).await? {
        return Ok(html(StatusCode::OK, &Door::first_run("admin", None)));
    }
    Ok(Redirect::to("/login").into_response())
}

/// What the first run's form holds.
#[derive(Deserialize)]
pub(super) struct FirstRun {
    code: String,
    name: String,
    password: SecretString,
}

/// `POST /first-run`
pub(super) async fn first_run(
    State(state): State<AppState>,
    address: Address,
    Form(form): Form<FirstRun>,
) -> PageResult {
    let made = login::first_run(&state, &form.code, &form.name, form.password, address.0.as_deref()).await;
    let user = match made {
        Ok(user) => user,
        Err(problem) if problem.status() == StatusCode::CONFLICT => return Err(PageError(problem)),
        Err(problem) => {
            let field = if problem.code() == "wrong-code" { "code" } else { problem.concerned_field().unwrap_or("") };
            return Ok(html(problem.status(), &Door::first_run(&form.name, Some((field, problem.detail())))));
        }
    };
    let secret = login::open_page(&state, user.id, address.0.as_deref()).await?;
    Ok((CookieJar::new().add(cookie::set(&state, secret)), Redirect::to("/")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_log_in_nobody_is_sent_to_another_site() {
        assert_eq!(local("/tasks?text=a"), "/tasks?text=a");
        for elsewhere in ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", ""] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }
}
