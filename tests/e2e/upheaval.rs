//! What can go wrong while a task runs, short of a process that dies.

use std::time::Duration;

use serde_json::json;
use wavemark_tests::api::Refusal;
use wavemark_tests::cluster::Options;
use wavemark_tests::pair::{SOURCE, TARGET};
use wavemark_tests::shop::{Pace, Size, Writers};

use crate::world::{World, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_must_be_stopped_before_it_is_deleted_and_then_leaves_nothing_behind() {
    let world = World::start().await;
    world.source("create table t (id int primary key); insert into t values (1)").await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    let api = &world.installation.api;
    let refused = api.delete_task(task).await.unwrap_err().downcast::<Refusal>().unwrap();
    assert_eq!(refused.status, 409, "{refused}");
    world.source("insert into t values (2)").await;
    until(|| async { world.target_value("select count(*)::text from t").await.as_deref() == Some("2") }).await;

    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    api.delete_task(task).await.unwrap();
    until(|| async {
        let gone = api.task(task).await.err().and_then(|error| error.downcast::<Refusal>().ok());
        gone.is_some_and(|refusal| refusal.status == 404)
    })
    .await;
    let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)";
    let client = world.pair.source.connect(SOURCE).await.unwrap();
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    let left = "select (select count(*) from wavemark.progress) || ' ' || (select count(*) from wavemark.chunks)
        || ' ' || (select count(*) from wavemark.fence where not tombstone)";
    assert_eq!(world.target_value(left).await.as_deref(), Some("0 0 0"));
    assert_eq!(world.target_value("select count(*)::text from t").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_turns_read_only_is_waited_for() {
    let world = World::with_shop().await;
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(Pace { sessions: 2, per_second: 100.0, seed: 3 });
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    let set = |value: &str| format!("alter system set default_transaction_read_only = {value}");
    let reload = "select pg_reload_conf()";
    world.pair.target.execute("postgres", &[&set("on"), reload]).await.unwrap();
    let waits = |task: &wavemark_tests::api::Task| {
        let waiting = task.progress.as_ref().and_then(|progress| progress.waiting_for.as_ref());
        waiting.is_some_and(|problem| problem.server_code.as_deref() == Some("25006"))
    };
    let limit = Duration::from_secs(30);
    let api = &world.installation.api;
    let task_then = api.wait_task(task, limit, "the task to wait for the target", waits).await.unwrap();
    assert_eq!(task_then.status, "running");
    // The first statement makes the second one possible.
    let client = world.pair.target.connect("postgres").await.unwrap();
    client.batch_execute("set default_transaction_read_only = off").await.unwrap();
    client.batch_execute(&set("off")).await.unwrap();
    client.batch_execute(reload).await.unwrap();
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_whose_disk_fills_up_is_waited_for() {
    // A small disk of its own needs a mount, and that needs root; without it the test says so.
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("NOT RUN: mounting a small disk for the target needs root");
        return;
    };
    let world = World::start_with(Options::source(), Options::default()).await;
    disk.give_to(&world.pair.target);
    let tablespace = format!("create tablespace small location '{}'", disk.folder().display());
    let whole = format!("alter database {TARGET} set tablespace small");
    world.pair.target.execute("postgres", &[&tablespace, &whole]).await.unwrap();
    world.source("create table t (id int primary key, v text)").await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    disk.fill();
    world.source("insert into t select n, repeat(md5(n::text), 20) from generate_series(1, 20000) n").await;
    let waits = |task: &wavemark_tests::api::Task| {
        let waiting = task.progress.as_ref().and_then(|progress| progress.waiting_for.as_ref());
        waiting.is_some_and(|problem| problem.server_code.as_deref() == Some("53100"))
    };
    let limit = Duration::from_secs(40);
    world.installation.api.wait_task(task, limit, "the task to wait for the disk", waits).await.unwrap();
    disk.make_room();
    until(|| async { world.compared("public").await.is_equal() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_an_hour_apart_change_nothing_but_the_clocks_that_are_shown() {
    let mut world = World::with_shop().await;
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    let library = if std::path::Path::new(library).exists() { library.to_owned() } else { faketime() };
    world.installation.workers[0].kill().unwrap();
    for shift in ["+1h", "-1h"] {
        let environment = [("LD_PRELOAD", library.as_str()), ("FAKETIME", shift), ("DONT_FAKE_MONOTONIC", "1")];
        world.installation.add_worker_with(&environment).unwrap();
    }
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(Pace { sessions: 2, per_second: 100.0, seed: 4 });
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    let before = world.installation.api.task(task).await.unwrap();
    let place = world.installation.holder(task).await.unwrap();
    world.installation.workers[place].kill().unwrap();
    world.installation.taken_over(&before, Duration::from_secs(15)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let lag = world.installation.api.task(task).await.unwrap().progress.unwrap().lag_ms.unwrap();
    assert!(lag < 60_000, "the lag of {lag} ms holds the difference of the clocks");
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

/// Debian's other architectures keep the library elsewhere.
fn faketime() -> String {
    let folders =
        std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let found = folders.into_iter().find(|path| path.exists());
    found.expect("the test needs Debian's package faketime; run .ci/install").to_string_lossy().into_owned()
}

/// A file system of 64 MB in memory, unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("wavemark-disk-").tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then(|| {
            std::fs::create_dir(folder.path().join("space")).unwrap();
            Self { folder }
        })
    }

    fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("space")
    }

    fn give_to(&self, cluster: &wavemark_tests::cluster::Cluster) {
        use std::os::unix::fs::MetadataExt as _;
        let owner = std::fs::metadata(cluster.data()).unwrap();
        for path in [self.folder.path().to_owned(), self.folder()] {
            std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
    }

    /// Takes all but a few megabytes.
    fn fill(&self) {
        let output =
            std::process::Command::new("df").args(["--output=avail", "-k"]).arg(self.folder.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let free: u64 = text.lines().last().unwrap().trim().parse().unwrap();
        let size = usize::try_from(free.saturating_sub(4 * 1024) * 1024).unwrap();
        std::fs::write(self.folder.path().join("ballast"), vec![0_u8; size]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.folder.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The cluster in it is gone: it is dropped before.
        drop(std::process::Command::new("umount").arg("--lazy").arg(self.folder.path()).output());
    }
}
