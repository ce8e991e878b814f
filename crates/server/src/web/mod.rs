//! The pages.
//!
//! Each is complete as plain HTML; where scripts run, its live part is replaced by server-sent events. What changes
//! something goes through the API's own handlers. `view` holds what is shown, the other modules what is asked for.

mod compares;
mod endpoints;
mod events;
mod forms;
mod live;
mod overview;
mod page;
mod session;
mod table_actions;
mod task;
mod task_actions;
mod task_form;
mod tasks;
pub mod view;
mod workers;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::state::AppState;

/// The pages' routes.
pub fn router(_: &AppState) -> Router<AppState> {
    Router::new()
        .route("/static/{*path}", get(view::assets::serve))
        .route("/login", get(session::form).post(session::log_in).layer(DefaultBodyLimit::max(16 << 10)))
        .route("/logout", post(session::log_out))
        .route(
            "/first-run",
            get(session::first_run_form).post(session::first_run).layer(DefaultBodyLimit::max(16 << 10)),
        )
        .route("/", get(overview::page))
        .route("/live", get(overview::stream))
        .merge(task_routes())
        .merge(endpoint_routes())
        .route("/workers", get(workers::page))
        .route("/workers/live", get(workers::stream))
        .route("/workers/{id}/drain", post(workers::drain))
        .route("/events", get(events::page))
        .route("/events/live", get(events::stream))
        .fallback(page::nothing_here)
}

fn task_routes() -> Router<AppState> {
    Router::new()
        .route("/tasks", get(tasks::page))
        .route("/tasks/live", get(tasks::stream))
        .route("/tasks/new", get(task_form::new).post(task_form::create))
        .route("/tasks/preview", post(task_form::preview))
        .route("/tasks/{id}", get(task::page))
        .route("/tasks/{id}/live", get(task::stream))
        .route("/tasks/{id}/points", get(task::points))
        .route("/tasks/{id}/edit", get(task_form::edit).post(task_form::update))
        .route("/tasks/{id}/start", post(task_actions::start))
        .route("/tasks/{id}/resume", post(task_actions::resume))
        .route("/tasks/{id}/stop", post(task_actions::stop))
        .route("/tasks/{id}/drain", post(task_actions::drain))
        .route("/tasks/{id}/reload", get(task_actions::ask_reload).post(task_actions::reload))
        .route("/tasks/{id}/tables/reload", get(table_actions::ask_reload).post(table_actions::reload))
        .route("/tasks/{id}/tables/park", get(table_actions::ask_park).post(table_actions::park))
        .route("/tasks/{id}/tables/compare", get(compares::ask_one).post(compares::one))
        .route("/tasks/{id}/compares", post(compares::all))
        .route("/compares/{id}", get(compares::page))
        .route("/compares/{id}/live", get(compares::stream))
        .route("/compares/{id}/repair", post(compares::repair))
        .route("/compares/{id}/cancel", post(compares::cancel))
        .route("/tasks/{id}/delete", get(task_actions::ask_delete).post(task_actions::delete))
        .route("/tasks/{id}/forget", get(task_actions::ask_forget).post(task_actions::forget))
}

fn endpoint_routes() -> Router<AppState> {
    Router::new()
        .route("/endpoints", get(endpoints::list))
        .route("/endpoints/live", get(endpoints::stream_list))
        .route("/endpoints/new", get(endpoints::new).post(endpoints::create))
        .route("/endpoints/{id}", get(endpoints::page))
        .route("/endpoints/{id}/live", get(endpoints::stream))
        .route("/endpoints/{id}/edit", get(endpoints::edit).post(endpoints::update))
        .route("/endpoints/{id}/test", post(endpoints::test))
        .route("/endpoints/{id}/discover", post(endpoints::discover))
        .route("/endpoints/{id}/delete", get(endpoints::ask_delete).post(endpoints::delete))
}
