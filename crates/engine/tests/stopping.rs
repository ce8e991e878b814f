//! A stop is heeded between two commits, also where a wave that failed is being divided.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use support::World;
use tokio::time::sleep;
use wavemark_connector::testkit::model::place;
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
