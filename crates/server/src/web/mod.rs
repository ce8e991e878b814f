//! The pages.

pub mod view;

use axum::Router;

use crate::state::AppState;

/// The pages' routes.
pub fn router(_: &AppState) -> Router<AppState> {
    Router::new().route("/static/{*path}", axum::routing::get(view::assets::serve))
}
