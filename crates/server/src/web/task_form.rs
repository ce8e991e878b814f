//! The form of a task: new, edited, and the preview while someone types.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde_json::Value;
use uuid::Uuid;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{EndpointId, TaskId};
use wavemark_store::{PgConnection, endpoints, tasks};

use super::forms::Posted;
use super::page::{PageError, PageResult, Who, html};
use super::view::field::{Choice, Field, choices};
use super::view::overview::Start;
use super::view::preview::{self, Preview, PreviewBox};
use super::view::shell::Area;
use super::view::task_form::{self, FIRST_MAPPING, TaskForm};
use super::view::task_settings;
use crate::api;
use crate::extract;
use crate::problem::ApiProblem;
use crate::state::AppState;

type Fields = Vec<(String, String)>;

/// `GET /tasks/new`
pub(super) async fn new(State(state): State<AppState>, who: Who) -> PageResult {
    who.operator()?;
    let mut posted = Posted { typed: task_settings::typed_settings(&TaskSettings::default()), ..Posted::default() };
    posted.typed.insert("mappings".to_owned(), FIRST_MAPPING.to_owned());
    Ok(html(StatusCode::OK, &form(&state, &who, None, &posted, None).await?))
}

/// `POST /tasks/new`
pub(super) async fn create(State(state): State<AppState>, who: Who, Form(fields): Form<Fields>) -> PageResult {
    let operator = who.operator()?;
    let posted = Posted::from(fields);
    if posted.text("do") == "preview" {
        return Ok(html(StatusCode::OK, &form(&state, &who, None, &posted, None).await?));
    }
    let made = match input(&posted) {
        Ok(value) => {
            let create = extract::Create { value, key: None, hash: [0; 32] };
            api::tasks::create(State(state.clone()), operator.clone(), create).await
        }
        Err(problem) => Err(problem),
    };
    let id = match made {
        Ok(answer) => id_of(answer).await?,
        Err(problem) => return again(&state, &who, None, &posted, &problem).await,
    };
    if posted.text("do") == "start" {
        let id = extract::Path(TaskId(id));
        if let Err(problem) = api::task_actions::start(State(state.clone()), operator, id).await {
            return super::task::page_with(&state, &who, id.0, &problem).await;
        }
    }
    Ok(Redirect::to(&format!("/tasks/{id}")).into_response())
}

/// `GET /tasks/{id}/edit`
pub(super) async fn edit(State(state): State<AppState>, who: Who, Path(id): Path<TaskId>) -> PageResult {
    who.operator()?;
    let mut connection = state.pool.acquire().await?;
    let task = tasks::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let config = tasks::config(&mut connection, id, task.config_version).await?;
    let config = config.ok_or_else(|| ApiProblem::not_found("configuration"))?;
    drop(connection);
    let mut typed = task_settings::typed_settings(&config.settings);
    typed.extend([
        ("name".to_owned(), config.name),
        ("kind".to_owned(), config.kind.word().to_owned()),
        ("source".to_owned(), config.source.to_string()),
        ("target".to_owned(), config.target.to_string()),
        ("mappings".to_owned(), serde_json::to_string_pretty(&config.mappings).unwrap_or_default()),
    ]);
    let posted = Posted { typed, ..Posted::default() };
    let edited = Some((id, task.name.as_str()));
    Ok(html(StatusCode::OK, &form(&state, &who, edited, &posted, None).await?))
}

/// `POST /tasks/{id}/edit`
pub(super) async fn update(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<TaskId>,
    Form(fields): Form<Fields>,
) -> PageResult {
    let operator = who.operator()?;
    let posted = Posted::from(fields);
    let mut connection = state.pool.acquire().await?;
    let task = tasks::get(&mut connection, id).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    drop(connection);
    let edited = Some((id, task.name.as_str()));
    if posted.text("do") == "preview" {
        return Ok(html(StatusCode::OK, &form(&state, &who, edited, &posted, None).await?));
    }
    let done = match input(&posted) {
        Ok(value) => {
            let version = extract::IfMatch::of_version(task.config_version.0);
            api::tasks::update(State(state.clone()), operator, extract::Path(id), version, extract::Json(value)).await
        }
        Err(problem) => Err(problem),
    };
    match done {
        Ok(_) => Ok(Redirect::to(&format!("/tasks/{id}")).into_response()),
        Err(problem) => again(&state, &who, edited, &posted, &problem).await,
    }
}

/// `POST /tasks/preview`
pub(super) async fn preview(State(state): State<AppState>, _: Who, Form(fields): Form<Fields>) -> PageResult {
    let posted = Posted::from(fields);
    let mut connection = state.pool.acquire().await?;
    let preview = preview_of(&state, &mut connection, &posted).await?;
    Ok(html(StatusCode::OK, &PreviewBox { preview }))
}

async fn preview_of(state: &AppState, connection: &mut PgConnection, posted: &Posted) -> Result<Preview, PageError> {
    let source = posted.text("source").parse::<Uuid>().ok().map(EndpointId);
    let found = match source {
        Some(source) => endpoints::discovery(connection, source).await?,
        None => None,
    };
    let found = found.as_ref().map(|(at, tables)| (*at, tables.as_slice()));
    Ok(preview::preview(posted.text("mappings"), found, state.now()))
}

fn input(posted: &Posted) -> Result<api::tasks::TaskInput, ApiProblem> {
    let id = |name: &str| posted.text(name).parse().map_err(|_| ApiProblem::field(name, "Choose an endpoint."));
    let (mappings, _) = preview::parse(posted.text("mappings"))
        .map_err(|error| ApiProblem::field("mappings", format!("{}: {}", error.place, error.text)))?;
    let settings =
        task_settings::read_settings(&posted.typed).map_err(|(field, text)| ApiProblem::field(field, text))?;
    posted
        .text("stop_at")
        .parse::<StopAt>()
        .map_err(|error| ApiProblem::field("settings.stop_at", format!("Where it ends by itself: {error}.")))?;
    let settings =
        serde_json::from_value(settings).map_err(|error| ApiProblem::field("settings", error.to_string()))?;
    let kind = serde_json::from_value(Value::from(posted.text("kind")))
        .map_err(|_| ApiProblem::field("kind", "Choose what it does."))?;
    Ok(api::tasks::TaskInput {
        name: posted.text("name").to_owned(),
        kind,
        source_id: id("source")?,
        target_id: id("target")?,
        mappings,
        settings,
    })
}

async fn again(
    state: &AppState,
    who: &Who,
    edited: Option<(TaskId, &str)>,
    posted: &Posted,
    problem: &ApiProblem,
) -> PageResult {
    Ok(html(problem.status(), &form(state, who, edited, posted, Some(problem)).await?))
}

async fn form(
    state: &AppState,
    who: &Who,
    edited: Option<(TaskId, &str)>,
    posted: &Posted,
    problem: Option<&ApiProblem>,
) -> Result<TaskForm, PageError> {
    let mut connection = state.pool.acquire().await?;
    let all = endpoints::list(&mut connection, "", 5_000).await?;
    let mut posted = posted.clone();
    choose(&mut posted, &all);
    let sources = endpoint_choices(all.iter().filter(|endpoint| endpoint.role.is_source()), posted.text("source"));
    let targets = endpoint_choices(all.iter().filter(|endpoint| endpoint.role.is_target()), posted.text("target"));
    let field = problem.and_then(ApiProblem::concerned_field).map(short_field);
    let error = field.as_deref().zip(problem.map(ApiProblem::detail));
    let (settings, more_settings) = task_settings::settings(&posted.typed, error);
    let basics = task_form::basics(&posted.typed, sources, targets, error);
    let mapping_error = error.filter(|(field, _)| *field == "mappings").map(|(_, text)| text.to_owned());
    let is_wrong = |field: &Field| field.error.is_some();
    let more_open = more_settings.iter().flat_map(|group| &group.fields).any(is_wrong);
    let beside = mapping_error.is_some() || more_open || basics.iter().chain(&settings).any(is_wrong);
    let missing = (basics[2].options.is_empty() || basics[3].options.is_empty()).then(Start::endpoint);
    let title = edited.map_or_else(|| "New task".to_owned(), |(_, name)| format!("Edit {name}"));
    let back = edited.map_or_else(|| "/tasks".to_owned(), |(id, _)| format!("/tasks/{id}"));
    let shell = who.shell(state, &mut connection, Area::Tasks, &*title, &[("Tasks", "/tasks")]).await?;
    Ok(TaskForm {
        preview: preview_of(state, &mut connection, &posted).await?,
        error: problem.filter(|_| !beside).map(|problem| problem.detail().to_owned()),
        missing,
        action: edited.map_or_else(|| "/tasks/new".to_owned(), |(id, _)| format!("/tasks/{id}/edit")),
        creates: edited.is_none(),
        basics,
        mappings: posted.typed.get("mappings").cloned().unwrap_or_default(),
        mapping_error,
        more_open,
        settings,
        more_settings,
        button: if edited.is_some() { "Save" } else { "Create" },
        title,
        back,
        shell,
    })
}

/// A new task reads from the first source and writes to the first target that is another endpoint.
fn choose(posted: &mut Posted, all: &[endpoints::Endpoint]) {
    if posted.text("source").is_empty()
        && let Some(first) = all.iter().find(|endpoint| endpoint.role.is_source())
    {
        posted.typed.insert("source".to_owned(), first.id.to_string());
    }
    let source = posted.text("source").to_owned();
    let other = |endpoint: &&endpoints::Endpoint| endpoint.role.is_target() && endpoint.id.to_string() != source;
    if posted.text("target").is_empty()
        && let Some(first) = all.iter().find(other)
    {
        posted.typed.insert("target".to_owned(), first.id.to_string());
    }
}

fn endpoint_choices<'a>(endpoints: impl Iterator<Item = &'a endpoints::Endpoint>, chosen: &str) -> Vec<Choice> {
    choices(endpoints.map(|endpoint| (endpoint.id.to_string(), endpoint.name.clone())), chosen)
}

/// The field of the form that a field of the API is.
fn short_field(field: &str) -> String {
    if field.starts_with("mappings") {
        return "mappings".to_owned();
    }
    let field = field.strip_prefix("settings.").unwrap_or(field);
    field.strip_suffix("_id").unwrap_or(field).to_owned()
}

/// The id in the API's answer to a create.
///
/// # Errors
/// 500 if there is none.
pub(super) async fn id_of(answer: axum::response::Response) -> Result<Uuid, PageError> {
    let body = axum::body::to_bytes(answer.into_body(), 8 << 20).await.unwrap_or_default();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = json.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    id.ok_or_else(|| {
        PageError(ApiProblem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "It was made, but its page was not found.",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::short_field;

    #[test]
    fn an_error_of_the_api_stands_beside_its_field() {
        assert_eq!(short_field("mappings.rules[rule-id=1].rule-action"), "mappings");
        assert_eq!(short_field("settings.chunk_mib"), "chunk_mib");
        assert_eq!(short_field("target_id"), "target");
        assert_eq!(short_field("name"), "name");
    }
}
