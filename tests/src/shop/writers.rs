//! Writers that keep changing the shop at a chosen rate, each transaction with its row in `hist`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Client, Config, NoTls};

use super::Size;
use super::kinds::{Kind, Work};

/// How the writers write.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many sessions.
    pub sessions: u32,
    /// Transactions a second, of all sessions together.
    pub per_second: f64,
    /// Draws the transactions; session n draws from `seed + n`.
    pub seed: u64,
}

/// What the writers did since they began.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Committed transactions.
    pub transactions: u64,
    /// Rows that these inserted, updated and deleted.
    pub changes: u64,
    /// Transactions rolled back, on purpose or because the server refused.
    pub rolled_back: u64,
    /// Times a session lost its server and came back.
    pub reconnects: u64,
    /// Committed transactions of each kind.
    pub kinds: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Shared {
    truncates: AtomicBool,
    sessions_made: AtomicU64,
    counts: Mutex<Counts>,
}

/// The writers. Dropping them stops them without waiting.
pub struct Writers {
    config: Config,
    size: Size,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    sessions: JoinSet<Result<()>>,
}

impl Writers {
    /// Makes writers that don't write yet.
    #[must_use]
    pub fn new(config: Config, size: Size) -> Self {
        Self { config, size, shared: Arc::default(), stop: watch::Sender::new(false), sessions: JoinSet::new() }
    }

    /// Lets a small table be truncated now and then, or not.
    pub fn allow_truncates(&self, allowed: bool) {
        self.shared.truncates.store(allowed, Ordering::Relaxed);
    }

    /// Begins to write, or goes on after [`Writers::stop`].
    pub fn start(&mut self, pace: Pace) {
        self.stop.send_replace(false);
        let pause = Duration::from_secs_f64(f64::from(pace.sessions) / pace.per_second);
        for number in 0..pace.sessions {
            let session = Session {
                config: self.config.clone(),
                size: self.size,
                shared: Arc::clone(&self.shared),
                stop: self.stop.subscribe(),
                random: StdRng::seed_from_u64(pace.seed + u64::from(number)),
                client: String::new(),
                n: 0,
            };
            self.sessions.spawn(session.run(pause));
        }
    }

    /// Lets every session finish its transaction and waits for that.
    ///
    /// # Errors
    /// A session ended with what no writer should meet.
    pub async fn stop(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.sessions.join_next().await {
            ended.context("a writer panicked")??;
        }
        Ok(())
    }

    /// What was done so far.
    ///
    /// # Panics
    /// Never: no session panics while it counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts.lock().expect("no session panics while it counts").clone()
    }
}

struct Session {
    config: Config,
    size: Size,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    random: StdRng,
    client: String,
    n: i64,
}

/// What became of a transaction.
enum Outcome {
    Committed(Kind, u64),
    RolledBack,
}

impl Session {
    async fn run(mut self, pause: Duration) -> Result<()> {
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
            }
            if *self.stop.borrow() {
                return Ok(());
            }
            let Some(client) = &mut connection else {
                connection = self.connect().await;
                continue;
            };
            match self.transaction(client).await {
                Ok(outcome) => self.count(&outcome),
                Err(error) if error.as_db_error().is_some() && !client.is_closed() => expected(&error)?,
                Err(_) => connection = None,
            }
        }
    }

    /// A new name, for after a lost connection nobody knows whether the last transaction was committed.
    async fn connect(&mut self) -> Option<Client> {
        let (client, connection) = self.config.connect(NoTls).await.ok()?;
        tokio::spawn(connection);
        let number = self.shared.sessions_made.fetch_add(1, Ordering::Relaxed);
        if !self.client.is_empty() {
            self.with_counts(|counts| counts.reconnects += 1);
        }
        self.client = format!("{number}-{:08x}", self.random.random::<u32>());
        self.n = 0;
        Some(client)
    }

    async fn transaction(&mut self, client: &mut Client) -> Result<Outcome, tokio_postgres::Error> {
        let kind = Kind::draw(&mut self.random, self.shared.truncates.load(Ordering::Relaxed));
        let give_up = self.random.random_ratio(1, 50);
        let mut transaction = client.transaction().await?;
        let mut work = Work { transaction: &mut transaction, random: &mut self.random, size: self.size, changes: 0 };
        let done = kind.run(&mut work).await;
        let changes = work.changes;
        match done {
            Ok(ops) if !give_up => {
                let sql = "insert into shop.hist (client, n, kind, ops, checksum)
                           values ($1, $2, $3, $4::text::jsonb, md5($4::text))";
                let n = self.n + 1;
                transaction.execute(sql, &[&self.client, &n, &kind.name(), &ops.to_string()]).await?;
                transaction.commit().await?;
                self.n = n;
                Ok(Outcome::Committed(kind, changes + 1))
            }
            Ok(_) => transaction.rollback().await.map(|()| Outcome::RolledBack),
            Err(error) => {
                self.with_counts(|counts| counts.rolled_back += 1);
                // If even this fails the connection is lost, which the next transaction meets.
                drop(transaction.rollback().await);
                Err(error)
            }
        }
    }

    fn count(&self, outcome: &Outcome) {
        self.with_counts(|counts| match outcome {
            Outcome::Committed(kind, changes) => {
                counts.transactions += 1;
                counts.changes += changes;
                *counts.kinds.entry(kind.name()).or_default() += 1;
            }
            Outcome::RolledBack => counts.rolled_back += 1,
        });
    }

    fn with_counts(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.shared.counts.lock().expect("no session panics while it counts"));
    }
}

/// Refusals that concurrent writers meet in any shop; all else is a mistake in the shop itself.
fn expected(error: &tokio_postgres::Error) -> Result<()> {
    let code = error.code().map_or("", |code| code.code());
    let usual = ["40P01", "40001", "55P03", "57014", "23505", "23503", "23514"];
    anyhow::ensure!(
        usual.contains(&code) || code.starts_with("57P") || code.starts_with("25P"),
        "a writer's transaction failed: {error:?}"
    );
    Ok(())
}
