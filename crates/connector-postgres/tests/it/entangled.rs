//! Alterations among rows, key moves, truncations and parts that are rolled back, all in one transaction; also where
//! it is large, where runs are killed in its middle, and where rows or columns are filtered.

use std::time::Duration;

use wavemark_domain::state::TableState;
use wavemark_domain::task::TaskSettings;

use crate::support::journey::{Journey, ROLES, shown};

/// A transaction of some megabytes is streamed while it is in progress.
const STREAMED: &str = "ALTER ROLE postgres SET logical_decoding_work_mem = '64kB'";

const TABLE: &str = "CREATE TABLE t (id integer PRIMARY KEY, note varchar(10), n integer, doc text); \
    ALTER TABLE t ALTER doc SET STORAGE EXTERNAL; \
    INSERT INTO t SELECT i, 'note ' || i, i, repeat('d', 4000) FROM generate_series(1, 50) i";

async fn arrives(schema: &str, changes: &[&str]) {
    for role in ROLES {
        for streamed in ["", STREAMED] {
            Journey::of(role, &format!("{schema}; {streamed}"), &["t"]).await.arrives(changes).await;
        }
    }
    arrives_as_told(schema, changes).await;
}

/// Where event triggers tell of alterations.
async fn arrives_as_told(schema: &str, changes: &[&str]) {
    let settings = TaskSettings { event_triggers: true, ..TaskSettings::default() };
    let journey = Journey::of("postgres", &format!("{schema}; {STREAMED}"), &["t"]).await;
    journey.with(settings).arrives(changes).await;
}

#[tokio::test]
async fn another_alteration_of_a_column_follows_one_that_is_rolled_back() {
    let small = "BEGIN; SAVEPOINT s; ALTER TABLE t ALTER note TYPE varchar(20); INSERT INTO t VALUES (101, 'more than ten', 6); \
        ROLLBACK TO s; INSERT INTO t VALUES (101, 'six', 6); ALTER TABLE t ALTER note TYPE text; \
        INSERT INTO t VALUES (102, 'more than ten', 7); UPDATE t SET n = 0 WHERE id = 1; COMMIT";
    let large = "BEGIN; SAVEPOINT s; ALTER TABLE t ADD x integer; \
        INSERT INTO t SELECT i, 'g', i, repeat('y', 500), i FROM generate_series(200, 3000) i; ROLLBACK TO s; \
        ALTER TABLE t ADD x text; \
        INSERT INTO t SELECT i, 'k', i, repeat('z', 500), 'x' || i FROM generate_series(200, 3000) i; COMMIT";
    arrives(TABLE, &[small, large]).await;
}

#[tokio::test]
async fn columns_change_names_while_keys_move_and_large_values_stay() {
    let schema = "CREATE TABLE t (id integer PRIMARY KEY, a text, b text); \
        ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL; \
        INSERT INTO t SELECT i, repeat('a', 4000), repeat('b', 5000) FROM generate_series(1, 300) i";
    let swap = "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b";
    let change = format!(
        "BEGIN; UPDATE t SET id = id + 1000 WHERE id < 10; {swap}; UPDATE t SET id = -id; \
         UPDATE t SET a = 'short' WHERE id = -20; COMMIT"
    );
    arrives(schema, &[&change, "UPDATE t SET b = a, id = id - 5000"]).await;
    let key = "CREATE TABLE t (a integer, b integer, c text, PRIMARY KEY (a, b)); \
        INSERT INTO t SELECT i, i * 2, 'c' FROM generate_series(1, 10) i";
    arrives(
        key,
        &[&format!("BEGIN; {swap}; UPDATE t SET c = 'd', a = a + 1 WHERE b = 3; DELETE FROM t WHERE b = 4; COMMIT")],
    )
    .await;
}

#[tokio::test]
async fn a_table_is_emptied_between_alterations() {
    let change = "BEGIN; INSERT INTO t VALUES (101, 'a', 1); ALTER TABLE t ADD z integer DEFAULT 3; TRUNCATE t; \
        INSERT INTO t VALUES (1, 'b', 2, 'd', 4); ALTER TABLE t DROP n; SAVEPOINT s; TRUNCATE t; ROLLBACK TO s; \
        INSERT INTO t VALUES (2, 'c', 'e', 5); COMMIT";
    arrives(TABLE, &[change, "UPDATE t SET z = id"]).await;
}

#[tokio::test]
async fn an_identity_of_another_index_or_of_the_whole_row_comes_and_goes() {
    let schema = "CREATE TABLE t (id integer PRIMARY KEY, u integer NOT NULL, n integer); CREATE UNIQUE INDEX by_u ON t (u); \
        ALTER TABLE t REPLICA IDENTITY USING INDEX by_u; INSERT INTO t SELECT n, n, n FROM generate_series(1, 20) n";
    let changes = [
        "UPDATE t SET id = id + 100; UPDATE t SET u = u + 1 WHERE u = 20; DELETE FROM t WHERE id = 105",
        "ALTER TABLE t RENAME u TO v; UPDATE t SET v = v + 1000; ALTER TABLE t REPLICA IDENTITY FULL; \
         UPDATE t SET v = v + 1000, id = id - 1",
    ];
    arrives(schema, &changes).await;
    let full = "ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET n = 8 WHERE id = 1; ALTER TABLE t ADD z integer; \
        UPDATE t SET z = id; ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET z = z + 1, id = id + 50";
    arrives(TABLE, &[full]).await;
}

#[tokio::test]
async fn rows_that_are_there_twice_are_altered_and_deleted_one_by_one() {
    let schema = "CREATE TABLE t (a integer, b text); ALTER TABLE t REPLICA IDENTITY FULL; \
        INSERT INTO t SELECT n / 3, 'b' FROM generate_series(1, 30) n";
    let changes = [
        "BEGIN; DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t); ALTER TABLE t ADD c integer DEFAULT 3; \
         UPDATE t SET c = 4 WHERE ctid IN (SELECT min(ctid) FROM t GROUP BY a); ALTER TABLE t RENAME b TO d; SAVEPOINT s; \
         ALTER TABLE t DROP c; DELETE FROM t; ROLLBACK TO s; UPDATE t SET a = NULL WHERE c = 4; COMMIT",
        "DELETE FROM t WHERE a IS NULL; ALTER TABLE t ADD e jsonb DEFAULT '{\"a\": 1.0}'; UPDATE t SET d = 'x'",
    ];
    arrives(schema, &changes).await;
}

#[tokio::test]
async fn rows_go_between_partitions_while_columns_come_and_change_names() {
    let schema = "CREATE TABLE t (id integer PRIMARY KEY, n integer, g integer GENERATED ALWAYS AS (n * 2) STORED, doc text) \
            PARTITION BY RANGE (id); \
        CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (10); \
        CREATE TABLE t_high (doc text, gone integer, n integer, id integer NOT NULL, g integer GENERATED ALWAYS AS (n * 2) STORED); \
        ALTER TABLE t_high DROP gone; ALTER TABLE t ATTACH PARTITION t_high FOR VALUES FROM (10) TO (20); \
        ALTER TABLE t_low ALTER doc SET STORAGE EXTERNAL; \
        INSERT INTO t (id, n, doc) SELECT n, n, repeat('d', 4000) FROM generate_series(1, 9) n";
    let change = "BEGIN; UPDATE t SET id = id + 10 WHERE id < 4; ALTER TABLE t ADD z integer DEFAULT 4; \
        UPDATE t SET z = n WHERE id > 6; ALTER TABLE t RENAME n TO m; UPDATE t SET id = id - 10, m = -m WHERE id > 11; \
        ALTER TABLE t RENAME doc TO text; UPDATE t SET id = id + 10 WHERE id = 7; COMMIT";
    arrives(schema, &[change, "UPDATE t SET text = 'short' WHERE id > 3"]).await;
}

#[tokio::test]
async fn columns_that_are_dropped_and_come_again_are_told_apart() {
    for changes in [
        &["BEGIN; INSERT INTO t VALUES (101, 'a', 6); ALTER TABLE t DROP n; INSERT INTO t (id) VALUES (102); \
           ALTER TABLE t ADD n integer DEFAULT 9; INSERT INTO t (id, n) VALUES (103, 8); COMMIT"][..],
        &["BEGIN; ALTER TABLE t DROP n; INSERT INTO t (id) VALUES (102); ALTER TABLE t ADD n text DEFAULT 'nine'; \
           SAVEPOINT s; ALTER TABLE t DROP n; ALTER TABLE t ADD n date; UPDATE t SET n = '2026-01-01'; ROLLBACK TO s; \
           UPDATE t SET n = 'ten' WHERE id < 5; COMMIT"],
        &["ALTER TABLE t ADD z integer; UPDATE t SET z = 1 WHERE id = 1; ALTER TABLE t DROP z; \
           UPDATE t SET n = 2 WHERE id = 2; ALTER TABLE t ADD z integer DEFAULT 8; UPDATE t SET n = 3 WHERE id = 3"],
        &[
            "BEGIN; ALTER TABLE t ADD n2 integer; UPDATE t SET n2 = -n; ALTER TABLE t DROP n; ALTER TABLE t RENAME n2 TO n; COMMIT",
            "INSERT INTO t (id, n) VALUES (200, 9); ALTER TABLE t DROP doc, ADD doc text DEFAULT 'new'; UPDATE t SET id = -id",
        ],
        &[
            "BEGIN; ALTER TABLE t DROP n, ADD n integer DEFAULT 1; ALTER TABLE t DROP n, ADD n integer DEFAULT 2; \
           UPDATE t SET note = 'x' WHERE id = 1; ALTER TABLE t DROP n, ADD n integer DEFAULT 3; COMMIT",
            "ALTER TABLE t RENAME n TO m; ALTER TABLE t ADD n integer DEFAULT 4",
        ],
    ] {
        arrives_as_told(TABLE, changes).await;
    }
}

/// Of all that can be written in more than one way.
const DEFAULTS: &str = "ALTER TABLE t ADD d date DEFAULT '2026-03-02', ADD ts timestamp DEFAULT '2026-03-02 10:00', \
    ADD tz timestamptz DEFAULT '2026-03-02 10:00Z', ADD iv interval DEFAULT '-1 mon 2 days 03:00', \
    ADD f8 float8 DEFAULT 0.1234567890123456, ADD f4 float4 DEFAULT 1e-45, ADD ba bytea DEFAULT '\\x005c27ff', \
    ADD p pt DEFAULT ROW(1, 'x \"y'), ADD ms mood[] DEFAULT '{\"b c\",a}', ADD ia ia DEFAULT '{1,2}', \
    ADD r int4range DEFAULT '[1,5)', ADD tr tstzrange DEFAULT '[\"2026-03-02 10:00Z\",)', ADD i inet DEFAULT '10.0.0.1/8', \
    ADD b bit(3) DEFAULT B'101', ADD x xml DEFAULT '<a/>', ADD ch char(5) DEFAULT 'ab', \
    ADD da date[] DEFAULT '{2026-03-02,infinity}', ADD tt timetz DEFAULT '10:00+03', ADD pp point DEFAULT '(0.1,1e-7)', \
    ADD fa float8[] DEFAULT '{0.1234567890123456,NULL}', ADD iva interval[] DEFAULT '{-1 mon 2 days}', \
    ADD js jsonb DEFAULT '\"q\\\\u00e9\"'; INSERT INTO t (id) VALUES (1000)";

#[tokio::test]
async fn what_rows_have_in_new_columns_is_read_alike_however_a_database_writes_it() {
    let schema = "ALTER DATABASE postgres SET datestyle = 'sql, dmy'; ALTER DATABASE postgres SET intervalstyle = 'sql_standard'; \
        ALTER DATABASE postgres SET bytea_output = 'escape'; ALTER DATABASE postgres SET extra_float_digits = -8; \
        ALTER DATABASE postgres SET timezone = 'Asia/Tokyo'; \
        CREATE TYPE pt AS (a integer, b text); CREATE TYPE mood AS ENUM ('a', 'b c'); CREATE DOMAIN ia AS integer[]";
    arrives(&format!("{schema}; {TABLE}"), &[DEFAULTS]).await;
}

const FILTERED: &str = "CREATE TABLE t (id integer, region text, doc text, n integer, PRIMARY KEY (id, region)); \
    INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END, 'd', i FROM generate_series(1, 2000) i";

#[tokio::test]
async fn rows_come_into_a_filter_and_leave_it_between_alterations_and_what_is_rolled_back() {
    let change = "BEGIN; UPDATE t SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END; SAVEPOINT s; ALTER TABLE t ADD z text; \
        UPDATE t SET z = repeat('x', 300), region = 'eu'; ROLLBACK TO s; ALTER TABLE t ADD z integer DEFAULT 4; \
        UPDATE t SET n = n + 1; UPDATE t SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE n % 3 = 0; \
        ALTER TABLE t RENAME n TO m; UPDATE t SET id = id + 5000 WHERE m % 5 = 0; SAVEPOINT q; TRUNCATE t; ROLLBACK TO q; COMMIT";
    for role in ROLES {
        for streamed in ["", STREAMED] {
            let journey = Journey::of(role, &format!("{FILTERED}; {streamed}"), &["t"]).await;
            let mut journey = journey.filtered("t", ("region", "eu"), "region = 'eu'");
            journey.arrives(&[change, "UPDATE t SET region = 'us' WHERE z = 4 AND id % 4 = 0"]).await;
        }
    }
}

/// All of it, in two large transactions.
const ALL: [&str; 2] = [
    "BEGIN; UPDATE t SET id = id + 10000 WHERE id < 10; \
     INSERT INTO t SELECT i, 'a', i, repeat('y', 500) FROM generate_series(100, 3000) i; SAVEPOINT s; TRUNCATE t; \
     INSERT INTO t SELECT i, 'b', i, repeat('z', 500) FROM generate_series(1, 2000) i; ROLLBACK TO s; \
     ALTER TABLE t ADD z integer DEFAULT 4; UPDATE t SET z = 5, id = -id WHERE id < 60; SAVEPOINT q; ALTER TABLE t DROP note; \
     UPDATE t SET n = 0; ROLLBACK TO q; ALTER TABLE t ALTER note TYPE text; \
     UPDATE t SET note = repeat('w', 300) WHERE id % 2 = 0; ALTER TABLE t RENAME n TO m; DELETE FROM t WHERE id % 7 = 0; \
     ALTER TABLE t RENAME z TO n; UPDATE t SET n = 6 WHERE id % 11 = 0; COMMIT",
    "BEGIN; INSERT INTO t SELECT i, 'a', i, repeat('y', 500), 1 FROM generate_series(20000, 23000) i; TRUNCATE t; \
     INSERT INTO t SELECT i, 'a', i, repeat('y', 500), 1 FROM generate_series(20000, 23000) i; SAVEPOINT s; \
     ALTER TABLE t DROP n; ALTER TABLE t ADD n integer DEFAULT 3; \
     INSERT INTO t SELECT i, 'a', i, repeat('y', 500), 1 FROM generate_series(30000, 33000) i; ROLLBACK TO s; \
     UPDATE t SET id = id + 1 WHERE id = 23000; COMMIT",
];

#[tokio::test]
async fn a_large_transaction_of_all_of_it_arrives_whole() {
    for role in ROLES {
        for streamed in ["", STREAMED] {
            Journey::of(role, &format!("{TABLE}; {streamed}"), &["t"]).await.arrives(&ALL).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_are_killed_in_the_middle_of_it_leave_nothing_and_do_nothing_twice() {
    for role in ROLES {
        for streamed in ["", STREAMED] {
            let mut journey = Journey::of(role, &format!("{TABLE}; {streamed}"), &["t"]).await;
            journey.load().await;
            for change in ALL {
                journey.change(change).await;
                for time in [120, 180, 240, 300, 360] {
                    journey.is_killed_after(Duration::from_millis(time)).await;
                }
                journey.follow("SELECT").await.1.unwrap();
            }
            let (run, outcome) = journey.follow("UPDATE t SET m = m + 1 WHERE id % 2 = 0").await;
            outcome.unwrap();
            assert_eq!(shown(&run, "t"), (TableState::Live, String::new()), "{role} {streamed}");
            journey.assert_equal("all of it").await;
        }
    }
}
