//! Upkeep of the metadata: each function reads the state and moves it toward what it should be; safe to repeat,
//! by several servers at once.

use sqlx::PgConnection;

use crate::Result;

/// Drops what is no longer of use: old idempotency keys, ended sessions, finished jobs, workers not seen for a day.
///
/// # Errors
/// A statement failed.
pub async fn tidy(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("delete from idempotency where created_at < clock_timestamp() - interval '1 day'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from sessions where expires_at < clock_timestamp() - interval '7 days'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from jobs where finished_at < clock_timestamp() - interval '7 days'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "delete from workers w where seen_at < clock_timestamp() - interval '1 day'
           and not exists (select from leases l where l.worker_id = w.id)"
    )
    .execute(connection)
    .await?;
    Ok(())
}
