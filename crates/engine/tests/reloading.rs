//! Single tables are reloaded and parked at random moments while a simulated source changes, calls and answers get
//! lost, and workers die. After every commit the target must be what the source was; at the end every table is.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wavemark_connector::TaskContext;
use wavemark_connector::target::Stage;
use wavemark_connector::testkit::model::{SourceState, place};
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, oracle};
use wavemark_domain::ids::Generation;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, TableName, TableOrder, TableWish, TaskId};
use wavemark_engine::{Ended, Failure, Orders, Run, Status};

const TABLES: usize = 4;

struct World {
    rng: StdRng,
    source: SimulatedSource,
    target: SimulatedTarget,
    violations: Arc<Mutex<Vec<String>>>,
    settings: TaskSettings,
    epoch: i64,
    /// What nobody has said to be done, as the server keeps it.
    orders: Vec<TableOrder>,
    given: i64,
}

struct Worker {
    run: Run,
    running: JoinHandle<Result<Ended, Failure>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let odds = Odds { lost_call: rng.random_range(0..6), lost_answer: rng.random_range(0..6), poison: 0 };
        let source = SimulatedSource::new(SourceState::new(TABLES, 30, Chance::new(seed ^ 1, odds)), None);
        let mut state = TargetState::new(TABLES, Chance::new(seed ^ 2, odds));
        let violations = Arc::new(Mutex::new(Vec::new()));
        let (noted, watched) = (Arc::clone(&violations), source.clone());
        state.committed = Some(Box::new(move |target| {
            let found = oracle::differences(&watched.state(), target);
            noted.lock().unwrap().extend(found.into_iter().filter(|one| !is_asked_for(one)));
        }));
        let settings = TaskSettings {
            load_parallelism: rng.random_range(1..3),
            wave_changes: rng.random_range(1..60),
            idle_seconds: 1,
            ..TaskSettings::default()
        };
        let target = SimulatedTarget::new(state, None);
        Self { rng, source, target, violations, settings, epoch: 0, orders: Vec::new(), given: 0 }
    }

    fn start(&mut self) -> Worker {
        self.epoch += 1;
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
            stop: CancellationToken::new(),
        };
        run.orders.give(self.orders.clone());
        let started = run.clone();
        Worker { run, running: tokio::spawn(async move { started.run().await }) }
    }

    /// Writes, asks, and carries what is done back to whoever keeps the orders.
    async fn live_for(&mut self, rounds: u32, worker: &Worker) {
        for _ in 0..rounds {
            let most = if self.rng.random_range(0..10) == 0 { 30 } else { 4 };
            (0..self.rng.random_range(1..4)).for_each(|_| self.source.state().write_transaction(most));
            self.source.written.notify_waiters();
            if self.rng.random_range(0..8) == 0 {
                let wish = if self.rng.random_range(0..3) == 0 { TableWish::Park } else { TableWish::Reload };
                let table = self.rng.random_range(0..TABLES);
                self.ask(wish, table);
            }
            self.report(worker);
            sleep(Duration::from_millis(self.rng.random_range(1..80))).await;
        }
    }

    fn ask(&mut self, wish: TableWish, table: usize) {
        self.given += 1;
        self.orders.push(TableOrder { number: self.given, table: TableName::new("sim", format!("t{table}")), wish });
    }

    fn report(&mut self, worker: &Worker) {
        let done = worker.run.orders.done();
        self.orders.retain(|order| !done.contains(&order.number));
        worker.run.orders.forget(&done);
        worker.run.orders.give(self.orders.clone());
    }

    async fn settle(&mut self, worker: &Worker) {
        for table in 0..TABLES {
            self.ask(TableWish::Reload, table);
        }
        let end = self.source.state().end;
        for _ in 0..20_000 {
            self.report(worker);
            self.source.written.notify_waiters();
            let reached = self.target.state().bookmark().is_some_and(|bookmark| place(&bookmark.position) >= end);
            if self.orders.is_empty() && reached && self.all_loaded() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.violations.lock().unwrap().push(format!("it never settles: {:?}", self.orders));
    }

    fn all_loaded(&self) -> bool {
        let target = self.target.state();
        target.marks.len() == TABLES && target.marks.values().all(|mark| mark.mark.stage == Stage::Loaded)
    }

    async fn run(mut self) -> Vec<String> {
        for _ in 0..self.rng.random_range(2..6) {
            let worker = self.start();
            let rounds = self.rng.random_range(1..60);
            self.live_for(rounds, &worker).await;
            worker.running.abort();
        }
        let last = self.start();
        self.live_for(20, &last).await;
        self.settle(&last).await;
        let mut found = std::mem::take(&mut *self.violations.lock().unwrap());
        found.extend(oracle::differences(&self.source.state(), &self.target.state()));
        last.run.stop.cancel();
        match last.running.await {
            Ok(Ok(Ended::Stopped)) => {}
            other => found.push(format!("the last worker ended badly: {other:?}")),
        }
        found
    }
}

/// What the oracle finds strange and a person asked for.
fn is_asked_for(found: &str) -> bool {
    found.contains("is loading although there is a bookmark") || found.contains("was parked by a person")
}

#[test]
fn tables_that_are_reloaded_and_parked_while_workers_die_are_what_the_source_was() {
    for seed in 1..=300 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let found = runtime.block_on(World::new(seed).run());
        assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
    }
}
