//! Private PostgreSQL clusters: own data folder, a free port on loopback, gone at the end.
//!
//! A cluster listens on 127.0.0.1 and on a Unix socket in its own folder, wants a password (SCRAM) everywhere,
//! and keeps the server's default for `fsync`. Run by root, everything of it runs as an ordinary user.
//! A machine without PostgreSQL's programs is an error, never a skipped test.

mod programs;
mod standby;
mod template;
mod tls;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::guard::Guard;
use crate::signal::{self, Signal};

pub use programs::Owner;
pub(crate) use programs::{as_owner, succeed};
pub use tls::{Authority, Validity};

/// Makes a data folder; returns the password of its superuser, `postgres`.
///
/// # Errors
/// PostgreSQL's programs are missing or fail.
pub fn initialize(data: &Path) -> Result<String> {
    template::copy(data)
}

/// How a cluster is made.
#[derive(Default)]
pub struct Options<'a> {
    /// Lines of `postgresql.conf`, over the harness's own.
    pub settings: Vec<(&'a str, String)>,
    /// Lines of `pg_hba.conf` that come before the others.
    pub hba: &'a str,
    /// Speaks TLS with a certificate of this authority.
    pub tls: Option<&'a Authority>,
}

impl<'a> Options<'a> {
    /// What a source needs: logical decoding, and room for slots and senders.
    #[must_use]
    pub fn source() -> Self {
        Self::default().set("wal_level", "logical").set("max_wal_senders", 20).set("max_replication_slots", 20)
    }

    /// Adds one line of `postgresql.conf`.
    #[must_use]
    pub fn set(mut self, name: &'a str, value: impl std::fmt::Display) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }
}

/// How a cluster is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sessions are ended, then a checkpoint.
    Fast,
    /// As after a crash: recovery at the next start.
    Immediate,
}

/// A running cluster. Dropping it stops the server and removes its files; the end of this process does the same.
pub struct Cluster {
    bin: PathBuf,
    owner: Option<Owner>,
    port: u16,
    password: String,
    folder: TempDir,
    _guard: Guard,
}

impl Cluster {
    /// Makes and starts a cluster. `name` shows in the folder's name only.
    ///
    /// # Errors
    /// PostgreSQL's programs are missing, or the cluster does not start; the text holds the end of its log.
    pub fn start(name: &str, options: &Options<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("wavemark-{name}-")).tempdir()?;
        let bin = programs::folder()?;
        let guard = guard(folder.path())?;
        let (owner, port, password) = (Owner::find()?, free_port()?, String::new());
        let mut cluster = Self { bin, owner, port, password, folder, _guard: guard };
        cluster.make(options)?;
        cluster.first_start()?;
        Ok(cluster)
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password; its name is `postgres`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A connection string for the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_by(self.port, database)
    }

    /// The same by another port, that of a proxy before the server.
    pub fn url_by(&self, port: u16, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{port}/{database}", self.password)
    }

    /// Connects as the superuser.
    ///
    /// # Errors
    /// The server is not there or refuses.
    pub async fn connect(&self, database: &str) -> Result<Client> {
        self.connect_as("postgres", &self.password, database).await
    }

    /// Connects as somebody.
    ///
    /// # Errors
    /// The server is not there or refuses.
    pub async fn connect_as(&self, user: &str, password: &str, database: &str) -> Result<Client> {
        let config = self.config_of(user, password, database);
        let (client, connection) = config
            .connect(NoTls)
            .await
            .with_context(|| format!("connecting to {database} on port {} as {user}", self.port))?;
        // The connection's end shows as an error of the client's next statement.
        tokio::spawn(connection);
        Ok(client)
    }

    /// How the superuser connects, for those who connect again and again.
    pub fn config(&self, database: &str) -> tokio_postgres::Config {
        self.config_of("postgres", &self.password, database)
    }

    /// How somebody connects.
    pub fn config_of(&self, user: &str, password: &str, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(user).password(password).dbname(database);
        config.application_name("wavemark-tests").connect_timeout(Duration::from_secs(10));
        config
    }

    /// Runs statements as the superuser, in autocommit as `psql -c` for each would.
    ///
    /// # Errors
    /// One of them fails.
    pub async fn execute(&self, database: &str, statements: &[&str]) -> Result<()> {
        let client = self.connect(database).await?;
        for statement in statements {
            client.batch_execute(statement).await.with_context(|| format!("running: {statement}"))?;
        }
        Ok(())
    }

    /// A program of PostgreSQL that connects here as the superuser (`psql`, `pgbench`, `pg_dump` …).
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        command.env("PGPASSWORD", &self.password).env("LC_ALL", "C.UTF-8").current_dir("/");
        command
    }

    /// The process id of the postmaster.
    ///
    /// # Errors
    /// The server does not run.
    pub fn postmaster(&self) -> Result<u32> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).context("the cluster does not run")?;
        text.lines().next().and_then(|line| line.trim().parse().ok()).context("postmaster.pid is unreadable")
    }

    /// Stops the server.
    ///
    /// # Errors
    /// It does not stop within a minute.
    pub fn stop(&self, mode: Mode) -> Result<()> {
        let mode = if mode == Mode::Fast { "fast" } else { "immediate" };
        programs::succeed(self.pg_ctl().args(["-m", mode, "-w", "-t", "60", "stop"])).map(drop)
    }

    /// Kills the postmaster and every process of the server with SIGKILL, as when the machine dies, but for what
    /// the kernel has in its page cache.
    ///
    /// # Errors
    /// The server does not run, or a process of it stays.
    pub fn kill(&self) -> Result<()> {
        let postmaster = self.postmaster()?;
        // A frozen postmaster makes no more children.
        Signal::Stop.send(&[postmaster])?;
        let mut pids = signal::children(postmaster);
        pids.push(postmaster);
        Signal::Kill.send(&pids)?;
        signal::wait_gone(&pids, Duration::from_secs(20))?;
        // A killed postmaster is a zombie until init reaps it, and its number in these files would stop a restart.
        let socket_lock = self.folder.path().join(format!(".s.PGSQL.{}.lock", self.port));
        for file in [self.data().join("postmaster.pid"), socket_lock] {
            fs::remove_file(&file).with_context(|| format!("removing the killed server's {}", file.display()))?;
        }
        Ok(())
    }

    /// Starts the server again on the same port, after [`Cluster::stop`] or [`Cluster::kill`], and waits until it
    /// accepts connections.
    ///
    /// # Errors
    /// It does not start; the text holds the end of its log.
    pub fn restart(&self) -> Result<()> {
        self.launch()
    }

    fn make(&mut self, options: &Options<'_>) -> Result<()> {
        self.give(self.folder.path())?;
        self.password = initialize(&self.data())?;
        self.configure(options)
    }

    fn configure(&self, options: &Options<'_>) -> Result<()> {
        let data = self.data();
        let socket = self.folder.path().display();
        let mut lines = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{socket}'\nmax_connections = 100\n\
             shared_buffers = '64MB'\nlog_min_messages = warning\ntimezone = 'UTC'\n",
            self.port
        );
        if let Some(authority) = options.tls {
            authority.install(&data)?;
            lines.push_str("ssl = on\nssl_ca_file = 'ca.crt'\n");
        }
        lines.extend(options.settings.iter().map(|(name, value)| format!("{name} = '{value}'\n")));
        append(&data.join("postgresql.conf"), &lines)?;
        let hba = data.join("pg_hba.conf");
        let below = fs::read_to_string(&hba)?;
        fs::write(&hba, format!("{}\n{below}", options.hba))?;
        for entry in fs::read_dir(&data)? {
            self.give(&entry?.path())?;
        }
        Ok(())
    }

    /// Another process may take the free port first, so the first start is tried on a few.
    fn first_start(&mut self) -> Result<()> {
        for _ in 0..4 {
            if self.launch().is_ok() {
                return Ok(());
            }
            self.port = free_port()?;
            append(&self.data().join("postgresql.conf"), &format!("port = {}\n", self.port))?;
        }
        self.launch()
    }

    fn launch(&self) -> Result<()> {
        let log = self.folder.path().join("log");
        let started = programs::succeed(self.pg_ctl().arg("-l").arg(&log).args(["-w", "-t", "120", "start"]));
        if let Err(error) = started {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let end: Vec<_> = text.lines().rev().take(10).collect();
            bail!("{error:#}; its log ends, newest line first: {}", end.join(" | "));
        }
        Ok(())
    }

    fn pg_ctl(&self) -> Command {
        let mut command = self.as_owner("pg_ctl");
        command.arg("-D").arg(self.data());
        command
    }

    /// A program of PostgreSQL as the cluster's owner, out of reach of the terminal's Ctrl-C.
    fn as_owner(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        programs::as_owner(&mut command, self.owner);
        command
    }

    fn give(&self, path: &Path) -> Result<()> {
        self.owner.map_or(Ok(()), |owner| owner.take(path))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.postmaster().is_ok() {
            // Failing to stop must not hide what went wrong before; the guard's script is there for a crash.
            drop(self.stop(Mode::Immediate));
        }
    }
}

/// Ends the server of a folder and removes it when this process ends.
fn guard(folder: &Path) -> Result<Guard> {
    Guard::with_script(
        "pid=$(head -n 1 \"$1/data/postmaster.pid\" 2>/dev/null) && kill -QUIT \"$pid\"; sleep 1; rm -rf \"$1\"",
        &[&folder.to_string_lossy()],
    )
}

/// A port that nothing listens on now, another one at the next call. It lies below those that the system gives to outgoing
/// connections, one of which could have it before the server, or while that is down.
///
/// # Errors
/// Loopback has none left.
pub fn free_port() -> Result<u16> {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random()));
    let (first, count) = (10_000, 22_000);
    (0..count)
        .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed) % count)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("loopback has no free port")
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}
