//! What all page handlers share: who looks, what is around a page, and how errors become pages.

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use wavemark_store::users::{self, Role};
use wavemark_store::{PgConnection, pages};

use super::view::door::Door;
use super::view::shell::{Area, Shell};
use crate::auth::Caller;
use crate::problem::ApiProblem;
use crate::state::AppState;

/// Who looks at a page. Someone who is not logged in is sent to the log in, or to the first run.
#[derive(Clone, Debug)]
pub(super) struct Who(pub(super) Caller);

impl Who {
    /// Whether buttons are shown.
    #[must_use]
    pub(super) fn may_edit(&self) -> bool {
        self.0.user.role >= Role::Operator
    }

    /// The caller for a handler of the API that needs an operator.
    ///
    /// # Errors
    /// 403.
    pub(super) fn operator(&self) -> Result<crate::auth::Operator, PageError> {
        self.0.need(Role::Operator)?;
        Ok(crate::auth::Operator(self.0.clone()))
    }

    /// What is around a page.
    ///
    /// # Errors
    /// The statement failed.
    pub(super) async fn shell(
        &self,
        state: &AppState,
        connection: &mut PgConnection,
        area: Area,
        title: impl Into<String>,
        above: &[(&str, &str)],
    ) -> Result<Shell, ApiProblem> {
        let counts = pages::counts(connection).await?;
        let user = &self.0.user;
        Ok(Shell::new(&user.name, user.role.word(), counts, state.now()).page(area, title, above))
    }
}

impl FromRequestParts<AppState> for Who {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        match Caller::from_request_parts(parts, state).await {
            Ok(caller) => Ok(Self(caller)),
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => Err(to_the_door(parts, state).await),
            Err(problem) => Err(PageError(problem).into_response()),
        }
    }
}

async fn to_the_door(parts: &Parts, state: &AppState) -> Response {
    let path = parts.uri.path();
    // What a page fetches by script must not take the log in for its figures.
    if path.ends_with("/live") || path.ends_with("/points") || path == "/tasks/preview" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match first_run_is_due(state).await {
        Err(problem) => PageError(problem).into_response(),
        Ok(true) => Redirect::to("/first-run").into_response(),
        Ok(false) if parts.method == Method::GET && path != "/" => {
            let next = parts.uri.path_and_query().map_or(path, axum::http::uri::PathAndQuery::as_str);
            Redirect::to(&format!("/login?next={}", escape(next))).into_response()
        }
        Ok(false) => Redirect::to("/login").into_response(),
    }
}

/// Whether nobody can log in yet.
///
/// # Errors
/// 503.
pub(super) async fn first_run_is_due(state: &AppState) -> Result<bool, ApiProblem> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    Ok(users::count(&mut connection).await? == 0)
}

/// A part of an address, escaped for a query.
#[must_use]
pub(super) fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
        escaped
    })
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

/// Renders a page. Pages are never stored by browsers: they hold figures and names.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, [(header::CACHE_CONTROL, "no-store")], Html(text)).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "The page could not be rendered.").into_response()
        }
    }
}

/// An error as a page.
#[derive(Debug)]
pub(super) struct PageError(pub(super) ApiProblem);

/// The result of page handlers.
pub(super) type PageResult = Result<Response, PageError>;

impl From<ApiProblem> for PageError {
    fn from(problem: ApiProblem) -> Self {
        Self(problem)
    }
}

impl From<wavemark_store::Error> for PageError {
    fn from(error: wavemark_store::Error) -> Self {
        Self(error.into())
    }
}

impl From<sqlx::Error> for PageError {
    fn from(error: sqlx::Error) -> Self {
        Self(wavemark_store::Error::from(error).into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let title = match self.0.status() {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::CONFLICT => "Not now",
            StatusCode::SERVICE_UNAVAILABLE => "The server can't answer now",
            _ => "That did not work",
        };
        html(self.0.status(), &Door::sentence(title, self.0.detail()))
    }
}

/// A path that no page has.
pub(super) async fn nothing_here() -> PageError {
    PageError(ApiProblem::not_found("page"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_escaped() {
        assert_eq!(escape("/tasks?text=a b&x"), "/tasks%3Ftext%3Da%20b%26x");
    }
}
