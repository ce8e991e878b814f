//! The short form of `make faults`: each fault once while following, and a worker's death in the load.

use wavemark_tests::faults::{Arena, Fault, Phase};
use wavemark_tests::shop::{Pace, Size};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_survives_every_fault_with_nothing_lost_doubled_or_torn() {
    let size = Size { orders: 4_000, documents: 400, ..Size::SMALL };
    let mut arena = Arena::start(size, Pace { sessions: 2, per_second: 80.0, seed: 11 }).await.unwrap();
    for fault in [Fault::KillTarget, Fault::KillSource, Fault::KillServer, Fault::FreezeWorker] {
        arena.cycle(fault, Phase::Following).await.unwrap();
    }
    arena.cycle(Fault::KillWorker, Phase::Loading).await.unwrap();
    arena.cycle(Fault::KillWorker, Phase::Following).await.unwrap();
    let outcome = arena.finish().await.unwrap();
    assert!(outcome.is_clean(), "{outcome:#?}");
    assert_eq!(outcome.report.tables, 18);
}
