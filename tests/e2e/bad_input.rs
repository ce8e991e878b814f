//! What can be wrong from the start, and what is said about it.

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::api::{Job, Refusal};
use wavemark_tests::cluster::Options;
use wavemark_tests::pair::{self, SOURCE};

use crate::world::World;

/// The step of an endpoint's test that failed.
fn failed_step(job: &Job) -> Value {
    let outcome = job.outcome.clone().unwrap();
    let steps = outcome["steps"].as_array().unwrap();
    let failed: Vec<_> = steps.iter().filter(|step| step["passed"] == false).collect();
    assert_eq!(failed.len(), 1, "exactly one step fails: {outcome}");
    failed[0].clone()
}

/// A finding of an assessment, by its code.
fn finding(job: &Job, code: &str) -> Value {
    let outcome = job.outcome.clone().unwrap();
    let found = outcome["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("no finding {code} in {outcome}")).clone()
}

fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> Refusal {
    result.unwrap_err().downcast::<Refusal>().unwrap()
}

async fn endpoint(world: &World, name: &str, change: impl FnOnce(&mut Value), password: &str) -> Uuid {
    let mut settings = pair::settings(&world.pair.source, SOURCE, SOURCE);
    change(&mut settings);
    world.installation.api.create_endpoint(name, "source", &settings, password).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_host_are_named_by_the_step_that_failed() {
    let world = World::start().await;
    let api = &world.installation.api;
    let wrong = endpoint(&world, "wrong password", |_| {}, "not it").await;
    let step = failed_step(&api.test_endpoint(wrong).await.unwrap());
    assert_eq!(step["name"], "log in");
    assert!(step["text"].as_str().unwrap().contains("[28P01]"), "{step}");
    assert!(step["mend"].as_str().unwrap().contains("password"), "{step}");

    let nowhere = |settings: &mut Value| settings["host"] = json!("no-such-host.invalid");
    let unknown = endpoint(&world, "unknown host", nowhere, "x").await;
    let step = failed_step(&api.test_endpoint(unknown).await.unwrap());
    assert_eq!(step["name"], "resolve");
    assert!(step["text"].as_str().unwrap().contains("no-such-host.invalid"), "{step}");

    let target = pair::settings(&world.pair.target, pair::TARGET, pair::TARGET);
    let target = api.create_endpoint("target", "target", &target, world.pair.target.password()).await.unwrap();
    let rules = pair::whole_schema("public");
    let task = api.create_task("wrong", "full-load-and-cdc", (wrong, target), &rules, &json!({})).await.unwrap();
    api.act(task, "start").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert_eq!((problem.fault.as_str(), problem.code.as_str()), ("settings", "wrong-password"));
    assert_eq!(problem.server_code.as_deref(), Some("28P01"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_privilege_is_named_with_the_grant_that_mends_it() {
    let world = World::start().await;
    let foreign = "create table public.foreign_table (id int primary key)";
    world.pair.source.execute(SOURCE, &[foreign]).await.unwrap();
    let task = world.make_task("public", &json!({})).await;
    let job = world.installation.api.assess(task).await.unwrap();
    let right = finding(&job, "no-select-right");
    assert_eq!(right["weight"], "blocker");
    assert!(
        right["mend"].as_str().unwrap().contains("GRANT SELECT ON \"public\".\"foreign_table\" TO \"shop\""),
        "{right}"
    );
    assert!(finding(&job, "not-owner")["mend"].as_str().unwrap().contains("OWNER TO \"shop\""));

    world.installation.api.act(task, "start").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert!(problem.text.contains("foreign_table"), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_without_logical_log_or_without_slots_is_refused_with_the_setting_to_change() {
    let options = Options::default().set("wal_level", "replica").set("max_replication_slots", 1);
    let world = World::start_with(options, Options::default()).await;
    world.source("create table t (id int primary key)").await;
    let task = world.make_task("public", &json!({})).await;
    let api = &world.installation.api;
    let level = finding(&api.assess(task).await.unwrap(), "wal-level");
    assert!(level["mend"].as_str().unwrap().contains("ALTER SYSTEM SET wal_level = logical"), "{level}");
    api.act(task, "start").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert!(problem.text.contains("wal_level"), "{problem:?}");

    let alter = "alter system set wal_level = 'logical'";
    world.pair.source.execute("postgres", &[alter]).await.unwrap();
    world.pair.source.stop(wavemark_tests::cluster::Mode::Fast).unwrap();
    world.pair.source.restart().unwrap();
    let take = "select pg_create_logical_replication_slot('taken', 'pgoutput')";
    world.pair.source.execute(SOURCE, &[take]).await.unwrap();
    let slots = finding(&api.assess(task).await.unwrap(), "no-slots-left");
    assert!(slots["mend"].as_str().unwrap().contains("max_replication_slots"), "{slots}");
    api.act(task, "reload").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert_eq!(problem.code, "no-slots-left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_key_and_identity_is_refused_and_its_source_stays_writable() {
    let world = World::start().await;
    world.source("create table bare (a int); insert into bare values (1)").await;
    let task = world.make_task("public", &json!({})).await;
    let api = &world.installation.api;
    let bare = finding(&api.assess(task).await.unwrap(), "no-replica-identity");
    assert_eq!(bare["mend"], "ALTER TABLE \"public\".\"bare\" REPLICA IDENTITY FULL;");
    api.act(task, "start").await.unwrap();
    world.status(task, "failed").await;
    // Were it published, this would fail.
    world.source("update bare set a = 2").await;

    world.source("alter table bare replica identity full").await;
    api.act(task, "reload").await.unwrap();
    world.live(task).await;
    world.source("insert into bare values (2), (3); update bare set a = 4 where a = 3").await;
    crate::world::until(|| async { world.compared("public").await.is_equal() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_mapping_is_refused_with_rule_and_field() {
    let world = World::start().await;
    let api = &world.installation.api;
    let endpoints = world.pair.make_endpoints(api).await.unwrap();
    let locator = json!({"schema-name": "public", "table-name": "%"});
    let cases = [
        (json!([]), "mappings.rules"),
        (
            json!([{"rule-type": "selection", "rule-id": "7", "rule-action": "swallow", "object-locator": locator}]),
            "mappings.rules[rule-id=7].rule-action",
        ),
        (
            json!([{"rule-type": "selection", "rule-id": "8", "rule-action": "include"}]),
            "mappings.rules[rule-id=8].object-locator",
        ),
        (
            json!([{"rule-type": "validation", "rule-id": "9", "rule-action": "include", "object-locator": locator}]),
            "mappings.rules[rule-id=9].rule-type",
        ),
    ];
    for (rules, field) in cases {
        let refused = refusal(api.create_task("t", "cdc", endpoints, &rules, &json!({})).await);
        assert_eq!((refused.status, refused.field.as_deref()), (422, Some(field)), "{refused}");
    }
    let settings = json!({"wave_chnages": 1});
    let refused = refusal(api.create_task("t", "cdc", endpoints, &pair::whole_schema("public"), &settings).await);
    assert!(refused.status == 422 && refused.detail.contains("wave_chnages"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_63_bytes_with_quotes_dots_and_emoji_are_copied_and_followed() {
    let world = World::start().await;
    // 63 bytes each.
    let table = format!("\"\"a.b'c \\ %_ 😀 {}", "x".repeat(46));
    let column = format!("Ключ \"\". {}", "y".repeat(50));
    let sql = format!(
        "create schema \"s.\"\"1 ö\"; create type \"s.\"\"1 ö\".\"e.\"\"\" as enum ('a\"b', 'c,d');
         create table \"s.\"\"1 ö\".\"{table}\" (\"{column}\" text primary key, \"select\" \"s.\"\"1 ö\".\"e.\"\"\", \"A\" int);
         create index \"i.\"\"x\" on \"s.\"\"1 ö\".\"{table}\" (\"A\");
         insert into \"s.\"\"1 ö\".\"{table}\" values ('k''\"1', 'a\"b', 1), ('two', 'c,d', 2)"
    );
    world.source(&sql).await;
    let task = world.replicate("s.\"1 ö", &json!({})).await;
    world.live(task).await;
    let sql = format!(
        "update \"s.\"\"1 ö\".\"{table}\" set \"{column}\" = 'moved', \"A\" = 3 where \"A\" = 1;
         delete from \"s.\"\"1 ö\".\"{table}\" where \"A\" = 2;
         insert into \"s.\"\"1 ö\".\"{table}\" values ('new 😀', 'c,d', 9)"
    );
    world.source(&sql).await;
    crate::world::until(|| async { world.compared("s.\"1 ö").await.is_equal() }).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert_eq!(tables[0].source.table, table.replace("\"\"", "\""));
    assert_eq!(tables[0].source.table.len(), 63);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_table_of_another_shape_parks_that_table_alone() {
    let world = World::start().await;
    world.source("create table good (id int primary key); create table odd (id int primary key, v text)").await;
    world.source("insert into good values (1); insert into odd values (1, 'x')").await;
    world.target("create table odd (id int primary key, v int not null)").await;
    let task = world.make_task("public", &json!({})).await;
    let api = &world.installation.api;
    let outcome = api.assess(task).await.unwrap().outcome.unwrap();
    let blocker =
        outcome["findings"].as_array().unwrap().iter().find(|finding| finding["weight"] == "blocker").unwrap();
    assert!(blocker["text"].as_str().unwrap().contains("odd"), "{outcome}");
    api.act(task, "start").await.unwrap();
    world.status(task, "degraded").await;
    world.source("insert into good values (2)").await;
    crate::world::until(|| async {
        world.target_value("select count(*)::text from good").await.as_deref() == Some("2")
    })
    .await;
    let tables = api.tables(task).await.unwrap();
    let odd = tables.iter().find(|table| table.source.table == "odd").unwrap();
    let problem = odd.problem.as_ref().unwrap();
    assert!(odd.state == "parked" && problem.text.contains('v'), "{odd:?}");
    let event = api.events(task).await.unwrap().into_iter().find(|event| event.code == "table-parked").unwrap();
    assert_eq!((event.severity.as_str(), event.table.unwrap().table.as_str()), ("error", "odd"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_no_rows_that_are_not_the_tasks() {
    let world = World::start().await;
    world.source("create table orders (id int primary key); insert into orders values (1)").await;
    world.target("create table orders (id int primary key); insert into orders values (99)").await;
    let task = world.make_task("public", &json!({})).await;
    let api = &world.installation.api;
    api.act(task, "start").await.unwrap();
    world.status(task, "degraded").await;
    let ids = "select string_agg(id::text, ',' order by id) from orders";
    for _ in 0..2 {
        api.ask_of_tables(task, "reload", &[("public", "orders")]).await.unwrap();
        crate::world::until(async || {
            let tables = api.tables(task).await.unwrap_or_default();
            tables.iter().all(|table| table.asked.is_none() && table.state == "parked")
        })
        .await;
        assert_eq!(world.target_value(ids).await.as_deref(), Some("99"));
    }
    world.target("delete from orders").await;
    api.ask_of_tables(task, "reload", &[("public", "orders")]).await.unwrap();
    crate::world::until(async || world.target_value(ids).await.as_deref() == Some("1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tasks_into_one_table_are_warned_of_and_refused_where_rows_would_be_lost() {
    let world = World::start().await;
    world.source("create table t (id int primary key); insert into t values (1)").await;
    let api = &world.installation.api;
    let endpoints = world.pair.make_endpoints(api).await.unwrap();
    let rules = pair::whole_schema("public");
    let first = api.create_task("first", "full-load-and-cdc", endpoints, &rules, &json!({})).await.unwrap();
    api.act(first, "start").await.unwrap();
    world.live(first).await;
    api.discover(endpoints.0).await.unwrap();

    let drops = json!({"preparation": "drop-and-create"});
    let second = api.create_task("second", "full-load-and-cdc", endpoints, &rules, &drops).await.unwrap();
    let refused = refusal(api.act(second, "start").await);
    assert_eq!((refused.status, refused.code.as_str()), (409, "shared-target"));
    assert!(refused.detail.contains("public.t") && refused.detail.contains("first"), "{refused}");

    let third = api.create_task("third", "cdc", endpoints, &rules, &json!({})).await.unwrap();
    api.act(third, "start").await.unwrap();
    let events = api.events(third).await.unwrap();
    assert!(events.iter().any(|event| event.code == "shared-target" && event.severity == "warning"), "{events:?}");
}
