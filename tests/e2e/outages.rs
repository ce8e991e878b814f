//! Parts of the installation go away and come back; the task goes on as soon as it can, and says what it waits for.

use std::time::Duration;

use serde_json::json;
use wavemark_tests::api::Task;
use wavemark_tests::cluster::Mode;
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, until};

const PACE: Pace = Pace { sessions: 2, per_second: 80.0, seed: 21 };

async fn followed() -> (World, Writers, uuid::Uuid) {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    (world, writers, task)
}

async fn ends_equal(world: &World, mut writers: Writers, task: uuid::Uuid) {
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_arrive_while_server_and_metadata_are_away_and_are_reported_afterwards() {
    let (mut world, writers, task) = followed().await;
    let before = world.installation.api.task(task).await.unwrap();
    world.installation.server.kill().unwrap();
    world.installation.metadata.stop(Mode::Immediate).unwrap();
    // Longer than a lease lasts, with a row each second that must arrive.
    for number in 0..12 {
        world.source(&format!("insert into shop.settings values ('outage {number}', null)")).await;
        let sql = format!("select count(*)::text from shop.settings where name = 'outage {number}'");
        until(|| async { world.target_value(&sql).await.as_deref() == Some("1") }).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.installation.metadata.restart().unwrap();
    world.installation.server.start().unwrap();
    world.installation.api.wait_ready(Duration::from_secs(20)).await.unwrap();

    let written = |task: &Task| task.progress.as_ref().map_or(0, |progress| progress.changes_written);
    let reports = |task: &Task| task.status == "running" && written(task) >= written(&before) + 12;
    let limit = Duration::from_secs(15);
    let after = world.installation.api.wait_task(task, limit, "reports of what was written meanwhile", reports).await;
    assert_eq!(after.unwrap().epoch, before.epoch, "the worker kept the task: nobody else had to take it");
    ends_equal(&world, writers, task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_end_hands_its_task_over_at_once() {
    let (mut world, writers, task) = followed().await;
    world.installation.add_worker().unwrap();
    until(|| async { world.installation.api.workers().await.is_ok_and(|workers| workers.len() == 2) }).await;
    let before = world.installation.api.task(task).await.unwrap();
    let begun = std::time::Instant::now();
    let status = world.installation.workers[0].terminate(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "a worker that drains ends well: {status}");
    let (next, _) = world.installation.taken_over(&before, Duration::from_secs(15)).await.unwrap();
    assert_eq!(next, 1);
    // A lease that lapses takes ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(6), "the hand-over took {:?}", begun.elapsed());
    ends_equal(&world, writers, task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_or_target_that_is_away_is_waited_for_with_the_reason_shown() {
    let (world, writers, task) = followed().await;
    let api = &world.installation.api;
    for (cluster, mode) in [(&world.pair.target, Mode::Fast), (&world.pair.source, Mode::Immediate)] {
        cluster.stop(mode).unwrap();
        let reason = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.waiting_for.is_some());
        let waits = api.wait_task(task, Duration::from_secs(15), "the reason why it waits", reason).await.unwrap();
        assert_eq!(waits.status, "running");
        let problem = waits.progress.unwrap().waiting_for.unwrap();
        assert_eq!(problem.fault, "transient", "{problem:?}");
        cluster.restart().unwrap();
        let limit = Duration::from_secs(40);
        api.wait_task(task, limit, "the task to go on", |task| !reason(task)).await.unwrap();
    }
    assert!(api.events(task).await.unwrap().iter().any(|event| event.severity == "warning"));
    ends_equal(&world, writers, task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_worker_and_metadata_may_start_in_any_order() {
    let (mut world, writers, task) = followed().await;
    for worker_first in [true, false] {
        world.installation.workers[0].kill().unwrap();
        world.installation.server.kill().unwrap();
        world.installation.metadata.stop(Mode::Fast).unwrap();
        if worker_first {
            world.installation.workers[0].start().unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
            world.installation.metadata.restart().unwrap();
            world.installation.server.start().unwrap();
        } else {
            world.installation.metadata.restart().unwrap();
            world.installation.server.start().unwrap();
            world.installation.api.wait_ready(Duration::from_secs(20)).await.unwrap();
            world.installation.workers[0].start().unwrap();
        }
        let name = format!("back {worker_first}");
        world.source(&format!("insert into shop.settings values ('{name}', null)")).await;
        let sql = format!("select count(*)::text from shop.settings where name = '{name}'");
        until(|| async { world.target_value(&sql).await.as_deref() == Some("1") }).await;
        world.installation.all_running().unwrap();
    }
    ends_equal(&world, writers, task).await;
}
