//! The page of one task, its live part, the points of its charts.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use time::Duration;
use wavemark_domain::TaskId;
use wavemark_domain::progress::Severity;
use wavemark_store::task_tables::TaskTable;
use wavemark_store::{PgConnection, compares, endpoints, events, samples, task_tables, tasks};

use super::page::{PageError, PageResult, Who, html};
use super::view::chart::Points;
use super::view::preview;
use super::view::shell::{Area, Notice};
use super::view::task::{self, Material, TabName, TaskBody, TaskPage};
use super::{live, overview};
use crate::problem::ApiProblem;
use crate::state::AppState;

const MOST_TABLES: i64 = 2_000;
const MOST_EVENTS: i64 = 100;
const MOST_SAMPLES: i64 = 1_000;

/// What of the task is shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct TaskQuery {
    /// Which tab.
    #[serde(default)]
    pub(super) tab: TabName,
    /// Events before this one.
    pub(super) before: Option<i64>,
}

/// `GET /tasks/{id}`
pub(super) async fn page(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(query): Query<TaskQuery>,
) -> PageResult {
    Ok(html(StatusCode::OK, &load(&state, &who, id, &query).await?))
}

/// The page of a task with what went wrong above it.
///
/// # Errors
/// The page can't be made.
pub(super) async fn page_with(state: &AppState, who: &Who, id: TaskId, problem: &ApiProblem) -> PageResult {
    let mut page = load(state, who, id, &TaskQuery::default()).await?;
    let text = problem.detail().to_owned();
    page.shell.notice = Some(Notice { tone: super::view::chip::Tone::Bad, text });
    Ok(html(problem.status(), &page))
}

/// `GET /tasks/{id}/live`
pub(super) async fn stream(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Query(query): Query<TaskQuery>,
) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who, query) = (again.clone(), who.clone(), query.clone());
        async move { overview::render(&load(&state, &who, id, &query).await?.as_live()) }
    })
}

/// `GET /tasks/{id}/points`
pub(super) async fn points(State(state): State<AppState>, _: Who, Path(id): Path<TaskId>) -> PageResult {
    let mut connection = state.pool.acquire().await?;
    let since = state.now() - Duration::hours(1);
    let samples = samples::list(&mut connection, id, since, MOST_SAMPLES).await?;
    let filter = events::Filter { task: Some(id), at_least: Some(Severity::Warning), since: Some(since), code: None };
    let events = events::list(&mut connection, &filter, None, MOST_EVENTS).await?;
    Ok(([("cache-control", "no-store")], Json(Points::new(&samples, &events))).into_response())
}

async fn load(state: &AppState, who: &Who, id: TaskId, query: &TaskQuery) -> Result<TaskPage, PageError> {
    let mut connection = state.pool.acquire().await?;
    let found = tasks::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let config = tasks::config(&mut connection, id, found.config_version).await?;
    let config = config.ok_or_else(|| ApiProblem::not_found("configuration"))?;
    let shell = who.shell(state, &mut connection, Area::Tasks, "", &[]).await?;
    let tab = serde_json::to_value(query.tab).ok().and_then(|tab| tab.as_str().map(str::to_owned)).unwrap_or_default();
    let before = query.before.map_or_else(String::new, |before| format!("&before={before}"));
    let shell = shell.live(format!("/tasks/{id}/live?tab={tab}{before}"));
    let engines =
        (engine(state, &mut connection, found.source).await?, engine(state, &mut connection, found.target).await?);
    let tables = task_tables::list(&mut connection, id, None, MOST_TABLES).await?;
    let mut standings = overview::standings(&mut connection, vec![found], 0).await?;
    let standing = standings.pop().ok_or_else(|| ApiProblem::not_found("task"))?;
    let material = Material {
        standing: &standing,
        engines: (&engines.0, &engines.1),
        settings: &config.settings,
        tables: &tables,
        tab: query.tab,
        may_edit: who.may_edit(),
        now: state.now(),
    };
    let body = body(&mut connection, material, &config, query).await?;
    Ok(task::task(shell, material, body))
}

async fn body(
    connection: &mut PgConnection,
    material: Material<'_>,
    config: &tasks::Config,
    query: &TaskQuery,
) -> Result<TaskBody, PageError> {
    let id = material.standing.task.id;
    Ok(match query.tab {
        TabName::Now => {
            let since = material.now - Duration::hours(1);
            task::now(material, &samples::list(connection, id, since, MOST_SAMPLES).await?)
        }
        TabName::Tables => task::all_tables(material),
        TabName::Compares => task::compares(material, &compares::list(connection, id).await?),
        TabName::Errors | TabName::History => {
            let at_least = (query.tab == TabName::Errors).then_some(Severity::Warning);
            let filter = events::Filter { task: Some(id), at_least, ..events::Filter::default() };
            let found = events::list(connection, &filter, query.before, MOST_EVENTS).await?;
            let full = i64::try_from(found.len()).is_ok_and(|count| count == MOST_EVENTS);
            let more = found.last().filter(|_| full).map(|event| event.id);
            task::history(material, &found, more)
        }
        TabName::Mapping => {
            let found = endpoints::discovery(connection, config.source).await?;
            let preview = match &found {
                None if !material.tables.is_empty() => {
                    let names: Vec<_> = material
                        .tables
                        .iter()
                        .map(|TaskTable { progress, .. }| (progress.table.clone(), progress.target.clone()))
                        .collect();
                    preview::of_names(&names)
                }
                found => {
                    let found = found.as_ref().map(|(at, tables)| (*at, tables.as_slice()));
                    preview::preview(&config.mappings.to_string(), found, material.now)
                }
            };
            task::mapping(material, &config.mappings, preview)
        }
    })
}

async fn engine(
    state: &AppState,
    connection: &mut PgConnection,
    id: wavemark_domain::EndpointId,
) -> Result<String, PageError> {
    let endpoint = endpoints::get(connection, id).await?;
    Ok(endpoint
        .map_or_else(String::new, |endpoint| super::view::endpoints::title(&state.specs, &endpoint.engine).to_owned()))
}
