//! Creates that may be sent twice: claim the key, do it, keep the answer, all in one transaction.

use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use sqlx::{Postgres, Transaction};
use wavemark_store::idempotency::{self, Begun};

use crate::auth::Caller;
use crate::extract::{Create, Json};
use crate::problem::{ApiProblem, ApiResult};
use crate::state::commit;

/// The answer that was given to the same request before.
pub(super) async fn before<T>(
    transaction: &mut Transaction<'static, Postgres>,
    caller: &Caller,
    create: &Create<T>,
) -> ApiResult<Option<Response>> {
    let Some(key) = &create.key else { return Ok(None) };
    match idempotency::begin(transaction, caller.user.id, key, &create.hash).await? {
        Begun::New => Ok(None),
        Begun::Answered(status, body) => {
            let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
            let repeated = [(HeaderName::from_static("idempotent-replayed"), "true")];
            Ok(Some((status.unwrap_or(StatusCode::CREATED), repeated, Json(body)).into_response()))
        }
        Begun::Other => {
            let text = "This Idempotency-Key was used for another request.";
            Err(ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", text))
        }
    }
}

/// Keeps the answer and commits.
pub(super) async fn finish<B: Serialize, T>(
    mut transaction: Transaction<'static, Postgres>,
    caller: &Caller,
    create: &Create<T>,
    body: B,
) -> ApiResult<Response> {
    if let Some(key) = &create.key {
        let kept = serde_json::to_value(&body).map_err(wavemark_store::Error::from)?;
        idempotency::finish(&mut transaction, caller.user.id, key, 201, &kept).await?;
    }
    commit(transaction).await?;
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
