//! The metadata is lost, or comes back from an older backup: what the target holds is what counts.

use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::api::{Refusal, Task};
use wavemark_tests::installation::Installation;
use wavemark_tests::pair;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, until};

const PACE: Pace = Pace { sessions: 2, per_second: 60.0, seed: 71 };

/// Waits for the job that says what the target holds; gives its id and what it found.
async fn adoptable(world: &World, task: Uuid) -> (Value, Vec<Value>) {
    let api = &world.installation.api;
    let asked: Value = api.call(Method::POST, &format!("/tasks/{task}/adoptable"), None).await.unwrap();
    let path = format!("/jobs/{}", asked["job"].as_str().unwrap());
    until(|| async { !api.get::<Value>(&path).await.unwrap()["finished_at"].is_null() }).await;
    let done: Value = api.get(&path).await.unwrap();
    let found = done["outcome"]["found"].as_array().unwrap_or_else(|| panic!("{done}")).clone();
    (asked["job"].clone(), found)
}

async fn adopt(world: &World, task: Uuid, job: &Value, from: Uuid) -> anyhow::Result<Value> {
    let body = json!({"job": job, "task": from});
    world.installation.api.call(Method::POST, &format!("/tasks/{task}/adopt"), Some(&body)).await
}

fn of(found: &[Value], task: Uuid) -> &Value {
    let id = task.to_string();
    found.iter().find(|one| one["task"] == id.as_str()).unwrap_or_else(|| panic!("{task} is not in {found:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_metadata_was_lost_is_adopted_and_goes_on_from_its_bookmark() {
    let mut world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let old = world.replicate("shop", &json!({})).await;
    world.live(old).await;
    let before = world.installation.api.task(old).await.unwrap();

    // The server and its database are gone for good; the worker goes on, and nobody can tell it to stop.
    world.installation.server.kill().unwrap();
    let files = "select string_agg(relname || pg_relation_filenode(oid), ' ' order by relname) from pg_class \
        where relkind = 'r' and relnamespace = 'shop'::regnamespace";
    let loaded = world.target_value(files).await;
    let lost = std::mem::replace(&mut world.installation, Installation::start().await.unwrap());
    world.installation.add_worker().unwrap();
    let settings = json!({"preparation": "truncate"});

    // Another choice of tables can't go on from these marks, and is told so.
    let api = &world.installation.api;
    let endpoints = world.pair.make_endpoints(api).await.unwrap();
    let rules = json!([{
        "rule-type": "selection", "rule-id": "1", "rule-name": "one", "rule-action": "include",
        "object-locator": {"schema-name": "shop", "table-name": "orders"},
    }]);
    let other = api.create_task("Only the orders", "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap();
    let (job, found) = adoptable(&world, other).await;
    assert!(of(&found, old)["refused"].to_string().contains("shop.customers was one of its tables"), "{found:?}");
    let refusal = adopt(&world, other, &job, old).await.unwrap_err().downcast::<Refusal>().unwrap();
    assert_eq!(refusal.status, 409, "{refusal}");

    let rules = pair::whole_schema("shop");
    let task = api.create_task("Copy shop", "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap();
    let (job, found) = adoptable(&world, task).await;
    let kept = of(&found, old);
    assert_eq!((&kept["name"], &kept["refused"]), (&json!("Copy shop"), &json!([])), "{kept}");
    let adopted = adopt(&world, task, &job, old).await.unwrap();
    assert_eq!(adopted["id"], old.to_string().as_str());
    world.live(old).await;
    let after = world.installation.api.task(old).await.unwrap();
    assert!(after.epoch > before.epoch, "the worker that is still there is fenced");
    assert_eq!(after.generation, before.generation);
    assert!(adopt(&world, task, &job, old).await.is_err(), "the new task took the old one's place");
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(old).await;
    assert!(report.is_equal(), "{report}");
    assert_eq!(world.target_value(files).await, loaded, "nothing was loaded again");
    drop(lost);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn follows(world: &World, task: Uuid, sql: &str, seen: &str) {
    world.source(sql).await;
    until(|| async { world.target_value(seen).await.as_deref() == Some("1") }).await;
    assert!(world.installation.api.task(task).await.is_ok());
}

const ADDED: &str = "select to_regclass('shop.added')::text";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_from_an_older_backup_is_raised_to_what_the_target_holds() {
    let mut world = World::with_shop().await;
    for schema in ["gone", "late"] {
        world.source(&format!("create schema {schema}; create table {schema}.t (id int primary key)")).await;
    }
    let api = &world.installation.api;
    let endpoints = world.pair.make_endpoints(api).await.unwrap();
    let settings = json!({"preparation": "truncate"});
    let mut tasks = Vec::new();
    for schema in ["shop", "gone"] {
        let rules = pair::whole_schema(schema);
        let name = format!("Copy {schema}");
        let task = api.create_task(&name, "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap();
        api.act(task, "start").await.unwrap();
        world.live(task).await;
        tasks.push(task);
    }
    let (shop, gone) = (tasks[0], tasks[1]);
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let dump = tempfile::NamedTempFile::new().unwrap();
    run(world.installation.metadata.program("pg_dump").args(["-Fc", "-d", "postgres", "-f"]).arg(dump.path()));

    // Since then: epochs, a whole reload and a table more; a task deleted; a task made.
    for action in ["stop", "reload"] {
        api.act(shop, action).await.unwrap();
        world.status(shop, if action == "stop" { "stopped" } else { "running" }).await;
    }
    world.live(shop).await;
    api.act(shop, "stop").await.unwrap();
    world.status(shop, "stopped").await;
    world.source("create table shop.added (id int primary key); insert into shop.added values (1)").await;
    api.act(shop, "resume").await.unwrap();
    until(|| async { world.target_value(ADDED).await.is_some() }).await;
    world.live(shop).await;
    api.act(gone, "stop").await.unwrap();
    world.status(gone, "stopped").await;
    api.delete_task(gone).await.unwrap();
    until(|| async { api.task(gone).await.is_err() }).await;
    let rules = pair::whole_schema("late");
    let late = api.create_task("Copy late", "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap();
    api.act(late, "start").await.unwrap();
    world.live(late).await;
    let before = api.task(shop).await.unwrap();

    world.installation.workers[0].kill().unwrap();
    world.installation.server.kill().unwrap();
    let metadata = &world.installation.metadata;
    metadata.execute("template1", &["drop database postgres with (force)", "create database postgres"]).await.unwrap();
    run(metadata.program("pg_restore").args(["-d", "postgres"]).arg(dump.path()));
    world.installation.server.start().unwrap();
    world.installation.api.wait_ready(Duration::from_secs(20)).await.unwrap();
    world.installation.workers[0].start().unwrap();

    let api = &world.installation.api;
    let above = |task: &Task| task.epoch > before.epoch && task.status == "running";
    let limit = Duration::from_mins(1);
    let now = api.wait_task(shop, limit, "a grant above what the target holds", above).await.unwrap();
    assert_eq!(now.generation, before.generation);
    let raised = |events: &[wavemark_tests::api::Event]| events.iter().any(|event| event.code == "epoch-raised");
    assert!(raised(&api.events(shop).await.unwrap()), "it is reported");
    let failed = world.status(gone, "failed").await;
    assert_eq!(failed.problem.unwrap().code, "task-deleted");
    api.delete_task(gone).await.unwrap();
    until(|| async { api.task(gone).await.is_err() }).await;

    // The task that the backup does not know is found at the target.
    assert!(api.task(late).await.is_err());
    let again = api.create_task("Copy late", "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap();
    let (job, found) = adoptable(&world, again).await;
    assert!(of(&found, gone)["refused"].to_string().contains("deleted"), "{found:?}");
    adopt(&world, again, &job, late).await.unwrap();
    follows(&world, late, "insert into late.t values (7)", "select count(*)::text from late.t where id = 7").await;
    follows(&world, shop, "insert into shop.added values (2)", "select count(*)::text from shop.added where id = 2")
        .await;
    world.live(shop).await;
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(shop).await;
    assert!(report.is_equal(), "{report}");
}
