//! `/healthz`: the process answers. `/readyz`: it can also use its database.

use std::cmp::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::state::AppState;

pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

async fn ready(State(state): State<AppState>) -> (StatusCode, &'static str) {
    match wavemark_store::version(&state.pool).await {
        Ok(Ordering::Equal) => (StatusCode::OK, "ready\n"),
        Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, "the metadata database is of another version\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the metadata database can't be reached\n"),
    }
}
