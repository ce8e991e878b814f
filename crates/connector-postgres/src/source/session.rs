//! Connections to the source: ordinary ones and those that speak the replication protocol.

use std::time::Duration;

use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_domain::{Fault, Problem};

use crate::assess::LEAST_SOURCE_VERSION;
use crate::client::{self, AS_IT_IS, Purpose};
use crate::error;
use crate::pooler;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::wire::{ConnectSettings, Connection};

/// No limit may end a session that holds a snapshot or a slot.
const NO_LIMITS: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM (VALUES ('statement_timeout'), \
    ('idle_session_timeout'), ('transaction_timeout'), ('idle_in_transaction_session_timeout')) AS known (name) \
    WHERE pg_catalog.current_setting(name, true) IS NOT NULL";

/// So much of a COPY is read at a time, in bytes.
const COPY_BUFFER: usize = 256 * 1024;

/// Nobody's question may keep everybody's waiting.
const SHARED_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// A sender that gives up on whoever is silent for a few seconds would do so while a target is slow. Clients that are
/// gone are noticed by the keepalives of TCP all the same.
const PATIENT_SENDER: &str = "SELECT pg_catalog.set_config('wal_sender_timeout', '60s', false) \
    WHERE pg_catalog.current_setting('wal_sender_timeout')::interval BETWEEN '1 ms' AND '59999 ms'";

/// An ordinary connection with an empty `search_path`; `part` names it in `pg_stat_activity`.
pub(super) async fn ordinary(settings: &Settings, task: &TaskContext, part: &str) -> Result<Client, Problem> {
    let purpose = Purpose { name: &task.name, part, lock_timeout: lock_timeout(task), writes: false };
    let client = client::open(settings, &purpose).await?;
    client.batch_execute(NO_LIMITS).await.map_err(|error| error::driver(&error, "set up a session"))?;
    Ok(client)
}

fn lock_timeout(task: &TaskContext) -> Duration {
    Duration::from_secs(task.settings.lock_timeout_seconds.into())
}

/// The same to read rows with.
pub(super) async fn rows(settings: &Settings, task: &TaskContext, part: &str) -> Result<Client, Problem> {
    let client = ordinary(settings, task, part).await?;
    client.batch_execute(AS_IT_IS).await.map_err(|error| error::driver(&error, "set up a session"))?;
    Ok(client)
}

/// The same to read many rows with, by COPY.
pub(super) async fn copies(settings: &Settings, task: &TaskContext, part: &str) -> Result<Connection, Problem> {
    let doing = client::doing(settings);
    let mut connect = wire_settings(settings, &task.name, part)?;
    connect.replication = false;
    connect.read_buffer = COPY_BUFFER;
    let mut connection = Connection::connect(&connect).await.map_err(|error| error::wire(&error, &doing))?;
    let statements = format!("{} {NO_LIMITS}; {AS_IT_IS}", client::session(lock_timeout(task)));
    connection.query(&statements).await.map_err(|error| error::wire(&error, "set up a session"))?;
    Ok(connection)
}

/// An ordinary connection for all tasks of this process.
pub(super) async fn shared(settings: &Settings) -> Result<Client, Problem> {
    let purpose = Purpose { name: "of all tasks", part: "heartbeat", lock_timeout: SHARED_LOCK_TIMEOUT, writes: false };
    let client = client::open(settings, &purpose).await?;
    // What is written only has the log move: no standby is waited for.
    let local = format!("SET synchronous_commit = local; {NO_LIMITS}");
    client.batch_execute(&local).await.map_err(|error| error::driver(&error, "set up a session"))?;
    Ok(client)
}

/// A connection for the replication protocol. A pooler in front of the server is refused here.
pub(crate) async fn replication(settings: &Settings, name: &str, part: &str) -> Result<Connection, Problem> {
    let doing = format!("open a replication connection to endpoint {} at {}", settings.endpoint, settings.address());
    let connect = wire_settings(settings, name, part)?;
    let mut connection = Connection::connect(&connect).await.map_err(|error| error::wire(&error, &doing))?;
    if connection.server_major() < LEAST_SOURCE_VERSION.unsigned_abs() / 10_000 {
        return Err(too_old(&connection));
    }
    let statements = format!("{NO_LIMITS}; {PATIENT_SENDER}; {AS_IT_IS}; {} {}", client::GONE_CLIENTS, pooler::WHO);
    let answers = connection.query(&statements).await.map_err(|error| error::wire(&error, &doing))?;
    let serves = answers.last().and_then(|rows| rows.rows.first()?.text(0));
    pooler::refuse_for_the_log(&mut connection, serves, &connect, &doing).await?;
    Ok(connection)
}

fn too_old(connection: &Connection) -> Problem {
    let version = connection.parameter("server_version").unwrap_or("unknown");
    let text = format!("The source has version {version}: its log can be followed from version 14 on.");
    Problem::new(Fault::Settings, "version", text).advice("Upgrade the server, or load from it with a full-load task.")
}

pub(crate) fn wire_settings(settings: &Settings, name: &str, part: &str) -> Result<ConnectSettings, Problem> {
    let tls = Tls::new(&settings.tls).map_err(|error| {
        let text =
            format!("The TLS settings of endpoint {} can't be used: {}.", settings.endpoint, error::causes(&error));
        Problem::new(Fault::Settings, "tls-settings", text)
    })?;
    let mut connect = ConnectSettings::new(&settings.host, settings.port, &settings.user, &settings.database, tls);
    connect.password.clone_from(&settings.password);
    connect.connect_timeout = settings.connect_timeout;
    let name: String = name.chars().take(40).collect();
    connect.parameters.push(("application_name".to_owned(), format!("wavemark {name} {part}")));
    Ok(connect)
}
