//! One seed: a writer, and workers that come and go.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wavemark_connector::TaskContext;
use wavemark_connector::testkit::model::{SourceState, place};
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, Sabotage, oracle};
use wavemark_domain::ids::Generation;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::task::{DataErrorPolicy, TaskKind, TaskSettings};
use wavemark_domain::{Epoch, TaskId};
use wavemark_engine::{Ended, Failure, Orders, Run, Status};

use super::gate::Gate;

/// What happened in one seed, or in many.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    transactions: u64,
    waves: u64,
    crashes: u64,
    crashes_in_load: u64,
    zombies: u64,
    stops: u64,
    lost_calls: u64,
    lost_answers: u64,
    parked: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.waves += other.waves;
        self.crashes += other.crashes;
        self.crashes_in_load += other.crashes_in_load;
        self.zombies += other.zombies;
        self.stops += other.stops;
        self.lost_calls += other.lost_calls;
        self.lost_answers += other.lost_answers;
        self.parked += other.parked;
    }

    pub(crate) fn every_fault_occurred(&self) -> bool {
        let counts = [
            self.crashes,
            self.crashes_in_load,
            self.zombies,
            self.stops,
            self.lost_calls,
            self.lost_answers,
            self.parked,
        ];
        counts.iter().all(|count| *count >= 10)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} transactions, {} waves, {} crashes ({} in a load), {} zombies, {} stops, {} calls and {} answers lost, \
             {} tables parked",
            self.transactions,
            self.waves,
            self.crashes,
            self.crashes_in_load,
            self.zombies,
            self.stops,
            self.lost_calls,
            self.lost_answers,
            self.parked
        )
    }
}

const TABLES: usize = 3;

/// Runs one seed to its end on virtual time.
pub(crate) fn simulate(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(World::new(seed, sabotage).run())
}

struct World {
    rng: StdRng,
    source: SimulatedSource,
    target: SimulatedTarget,
    violations: Arc<Mutex<Vec<String>>>,
    settings: TaskSettings,
    outcome: Outcome,
    epoch: i64,
}

/// A worker's run of the task.
struct Worker {
    gate: Gate,
    stop: CancellationToken,
    run: JoinHandle<Result<Ended, Failure>>,
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let odds = Odds {
            lost_call: rng.random_range(0..8),
            lost_answer: rng.random_range(0..8),
            poison: if rng.random_range(0..4) == 0 { 3 } else { 0 },
        };
        let source = SourceState::new(TABLES, 40, Chance::new(seed ^ 0x5eed, odds));
        let mut target = TargetState::new(TABLES, Chance::new(seed ^ 0x7a96, odds));
        let source = SimulatedSource::new(source, sabotage);
        let violations = Arc::new(Mutex::new(Vec::new()));
        let (noted, watched) = (Arc::clone(&violations), source.clone());
        target.committed = Some(Box::new(move |target| {
            let found = oracle::differences(&watched.state(), target);
            let mut noted = noted.lock().unwrap();
            if noted.len() < 5 {
                noted.extend(found);
            }
        }));
        let settings = TaskSettings {
            load_parallelism: rng.random_range(1..4),
            wave_changes: rng.random_range(1..120),
            data_errors: DataErrorPolicy::ParkTable,
            idle_seconds: 1,
            ..TaskSettings::default()
        };
        let target = SimulatedTarget::new(target, sabotage);
        Self { rng, source, target, violations, settings, outcome: Outcome::default(), epoch: 0 }
    }

    async fn run(mut self) -> Outcome {
        let mut away: Vec<Worker> = Vec::new();
        for _ in 0..self.rng.random_range(3..7) {
            let worker = self.start();
            let longest = if self.rng.random_range(0..3) == 0 { 4_000 } else { 500 };
            let lasts = Duration::from_millis(self.rng.random_range(1..longest));
            self.write_for(lasts).await;
            self.end(worker, &mut away);
        }
        let last = self.start();
        self.write_for(Duration::from_millis(300)).await;
        for zombie in &away {
            zombie.gate.open();
        }
        self.settle(&last).await;
        sleep(Duration::from_secs(20)).await;
        self.check_end(last, away).await;
        self.outcome
    }

    fn start(&mut self) -> Worker {
        self.epoch += 1;
        let (gate, stop) = (Gate::default(), CancellationToken::new());
        let rules = serde_json::json!({"rules": [{
            "rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
            "object-locator": {"schema-name": "%", "table-name": "%"}
        }]});
        let run = Run {
            task: TaskContext {
                task: TaskId::default(),
                name: "simulated".to_owned(),
                generation: Generation(1),
                epoch: Epoch(self.epoch),
                first_grant: self.epoch == 1,
                kind: TaskKind::FullLoadAndCdc,
                settings: self.settings.clone(),
                spill_dir: std::env::temp_dir(),
            },
            mappings: Mappings::parse(&rules).unwrap(),
            source_engine: "simulated".to_owned(),
            source: Arc::new(self.source.clone()),
            target: Arc::new(self.target.clone()),
            status: Status::default(),
            orders: Orders::default(),
            stop: stop.clone(),
        };
        let passing = gate.clone();
        Worker { gate, stop, run: tokio::spawn(passing.pass(async move { run.run().await })) }
    }

    /// Writes transactions at random moments.
    async fn write_for(&mut self, lasts: Duration) {
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            let most = if self.rng.random_range(0..12) == 0 { 40 } else { 4 };
            for _ in 0..self.rng.random_range(1..4) {
                self.source.state().write_transaction(most);
                self.outcome.transactions += 1;
            }
            self.source.written.notify_waiters();
            sleep(Duration::from_millis(self.rng.random_range(0..60))).await;
        }
    }

    /// Ends a worker the hard way, the soft way, or hardly at all.
    fn end(&mut self, worker: Worker, away: &mut Vec<Worker>) {
        match self.rng.random_range(0..6) {
            0 => {
                self.outcome.zombies += 1;
                away.push(worker);
            }
            1 => {
                self.outcome.zombies += 1;
                worker.gate.close();
                away.push(worker);
            }
            2 => {
                self.outcome.stops += 1;
                worker.stop.cancel();
                away.push(worker);
            }
            _ => {
                self.outcome.crashes += 1;
                self.outcome.crashes_in_load += u64::from(self.target.state().bookmark().is_none());
                worker.run.abort();
            }
        }
    }

    /// Waits until the target has all that the source wrote.
    async fn settle(&mut self, last: &Worker) {
        let end = self.source.state().end;
        let patience = Instant::now() + Duration::from_hours(1);
        loop {
            self.source.written.notify_waiters();
            let there = self.target.state().bookmark().is_some_and(|bookmark| place(&bookmark.position) >= end);
            if there || last.run.is_finished() || Instant::now() > patience {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn check_end(&mut self, last: Worker, away: Vec<Worker>) {
        let mut violations = std::mem::take(&mut *self.violations.lock().unwrap());
        {
            let (source, target) = (self.source.state(), self.target.state());
            let reached = target.bookmark().map_or(0, |bookmark| place(&bookmark.position));
            if reached < source.end {
                violations.push(format!("the target stays at {reached} although the source is at {}", source.end));
            }
            violations.extend(oracle::differences(&source, &target));
            self.outcome.waves = target.waves;
            self.outcome.lost_calls = source.chance.lost_calls + target.chance.lost_calls;
            self.outcome.lost_answers = source.chance.lost_answers + target.chance.lost_answers;
            self.outcome.parked = target
                .marks
                .values()
                .filter(|mark| matches!(mark.mark.stage, wavemark_connector::target::Stage::Parked(_)))
                .count() as u64;
        }
        for worker in away.into_iter().chain([last]) {
            worker.stop.cancel();
            let ended = tokio::time::timeout(Duration::from_mins(10), worker.run).await;
            match ended {
                Ok(Ok(Ok(_) | Err(Failure::Fenced { .. }))) => {}
                other => violations.push(format!("a worker ended badly: {other:?}")),
            }
        }
        self.outcome.violations = violations;
    }
}
