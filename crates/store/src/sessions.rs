//! Logins: a session with a refresh token that changes at each use.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use wavemark_domain::ids::UserId;

use crate::Result;
use crate::users::{Role, User};

/// Opens a session.
///
/// # Errors
/// The statement failed.
pub async fn open(
    connection: &mut PgConnection,
    id: Uuid,
    user: UserId,
    refresh_hash: &[u8],
    address: Option<&str>,
    lasts: Duration,
) -> Result<()> {
    sqlx::query!(
        "insert into sessions (id, user_id, refresh_hash, address, expires_at)
         values ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))",
        id,
        user.0,
        refresh_hash,
        address,
        lasts.as_seconds_f64()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What became of a refresh token.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It was the session's token; now the new one is.
    Rotated(Uuid, UserId),
    /// It had been used before: someone copied it. The session is closed.
    Stolen,
    /// It belongs to no open session.
    Unknown,
}

/// Puts a new refresh token in the place of the old one.
///
/// # Errors
/// The statement failed.
pub async fn rotate(connection: &mut PgConnection, old_hash: &[u8], new_hash: &[u8]) -> Result<Refreshed> {
    let row = sqlx::query!(
        "update sessions set refresh_hash = $2, previous_hash = $1
         where refresh_hash = $1 and revoked_at is null and expires_at > clock_timestamp()
         returning id, user_id",
        old_hash,
        new_hash
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = row {
        return Ok(Refreshed::Rotated(row.id, UserId(row.user_id)));
    }
    let stolen = sqlx::query!(
        "update sessions set revoked_at = clock_timestamp() where previous_hash = $1 and revoked_at is null",
        old_hash
    )
    .execute(connection)
    .await?;
    Ok(if stolen.rows_affected() > 0 { Refreshed::Stolen } else { Refreshed::Unknown })
}

/// Whose open session this is. Read at each request, so that a revoked session ends at once.
///
/// # Errors
/// The statement failed.
pub async fn user(connection: &mut PgConnection, id: Uuid) -> Result<Option<User>> {
    let row = sqlx::query!(
        "select users.id, name, role, disabled, users.created_at from sessions join users on users.id = user_id
         where sessions.id = $1 and revoked_at is null and expires_at > clock_timestamp() and not disabled",
        id
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(User {
            id: UserId(row.id),
            name: row.name,
            role: Role::read(&row.role)?,
            disabled: row.disabled,
            created_at: row.created_at,
        })
    })
    .transpose()
}

/// Closes a session. Closing a closed one is fine.
///
/// # Errors
/// The statement failed.
pub async fn close(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("update sessions set revoked_at = clock_timestamp() where id = $1 and revoked_at is null", id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Closes the session that a refresh token belongs to.
///
/// # Errors
/// The statement failed.
pub async fn close_by_refresh(connection: &mut PgConnection, hash: &[u8]) -> Result<()> {
    sqlx::query!(
        "update sessions set revoked_at = clock_timestamp() where refresh_hash = $1 and revoked_at is null",
        hash
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The database's time.
///
/// # Errors
/// The statement failed.
pub async fn now(connection: &mut PgConnection) -> Result<OffsetDateTime> {
    Ok(sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(connection).await?)
}

/// Whose open session the secret with this digest is; for the cookies of pages.
///
/// # Errors
/// The statement failed.
pub async fn by_secret(connection: &mut PgConnection, hash: &[u8]) -> Result<Option<(Uuid, User)>> {
    let id = sqlx::query_scalar!("select id from sessions where refresh_hash = $1", hash)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(id) = id else { return Ok(None) };
    Ok(user(connection, id).await?.map(|user| (id, user)))
}
