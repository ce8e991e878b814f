//! Endpoints: their settings by allow-list, their secrets write-only.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_connector::spec::{FieldKind, Role, SettingsSpec};
use wavemark_domain::{EndpointId, Table};
use wavemark_store::endpoints::{self, Endpoint, EndpointRole};
use wavemark_store::jobs::JobKind;
use wavemark_store::{PgConnection, audit};

use super::created;
use super::jobs::{self, Asked, JobRef};
use super::shapes::NameBody;
use crate::auth::{Caller, Operator, Viewer};
use crate::extract::{Create, IfMatch, Json, Page, Paging, Path, Query, etag};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// One setting of a system.
#[derive(Serialize, ToSchema)]
pub struct FieldBody {
    /// Its name in `settings` (or in `secrets`, for a secret).
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    /// `text`, `integer`, `boolean`, `choice` or `pem`.
    pub kind: &'static str,
    /// The words of a choice.
    pub words: Vec<&'static str>,
    /// The least of an integer.
    pub min: Option<i64>,
    /// The most of an integer.
    pub max: Option<i64>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is a secret: sealed, never shown.
    pub secret: bool,
    /// What it is when it isn't given.
    pub default: Option<&'static str>,
    /// One sentence.
    pub doc: &'static str,
}

/// One system that endpoints can be of.
#[derive(Serialize, ToSchema)]
pub struct EngineBody {
    /// Its name in the API.
    pub engine: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// `source`, `target` or `both`.
    #[schema(value_type = String)]
    pub role: wavemark_connector::spec::Role,
    /// Its settings, in the order of a form.
    pub fields: Vec<FieldBody>,
}

impl From<&SettingsSpec> for EngineBody {
    fn from(spec: &SettingsSpec) -> Self {
        let fields = spec.fields.iter().map(|field| {
            let (kind, words, min, max) = match field.kind {
                FieldKind::Text => ("text", vec![], None, None),
                FieldKind::Integer { min, max } => ("integer", vec![], Some(min), Some(max)),
                FieldKind::Boolean => ("boolean", vec![], None, None),
                FieldKind::Choice { words } => ("choice", words.to_vec(), None, None),
                FieldKind::Pem => ("pem", vec![], None, None),
            };
            FieldBody {
                name: field.name,
                label: field.label,
                kind,
                words,
                min,
                max,
                required: field.required,
                secret: field.secret,
                default: field.default,
                doc: field.doc,
            }
        });
        Self { engine: spec.engine, title: spec.title, role: spec.role, fields: fields.collect() }
    }
}

/// The systems that endpoints can be of, with their settings
#[utoipa::path(get, path = "/engines", tag = "endpoints", responses(
    (status = 200, body = Vec<EngineBody>, description = "each system"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn engines(State(state): State<AppState>, _: Viewer) -> Json<Vec<EngineBody>> {
    Json(state.specs.iter().map(EngineBody::from).collect())
}

/// One step of a test.
#[derive(Serialize, ToSchema)]
pub struct StepBody {
    /// What was tried.
    pub name: String,
    /// Whether it went well.
    pub passed: bool,
    /// What was found.
    pub text: String,
    /// The statement or setting that mends it.
    pub mend: Option<String>,
}

/// One endpoint. Secrets are never shown, only which are set.
#[derive(Serialize, ToSchema)]
pub struct EndpointBody {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Which system.
    pub engine: String,
    /// `source`, `target` or `both`.
    pub role: &'static str,
    /// The settings without secrets.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// The names of the secrets that are set.
    pub secrets_set: Vec<String>,
    /// Counts its edits; the `ETag`.
    pub version: i32,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last edited.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// When it was last tested as it is.
    #[serde(with = "time::serde::rfc3339::option")]
    pub tested_at: Option<OffsetDateTime>,
    /// The steps of that test.
    pub test: Option<Vec<StepBody>>,
    /// When its tables were last discovered.
    #[serde(with = "time::serde::rfc3339::option")]
    pub discovered_at: Option<OffsetDateTime>,
}

impl From<Endpoint> for EndpointBody {
    fn from(endpoint: Endpoint) -> Self {
        let step = |step: wavemark_domain::check::Step| StepBody {
            name: step.name,
            passed: step.passed,
            text: step.text,
            mend: step.mend,
        };
        Self {
            id: endpoint.id.0,
            name: endpoint.name,
            engine: endpoint.engine,
            role: endpoint.role.word(),
            settings: endpoint.settings,
            secrets_set: endpoint.secrets,
            version: endpoint.version,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
            tested_at: endpoint.tested_at,
            test: endpoint.test.map(|steps| steps.into_iter().map(step).collect()),
            discovered_at: endpoint.discovered_at,
        }
    }
}

/// List endpoints
#[utoipa::path(get, path = "/endpoints", tag = "endpoints", params(Paging), responses(
    (status = 200, body = Page<EndpointBody>, description = "by name"),
    (status = 401, body = ProblemBody, description = "not logged in")))]
pub async fn list(
    State(state): State<AppState>,
    _: Viewer,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<EndpointBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let after: String = paging.after()?.unwrap_or_default();
    let rows = endpoints::list(&mut connection, &after, paging.rows()).await?;
    Ok(Json(paging.page(rows, |endpoint| endpoint.name.clone(), EndpointBody::from)))
}

/// What an endpoint is made of.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointInput {
    /// Its name: 1 to 100 characters.
    pub name: String,
    /// Which system, of `GET /engines`; can't be changed later.
    #[schema(example = "postgresql")]
    pub engine: String,
    /// `source`, `target` or `both`.
    pub role: String,
    /// The settings of that system, without secrets. Unknown ones are refused.
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    /// Secrets by name. In an edit a null removes one, and one that is left out stays.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub secrets: BTreeMap<String, Option<SecretString>>,
}

/// What an input becomes when it is accepted.
struct Accepted<'a> {
    spec: &'a SettingsSpec,
    role: EndpointRole,
    settings: Value,
}

fn accept<'a>(state: &'a AppState, input: &EndpointInput, secrets_before: &[String]) -> ApiResult<Accepted<'a>> {
    let name = &input.name;
    if name.trim() != name || !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(ApiProblem::field("name", "A name has 1 to 100 characters, none of them control."));
    }
    let spec = state.spec(&input.engine).ok_or_else(|| {
        let known: Vec<&str> = state.specs.iter().map(|spec| spec.engine).collect();
        ApiProblem::field("engine", format!("\"{}\" is not one of {}.", input.engine, known.join(", ")))
    })?;
    let role = EndpointRole::from_word(&input.role)
        .ok_or_else(|| ApiProblem::field("role", "A role is source, target or both."))?;
    let can = match spec.role {
        Role::Both => true,
        Role::Source => role == EndpointRole::Source,
        Role::Target => role == EndpointRole::Target,
    };
    if !can {
        return Err(ApiProblem::field("role", format!("{} can't be used as {}.", spec.title, role.word())));
    }
    let mut set: BTreeSet<&str> = secrets_before.iter().map(String::as_str).collect();
    for (name, secret) in &input.secrets {
        match secret {
            Some(secret) if secret.expose_secret().len() > 65_536 => {
                return Err(ApiProblem::field(format!("secrets.{name}"), "A secret has at most 65536 bytes."));
            }
            Some(_) => set.insert(name),
            None => set.remove(name.as_str()),
        };
    }
    let settings = Value::Object(input.settings.clone());
    spec.validate(&settings, set.iter().copied()).map_err(|error| {
        let is_secret =
            spec.field(&error.field).is_some_and(|field| field.secret) || input.secrets.contains_key(&error.field);
        let place = if is_secret { "secrets" } else { "settings" };
        let field = if error.field == place { error.field.clone() } else { format!("{place}.{}", error.field) };
        ApiProblem::field(field, format!("The setting \"{}\" {}.", error.field, error.text))
    })?;
    Ok(Accepted { spec, role, settings })
}

fn taken(error: wavemark_store::Error) -> ApiProblem {
    if error.is_duplicate() {
        return ApiProblem::conflict("name-taken", "There is an endpoint of this name.").in_field("name");
    }
    error.into()
}

async fn read(connection: &mut PgConnection, id: EndpointId) -> ApiResult<Endpoint> {
    endpoints::get(connection, id).await?.ok_or_else(|| ApiProblem::not_found("endpoint"))
}

async fn set_secrets(
    state: &AppState,
    connection: &mut PgConnection,
    id: EndpointId,
    secrets: &BTreeMap<String, Option<SecretString>>,
) -> ApiResult<()> {
    for (name, secret) in secrets {
        endpoints::set_secret(connection, &state.keyring, id, name, secret.as_ref()).await?;
    }
    Ok(())
}

/// Make an endpoint
#[utoipa::path(post, path = "/endpoints", tag = "endpoints", request_body = EndpointInput,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes the create safe to repeat")), responses(
    (status = 201, body = EndpointBody, description = "made"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 409, body = ProblemBody, description = "the name is taken"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted")))]
pub async fn create(
    State(state): State<AppState>,
    Operator(caller): Operator,
    create: Create<EndpointInput>,
) -> ApiResult<Response> {
    let input = &create.value;
    let mut transaction = state.begin().await?;
    if let Some(answer) = created::before(&mut transaction, &caller, &create).await? {
        return Ok(answer);
    }
    let accepted = accept(&state, input, &[])?;
    let id = EndpointId(Uuid::now_v7());
    let engine = accepted.spec.engine;
    endpoints::create(&mut transaction, id, &input.name, engine, accepted.role, &accepted.settings)
        .await
        .map_err(taken)?;
    set_secrets(&state, &mut transaction, id, &input.secrets).await?;
    let mut deed = caller.deed("endpoint.create", "endpoint", id, Some(&input.name));
    deed.difference = Some(json!({"settings": accepted.settings, "secrets": input.secrets.keys().collect::<Vec<_>>()}));
    audit::write(&mut transaction, &deed).await?;
    wavemark_store::announce_change(&mut transaction).await?;
    let body = EndpointBody::from(read(&mut transaction, id).await?);
    created::finish(transaction, &caller, &create, body).await
}

/// Read an endpoint
#[utoipa::path(get, path = "/endpoints/{id}", tag = "endpoints", params(("id" = Uuid, Path, description = "the endpoint")),
    responses(
    (status = 200, body = EndpointBody, description = "it, with its ETag"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such endpoint")))]
pub async fn get(State(state): State<AppState>, _: Viewer, Path(id): Path<EndpointId>) -> ApiResult<Response> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let endpoint = read(&mut connection, id).await?;
    Ok((etag(endpoint.version), Json(EndpointBody::from(endpoint))).into_response())
}

/// Edit an endpoint; tasks that run keep the old settings until they start again
#[utoipa::path(put, path = "/endpoints/{id}", tag = "endpoints", request_body = EndpointInput,
    params(("id" = Uuid, Path, description = "the endpoint"), ("If-Match" = String, Header, description = "the ETag that was read")),
    responses(
    (status = 200, body = EndpointBody, description = "edited"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such endpoint"),
    (status = 409, body = ProblemBody, description = "the name is taken"),
    (status = 412, body = ProblemBody, description = "edited in the meantime"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted"),
    (status = 428, body = ProblemBody, description = "If-Match is missing")))]
pub async fn update(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<EndpointId>,
    if_match: IfMatch,
    Json(input): Json<EndpointInput>,
) -> ApiResult<Response> {
    let mut transaction = state.begin().await?;
    let version = endpoints::lock(&mut transaction, id).await?.ok_or_else(|| ApiProblem::not_found("endpoint"))?;
    if_match.check(version)?;
    let before = read(&mut transaction, id).await?;
    if before.engine != input.engine {
        return Err(ApiProblem::field("engine", "The system of an endpoint can't be changed: make another endpoint."));
    }
    let accepted = accept(&state, &input, &before.secrets)?;
    endpoints::update(&mut transaction, id, &input.name, accepted.role, &accepted.settings).await.map_err(taken)?;
    set_secrets(&state, &mut transaction, id, &input.secrets).await?;
    let mut deed = caller.deed("endpoint.update", "endpoint", id, Some(&input.name));
    deed.difference = Some(json!({
        "before": before.settings, "after": accepted.settings, "secrets": input.secrets.keys().collect::<Vec<_>>(),
    }));
    audit::write(&mut transaction, &deed).await?;
    wavemark_store::announce_change(&mut transaction).await?;
    let endpoint = read(&mut transaction, id).await?;
    commit(transaction).await?;
    Ok((etag(endpoint.version), Json(EndpointBody::from(endpoint))).into_response())
}

/// Delete an endpoint that no task uses
#[utoipa::path(delete, path = "/endpoints/{id}", tag = "endpoints",
    params(("id" = Uuid, Path, description = "the endpoint"), ("If-Match" = String, Header, description = "the ETag that was read")),
    responses(
    (status = 204, description = "deleted"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such endpoint"),
    (status = 409, body = ProblemBody, description = "a task uses it"),
    (status = 412, body = ProblemBody, description = "edited in the meantime"),
    (status = 428, body = ProblemBody, description = "If-Match is missing")))]
pub async fn delete(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<EndpointId>,
    if_match: IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = state.begin().await?;
    let version = endpoints::lock(&mut transaction, id).await?.ok_or_else(|| ApiProblem::not_found("endpoint"))?;
    if_match.check(version)?;
    let endpoint = read(&mut transaction, id).await?;
    endpoints::delete(&mut transaction, id).await.map_err(|error| {
        if error.is_still_used() {
            return ApiProblem::conflict("endpoint-used", "A task uses this endpoint: delete the task first.");
        }
        error.into()
    })?;
    audit::write(&mut transaction, &caller.deed("endpoint.delete", "endpoint", id, Some(&endpoint.name))).await?;
    wavemark_store::announce_change(&mut transaction).await?;
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Test an endpoint: a worker really connects
#[utoipa::path(post, path = "/endpoints/{id}/test", tag = "endpoints",
    params(("id" = Uuid, Path, description = "the endpoint")), responses(
    (status = 202, body = JobRef, description = "asked for; read the job"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such endpoint")))]
pub async fn test(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<EndpointId>,
) -> ApiResult<Asked> {
    ask(&state, &caller, id, JobKind::Test(id)).await
}

/// Discover an endpoint's tables: a worker really looks
#[utoipa::path(post, path = "/endpoints/{id}/discover", tag = "endpoints",
    params(("id" = Uuid, Path, description = "the endpoint")), responses(
    (status = 202, body = JobRef, description = "asked for; read the job, then the tables"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role operator"),
    (status = 404, body = ProblemBody, description = "no such endpoint")))]
pub async fn discover(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<EndpointId>,
) -> ApiResult<Asked> {
    ask(&state, &caller, id, JobKind::Discover(id)).await
}

async fn ask(state: &AppState, caller: &Caller, id: EndpointId, kind: JobKind) -> ApiResult<Asked> {
    let mut transaction = state.begin().await?;
    let endpoint = read(&mut transaction, id).await?;
    jobs::ask(transaction, caller, kind, ("endpoint", id.0, &endpoint.name)).await
}

/// One column.
#[derive(Serialize, ToSchema)]
pub struct ColumnBody {
    /// Its exact name.
    pub name: String,
    /// Its type as the system declares it.
    pub declared: String,
    /// Whether NULL is forbidden.
    pub not_null: bool,
    /// Computed by its system.
    pub generated: bool,
}

/// One discovered table.
#[derive(Serialize, ToSchema)]
pub struct TableBody {
    /// Its name.
    pub name: NameBody,
    /// `table`, `partitioned` or `view`.
    #[schema(value_type = String)]
    pub kind: wavemark_domain::catalog::TableKind,
    /// Its columns.
    pub columns: Vec<ColumnBody>,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// The system's own estimate.
    pub rows_estimated: Option<u64>,
    /// Bytes on disk.
    pub bytes_estimated: Option<u64>,
}

impl From<Table> for TableBody {
    fn from(table: Table) -> Self {
        let column = |column: wavemark_domain::Column| ColumnBody {
            name: column.name,
            declared: column.declared,
            not_null: column.not_null,
            generated: column.generated,
        };
        Self {
            name: table.name.into(),
            kind: table.kind,
            columns: table.columns.into_iter().map(column).collect(),
            key: table.key,
            rows_estimated: table.rows_estimated,
            bytes_estimated: table.bytes_estimated,
        }
    }
}

/// The tables that the last discovery found
#[utoipa::path(get, path = "/endpoints/{id}/tables", tag = "endpoints",
    params(("id" = Uuid, Path, description = "the endpoint"), Paging), responses(
    (status = 200, body = Page<TableBody>, description = "by schema and name"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "no such endpoint, or never discovered")))]
pub async fn tables(
    State(state): State<AppState>,
    _: Viewer,
    Path(id): Path<EndpointId>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<TableBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let found = endpoints::discovery(&mut connection, id).await?;
    let (_, mut tables) = found.ok_or_else(|| {
        let text = "This endpoint's tables were not discovered yet: POST …/discover.";
        ApiProblem::new(StatusCode::NOT_FOUND, "not-discovered", text)
    })?;
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    let after: Option<wavemark_domain::TableName> = paging.after()?;
    tables.retain(|table| after.as_ref().is_none_or(|after| table.name > *after));
    tables.truncate(usize::try_from(paging.rows()).unwrap_or(usize::MAX));
    Ok(Json(paging.page(tables, |table| table.name.clone(), TableBody::from)))
}
