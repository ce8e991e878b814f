//! Writers that keep changing the shop at a chosen rate, each transaction with its row in `hist`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::{Kind, Size, Transaction, in_words_of};
use crate::shop::{Counts, Pace};
use crate::system::{Door, Refused, Session, System};

struct Shared {
    /// Where sessions that begin come in.
    door: Mutex<Door>,
    truncates: AtomicBool,
    sessions_made: AtomicU64,
    counts: Mutex<Counts>,
    failure: Mutex<Option<String>>,
}

/// The writers. Dropping them stops them without waiting.
pub struct Writers {
    kind: Kind,
    size: Size,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    sessions: JoinSet<Result<()>>,
}

impl Writers {
    /// Makes writers that don't write yet.
    #[must_use]
    pub fn new(source: &System, size: Size) -> Self {
        let shared = Shared {
            door: Mutex::new(source.door()),
            truncates: AtomicBool::default(),
            sessions_made: AtomicU64::default(),
            counts: Mutex::default(),
            failure: Mutex::default(),
        };
        let (stop, sessions) = (watch::Sender::new(false), JoinSet::new());
        Self { kind: source.kind(), size, shared: Arc::new(shared), stop, sessions }
    }

    /// Has sessions that begin come to the server that took over. Those of the one before end with it.
    ///
    /// # Panics
    /// Never: nothing panics with the door.
    pub fn lead_to(&self, source: &System) {
        *self.shared.door.lock().expect("nothing panics with the door") = source.door();
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
            let writer = Writer {
                kind: self.kind,
                size: self.size,
                shared: Arc::clone(&self.shared),
                stop: self.stop.subscribe(),
                random: StdRng::seed_from_u64(pace.seed + u64::from(number)),
                client: String::new(),
                n: 0,
            };
            self.sessions.spawn(writer.run(pause));
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

    /// What ended a session that no writer should meet, in words.
    ///
    /// # Panics
    /// Never: nothing panics while it notes.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.lock().expect("nothing panics while it notes").clone()
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

struct Writer {
    kind: Kind,
    size: Size,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    random: StdRng,
    client: String,
    n: u64,
}

impl Writer {
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
            let Some(session) = &mut connection else {
                connection = self.connect().await;
                continue;
            };
            if let Err(refused) = self.transaction(session).await {
                self.with_counts(|counts| counts.rolled_back += 1);
                if let Err(error) = expected(&refused) {
                    *self.shared.failure.lock().expect("nothing panics while it notes") = Some(error.to_string());
                    return Err(error);
                }
                // Where the session goes on, what failed is open in it.
                if session.is_lost() || session.rows("rollback").await.is_err() {
                    connection = None;
                }
            }
        }
    }

    /// A new name, for after a lost connection nobody knows whether the last transaction was committed.
    async fn connect(&mut self) -> Option<Session> {
        let door = self.shared.door.lock().expect("nothing panics with the door").clone();
        let mut session = door.open().await.ok()?;
        if self.kind.is_family() {
            // Else what a statement reads would be locked.
            session.rows("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.ok()?;
        }
        let number = self.shared.sessions_made.fetch_add(1, Ordering::Relaxed);
        if !self.client.is_empty() {
            self.with_counts(|counts| counts.reconnects += 1);
        }
        self.client = format!("{number}-{:08x}", self.random.random::<u32>());
        self.n = 0;
        Some(session)
    }

    async fn transaction(&mut self, session: &mut Session) -> Result<(), Refused> {
        let kind = Transaction::draw(&mut self.random, self.shared.truncates.load(Ordering::Relaxed));
        let give_up = self.random.random_ratio(1, 50);
        let mut statements = kind.statements(&mut self.random, self.size);
        // A truncation is a transaction of its own in MySQL's family, and ends the one before it.
        let begin = if kind == Transaction::Truncate && self.kind.is_family() { 2 } else { 0 };
        statements.insert(begin, "begin".to_owned());
        let n = self.n + 1;
        statements.push(format!(
            "insert into shop.hist (client, n, kind) values ('{}', {n}, '{}')",
            self.client,
            kind.name()
        ));
        statements.push(if give_up { "rollback" } else { "commit" }.to_owned());
        session.rows(&in_words_of(self.kind, &statements.join(";\n"))).await?;
        if give_up {
            self.with_counts(|counts| counts.rolled_back += 1);
            return Ok(());
        }
        self.n = n;
        self.with_counts(|counts| {
            counts.transactions += 1;
            *counts.kinds.entry(kind.name()).or_default() += 1;
        });
        Ok(())
    }

    fn with_counts(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.shared.counts.lock().expect("no session panics while it counts"));
    }
}

/// Refusals that concurrent writers meet in any shop, and servers that go; all else is a mistake in the shop itself.
fn expected(refused: &Refused) -> Result<()> {
    let usual = [
        "40P01", "40001", "55P03", "57014", "23505", "23503", "23514", "1205", "1213", "1020", "1062", "1053", "1927",
        "1452",
    ];
    let is_usual = |code: &str| {
        usual.contains(&code) || code.starts_with("57P") || code.starts_with("25P") || code.starts_with("08")
    };
    anyhow::ensure!(refused.code.as_deref().is_none_or(is_usual), "a writer's transaction failed: {refused}");
    Ok(())
}
