//! The ways to begin a load at MySQL and MariaDB, each by a user who has the rights for that way alone, while others write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::api::Task;
use wavemark_tests::mysql_family::Server;
use wavemark_tests::pair::{self, TARGET};

use crate::mysql_family::{Dialect, source, target_rows, transfers};
use crate::world::{World, until_within};

/// Tables of some chunks, of which one gets what the other loses, and one that is not of the task.
const TABLES: &str = "CREATE DATABASE shop; CREATE DATABASE beside; USE shop; \
    CREATE TABLE left_side (id int PRIMARY KEY, n int, filler varchar(200)); \
    INSERT INTO left_side SELECT seq, 1000, repeat('x', 200) FROM helpers.seq_1_to_20000; \
    INSERT IGNORE INTO left_side VALUES (0, 1000, ''); \
    CREATE TABLE right_side LIKE left_side; INSERT INTO right_side SELECT * FROM left_side; \
    CREATE TABLE moved (id int AUTO_INCREMENT PRIMARY KEY, by_how_much int); \
    CREATE TABLE beside.others (id int AUTO_INCREMENT PRIMARY KEY, n int); ANALYZE TABLE left_side, right_side;";

const SUM: &str = "SELECT ((SELECT sum(n) FROM shop.left_side) + (SELECT sum(n) FROM shop.right_side))::text";
const ROWS: [&str; 3] = [
    "SELECT concat_ws(' ', id, n, filler) FROM shop.left_side ORDER BY id",
    "SELECT concat_ws(' ', id, n, filler) FROM shop.right_side ORDER BY id",
    "SELECT concat_ws(' ', id, by_how_much) FROM shop.moved ORDER BY id",
];

/// A user with these rights and no others, and a task of that user.
async fn task_of<P: Dialect>(world: &World, source: &Server<P>, rights: &[&str]) -> Uuid {
    let user = "CREATE USER beginner@'127.0.0.1' IDENTIFIED BY 'it''s a secret';";
    let grants: Vec<_> = rights.iter().map(|right| format!("GRANT {right} TO beginner@'127.0.0.1';")).collect();
    source.execute(&format!("{user} {}", grants.concat())).unwrap();
    // What is asked of the server from now on.
    source.execute("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON").unwrap();
    let from = json!({"host": "127.0.0.1", "port": source.port(), "user": "beginner", "tls_mode": P::TLS});
    let to = pair::settings(&world.pair.target, TARGET, TARGET);
    let api = &world.installation.api;
    let endpoints = (
        api.create_endpoint_of("mysql", "The shop", "source", &from, "it's a secret").await.unwrap(),
        api.create_endpoint("The copy", "target", &to, world.pair.target.password()).await.unwrap(),
    );
    let (rules, settings) = (pair::whole_schema("shop"), json!({"load_parallelism": 3, "chunk_mib": 1}));
    api.create_task("Copy shop", "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap()
}

/// Whether somebody asked for something that begins so since the log of statements is on.
fn was_asked<P: Dialect>(source: &Server<P>, beginning: &str) -> bool {
    let sql = format!(
        "SELECT count(*) FROM mysql.general_log WHERE command_type = 'Query' AND user_host LIKE 'beginner%' \
         AND CONVERT(argument USING utf8mb4) LIKE '{beginning}%'"
    );
    source.rows(&sql).unwrap() != ["0"]
}

/// Loads again and again while others write, to the task's tables and beside them; each time it follows from where the load
/// stands, without a gap and with nothing twice, which would park a table.
async fn begins_exactly<P: Dialect>(options: &[&str], rights: &[&str], ends: Ends) -> (World, Server<P>) {
    let source = source::<P>(options, TABLES);
    let mut world = World::start().await;
    let task = task_of(&world, &source, rights).await;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (source, stop) = (&source, &stop);
        for seed in [3, 5] {
            scope.spawn(move || {
                for round in (seed..).step_by(2) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // One that waits for another's row gives way, and goes on.
                    drop(source.execute(&transfers(round, 20)));
                }
            });
        }
        scope.spawn(move || {
            // Each row once in a long while, anywhere in the table.
            for number in (0..).step_by(20) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let statements = (number..number + 20).map(|number: u32| {
                    let id = number.wrapping_mul(7_919) % 20_000;
                    format!("INSERT INTO beside.others (n) VALUES (1); UPDATE shop.left_side SET filler = '{number}' WHERE id = {id};")
                });
                source.execute(&statements.collect::<String>()).unwrap();
            }
        });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(loaded_thrice(&mut world, task, ends)));
        stop.store(true, Ordering::Relaxed);
    });
    for sql in ROWS {
        let expected = source.rows(sql).unwrap();
        until_within(Duration::from_mins(1), || async { target_rows(&world, sql).await == expected }).await;
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
    (world, source)
}

/// How a load ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Whole,
    /// Its worker dies when it has some chunks, and another goes on with it in a view of its own.
    Half,
}

async fn loaded_thrice(world: &mut World, task: Uuid, ends: Ends) {
    for (number, action) in ["start", "reload", "reload"].into_iter().enumerate() {
        if action == "reload" {
            world.installation.api.act(task, "stop").await.unwrap();
            world.status(task, "stopped").await;
        }
        if ends == Ends::Half {
            dies_half_way(world, task, action, 1 + 2 * number).await;
        } else {
            world.installation.api.act(task, action).await.unwrap();
        }
        let runs = |task: &Task| task.status == "running";
        world.installation.api.wait_task(task, Duration::from_mins(1), "the task to run", runs).await.unwrap();
        world.live(task).await;
        assert_eq!(target_rows(world, SUM).await, ["40002000"], "a transaction is torn");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // One of the tables alone, beside the others.
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "right_side")]).await.unwrap();
    world.live(task).await;
}

/// Has a worker of its own begin the load, which dies when it has so many chunks; the other comes back then.
async fn dies_half_way(world: &mut World, task: Uuid, action: &str, chunks: usize) {
    world.installation.workers[0].kill().unwrap();
    let crash = format!("chunk.committed:{chunks}");
    let armed = world.installation.add_worker_with(&[("WAVEMARK_CRASH", &crash)]).unwrap();
    world.installation.api.act(task, action).await.unwrap();
    let end = Instant::now() + Duration::from_mins(1);
    while world.installation.workers[armed].is_running() {
        assert!(Instant::now() < end, "{chunks} chunks were not loaded in a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.installation.workers[armed].log_end(5).contains("crash point chunk.committed reached: aborting"));
    world.installation.workers[0].start().unwrap();
}

pub(crate) async fn writers_are_stopped_by_who_may_flush<P: Dialect>() {
    let rights = ["SELECT, RELOAD, REPLICATION SLAVE, MONITOR ON *.*".replace("MONITOR", P::MONITOR)];
    let (_world, source) = begins_exactly::<P>(&[], &[&rights[0]], Ends::Whole).await;
    assert!(was_asked(&source, "FLUSH TABLES WITH READ LOCK") && !was_asked(&source, "LOCK TABLES"));
}

/// As on RDS and Aurora, where nobody gets `RELOAD`.
pub(crate) async fn writers_of_the_tables_are_stopped_by_who_may_lock_them<P: Dialect>() {
    let rights = "REPLICATION SLAVE, MONITOR ON *.*".replace("MONITOR", P::MONITOR);
    let (_world, source) = begins_exactly::<P>(&[], &[&rights, "SELECT, LOCK TABLES ON shop.*"], Ends::Whole).await;
    assert!(was_asked(&source, "LOCK TABLES"));
}

/// Nobody is stopped: MariaDB notes the place of a snapshot.
pub(crate) async fn who_may_lock_nothing_begins_where_the_snapshot_stands<P: Dialect>() {
    let rights = "REPLICATION SLAVE, MONITOR ON *.*".replace("MONITOR", P::MONITOR);
    let (_world, source) = begins_exactly::<P>(&[], &[&rights, "SELECT ON shop.*"], Ends::Whole).await;
    assert!(was_asked(&source, "SHOW STATUS LIKE \\'binlog_snapshot"));
}

/// Nobody is stopped, and each reader begins at a moment of its own: the log of MySQL says what happened in between.
pub(crate) async fn who_may_lock_nothing_begins_between_two_places<P: Dialect>() {
    let rights = "REPLICATION SLAVE, MONITOR ON *.*".replace("MONITOR", P::MONITOR);
    let numbered = ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"];
    let (_world, source) = begins_exactly::<P>(&numbered, &[&rights, "SELECT ON shop.*"], Ends::Whole).await;
    assert!(was_asked(&source, "SELECT @@global.gtid_owned"));
}

/// As above; what was touched between the two places of a view whose worker died is fetched again in the next one.
pub(crate) async fn who_may_lock_nothing_goes_on_with_a_load<P: Dialect>() {
    let rights = "REPLICATION SLAVE, MONITOR ON *.*".replace("MONITOR", P::MONITOR);
    let numbered = ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"];
    begins_exactly::<P>(&numbered, &[&rights, "SELECT ON shop.*"], Ends::Half).await;
}

/// A server that does not number its transactions does not say which of them can't be seen yet.
pub(crate) async fn who_may_lock_nothing_follows_nothing_without_numbers<P: Dialect>() {
    let source = source::<P>(&[], TABLES);
    let world = World::start().await;
    let rights = "REPLICATION SLAVE, MONITOR ON *.*".replace("MONITOR", P::MONITOR);
    let task = task_of(&world, &source, &[&rights, "SELECT ON shop.*"]).await;
    world.installation.api.act(task, "start").await.unwrap();
    let problem = world.status(task, "failed").await.problem.unwrap();
    assert_eq!(problem.code, "right-missing", "{problem:?}");
}
