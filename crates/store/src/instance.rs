//! What one installation has once: its own sealed secrets and the code of the first run.

use secrecy::SecretString;
use sqlx::PgConnection;

use crate::Result;
use crate::crypt::{Keyring, Sealed};

/// Reads a secret of the installation, or keeps the one that is offered. Several servers that start at once
/// agree on one.
///
/// # Errors
/// The secret does not open with this keyring, or a statement failed.
pub async fn secret(
    connection: &mut PgConnection,
    keys: &Keyring,
    name: &str,
    offered: &SecretString,
) -> Result<SecretString> {
    let sealed = keys.seal(offered, &place(name))?;
    sqlx::query!(
        "insert into instance_secrets (name, key_id, nonce, sealed) values ($1, $2, $3, $4) on conflict do nothing",
        name,
        sealed.key_id,
        sealed.nonce,
        sealed.sealed
    )
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query!("select key_id, nonce, sealed from instance_secrets where name = $1", name)
        .fetch_one(connection)
        .await?;
    keys.open(&Sealed { key_id: row.key_id, nonce: row.nonce, sealed: row.sealed }, &place(name))
}

fn place(name: &str) -> String {
    format!("instance/{name}")
}

/// Seals the installation's secrets again with the current key.
///
/// # Errors
/// A secret does not open, or a statement failed.
pub async fn reseal(connection: &mut PgConnection, keys: &Keyring) -> Result<u64> {
    let rows = sqlx::query!(
        "select name, key_id, nonce, sealed from instance_secrets where key_id <> $1 for update",
        keys.current()
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut count = 0;
    for row in rows {
        let place = place(&row.name);
        let plain = keys.open(&Sealed { key_id: row.key_id, nonce: row.nonce, sealed: row.sealed }, &place)?;
        let sealed = keys.seal(&plain, &place)?;
        sqlx::query!(
            "update instance_secrets set key_id = $2, nonce = $3, sealed = $4 where name = $1",
            row.name,
            sealed.key_id,
            sealed.nonce,
            sealed.sealed
        )
        .execute(&mut *connection)
        .await?;
        count += 1;
    }
    Ok(count)
}

/// Sets the one-time code by which the first admin is made.
///
/// # Errors
/// The statement failed.
pub async fn set_first_run(connection: &mut PgConnection, code_hash: &[u8]) -> Result<()> {
    sqlx::query!(
        "insert into first_run (code_hash) values ($1)
         on conflict (only_one) do update set code_hash = excluded.code_hash, made_at = clock_timestamp()",
        code_hash
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Uses up the one-time code. False if it is another, or was used.
///
/// # Errors
/// The statement failed.
pub async fn use_first_run(connection: &mut PgConnection, code_hash: &[u8]) -> Result<bool> {
    let done = sqlx::query!("delete from first_run where code_hash = $1", code_hash).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps two servers from both making the first admin; held to the end of the transaction.
///
/// # Errors
/// The statement failed.
pub async fn lock_first_run(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(7238110)").execute(connection).await?;
    Ok(())
}
