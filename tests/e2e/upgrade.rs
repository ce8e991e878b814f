//! Two programs of neighbouring versions, both real: `make upgrade` builds the older one and runs this.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::installation::Installation;
use wavemark_tests::pair::Pair;
use wavemark_tests::process::wavemark;
use wavemark_tests::shop::{self, Pace, Size, Writers};

use crate::world::{World, until};

const PACE: Pace = Pace { sessions: 2, per_second: 80.0, seed: 91 };
const LIMIT: Duration = Duration::from_secs(20);

/// A row arrives, and a table is loaded again as asked: whoever runs the task is heard and hears.
async fn goes_on(world: &World, task: Uuid, name: &str) {
    world.source(&format!("insert into shop.settings values ('{name}', null)")).await;
    let sql = format!("select count(*)::text from shop.settings where name = '{name}'");
    until(|| async { world.target_value(&sql).await.as_deref() == Some("1") }).await;
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "settings")]).await.unwrap();
    world.live(task).await;
    until(|| async { world.target_value(&sql).await.as_deref() == Some("1") }).await;
}

/// The task goes from one worker, which ends as asked, to another.
async fn handed_over(world: &mut World, task: Uuid, from: usize, to: usize) {
    let before = world.installation.api.task(task).await.unwrap();
    world.installation.workers[from].terminate(LIMIT).unwrap();
    let (next, _) = world.installation.taken_over(&before, LIMIT).await.unwrap();
    assert_eq!(next, to);
}

fn restart_server(world: &mut World, program: &PathBuf) {
    let server = &mut world.installation.server;
    if server.is_running() {
        server.terminate(LIMIT).unwrap();
    }
    server.set_program(program);
    server.start().unwrap();
}

/// Whether the older program, whose name ends with its commit, knows the same migrations.
fn has_same_metadata(older: &Path) -> bool {
    let name = older.file_name().and_then(|name| name.to_str()).unwrap();
    let (_, commit) = name.rsplit_once('-').expect("a program's name ends with its commit");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let diff = Command::new("git").args(["-C", root, "diff", "--quiet", commit, "HEAD", "--", "migrations"]).status();
    diff.expect("git compares the two").success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make upgrade builds the older program"]
async fn server_and_workers_go_to_the_next_version_and_a_worker_back_while_a_task_runs() {
    let older = PathBuf::from(std::env::var_os("WAVEMARK_PREVIOUS").expect("make upgrade says where it is"));
    let newer = wavemark().unwrap();
    let pair = Pair::start().await.unwrap();
    let mut installation = Installation::start_of(older.clone()).await.unwrap();
    installation.add_worker().unwrap();
    let mut world = World { installation, pair };
    shop::fill(&world.pair.source_client().await.unwrap(), Size::SMALL).await.unwrap();
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task = world.replicate("shop", &json!({})).await;
    world.live(task).await;
    goes_on(&world, task, "all older").await;

    // The server first. The older worker keeps its task.
    let before = world.installation.api.task(task).await.unwrap();
    restart_server(&mut world, &newer);
    world.installation.api.wait_ready(LIMIT).await.unwrap();
    goes_on(&world, task, "older worker").await;
    assert_eq!(world.installation.api.task(task).await.unwrap().epoch, before.epoch);

    // Then the workers; one of the older program may come back.
    world.installation.program.clone_from(&newer);
    world.installation.add_worker().unwrap();
    until(|| async { world.installation.api.workers().await.is_ok_and(|workers| workers.len() == 2) }).await;
    handed_over(&mut world, task, 0, 1).await;
    goes_on(&world, task, "all newer").await;
    world.installation.workers[0].start().unwrap();
    until(|| async { world.installation.api.workers().await.is_ok_and(|workers| workers.len() == 3) }).await;
    handed_over(&mut world, task, 1, 0).await;
    goes_on(&world, task, "a worker went back").await;

    restart_server(&mut world, &older);
    if has_same_metadata(&older) {
        world.installation.api.wait_ready(LIMIT).await.unwrap();
        goes_on(&world, task, "a server went back").await;
    } else {
        // There is no way back for a server whose metadata were brought forward: it says so, and the task goes on.
        let ended = world.installation.server.wait(LIMIT).expect("an older server does not run on newer metadata");
        assert!(!ended.success());
        let said = world.installation.server.log_end(5);
        println!("the older server ended with: {said}");
        assert!(said.contains("migrat") || said.contains("newer"), "{said}");
    }
    restart_server(&mut world, &newer);
    world.installation.api.wait_ready(LIMIT).await.unwrap();
    goes_on(&world, task, "the newer server again").await;

    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}
