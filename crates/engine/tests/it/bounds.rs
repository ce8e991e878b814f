//! Where a task ends by itself: what the target has then is what the source had there, to the row.

use std::time::Duration;

use crate::support::{World, run};
use tokio::time::timeout;
use wavemark_connector::target::Stage;
use wavemark_connector::testkit::model::{Row, place};
use wavemark_domain::ChangeKind::{Insert, Update};
use wavemark_domain::Fault;
use wavemark_domain::progress::TaskEventRecord;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{DataErrorPolicy, TaskKind, TaskSettings};
use wavemark_engine::{Ended, Failure, Run};

impl World {
    fn stopping_at(&self, epoch: i64, stop_at: StopAt) -> Run {
        let data_errors = DataErrorPolicy::ParkTable;
        let settings = TaskSettings { load_parallelism: 1, stop_at, data_errors, ..TaskSettings::default() };
        run(&self.source, &self.target, epoch, settings)
    }

    /// Writes so many transactions, small ones and some that come in parts, and gives the ends of all.
    fn write_some(&self, count: usize) -> Vec<u64> {
        let mut ends = Vec::new();
        for number in 0..count {
            let changes =
                if number % 5 == 4 { vec![(0, Insert); 12] } else { vec![(0, Insert), (1, Insert), (0, Update)] };
            self.source.state().write(&changes);
            ends.push(self.source.state().end);
        }
        self.source.written.notify_waiters();
        ends
    }

    fn assert_rows_as_of(&self, at: u64, what: &str) {
        let expected = self.source.state().rows_at(at);
        for (table, rows) in self.target.state().tables.iter().enumerate() {
            let mut found: Vec<Row> = rows.clone();
            found.sort_unstable();
            assert_eq!(found, **expected[table], "{what}, table {table}");
        }
    }

    fn bookmark(&self) -> u64 {
        place(&self.target.state().bookmark().unwrap().position)
    }
}

async fn ended(run: &Run) -> Result<Ended, Failure> {
    timeout(Duration::from_mins(10), run.run()).await.expect("it ends by itself")
}

fn told(run: &Run) -> TaskEventRecord {
    let events = run.status.events();
    events.into_iter().find(|event| event.code == "stop-reached").expect("the event says why it ended")
}

/// A task that has loaded and waits, so that what is written next comes by the log alone.
async fn loaded(seed: u64) -> World {
    let world = World::new(seed, 0);
    let run = world.stopping_at(1, StopAt::Loaded);
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    assert!(told(&run).text.contains("ended once loaded"), "{}", told(&run).text);
    let states: Vec<_> = run.status.progress().tables.iter().map(|table| table.state).collect();
    assert_eq!(states, [TableState::Live; 3]);
    world.assert_rows_as_of(world.bookmark(), "once loaded");
    world
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_once_it_is_loaded_and_goes_on_when_that_is_changed() {
    for seed in 1..20 {
        let world = loaded(seed).await;
        let ends = world.write_some(7);
        let again = world.stopping_at(2, StopAt::Loaded);
        assert_eq!(ended(&again).await.unwrap(), Ended::Finished);
        assert!(world.bookmark() < ends[0], "seed {seed}: it does not go on while nothing is changed");
        let on = world.stopping_at(3, StopAt::Position(ends[6].to_string()));
        assert_eq!(ended(&on).await.unwrap(), Ended::Finished);
        world.assert_rows_as_of(ends[6], "gone on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_with_the_last_transaction_that_ends_at_its_position_or_before() {
    for (seed, nth) in (1..12).flat_map(|seed| [0, 3, 4, 9, 14].map(|nth| (seed, nth))) {
        let world = loaded(seed).await;
        let ends = world.write_some(15);
        for (epoch, at) in [(2, ends[nth] - 1), (3, ends[nth]), (4, ends[nth])] {
            let run = world.stopping_at(epoch, StopAt::Position(at.to_string()));
            assert_eq!(ended(&run).await.unwrap(), Ended::Finished, "seed {seed}, {at}");
            world.assert_rows_as_of(at, &format!("seed {seed}, transaction {nth}, epoch {epoch}"));
            assert!(world.bookmark() <= at, "seed {seed}: {} is beyond {at}", world.bookmark());
            let text = told(&run).text;
            let bookmark =
                format!("at position {at}, as stop_at says: the target has everything up to {}", world.bookmark());
            assert!(text.contains(&bookmark), "{text}");
            assert!(!text.contains("not live"), "{text}");
        }
        world.assert_exact();
        let on = world.stopping_at(5, StopAt::Position(ends[14].to_string()));
        assert_eq!(ended(&on).await.unwrap(), Ended::Finished);
        world.assert_rows_as_of(ends[14], "gone on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_before_the_first_transaction_that_was_committed_later() {
    for (seed, nth) in (1..12).flat_map(|seed| [0, 3, 4, 9].map(|nth| (seed, nth))) {
        let world = loaded(seed).await;
        let ends = world.write_some(11);
        for (epoch, at) in [(2, ends[nth]), (3, ends[nth]), (4, ends[nth + 1] - 1)] {
            let run = world.stopping_at(epoch, StopAt::CommitTime(i64::try_from(at).unwrap()));
            assert_eq!(ended(&run).await.unwrap(), Ended::Finished, "seed {seed}, {at}");
            world.assert_rows_as_of(ends[nth], &format!("seed {seed}, transaction {nth}, epoch {epoch}"));
        }
        world.assert_exact();
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_is_over_by_the_clock_of_a_source_that_nobody_writes_to() {
    for seed in 1..12 {
        let world = loaded(seed).await;
        let ends = world.write_some(6);
        let at = i64::try_from(ends[5]).unwrap() + 1_000_000;
        let run = world.stopping_at(2, StopAt::CommitTime(at));
        let running = run.clone();
        let running = tokio::spawn(async move { ended(&running).await });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!running.is_finished(), "seed {seed}: the time is not over");
        world.source.state().clock = at + 10_000_000;
        world.source.state().write(&[]);
        world.source.written.notify_waiters();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Finished);
        world.assert_rows_as_of(ends[5], "idle");
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_that_lies_behind_or_is_none_is_refused() {
    let world = loaded(1).await;
    let ends = world.write_some(4);
    let run = world.stopping_at(2, StopAt::Position(ends[3].to_string()));
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    for (at, code) in [(ends[1].to_string(), "stop-passed"), ("3A/91C0F2B8".to_owned(), "not-a-position")] {
        let Err(Failure::Problem(problem)) = ended(&world.stopping_at(3, StopAt::Position(at))).await else {
            panic!("{code} is refused")
        };
        assert_eq!(problem.code, code);
        world.assert_rows_as_of(ends[3], code);
    }
    let fresh = World::new(1, 0);
    let Err(Failure::Problem(problem)) = ended(&fresh.stopping_at(1, StopAt::Position("1".to_owned()))).await else {
        panic!("a load as of later is refused")
    };
    assert_eq!(problem.code, "stop-passed");
    assert!(fresh.target.state().bookmark().is_none(), "it is refused before anything is loaded");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_only_follows_begins_where_it_is_told_to_if_the_source_has_the_log_from_there() {
    let following = |world: &World, start: &str| {
        let start = start.to_owned();
        let settings = TaskSettings { start_slot: "made".to_owned(), start_position: start, ..TaskSettings::default() };
        let mut run = run(&world.source, &world.target, 1, settings);
        run.task.kind = TaskKind::Cdc;
        run
    };
    for seed in 1..10 {
        let world = World::new(seed, 0);
        world.source.state().slot = Some(100);
        let ends = world.write_some(8);
        let mut run = following(&world, &ends[2].to_string());
        run.task.settings.stop_at = StopAt::Position(ends[5].to_string());
        // What the task's people loaded as of the start.
        let rows = world.source.state().rows_at(ends[2]);
        world.target.state().tables = rows.iter().map(|rows| rows.to_vec()).collect();
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        world.assert_rows_as_of(ends[5], &format!("seed {seed}"));
    }
    let world = World::new(1, 0);
    world.source.state().slot = Some(1_000_000);
    let Err(Failure::Problem(problem)) = ended(&following(&world, "5")).await else { panic!("the log is gone") };
    assert_eq!((problem.fault, &*problem.code), (Fault::PositionLost, "slot-ahead"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_says_how_many_tables_are_not_live_and_they_stay_parked() {
    for (seed, at_once) in (1..12).flat_map(|seed| [1_usize, 12].map(|at_once| (seed, at_once))) {
        let world = World::new(seed, 1_000);
        assert_eq!(ended(&world.stopping_at(1, StopAt::Loaded)).await.unwrap(), Ended::Finished);
        // The target refuses each of these values.
        world.source.state().write(&vec![(0, Insert); at_once]);
        world.source.written.notify_waiters();
        let end = world.source.state().end;
        for epoch in [2, 3] {
            let run = world.stopping_at(epoch, StopAt::Position(end.to_string()));
            assert_eq!(ended(&run).await.unwrap(), Ended::Finished, "seed {seed}");
            assert!(told(&run).text.contains("; 1 of its tables are not live."), "{}", told(&run).text);
            let stages: Vec<_> = world.target.state().marks.values().map(|mark| mark.mark.stage.clone()).collect();
            assert!(
                matches!(stages[..], [Stage::Parked(_), Stage::Loaded, Stage::Loaded]),
                "seed {seed}, {at_once} at once: {stages:?}"
            );
        }
    }
}
