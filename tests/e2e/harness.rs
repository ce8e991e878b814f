//! The harness itself: a test that can't fail proves nothing, so what judges the others is judged here.

use std::process::Command;
use std::time::Duration;

use uuid::Uuid;
use wavemark_tests::bank::{self, Watch};
use wavemark_tests::cluster::{Authority, Cluster, Mode, Options};
use wavemark_tests::order::{self, Look, Order};
use wavemark_tests::shop::{self, Pace, Size, Writers};
use wavemark_tests::system::{Place, Session};
use wavemark_tests::{compare, signal};

/// A source with a small shop, and an exact copy of it made by PostgreSQL's own programs.
async fn shop_and_copy() -> (Cluster, Cluster) {
    let source = Cluster::start("shop", &Options::source()).unwrap();
    let target = Cluster::start("copy", &Options::default()).unwrap();
    shop::fill(&source.connect("postgres").await.unwrap(), Size::SMALL).await.unwrap();
    copy(&source, &target);
    (source, target)
}

fn copy(source: &Cluster, target: &Cluster) {
    let dump = source.program("pg_dump").args(["--schema=shop", "postgres"]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), dump.stdout).unwrap();
    let mut psql = target.program("psql");
    psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file.path()).arg("postgres");
    let output = psql.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn compared(source: &Cluster, target: &Cluster) -> compare::Report {
    let (source, target) = (source.connect("postgres").await.unwrap(), target.connect("postgres").await.unwrap());
    let pairs = compare::pairs(&source, "shop", "shop").await.unwrap();
    compare::all(&source, &target, &pairs).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_finds_every_planted_difference_and_no_other() {
    let (source, target) = shop_and_copy().await;
    let report = compared(&source, &target).await;
    assert!(report.is_equal(), "a copy by pg_dump differs: {report}");
    assert_eq!(report.tables, 18);
    let rows = shop::rows(&source.connect("postgres").await.unwrap()).await.unwrap();
    assert_eq!(report.rows, u64::try_from(rows).unwrap());

    target
        .execute(
            "postgres",
            &[
                "delete from shop.order_lines where order_id = 7 and line_no = 2",
                "insert into shop.settings values ('planted', null)",
                "update shop.measurements set twice = '0' where id = -2",
                "update shop.measurements set doc = '{\"b\":1}' where id = 3",
                "insert into shop.audit_log select * from shop.audit_log limit 1",
                "update shop.customers set tags = '{}' where id = 5",
                "alter table shop.stock alter quantity drop default",
                "drop index shop.orders_placed",
                "alter table shop.seats drop constraint seats_seat",
            ],
        )
        .await
        .unwrap();
    let report = compared(&source, &target).await;
    let table = |name: &str| report.different.iter().find(|table| table.table == name).unwrap();
    assert_eq!(table("shop.order_lines").missing.first, ["(7,2)"]);
    assert_eq!(table("shop.settings").extra.first, ["(planted)"]);
    assert_eq!(table("shop.measurements").different.count, 2);
    assert_eq!((table("shop.audit_log").extra.count, table("shop.audit_log").missing.count), (1, 0));
    assert_eq!(table("shop.customers").different.first, ["(5)"]);
    assert_eq!(report.different.len(), 5, "{report}");
    for expected in ["column quantity", "no index orders_placed", "no constraint seats_seat", "no index seats_seat"] {
        assert!(report.catalog.iter().any(|line| line.contains(expected)), "{expected} is not in: {report}");
    }
    assert_eq!(report.catalog.len(), 4, "{report}");
}

#[tokio::test]
async fn a_partitioned_table_that_became_ordinary_is_documented_and_no_difference() {
    let (source, target) = shop_and_copy().await;
    let flatten = "set search_path = shop; create table flat (like payments including all);
        insert into flat select * from payments";
    let rename = "set search_path = shop; alter sequence payment_numbers owned by none; drop table payments;
        alter table flat rename to payments; alter index flat_pkey rename to payments_pkey;
        alter index flat_order_id_idx rename to payments_order;
        alter table payments add constraint payments_order_id_fkey foreign key (order_id) references orders on delete cascade";
    target.execute("postgres", &[flatten, rename]).await.unwrap();
    let report = compared(&source, &target).await;
    assert!(report.is_equal(), "{report}");
    assert_eq!(report.documented, ["shop.payments is partitioned in the source, and an ordinary table in the target"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_make_every_kind_of_transaction_and_stop_cleanly() {
    let (source, target) = shop_and_copy().await;
    let mut writers = Writers::new(source.config("postgres"), Size::SMALL);
    writers.allow_truncates(true);
    let watch = Watch::start(source.config("postgres"), Duration::from_millis(50));
    writers.start(Pace { sessions: 3, per_second: 600.0, seed: 1 });
    let end = tokio::time::Instant::now() + Duration::from_mins(1);
    while writers.counts().kinds.len() < shop::kinds::WEIGHTS.len() && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    writers.stop().await.unwrap();
    let counts = writers.counts();
    assert_eq!(counts.kinds.len(), 20, "{counts:?}");
    assert!(counts.rolled_back > 0 && counts.reconnects == 0, "{counts:?}");

    let client = source.connect("postgres").await.unwrap();
    let committed: i64 = client.query_one("select count(*) from shop.hist", &[]).await.unwrap().get(0);
    assert_eq!(u64::try_from(committed).unwrap(), counts.transactions);
    let seen = watch.stop().await.unwrap();
    assert!(seen.looks > 10 && seen.violations.is_empty(), "{seen:?}");
    let report = compared(&source, &target).await;
    assert!(report.different.iter().any(|table| table.table == "shop.hist"), "the copy can't have followed: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_come_back_after_their_server_was_killed() {
    let source = Cluster::start("killed", &Options::source()).unwrap();
    shop::fill(&source.connect("postgres").await.unwrap(), Size::SMALL).await.unwrap();
    let mut writers = Writers::new(source.config("postgres"), Size::SMALL);
    writers.start(Pace { sessions: 2, per_second: 200.0, seed: 2 });
    tokio::time::sleep(Duration::from_secs(1)).await;
    source.kill().unwrap();
    let before = writers.counts().transactions;
    source.restart().unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while writers.counts().transactions < before + 50 && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    writers.stop().await.unwrap();
    let counts = writers.counts();
    assert!(counts.reconnects >= 2 && counts.transactions >= before + 50, "{counts:?}");
    let violations = bank::look_once(&mut source.connect("postgres").await.unwrap().into(), true).await.unwrap();
    assert_eq!(violations, Vec::<String>::new());
}

#[tokio::test]
async fn the_bank_notices_a_torn_transfer_and_a_gap() {
    let source = Cluster::start("bank", &Options::default()).unwrap();
    let client = source.connect("postgres").await.unwrap();
    shop::fill(&client, Size::SMALL).await.unwrap();
    let sql = "update shop.accounts set balance = balance - 1, moves = moves + 1 where id = 1;
        insert into shop.hist (client, n, kind, ops, checksum) values ('x', 1, '', '{}', ''), ('x', 3, '', '{}', '')";
    client.batch_execute(sql).await.unwrap();
    let violations = bank::look_once(&mut client.into(), true).await.unwrap();
    assert_eq!(
        violations,
        [
            "Some(1000) accounts hold Some(999999999) instead of 1000000000",
            "Some(0) transfers made Some(1) moves of accounts",
            "writer x has a gap",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_the_source_tells_what_a_bookmark_must_show() {
    let (source, target) = shop_and_copy().await;
    let order = Order::start(&source, "postgres").await.unwrap();
    let mut writers = Writers::new(source.config("postgres"), Size::SMALL);
    writers.start(Pace { sessions: 3, per_second: 300.0, seed: 5 });
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The reader goes on behind a server that was killed, and counts nothing twice.
    source.kill().unwrap();
    source.restart().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    writers.stop().await.unwrap();

    let (task, patience) = (Uuid::new_v4(), Duration::from_secs(30));
    let source = source.connect("postgres").await.unwrap();
    let hist = source.query("select seq from shop.hist order by seq", &[]).await.unwrap();
    let seqs: Vec<i64> = hist.iter().map(|row| row.get(0)).collect();
    assert!(seqs.len() > 100, "the writers made {} transactions", seqs.len());
    let copy = target.connect("postgres").await.unwrap();
    let bookmarks = "create schema wavemark; create table wavemark.progress (task uuid, wave bigint, position_text text, position bytea)";
    copy.batch_execute(bookmarks).await.unwrap();
    let sql = "insert into shop.hist (seq, client, n, kind, ops, checksum)
        select seq, seq::text, 1, '', '{}', '' from unnest($1::bigint[]) seq";
    copy.execute(sql, &[&seqs]).await.unwrap();
    let mut looks: Session = target.connect("postgres").await.unwrap().into();
    assert_eq!(order::look(&mut looks, task).await.unwrap(), None, "there is no bookmark");
    let end: String = source.query_one("select pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    copy.execute("insert into wavemark.progress values ($1, 1, $2, '\\x2a')", &[&task, &end]).await.unwrap();

    let mut source: Session = source.into();
    let whole = order::look(&mut looks, task).await.unwrap().unwrap();
    assert_eq!(order.judge_all(&mut source, vec![whole], patience).await.unwrap(), Vec::<String>::new());
    let lost = seqs[seqs.len() / 2];
    copy.execute("delete from shop.hist where seq = $1", &[&lost]).await.unwrap();
    let torn = order::look(&mut looks, task).await.unwrap().unwrap();
    let early = Look { bookmark: Place { at: 1, ..whole.bookmark }, ..whole };
    let violations = order.judge_all(&mut source, vec![torn, early], patience).await.unwrap();
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(violations[0].contains("no prefix of the source's order"), "{violations:?}");
    assert!(violations[1].contains("where 0 must be"), "{violations:?}");
}

#[tokio::test]
async fn a_cluster_restarts_on_its_port_and_leaves_nothing_behind() {
    let authority = Authority::make().unwrap();
    let options = Options { tls: Some(&authority), ..Options::source() };
    let cluster = Cluster::start("life", &options.set("max_slot_wal_keep_size", "64MB")).unwrap();
    let port = cluster.port();
    cluster.execute("postgres", &["create table kept (id int)", "insert into kept values (1)"]).await.unwrap();
    cluster.stop(Mode::Fast).unwrap();
    assert!(cluster.connect("postgres").await.is_err());
    cluster.restart().unwrap();
    cluster.kill().unwrap();
    cluster.restart().unwrap();
    assert_eq!(cluster.port(), port);
    let client = cluster.connect("postgres").await.unwrap();
    let sql = "select current_setting('wal_level') || ' ' || current_setting('max_slot_wal_keep_size') || ' '
               || current_setting('ssl') || ' ' || current_setting('fsync') || ' ' || count(*) from kept";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, String>(0), "logical 64MB on on 1");
    let (folder, postmaster) = (cluster.data(), cluster.postmaster().unwrap());
    drop(cluster);
    assert!(!folder.exists() && !signal::is_alive(postmaster));
}

/// Runs only as the child of the next test.
#[tokio::test]
#[ignore = "the next test runs it in a process of its own"]
async fn cluster_whose_program_dies() {
    let cluster = Cluster::start("orphan", &Options::default()).unwrap();
    println!("postmaster {} {}", cluster.postmaster().unwrap(), cluster.data().display());
    std::thread::sleep(Duration::from_mins(1));
}

#[test]
fn a_cluster_does_not_outlive_a_killed_program() {
    use std::io::{BufRead as _, BufReader};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "harness::cluster_whose_program_dies"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().split_once("postmaster ").map(|(_, rest)| rest.to_owned())).unwrap();
    let (pid, folder) = line.split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(signal::is_alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    signal::wait_gone(&[pid], Duration::from_secs(20)).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while std::path::Path::new(folder).exists() {
        assert!(std::time::Instant::now() < end, "{folder} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(repository.join("docs/GUARANTEES.md")).unwrap();
    let (_, tables) = document.split_once("## 12. Each fault").unwrap();
    // What stands between backticks is every second part.
    let named = tables.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::"));
    let mut count = 0;
    for (file, test) in named {
        let text = std::fs::read_to_string(repository.join(file)).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}()")), "{file} has no test {test}");
        count += 1;
    }
    assert!(count > 100, "only {count} tests are named");
    let (faults, cases) = tables.split_once("## 13. Each odd value").unwrap();
    let numbers = (1..=9).chain(12..=27).chain(30..=32).map(|number| (faults, number));
    for (table, number) in numbers.chain((1..=31).map(|number| (cases, number))) {
        let rows = table.lines().filter(|line| line.starts_with(&format!("| {number} |"))).count();
        assert_eq!(rows, 1, "rows for {number}");
    }
}
