//! Extractors whose rejections are the project's error body, and what handlers need of headers.

use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};

use crate::problem::ApiProblem;
use crate::state::AppState;

/// A JSON body.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiProblem> {
        let (request, bytes) = whole(request, state).await?;
        if holds_nul(&bytes) {
            let text = "A text in the body holds the character U+0000, which can't be stored.";
            return Err(ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-body", text));
        }
        let axum::Json(value) =
            axum::Json::from_request(request, state).await.map_err(|rejection| json_problem(&rejection))?;
        Ok(Self(value))
    }
}

/// A request whose body was read, and that body.
async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<(Request, Bytes), ApiProblem> {
    let (parts, body) = request.into_parts();
    let kept = parts.clone();
    let bytes = Bytes::from_request(Request::from_parts(parts, body), state).await.map_err(|rejection| {
        let status = rejection.status();
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too-large" } else { "invalid-body" };
        ApiProblem::new(status, code, rejection.body_text())
    })?;
    Ok((Request::from_parts(kept, bytes.clone().into()), bytes))
}

/// Whether a text of the JSON holds U+0000, which no text in PostgreSQL can. Unescaped it is no JSON anyway.
fn holds_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at..].starts_with(b"\\u0000") {
            return true;
        }
        // The escaped byte may itself be a backslash.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

impl<T: Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

fn json_problem(rejection: &JsonRejection) -> ApiProblem {
    // serde's sentence names the field and what was expected there; it never shows more than the type of a value,
    // except for unknown words of a choice.
    ApiProblem::new(rejection.status(), "invalid-body", rejection.body_text())
}

/// The body of a create, with its key if the client sent one.
#[derive(Clone, Debug)]
pub struct Create<T> {
    /// The body.
    pub value: T,
    /// The `Idempotency-Key` header.
    pub key: Option<String>,
    /// A digest of path and body, keyed: a body may hold a password, which a plain digest would let be guessed.
    pub hash: [u8; 32],
}

impl<T: DeserializeOwned> FromRequest<AppState> for Create<T> {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiProblem> {
        let key = request.headers().get("idempotency-key").map(|key| key.to_str().map(str::to_owned));
        let key = key.transpose().ok().flatten().filter(|key| (1..=200).contains(&key.len()));
        if request.headers().contains_key("idempotency-key") && key.is_none() {
            let text = "The Idempotency-Key must have 1 to 200 ASCII characters.";
            return Err(ApiProblem::new(StatusCode::BAD_REQUEST, "invalid-idempotency-key", text));
        }
        let mut digest = Sha256::new();
        digest.update(state.request_key);
        digest.update(request.uri().path());
        let (request, bytes) = whole(request, state).await?;
        digest.update(b"\0");
        digest.update(&bytes);
        let Json(value) = Json::from_request(request, state).await?;
        Ok(Self { value, key, hash: digest.finalize().into() })
    }
}

/// Parts of the path.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|rejection: PathRejection| {
            ApiProblem::new(StatusCode::NOT_FOUND, "not-found", format!("No such thing: {}.", rejection.body_text()))
        })
    }
}

/// The query.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            let text = "The query holds the character U+0000, which nothing here can hold.";
            return Err(ApiProblem::new(StatusCode::BAD_REQUEST, "invalid-query", text));
        }
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(value)| Self(value)).map_err(|rejection: QueryRejection| {
            ApiProblem::new(StatusCode::BAD_REQUEST, "invalid-query", rejection.body_text())
        })
    }
}

/// The version that an edit is based on, from `If-Match`.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(Option<i32>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
        let Some(given) = parts.headers.get(header::IF_MATCH) else {
            let text = "Send the ETag that you last read as If-Match, so that nobody's edit is overwritten.";
            return Err(ApiProblem::new(StatusCode::PRECONDITION_REQUIRED, "precondition-required", text));
        };
        let given = given.to_str().unwrap_or_default().trim();
        if given == "*" {
            return Ok(Self(None));
        }
        // What is not an ETag of ours matches nothing.
        let version =
            given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
        Ok(Self(Some(version.unwrap_or(-1))))
    }
}

impl IfMatch {
    /// For pages, whose forms carry the version themselves.
    #[must_use]
    pub fn of_version(version: i32) -> Self {
        Self(Some(version))
    }

    /// Refuses if the thing was edited since.
    ///
    /// # Errors
    /// 412.
    pub fn check(self, version: i32) -> Result<(), ApiProblem> {
        if self.0.is_none_or(|given| given == version) {
            return Ok(());
        }
        let text = "It was edited in the meantime. Read it again and repeat your change.";
        Err(ApiProblem::new(StatusCode::PRECONDITION_FAILED, "edited-meanwhile", text))
    }
}

/// The `ETag` of a version.
#[must_use]
pub fn etag(version: i32) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{version}\""))]
}

/// One header as text.
#[must_use]
pub fn text_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Send it as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Which page of a list.
#[derive(Clone, Debug, Default, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many (1 to 500, else 100).
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Paging {
    /// How many to read: one more than fits the page tells whether there is a next.
    #[must_use]
    pub fn rows(&self) -> i64 {
        i64::from(self.size()) + 1
    }

    fn size(&self) -> u16 {
        self.limit.unwrap_or(100).clamp(1, 500)
    }

    /// The key that the cursor stands for.
    ///
    /// # Errors
    /// 400 for what is not a cursor.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, ApiProblem> {
        use base64::Engine as _;
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).ok();
        let bytes = bytes.filter(|bytes| !holds_nul(bytes));
        let key = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        key.map(Some).ok_or_else(|| {
            ApiProblem::new(StatusCode::BAD_REQUEST, "invalid-query", "The cursor is not one of ours.")
                .in_field("cursor")
        })
    }

    /// The page from rows in order, and the key of its last one.
    pub fn page<R, K: Serialize, T>(&self, mut rows: Vec<R>, key: impl Fn(&R) -> K, item: impl Fn(R) -> T) -> Page<T> {
        use base64::Engine as _;
        let more = rows.len() > usize::from(self.size());
        rows.truncate(usize::from(self.size()));
        let next_cursor = rows.last().filter(|_| more).and_then(|last| serde_json::to_vec(&key(last)).ok());
        Page {
            next_cursor: next_cursor.map(|key| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key)),
            items: rows.into_iter().map(item).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::holds_nul;

    #[test]
    fn a_nul_is_found_and_an_escaped_backslash_before_u0000_is_none() {
        for (json, expected) in [
            (r#"{"a": "x\u0000"}"#, true),
            (r#"{"a": "\\\u0000"}"#, true),
            (r#"{"a": "\\u0000"}"#, false),
            (r#"{"a": "\u00001"}"#, true),
            (r#"{"a": "\u0001\n"}"#, false),
            (r"\", false),
            ("", false),
        ] {
            assert_eq!(holds_nul(json.as_bytes()), expected, "{json}");
        }
    }
}
