//! The short form of `make faults`: each strike once while following, a worker's death in the load, and some troubles
//! of the network; of pairs with MySQL and MariaDB a few of each.

use std::time::Duration;

use wavemark_tests::faults::{Arena, Fault, Network, Outcome, Phase, Place, Strike};
use wavemark_tests::proxy::{Trouble, Way};
use wavemark_tests::shop::{Pace, Size};
use wavemark_tests::system::{Kind, Ways};

const SIZE: Size = Size { orders: 4_000, documents: 400, ..Size::SMALL };

const POSTGRES: Ways = Ways { from: Kind::Postgres, to: Kind::Postgres };

fn is_clean(outcome: &Outcome) {
    assert!(outcome.is_clean(), "{outcome:#?}");
    assert_eq!(outcome.report.tables, 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_survives_every_strike_with_nothing_lost_doubled_or_torn() {
    let mut arena = Arena::start(POSTGRES, SIZE, Pace { sessions: 2, per_second: 80.0, seed: 11 }, &[]).await.unwrap();
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
    let mut arena = Arena::start(POSTGRES, SIZE, Pace { sessions: 2, per_second: 80.0, seed: 12 }, &[]).await.unwrap();
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
    let mut arena = Arena::start(POSTGRES, SIZE, Pace { sessions: 2, per_second: 80.0, seed: 13 }, &[]).await.unwrap();
    for fault in [Fault::Deadlock, Fault::StopInCommit] {
        arena.cycle(fault).await.unwrap();
    }
    is_clean(&arena.finish().await.unwrap());
}

/// What is special about each pair: what is killed, and when, is drawn for all of them by `make faults`.
async fn survives(from: Kind, to: Kind, faults: &[Fault]) {
    let pace = Pace { sessions: 2, per_second: 60.0, seed: 14 };
    let mut arena = Arena::start(Ways { from, to }, SIZE, pace, faults).await.unwrap();
    for fault in faults {
        arena.cycle(*fault).await.unwrap();
    }
    let outcome = arena.finish().await.unwrap();
    assert!(outcome.is_clean(), "{outcome:#?}");
    assert_eq!(outcome.report.tables, 14);
}

const FROM_FAMILY: [Fault; 4] = [
    Fault::Process(Strike::KillSource, Phase::Loading),
    Fault::Process(Strike::FreezeWorker, Phase::Following),
    Fault::Failover,
    Fault::PurgedLog,
];
const TO_FAMILY: [Fault; 4] = [
    Fault::Process(Strike::KillTarget, Phase::Loading),
    Fault::Deadlock,
    Fault::StopInCommit,
    Fault::Network(Network { place: Place::Target, trouble: Trouble::SwallowCommit, hold: Duration::ZERO }),
];

/// Wrapped by `mariadb` and `mysql`, as what follows.
pub(crate) async fn a_source_that_dies_in_its_load_or_has_lost_its_log_is_survived(kind: Kind) {
    survives(kind, Kind::Postgres, &FROM_FAMILY).await;
}

pub(crate) async fn deadlocks_and_commits_that_are_cut_off_are_survived(kind: Kind) {
    survives(Kind::Postgres, kind, &TO_FAMILY).await;
}
