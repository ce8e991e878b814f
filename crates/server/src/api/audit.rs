//! The audit log.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;
use wavemark_store::audit::{self, Entry};

use crate::auth::Admin;
use crate::extract::{Json, Page, Paging, Query};
use crate::problem::{ApiResult, ProblemBody};
use crate::state::AppState;

/// One deed.
#[derive(Serialize, ToSchema)]
pub struct AuditBody {
    /// Its number; grows with time.
    pub id: i64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// What, e.g. `task.start`.
    pub action: String,
    /// On what kind of thing.
    pub object_kind: String,
    /// Its id.
    pub object_id: Option<String>,
    /// Its name.
    pub object_name: Option<String>,
    /// What changed; never a secret.
    #[schema(value_type = Option<Object>)]
    pub difference: Option<Value>,
}

impl From<Entry> for AuditBody {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            actor: entry.actor,
            address: entry.address,
            action: entry.action,
            object_kind: entry.object_kind,
            object_id: entry.object_id,
            object_name: entry.object_name,
            difference: entry.difference,
        }
    }
}

/// Who did what, newest first
#[utoipa::path(get, path = "/audit", tag = "audit", params(Paging), responses(
    (status = 200, body = Page<AuditBody>, description = "newest first"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin")))]
pub async fn list(
    State(state): State<AppState>,
    _: Admin,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<AuditBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let rows = audit::list(&mut connection, paging.after()?, paging.rows()).await?;
    Ok(Json(paging.page(rows, |entry| entry.id, AuditBody::from)))
}
