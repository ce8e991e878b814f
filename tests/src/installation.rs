//! A whole Wavemark of one's own: metadata cluster, server, any number of workers, from the real program.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::distr::{Alphanumeric, SampleString as _};
use tempfile::TempDir;

use crate::api::{Api, Task};
use crate::cluster::{Cluster, Options, free_port};
use crate::process::{Process, wavemark};
use crate::proxy::Proxy;

/// The user that every installation has.
pub const ADMIN: &str = "admin";

/// A running installation. Dropping it ends its processes and removes its files.
pub struct Installation {
    /// Its API, as the admin.
    pub api: Api,
    /// The server's process.
    pub server: Process,
    /// The workers' processes, by the order of their making; the first is named `worker-1`.
    pub workers: Vec<Process>,
    /// The metadata database's cluster.
    pub metadata: Cluster,
    /// What stands between the server and the metadata database, if anything does.
    pub metadata_link: Option<Proxy>,
    /// The program that further workers run.
    pub program: PathBuf,
    password: String,
    worker_token: String,
    folder: TempDir,
}

impl Installation {
    /// Starts the metadata cluster and the server, and waits until that is ready. There is no worker yet.
    ///
    /// # Errors
    /// The program is not built, or something does not start; the text holds the end of the server's log.
    pub async fn start() -> Result<Self> {
        Self::begin(wavemark()?, true, false).await
    }

    /// The same from another program than the one that was built with this.
    ///
    /// # Errors
    /// As for [`Installation::start`].
    pub async fn start_of(program: PathBuf) -> Result<Self> {
        Self::begin(program, true, false).await
    }

    /// The same without any user. The server prints a one-time code for the first; [`Installation::api`] can log in
    /// once somebody gave the user [`ADMIN`] the password that [`Installation::password`] tells.
    ///
    /// # Errors
    /// As for [`Installation::start`].
    pub async fn start_without_users() -> Result<Self> {
        Self::begin(wavemark()?, false, false).await
    }

    /// The same as [`Installation::start`] with a proxy before the metadata database.
    ///
    /// # Errors
    /// As for [`Installation::start`].
    pub async fn start_with_metadata_link() -> Result<Self> {
        Self::begin(wavemark()?, true, true).await
    }

    async fn begin(program: PathBuf, with_admin: bool, with_link: bool) -> Result<Self> {
        let options = Options::default().set("shared_buffers", "32MB");
        let metadata = Cluster::start("metadata", &options)?;
        let metadata_link = if with_link { Some(Proxy::start(metadata.port()).await?) } else { None };
        let metadata_port = metadata_link.as_ref().map_or(metadata.port(), Proxy::port);
        let folder = tempfile::Builder::new().prefix("wavemark-logs-").tempdir()?;
        let secret = || Alphanumeric.sample_string(&mut rand::rng(), 32);
        let (password, worker_token) = (secret(), secret());
        let listen = format!("127.0.0.1:{}", free_port()?);
        let keys = format!("first:{}", STANDARD.encode(rand::random::<[u8; 32]>()));
        let mut server = Process::new(&program, &["server", "--migrate"], folder.path().join("server.log"))
            .env("WAVEMARK_DATABASE_URL", metadata.url_by(metadata_port, "postgres"))
            .env("WAVEMARK_LISTEN", &listen)
            .env("WAVEMARK_KEYS", keys)
            .env("WAVEMARK_WORKER_TOKEN", &worker_token)
            .env("RUST_BACKTRACE", "0");
        if with_admin {
            server.set_env("WAVEMARK_ADMIN_PASSWORD", &password);
        }
        server.start()?;
        let api = Api::new(&format!("http://{listen}"), ADMIN, &password)?;
        let ready = api.wait_ready(Duration::from_secs(30)).await;
        ready.with_context(|| format!("the server's log ends:\n{}", server.log_end(15)))?;
        let workers = Vec::new();
        Ok(Self { api, server, workers, metadata, metadata_link, program, password, worker_token, folder })
    }

    /// The admin's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Where the processes write their logs.
    pub fn logs(&self) -> &Path {
        self.folder.path()
    }

    /// Starts one more worker; its place in [`Installation::workers`] is the result.
    ///
    /// # Errors
    /// It can't be started.
    pub fn add_worker(&mut self) -> Result<usize> {
        self.add_worker_with(&[])
    }

    /// The same with further variables in its environment.
    ///
    /// # Errors
    /// It can't be started.
    pub fn add_worker_with(&mut self, environment: &[(&str, &str)]) -> Result<usize> {
        let name = format!("worker-{}", self.workers.len() + 1);
        let spill = self.folder.path().join(format!("{name}-spill"));
        std::fs::create_dir_all(&spill)?;
        let mut worker = Process::new(&self.program, &["worker"], self.folder.path().join(format!("{name}.log")))
            .env("WAVEMARK_SERVER", self.api.base())
            .env("WAVEMARK_WORKER_TOKEN", &self.worker_token)
            .env("WAVEMARK_WORKER_NAME", &name)
            .env("WAVEMARK_SPILL_DIR", spill.to_string_lossy())
            .env("RUST_BACKTRACE", "0");
        for (name, value) in environment {
            worker.set_env(name, *value);
        }
        worker.start()?;
        self.workers.push(worker);
        Ok(self.workers.len() - 1)
    }

    /// Starts one more worker that the kernel gives at most so many bytes of writable memory (`ulimit -d`).
    ///
    /// # Errors
    /// It can't be started.
    pub fn add_limited_worker(&mut self, bytes: u64) -> Result<usize> {
        let place = self.add_worker()?;
        let worker = &mut self.workers[place];
        worker.kill()?;
        worker.limit_memory(bytes);
        worker.start()?;
        Ok(place)
    }

    /// The place of the worker that holds a task's lease.
    ///
    /// # Errors
    /// Nobody holds it, or the server does not answer.
    pub async fn holder(&self, task: uuid::Uuid) -> Result<usize> {
        place(&self.api.task(task).await?).context("no worker of ours holds the task")
    }

    /// Waits until another worker than `old` reports that it runs the task under a higher epoch; gives how long
    /// that took.
    ///
    /// # Errors
    /// None does within the time.
    pub async fn taken_over(&self, before: &Task, limit: Duration) -> Result<(usize, Duration)> {
        let begun = Instant::now();
        let runs = |task: &Task| {
            task.epoch > before.epoch
                && matches!(task.status.as_str(), "running" | "degraded")
                && place(task).is_some_and(|now| Some(now) != place(before))
        };
        let task = self.api.wait_task(before.id, limit, "another worker to take over", runs).await?;
        Ok((place(&task).context("nobody holds the task")?, begun.elapsed()))
    }

    /// The ends of all logs, for a failing test.
    pub fn log_ends(&self, lines: usize) -> String {
        let all = std::iter::once(&self.server).chain(&self.workers);
        let end = |process: &Process| format!("--- {}\n{}", process.log().display(), process.log_end(lines));
        all.map(end).collect::<Vec<_>>().join("\n")
    }

    /// Fails if a process of it ended by itself.
    ///
    /// # Errors
    /// One did; the text holds the end of its log.
    pub fn all_running(&mut self) -> Result<()> {
        for process in std::iter::once(&mut self.server).chain(&mut self.workers) {
            if !process.is_running() {
                bail!("{} ended; its log ends:\n{}", process.log().display(), process.log_end(15));
            }
        }
        Ok(())
    }
}

fn place(task: &Task) -> Option<usize> {
    task.worker.as_ref()?.name.strip_prefix("worker-")?.parse::<usize>().ok()?.checked_sub(1)
}
