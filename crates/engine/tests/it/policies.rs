//! What becomes of a row that the target can't take: as the task's policy says, also inside a transaction that is applied
//! while it is read.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use wavemark_connector::testkit::model::{Row, is_poison};
use wavemark_domain::ChangeKind::Insert;
use wavemark_domain::layout::ColumnPolicy;
use wavemark_domain::state::TableState;
use wavemark_domain::task::{DataErrorPolicy, TaskSettings};
use wavemark_engine::{Ended, Failure, Run};

use crate::support::{Running, World};

/// Transactions of so many inserts: the second comes in several batches.
const SIZES: [usize; 2] = [1, 12];

/// Writes until a value was among them that the target can't take, and some more.
fn write_poison(world: &World, size: usize) {
    let mut after = 0;
    while after < 10 {
        world.source.state().write(&vec![(0, Insert); size]);
        world.source.state().write(&[(1, Insert)]);
        after += usize::from(!poisoned(world, 0).is_empty());
    }
    world.source.written.notify_waiters();
}

fn rows(world: &World, table: usize) -> Vec<Row> {
    let source = world.source.state();
    source.rows_at(source.end)[table].to_vec()
}

fn poisoned(world: &World, table: usize) -> Vec<Row> {
    rows(world, table).into_iter().filter(|row| is_poison(row.value)).collect()
}

async fn caught_up(world: &World) {
    let end = world.source.state().end;
    world.reaches(end).await;
    sleep(Duration::from_millis(500)).await;
}

#[tokio::test(start_paused = true)]
async fn rows_are_left_out_counted_once_and_told_with_their_place() {
    for (seed, size) in (1..15).flat_map(|seed| SIZES.map(|size| (seed, size))) {
        let world = World::new(seed, 60);
        let (run, running) = world.following(DataErrorPolicy::LogError).await;
        write_poison(&world, size);
        caught_up(&world).await;
        let progress = run.status.progress();
        for table in 0..2 {
            let (mut expected, mut found) = (rows(&world, table), world.target.state().tables[table].clone());
            expected.retain(|row| !is_poison(row.value));
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed}, {size} at once, table {table}");
            let left_out = poisoned(&world, table).len() as u64;
            assert_eq!(progress.tables[table].exceptions, left_out, "seed {seed}, {size} at once, table {table}");
            assert_eq!(progress.tables[table].state, TableState::Live, "seed {seed}");
        }
        let told = run.status.events().into_iter().filter_map(|event| event.problem);
        let told: Vec<_> = told.filter(|problem| problem.code == "poison").collect();
        assert_eq!(told.len(), poisoned(&world, 0).len() + poisoned(&world, 1).len(), "seed {seed}");
        assert!(told.iter().all(|problem| problem.table.is_some()), "seed {seed}: {told:?}");
        // Where a transaction ends is not known while it is read.
        assert!(size > 1 || told.iter().all(|problem| problem.position.is_some()), "seed {seed}: {told:?}");
        // Nobody pays for going row by row before something failed.
        assert!(progress.retries > 0, "seed {seed}, {size} at once");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_stops_before_the_transaction_and_says_why() {
    for (seed, size) in (1..15).flat_map(|seed| SIZES.map(|size| (seed, size))) {
        let world = World::new(seed, 60);
        let (run, running) = world.following(DataErrorPolicy::StopTask).await;
        write_poison(&world, size);
        let ended = timeout(Duration::from_mins(10), running).await.unwrap().unwrap();
        let Err(Failure::Problem(problem)) = ended else { panic!("seed {seed}, {size} at once: {ended:?}") };
        assert_eq!(problem.code, "poison", "seed {seed}, {size} at once");
        let parked = run.status.progress().tables.iter().filter(|table| table.state == TableState::Parked).count();
        assert_eq!(parked, 0, "seed {seed}, {size} at once");
        assert!(world.target.state().tables[0].iter().all(|row| !is_poison(row.value)));
        world.assert_exact();
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_is_parked_as_it_was_before_the_transaction_and_the_others_go_on() {
    for (seed, size) in (1..15).flat_map(|seed| SIZES.map(|size| (seed, size))) {
        let world = World::new(seed, 60);
        let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
        write_poison(&world, size);
        caught_up(&world).await;
        for table in 0..2 {
            let state = run.status.progress().tables[table].state;
            let expected = if poisoned(&world, table).is_empty() { TableState::Live } else { TableState::Parked };
            assert_eq!(state, expected, "seed {seed}, {size} at once, table {table}");
            let advice = run.status.progress().tables[table].problem.clone().and_then(|problem| problem.advice);
            assert_eq!(advice.is_some(), state == TableState::Parked, "what a person is to do: {advice:?}");
        }
        world.assert_exact();
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}

/// Every value is one that the target can't take.
async fn refused_once(policy: DataErrorPolicy, labels: u64) -> (World, Run, Running, (u64, u64)) {
    let world = World::new(7, 1_000);
    let (run, running) = world.following(policy).await;
    let before = {
        let mut source = world.source.state();
        source.heaps[0].labels = labels;
        (source.openings(), source.looks)
    };
    world.source.state().write(&[(0, Insert)]);
    world.source.written.notify_waiters();
    caught_up(&world).await;
    (world, run, running, before)
}

#[tokio::test(start_paused = true)]
async fn a_table_that_its_source_describes_otherwise_by_now_is_planned_anew_before_its_row_is_refused() {
    // The first plan does not know the label.
    for (labels, anew) in [(0, 0), (1, 1)] {
        let (world, run, running, (openings, _)) = refused_once(DataErrorPolicy::ParkTable, labels).await;
        assert_eq!(world.source.state().openings() - openings, anew, "{labels} labels");
        let states: Vec<_> = run.status.progress().tables.iter().map(|table| table.state).collect();
        assert_eq!(states, [TableState::Parked, TableState::Live, TableState::Live], "{labels} labels");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_is_not_asked_again_at_once_when_row_after_row_is_refused() {
    let (world, run, running, (_, looks)) = refused_once(DataErrorPolicy::LogError, 0).await;
    let asked = || world.source.state().looks - looks;
    assert_eq!(asked(), 1);
    for (pause, in_all) in [(Duration::ZERO, 1), (Duration::from_secs(30), 2)] {
        sleep(pause).await;
        world.source.state().write(&[(0, Insert)]);
        world.source.written.notify_waiters();
        caught_up(&world).await;
        assert_eq!(asked(), in_all, "after {pause:?}");
    }
    assert_eq!(run.status.progress().tables[0].exceptions, 3);
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
}

/// The policy is about rows.
#[tokio::test(start_paused = true)]
async fn a_table_that_was_changed_is_parked_although_a_row_would_stop_the_task() {
    for seed in 1..15 {
        let world = World::new(seed, 0);
        let settings = TaskSettings {
            data_errors: DataErrorPolicy::StopTask,
            added_columns: ColumnPolicy::ParkTable,
            ..TaskSettings::default()
        };
        let (run, running) = world.following_by(settings).await;
        world.source.state().alter(0);
        world.source.state().write(&[(0, Insert), (1, Insert)]);
        world.source.written.notify_waiters();
        caught_up(&world).await;
        let states: Vec<_> = run.status.progress().tables.iter().map(|table| table.state).collect();
        assert_eq!(states, [TableState::Parked, TableState::Live, TableState::Live], "seed {seed}");
        world.assert_exact();
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}
