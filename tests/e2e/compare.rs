//! Comparing while the task follows, and repairing what differs.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, small_chunks, until};

const PACE: Pace = Pace { sessions: 2, per_second: 80.0, seed: 77 };

async fn post(world: &World, path: &str, body: &Value) -> Value {
    world.installation.api.call(reqwest::Method::POST, path, Some(body)).await.unwrap()
}

/// Waits until a comparison is over.
async fn over(world: &World, asked: &Value) -> Value {
    let path = format!("/compares/{}", asked["id"].as_str().unwrap());
    let read = || async { world.installation.api.get::<Value>(&path).await.unwrap() };
    until(|| async { !matches!(read().await["state"].as_str(), Some("waiting" | "running")) }).await;
    read().await
}

async fn compared(world: &World, task: Uuid, body: Value) -> Value {
    let asked = post(world, &format!("/tasks/{task}/compares"), &body).await;
    over(world, &asked).await
}

fn table<'a>(compare: &'a Value, name: &str) -> &'a Value {
    let tables = compare["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"]["table"] == name).unwrap_or_else(|| panic!("no {name}: {compare}"))
}

/// Signs and keys of the differing rows of a table.
fn keys(compare: &Value, name: &str) -> Vec<(String, String)> {
    let rows = table(compare, name)["keys"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let key = |row: &Value| row["key"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join("/");
    rows.iter().map(|row| (text(&row["difference"]), key(row))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_change_compare_equal_and_damage_is_found_by_key_and_repaired() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let tables = world.installation.api.tables(task).await.unwrap().len();

    let mut positions = Vec::new();
    for _ in 0..4 {
        let found = compared(&world, task, json!({})).await;
        assert_eq!((&found["state"], &found["differences"]), (&json!("done"), &json!(0)), "{found:#}");
        assert_eq!(found["tables"].as_array().unwrap().len(), tables);
        assert!(found["tables"].as_array().unwrap().iter().all(|table| table["state"] == "done"), "{found:#}");
        println!("held {} ms, read {} ms at {}", found["held_ms"], found["read_ms"], found["position"]);
        positions.push(found["position"].as_str().unwrap().to_owned());
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    positions.dedup();
    assert_eq!(positions.len(), 4, "each stands at a position of its own");

    // Rows that the writers leave alone are damaged behind our back.
    world
        .target(
            "set session_replication_role = replica;
             delete from shop.categories where id in (7, 8);
             update shop.categories set name = name || ' ' where id = 9;
             insert into shop.settings values ('never there', null)",
        )
        .await;
    let found = compared(&world, task, json!({"sessions": 1})).await;
    let said = |difference: &str, key: &str| (difference.to_owned(), key.to_owned());
    assert_eq!(
        keys(&found, "categories"),
        [said("missing", "7"), said("missing", "8"), said("different", "9")],
        "{found:#}"
    );
    assert!(keys(&found, "settings").contains(&said("extra", "never there")), "{found:#}");
    assert_eq!(found["differences"], 4, "{found:#}");

    let one = json!({"tables": [{"schema": "shop", "table": "categories"}]});
    let asked = post(&world, &format!("/compares/{}/repair", found["id"].as_str().unwrap()), &one).await;
    let repaired = over(&world, &asked).await;
    assert_eq!((&repaired["differences"], &repaired["repairs"]), (&json!(0), &found["id"]), "{repaired:#}");
    assert_eq!(table(&repaired, "categories")["repaired"], 3);
    let rest = compared(&world, task, json!({})).await;
    assert_eq!(rest["differences"], json!(1), "{rest:#}");
    let asked = post(&world, &format!("/compares/{}/repair", rest["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(over(&world, &asked).await["differences"], 0);

    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    let events = world.installation.api.events(task).await.unwrap();
    assert!(events.iter().any(|event| event.code == "repaired"), "a repair is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_waits_for_old_transactions_and_survives_its_worker() {
    let mut world = World::with_shop().await;
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let old = world.pair.source_client().await.unwrap();
    old.batch_execute("begin; insert into shop.settings values ('open', 'for long')").await.unwrap();
    let asked = post(&world, &format!("/tasks/{task}/compares"), &json!({})).await;
    let path = format!("/compares/{}", asked["id"].as_str().unwrap());
    let read = || async { world.installation.api.get::<Value>(&path).await.unwrap() };
    until(|| async { read().await["problem"]["code"] == "compare-waits" }).await;
    // Meanwhile the others are followed.
    world.source("insert into shop.settings values ('meanwhile', null)").await;
    until(|| async {
        let sql = "select count(*)::text from shop.settings where name = 'meanwhile'";
        world.target_value(sql).await.as_deref() == Some("1")
    })
    .await;
    old.batch_execute("commit").await.unwrap();
    world.installation.workers[0].kill().unwrap();
    world.installation.workers[0].start().unwrap();
    let found = over(&world, &asked).await;
    assert_eq!((&found["state"], &found["differences"]), (&json!("done"), &json!(0)), "{found:#}");
    // Neither side keeps anything of it.
    let slots = "select count(*)::text from pg_replication_slots where temporary";
    let left = world.pair.source_client().await.unwrap().query_one(slots, &[]).await.unwrap().get::<_, String>(0);
    assert_eq!(left, "0");
}
