//! Tables of which only the mapped columns are published, together with filters, generated columns, large values,
//! partitions, and rows and alterations that are rolled back.

use wavemark_domain::layout::ColumnPolicy;
use wavemark_domain::task::{PublishedColumns, TaskSettings};

use crate::support::journey::{Journey, ROLES};

const STREAMED: &str = "ALTER ROLE postgres SET logical_decoding_work_mem = '64kB'";

fn mapped() -> TaskSettings {
    let (published_columns, added_columns) = (PublishedColumns::Mapped, ColumnPolicy::Ignore);
    TaskSettings { published_columns, added_columns, ..TaskSettings::default() }
}

/// Without column `doc`.
async fn arrives(schema: &str, changes: &[&str]) {
    for role in ROLES {
        for streamed in ["", STREAMED] {
            let journey = Journey::of(role, &format!("{schema}; {streamed}"), &["t"]).await;
            journey.without("doc").with(mapped()).arrives(changes).await;
        }
    }
}

#[tokio::test]
async fn generated_columns_and_those_that_are_left_out_come_and_go_around_listed_ones() {
    let schema = "CREATE TABLE t (id integer PRIMARY KEY, doc integer, g integer GENERATED ALWAYS AS (n * 2) STORED, n integer, \
            big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; \
        INSERT INTO t (id, doc, n, big) SELECT n, -n, n, repeat('b', 4000) FROM generate_series(1, 50) n";
    let changes = [
        "BEGIN; UPDATE t SET id = id + 100 WHERE id < 10; UPDATE t SET doc = 7, n = n + 1 WHERE id > 40; DELETE FROM t WHERE id = 30; \
         SAVEPOINT s; ALTER TABLE t DROP doc; ALTER TABLE t ADD doc text; UPDATE t SET doc = 'x', n = 0; ROLLBACK TO s; \
         UPDATE t SET n = -n, id = -id WHERE id < 20; COMMIT",
        "ALTER TABLE t DROP doc; UPDATE t SET n = 8 WHERE id = 20; ALTER TABLE t ADD doc date DEFAULT '2026-01-01'; \
         UPDATE t SET n = 9, id = 2100 WHERE id = 21; INSERT INTO t (id, n) VALUES (3000, 1)",
        "TRUNCATE t; INSERT INTO t (id, doc, n, big) SELECT n, '2026-01-01', n, repeat('c', 3000) FROM generate_series(1, 3000) n; \
         UPDATE t SET id = id + 1 WHERE id = 3000",
    ];
    arrives(schema, &changes).await;
}

#[tokio::test]
async fn partitions_of_other_shapes_send_what_is_listed() {
    let schema = "CREATE TABLE t (id integer, region text, doc text, n integer, big text, PRIMARY KEY (id, region)) \
            PARTITION BY LIST (region); \
        CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a'); \
        CREATE TABLE t_b (big text, doc text, gone integer, n integer, region text NOT NULL, id integer NOT NULL); \
        ALTER TABLE t_b DROP gone; ALTER TABLE t ATTACH PARTITION t_b FOR VALUES IN ('b'); \
        ALTER TABLE t_a ALTER big SET STORAGE EXTERNAL; ALTER TABLE t_b ALTER big SET STORAGE EXTERNAL; \
        INSERT INTO t SELECT n, CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END, 'd', n, repeat('b', 4000) FROM generate_series(1, 60) n";
    let changes = [
        "BEGIN; UPDATE t SET region = CASE region WHEN 'a' THEN 'b' ELSE 'a' END WHERE id % 3 = 0; UPDATE t SET doc = 'e'; \
         UPDATE t SET n = -n, id = id + 1000 WHERE id % 4 = 0; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT",
        "UPDATE t SET region = 'a', big = 'short' WHERE region = 'b' AND id < 20; DELETE FROM t WHERE id = 40",
    ];
    arrives(schema, &changes).await;
}

#[tokio::test]
async fn filters_and_lists_go_together() {
    let schema = "CREATE TABLE t (doc text, id integer, region text, n integer, big text, PRIMARY KEY (id, region)); \
        INSERT INTO t SELECT 'd', n, CASE n % 2 WHEN 0 THEN 'eu' ELSE 'us' END, n, 'b' FROM generate_series(1, 2000) n";
    let changes = [
        "BEGIN; UPDATE t SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE id % 3 = 0; \
         UPDATE t SET doc = repeat('e', 100); SAVEPOINT s; ALTER TABLE t DROP doc; UPDATE t SET region = 'us', n = 5; ROLLBACK TO s; \
         UPDATE t SET id = id + 5000 WHERE id % 5 = 0; UPDATE t SET n = 1 WHERE region = 'eu' AND id % 7 = 0; COMMIT",
        "ALTER TABLE t DROP doc; UPDATE t SET region = 'us' WHERE id < 100; UPDATE t SET region = 'eu' WHERE id BETWEEN 50 AND 60",
    ];
    for role in ROLES {
        for streamed in ["", STREAMED] {
            let journey = Journey::of(role, &format!("{schema}; {streamed}"), &["t"]).await;
            let journey = journey.filtered("t", ("region", "eu"), "region = 'eu'");
            journey.without("doc").with(mapped()).arrives(&changes).await;
        }
    }
}
