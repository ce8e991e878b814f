//! MySQL and MariaDB, each against the best that it has of its own, in the same run.
//!
//! 1. `load`: into PostgreSQL against Sling and against the system's client piped into `COPY`.
//! 2. `capture`: reading the binary log against the program that copies it.
//! 3. `follow`: the same changes from here to PostgreSQL and between two PostgreSQL; and from PostgreSQL to here against
//!    a staged upsert and against single statements.
//! 4. `copy`: a load between two servers of the kind, against the system's dump piped into its client.
//! 5. `replica`: the changes between two servers of the kind, against the system's own replica.
//! 6. `memory`: what the worker holds of one large transaction.
//!
//! Nobody encrypts anything, and everybody comes through loopback as a user without a password.

pub(crate) mod apply;
pub(crate) mod capture;
mod changes;
pub(crate) mod copy;
pub(crate) mod follow;
pub(crate) mod load;
pub(crate) mod memory;
mod orders;
pub(crate) mod replica;
mod session;

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;
use uuid::Uuid;
use wavemark_tests::mariadb::Installed;
use wavemark_tests::mysql::Unpacked;
use wavemark_tests::mysql_family::{Programs, Server};

use crate::arena::Arena;
use crate::usage::Roots;
use session::Session;

const USER: &str = "bench";

/// What sets the two systems apart here.
pub(crate) trait System: Programs {
    const TITLE: &str;
    /// Has a client speak without TLS.
    const PLAIN: &str;
    /// Room for what a load writes ahead.
    const REDO: &str;
    /// Whether pgloader can read from it: its client is older than how MySQL asks for passwords.
    const READ_BY_PGLOADER: bool;
    /// Waits for the disk at each commit.
    const DURABLE: &str = "SET GLOBAL sync_binlog = 1; SET GLOBAL innodb_flush_log_at_trx_commit = 1";
    const START_COPYING: &str;
    const STOP_COPYING: &str;
    /// Has a replica go on from a place of another server's log once it is started.
    fn copy_from(port: u16, user: &str, file: &str, offset: &str) -> String;
}

impl System for Unpacked {
    const TITLE: &str = "MySQL";
    const PLAIN: &str = "--ssl-mode=DISABLED";
    const REDO: &str = "--innodb-redo-log-capacity=2G";
    const READ_BY_PGLOADER: bool = false;
    const START_COPYING: &str = "START REPLICA";
    const STOP_COPYING: &str = "STOP REPLICA";

    fn copy_from(port: u16, user: &str, file: &str, offset: &str) -> String {
        format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = '{user}', \
             SOURCE_LOG_FILE = '{file}', SOURCE_LOG_POS = {offset}, GET_SOURCE_PUBLIC_KEY = 1"
        )
    }
}

impl System for Installed {
    const TITLE: &str = "MariaDB";
    const PLAIN: &str = "--skip-ssl";
    const REDO: &str = "--innodb-log-file-size=2G";
    const READ_BY_PGLOADER: bool = true;
    const START_COPYING: &str = "START SLAVE";
    const STOP_COPYING: &str = "STOP SLAVE";

    fn copy_from(port: u16, user: &str, file: &str, offset: &str) -> String {
        format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = '{user}', \
             MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {offset}, MASTER_USE_GTID = no"
        )
    }
}

/// A server of the kind; what is durable when is as by default.
pub(crate) struct Instance<P: System>(Server<P>);

impl<P: System> Instance<P> {
    pub(crate) fn start() -> Result<Self> {
        Self::start_as(1)
    }

    /// One of several that copy from each other.
    pub(crate) fn start_as(number: u32) -> Result<Self> {
        let number = format!("--server-id={number}");
        let server = Server::start(&["--innodb-buffer-pool-size=1G", "--local-infile=ON", P::REDO, &number])?;
        server.execute(&format!("CREATE USER {USER}@'127.0.0.1'; GRANT ALL ON *.* TO {USER}@'127.0.0.1'"))?;
        Ok(Self(server))
    }

    /// Name and version.
    pub(crate) fn title(&self) -> Result<String> {
        Ok(format!("{} {}", P::TITLE, self.value("SELECT version()")?))
    }

    pub(crate) fn execute(&self, sql: &str) -> Result<()> {
        self.0.execute(sql)
    }

    pub(crate) fn value(&self, sql: &str) -> Result<String> {
        self.0.rows(sql)?.into_iter().next().with_context(|| format!("no row of {sql}"))
    }

    pub(crate) fn client(&self) -> Command {
        let mut client = self.0.client(USER);
        client.args([P::PLAIN, "--default-character-set=utf8mb4"]);
        client
    }

    pub(crate) fn tool(&self, name: &str) -> Command {
        let mut tool = self.0.tool(name, USER);
        tool.arg(P::PLAIN);
        tool
    }

    pub(crate) fn session(&self) -> Result<Session> {
        Session::open(self.client())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// File and offset at which the log ends.
    fn log_end(&self) -> Result<(String, String)> {
        let logs = self.0.rows("SHOW BINARY LOGS")?;
        let mut last = logs.last().context("the server has no log")?.split('\t').map(str::to_owned);
        Ok((last.next().unwrap_or_default(), last.next().unwrap_or_default()))
    }

    /// The file of the log that is written now.
    pub(crate) fn last_log(&self) -> Result<String> {
        self.log_end().map(|(file, _)| file)
    }

    /// Where Sling finds a database of it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:@127.0.0.1:{}/{database}", self.0.port())
    }

    pub(crate) async fn endpoint(&self, arena: &Arena, name: &str, role: &str) -> Result<Uuid> {
        let settings = json!({"host": "127.0.0.1", "port": self.0.port(), "user": USER, "tls_mode": "disable"});
        arena.installation.api.create_endpoint_of("mysql", name, role, &settings, "").await
    }

    /// Waits for the disk at each commit as by default, or leaves that out where what is measured is something else.
    pub(crate) fn be_durable(&self, durable: bool) -> Result<()> {
        let settings = if durable {
            "sync_binlog = DEFAULT, GLOBAL innodb_flush_log_at_trx_commit = DEFAULT"
        } else {
            "sync_binlog = 0, GLOBAL innodb_flush_log_at_trx_commit = 2"
        };
        self.execute(&format!("SET GLOBAL {settings}"))
    }

    /// Whose time is counted where this is the source.
    pub(crate) fn as_source(&self, arena: &Arena) -> Result<Roots> {
        Ok(Roots { source: self.pid(), ..arena.roots()? })
    }

    /// The same where it is the target.
    pub(crate) fn as_target(&self, arena: &Arena) -> Result<Roots> {
        Ok(Roots { target: self.pid(), ..arena.roots()? })
    }
}
