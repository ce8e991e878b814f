//! The pages.

use axum::Router;

use crate::state::AppState;

/// The pages' routes.
pub fn router(_: &AppState) -> Router<AppState> {
    Router::new()
}
