//! Everything that happened.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use time::Duration;
use uuid::Uuid;
use wavemark_domain::TaskId;
use wavemark_store::{events, tasks};

use super::page::{PageError, PageResult, Who, escape, html};
use super::view::chip::severity_from_word;
use super::view::event::EventLine;
use super::view::events::EventList;
use super::view::field::choices;
use super::view::shell::Area;
use super::{live, overview};
use crate::state::AppState;

const MOST: i64 = 100;

/// What the address filters by.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct EventsQuery {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    task: String,
    #[serde(default)]
    hours: String,
    #[serde(default)]
    code: String,
    before: Option<i64>,
}

/// `GET /events`
pub(super) async fn page(State(state): State<AppState>, who: Who, Query(query): Query<EventsQuery>) -> PageResult {
    Ok(html(StatusCode::OK, &load(&state, &who, &query).await?))
}

/// `GET /events/live`
pub(super) async fn stream(State(state): State<AppState>, who: Who, Query(query): Query<EventsQuery>) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who, query) = (again.clone(), who.clone(), query.clone());
        async move { overview::render(&load(&state, &who, &query).await?.as_live()) }
    })
}

impl EventsQuery {
    fn address(&self, path: &str, before: Option<i64>) -> String {
        let [severity, task, hours, code] =
            [&self.severity, &self.task, &self.hours, &self.code].map(|text| escape(text));
        let before = before.map_or_else(String::new, |before| format!("&before={before}"));
        format!("{path}?severity={severity}&task={task}&hours={hours}&code={code}{before}")
    }

    fn any(&self) -> bool {
        ![&self.severity, &self.task, &self.hours, &self.code].into_iter().all(String::is_empty)
    }
}

async fn load(state: &AppState, who: &Who, query: &EventsQuery) -> Result<EventList, PageError> {
    let mut connection = state.pool.acquire().await?;
    let now = state.now();
    let shell = who.shell(state, &mut connection, Area::Events, "Events", &[]).await?;
    let shell = shell.live(query.address("/events/live", query.before));
    let code = query.code.trim();
    let filter = events::Filter {
        task: query.task.parse::<Uuid>().ok().map(TaskId),
        at_least: severity_from_word(&query.severity),
        since: query.hours.parse::<i64>().ok().map(|hours| now - Duration::hours(hours.clamp(0, 1_000_000))),
        code: (!code.is_empty()).then(|| code.to_owned()),
    };
    let found = events::list(&mut connection, &filter, query.before, MOST).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count == MOST);
    let names = tasks::list(&mut connection, &tasks::Filter::default(), "", overview::MOST_TASKS).await?;
    let names = names.into_iter().map(|task| (task.id.to_string(), task.name));
    Ok(EventList {
        shell,
        severities: choices(
            [("", "All of them"), ("warning", "Warnings and errors"), ("error", "Errors")],
            &query.severity,
        ),
        tasks: choices([(String::new(), "All tasks".to_owned())].into_iter().chain(names), &query.task),
        spans: choices(
            [("", "Since ever"), ("1", "Last hour"), ("24", "Last day"), ("168", "Last week")],
            &query.hours,
        ),
        code: code.to_owned(),
        any: query.any(),
        events: found.iter().map(|event| EventLine::new(event, false, now)).collect(),
        nothing: if query.any() { "No event fits." } else { "Nothing has happened yet." },
        more: found.last().filter(|_| full).map(|event| query.address("/events", Some(event.id))),
    })
}
