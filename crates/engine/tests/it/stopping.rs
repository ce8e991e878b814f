//! A stop, and what is asked of tables, is heeded between two commits, also where the next wave is begun already.

use std::time::Duration;

use crate::support::World;
use tokio::time::sleep;
use wavemark_connector::testkit::model::place;
use wavemark_domain::{ChangeKind, TableName, TableOrder, TableWish};
use wavemark_engine::Ended;

impl World {
    fn waves(&self) -> u64 {
        self.target.state().waves
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
        let world = World::new(seed, 40);
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

/// Large transactions that follow each other: the end of one mostly comes together with the beginning of the next.
#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_table_does_not_wait_for_a_gap_between_large_transactions() {
    for seed in 1..20 {
        let world = World::new(seed, 0);
        let run = world.run(1);
        let running = run.clone();
        let running = tokio::spawn(async move { running.run().await });
        while run.status.progress().wave.is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        (0..200).for_each(|_| world.source.state().write(&[(0, ChangeKind::Insert); 12]));
        world.source.written.notify_waiters();
        let begun = world.waves();
        while world.waves() < begun + 20 {
            sleep(Duration::from_micros(1)).await;
        }
        let before = world.waves();
        let table = TableName::new("sim", "t2");
        run.orders.give(vec![TableOrder { number: 1, table, wish: TableWish::Park }]);
        while run.orders.done().is_empty() {
            sleep(Duration::from_micros(1)).await;
        }
        // The one that is being read, and that which parks the table.
        let waves = world.waves() - before;
        assert!(waves <= 2, "seed {seed}: {waves} waves later");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}
