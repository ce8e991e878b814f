//! Values that resemble each other and are not the same, rows that are not the task's, and what a catalog writes otherwise than
//! it is. Wrapped by `mariadb` and `mysql`.

use serde_json::json;
use uuid::Uuid;

use crate::mysql_family::{Dialect, source};
use crate::mysql_tables::reaches;
use crate::mysql_target::{becomes_equal, from_its_kind, no_table_is_parked, target};
use crate::world::World;

const DOCUMENTS: &str = "SELECT n, CAST(CAST(j AS CHAR) AS BINARY) FROM shop.documents ORDER BY 1, 2";

/// A row without a key is found by its very document, not by one that a collation takes for the same.
pub(crate) async fn a_row_without_a_key_is_found_by_its_very_document<P: Dialect>() {
    let source = source::<P>(
        &[],
        r#"CREATE DATABASE shop; CREATE TABLE shop.documents (n int, j json);
        INSERT INTO shop.documents VALUES (1, '{"a": "X"}'), (1, '{"a": "x"}'), (2, '{"a": "y"}'), (2, '{"a": "Y"}')"#,
    );
    let (target, world) = (target::<P>(&[]), World::start().await);
    let task = from_its_kind(&world, &source, &target, &json!({})).await;
    world.live(task).await;
    source
        .execute(
            r#"DELETE FROM shop.documents WHERE CAST(CAST(j AS CHAR) AS BINARY) = CAST('{"a": "x"}' AS BINARY);
            UPDATE shop.documents SET n = 3 WHERE CAST(CAST(j AS CHAR) AS BINARY) = CAST('{"a": "Y"}' AS BINARY)"#,
        )
        .unwrap();
    becomes_equal(&source, &target, &[DOCUMENTS]).await;
    no_table_is_parked(&world, task).await;
}

async fn parked_for(world: &World, task: Uuid, table: &str) -> String {
    reaches(world, task, table, "parked").await;
    let tables = world.installation.api.tables(task).await.unwrap();
    tables.into_iter().find(|one| one.source.table == table).and_then(|one| one.problem).unwrap().code
}

async fn blockers(world: &World, task: Uuid) -> Vec<String> {
    let outcome = world.installation.api.assess(task).await.unwrap().outcome.unwrap();
    let found = outcome["findings"].as_array().unwrap().iter().filter(|finding| finding["weight"] == "blocker");
    found.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

const WORDS: &str = "SELECT hex(k), n FROM shop.words ORDER BY 1";

/// A table that is kept must not take keys for the same that the source tells apart.
pub(crate) async fn a_kept_table_that_takes_keys_for_others_is_refused<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; CREATE TABLE shop.words (k varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, n int); \
         INSERT INTO shop.words VALUES ('a', 1)",
    );
    let (target, world) = (target::<P>(&[]), World::start().await);
    target
        .execute(
            "CREATE DATABASE shop; \
             CREATE TABLE shop.words (k varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, n int)",
        )
        .unwrap();
    let task = from_its_kind(&world, &source, &target, &json!({})).await;
    assert_eq!(parked_for(&world, task, "words").await, "key-collation");
    assert_eq!(blockers(&world, task).await, ["key-collation"]);
    target.execute("ALTER TABLE shop.words MODIFY k varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin").unwrap();
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "words")]).await.unwrap();
    reaches(&world, task, "words", "live").await;
    source.execute("INSERT INTO shop.words VALUES ('A', 2); DELETE FROM shop.words WHERE k = 'A'").unwrap();
    source.execute("INSERT INTO shop.words VALUES ('B', 3), ('b', 4)").unwrap();
    becomes_equal(&source, &target, &[WORDS]).await;
    no_table_is_parked(&world, task).await;
}

const ROWS: &str = "SELECT id, n FROM shop.orders ORDER BY id";

/// A table whose rows are not the task's keeps them, however often it is loaded again.
pub(crate) async fn a_reload_takes_no_rows_that_are_not_the_tasks<P: Dialect>() {
    let made = "CREATE DATABASE shop; CREATE TABLE shop.orders (id int PRIMARY KEY, n int);";
    let source = source::<P>(&[], &format!("{made} INSERT INTO shop.orders VALUES (1, 1)"));
    let (target, world) = (target::<P>(&[]), World::start().await);
    target.execute(&format!("{made} INSERT INTO shop.orders VALUES (99, 7)")).unwrap();
    let task = from_its_kind(&world, &source, &target, &json!({})).await;
    let api = &world.installation.api;
    assert_eq!(parked_for(&world, task, "orders").await, "table-not-empty");
    assert_eq!(blockers(&world, task).await, ["table-not-empty"]);
    for _ in 0..2 {
        api.ask_of_tables(task, "reload", &[("shop", "orders")]).await.unwrap();
        crate::world::until(async || {
            let tables = api.tables(task).await.unwrap_or_default();
            tables.iter().all(|table| table.asked.is_none() && table.state == "parked")
        })
        .await;
        assert_eq!(target.rows(ROWS).unwrap(), ["99\t7"]);
    }
    target.execute("DELETE FROM shop.orders").unwrap();
    api.ask_of_tables(task, "reload", &[("shop", "orders")]).await.unwrap();
    reaches(&world, task, "orders", "live").await;
    becomes_equal(&source, &target, &[ROWS]).await;
    // Now they are, and may be removed.
    api.ask_of_tables(task, "reload", &[("shop", "orders")]).await.unwrap();
    source.execute("INSERT INTO shop.orders VALUES (2, 2)").unwrap();
    becomes_equal(&source, &target, &[ROWS]).await;
}

const STAMPED: &str = "SELECT id, n, at FROM shop.stamped ORDER BY id";

/// A kept column that the server would set at each update has what the source has.
pub(crate) async fn a_kept_column_does_not_set_itself<P: Dialect>() {
    let source = source::<P>(
        &["--binlog-row-image=MINIMAL"],
        "CREATE DATABASE shop; CREATE TABLE shop.stamped (id int PRIMARY KEY, n int, at datetime(6)); \
         INSERT INTO shop.stamped SELECT seq, 0, '2001-02-03 04:05:06' FROM helpers.seq_0_to_255",
    );
    let (target, world) = (target::<P>(&[]), World::start().await);
    target
        .execute(
            "CREATE DATABASE shop; CREATE TABLE shop.stamped (id int PRIMARY KEY, n int, \
             at datetime(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))",
        )
        .unwrap();
    let task = from_its_kind(&world, &source, &target, &json!({})).await;
    world.live(task).await;
    // One by a statement of its own, many by way of a staging table.
    source.execute("UPDATE shop.stamped SET n = 1 WHERE id = 7").unwrap();
    becomes_equal(&source, &target, &[STAMPED]).await;
    source.execute("UPDATE shop.stamped SET n = 2").unwrap();
    source.execute("UPDATE shop.stamped SET at = '2002-02-02' WHERE id = 9").unwrap();
    becomes_equal(&source, &target, &[STAMPED]).await;
    no_table_is_parked(&world, task).await;
}

/// Rows of a table without snapshots can't be told from those that come while it is loaded.
pub(crate) async fn a_table_without_snapshots_is_refused_by_name<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; CREATE TABLE shop.old (n int) ENGINE = MyISAM; CREATE TABLE shop.orders (id int PRIMARY KEY, n int); \
         INSERT INTO shop.old VALUES (1); INSERT INTO shop.orders VALUES (1, 1)",
    );
    let (target, world) = (target::<P>(&[]), World::start().await);
    let task = from_its_kind(&world, &source, &target, &json!({})).await;
    reaches(&world, task, "orders", "live").await;
    assert_eq!(parked_for(&world, task, "old").await, "no-snapshots");
    let outcome = world.installation.api.assess(task).await.unwrap().outcome.unwrap();
    let finding =
        outcome["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "no-snapshots").unwrap();
    assert!(
        finding["text"].as_str().unwrap().contains("shop.old") && finding["mend"].as_str().unwrap().contains("InnoDB")
    );
    source.execute("INSERT INTO shop.orders VALUES (2, 2)").unwrap();
    becomes_equal(&source, &target, &[ROWS]).await;
    assert!(target.rows("SELECT * FROM shop.old").is_err());
}

const LETTERS: &str = "SELECT id, hex(`größe`), hex(said), hex(old), hex(word), hex(plain), hex(b), at, hex(kind) \
    FROM shop.letters ORDER BY id";

/// Expressions and defaults with letters beyond ASCII, and moments of other clocks, are in the copy what they are.
pub(crate) async fn expressions_and_defaults_keep_their_letters<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; SET time_zone = '+05:00'; \
         CREATE TABLE letters (id int PRIMARY KEY, `größe` varchar(30), old varchar(30) CHARACTER SET latin1, \
             said varchar(60) COLLATE utf8mb4_bin AS (concat('Größe ', `größe`, '\\'\\n')) STORED, \
             word varchar(30) DEFAULT (concat('ü', 'x')), plain varchar(30) DEFAULT 'é😀?', b varbinary(9) DEFAULT x'00ffc3', \
             at timestamp DEFAULT '2024-01-01 02:00:00', kind enum('klein', 'groß') DEFAULT 'groß', \
             UNIQUE INDEX by_said (said), CONSTRAINT known CHECK (`größe` IN ('ä', 'Ä', 'offen', 'größer'))); \
         INSERT INTO letters (id, `größe`, old) VALUES (1, 'offen', 'é')",
    );
    let (target, world) = (target::<P>(&[]), World::start().await);
    let task = from_its_kind(&world, &source, &target, &json!({})).await;
    world.live(task).await;
    source
        .execute("INSERT INTO shop.letters (id, `größe`, old) VALUES (2, 'größer', 'ß'), (3, 'ä', 'x'), (4, 'Ä', 'x')")
        .unwrap();
    becomes_equal(&source, &target, &[LETTERS]).await;
    no_table_is_parked(&world, task).await;
    assert!(target.execute("INSERT INTO shop.letters (id, `größe`) VALUES (5, 'anders')").is_err());
    // What each of the two gives a row that says nothing.
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    for server in [&source, &target] {
        server.execute("INSERT INTO shop.letters (id) VALUES (9)").unwrap();
    }
    let given = "SET time_zone = '+00:00'; \
        SELECT hex(word), hex(plain), hex(b), at, hex(kind) FROM shop.letters WHERE id = 9";
    assert_eq!(target.rows(given).unwrap(), source.rows(given).unwrap());
    assert_eq!(source.rows(given).unwrap(), ["C3BC78\tC3A9F09F98803F\t00FFC3\t2023-12-31 21:00:00\t67726FC39F"]);
}

/// A worker that died between the two statements by which a column comes has left it with the default that gave rows their value.
pub(crate) async fn a_default_by_which_rows_got_their_value_does_not_stay<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id int PRIMARY KEY, n int); INSERT INTO shop.orders VALUES (1, 1)",
    );
    let (target, mut world) = (target::<P>(&[]), World::start().await);
    let task = from_its_kind(&world, &source, &target, &json!({})).await;
    world.live(task).await;
    world.installation.workers[0].kill().unwrap();
    source
        .execute("ALTER TABLE shop.orders ADD COLUMN size enum('s', 'm') NOT NULL; UPDATE shop.orders SET n = 2")
        .unwrap();
    target.execute("ALTER TABLE shop.orders ADD COLUMN size enum('s', 'm') NOT NULL DEFAULT ('s')").unwrap();
    world.installation.workers[0].start().unwrap();
    let columns = "SELECT column_name, column_type, is_nullable, coalesce(column_default, 'none') FROM information_schema.columns \
        WHERE table_schema = 'shop' AND table_name = 'orders' ORDER BY ordinal_position";
    becomes_equal(&source, &target, &["SELECT * FROM shop.orders", columns]).await;
    no_table_is_parked(&world, task).await;
}

const PARTED: &str = "SELECT id, n FROM shop.parted ORDER BY id, n";

/// A table without a key is loaded by partition, and followed.
pub(crate) async fn a_table_without_a_key_is_loaded_by_partition<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; CREATE TABLE shop.parted (id int, n int, filler char(200)) \
             PARTITION BY RANGE (id) SUBPARTITION BY HASH (n) SUBPARTITIONS 2 \
             (PARTITION `low``er` VALUES LESS THAN (5000), PARTITION middle VALUES LESS THAN (10000), \
              PARTITION high VALUES LESS THAN MAXVALUE); \
         INSERT INTO shop.parted SELECT seq, seq % 7, 'x' FROM helpers.seq_1_to_20000; INSERT INTO shop.parted VALUES (NULL, 1, NULL); \
         ANALYZE TABLE shop.parted",
    );
    let (target, world) = (target::<P>(&["--local-infile=ON"]), World::start().await);
    let task = from_its_kind(&world, &source, &target, &json!({"chunk_mib": 1, "load_parallelism": 2})).await;
    world.live(task).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert_eq!((tables[0].chunks, tables[0].rows_loaded), (3, 20_001));
    source
        .execute("DELETE FROM shop.parted WHERE id % 1000 = 1; INSERT INTO shop.parted VALUES (7, 7, 'y'), (7, 7, 'y')")
        .unwrap();
    becomes_equal(&source, &target, &[PARTED]).await;
    no_table_is_parked(&world, task).await;
}
