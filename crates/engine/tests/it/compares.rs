//! Comparisons while a task follows: never a false difference, every true one, and repair.

use crate::support;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use wavemark_connector::testkit::model::{Row, SourceState, place};
use wavemark_connector::testkit::source::SimulatedSource;
use wavemark_connector::testkit::target::{SimulatedTarget, TargetState};
use wavemark_connector::testkit::{Chance, Odds, Sabotage, oracle};
use wavemark_domain::compare::{
    CompareOrder, CompareProgress, CompareState, ComparedState, Difference, RepairOrder, RowKey,
};
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Failure, Run};

const TABLES: usize = 4;

struct World {
    source: SimulatedSource,
    target: SimulatedTarget,
}

struct Worker {
    run: Run,
    running: JoinHandle<Result<Ended, Failure>>,
}

impl World {
    fn new(seed: u64, lost: u32, sabotage: Option<Sabotage>) -> Self {
        let odds = Odds { lost_call: lost, lost_answer: lost, poison: 0 };
        Self {
            source: SimulatedSource::new(SourceState::new(TABLES, 40, Chance::new(seed, odds)), sabotage),
            target: SimulatedTarget::new(TargetState::new(TABLES, Chance::new(seed ^ 1, odds)), None),
        }
    }

    fn start(&self, epoch: i64) -> Worker {
        let settings = TaskSettings { load_parallelism: 1, idle_seconds: 1, ..TaskSettings::default() };
        let run = support::run(&self.source, &self.target, epoch, settings);
        let runs = run.clone();
        Worker { run, running: tokio::spawn(async move { runs.run().await }) }
    }

    /// Writes for as long as the handle lives.
    fn write(&self) -> JoinHandle<()> {
        let source = self.source.clone();
        tokio::spawn(async move {
            loop {
                source.state().write_transaction(6);
                source.written.notify_waiters();
                // Slower than the simulated target, whose commits take a tenth of a second on the average.
                sleep(Duration::from_millis(250)).await;
            }
        })
    }

    async fn wait_live(&self, worker: &Worker) {
        let live = || {
            let tables = worker.run.status.progress().tables;
            tables.len() == TABLES && tables.iter().all(|table| table.state == wavemark_domain::state::TableState::Live)
        };
        while !live() {
            self.source.state().write_transaction(2);
            self.source.written.notify_waiters();
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the target has all that was written, so that nothing of the log undoes a damage.
    async fn wait_quiet(&self) {
        let end = self.source.state().end;
        while self.target.state().bookmark().is_none_or(|bookmark| place(&bookmark.position) < end) {
            self.source.written.notify_waiters();
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// A row of a keyed table of the target, and the place where it is.
    fn some_row(&self, table: usize) -> (usize, Row) {
        let target = self.target.state();
        let at = target.tables[table].len() / 2;
        (at, target.tables[table][at])
    }
}

impl Worker {
    async fn compared(&self, order: CompareOrder) -> CompareProgress {
        let number = order.number;
        self.run.orders.compares.give(vec![order], &[number]);
        self.wait_compared(number).await
    }

    async fn wait_compared(&self, number: i64) -> CompareProgress {
        let over = async {
            loop {
                let reports = self.run.orders.compares.reports();
                let news = reports.into_iter().find(|report| report.number == number).and_then(|report| report.news);
                if let Some(progress) = news.filter(|progress| progress.state.is_over()) {
                    return progress;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let Ok(progress) = timeout(Duration::from_mins(30), over).await else {
            panic!("the comparison is not over in time: {:?}", self.run.orders.compares.reports());
        };
        progress
    }

    async fn stop(self) {
        self.run.stop.cancel();
        assert_eq!(self.running.await.unwrap().unwrap(), Ended::Stopped);
    }
}

fn order(number: i64) -> CompareOrder {
    CompareOrder { number, tables: None, sessions: 2, repair: Vec::new() }
}

fn differences(progress: &CompareProgress) -> u64 {
    assert_eq!(progress.state, CompareState::Done, "{progress:?}");
    progress.tables.iter().map(wavemark_domain::compare::ComparedTable::differences).sum()
}

#[tokio::test(start_paused = true)]
async fn source_and_target_are_equal_at_every_position_at_which_they_are_compared() {
    for seed in 1..15 {
        let world = World::new(seed, 0, None);
        let worker = world.start(1);
        world.wait_live(&worker).await;
        let writer = world.write();
        for number in 1..=6 {
            let progress = worker.compared(order(number)).await;
            assert_eq!(differences(&progress), 0, "seed {seed}: {progress:?}");
            assert!(progress.tables.iter().all(|table| table.state == ComparedState::Done), "{progress:?}");
            assert!(progress.tables.iter().any(|table| table.rows.unwrap()[0] > 0));
            assert_eq!(progress.tries, 1, "seed {seed}: the log is cut where the view stands, whatever follows");
            sleep(Duration::from_millis(seed * 7)).await;
        }
        writer.abort();
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_later_than_its_position_differs() {
    let mut caught = 0;
    for seed in 1..20 {
        let world = World::new(seed, 0, Some(Sabotage::ComparedLater));
        let worker = world.start(1);
        world.wait_live(&worker).await;
        let writer = world.write();
        for number in 1..=4 {
            caught += differences(&worker.compared(order(number)).await);
        }
        writer.abort();
        worker.stop().await;
    }
    assert!(caught > 0, "rows that were written after the position must show as differences");
}

#[tokio::test(start_paused = true)]
async fn a_comparison_survives_lost_calls_and_the_death_of_its_worker() {
    for seed in 1..10 {
        let world = World::new(seed, 8, None);
        let mut worker = world.start(1);
        world.wait_live(&worker).await;
        let writer = world.write();
        worker.run.orders.compares.give(vec![order(1)], &[1]);
        for epoch in 2..5 {
            sleep(Duration::from_millis(seed * 3)).await;
            worker.running.abort();
            let _ = worker.running.await;
            worker = world.start(epoch);
            // The server gives it again to a worker that does not name it.
            worker.run.orders.compares.give(vec![order(1)], &[1]);
        }
        world.wait_live(&worker).await;
        let progress = worker.wait_compared(1).await;
        // It may have been begun before every table was live again: those are named.
        assert_eq!(differences(&progress), 0, "seed {seed}: {progress:?}");
        writer.abort();
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_were_damaged_are_found_by_key_and_made_equal() {
    for seed in 1..15 {
        let world = World::new(seed, 0, None);
        (0..80).for_each(|_| world.source.state().write_transaction(4));
        let worker = world.start(1);
        world.wait_live(&worker).await;
        world.wait_quiet().await;
        if world.target.state().tables[0].len() < 4 || world.target.state().tables[1].is_empty() {
            worker.stop().await;
            continue;
        }
        // One row goes, one comes, one changes, behind the task's back.
        let (at, gone) = world.some_row(0);
        world.target.state().tables[0].remove(at);
        let (at, changed) = world.some_row(0);
        world.target.state().tables[0][at].large ^= 1;
        let come = Row { id: 1 << 40, value: 1, large: 2 };
        world.target.state().tables[1].push(come);
        // The table without a key has a row twice.
        let twice = world.target.state().tables[TABLES - 1].first().copied();
        world.target.state().tables[TABLES - 1].extend(twice);

        let progress = worker.compared(order(1)).await;
        let found: Vec<(Difference, String)> =
            progress.tables[0].keys.iter().map(|row| (row.difference, row.key.text[0].clone())).collect();
        let mut wanted =
            vec![(Difference::Missing, gone.id.to_string()), (Difference::Different, changed.id.to_string())];
        wanted.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(found, wanted, "seed {seed}");
        assert_eq!((progress.tables[0].missing, progress.tables[0].different, progress.tables[0].extra), (1, 1, 0));
        assert_eq!((progress.tables[1].extra, progress.tables[1].keys[0].difference), (1, Difference::Extra));
        let last = &progress.tables[TABLES - 1];
        assert_eq!((last.extra, last.keys.len()), (u64::from(twice.is_some()), 0));
        assert_eq!(differences(&progress), 3 + u64::from(twice.is_some()));
        if let Some(twice) = twice {
            let rows = &mut world.target.state().tables[TABLES - 1];
            let at = rows.iter().position(|row| *row == twice).unwrap();
            rows.remove(at);
        }

        let keys = |at: usize| -> Vec<RowKey> { progress.tables[at].keys.iter().map(|row| row.key.clone()).collect() };
        let repair = |at: usize| RepairOrder { table: progress.tables[at].table.clone(), keys: keys(at) };
        let repaired = worker.compared(CompareOrder { repair: vec![repair(0), repair(1)], ..order(2) }).await;
        assert_eq!(differences(&repaired), 0, "seed {seed}: {repaired:?}");
        assert_eq!((repaired.tables[0].repaired, repaired.tables[1].repaired), (2, 1));
        // Changes of the repaired rows are applied strictly, as ever.
        let writer = world.write();
        assert_eq!(differences(&worker.compared(order(3)).await), 0);
        writer.abort();
        worker.stop().await;
        let left = oracle::differences(&world.source.state(), &world.target.state());
        assert!(left.is_empty(), "seed {seed}: {left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_can_not_be_compared_are_named_with_the_reason_and_are_not_repaired() {
    let world = World::new(3, 0, None);
    (0..80).for_each(|_| world.source.state().write_transaction(4));
    let worker = world.start(1);
    world.wait_live(&worker).await;
    world.wait_quiet().await;
    let name = |table: &str| TableName::new("sim", table);
    worker.run.orders.give(vec![TableOrder { number: 1, table: name("t1"), wish: TableWish::Park }]);
    sleep(Duration::from_secs(5)).await;
    let key = |id: u64| RowKey { text: vec![id.to_string()], cells: vec![format!("{id:016x}")] };
    let repair = |table: &str| RepairOrder { table: name(table), keys: vec![key(1), key(2)] };
    // One that is live and has a key, one that is parked, one without a key, one that nobody knows.
    let (last, all) = (format!("t{}", TABLES - 1), ["t0", "t1", "t9"].map(name));
    let order = CompareOrder {
        tables: Some([&all[..], &[name(&last)]].concat()),
        repair: vec![repair("t0"), repair("t1"), repair(&last), repair("t9")],
        ..order(1)
    };
    let progress = worker.compared(order).await;
    assert_eq!(differences(&progress), 0, "{progress:?}");
    let found: Vec<_> =
        progress.tables.iter().map(|table| (table.reason.as_deref(), table.repaired, table.key.len())).collect();
    let expected = [
        (None, 2, 1),
        (Some("It is parked."), 0, 0),
        (Some("It is not among the tables that are followed."), 0, 0),
        (None, 0, 0),
    ];
    assert_eq!(found, expected);
    assert_eq!(progress.tables[0].key, ["id"]);
    assert!(progress.held_ms.is_some_and(|held| held > 0), "{progress:?}");
    worker.stop().await;
}
