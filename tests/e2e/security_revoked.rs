//! A worker whose token is revoked while it runs a task: it is refused at its next report, ends, and another goes on.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_token_is_revoked_ends_and_another_takes_its_task_over() {
    let mut world = World::start().await;
    world
        .source("create table t (id int primary key, v int); insert into t select n, n from generate_series(1, 1000) n")
        .await;
    world.installation.workers[0].kill().unwrap();
    let made: Value =
        world.installation.api.call(Method::POST, "/worker-tokens", Some(&json!({"name": "leaked"}))).await.unwrap();
    let token = made["token"].as_str().unwrap();
    let leaked = world.installation.add_worker_with(&[("WAVEMARK_WORKER_TOKEN", token)]).unwrap();
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    assert_eq!(world.installation.holder(task).await.unwrap(), leaked);
    world.installation.workers[0].start().unwrap();
    until(|| async {
        world.installation.api.workers().await.unwrap().iter().filter(|worker| worker.alive).count() == 2
    })
    .await;

    let before = world.installation.api.task(task).await.unwrap();
    let path = format!("/worker-tokens/{}", made["id"].as_str().unwrap());
    world.installation.api.call::<Value>(Method::DELETE, &path, None).await.unwrap();
    let status = world.installation.workers[leaked].wait(Duration::from_secs(10)).unwrap();
    assert!(!status.success(), "a worker that is refused says so by its exit code");
    let log = world.installation.workers[leaked].log_end(5);
    assert!(log.contains("refuses this worker's token"), "{log}");

    let (next, took) = world.installation.taken_over(&before, Duration::from_secs(20)).await.unwrap();
    assert_eq!(next, 0);
    assert!(took <= Duration::from_secs(15), "the takeover took {took:?}");
    world.source("update t set v = v + 1; delete from t where id > 900").await;
    until(|| async { world.compared("public").await.is_equal() }).await;
    // Started again with the same token it gets no further than the door.
    world.installation.workers[leaked].start().unwrap();
    let status = world.installation.workers[leaked].wait(Duration::from_secs(10)).unwrap();
    assert!(!status.success());
}
