//! A stop is heeded between two commits, also where a wave that failed is being divided.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wavemark_connector::TaskContext;
use wavemark_connector::testkit::model::{SourceState, place};
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, oracle};
use wavemark_domain::ids::Generation;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, TaskId};
use wavemark_engine::{Ended, Orders, Run, Status};

struct World {
    source: SimulatedSource,
    target: SimulatedTarget,
}

impl World {
    /// Nothing goes wrong but what the source writes: values that the target can't take.
    fn new(seed: u64) -> Self {
        let odds = |poison| Odds { lost_call: 0, lost_answer: 0, poison };
        Self {
            source: SimulatedSource::new(SourceState::new(3, 0, Chance::new(seed, odds(40))), None),
            target: SimulatedTarget::new(TargetState::new(3, Chance::new(seed, odds(0))), None),
        }
    }

    fn run(&self, epoch: i64) -> Run {
        let rules = serde_json::json!({"rules": [{
            "rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
            "object-locator": {"schema-name": "%", "table-name": "%"}
        }]});
        Run {
            task: TaskContext {
                task: TaskId::default(),
                name: "simulated".to_owned(),
                generation: Generation(1),
                epoch: Epoch(epoch),
                first_grant: epoch == 1,
                kind: TaskKind::FullLoadAndCdc,
                settings: TaskSettings { load_parallelism: 1, ..TaskSettings::default() },
                spill_dir: std::env::temp_dir(),
            },
            mappings: Mappings::parse(&rules).unwrap(),
            source_engine: "simulated".to_owned(),
            source: Arc::new(self.source.clone()),
            target: Arc::new(self.target.clone()),
            status: Status::default(),
            orders: Orders::default(),
            stop: CancellationToken::new(),
        }
    }

    fn waves(&self) -> u64 {
        self.target.state().waves
    }

    fn assert_exact(&self) {
        let found = oracle::differences(&self.source.state(), &self.target.state());
        assert!(found.is_empty(), "{found:?}");
    }

    /// Starts a run, writes a backlog once it follows, and stops it when a wave is divided for the first time. Says how
    /// many waves were committed after that.
    async fn stopped_while_dividing(&self) -> u64 {
        let run = self.run(1);
        let running = run.clone();
        let running = tokio::spawn(async move { running.run().await });
        while run.status.progress().wave.is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        (0..300).for_each(|_| self.source.state().write_transaction(2));
        self.source.written.notify_waiters();
        while run.status.progress().retries == 0 {
            sleep(Duration::from_micros(1)).await;
        }
        let before = self.waves();
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
        self.waves() - before
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_breaks_into_a_wave_that_is_divided_and_the_next_run_finishes_it() {
    for seed in 1..40 {
        let world = World::new(seed);
        let after = world.stopped_while_dividing().await;
        // The half that was under way, or the table that it parked.
        assert!(after <= 1, "seed {seed}: {after} waves were committed after the stop");
        world.assert_exact();

        let run = world.run(2);
        let running = run.clone();
        let running = tokio::spawn(async move { running.run().await });
        let end = world.source.state().end;
        while world.target.state().bookmark().is_none_or(|bookmark| place(&bookmark.position) < end) {
            sleep(Duration::from_millis(10)).await;
        }
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
        world.assert_exact();
    }
}
