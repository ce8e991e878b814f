//! A private MariaDB server: own data folder, a free port on loopback, gone at the end.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::cluster::{Owner, free_port};
use crate::guard::Guard;

/// A running server. Dropping it kills the server and removes its files; the end of this process does the same.
pub struct Mariadb {
    port: u16,
    options: Vec<String>,
    server: Child,
    folder: TempDir,
    /// Goes with the server.
    guard: Guard,
}

impl Mariadb {
    /// Makes and starts a server with its log on; `more` are further options of `mariadbd`.
    ///
    /// # Errors
    /// MariaDB's programs are missing, or the server does not start; the text holds the end of its log.
    pub fn start(more: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("wavemark-mariadb-").tempdir()?;
        let owner = Owner::find()?;
        owner.map_or(Ok(()), |owner| owner.take(folder.path()))?;
        initialize(folder.path(), owner)?;
        let port = free_port()?;
        let options: Vec<String> = more.iter().map(|option| (*option).to_owned()).collect();
        let (server, guard) = launch(folder.path(), port, &options)?;
        let mut started = Self { port, options, server, folder, guard };
        started.wait()?;
        Ok(started)
    }

    /// Kills the server as when the machine dies, but for what the kernel has in its page cache.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()?;
        self.server.wait().map(drop).context("waiting for the killed server")
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// It does not start; the text holds the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        (self.server, self.guard) = launch(self.folder.path(), self.port, &self.options)?;
        self.wait()
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.port
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

    fn ask(&self, sql: &str) -> Result<String> {
        use std::io::Write as _;
        let mut client = Command::new("mariadb")
            .args(["--no-defaults", "--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4"])
            .arg(format!("--socket={}", socket(self.folder.path())))
            .args(["--user=root"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting mariadb, of Debian's package mariadb-client-core")?;
        client.stdin.take().context("a client has an input")?.write_all(sql.as_bytes())?;
        let output = client.wait_with_output()?;
        ensure!(output.status.success(), "{}, running: {sql}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_mins(1);
        while self.ask("SELECT 1").is_err() {
            let ended = self.server.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let last: Vec<_> = text.lines().rev().take(10).collect();
                bail!("mariadbd does not start; its log ends, newest line first: {}", last.join(" | "));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn launch(folder: &Path, port: u16, options: &[String]) -> Result<(Child, Guard)> {
    let mut command = as_owner("mariadbd", Owner::find()?);
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--log-bin=bin"]);
    command.args(["--binlog-format=ROW", "--innodb-buffer-pool-size=128M"]).arg(format!("--port={port}"));
    command.arg(format!("--datadir={}", data(folder).display()));
    // Servers that start at once would take each other's temporary tables away.
    command.arg(format!("--tmpdir={}", folder.display()));
    command.arg(format!("--socket={}", socket(folder))).args(options);
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    let server = command.stdout(log.try_clone()?).stderr(log).spawn().context("starting mariadbd")?;
    let guard = Guard::with_script(
        "kill -KILL \"$1\"; sleep 1; rm -rf \"$2\"",
        &[&server.id().to_string(), &folder.to_string_lossy()],
    )?;
    Ok((server, guard))
}

fn data(folder: &Path) -> std::path::PathBuf {
    folder.join("data")
}

fn socket(folder: &Path) -> String {
    folder.join("socket").display().to_string()
}

fn initialize(folder: &Path, owner: Option<Owner>) -> Result<()> {
    let mut command = as_owner("mariadb-install-db", owner);
    command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    command.arg(format!("--tmpdir={}", folder.display()));
    let output = command.arg(format!("--datadir={}", data(folder).display())).output();
    let output = output.context("starting mariadb-install-db, of Debian's package mariadb-server-core")?;
    ensure!(
        output.status.success(),
        "mariadb-install-db failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A program as an ordinary user, out of reach of the terminal's Ctrl-C.
fn as_owner(name: &str, owner: Option<Owner>) -> Command {
    let folder = ["/usr/bin", "/usr/sbin"].into_iter().find(|folder| Path::new(folder).join(name).exists());
    let mut command = Command::new(Path::new(folder.unwrap_or_default()).join(name));
    command.current_dir("/").env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).process_group(0);
    if let Some(owner) = owner {
        command.uid(owner.user).gid(owner.group);
    }
    command
}
