//! Who did what, when, from where.

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Result;

/// One deed, about to be written down.
#[derive(Clone, Debug)]
pub struct Deed<'a> {
    /// Who, by name.
    pub actor: &'a str,
    /// Who, by id.
    pub actor_id: Option<Uuid>,
    /// From where.
    pub address: Option<&'a str>,
    /// What, e.g. `task.start`.
    pub action: &'a str,
    /// On what kind of thing.
    pub object_kind: &'a str,
    /// Its id.
    pub object_id: Option<String>,
    /// Its name.
    pub object_name: Option<&'a str>,
    /// What changed; never a secret.
    pub difference: Option<Value>,
}

/// One deed as written down.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number; grows with time.
    pub id: i64,
    /// When.
    pub at: OffsetDateTime,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// What.
    pub action: String,
    /// On what kind of thing.
    pub object_kind: String,
    /// Its id.
    pub object_id: Option<String>,
    /// Its name.
    pub object_name: Option<String>,
    /// What changed.
    pub difference: Option<Value>,
}

/// Writes a deed down.
///
/// # Errors
/// The statement failed.
pub async fn write(connection: &mut PgConnection, deed: &Deed<'_>) -> Result<()> {
    sqlx::query!(
        "insert into audit_log (actor, actor_id, address, action, object_kind, object_id, object_name, difference)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        deed.actor,
        deed.actor_id,
        deed.address,
        deed.action,
        deed.object_kind,
        deed.object_id,
        deed.object_name,
        deed.difference
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest entries before a number.
///
/// # Errors
/// The statement failed.
pub async fn list(connection: &mut PgConnection, before: Option<i64>, limit: i64) -> Result<Vec<Entry>> {
    Ok(sqlx::query_as!(
        Entry,
        "select id, at, actor, address, action, object_kind, object_id, object_name, difference from audit_log
         where $1::bigint is null or id < $1 order by id desc limit $2",
        before,
        limit
    )
    .fetch_all(connection)
    .await?)
}
