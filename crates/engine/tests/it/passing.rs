//! A failure that passes is waited out: nothing is divided, read row by row, left out or parked because of it.

use std::time::Duration;

use crate::support::{Running, World};
use tokio::time::sleep;
use wavemark_domain::ChangeKind::Insert;
use wavemark_domain::state::TableState;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_engine::{Ended, Run};

async fn ends_exact(world: &World, run: &Run, running: Running) {
    let end = world.source.state().end;
    world.reaches(end).await;
    assert!(run.status.progress().tables.iter().all(|table| table.state != TableState::Parked));
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    world.assert_exact();
}

/// The codes of what was told to be wrong.
fn told(run: &Run) -> Vec<String> {
    run.status.events().into_iter().filter_map(|event| event.problem).map(|problem| problem.code).collect()
}

#[tokio::test(start_paused = true)]
async fn rows_that_others_hold_for_long_end_the_attempt() {
    for seed in 1..10 {
        let world = World::new(seed, 0);
        let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
        // Longer than a wave waits for them.
        world.target.state().hold_rows(0, Duration::from_secs(8));
        for _ in 0..8 {
            world.source.state().write(&[(0, Insert), (1, Insert)]);
        }
        ends_exact(&world, &run, running).await;
        assert_eq!(told(&run).first().map(String::as_str), Some("lock-timeout"), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_transaction_whose_commit_gives_no_answer_ends_the_attempt() {
    for seed in 1..10 {
        let world = World::new(seed, 0);
        let (run, running) = world.following(DataErrorPolicy::ParkTable).await;
        world.target.state().chance.lose_next_answer = true;
        world.source.state().write(&[(0, Insert); 12]);
        ends_exact(&world, &run, running).await;
        assert_eq!(told(&run), ["lost"], "seed {seed}");
    }
}

/// It is not known whether the wave is there: only a target that is opened again says so.
#[tokio::test(start_paused = true)]
async fn a_transaction_applied_row_by_row_whose_commit_gives_no_answer_ends_the_attempt() {
    for seed in 1..10 {
        let world = World::new(seed, 1_000);
        let (run, running) = world.following(DataErrorPolicy::LogError).await;
        world.target.state().chance.lose_next_answer = true;
        world.source.state().write(&[(0, Insert), (1, Insert)]);
        let end = world.source.state().end;
        world.reaches(end).await;
        sleep(Duration::from_secs(5)).await;
        let told: Vec<_> = told(&run).into_iter().filter(|code| code != "poison").collect();
        assert_eq!(told, ["lost"], "seed {seed}");
        run.stop.cancel();
        assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    }
}
