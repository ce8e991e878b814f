//! The source is safe: the log that it keeps has a budget, and nothing of ours is forgotten there.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::api::{Refusal, Task};
use wavemark_tests::cluster::Mode;
use wavemark_tests::pair::SOURCE;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, until};

const PACE: Pace = Pace { sessions: 2, per_second: 60.0, seed: 61 };

async fn slots(world: &World) -> i64 {
    let client = world.pair.source.connect(SOURCE).await.unwrap();
    client.query_one("select count(*) from pg_replication_slots", &[]).await.unwrap().get(0)
}

async fn artefacts(world: &World) -> i64 {
    let client = world.pair.source.connect(SOURCE).await.unwrap();
    let sql = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// So many MiB of log that have nothing to do with any task.
async fn write_log(world: &World, mib: usize) {
    let client = world.pair.source.connect(SOURCE).await.unwrap();
    for _ in 0..mib {
        let sql = "select pg_logical_emit_message(false, 'ballast', repeat('x', 1048576))";
        client.execute(sql, &[]).await.unwrap();
    }
}

async fn events(world: &World, task: Uuid) -> Vec<String> {
    world.installation.api.events(task).await.unwrap().into_iter().map(|event| event.code).collect()
}

fn alarm(task: &Task) -> Option<String> {
    task.progress.as_ref()?.log_problem.as_ref().map(|problem| problem.code.clone())
}

async fn reloads_and_ends_equal(world: &World, mut writers: Writers, task: Uuid) {
    let before = world.installation.api.task(task).await.unwrap();
    world.installation.api.act(task, "resume").await.unwrap();
    let anew = |now: &Task| now.generation == before.generation + 1 && now.status == "running";
    let api = &world.installation.api;
    api.wait_task(task, Duration::from_secs(40), "a load from a slot of its own", anew).await.unwrap();
    world.live(task).await;
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_over_its_budget_is_let_go_while_the_target_is_away_and_the_task_reloads_when_it_is_back() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let settings = json!({"log_budget_mib": 96, "log_over_budget": "drop-slot", "preparation": "truncate"});
    let task = world.replicate("shop", &settings).await;
    world.live(task).await;
    world.pair.target.stop(Mode::Fast).unwrap();
    write_log(&world, 80).await;
    let api = &world.installation.api;
    let limit = Duration::from_secs(40);
    let near = |task: &Task| alarm(task).as_deref() == Some("log-near-budget");
    let waiting = api.wait_task(task, limit, "the warning", near).await.unwrap();
    assert!(waiting.progress.unwrap().waiting_for.is_some(), "the target is away");
    assert_eq!(slots(&world).await, 1);

    write_log(&world, 40).await;
    let failed = world.status(task, "failed").await;
    let problem = failed.problem.unwrap();
    assert_eq!((problem.fault.as_str(), problem.code.as_str()), ("position-lost", "log-let-go"), "{problem:?}");
    assert!(problem.advice.unwrap().contains("resume"), "the way out is named");
    assert_eq!(artefacts(&world).await, 0, "the source keeps nothing for the task");
    let codes = events(&world, task).await;
    assert!(codes.iter().any(|code| code == "log-near-budget") && codes.iter().any(|code| code == "log-let-go"));

    world.pair.target.restart().unwrap();
    reloads_and_ends_equal(&world, writers, task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_stopped_task_is_watched_and_let_go_over_its_budget() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    let settings = json!({"log_budget_mib": 96, "log_over_budget": "drop-slot", "preparation": "truncate"});
    let task = world.replicate("shop", &settings).await;
    world.live(task).await;
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    writers.start(PACE);
    write_log(&world, 80).await;
    let api = &world.installation.api;
    let limit = Duration::from_secs(50);
    let near = |task: &Task| alarm(task).as_deref() == Some("log-near-budget");
    let warned = api.wait_task(task, limit, "the warning", near).await.unwrap();
    assert_eq!(warned.status, "stopped");
    // The first page says so, too.
    let page = world.installation.api.page("/").await.unwrap();
    assert!(page.contains("its budget of 96 MiB"), "{page}");

    write_log(&world, 40).await;
    let gone = |task: &Task| task.status == "failed";
    let failed = api.wait_task(task, limit, "the slot to be dropped", gone).await.unwrap();
    assert_eq!(failed.problem.unwrap().code, "log-let-go");
    assert_eq!(artefacts(&world).await, 0);
    reloads_and_ends_equal(&world, writers, task).await;
}

/// Rows of one table are held by somebody for as long as it takes; the others go on, and the source lets its log go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_holds_the_log_up_is_parked_over_the_budget_and_reloaded_later() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    let settings = json!({"log_budget_mib": 96, "log_over_budget": "park-tables", "lock_timeout_seconds": 1,
                          "preparation": "truncate"});
    let task = world.replicate("shop", &settings).await;
    world.live(task).await;
    let other = world.pair.target_client().await.unwrap();
    other.batch_execute("begin; lock table shop.customers in exclusive mode").await.unwrap();
    world.source("update shop.customers set tags = '{held}' where id = 5").await;
    writers.start(PACE);
    write_log(&world, 120).await;
    let api = &world.installation.api;
    let goes_on = |task: &Task| task.tables_parked > 0 && alarm(task).is_none();
    api.wait_task(task, Duration::from_mins(1), "the table to be parked and the log to go", goes_on).await.unwrap();
    let tables = api.tables(task).await.unwrap();
    let problems = tables.iter().filter_map(|table| Some((&*table.source.table, &*table.problem.as_ref()?.code)));
    assert_eq!(problems.collect::<Vec<_>>(), [("customers", "parked-for-log")]);
    assert_eq!(slots(&world).await, 1);

    other.batch_execute("rollback").await.unwrap();
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "customers")]).await.unwrap();
    world.live(task).await;
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

async fn is_gone(world: &World, task: Uuid) {
    until(|| async {
        let gone = world.installation.api.task(task).await.err().and_then(|error| error.downcast::<Refusal>().ok());
        gone.is_some_and(|refusal| refusal.status == 404)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_task_is_cleaned_up_as_soon_as_source_and_target_are_reached_again() {
    for source_is_away in [true, false] {
        let world = World::start().await;
        world.source("create table t (id int primary key); insert into t values (1)").await;
        let task = world.replicate("public", &json!({})).await;
        world.live(task).await;
        let api = &world.installation.api;
        api.act(task, "stop").await.unwrap();
        world.status(task, "stopped").await;
        let away = if source_is_away { &world.pair.source } else { &world.pair.target };
        away.stop(Mode::Fast).unwrap();
        api.delete_task(task).await.unwrap();
        let pending = world.status(task, "clean-up-pending").await;
        let left = pending.clean_up.unwrap();
        let statements = left["statements"].as_array().unwrap();
        let named = if source_is_away { "pg_drop_replication_slot" } else { "wavemark.fence" };
        assert!(statements.iter().any(|sql| sql.as_str().unwrap().contains(named)), "{left}");
        if !source_is_away {
            assert_eq!(artefacts(&world).await, 0, "what can be reached is cleaned up at once");
        }
        away.restart().unwrap();
        is_gone(&world, task).await;
        assert_eq!(artefacts(&world).await, 0);
        let left = "select (select count(*) from wavemark.progress) || ' ' || (select count(*) from wavemark.tables)
            || ' ' || (select count(*) from wavemark.fence where not tombstone)";
        assert_eq!(world.target_value(left).await.as_deref(), Some("0 0 0"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_missing_made_anew_or_ahead_is_told_as_position_lost_and_a_reload_ends_equal() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &json!({"preparation": "truncate"})).await;
    world.live(task).await;
    let api = &world.installation.api;
    let cases = [
        ("slot-missing", "select pg_drop_replication_slot($1::text::name)::text"),
        (
            "slot-ahead",
            "select (select pg_drop_replication_slot($1::text::name)::text is null)::text || \
             (select slot_name::text from pg_create_logical_replication_slot($1::text::name, 'pgoutput'))",
        ),
        ("slot-ahead", "select (pg_replication_slot_advance($1::text::name, pg_current_wal_lsn())).end_lsn::text"),
        ("slot-invalidated", ""),
    ];
    for (code, harm) in cases {
        api.act(task, "stop").await.unwrap();
        world.status(task, "stopped").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let client = world.pair.source.connect(SOURCE).await.unwrap();
        if harm.is_empty() {
            invalidate(&world).await;
        } else {
            let slot: String =
                client.query_one("select slot_name::text from pg_replication_slots", &[]).await.unwrap().get(0);
            client.query_one(harm, &[&slot]).await.unwrap();
        }
        api.act(task, "resume").await.unwrap();
        let failed = world.status(task, "failed").await;
        let problem = failed.problem.unwrap();
        assert_eq!((problem.fault.as_str(), problem.code.as_str()), ("position-lost", code), "{problem:?}");
        assert!(problem.advice.unwrap().contains("Reload"), "the way out is named");
        let page = world.installation.api.page(&format!("/tasks/{task}")).await.unwrap();
        assert!(page.contains("Reload all"), "the page offers the way out");
        api.act(task, "reload").await.unwrap();
        world.live(task).await;
    }
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

/// Has the server give up the slot's log.
async fn invalidate(world: &World) {
    let set = |value: &str| format!("alter system set max_slot_wal_keep_size = '{value}'");
    let reload = "select pg_reload_conf()";
    world.pair.source.execute("postgres", &[&set("1MB"), reload]).await.unwrap();
    until(|| async {
        write_log(world, 40).await;
        world.pair.source.execute("postgres", &["select pg_switch_wal()", "checkpoint"]).await.unwrap();
        let client = world.pair.source.connect(SOURCE).await.unwrap();
        let sql = "select count(*) from pg_replication_slots where wal_status = 'lost'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    world.pair.source.execute("postgres", &[&set("-1"), reload]).await.unwrap();
}
