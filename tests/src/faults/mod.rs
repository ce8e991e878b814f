//! Cycles of faults on a running task: something is done to it while a wave or a chunk is in flight, the task must go
//! on, and the target is watched all the while.
//!
//! 1. [`Arena::start`] makes a pair of systems, two workers, a shop with writers, and a task that is live. Proxies stand between the
//!    workers and source and target, and between the server and its metadata.
//! 2. [`Arena::cycle`] waits until something is in flight ([`flight`]), strikes ([`process`], [`network`], [`crash`],
//!    [`others`]), heals, and waits until the task goes on.
//! 3. [`Arena::finish`] stops the writers, drains, judges what is left of the looks at the target by the order that
//!    was read independently ([`crate::order`]), and compares all tables row by row.

mod crash;
mod deadlock;
mod failover;
mod flight;
mod network;
mod others;
mod process;
mod purge;
mod scene;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use uuid::Uuid;

use crate::api::Table;
use crate::bank::Watch;
use crate::compare::Report;
use crate::installation::Installation;
use crate::order::{self, Look, Order};
use crate::pair;
use crate::proxy::Proxy;
use crate::shop::{self, Pace, Size};
use crate::system::{System, Ways};
use scene::Writers;

pub use crash::points;
pub use flight::State;
pub use network::{Network, Place};

/// What issue and documents promise for a worker that is gone.
pub const TAKEOVER: Duration = Duration::from_secs(15);
/// How long anything else may take to recover.
const RECOVERY: Duration = Duration::from_mins(1);
/// How often the bank is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is done to the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// To a process, in a phase of the task.
    Process(Strike, Phase),
    /// To the network.
    Network(Network),
    /// The worker that holds the task dies at a named point of its program.
    Crash(&'static str),
    /// Somebody else at the target locks rows in another order than waves do, until a wave is a deadlock's victim.
    Deadlock,
    /// The target is stopped at once while a wave's COMMIT runs, and comes back.
    StopInCommit,
    /// The source's log is removed beyond the bookmark while the task stands: the position is lost, and a reload mends it.
    PurgedLog,
    /// The source dies, and the server that copied it goes on at its address: the task follows the other log by the numbers of
    /// transactions. Only of MySQL's family, and only where the arena was told of it.
    Failover,
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
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

impl Strike {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::KillWorker, Self::FreezeWorker, Self::KillServer, Self::KillSource, Self::KillTarget];
}

impl Fault {
    /// What the task is doing when this is done to it.
    #[must_use]
    pub fn phase(self) -> Phase {
        match self {
            Self::Process(_, phase) => phase,
            Self::Crash(point) => crash::life(point).phase(),
            Self::Network(_) | Self::Deadlock | Self::StopInCommit | Self::PurgedLog | Self::Failover => {
                Phase::Following
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(strike, _) => f.pad(match strike {
                Strike::KillWorker => "SIGKILL worker",
                Strike::FreezeWorker => "SIGSTOP worker",
                Strike::KillServer => "SIGKILL server",
                Strike::KillSource => "SIGKILL source",
                Strike::KillTarget => "SIGKILL target",
            }),
            Self::Network(network) => f.pad(&network.to_string()),
            Self::Crash(point) => f.pad(&format!("crash at {point}")),
            Self::Deadlock => f.pad("deadlock at the target"),
            Self::StopInCommit => f.pad("target stopped in COMMIT"),
            Self::PurgedLog => f.pad("log of the source purged"),
            Self::Failover => f.pad("failover of the source"),
        }
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
    /// What was seen in flight right before, or what else tells that the fault was felt, in words.
    pub in_flight: String,
    /// For a worker: from the strike until another one had the target open under a higher epoch and, while following,
    /// had committed a wave under it.
    pub takeover: Option<Duration>,
    /// From the strike until the task made progress with everything back; from the end of a trouble in the network
    /// until the target was up to date again.
    pub recovered: Duration,
}

/// What all cycles together came to.
#[derive(Debug)]
pub struct Outcome {
    /// Source and target, compared row by row.
    pub report: Report,
    /// How often the bank was looked at.
    pub looks: u64,
    /// How many of these looks were compared with the order of the source's commits.
    pub ordered: u64,
    /// How often each crash point ended a worker.
    pub fired: BTreeMap<&'static str, u32>,
    /// What must never be, in words: a torn state, a lost or doubled transaction, an old epoch after a newer one.
    pub violations: Vec<String>,
    /// What the writers committed.
    pub transactions: u64,
}

impl Outcome {
    /// Whether nothing was lost, doubled or torn, and it was looked for.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.is_equal() && self.violations.is_empty() && self.looks > 0 && self.ordered > 0
    }
}

/// The proxies before source and target.
struct Links {
    source: Proxy,
    target: Proxy,
}

/// A task under fire, with everything that it needs. Fields drop in this order.
pub struct Arena {
    writers: Writers,
    watch: Option<Watch>,
    installation: Installation,
    links: Links,
    order: Arc<Order>,
    source: System,
    target: System,
    task: Uuid,
    random: StdRng,
    looks: u64,
    ordered: u64,
    unordered: Vec<Look>,
    violations: Vec<String>,
    fired: BTreeMap<&'static str, u32>,
}

impl Arena {
    /// Starts everything that these faults need; the writers write and every table is live. The seed draws what the writers do
    /// and every pause between the steps of a fault.
    ///
    /// # Errors
    /// Something does not start, or the first load does not end.
    pub async fn start(ways: Ways, size: Size, pace: Pace, faults: &[Fault]) -> Result<Self> {
        let source = if faults.contains(&Fault::Failover) {
            System::source_with_copy(ways.from)?
        } else {
            System::source(ways.from).await?
        };
        let target = System::target(ways.to).await?;
        let mut installation = Installation::start_with_metadata_link().await?;
        scene::fill(&source, &target, size).await?;
        let order = Arc::new(Order::of(&source).await?);
        let links = Links { source: Proxy::start(source.port()).await?, target: Proxy::start(target.port()).await? };
        installation.add_worker()?;
        installation.add_worker()?;
        let api = &installation.api;
        let endpoints = (
            source.endpoint(api, "The shop", "source", links.source.port()).await?,
            target.endpoint(api, "The copy", "target", links.target.port()).await?,
        );
        let rules = pair::whole_schema(shop::SCHEMA);
        let settings = json!({"chunk_mib": 1, "load_parallelism": 2});
        let task = api.create_task("Under fire", "full-load-and-cdc", endpoints, &rules, &settings).await?;
        let mut writers = Writers::of(&source, &target, size);
        writers.start(pace);
        installation.api.act(task, "start").await?;
        let mut arena = Self {
            writers,
            watch: None,
            installation,
            links,
            order,
            source,
            target,
            task,
            random: StdRng::seed_from_u64(pace.seed),
            looks: 0,
            ordered: 0,
            unordered: Vec::new(),
            violations: Vec::new(),
            fired: BTreeMap::new(),
        };
        arena.live_again().await.with_context(|| arena.installation.log_ends(20))?;
        Ok(arena)
    }

    /// Strikes once and waits until the task goes on.
    ///
    /// # Errors
    /// Nothing was in flight in time, the fault was not felt, or the task did not go on. Another worker that took
    /// longer than [`TAKEOVER`] is a violation.
    pub async fn cycle(&mut self, fault: Fault) -> Result<Cycle> {
        let survived = self.survive(fault).await;
        let phase = fault.phase();
        survived.with_context(|| {
            let writers = self.writers.failure().map(|failure| format!("; {failure}")).unwrap_or_default();
            format!("{fault} while {phase:?}{writers}; the logs end:\n{}", self.installation.log_ends(15))
        })
    }

    async fn survive(&mut self, fault: Fault) -> Result<Cycle> {
        let cycle = match fault {
            Fault::Process(strike, phase) => self.process(strike, phase).await?,
            Fault::Network(network) => self.network(network).await?,
            Fault::Crash(point) => self.crash(point).await?,
            Fault::Deadlock => self.deadlock().await?,
            Fault::StopInCommit => self.stop_in_commit().await?,
            Fault::PurgedLog => self.purged_log().await?,
            Fault::Failover => self.failover().await?,
        };
        self.note_epochs().await?;
        self.installation.all_running()?;
        Ok(cycle)
    }

    /// Stops the writers, drains and compares.
    ///
    /// # Errors
    /// The target does not get everything within a minute, or a comparison can't be made.
    pub async fn finish(mut self) -> Result<Outcome> {
        self.writers.stop().await?;
        let drained = self.drained().await;
        drained.with_context(|| format!("the logs end:\n{}", self.installation.log_ends(15)))?;
        self.rest_the_watch().await?;
        self.note_epochs().await?;
        self.note_slots().await?;
        // The last look of all is one at rest.
        self.unordered.extend(order::look(&mut self.target.session().await?, self.task).await?);
        let looks = std::mem::take(&mut self.unordered);
        self.ordered += looks.len() as u64;
        let mut source = self.source.session().await?;
        self.violations.extend(self.order.judge_all(&mut source, looks, RECOVERY).await?);
        let report = scene::compare(&self.source, &self.target).await?;
        let transactions = self.writers.counts().transactions;
        let Self { looks, ordered, fired, violations, .. } = self;
        Ok(Outcome { report, looks, ordered, fired, violations, transactions })
    }

    /// Waits until the target has everything of a source that nobody else writes to, as the bookmark says and as a last row
    /// shows.
    async fn drained(&self) -> Result<()> {
        let end = self.source.end().await?;
        // A transaction behind that place, so that there is something to wait for.
        let last = format!("drain-{}", Uuid::new_v4());
        self.source.session().await?.rows(&scene::last_row(&self.source, &self.target, &last)).await?;
        self.until_target("everything of the source", RECOVERY, |now| now.bookmark.reaches(end)).await?;
        let sql = format!("select 1 from shop.hist where client = '{last}'");
        let (mut target, deadline) = (self.target.session().await?, Instant::now() + RECOVERY);
        while target.rows(&sql).await?.is_empty() {
            ensure!(
                Instant::now() < deadline,
                "the bookmark is past the source's end, and its last row is not in the target"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn watch_the_bank(&mut self) {
        let order = Arc::clone(&self.order);
        self.watch = Some(Watch::start_with_order(self.target.door(), LOOK_EVERY, self.task, order));
    }

    async fn rest_the_watch(&mut self) -> Result<()> {
        if let Some(watch) = self.watch.take() {
            let seen = watch.stop().await?;
            self.looks += seen.looks;
            self.ordered += seen.ordered;
            self.unordered.extend(seen.unordered);
            self.violations.extend(seen.violations);
        }
        Ok(())
    }

    /// Stops the task and begins to load everything again.
    async fn reload(&mut self) -> Result<()> {
        self.stop_before_reload().await?;
        self.installation.api.act(self.task, "reload").await
    }

    async fn stop_before_reload(&mut self) -> Result<()> {
        self.rest_the_watch().await?;
        // Truncates make a table of a running load start over, so they are for following only.
        self.writers.allow_truncates(false);
        let api = &self.installation.api;
        api.act(self.task, "stop").await?;
        api.wait_task(self.task, RECOVERY, "the task to stop", |task| task.status == "stopped").await.map(drop)
    }

    /// Waits for the end of a load and watches again.
    async fn live_again(&mut self) -> Result<()> {
        self.until_live().await?;
        self.watch_the_bank();
        self.writers.allow_truncates(true);
        Ok(())
    }

    /// Waits until the target has the load's bookmark and the server has heard that every table is live.
    pub(super) async fn until_live(&mut self) -> Result<()> {
        self.until_target("the bookmark of the load", RECOVERY, |now| now.wave > 0).await?;
        // What the server says of the tables may be a second older than the bookmark.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let end = Instant::now() + RECOVERY;
        loop {
            let tables = self.installation.api.tables(self.task).await.unwrap_or_default();
            if !tables.is_empty() && tables.iter().all(Table::is_settled) {
                return Ok(());
            }
            if let Some(table) = tables.iter().find(|table| table.state == "parked") {
                bail!("{} is parked: {:?}", table.source, table.problem);
            }
            if Instant::now() > end {
                let waiting = tables.iter().filter(|table| !table.is_settled());
                let waiting: Vec<_> = waiting.map(|table| format!("{} {}", table.source, table.state)).collect();
                bail!("not every table is live after {RECOVERY:?}: {waiting:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// No wave of an older epoch may come after one of a newer epoch.
    async fn note_epochs(&mut self) -> Result<()> {
        let sql = format!(
            "select count(*) from (select case when epoch < lag(epoch) over (order by wave) then 1 else 0 end as back \
             from wavemark.progress where task = '{}') p where back = 1",
            self.task
        );
        let back = self.target.session().await?.number(&sql).await?;
        if back > 0 {
            self.violations.push(format!("{back} waves of an older epoch follow one of a newer epoch"));
        }
        Ok(())
    }

    /// A source of PostgreSQL must hold the one slot of the task, beside the one of the order, and no leftover of a load.
    async fn note_slots(&mut self) -> Result<()> {
        if self.source.kind().is_family() {
            return Ok(());
        }
        let sql = format!("select count(*) from pg_replication_slots where slot_name <> '{}'", order::NAME);
        let slots = self.source.session().await?.number(&sql).await?;
        if slots != 1 {
            self.violations.push(format!("the source has {slots} slots for one task"));
        }
        Ok(())
    }
}
