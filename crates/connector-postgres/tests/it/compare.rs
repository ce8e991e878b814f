//! Fingerprints of real tables: equal ones are equal however their rows lie, and each kind of difference is noticed and
//! named.

use std::collections::BTreeMap;
use std::time::Duration;

use wavemark_connector::Connector;
use wavemark_connector::compare::{Form, Listed, Side};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::TablePlan;

use crate::support::Cluster;
use crate::support::task::{Fixture, client, endpoint};

const TABLES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TYPE pair AS (a integer, b text);
    CREATE DOMAIN code AS bigint;
    CREATE TABLE things (
        id integer PRIMARY KEY, amount numeric, ratio double precision, small real, words text, more varchar(40),
        list integer[], document jsonb, raw json, picture bytea, fixed char(6), at timestamptz, stay interval,
        big bigint, code code, mood mood, pair pair, moods mood[], flag boolean, net inet, bits bit varying(9)
    );
    CREATE TABLE places (\"the \"\"key\"\"\" text, part bigint, name text, PRIMARY KEY (part, \"the \"\"key\"\"\"));
    CREATE TABLE lines (line text, note text);
    ALTER TABLE lines REPLICA IDENTITY FULL;
    CREATE TABLE parts (id integer, value text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (500);
    CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (500) TO (MAXVALUE);
";

/// In one order or the other.
fn rows(order: &str) -> String {
    format!(
        "INSERT INTO things SELECT n, n / 8.0, n / 3.0, n, 'w' || n, NULL, ARRAY[n, NULL], jsonb_build_object('a', n),
            '{{\"a\":  1}}', decode(md5(n::text), 'hex'), 'ab', timestamptz '2024-01-01' + n * interval '1 s', '1 mon',
            n, n, 'sad', ROW(n, NULL)::pair, '{{sad,NULL}}', n % 2 = 0, '10.0.0.1/24', B'0101'
            FROM generate_series(1, 600) n ORDER BY n {order};
         INSERT INTO places SELECT 'k' || n % 10, n / 10, 'p' || n FROM generate_series(1, 500) n ORDER BY n {order};
         INSERT INTO lines SELECT 'line ' || n % 7, NULL FROM generate_series(1, 100) n ORDER BY n {order};
         INSERT INTO parts SELECT n, 'v' || n FROM generate_series(1, 1000) n ORDER BY n {order};"
    )
}

const NAMES: [&str; 4] = ["things", "places", "lines", "parts"];

struct Pair {
    cluster: Cluster,
    source: Fixture,
    other: Fixture,
    mart: tokio_postgres::Client,
}

impl Pair {
    async fn start() -> Self {
        let cluster = Cluster::start(&[("fsync", "off")]);
        let first = client(&cluster).await;
        first.batch_execute("CREATE DATABASE mart").await.unwrap();
        first.batch_execute(&format!("{TABLES} {}", rows("ASC"))).await.unwrap();
        let settings = format!("host=127.0.0.1 port={} user=postgres dbname=mart", cluster.port);
        let (mart, driver) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(driver);
        // Other numbers for the types, and rows in another order at other places.
        mart.batch_execute("CREATE TYPE spare AS ENUM ('x')").await.unwrap();
        mart.batch_execute(&format!("{TABLES} {}", rows("DESC"))).await.unwrap();
        mart.batch_execute("VACUUM FULL things").await.unwrap();
        let source = Fixture::new(&cluster);
        let mut endpoint = endpoint(&cluster, "postgres");
        endpoint.values["database"] = "mart".into();
        let mut other = Fixture::new(&cluster);
        other.source = Postgres.source(&endpoint).unwrap();
        other.task.epoch = wavemark_domain::Epoch(2);
        Self { cluster, source, other, mart }
    }

    async fn sides(&self) -> (Box<dyn Side>, Box<dyn Side>) {
        let one = self.source.source.view_beside(&self.source.task).await.unwrap().side(2).await.unwrap();
        let two = self.other.source.view_beside(&self.other.task).await.unwrap().side(3).await.unwrap();
        (one, two)
    }

    /// The keys that differ, with a sign: `-` missing in the second, `+` only there, `~` other values.
    async fn differences(&self, table: &TablePlan, form: usize) -> Vec<String> {
        self.between(&self.sides().await, table, form).await
    }

    async fn between(
        &self,
        (one, two): &(Box<dyn Side>, Box<dyn Side>),
        table: &TablePlan,
        form: usize,
    ) -> Vec<String> {
        let forms = one.forms(table).await.unwrap();
        assert_eq!(forms, two.forms(table).await.unwrap(), "both databases are of one server");
        let form = &forms[form];
        let whole = (sum(one.as_ref(), table, form, 1).await, sum(two.as_ref(), table, form, 1).await);
        let parts = (sum(one.as_ref(), table, form, 8).await, sum(two.as_ref(), table, form, 8).await);
        assert_eq!(whole.0 == whole.1, parts.0 == parts.1, "whole and parts tell the same");
        let chosen: Vec<u32> = (0..8).filter(|at| parts.0.get(at) != parts.1.get(at)).collect();
        let (one, two) = (
            one.list(table, form, 8, &chosen, &|_| {}).await.unwrap(),
            two.list(table, form, 8, &chosen, &|_| {}).await.unwrap(),
        );
        named(&one, &two)
    }
}

async fn sum(side: &dyn Side, table: &TablePlan, form: &Form, buckets: u32) -> BTreeMap<u32, (u64, i128)> {
    let found = side.fingerprint(table, form, buckets, &|_| {}).await.unwrap();
    found.into_iter().map(|bucket| (bucket.number, (bucket.rows, bucket.sum))).collect()
}

fn named(one: &[Listed], two: &[Listed]) -> Vec<String> {
    let key = |row: &Listed| if row.text.is_empty() { row.hash.to_string() } else { row.text.join("/") };
    let by_key = |rows: &[Listed]| -> BTreeMap<String, (i64, u64)> {
        rows.iter().map(|row| (key(row), (row.hash, row.count))).collect()
    };
    let (one, two) = (by_key(one), by_key(two));
    let mut found = Vec::new();
    for (key, row) in &one {
        match two.get(key) {
            None => found.push(format!("-{key}")),
            Some(other) if other != row => found.push(format!("~{key}")),
            Some(_) => {}
        }
    }
    found.extend(two.keys().filter(|key| !one.contains_key(*key)).map(|key| format!("+{key}")));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_tables_are_equal_and_each_difference_is_noticed_and_named() {
    let pair = Pair::start().await;
    let plan = pair.source.plan(&NAMES).await;
    for table in &plan {
        for form in 0..2 {
            assert_eq!(pair.differences(table, form).await, Vec::<String>::new(), "{} {form}", table.name());
        }
    }
    let damages = [
        ("amount = 1.0", "amount = 1.00"),
        ("amount = 'NaN'", "amount = 0"),
        ("ratio = 0", "ratio = '-0'"),
        ("ratio = 'NaN'", "ratio = 'infinity'"),
        ("ratio = 0.1", "ratio = '0.10000000000000002'"),
        ("small = 0", "small = '-0'"),
        ("words = NULL", "words = ''"),
        ("words = 'a', more = ',b'", "words = 'a,', more = 'b'"),
        ("words = 'a', more = NULL", "words = NULL, more = 'a'"),
        ("words = 'x '", "words = 'x'"),
        ("list = '{1,2}'", "list = '[0:1]={1,2}'"),
        ("list = '{NULL}'", "list = '{}'"),
        ("document = '{\"a\": 1.0}'", "document = '{\"a\": 1.00}'"),
        ("document = 'null'", "document = NULL"),
        ("raw = '{\"a\": 1}'", "raw = '{\"a\":1}'"),
        ("picture = '\\x00'", "picture = '\\x0000'"),
        ("picture = ''", "picture = NULL"),
        ("at = 'infinity'", "at = '-infinity'"),
        ("at = '2024-01-01 00:00:00.000001Z'", "at = '2024-01-01 00:00:00Z'"),
        ("stay = '1 mon'", "stay = '30 days'"),
        ("stay = '24:00:00'", "stay = '1 day'"),
        ("big = 1", "big = 4294967296"),
        ("big = -1", "big = 0"),
        ("code = 1", "code = 4294967296"),
        ("mood = 'sad'", "mood = 'happy'"),
        ("pair = ROW(1, NULL)::pair", "pair = ROW(1, '')::pair"),
        ("moods = '{sad}'", "moods = '{happy}'"),
        ("flag = true", "flag = NULL"),
        ("net = '10.0.0.1/24'", "net = '10.0.0.1/32'"),
        ("bits = B'01'", "bits = B'010'"),
    ];
    let source = client(&pair.cluster).await;
    for (is, becomes) in damages {
        source.batch_execute(&format!("UPDATE things SET {is} WHERE id = 7")).await.unwrap();
        pair.mart.batch_execute(&format!("UPDATE things SET {becomes} WHERE id = 7")).await.unwrap();
        let sides = pair.sides().await;
        for form in 0..2 {
            assert_eq!(pair.between(&sides, &plan[0], form).await, ["~7"], "{is} and {becomes}, form {form}");
        }
        pair.mart.batch_execute(&format!("UPDATE things SET {is} WHERE id = 7")).await.unwrap();
    }
    assert_eq!(pair.differences(&plan[0], 0).await, Vec::<String>::new());
    // Rows that swap the values of a column leave every plain sum as it is.
    let swap = "UPDATE things SET words = CASE id WHEN 20 THEN 'w21' ELSE 'w20' END WHERE id IN (20, 21)";
    pair.mart.batch_execute(swap).await.unwrap();
    assert_eq!(pair.differences(&plan[0], 0).await, ["~20", "~21"]);
    assert_eq!(pair.differences(&plan[0], 1).await, ["~20", "~21"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_extra_rows_are_named_also_of_partitions_and_counted_without_a_key() {
    let pair = Pair::start().await;
    let plan = pair.source.plan(&NAMES).await;
    let damage = "
        DELETE FROM places WHERE part = 3 AND \"the \"\"key\"\"\" = 'k4';
        INSERT INTO places VALUES ('k4', 4294967299, 'p34');
        DELETE FROM parts WHERE id = 499;
        UPDATE parts SET value = 'x' WHERE id = 500;
        INSERT INTO parts VALUES (5000, 'new');
        DELETE FROM lines WHERE ctid IN (SELECT min(ctid) FROM lines WHERE line = 'line 3');
        INSERT INTO lines VALUES ('line 4', '')";
    pair.mart.batch_execute(damage).await.unwrap();
    for form in 0..2 {
        assert_eq!(pair.differences(&plan[1], form).await, ["-3/k4", "+4294967299/k4"]);
        assert_eq!(pair.differences(&plan[3], form).await, ["-499", "~500", "+5000"]);
        // One row fewer of a kind, and a row of a new kind.
        let lines = pair.differences(&plan[2], form).await;
        let signs: Vec<char> = lines.iter().filter_map(|line| line.chars().next()).collect();
        assert_eq!(signs, ['~', '+'], "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_reads_what_was_there_and_keeps_nobody_from_changing_the_table() {
    let pair = Pair::start().await;
    let plan = pair.source.plan(&NAMES).await;
    let (one, two) = pair.sides().await;
    let form = one.forms(&plan[0]).await.unwrap().remove(0);
    let before = sum(two.as_ref(), &plan[0], &form, 4).await;
    pair.mart
        .batch_execute("UPDATE things SET words = 'later' WHERE id < 50; DELETE FROM things WHERE id > 500")
        .await
        .unwrap();
    assert_eq!(sum(two.as_ref(), &plan[0], &form, 4).await, before, "the rows are those of the view");
    assert_eq!(sum(one.as_ref(), &plan[0], &form, 4).await, before);

    let truncated = pair.mart.batch_execute("SET lock_timeout = '5s'; TRUNCATE things");
    tokio::time::timeout(Duration::from_secs(10), truncated).await.unwrap().unwrap();
    let problem = two.fingerprint(&plan[0], &form, 4, &|_| {}).await.unwrap_err();
    assert_eq!(problem.code, "table-rewritten", "{problem}");
    pair.mart.batch_execute("ALTER TABLE places ALTER COLUMN name TYPE varchar(9)").await.unwrap();
    let (_, two) = pair.sides().await;
    let problem = two.forms(&plan[1]).await.unwrap_err();
    assert_eq!(problem.code, "table-changed", "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_waits_for_an_old_transaction_can_be_given_up_and_made_later() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let old = client(&cluster).await;
    old.batch_execute("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    let fixture = Fixture::new(&cluster);
    old.batch_execute("BEGIN; INSERT INTO t VALUES (2)").await.unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(2), fixture.source.view_beside(&fixture.task)).await;
    assert!(waits.is_err(), "the open transaction is waited for");
    old.batch_execute("COMMIT").await.unwrap();
    let view = fixture.source.view_beside(&fixture.task).await.unwrap();
    let side = view.side(1).await.unwrap();
    drop(view);
    let plan = fixture.plan(&["t"]).await;
    let form = side.forms(&plan[0]).await.unwrap().remove(0);
    assert_eq!(side.fingerprint(&plan[0], &form, 1, &|_| {}).await.unwrap()[0].rows, 2);
    assert_eq!(cluster.sql("SELECT count(*) FROM pg_replication_slots"), "0", "a comparison keeps no slot");
}
