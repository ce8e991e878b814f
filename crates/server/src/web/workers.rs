//! The list of workers.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use wavemark_domain::WorkerId;
use wavemark_store::{pages, workers};

use super::page::{PageError, PageResult, Who, html};
use super::view::shell::Area;
use super::view::workers::{WorkerList, list};
use super::{live, overview};
use crate::state::AppState;
use crate::{api, extract};

/// `GET /workers`
pub(super) async fn page(State(state): State<AppState>, who: Who) -> PageResult {
    Ok(html(StatusCode::OK, &load(&state, &who).await?))
}

/// `GET /workers/live`
pub(super) async fn stream(State(state): State<AppState>, who: Who) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who) = (again.clone(), who.clone());
        async move { overview::render(&load(&state, &who).await?.as_live()) }
    })
}

async fn load(state: &AppState, who: &Who) -> Result<WorkerList, PageError> {
    let mut connection = state.pool.acquire().await?;
    let shell = who.shell(state, &mut connection, Area::Workers, "Workers", &[]).await?.live("/workers/live");
    let all = workers::list(&mut connection, None, 1_000).await?;
    let held = pages::held(&mut connection).await?;
    Ok(list(shell, all, &held, who.may_edit(), state.now()))
}

/// `POST /workers/{id}/drain`
pub(super) async fn drain(State(state): State<AppState>, who: Who, Path(id): Path<WorkerId>) -> PageResult {
    let operator = who.operator()?;
    api::workers::drain(State(state), operator, extract::Path(id)).await?;
    Ok(Redirect::to("/workers").into_response())
}
