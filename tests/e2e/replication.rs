//! Load and follow on real servers, with and without processes that die.

use std::time::Duration;

use serde_json::json;
use wavemark_tests::bank::Watch;
use wavemark_tests::compare;
use wavemark_tests::shop::{Pace, Size, Writers};
use wavemark_tests::signal::Signal;

use crate::world::{World, small_chunks};

const PACE: Pace = Pace { sessions: 3, per_second: 150.0, seed: 7 };

/// What issue and documents promise for a worker that is gone.
const TAKEOVER: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_is_copied_while_it_changes_and_followed_until_it_is_equal() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let watch = Watch::start(world.pair.target_config(), Duration::from_millis(50));
    writers.allow_truncates(true);
    tokio::time::sleep(Duration::from_secs(8)).await;
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    assert_eq!(report.tables, 18);
    let seen = watch.stop().await.unwrap();
    assert!(seen.looks > 20 && seen.violations.is_empty(), "{seen:?}");

    let counts = writers.counts();
    let progress = world.installation.api.task(task).await.unwrap().progress.unwrap();
    let written = progress.changes_written;
    assert!(written > 0 && counts.transactions > 300, "{written} changes written, {counts:?}");
    assert_eq!(progress.retries, 0, "nothing went wrong, so no wave was divided and nothing was tried again");
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    let (source, target) = (world.pair.source_client().await.unwrap(), world.pair.target_client().await.unwrap());
    let pairs = compare::pairs(&source, "shop", "shop").await.unwrap();
    assert_eq!(compare::catalog::sequences(&source, &target, &pairs).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_task_goes_on_from_its_bookmark() {
    let world = World::with_shop().await;
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.allow_truncates(true);
    writers.start(PACE);
    tokio::time::sleep(Duration::from_secs(3)).await;
    writers.stop().await.unwrap();
    world.installation.api.act(task, "resume").await.unwrap();
    world.status(task, "running").await;
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    let loaded: u64 = world.installation.api.task(task).await.unwrap().progress.unwrap().rows_loaded;
    assert_eq!(loaded, 0, "a resume of live tables copies nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_goes_on_after_a_sigkill_and_nothing_is_lost_doubled_or_torn() {
    let mut world = World::with_shop().await;
    world.installation.add_worker().unwrap();
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let watch = Watch::start(world.pair.target_config(), Duration::from_millis(50));
    let before = world.installation.api.task(task).await.unwrap();
    let place = world.installation.holder(task).await.unwrap();
    world.installation.workers[place].kill().unwrap();
    let (next, _) = world.installation.taken_over(&before, TAKEOVER).await.unwrap();
    assert_ne!(next, place);
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    let seen = watch.stop().await.unwrap();
    assert!(seen.violations.is_empty(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_past_its_lease_writes_nothing_when_it_wakes() {
    let mut world = World::with_shop().await;
    world.installation.add_worker().unwrap();
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let watch = Watch::start(world.pair.target_config(), Duration::from_millis(50));
    let before = world.installation.api.task(task).await.unwrap();
    let place = world.installation.holder(task).await.unwrap();
    world.installation.workers[place].signal(Signal::Stop).unwrap();
    world.installation.taken_over(&before, TAKEOVER).await.unwrap();
    world.installation.workers[place].signal(Signal::Continue).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    let seen = watch.stop().await.unwrap();
    assert!(seen.violations.is_empty(), "{seen:?}");
    let epochs = "select count(*)::text from (select epoch < lag(epoch) over (order by wave) back from wavemark.progress) p where back";
    assert_eq!(world.target_value(epochs).await.as_deref(), Some("0"), "an older epoch committed after a newer one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_stopped_while_its_worker_is_frozen_stays_stopped_when_that_wakes() {
    let mut world = World::with_shop().await;
    world.installation.add_worker().unwrap();
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let place = world.installation.holder(task).await.unwrap();
    world.installation.workers[place].signal(Signal::Stop).unwrap();
    world.installation.api.act(task, "stop").await.unwrap();
    // Another worker raises the epoch first: nobody is told "stopped" while somebody may still write.
    world.status(task, "stopped").await;
    let newest = "select max(wave)::text from wavemark.progress";
    let stopped_at = world.target_value(newest).await;
    world.installation.workers[place].signal(Signal::Continue).unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.target_value(newest).await, stopped_at, "the worker that woke up committed something");
    world.status(task, "stopped").await;
    world.installation.api.act(task, "resume").await.unwrap();
    world.live(task).await;
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_goes_on_while_server_and_metadata_are_away() {
    let mut world = World::with_shop().await;
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    world.installation.server.kill().unwrap();
    world.installation.metadata.kill().unwrap();
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    // Longer than a lease lasts.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let sql = "select max(n)::text from shop.hist";
    let first: i64 = world.target_value(sql).await.unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later: i64 = world.target_value(sql).await.unwrap().parse().unwrap();
    assert!(later > first && first > 100, "the target stood still at {first}, {later}");
    world.installation.metadata.restart().unwrap();
    world.installation.server.start().unwrap();
    world.installation.api.wait_ready(Duration::from_secs(20)).await.unwrap();
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_and_target_may_be_killed_under_a_running_task() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let watch = Watch::start(world.pair.target_config(), Duration::from_millis(50));
    for cluster in [&world.pair.target, &world.pair.source, &world.pair.target] {
        cluster.kill().unwrap();
        cluster.restart().unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
    let seen = watch.stop().await.unwrap();
    assert!(seen.violations.is_empty(), "{seen:?}");
}
