//! Ordinary connections (everything but replication): one place that connects and sets the session.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use wavemark_domain::{Fault, Problem};

use crate::error;
use crate::settings::Settings;
use crate::tls::{self, Tls, TlsMode, TlsSettings};

/// What a connection is for.
#[derive(Clone, Debug)]
pub struct Purpose<'a> {
    /// The task or job, for people who look into `pg_stat_activity`.
    pub name: &'a str,
    /// The part within it, e.g. `waves`.
    pub part: &'a str,
    /// How long a lock is waited for.
    pub lock_timeout: Duration,
    /// Whether rows are written: then triggers and foreign keys are switched off where the role may.
    pub writes: bool,
}

/// A connection and who it is at the server. Dropping the client closes the connection.
pub struct Connected {
    /// Runs statements.
    pub client: Client,
    /// The server process.
    pub backend: Backend,
    /// Whether `session_replication_role` is `replica`: triggers don't fire and foreign keys aren't checked.
    pub replica: bool,
    /// The server's version as a number, e.g. 150004.
    pub version: i32,
}

/// A server process, so that it can't be mistaken for a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Backend {
    /// Its process id.
    pub pid: i32,
    /// When it began, as the server writes it.
    pub started: String,
    /// The role that it runs as.
    pub role: String,
}

const SESSION: &str = "SET search_path = '';\
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';\
    SET extra_float_digits = 3; SET xmloption = 'content';\
    SET row_security = off; SET jit = off; SET synchronous_commit = on;\
    SET default_transaction_isolation = 'read committed'; SET standard_conforming_strings = on;\
    SET idle_in_transaction_session_timeout = '60s';\
    SELECT pg_catalog.set_config(name, '0', false) \
     FROM (VALUES ('statement_timeout'), ('idle_session_timeout'), ('transaction_timeout')) AS known (name) \
     WHERE pg_catalog.current_setting(name, true) IS NOT NULL;";

/// Has the server end a session whose client vanished without a word, about as soon as the client gives the server up.
/// By default it would keep it for two hours, with whatever the session holds: locks, a snapshot, a slot. Not
/// `tcp_user_timeout`, which would also end sessions whose client is only too busy to read.
pub(crate) const GONE_CLIENTS: &str =
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;";

/// A database of encoding `SQL_ASCII` says nothing of its text, and refuses to hand out and to take what is no UTF-8.
/// Rows are read from it and written to it as the bytes that they are; of every other database text travels as UTF-8.
pub(crate) const AS_IT_IS: &str = "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
    WHERE pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'";

/// Connects, sets the session and asks who it is.
///
/// # Errors
/// As for [`open`].
pub async fn connect(settings: &Settings, purpose: &Purpose<'_>) -> Result<Connected, Problem> {
    let (client, replica) = open_as(settings, purpose).await?;
    let failed = |error| error::driver(&error, &doing(settings));
    // Who looks into this view looks through the sessions of all: only who must be known as a writer does.
    let row = client
        .query_one(
            "SELECT pid, backend_start::text, usename::text, pg_catalog.current_setting('server_version_num')::int4 \
             FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()",
            &[],
        )
        .await
        .map_err(failed)?;
    let backend = Backend { pid: row.get(0), started: row.get(1), role: row.get(2) };
    Ok(Connected { client, backend, replica, version: row.get(3) })
}

/// Connects and sets the session.
///
/// # Errors
/// *settings* when the endpoint's settings or rights don't do, *transient* when the server isn't reached.
pub async fn open(settings: &Settings, purpose: &Purpose<'_>) -> Result<Client, Problem> {
    open_as(settings, purpose).await.map(|(client, _)| client)
}

/// Has the server end what a session does when this is dropped. Without it a statement goes on whose caller is gone.
pub(crate) struct Ending {
    token: CancelToken,
    tls: TlsSettings,
}

impl Ending {
    pub(crate) fn of(client: &Client, settings: &Settings) -> Self {
        Self { token: client.cancel_token(), tls: settings.tls.clone() }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (token, tls) = (self.token.clone(), Tls::new(&self.tls));
        let (Ok(runtime), Ok(tls)) = (tokio::runtime::Handle::try_current(), tls) else { return };
        runtime.spawn(async move {
            let asked = match tls.mode() {
                TlsMode::Disable => token.cancel_query(NoTls).await,
                _ => token.cancel_query(tls::connect(&tls)).await,
            };
            if let Err(error) = asked {
                tracing::debug!(%error, "a statement could not be ended");
            }
        });
    }
}

/// For "Could not …".
pub(crate) fn doing(settings: &Settings) -> String {
    format!("connect to endpoint {} at {}", settings.endpoint, settings.address())
}

/// With whether triggers are switched off.
async fn open_as(settings: &Settings, purpose: &Purpose<'_>) -> Result<(Client, bool), Problem> {
    let doing = doing(settings);
    let client = tokio::time::timeout(settings.connect_timeout, log_in(settings, purpose))
        .await
        .map_err(|_| {
            let text = format!("Could not {doing} within {} s.", settings.connect_timeout.as_secs());
            Problem::transient("unreachable", text)
        })?
        .map_err(|failure| failure.problem(&doing))?;
    let replica = set_up(&client, purpose).await.map_err(|error| error::driver(&error, &doing))?;
    Ok((client, replica))
}

enum Refusal {
    Tls(crate::tls::TlsError),
    Postgres(tokio_postgres::Error),
}

impl Refusal {
    fn problem(&self, doing: &str) -> Problem {
        match self {
            Self::Tls(error) => Problem::new(Fault::Settings, "tls-settings", format!("Could not {doing}: {error}.")),
            Self::Postgres(error) => error::driver(error, doing),
        }
    }
}

async fn log_in(settings: &Settings, purpose: &Purpose<'_>) -> Result<Client, Refusal> {
    let tls = Tls::new(&settings.tls).map_err(Refusal::Tls)?;
    let mut config = Config::new();
    config
        .host(&settings.host)
        .port(settings.port)
        .dbname(&settings.database)
        .user(&settings.user)
        .application_name(application_name(purpose))
        .connect_timeout(settings.connect_timeout)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(30))
        .ssl_mode(tls::ssl_mode(&tls));
    if let Some(password) = &settings.password {
        config.password(password.expose_secret());
    }
    if tls.mode() == TlsMode::Disable {
        let (client, connection) = config.connect(NoTls).await.map_err(Refusal::Postgres)?;
        tokio::spawn(drive(connection));
        Ok(client)
    } else {
        let (client, connection) = config.connect(tls::connect(&tls)).await.map_err(Refusal::Postgres)?;
        tokio::spawn(drive(connection));
        Ok(client)
    }
}

/// The error that ends a connection also comes out of the call that is under way, so it is only noted here.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a PostgreSQL connection ended");
    }
}

/// The server cuts names at 63 bytes and replaces what isn't ASCII.
fn application_name(purpose: &Purpose<'_>) -> String {
    let name: String = purpose.name.chars().take(40).collect();
    format!("wavemark {name} {}", purpose.part)
}

/// What sets up a session that waits so long for a lock.
pub(crate) fn session(lock_timeout: Duration) -> String {
    format!("{SESSION}{GONE_CLIENTS}SET lock_timeout = {};", lock_timeout.as_millis())
}

async fn set_up(client: &Client, purpose: &Purpose<'_>) -> Result<bool, tokio_postgres::Error> {
    client.batch_execute(&session(purpose.lock_timeout)).await?;
    if purpose.writes {
        client.batch_execute(AS_IT_IS).await?;
    }
    // Only a superuser, or from version 15 a role with the right to set this parameter, may.
    Ok(purpose.writes && client.batch_execute("SET session_replication_role = replica").await.is_ok())
}
