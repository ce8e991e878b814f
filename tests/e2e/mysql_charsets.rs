//! Texts of MySQL and MariaDB in every character set that the server has, each character of it. Wrapped by `mariadb` and
//! `mysql`.

use serde_json::json;
use wavemark_tests::mysql_family::Server;

use crate::mysql_family::{Dialect, becomes, source, target_rows, task};
use crate::mysql_tables::reaches;
use crate::mysql_target::{becomes_equal, from_its_kind, no_table_is_parked, target};
use crate::world::{World, until};

/// The sets whose texts are no form of Unicode, each with the most bytes of a character.
fn sets<P: Dialect>(server: &Server<P>) -> Vec<(String, u8)> {
    let sql = "SELECT CONCAT(character_set_name, ' ', maxlen) FROM information_schema.character_sets \
        WHERE character_set_name NOT IN ('ascii', 'binary', 'ucs2') AND character_set_name NOT LIKE 'utf%' ORDER BY 1";
    let rows = server.rows(sql).unwrap();
    let of = |row: &String| row.split_once(' ').map(|(name, most)| (name.to_owned(), most.parse().unwrap()));
    rows.iter().filter_map(of).collect()
}

/// Numbers whose bytes may be a character of so many bytes, and by how much they are divided to be put together in rows.
const NUMBERS: [(&str, u32); 4] = [
    ("SELECT seq AS n FROM helpers.seq_0_to_255 WHERE seq > 0", 16),
    ("SELECT a.seq * 256 + b.seq AS n FROM helpers.seq_0_to_255 a JOIN helpers.seq_0_to_255 b WHERE a.seq > 127", 256),
    (
        "SELECT 143 * 65536 + a.seq * 256 + b.seq AS n FROM helpers.seq_0_to_255 a JOIN helpers.seq_0_to_255 b \
         WHERE a.seq > 160 AND b.seq > 160",
        256,
    ),
    (
        "SELECT ((a.seq * 256 + b.seq) * 256 + c.seq) * 256 + d.seq AS n FROM helpers.seq_0_to_255 a \
         JOIN helpers.seq_0_to_255 b JOIN helpers.seq_0_to_255 c JOIN helpers.seq_0_to_255 d WHERE a.seq BETWEEN 129 AND 254 \
         AND b.seq BETWEEN 48 AND 57 AND c.seq BETWEEN 129 AND 254 AND d.seq BETWEEN 48 AND 57",
        65_536,
    ),
];

/// A table of every character that the server converts, in rows of many; it is found by `becomes` as both systems write it.
fn fill<P: Dialect>(server: &Server<P>, set: &str, most: u8) {
    let mut sql = format!(
        "SET SESSION sql_mode = '', group_concat_max_len = 10000000; USE shop; CREATE TABLE t_{set} (id bigint PRIMARY KEY, \
         c text CHARACTER SET {set}, v varchar(200) CHARACTER SET {set}, f char(9) CHARACTER SET {set});"
    );
    let lengths = match (set, most) {
        (_, 1) => &[1][..],
        (_, 2) => &[1, 2],
        (_, 3) => &[1, 2, 3],
        _ => &[1, 2, 4],
    };
    for length in lengths {
        let (numbers, by) = NUMBERS[length - 1];
        sql = format!(
            "{sql} INSERT INTO t_{set} (id, c) SELECT n DIV {by} + {length} * 10000000000, \
             UNHEX(GROUP_CONCAT(HEX(CHAR(n USING {set})) ORDER BY n SEPARATOR '')) FROM ({numbers}) AS numbers \
             WHERE LENGTH(CHAR(n USING {set})) = {length} AND CHAR_LENGTH(CHAR(n USING {set})) = 1 \
             AND CHAR_LENGTH(CONVERT(CHAR(n USING {set}) USING utf8mb4)) = 1 \
             AND (HEX(CONVERT(CHAR(n USING {set}) USING utf8mb4)) <> '3F' OR n = 63) GROUP BY n DIV {by};"
        );
    }
    sql = format!("{sql} UPDATE t_{set} SET v = LEFT(c, 200), f = RIGHT(c, 9);");
    server.execute(&sql).unwrap();
    let count = server.rows(&format!("SELECT SUM(CHAR_LENGTH(c)) FROM shop.t_{set}")).unwrap();
    let least = if most == 1 { 120 } else { 6_000 };
    assert!(count[0].parse::<u32>().unwrap() > least, "{set} has {count:?} characters");
}

/// The same in rows that come and rows that change, all by the log.
fn change<P: Dialect>(server: &Server<P>, set: &str) {
    server
        .execute(&format!(
            "USE shop; INSERT INTO t_{set} SELECT -id, c, v, f FROM t_{set}; \
             UPDATE t_{set} SET c = v, v = f, f = LEFT(v, 9) WHERE id > 0"
        ))
        .unwrap();
}

/// The rows of a set's table as the one system writes them, and the other.
fn written(set: &str) -> (String, String) {
    let (there, here): (Vec<String>, Vec<String>) = ["c", "v", "f"]
        .iter()
        .map(|name| {
            (
                format!("HEX(CONVERT({name} USING utf8mb4))"),
                format!("upper(encode(convert_to({name}::text, 'UTF8'), 'hex'))"),
            )
        })
        .unzip();
    let from = |columns: Vec<String>| {
        format!("SELECT concat_ws('|', id, {}) FROM shop.t_{set} ORDER BY id", columns.join(", "))
    };
    (from(there), from(here))
}

pub(crate) async fn every_character_of_every_set_is_what_the_server_says<P: Dialect>() {
    let source = source::<P>(&[], "CREATE DATABASE shop");
    let sets = sets(&source);
    assert!(sets.len() > 30, "{sets:?}");
    for (set, most) in &sets {
        fill(&source, set, *most);
    }
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    for (set, _) in &sets {
        let (there, here) = written(set);
        becomes(&world, set, &here, &source.rows(&there).unwrap()).await;
    }
    for (set, _) in &sets {
        change(&source, set);
    }
    for (set, _) in &sets {
        let (there, here) = written(set);
        becomes(&world, set, &here, &source.rows(&there).unwrap()).await;
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}

pub(crate) async fn every_character_of_every_set_goes_to_a_server_of_its_kind<P: Dialect>() {
    let (from, to) = (source::<P>(&[], "CREATE DATABASE shop"), target::<P>(&["--local-infile=ON"]));
    let sets = sets(&from);
    for (set, most) in &sets {
        fill(&from, set, *most);
    }
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    let rows: Vec<String> = sets.iter().map(|(set, _)| written(set).0).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    becomes_equal(&from, &to, &rows).await;
    for (set, _) in &sets {
        change(&from, set);
    }
    becomes_equal(&from, &to, &rows).await;
    no_table_is_parked(&world, task).await;
    let declared = "SELECT table_name, column_name, column_type, character_set_name, collation_name \
        FROM information_schema.columns WHERE table_schema = 'shop' ORDER BY table_name, ordinal_position";
    becomes_equal(&from, &to, &[declared]).await;
}

/// Labels, a column that comes in a set of which the server was not asked yet, a table altered to another set.
const LATER: &str = "USE shop; INSERT INTO labels VALUES (2, 'ё', 'ソ,中'), (3, 'Ж', ''); UPDATE labels SET e = 'ё' WHERE id = 1; \
    ALTER TABLE altered ADD c varchar(20) CHARACTER SET big5; INSERT INTO altered VALUES (2, 'č', '中文'); \
    ALTER TABLE altered MODIFY t varchar(20) CHARACTER SET utf8mb4; UPDATE altered SET t = 'č😀', c = '功' WHERE id = 2;";

pub(crate) async fn texts_that_unicode_lacks_park_their_table_and_no_other<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
         CREATE TABLE loaded (id int PRIMARY KEY, odd varchar(20) CHARACTER SET gbk); CREATE TABLE logged LIKE loaded; \
         CREATE TABLE halves (id int PRIMARY KEY, odd varchar(20) CHARACTER SET ucs2); \
         CREATE TABLE altered (id int PRIMARY KEY, t varchar(20) CHARACTER SET latin2); INSERT INTO altered VALUES (1, 'Řž'); \
         CREATE TABLE labels (id int PRIMARY KEY, e enum('Ж', 'ё') CHARACTER SET koi8r, s set('ソ', '中') CHARACTER SET sjis); \
         INSERT INTO labels VALUES (1, 'Ж', 'ソ'); INSERT INTO logged VALUES (1, '中?');",
    );
    // A character of the set for which the server has none of Unicode: it would give a question mark.
    let odd = "SELECT HEX(MIN(n)) FROM (SELECT a.seq * 256 + b.seq AS n FROM helpers.seq_0_to_255 a JOIN helpers.seq_0_to_255 b \
        WHERE a.seq > 127) AS numbers WHERE CHAR_LENGTH(CHAR(n USING gbk)) = 1 AND LENGTH(CHAR(n USING gbk)) = 2 \
        AND HEX(CONVERT(CHAR(n USING gbk) USING utf8mb4)) = '3F'";
    let odd = source.rows(odd).unwrap().remove(0);
    source
        .execute(&format!("INSERT INTO shop.loaded VALUES (1, x'{odd}'); INSERT INTO shop.halves VALUES (1, x'D83D')"))
        .unwrap();
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    for table in ["loaded", "halves"] {
        reaches(&world, task, table, "parked").await;
    }
    for table in ["logged", "altered", "labels"] {
        reaches(&world, task, table, "live").await;
    }
    source.execute(LATER).unwrap();
    source
        .execute(&format!("INSERT INTO shop.logged VALUES (2, 'ok'); INSERT INTO shop.logged VALUES (3, x'{odd}')"))
        .unwrap();
    reaches(&world, task, "logged", "parked").await;
    for (sql, expected) in [
        ("SELECT concat_ws('|', id, odd) FROM shop.logged ORDER BY id", &["1|中?", "2|ok"][..]),
        ("SELECT concat_ws('|', id, t, c) FROM shop.altered ORDER BY id", &["1|Řž", "2|č😀|功"]),
        ("SELECT concat_ws('|', id, e, s) FROM shop.labels ORDER BY id", &["1|ё|ソ", "2|ё|ソ,中", "3|Ж|"]),
    ] {
        until(async || target_rows(&world, sql).await == expected).await;
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    for table in &tables {
        let problem = table.problem.as_ref().map(|problem| (problem.code.as_str(), problem.text.contains("odd")));
        let is_parked = matches!(table.source.table.as_str(), "loaded" | "logged" | "halves");
        assert_eq!(problem, is_parked.then_some(("value-unreadable", true)), "{tables:?}");
    }
}
