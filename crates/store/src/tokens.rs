//! Tokens for programs, kept as SHA-256 of 256 random bits: API tokens of users, and tokens of workers.

use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::ids::{TokenId, UserId};

use crate::Result;
use crate::users::{Role, User};

/// One API token, without the secret.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub user: UserId,
    /// The most that it may do; never more than its user may.
    pub role: Role,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it ends.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
}

/// Makes an API token.
///
/// # Errors
/// The statement failed.
pub async fn create(
    connection: &mut PgConnection,
    id: TokenId,
    user: UserId,
    name: &str,
    hash: &[u8],
    role: Role,
    days: Option<i32>,
) -> Result<()> {
    sqlx::query!(
        "insert into api_tokens (id, user_id, name, token_hash, role, expires_at)
         values ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(days => $6))",
        id.0,
        user.0,
        name,
        hash,
        role.word(),
        days
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whose token this is, with the lesser of both roles; notes its use.
///
/// # Errors
/// The statement failed.
pub async fn user(connection: &mut PgConnection, hash: &[u8]) -> Result<Option<(TokenId, User)>> {
    let row = sqlx::query!(
        r#"select api_tokens.id as token, users.id, users.name, users.role, api_tokens.role as scope, users.created_at,
                  coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) as "stale!"
           from api_tokens join users on users.id = user_id
           where token_hash = $1 and revoked_at is null and (expires_at is null or expires_at > clock_timestamp())
             and not disabled"#,
        hash
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.stale {
        sqlx::query!("update api_tokens set last_used_at = clock_timestamp() where id = $1", row.token)
            .execute(connection)
            .await?;
    }
    let role = Role::read(&row.role)?.min(Role::read(&row.scope)?);
    let user = User { id: UserId(row.id), name: row.name, role, disabled: false, created_at: row.created_at };
    Ok(Some((TokenId(row.token), user)))
}

/// API tokens after an id (ids grow with time); all users' or one's.
///
/// # Errors
/// The statement failed.
pub async fn list(
    connection: &mut PgConnection,
    of: Option<UserId>,
    after: Option<TokenId>,
    limit: i64,
) -> Result<Vec<ApiToken>> {
    let rows = sqlx::query!(
        "select id, name, user_id, role, created_at, expires_at, last_used_at, revoked_at from api_tokens
         where ($1::uuid is null or user_id = $1) and ($2::uuid is null or id > $2) order by id limit $3",
        of.map(|user| user.0),
        after.map(|token| token.0),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(ApiToken {
                id: TokenId(row.id),
                name: row.name,
                user: UserId(row.user_id),
                role: Role::read(&row.role)?,
                created_at: row.created_at,
                expires_at: row.expires_at,
                last_used_at: row.last_used_at,
                revoked_at: row.revoked_at,
            })
        })
        .collect()
}

/// Revokes an API token; `of` limits it to one user's.
///
/// # Errors
/// The statement failed.
pub async fn revoke(connection: &mut PgConnection, id: TokenId, of: Option<UserId>) -> Result<bool> {
    let done = sqlx::query!(
        "update api_tokens set revoked_at = coalesce(revoked_at, clock_timestamp())
         where id = $1 and ($2::uuid is null or user_id = $2)",
        id.0,
        of.map(|user| user.0)
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// One worker token, without the secret.
#[derive(Clone, Debug)]
pub struct WorkerToken {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last used, to the minute.
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
}

/// Makes a worker token; one with the same secret is left as it is.
///
/// # Errors
/// The statement failed.
pub async fn create_worker(connection: &mut PgConnection, id: TokenId, name: &str, hash: &[u8]) -> Result<()> {
    sqlx::query!(
        "insert into worker_tokens (id, name, token_hash) values ($1, $2, $3) on conflict (token_hash) do nothing",
        id.0,
        name,
        hash
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which worker token this is, if it is one that holds; notes its use.
///
/// # Errors
/// The statement failed.
pub async fn worker(connection: &mut PgConnection, hash: &[u8]) -> Result<Option<TokenId>> {
    let row = sqlx::query!(
        r#"select id, coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) as "stale!"
           from worker_tokens where token_hash = $1 and revoked_at is null"#,
        hash
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.stale {
        sqlx::query!("update worker_tokens set last_used_at = clock_timestamp() where id = $1", row.id)
            .execute(connection)
            .await?;
    }
    Ok(Some(TokenId(row.id)))
}

/// Worker tokens after an id.
///
/// # Errors
/// The statement failed.
pub async fn list_worker(
    connection: &mut PgConnection,
    after: Option<TokenId>,
    limit: i64,
) -> Result<Vec<WorkerToken>> {
    let rows = sqlx::query!(
        "select id, name, created_at, last_used_at, revoked_at from worker_tokens
         where $1::uuid is null or id > $1 order by id limit $2",
        after.map(|token| token.0),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| WorkerToken {
            id: TokenId(row.id),
            name: row.name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        })
        .collect())
}

/// Revokes a worker token.
///
/// # Errors
/// The statement failed.
pub async fn revoke_worker(connection: &mut PgConnection, id: TokenId) -> Result<bool> {
    let done = sqlx::query!(
        "update worker_tokens set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = $1",
        id.0
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
