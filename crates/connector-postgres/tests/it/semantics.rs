//! What the log says and doesn't say: whatever it is, source and target are equal.

use wavemark_domain::Fault;
use wavemark_domain::task::{PartitionPolicy, TaskKind, TaskSettings};

use crate::support::Cluster;
use crate::support::pair::{Pair, rows_of};
use crate::support::run::{told, until};
use crate::support::task;
use crate::support::task::{Fixture, Gathered};

/// Values too large for a row's own place: an update that leaves them alone leaves them out of the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_that_an_update_leaves_alone_stay_as_they_are() {
    let pair = Pair::start(&[]).await;
    let identities = ["DEFAULT", "USING INDEX large_key", "FULL"];
    let mut names = Vec::new();
    for (at, identity) in identities.iter().enumerate() {
        let name = format!("large{at}");
        let sql = format!(
            "CREATE TABLE {name} (id integer, other integer NOT NULL, note text, long text, list text[], doc jsonb, \
             PRIMARY KEY (id)); CREATE UNIQUE INDEX large_key{at} ON {name} (other, id); \
             ALTER TABLE {name} ALTER long SET STORAGE EXTERNAL, ALTER list SET STORAGE EXTERNAL, \
             ALTER doc SET STORAGE EXTERNAL; ALTER TABLE {name} REPLICA IDENTITY {}; \
             INSERT INTO {name} SELECT n, n, 'a', repeat(n::text, 9000), ARRAY[repeat('l', 9000), NULL], \
             jsonb_build_object('k', repeat('d', 9000)) FROM generate_series(1, 300) n",
            identity.replace("large_key", &format!("large_key{at}"))
        );
        pair.source.batch_execute(&sql).await.unwrap();
        names.push(name);
    }
    let each = |sql: &str| names.iter().map(|name| sql.replace("TABLE", name)).collect::<Vec<_>>().join("; ");
    let changes = [
        each("UPDATE TABLE SET note = 'b' WHERE id <= 50"),
        each("UPDATE TABLE SET id = id + 1000 WHERE id BETWEEN 20 AND 40"),
        each("UPDATE TABLE SET other = other + 1000, long = 'short' WHERE id BETWEEN 41 AND 60"),
        each(
            "BEGIN; INSERT INTO TABLE VALUES (5000, 5000, 'new', repeat('n', 9000)); UPDATE TABLE SET note = 'newer' \
              WHERE id = 5000; UPDATE TABLE SET id = 5001 WHERE id = 5000; COMMIT",
        ),
        each("UPDATE TABLE SET note = NULL WHERE id > 200"),
        each("UPDATE TABLE SET doc = doc || '{\"x\": 1}', list = list || '{y}' WHERE id BETWEEN 100 AND 110"),
        each("DELETE FROM TABLE WHERE id BETWEEN 1025 AND 1030"),
        each(
            "BEGIN; UPDATE TABLE SET note = 'c' WHERE id = 1; UPDATE TABLE SET long = repeat('z', 9000) WHERE id = 1; \
              UPDATE TABLE SET note = 'd' WHERE id = 1; COMMIT",
        ),
    ];
    let tables: Vec<&str> = names.iter().map(String::as_str).collect();
    pair.copies(&tables, &changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// A value of a type that an extension brings, alone and in a list, is as large as others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_of_an_extensions_type_that_an_update_leaves_alone_stay_as_they_are() {
    let pair = Pair::start(&[]).await;
    for client in [&pair.source, &pair.mart] {
        client.batch_execute("CREATE EXTENSION hstore").await.unwrap();
    }
    let large = |key: &str| format!("hstore('{key}', repeat('{key}', 9000)) || hstore(n::text, NULL)");
    for (name, identity) in [("by_key", "DEFAULT"), ("by_row", "FULL")] {
        let sql = format!(
            "CREATE TABLE {name} (id integer PRIMARY KEY, note text, of hstore, list hstore[]); \
             ALTER TABLE {name} ALTER of SET STORAGE EXTERNAL, ALTER list SET STORAGE EXTERNAL, REPLICA IDENTITY {identity}; \
             INSERT INTO {name} SELECT n, 'a', {}, ARRAY[{}, NULL, ''] FROM generate_series(1, 300) n",
            large("k"),
            large("l"),
        );
        pair.source.batch_execute(&sql).await.unwrap();
    }
    let each = |sql: &str| ["by_key", "by_row"].map(|name| sql.replace("TABLE", name)).join("; ");
    let changes = [
        each("UPDATE TABLE SET note = 'b' WHERE id <= 5"),
        each("UPDATE TABLE SET note = 'c', list = list || 'x=>1'::hstore WHERE id BETWEEN 6 AND 9"),
        each("UPDATE TABLE SET id = id + 1000 WHERE id BETWEEN 3 AND 7"),
        each("UPDATE TABLE SET of = of || 'more=>\"1, 2\"'::hstore WHERE id BETWEEN 10 AND 12"),
        each("UPDATE TABLE SET note = 'd' WHERE id > 20"),
        each(
            "BEGIN; UPDATE TABLE SET of = delete(of, 'k') WHERE id = 13; UPDATE TABLE SET note = 'e' WHERE id = 13; COMMIT",
        ),
        each("BEGIN; UPDATE TABLE SET id = 2000 WHERE id = 14; UPDATE TABLE SET note = 'f' WHERE id = 2000; COMMIT"),
        each("DELETE FROM TABLE WHERE id BETWEEN 1003 AND 1004"),
    ];
    pair.copies(&["by_key", "by_row"], &changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let kept = "SELECT count(*) FROM by_key WHERE length(of -> 'k') = 9000 AND length(list[1] -> 'l') = 9000";
    assert_eq!(pair.mart.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 297, "all but two and one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_identity_may_be_any_index_and_change_while_it_is_followed() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE turned (a integer, b text NOT NULL, c integer NOT NULL, d text, PRIMARY KEY (c, a) INCLUDE (d)); \
             CREATE UNIQUE INDEX turned_index ON turned (b, a, c); \
             CREATE TABLE indexed (a integer, b text NOT NULL, c integer NOT NULL, d text); \
             CREATE UNIQUE INDEX indexed_index ON indexed (c, b); ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_index; \
             INSERT INTO turned SELECT n, n::text, -n, 'd' FROM generate_series(1, 100) n; \
             INSERT INTO indexed SELECT n, n::text, -n, 'd' FROM generate_series(1, 100) n",
        )
        .await
        .unwrap();
    let work = |from: usize| {
        format!(
            "UPDATE turned SET d = 'e' WHERE a = {from}; UPDATE turned SET c = c - 1000 WHERE a = {from} + 1; \
             UPDATE turned SET b = 'other' WHERE a = {from} + 2; DELETE FROM turned WHERE a = {from} + 3; \
             UPDATE indexed SET d = NULL WHERE a = {from}; UPDATE indexed SET b = b || 'x' WHERE a = {from} + 1; \
             UPDATE indexed SET a = NULL WHERE a = {from} + 2; DELETE FROM indexed WHERE a = {from} + 3"
        )
    };
    let changes = [
        work(1),
        "ALTER TABLE turned REPLICA IDENTITY FULL; ALTER TABLE indexed REPLICA IDENTITY FULL".to_owned(),
        work(11),
        "ALTER TABLE turned REPLICA IDENTITY USING INDEX turned_index".to_owned(),
        work(21),
        format!("BEGIN; {}; ALTER TABLE turned REPLICA IDENTITY DEFAULT; {}; COMMIT", work(31), work(41)),
        "ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_index".to_owned(),
        work(51),
    ];
    pair.copies(&["turned", "indexed"], &changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// Where native replication stops: it compares rows by their types' `=`, and these have none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_key_are_found_by_all_of_their_values_also_by_those_without_equality() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE odd (j json, x xml, p point, l line, way path, c circle, b box, poly polygon, f double precision, \
             n numeric, t text, a json[], s character(4)); ALTER TABLE odd REPLICA IDENTITY FULL; \
             INSERT INTO odd SELECT '{\"a\":  1}', '<a/>', '(1,-0)', '{1,2,3}', '[(0,0),(1,1)]', '<(0,0),1>', '(1,1),(0,0)', \
             '((0,0),(1,1))', CASE n % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0' ELSE 1::double precision END, \
             CASE n % 2 WHEN 0 THEN 1.0 ELSE 1.00 END, (n / 4)::text, ARRAY['1'::json], 'ab' FROM generate_series(1, 40) n; \
             INSERT INTO odd (t) VALUES (NULL), (NULL), ('null')",
        )
        .await
        .unwrap();
    let changes = [
        "UPDATE odd SET t = 'changed' WHERE ctid IN (SELECT ctid FROM odd WHERE t = '3' LIMIT 2)",
        "UPDATE odd SET j = '{\"a\": 1}' WHERE ctid IN (SELECT ctid FROM odd WHERE t = '4' LIMIT 1)",
        "DELETE FROM odd WHERE ctid IN (SELECT ctid FROM odd WHERE t = '5' LIMIT 3)",
        "DELETE FROM odd WHERE ctid IN (SELECT ctid FROM odd WHERE t IS NULL LIMIT 1)",
        "UPDATE odd SET n = 1.000 WHERE f = 'NaN'",
        "UPDATE odd SET f = 0 WHERE f = 0",
        "INSERT INTO odd SELECT * FROM odd WHERE t = '6'",
        "DELETE FROM odd WHERE t = '7'",
    ];
    pair.copies(&["odd"], &changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_move_onto_each_other_arrive_in_the_end_where_they_belong() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE swapped (id integer PRIMARY KEY, code text UNIQUE, v integer, \
             shadow integer GENERATED ALWAYS AS (v * 2) STORED); \
             INSERT INTO swapped (id, code, v) SELECT n, 'c' || n, n FROM generate_series(1, 500) n; \
             CREATE TABLE ranked (id integer PRIMARY KEY, rank integer, CONSTRAINT once UNIQUE (rank) DEFERRABLE); \
             INSERT INTO ranked SELECT n, n FROM generate_series(1, 300) n; \
             CREATE TABLE always (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text); \
             INSERT INTO always (v) VALUES ('a'), ('b')",
        )
        .await
        .unwrap();
    let changes = [
        "BEGIN; UPDATE swapped SET id = -1 WHERE id = 1; UPDATE swapped SET id = 1 WHERE id = 2; \
         UPDATE swapped SET id = 2 WHERE id = -1; COMMIT",
        "BEGIN; UPDATE swapped SET code = 'free' WHERE id = 3; UPDATE swapped SET code = 'c3' WHERE id = 4; \
         UPDATE swapped SET code = 'c4' WHERE id = 3; COMMIT",
        "UPDATE swapped SET id = id - 10000",
        "UPDATE swapped SET v = v",
        "BEGIN; DELETE FROM swapped WHERE id = -9990; INSERT INTO swapped VALUES (-9990, 'back', 1); COMMIT",
        "BEGIN; INSERT INTO swapped VALUES (7, 'seven', 7); UPDATE swapped SET id = 8 WHERE id = 7; \
         DELETE FROM swapped WHERE id = 8; INSERT INTO swapped VALUES (7, 'seven', 8); COMMIT",
        "BEGIN; SET CONSTRAINTS once DEFERRED; UPDATE ranked SET rank = 301 - rank; COMMIT",
        "BEGIN; SET CONSTRAINTS once DEFERRED; UPDATE ranked SET rank = CASE id WHEN 1 THEN (SELECT rank FROM ranked WHERE id = 2) \
         ELSE (SELECT rank FROM ranked WHERE id = 1) END WHERE id IN (1, 2); COMMIT",
        "INSERT INTO always (v) VALUES ('c'); INSERT INTO always OVERRIDING SYSTEM VALUE VALUES (100, 'd'); \
         UPDATE always SET v = 'e' WHERE id = 1; UPDATE always SET id = DEFAULT WHERE id = 2",
    ];
    pair.copies(&["swapped", "ranked", "always"], &changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_emptied_alone_together_and_with_those_that_refer_to_them() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE parent (id serial PRIMARY KEY, v text); \
             CREATE TABLE child (id serial PRIMARY KEY, parent integer REFERENCES parent (id)); \
             CREATE TABLE third (id integer PRIMARY KEY); CREATE TABLE outsider (parent integer REFERENCES parent (id)); \
             INSERT INTO parent (v) SELECT 'a' FROM generate_series(1, 50); INSERT INTO child (parent) SELECT n FROM generate_series(1, 50) n; \
             INSERT INTO third SELECT generate_series(1, 50)",
        )
        .await
        .unwrap();
    let fill = "INSERT INTO parent (v) SELECT 'again' FROM generate_series(1, 9); \
                INSERT INTO child (parent) SELECT id FROM parent; INSERT INTO third SELECT generate_series(100, 120) ON CONFLICT DO NOTHING";
    let changes = [
        "TRUNCATE child, third",
        fill,
        "TRUNCATE parent CASCADE",
        fill,
        "BEGIN; INSERT INTO third VALUES (1); TRUNCATE third; INSERT INTO third VALUES (2); TRUNCATE parent, child RESTART IDENTITY CASCADE; \
         INSERT INTO parent (v) VALUES ('first'); COMMIT",
        "BEGIN; TRUNCATE parent CASCADE; ROLLBACK",
        "BEGIN; SAVEPOINT s; TRUNCATE third; ROLLBACK TO s; INSERT INTO third VALUES (3); COMMIT",
    ];
    pair.copies(&["parent", "child", "third"], &changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn savepoints_messages_and_origins_between_rows_change_nothing() {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); \
             SELECT pg_replication_origin_create('elsewhere')",
        )
        .await
        .unwrap();
    let changes = [
        "BEGIN; INSERT INTO t VALUES (2, 'b'); SELECT pg_logical_emit_message(true, 'app', 'inside'); \
         SELECT pg_logical_emit_message(false, 'app', 'beside'); INSERT INTO t VALUES (3, 'c'); COMMIT",
        "BEGIN; SAVEPOINT a; INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(100, 3000) n; SAVEPOINT b; \
         UPDATE t SET v = 'gone' WHERE id > 100; SELECT pg_logical_emit_message(true, 'app', 'lost'); ROLLBACK TO b; \
         DELETE FROM t WHERE id BETWEEN 200 AND 300; RELEASE a; SAVEPOINT c; TRUNCATE t; ROLLBACK TO c; \
         INSERT INTO t VALUES (5000, 'kept'); COMMIT",
        "SELECT pg_replication_origin_session_setup('elsewhere')",
        "BEGIN; INSERT INTO t VALUES (4, 'd'); SELECT pg_replication_origin_xact_setup('0/1', now()); \
         UPDATE t SET v = 'e' WHERE id = 4; COMMIT",
        "SELECT pg_replication_origin_session_reset()",
        "BEGIN; INSERT INTO t SELECT n, repeat('y', 100) FROM generate_series(10000, 13000) n; ROLLBACK",
        "DO $$ BEGIN FOR n IN 1..200 LOOP BEGIN INSERT INTO t VALUES (20000 + n, 'n'); IF n % 3 = 0 THEN \
         RAISE EXCEPTION 'back'; END IF; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$",
    ];
    pair.copies(&["t"], &changes).await;
}

/// Each row has the origin of its moment, its transaction that of its end: nothing is asked about either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_comes_and_goes_within_a_transaction_takes_no_rows_along() {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); \
             SELECT pg_replication_origin_create('elsewhere'), pg_replication_origin_create('another')",
        )
        .await
        .unwrap();
    let changes = [
        "BEGIN; INSERT INTO t VALUES (2, 'before'); SELECT pg_replication_origin_session_setup('elsewhere'); \
         INSERT INTO t VALUES (3, 'within'); UPDATE t SET v = 'b' WHERE id = 1; SELECT pg_replication_origin_session_reset(); \
         INSERT INTO t VALUES (4, 'after'); COMMIT",
        "BEGIN; SELECT pg_replication_origin_session_setup('elsewhere'); INSERT INTO t VALUES (5, 'within'); \
         SELECT pg_replication_origin_session_reset(); SELECT pg_replication_origin_session_setup('another'); \
         INSERT INTO t VALUES (6, 'within another'); SAVEPOINT a; INSERT INTO t VALUES (7, 'gone'); ROLLBACK TO a; \
         SELECT pg_replication_origin_session_reset(); DELETE FROM t WHERE id = 2; COMMIT",
        // It is there at the end alone, of rows that are streamed before.
        "BEGIN; INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1000, 4000) n; \
         SELECT pg_replication_origin_session_setup('elsewhere'); UPDATE t SET v = 'y' WHERE id % 3 = 0; COMMIT",
        // It is there at the beginning alone.
        "BEGIN; INSERT INTO t SELECT n, repeat('z', 100) FROM generate_series(5000, 8000) n; \
         SELECT pg_replication_origin_session_reset(); DELETE FROM t WHERE id % 7 = 0; COMMIT",
        "BEGIN; SELECT pg_replication_origin_session_setup('elsewhere'); TRUNCATE t; \
         SELECT pg_replication_origin_session_reset(); INSERT INTO t VALUES (8, 'last'); COMMIT",
    ];
    pair.copies(&["t"], &changes).await;
    assert_eq!(rows_of(&pair.mart, "t").await, ["(8,last)"]);
}

/// The log has the rows of COPY many to a record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_came_by_copy_arrive_each_once() {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, v text, long text, made integer GENERATED ALWAYS AS (id * 2) STORED); \
             ALTER TABLE t ALTER long SET STORAGE EXTERNAL; \
             CREATE TABLE whole (id integer, v text, long text); ALTER TABLE whole REPLICA IDENTITY FULL; \
             CREATE TABLE parts (id integer PRIMARY KEY, v text, long text) PARTITION BY RANGE (id); \
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (2500); \
             CREATE TABLE parts_2 (long text, v text, id integer NOT NULL); \
             ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (2500) TO (MAXVALUE)",
        )
        .await
        .unwrap();
    // Some rows are too large for a page and stand among small ones.
    let file = |name: &str, first: usize, last: usize| {
        let long = |n: usize| if n.is_multiple_of(97) { "l".repeat(9000) } else { "\\N".to_owned() };
        let rows: Vec<String> = (first..=last).map(|n| format!("{n}\tv{n}\t{}\n", long(n))).collect();
        pair.cluster.write(name, &rows.concat()).display().to_string()
    };
    let (few, many, others) = (file("few", 1, 3), file("many", 100, 5000), file("others", 6000, 6300));
    let never = file("never", 9000, 9500);
    let all =
        |file: &str| format!("COPY t (id, v, long) FROM '{file}'; COPY whole FROM '{file}'; COPY parts FROM '{file}'");
    let each = |sql: &str| ["t", "whole", "parts"].map(|name| sql.replace("TABLE", name)).join("; ");
    let changes = [
        all(&few),
        all(&many),
        each("UPDATE TABLE SET v = 'updated' WHERE id % 10 = 0; DELETE FROM TABLE WHERE id BETWEEN 200 AND 300"),
        format!(
            "BEGIN; {}; SAVEPOINT a; {}; {}; ROLLBACK TO a; {}; SAVEPOINT b; {}; RELEASE b; COMMIT",
            each("DELETE FROM TABLE WHERE id >= 100"),
            all(&many),
            all(&others),
            all(&others),
            each("UPDATE TABLE SET v = 'again' WHERE id % 2 = 0"),
        ),
        format!("BEGIN; SAVEPOINT a; {}; ROLLBACK TO a; COMMIT", all(&many)),
        // Rows that are written as old ones, for nobody saw the table before.
        format!(
            "BEGIN; TRUNCATE t, whole; COPY t (id, v, long) FROM '{many}' (FREEZE); COPY whole FROM '{few}' (FREEZE); COMMIT"
        ),
        format!("BEGIN; {}; ROLLBACK", all(&never)),
    ];
    pair.copies(&["t", "whole", "parts"], &changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let counts =
        "SELECT concat_ws(' ', (SELECT count(*) FROM t), (SELECT count(*) FROM whole), (SELECT count(*) FROM parts))";
    assert_eq!(pair.mart.query_one(counts, &[]).await.unwrap().get::<_, String>(0), "4901 3 304");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_every_kind_are_quoted_everywhere() {
    let pair = Pair::start(&[]).await;
    let long = "n".repeat(63);
    let names = [
        "Upper Case",
        "quote\"d",
        "dot.ted",
        "da-sh",
        "?",
        "select",
        "back\\slash",
        &long,
        "emoji 😀",
        "per%cent $1 :x",
    ];
    let mut tables = Vec::new();
    let mut changes = Vec::new();
    for name in names {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let sql = format!(
            "CREATE TABLE {quoted} ({quoted} integer PRIMARY KEY, \"a\" text, \"A\" text, \"a.b\" text UNIQUE); \
             INSERT INTO {quoted} SELECT n, 'a', 'A', n FROM generate_series(1, 150) n"
        );
        pair.source.batch_execute(&sql).await.unwrap();
        changes.push(format!(
            "INSERT INTO {quoted} SELECT n, 'a', 'A', n FROM generate_series(200, 500) n; \
             UPDATE {quoted} SET \"A\" = 'x' WHERE {quoted} < 140; DELETE FROM {quoted} WHERE {quoted} % 7 = 0; \
             UPDATE {quoted} SET {quoted} = 9000 WHERE {quoted} = 1"
        ));
        tables.push((name, quoted));
    }
    let plain: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
    let quoted: Vec<&str> = tables.iter().map(|(_, quoted)| quoted.as_str()).collect();
    pair.copies_as(&plain, &quoted, &changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_table_is_one_table_whatever_its_partitions_do() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE sales (id integer, region text, amount integer, at date, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
             CREATE TABLE sales_n PARTITION OF sales FOR VALUES IN ('n'); \
             CREATE TABLE other_order (at date, amount integer, region text NOT NULL, id integer NOT NULL, PRIMARY KEY (id, region)); \
             ALTER TABLE sales ATTACH PARTITION other_order FOR VALUES IN ('s'); \
             CREATE TABLE sales_e PARTITION OF sales FOR VALUES IN ('e') PARTITION BY RANGE (id); \
             CREATE TABLE sales_e1 PARTITION OF sales_e FOR VALUES FROM (0) TO (1000); \
             CREATE TABLE sales_e2 PARTITION OF sales_e FOR VALUES FROM (1000) TO (2000); \
             INSERT INTO sales SELECT n, (ARRAY['n', 's', 'e'])[n % 3 + 1], n, '2024-01-01' FROM generate_series(1, 1500) n",
        )
        .await
        .unwrap();
    let changes = [
        "UPDATE sales SET amount = -amount WHERE id < 100",
        "UPDATE sales SET region = 'n' WHERE region = 's' AND id < 300",
        "UPDATE sales SET id = id + 1 WHERE region = 'e' AND id = 998",
        "UPDATE sales SET id = id + 500 WHERE region = 'e' AND id BETWEEN 100 AND 700",
        "CREATE TABLE sales_w PARTITION OF sales FOR VALUES IN ('w'); INSERT INTO sales VALUES (1, 'w', 1, NULL)",
        "BEGIN; CREATE TABLE sales_x (LIKE sales INCLUDING ALL); ALTER TABLE sales ATTACH PARTITION sales_x FOR VALUES IN ('x'); \
         INSERT INTO sales SELECT n, 'x', n FROM generate_series(1, 200) n; COMMIT",
        "INSERT INTO sales_n VALUES (5000, 'n', 1, NULL); UPDATE other_order SET amount = 7; DELETE FROM sales_e1 WHERE id % 2 = 0",
        "DELETE FROM sales WHERE region = 'x' AND id > 100",
    ];
    pair.copies(&["sales"], &changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_is_inherited_from_has_its_own_rows_alone() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE base (id integer PRIMARY KEY, v text); CREATE TABLE heir (more text, PRIMARY KEY (id)) INHERITS (base); \
             INSERT INTO base VALUES (1, 'base'), (2, 'base'); INSERT INTO heir VALUES (1, 'heir', 'm'), (3, 'heir', 'm')",
        )
        .await
        .unwrap();
    let changes = [
        "UPDATE base SET v = v || '!'",
        "INSERT INTO heir VALUES (4, 'heir', NULL); INSERT INTO base VALUES (4, 'base')",
        "DELETE FROM ONLY base WHERE id = 2; DELETE FROM base WHERE id = 3",
        "BEGIN; TRUNCATE ONLY base; INSERT INTO base VALUES (9, 'new'); COMMIT",
    ];
    pair.copies_as(&["base", "heir"], &["ONLY base", "heir"], &changes).await;
}

/// What ends each table `sales` when its statements are run at the source, one transaction after the other; none if it
/// goes on.
async fn ends_by(cases: &[&[&str]], policy: PartitionPolicy) -> Vec<Option<String>> {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql("create table calm (id int primary key)");
    // In the place of `sales` each case has a table of its own.
    let own = |at: usize, sql: &str| sql.replace("sales", &format!("sales{at}"));
    for at in 0..cases.len() {
        cluster.sql(&own(
            at,
            "create table sales (id int, region text, primary key (id, region)) partition by list (region); \
             create table sales_n partition of sales for values in ('n'); \
             create table sales_s partition of sales for values in ('s') partition by range (id); \
             create table sales_s1 partition of sales_s for values from (0) to (1000); \
             insert into sales select n, case n % 2 when 0 then 'n' else 's' end from generate_series(1, 100) n",
        ));
    }
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings.idle_seconds = 1;
    fixture.task.settings.partition_removals = policy;
    let names: Vec<String> = (0..cases.len()).map(|at| own(at, "sales")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("calm");
    let plan = fixture.plan(&names).await;
    let from = fixture.begin(&plan).await.position().clone();
    let mut reader = fixture.follow(&plan, &from).await;
    for (at, case) in cases.iter().enumerate() {
        case.iter().for_each(|sql| drop(cluster.sql(&own(at, sql))));
    }
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    reader.heartbeat(std::time::Duration::ZERO).await.unwrap();
    // Whatever became of the tables, the others go on and the log is followed to its end.
    cluster.sql("insert into calm values (1)");
    cluster.sql("insert into calm values (2)");
    let is_calm = |found: &Gathered| found.changes().contains(&"+calm 2");
    let found = Gathered::default().until(&mut reader, &plan, 1 << 20, is_calm).await;
    let mut ends = vec![None; cases.len()];
    for (table, problem) in found.barriers {
        let is_dropped = problem.text.ends_with("it was dropped.");
        assert_eq!(problem.code, if is_dropped { "table-dropped" } else { "table-changed" });
        let (_, what) = problem.text.split_once(" was changed at the source: ").unwrap();
        let before = ends[table.index()].replace(what.replace(&own(table.index(), "sales"), "sales"));
        assert_eq!(before, None, "a table ends once");
    }
    ends
}

async fn assert_ends(cases: &[(&[&str], Option<&str>)], policy: PartitionPolicy) {
    let statements: Vec<&[&str]> = cases.iter().map(|(statements, _)| *statements).collect();
    for ((statements, expected), found) in cases.iter().zip(ends_by(&statements, policy).await) {
        assert_eq!(found.as_deref(), *expected, "{statements:?}");
    }
}

const DROPPED: Option<&str> = Some("its partition public.sales_n was detached or dropped with its rows.");
const BROUGHT: Option<&str> = Some("its partition public.sales_x was attached with rows that it had before.");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_or_comes_with_a_partition_is_noticed_though_the_log_says_nothing() {
    let make = "create table sales_x (like sales including all)";
    let attach = "alter table sales attach partition sales_x for values in ('x')";
    let at_once = format!("{make}; insert into sales_x values (1, 'x'); {attach}; insert into sales values (2, 'x')");
    let unpublish = "do $$ declare p name; begin select pubname into p from pg_publication; \
                     execute format('alter publication %I drop table sales', p); end $$";
    let inner = Some("its partition public.sales_s1 was detached or dropped with its rows.");
    let emptied = Some("its partition public.sales_s1 was truncated by itself.");
    let unlogged = "create unlogged table sales_u partition of sales for values in ('u')";
    let swap =
        "alter table sales rename to sales_old; create table sales (id int, region text, primary key (id, region))";
    let elsewhere = "create schema if not exists elsewhere; alter table sales set schema elsewhere";
    let cases: [(&[&str], Option<&str>); 17] = [
        (&["drop table sales_n"], DROPPED),
        (&["alter table sales detach partition sales_n"], DROPPED),
        (&["alter table sales detach partition sales_n concurrently"], DROPPED),
        (&["alter table sales detach partition sales_s"], inner),
        (&["truncate sales_s1"], emptied),
        (&["vacuum full sales_n", "cluster sales_s1 using sales_s1_pkey"], None),
        (&["truncate sales", "insert into sales values (7, 'n')", "vacuum analyze sales"], None),
        (&["create table sales_w partition of sales for values in ('w'); insert into sales values (1, 'w')"], None),
        (&[make, attach, "insert into sales values (1, 'x')"], None),
        (&[make, "insert into sales_x values (1, 'x')", attach], BROUGHT),
        (&[&at_once], BROUGHT),
        (&[swap, "insert into sales values (1, 'n')"], Some("it is now named public.sales_old.")),
        (&[unlogged], Some("its partition public.sales_u is unlogged.")),
        (&["drop table sales"], Some("it was dropped.")),
        (&[elsewhere, "insert into elsewhere.sales values (7, 'n')"], Some("it is now named elsewhere.sales.")),
        (&[elsewhere], Some("it is now named elsewhere.sales.")),
        (&[unpublish], Some("it is not in the task's publication any more.")),
    ];
    assert_ends(&cases, PartitionPolicy::ParkTable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_leave_with_a_partition_may_stay_in_the_target() {
    let attached = "create table sales_x (like sales including all); insert into sales_x values (1, 'x'); \
                    alter table sales attach partition sales_x for values in ('x')";
    let cases: [(&[&str], Option<&str>); 3] =
        [(&["drop table sales_n"], None), (&["truncate sales_s1"], None), (&[attached], BROUGHT)];
    assert_ends(&cases, PartitionPolicy::KeepRows).await;
}

/// Only a table without a unique index can have such a partition. What goes into it is not in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_table_that_becomes_a_partition_ends_the_table() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(
        "create table calm (id int primary key); create table lines (region text, n int) partition by list (region); \
         create table lines_a partition of lines for values in ('a'); \
         alter table lines replica identity full; alter table lines_a replica identity full; \
         create extension file_fdw; create server files foreign data wrapper file_fdw",
    );
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings.idle_seconds = 1;
    let plan = fixture.plan(&["lines", "calm"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let mut reader = fixture.follow(&plan, &from).await;
    cluster.sql(
        "create foreign table lines_f partition of lines for values in ('f') server files options (filename '/nowhere')",
    );
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    reader.heartbeat(std::time::Duration::ZERO).await.unwrap();
    cluster.sql("insert into calm values (1)");
    cluster.sql("insert into calm values (2)");
    let is_calm = |found: &Gathered| found.changes().contains(&"+calm 2");
    let found = Gathered::default().until(&mut reader, &plan, 1 << 20, is_calm).await;
    let ends: Vec<&str> = found.barriers.iter().map(|(_, problem)| problem.text.as_str()).collect();
    assert_eq!(
        ends,
        ["Table public.lines was changed at the source: its partition public.lines_f is a foreign table."],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_nothing_in_the_log_is_refused_by_name() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(
        "create table plain (id int primary key); create unlogged table fast (id int primary key); \
         create table mixed (id int primary key) partition by range (id); \
         create unlogged table mixed_1 partition of mixed for values from (1) to (9); \
         create view seen as select 1 as id; create materialized view made as select 1 as id; \
         create extension file_fdw; create server files foreign data wrapper file_fdw; \
         create foreign table far (id int) server files options (filename '/nowhere')",
    );
    let fixture = Fixture::new(&cluster);
    let tables = fixture.source.tables(&|_| true).await.unwrap();
    let refused = |name: &str| {
        let table = tables.iter().find(|table| table.name.table == name).unwrap();
        fixture.source.refuses_to_follow(table).map(|problem| (problem.code, problem.advice.is_some()))
    };
    assert_eq!(refused("plain"), None);
    for name in ["fast", "mixed", "seen", "made", "far"] {
        assert_eq!(refused(name), Some(("table-refused".to_owned(), true)), "{name}");
    }
}

/// Versions before 18 end the stream with the next change; 18 says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_others_drop_ends_the_stream_and_loses_the_position() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql("create table t (id int primary key)");
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings.idle_seconds = 1;
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let mut reader = fixture.follow(&plan, &from).await;
    cluster.sql("do $$ declare p name; begin select pubname into p from pg_publication; execute format('drop publication %I', p); end $$");
    cluster.sql("insert into t values (1)");
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    reader.heartbeat(std::time::Duration::ZERO).await.unwrap();
    let ended = async {
        loop {
            match reader.next(1 << 20).await {
                Ok(read) => assert!(read.batch.changes().is_empty(), "nothing of the table can come"),
                Err(problem) => return problem,
            }
        }
    };
    let problem = tokio::time::timeout(task::PATIENCE, ended).await.unwrap();
    assert_eq!(problem.code, "log-interrupted", "{problem}");
    drop(reader);
    let problem = fixture.refused(&plan, &from).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::PositionLost, "publication-missing"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_columns_are_made_in_the_target_and_never_sent() {
    let pair = Pair::start(&[]).await;
    let version = pair.source.query_one("SELECT current_setting('server_version_num')::int4", &[]).await.unwrap();
    // Since version 18 a generated column may be made when it is read.
    let kind = if version.get::<_, i32>(0) >= 180_000 { "VIRTUAL" } else { "STORED" };
    let make = format!(
        "CREATE TABLE made (id integer PRIMARY KEY, a text, loud text GENERATED ALWAYS AS (upper(a)) STORED, b integer, \
         twice integer GENERATED ALWAYS AS (b * 2) {kind}, c integer); INSERT INTO made (id, a, b) SELECT n, 'x' || n, n \
         FROM generate_series(1, 200) n"
    );
    pair.source.batch_execute(&make).await.unwrap();
    let changes = [
        "UPDATE made SET a = a || 'y', b = b + 1 WHERE id < 150",
        "UPDATE made SET c = 7 WHERE id > 100",
        "INSERT INTO made (id, a, b, c) VALUES (1000, 'new', 5, NULL); UPDATE made SET id = 1001 WHERE id = 1000",
        "DELETE FROM made WHERE twice = 100",
    ];
    pair.copies(&["made"], &changes).await;
    let kinds = "SELECT string_agg(attgenerated::text, '' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'made'::regclass \
                 AND attgenerated <> ''";
    let of = async |client: &tokio_postgres::Client| -> String { client.query_one(kinds, &[]).await.unwrap().get(0) };
    assert_eq!(of(&pair.mart).await, of(&pair.source).await);
}

/// Since version 18 the server refuses to update a published table with whole old rows and generated columns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_a_publication_would_freeze_stay_writable() {
    let pair = Pair::start(&[]).await;
    let made = |name: &str| {
        format!(
            "CREATE TABLE {name} (id integer PRIMARY KEY, b integer, twice integer GENERATED ALWAYS AS (b * 2) STORED); \
             INSERT INTO {name} (id, b) SELECT n, n FROM generate_series(1, 20) n;"
        )
    };
    pair.source.batch_execute(&[made("whole"), made("later")].concat()).await.unwrap();
    pair.source.batch_execute("ALTER TABLE whole REPLICA IDENTITY FULL").await.unwrap();
    let version = pair.source.query_one("SELECT current_setting('server_version_num')::int4", &[]).await.unwrap();
    let is_refused = version.get::<_, i32>(0) >= 180_000;
    let settings = TaskSettings { idle_seconds: 1, ..TaskSettings::default() };
    let run = pair.run(1, TaskKind::FullLoadAndCdc, &["whole", "later", "the_end"], settings);
    let own = run.clone();
    let running = tokio::spawn(async move { own.run().await });
    let followed = if is_refused { 2 } else { 3 };
    until(async || told(&run, "table-live").len() == followed).await;
    // Of a table that is published the server says no.
    pair.source.batch_execute("UPDATE whole SET b = b + 1; UPDATE later SET b = b + 1").await.unwrap();
    pair.source.batch_execute("ALTER TABLE later REPLICA IDENTITY FULL").await.unwrap();
    until(async || pair.source.batch_execute("UPDATE later SET b = b + 1").await.is_ok()).await;
    if !is_refused {
        until(async || rows_of(&pair.mart, "whole").await == rows_of(&pair.source, "whole").await).await;
    }
    run.stop.cancel();
    running.await.unwrap().unwrap();
    let parked = told(&run, "table-parked").concat();
    assert_eq!(parked.contains("public.later") && parked.contains("it has generated columns"), is_refused, "{parked}");
}
