//! Somebody changes what a running task relies on: passwords, rights, the target's tables during their load.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::api::Task;
use wavemark_tests::pair::{SOURCE, TARGET};
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, small_chunks, until};

const PACE: Pace = Pace { sessions: 2, per_second: 60.0, seed: 81 };

/// Waits until the task says what stands in its way, whether it waits or has failed with it.
async fn is_stuck(world: &World, task: Uuid, code: &str) -> Task {
    let says = |task: &Task| {
        let waits = task.progress.as_ref().and_then(|progress| progress.waiting_for.as_ref());
        waits
            .into_iter()
            .chain(task.problem.as_ref())
            .any(|problem| problem.server_code.as_deref().unwrap_or("").contains(code))
    };
    let limit = Duration::from_secs(40);
    world.installation.api.wait_task(task, limit, "the task to say what stands in its way", says).await.unwrap()
}

async fn goes_on(world: &World, task: Uuid) {
    if world.installation.api.task(task).await.unwrap().status == "failed" {
        world.installation.api.act(task, "resume").await.unwrap();
    }
    let well = |task: &Task| {
        task.status == "running" && task.progress.as_ref().is_some_and(|progress| progress.waiting_for.is_none())
    };
    world.installation.api.wait_task(task, Duration::from_secs(40), "the task to go on", well).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_changes_and_rights_that_are_revoked_stop_a_running_task_until_they_are_mended() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source.config(SOURCE), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    let end_all =
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'wavemark %'";

    // The target's role gets another password; its sessions end some time later.
    let password = |word: &str| format!("alter role {TARGET} password '{word}'");
    world.pair.target.execute("postgres", &[&password("another"), end_all]).await.unwrap();
    is_stuck(&world, task, "28P01").await;
    world.pair.target.execute("postgres", &[&password(world.pair.target.password())]).await.unwrap();
    goes_on(&world, task).await;

    // The right to replicate is taken away at the source.
    let replication = |word: &str| format!("alter role {SOURCE} {word}");
    world.pair.source.execute("postgres", &[&replication("noreplication"), end_all]).await.unwrap();
    is_stuck(&world, task, "42501").await;
    world.pair.source.execute("postgres", &[&replication("replication")]).await.unwrap();
    goes_on(&world, task).await;

    // The right to write one table is taken away at the target, and given back.
    let owner = |role: &str| format!("alter table shop.orders owner to {role}");
    world.pair.target.execute(TARGET, &[&owner("postgres"), end_all]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.pair.target.execute(TARGET, &[&owner(TARGET)]).await.unwrap();
    let parked = world.installation.api.tables(task).await.unwrap().into_iter().filter(|table| table.state == "parked");
    let parked: Vec<_> = parked.map(|table| (table.source.schema, table.source.table)).collect();
    if !parked.is_empty() {
        let named: Vec<_> = parked.iter().map(|(schema, table)| (schema.as_str(), table.as_str())).collect();
        world.installation.api.ask_of_tables(task, "reload", &named).await.unwrap();
    }
    goes_on(&world, task).await;
    world.live(task).await;
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_table_that_somebody_drops_or_empties_during_its_load_is_never_taken_for_loaded() {
    for harm in ["drop table public.t cascade", "truncate public.t"] {
        let world = World::start().await;
        world.source("create table t (id int primary key, v text); create table u (id int primary key)").await;
        world.source("insert into t select n, repeat(md5(n::text), 30) from generate_series(1, 40000) n").await;
        let task = world.replicate("public", &small_chunks()).await;
        let some = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.rows_loaded > 0);
        let api = &world.installation.api;
        api.wait_task(task, Duration::from_secs(30), "the first chunks", some).await.unwrap();
        world.target(harm).await;
        until(|| async {
            let tables = api.tables(task).await.unwrap();
            !tables.is_empty() && tables.iter().all(|table| table.state == "live" || table.state == "parked")
        })
        .await;
        // Rows that were there and are gone can't be seen by who loads the rest; a comparison sees them, and so does the
        // first change of one. Reloaded, all is equal.
        api.ask_of_tables(task, "reload", &[("public", "t")]).await.unwrap();
        until(|| async { world.compared("public").await.is_equal() }).await;
        world.live(task).await;
        world.source("update t set v = 'changed' where id % 2 = 0; insert into u values (1)").await;
        until(|| async { world.compared("public").await.is_equal() }).await;
    }
}
