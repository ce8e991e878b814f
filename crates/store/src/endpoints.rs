//! Endpoints, their sealed secrets and what was last discovered in them.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::check::Step;
use wavemark_domain::{EndpointId, Table};

use crate::crypt::{Keyring, Sealed};
use crate::{Error, Result};

/// What an endpoint may be used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointRole {
    /// Only read from.
    Source,
    /// Only written to.
    Target,
    /// Both.
    Both,
}

impl EndpointRole {
    /// The word used in the API and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Both => "both",
        }
    }

    /// Reads [`EndpointRole::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Source, Self::Target, Self::Both].into_iter().find(|role| role.word() == word)
    }

    /// Whether it may be read from.
    #[must_use]
    pub fn is_source(self) -> bool {
        self != Self::Target
    }

    /// Whether it may be written to.
    #[must_use]
    pub fn is_target(self) -> bool {
        self != Self::Source
    }
}

/// One endpoint, without its secrets.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Its name.
    pub name: String,
    /// Which connector.
    pub engine: String,
    /// What it may be used as.
    pub role: EndpointRole,
    /// The settings without secrets.
    pub settings: Value,
    /// The names of the secrets that are set.
    pub secrets: Vec<String>,
    /// Counts its edits.
    pub version: i32,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last edited.
    pub updated_at: OffsetDateTime,
    /// When it was last tested, as it is now.
    pub tested_at: Option<OffsetDateTime>,
    /// The steps of that test.
    pub test: Option<Vec<Step>>,
    /// When its tables were last discovered.
    pub discovered_at: Option<OffsetDateTime>,
}

macro_rules! read {
    ($row:expr) => {{
        let row = $row;
        Ok::<_, Error>(Endpoint {
            id: EndpointId(row.id),
            name: row.name,
            engine: row.engine,
            role: EndpointRole::from_word(&row.role).ok_or_else(|| Error::unreadable("an endpoint's role"))?,
            settings: row.settings,
            secrets: row.secrets,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            tested_at: row.tested_at,
            test: row.test.map(serde_json::from_value).transpose()?,
            discovered_at: row.discovered_at,
        })
    }};
}

/// Makes an endpoint.
///
/// # Errors
/// The name is taken ([`Error::is_duplicate`]).
pub async fn create(
    connection: &mut PgConnection,
    id: EndpointId,
    name: &str,
    engine: &str,
    role: EndpointRole,
    settings: &Value,
) -> Result<()> {
    sqlx::query!(
        "insert into endpoints (id, name, engine, role, settings) values ($1, $2, $3, $4, $5)",
        id.0,
        name,
        engine,
        role.word(),
        settings
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One endpoint.
///
/// # Errors
/// The statement failed.
pub async fn get(connection: &mut PgConnection, id: EndpointId) -> Result<Option<Endpoint>> {
    let row = sqlx::query!(
        r#"select e.id, name, engine, role, settings, version, created_at, updated_at, tested_at, test,
                  array(select field from endpoint_secrets s where s.endpoint_id = e.id order by field) as "secrets!",
                  (select found_at from discoveries d where d.endpoint_id = e.id) as discovered_at
           from endpoints e where e.id = $1"#,
        id.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| read!(row)).transpose()
}

/// Endpoints after a name, by name.
///
/// # Errors
/// The statement failed.
pub async fn list(connection: &mut PgConnection, after: &str, limit: i64) -> Result<Vec<Endpoint>> {
    let rows = sqlx::query!(
        r#"select e.id, name, engine, role, settings, version, created_at, updated_at, tested_at, test,
                  array(select field from endpoint_secrets s where s.endpoint_id = e.id order by field) as "secrets!",
                  (select found_at from discoveries d where d.endpoint_id = e.id) as discovered_at
           from endpoints e where name > $1 order by name limit $2"#,
        after,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| read!(row)).collect()
}

/// Locks an endpoint against edits by others until the transaction ends; gives its version.
///
/// # Errors
/// The statement failed.
pub async fn lock(connection: &mut PgConnection, id: EndpointId) -> Result<Option<i32>> {
    Ok(sqlx::query_scalar!("select version from endpoints where id = $1 for update", id.0)
        .fetch_optional(connection)
        .await?)
}

/// Replaces what can be edited. The last test no longer counts.
///
/// # Errors
/// The name is taken ([`Error::is_duplicate`]).
pub async fn update(
    connection: &mut PgConnection,
    id: EndpointId,
    name: &str,
    role: EndpointRole,
    settings: &Value,
) -> Result<()> {
    sqlx::query!(
        "update endpoints set name = $2, role = $3, settings = $4, version = version + 1,
                updated_at = clock_timestamp(), tested_at = null, test = null where id = $1",
        id.0,
        name,
        role.word(),
        settings
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes an endpoint with its secrets.
///
/// # Errors
/// A task uses it ([`Error::is_still_used`]).
pub async fn delete(connection: &mut PgConnection, id: EndpointId) -> Result<bool> {
    let done = sqlx::query!("delete from endpoints where id = $1", id.0).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// Sets a secret, or removes it.
///
/// # Errors
/// The statement failed.
pub async fn set_secret(
    connection: &mut PgConnection,
    keys: &Keyring,
    id: EndpointId,
    field: &str,
    secret: Option<&SecretString>,
) -> Result<()> {
    let Some(secret) = secret else {
        sqlx::query!("delete from endpoint_secrets where endpoint_id = $1 and field = $2", id.0, field)
            .execute(connection)
            .await?;
        return Ok(());
    };
    let sealed = keys.seal(secret, &place(id, field))?;
    sqlx::query!(
        "insert into endpoint_secrets (endpoint_id, field, key_id, nonce, sealed) values ($1, $2, $3, $4, $5)
         on conflict (endpoint_id, field) do update
         set key_id = excluded.key_id, nonce = excluded.nonce, sealed = excluded.sealed",
        id.0,
        field,
        sealed.key_id,
        sealed.nonce,
        sealed.sealed
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Opens an endpoint's secrets, for the worker that needs them.
///
/// # Errors
/// A secret does not open, or the statement failed.
pub async fn secrets(
    connection: &mut PgConnection,
    keys: &Keyring,
    id: EndpointId,
) -> Result<BTreeMap<String, SecretString>> {
    let rows = sqlx::query!("select field, key_id, nonce, sealed from endpoint_secrets where endpoint_id = $1", id.0)
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            let place = place(id, &row.field);
            let sealed = Sealed { key_id: row.key_id, nonce: row.nonce, sealed: row.sealed };
            Ok((row.field, keys.open(&sealed, &place)?))
        })
        .collect()
}

/// Seals again, with the current key, every secret that names another one. Safe to repeat; one transaction.
///
/// # Errors
/// A secret does not open, or a statement failed.
pub async fn reseal(connection: &mut PgConnection, keys: &Keyring) -> Result<u64> {
    let rows = sqlx::query!(
        "select endpoint_id, field, key_id, nonce, sealed from endpoint_secrets where key_id <> $1 for update",
        keys.current()
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut count = 0;
    for row in rows {
        let id = EndpointId(row.endpoint_id);
        let sealed = Sealed { key_id: row.key_id, nonce: row.nonce, sealed: row.sealed };
        let plain = keys.open(&sealed, &place(id, &row.field))?;
        set_secret(connection, keys, id, &row.field, Some(&plain)).await?;
        count += 1;
    }
    Ok(count)
}

fn place(id: EndpointId, field: &str) -> String {
    format!("endpoint/{id}/{field}")
}

/// Keeps what a test found, if the endpoint is still as it was tested.
///
/// # Errors
/// The statement failed.
pub async fn set_test(connection: &mut PgConnection, id: EndpointId, steps: &[Step]) -> Result<()> {
    let steps = serde_json::to_value(steps)?;
    sqlx::query!("update endpoints set tested_at = clock_timestamp(), test = $2 where id = $1", id.0, steps)
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps what a discovery found.
///
/// # Errors
/// The statement failed.
pub async fn set_discovery(connection: &mut PgConnection, id: EndpointId, tables: &[Table]) -> Result<()> {
    let tables = serde_json::to_value(tables)?;
    sqlx::query!(
        "insert into discoveries (endpoint_id, tables) values ($1, $2)
         on conflict (endpoint_id) do update set tables = excluded.tables, found_at = clock_timestamp()",
        id.0,
        tables
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the last discovery found, and when.
///
/// # Errors
/// The statement failed.
pub async fn discovery(connection: &mut PgConnection, id: EndpointId) -> Result<Option<(OffsetDateTime, Vec<Table>)>> {
    let row = sqlx::query!("select found_at, tables from discoveries where endpoint_id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok((row.found_at, serde_json::from_value(row.tables)?))).transpose()
}
