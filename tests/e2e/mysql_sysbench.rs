//! Sysbench's writers, all of them at once, at a source that is followed; then source and target are equal row by row. In
//! `make sysbench` for as long as it says.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use wavemark_tests::mysql_family::Server;
use wavemark_tests::pair::{self, TARGET};

use crate::mysql_family::{Dialect, source, target_rows};
use crate::mysql_target::{endpoint, target};
use crate::world::{World, until_within};

/// What writes to the tables of `shop`; `bulk_insert` has tables of its own.
const WRITERS: [&str; 6] =
    ["oltp_read_write", "oltp_write_only", "oltp_insert", "oltp_update_index", "oltp_update_non_index", "oltp_delete"];
const TABLES: u32 = 3;
/// How long without `WAVEMARK_SYSBENCH_SECONDS`.
const SECONDS: u32 = 8;

fn seconds() -> u32 {
    std::env::var("WAVEMARK_SYSBENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS)
}

fn sysbench<P: Dialect>(source: &Server<P>, database: &str, script: &str, command: &str) -> Child {
    let mut sysbench = Command::new("sysbench");
    sysbench.arg(script).args(["--db-driver=mysql", "--mysql-host=127.0.0.1", "--mysql-user=bench"]);
    sysbench.arg(format!("--mysql-port={}", source.port())).arg(format!("--mysql-db={database}"));
    // Those of writers that meet: deadlock, changed meanwhile, lock wait, a key that is there.
    sysbench.args(["--mysql-ignore-errors=1213,1020,1205,1062", "--threads=2"]);
    sysbench.arg(format!("--time={}", seconds()));
    if script == "bulk_insert" {
        // It would write more than all others together.
        sysbench.arg("--rate=1000");
    } else {
        sysbench.args(["--table-size=5000", "--rate=150", &format!("--tables={TABLES}")]);
    }
    sysbench.arg(command).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

fn succeeds(mut child: Child, what: &str) {
    assert!(child.wait().unwrap().success(), "sysbench {what} failed");
}

/// A source with sysbench's tables.
fn prepared<P: Dialect>() -> Server<P> {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; CREATE DATABASE bulk; CREATE USER bench@'127.0.0.1'; \
         GRANT ALL ON shop.* TO bench@'127.0.0.1'; GRANT ALL ON bulk.* TO bench@'127.0.0.1';",
    );
    succeeds(sysbench(&source, "shop", WRITERS[0], "prepare"), "prepare");
    succeeds(sysbench(&source, "bulk", "bulk_insert", "prepare"), "prepare");
    source
}

fn rules() -> Value {
    let (mut rules, mut more) = (pair::whole_schema("shop"), pair::whole_schema("bulk"));
    more[0]["rule-id"] = json!("2");
    more[0]["rule-name"] = json!("the rest");
    rules.as_array_mut().unwrap().append(more.as_array_mut().unwrap());
    rules
}

/// Each table's rows, as every system writes them.
fn rows_of_each() -> Vec<String> {
    let shop =
        (1..=TABLES).map(|number| format!("SELECT concat_ws('|', id, k, c, pad) FROM shop.sbtest{number} ORDER BY id"));
    let bulk = (1..=2).map(|number| format!("SELECT concat_ws('|', id, k) FROM bulk.sbtest{number} ORDER BY id"));
    shop.chain(bulk).collect()
}

fn writes_for_a_while<P: Dialect>(source: &Server<P>) {
    let before = source.rows("SHOW GLOBAL STATUS LIKE 'Com_commit'").unwrap();
    let mut all: Vec<_> = WRITERS.map(|script| (script, sysbench(source, "shop", script, "run"))).into();
    all.push(("bulk_insert", sysbench(source, "bulk", "bulk_insert", "run")));
    for (script, child) in all {
        succeeds(child, script);
    }
    assert_ne!(source.rows("SHOW GLOBAL STATUS LIKE 'Com_commit'").unwrap(), before, "nobody wrote");
    let bulk = source.rows("SELECT count(*) FROM bulk.sbtest1").unwrap();
    assert!(bulk[0].parse::<u32>().unwrap() > 100, "{bulk:?}");
}

pub(crate) async fn all_writers_of_sysbench_are_followed_to_postgresql<P: Dialect>() {
    let source = prepared::<P>();
    let world = World::start().await;
    let api = &world.installation.api;
    let to = pair::settings(&world.pair.target, TARGET, TARGET);
    let endpoints = (
        endpoint::<P>(&world, "The shop", "source", source.port(), "wavemark").await,
        api.create_endpoint("The copy", "target", &to, world.pair.target.password()).await.unwrap(),
    );
    let task = api.create_task("Sysbench", "full-load-and-cdc", endpoints, &rules(), &json!({})).await.unwrap();
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    tokio::task::block_in_place(|| writes_for_a_while(&source));
    for sql in rows_of_each() {
        let expected = source.rows(&sql).unwrap();
        until_within(Duration::from_mins(3), || async { target_rows(&world, &sql).await == expected }).await;
    }
    let tables = api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}

pub(crate) async fn all_writers_of_sysbench_are_followed_to_one_of_its_kind<P: Dialect>() {
    let (source, to) = (prepared::<P>(), target::<P>(&["--local-infile=ON"]));
    to.execute("GRANT ALL ON bulk.* TO writer@'127.0.0.1'").unwrap();
    let world = World::start().await;
    let api = &world.installation.api;
    let endpoints = (
        endpoint::<P>(&world, "The shop", "source", source.port(), "wavemark").await,
        endpoint::<P>(&world, "The copy", "target", to.port(), "writer").await,
    );
    let task = api.create_task("Sysbench", "full-load-and-cdc", endpoints, &rules(), &json!({})).await.unwrap();
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    tokio::task::block_in_place(|| writes_for_a_while(&source));
    for sql in rows_of_each() {
        let expected = source.rows(&sql).unwrap();
        until_within(Duration::from_mins(3), || async { to.rows(&sql).is_ok_and(|found| found == expected) }).await;
    }
    let tables = api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}
