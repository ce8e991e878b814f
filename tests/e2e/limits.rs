//! Little memory, many tasks, and bytes that change on their way.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::cluster::{Authority, Options};
use wavemark_tests::pair::{self, SOURCE, TARGET};
use wavemark_tests::proxy::{Proxy, Trouble};
use wavemark_tests::signal;

use crate::world::{World, until_within};

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
async fn thirty_tasks_on_one_worker_all_go_on() {
    const TASKS: usize = 30;
    let source =
        Options::source().set("max_connections", 300).set("max_wal_senders", 50).set("max_replication_slots", 50);
    let mut world = World::start_with(source, Options::default().set("max_connections", 300)).await;
    world.installation.workers[0].kill().unwrap();
    world.installation.add_worker_with(&[("WAVEMARK_PLACES", "40")]).unwrap();
    let api = &world.installation.api;
    let endpoints = world.pair.make_endpoints(api).await.unwrap();
    let schemas: Vec<_> = (0..TASKS).map(|n| format!("s{n}")).collect();
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
    let all = (TASKS * 5).to_string();
    until_within(PATIENCE, || async {
        world.target_value(&format!("select ({count})::text")).await.as_deref() == Some(&all)
    })
    .await;
    for task in tasks {
        let task = api.task(task).await.unwrap();
        assert_eq!((task.status.as_str(), task.epoch), ("running", 1), "{}", task.in_words());
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
