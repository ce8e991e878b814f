//! Switching over: a drain says when the target has everything, and when it is not to be trusted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::compare;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, until};

const PACE: Pace = Pace { sessions: 2, per_second: 80.0, seed: 51 };

async fn drained(world: &World, task: Uuid) -> Value {
    let number = world.installation.api.drain(task).await.unwrap();
    let progress = || async { world.installation.api.task(task).await.unwrap().progress.unwrap() };
    let is_done = |drained: &Value| drained["number"].as_i64().is_some_and(|done| done >= number);
    until(|| async { is_done(&progress().await.drained) }).await;
    progress().await.drained
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_says_when_the_target_can_take_over_and_when_not() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    writers.stop().await.unwrap();

    let begun = Instant::now();
    let first = drained(&world, task).await;
    println!("drained after {:.1?}", begun.elapsed());
    assert_eq!(first["safe_to_switch"], true, "{first}");
    // Nothing else is waited for: rows and counters are there.
    let (source, target) = (world.pair.source_client().await.unwrap(), world.pair.target_client().await.unwrap());
    let pairs = compare::pairs(&source, "shop", "shop").await.unwrap();
    let report = compare::all(&source, &target, &pairs).await.unwrap();
    assert!(report.is_equal(), "{report}");
    assert_eq!(compare::catalog::sequences(&source, &target, &pairs).await.unwrap(), Vec::<String>::new());

    // Somebody still writes.
    world.source("insert into shop.settings values ('late', null)").await;
    let written = || async { world.installation.api.task(task).await.unwrap().progress.unwrap().drained };
    until(|| async { written().await["written_since"] == true }).await;
    assert_eq!(written().await["safe_to_switch"], false);

    // A parked table is behind.
    world.installation.api.ask_of_tables(task, "park", &[("shop", "settings")]).await.unwrap();
    world.status(task, "degraded").await;
    let parked = drained(&world, task).await;
    assert_eq!((&parked["tables_behind"], &parked["safe_to_switch"]), (&json!(1), &json!(false)), "{parked}");
}
