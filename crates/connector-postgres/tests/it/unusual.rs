//! What is seldom in a source and arrives all the same.

use wavemark_domain::task::{TaskKind, TaskSettings};

use crate::support::pair::{Pair, rows_of};
use crate::support::run::{told, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_tables_and_partitions_for_null_and_for_what_is_left_arrive() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE empty (id integer PRIMARY KEY, v text); \
             CREATE TABLE bare (region text, n integer) PARTITION BY LIST (region); \
             CREATE TABLE by_region (region text, n integer) PARTITION BY LIST (region); \
             CREATE TABLE region_n PARTITION OF by_region FOR VALUES IN ('n'); \
             CREATE TABLE region_null PARTITION OF by_region FOR VALUES IN (NULL); \
             CREATE TABLE region_rest PARTITION OF by_region DEFAULT; \
             ALTER TABLE bare REPLICA IDENTITY FULL; ALTER TABLE by_region REPLICA IDENTITY FULL; \
             ALTER TABLE region_n REPLICA IDENTITY FULL; ALTER TABLE region_null REPLICA IDENTITY FULL; \
             ALTER TABLE region_rest REPLICA IDENTITY FULL; \
             INSERT INTO by_region VALUES ('n', 1), (NULL, 2), (NULL, 2), ('x', 3), (NULL, NULL)",
        )
        .await
        .unwrap();
    let changes = [
        "UPDATE by_region SET region = NULL WHERE region = 'n'",
        "UPDATE by_region SET region = 'y' WHERE tableoid = 'region_null'::regclass \
         AND ctid IN (SELECT ctid FROM region_null WHERE n = 2 LIMIT 1)",
        "INSERT INTO by_region VALUES (NULL, 7), ('z', NULL); DELETE FROM by_region WHERE region IS NULL AND n IS NULL",
        "INSERT INTO empty VALUES (1, NULL)",
        "CREATE TABLE bare_a PARTITION OF bare FOR VALUES IN ('a', NULL); ALTER TABLE bare_a REPLICA IDENTITY FULL; \
         INSERT INTO bare VALUES ('a', 1), (NULL, 2)",
    ];
    pair.copies(&["empty", "bare", "by_region"], &changes).await;
    assert_eq!(rows_of(&pair.mart, "by_region").await, ["(,1)", "(,2)", "(,7)", "(x,3)", "(y,2)", "(z,)"]);
}

/// What others publish of a table, under other lists, filters and kinds, is for their readers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_of_others_take_nothing_away_from_a_table() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, a text, b integer); CREATE PUBLICATION narrow FOR TABLE t (id, a); \
             CREATE PUBLICATION few FOR TABLE t WHERE (id > 100); \
             CREATE PUBLICATION inserts FOR ALL TABLES WITH (publish = 'insert'); \
             INSERT INTO t SELECT n, 'a', n FROM generate_series(1, 200) n",
        )
        .await
        .unwrap();
    let changes = [
        "UPDATE t SET b = -b WHERE id % 2 = 0",
        "DELETE FROM t WHERE id < 10; INSERT INTO t VALUES (1, 'again', 5)",
        "CREATE PUBLICATION later FOR TABLES IN SCHEMA public; UPDATE t SET id = id + 1000 WHERE id = 50",
        "DROP PUBLICATION few; DROP PUBLICATION inserts; UPDATE t SET b = 0 WHERE id > 190",
    ];
    pair.copies(&["t"], &changes).await;
}

/// Such an index refuses no second row with NULL in it, so it tells rows apart for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_index_that_takes_nulls_is_nobodys_key() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE loose (a integer UNIQUE, b text); ALTER TABLE loose REPLICA IDENTITY FULL; \
             INSERT INTO loose VALUES (1, 'one'), (NULL, 'x'), (NULL, 'x'), (NULL, NULL), (2, NULL)",
        )
        .await
        .unwrap();
    let plan = pair.fixture.plan(&["loose"]).await;
    assert!(plan[0].is_keyless());
    let changes = [
        "UPDATE loose SET b = 'y' WHERE ctid IN (SELECT ctid FROM loose WHERE a IS NULL AND b = 'x' LIMIT 1)",
        "BEGIN; UPDATE loose SET a = 9 WHERE a = 1; UPDATE loose SET a = 1 WHERE a = 2; UPDATE loose SET a = 2 WHERE a = 9; COMMIT",
        "INSERT INTO loose VALUES (NULL, NULL); DELETE FROM loose WHERE a IS NULL AND b = 'x'",
        "UPDATE loose SET a = NULL WHERE a = 2",
    ];
    pair.copies(&["loose"], &changes).await;
    assert_eq!(rows_of(&pair.mart, "loose").await, ["(,)", "(,)", "(,one)", "(,y)", "(1,)"]);
}

/// Of a partitioned table each partition names its rows for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_does_not_name_its_rows_is_refused_by_its_own_name() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE keyless (region text, n integer) PARTITION BY LIST (region); \
             CREATE TABLE \"in Y\" PARTITION OF keyless FOR VALUES IN ('y'); \
             CREATE TABLE x PARTITION OF keyless FOR VALUES IN ('x') PARTITION BY LIST (n); \
             CREATE TABLE x1 PARTITION OF x FOR VALUES IN (1); \
             ALTER TABLE keyless REPLICA IDENTITY FULL; ALTER TABLE \"in Y\" REPLICA IDENTITY FULL; \
             CREATE TABLE keyed (id integer PRIMARY KEY) PARTITION BY RANGE (id); \
             CREATE TABLE silent PARTITION OF keyed FOR VALUES FROM (1) TO (9); ALTER TABLE silent REPLICA IDENTITY NOTHING; \
             CREATE TABLE spoken (id integer PRIMARY KEY) PARTITION BY RANGE (id); \
             CREATE TABLE spoken_1 PARTITION OF spoken FOR VALUES FROM (1) TO (9); \
             CREATE TABLE spoken_2 PARTITION OF spoken FOR VALUES FROM (9) TO (19); ALTER TABLE spoken_2 REPLICA IDENTITY FULL",
        )
        .await
        .unwrap();
    let refused = async |name: &str| {
        let tables = pair.fixture.source.tables(&|_| true).await.unwrap();
        let table = tables.iter().find(|table| table.name.table == name).unwrap();
        pair.fixture.source.refuses_to_follow(table).map(|problem| (problem.code, problem.advice.unwrap()))
    };
    let mend = |advice: &str| Some(("no-replica-identity".to_owned(), advice.to_owned()));
    assert_eq!(refused("keyless").await, mend("ALTER TABLE public.x1 REPLICA IDENTITY FULL;"));
    assert_eq!(refused("keyed").await, mend("ALTER TABLE public.silent REPLICA IDENTITY FULL;"));
    assert_eq!(refused("spoken").await, None);
    pair.source
        .batch_execute("ALTER TABLE x1 REPLICA IDENTITY FULL; ALTER TABLE silent REPLICA IDENTITY DEFAULT")
        .await
        .unwrap();
    assert_eq!((refused("keyless").await, refused("keyed").await), (None, None));
}

/// As long as such a table is published the server refuses its updates, whoever makes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_no_longer_names_its_rows_is_taken_out_so_that_its_source_stays_writable() {
    let pair = Pair::start(&[]).await;
    let tables = ["keyed", "whole", "parts", "calm"];
    pair.source
        .batch_execute(
            "CREATE TABLE keyed (id integer PRIMARY KEY, v text); INSERT INTO keyed VALUES (1, 'a'); \
             CREATE TABLE whole (v text); ALTER TABLE whole REPLICA IDENTITY FULL; INSERT INTO whole VALUES ('a'); \
             CREATE TABLE calm (id integer PRIMARY KEY, v text); INSERT INTO calm VALUES (1, 'a'); \
             CREATE TABLE parts (region text, n integer) PARTITION BY LIST (region); ALTER TABLE parts REPLICA IDENTITY FULL; \
             CREATE TABLE parts_x PARTITION OF parts FOR VALUES IN ('x'); ALTER TABLE parts_x REPLICA IDENTITY FULL; \
             INSERT INTO parts VALUES ('x', 1)",
        )
        .await
        .unwrap();
    let settings = TaskSettings { idle_seconds: 1, ..TaskSettings::default() };
    let run = pair.run(1, TaskKind::FullLoadAndCdc, &tables, settings);
    let own = run.clone();
    let running = tokio::spawn(async move { own.run().await });
    until(async || told(&run, "table-live").len() == tables.len()).await;
    pair.source
        .batch_execute(
            "ALTER TABLE keyed DROP CONSTRAINT keyed_pkey; ALTER TABLE whole REPLICA IDENTITY NOTHING; \
             CREATE TABLE parts_y PARTITION OF parts FOR VALUES IN ('y'); INSERT INTO parts VALUES ('y', 2)",
        )
        .await
        .unwrap();
    for update in ["UPDATE keyed SET v = 'b'", "DELETE FROM whole", "UPDATE parts SET n = 3"] {
        until(async || pair.source.batch_execute(update).await.is_ok()).await;
    }
    pair.source.batch_execute("UPDATE calm SET v = 'b'").await.unwrap();
    until(async || rows_of(&pair.mart, "calm").await == ["(1,b)"]).await;
    run.stop.cancel();
    running.await.unwrap().unwrap();
    let parked = told(&run, "table-parked").concat();
    for (table, why) in [
        ("public.keyed", "it has no replica identity any more"),
        ("public.whole", "it has no replica identity any more"),
        ("public.parts", "its partition public.parts_y has no replica identity"),
    ] {
        assert!(parked.contains(table) && parked.contains(why), "{table}: {parked}");
    }
    assert!(!parked.contains("calm"), "{parked}");
}
