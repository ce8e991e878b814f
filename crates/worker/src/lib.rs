//! A worker: asks the server for work, runs tasks under leases, reports about once a second.
//!
//! 1. [`client`] registers and speaks the protocol; everything is dialled from here.
//! 2. [`serve`] polls for leases and jobs while it has free places.
//! 3. [`tasks`] runs one engine per lease; [`jobs`] does the short work.
//! 4. [`reports`] sends all progress at once; its answer renews leases and says what to stop.
//!
//! Tasks run on while the server is away: the fence in the target keeps that safe. Reports are then kept, the
//! newest progress replacing the older.

mod client;
mod jobs;
mod reports;
mod tasks;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wavemark_connector::Connector;

use client::Client;
pub use client::ClientError;
use tasks::Tasks;

/// How a worker is set up.
pub struct WorkerConfig {
    /// The server's address, e.g. `https://wavemark.example:8443`.
    pub server: String,
    /// The worker's token.
    pub token: SecretString,
    /// A certificate (PEM) that the server's is checked against, besides the public ones.
    pub server_ca: Option<Vec<u8>>,
    /// A name for people.
    pub name: String,
    /// How many tasks it takes at once.
    pub places: u16,
    /// Where transactions larger than the memory may be put.
    pub spill_dir: PathBuf,
    /// The systems it can reach.
    pub connectors: Vec<Arc<dyn Connector>>,
}

/// How long a worker that is asked to end waits for its tasks to finish their waves.
const GRACE: Duration = Duration::from_secs(20);
/// How long a poll may wait at the server.
const POLL_WAIT_SECONDS: u16 = 20;

/// Works until `shutdown`, then drains: takes nothing new, lets every task finish its wave, gives the leases back.
///
/// # Errors
/// If the server refuses this worker for good: its token, or the version of its protocol.
pub async fn serve(config: WorkerConfig, shutdown: CancellationToken) -> Result<(), ClientError> {
    let client = Arc::new(Client::new(&config)?);
    let tasks = Arc::new(Tasks::new(config.connectors.clone(), config.spill_dir.clone(), config.places));
    let jobs = TaskTracker::new();
    let ended = CancellationToken::new();
    let reporting = reports::report(Arc::clone(&client), Arc::clone(&tasks), ended.clone());
    let mut reporting = tokio::spawn(reporting).fuse();
    let outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        outcome = poll(&client, &tasks, &jobs) => outcome,
        refused = &mut reporting => refused.unwrap_or(Ok(())),
    };
    tracing::info!(tasks = tasks.count(), "the worker drains");
    tasks.drain();
    if tokio::time::timeout(GRACE, tasks.idle()).await.is_err() {
        tracing::warn!("some tasks did not end in time; their leases will lapse");
    }
    ended.cancel();
    // The last report gives the leases back; without it they lapse.
    if !reporting.is_terminated() {
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut reporting).await;
    }
    outcome
}

async fn poll(client: &Arc<Client>, tasks: &Arc<Tasks>, jobs: &TaskTracker) -> Result<(), ClientError> {
    let mut wait = Duration::from_millis(200);
    let mut last_ask = 0;
    loop {
        let free = tasks.free_places();
        match client.poll(free, POLL_WAIT_SECONDS, last_ask).await {
            Ok(work) => {
                wait = Duration::from_millis(200);
                for lease in work.leases {
                    tasks.start(lease);
                }
                if work.last_ask > last_ask {
                    last_ask = work.last_ask;
                    tasks.news.notify_one();
                }
                for job in work.jobs {
                    jobs.spawn(jobs::run(Arc::clone(client), Arc::clone(tasks), job));
                }
            }
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                tracing::warn!("the server can't be asked for work: {error}");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
        }
    }
}
