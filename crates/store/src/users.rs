//! Who may log in.

use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::ids::UserId;

use crate::{Error, Result};

/// What someone may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Viewer,
    /// Run tasks and edit endpoints.
    Operator,
    /// Everything, users and tokens too.
    Admin,
}

impl Role {
    /// The word used in the API and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads [`Role::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.word() == word)
    }

    pub(crate) fn read(word: &str) -> Result<Self> {
        Self::from_word(word).ok_or_else(|| Error::unreadable(format!("the role \"{word}\"")))
    }
}

/// One user.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, as typed at log in.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it is locked out.
    pub disabled: bool,
    /// Since when it exists.
    pub created_at: OffsetDateTime,
}

/// Makes a user.
///
/// # Errors
/// The name is taken ([`Error::is_duplicate`]).
pub async fn create(
    connection: &mut PgConnection,
    id: UserId,
    name: &str,
    password_hash: &str,
    role: Role,
) -> Result<()> {
    sqlx::query!(
        "insert into users (id, name, password_hash, role) values ($1, $2, $3, $4)",
        id.0,
        name,
        password_hash,
        role.word()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many users there are.
///
/// # Errors
/// The statement failed.
pub async fn count(connection: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar!(r#"select count(*) as "count!" from users"#).fetch_one(connection).await?)
}

/// The first users after a name, by name.
///
/// # Errors
/// The statement failed.
pub async fn list(connection: &mut PgConnection, after: &str, limit: i64) -> Result<Vec<User>> {
    let rows = sqlx::query!(
        "select id, name, role, disabled, created_at from users where name > $1 order by name limit $2",
        after,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(User {
                id: UserId(row.id),
                name: row.name,
                role: Role::read(&row.role)?,
                disabled: row.disabled,
                created_at: row.created_at,
            })
        })
        .collect()
}

/// One user.
///
/// # Errors
/// The statement failed.
pub async fn get(connection: &mut PgConnection, id: UserId) -> Result<Option<User>> {
    let row = sqlx::query!("select id, name, role, disabled, created_at from users where id = $1", id.0)
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

/// A user by name with the hash of its password.
///
/// # Errors
/// The statement failed.
pub async fn by_name(connection: &mut PgConnection, name: &str) -> Result<Option<(User, String)>> {
    let row =
        sqlx::query!("select id, name, role, disabled, created_at, password_hash from users where name = $1", name)
            .fetch_optional(connection)
            .await?;
    row.map(|row| {
        let user = User {
            id: UserId(row.id),
            name: row.name,
            role: Role::read(&row.role)?,
            disabled: row.disabled,
            created_at: row.created_at,
        };
        Ok((user, row.password_hash))
    })
    .transpose()
}

/// Changes what is given. Whoever loses rights or gets a new password is logged out everywhere.
///
/// # Errors
/// The statement failed.
pub async fn update(
    connection: &mut PgConnection,
    id: UserId,
    role: Option<Role>,
    disabled: Option<bool>,
    password_hash: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query!(
        "update users set role = coalesce($2, role), disabled = coalesce($3, disabled),
                password_hash = coalesce($4, password_hash) where id = $1",
        id.0,
        role.map(Role::word),
        disabled,
        password_hash
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("update sessions set revoked_at = clock_timestamp() where user_id = $1 and revoked_at is null", id.0)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes a user with its sessions and tokens.
///
/// # Errors
/// The statement failed.
pub async fn delete(connection: &mut PgConnection, id: UserId) -> Result<bool> {
    let done = sqlx::query!("delete from users where id = $1", id.0).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// How many admins could log in if this user were gone. Locks the admins, so that two of them can't remove each other.
///
/// # Errors
/// The statement failed.
pub async fn other_admins(connection: &mut PgConnection, id: UserId) -> Result<usize> {
    let rows = sqlx::query_scalar!("select id from users where role = 'admin' and not disabled order by id for update")
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().filter(|other| *other != id.0).count())
}
