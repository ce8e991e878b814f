//! Single tables of a task that follows MySQL or MariaDB: loaded again, come, gone; and the test of an endpoint. Wrapped by
//! `mariadb` and `mysql`.

use serde_json::json;
use uuid::Uuid;

use crate::mysql_family::{Dialect, source, target_rows, task};
use crate::mysql_target as copies;
use crate::world::{World, until};

const TABLES: &str = "CREATE DATABASE shop; USE shop; CREATE TABLE one (id int PRIMARY KEY, n int); \
    CREATE TABLE two LIKE one; INSERT INTO one VALUES (1, 1), (2, 2); INSERT INTO two VALUES (1, 1);";

async fn state(world: &World, task: Uuid, table: &str) -> String {
    let tables = world.installation.api.tables(task).await.unwrap_or_default();
    tables.iter().find(|one| one.source.table == table).map_or_else(String::new, |one| one.state.clone())
}

pub(crate) async fn reaches(world: &World, task: Uuid, table: &str, wanted: &str) {
    until(async || state(world, task, table).await == wanted).await;
}

async fn has(world: &World, sql: &str, wanted: &[&str]) {
    until(async || target_rows(world, sql).await == wanted).await;
}

fn rows_of(table: &str) -> String {
    format!("SELECT concat_ws(':', id, n) FROM shop.{table} ORDER BY id")
}

/// A table that was altered is parked, and loaded again while the other goes on.
pub(crate) async fn a_parked_table_is_loaded_again_beside_the_others<P: Dialect>() {
    let source = source::<P>(&[], TABLES);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    source
        .execute("USE shop; ALTER TABLE one ADD COLUMN m varchar(9) DEFAULT (concat('y', 'z')); INSERT INTO one VALUES (3, 3, 'x')")
        .unwrap();
    reaches(&world, task, "one", "parked").await;
    source.execute("UPDATE shop.one SET n = 30 WHERE id = 3; UPDATE shop.two SET n = 7").unwrap();
    has(&world, &rows_of("two"), &["1:7"]).await;
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "one")]).await.unwrap();
    reaches(&world, task, "one", "live").await;
    source
        .execute("USE shop; INSERT INTO one VALUES (4, 4, 'y'); DELETE FROM one WHERE id = 1; UPDATE two SET n = 8")
        .unwrap();
    has(&world, "SELECT concat_ws(':', id, n, m) FROM shop.one ORDER BY id", &["2:2:yz", "3:30:x", "4:4:y"]).await;
    has(&world, &rows_of("two"), &["1:8"]).await;
}

/// A table that comes is loaded and followed by itself, also where nobody writes on and the bookmark stays before it came.
pub(crate) async fn a_table_that_comes_is_taken_up<P: Dialect>() {
    let source = source::<P>(&[], TABLES);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({"idle_seconds": 600})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    source
        .execute("USE shop; CREATE TABLE three (id int PRIMARY KEY, n int); INSERT INTO three VALUES (1, 1)")
        .unwrap();
    reaches(&world, task, "three", "live").await;
    source.execute("INSERT INTO shop.three VALUES (2, 2); UPDATE shop.one SET n = 9 WHERE id = 2").unwrap();
    has(&world, &rows_of("three"), &["1:1", "2:2"]).await;
    has(&world, &rows_of("one"), &["1:1", "2:9"]).await;
}

/// A table that is dropped goes, or stays with its last rows, as the task says.
pub(crate) async fn a_table_that_is_dropped_goes_as_the_task_says<P: Dialect>() {
    let source = source::<P>(&[], TABLES);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({"dropped_tables": "apply"})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    source.execute("USE shop; INSERT INTO one VALUES (3, 3); DROP TABLE one; INSERT INTO two VALUES (2, 2)").unwrap();
    has(&world, "SELECT coalesce(to_regclass('shop.one')::text, 'gone')", &["gone"]).await;
    has(&world, &rows_of("two"), &["1:1", "2:2"]).await;
    assert_eq!(state(&world, task, "two").await, "live");
}

/// The steps of an endpoint's test that did not pass, each with what mends it.
async fn failed_steps<P: Dialect>(world: &World, port: u16, user: &str) -> Vec<(String, String)> {
    let api = &world.installation.api;
    let settings = json!({"host": "127.0.0.1", "port": port, "user": user, "tls_mode": P::TLS});
    let endpoint = api.create_endpoint_of("mysql", user, "source", &settings, "it's a secret").await.unwrap();
    let outcome = api.test_endpoint(endpoint).await.unwrap().outcome.unwrap();
    let failed = outcome["steps"].as_array().unwrap().iter().filter(|step| step["passed"] == false);
    failed.map(|step| (step["name"].as_str().unwrap().to_owned(), step["mend"].to_string())).collect()
}

/// What an endpoint lacks is named by its test, with the statement that mends it.
pub(crate) async fn what_an_endpoint_lacks_is_named_with_its_cure<P: Dialect>() {
    let source = source::<P>(&["--sync-binlog=1"], TABLES);
    source
        .execute(
            "CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'it''s a secret'; GRANT SELECT ON *.* TO reader@'127.0.0.1'; \
             CREATE USER looker@'127.0.0.1' IDENTIFIED BY 'it''s a secret'; CREATE USER nobody@'127.0.0.1' IDENTIFIED BY 'it''s a secret';",
        )
        .unwrap();
    let world = World::start().await;
    assert_eq!(failed_steps::<P>(&world, source.port(), "wavemark").await, []);
    let lacks = failed_steps::<P>(&world, source.port(), "reader").await;
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert!(lacks[0].0 == "log" && lacks[0].1.contains("GRANT REPLICATION SLAVE"), "{lacks:?}");
    // It may ask where the log ends, and not have it.
    let monitor = P::MONITOR;
    source.execute(&format!("GRANT SELECT, RELOAD, {monitor} ON *.* TO looker@'127.0.0.1'")).unwrap();
    let lacks = failed_steps::<P>(&world, source.port(), "looker").await;
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert!(lacks[0].0 == "log" && lacks[0].1.contains("GRANT REPLICATION SLAVE ON"), "{lacks:?}");
    let lacks = failed_steps::<P>(&world, source.port(), "nobody").await;
    assert!(lacks.iter().any(|(name, mend)| name == "read tables" && mend.contains("GRANT SELECT")), "{lacks:?}");
    let lacks = failed_steps::<P>(&world, source.port(), "stranger").await;
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert_eq!(lacks[0].0, "log in");
}

/// What a copy will not have is named before, with the statement that makes it; so is a log that is kept for too short a time,
/// and one that a task which stands still is about to lose.
pub(crate) async fn what_is_not_carried_over_and_a_log_that_is_kept_short_are_told<P: Dialect>() {
    let source = source::<P>(
        &["--binlog-expire-logs-seconds=1800"],
        "CREATE DATABASE shop; USE shop; CREATE TABLE one (id int PRIMARY KEY, n int CHECK (n > 0), word varchar(200), \
         twice int AS (n * 2) STORED, at timestamp NULL ON UPDATE CURRENT_TIMESTAMP, KEY beginnings (word(10)), \
         FULLTEXT KEY words (word), CONSTRAINT small CHECK (n < 100), KEY whole (n)); \
         INSERT INTO one (id, n) VALUES (1, 1);",
    );
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    let api = &world.installation.api;
    let outcome = api.assess(task).await.unwrap().outcome.unwrap();
    let found = outcome["findings"].as_array().unwrap();
    let of = |code: &str| found.iter().filter(|finding| finding["code"] == code).collect::<Vec<_>>();
    let texts: Vec<&str> = of("not-carried-over").iter().map(|finding| finding["text"].as_str().unwrap()).collect();
    for what in [
        "column twice, which is computed",
        "update sets column at",
        "index beginnings",
        "index words",
        "check small",
        "check ",
    ] {
        assert!(texts.iter().any(|text| text.contains(what)), "{what}: {texts:?}");
    }
    assert!(!texts.iter().any(|text| text.contains("whole")), "{texts:?}");
    let mend = of("not-carried-over").iter().map(|finding| finding["mend"].to_string()).collect::<String>();
    assert!(mend.contains("ALTER TABLE `shop`.`one` ADD INDEX `beginnings` (`word`(10));"), "{mend}");
    assert!(of("log-kept-short")[0]["text"].as_str().unwrap().contains("30 minutes"), "{found:?}");

    api.act(task, "start").await.unwrap();
    world.live(task).await;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    source.execute("FLUSH BINARY LOGS; INSERT INTO shop.one (id, n) VALUES (2, 2); FLUSH BINARY LOGS").unwrap();
    let path = format!("/tasks/{task}");
    crate::world::until_within(std::time::Duration::from_mins(2), || async {
        let shown: serde_json::Value = api.get(&path).await.unwrap();
        shown.to_string().contains("log-near-age")
    })
    .await;
}

/// A table of all that only a server of its own kind can have.
const ONE: &str = "CREATE DATABASE shop; USE shop; CREATE TABLE one (id int PRIMARY KEY, n int, word varchar(200), \
    twice int AS (n * 2) STORED, said varchar(250) AS (concat(word, ', it''s \"so\"')) VIRTUAL, \
    kind varchar(9) DEFAULT (concat('it''s', 1)), place point NOT NULL, extra int, \
    at timestamp NULL ON UPDATE CURRENT_TIMESTAMP, KEY beginnings (word(10)), UNIQUE KEY of_computed (twice, id), \
    UNIQUE KEY of_kind (kind, id), \
    FULLTEXT KEY words (word), SPATIAL KEY places (place), CONSTRAINT positive CHECK (n > 0), \
    CONSTRAINT known CHECK (kind IN ('it''s1', 'b\\\\c'))); \
    INSERT INTO one (id, n, word, place) VALUES (1, 1, 'a', point(1, 2)), (4, 4, 'd', point(3, 4));";

/// Changes of its rows.
const OTHERWISE: &str = "USE shop; INSERT INTO one (id, n, word, place) VALUES (2, 2, 'b', point(0, 0)), \
    (3, 3, NULL, point(0, 1)); UPDATE one SET n = 5, word = 'c' WHERE id = 1; DELETE FROM one WHERE id = 3; \
    UPDATE one SET kind = 'b\\\\c' WHERE id = 2";

const CHECKS: &str = "SELECT constraint_name, check_clause FROM information_schema.check_constraints \
    WHERE constraint_schema = 'shop' ORDER BY 1";
const INDEXES: &str = "SELECT index_name, seq_in_index, column_name, sub_part, index_type, non_unique \
    FROM information_schema.statistics WHERE table_schema = 'shop' ORDER BY 1, 2";
const COMPUTED: &str = "SELECT column_name, column_type, extra, generation_expression FROM information_schema.columns \
    WHERE table_schema = 'shop' AND generation_expression <> '' ORDER BY 1";

/// What each finding of that kind is, with the statement that mends it.
pub(crate) async fn not_carried_over(world: &World, task: Uuid) -> Vec<(String, String)> {
    let outcome = world.installation.api.assess(task).await.unwrap().outcome.unwrap();
    let found = outcome["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == "not-carried-over");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    found.map(|finding| (text(&finding["text"]), text(&finding["mend"]))).collect()
}

/// A copy of the same kind has it all but what acts at updates, and goes on when a column goes on which some of it hangs.
pub(crate) async fn what_only_its_own_kind_has_is_carried_over<P: Dialect>() {
    let source = source::<P>(&[], ONE);
    let (target, world) = (copies::target::<P>(&["--local-infile=ON"]), World::start().await);
    let task = copies::from_its_kind(&world, &source, &target, &json!({})).await;
    world.live(task).await;
    let left = not_carried_over(&world, task).await;
    assert!(left.len() == 1 && left[0].0.contains("that each update sets column at"), "{left:?}");
    copies::becomes_equal(&source, &target, &[CHECKS, INDEXES, COMPUTED]).await;
    source.execute(OTHERWISE).unwrap();
    let rows = "SELECT id, n, word, twice, said, kind, ST_AsText(place), extra FROM shop.one ORDER BY id";
    copies::becomes_equal(&source, &target, &[rows]).await;

    source.execute("ALTER TABLE shop.one DROP CONSTRAINT positive, DROP INDEX of_computed, DROP COLUMN twice, RENAME COLUMN n TO m").unwrap();
    source.execute("ALTER TABLE shop.one DROP CONSTRAINT known, DROP INDEX of_kind, DROP COLUMN kind").unwrap();
    source.execute("INSERT INTO shop.one (id, m, word, place) VALUES (6, -6, 'f', point(6, 6))").unwrap();
    let rows = "SELECT id, m, word, said, ST_AsText(place), extra FROM shop.one ORDER BY id";
    copies::becomes_equal(&source, &target, &[rows, CHECKS, COMPUTED]).await;
    copies::no_table_is_parked(&world, task).await;

    // A column that is computed otherwise is none that the copy could compute, and one with values may come in its place.
    source.execute("ALTER TABLE shop.one MODIFY COLUMN said varchar(250) AS (concat(word, '!')) VIRTUAL").unwrap();
    source.execute("INSERT INTO shop.one (id, m, word, place) VALUES (7, 7, 'g', point(7, 7))").unwrap();
    let rows = "SELECT id, m, word, ST_AsText(place), extra FROM shop.one ORDER BY id";
    copies::becomes_equal(&source, &target, &[rows]).await;
    assert_eq!(target.rows(COMPUTED).unwrap(), Vec::<String>::new());
    source.execute("ALTER TABLE shop.one ADD COLUMN twice int AS (m * 2) VIRTUAL").unwrap();
    source.execute("ALTER TABLE shop.one DROP COLUMN said, ADD COLUMN said varchar(250)").unwrap();
    source.execute("UPDATE shop.one SET said = 'by hand' WHERE id = 7").unwrap();
    let rows = "SELECT id, m, word, said, ST_AsText(place), extra FROM shop.one ORDER BY id";
    copies::becomes_equal(&source, &target, &[rows]).await;
    copies::no_table_is_parked(&world, task).await;

    // Loaded again it has what the source has now.
    source.execute("ALTER TABLE shop.one ADD CONSTRAINT small CHECK (m < 100)").unwrap();
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    world.installation.api.act(task, "reload").await.unwrap();
    world.live(task).await;
    copies::becomes_equal(&source, &target, &[rows, CHECKS, COMPUTED]).await;
}

/// The statements that are told for what is not carried over are such that a server of the kind takes, also while it is followed:
/// of a table whose copy lacks a column nothing of that is made.
pub(crate) async fn what_is_not_carried_over_can_be_made_by_hand<P: Dialect>() {
    let source = source::<P>(&[], ONE);
    let (target, world) = (copies::target::<P>(&["--local-infile=ON"]), World::start().await);
    let mut rules = wavemark_tests::pair::whole_schema("shop");
    rules.as_array_mut().unwrap().push(json!({
        "rule-type": "transformation", "rule-id": "2", "rule-name": "without extra", "rule-action": "remove-column",
        "rule-target": "column", "object-locator": {"schema-name": "shop", "table-name": "one", "column-name": "extra"},
    }));
    let task = copies::mapped_from_its_kind(&world, &source, &target, &rules, &json!({})).await;
    world.live(task).await;
    let left = not_carried_over(&world, task).await;
    assert_eq!(left.len(), 10, "{left:?}");
    let statements: Vec<&str> = left.iter().map(|(_, statement)| statement.as_str()).collect();
    target.execute(&statements.join("\n")).unwrap();
    source.execute(OTHERWISE).unwrap();
    let rows = "SELECT id, n, word, twice, said, kind, ST_AsText(place) FROM shop.one ORDER BY id";
    copies::becomes_equal(&source, &target, &[rows]).await;
    copies::no_table_is_parked(&world, task).await;
    copies::becomes_equal(&source, &target, &[CHECKS, INDEXES, COMPUTED]).await;
}

/// A server that keeps no more than so many bytes of log drops what a task that stands still has not read.
pub(crate) async fn a_log_that_is_kept_by_its_size_is_told<P: Dialect>() {
    let source = source::<P>(
        &["--max-binlog-total-size=1048576"],
        "CREATE DATABASE shop; CREATE TABLE shop.one (id int AUTO_INCREMENT PRIMARY KEY, word varchar(200))",
    );
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    let api = &world.installation.api;
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    source.execute("INSERT INTO shop.one (word) VALUES ('a')").unwrap();
    has(&world, "SELECT word FROM shop.one", &["a"]).await;
    let path = format!("/tasks/{task}");
    let shown = async || -> serde_json::Value { api.get(&path).await.unwrap() };
    until(async || shown().await["progress"]["log_limit_bytes"] == 1_048_576).await;
    assert!(!shown().await.to_string().contains("log-near-limit"));
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    source
        .execute("INSERT INTO shop.one (word) SELECT repeat('x', 200) FROM helpers.seq_1_to_20000 WHERE seq <= 3900")
        .unwrap();
    crate::world::until_within(std::time::Duration::from_mins(2), async || {
        shown().await.to_string().contains("log-near-limit")
    })
    .await;
}
