//! Tables that people alter at the source while they are followed, with a worker that is killed at every step.

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::pair;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, until};

/// One after the other, each under everything that the writers do. What a step adds is written by it at once.
const STEPS: [&str; 8] = [
    "alter table shop.orders add channel text not null default 'web'",
    "begin; update shop.orders set note = 'before' where id % 7 = 0; alter table shop.orders add weight numeric(9, 3); \
     update shop.orders set weight = id * 0.125 where id % 3 = 0; commit",
    "alter table shop.customers alter name type varchar(200)",
    "update shop.customers set name = rpad(name, 150, '.') where id % 5 = 0",
    "alter table shop.orders rename weight to weight_kg",
    "update shop.orders set weight_kg = -weight_kg where id % 6 = 0",
    "begin; alter table shop.customers drop last_ip; alter table shop.customers add score double precision default 0.5; \
     update shop.customers set score = id where id % 4 = 0; commit",
    "alter table shop.orders drop weight_kg, add parcels integer[] default '{}'; \
     update shop.orders set parcels = array[id::integer] where id % 9 = 0",
];

async fn shop_that_changes(settings: &serde_json::Value) -> (World, Writers, Uuid) {
    let world = World::with_shop().await;
    if settings["event_triggers"] == true {
        let may = format!("alter role {} superuser", pair::SOURCE);
        world.pair.source.execute("postgres", &[&may]).await.unwrap();
    }
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(Pace { sessions: 2, per_second: 60.0, seed: 52 });
    let task = world.replicate("shop", settings).await;
    world.live(task).await;
    (world, writers, task)
}

/// What the server says of the columns, types and order aside.
const COLUMNS: &str = "select string_agg(relname || '.' || attname || ' ' || replace(format_type(atttypid, atttypmod), 'shop.', ''), ' ' \
    order by relname, attname) from pg_attribute join pg_class c on c.oid = attrelid \
    where c.oid in ('shop.orders'::regclass, 'shop.customers'::regclass) and attnum > 0 and not attisdropped";

async fn assert_equal(world: &World, task: Uuid) {
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    let source = world.pair.source_client().await.unwrap().query_one(COLUMNS, &[]).await.unwrap();
    assert_eq!(world.target_value(COLUMNS).await, source.get(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_altered_as_at_the_source_while_workers_die() {
    are_altered_while_workers_die(&json!({"wave_changes": 200})).await;
}

/// Everything that the triggers write is in the log, so a worker that goes on reads it once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_event_triggers_tell_is_done_once_while_workers_die() {
    are_altered_while_workers_die(&json!({"wave_changes": 200, "event_triggers": true})).await;
}

async fn are_altered_while_workers_die(settings: &serde_json::Value) {
    let (mut world, mut writers, task) = shop_that_changes(settings).await;
    for (at, step) in STEPS.iter().enumerate() {
        world.source(step).await;
        tokio::time::sleep(std::time::Duration::from_millis(40 * at as u64)).await;
        if at % 2 == 0 {
            world.installation.workers[0].kill().unwrap();
            world.installation.workers[0].start().unwrap();
        }
    }
    writers.stop().await.unwrap();
    assert_equal(&world, task).await;
    world.live(task).await;
    world.status(task, "running").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_altered_while_a_task_stood_still_is_taken_up_when_it_goes_on() {
    let (world, mut writers, task) = shop_that_changes(&json!({})).await;
    let api = &world.installation.api;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    for step in &STEPS[..6] {
        world.source(step).await;
    }
    writers.stop().await.unwrap();
    api.act(task, "resume").await.unwrap();
    assert_equal(&world, task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_rows_were_rewritten_is_loaded_again_by_itself_where_that_is_asked_for() {
    let (world, mut writers, task) = shop_that_changes(&json!({"changed_tables": "reload-table"})).await;
    world.source("alter table shop.stock alter quantity type bigint using quantity * 2; update shop.stock set quantity = 5 where product_id = 1").await;
    let quantity = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'shop.stock'::regclass and attname = 'quantity'";
    until(|| async { world.target_value(quantity).await.as_deref() == Some("bigint") }).await;
    world.live(task).await;
    writers.stop().await.unwrap();
    assert_equal(&world, task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_rows_were_rewritten_is_parked_if_nothing_else_is_asked_for() {
    let (world, mut writers, task) = shop_that_changes(&json!({})).await;
    let tagged =
        "alter table shop.warehouses add tag uuid default gen_random_uuid(); update shop.warehouses set name = name";
    world.source(tagged).await;
    world.status(task, "degraded").await;
    let tables = world.installation.api.tables(task).await.unwrap();
    let problem = tables.iter().find(|table| table.source.table == "warehouses").unwrap().problem.clone().unwrap();
    assert!(problem.text.contains("column tag was added, and the rows were rewritten"), "{}", problem.text);
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "warehouses")]).await.unwrap();
    world.status(task, "running").await;
    world.live(task).await;
    writers.stop().await.unwrap();
    assert_equal(&world, task).await;
}
