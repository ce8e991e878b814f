//! Tables of MySQL and MariaDB that people alter while they are followed, with writers and a worker that is killed at every
//! step. Wrapped by `mariadb` and `mysql`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::api::TableName;
use wavemark_tests::mysql_family::Server;

use crate::mysql_family::{Dialect, source, target_rows, task};
use crate::mysql_tables::reaches;
use crate::world::{World, until, until_within};

const SHOP: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
    CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, n int NOT NULL, note varchar(30) CHARACTER SET latin1); \
    INSERT INTO orders (n, note) SELECT seq, concat('é', seq) FROM helpers.seq_1_to_20000 WHERE seq <= 500; \
    CREATE TABLE others (id int PRIMARY KEY, n int); INSERT INTO others VALUES (1, 0);";

/// One after the other, each with rows right before and behind it.
const STEPS: [&str; 17] = [
    "ALTER TABLE orders ADD COLUMN channel varchar(9) CHARACTER SET utf8mb4 NOT NULL DEFAULT 'wéb' COMMENT 'x, y'; \
     UPDATE orders SET channel = '€' WHERE id % 7 = 0",
    "ALTER TABLE orders ADD INDEX by_n (n), COMMENT = 'DROP COLUMN n', ALGORITHM = INPLACE, LOCK = NONE",
    "ALTER TABLE orders ADD (weight decimal(9,3), size enum('s','m') NOT NULL), ADD COLUMN first_one bigint unsigned DEFAULT 7 FIRST, \
     ADD raw binary(3) NOT NULL AFTER n; UPDATE orders SET weight = id * 0.125, size = 'm', raw = 'ab' WHERE id % 3 = 0",
    "ALTER TABLE orders MODIFY n bigint NOT NULL; UPDATE orders SET n = n + 5000000000 WHERE id % 5 = 0",
    "ALTER TABLE orders RENAME COLUMN weight TO weight_kg, ADD c int AFTER size; UPDATE orders SET weight_kg = -weight_kg, c = 1 WHERE id % 6 = 0",
    "ALTER TABLE orders MODIFY size enum('s','m','l') AFTER id; UPDATE orders SET size = 'l' WHERE id % 4 = 0; UPDATE orders SET size = NULL WHERE id % 11 = 0",
    "ALTER TABLE orders DROP COLUMN c, DROP raw, ADD raw varbinary(5) DEFAULT 'x'",
    "ALTER TABLE orders CONVERT TO CHARACTER SET utf8mb4; UPDATE orders SET note = concat(note, '😀') WHERE id % 8 = 0",
    "ALTER TABLE orders ADD plain varchar(5) DEFAULT '😀', CHANGE note remark varchar(40); UPDATE orders SET remark = rpad(remark, 38, '.') WHERE id % 9 = 0",
    "/* a migration */ ALTER TABLE `shop`.`orders` CHANGE remark channel varchar(40), CHANGE channel remark varchar(40); UPDATE orders SET remark = 'r' WHERE id % 10 = 0",
    "OPTIMIZE TABLE orders; ALTER TABLE orders ENGINE = InnoDB, ROW_FORMAT = DYNAMIC",
    "ALTER TABLE orders DROP first_one; ALTER TABLE orders ADD first_one int NOT NULL; ALTER TABLE orders DROP first_one; \
     ALTER TABLE orders ADD first_one int NOT NULL DEFAULT 3 FIRST",
    "ALTER TABLE orders RENAME COLUMN n TO m, RENAME COLUMN first_one TO n; UPDATE orders SET m = m + 1 WHERE id % 2 = 0",
    "ALTER TABLE orders RENAME COLUMN n TO m, RENAME COLUMN m TO n",
    "ALTER TABLE orders ADD twice bigint AS (m * 2) VIRTUAL AFTER id, ADD thrice bigint GENERATED ALWAYS AS (m * 3) STORED; \
     UPDATE orders SET m = m + 2 WHERE id % 3 = 0; ALTER TABLE orders DROP thrice; UPDATE orders SET m = m + 2 WHERE id % 4 = 0",
    "SET sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'; ALTER TABLE \"orders\" ADD \"it's a \"\"name\"\"\" date DEFAULT '2024-02-29'; \
     UPDATE orders SET \"it's a \"\"name\"\"\" = NULL WHERE id % 13 = 0",
    "ALTER TABLE orders MODIFY remark text, ADD float_one float DEFAULT 0.1, ADD moment datetime(3) DEFAULT '2024-01-01 00:00:00.5', ADD flags bit(5) DEFAULT 5; \
     UPDATE orders SET float_one = id / 3, flags = id % 32 WHERE id % 3 = 1",
];

/// The columns of the table by name, in order of their names, as `information_schema` of either system has them.
const COLUMNS: &str = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'orders' \
     AND coalesce(generation_expression, '') = ''";

/// How each column is written alike by both systems: the source's and the target's expression.
fn written(column: &str) -> (String, String) {
    let (there, here) = (format!("`{column}`"), format!("\"{}\"", column.replace('"', "\"\"")));
    let there = there.as_str();
    let forms = match column {
        "raw" => (format!("hex({there})"), format!("upper(encode({here}, 'hex'))")),
        "flags" => (format!("lpad(bin({there}), 5, '0')"), format!("{here}::text")),
        "float_one" => (format!("round({there}, 3) + 0e0"), format!("round({here}::float8::numeric, 3)::float8")),
        "moment" => (there.to_owned(), format!("to_char({here}, 'YYYY-MM-DD HH24:MI:SS.MS')")),
        "plain" | "note" | "remark" | "channel" => (
            format!("hex(convert({there} USING utf8mb4))"),
            format!("upper(encode(convert_to({here}, 'UTF8'), 'hex'))"),
        ),
        _ => (there.to_owned(), format!("{here}::text")),
    };
    (format!("coalesce({}, 'NULL')", forms.0), format!("coalesce({}::text, 'NULL')", forms.1))
}

/// Waits until the target has the table's rows and columns as the source has them, row by row.
async fn becomes_equal<P: Dialect>(world: &World, source: &Server<P>) {
    let mut columns = source.rows(COLUMNS).unwrap();
    columns.sort();
    let (there, here): (Vec<String>, Vec<String>) = columns.iter().map(|column| written(column)).unzip();
    let expected =
        source.rows(&format!("SELECT concat_ws('|', {}) FROM shop.orders ORDER BY id", there.join(", "))).unwrap();
    assert!(expected.len() > 200);
    let sql = format!("SELECT concat_ws('|', {}) FROM shop.orders ORDER BY id", here.join(", "));
    let found = async || {
        let mut found = target_rows(world, &format!("{COLUMNS} AND table_catalog = current_database()")).await;
        found.sort();
        if found == columns { rows_there(world, &sql).await } else { found }
    };
    let end = std::time::Instant::now() + Duration::from_mins(1);
    while found().await != expected && std::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let found = found().await;
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "of {columns:?}");
    }
    assert_eq!(found.len(), expected.len());
}

/// The rows of a table that may be on its way to another name.
async fn rows_there(world: &World, sql: &str) -> Vec<String> {
    let rows = world.pair.target_client().await.unwrap().query(sql, &[]).await.unwrap_or_default();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Rows that come, change and go in transactions of their own while the table is altered: what they name is there all the
/// while.
async fn write<P: Dialect + 'static>(source: Arc<Server<P>>, stop: Arc<AtomicBool>) {
    let run = move || {
        let mut round = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            let (a, b) = (round * 7 % 600, round * 13 % 500);
            let sql = format!(
                "USE shop; BEGIN; INSERT INTO orders () VALUES (); UPDATE others SET n = n + 1; UPDATE orders SET id = id + 100000 WHERE id = {b}; COMMIT; \
                 DELETE FROM orders WHERE id = {a} AND {a} % 5 = 1; UPDATE orders SET id = id - 100000 WHERE id = 100000 + {b};"
            );
            // Numbers that collide, and locks that are waited for in vain, are the source's business.
            drop(source.execute(&format!("SET sql_mode = ''; {sql}")));
        }
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

async fn followed<P: Dialect>(settings: &serde_json::Value) -> (World, Server<P>, Uuid) {
    followed_with(&[], settings).await
}

async fn followed_with<P: Dialect>(options: &[&str], settings: &serde_json::Value) -> (World, Server<P>, Uuid) {
    let source = source::<P>(options, SHOP);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", settings).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    (world, source, task)
}

/// Why a table was parked, also one that is none of the task's any more.
async fn problem(world: &World, task: Uuid, table: &str) -> String {
    let events = world.installation.api.events(task).await.unwrap_or_default();
    let is_its = |name: &Option<TableName>| name.as_ref().is_some_and(|name| name.table == table);
    let problem = events.into_iter().filter_map(|event| event.problem).find(|problem| is_its(&problem.table));
    problem.map_or_else(String::new, |problem| format!("{} {}", problem.code, problem.text))
}

pub(crate) async fn tables_are_altered_as_at_the_source_while_workers_die<P: Dialect + 'static>() {
    let (mut world, source, task) = followed::<P>(&json!({"wave_changes": 200})).await;
    let (source, stop) = (Arc::new(source), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn(write(Arc::clone(&source), Arc::clone(&stop)));
    for (at, step) in STEPS.iter().enumerate() {
        source.execute(&format!("USE shop; UPDATE orders SET n = n + 1 WHERE id % 17 = {at}; {step}")).unwrap();
        tokio::time::sleep(Duration::from_millis(30 * at as u64)).await;
        if at % 2 == 0 {
            world.installation.workers[0].kill().unwrap();
            world.installation.workers[0].start().unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    becomes_equal(&world, &source).await;
    assert_eq!(problem(&world, task, "orders").await, "");
    world.live(task).await;
    let events = world.installation.api.events(task).await.unwrap();
    assert!(!events.iter().any(|event| event.code == "table-parked" || event.code == "load-continued"), "{events:?}");
}

/// What was altered while nobody followed lies in the log between rows of both layouts. This log has the columns' names.
pub(crate) async fn what_was_altered_while_a_task_stood_still_is_taken_up_when_it_goes_on<P: Dialect>() {
    let (world, source, task) = followed_with::<P>(&["--binlog-row-metadata=FULL"], &json!({})).await;
    let api = &world.installation.api;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    for (at, step) in STEPS.iter().enumerate() {
        let rows = format!(
            "INSERT INTO orders (n) VALUES ({at}); DELETE FROM orders WHERE id = {at} * 3 + 1; UPDATE orders SET n = n + 1 WHERE id % 17 = {at}"
        );
        source.execute(&format!("USE shop; SET sql_mode = ''; {rows}; SET sql_mode = DEFAULT; {step}")).unwrap();
    }
    api.act(task, "resume").await.unwrap();
    becomes_equal(&world, &source).await;
    assert_eq!(problem(&world, task, "orders").await, "");
    // It goes on from what was noted.
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    source.execute("USE shop; UPDATE orders SET n = n - 1; ALTER TABLE orders DROP flags; DELETE FROM orders WHERE id % 21 = 0").unwrap();
    api.act(task, "resume").await.unwrap();
    becomes_equal(&world, &source).await;
}

/// What can't be followed exactly is told with the reason, and loaded again by itself where that is asked for.
pub(crate) async fn what_is_not_exact_is_parked_or_loaded_again<P: Dialect>() {
    let (world, source, task) = followed::<P>(&json!({})).await;
    for (name, statement, why) in [
        ("a", "ALTER TABLE a MODIFY n varchar(20)", "another type"),
        ("b", "ALTER TABLE b ADD c datetime DEFAULT CURRENT_TIMESTAMP", "its default is computed"),
        ("c", "ALTER TABLE c DROP PRIMARY KEY, ADD PRIMARY KEY (n)", "primary key"),
        ("d", "ALTER TABLE d TRUNCATE PARTITION p", "a partition was emptied"),
        ("e", "RENAME TABLE e TO elsewhere", "now named shop.elsewhere"),
    ] {
        let parts = if name == "d" {
            " PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (5), PARTITION q VALUES LESS THAN (9))"
        } else {
            ""
        };
        source.execute(&format!("USE shop; CREATE TABLE {name} (id int PRIMARY KEY, n int NOT NULL){parts}; INSERT INTO {name} VALUES (1, 1), (7, 7)")).unwrap();
        reaches(&world, task, name, "live").await;
        source.execute(&format!("USE shop; INSERT INTO {name} VALUES (2, 2); {statement}")).unwrap();
        until(async || !problem(&world, task, name).await.is_empty()).await;
        let found = problem(&world, task, name).await;
        assert!(found.contains(why), "{statement}: {found}");
        assert_eq!(
            target_rows(&world, &format!("SELECT string_agg(id::text, ' ' ORDER BY id) FROM shop.{name}")).await,
            ["1 2 7"]
        );
    }
    reaches(&world, task, "others", "live").await;
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "a")]).await.unwrap();
    reaches(&world, task, "a", "live").await;
    source.execute("INSERT INTO shop.a VALUES (3, 'x')").unwrap();
    until(async || target_rows(&world, "SELECT string_agg(n, ' ' ORDER BY id) FROM shop.a").await == ["1 2 x 7"]).await;
}

/// An online schema change as gh-ost and pt-online-schema-change make it: a table that was filled beside takes the name.
pub(crate) async fn an_online_schema_change_is_told_and_loaded_again<P: Dialect>() {
    let (world, source, task) = followed::<P>(&json!({"changed_tables": "reload-table", "new_tables": "ignore"})).await;
    source
        .execute(
            "USE shop; CREATE TABLE _orders_gho LIKE orders; ALTER TABLE _orders_gho ADD COLUMN more int DEFAULT 5 FIRST; \
             INSERT INTO _orders_gho (id, n, note) SELECT id, n, note FROM orders; UPDATE orders SET n = -1 WHERE id = 3; \
             UPDATE _orders_gho SET n = -1 WHERE id = 3; RENAME TABLE orders TO _orders_del, _orders_gho TO orders; \
             INSERT INTO orders (n, note) VALUES (4711, 'behind'); DROP TABLE _orders_del; UPDATE others SET n = 9;",
        )
        .unwrap();
    becomes_equal(&world, &source).await;
    reaches(&world, task, "orders", "live").await;
    let is_told = async || {
        let events = world.installation.api.events(task).await.unwrap_or_default();
        events.iter().any(|event| event.problem.as_ref().is_some_and(|problem| problem.code == "table-swapped"))
    };
    until(is_told).await;
    source.execute("USE shop; ALTER TABLE orders ADD again int NOT NULL; DELETE FROM orders WHERE id % 3 = 0").unwrap();
    becomes_equal(&world, &source).await;
    until(async || target_rows(&world, "SELECT n::text FROM shop.others").await == ["9"]).await;
}

/// A table that gets another name is followed on under it, also where the worker dies around that.
pub(crate) async fn a_table_is_followed_under_its_next_name<P: Dialect>() {
    let (mut world, source, task) = followed::<P>(&json!({"renamed_tables": "apply"})).await;
    let rows = "SELECT concat_ws(':', id, n) FROM shop.moved ORDER BY id";
    source
        .execute("USE shop; UPDATE others SET n = 1; RENAME TABLE others TO moved; INSERT INTO moved VALUES (2, 2); ALTER TABLE moved RENAME TO again, ADD c int")
        .unwrap();
    let again = rows.replace("moved", "again");
    until_within(Duration::from_mins(1), || async {
        has(&world, "again").await && target_rows(&world, &again).await == ["1:1", "2:2"]
    })
    .await;
    world.installation.workers[0].kill().unwrap();
    source.execute("USE shop; UPDATE again SET n = 3, c = 4; DELETE FROM again WHERE id = 2").unwrap();
    world.installation.workers[0].start().unwrap();
    until_within(Duration::from_mins(1), || async { target_rows(&world, &again).await == ["1:3"] }).await;
    reaches(&world, task, "again", "live").await;
    assert!(!has(&world, "moved").await && !has(&world, "others").await);
}

async fn has(world: &World, table: &str) -> bool {
    target_rows(world, &format!("SELECT coalesce(to_regclass('shop.{table}')::text, 'none')")).await != ["none"]
}

/// A column that is added while the settings say that such ones are left out stays out, also where it is changed later.
pub(crate) async fn columns_that_are_to_be_ignored_stay_out<P: Dialect>() {
    let (mut world, source, task) =
        followed::<P>(&json!({"added_columns": "ignore", "dropped_columns": "ignore"})).await;
    source.execute("USE shop; ALTER TABLE others ADD c int NOT NULL DEFAULT 1 FIRST, ADD d int; INSERT INTO others VALUES (8, 2, 3, 4); ALTER TABLE others DROP n").unwrap();
    let rows = "SELECT concat_ws(':', id, coalesce(n::text, 'none')) FROM shop.others ORDER BY id";
    until(async || target_rows(&world, rows).await == ["1:0", "2:3"]).await;
    source.execute("INSERT INTO shop.others VALUES (8, 3, 4)").unwrap();
    until(async || target_rows(&world, rows).await == ["1:0", "2:3", "3:none"]).await;
    world.installation.workers[0].kill().unwrap();
    source.execute("USE shop; ALTER TABLE others CHANGE c e varchar(9) AFTER d; INSERT INTO others VALUES (4, 1, 'x'); DELETE FROM others WHERE id = 1").unwrap();
    world.installation.workers[0].start().unwrap();
    until_within(Duration::from_mins(1), || async { target_rows(&world, rows).await == ["2:3", "3:none", "4:none"] })
        .await;
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'shop.others'::regclass AND attnum > 0";
    assert_eq!(target_rows(&world, columns).await, ["id n"]);
    reaches(&world, task, "others", "live").await;
}

/// Tables that are altered again and again while they are loaded: what the load began with is not what it ends with.
pub(crate) async fn tables_are_altered_while_they_are_loaded<P: Dialect + 'static>() {
    let source = source::<P>(&[], SHOP);
    let world = World::start().await;
    source
        .execute("USE shop; INSERT INTO orders (n, note) SELECT seq, repeat('x', 30) FROM helpers.seq_1_to_20000")
        .unwrap();
    let task =
        task(&world, &source, "full-load-and-cdc", &json!({"changed_tables": "reload-table", "chunk_mib": 1})).await;
    world.installation.api.act(task, "start").await.unwrap();
    let (source, stop) = (Arc::new(source), Arc::new(AtomicBool::new(false)));
    let alter = {
        let (source, stop) = (Arc::clone(&source), Arc::clone(&stop));
        move || {
            source.execute("USE shop; ALTER TABLE orders ADD a int DEFAULT 1, ADD b int DEFAULT 2").unwrap();
            while !stop.load(Ordering::Relaxed) {
                source.execute("USE shop; UPDATE orders SET a = a + 1 WHERE id % 7 = 0; ALTER TABLE orders RENAME COLUMN a TO b, RENAME COLUMN b TO a").unwrap();
                source.execute("USE shop; INSERT INTO orders (n, a) VALUES (1, 3); UPDATE others SET n = n + 1; ALTER TABLE orders ADD c int DEFAULT 4; ALTER TABLE orders DROP c").unwrap();
            }
        }
    };
    let altering = tokio::task::spawn_blocking(alter);
    tokio::time::sleep(Duration::from_secs(15)).await;
    stop.store(true, Ordering::Relaxed);
    altering.await.unwrap();
    reaches(&world, task, "orders", "live").await;
    becomes_equal(&world, &source).await;
    source.execute("USE shop; UPDATE orders SET b = 9 WHERE id % 5 = 0").unwrap();
    becomes_equal(&world, &source).await;
}

/// The statement lies behind the bookmark for as long as nobody writes: whoever goes on meets it once more, and does it once.
pub(crate) async fn an_alteration_is_done_once_where_nobody_writes<P: Dialect>() {
    let (mut world, source, task) = followed::<P>(&json!({"idle_seconds": 600, "renamed_tables": "apply"})).await;
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'shop.orders'::regclass AND attnum > 0 AND NOT attisdropped";
    source
        .execute("USE shop; ALTER TABLE orders ADD m int NOT NULL DEFAULT 7, RENAME COLUMN n TO k, ALGORITHM = COPY")
        .unwrap();
    until(async || target_rows(&world, columns).await == ["id k note m"]).await;
    for (statement, wanted) in [
        ("RENAME COLUMN k TO m, RENAME COLUMN m TO k", "id m note k"),
        ("RENAME COLUMN k TO m, RENAME COLUMN m TO k", "id k note m"),
        ("DROP m, ADD m int DEFAULT 8", "id k note m"),
        ("RENAME COLUMN k TO m, RENAME COLUMN m TO k", "id m note k"),
    ] {
        source.execute(&format!("ALTER TABLE shop.orders {statement}")).unwrap();
        until(async || target_rows(&world, columns).await == [wanted]).await;
        world.installation.workers[0].kill().unwrap();
        world.installation.workers[0].start().unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    reaches(&world, task, "orders", "live").await;
    assert_eq!(target_rows(&world, columns).await, ["id m note k"]);
    becomes_equal(&world, &source).await;
    // Another table under the name that one had, and that one under another.
    source.execute("USE shop; RENAME TABLE orders TO kept; CREATE TABLE orders LIKE kept; INSERT INTO orders (m) VALUES (1); RENAME TABLE orders TO away, kept TO orders").unwrap();
    source.execute("USE shop; UPDATE orders SET m = m + 1, k = 5 WHERE id % 2 = 0; DROP TABLE away").unwrap();
    becomes_equal(&world, &source).await;
    assert_eq!(problem(&world, task, "orders").await, "");
}
