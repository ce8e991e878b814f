//! What mappings make of the tables that were last discovered.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::EndpointId;
use wavemark_domain::mapping::{self, Mappings, collisions};
use wavemark_store::endpoints;

use super::shapes::NameBody;
use super::tasks::mapping_problem;
use crate::auth::Viewer;
use crate::extract::Json;
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::AppState;

/// Mappings to try.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewInput {
    /// The source endpoint; its last discovery is used.
    pub source_id: Uuid,
    /// Table mappings, `{"rules": […]}`.
    #[schema(value_type = Object)]
    pub mappings: Value,
}

/// One column of a preview.
#[derive(Serialize, ToSchema)]
pub struct PreviewColumn {
    /// The name in the source.
    pub source: String,
    /// The name in the target.
    pub target: String,
}

/// One table of a preview.
#[derive(Serialize, ToSchema)]
pub struct PreviewTable {
    /// The name in the source.
    pub source: NameBody,
    /// The name in the target.
    pub target: NameBody,
    /// The columns that travel.
    pub columns: Vec<PreviewColumn>,
    /// Which rows travel, in words; null for all.
    pub rows: Option<String>,
    /// Whether rows can be told apart in the log.
    pub has_key: bool,
    /// The source's own estimate.
    pub rows_estimated: Option<u64>,
}

/// What mappings make of the tables that were last discovered.
#[derive(Serialize, ToSchema)]
pub struct PreviewBody {
    /// When they were discovered.
    #[serde(with = "time::serde::rfc3339")]
    pub discovered_at: OffsetDateTime,
    /// The tables that are copied.
    pub tables: Vec<PreviewTable>,
    /// The tables that are not.
    pub left_out: Vec<NameBody>,
    /// What would be one in the target, in sentences.
    pub collisions: Vec<String>,
}

/// Show what mappings make of the source's tables
#[utoipa::path(post, path = "/tasks/preview", tag = "tasks", request_body = PreviewInput, responses(
    (status = 200, body = PreviewBody, description = "source to target"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 404, body = ProblemBody, description = "the source was never discovered"),
    (status = 422, body = ProblemBody, description = "the mappings can't be accepted")))]
pub async fn preview(
    State(state): State<AppState>,
    _: Viewer,
    Json(input): Json<PreviewInput>,
) -> ApiResult<Json<PreviewBody>> {
    Ok(Json(of(&state, input).await?))
}

/// The same for pages.
///
/// # Errors
/// As the route says.
pub async fn of(state: &AppState, input: PreviewInput) -> ApiResult<PreviewBody> {
    let mappings = Mappings::parse(&input.mappings).map_err(|error| mapping_problem(&error))?;
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let found = endpoints::discovery(&mut connection, EndpointId(input.source_id)).await?;
    let (discovered_at, tables) = found.ok_or_else(|| {
        let text = "The source's tables were not discovered yet: discover them first.";
        ApiProblem::new(StatusCode::NOT_FOUND, "not-discovered", text)
    })?;
    let mut taken = Vec::new();
    let mut left_out = Vec::new();
    for table in &tables {
        match mappings.apply(table) {
            Some(mapped) => taken.push((table, mapped)),
            None => left_out.push(table.name.clone().into()),
        }
    }
    let found = collisions(taken.iter().map(|(table, mapped)| (*table, mapped)));
    Ok(PreviewBody {
        discovered_at,
        left_out,
        collisions: found.iter().map(ToString::to_string).collect(),
        tables: taken
            .into_iter()
            .map(|(table, mapped)| PreviewTable {
                source: table.name.clone().into(),
                target: mapped.target.into(),
                columns: mapped
                    .columns
                    .into_iter()
                    .map(|(index, target)| PreviewColumn { source: table.columns[index].name.clone(), target })
                    .collect(),
                rows: mapping::rows_in_words(&mappings, &table.name),
                has_key: !table.key.is_empty(),
                rows_estimated: table.rows_estimated,
            })
            .collect(),
    })
}
