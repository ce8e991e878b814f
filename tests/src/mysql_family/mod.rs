//! Private servers of MySQL's family: own data folder, a free port on loopback, gone at the end.

mod copies;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::cluster::{Owner, as_owner, free_port};
use crate::guard::Guard;
use crate::template::Template;

pub use copies::Copies;

/// What sets one system of the family apart. Each command begins with `--no-defaults`, and has no option yet that
/// says where the server's files are or where it listens.
pub trait Programs: Sized {
    /// The system, as folders and errors name it.
    const SYSTEM: &str;
    /// Where its programs come from, for who lacks them.
    const ORIGIN: &str;

    /// Looks for the programs.
    ///
    /// # Errors
    /// It is not said where they are.
    fn find() -> Result<Self>;

    /// Makes a data folder in which root needs no password.
    fn initialize(&self) -> Command;

    /// Serves, and logs rows once its log is on.
    fn serve(&self) -> Command;

    /// Runs the statements of its input.
    fn client(&self) -> Command;

    /// One of the other programs for clients, by what it does: `dump` writes statements, `binlog` reads the log.
    fn tool(&self, name: &str) -> Command;
}

/// A running server. Dropping it kills the server and removes its files; the end of this process does the same.
pub struct Server<P> {
    programs: P,
    port: u16,
    options: Vec<String>,
    process: Child,
    folder: TempDir,
    /// Goes with the server.
    guard: Guard,
}

impl<P: Programs> Server<P> {
    /// Makes and starts a server with its log on; `more` are further options of its program, and win.
    ///
    /// # Errors
    /// Its programs are missing, or it does not start; the text holds the end of its log.
    pub fn start(more: &[&str]) -> Result<Self> {
        let programs = P::find()?;
        let folder = tempfile::Builder::new().prefix(&format!("wavemark-{}-", P::SYSTEM)).tempdir()?;
        Owner::find()?.map_or(Ok(()), |owner| owner.take(folder.path()))?;
        copy(&programs, &data(folder.path()))?;
        let port = free_port()?;
        let options: Vec<String> = more.iter().map(|option| (*option).to_owned()).collect();
        let (process, guard) = launch(&programs, folder.path(), port, &options)?;
        let mut started = Self { programs, port, options, process, folder, guard };
        started.wait()?;
        Ok(started)
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// It does not start; the text holds the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        (self.process, self.guard) = launch(&self.programs, self.folder.path(), self.port, &self.options)?;
        self.wait()
    }

    /// Runs statements as root, one after the other.
    ///
    /// # Errors
    /// One of them fails.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.ask(sql).map(drop)
    }

    /// The rows of a statement, each with a tab between its columns, NULL as `NULL`.
    ///
    /// # Errors
    /// It fails.
    pub fn rows(&self, sql: &str) -> Result<Vec<String>> {
        Ok(self.ask(sql)?.lines().map(str::to_owned).collect())
    }

    /// Its client, for a user without a password who comes through loopback.
    pub fn client(&self, user: &str) -> Command {
        self.by_loopback(self.programs.client(), user)
    }

    /// The same of [`Programs::tool`].
    pub fn tool(&self, name: &str, user: &str) -> Command {
        self.by_loopback(self.programs.tool(name), user)
    }

    /// Its client, for root by the server's socket.
    pub fn root(&self) -> Command {
        let mut client = self.programs.client();
        client.args(["--default-character-set=utf8mb4", "--user=root"]);
        client.arg(format!("--socket={}", socket(self.folder.path())));
        client
    }

    /// The program that writes what is in files of the log.
    pub fn log_reader(&self) -> Command {
        self.programs.tool("binlog")
    }

    /// The data folder, where the log's files are, `bin.000001` the first.
    pub fn data(&self) -> PathBuf {
        data(self.folder.path())
    }

    fn by_loopback(&self, mut command: Command, user: &str) -> Command {
        command.args(["--host=127.0.0.1", &format!("--port={}", self.port), &format!("--user={user}")]);
        command
    }

    fn ask(&self, sql: &str) -> Result<String> {
        let mut client = self.root();
        client.args(["--batch", "--raw", "--skip-column-names"]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().with_context(|| starting::<P>(&client))?;
        client.stdin.take().context("a client has an input")?.write_all(sql.as_bytes())?;
        let output = client.wait_with_output()?;
        ensure!(output.status.success(), "{}, running: {sql}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_mins(1);
        while self.ask("SELECT 1").is_err() {
            let ended = self.process.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let last: Vec<_> = text.lines().rev().take(10).collect();
                bail!("{} does not start; its log ends, newest line first: {}", P::SYSTEM, last.join(" | "));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl<P> Server<P> {
    /// Kills the server as when the machine dies, but for what the kernel has in its page cache.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop).context("waiting for the killed server")
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl<P> Drop for Server<P> {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A data folder of the system's.
fn copy<P: Programs>(programs: &P, to: &Path) -> Result<()> {
    static MADE: Mutex<BTreeMap<&str, Arc<Template>>> = Mutex::new(BTreeMap::new());
    let template = match MADE.lock().unwrap_or_else(PoisonError::into_inner).entry(P::SYSTEM) {
        Entry::Occupied(made) => Arc::clone(made.get()),
        Entry::Vacant(free) => Arc::clone(free.insert(Arc::new(Template::make(|data| initialize(programs, data))?))),
    };
    template.copy(to)?;
    // What MySQL calls a server: a copy gets another name when it is started.
    fs::remove_file(to.join("auto.cnf")).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error.into()),
    })
}

fn initialize<P: Programs>(programs: &P, data: &Path) -> Result<()> {
    let mut command = programs.initialize();
    as_owner(&mut command, Owner::find()?);
    command.arg(format!("--tmpdir={}", data.with_file_name("").display()));
    command.arg(format!("--datadir={}", data.display()));
    let output = command.output().with_context(|| starting::<P>(&command))?;
    ensure!(
        output.status.success(),
        "making a data folder of {} failed: {}{}",
        P::SYSTEM,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn launch<P: Programs>(programs: &P, folder: &Path, port: u16, options: &[String]) -> Result<(Child, Guard)> {
    let mut command = programs.serve();
    as_owner(&mut command, Owner::find()?);
    command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--log-bin=bin"]);
    command.arg("--innodb-buffer-pool-size=128M").arg(format!("--port={port}"));
    command.arg(format!("--datadir={}", data(folder).display()));
    // Servers that start at once would take each other's temporary tables away.
    command.arg(format!("--tmpdir={}", folder.display()));
    command.arg(format!("--socket={}", socket(folder))).args(options);
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    command.stdout(log.try_clone()?).stderr(log);
    let server = command.spawn().with_context(|| starting::<P>(&command))?;
    let guard = Guard::with_script(
        "kill -KILL \"$1\"; sleep 1; rm -rf \"$2\"",
        &[&server.id().to_string(), &folder.to_string_lossy()],
    )?;
    Ok((server, guard))
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn socket(folder: &Path) -> String {
    folder.join("socket").display().to_string()
}

fn starting<P: Programs>(command: &Command) -> String {
    format!("starting {}, of {}", command.get_program().display(), P::ORIGIN)
}
