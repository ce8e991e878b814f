//! What can be done with a task. Each press goes through the API's own handler: a page can do nothing that the API
//! can't.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;
use wavemark_domain::TaskId;
use wavemark_store::tasks::{self, Task};

use super::page::{PageError, PageResult, Who, html};
use super::task::page_with;
use super::view::action::Ask;
use super::view::shell::Area;
use super::view::task::{self, AskPage};
use crate::api;
use crate::extract;
use crate::problem::ApiProblem;
use crate::state::AppState;

macro_rules! action {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub(super) async fn $name(State(state): State<AppState>, who: Who, Path(id): Path<TaskId>) -> PageResult {
            let operator = who.operator()?;
            let done = api::task_actions::$name(State(state.clone()), operator, extract::Path(id)).await;
            match done {
                Ok(_) => Ok(Redirect::to(&format!("/tasks/{id}")).into_response()),
                Err(problem) if problem.status() == StatusCode::CONFLICT => page_with(&state, &who, id, &problem).await,
                Err(problem) => Err(PageError(problem)),
            }
        }
    )*};
}

action! {
    /// `POST /tasks/{id}/start`
    start,
    /// `POST /tasks/{id}/resume`
    resume,
    /// `POST /tasks/{id}/stop`
    stop,
    /// `POST /tasks/{id}/reload`
    reload,
    /// `POST /tasks/{id}/drain`
    drain,
}

/// `GET /tasks/{id}/reload`
pub(super) async fn ask_reload(State(state): State<AppState>, who: Who, Path(id): Path<TaskId>) -> PageResult {
    ask(&state, &who, id, StatusCode::OK, task::ask_reload).await
}

/// `GET /tasks/{id}/delete`
pub(super) async fn ask_delete(State(state): State<AppState>, who: Who, Path(id): Path<TaskId>) -> PageResult {
    ask(&state, &who, id, StatusCode::OK, task::ask_delete).await
}

/// `GET /tasks/{id}/forget`
pub(super) async fn ask_forget(State(state): State<AppState>, who: Who, Path(id): Path<TaskId>) -> PageResult {
    ask(&state, &who, id, StatusCode::OK, task::ask_forget).await
}

async fn ask(
    state: &AppState,
    who: &Who,
    id: TaskId,
    status: StatusCode,
    question: impl FnOnce(&Task) -> Ask,
) -> PageResult {
    who.operator()?;
    let mut connection = state.pool.acquire().await?;
    let task = tasks::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let ask = question(&task);
    let above = [("Tasks", "/tasks"), (&*task.name, &*format!("/tasks/{id}"))];
    let shell = who.shell(state, &mut connection, Area::Tasks, ask.button, &above).await?;
    Ok(html(status, &AskPage { shell, ask }))
}

/// The name that was typed.
#[derive(Debug, Deserialize)]
pub(super) struct Typed {
    #[serde(default)]
    name: String,
}

/// `POST /tasks/{id}/delete`
pub(super) async fn delete(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Form(typed): Form<Typed>,
) -> PageResult {
    remove(&state, &who, id, &typed.name, false).await
}

/// `POST /tasks/{id}/forget`
pub(super) async fn forget(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Form(typed): Form<Typed>,
) -> PageResult {
    remove(&state, &who, id, &typed.name, true).await
}

async fn remove(state: &AppState, who: &Who, id: TaskId, typed: &str, forget: bool) -> PageResult {
    let operator = who.operator()?;
    let mut connection = state.pool.acquire().await?;
    let task = tasks::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    drop(connection);
    if typed.trim() != task.name {
        let question = |task: &Task| {
            let ask = if forget { task::ask_forget(task) } else { task::ask_delete(task) };
            Ask { error: Some("This is not its name.".to_owned()), ..ask }
        };
        return ask(state, who, id, StatusCode::UNPROCESSABLE_ENTITY, question).await;
    }
    let query = extract::Query(api::tasks::DeleteQuery { forget });
    let version = extract::IfMatch::of_version(task.config_version.0);
    let done = api::tasks::delete(State(state.clone()), operator, extract::Path(id), query, version).await;
    match done {
        Ok(StatusCode::NO_CONTENT) => Ok(Redirect::to("/tasks").into_response()),
        Ok(_) => Ok(Redirect::to(&format!("/tasks/{id}")).into_response()),
        Err(problem) if problem.status() == StatusCode::CONFLICT => page_with(state, who, id, &problem).await,
        Err(problem) => Err(PageError(problem)),
    }
}
