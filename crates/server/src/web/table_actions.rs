//! What can be asked of one table of a task: first the question, then the API's own handler.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;
use wavemark_domain::{TableName, TableWish, TaskId};
use wavemark_store::tasks;

use super::page::{PageError, PageResult, Who, html};
use super::task::page_with;
use super::view::shell::Area;
use super::view::table_wish;
use super::view::task::AskPage;
use crate::api::shapes::NameBody;
use crate::api::table_actions::{self, TablesBody};
use crate::extract;
use crate::problem::ApiProblem;
use crate::state::AppState;

/// Which table.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    schema: String,
    table: String,
}

/// `GET /tasks/{id}/tables/reload`
pub(super) async fn ask_reload(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(named): Query<Named>,
) -> PageResult {
    ask(&state, &who, id, named, TableWish::Reload).await
}

/// `GET /tasks/{id}/tables/park`
pub(super) async fn ask_park(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(named): Query<Named>,
) -> PageResult {
    ask(&state, &who, id, named, TableWish::Park).await
}

async fn ask(state: &AppState, who: &Who, id: TaskId, named: Named, wish: TableWish) -> PageResult {
    who.operator()?;
    let mut connection = state.pool.acquire().await?;
    let task = tasks::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let ask = table_wish::ask(&task, &TableName::new(named.schema, named.table), wish);
    let above = [("Tasks", "/tasks"), (&*task.name, &*format!("/tasks/{id}"))];
    let shell = who.shell(state, &mut connection, Area::Tasks, ask.button, &above).await?;
    Ok(html(StatusCode::OK, &AskPage { shell, ask }))
}

/// `POST /tasks/{id}/tables/reload`
pub(super) async fn reload(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(named): Query<Named>,
) -> PageResult {
    let body = extract::Json(body(named));
    let done = table_actions::reload(State(state.clone()), who.operator()?, extract::Path(id), body).await;
    answer(&state, &who, id, done.map(drop)).await
}

/// `POST /tasks/{id}/tables/park`
pub(super) async fn park(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(named): Query<Named>,
) -> PageResult {
    let body = extract::Json(body(named));
    let done = table_actions::park(State(state.clone()), who.operator()?, extract::Path(id), body).await;
    answer(&state, &who, id, done.map(drop)).await
}

fn body(named: Named) -> TablesBody {
    TablesBody { tables: vec![NameBody { schema: named.schema, table: named.table }] }
}

async fn answer(state: &AppState, who: &Who, id: TaskId, done: Result<(), ApiProblem>) -> PageResult {
    match done {
        Ok(()) => Ok(Redirect::to(&format!("/tasks/{id}?tab=tables")).into_response()),
        Err(problem) if matches!(problem.status(), StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) => {
            page_with(state, who, id, &problem).await
        }
        Err(problem) => Err(PageError(problem)),
    }
}
