//! What all tasks of this process share at one source database: a session that has its log move and answers the small
//! questions of every few seconds.
//!
//! Each heartbeat is a record that the source decodes once for every task that follows it, and that each of them hears
//! of. If every task wrote its own, a thousand tasks would make a million of it each time.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use wavemark_domain::Problem;

use super::session;
use super::state::Log;
use crate::error;
use crate::settings::Settings;

/// How long a heartbeat may take; meanwhile nothing is read.
pub(super) const BEAT: Duration = Duration::from_secs(4);

/// The hearts that beat, each for as long as a task has it.
static HEARTS: Mutex<Vec<Weak<Heart>>> = Mutex::new(Vec::new());

/// One source database, as one role reaches it.
pub(super) struct Heart {
    settings: Settings,
    client: AsyncMutex<Option<Arc<Client>>>,
    /// When the newest heartbeat began that is over.
    beaten: AsyncMutex<Option<Instant>>,
    /// When it was asked about the log last, and the answer.
    log: AsyncMutex<Option<(Instant, Arc<Log>)>>,
}

/// The heart of a source database: the same for all who reach it with the same settings.
pub(super) fn of(settings: &Settings) -> Arc<Heart> {
    let mut hearts = HEARTS.lock().unwrap_or_else(PoisonError::into_inner);
    hearts.retain(|heart| heart.strong_count() > 0);
    let known = hearts.iter().filter_map(Weak::upgrade).find(|heart| heart.settings.reaches_as(settings));
    known.unwrap_or_else(|| {
        let heart = Arc::new(Heart {
            settings: settings.clone(),
            client: AsyncMutex::default(),
            beaten: AsyncMutex::default(),
            log: AsyncMutex::default(),
        });
        hearts.push(Arc::downgrade(&heart));
        heart
    })
}

impl Heart {
    /// The session; made when first needed, and again when it broke.
    pub(super) async fn client(&self) -> Result<Arc<Client>, Problem> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let made = Arc::new(session::shared(&self.settings).await?);
        *client = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Writes a message into the source's log, unless that was done since, or within that time before, for whomever.
    /// Rights that are missing, and a source that can't be written to, are taken as they are: others' writes move the log
    /// as well.
    pub(super) async fn beat(&self, within: Duration) {
        let since = Instant::now().checked_sub(within);
        let mut beaten = self.beaten.lock().await;
        if beaten.is_some_and(|beaten| since.is_none_or(|since| beaten >= since)) {
            return;
        }
        let began = Instant::now();
        if let Err(problem) = self.write().await {
            tracing::debug!(endpoint = %self.settings.endpoint, %problem, "no heartbeat at the source");
        }
        *beaten = Some(began);
    }

    async fn write(&self) -> Result<(), Problem> {
        let silent = || Problem::transient("unreachable", "The source does not answer.");
        let client = timeout(BEAT, self.client()).await.map_err(|_| silent())??;
        // In a transaction, whose commit flushes it: else it would reach nobody before something else is flushed.
        let sql = "SELECT pg_logical_emit_message(true, 'wavemark', '')";
        if let Ok(written) = timeout(BEAT, client.batch_execute(sql)).await {
            return written.map_err(|error| error::driver(&error, "write a heartbeat"));
        }
        self.give_up(&client).await;
        Err(silent())
    }

    /// The log and what is kept of it, as it was asked for since, or within that time before, for whomever. Each task asks every few seconds, and the server looks
    /// through all slots for an answer: if each got its own, a thousand tasks would make a million of it each time.
    pub(super) async fn log(&self, within: Duration) -> Result<Arc<Log>, Problem> {
        let since = Instant::now().checked_sub(within);
        let mut known = self.log.lock().await;
        if let Some((_, log)) = known.as_ref().filter(|(asked, _)| since.is_none_or(|since| *asked >= since)) {
            return Ok(Arc::clone(log));
        }
        let asked = Instant::now();
        let log = Arc::new(Log::read(&*self.client().await?).await?);
        *known = Some((asked, Arc::clone(&log)));
        Ok(log)
    }

    /// Leaves a session that does not answer, so that the next who needs one gets another.
    pub(super) async fn give_up(&self, silent: &Arc<Client>) {
        let mut client = self.client.lock().await;
        if client.as_ref().is_some_and(|client| Arc::ptr_eq(client, silent)) {
            *client = None;
        }
    }
}
