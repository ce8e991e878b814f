//! Tables that come at the source while a task follows it.

use serde_json::json;
use uuid::Uuid;

use crate::world::{World, until};

async fn shown(world: &World, task: Uuid) -> Vec<(String, String)> {
    let tables = world.installation.api.tables(task).await.unwrap();
    tables.into_iter().map(|table| (table.source.table, table.state)).collect()
}

async fn shows(world: &World, task: Uuid, table: &str, state: &str) {
    let wanted = (table.to_owned(), state.to_owned());
    until(|| async { shown(world, task).await.contains(&wanted) }).await;
}

/// A task over a table that is there from the beginning.
async fn followed(new_tables: &str) -> (World, Uuid) {
    let world = World::start().await;
    world.source("create table first (id int primary key, note text); insert into first values (1, 'one')").await;
    let task = world.replicate("public", &json!({"new_tables": new_tables, "idle_seconds": 1})).await;
    world.live(task).await;
    (world, task)
}

const COMES: &str = "create table second (id int primary key, note text); \
                     insert into second select i, 'before ' || i from generate_series(1, 2000) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_come_are_loaded_and_followed_while_workers_die() {
    let (mut world, task) = followed("load").await;
    world.source(COMES).await;
    world.installation.workers[0].kill().unwrap();
    world.installation.workers[0].start().unwrap();
    world
        .source("update second set note = 'while it loads' where id % 3 = 0; delete from second where id % 7 = 0")
        .await;
    shows(&world, task, "second", "live").await;

    // One that comes while the worker is there, and goes on under another name.
    world
        .source("create table third (id int primary key, ref int references second); insert into third values (1, 1)")
        .await;
    shows(&world, task, "third", "live").await;
    world.source("insert into third select i, i from generate_series(2, 5) i").await;
    world.source("alter table third rename to fourth; update fourth set ref = null where id > 3").await;
    shows(&world, task, "fourth", "live").await;
    // What it was called before stays in the target as it was.
    let before = "select string_agg(id::text, ',' order by id) from third";
    assert_eq!(world.target_value(before).await.as_deref(), Some("1,2,3,4,5"));
    world.source("insert into fourth values (9, 9); update first set note = 'still followed'").await;
    world.live(task).await;
    // Its key's index is called otherwise: the table of before has that name in the target.
    let rows = "select string_agg(t::text, ';' order by id) from fourth t";
    let source = world.pair.source_client().await.unwrap().query_one(rows, &[]).await.unwrap();
    until(|| async { world.target_value(rows).await == source.get(0) }).await;
    world.target("drop table third; alter table fourth rename constraint fourth_pkey to third_pkey").await;
    assert!(world.compared("public").await.is_equal());
    assert!(shown(&world, task).await.iter().all(|(table, _)| table != "third"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_comes_waits_for_a_person_where_that_is_asked_for() {
    let (world, task) = followed("park-table").await;
    world.source(COMES).await;
    shows(&world, task, "second", "parked").await;
    let tables = world.installation.api.tables(task).await.unwrap();
    let problem = tables.iter().find(|table| table.source.table == "second").unwrap().problem.clone().unwrap();
    assert_eq!(problem.code, "table-not-loaded");
    world.installation.api.ask_of_tables(task, "reload", &[("public", "second")]).await.unwrap();
    world.live(task).await;
    world.source("update second set note = 'followed' where id = 5").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_comes_is_left_out_where_that_is_asked_for() {
    let (world, task) = followed("ignore").await;
    world.source(COMES).await;
    let api = &world.installation.api;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    api.act(task, "resume").await.unwrap();
    world.source("insert into first values (2, 'two')").await;
    let arrived = "select count(*)::text from first";
    until(|| async { world.target_value(arrived).await.as_deref() == Some("2") }).await;
    world.live(task).await;
    assert_eq!(shown(&world, task).await, [("first".to_owned(), "live".to_owned())]);
    assert_eq!(world.target_value("select to_regclass('public.second')::text").await, None);
}

/// A table goes while its worker is dead, with rows that it has not seen; then workers die while it ends.
async fn goes_while_workers_die(dropped_tables: &str) -> (World, Uuid) {
    let mut world = World::start().await;
    world
        .source(
            "create table first (id int primary key, note text); insert into first values (1, 'one'); \
             create table second (id int primary key, note text); create table third (id int primary key); \
             insert into second select i, 'before ' || i from generate_series(1, 500) i",
        )
        .await;
    let settings = json!({"dropped_tables": dropped_tables, "new_tables": "ignore", "idle_seconds": 1});
    let task = world.replicate("public", &settings).await;
    world.live(task).await;
    world.installation.workers[0].kill().unwrap();
    world.source("delete from second where id > 3; update second set note = 'last' where id = 2").await;
    world.source("drop table second; create table second (other text); insert into first values (2, 'two')").await;
    for millis in [300, 900, 1_500] {
        world.installation.workers[0].start().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
        world.installation.workers[0].kill().unwrap();
    }
    world.installation.workers[0].start().unwrap();
    let left = ["first", "third"].map(|table| (table.to_owned(), "live".to_owned()));
    until(|| async { shown(&world, task).await == left }).await;
    assert_eq!(world.target_value("select count(*)::text from first").await.as_deref(), Some("2"));
    (world, task)
}

/// One that goes while it is followed is told once; nothing is wrong with the task, which goes on.
async fn goes_without_alarm(world: &World, task: Uuid) {
    world.source("insert into third values (7); drop table third; insert into first values (3, 'three')").await;
    until(|| async { shown(world, task).await == [("first".to_owned(), "live".to_owned())] }).await;
    world.status(task, "running").await;
    let events = world.installation.api.events(task).await.unwrap();
    let of_third = |code: &str| {
        let about = |event: &&wavemark_tests::api::Event| event.code == code && event.text.contains("public.third");
        events.iter().filter(about).count()
    };
    assert_eq!((of_third("table-ended"), events.iter().filter(|event| event.code == "table-parked").count()), (1, 0));
    until(|| async { world.target_value("select max(id)::text from first").await.as_deref() == Some("3") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_is_dropped_in_the_target_while_workers_die() {
    let (world, task) = goes_while_workers_die("apply").await;
    assert_eq!(world.target_value("select to_regclass('second')::text").await, None);
    goes_without_alarm(&world, task).await;
    assert_eq!(world.target_value("select to_regclass('third')::text").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_stays_with_its_last_rows_while_workers_die() {
    let (world, task) = goes_while_workers_die("ignore").await;
    let rows = "select string_agg(id || ' ' || note, ',' order by id) from second";
    assert_eq!(world.target_value(rows).await.as_deref(), Some("1 before 1,2 last,3 before 3"));
    goes_without_alarm(&world, task).await;
    assert_eq!(world.target_value("select id::text from third").await.as_deref(), Some("7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_renamed_goes_on_under_its_next_name_while_workers_die() {
    let mut world = World::start().await;
    world
        .source(
            "create table first (id int primary key, note text); insert into first values (1, 'one'); \
             create table second (id int primary key, ref int references first); insert into second values (1, 1)",
        )
        .await;
    let task = world.replicate("public", &json!({"renamed_tables": "apply", "idle_seconds": 1})).await;
    world.live(task).await;
    let mut name = "first".to_owned();
    for (round, millis) in [200, 700, 1_200, 1_800].into_iter().enumerate() {
        let next = format!("first_{round}");
        world.installation.workers[0].kill().unwrap();
        let before = format!("insert into {name} values ({round} + 10, 'before')");
        let after = format!("alter table {name} rename to {next}; update {next} set note = 'after' where id > {round}");
        world.source(&format!("{before}; {after}; insert into {next} values ({round} + 100, 'new')")).await;
        world.installation.workers[0].start().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
        name = next;
    }
    // Without a row of it.
    world.source(&format!("alter table {name} rename to last; create table first (other int primary key)")).await;
    let live = ["first", "last", "second"].map(|table| (table.to_owned(), "live".to_owned()));
    until(|| async { shown(&world, task).await == live }).await;
    world.source("insert into last values (500, 'end'); insert into second values (500, 500)").await;
    world.source("insert into first values (5)").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
    let events = world.installation.api.events(task).await.unwrap();
    assert!(events.iter().all(|event| event.code != "table-parked"), "{events:?}");
}
