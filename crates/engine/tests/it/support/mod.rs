//! A task between a simulated source and a simulated target.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wavemark_connector::TaskContext;
use wavemark_connector::testkit::model::{SourceState, place};
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, oracle};
use wavemark_domain::ids::Generation;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::task::{DataErrorPolicy, TaskKind, TaskSettings};
use wavemark_domain::{Epoch, TaskId};
use wavemark_engine::{Ended, Failure, Orders, Run, Share, Status};

/// A run that goes on.
pub(crate) type Running = tokio::task::JoinHandle<Result<Ended, Failure>>;

/// The task at an epoch, taking all tables.
pub(crate) fn run(source: &SimulatedSource, target: &SimulatedTarget, epoch: i64, settings: TaskSettings) -> Run {
    Run {
        task: task(epoch, settings),
        mappings: mappings("%"),
        source_engine: "simulated".to_owned(),
        source: Arc::new(source.clone()),
        target: Arc::new(target.clone()),
        status: Status::default(),
        orders: Orders::default(),
        paces: Vec::new(),
        connections: Share::default(),
        stop: CancellationToken::new(),
    }
}

pub(crate) fn task(epoch: i64, settings: TaskSettings) -> TaskContext {
    TaskContext {
        task: TaskId::default(),
        name: "simulated".to_owned(),
        generation: Generation(1),
        epoch: Epoch(epoch),
        first_grant: epoch == 1,
        kind: TaskKind::FullLoadAndCdc,
        settings,
        spill_dir: std::env::temp_dir(),
    }
}

/// The tables of the simulated schema, or one of them.
pub(crate) fn mappings(table: &str) -> Mappings {
    let rules = serde_json::json!({"rules": [{
        "rule-type": "selection", "rule-id": "1", "rule-name": "chosen", "rule-action": "include",
        "object-locator": {"schema-name": "sim", "table-name": table}
    }]});
    Mappings::parse(&rules).unwrap()
}

/// Source and target where only the source's values go wrong, if told to.
pub(crate) struct World {
    pub(crate) source: SimulatedSource,
    pub(crate) target: SimulatedTarget,
}

impl World {
    /// `poison`: how often of a thousand the source writes a value that the target can't take.
    pub(crate) fn new(seed: u64, poison: u32) -> Self {
        let odds = |poison| Odds { lost_call: 0, lost_answer: 0, poison };
        Self {
            source: SimulatedSource::new(SourceState::new(3, 0, Chance::new(seed, odds(poison))), None),
            target: SimulatedTarget::new(TargetState::new(3, Chance::new(seed, odds(0))), None),
        }
    }

    pub(crate) fn run(&self, epoch: i64) -> Run {
        run(&self.source, &self.target, epoch, TaskSettings { load_parallelism: 1, ..TaskSettings::default() })
    }

    /// Starts a run with this policy and waits until it follows.
    pub(crate) async fn following(&self, data_errors: DataErrorPolicy) -> (Run, Running) {
        self.following_by(TaskSettings { data_errors, ..TaskSettings::default() }).await
    }

    /// The same with further settings.
    pub(crate) async fn following_by(&self, settings: TaskSettings) -> (Run, Running) {
        let settings = TaskSettings { load_parallelism: 1, ..settings };
        let run = run(&self.source, &self.target, 1, settings);
        let running = run.clone();
        let running = tokio::spawn(async move { running.run().await });
        while run.status.progress().wave.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (run, running)
    }

    /// Waits until the target has everything that ended up to there.
    pub(crate) async fn reaches(&self, end: u64) {
        self.source.written.notify_waiters();
        let reached = async {
            while self.target.state().bookmark().is_none_or(|bookmark| place(&bookmark.position) < end) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(10), reached).await.unwrap();
    }

    pub(crate) fn assert_exact(&self) {
        let found = oracle::differences(&self.source.state(), &self.target.state());
        assert!(found.is_empty(), "{found:?}");
    }
}
