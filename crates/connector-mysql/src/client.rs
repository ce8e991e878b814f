//! Connections: one place that connects and sets the session.

use secrecy::ExposeSecret;
use wavemark_domain::{Fault, Problem};
use wavemark_tls::{Tls, TlsMode};

use crate::error;
use crate::settings::Settings;
use crate::target::values;
use crate::wire::{Connection, Login, WireError};

/// What every session has: moments in UTC, texts in UTF-8, values as they are, and no limit on how long a slow reader
/// may take for a result.
const SESSION: &str = "SET SESSION time_zone = '+00:00', net_write_timeout = 3600, net_read_timeout = 3600, \
    sql_mode = 'NO_ENGINE_SUBSTITUTION'";

/// Why there is no connection, with what was tried.
pub(crate) enum Refusal {
    Tls(Problem),
    Wire(WireError),
}

/// The same for one that writes. Strict: the server refuses what it would otherwise alter. What foreign keys do at the source
/// is in its log, and nothing may be done twice; nor may a row wait for another that comes later in a wave.
const WRITING: &str = "SET SESSION foreign_key_checks = 0, wait_timeout = 2000000";
const READ_COMMITTED: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A table whose widest row would be too wide is made nevertheless, and each row that is too wide is an error.
pub(crate) const WIDE: &str = "SET SESSION innodb_strict_mode = OFF";

/// Connects and logs in; nothing else.
pub(crate) async fn log_in(settings: &Settings, writes: bool) -> Result<Connection, Refusal> {
    let tls = Tls::new(&settings.tls).map_err(|error| {
        let text = format!("The TLS settings of endpoint {} can't be used: {error}.", settings.endpoint);
        Refusal::Tls(Problem::new(Fault::Settings, "tls-settings", text))
    })?;
    let login = Login {
        host: &settings.host,
        port: settings.port,
        user: &settings.user,
        password: settings.password.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default().as_bytes(),
        tls: tls.connector(),
        is_verified: matches!(tls.mode(), TlsMode::VerifyCa | TlsMode::VerifyFull),
        within: settings.connect_timeout,
        writes,
    };
    Connection::open(&login).await.map_err(Refusal::Wire)
}

/// A session that is set up to read.
pub(crate) async fn open(settings: &Settings) -> Result<Connection, Problem> {
    set_up(settings, false).await
}

/// A session that is set up to write.
pub(crate) async fn open_to_write(settings: &Settings) -> Result<Connection, Problem> {
    let mut connection = set_up(settings, true).await?;
    let mode = format!("SET SESSION sql_mode = '{}'", values::SQL_MODE);
    for statement in [WRITING, READ_COMMITTED, &mode] {
        connection.query(statement).await.map_err(|cause| error::problem(&cause, "set up a session"))?;
    }
    // Not every user may.
    drop(connection.query(WIDE).await);
    let rows = connection.query("SELECT @@max_allowed_packet").await;
    let rows = rows.map_err(|cause| error::problem(&cause, "set up a session"))?;
    connection.most = rows.first().and_then(|row| row.number(0)).unwrap_or(usize::MAX);
    Ok(connection)
}

async fn set_up(settings: &Settings, writes: bool) -> Result<Connection, Problem> {
    let doing = format!("log in to {} as {}", settings.address(), settings.user);
    let mut connection = log_in(settings, writes).await.map_err(|refusal| match refusal {
        Refusal::Tls(problem) => problem,
        Refusal::Wire(cause) => error::problem(&cause, &doing),
    })?;
    let set = [SESSION, "SET NAMES utf8mb4"];
    for statement in set {
        connection.query(statement).await.map_err(|cause| error::problem(&cause, "set up a session"))?;
    }
    // MySQL keeps what it says of tables' sizes for a day; MariaDB does not know the word.
    drop(connection.query("SET SESSION information_schema_stats_expiry = 0").await);
    Ok(connection)
}
