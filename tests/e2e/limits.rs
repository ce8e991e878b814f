//! Little memory, many tasks, and bytes that change on their way.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::api::Task;
use wavemark_tests::cluster::{Authority, Options};
use wavemark_tests::pair::{self, SOURCE, TARGET};
use wavemark_tests::proxy::{Proxy, Trouble};
use wavemark_tests::signal;

use crate::held_load::HeldLoad;
use crate::world::{World, until, until_within};

/// For a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transactions_and_wide_rows_pass_through_a_worker_with_little_memory() {
    let source = Options::source().set("logical_decoding_work_mem", "64kB");
    let mut world = World::start_with(source, Options::default()).await;
    world.installation.workers[0].kill().unwrap();
    // More than so much the kernel does not give: an allocation beyond it ends the worker.
    let place = world.installation.add_limited_worker(400 * MIB).unwrap();
    world.source("create table t (id int primary key, v text)").await;
    let task = world.replicate("public", &json!({"memory_mib": 32, "load_parallelism": 2})).await;
    world.live(task).await;
    // Fifty megabytes while in progress, thirty at once, and rows of eight megabytes each.
    let client = world.pair.source_client().await.unwrap();
    for part in 0..5 {
        let rows = format!(
            "insert into t select n, repeat(md5(n::text), 300) from generate_series({part} * 1000 + 1, {part} * 1000 + 1000) n"
        );
        client.batch_execute(if part == 0 { "begin" } else { "" }).await.unwrap();
        client.batch_execute(&rows).await.unwrap();
    }
    client.batch_execute("commit").await.unwrap();
    client.batch_execute("update t set v = v || 'x' where id <= 3000").await.unwrap();
    client
        .batch_execute("insert into t select 20000 + n, repeat(md5(n::text), 250000) from generate_series(1, 6) n")
        .await
        .unwrap();
    until_within(PATIENCE, || async {
        world.target_value("select count(*)::text from t").await.as_deref() == Some("5006")
    })
    .await;
    let report = world.compared("public").await;
    assert!(report.is_equal(), "{report}");
    let worker = &mut world.installation.workers[place];
    assert!(worker.is_running(), "it ended: {}", worker.log_end(5));
    let most = signal::memory(worker.pid().unwrap(), "VmHWM").unwrap() / MIB;
    println!("the worker held {most} MiB at most");
    assert!(most < 300, "the worker held {most} MiB");
    assert_eq!(world.installation.api.task(task).await.unwrap().epoch, 1, "it was the same worker all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_that_is_applied_for_long_keeps_its_source() {
    let source = Options::source().set("logical_decoding_work_mem", "64kB");
    let world = World::start_with(source, Options::default()).await;
    world.source("create table t (id int primary key, v text)").await;
    let task = world.replicate("public", &json!({"memory_mib": 8, "load_parallelism": 1})).await;
    world.live(task).await;
    // Each part of a megabyte takes about three seconds, so no single wait is long; all of it takes longer than the minute
    // after which the source's sender gives up who says nothing.
    let slow = "create function public.slow() returns trigger language plpgsql as \
                'begin perform pg_catalog.pg_sleep(0.003); return new; end'; \
                create trigger slow before insert on public.t for each row execute function public.slow(); \
                alter table public.t enable always trigger slow";
    world.pair.target_client().await.unwrap().batch_execute(slow).await.unwrap();
    world.source("insert into t select n, repeat(md5(n::text), 32) from generate_series(1, 26000) n").await;
    until_within(4 * PATIENCE, || async {
        world.target_value("select count(*)::text from t").await.as_deref() == Some("26000")
    })
    .await;
    let report = world.compared("public").await;
    assert!(report.is_equal(), "{report}");
    let events = world.installation.api.events(task).await.unwrap();
    assert!(events.iter().all(|event| event.code != "connection-lost"), "{events:#?}");
}

/// How many tasks one worker is given: `make many` asks for more.
fn tasks_at_once() -> usize {
    std::env::var("WAVEMARK_TEST_TASKS").map_or(30, |given| given.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_on_one_worker_all_go_on() {
    let many = tasks_at_once();
    let (sessions, senders) = (many * 8 + 60, many + 20);
    let source = Options::source()
        .set("max_connections", sessions)
        .set("max_wal_senders", senders)
        .set("max_replication_slots", senders);
    let mut world = World::start_with(source, Options::default().set("max_connections", sessions)).await;
    world.installation.workers[0].kill().unwrap();
    world.installation.add_worker_with(&[("WAVEMARK_PLACES", &(many + 10).to_string())]).unwrap();
    let api = &world.installation.api;
    let endpoints = world.pair.make_endpoints(api).await.unwrap();
    let schemas: Vec<_> = (0..many).map(|n| format!("s{n}")).collect();
    for schema in &schemas {
        world.source(&format!("create schema {schema}; create table {schema}.t (id int primary key); insert into {schema}.t values (1)")).await;
    }
    let mut tasks: Vec<Uuid> = Vec::new();
    for schema in &schemas {
        let rules = pair::whole_schema(schema);
        let settings = json!({"load_parallelism": 1});
        tasks.push(api.create_task(schema, "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap());
    }
    for task in &tasks {
        api.act(*task, "start").await.unwrap();
    }
    for task in &tasks {
        world.live(*task).await;
    }
    for round in 2..=5 {
        for schema in &schemas {
            world.source(&format!("insert into {schema}.t values ({round})")).await;
        }
    }
    let count =
        schemas.iter().map(|schema| format!("(select count(*) from {schema}.t)")).collect::<Vec<_>>().join(" + ");
    let all = (many * 5).to_string();
    until_within(PATIENCE, || async {
        world.target_value(&format!("select ({count})::text")).await.as_deref() == Some(&all)
    })
    .await;
    for task in tasks {
        let task = api.task(task).await.unwrap();
        assert_eq!((task.status.as_str(), task.epoch), ("running", 1), "{}", task.in_words());
    }
}

/// A world with two schemas of one table each, and endpoints with such settings besides the usual.
async fn two_schemas(rows: u32, source: &Value, target: &Value) -> (World, (Uuid, Uuid)) {
    let world = World::start().await;
    for schema in ["one", "two"] {
        let fill =
            format!("insert into {schema}.t select n, repeat(md5(n::text), 4) from generate_series(1, {rows}) n");
        world
            .source(&format!("create schema {schema}; create table {schema}.t (id int primary key, v text); {fill}"))
            .await;
    }
    let api = &world.installation.api;
    let endpoints = world.pair.make_endpoints(api).await.unwrap();
    api.change_endpoint(endpoints.0, source).await.unwrap();
    api.change_endpoint(endpoints.1, target).await.unwrap();
    (world, endpoints)
}

/// A task named as the schema that it takes.
async fn task_of(world: &World, schema: &str, endpoints: (Uuid, Uuid)) -> Uuid {
    let settings = json!({"chunk_mib": 1, "load_parallelism": 4, "idle_seconds": 1, "preparation": "truncate"});
    let (api, rules) = (&world.installation.api, pair::whole_schema(schema));
    api.create_task(schema, "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap()
}

/// The connections at a server whose application name is like that: not the processes that make an index for one.
async fn sessions(client: &Client, like: &str) -> i64 {
    let sql =
        "select count(*) from pg_stat_activity where application_name like $1 and backend_type <> 'parallel worker'";
    client.query_one(sql, &[&like]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_together_open_no_more_connections_than_an_endpoint_allows() {
    // Room for one load with four readers and loaders, and one with one of each. Without a cap each has four: the target
    // alone would see twelve.
    let (from, to) = (19, 11);
    let source = json!({"max_connections": from, "load_mib_per_second": 4});
    let (world, endpoints) = two_schemas(80_000, &source, &json!({"max_connections": to})).await;
    let api = &world.installation.api;
    let (source, target) =
        (world.pair.source.connect("postgres").await.unwrap(), world.pair.target.connect("postgres").await.unwrap());
    let (one, two) = (task_of(&world, "one", endpoints).await, task_of(&world, "two", endpoints).await);
    api.act(one, "start").await.unwrap();
    until(|| async { sessions(&target, "wavemark one load %").await == 4 }).await;
    api.act(two, "start").await.unwrap();
    let mut most = [0; 5];
    let mut both_load = false;
    let count = async {
        loop {
            let loaders =
                [sessions(&target, "wavemark one load %").await, sessions(&target, "wavemark two load %").await];
            both_load |= loaders == [4, 1];
            let now = [
                sessions(&source, "wavemark %").await,
                sessions(&target, "wavemark %").await,
                sessions(&source, "wavemark two load").await,
                loaders[0],
                loaders[1],
            ];
            most = std::array::from_fn(|at| most[at].max(now[at]));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = count => unreachable!("it counts until the tasks are live"),
        () = async { world.live(one).await; world.live(two).await } => {}
    }
    println!("at most, at the source, the target, and of these readers and loaders: {most:?}");
    assert!(most[0] <= from && most[1] <= to, "{most:?}");
    assert_eq!(most[2..], [1, 4, 1], "readers of the second task, loaders of the first and of the second");
    assert!(both_load, "the second loaded beside the first");
    world.source("insert into one.t values (0); insert into two.t values (0)").await;
    until(|| async {
        world
            .target_value("select (select count(*) from one.t) || ' ' || (select count(*) from two.t)")
            .await
            .as_deref()
            == Some("80001 80001")
    })
    .await;
    for schema in ["one", "two"] {
        let report = world.compared(schema).await;
        assert!(report.is_equal(), "{report}");
    }
    // What the loads had is given back.
    assert_eq!(sessions(&target, "wavemark % load %").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_finds_too_few_connections_waits_in_words_and_goes_on_when_another_ends() {
    let (world, endpoints) = two_schemas(10, &json!({"max_connections": 10}), &json!({})).await;
    let api = &world.installation.api;
    let refused = api.change_endpoint(endpoints.0, &json!({"max_connections": 7})).await.unwrap_err().to_string();
    assert!(refused.contains("max_connections") && refused.contains("from 8 to"), "{refused}");
    let source = world.pair.source.connect("postgres").await.unwrap();
    let (one, two) = (task_of(&world, "one", endpoints).await, task_of(&world, "two", endpoints).await);
    api.act(one, "start").await.unwrap();
    world.live(one).await;
    // Following keeps three.
    let text = "8 connections are needed at endpoint The shop; of the 10 that this worker may open there, 7 are free.";
    let waits = || async {
        let reason = |task: &Task| task.progress.as_ref().and_then(|progress| progress.waiting_for.clone());
        let is_it = |task: &Task| reason(task).is_some_and(|problem| problem.text == text);
        let task = api.wait_task(two, PATIENCE, "the task to wait for connections", is_it).await.unwrap();
        reason(&task).unwrap().code
    };
    api.act(two, "start").await.unwrap();
    assert_eq!(waits().await, "endpoint-connections");
    let page = api.page(&format!("/tasks/{two}")).await.unwrap();
    assert!(page.contains(text), "the task's page says it");
    // A look at the log is a short one.
    until(|| async { sessions(&source, "wavemark two%").await == 0 }).await;
    // A stop does not wait, and the way back leads to the same wait.
    let asked = Instant::now();
    api.act(two, "stop").await.unwrap();
    world.status(two, "stopped").await;
    assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
    api.act(two, "resume").await.unwrap();
    assert_eq!(waits().await, "endpoint-connections");
    assert!(world.target_value("select to_regclass('two.t')::text").await.is_none(), "nothing is begun");
    api.act(one, "stop").await.unwrap();
    world.live(two).await;
    world.source("insert into two.t values (11)").await;
    until(|| async { world.target_value("select count(*)::text from two.t").await.as_deref() == Some("11") }).await;
    let report = world.compared("two").await;
    assert!(report.is_equal(), "{report}");
    let task = api.task(two).await.unwrap();
    assert_eq!(task.progress.unwrap().waiting_for.map(|problem| problem.text), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_aside_and_a_comparison_that_find_too_few_connections_wait_while_the_task_follows() {
    // Two that follow have six, and a load aside the five others.
    let (world, endpoints) = two_schemas(10, &json!({"max_connections": 11}), &json!({})).await;
    let api = &world.installation.api;
    let (one, two) = (task_of(&world, "one", endpoints).await, task_of(&world, "two", endpoints).await);
    for task in [one, two] {
        api.act(task, "start").await.unwrap();
        world.live(task).await;
    }
    let load = HeldLoad::begin(&world, one, ("one", "t")).await;
    let path = format!("/tasks/{two}/compares");
    let asked: Value = api.call(reqwest::Method::POST, &path, Some(&json!({}))).await.unwrap();
    let compare = format!("/compares/{}", asked["id"].as_str().unwrap());
    let code = async || api.get::<Value>(&compare).await.unwrap()["problem"]["code"].clone();
    until(|| async { code().await == "endpoint-connections" }).await;
    api.ask_of_tables(two, "reload", &[("two", "t")]).await.unwrap();
    let is_told =
        |event: &wavemark_tests::api::Event| event.problem.as_ref().is_some_and(|it| it.code == "endpoint-connections");
    until(|| async { api.events(two).await.unwrap().iter().any(is_told) }).await;
    world.source("insert into two.t values (11)").await;
    until(|| async { world.target_value("select count(*)::text from two.t").await.as_deref() == Some("11") }).await;
    let source = world.pair.source.connect("postgres").await.unwrap();
    assert!(sessions(&source, "wavemark %").await <= 11);

    load.release().await;
    world.live(one).await;
    world.live(two).await;
    let state = async || api.get::<Value>(&compare).await.unwrap()["state"].clone();
    until_within(PATIENCE, || async { state().await == "done" }).await;
    for schema in ["one", "two"] {
        let report = world.compared(schema).await;
        assert!(report.is_equal(), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_on_the_wire_is_noticed_under_tls() {
    let authority = Authority::make().unwrap();
    let source = Options { tls: Some(&authority), ..Options::source() };
    let target = Options { tls: Some(&authority), ..Options::default() };
    let world = World::start_with(source, target).await;
    let api = &world.installation.api;
    let mut endpoints = Vec::new();
    let mut links = Vec::new();
    for (role, cluster, user) in [("source", &world.pair.source, SOURCE), ("target", &world.pair.target, TARGET)] {
        let link = Proxy::start(cluster.port()).await.unwrap();
        let mut settings = pair::settings(cluster, user, user);
        settings["port"] = link.port().into();
        settings["tls_mode"] = json!("verify-full");
        settings["tls_ca"] = json!(authority.certificate().unwrap());
        endpoints.push(api.create_endpoint(role, role, &settings, cluster.password()).await.unwrap());
        links.push(link);
    }
    world.source("create table t (id int primary key, v text)").await;
    let rules = pair::whole_schema("public");
    let both = (endpoints[0], endpoints[1]);
    let task = api.create_task("t", "full-load-and-cdc", both, &rules, &json!({"idle_seconds": 1})).await.unwrap();
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    for (round, link) in links.iter().cycle().take(6).enumerate() {
        link.strike(Trouble::FlipBit);
        let from = round * 1_000;
        world
            .source(&format!("insert into t select n, md5(n::text) from generate_series({from}, {from} + 999) n"))
            .await;
        until_within(PATIENCE, || async { link.trouble().is_none() }).await;
        let sql = format!("select count(*)::text from t where id >= {from}");
        until_within(PATIENCE, || async { world.target_value(&sql).await.as_deref() == Some("1000") }).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let report = world.compared("public").await;
    assert!(report.is_equal(), "{report}");
    let events = api.events(task).await.unwrap();
    let problems =
        events.iter().filter(|event| event.problem.as_ref().is_some_and(|problem| problem.fault == "transient"));
    assert!(problems.count() >= 3, "flipped bits end connections: {events:#?}");
    assert!(events.iter().all(|event| event.severity != "error"), "{events:#?}");
}
