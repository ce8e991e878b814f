//! MySQL and MariaDB as a target, of their own kind and of PostgreSQL, compared as each system itself writes it. Wrapped by
//! `mariadb` and `mysql`.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::mysql_family::Server;
use wavemark_tests::pair;

use crate::mysql_family::{CHANGES, Dialect, PASSWORD, VALUES, WRITTEN, source, transfers};
use crate::world::{World, until, until_within};

/// A server with a user who may do what a target needs.
pub(crate) fn target<P: Dialect>(options: &[&str]) -> Server<P> {
    let server = Server::<P>::start(options).unwrap();
    server
        .execute(
            "CREATE USER writer@'127.0.0.1' IDENTIFIED BY 'it''s a secret'; \
             GRANT ALL ON shop.* TO writer@'127.0.0.1'; GRANT ALL ON wavemark.* TO writer@'127.0.0.1';",
        )
        .unwrap();
    server
}

pub(crate) async fn endpoint<P: Dialect>(world: &World, name: &str, role: &str, port: u16, user: &str) -> Uuid {
    let settings = json!({"host": "127.0.0.1", "port": port, "user": user, "tls_mode": P::TLS});
    world.installation.api.create_endpoint_of("mysql", name, role, &settings, PASSWORD).await.unwrap()
}

/// A task from a server to one of its kind, begun.
pub(crate) async fn from_its_kind<P: Dialect, Q: Dialect>(
    world: &World,
    from: &Server<P>,
    to: &Server<Q>,
    settings: &Value,
) -> Uuid {
    mapped_from_its_kind(world, from, to, &pair::whole_schema("shop"), settings).await
}

/// The same by other rules.
pub(crate) async fn mapped_from_its_kind<P: Dialect, Q: Dialect>(
    world: &World,
    from: &Server<P>,
    to: &Server<Q>,
    rules: &Value,
    settings: &Value,
) -> Uuid {
    let endpoints = (
        endpoint::<P>(world, "The shop", "source", from.port(), "wavemark").await,
        endpoint::<Q>(world, "The copy", "target", to.port(), "writer").await,
    );
    begun(world, endpoints, rules, settings).await
}

/// A task of some kind from a server to one of its kind, begun.
pub(crate) async fn of_its_kind<P: Dialect, Q: Dialect>(
    world: &World,
    from: &Server<P>,
    to: &Server<Q>,
    kind: &str,
) -> Uuid {
    let endpoints = (
        endpoint::<P>(world, "The shop", "source", from.port(), "wavemark").await,
        endpoint::<Q>(world, "The copy", "target", to.port(), "writer").await,
    );
    let api = &world.installation.api;
    let task = api.create_task("Copy shop", kind, endpoints, &pair::whole_schema("shop"), &json!({})).await.unwrap();
    api.act(task, "start").await.unwrap();
    task
}

/// A task from PostgreSQL, begun.
pub(crate) async fn from_postgresql<P: Dialect>(world: &World, to: &Server<P>, settings: &Value) -> Uuid {
    let api = &world.installation.api;
    let from = pair::settings(&world.pair.source, pair::SOURCE, pair::SOURCE);
    let endpoints = (
        api.create_endpoint("The shop", "source", &from, world.pair.source.password()).await.unwrap(),
        endpoint::<P>(world, "The copy", "target", to.port(), "writer").await,
    );
    begun(world, endpoints, &pair::whole_schema("shop"), settings).await
}

async fn begun(world: &World, endpoints: (Uuid, Uuid), rules: &Value, settings: &Value) -> Uuid {
    let api = &world.installation.api;
    let task = api.create_task("Copy shop", "full-load-and-cdc", endpoints, rules, settings).await.unwrap();
    api.act(task, "start").await.unwrap();
    task
}

/// Waits until the copy has what the source has, by the same statements.
pub(crate) async fn becomes_equal<P: Dialect, Q: Dialect>(from: &Server<P>, to: &Server<Q>, statements: &[&str]) {
    for sql in statements {
        let expected = from.rows(sql).unwrap();
        let end = std::time::Instant::now() + Duration::from_mins(1);
        while to.rows(sql).ok().as_ref() != Some(&expected) {
            if std::time::Instant::now() > end {
                assert_eq!(to.rows(sql).unwrap(), expected, "{sql}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What tables are is reported a moment after it is so.
pub(crate) async fn no_table_is_parked(world: &World, task: Uuid) {
    world.live(task).await;
    let tables = world.installation.api.tables(task).await.unwrap();
    assert!(tables.iter().all(|table| table.state == "live" && table.exceptions == 0), "{tables:?}");
}

pub(crate) async fn every_value_goes_to_a_server_of_its_kind<P: Dialect>() {
    let (from, to) = (source::<P>(&[], VALUES), target::<P>(&["--local-infile=ON"]));
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({"load_parallelism": 2})).await;
    world.live(task).await;
    let rows: Vec<&str> = WRITTEN.iter().map(|(_, sql, _)| *sql).collect();
    becomes_equal(&from, &to, &rows).await;
    from.execute(CHANGES).unwrap();
    becomes_equal(&from, &to, &rows).await;
    no_table_is_parked(&world, task).await;
    let declared = "SELECT table_name, column_name, column_type, is_nullable, column_key, character_set_name, \
        collation_name, column_default FROM information_schema.columns WHERE table_schema = 'shop' \
        ORDER BY table_name, ordinal_position";
    becomes_equal(&from, &to, &[declared]).await;
}

/// From one system of the family to the other: what the rows are, as both write it.
pub(crate) async fn every_value_goes_to_the_other_kind<P: Dialect, Q: Dialect>() {
    let (from, to) = (source::<P>(&[], VALUES), target::<Q>(&["--local-infile=ON"]));
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    let rows: Vec<&str> = WRITTEN.iter().map(|(_, sql, _)| *sql).collect();
    becomes_equal(&from, &to, &rows).await;
    from.execute(CHANGES).unwrap();
    becomes_equal(&from, &to, &rows).await;
    no_table_is_parked(&world, task).await;
}

const SUM: &str = "SELECT (SELECT sum(n) FROM shop.left_side) + (SELECT sum(n) FROM shop.right_side)";
const MOVED: [&str; 3] = [
    "SELECT * FROM shop.left_side ORDER BY id",
    "SELECT * FROM shop.right_side ORDER BY id",
    "SELECT * FROM shop.moved ORDER BY id",
];

pub(crate) async fn nothing_is_lost_doubled_or_torn_on_its_way_to_one_of_its_kind<P: Dialect>() {
    let mut from = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; CREATE TABLE left_side (id int PRIMARY KEY, n int); \
             CREATE TABLE right_side LIKE left_side; INSERT INTO left_side SELECT seq, 1000 FROM helpers.seq_0_to_255; \
             INSERT INTO right_side SELECT * FROM left_side; \
             CREATE TABLE moved (id int AUTO_INCREMENT PRIMARY KEY, by_how_much int);",
    );
    let mut to = target::<P>(&[]);
    let mut world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    for round in 0..6_u64 {
        from.execute(&transfers(round * 2 + 1, 200)).unwrap();
        assert_eq!(to.rows(SUM).unwrap(), ["512000"], "a transaction is torn");
        match round % 3 {
            0 => {
                world.installation.workers[0].kill().unwrap();
                from.execute(&transfers(round * 2 + 2, 100)).unwrap();
                world.installation.workers[0].start().unwrap();
            }
            1 => {
                from.kill().unwrap();
                from.restart().unwrap();
            }
            _ => {
                to.kill().unwrap();
                from.execute(&transfers(round * 2 + 2, 100)).unwrap();
                to.restart().unwrap();
            }
        }
        assert_eq!(to.rows(SUM).unwrap(), ["512000"], "a transaction is torn");
    }
    becomes_equal(&from, &to, &MOVED).await;
    no_table_is_parked(&world, task).await;
}

/// Large transactions go by sets: rows that come, change and go in thousands, keys and unique values that change places.
const IN_SETS: [&str; 6] = [
    "INSERT INTO shop.sets SELECT seq, seq, concat('word ', seq), 0.1 * seq FROM helpers.seq_1_to_20000",
    "UPDATE shop.sets SET word = concat(word, '!'), f = f * 3 WHERE id % 2 = 0",
    "UPDATE shop.sets SET n = -n WHERE id <= 5000",
    "BEGIN; UPDATE shop.sets SET n = n + 1000000; UPDATE shop.sets SET n = n - 1000001 WHERE id > 5001; COMMIT",
    "BEGIN; DELETE FROM shop.sets WHERE id % 3 = 0; UPDATE shop.sets SET id = id + 1000000 WHERE id % 5 = 0; \
     INSERT INTO shop.sets SELECT seq * 3, -1000000 - CAST(seq AS signed), NULL, NULL FROM helpers.seq_1_to_20000 WHERE seq < 1000; COMMIT",
    "BEGIN; TRUNCATE TABLE shop.emptied; INSERT INTO shop.emptied VALUES (1); COMMIT",
];

pub(crate) async fn large_transactions_go_by_sets<P: Dialect>() {
    let from = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; \
         CREATE TABLE sets (id int PRIMARY KEY, n int UNIQUE, word varchar(40), f float); \
         CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied SELECT seq FROM helpers.seq_1_to_20000;",
    );
    for options in [["--local-infile=ON"], ["--local-infile=OFF"]] {
        from.execute("DELETE FROM shop.sets").unwrap();
        let to = target::<P>(&options);
        let world = World::start().await;
        let task = from_its_kind(&world, &from, &to, &json!({})).await;
        world.live(task).await;
        let rows = "SELECT id, n, word, f + 0e0 FROM shop.sets ORDER BY id";
        for sql in IN_SETS {
            from.execute(sql).unwrap();
            becomes_equal(&from, &to, &[rows, "SELECT * FROM shop.emptied ORDER BY id"]).await;
        }
        no_table_is_parked(&world, task).await;
        // A set that the server refuses for its form would come all the same, row by row.
        let said = world.installation.workers[0].log_end(1_000);
        assert!(!said.contains("a wave is divided"), "{said}");
    }
}

/// Everything of a task is loaded again: a load of its own, which takes nothing of the one before for done.
pub(crate) async fn a_task_is_loaded_again<P: Dialect>() {
    let (from, to) = (source::<P>(&[], VALUES), target::<P>(&["--local-infile=ON"]));
    // One that the target has already, and whose rows are not the task's.
    to.execute("CREATE DATABASE shop; CREATE TABLE shop.hollow (a int, b int, PRIMARY KEY (b, a))").unwrap();
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    let rows: Vec<&str> = WRITTEN.iter().map(|(_, sql, _)| *sql).collect();
    for _ in 0..2 {
        world.installation.api.act(task, "stop").await.unwrap();
        world.status(task, "stopped").await;
        from.execute("DELETE FROM shop.texts WHERE id = 2; INSERT INTO shop.keyless VALUES (7, 'more')").unwrap();
        world.installation.api.act(task, "reload").await.unwrap();
        world.status(task, "running").await;
        becomes_equal(&from, &to, &rows).await;
        from.execute("INSERT INTO shop.keyless VALUES (8, 'behind')").unwrap();
        becomes_equal(&from, &to, &rows).await;
        no_table_is_parked(&world, task).await;
    }
}

pub(crate) async fn a_task_that_is_deleted_leaves_nothing_but_the_rows<P: Dialect>() {
    let (from, to) = (source::<P>(&[], VALUES), target::<P>(&["--local-infile=ON"]));
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    let api = &world.installation.api;
    api.act(task, "stop").await.unwrap();
    world.status(task, "stopped").await;
    api.delete_task(task).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM wavemark.progress), (SELECT count(*) FROM wavemark.tables), \
        (SELECT count(*) FROM wavemark.chunks), (SELECT count(*) FROM wavemark.unfit), \
        (SELECT count(*) FROM wavemark.fence WHERE NOT tombstone)";
    until(|| async { to.rows(left).unwrap() == ["0\t0\t0\t0\t0"] }).await;
    assert_eq!(to.rows("SELECT count(*) FROM shop.texts").unwrap(), ["4"]);
}

/// The rows of a PostgreSQL table and of its copy, each by a statement of its own.
pub(crate) async fn becomes_equal_to_postgresql<P: Dialect>(world: &World, to: &Server<P>, pairs: &[(&str, &str)]) {
    for (from_sql, to_sql) in pairs {
        let rows = world.pair.source_client().await.unwrap().query(*from_sql, &[]).await.unwrap();
        let expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert!(!expected.is_empty(), "{from_sql}");
        let end = std::time::Instant::now() + Duration::from_mins(1);
        while to.rows(to_sql).ok().as_ref() != Some(&expected) {
            if std::time::Instant::now() > end {
                assert_eq!(to.rows(to_sql).unwrap(), expected, "{to_sql}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

const POSTGRESQL: &str = "create schema shop; \
    create type shop.mood as enum ('sad', 'it''s fine'); \
    create table shop.values (id bigint primary key, b boolean, s smallint, i int, n numeric(20, 4), u numeric, f real, d double precision, \
        t text, v varchar(20), c char(4), y bytea, a int[], m shop.mood, g uuid, j jsonb, k json, da date, ti time(3), \
        ts timestamp, tz timestamptz, iv interval, ne inet, ra int4range, bi bit(5)); \
    insert into shop.values values \
        (1, true, -32768, 2147483647, 1234567890123456.7891, 0.5, 0.1, 1e300, E'tab\\tline\\n\\\\quote''', 'grüß €', 'ab', '\\x00ff', \
         '{1,NULL,3}', 'it''s fine', '00112233-4455-6677-8899-aabbccddeeff', '{\"a\": [1, \"x\"]}', '{\"z\":1, \"a\":2}', '2024-02-29', \
         '23:59:59.999', '2024-02-29 12:00:00.000001', '2024-07-01 02:00:00.125+02', '1 year 2 days', '10.0.0.1/8', '[1,5)', b'10101'), \
        (9223372036854775807, false, 32767, -2147483648, -0.0001, -12345678901234567890.123456789, -3.4e38, 5e-324, '', '', '', '', \
         '{}', 'sad', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', 'null', '0001-01-01', '00:00:00', '0001-01-01 00:00:00', \
         '9999-12-31 23:59:59.999999+00', '-1 day', '::1', 'empty', b'00000'), \
        (-1, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, \
         null, null, null); \
    create table shop.words (word text primary key, n int); insert into shop.words values ('a', 1), ('A', 2), ('a ', 3), ('ä', 4), ('', 5); \
    create table shop.keyless (a int, t text); insert into shop.keyless values (1, 'x'), (1, 'x'), (1, 'X'), (null, null); ";

/// As both write it.
const AS_BOTH_WRITE: [(&str, &str); 3] = [
    (
        "select concat_ws('|', id, b::int, s, i, n, trim_scale(u), f::float8::text, d::text, encode(convert_to(t, 'UTF8'), 'hex'), v, c, encode(y, 'hex'), \
         a::text, m, g, j->'a'->>1, k, da, to_char(ti, 'HH24:MI:SS.MS'), to_char(ts, 'YYYY-MM-DD HH24:MI:SS.US'), \
         to_char(tz at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), iv, ne, ra, bi) from shop.values order by id",
        "SELECT concat_ws('|', id, b, s, i, n, trim(TRAILING '.' FROM trim(TRAILING '0' FROM u)), \
         replace(f + 0e0, 'e3', 'e+3'), replace(d, 'e3', 'e+3'), lower(hex(t)), v, c, lower(hex(y)), a, m, g, json_unquote(json_extract(j, '$.a[1]')), k, da, ti, ts, tz, \
         iv, ne, ra, lpad(bin(bi), 5, '0')) FROM shop.values ORDER BY id",
    ),
    ("select word || ':' || n from shop.words order by n", "SELECT concat(word, ':', n) FROM shop.words ORDER BY n"),
    (
        "select concat_ws('|', a, t) from shop.keyless order by a nulls first, t collate \"C\"",
        "SELECT concat_ws('|', a, t) FROM shop.keyless ORDER BY a, CAST(t AS BINARY)",
    ),
];

/// The same values in rows that come, change and go.
const POSTGRESQL_CHANGES: &str = "insert into shop.values select id / 2 + 10 + (id < 0)::int, b, s, i, n, u, f, d, t, v, c, y, a, m, g, j, k, da, ti, ts, tz, iv, ne, ra, bi \
        from shop.values; \
    update shop.values set t = t || '!', f = f * 2, n = n + 1, j = '{\"a\": [2, \"y\"]}', ts = ts + interval '1 microsecond' where id = 1; \
    update shop.values set b = true, id = 77 where id = -1; delete from shop.values where id = 9223372036854775807; \
    update shop.words set word = 'b' where word = 'a'; update shop.words set n = 20 where word = 'A'; delete from shop.words where word = 'a '; \
    insert into shop.words select 'w' || g, g + 100 from generate_series(1, 3000) g; \
    update shop.words set n = n + 1, word = word || ' ' where n > 200; \
    alter table shop.keyless replica identity full; delete from shop.keyless where t = 'X'; update shop.keyless set a = 2 where t = 'x';";

pub(crate) async fn every_value_comes_from_postgresql<P: Dialect>() {
    let to = target::<P>(&["--local-infile=ON"]);
    let world = World::start().await;
    world.source(POSTGRESQL).await;
    world.source("alter table shop.keyless replica identity full").await;
    let task = from_postgresql(&world, &to, &json!({"load_parallelism": 2})).await;
    world.live(task).await;
    becomes_equal_to_postgresql(&world, &to, &AS_BOTH_WRITE).await;
    world.source(POSTGRESQL_CHANGES).await;
    becomes_equal_to_postgresql(&world, &to, &AS_BOTH_WRITE).await;
    no_table_is_parked(&world, task).await;
}

pub(crate) async fn nothing_is_lost_doubled_or_torn_on_its_way_from_postgresql<P: Dialect>() {
    let mut to = target::<P>(&["--local-infile=ON"]);
    let mut world = World::start().await;
    world
        .source(
            "create schema shop; create table shop.left_side (id int primary key, n int); \
             insert into shop.left_side select n, 1000 from generate_series(0, 255) n; \
             create table shop.right_side (id int primary key, n int); insert into shop.right_side table shop.left_side; \
             create table shop.moved (id serial primary key, by_how_much int)",
        )
        .await;
    let task = from_postgresql(&world, &to, &json!({})).await;
    world.live(task).await;
    let moves = |round: u64| transfers(round, 200).replace("USE shop;", "set search_path = shop;");
    for round in 0..6_u64 {
        world.source(&moves(round)).await;
        assert_eq!(to.rows(SUM).unwrap(), ["512000"], "a transaction is torn");
        match round % 3 {
            0 => {
                world.installation.workers[0].kill().unwrap();
                world.source(&moves(round + 10)).await;
                world.installation.workers[0].start().unwrap();
            }
            1 => {
                world.pair.source.kill().unwrap();
                world.pair.source.restart().unwrap();
            }
            _ => {
                to.kill().unwrap();
                world.source(&moves(round + 20)).await;
                to.restart().unwrap();
            }
        }
        assert_eq!(to.rows(SUM).unwrap(), ["512000"], "a transaction is torn");
    }
    let sides = |table: &str, columns: &str| {
        (
            format!("select {columns} from shop.{table} order by id").replace("concat", "concat"),
            format!("SELECT {columns} FROM shop.{table} ORDER BY id"),
        )
    };
    let pairs = [
        sides("left_side", "concat(id, ':', n)"),
        sides("right_side", "concat(id, ':', n)"),
        sides("moved", "concat(id, ':', by_how_much)"),
    ];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    until_within(Duration::from_mins(2), || async {
        let rows = world.pair.source_client().await.unwrap().query(pairs[2].0, &[]).await.unwrap();
        to.rows(pairs[2].1).is_ok_and(|found| found.len() == rows.len())
    })
    .await;
    becomes_equal_to_postgresql(&world, &to, &pairs).await;
    no_table_is_parked(&world, task).await;
}

/// A row that the server takes in no statement parks its table, and no other.
pub(crate) async fn a_row_that_is_too_large_parks_its_table<P: Dialect>() {
    let from = source::<P>(
        &[],
        "CREATE DATABASE shop; USE shop; CREATE TABLE small (id int PRIMARY KEY, t longtext); CREATE TABLE large LIKE small; \
         INSERT INTO small VALUES (1, 'a'); INSERT INTO large VALUES (1, repeat('x', 900000));",
    );
    let to = target::<P>(&["--max-allowed-packet=1M"]);
    let world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    from.execute("INSERT INTO shop.large VALUES (2, repeat('x', 2000000)); INSERT INTO shop.small VALUES (2, 'b')")
        .unwrap();
    becomes_equal(&from, &to, &["SELECT * FROM shop.small ORDER BY id"]).await;
    world.status(task, "degraded").await;
    let tables = world.installation.api.tables(task).await.unwrap();
    let problems: Vec<_> = tables.iter().map(|one| one.problem.as_ref().map(|problem| problem.code.clone())).collect();
    assert_eq!(problems, [Some("row-too-large".to_owned()), None], "{tables:?}");
}

/// The points that a target passes, each with how often before it counts: the third wave has changes.
const POINTS: [(&str, u32); 9] = [
    ("table.begun", 1),
    ("chunk.copied", 1),
    ("chunk.committed", 1),
    ("table.finished", 1),
    ("table.completed", 1),
    ("load.finished", 1),
    ("wave.applied", 3),
    ("wave.commit-sent", 3),
    ("wave.committed", 3),
];

/// A worker dies at each place where the target is between two states, and another finishes what it began.
pub(crate) async fn a_crash_at_every_point_is_survived<P: Dialect>() {
    let (from, to) = (source::<P>(&[], ""), target::<P>(&["--local-infile=ON"]));
    to.execute("GRANT ALL ON `p%`.* TO writer@'127.0.0.1'").unwrap();
    let mut world = World::start().await;
    world.installation.workers[0].kill().unwrap();
    let endpoints = (
        endpoint::<P>(&world, "The shop", "source", from.port(), "wavemark").await,
        endpoint::<P>(&world, "The copy", "target", to.port(), "writer").await,
    );
    for (at, (point, count)) in POINTS.into_iter().enumerate() {
        let schema = format!("p{at}");
        from.execute(&tables_of(&schema)).unwrap();
        let armed = world.installation.add_worker_with(&[("WAVEMARK_CRASH", &format!("{point}:{count}"))]).unwrap();
        let api = &world.installation.api;
        let (rules, settings) = (pair::whole_schema(&schema), json!({"chunk_mib": 1, "load_parallelism": 1}));
        let task = api.create_task(&schema, "full-load-and-cdc", endpoints, &rules, &settings).await.unwrap();
        api.act(task, "start").await.unwrap();
        let mut number = 0;
        let end = std::time::Instant::now() + Duration::from_mins(1);
        while world.installation.workers[armed].is_running() {
            assert!(std::time::Instant::now() < end, "the point {point} was not passed in a minute");
            number += 1;
            from.execute(&change_of(&schema, number)).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = world.installation.workers[armed].log_end(5);
        assert!(said.contains(&format!("crash point {point} reached: aborting")), "{said}");
        from.execute(&change_of(&schema, 900)).unwrap();
        world.installation.workers[0].start().unwrap();
        world.live(task).await;
        from.execute(&change_of(&schema, 901)).unwrap();
        let rows = ["t", "pairs", "keyless"].map(|table| format!("SELECT * FROM {schema}.{table} ORDER BY 1, 2"));
        becomes_equal(&from, &to, &[&rows[0], &rows[1], &rows[2]]).await;
        no_table_is_parked(&world, task).await;
        world.installation.api.act(task, "stop").await.unwrap();
        world.status(task, "stopped").await;
        world.installation.workers[0].kill().unwrap();
    }
}

/// A table of some chunks, one with a unique key besides its own, one without a key.
fn tables_of(schema: &str) -> String {
    format!(
        "CREATE DATABASE {schema}; USE {schema}; CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, pad text); \
         CREATE TABLE pairs (id int AUTO_INCREMENT PRIMARY KEY, t int NOT NULL, UNIQUE (t, id)); \
         CREATE TABLE keyless (n int, m int); \
         INSERT INTO t SELECT seq, 0, repeat('x', 1000) FROM helpers.seq_1_to_20000 WHERE seq <= 3000; \
         INSERT INTO pairs (t) SELECT seq FROM helpers.seq_1_to_20000 WHERE seq <= 200; \
         INSERT INTO keyless SELECT seq, seq FROM helpers.seq_1_to_20000 WHERE seq <= 50;"
    )
}

/// One transaction over all tables: rows come, change, change their key, and go.
fn change_of(schema: &str, number: u32) -> String {
    format!(
        "USE {schema}; BEGIN; UPDATE t SET n = n + 1 WHERE id % 500 = {number} % 500; \
         INSERT INTO t VALUES (10000 + {number}, {number}, 'new'); \
         UPDATE t SET id = id + 1000000 WHERE id = 3000 - {number} % 1000 AND id > 2000; \
         INSERT INTO pairs (t) VALUES (1 + {number} % 100), (2 + {number} % 100); \
         DELETE FROM pairs WHERE id = {number} % 200; \
         UPDATE keyless SET n = n + 1000 WHERE n = {number} % 50; COMMIT"
    )
}

/// Each with rows right before and behind it.
const ALTERED: [&str; 8] = [
    "ALTER TABLE orders ADD COLUMN channel varchar(9) NOT NULL DEFAULT 'wéb'; UPDATE orders SET channel = '€' WHERE id % 7 = 0",
    "ALTER TABLE orders ADD (weight decimal(9,3), size enum('s','m') NOT NULL), ADD raw blob; \
     UPDATE orders SET weight = id * 0.125, size = 'm', raw = x'00ff' WHERE id % 3 = 0",
    "ALTER TABLE orders MODIFY n bigint NOT NULL; UPDATE orders SET n = n + 5000000000 WHERE id % 5 = 0",
    "ALTER TABLE orders RENAME COLUMN weight TO weight_kg, ADD c int; UPDATE orders SET weight_kg = -weight_kg, c = 1 WHERE id % 6 = 0",
    "ALTER TABLE orders MODIFY size enum('s','m','l'); UPDATE orders SET size = NULL WHERE id % 11 = 0",
    "ALTER TABLE orders DROP COLUMN c, DROP raw; DELETE FROM orders WHERE id % 9 = 0",
    "ALTER TABLE orders MODIFY note text, ADD moment datetime(3) NOT NULL DEFAULT '2024-01-01 00:00:00.5'; \
     UPDATE orders SET note = repeat('ü', 300) WHERE id % 8 = 0",
    "INSERT INTO orders (n) SELECT n FROM orders; ALTER TABLE orders DROP note; UPDATE orders SET n = n - 1",
];

/// Columns and rows of the table, whatever the order of its columns.
async fn orders_become_equal<P: Dialect>(from: &Server<P>, to: &Server<P>) {
    let columns = "SELECT column_name, column_type, is_nullable, column_default FROM information_schema.columns \
        WHERE table_schema = 'shop' AND table_name = 'orders' ORDER BY column_name";
    becomes_equal(from, to, &[columns]).await;
    let names = "SELECT group_concat('hex(', column_name, ')' ORDER BY column_name) FROM information_schema.columns \
        WHERE table_schema = 'shop' AND table_name = 'orders'";
    let names = from.rows(names).unwrap().remove(0);
    becomes_equal(from, to, &[&format!("SELECT {names} FROM shop.orders ORDER BY id")]).await;
}

/// A table is altered as at the source, while a worker dies at every step, also between the alteration, at which the server
/// commits, and the wave that notes it.
pub(crate) async fn tables_of_a_target_are_altered_while_workers_die<P: Dialect>() {
    let from = source::<P>(
        &[],
        "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
         CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, n int NOT NULL, note varchar(30)); \
         INSERT INTO orders (n, note) SELECT seq, concat('é', seq) FROM helpers.seq_1_to_20000 WHERE seq <= 500;",
    );
    let to = target::<P>(&["--local-infile=ON"]);
    let mut world = World::start().await;
    let task = from_its_kind(&world, &from, &to, &json!({})).await;
    world.live(task).await;
    for (at, sql) in ALTERED.into_iter().enumerate() {
        world.installation.workers[0].kill().unwrap();
        from.execute(&format!("USE shop; UPDATE orders SET n = n + 1 WHERE id % 2 = 0; {sql}")).unwrap();
        if at % 2 == 0 {
            // The first wave has the rows before, the second notes the layout.
            let armed = world.installation.add_worker_with(&[("WAVEMARK_CRASH", "wave.applied:2")]).unwrap();
            let end = std::time::Instant::now() + Duration::from_mins(1);
            while world.installation.workers[armed].is_running() {
                assert!(std::time::Instant::now() < end, "the alteration was not come to in a minute");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        world.installation.workers[0].start().unwrap();
        orders_become_equal(&from, &to).await;
    }
    no_table_is_parked(&world, task).await;
}
