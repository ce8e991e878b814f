//! One plan carried out: a source that is written, and workers that come and go.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wavemark_connector::target::Stage;
use wavemark_connector::testkit::model::{SourceState, place};
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Sabotage, oracle};
use wavemark_domain::layout::{ChangedTablePolicy, ColumnPolicy, DroppedTablePolicy};
use wavemark_domain::mapping::Mappings;
use wavemark_domain::task::{DataErrorPolicy, TaskSettings};
use wavemark_domain::{TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Failure, Orders, Run};

use super::coverage::{Counts, Coverage, Fault};
use super::gate::Gate;
use super::plan::{Plan, Step, TABLES};
use crate::support::{self, mappings};

/// What happened in one seed, or in many.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) transactions: u64,
    pub(crate) epochs: u64,
    /// The most states that tables were in at one time.
    pub(crate) states: usize,
    pub(crate) counts: Counts,
    /// Tables that were made while the task followed, and are followed in the end.
    pub(crate) added: u64,
    /// Tables that ended because they were dropped.
    pub(crate) ended: u64,
    waves: u64,
    parked: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.epochs += other.epochs;
        self.waves += other.waves;
        self.parked += other.parked;
        self.added += other.added;
        self.ended += other.ended;
        self.states = self.states.max(other.states);
        self.counts.add(&other.counts);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, epochs, waves, parked, added, ended, counts, .. } = self;
        write!(
            f,
            "{transactions} transactions, {epochs} workers, {waves} waves, {parked} tables parked, {added} added, {ended} ended\n{counts}"
        )
    }
}

/// Carries out a plan on virtual time.
pub(crate) fn carry_out(plan: &Plan, sabotage: Option<Sabotage>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(World::new(plan, sabotage).carry_out(&plan.steps))
}

/// Carries out the plan of a seed.
pub(crate) fn simulate(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    carry_out(&Plan::of(seed), sabotage)
}

struct World {
    source: SimulatedSource,
    target: SimulatedTarget,
    violations: Arc<Mutex<Vec<String>>>,
    coverage: Coverage,
    settings: TaskSettings,
    mappings: Mappings,
    transactions: u64,
    epoch: i64,
    /// The worker that was granted the newest epoch, unless it was ended.
    worker: Option<Worker>,
    /// Workers that were not ended and go on under an older epoch, or stand still.
    away: Vec<Worker>,
    /// What people asked of tables and no worker has said to be done, as the server keeps it.
    orders: Vec<TableOrder>,
    given: i64,
}

/// A worker's run of the task.
struct Worker {
    gate: Gate,
    stop: CancellationToken,
    orders: Orders,
    run: JoinHandle<Result<Ended, Failure>>,
}

impl World {
    fn new(plan: &Plan, sabotage: Option<Sabotage>) -> Self {
        let coverage = Coverage::default();
        let chance = |salt: u64| Chance::new(plan.seed ^ salt, plan.odds).witnessed(coverage.witness());
        let mut source = SourceState::new(TABLES - 1, plan.rows, chance(0x5eed)).and_one_later();
        source.alters = plan.alters;
        let source = SimulatedSource::new(source, sabotage);
        let mut target = TargetState::new(TABLES, chance(0x7a96));
        if plan.seed % 2 == 1 {
            target.stand_by();
        }
        let violations = Arc::new(Mutex::new(Vec::new()));
        target.committed = Some(watcher(&source, &violations, &coverage));
        Self {
            source,
            target: SimulatedTarget::new(target, sabotage),
            violations,
            coverage,
            settings: TaskSettings {
                load_parallelism: plan.load_parallelism,
                wave_changes: plan.wave_changes,
                data_errors: DataErrorPolicy::ParkTable,
                idle_seconds: 1,
                added_columns: if plan.seed.is_multiple_of(9) { ColumnPolicy::ParkTable } else { ColumnPolicy::Apply },
                dropped_tables: match plan.seed % 5 {
                    0 => DroppedTablePolicy::ParkTable,
                    1 | 2 => DroppedTablePolicy::Ignore,
                    _ => DroppedTablePolicy::Apply,
                },
                changed_tables: if plan.seed.is_multiple_of(3) {
                    ChangedTablePolicy::ReloadTable
                } else {
                    ChangedTablePolicy::ParkTable
                },
                ..TaskSettings::default()
            },
            mappings: mappings("%"),
            transactions: 0,
            epoch: 0,
            worker: None,
            away: Vec::new(),
            orders: Vec::new(),
            given: 0,
        }
    }

    async fn carry_out(mut self, steps: &[Step]) -> Outcome {
        for step in steps {
            self.step(*step).await;
            self.report();
        }
        self.end().await
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Grant => self.grant(),
            Step::Crash { in_transaction } => {
                self.approach(in_transaction).await;
                if let Some(worker) = self.worker.take() {
                    self.coverage.note(Fault::Crash, None);
                    worker.run.abort();
                    // What it held is dropped now and not when the next worker is there.
                    let _ = worker.run.await;
                }
            }
            Step::Freeze { in_transaction } => {
                self.approach(in_transaction).await;
                self.freeze();
            }
            Step::Stop => {
                if let Some(worker) = self.worker.take() {
                    self.coverage.note(Fault::Stop, None);
                    worker.stop.cancel();
                    self.away.push(worker);
                }
            }
            Step::Wake => self.away.iter().for_each(|worker| worker.gate.open()),
            Step::Wait { millis } => sleep(Duration::from_millis(millis)).await,
            Step::Reload { table } => self.ask(table, TableWish::Reload),
            Step::Park { table } => self.ask(table, TableWish::Park),
            Step::HoldRows { table, millis } => {
                self.target.state().hold_rows(table, Duration::from_millis(millis));
            }
            step => {
                self.write(step);
                self.source.written.notify_waiters();
            }
        }
    }

    fn write(&mut self, step: Step) {
        let mut source = self.source.state();
        match step {
            Step::Write { seed, transactions, most_changes } => {
                source.writes.reseed(seed);
                (0..transactions).for_each(|_| source.write_transaction(most_changes));
                self.transactions += u64::from(transactions);
            }
            Step::Progress { seed, steps } => {
                source.writes.reseed(seed);
                (0..steps).for_each(|_| source.step_in_progress());
            }
            Step::Alter { seed, table } => {
                source.writes.reseed(seed);
                source.alter(table);
            }
            Step::Rewrite { seed, table } => {
                source.writes.reseed(seed);
                source.rewrite(table);
            }
            Step::Truncate { table } => source.truncate(table),
            Step::DropTable => source.drop_table(),
            Step::MakeTable => {
                source.make_table();
                self.coverage.table_made();
            }
            _ => {}
        }
    }

    fn grant(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.coverage.note(Fault::Overtaken, None);
            self.away.push(worker);
        }
        self.epoch += 1;
        let (gate, run) = (Gate::default(), self.run());
        let (stop, orders, passing) = (run.stop.clone(), run.orders.clone(), gate.clone());
        orders.give(self.orders.clone());
        self.coverage.follow(run.status.clone());
        let run = tokio::spawn(passing.pass(async move { run.run().await }));
        self.worker = Some(Worker { gate, stop, orders, run });
    }

    /// Waits a little for a transaction at the target, if one is wanted.
    async fn approach(&self, in_transaction: bool) {
        for _ in 0..200 {
            if !in_transaction || self.target.state().has_open_transaction() {
                return;
            }
            sleep(Duration::from_micros(300)).await;
        }
    }

    fn freeze(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        let in_transaction = self.target.state().has_open_transaction();
        self.coverage.note(if in_transaction { Fault::FrozenInTransaction } else { Fault::Frozen }, None);
        worker.gate.close();
        self.away.push(worker);
    }

    fn ask(&mut self, table: usize, wish: TableWish) {
        self.coverage.note(if wish == TableWish::Reload { Fault::Reload } else { Fault::Park }, Some(table));
        self.given += 1;
        self.orders.push(TableOrder { number: self.given, table: TableName::new("sim", format!("t{table}")), wish });
    }

    /// The worker says what is done and hears what is asked.
    fn report(&mut self) {
        let Some(worker) = &self.worker else { return };
        let done = worker.orders.done();
        self.orders.retain(|order| !done.contains(&order.number));
        worker.orders.forget(&done);
        worker.orders.give(self.orders.clone());
    }

    /// The task as the newest epoch runs it.
    fn run(&self) -> Run {
        let run = support::run(&self.source, &self.target, self.epoch, self.settings.clone());
        Run { mappings: self.mappings.clone(), ..run }
    }

    /// Lets everything come to rest, then looks at what is there.
    async fn end(mut self) -> Outcome {
        if self.worker.is_none() {
            self.grant();
        }
        {
            let mut source = self.source.state();
            source.writes.reseed(0);
            source.commit_all_in_progress();
            source.write_transaction(4);
        }
        self.away.iter().for_each(|worker| worker.gate.open());
        self.settle().await;
        sleep(Duration::from_secs(20)).await;
        let mut violations = std::mem::take(&mut *self.violations.lock().unwrap());
        violations.extend(self.differences());
        for worker in self.away.drain(..).chain(self.worker.take()) {
            worker.stop.cancel();
            match tokio::time::timeout(Duration::from_mins(10), worker.run).await {
                Ok(Ok(Ok(_) | Err(Failure::Fenced { .. }))) => {}
                other => violations.push(format!("a worker ended badly: {other:?}")),
            }
        }
        let (counts, states) = self.coverage.take();
        let target = self.target.state();
        let is_parked = |stage: &_| matches!(stage, Stage::Parked(_));
        Outcome {
            violations,
            transactions: self.transactions,
            epochs: self.epoch.unsigned_abs(),
            states,
            counts,
            added: u64::from(target.marks.get(&(TABLES - 1)).is_some_and(|mark| mark.mark.stage == Stage::Loaded)),
            ended: target.ended.len() as u64,
            waves: target.waves,
            parked: target.marks.values().filter(|mark| is_parked(&mark.mark.stage)).count() as u64,
        }
    }

    /// Waits until the target has all that the source wrote, and what was asked is done.
    async fn settle(&mut self) {
        let end = self.source.state().end;
        let patience = Instant::now() + Duration::from_hours(1);
        loop {
            self.report();
            self.source.written.notify_waiters();
            let there = self.orders.is_empty() && self.has_settled(end);
            let over = self.worker.as_ref().is_none_or(|worker| worker.run.is_finished());
            if there || over || Instant::now() > patience {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn has_settled(&self, end: u64) -> bool {
        let target = self.target.state();
        let reached = target.bookmark().is_some_and(|bookmark| place(&bookmark.position) >= end);
        reached && target.marks.values().all(|mark| mark.mark.stage != Stage::Loading)
    }

    fn differences(&self) -> Vec<String> {
        let (source, target) = (self.source.state(), self.target.state());
        let mut found = oracle::differences(&source, &target);
        let reached = target.bookmark().map_or(0, |bookmark| place(&bookmark.position));
        if reached < source.end {
            found.push(format!("the target stays at {reached} although the source is at {}", source.end));
        }
        found.extend(self.orders.iter().map(|order| format!("{order:?} is never done")));
        found
    }
}

/// Compares after every commit of the target.
fn watcher(
    source: &SimulatedSource,
    violations: &Arc<Mutex<Vec<String>>>,
    coverage: &Coverage,
) -> wavemark_connector::testkit::target::Watcher {
    let (source, violations, coverage) = (source.clone(), Arc::clone(violations), coverage.clone());
    Box::new(move |target| {
        coverage.committed(target);
        let mut noted = violations.lock().unwrap();
        if noted.len() < 5 {
            noted.extend(oracle::differences(&source.state(), target));
        }
    })
}
