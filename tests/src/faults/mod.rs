//! Cycles of faults on a running task: a process dies or freezes while a wave or a chunk is in flight, the task must
//! go on, and the bank is watched on the target all the while.
//!
//! 1. [`Arena::start`] makes two workers, a shop with writers, and a task that is live.
//! 2. [`Arena::cycle`] waits until something is in flight ([`flight`]), strikes, and waits until the task goes on.
//! 3. [`Arena::finish`] stops the writers, drains, and compares all tables row by row.

mod flight;
mod strike;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use uuid::Uuid;

use crate::bank::Watch;
use crate::compare::{self, Report};
use crate::installation::Installation;
use crate::pair::{self, Pair, SOURCE};
use crate::shop::{self, Pace, Size, Writers};

pub use flight::State;

/// What issue and documents promise for a worker that is gone.
pub const TAKEOVER: Duration = Duration::from_secs(15);
/// How long anything else may take to recover.
const RECOVERY: Duration = Duration::from_mins(1);
/// How often the bank is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is done to the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the worker that holds the task; another one stands by.
    KillWorker,
    /// SIGSTOP to that worker until another one has the task, then SIGCONT.
    FreezeWorker,
    /// SIGKILL to the server, which comes back a while later.
    KillServer,
    /// SIGKILL to every process of the source's cluster, which comes back.
    KillSource,
    /// The same to the target's.
    KillTarget,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] =
        [Self::KillWorker, Self::FreezeWorker, Self::KillServer, Self::KillSource, Self::KillTarget];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillWorker => "SIGKILL worker",
            Self::FreezeWorker => "SIGSTOP worker",
            Self::KillServer => "SIGKILL server",
            Self::KillSource => "SIGKILL source",
            Self::KillTarget => "SIGKILL target",
        })
    }
}

/// What the task is doing when it is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was told to reload everything, and some chunks are done and some are not.
    Loading,
    /// Every table is live.
    Following,
}

/// One fault that was survived.
#[derive(Clone, Debug)]
pub struct Cycle {
    /// What was done.
    pub fault: Fault,
    /// What the task was doing.
    pub phase: Phase,
    /// What was seen in flight right before, in words.
    pub in_flight: String,
    /// For a worker: from the strike until another one had the target open under a higher epoch and, while following,
    /// had committed a wave under it.
    pub takeover: Option<Duration>,
    /// From the strike until the task made progress with everything back.
    pub recovered: Duration,
}

/// What all cycles together came to.
#[derive(Debug)]
pub struct Outcome {
    /// Source and target, compared row by row.
    pub report: Report,
    /// How often the bank was looked at.
    pub looks: u64,
    /// What must never be, in words: a torn state, a lost or doubled transaction, an old epoch after a newer one.
    pub violations: Vec<String>,
    /// What the writers committed.
    pub transactions: u64,
}

impl Outcome {
    /// Whether nothing was lost, doubled or torn, and it was looked for.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.is_equal() && self.violations.is_empty() && self.looks > 0
    }
}

/// A task under fire, with everything that it needs. Fields drop in this order.
pub struct Arena {
    writers: Writers,
    watch: Option<Watch>,
    installation: Installation,
    pair: Pair,
    task: Uuid,
    random: StdRng,
    looks: u64,
    violations: Vec<String>,
}

impl Arena {
    /// Starts everything; the writers write and every table is live. The seed draws what the writers do and every
    /// pause between the steps of a fault.
    ///
    /// # Errors
    /// Something does not start, or the first load does not end.
    pub async fn start(size: Size, pace: Pace) -> Result<Self> {
        let pair = Pair::start().await?;
        let mut installation = Installation::start().await?;
        shop::fill(&pair.source_client().await?, size).await?;
        installation.add_worker()?;
        installation.add_worker()?;
        let endpoints = pair.make_endpoints(&installation.api).await?;
        let rules = pair::whole_schema(shop::SCHEMA);
        let settings = json!({"chunk_mib": 1, "load_parallelism": 2});
        let task =
            installation.api.create_task("Under fire", "full-load-and-cdc", endpoints, &rules, &settings).await?;
        let mut writers = Writers::new(pair.source_config(), size);
        writers.start(pace);
        installation.api.act(task, "start").await?;
        let random = StdRng::seed_from_u64(pace.seed);
        let (looks, violations) = (0, Vec::new());
        let mut arena = Self { writers, watch: None, installation, pair, task, random, looks, violations };
        arena.until_live().await.with_context(|| arena.installation.log_ends(20))?;
        arena.watch_the_bank();
        // Truncates make a table of a running load start over, so they are for following only.
        arena.writers.allow_truncates(true);
        Ok(arena)
    }

    /// Strikes once and waits until the task goes on.
    ///
    /// # Errors
    /// Nothing was in flight in time, another worker took longer than [`TAKEOVER`], or the task did not go on.
    pub async fn cycle(&mut self, fault: Fault, phase: Phase) -> Result<Cycle> {
        let survived = self.survive(fault, phase).await;
        survived.with_context(|| format!("{fault} while {phase:?}; the logs end:\n{}", self.installation.log_ends(15)))
    }

    async fn survive(&mut self, fault: Fault, phase: Phase) -> Result<Cycle> {
        if phase == Phase::Loading {
            self.reload().await?;
        }
        let struck = self.strike(fault, phase).await?;
        let takeover = self.heal(fault, phase, &struck).await?;
        if phase == Phase::Loading {
            self.until_live().await?;
            self.watch_the_bank();
            self.writers.allow_truncates(true);
        }
        let news = |now: &State| now.wave > struck.before.wave || phase == Phase::Loading && now.wave > 1;
        self.until_target("a wave after everything was back", RECOVERY, news).await?;
        self.note_epochs().await?;
        self.installation.all_running()?;
        Ok(Cycle { fault, phase, in_flight: struck.in_flight, takeover, recovered: struck.at.elapsed() })
    }

    /// Stops the writers, drains and compares.
    ///
    /// # Errors
    /// The target does not get everything within a minute, or a comparison can't be made.
    pub async fn finish(mut self) -> Result<Outcome> {
        self.writers.stop().await?;
        let drained = self.pair.drain(&self.installation.api, self.task, RECOVERY).await;
        drained.with_context(|| format!("the logs end:\n{}", self.installation.log_ends(15)))?;
        self.rest_the_watch().await?;
        self.note_epochs().await?;
        self.note_slots().await?;
        let (source, target) = (self.pair.source_client().await?, self.pair.target_client().await?);
        let pairs = compare::pairs(&source, shop::SCHEMA, shop::SCHEMA).await?;
        let report = compare::all(&source, &target, &pairs).await?;
        let transactions = self.writers.counts().transactions;
        Ok(Outcome { report, looks: self.looks, violations: self.violations, transactions })
    }

    fn watch_the_bank(&mut self) {
        self.watch = Some(Watch::start(self.pair.target_config(), LOOK_EVERY));
    }

    async fn rest_the_watch(&mut self) -> Result<()> {
        if let Some(watch) = self.watch.take() {
            let seen = watch.stop().await?;
            self.looks += seen.looks;
            self.violations.extend(seen.violations);
        }
        Ok(())
    }

    /// Stops the task and begins to load everything again.
    async fn reload(&mut self) -> Result<()> {
        self.rest_the_watch().await?;
        self.writers.allow_truncates(false);
        let api = &self.installation.api;
        api.act(self.task, "stop").await?;
        api.wait_task(self.task, RECOVERY, "the task to stop", |task| task.status == "stopped").await?;
        api.act(self.task, "reload").await
    }

    /// Waits until the target has the load's bookmark and the server has heard that every table is live.
    async fn until_live(&mut self) -> Result<()> {
        self.until_target("the bookmark of the load", RECOVERY, |now| now.wave > 0).await?;
        // What the server says of the tables may be a second older than the bookmark.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let end = Instant::now() + RECOVERY;
        loop {
            let tables = self.installation.api.tables(self.task).await.unwrap_or_default();
            if !tables.is_empty() && tables.iter().all(|table| table.state == "live") {
                return Ok(());
            }
            if let Some(table) = tables.iter().find(|table| table.state == "parked") {
                bail!("{} is parked: {:?}", table.source, table.problem);
            }
            if Instant::now() > end {
                let waiting = tables.iter().filter(|table| table.state != "live");
                let waiting: Vec<_> = waiting.map(|table| format!("{} {}", table.source, table.state)).collect();
                bail!("not every table is live after {RECOVERY:?}: {waiting:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// No wave of an older epoch may come after one of a newer epoch.
    async fn note_epochs(&mut self) -> Result<()> {
        let sql = "select count(*) from (select epoch < lag(epoch) over (order by wave) as back
                   from wavemark.progress where task = $1) p where back";
        let target = self.pair.target_client().await?;
        let back: i64 = target.query_one(sql, &[&self.task]).await?.get(0);
        if back > 0 {
            self.violations.push(format!("{back} waves of an older epoch follow one of a newer epoch"));
        }
        Ok(())
    }

    /// The source must hold the one slot of the task and no leftover of a load.
    async fn note_slots(&mut self) -> Result<()> {
        let source = self.pair.source.connect(SOURCE).await?;
        let slots: i64 = source.query_one("select count(*) from pg_replication_slots", &[]).await?.get(0);
        if slots != 1 {
            self.violations.push(format!("the source has {slots} slots for one task"));
        }
        Ok(())
    }
}
