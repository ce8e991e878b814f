//! Single tables of a task: reloaded, parked and added while the others are followed.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::api::Event;
use wavemark_tests::pair::{self, TARGET};
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::held_load::HeldLoad;
use crate::world::{World, small_chunks, until};

const PACE: Pace = Pace { sessions: 2, per_second: 60.0, seed: 33 };

async fn state(world: &World, task: Uuid, table: &str) -> String {
    let tables = world.installation.api.tables(task).await.unwrap();
    tables.iter().find(|one| one.source.table == table).map_or_else(String::new, |one| one.state.clone())
}

async fn reaches(world: &World, task: Uuid, table: &str, wanted: &str) {
    until(|| async { state(world, task, table).await == wanted }).await;
}

async fn is_equal_at_the_end(world: &World, mut writers: Writers, task: Uuid) {
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

async fn shop_that_changes() -> (World, Writers, Uuid) {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    (world, writers, task)
}

/// The files of target tables: other ones after each time that the table was emptied or made anew.
async fn files(world: &World, tables: &[(&str, &str)]) -> Vec<Option<String>> {
    let mut files = Vec::new();
    for (schema, table) in tables {
        let sql = format!(
            "select string_agg(pg_relation_filenode(relid)::text, ' ') from pg_partition_tree('{schema}.{table}')"
        );
        let plain = format!("select coalesce(({sql}), pg_relation_filenode('{schema}.{table}')::text)");
        files.push(world.target_value(&plain).await);
    }
    files
}

const KEYS: &str = "select string_agg(conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid), E'\\n' \
    order by conrelid::regclass::text, conname) from pg_constraint where contype = 'f' and conparentid = 0";

/// They are made a moment after the rows.
async fn has_the_keys_of_the_source(world: &World) {
    let source = world.pair.source_client().await.unwrap();
    let keys: Option<String> = source.query_one(KEYS, &[]).await.unwrap().get(0);
    until(|| async { world.target_value(KEYS).await == keys }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_lost_rows_is_parked_and_reloaded_while_the_others_go_on() {
    let (world, writers, task) = shop_that_changes().await;
    // Somebody empties a table in the target: the next update of it finds no row.
    world.target("set session_replication_role = replica; delete from shop.stock").await;
    reaches(&world, task, "stock", "parked").await;
    world.status(task, "degraded").await;
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "stock")]).await.unwrap();
    reaches(&world, task, "stock", "live").await;
    world.status(task, "running").await;
    is_equal_at_the_end(&world, writers, task).await;
    has_the_keys_of_the_source(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_tables_are_reloaded_with_a_worker_killed_in_between() {
    let (mut world, writers, task) = shop_that_changes().await;
    let asked = [
        (400, &[("shop", "orders"), ("shop", "customers")][..]),
        (1_200, &[("shop", "audit_log"), ("shop", "payments")]),
    ];
    for (millis, tables) in asked {
        let before = files(&world, tables).await;
        world.installation.api.ask_of_tables(task, "reload", tables).await.unwrap();
        // A worker hears of it within a second, and the load takes less than one: before it, or after it began.
        tokio::time::sleep(Duration::from_millis(millis)).await;
        world.installation.workers[0].kill().unwrap();
        world.installation.workers[0].start().unwrap();
        let epoch = world.installation.api.task(task).await.unwrap().epoch;
        until(|| async { world.installation.api.task(task).await.is_ok_and(|task| task.epoch > epoch) }).await;
        let emptied = async || before.iter().zip(files(&world, tables).await).all(|(before, now)| *before != now);
        until(emptied).await;
        world.live(task).await;
    }
    is_equal_at_the_end(&world, writers, task).await;
    has_the_keys_of_the_source(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_layout_changed_parks_and_comes_back_with_its_new_layout() {
    let world = World::start().await;
    world
        .source("create table kept (id int primary key, n int); create table changed (id int primary key, n int)")
        .await;
    world.source("insert into kept select n, n from generate_series(1, 100) n; insert into changed table kept").await;
    let task = world.replicate("public", &json!({"added_columns": "park-table"})).await;
    world.live(task).await;
    world.source("alter table changed add word text default 'new'; update changed set n = n + 1").await;
    reaches(&world, task, "changed", "parked").await;
    world.source("insert into changed select n, n from generate_series(101, 200) n; update kept set n = 0").await;
    world.installation.api.ask_of_tables(task, "reload", &[("public", "changed")]).await.unwrap();
    // Of the log before the reload's own position the table ignores the old layout, and the change of it.
    world.source("update changed set word = 'w' || id where id % 2 = 0; delete from kept where id > 50").await;
    reaches(&world, task, "changed", "live").await;
    world.source("insert into changed values (201, 1, 'last'); insert into kept values (201, 1)").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_that_an_enum_gets_while_it_is_followed_arrive_with_their_rows() {
    let world = World::start().await;
    world
        .source(
            "create type mood as enum ('sad', 'happy'); create domain kind as mood; create type pair as (a mood, b int); \
             create table t (id int primary key, m mood, many mood[], k kind, p pair); create table by_mood (m mood primary key)",
        )
        .await;
    let task = world.replicate("public", &json!({"wave_changes": 100})).await;
    world.live(task).await;
    // Rows of before and after come in one wave.
    world.source("insert into t select n, 'sad', '{happy}' from generate_series(1, 150) n").await;
    for label in ["'first' before 'sad'", "'it''s' after 'sad'", "'last'"] {
        world.source(&format!("alter type mood add value {label}")).await;
    }
    world.source("update t set m = 'first' where id < 50; insert into by_mood values ('it''s'), ('sad')").await;
    world.source("insert into t values (1000, null, '{sad,last,null}', 'it''s', row('first', 1))").await;
    world.source("alter type mood add value 'later'").await;
    world.source("update by_mood set m = 'later' where m = 'sad'; update t set k = 'later', p.a = 'last'").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
    world.live(task).await;
    let labels = "select string_agg(enumlabel, ' ' order by enumsortorder) from pg_enum";
    assert_eq!(world.target_value(labels).await.as_deref(), Some("first sad it's happy last later"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layout_may_change_between_the_bookmark_and_the_reload() {
    let world = World::start().await;
    world
        .source("create table kept (id int primary key, n int); create table changed (id int primary key, n int)")
        .await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    // The task is away while the table changes, and is asked to reload it before it saw that.
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    world.source("insert into changed values (1, 1); insert into kept values (1, 1)").await;
    world.source("alter table changed drop column n, add word text; insert into changed values (2, 'two')").await;
    world.source("insert into kept values (2, 2)").await;
    world.installation.api.ask_of_tables(task, "reload", &[("public", "changed")]).await.unwrap();
    world.installation.api.act(task, "resume").await.unwrap();
    let made =
        "select count(*)::text from information_schema.columns where table_name = 'changed' and column_name = 'word'";
    until(|| async { world.target_value(made).await.as_deref() == Some("1") }).await;
    world.live(task).await;
    world.source("update changed set word = 'one' where id = 1; insert into kept values (3, 3)").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
    reaches(&world, task, "changed", "live").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_tables_go_on_while_one_is_loaded_aside() {
    let world = World::start().await;
    world
        .source(
            "create table kept (id int primary key); create table big (id int primary key, n int, pad text);
             insert into big select n, 0, repeat('x', 500) from generate_series(1, 5000) n",
        )
        .await;
    let task = world.replicate("public", &json!({"preparation": "truncate", "chunk_mib": 1})).await;
    world.live(task).await;
    let load = HeldLoad::begin(&world, task, ("public", "big")).await;
    world
        .source(
            "insert into kept values (1); update big set n = 1 where id % 7 = 0; delete from big where id % 11 = 0;
             update big set id = id + 100000 where id % 13 = 0; insert into big values (200000, 2, 'new')",
        )
        .await;
    let arrived = "select count(*)::text from kept";
    until(|| async { world.target_value(arrived).await.as_deref() == Some("1") }).await;
    // It stays so for as long as the lock is held; the pages hear of it with the next report.
    reaches(&world, task, "big", "loading").await;
    assert_eq!(state(&world, task, "kept").await, "live");

    load.release().await;
    reaches(&world, task, "big", "live").await;
    world.source("update big set n = 3 where id = 200000; insert into kept values (2)").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
    let source = world.pair.source_client().await.unwrap();
    let slots: i64 = source.query_one("select count(*) from pg_replication_slots", &[]).await.unwrap().get(0);
    assert_eq!(slots, 1, "what was kept for the load is let go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_parked_by_hand_and_another_added_later() {
    let world = World::start().await;
    world.source("create table one (id int primary key); insert into one values (1)").await;
    let task = world.replicate("public", &json!({"new_tables": "park-table"})).await;
    world.live(task).await;
    let api = &world.installation.api;
    api.ask_of_tables(task, "park", &[("public", "one")]).await.unwrap();
    reaches(&world, task, "one", "parked").await;
    world.source("insert into one values (2); create table two (id int primary key); insert into two values (1)").await;
    assert!(api.ask_of_tables(task, "reload", &[("public", "two")]).await.is_err(), "the task has not seen it yet");
    // A new plan is made with the next run.
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    api.act(task, "resume").await.unwrap();
    reaches(&world, task, "two", "parked").await;
    assert_eq!(world.target_value("select count(*)::text from one").await.as_deref(), Some("1"));
    api.ask_of_tables(task, "reload", &[("public", "one"), ("public", "two")]).await.unwrap();
    world.live(task).await;
    world.source("insert into one values (3); insert into two values (3); update two set id = 4 where id = 1").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_identity_is_parked_alone_until_it_has_one() {
    let world = World::start().await;
    world
        .source("create table bare (a int); insert into bare values (1); create table good (id int primary key)")
        .await;
    let task = world.replicate("public", &json!({})).await;
    reaches(&world, task, "good", "live").await;
    assert_eq!(state(&world, task, "bare").await, "parked");
    // Were it published, this would fail.
    world.source("update bare set a = 2; insert into good values (1)").await;
    world.source("alter table bare replica identity full").await;
    world.installation.api.ask_of_tables(task, "reload", &[("public", "bare")]).await.unwrap();
    world.live(task).await;
    world
        .source("insert into bare values (2), (3); update bare set a = 4 where a = 3; insert into good values (2)")
        .await;
    until(|| async { world.compared("public").await.is_equal() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_of_a_parked_table_are_dropped_by_name_and_made_again_by_its_reload() {
    const KEYS: &str = "select coalesce(string_agg(conname || ' ' || convalidated, ', ' order by conname), '') \
        from pg_constraint where contype = 'f'";
    let world = World::start().await;
    world
        .source(
            "create table region (id int primary key);
             create table parent (id int primary key, region int constraint in_region references region);
             create table child (id int primary key, parent int constraint of_parent references parent);
             insert into region values (1); insert into parent values (1, 1); insert into child values (1, 1)",
        )
        .await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    // Made with the tables, so that they were there before the table is parked.
    let both = Some("in_region true, of_parent true");
    until(|| async { world.target_value(KEYS).await.as_deref() == both }).await;

    let api = &world.installation.api;
    api.ask_of_tables(task, "park", &[("public", "parent")]).await.unwrap();
    until(|| async { world.target_value(KEYS).await.as_deref() == Some("") }).await;
    let events = async || api.events(task).await.unwrap();
    let is_told = |event: &Event| event.code == "foreign-keys-dropped";
    until(|| async { events().await.iter().any(is_told) }).await;
    let told = events().await.into_iter().find(is_told).unwrap();
    for name in ["of_parent on public.child", "in_region on public.parent"] {
        assert!(told.text.contains(name), "{}", told.text);
    }
    // Without the target's role to switch them off, each of these would fail on a key.
    world.source("insert into parent values (2, 1); insert into child values (2, 2)").await;
    world.source("update parent set region = null; delete from region").await;
    let others =
        "select (select string_agg(id::text, ',' order by id) from child) || ' ' || (select count(*) from region)";
    until(|| async { world.target_value(others).await.as_deref() == Some("1,2 0") }).await;
    assert_eq!(state(&world, task, "child").await, "live");

    api.ask_of_tables(task, "reload", &[("public", "parent")]).await.unwrap();
    world.live(task).await;
    until(|| async { world.target_value(KEYS).await.as_deref() == both }).await;
    until(|| async { world.compared("public").await.is_equal() }).await;
    assert_eq!(world.target_value("select count(*)::text from wavemark.foreign_keys").await.as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_left_out_for_a_while_comes_back_by_a_reload_alone() {
    let world = World::start().await;
    world
        .source(
            "create table kept (id int primary key); create table out (id int primary key);
             insert into kept values (1); insert into out values (1), (2)",
        )
        .await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    let api = &world.installation.api;
    let run_with = async |rules: &Value| {
        api.act(task, "stop").await.unwrap();
        world.status(task, "stopped").await;
        api.change_rules(task, rules).await.unwrap();
        api.act(task, "resume").await.unwrap();
    };
    let mut rules = pair::whole_schema("public");
    rules.as_array_mut().unwrap().push(json!({
        "rule-type": "selection", "rule-id": "2", "rule-name": "without it", "rule-action": "exclude",
        "object-locator": {"schema-name": "public", "table-name": "out"},
    }));
    run_with(&rules).await;
    world.source("insert into out values (3); delete from out where id = 1").await;
    world.source("insert into kept values (2)").await;
    let arrived = "select count(*)::text from kept";
    until(|| async { world.target_value(arrived).await.as_deref() == Some("2") }).await;

    run_with(&pair::whole_schema("public")).await;
    reaches(&world, task, "out", "parked").await;
    let tables = api.tables(task).await.unwrap();
    let why = tables.iter().find(|table| table.source.table == "out").unwrap().problem.as_ref();
    assert_eq!(why.unwrap().code, "table-left-out");
    api.ask_of_tables(task, "reload", &[("public", "out")]).await.unwrap();
    world.live(task).await;
    until(|| async { world.compared("public").await.is_equal() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_an_edit_maps_otherwise_waits_for_its_reload() {
    let world = World::start().await;
    world
        .source(
            "create table kept (id int primary key); create table moved (id int primary key, note text);
             insert into kept values (1); insert into moved values (1, 'old'), (2, 'old')",
        )
        .await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    // What another program wrote there is not ours to empty.
    world.target("create table elsewhere (id int primary key, note text)").await;
    let api = &world.installation.api;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    let mut rules = pair::whole_schema("public");
    rules.as_array_mut().unwrap().push(json!({
        "rule-type": "transformation", "rule-id": "2", "rule-name": "elsewhere", "rule-action": "rename",
        "rule-target": "table", "object-locator": {"schema-name": "public", "table-name": "moved"}, "value": "elsewhere",
    }));
    api.change_rules(task, &rules).await.unwrap();
    world.source("insert into moved values (3, 'new')").await;
    api.act(task, "resume").await.unwrap();

    reaches(&world, task, "moved", "parked").await;
    world.source("insert into kept values (2)").await;
    let arrived = "select count(*)::text from kept";
    until(|| async { world.target_value(arrived).await.as_deref() == Some("2") }).await;
    assert_eq!(world.target_value("select count(*)::text from elsewhere").await.as_deref(), Some("0"));
    api.ask_of_tables(task, "reload", &[("public", "moved")]).await.unwrap();
    world.live(task).await;
    let all = "select string_agg(id || note, ',' order by id) from elsewhere";
    until(|| async { world.target_value(all).await.as_deref() == Some("1old,2old,3new") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_key_that_is_not_ours_to_drop_stops_nobody() {
    let world = World::start().await;
    world.source("create table kept (id int primary key); create table parent (id int primary key)").await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    let theirs = "create table theirs (parent int constraint theirs references parent)";
    world.pair.target.execute(TARGET, &[theirs]).await.unwrap();
    let api = &world.installation.api;
    api.ask_of_tables(task, "park", &[("public", "parent")]).await.unwrap();
    let denied =
        |event: &Event| event.code == "missing-privilege" && event.text.contains("foreign keys of parked tables");
    until(|| async { api.events(task).await.unwrap().iter().any(denied) }).await;
    world.source("insert into kept values (1)").await;
    let arrived = "select count(*)::text from kept";
    until(|| async { world.target_value(arrived).await.as_deref() == Some("1") }).await;
    world.status(task, "degraded").await;
}
