//! The one error body of the API: `application/problem+json` of RFC 9457 with a code, a sentence and the field.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The error body.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:wavemark:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the status means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable code, kebab-case.
    #[schema(example = "name-taken")]
    pub code: String,
    /// What happened and what to do, in a sentence or two.
    pub detail: String,
    /// The field of the request that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// An error on its way to a client.
#[derive(Clone, Debug)]
pub struct ApiProblem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    retry_after: Option<u64>,
}

/// The result of every handler.
pub type ApiResult<T> = Result<T, ApiProblem>;

impl ApiProblem {
    /// An error with its status, code and sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, retry_after: None }
    }

    /// A field that can't be accepted (422).
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// There is no such thing (404).
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("There is no such {what}."))
    }

    /// What is asked for can't be done now (409).
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// The caller did not say who it is (401).
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Log in, or send a valid token in the Authorization header.",
        )
    }

    /// Names the field.
    #[must_use]
    pub fn in_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Says when to try again, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When to try again, in seconds, if that is known.
    #[must_use]
    pub fn retry_seconds(&self) -> Option<u64> {
        self.retry_after
    }

    /// The field, if one is concerned.
    #[must_use]
    pub fn concerned_field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

/// A failure of the metadata goes to the log whole and to the client as a sentence without internals.
impl From<wavemark_store::Error> for ApiProblem {
    fn from(error: wavemark_store::Error) -> Self {
        match &error {
            wavemark_store::Error::KeyMissing { .. } | wavemark_store::Error::Sealed { .. } => {
                tracing::error!(error = %error, "a secret does not open");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "keyring",
                    "A stored secret does not open with the server's keyring. Give the server the key that sealed it.",
                )
            }
            // Handlers check what they can; what the database alone can tell is the request's fault all the same.
            wavemark_store::Error::Database(sqlx::Error::Database(refused))
                if refused.code().is_some_and(|code| code.starts_with("22")) =>
            {
                tracing::info!(code = refused.code().as_deref(), "the metadata database refused a value");
                let text = "A value can't be stored: it is out of range, or holds a character that no text can hold.";
                Self::new(StatusCode::BAD_REQUEST, "invalid-value", text)
            }
            _ => {
                tracing::warn!(error = %error, "the metadata database failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "metadata-unavailable",
                    "The metadata database can't be used now. Running tasks go on; try again.",
                )
                .retry_after(2)
            }
        }
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: format!("urn:wavemark:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail,
            field: self.field,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
