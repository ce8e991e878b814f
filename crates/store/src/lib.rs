//! The metadata Postgres: all of its SQL, leases, and the encryption of secrets.
//!
//! Every function takes `&mut PgConnection`, so that the caller owns the transaction. Times are judged by the
//! database's clock, never by ours. Rules (who may do what, what a status may become) live in `domain` and in
//! the server; what must hold in one statement or under one row lock lives here.

pub mod adopt;
pub mod audit;
pub mod background;
pub mod compares;
pub mod crypt;
pub mod endpoints;
mod error;
pub mod events;
pub mod idempotency;
pub mod instance;
pub mod jobs;
pub mod kept_log;
pub mod leases;
pub mod orders;
pub mod pages;
mod progress;
pub mod reports;
pub mod samples;
pub mod sessions;
pub mod task_tables;
pub mod tasks;
pub mod tokens;
pub mod users;
pub mod workers;

pub use error::{Error, Result};
pub use sqlx::postgres::PgListener;
pub use sqlx::{PgConnection, PgPool};

use std::cmp::Ordering;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// How long a lease lasts after a report.
pub const LEASE_SECONDS: i32 = 10;
/// The channel on which work for workers is announced. Only a hint: polling suffices.
pub const WORK_CHANNEL: &str = "wavemark_work";
/// The channel on which changes that pages show are announced. Only a hint.
pub const CHANGE_CHANNEL: &str = "wavemark_change";

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// A pool of connections to the metadata database. Connecting happens at first use.
///
/// # Errors
/// The address can't be read.
pub fn pool(url: &str, size: u32) -> Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    let options = options.application_name("wavemark-server");
    Ok(PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(std::time::Duration::from_secs(5))
        .connect_lazy_with(options))
}

/// Brings the metadata database to this program's version.
///
/// # Errors
/// The database can't be reached, or was already moved on by a newer program.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    match MIGRATIONS.run(pool).await {
        Err(MigrateError::VersionMissing(_)) => Err(Error::Newer),
        done => Ok(done?),
    }
}

/// How the database's version stands to this program's: `Less` if a migration has not run yet, also where none ever
/// did, `Greater` if a newer program moved it on.
///
/// # Errors
/// The database can't be reached.
pub async fn version(pool: &PgPool) -> Result<Ordering> {
    let mut connection = pool.acquire().await?;
    let is_migrated = sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "is!""#);
    if !is_migrated.fetch_one(&mut *connection).await? {
        return Ok(Ordering::Less);
    }
    let newest = sqlx::query_scalar!("select max(version) from _sqlx_migrations where success")
        .fetch_one(&mut *connection)
        .await?;
    Ok(newest.cmp(&MIGRATIONS.iter().map(|migration| migration.version).max()))
}

/// Wakes the workers' long polls in every server once this transaction commits.
///
/// # Errors
/// The statement failed.
pub async fn announce_work(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify('wavemark_work', '')").execute(connection).await?;
    Ok(())
}

/// Tells every server's pages that something changed, once this transaction commits.
///
/// # Errors
/// The statement failed.
pub async fn announce_change(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify('wavemark_change', '')").execute(connection).await?;
    Ok(())
}
