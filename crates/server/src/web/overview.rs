//! The first page.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use wavemark_domain::TaskId;
use wavemark_store::{PgConnection, pages, tasks, workers};

use super::live;
use super::page::{PageError, PageResult, Who, html};
use super::view::overview::{self, Overview};
use super::view::shell::Area;
use super::view::task_row::{self, Standing};
use crate::state::AppState;

/// More tasks than this are not looked at by pages.
pub(super) const MOST_TASKS: i64 = 5_000;
const MOST_PARKED: i64 = 50;
const SPARKS: usize = 30;

/// `GET /`
pub(super) async fn page(State(state): State<AppState>, who: Who) -> PageResult {
    Ok(html(StatusCode::OK, &load(&state, &who).await?))
}

/// `GET /live`
pub(super) async fn stream(State(state): State<AppState>, who: Who) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who) = (again.clone(), who.clone());
        async move { render(&load(&state, &who).await?.as_live()) }
    })
}

/// Renders the live part of a page.
///
/// # Errors
/// 500.
pub(super) fn render(part: &impl askama::Template) -> Result<String, PageError> {
    part.render().map_err(|error| {
        tracing::error!(error = %error, "a page's live part could not be rendered");
        let text = "The page could not be rendered.";
        PageError(crate::problem::ApiProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text))
    })
}

async fn load(state: &AppState, who: &Who) -> Result<Overview, PageError> {
    let mut connection = state.pool.acquire().await?;
    let shell = who.shell(state, &mut connection, Area::Overview, "Overview", &[]).await?.live("/live");
    let all = tasks::list(&mut connection, &tasks::Filter::default(), "", MOST_TASKS).await?;
    let standings = standings(&mut connection, all, SPARKS).await?;
    let parked = pages::parked(&mut connection, MOST_PARKED).await?;
    let workers = workers::list(&mut connection, None, 1_000).await?;
    Ok(overview::overview(shell, standings, &parked, &workers, who.may_edit(), state.now()))
}

/// Tasks with their figures, worst first; the first ones with the last hour's lag.
///
/// # Errors
/// A statement failed.
pub(super) async fn standings(
    connection: &mut PgConnection,
    tasks: Vec<tasks::Task>,
    sparks: usize,
) -> Result<Vec<Standing>, PageError> {
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let figures = pages::figures(connection, &ids).await?;
    let mut standings = task_row::standings(tasks, figures, Vec::new());
    task_row::sort(&mut standings);
    let first: Vec<TaskId> = standings.iter().take(sparks).map(|standing| standing.task.id).collect();
    let lags = pages::lags(connection, &first).await?;
    for (task, ago, lag) in lags {
        if let Some(standing) = standings.iter_mut().find(|standing| standing.task.id == task) {
            standing.lags.push((ago, lag));
        }
    }
    Ok(standings)
}
