//! Creates that may be sent twice: the answer to the first is the answer to all with the same key.

use serde_json::Value;
use sqlx::PgConnection;
use wavemark_domain::ids::UserId;

use crate::Result;

/// What a key was used for before.
#[derive(Debug, PartialEq)]
pub enum Begun {
    /// Nothing: go on, and [`finish`] in the same transaction.
    New,
    /// The same request, answered with this.
    Answered(i16, Value),
    /// Another request.
    Other,
}

/// Claims a key for a request. Waits for a transaction that claimed the same key and has not ended.
///
/// # Errors
/// The statement failed.
pub async fn begin(connection: &mut PgConnection, user: UserId, key: &str, request_hash: &[u8]) -> Result<Begun> {
    let claimed = sqlx::query!(
        "insert into idempotency (user_id, key, request_hash) values ($1, $2, $3) on conflict do nothing",
        user.0,
        key,
        request_hash
    )
    .execute(&mut *connection)
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(Begun::New);
    }
    let row =
        sqlx::query!("select request_hash, status, body from idempotency where user_id = $1 and key = $2", user.0, key)
            .fetch_one(connection)
            .await?;
    Ok(match (row.status, row.body) {
        (Some(status), Some(body)) if row.request_hash == request_hash => Begun::Answered(status, body),
        _ => Begun::Other,
    })
}

/// Keeps the answer.
///
/// # Errors
/// The statement failed.
pub async fn finish(connection: &mut PgConnection, user: UserId, key: &str, status: i16, body: &Value) -> Result<()> {
    sqlx::query!(
        "update idempotency set status = $3, body = $4 where user_id = $1 and key = $2",
        user.0,
        key,
        status,
        body
    )
    .execute(connection)
    .await?;
    Ok(())
}
