//! What a run tells of itself while it follows: counted by hand.

use std::time::Duration;

use crate::support::World;
use tokio::time::{sleep, timeout};
use wavemark_connector::Source as _;
use wavemark_connector::testkit::model::{place, position};
use wavemark_domain::ChangeKind::{Delete, Insert, Truncate, Update};
use wavemark_domain::progress::TaskProgress;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_domain::{TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Run};

/// Waits until the target has all that was written, and the progress after that.
async fn caught_up(world: &World, run: &Run) -> TaskProgress {
    world.source.written.notify_waiters();
    let end = world.source.state().end;
    let reached = async {
        while run.status.progress().bookmark_key.is_none_or(|bookmark| place(&bookmark) < end) {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(500)).await;
    };
    timeout(Duration::from_mins(10), reached).await.unwrap();
    run.status.progress()
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_counted_by_table_and_kind() {
    for seed in 1..20 {
        let world = World::new(seed, 0);
        let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
        let before = run.status.progress();
        world.source.state().write(&[(0, Insert), (0, Insert), (1, Insert)]);
        world.source.state().write(&[(0, Update), (1, Update), (0, Delete)]);
        world.source.state().write(&[(1, Truncate)]);
        let after = caught_up(&world, &run).await;

        assert_eq!(after.changes_read - before.changes_read, 7, "seed {seed}");
        assert_eq!(after.changes_written - before.changes_written, 7, "seed {seed}");
        assert_eq!(after.transactions_written - before.transactions_written, 3, "seed {seed}");
        assert!(after.bytes_written > before.bytes_written, "seed {seed}");
        assert!(after.apply_us > before.apply_us && after.commit_us > before.commit_us, "seed {seed}");
        let committed = after.wave.unwrap() - before.wave.unwrap();
        assert_eq!(after.waves - before.waves, committed.cast_unsigned(), "seed {seed}");
        assert!((1..=7).contains(&after.wave_changes), "seed {seed}: {}", after.wave_changes);
        let tables: Vec<[u64; 4]> =
            after.tables.iter().map(|table| [table.inserts, table.updates, table.deletes, table.truncates]).collect();
        assert_eq!(tables, [[2, 1, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]], "seed {seed}");
        assert_eq!(after.retries, 0, "seed {seed}");
        let end = world.source.describe(&position(world.source.state().end));
        assert_eq!((after.read_position, after.bookmark), (Some(end.clone()), Some(end)), "seed {seed}");

        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
        world.assert_exact();
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_batch_of_changes_is_added_to_the_first() {
    let world = World::new(5, 0);
    let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
    world.source.state().write(&[(0, Insert), (2, Insert)]);
    let first = caught_up(&world, &run).await;
    world.source.state().write(&[(0, Insert), (0, Insert), (0, Update)]);
    let second = caught_up(&world, &run).await;
    assert_eq!((first.changes_written, second.changes_written), (2, 5));
    assert_eq!((first.transactions_written, second.transactions_written), (1, 2));
    assert_eq!((second.tables[0].inserts, second.tables[0].updates, second.tables[2].inserts), (3, 1, 1));
    assert!(second.waves > first.waves && second.bytes_written > first.bytes_written);
    assert_eq!(second.wave_changes, 3);
    world.source.state().write(&[(0, Delete), (0, Delete)]);
    let third = caught_up(&world, &run).await;
    assert_eq!((third.changes_written, third.tables[0].deletes, third.tables[0].inserts), (7, 2, 3));
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
}

#[tokio::test(start_paused = true)]
async fn transactions_without_a_change_make_no_wave_of_their_own() {
    let world = World::new(3, 0);
    let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
    let before = run.status.progress().waves;
    for _ in 0..40 {
        world.source.state().write(&[]);
        world.source.written.notify_waiters();
        sleep(Duration::from_millis(20)).await;
    }
    let after = caught_up(&world, &run).await;
    let waves = after.waves - before;
    assert!(waves <= 2, "{waves} waves in a second, for a bookmark that is moved on now and then");
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
}

/// Each row is two numbers and a key of eight bytes.
#[tokio::test(start_paused = true)]
async fn a_transaction_that_comes_in_parts_is_counted_whole() {
    for count in [1, 2, 3, 7, 12] {
        let world = World::new(4, 0);
        let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
        world.source.state().write(&vec![(0, Insert); count]);
        world.source.state().write(&[(1, Insert)]);
        let after = caught_up(&world, &run).await;
        let count = count as u64;
        assert_eq!(after.bytes_written, (count + 1) * 24, "{count} rows at once");
        assert_eq!((after.changes_written, after.transactions_written), (count + 1, 2), "{count} rows at once");
        assert_eq!((after.tables[0].inserts, after.tables[1].inserts), (count, 1), "{count} rows at once");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn lag_grows_while_a_wave_waits_and_not_while_there_is_nothing_to_write() {
    let world = World::new(6, 0);
    let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
    world.source.state().write(&[(0, Insert)]);
    caught_up(&world, &run).await;
    world.source.state().write(&[]);
    world.source.written.notify_waiters();
    sleep(Duration::from_secs(3)).await;
    let idle = run.status.progress().lag_ms.unwrap();
    assert!(idle < 1_500, "{idle} ms with nothing to write");

    world.target.state().hold_rows(0, Duration::from_secs(4));
    world.source.state().write(&[(0, Insert)]);
    world.source.written.notify_waiters();
    sleep(Duration::from_millis(3_500)).await;
    let waiting = run.status.progress().lag_ms.unwrap() - idle;
    assert!((2_000..=3_500).contains(&waiting), "{waiting} ms");
    caught_up(&world, &run).await;
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_over_when_something_is_written_to_a_table_that_is_followed() {
    let world = World::new(7, 0);
    let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
    world.source.state().write(&[(0, Insert), (1, Insert)]);
    caught_up(&world, &run).await;
    run.orders.give(vec![TableOrder { number: 1, table: TableName::new("sim", "t1"), wish: TableWish::Park }]);
    run.orders.ask_drain(Some(2));
    let drained = async {
        while run.status.progress().drained.is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_mins(10), drained).await.unwrap();
    let written_since = || run.status.progress().drained.unwrap().written_since;
    assert!(!written_since(), "nothing was written yet");
    world.source.state().write(&[(1, Insert)]);
    caught_up(&world, &run).await;
    assert!(!written_since(), "nobody asked for what is written to a table that is parked");
    world.source.state().write(&[(0, Insert)]);
    caught_up(&world, &run).await;
    assert!(written_since());
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
}
