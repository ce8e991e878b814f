//! Endpoints: list, page, form, test, discovery.

use std::collections::BTreeMap;

use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use wavemark_connector::spec::{FieldKind, Role, SettingsSpec};
use wavemark_domain::{EndpointId, Problem};
use wavemark_store::endpoints::{Endpoint, EndpointRole};
use wavemark_store::{PgConnection, endpoints, pages, tasks};

use super::forms::Posted;
use super::page::{PageError, PageResult, Who, html};
use super::task_form::id_of;
use super::view::action::Ask;
use super::view::endpoints::{self as view, EndpointForm, EndpointList, EndpointPage, Running};
use super::view::field::{Field, choices};
use super::view::shell::{Area, Notice};
use super::view::task::AskPage;
use super::{live, overview};
use crate::api;
use crate::extract;
use crate::problem::ApiProblem;
use crate::state::AppState;

const MOST: i64 = 5_000;
const ABOVE: [(&str, &str); 1] = [("Endpoints", "/endpoints")];

/// `GET /endpoints`
pub(super) async fn list(State(state): State<AppState>, who: Who) -> PageResult {
    Ok(html(StatusCode::OK, &load_list(&state, &who).await?))
}

/// `GET /endpoints/live`
pub(super) async fn stream_list(State(state): State<AppState>, who: Who) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who) = (again.clone(), who.clone());
        async move { overview::render(&load_list(&state, &who).await?.as_live()) }
    })
}

async fn load_list(state: &AppState, who: &Who) -> Result<EndpointList, PageError> {
    let mut connection = state.pool.acquire().await?;
    let shell = who.shell(state, &mut connection, Area::Endpoints, "Endpoints", &[]).await?.live("/endpoints/live");
    let all = endpoints::list(&mut connection, "", MOST).await?;
    let tasks = tasks::list(&mut connection, &tasks::Filter::default(), "", MOST).await?;
    Ok(view::list(shell, &all, &tasks, &state.specs, who.may_edit(), state.now()))
}

/// `GET /endpoints/{id}`
pub(super) async fn page(State(state): State<AppState>, who: Who, Path(id): Path<EndpointId>) -> PageResult {
    Ok(html(StatusCode::OK, &load(&state, &who, id).await?))
}

/// `GET /endpoints/{id}/live`
pub(super) async fn stream(State(state): State<AppState>, who: Who, Path(id): Path<EndpointId>) -> Response {
    let (again, asked) = (state.clone(), who.clone());
    live::answer(&state, &asked, move || {
        let (state, who) = (again.clone(), who.clone());
        async move { overview::render(&load(&state, &who, id).await?.as_live()) }
    })
}

async fn get(connection: &mut PgConnection, id: EndpointId) -> Result<Endpoint, PageError> {
    Ok(endpoints::get(connection, id).await?.ok_or_else(|| ApiProblem::not_found("endpoint"))?)
}

async fn load(state: &AppState, who: &Who, id: EndpointId) -> Result<EndpointPage, PageError> {
    let mut connection = state.pool.acquire().await?;
    let endpoint = get(&mut connection, id).await?;
    let shell = who.shell(state, &mut connection, Area::Endpoints, &*endpoint.name, &ABOVE).await?;
    let shell = shell.live(format!("/endpoints/{id}/live"));
    let filter = tasks::Filter { endpoint: Some(id), ..tasks::Filter::default() };
    let tasks = tasks::list(&mut connection, &filter, "", MOST).await?;
    let found = endpoints::discovery(&mut connection, id).await?;
    let running = running(pages::newest_job(&mut connection, id, "test").await?, &endpoint);
    let discovering = pages::newest_job(&mut connection, id, "discover").await?;
    let discovering = discovering.is_some_and(|job| job.status == "waiting" || job.status == "running");
    let found = found.as_ref().map(|(at, tables)| (*at, tables.as_slice()));
    let spec = state.spec(&endpoint.engine);
    Ok(view::endpoint(shell, &endpoint, spec, &tasks, found, &running, discovering, who.may_edit(), state.now()))
}

/// A test that failed before its first step shows until a later one went through, or the endpoint was edited.
fn running(job: Option<pages::NewestJob>, endpoint: &Endpoint) -> Running {
    let Some(job) = job else { return Running::No };
    match job.status.as_str() {
        "waiting" => Running::Waiting,
        "running" => Running::Running,
        "failed" if job.created_at > endpoint.tested_at.unwrap_or(endpoint.updated_at) => {
            let problem = job.outcome.as_ref().and_then(|outcome| outcome.get("problem")).cloned();
            let problem = problem.and_then(|problem| serde_json::from_value::<Problem>(problem).ok());
            problem.map_or(Running::No, Running::Failed)
        }
        _ => Running::No,
    }
}

/// `POST /endpoints/{id}/test`
pub(super) async fn test(State(state): State<AppState>, who: Who, Path(id): Path<EndpointId>) -> PageResult {
    let operator = who.operator()?;
    let _ = api::endpoints::test(State(state), operator, extract::Path(id)).await?;
    Ok(Redirect::to(&format!("/endpoints/{id}#test")).into_response())
}

/// `POST /endpoints/{id}/discover`
pub(super) async fn discover(State(state): State<AppState>, who: Who, Path(id): Path<EndpointId>) -> PageResult {
    let operator = who.operator()?;
    let _ = api::endpoints::discover(State(state), operator, extract::Path(id)).await?;
    Ok(Redirect::to(&format!("/endpoints/{id}")).into_response())
}

/// Which system a new endpoint is of.
#[derive(Debug, Deserialize)]
pub(super) struct NewQuery {
    #[serde(default)]
    engine: String,
}

/// `GET /endpoints/new`
pub(super) async fn new(State(state): State<AppState>, who: Who, Query(query): Query<NewQuery>) -> PageResult {
    who.operator()?;
    Ok(html(StatusCode::OK, &form(&state, &who, None, &query.engine, None, None).await?))
}

/// `POST /endpoints/new`
pub(super) async fn create(
    State(state): State<AppState>,
    who: Who,
    Form(fields): Form<Vec<(String, String)>>,
) -> PageResult {
    let operator = who.operator()?;
    let posted = Posted::from(fields);
    let engine = posted.text("engine").to_owned();
    let value = input(&state, &posted);
    let create = extract::Create { value, key: None, hash: [0; 32] };
    match api::endpoints::create(State(state.clone()), operator.clone(), create).await {
        Ok(answer) => saved(&state, operator, EndpointId(id_of(answer).await?), &posted).await,
        Err(problem) => {
            let form = form(&state, &who, None, &engine, Some(&posted), Some(&problem)).await?;
            Ok(html(problem.status(), &form))
        }
    }
}

/// `GET /endpoints/{id}/edit`
pub(super) async fn edit(State(state): State<AppState>, who: Who, Path(id): Path<EndpointId>) -> PageResult {
    who.operator()?;
    let mut connection = state.pool.acquire().await?;
    let endpoint = get(&mut connection, id).await?;
    drop(connection);
    Ok(html(StatusCode::OK, &form(&state, &who, Some(&endpoint), &endpoint.engine, None, None).await?))
}

/// `POST /endpoints/{id}/edit`
pub(super) async fn update(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<EndpointId>,
    Form(fields): Form<Vec<(String, String)>>,
) -> PageResult {
    let operator = who.operator()?;
    let posted = Posted::from(fields);
    let mut connection = state.pool.acquire().await?;
    let endpoint = get(&mut connection, id).await?;
    drop(connection);
    let version = extract::IfMatch::of_version(posted.text("version").parse().unwrap_or(-1));
    let value = extract::Json(input(&state, &posted));
    match api::endpoints::update(State(state.clone()), operator.clone(), extract::Path(id), version, value).await {
        Ok(_) => saved(&state, operator, id, &posted).await,
        Err(problem) => {
            let form = form(&state, &who, Some(&endpoint), &endpoint.engine, Some(&posted), Some(&problem)).await?;
            Ok(html(problem.status(), &form))
        }
    }
}

async fn saved(state: &AppState, operator: crate::auth::Operator, id: EndpointId, posted: &Posted) -> PageResult {
    if posted.text("do") == "test" {
        let _ = api::endpoints::test(State(state.clone()), operator, extract::Path(id)).await?;
    }
    Ok(Redirect::to(&format!("/endpoints/{id}")).into_response())
}

/// The name that was typed.
#[derive(Debug, Deserialize)]
pub(super) struct Typed {
    #[serde(default)]
    name: String,
}

/// `GET /endpoints/{id}/delete`
pub(super) async fn ask_delete(State(state): State<AppState>, who: Who, Path(id): Path<EndpointId>) -> PageResult {
    who.operator()?;
    ask(&state, &who, id, StatusCode::OK, None).await
}

async fn ask(state: &AppState, who: &Who, id: EndpointId, status: StatusCode, error: Option<String>) -> PageResult {
    let mut connection = state.pool.acquire().await?;
    let endpoint = get(&mut connection, id).await?;
    let filter = tasks::Filter { endpoint: Some(id), ..tasks::Filter::default() };
    let used = tasks::list(&mut connection, &filter, "", MOST).await?.len();
    let shell = who.shell(state, &mut connection, Area::Endpoints, "Delete", &ABOVE).await?;
    let ask = Ask { error, ..view::ask_delete(&endpoint, used) };
    Ok(html(status, &AskPage { shell, ask }))
}

/// `POST /endpoints/{id}/delete`
pub(super) async fn delete(
    State(state): State<AppState>,
    who: Who,
    Path(id): Path<EndpointId>,
    Form(typed): Form<Typed>,
) -> PageResult {
    let operator = who.operator()?;
    let mut connection = state.pool.acquire().await?;
    let endpoint = get(&mut connection, id).await?;
    drop(connection);
    if typed.name.trim() != endpoint.name {
        return ask(&state, &who, id, StatusCode::UNPROCESSABLE_ENTITY, Some("This is not its name.".to_owned())).await;
    }
    let version = extract::IfMatch::of_version(endpoint.version);
    match api::endpoints::delete(State(state.clone()), operator, extract::Path(id), version).await {
        Ok(_) => Ok(Redirect::to("/endpoints").into_response()),
        Err(problem) if problem.status() == StatusCode::CONFLICT => {
            let mut page = load(&state, &who, id).await?;
            page.shell.notice = Some(Notice { tone: super::view::chip::Tone::Bad, text: problem.detail().to_owned() });
            Ok(html(problem.status(), &page))
        }
        Err(problem) => Err(PageError(problem)),
    }
}

/// What the form holds, as the API takes it: what is left empty is not given.
fn input(state: &AppState, posted: &Posted) -> api::endpoints::EndpointInput {
    let engine = posted.text("engine");
    let mut settings = Map::new();
    let mut secrets: BTreeMap<String, Option<SecretString>> =
        posted.remove.iter().map(|name| (name.clone(), None)).collect();
    for field in state.spec(engine).into_iter().flat_map(|spec| &spec.fields) {
        // A password may begin or end with a space.
        let raw = posted.typed.get(field.name).map_or("", String::as_str);
        if field.secret {
            if !raw.is_empty() {
                secrets.insert(field.name.to_owned(), Some(SecretString::from(raw)));
            }
        } else if !raw.trim().is_empty() {
            settings.insert(field.name.to_owned(), value(field.kind, raw.trim()));
        }
    }
    api::endpoints::EndpointInput {
        name: posted.text("name").to_owned(),
        engine: engine.to_owned(),
        role: posted.text("role").to_owned(),
        settings,
        secrets,
    }
}

/// What can't be read stays text: the setting's own check then says what it takes.
fn value(kind: FieldKind, text: &str) -> Value {
    match kind {
        FieldKind::Integer { .. } => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        FieldKind::Boolean => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
        FieldKind::Text | FieldKind::Choice { .. } | FieldKind::Pem => Value::from(text),
    }
}

async fn form(
    state: &AppState,
    who: &Who,
    edited: Option<&Endpoint>,
    engine: &str,
    posted: Option<&Posted>,
    problem: Option<&ApiProblem>,
) -> Result<EndpointForm, PageError> {
    let spec = state.spec(engine).or_else(|| state.specs.first());
    let spec = spec.ok_or_else(|| ApiProblem::conflict("no-engine", "This server knows no system."))?;
    let field = problem
        .and_then(ApiProblem::concerned_field)
        .map(|field| field.strip_prefix("settings.").or_else(|| field.strip_prefix("secrets.")).unwrap_or(field));
    let error = field.zip(problem.map(ApiProblem::detail));
    let fields = fields(spec, edited, posted, error);
    let beside = fields.iter().any(|field| field.error.is_some());
    let mut connection = state.pool.acquire().await?;
    let title = edited.map_or_else(|| "New endpoint".to_owned(), |endpoint| format!("Edit {}", endpoint.name));
    let shell = who.shell(state, &mut connection, Area::Endpoints, &*title, &ABOVE).await?;
    let at = edited.map_or_else(|| "/endpoints".to_owned(), |endpoint| format!("/endpoints/{}", endpoint.id));
    Ok(EndpointForm {
        shell,
        title: format!("{title} · {}", spec.title),
        error: problem.filter(|_| !beside).map(|problem| problem.detail().to_owned()),
        action: edited.map_or_else(|| "/endpoints/new".to_owned(), |_| format!("{at}/edit")),
        engine: spec.engine.to_owned(),
        others: state
            .specs
            .iter()
            .filter(|other| edited.is_none() && other.engine != spec.engine)
            .map(|other| (format!("/endpoints/new?engine={}", other.engine), other.title))
            .collect(),
        version: edited.map(|endpoint| endpoint.version),
        fields,
        button: "Save",
        back: at,
    })
}

fn fields(
    spec: &SettingsSpec,
    edited: Option<&Endpoint>,
    posted: Option<&Posted>,
    error: Option<(&str, &str)>,
) -> Vec<Field> {
    let typed = |name: &str, stored: Option<&str>| {
        posted.map_or_else(|| stored.unwrap_or_default().to_owned(), |posted| posted.text(name).to_owned())
    };
    let roles: &[EndpointRole] = match spec.role {
        Role::Source => &[EndpointRole::Source],
        Role::Target => &[EndpointRole::Target],
        Role::Both => &[EndpointRole::Source, EndpointRole::Target, EndpointRole::Both],
    };
    let roles = roles.iter().map(|role| (role.word(), view::role(*role)));
    let role = typed("role", edited.map(|endpoint| endpoint.role.word()));
    let name = typed("name", edited.map(|endpoint| endpoint.name.as_str()));
    let nothing = Value::Null;
    let (stored, set) = edited.map_or((&nothing, &[][..]), |endpoint| (&endpoint.settings, &endpoint.secrets));
    let own = spec
        .fields
        .iter()
        .map(|field| Field::of_setting(field, stored, set, posted.map(|posted| &posted.typed)).wrong(error));
    [
        Field::text("name", "Name", name).required().hint("For people, e.g. shop-prod.").wrong(error),
        Field::choice("role", "Used as", choices(roles, &role)).wrong(error),
    ]
    .into_iter()
    .chain(own)
    .collect()
}
