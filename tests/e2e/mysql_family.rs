//! MySQL and MariaDB as a source: what is there is loaded into PostgreSQL and the log followed, and compared as each system
//! itself writes it.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::api::Task;
use wavemark_tests::mariadb::Installed;
use wavemark_tests::mysql::{Unpacked, WithKeyring};
use wavemark_tests::mysql_family::{Copies, Server};
use wavemark_tests::pair::{self, TARGET};

use crate::world::World;

pub(crate) const PASSWORD: &str = "it's a secret";

/// What the two systems call otherwise.
pub(crate) trait Dialect: Copies + Send + Sync {
    /// A right by its name.
    const MONITOR: &str;
    /// How its servers are reached without a certificate that could be checked.
    const TLS: &str;
    /// What has a server compress its log, and what it calls an event that is compressed.
    const COMPRESSED: &[&str];
    const COMPRESSED_EVENT: &str;
    /// Whether a row that takes another's place is logged with all of its columns, whatever `binlog_row_image` says.
    const LOGS_REPLACED_WHOLE: bool;
    /// Whether the log has what foreign keys do to rows by themselves.
    const LOGS_ACTIONS: bool;
    /// Has a server that copies another get transactions without executing them; go on.
    const HOLD: &str;
    const GO_ON: &str;
    /// Begins the log anew.
    const RESET: &str;
    /// Has a statement's transaction numbered apart from others.
    fn numbered_apart(sql: &str) -> String;
    /// A statement in the words of this system.
    fn words(sql: &str) -> String {
        sql.to_owned()
    }
    /// Makes tables of numbers, which MariaDB has by itself.
    fn numbers(_: &Server<Self>) {}
}

impl Dialect for Installed {
    const MONITOR: &str = "BINLOG MONITOR, SLAVE MONITOR";
    const TLS: &str = "disable";
    const LOGS_REPLACED_WHOLE: bool = false;
    const LOGS_ACTIONS: bool = false;
    const COMPRESSED: &[&str] = &["--log-bin-compress=ON", "--log-bin-compress-min-len=10"];
    const COMPRESSED_EVENT: &str = "Write_rows_compressed";
    const HOLD: &str = "STOP SLAVE SQL_THREAD";
    const GO_ON: &str = "START SLAVE SQL_THREAD";
    const RESET: &str = "RESET MASTER";

    fn numbered_apart(sql: &str) -> String {
        format!("SET gtid_domain_id = 7; {sql}")
    }
}

impl Dialect for Unpacked {
    const MONITOR: &str = "REPLICATION CLIENT";
    const TLS: &str = "require";
    const LOGS_REPLACED_WHOLE: bool = true;
    const LOGS_ACTIONS: bool = true;
    const COMPRESSED: &[&str] = &["--binlog-transaction-compression=ON"];
    const COMPRESSED_EVENT: &str = "Transaction_payload";
    const HOLD: &str = "STOP REPLICA SQL_THREAD";
    const GO_ON: &str = "START REPLICA SQL_THREAD";
    const RESET: &str = "RESET BINARY LOGS AND GTIDS";

    fn numbered_apart(sql: &str) -> String {
        format!("SET gtid_next = 'AUTOMATIC:blue'; {sql}")
    }

    fn words(sql: &str) -> String {
        sql.replace("u uuid", "u char(36)")
    }

    fn numbers(server: &Server<Self>) {
        for (from, to) in [(0, 255), (1, 20_000), (1, 60_000)] {
            let name = format!("helpers.seq_{from}_to_{to}");
            server
                .execute(&format!(
                    "SET cte_max_recursion_depth = 100000; CREATE TABLE {name} (seq int PRIMARY KEY); \
                     INSERT INTO {name} WITH RECURSIVE n AS (SELECT {from} AS seq UNION ALL SELECT seq + 1 FROM n \
                     WHERE seq < {to}) SELECT seq FROM n;"
                ))
                .unwrap();
        }
    }
}

impl Dialect for WithKeyring {
    const MONITOR: &str = Unpacked::MONITOR;
    const TLS: &str = Unpacked::TLS;
    const LOGS_REPLACED_WHOLE: bool = Unpacked::LOGS_REPLACED_WHOLE;
    const LOGS_ACTIONS: bool = Unpacked::LOGS_ACTIONS;
    const COMPRESSED: &[&str] = Unpacked::COMPRESSED;
    const COMPRESSED_EVENT: &str = Unpacked::COMPRESSED_EVENT;
    const HOLD: &str = Unpacked::HOLD;
    const GO_ON: &str = Unpacked::GO_ON;
    const RESET: &str = Unpacked::RESET;

    fn numbered_apart(sql: &str) -> String {
        Unpacked::numbered_apart(sql)
    }

    fn words(sql: &str) -> String {
        Unpacked::words(sql)
    }
}

/// A server with a user as a careful administrator makes one, with a password that has to be written with care, and what
/// `sql` makes.
pub(crate) fn source<P: Dialect>(options: &[&str], sql: &str) -> Server<P> {
    let server = Server::<P>::start(options).unwrap();
    let monitor = P::MONITOR;
    server
        .execute(&format!(
            "CREATE DATABASE helpers; CREATE USER wavemark@'127.0.0.1' IDENTIFIED BY 'it''s a secret'; \
             GRANT SELECT, RELOAD, REPLICATION SLAVE, {monitor} ON *.* TO wavemark@'127.0.0.1';"
        ))
        .unwrap();
    P::numbers(&server);
    server.execute(&P::words(sql)).unwrap();
    server
}

pub(crate) async fn task<P: Dialect>(world: &World, source: &Server<P>, kind: &str, settings: &Value) -> Uuid {
    let api = &world.installation.api;
    let from = json!({"host": "127.0.0.1", "port": source.port(), "user": "wavemark", "tls_mode": P::TLS});
    let to = pair::settings(&world.pair.target, TARGET, TARGET);
    let endpoints = (
        api.create_endpoint_of("mysql", "The shop", "source", &from, PASSWORD).await.unwrap(),
        api.create_endpoint("The copy", "target", &to, world.pair.target.password()).await.unwrap(),
    );
    api.create_task("Copy shop", kind, endpoints, &pair::whole_schema("shop"), settings).await.unwrap()
}

async fn loaded(world: &World, task: Uuid) -> Task {
    let api = &world.installation.api;
    api.act(task, "start").await.unwrap();
    let over = |task: &Task| matches!(task.status.as_str(), "stopped" | "failed" | "degraded");
    api.wait_task(task, Duration::from_mins(2), "the load to be over", over).await.unwrap()
}

pub(crate) async fn target_rows(world: &World, sql: &str) -> Vec<String> {
    let rows = world.pair.target_client().await.unwrap().query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

pub(crate) const VALUES: &str = r#"CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
CREATE TABLE numbers (
    id bigint unsigned PRIMARY KEY, t tinyint, tu tinyint unsigned, s smallint, su smallint unsigned, m mediumint,
    mu mediumint unsigned, i int, iu int unsigned, b bigint, d decimal(65,30), z int(6) unsigned zerofill, f float,
    g double, y year, w bit(10), one bit(1));
INSERT INTO numbers VALUES
    (1, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808,
     -12345678901234567890123456789012345.000000000000000000000000000001, 42, 1.5, 2.5e-308, 1901, b'1100000001', b'1'),
    (18446744073709551615, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807,
     0.100000000000000000000000000000, 0, -3.40282e38, 1.7976931348623157e308, 2155, b'0', b'0'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 16777217, 0.1, NULL, NULL, NULL);
CREATE TABLE texts (
    id int AUTO_INCREMENT PRIMARY KEY, c char(4), v varchar(20), l varchar(20) CHARACTER SET latin1, x longtext,
    b varbinary(8), f binary(4), o blob, e enum('a','it''s','x,y'), s set('one','two','three'), j json, u uuid);
INSERT INTO texts (c, v, l, x, b, f, o, e, s, j, u) VALUES
    ('ab  ', 'grüß €', 'äöü', 'tab\tline\nquote''\\', x'00ff', x'01', '', 'it''s', 'one,three', '{"a": 1}',
     '00112233-4455-6677-8899-aabbccddeeff'),
    ('', '', '', '', '', '', x'0001', 'x,y', '', '[]', '123e4567-e89b-12d3-a456-426614174000'),
    ('z', 'z', 'z', 'z', 'z', 'z', 'z', NULL, 'two', '0', '9b2f8c1e-0d4a-4c3b-8f1e-5a6b7c8d9e0f'),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE moments (id int PRIMARY KEY, d date, t time(6), n datetime, m datetime(6), s timestamp(3) NULL);
SET time_zone = '+02:00';
INSERT INTO moments VALUES
    (1, '1000-01-01', '23:59:59.999999', '9999-12-31 23:59:59', '2024-02-29 12:00:00.000001', '2024-07-01 02:00:00.125'),
    (2, '2024-02-29', '00:00:00', '0001-01-01 00:00:00', '1969-12-31 23:59:59.999999', '1970-01-01 02:00:01.000'),
    (3, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE keyless (a int, b varchar(10));
INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
CREATE TABLE hollow (a int, b int, PRIMARY KEY (b, a));
"#;

/// Each table as both systems write it: the statement for the one and that for the other.
pub(crate) const WRITTEN: [(&str, &str, &str); 4] = [
    (
        "numbers",
        "SELECT concat_ws('|', id, t, tu, s, su, m, mu, i, iu, b, d, z+0, f+0e0, g, y, lpad(bin(w), 10, '0'), bin(one)) FROM shop.numbers ORDER BY id",
        "SELECT concat_ws('|', id, t, tu, s, su, m, mu, i, iu, b, d, z, replace(f::float8::text, 'e+', 'e'), replace(g::text, 'e+', 'e'), y, \
         w, one) FROM shop.numbers ORDER BY id",
    ),
    (
        "texts",
        "SELECT concat_ws('|', id, c, v, l, hex(x), hex(b), hex(f), hex(o), e, s, j, u) FROM shop.texts ORDER BY id",
        "SELECT concat_ws('|', id, c, v, l, upper(encode(convert_to(x, 'UTF8'), 'hex')), upper(encode(b, 'hex')), \
         upper(encode(f, 'hex')), upper(encode(o, 'hex')), e, s, j, u) FROM shop.texts ORDER BY id",
    ),
    (
        "moments",
        "SET time_zone = '+00:00'; SELECT concat_ws('|', id, d, t, n, m, s) FROM shop.moments ORDER BY id",
        "SELECT concat_ws('|', id, d, to_char(t, 'HH24:MI:SS.US'), to_char(n, 'YYYY-MM-DD HH24:MI:SS'), \
         to_char(m, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(s at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')) \
         FROM shop.moments ORDER BY id",
    ),
    (
        "keyless",
        "SELECT concat_ws('|', a, b) FROM shop.keyless ORDER BY a, b",
        "SELECT concat_ws('|', a, b) FROM shop.keyless ORDER BY a NULLS FIRST, b NULLS FIRST",
    ),
];

pub(crate) async fn every_value_is_loaded_as_it_is<P: Dialect>() {
    let source = source::<P>(&[], VALUES);
    let world = World::start().await;
    let task = task(&world, &source, "full-load", &json!({"load_parallelism": 3})).await;
    let done = loaded(&world, task).await;
    assert_eq!(done.status, "stopped", "{}", done.in_words());
    for (table, from, to) in WRITTEN {
        let expected = source.rows(from).unwrap();
        assert!(!expected.is_empty());
        assert_eq!(target_rows(&world, to).await, expected, "{table}");
    }
    let columns = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull \
        THEN ' not null' ELSE '' END, ', ' ORDER BY attnum) FROM pg_attribute \
        WHERE attrelid = 'shop.moments'::regclass AND attnum > 0";
    assert_eq!(
        target_rows(&world, columns).await,
        ["id integer not null, d date, t time without time zone, n timestamp(0) without time zone, \
          m timestamp without time zone, s timestamp(3) with time zone"]
    );
    let keys = "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
        WHERE contype = 'p' AND connamespace = 'shop'::regnamespace ORDER BY 1";
    assert_eq!(
        target_rows(&world, keys).await,
        [
            "shop.hollow PRIMARY KEY (b, a)",
            "shop.moments PRIMARY KEY (id)",
            "shop.numbers PRIMARY KEY (id)",
            "shop.texts PRIMARY KEY (id)"
        ]
    );
}

pub(crate) async fn a_value_that_postgresql_does_not_have_parks_its_table_alone_and_by_name<P: Dialect>() {
    let source = source::<P>(
        &["--sql-mode="],
        "CREATE DATABASE shop; USE shop; CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good VALUES (1), (2); \
             CREATE TABLE zero (id int PRIMARY KEY, d date); INSERT INTO zero VALUES (1, '0000-00-00'); \
             CREATE TABLE part (id int PRIMARY KEY, d datetime); INSERT INTO part VALUES (1, '2024-02-00 00:00:00'); \
             CREATE TABLE span (id int PRIMARY KEY, t time); INSERT INTO span VALUES (1, '-838:59:59');",
    );
    let world = World::start().await;
    let task = task(&world, &source, "full-load", &json!({})).await;
    loaded(&world, task).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    for table in &tables {
        let error = format!("{:?}", table.problem);
        if table.source.table == "good" {
            assert_eq!(table.state, "done", "{error}");
        } else {
            assert_eq!(table.state, "parked", "{error}");
            assert!(error.contains("value-does-not-fit"), "{error}");
        }
    }
    assert_eq!(target_rows(&world, "SELECT id::text FROM shop.good ORDER BY id").await, ["1", "2"]);
}

pub(crate) async fn a_load_in_many_chunks_with_writers_beside_is_the_source_as_of_one_moment<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; \
             CREATE TABLE left_side (id int PRIMARY KEY, n int, filler varchar(200)); \
             CREATE TABLE right_side LIKE left_side; \
             INSERT INTO left_side SELECT CAST(seq AS signed) * 3 - 100000, 1000, repeat('x', 200) FROM helpers.seq_1_to_60000; \
             INSERT INTO right_side SELECT * FROM left_side; ANALYZE TABLE left_side, right_side;",
    );
    let world = World::start().await;
    let task = task(&world, &source, "full-load", &json!({"load_parallelism": 3, "chunk_mib": 1})).await;
    // What is taken from one table is put into the other in the same transaction, so that the sum never changes.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (source, stop) = (&source, &stop);
        scope.spawn(move || {
            let mut number = 7_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut moves = String::new();
                for _ in 0..50 {
                    number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let id = i64::try_from(number >> 33).unwrap() % 60_000 * 3 - 99_997;
                    moves = format!(
                        "{moves} BEGIN; UPDATE shop.left_side SET n = n - 1 WHERE id = {id}; \
                         UPDATE shop.right_side SET n = n + 1 WHERE id = {id}; COMMIT;"
                    );
                }
                source.execute(&moves).unwrap();
            }
        });
        let runtime = tokio::runtime::Handle::current();
        let done = tokio::task::block_in_place(|| runtime.block_on(loaded(&world, task)));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(done.status, "stopped", "{}", done.in_words());
    });
    let sum = "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || sum(n) FROM \
        (SELECT id, n FROM shop.left_side UNION ALL SELECT id, n FROM shop.right_side) AS both_sides";
    assert_eq!(target_rows(&world, sum).await, ["120000 60000 120000000"]);
    let moved = "SELECT (sum(n) < 60000000)::text FROM shop.left_side";
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.chunks > 5), "{tables:?}");
    assert_eq!(target_rows(&world, moved).await, ["true"], "somebody wrote before the view");
}

/// Waits until the target has what the source has, as both write it.
async fn becomes_equal<P: Dialect>(world: &World, source: &Server<P>) {
    for (table, from, to) in WRITTEN {
        becomes(world, table, to, &source.rows(from).unwrap()).await;
    }
}

/// Waits until a statement gives these rows at the target.
pub(crate) async fn becomes(world: &World, table: &str, sql: &str, expected: &[String]) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let found = target_rows(world, sql).await;
        if found == expected || std::time::Instant::now() > end {
            assert_eq!(found, expected, "{table}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The same values again in rows that come, rows that change to them and back, keys that move, rows that go.
pub(crate) const CHANGES: &str = r"USE shop;
CREATE TEMPORARY TABLE more AS SELECT * FROM numbers;
UPDATE more SET id = id - 1 WHERE id > 2; UPDATE more SET id = id + 100 WHERE id < 3;
INSERT INTO numbers SELECT * FROM more;
UPDATE numbers SET t = NULL, tu = NULL, s = NULL, su = NULL, m = NULL, mu = NULL, i = NULL, iu = NULL, b = NULL, d = NULL,
    z = NULL, f = NULL, g = NULL, y = NULL, w = NULL, one = NULL WHERE id = 1;
UPDATE numbers a JOIN more b ON b.id = 101 SET a.t = b.t, a.tu = b.tu, a.s = b.s, a.su = b.su, a.m = b.m, a.mu = b.mu,
    a.i = b.i, a.iu = b.iu, a.b = b.b, a.d = b.d, a.z = b.z, a.f = b.f, a.g = b.g, a.y = b.y, a.w = b.w, a.one = b.one
    WHERE a.id = 2;
UPDATE numbers SET id = 7 WHERE id = 101;
DELETE FROM numbers WHERE id = 18446744073709551615;
INSERT INTO texts (c, v, l, x, b, f, o, e, s, j, u) SELECT c, v, l, x, b, f, o, e, s, j, u FROM texts;
UPDATE texts SET v = concat(v, '!'), x = repeat('ü', 70000), o = repeat(x'00', 300) WHERE id = 1;
UPDATE texts SET e = 3, s = 7, l = '€' WHERE c IS NULL;
UPDATE moments SET d = d + INTERVAL 1 DAY, t = '00:00:00.000001', n = '2000-01-01 00:00:01', m = m + INTERVAL 1 MICROSECOND;
INSERT INTO moments VALUES (4, '9999-12-31', '12:00:00.5', '1970-01-01 00:00:00', '0001-01-01 00:00:00.5', '2038-01-19 03:14:07.999');
BEGIN; INSERT INTO moments VALUES (5, NULL, NULL, NULL, NULL, NULL); SAVEPOINT a; UPDATE moments SET d = NULL;
    ROLLBACK TO a; INSERT INTO moments VALUES (6, '2024-01-01', NULL, NULL, NULL, NULL); COMMIT;
BEGIN; DELETE FROM moments; ROLLBACK;
INSERT INTO keyless VALUES (2, 'y'), (2, 'y'), (NULL, 'z'); DELETE FROM keyless WHERE a = 1 LIMIT 1; UPDATE keyless SET b = 'q' WHERE b IS NULL;
INSERT INTO hollow VALUES (1, 1); TRUNCATE TABLE hollow; INSERT INTO hollow VALUES (2, 2);
";

pub(crate) async fn every_change_of_the_log_comes_as_it_is<P: Dialect>() {
    let source = source::<P>(&[], VALUES);
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    source.execute(CHANGES).unwrap();
    becomes_equal(&world, &source).await;
    assert_eq!(target_rows(&world, "SELECT concat_ws('|', a, b) FROM shop.hollow").await, ["2|2"]);
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    source.execute("INSERT INTO shop.keyless VALUES (9, 'stood'); FLUSH BINARY LOGS; DELETE FROM shop.texts").unwrap();
    world.installation.api.act(task, "resume").await.unwrap();
    becomes_equal(&world, &source).await;
}

/// One transaction that is larger than a batch, half of it hard to compress.
const LARGE: &str = "USE shop; BEGIN; \
    INSERT INTO large SELECT seq, concat('word ', seq), repeat(sha2(seq, 256), 3) FROM helpers.seq_1_to_60000; \
    INSERT INTO large SELECT seq + 60000, '', repeat(char(65 + seq % 26), 200) FROM helpers.seq_1_to_60000; \
    UPDATE large SET word = 'third' WHERE id % 3 = 0; \
    DELETE FROM large WHERE id % 5 = 0; \
    COMMIT;";

/// What it leaves, as both systems say it.
const LARGE_SUM: (&str, &str) = (
    "SET group_concat_max_len = 10000000; SELECT concat_ws(' ', count(*), sum(id), sum(word = 'third'), \
     sha2(group_concat(sha2(concat(word, filler), 256) ORDER BY id SEPARATOR ''), 256)) FROM shop.large",
    "SELECT concat_ws(' ', count(*), sum(id), sum((word = 'third')::int), encode(sha256(convert_to(string_agg( \
     encode(sha256(convert_to(word || filler, 'UTF8')), 'hex'), '' ORDER BY id), 'UTF8')), 'hex')) FROM shop.large",
);

pub(crate) async fn a_compressed_log_is_followed<P: Dialect>() {
    let source = source::<P>(P::COMPRESSED, VALUES);
    source
        .execute(
            "CREATE TABLE shop.large (id int PRIMARY KEY, word varchar(40), filler varchar(200)) CHARACTER SET latin1",
        )
        .unwrap();
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    source.execute(CHANGES).unwrap();
    source.execute(LARGE).unwrap();
    source.execute("INSERT INTO shop.keyless VALUES (8, 'behind')").unwrap();
    let said = source.rows("SHOW BINLOG EVENTS").unwrap();
    assert!(said.iter().any(|event| event.contains(P::COMPRESSED_EVENT)), "the log is not compressed");
    let expected = source.rows(LARGE_SUM.0).unwrap();
    assert!(expected[0].starts_with("96000 "), "{expected:?}");
    let two_minutes = Duration::from_mins(2);
    crate::world::until_within(two_minutes, || async { target_rows(&world, LARGE_SUM.1).await == expected }).await;
    becomes_equal(&world, &source).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
    world.installation.api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    source.execute("INSERT INTO shop.keyless VALUES (9, 'stood'); FLUSH BINARY LOGS; DELETE FROM shop.texts").unwrap();
    world.installation.api.act(task, "resume").await.unwrap();
    becomes_equal(&world, &source).await;
}

pub(crate) async fn a_table_that_is_altered_is_parked_alone<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; CREATE TABLE one (id int PRIMARY KEY, n int); \
             CREATE TABLE two LIKE one; INSERT INTO one VALUES (1, 1); INSERT INTO two VALUES (1, 1);",
    );
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    source
        .execute(
            "USE shop; CREATE INDEX i ON two (n); INSERT INTO one VALUES (2, 2); ALTER TABLE one MODIFY n varchar(9); \
             INSERT INTO one VALUES (3, 'x'); INSERT INTO two VALUES (2, 2);",
        )
        .unwrap();
    world.status(task, "degraded").await;
    let two = "SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM shop.two";
    crate::world::until(|| async { target_rows(&world, two).await == ["1:1 2:2"] }).await;
    let one = two.replace("two", "one");
    assert_eq!(target_rows(&world, &one).await, ["1:1 2:2"]);
    let tables = world.installation.api.tables(task).await.unwrap();
    let states: Vec<&str> = tables.iter().map(|table| table.state.as_str()).collect();
    assert_eq!(states, ["parked", "live"]);
}

/// Moves what is in one table to the other, row by row, in transactions of its own; the sum over both never changes.
pub(crate) fn transfers(seed: u64, count: u64) -> String {
    let mut number = seed;
    let mut moves = "USE shop;".to_owned();
    for _ in 0..count {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (from, to, by) = (number >> 33 & 255, number >> 41 & 255, number >> 49 & 15);
        moves = format!(
            "{moves} BEGIN; UPDATE left_side SET n = n - {by} WHERE id = {from}; \
             UPDATE right_side SET n = n + {by} WHERE id = {to}; INSERT INTO moved (by_how_much) VALUES ({by}); COMMIT;"
        );
    }
    moves
}

const SUM: &str = "SELECT (SELECT sum(n) FROM shop.left_side) + (SELECT sum(n) FROM shop.right_side)";
const LAST: &str =
    "SELECT coalesce(max(id), 0) || ' ' || count(*) || ' ' || coalesce(sum(by_how_much), 0) FROM shop.moved";

pub(crate) async fn nothing_is_lost_doubled_or_torn_while_worker_source_and_target_are_killed<P: Dialect>() {
    let mut source = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; CREATE TABLE left_side (id int PRIMARY KEY, n int); \
             CREATE TABLE right_side LIKE left_side; INSERT INTO left_side SELECT seq, 1000 FROM helpers.seq_0_to_255; \
             INSERT INTO right_side SELECT * FROM left_side; \
             CREATE TABLE moved (id int AUTO_INCREMENT PRIMARY KEY, by_how_much int);",
    );
    let mut world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    let target = world.pair.target_config();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watcher = tokio::spawn({
        let stop = std::sync::Arc::clone(&stop);
        async move {
            let mut looks = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let Ok((client, connection)) = target.connect(tokio_postgres::NoTls).await else { continue };
                tokio::spawn(connection);
                let Ok(row) = client.query_one(&format!("SELECT ({SUM})::text"), &[]).await else { continue };
                assert_eq!(row.get::<_, &str>(0), "512000", "a transaction is torn");
                looks += 1;
            }
            looks
        }
    });
    for round in 0..6_u64 {
        source.execute(&transfers(round * 2 + 1, 200)).unwrap();
        match round % 3 {
            0 => {
                world.installation.workers[0].kill().unwrap();
                source.execute(&transfers(round * 2 + 2, 100)).unwrap();
                world.installation.workers[0].start().unwrap();
            }
            1 => {
                source.kill().unwrap();
                source.restart().unwrap();
            }
            _ => {
                world.pair.target.kill().unwrap();
                source.execute(&transfers(round * 2 + 2, 100)).unwrap();
                world.pair.target.restart().unwrap();
            }
        }
    }
    source.execute(&transfers(99, 50)).unwrap();
    let expected = source.rows("SELECT concat(max(id), ' ', count(*), ' ', sum(by_how_much)) FROM shop.moved").unwrap();
    crate::world::until_within(Duration::from_mins(2), || async { target_rows(&world, LAST).await == expected }).await;
    for table in ["left_side", "right_side", "moved"] {
        let column = if table == "moved" { "by_how_much" } else { "n" };
        let rows = source.rows(&format!("SELECT concat_ws(' ', id, {column}) FROM shop.{table} ORDER BY id")).unwrap();
        let sql = format!("SELECT concat_ws(' ', id, {column}) FROM shop.{table} ORDER BY id");
        assert_eq!(target_rows(&world, &sql).await, rows, "{table}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 20);
}

pub(crate) async fn a_load_that_is_killed_goes_on_by_what_the_log_touched<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; CREATE TABLE many (id int PRIMARY KEY, n int, filler varchar(200)); \
             INSERT INTO many SELECT seq, 0, repeat('x', 200) FROM helpers.seq_1_to_60000; \
             CREATE TABLE words (word varchar(20) CHARACTER SET gbk PRIMARY KEY, d date, n int, filler varchar(200)); \
             INSERT INTO words SELECT concat('Word词', seq), '2024-01-01', 0, repeat('y', 200) FROM helpers.seq_1_to_20000; \
             ANALYZE TABLE many, words;",
    );
    let mut world = World::start().await;
    let settings = json!({"load_parallelism": 2, "chunk_mib": 1});
    let task = task(&world, &source, "full-load-and-cdc", &settings).await;
    let api = &world.installation.api;
    let endpoints = api.get::<Value>("/endpoints").await.unwrap();
    let shop = endpoints["items"].as_array().unwrap().iter().find(|one| one["engine"] == "mysql").unwrap();
    let id: Uuid = shop["id"].as_str().unwrap().parse().unwrap();
    api.change_endpoint(id, &json!({"load_mib_per_second": 3})).await.unwrap();
    api.act(task, "start").await.unwrap();
    for round in 0..3_u64 {
        let done =
            async || api.tables(task).await.unwrap_or_default().iter().map(|table| table.chunks_done).sum::<u32>();
        let wanted = u32::try_from(round * 3 + 2).unwrap();
        crate::world::until(async || done().await >= wanted).await;
        world.installation.workers[0].kill().unwrap();
        let from = round * 7_000;
        source
            .execute(&format!(
                "USE shop; UPDATE many SET n = n + 1 WHERE id % 997 = {round}; DELETE FROM many WHERE id = {from} + 5; \
                 UPDATE many SET id = -id WHERE id = {from} + 6; INSERT INTO many VALUES (100000 + {round}, 1, ''); \
                 UPDATE words SET word = upper(word), n = n + 1 WHERE word LIKE 'word词{round}7%'; \
                 DELETE FROM words WHERE word = 'WORD词{round}55'; INSERT INTO words VALUES ('new{round}', NULL, 1, '');"
            ))
            .unwrap();
        world.installation.workers[0].start().unwrap();
    }
    world.live(task).await;
    for (table, columns) in [("many", "id, n, filler"), ("words", "word, d, n, filler")] {
        let order = if table == "many" { "id" } else { "1" };
        let sql = format!("SELECT concat_ws('|', {columns}) FROM shop.{table} ORDER BY {order}");
        let mut rows = source.rows(&sql).unwrap();
        let mut found = target_rows(&world, &sql).await;
        rows.sort();
        found.sort();
        assert_eq!(rows.len(), found.len(), "{table}");
        for (expected, found) in rows.iter().zip(&found) {
            assert_eq!(found, expected, "{table}");
        }
    }
    let events = world.installation.api.events(task).await.unwrap();
    assert!(events.iter().any(|event| event.code == "load-continued"), "{events:?}");
}

const KEYS: &str = r#"CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
CREATE TABLE customers (
    id int AUTO_INCREMENT PRIMARY KEY, code varchar(30) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL COMMENT 'it''s "the" code',
    name varchar(40) DEFAULT 'it''s \\ a\nname', region int NOT NULL DEFAULT -5, rank_of int, notes text, long_one varchar(700),
    double_of int AS (region * 2) STORED,
    UNIQUE KEY code (code), UNIQUE KEY `Rank` (rank_of, region), UNIQUE KEY beginning (long_one(3)), UNIQUE KEY far (long_one),
    KEY by_region (region, rank_of DESC), KEY by_name (name(5)), KEY by_double (double_of), FULLTEXT KEY words (notes)
) COMMENT 'who ''buys''' AUTO_INCREMENT = 100;
CREATE TABLE Likes (word varchar(9) PRIMARY KEY, customer int, KEY zz (customer));
CREATE TABLE likes (word varchar(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci PRIMARY KEY);
CREATE TABLE orders (
    id bigint unsigned AUTO_INCREMENT PRIMARY KEY, customer int, code varchar(30) CHARACTER SET latin1 COLLATE latin1_bin,
    parent bigint unsigned, alike varchar(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci,
    price decimal(10,2) NOT NULL DEFAULT 1.50, share double DEFAULT 0.25, nothing int DEFAULT NULL, word varchar(9) DEFAULT 'NULL',
    hollow varchar(9) NOT NULL DEFAULT '', clock varchar(20) DEFAULT 'CURRENT_TIMESTAMP', d date DEFAULT '2024-02-29',
    made datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), at timestamp NULL DEFAULT CURRENT_TIMESTAMP,
    state enum('new','it''s') DEFAULT 'it''s', flags bit(3) DEFAULT b'101', raw binary(3) DEFAULT 'abc', sum int DEFAULT (1 + 2),
    CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
    CONSTRAINT of_code FOREIGN KEY (code) REFERENCES customers (code) ON UPDATE RESTRICT ON DELETE RESTRICT,
    CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES orders (id) ON UPDATE RESTRICT ON DELETE RESTRICT,
    CONSTRAINT of_alike FOREIGN KEY (alike) REFERENCES likes (word) ON UPDATE RESTRICT ON DELETE RESTRICT);
INSERT INTO customers (code, region, rank_of) VALUES ('a', 1, NULL), ('b', 1, NULL);
INSERT INTO orders (customer, code) VALUES (100, 'a'), (101, 'b'); UPDATE orders SET parent = 1 WHERE id = 2;
"#;

/// What the target's catalog says of the schema, each statement with the rows that it must give.
const CARRIED: [(&str, &[&str]); 6] = [
    (
        "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE connamespace = 'shop'::regnamespace AND contype IN ('u', 'f') ORDER BY conrelid::regclass::text, conname",
        &[
            "shop.customers customers_Rank_key UNIQUE (rank_of, region)",
            "shop.customers customers_code_key UNIQUE (code)",
            "shop.orders of_code FOREIGN KEY (code) REFERENCES shop.customers(code) ON UPDATE RESTRICT ON DELETE RESTRICT",
            "shop.orders of_customer FOREIGN KEY (customer) REFERENCES shop.customers(id) ON UPDATE RESTRICT ON DELETE RESTRICT",
            "shop.orders of_parent FOREIGN KEY (parent) REFERENCES shop.orders(id) ON UPDATE RESTRICT ON DELETE RESTRICT",
        ],
    ),
    (
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indrelid \
         WHERE relnamespace = 'shop'::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid \
         AND contype IN ('p', 'u')) ORDER BY relname, indexrelid::regclass::text",
        &[
            "CREATE INDEX \"Likes_zz_idx\" ON shop.\"Likes\" USING btree (customer)",
            "CREATE INDEX customers_by_region_idx ON shop.customers USING btree (region, rank_of DESC)",
            "CREATE INDEX orders_of_alike_idx ON shop.orders USING btree (alike)",
            "CREATE INDEX orders_of_code_idx ON shop.orders USING btree (code)",
            "CREATE INDEX orders_of_customer_idx ON shop.orders USING btree (customer)",
            "CREATE INDEX orders_of_parent_idx ON shop.orders USING btree (parent)",
        ],
    ),
    (
        "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE connamespace = 'shop'::regnamespace AND contype = 'p' ORDER BY (SELECT relname FROM pg_class c WHERE c.oid = conrelid)",
        &[
            "shop.\"Likes\" PRIMARY KEY (word)",
            "shop.customers PRIMARY KEY (id)",
            "shop.likes PRIMARY KEY (word)",
            "shop.orders PRIMARY KEY (id)",
        ],
    ),
    (
        "SELECT relname || '.' || attname || ' ' || pg_get_expr(adbin, adrelid) FROM pg_attrdef \
         JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum JOIN pg_class c ON c.oid = adrelid \
         WHERE relnamespace = 'shop'::regnamespace ORDER BY relname, attnum",
        &[
            "customers.name 'it''s \\ a\nname'::character varying",
            "customers.region '-5'::integer",
            "orders.id nextval('shop.orders_id_seq'::regclass)",
            "orders.price 1.50",
            "orders.share '0.25'::double precision",
            "orders.word 'NULL'::character varying",
            "orders.hollow ''::character varying",
            "orders.clock 'CURRENT_TIMESTAMP'::character varying",
            "orders.d '2024-02-29'::date",
            "orders.made CURRENT_TIMESTAMP(3)",
            "orders.at CURRENT_TIMESTAMP(0)",
            "orders.state 'it''s'::text",
            "orders.flags '101'::\"bit\"",
            "orders.raw '\\x616263'::bytea",
        ],
    ),
    (
        "SELECT relname || ' ' || objsubid || ' ' || description FROM pg_description JOIN pg_class c ON c.oid = objoid \
         WHERE relnamespace = 'shop'::regnamespace ORDER BY relname, objsubid",
        &["customers 0 who 'buys'", "customers 2 it's \"the\" code"],
    ),
    (
        "SELECT relname || '.' || attname || ' ' || attidentity::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid \
         WHERE relnamespace = 'shop'::regnamespace AND attidentity <> ''",
        &["customers.id d"],
    ),
];

/// Where the log has nothing of what foreign keys do, tables that have such keys are loaded and not followed.
pub(crate) async fn keys_defaults_and_counters_are_carried_over<P: Dialect>() {
    const MORE: &str = "USE shop; INSERT INTO customers (id, code) VALUES (500, 'c'); \
        DELETE FROM customers WHERE id = 500; INSERT INTO orders (id) VALUES (7000);";
    let source = source::<P>(&[], KEYS);
    let world = World::start().await;
    let kind = if P::LOGS_ACTIONS { "full-load-and-cdc" } else { "full-load" };
    let task = task(&world, &source, kind, &json!({})).await;
    if P::LOGS_ACTIONS {
        world.installation.api.act(task, "start").await.unwrap();
        world.live(task).await;
        source.execute(MORE).unwrap();
        let last = "SELECT max(id)::text FROM shop.orders";
        crate::world::until(|| async { target_rows(&world, last).await == ["7000"] }).await;
        world.installation.api.act(task, "stop").await.unwrap();
        world.status(task, "stopped").await;
    } else {
        source.execute(MORE).unwrap();
        loaded(&world, task).await;
    }
    for (sql, expected) in CARRIED {
        assert_eq!(target_rows(&world, sql).await, expected);
    }
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.problem.is_none()), "{tables:?}");
    let add = "INSERT INTO shop.customers (code, name) VALUES ('d', 'new') RETURNING id || ' ' || region";
    assert_eq!(target_rows(&world, add).await, ["501 -5"]);
    let add = "INSERT INTO shop.orders (customer) VALUES (501) RETURNING concat_ws(' ', id, price, state)";
    assert_eq!(target_rows(&world, add).await, ["7001 1.50 it's"]);
}

/// What a key deletes by itself goes in the target, too; where the log has nothing of it, its table is not followed.
pub(crate) async fn keys_that_act_are_followed_or_refused<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int PRIMARY KEY, \
         parent int, FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE); \
         INSERT INTO parents VALUES (1), (2); INSERT INTO children VALUES (1, 1), (2, 2), (3, 1);",
    );
    let world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    let parents = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM shop.parents";
    crate::world::until(|| async {
        let tables = world.installation.api.tables(task).await.unwrap_or_default();
        tables.iter().any(|table| table.source.table == "parents" && table.is_settled())
    })
    .await;
    source.execute("DELETE FROM shop.parents WHERE id = 1").unwrap();
    crate::world::until(|| async { target_rows(&world, parents).await == ["2"] }).await;
    if P::LOGS_ACTIONS {
        assert_eq!(target_rows(&world, &parents.replace("parents", "children")).await, ["2"]);
    } else {
        let events = world.installation.api.events(task).await.unwrap();
        assert!(events.iter().any(|event| event.text.contains("not in the server's log")), "{events:?}");
        assert_eq!(target_rows(&world, "SELECT coalesce(to_regclass('shop.children')::text, 'none')").await, ["none"]);
    }
}

pub(crate) async fn foreign_keys_that_act_are_carried_over_by_a_load<P: Dialect>() {
    let source = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; CREATE TABLE parents (id int PRIMARY KEY); \
             CREATE TABLE children (id int AUTO_INCREMENT PRIMARY KEY, a int, b int, \
             CONSTRAINT of_a FOREIGN KEY (a) REFERENCES parents (id) ON UPDATE RESTRICT ON DELETE CASCADE, \
             CONSTRAINT of_b FOREIGN KEY (b) REFERENCES parents (id) ON UPDATE CASCADE ON DELETE SET NULL); \
             INSERT INTO parents VALUES (1), (2); INSERT INTO children (a, b) VALUES (1, 2), (2, 1);",
    );
    let world = World::start().await;
    let task = task(&world, &source, "full-load", &json!({})).await;
    let done = loaded(&world, task).await;
    assert_eq!(done.status, "stopped", "{}", done.in_words());
    let keys = "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
        WHERE connamespace = 'shop'::regnamespace AND contype = 'f' ORDER BY conname";
    assert_eq!(
        target_rows(&world, keys).await,
        [
            "of_a FOREIGN KEY (a) REFERENCES shop.parents(id) ON UPDATE RESTRICT ON DELETE CASCADE",
            "of_b FOREIGN KEY (b) REFERENCES shop.parents(id) ON UPDATE CASCADE ON DELETE SET NULL",
        ]
    );
    assert_eq!(target_rows(&world, "INSERT INTO shop.children (a) VALUES (1) RETURNING id::text").await, ["3"]);
}

/// A transaction that is prepared and left so by its session.
fn prepare(name: &str, changes: &str) -> String {
    format!("USE shop; XA START '{name}'; {changes}; XA END '{name}'; XA PREPARE '{name}'")
}

pub(crate) async fn prepared_transactions_count_where_they_are_committed<P: Dialect>() {
    prepared_transactions::<P>(P::NUMBERED).await;
}

pub(crate) async fn prepared_transactions_of_a_compressed_log_count_there_too<P: Dialect>() {
    prepared_transactions::<P>(&[P::NUMBERED, P::COMPRESSED].concat()).await;
}

async fn prepared_transactions<P: Dialect>(options: &[&str]) {
    let source = source::<P>(
        options,
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (id int PRIMARY KEY, v varchar(200)); \
         CREATE TABLE u (id int PRIMARY KEY, v varchar(200)); INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');",
    );
    let run = |sql: &str| source.execute(sql).unwrap();
    // Prepared before the load, in a file of the log that is not the last one by then.
    run(&prepare("early", "INSERT INTO t VALUES (10, 'early'); UPDATE t SET v = 'changed' WHERE id = 1"));
    run(&prepare("never", "INSERT INTO t VALUES (11, 'never')"));
    run("FLUSH BINARY LOGS; INSERT INTO shop.u VALUES (1, 'between'); FLUSH BINARY LOGS");
    let mut world = World::start().await;
    let task = task(&world, &source, "full-load-and-cdc", &json!({})).await;
    world.installation.api.act(task, "start").await.unwrap();
    world.live(task).await;
    let equal = async |world: &World| {
        for table in ["t", "u"] {
            let sql = format!("SELECT concat_ws(' ', id, v) FROM shop.{table} ORDER BY id");
            let rows = source.rows(&sql).unwrap();
            let two_minutes = Duration::from_mins(2);
            crate::world::until_within(two_minutes, || async { target_rows(world, &sql).await == rows }).await;
        }
    };
    run("XA COMMIT 'early'; XA ROLLBACK 'never'");
    equal(&world).await;

    run(&prepare("small", "INSERT INTO t VALUES (20, 'small'); DELETE FROM t WHERE id = 2"));
    run(&prepare("gone", "INSERT INTO t VALUES (21, 'gone')"));
    let large = "INSERT INTO u SELECT seq + 1000, repeat(sha2(seq, 256), 3) FROM helpers.seq_1_to_20000";
    run(&prepare("large", large));
    run("INSERT INTO shop.t VALUES (30, 'meanwhile')");
    run("USE shop; XA START 'one'; INSERT INTO t VALUES (31, 'one step'); XA END 'one'; XA COMMIT 'one' ONE PHASE");
    equal(&world).await;
    assert_eq!(target_rows(&world, "SELECT count(*)::text FROM shop.u").await, ["1"]);
    run("XA COMMIT 'small'; XA ROLLBACK 'gone'; XA COMMIT 'large'");
    equal(&world).await;

    // A worker that dies in between knows nothing of them any more.
    run(&prepare("over", "UPDATE t SET v = 'over' WHERE id = 3"));
    run(&prepare("again", "DELETE FROM u WHERE id > 10000"));
    run("INSERT INTO shop.t VALUES (40, 'seen')");
    equal(&world).await;
    world.installation.workers[0].kill().unwrap();
    run("FLUSH BINARY LOGS; XA COMMIT 'over'; INSERT INTO shop.t VALUES (41, 'after'); XA COMMIT 'again'");
    world.installation.workers[0].start().unwrap();
    equal(&world).await;
    world.live(task).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.exceptions == 0), "{tables:?}");

    // One of which the log has nothing any more.
    run(&prepare("lost", "INSERT INTO t VALUES (50, 'lost')"));
    run("FLUSH BINARY LOGS; INSERT INTO shop.t VALUES (51, 'seen')");
    equal(&world).await;
    world.installation.workers[0].kill().unwrap();
    let files = source.rows("SHOW BINARY LOGS").unwrap();
    let last = files.last().unwrap().split('\t').next().unwrap().to_owned();
    run(&format!("PURGE BINARY LOGS TO '{last}'; XA COMMIT 'lost'; INSERT INTO shop.u VALUES (60, 'on')"));
    world.installation.workers[0].start().unwrap();
    world.status(task, "degraded").await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "parked"), "{tables:?}");
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "t"), ("shop", "u")]).await.unwrap();
    world.live(task).await;
    equal(&world).await;
}
