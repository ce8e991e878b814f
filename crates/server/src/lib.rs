//! The server: the JSON API with its OpenAPI description, the workers' side of the protocol, and the pages.
//!
//! Stateless: everything is in the metadata database, and any number of servers may run on one. The router is the
//! OpenAPI document. Handlers extract, call and map; SQL is in `store`, rules are in `domain`.

pub mod api;
pub mod auth;
mod background;
pub mod config;
mod connections;
pub mod extract;
mod health;
mod metrics;
mod pace;
pub mod problem;
pub mod serve;
pub mod state;
pub mod web;
mod workers;

pub use api::openapi;
pub use config::{ServerConfig, TlsFiles};
pub use serve::{Running, StartError, serve, start};
pub use state::AppState;

use secrecy::{ExposeSecret as _, SecretString};

/// Brings the metadata database to this program's version.
///
/// # Errors
/// The database can't be reached, or was moved on by a newer program.
pub async fn migrate(database_url: &SecretString) -> wavemark_store::Result<()> {
    let pool = wavemark_store::pool(database_url.expose_secret(), 2)?;
    let done = wavemark_store::migrate(&pool).await;
    pool.close().await;
    done
}

/// Seals every stored secret again with the keyring's current key; gives how many were.
///
/// # Errors
/// A secret does not open, or the database can't be reached; nothing is changed then.
pub async fn reseal(
    database_url: &SecretString,
    keyring: &wavemark_store::crypt::Keyring,
) -> wavemark_store::Result<u64> {
    let pool = wavemark_store::pool(database_url.expose_secret(), 2)?;
    let mut transaction = pool.begin().await?;
    let count = wavemark_store::endpoints::reseal(&mut transaction, keyring).await?
        + wavemark_store::instance::reseal(&mut transaction, keyring).await?;
    transaction.commit().await?;
    pool.close().await;
    Ok(count)
}
