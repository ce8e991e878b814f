//! The short form of `make faults`: each strike once while following, a worker's death in the load, and some troubles
//! of the network.

use std::time::Duration;

use wavemark_tests::faults::{Arena, Fault, Network, Outcome, Phase, Place, Strike};
use wavemark_tests::proxy::{Trouble, Way};
use wavemark_tests::shop::{Pace, Size};

const SIZE: Size = Size { orders: 4_000, documents: 400, ..Size::SMALL };

fn is_clean(outcome: &Outcome) {
    assert!(outcome.is_clean(), "{outcome:#?}");
    assert_eq!(outcome.report.tables, 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_survives_every_strike_with_nothing_lost_doubled_or_torn() {
    let mut arena = Arena::start(SIZE, Pace { sessions: 2, per_second: 80.0, seed: 11 }).await.unwrap();
    for strike in [Strike::KillTarget, Strike::KillSource, Strike::KillServer, Strike::FreezeWorker] {
        arena.cycle(Fault::Process(strike, Phase::Following)).await.unwrap();
    }
    for phase in [Phase::Loading, Phase::Following] {
        arena.cycle(Fault::Process(Strike::KillWorker, phase)).await.unwrap();
    }
    is_clean(&arena.finish().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_survives_trouble_in_the_network_with_nothing_lost_doubled_or_torn() {
    let mut arena = Arena::start(SIZE, Pace { sessions: 2, per_second: 80.0, seed: 12 }).await.unwrap();
    for (place, trouble) in [
        (Place::Target, Trouble::SwallowCommit),
        (Place::Target, Trouble::HalfOpen(Way::Down)),
        (Place::Source, Trouble::Hole),
        (Place::Source, Trouble::Cut),
        (Place::Target, Trouble::CutAfter(3_000)),
        (Place::Metadata, Trouble::Delay(Duration::from_millis(200))),
    ] {
        arena.cycle(Fault::Network(Network { place, trouble, hold: Duration::from_secs(3) })).await.unwrap();
    }
    is_clean(&arena.finish().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_that_deadlocks_or_whose_commit_is_cut_off_is_made_again() {
    let mut arena = Arena::start(SIZE, Pace { sessions: 2, per_second: 80.0, seed: 13 }).await.unwrap();
    for fault in [Fault::Deadlock, Fault::StopInCommit] {
        arena.cycle(fault).await.unwrap();
    }
    is_clean(&arena.finish().await.unwrap());
}
