//! A private Postgres for `wavemark up`, from the machine's own programs: reachable only by a socket in the data
//! folder, never run as root.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use secrecy::SecretString;

/// A running private Postgres; dropping it stops it.
pub(super) struct Cluster {
    programs: PathBuf,
    data: PathBuf,
    user: Option<u32>,
}

impl Cluster {
    /// Makes the cluster if it is missing, starts it, and returns it with its address.
    pub(super) fn start(folder: &Path) -> anyhow::Result<(Self, SecretString)> {
        let programs = programs().context("no Postgres programs found: install Debian's package `postgresql`, or name a database with WAVEMARK_DATABASE_URL")?;
        let cluster = Self { programs, data: folder.join("metadata"), user: ordinary_user()? };
        cluster.make()?;
        // One that outlived a killed process is taken over as it is.
        if cluster.run("pg_ctl", &["-D", text(&cluster.data)?, "status"]).is_err() {
            let log = cluster.data.join("log");
            cluster.run("pg_ctl", &["-D", text(&cluster.data)?, "-w", "-t", "60", "-l", text(&log)?, "start"])?;
        }
        let socket = cluster.data.to_string_lossy().replace('/', "%2F");
        // `postgres` is the database that every cluster is made with.
        Ok((cluster, format!("postgres://wavemark@{socket}/postgres").into()))
    }

    fn make(&self) -> anyhow::Result<()> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.data).with_context(|| format!("making {}", self.data.display()))?;
        std::fs::set_permissions(&self.data, std::fs::Permissions::from_mode(0o700))?;
        if let Some(user) = self.user {
            chown(&self.data, Some(user), None)?;
        }
        let data = text(&self.data)?;
        self.run(
            "initdb",
            &["-D", data, "-U", "wavemark", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"],
        )?;
        let settings =
            format!("listen_addresses = ''\nunix_socket_directories = '{data}'\nunix_socket_permissions = 0700\n");
        let file = self.data.join("postgresql.auto.conf");
        std::fs::write(&file, settings).with_context(|| format!("writing {}", file.display()))
    }

    /// Runs one of the programs, as an ordinary user.
    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let path = self.programs.join(program);
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), "--clear-groups", "--"]).arg(&path);
                command
            }
            None => Command::new(&path),
        };
        let done = command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .with_context(|| format!("running {}", path.display()))?;
        if !done.status.success() {
            bail!("{program} failed: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = text(&self.data).and_then(|data| self.run("pg_ctl", &["-D", data, "-m", "fast", "-w", "stop"]));
        if let Err(error) = stopped {
            tracing::warn!("the private Postgres was not stopped: {error:#}");
        }
    }
}

/// Where initdb and postgres are: the newest of Debian's, or the path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    found.sort();
    let debian = found.pop().map(|(_, folder)| folder);
    debian.or_else(|| std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| folder.join("initdb").exists()))
}

/// Whether this process is run by root.
pub(super) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whom to become when run by root: Debian's `postgres`, or `nobody`. `None` for an ordinary user.
fn ordinary_user() -> anyhow::Result<Option<u32>> {
    if !is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let id = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(2)?.parse().ok()
    };
    Ok(Some(id("postgres").or_else(|| id("nobody")).context("no ordinary user to run Postgres as")?))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the data folder's name must be UTF-8")
}
