//! Standbys that take over: of the target, with each way to confirm, and of the source.
//!
//! What reaches a standby goes through a proxy, so that it can be made to lag behind by as much as is wanted.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::api::{Api, Task, lsn};
use wavemark_tests::cluster::Cluster;
use wavemark_tests::pair::{self, SOURCE, TARGET};
use wavemark_tests::proxy::{Proxy, Trouble};
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, until_within};

/// For a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

const LIMIT: Duration = PATIENCE;

async fn standby(of: &Cluster) -> (Proxy, Cluster) {
    let link = Proxy::start(of.port()).await.unwrap();
    let standby = of.standby("safe", link.port()).unwrap();
    (link, standby)
}

async fn source_endpoint(world: &World) -> Uuid {
    let source = &world.pair.source;
    let settings = pair::settings(source, SOURCE, SOURCE);
    world.installation.api.create_endpoint("source", "source", &settings, source.password()).await.unwrap()
}

async fn target_endpoint(world: &World, name: &str, confirm: &Value) -> Uuid {
    let target = &world.pair.target;
    let mut settings = pair::settings(target, TARGET, TARGET);
    for (field, value) in confirm.as_object().unwrap() {
        settings[field] = value.clone();
    }
    world.installation.api.create_endpoint(name, "target", &settings, target.password()).await.unwrap()
}

async fn started(world: &World, schema: &str, endpoints: (Uuid, Uuid)) -> Uuid {
    let api = &world.installation.api;
    let rules = pair::whole_schema(schema);
    let task = api.create_task(schema, "full-load-and-cdc", endpoints, &rules, &json!({})).await.unwrap();
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    task
}

/// The step *confirm after* of an endpoint's test.
async fn confirm_step(api: &Api, endpoint: Uuid) -> Value {
    let outcome = api.test_endpoint(endpoint).await.unwrap().outcome.unwrap();
    let steps = outcome["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == "confirm after").unwrap_or_else(|| panic!("{outcome}")).clone()
}

/// The newest bookmark that a target holds for a task.
async fn bookmark(target: &Cluster, task: Uuid) -> u64 {
    let client = target.connect_as(TARGET, target.password(), TARGET).await.unwrap();
    let sql = "select position_text from wavemark.progress where task = $1 order by wave desc limit 1";
    lsn(client.query_one(sql, &[&task]).await.unwrap().get(0)).unwrap()
}

/// Up to where the source was told to forget.
async fn confirmed(world: &World, task: Uuid) -> u64 {
    let client = world.pair.source_client().await.unwrap();
    let sql = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name like $1";
    lsn(client.query_one(sql, &[&format!("wavemark_{}%", task.simple())]).await.unwrap().get(0)).unwrap()
}

/// Whether the source keeps its log although the target has it, for this reason.
fn confirm_waits(code: &'static str) -> impl Fn(&Task) -> bool {
    move |task| {
        let waits = task.progress.as_ref().and_then(|progress| progress.confirm_waits_for.as_ref());
        waits.is_some_and(|problem| problem.code == code)
    }
}

fn waits(code: &'static str) -> impl Fn(&Task) -> bool {
    move |task| {
        let waits = task.progress.as_ref().and_then(|progress| progress.waiting_for.as_ref());
        waits.is_some_and(|problem| problem.code == code)
    }
}

/// The target dies, its standby takes over, and the endpoints are pointed at that.
async fn fail_over(world: &mut World, standby: Cluster, tasks: &[Uuid], endpoints: &[Uuid]) {
    world.pair.target.kill().unwrap();
    standby.promote().unwrap();
    let api = &world.installation.api;
    for task in tasks {
        api.act(*task, "stop").await.unwrap();
        world.status(*task, "stopped").await;
    }
    for endpoint in endpoints {
        api.change_endpoint(*endpoint, &json!({"port": standby.port()})).await.unwrap();
    }
    world.pair.target = standby;
    for task in tasks {
        world.installation.api.act(*task, "resume").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lagged_takes_over_equal_if_it_is_named_and_with_the_position_lost_if_not() {
    let mut world = World::with_shop().await;
    world.source("create table public.t (id int primary key)").await;
    let (link, standby) = standby(&world.pair.target).await;
    let source = source_endpoint(&world).await;
    let named = json!({"confirm_after": "named-standbys", "confirm_standbys": "safe"});
    let named = target_endpoint(&world, "named", &named).await;
    let local = target_endpoint(&world, "local", &json!({})).await;
    let step = confirm_step(&world.installation.api, named).await;
    assert_eq!((&step["passed"], &step["mend"]), (&json!(false), &json!("GRANT pg_read_all_stats TO \"shop_copy\"")));
    world.pair.target.execute("postgres", &[step["mend"].as_str().unwrap()]).await.unwrap();
    assert_eq!(confirm_step(&world.installation.api, named).await["passed"], json!(true));

    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(Pace { sessions: 2, per_second: 60.0, seed: 8 });
    let shop = started(&world, "shop", (source, named)).await;
    let t = started(&world, "public", (source, local)).await;
    world.source("insert into public.t select generate_series(1, 10)").await;
    let all = "select count(*)::text from public.t";
    until_within(PATIENCE, || async { world.target_value(all).await.as_deref() == Some("10") }).await;
    let early = bookmark(&world.pair.target, shop).await;
    until_within(PATIENCE, || async { confirmed(&world, shop).await >= early }).await;

    link.strike(Trouble::Hole);
    world.source("insert into public.t select generate_series(11, 2000)").await;
    until_within(PATIENCE, || async { world.target_value(all).await.as_deref() == Some("2000") }).await;
    let api = &world.installation.api;
    let shown = api.wait_task(shop, LIMIT, "the reason", confirm_waits("standby-behind")).await.unwrap();
    let text = shown.progress.unwrap().confirm_waits_for.unwrap().text;
    assert!(text.contains("safe is "), "{text}");
    assert!(api.events(shop).await.unwrap().iter().any(|event| event.code == "standby-behind"));
    // Waves go on, and the source is told of none that the standby doesn't have.
    let before = bookmark(&world.pair.target, shop).await;
    until_within(PATIENCE, || async { bookmark(&world.pair.target, shop).await > before }).await;
    assert!(confirmed(&world, shop).await <= bookmark(&standby, shop).await);
    let lagging = bookmark(&standby, t).await;
    until_within(PATIENCE, || async { confirmed(&world, t).await > lagging }).await;

    writers.stop().await.unwrap();
    fail_over(&mut world, standby, &[shop, t], &[named, local]).await;
    let report = world.drained_and_compared(shop).await;
    assert!(report.is_equal(), "{report}");
    // The new server has no such standby, so nothing more is confirmed until the endpoint says something else.
    let api = &world.installation.api;
    let shown = api.wait_task(shop, LIMIT, "the reason", confirm_waits("standby-behind")).await.unwrap();
    assert!(shown.progress.unwrap().confirm_waits_for.unwrap().text.contains("safe is not connected"));
    let problem = world.status(t, "failed").await.problem.unwrap();
    assert_eq!((problem.fault.as_str(), problem.code.as_str()), ("position-lost", "slot-ahead"), "{problem:?}");
    api.act(t, "reload").await.unwrap();
    until_within(PATIENCE, || async { world.target_value(all).await.as_deref() == Some("2000") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_that_takes_over_has_every_wave_that_the_source_was_told_of() {
    let mut world = World::with_shop().await;
    let (link, standby) = standby(&world.pair.target).await;
    let source = source_endpoint(&world).await;
    let synchronous = json!({"confirm_after": "synchronous-standby"});
    let target = target_endpoint(&world, "synchronous", &synchronous).await;
    let step = confirm_step(&world.installation.api, target).await;
    assert_eq!(step["passed"], json!(false));
    assert!(step["mend"].as_str().unwrap().starts_with("ALTER SYSTEM SET synchronous_standby_names"), "{step}");
    // What the server asks of others' commits is not what is asked of ours.
    let settings =
        ["synchronous_standby_names = 'safe'", "synchronous_commit = 'off'"].map(|to| format!("alter system set {to}"));
    world.pair.target.execute("postgres", &[&settings[0], &settings[1], "select pg_reload_conf()"]).await.unwrap();
    assert_eq!(confirm_step(&world.installation.api, target).await["passed"], json!(true));

    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(Pace { sessions: 2, per_second: 60.0, seed: 9 });
    let task = started(&world, "shop", (source, target)).await;
    let early = bookmark(&world.pair.target, task).await;
    until_within(PATIENCE, || async { confirmed(&world, task).await > early }).await;
    link.strike(Trouble::Hole);
    world.installation.api.wait_task(task, LIMIT, "the reason", waits("commit-waits")).await.unwrap();
    // A wait that is cancelled leaves a commit that the standby doesn't have, and the source isn't told of it.
    let cancelled = "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'";
    // The wave that waited first may have reached the standby, whose answer alone was lost: then it is the next one.
    until_within(PATIENCE, || async {
        world.pair.target.execute("postgres", &[cancelled]).await.unwrap();
        bookmark(&world.pair.target, task).await > bookmark(&standby, task).await
    })
    .await;
    let api = &world.installation.api;
    api.wait_task(task, LIMIT, "the reason", confirm_waits("standby-behind")).await.unwrap();
    let has = bookmark(&standby, task).await;
    assert!(confirmed(&world, task).await <= has);
    writers.stop().await.unwrap();
    fail_over(&mut world, standby, &[task], &[target]).await;
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    let api = &world.installation.api;
    api.wait_task(task, LIMIT, "the reason", confirm_waits("no-synchronous-standby")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_failed_over_without_its_slot_or_behind_the_target_is_never_followed() {
    let mut world = World::start().await;
    world.source("create table t (id int primary key)").await;
    let (link, standby) = standby(&world.pair.source).await;
    let source = source_endpoint(&world).await;
    let target = target_endpoint(&world, "target", &json!({})).await;
    let task = started(&world, "public", (source, target)).await;
    world.source("insert into t select generate_series(1, 10)").await;
    let all = "select count(*)::text from t";
    until_within(PATIENCE, || async { world.target_value(all).await.as_deref() == Some("10") }).await;
    let has = format!("select count(*) = 10 from t where {}", "id <= 10");
    let of_standby = standby.connect_as(SOURCE, standby.password(), SOURCE).await.unwrap();
    until_within(PATIENCE, || async { of_standby.query_one(&has, &[]).await.is_ok_and(|row| row.get(0)) }).await;
    link.strike(Trouble::Hole);
    world.source("insert into t select generate_series(11, 20000)").await;
    until_within(PATIENCE, || async { world.target_value(all).await.as_deref() == Some("20000") }).await;
    let slot: String = {
        let client = world.pair.source_client().await.unwrap();
        client.query_one("select slot_name::text from pg_replication_slots", &[]).await.unwrap().get(0)
    };

    world.pair.source.kill().unwrap();
    standby.promote().unwrap();
    let api = &world.installation.api;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    api.change_endpoint(source, &json!({"port": standby.port()})).await.unwrap();
    world.pair.source = standby;
    let api = &world.installation.api;
    api.act(task, "resume").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert_eq!((problem.fault.as_str(), problem.code.as_str()), ("position-lost", "slot-missing"), "{problem:?}");
    // A slot that somebody made anew, or that was brought along, does not help a target that is ahead.
    let make = format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    world.pair.source.execute(SOURCE, &[&make]).await.unwrap();
    api.act(task, "resume").await.unwrap();
    // It fails again so soon that nobody may see it run.
    let diverged = async || {
        let problem = api.task(task).await.unwrap().problem;
        problem.is_some_and(|problem| (problem.fault.as_str(), problem.code.as_str()) == ("position-lost", "diverged"))
    };
    until_within(PATIENCE, diverged).await;
    world.status(task, "failed").await;
    assert_eq!(world.target_value(all).await.as_deref(), Some("20000"), "nothing was touched");
    api.act(task, "reload").await.unwrap();
    until_within(PATIENCE, || async { world.target_value(all).await.as_deref() == Some("10") }).await;
}
