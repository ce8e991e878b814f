//! Comparisons: asked for on a task's page, shown on pages of their own. Each press goes through the API's handlers.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;
use wavemark_domain::{TableName, TaskId};
use wavemark_store::{compares, tasks};

use super::page::{PageError, PageResult, Who, html};
use super::task::page_with;
use super::view::chip::Tone;
use super::view::compare::{self, ComparePage};
use super::view::shell::{Area, Notice};
use super::view::task::AskPage;
use super::{live, overview};
use crate::api::compares::{self as api, CompareBody, CompareRequest, RepairRequest};
use crate::api::shapes::NameBody;
use crate::extract;
use crate::problem::{ApiProblem, ApiResult};
use crate::state::AppState;

/// Which table.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    schema: String,
    table: String,
}

/// `POST /tasks/{id}/compares`
pub(super) async fn all(State(state): State<AppState>, who: Who, Path(id): Path<TaskId>) -> PageResult {
    begin(&state, &who, id, None).await
}

/// `GET /tasks/{id}/tables/compare`
pub(super) async fn ask_one(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(named): Query<Named>,
) -> PageResult {
    who.operator()?;
    let mut connection = state.pool.acquire().await?;
    let task = tasks::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let ask = compare::ask(&task, &TableName::new(named.schema, named.table));
    let above = [("Tasks", "/tasks"), (&*task.name, &*format!("/tasks/{id}"))];
    let shell = who.shell(&state, &mut connection, Area::Tasks, ask.button, &above).await?;
    Ok(html(StatusCode::OK, &AskPage { shell, ask }))
}

/// `POST /tasks/{id}/tables/compare`
pub(super) async fn one(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(named): Query<Named>,
) -> PageResult {
    let tables = vec![NameBody { schema: named.schema, table: named.table }];
    begin(&state, &who, id, Some(tables)).await
}

async fn begin(state: &AppState, who: &Who, id: TaskId, tables: Option<Vec<NameBody>>) -> PageResult {
    let body = extract::Json(CompareRequest { tables, sessions: None });
    let done = api::create(State(state.clone()), who.operator()?, extract::Path(id), body).await;
    match done {
        Ok(made) => Ok(to_page(&made)),
        Err(problem) if is_shown(&problem) => page_with(state, who, id, &problem).await,
        Err(problem) => Err(PageError(problem)),
    }
}

/// `GET /compares/{id}`
pub(super) async fn page(State(state): State<AppState>, who: Who, Path(id): Path<Uuid>) -> PageResult {
    Ok(html(StatusCode::OK, &load(&state, &who, id).await?))
}

/// `GET /compares/{id}/live`
pub(super) async fn stream(State(state): State<AppState>, who: Who, Path(id): Path<Uuid>) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who) = (again.clone(), who.clone());
        async move { overview::render(&load(&state, &who, id).await?.as_live()) }
    })
}

/// Which table of a comparison, by its place in the list; all without it.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    table: Option<usize>,
}

/// `POST /compares/{id}/repair`
pub(super) async fn repair(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<Uuid>,
    Query(chosen): Query<Chosen>,
) -> PageResult {
    let tables = match chosen.table {
        None => None,
        Some(at) => {
            let mut connection = state.pool.acquire().await?;
            let found = compares::get(&mut connection, id).await?;
            let table = found.and_then(|mut found| {
                (at < found.progress.tables.len()).then(|| found.progress.tables.swap_remove(at))
            });
            Some(vec![table.ok_or_else(|| ApiProblem::not_found("table"))?.table.into()])
        }
    };
    let body = extract::Json(RepairRequest { tables });
    answer(&state, &who, id, api::repair(State(state.clone()), who.operator()?, extract::Path(id), body).await).await
}

/// `POST /compares/{id}/cancel`
pub(super) async fn cancel(State(state): State<AppState>, who: Who, Path(id): Path<Uuid>) -> PageResult {
    match api::cancel(State(state.clone()), who.operator()?, extract::Path(id)).await {
        Ok(_) => Ok(Redirect::to(&format!("/compares/{id}")).into_response()),
        Err(problem) => refused(&state, &who, id, problem).await,
    }
}

type Made = (StatusCode, extract::Json<CompareBody>);

async fn answer(state: &AppState, who: &Who, id: Uuid, done: ApiResult<Made>) -> PageResult {
    match done {
        Ok(made) => Ok(to_page(&made)),
        Err(problem) => refused(state, who, id, problem).await,
    }
}

async fn refused(state: &AppState, who: &Who, id: Uuid, problem: ApiProblem) -> PageResult {
    if !is_shown(&problem) {
        return Err(PageError(problem));
    }
    let mut page = load(state, who, id).await?;
    page.shell.notice = Some(Notice { tone: Tone::Bad, text: problem.detail().to_owned() });
    Ok(html(problem.status(), &page))
}

fn is_shown(problem: &ApiProblem) -> bool {
    matches!(problem.status(), StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY)
}

fn to_page((_, extract::Json(made)): &Made) -> Response {
    Redirect::to(&format!("/compares/{}", made.id)).into_response()
}

async fn load(state: &AppState, who: &Who, id: Uuid) -> Result<ComparePage, PageError> {
    let mut connection = state.pool.acquire().await?;
    let found = compares::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("comparison"))?;
    let task = tasks::get(&mut connection, found.task).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let (task_href, tab) = (format!("/tasks/{}", task.id), format!("/tasks/{}?tab=compares", task.id));
    let above = [("Tasks", "/tasks"), (&*task.name, &*task_href), ("Comparisons", &*tab)];
    let shell = who.shell(state, &mut connection, Area::Tasks, "Comparison", &above).await?;
    let shell = shell.live(format!("/compares/{id}/live"));
    Ok(compare::page(shell, &found, &task, who.may_edit(), state.now()))
}
