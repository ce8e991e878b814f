//! The list of tasks.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use wavemark_domain::state::TaskStatus;
use wavemark_store::tasks;

use super::page::{PageError, PageResult, Who, escape, html};
use super::view::shell::Area;
use super::view::task_row;
use super::view::tasks::{Filter, TaskList, list};
use super::{live, overview};
use crate::state::AppState;

const PER_PAGE: usize = 200;

/// What the address filters by.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct TasksQuery {
    #[serde(default)]
    text: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    from: usize,
}

/// `GET /tasks`
pub(super) async fn page(State(state): State<AppState>, who: Who, Query(query): Query<TasksQuery>) -> PageResult {
    Ok(html(StatusCode::OK, &load(&state, &who, &query).await?))
}

/// `GET /tasks/live`
pub(super) async fn stream(State(state): State<AppState>, who: Who, Query(query): Query<TasksQuery>) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who, query) = (again.clone(), who.clone(), query.clone());
        async move { overview::render(&load(&state, &who, &query).await?.as_live()) }
    })
}

async fn load(state: &AppState, who: &Who, query: &TasksQuery) -> Result<TaskList, PageError> {
    let mut connection = state.pool.acquire().await?;
    let address = |path: &str, from: usize| {
        format!("{path}?text={}&status={}&from={from}", escape(&query.text), escape(&query.status))
    };
    let mut shell = who.shell(state, &mut connection, Area::Tasks, "Tasks", &[]).await?;
    shell = shell.live(address("/tasks/live", query.from));
    shell.find.clone_from(&query.text);
    let status = TaskStatus::from_word(&query.status);
    let filter = tasks::Filter { status, ..tasks::Filter::default() };
    let mut all = tasks::list(&mut connection, &filter, "", overview::MOST_TASKS).await?;
    let text = query.text.to_lowercase();
    let has = |name: &str| name.to_lowercase().contains(&text);
    all.retain(|task| has(&task.name) || has(&task.source_name) || has(&task.target_name));
    let count = all.len();
    let mut ordered = task_row::standings(all, Vec::new(), Vec::new());
    task_row::sort(&mut ordered);
    let shown = ordered.into_iter().skip(query.from).take(PER_PAGE).map(|standing| standing.task).collect();
    let standings = overview::standings(&mut connection, shown, PER_PAGE).await?;
    let mut page = list(shell, standings, Filter::new(&query.text, status), who.may_edit(), state.now());
    page.headline = super::view::format::counted(count as u64, "task", "tasks");
    page.more = (query.from + PER_PAGE < count).then(|| address("/tasks", query.from + PER_PAGE));
    Ok(page)
}
