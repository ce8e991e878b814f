//! What sessions of MySQL and MariaDB log as statements, and ways to write many rows at once. Wrapped by `mariadb` and `mysql`.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::mysql_family::Server;

use crate::mysql_family::{Dialect, becomes, source, task};
use crate::mysql_tables::reaches;
use crate::world::World;

const SHOP: &str = "CREATE DATABASE shop; CREATE DATABASE other; USE shop;
CREATE TABLE followed (id int PRIMARY KEY, v varchar(40)); INSERT INTO followed VALUES (1, 'one'), (2, 'two');
CREATE TABLE beside (id int PRIMARY KEY, v varchar(40)); INSERT INTO beside SELECT * FROM followed;
CREATE TABLE other.asked (id int PRIMARY KEY);
CREATE TRIGGER other.asks AFTER INSERT ON other.asked FOR EACH ROW INSERT INTO shop.followed VALUES (NEW.id, 'by a trigger');
";

const TABLES: [&str; 2] = ["followed", "beside"];

async fn started<P: Dialect>(source: &Server<P>) -> (World, Uuid) {
    let world = World::start().await;
    let task = task(&world, source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    (world, task)
}

async fn become_equal<P: Dialect>(world: &World, source: &Server<P>, tables: &[&str]) {
    for table in tables {
        let sql = format!("SELECT concat_ws('|', id, v) FROM shop.{table} ORDER BY id");
        becomes(world, table, &sql, &source.rows(&sql).unwrap()).await;
    }
}

async fn nothing_is_parked(world: &World, task: Uuid) {
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}

pub(crate) async fn a_statement_in_place_of_rows_parks_every_table<P: Dialect>() {
    let source = source::<P>(&[], SHOP);
    let (world, task) = started(&source).await;
    source.execute("INSERT INTO other.asked VALUES (10); UPDATE shop.beside SET v = 'rows' WHERE id = 1").unwrap();
    become_equal(&world, &source, &TABLES).await;
    nothing_is_parked(&world, task).await;
    // Nothing of what the trigger does stands in the log.
    source.execute("SET SESSION binlog_format = STATEMENT; INSERT INTO other.asked VALUES (11)").unwrap();
    for table in TABLES {
        reaches(&world, task, table, "parked").await;
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    let problems: Vec<_> = tables.iter().map(|table| table.problem.clone().unwrap()).collect();
    assert!(problems.iter().all(|problem| problem.code == "statement-logged"), "{problems:?}");
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "followed"), ("shop", "beside")]).await.unwrap();
    world.live(task).await;
    source.execute("INSERT INTO other.asked VALUES (12)").unwrap();
    become_equal(&world, &source, &TABLES).await;
}

pub(crate) async fn temporary_tables_hide_others_from_their_session_alone<P: Dialect>() {
    let source = source::<P>(&[], SHOP);
    let (world, task) = started(&source).await;
    // The session logs what it does to its own table, by the name of the one that is followed.
    let hidden = "CREATE TEMPORARY TABLE followed (id int PRIMARY KEY); TRUNCATE TABLE followed; \
        ALTER TABLE followed ADD c int; CREATE INDEX i ON followed (c); DROP INDEX i ON followed";
    let last = source.rows("SHOW BINARY LOGS").unwrap().last().unwrap().split('\t').next().unwrap().to_owned();
    source.execute(&format!("USE shop; SET SESSION binlog_format = STATEMENT; {hidden}; DROP TABLE followed")).unwrap();
    source.execute(&format!("USE shop; SET SESSION binlog_format = STATEMENT; {hidden}")).unwrap();
    let said = source.rows(&format!("SHOW BINLOG EVENTS IN '{last}'")).unwrap();
    assert!(said.iter().any(|event| event.contains("TRUNCATE TABLE followed")), "the log has nothing of it: {said:?}");
    source.execute("INSERT INTO shop.followed VALUES (3, 'three')").unwrap();
    become_equal(&world, &source, &TABLES).await;
    nothing_is_parked(&world, task).await;
    // What a procedure that has a temporary table does to ordinary ones counts.
    let procedure = "delimiter //\nCREATE PROCEDURE shop.p() BEGIN CREATE TEMPORARY TABLE staged (id int, v varchar(40)); \
        INSERT INTO staged VALUES (7, 'staged'); TRUNCATE TABLE followed; INSERT INTO followed SELECT * FROM staged; \
        DROP TEMPORARY TABLE staged; END//\ndelimiter ;\nCALL shop.p();\n";
    source.execute(procedure).unwrap();
    become_equal(&world, &source, &TABLES).await;
    nothing_is_parked(&world, task).await;
}

/// The server logs a statement that empties it. It is not followed, and others go on.
pub(crate) async fn a_table_of_memory_is_emptied_by_a_restart<P: Dialect>() {
    let mut source = source::<P>(&[], SHOP);
    source
        .execute("USE shop; CREATE TABLE fleeting (id int PRIMARY KEY, v varchar(9)) ENGINE = MEMORY; INSERT INTO fleeting VALUES (1, 'a')")
        .unwrap();
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    reaches(&world, task, "fleeting", "parked").await;
    become_equal(&world, &source, &TABLES).await;
    source.kill().unwrap();
    source.restart().unwrap();
    source.execute("INSERT INTO shop.fleeting VALUES (2, 'b'); INSERT INTO shop.beside VALUES (3, 'c')").unwrap();
    become_equal(&world, &source, &TABLES).await;
    for table in TABLES {
        reaches(&world, task, table, "live").await;
    }
}

pub(crate) async fn rows_of_every_way_to_write_many_come<P: Dialect>() {
    let source = source::<P>(&["--local-infile=ON", "--max-allowed-packet=64M"], SHOP);
    source.execute("CREATE TABLE shop.large (id int PRIMARY KEY, v longtext CHARACTER SET latin1)").unwrap();
    let (world, task) = started(&source).await;
    let loaded: Vec<String> = (100..2_000).map(|id| format!("{id}\tloaded {id}")).collect();
    load_data(&source, &loaded.join("\n"));
    // One event of more than the 16 MiB of a packet, and one with two such rows.
    source
        .execute(
            "USE shop; INSERT INTO large VALUES (1, repeat('0123456789', 1800000)); \
             INSERT INTO large SELECT id + 1, concat(v, id) FROM large; UPDATE large SET v = concat(v, '!') WHERE id = 2; \
             CREATE TABLE made AS SELECT id, v FROM followed; INSERT INTO made VALUES (5000, 'behind'); \
             REPLACE INTO beside VALUES (1, 'again'), (77, 'new'); INSERT IGNORE INTO beside VALUES (1, 'x'), (78, 'y'); \
             INSERT INTO beside VALUES (2, 'z') ON DUPLICATE KEY UPDATE v = 'twice'",
        )
        .unwrap();
    become_equal(&world, &source, &TABLES).await;
    let sum = |sum: &str| format!("SELECT concat_ws('|', id, length(v), {sum}) FROM shop.large ORDER BY id");
    let (from, to) = (sum("sha2(v, 256)"), sum("encode(sha256(convert_to(v, 'UTF8')), 'hex')"));
    becomes(&world, "large", &to, &source.rows(&from).unwrap()).await;
    reaches(&world, task, "made", "live").await;
    become_equal(&world, &source, &["made"]).await;
    nothing_is_parked(&world, task).await;
}

const IMAGES: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
CREATE TABLE wide (id int PRIMARY KEY, n int, s varchar(20) DEFAULT 'hey', b blob, x text, m int NOT NULL DEFAULT 7,
    g int AS (n + 1) STORED, v int AS (n + 2) VIRTUAL);
CREATE TABLE loose (a int, s varchar(20), b blob);
CREATE TABLE still (id int PRIMARY KEY, s varchar(20) DEFAULT 'hey'); INSERT INTO still VALUES (1, 'other');
INSERT INTO wide (id, n, s, b, x, m) SELECT seq, seq, concat('s', seq), repeat('b', seq), repeat('x', seq), seq
    FROM helpers.seq_0_to_255 WHERE seq < 60;
INSERT INTO loose SELECT id % 9, s, b FROM wide;
";

/// Rows that change, move and go, and rows that come with all of their columns but those that have no default.
fn changes_in(image: &str, from: u32) -> String {
    format!(
        "USE shop; SET SESSION binlog_row_image = {image}; UPDATE wide SET n = n + 1 WHERE id % 3 = 0; \
         UPDATE wide SET s = NULL, b = 'blob' WHERE id % 5 = 1; UPDATE wide SET x = NULL WHERE id % 7 = 2; \
         UPDATE wide SET id = id + {from} WHERE id BETWEEN 3 AND 9; UPDATE wide SET id = id + 1 WHERE id = 59; \
         UPDATE wide SET id = id + {from}, x = 'moved', m = m + 1 WHERE id BETWEEN 10 AND 12; DELETE FROM wide WHERE id % 11 = 4; \
         INSERT INTO wide (id, n, s, m) VALUES ({from}, 1, 's', 2), ({from} + 1, NULL, NULL, 3); \
         INSERT INTO wide (id, n, s, b, x, m) VALUES (1, 5, 'x', 'y', 'z', 1) ON DUPLICATE KEY UPDATE s = 'twice'; \
         INSERT INTO wide (id, n, s, x, m) VALUES ({from} + 2, 5, 'x', 'z', 1) ON DUPLICATE KEY UPDATE s = 'twice'; \
         UPDATE wide JOIN loose ON wide.id = loose.a SET wide.n = 77, loose.s = 'joined' WHERE loose.a = 1; \
         UPDATE loose SET s = 'loose' WHERE a = 3; DELETE FROM loose WHERE a = 2 LIMIT 1; INSERT INTO loose (a, s) VALUES (1, NULL);"
    )
}

pub(crate) async fn rows_that_leave_columns_out_come_whole_or_park_their_table<P: Dialect>() {
    const WRITTEN: [(&str, &str, &str); 3] = [
        (
            "wide",
            "SELECT concat_ws('|', id, n, ifnull(s, '-'), ifnull(hex(b), '-'), ifnull(x, '-'), m) FROM shop.wide ORDER BY id",
            "SELECT concat_ws('|', id, n, coalesce(s, '-'), coalesce(upper(encode(b, 'hex')), '-'), coalesce(x, '-'), m) \
             FROM shop.wide ORDER BY id",
        ),
        (
            "loose",
            "SELECT concat_ws('|', a, ifnull(s, '-'), ifnull(hex(b), '-')) FROM shop.loose ORDER BY a, s, b",
            "SELECT concat_ws('|', a, coalesce(s, '-'), coalesce(upper(encode(b, 'hex')), '-')) FROM shop.loose \
             ORDER BY a, s COLLATE \"C\" NULLS FIRST, b NULLS FIRST",
        ),
        (
            "still",
            "SELECT concat_ws('|', id, ifnull(s, '-')) FROM shop.still ORDER BY id",
            "SELECT concat_ws('|', id, coalesce(s, '-')) FROM shop.still ORDER BY id",
        ),
    ];
    let source = source::<P>(&[], IMAGES);
    let (world, task) = started(&source).await;
    let equal = async || {
        for (table, from, to) in WRITTEN {
            becomes(&world, table, to, &source.rows(from).unwrap()).await;
        }
    };
    for (image, from) in [("FULL", 1_000), ("NOBLOB", 2_000), ("MINIMAL", 3_000)] {
        source.execute(&changes_in(image, from)).unwrap();
        equal().await;
        nothing_is_parked(&world, task).await;
    }
    // What another row takes the place of gets its defaults, which MariaDB does not log.
    source.execute("USE shop; SET SESSION binlog_row_image = MINIMAL; REPLACE INTO still (id) VALUES (1)").unwrap();
    source.execute("INSERT INTO shop.loose VALUES (8, 'behind', NULL)").unwrap();
    if P::LOGS_REPLACED_WHOLE {
        equal().await;
    } else {
        comes_back(&world, task, "still").await;
    }
}

const DEFAULTS: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
CREATE TABLE given (id int AUTO_INCREMENT PRIMARY KEY, n int, u bigint unsigned DEFAULT 18446744073709551615,
    d decimal(9,3) NOT NULL DEFAULT 1.5, f double DEFAULT -3, s varchar(20) DEFAULT 'größe', c char(5) NOT NULL DEFAULT '',
    e enum('a','b') DEFAULT 'b', t set('x','y') DEFAULT 'x,y', dt datetime(3) DEFAULT '2024-02-29 01:02:03.5', da date,
    ti time DEFAULT '01:02:03', y year DEFAULT 2024, m timestamp NULL, at timestamp DEFAULT CURRENT_TIMESTAMP, x text, b bit(3));
CREATE TABLE triggered (id int PRIMARY KEY, a int DEFAULT 5, b int DEFAULT 6);
CREATE TRIGGER sets BEFORE INSERT ON triggered FOR EACH ROW SET NEW.b = NEW.id * 10;
CREATE TABLE lax (id int PRIMARY KEY, n int NOT NULL, s varchar(5) NOT NULL, e enum('a','b') NOT NULL, d decimal(5,2) NOT NULL);
INSERT INTO given (s) VALUES ('loaded');
";

pub(crate) async fn rows_that_leave_columns_out_have_their_defaults<P: Dialect>() {
    const MINIMAL: &str = "USE shop; SET SESSION binlog_row_image = MINIMAL; ";
    const GIVEN: (&str, &str) = (
        "SELECT concat_ws('|', id, ifnull(n, '-'), u, d, f, ifnull(s, '-'), c, ifnull(e, '-'), t, dt, ifnull(da, '-'), ti, y, \
         ifnull(m, '-'), ifnull(x, '-'), b IS NULL) FROM shop.given ORDER BY id",
        "SELECT concat_ws('|', id, coalesce(n::text, '-'), u, d, f, coalesce(s, '-'), c, coalesce(e::text, '-'), t, \
         to_char(dt, 'YYYY-MM-DD HH24:MI:SS.MS'), coalesce(da::text, '-'), ti, y, coalesce(m::text, '-'), coalesce(x, '-'), \
         (b IS NULL)::int) FROM shop.given ORDER BY id",
    );
    const MADE_AT: (&str, &str) = (
        "SELECT concat_ws('|', id, unix_timestamp(at)) FROM shop.given ORDER BY id",
        "SELECT concat_ws('|', id, extract(epoch from at)::bigint) FROM shop.given ORDER BY id",
    );
    const TRIGGERED: &str = "SELECT concat_ws('|', id, a, b) FROM shop.triggered ORDER BY id";
    const LAX: &str = "SELECT concat_ws('|', id, n, s, e, d) FROM shop.lax ORDER BY id";
    let source = source::<P>(&[], DEFAULTS);
    let (world, task) = started(&source).await;
    let equal = async || {
        let rows = [("given", GIVEN), ("given", MADE_AT), ("triggered", (TRIGGERED, TRIGGERED)), ("lax", (LAX, LAX))];
        for (table, (from, to)) in rows {
            becomes(&world, table, to, &source.rows(from).unwrap()).await;
        }
        nothing_is_parked(&world, task).await;
    };
    let execute = |sql: &str| source.execute(&format!("{MINIMAL}{sql}")).unwrap();
    execute(
        "INSERT INTO given () VALUES (); INSERT INTO given (n) VALUES (1), (2); INSERT INTO given (s, e) SELECT 'x', NULL; \
         INSERT INTO given SET d = 9; REPLACE INTO given (id) VALUES (100); \
         INSERT INTO given (id, n) VALUES (101, 1) ON DUPLICATE KEY UPDATE n = 2; INSERT INTO triggered (id) VALUES (7); \
         SET SESSION sql_mode = ''; INSERT INTO lax (id) VALUES (1)",
    );
    equal().await;
    // What a definition makes of a default holds for what comes behind it, also for who begins there.
    execute(
        "ALTER TABLE given MODIFY n int DEFAULT 42, MODIFY c char(5) NOT NULL DEFAULT 'c'; INSERT INTO given () VALUES ()",
    );
    execute("ALTER TABLE triggered MODIFY a int DEFAULT 55; INSERT INTO triggered (id) VALUES (8)");
    execute("ALTER TABLE triggered RENAME COLUMN a TO aa; INSERT INTO triggered (id) VALUES (9)");
    execute("ALTER TABLE triggered CHANGE aa a int DEFAULT 56 FIRST; INSERT INTO triggered (id) VALUES (10)");
    equal().await;
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    execute("INSERT INTO given () VALUES (); ALTER TABLE given MODIFY n int; INSERT INTO given () VALUES ()");
    world.installation.api.act(task, "resume").await.unwrap();
    equal().await;
    // What is set alone is not followed: a row that says nothing of it ends its table, and no other does.
    execute("ALTER TABLE given ALTER n SET DEFAULT 43; INSERT INTO given (n) VALUES (1)");
    equal().await;
    execute("INSERT INTO given () VALUES ()");
    comes_back(&world, task, "given").await;
    execute("INSERT INTO given () VALUES ()");
    equal().await;
}

/// A table is parked for a row that is not whole, and loaded again.
async fn comes_back(world: &World, task: Uuid, table: &str) {
    reaches(world, task, table, "parked").await;
    let tables = world.installation.api.tables(task).await.unwrap();
    let parked = tables.iter().find(|one| one.source.table == table).unwrap();
    assert_eq!(parked.problem.as_ref().unwrap().code, "row-incomplete");
    world.installation.api.ask_of_tables(task, "reload", &[("shop", table)]).await.unwrap();
    world.live(task).await;
}

fn load_data<P: Dialect>(source: &Server<P>, rows: &str) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rows.as_bytes()).unwrap();
    let mut client = source.root();
    client.arg("--local-infile=1").stdin(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let sql = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE shop.followed", file.path().display());
    client.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    assert!(client.wait().unwrap().success());
}
