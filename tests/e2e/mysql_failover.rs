//! Another server in the source's place: a replica that took over, one that lacks something, and the same one whose log was begun
//! anew.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::mysql_family::Server;

use crate::mysql_family::{Dialect, source, target_rows, task, transfers};
use crate::world::{World, until_within};

const PATIENCE: Duration = Duration::from_mins(2);

const SHOP: &str = "CREATE DATABASE shop; USE shop; CREATE TABLE left_side (id int PRIMARY KEY, n int); \
    CREATE TABLE right_side LIKE left_side; INSERT INTO left_side SELECT seq, 1000 FROM helpers.seq_0_to_255; \
    INSERT INTO right_side SELECT * FROM left_side; \
    CREATE TABLE moved (id int AUTO_INCREMENT PRIMARY KEY, by_how_much int);";

/// A server that others can copy from, whose transactions are numbered.
fn primary<P: Dialect>() -> Server<P> {
    let server = source::<P>(&[P::NUMBERED, &["--server-id=1"]].concat(), SHOP);
    server.let_copy().unwrap();
    server
}

/// A server that copies all of another.
fn replica<P: Dialect>(of: &Server<P>) -> Server<P> {
    let server = Server::<P>::start(&[P::NUMBERED, &["--server-id=2"]].concat()).unwrap();
    server.copy(of).unwrap();
    server
}

/// Points the source at a server; the task stands still meanwhile.
async fn point_at<P: Dialect>(world: &World, task: Uuid, server: &Server<P>) {
    let api = &world.installation.api;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    let shown: serde_json::Value = api.get(&format!("/tasks/{task}")).await.unwrap();
    let endpoint = shown["source"]["id"].as_str().unwrap().parse().unwrap();
    api.change_endpoint(endpoint, &json!({"port": server.port()})).await.unwrap();
}

/// Waits until source and target are equal row by row, as each says it.
async fn equal<P: Dialect>(world: &World, task: Uuid, source: &Server<P>) {
    for (table, column) in [("moved", "by_how_much"), ("left_side", "n"), ("right_side", "n")] {
        let sql = format!("SELECT concat_ws(' ', id, {column}) FROM shop.{table} ORDER BY id");
        let rows = source.rows(&sql).unwrap();
        until_within(PATIENCE, || async { target_rows(world, &sql).await == rows }).await;
    }
    world.live(task).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.exceptions == 0), "{tables:?}");
}

/// How often a load began.
async fn loads(world: &World, task: Uuid) -> usize {
    let events = world.installation.api.events(task).await.unwrap();
    events.iter().filter(|event| event.code.starts_with("load-")).count()
}

pub(crate) async fn a_task_goes_on_at_the_server_that_took_over<P: Dialect>() {
    let mut first = primary::<P>();
    let mut second = replica(&first);
    let mut world = World::start().await;
    let task = task(&world, &first, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    let loaded = loads(&world, task).await;
    // The second server writes its log into other files, at other places.
    second.execute("FLUSH BINARY LOGS; FLUSH BINARY LOGS").unwrap();
    first.execute(&transfers(1, 200)).unwrap();
    first.execute(&P::numbered_apart("INSERT INTO shop.moved (by_how_much) VALUES (-1)")).unwrap();
    first.execute(&transfers(2, 20)).unwrap();
    equal(&world, task, &first).await;
    // What the target does not have yet when the first server is gone comes from the second one.
    world.installation.workers[0].kill().unwrap();
    first.execute(&transfers(3, 100)).unwrap();
    second.wait_for_all(&first).unwrap();
    first.kill().unwrap();
    second.promote().unwrap();
    second.execute(&transfers(4, 100)).unwrap();
    world.installation.workers[0].start().unwrap();
    point_at(&world, task, &second).await;
    world.installation.api.act(task, "resume").await.unwrap();
    equal(&world, task, &second).await;
    second.execute(&transfers(5, 100)).unwrap();
    world.installation.workers[0].kill().unwrap();
    second.execute(&transfers(6, 100)).unwrap();
    world.installation.workers[0].start().unwrap();
    equal(&world, task, &second).await;

    // And back, to the server whose files had higher numbers.
    first.restart().unwrap();
    first.copy(&second).unwrap();
    second.execute(&transfers(7, 50)).unwrap();
    first.wait_for_all(&second).unwrap();
    second.kill().unwrap();
    first.promote().unwrap();
    first.execute(&transfers(8, 50)).unwrap();
    point_at(&world, task, &first).await;
    world.installation.api.act(task, "resume").await.unwrap();
    equal(&world, task, &first).await;
    first.execute(&transfers(9, 50)).unwrap();
    equal(&world, task, &first).await;
    assert_eq!(loads(&world, task).await, loaded, "tables were loaded again");
}

pub(crate) async fn a_server_that_lacks_what_the_target_has_is_waited_for_or_refused<P: Dialect>() {
    let first = primary::<P>();
    let second = replica(&first);
    let world = World::start().await;
    let task = task(&world, &first, "full-load-and-cdc", &json!({})).await;
    let api = &world.installation.api;
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    second.wait_for_all(&first).unwrap();
    second.execute(P::HOLD).unwrap();
    first.execute(&transfers(1, 50)).unwrap();
    equal(&world, task, &first).await;
    point_at(&world, task, &second).await;
    api.act(task, "resume").await.unwrap();
    let waits = |task: &wavemark_tests::api::Task| {
        let waits = task.progress.as_ref().and_then(|progress| progress.waiting_for.as_ref());
        waits.or(task.problem.as_ref()).is_some_and(|problem| problem.code == "source-behind")
    };
    api.wait_task(task, PATIENCE, "the reason", waits).await.unwrap();
    second.execute(P::GO_ON).unwrap();
    second.wait_for_all(&first).unwrap();
    first.execute(&transfers(2, 50)).unwrap();
    second.wait_for_all(&first).unwrap();
    equal(&world, task, &first).await;

    // What only the target has when a server takes over is not taken for something else.
    second.execute(P::HOLD).unwrap();
    first.execute("INSERT INTO shop.moved (by_how_much) VALUES (77)").unwrap();
    point_at(&world, task, &first).await;
    api.act(task, "resume").await.unwrap();
    equal(&world, task, &first).await;
    second.promote().unwrap();
    second.execute("INSERT INTO shop.moved (by_how_much) VALUES (78)").unwrap();
    point_at(&world, task, &second).await;
    api.act(task, "resume").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert_eq!(problem.fault, "position-lost", "{problem:?}");
    api.act(task, "reload").await.unwrap();
    equal(&world, task, &second).await;
}

pub(crate) async fn a_log_that_was_begun_anew_is_noticed<P: Dialect>() {
    let source = source::<P>(&[], "CREATE DATABASE shop; CREATE TABLE shop.t (id int PRIMARY KEY)");
    source.execute(P::RESET).unwrap();
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    let api = &world.installation.api;
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    let one = |id: u32| source.execute(&format!("INSERT INTO shop.t VALUES ({id})")).unwrap();
    (1..=3).for_each(one);
    let all = "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM shop.t";
    until_within(PATIENCE, || async { target_rows(&world, all).await == ["1 2 3"] }).await;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    source.execute(P::RESET).unwrap();
    // Transactions of the same sizes: the file of the same name has events that begin at the same places, and numbers that are
    // the same.
    (4..=9).for_each(one);
    api.act(task, "resume").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert_eq!((&*problem.fault, &*problem.code), ("position-lost", "log-begun-anew"), "{problem:?}");
    assert_eq!(target_rows(&world, all).await, ["1 2 3"]);
    api.act(task, "reload").await.unwrap();
    until_within(PATIENCE, || async { target_rows(&world, all).await == ["1 2 3 4 5 6 7 8 9"] }).await;
}
