//! Switching over: a drain says when the target has everything, and when it is not to be trusted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::compare;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::held_load::HeldLoad;
use crate::world::{World, until};

const PACE: Pace = Pace { sessions: 2, per_second: 80.0, seed: 51 };

/// What the task tells about its last drain.
async fn told(world: &World, task: Uuid) -> Value {
    world.installation.api.task(task).await.unwrap().progress.unwrap().drained
}

fn is_done(number: i64, told: &Value) -> bool {
    told["number"].as_i64().is_some_and(|done| done >= number)
}

async fn drained(world: &World, task: Uuid) -> Value {
    let number = world.installation.api.drain(task).await.unwrap();
    until(|| async { is_done(number, &told(world, task).await) }).await;
    told(world, task).await
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
    until(|| async { told(&world, task).await["written_since"] == true }).await;
    assert_eq!(told(&world, task).await["safe_to_switch"], false);

    // A parked table is behind.
    world.installation.api.ask_of_tables(task, "park", &[("shop", "settings")]).await.unwrap();
    world.status(task, "degraded").await;
    let parked = drained(&world, task).await;
    assert_eq!((&parked["tables_behind"], &parked["safe_to_switch"]), (&json!(1), &json!(false)), "{parked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_a_table_that_is_loaded_aside() {
    let world = World::start().await;
    world
        .source(
            "create table kept (id int primary key); create table big (id int primary key, n int);
             insert into big select n, 0 from generate_series(1, 100) n",
        )
        .await;
    let task = world.replicate("public", &json!({"preparation": "truncate"})).await;
    world.live(task).await;
    let load = HeldLoad::begin(&world, task, ("public", "big")).await;
    world.source("insert into kept values (1); update big set n = 1 where id % 7 = 0").await;
    let number = world.installation.api.drain(task).await.unwrap();
    // The other table has everything long before these seconds are over.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.target_value("select count(*)::text from kept").await.as_deref(), Some("1"));
    assert!(!is_done(number, &told(&world, task).await), "a table is still being loaded");
    let page = world.installation.api.page(&format!("/tasks/{task}")).await.unwrap();
    assert!(page.contains("it waits for public.big, which is not live yet"), "the task's page says for what");
    assert_eq!(world.target_value("select count(*)::text from big").await.as_deref(), Some("0"));

    load.release().await;
    until(|| async { is_done(number, &told(&world, task).await) }).await;
    assert_eq!(told(&world, task).await["safe_to_switch"], true);
    let report = world.compared("public").await;
    assert!(report.is_equal(), "{report}");
}
