//! Logs of MySQL and MariaDB that are not written as by default: encrypted, and with parts of JSON values. Wrapped by `mariadb`
//! and `mysql`.

use serde_json::json;
use wavemark_tests::mysql_family::Server;

use crate::mysql_family::{CHANGES, Dialect, VALUES, WRITTEN, becomes, source, target_rows, task};
use crate::mysql_tables::reaches;
use crate::mysql_target::{becomes_equal, from_its_kind, no_table_is_parked, target};
use crate::world::{World, until};

/// A server gives its log as it was before it was encrypted. `is_encrypted` is whether the server says that it is.
pub(crate) async fn an_encrypted_log_is_followed<P: Dialect>(options: &[&str], is_encrypted: fn(&Server<P>) -> bool) {
    let source = source::<P>(options, VALUES);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    source.execute(CHANGES).unwrap();
    source.execute("FLUSH BINARY LOGS; INSERT INTO shop.keyless VALUES (8, 'behind')").unwrap();
    assert!(is_encrypted(&source), "the log is not encrypted");
    for (table, from, to) in WRITTEN {
        becomes(&world, table, to, &source.rows(from).unwrap()).await;
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}

const IN_PARTS: &str = "--binlog-row-value-options=PARTIAL_JSON";

/// Values that are large enough for what changed in them to be shorter.
const DOCUMENTS: &str = r#"CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
CREATE TABLE docs (id int PRIMARY KEY, j json, n int, k json); CREATE TABLE keyless (a int, j json);
INSERT INTO docs SELECT seq, JSON_OBJECT('a', seq, 'list', JSON_ARRAY(1, 2.5, 'x', NULL, true, REPEAT('-', 90)),
    'it''s a "key"', JSON_OBJECT('deep', JSON_ARRAY(JSON_OBJECT('b', 1.5), JSON_ARRAY()))), 0, JSON_ARRAY(REPEAT('x', 200), seq)
    FROM helpers.seq_1_to_20000 WHERE seq <= 50;
UPDATE docs SET j = JSON_SET(j, '$.large', REPEAT('y', 70000)) WHERE id IN (1, 2);
INSERT INTO keyless SELECT id % 5, k FROM docs;
"#;

const PARTS: [&str; 9] = [
    "UPDATE docs SET j = JSON_SET(j, '$.a', id * 1.5)",
    "UPDATE docs SET j = JSON_SET(j, '$.new', CAST('2024-02-29 12:00:00.5' AS DATETIME(6)), '$.list[9]', 'end', '$.list[10]', -7)",
    r#"UPDATE docs SET j = JSON_REMOVE(j, '$.list[1]', '$."it\'s a \\"key\\"".deep[0].b') WHERE id > 1"#,
    "UPDATE docs SET j = JSON_REPLACE(j, '$.list[0]', JSON_OBJECT('é', REPEAT('z', 100))), k = JSON_SET(k, '$[1]', 'k') WHERE id % 2 = 0",
    "UPDATE docs SET j = JSON_SET(j, '$.list[0].é', 18446744073709551615, '$.list[0].\"a.b[0]\"', false) WHERE id % 2 = 0",
    "UPDATE docs SET k = JSON_SET(k, '$[1]', JSON_OBJECT()), n = n + 1",
    "UPDATE docs SET j = NULL WHERE id = 3; UPDATE docs SET j = '{}' WHERE id = 3; UPDATE docs SET j = JSON_SET(j, '$.x', 1), n = 9 WHERE id = 3",
    "UPDATE docs SET id = id + 1000, j = JSON_SET(j, '$.moved', true), k = JSON_REMOVE(k, '$[1]') WHERE id % 7 = 0",
    "UPDATE keyless SET j = JSON_SET(j, '$[1]', a + 0.25) WHERE a < 3; DELETE FROM keyless WHERE a = 1 LIMIT 2",
];

/// Many more, by a number from which all follows.
fn random_parts(count: u32) -> String {
    const PATHS: [&str; 8] = ["$.a", "$.new", "$.r1", "$.r2.x", "$.list[0]", "$.list[2]", "$.list[last]", "$.r2"];
    const VALUES: [&str; 6] =
        ["1", "JSON_OBJECT('x', 1, 'yy', JSON_ARRAY(1, 2))", "'text'", "NULL", "JSON_ARRAY(1, JSON_OBJECT())", "2.75"];
    let mut number = 11_u64;
    let mut next = |below: usize| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(number >> 33).unwrap() % below
    };
    let mut sql = "USE shop;".to_owned();
    for _ in 0..count {
        let (path, value, id) = (PATHS[next(8)], VALUES[next(6)], next(50) + 1);
        let change = match next(4) {
            0 => format!("JSON_REMOVE(j, '{path}')"),
            1 => format!("JSON_REPLACE(j, '{path}', {value})"),
            _ => format!("JSON_SET(j, '{path}', {value}, '{}', {})", PATHS[next(8)], VALUES[next(6)]),
        };
        sql = format!("{sql} UPDATE docs SET j = {change} WHERE id = {id};");
    }
    sql
}

/// As MySQL writes it, and PostgreSQL, which has names in the same order.
const AS_TEXT: [(&str, &str); 2] = [
    (
        "SELECT concat_ws('|', id, n, j, k) FROM shop.docs ORDER BY id",
        "SELECT concat_ws('|', id, n, j::text, k::text) FROM shop.docs ORDER BY id",
    ),
    (
        "SELECT concat_ws('|', a, j) FROM shop.keyless ORDER BY a, CAST(j AS CHAR) COLLATE utf8mb4_bin",
        "SELECT concat_ws('|', a, j::text) FROM shop.keyless ORDER BY a, j::text COLLATE \"C\"",
    ),
];

fn change_parts<P: Dialect>(source: &Server<P>) {
    for sql in PARTS {
        source.execute(&format!("USE shop; {sql}")).unwrap();
    }
    source.execute(&random_parts(400)).unwrap();
    let said = source.rows("SHOW BINLOG EVENTS").unwrap();
    assert!(said.iter().any(|event| event.contains("Update_rows_partial")), "the log has no parts");
}

pub(crate) async fn json_that_is_logged_in_parts_comes_whole<P: Dialect>() {
    let source = source::<P>(&[IN_PARTS], DOCUMENTS);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    change_parts(&source);
    for (from, to) in AS_TEXT {
        becomes(&world, to, to, &source.rows(from).unwrap()).await;
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
    // What changed is of no use where the log has not what was before.
    source
        .execute(
            "USE shop; SET SESSION binlog_row_image = MINIMAL; UPDATE docs SET j = JSON_SET(j, '$.a', -1) WHERE id = 1; \
             INSERT INTO keyless VALUES (77, '[]')",
        )
        .unwrap();
    reaches(&world, task, "docs", "parked").await;
    let last = "SELECT j::text FROM shop.keyless WHERE a = 77";
    until(async || target_rows(&world, last).await == ["[]"]).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    let problem = tables.iter().find_map(|table| table.problem.clone()).unwrap();
    assert_eq!(problem.code, "row-incomplete");
    assert!(problem.text.contains("column j"), "{problem:?}");
}

pub(crate) async fn json_that_is_logged_in_parts_goes_to_a_server_of_its_kind<P: Dialect>() {
    let (from, to) = (source::<P>(&[IN_PARTS], DOCUMENTS), target::<P>(&["--local-infile=ON"]));
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    change_parts(&from);
    becomes_equal(&from, &to, &AS_TEXT.map(|(sql, _)| sql)).await;
    no_table_is_parked(&world, task).await;
}

/// Columns that the server keeps compressed, of the task's tables, with and without a key, and of a table beside them.
const COMPRESSED_COLUMNS: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE DATABASE other; USE shop;
CREATE TABLE packed (id int PRIMARY KEY, v varchar(1000) COMPRESSED, s varchar(9) COMPRESSED, t text COMPRESSED,
    b blob COMPRESSED, x longtext COMPRESSED CHARACTER SET latin1, n int);
CREATE TABLE loose (a int, v varchar(3000) COMPRESSED, b varbinary(900) COMPRESSED);
CREATE TABLE other.beside (id int PRIMARY KEY, t mediumtext COMPRESSED, v varchar(300) COMPRESSED);
INSERT INTO packed SELECT seq, repeat('aä', seq), 'x', repeat('y', seq * 9), repeat(x'00ff', seq), repeat('é', seq * 20), seq
    FROM helpers.seq_0_to_255 WHERE seq < 200;
INSERT INTO loose SELECT id % 7, repeat('€', id % 7 * 100), repeat(x'01', 800) FROM packed;
";

const COMPRESSED_CHANGES: &str = "USE shop; INSERT INTO other.beside VALUES (1, repeat('z', 9000), repeat('v', 300));
INSERT INTO packed SELECT id + 1000, v, s, t, b, x, n FROM packed;
INSERT INTO packed VALUES (2000, NULL, NULL, NULL, NULL, NULL, NULL), (2001, '', '', '', '', '', 0);
UPDATE packed SET v = concat(v, '!'), t = repeat('ü', 30000), b = NULL WHERE id % 3 = 0;
UPDATE packed SET v = '', x = repeat('long ', 200000) WHERE id % 50 = 1; UPDATE packed SET id = id + 5000 WHERE id < 20;
UPDATE packed SET n = n + 1 WHERE id % 2 = 0; DELETE FROM packed WHERE id % 11 = 0;
UPDATE loose SET b = repeat(x'02', 850) WHERE a = 3; DELETE FROM loose WHERE a = 2 LIMIT 5;
UPDATE other.beside SET v = repeat('w', 200); DELETE FROM other.beside;
ALTER TABLE packed ADD late varchar(500) COMPRESSED DEFAULT 'late', MODIFY s varchar(90), MODIFY n bigint;
INSERT INTO packed (id, v, s, late) VALUES (3000, repeat('v', 999), repeat('s', 80), repeat('l', 500));
";

pub(crate) async fn compressed_columns_come_as_they_are<P: Dialect>() {
    const WRITTEN: [(&str, &str); 2] = [
        (
            "SELECT concat_ws('|', id, ifnull(v, '-'), ifnull(s, '-'), md5(t), length(t), hex(b), md5(convert(x USING utf8mb4)), n) \
             FROM shop.packed ORDER BY id",
            "SELECT concat_ws('|', id, coalesce(v, '-'), coalesce(s, '-'), md5(t), octet_length(t), upper(encode(b, 'hex')), md5(x), n) \
             FROM shop.packed ORDER BY id",
        ),
        (
            "SELECT concat_ws('|', a, v, hex(b)) FROM shop.loose ORDER BY 1",
            "SELECT concat_ws('|', a, v, upper(encode(b, 'hex'))) FROM shop.loose ORDER BY 1",
        ),
    ];
    let source = source::<P>(&["--column-compression-threshold=50"], COMPRESSED_COLUMNS);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    for changes in ["", COMPRESSED_CHANGES] {
        source.execute(changes).unwrap();
        for (from, to) in WRITTEN {
            let rows = source.rows(from).unwrap();
            assert!(rows.len() > 190);
            becomes(&world, to, to, &rows).await;
        }
    }
    let late = "SELECT concat_ws('|', id, late) FROM shop.packed ORDER BY id";
    becomes(&world, late, late, &source.rows(late).unwrap()).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}
