//! Rows of the target that somebody else wrote: decided about as the policy says, once, and told after the commit.

use std::time::Duration;

use crate::support::{Running, World, run};
use tokio::time::sleep;
use wavemark_connector::testkit::model::Row;
use wavemark_domain::ChangeKind::{Delete, Insert, Update};
use wavemark_domain::state::TableState;
use wavemark_domain::task::{ConflictPolicy, DataErrorPolicy, TaskSettings};
use wavemark_engine::{Ended, Run};

const THEIRS: u64 = 77;

/// A task that follows with this policy.
async fn following(world: &World, conflicts: ConflictPolicy) -> (Run, Running) {
    let settings = TaskSettings {
        load_parallelism: 1,
        conflicts,
        data_errors: DataErrorPolicy::ParkTable,
        ..TaskSettings::default()
    };
    let run = run(&world.source, &world.target, 1, settings);
    let running = run.clone();
    let running = tokio::spawn(async move { running.run().await });
    while run.status.progress().wave.is_none() {
        sleep(Duration::from_millis(1)).await;
    }
    (run, running)
}

async fn caught_up(world: &World) {
    let end = world.source.state().end;
    world.reaches(end).await;
    sleep(Duration::from_millis(500)).await;
}

fn newest_id(world: &World) -> u64 {
    let source = world.source.state();
    source.rows_at(source.end).iter().flat_map(|rows| rows.iter()).map(|row| row.id).max().unwrap_or(1)
}

/// Somebody writes rows with the keys that the source gives next.
fn take_next_keys(world: &World, count: u64) {
    let first = newest_id(world) + 1;
    let theirs = (first..first + count).map(|id| Row { id, value: THEIRS, large: THEIRS });
    world.target.state().tables[0].extend(theirs);
}

fn told(run: &Run) -> Vec<String> {
    run.status.events().into_iter().filter(|event| event.code == "conflicts").map(|event| event.text).collect()
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_there_are_overwritten_and_missing_ones_passed_over_and_each_is_counted_once() {
    for (seed, at_once) in (1..12).flat_map(|seed| [1_usize, 3, 12].map(|at_once| (seed, at_once))) {
        let world = World::new(seed, 0);
        let (run, running) = following(&world, ConflictPolicy::Overwrite).await;
        world.source.state().write(&[(0, Insert), (0, Insert)]);
        caught_up(&world).await;
        take_next_keys(&world, 12);
        for _ in 0..12 / at_once {
            world.source.state().write(&vec![(0, Insert); at_once]);
        }
        caught_up(&world).await;
        world.assert_exact();
        let table = |run: &Run| run.status.progress().tables[0].clone();
        assert_eq!((table(&run).conflicts, table(&run).exceptions, table(&run).inserts), (12, 0, 14), "seed {seed}");
        assert!(told(&run).iter().all(|text| text.contains(" overwritten")), "{:?}", told(&run));

        world.target.state().tables[0].clear();
        world.source.state().write(&[(0, Delete), (0, Delete)]);
        caught_up(&world).await;
        assert_eq!((table(&run).conflicts, table(&run).deletes), (14, 0), "seed {seed}, {at_once} at once");
        assert_eq!(table(&run).state, TableState::Live);
        assert!(told(&run).last().unwrap().ends_with("2 to be deleted and not there"), "{:?}", told(&run));
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_finds_no_row_inserts_it_if_the_log_has_all_of_it_and_is_left_out_if_not() {
    let (mut inserted, mut left_out) = (0, 0);
    for seed in 1..40 {
        let world = World::new(seed, 0);
        let (run, running) = following(&world, ConflictPolicy::Overwrite).await;
        world.source.state().write(&[(0, Insert); 6]);
        caught_up(&world).await;
        world.target.state().tables[0].clear();
        world.source.state().write(&[(0, Update)]);
        caught_up(&world).await;
        let progress = run.status.progress().tables[0].clone();
        let rows = world.target.state().tables[0].clone();
        let (expected, rows_there) = if progress.exceptions == 0 {
            inserted += 1;
            (" 1 inserted by an update that found none", 1)
        } else {
            left_out += 1;
            (" 1 left out and written to wavemark.exceptions", 0)
        };
        assert!(told(&run).last().unwrap().ends_with(expected), "seed {seed}: {:?}", told(&run));
        assert_eq!((progress.conflicts, rows.len()), (1, rows_there), "seed {seed}");
        let ours = {
            let source = world.source.state();
            source.rows_at(source.end)[0].to_vec()
        };
        assert!(rows.iter().all(|row| ours.contains(row)), "seed {seed}: {rows:?}");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
    assert!(inserted > 5 && left_out > 5, "{inserted} inserted, {left_out} left out");
}

#[tokio::test(start_paused = true)]
async fn skipped_changes_leave_the_others_row_and_are_told_as_exceptions() {
    for (seed, at_once) in (1..12).flat_map(|seed| [1_usize, 12].map(|at_once| (seed, at_once))) {
        let world = World::new(seed, 0);
        let (run, running) = following(&world, ConflictPolicy::Skip).await;
        take_next_keys(&world, 5);
        for _ in 0..12 / at_once {
            world.source.state().write(&vec![(0, Insert); at_once]);
        }
        caught_up(&world).await;
        let theirs = world.target.state().tables[0].iter().filter(|row| row.value == THEIRS).count();
        let progress = run.status.progress().tables[0].clone();
        assert_eq!((theirs, progress.conflicts, progress.exceptions, progress.inserts), (5, 5, 5, 7), "seed {seed}");
        assert_eq!(world.target.state().tables[0].len(), 12, "seed {seed}");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_parks_its_table_unless_a_policy_says_otherwise_and_a_refused_value_always_does() {
    for (conflicts, poison) in [(ConflictPolicy::AsDataError, 0), (ConflictPolicy::Overwrite, 1_000)] {
        let world = World::new(3, poison);
        let (run, running) = following(&world, conflicts).await;
        if poison == 0 {
            take_next_keys(&world, 1);
        }
        world.source.state().write(&[(0, Insert)]);
        world.source.state().write(&[]);
        caught_up(&world).await;
        let progress = run.status.progress().tables[0].clone();
        assert_eq!((progress.state, progress.conflicts), (TableState::Parked, 0), "{conflicts:?}");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}
