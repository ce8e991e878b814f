//! Values of MySQL and MariaDB that PostgreSQL does not have, altered as a task's settings and mapping say: in the load, by the
//! log and after a crash. Counted as the source counts them. Wrapped by `mariadb` and `mysql`.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::mysql_family::Server;
use wavemark_tests::pair::{self, TARGET};

use crate::mysql_family::{Dialect, PASSWORD, source, target_rows};
use crate::unfit::{counts_become, dies_at, rules, seen_on_the_page};
use crate::world::World;

const TABLES: &str = "CREATE DATABASE shop; USE shop; \
    CREATE TABLE nulled (id int PRIMARY KEY, d date, m datetime(3), t time, n int, filler varchar(200)); \
    CREATE TABLE clamped LIKE nulled; CREATE TABLE spelled LIKE nulled; CREATE TABLE keyless (d date, n int); \
    INSERT INTO keyless SELECT IF(seq % 2 = 0, '0000-00-00', '2024-02-29'), seq % 5 FROM helpers.seq_1_to_20000 WHERE seq <= 100; ";

/// Rows of which some have no place, behind those with smaller numbers.
fn insert(table: &str, after: u32, count: u32) -> String {
    format!(
        "INSERT INTO shop.{table} SELECT seq + {after}, CASE seq % 7 WHEN 0 THEN '0000-00-00' WHEN 1 THEN '2024-02-31' \
         ELSE '2024-02-29' END, IF(seq % 5 = 0, '0000-00-00 00:00:00', '2024-02-29 12:00:00.125'), CASE seq % 6 \
         WHEN 0 THEN '-01:00:00' WHEN 1 THEN '100:00:00' ELSE '10:00:00' END, seq, repeat('x', 200) \
         FROM helpers.seq_1_to_20000 WHERE seq <= {count};"
    )
}

/// Each table as its rows are to be, as the source writes it, and as the target does.
const WRITTEN: [(&str, &str); 4] = [
    (
        "SELECT concat_ws('|', id, IF(CAST(d AS char) IN ('0000-00-00', '2024-02-31'), '-', d), \
         IF(CAST(m AS char) LIKE '0000%', '-', m), IF(t < 0 OR t > '24:00:00', '-', t), n) FROM shop.nulled ORDER BY id",
        "SELECT concat_ws('|', id, coalesce(d::text, '-'), coalesce(m::text, '-'), coalesce(t::text, '-'), n) \
         FROM shop.nulled ORDER BY id",
    ),
    (
        "SELECT concat_ws('|', id, CASE CAST(d AS char) WHEN '0000-00-00' THEN '0001-01-01 BC' WHEN '2024-02-31' \
         THEN '2024-02-29' ELSE d END, IF(CAST(m AS char) LIKE '0000%', '0001-01-01 00:00:00 BC', m), \
         CASE WHEN t < 0 THEN '00:00:00' WHEN t > '24:00:00' THEN '24:00:00' ELSE t END, n) FROM shop.clamped ORDER BY id",
        "SELECT concat_ws('|', id, d, m, t, n) FROM shop.clamped ORDER BY id",
    ),
    (
        "SELECT concat_ws('|', id, d, m, t, n) FROM shop.spelled ORDER BY id",
        "SELECT concat_ws('|', id, d, m, t, n) FROM shop.spelled ORDER BY id",
    ),
    (
        "SELECT concat_ws('|', IF(d = 0, '-', d), n) AS line FROM shop.keyless ORDER BY CAST(line AS BINARY)",
        "SELECT line FROM (SELECT concat_ws('|', coalesce(d::text, '-'), n) AS line FROM shop.keyless) x ORDER BY line COLLATE \"C\"",
    ),
];

async fn become_equal<P: Dialect>(world: &World, source: &Server<P>) {
    for (from, to) in WRITTEN {
        let expected = source.rows(from).unwrap();
        let end = std::time::Instant::now() + Duration::from_mins(1);
        while target_rows(world, to).await != expected {
            assert!(
                std::time::Instant::now() < end,
                "{to}: {:?}",
                target_rows(world, to).await.iter().zip(&expected).find(|(a, b)| a != b)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn task<P: Dialect>(world: &World, source: &Server<P>, ways: &[(&str, &str, &str)]) -> Uuid {
    let api = &world.installation.api;
    let from = json!({"host": "127.0.0.1", "port": source.port(), "user": "wavemark", "tls_mode": P::TLS});
    let to = pair::settings(&world.pair.target, TARGET, TARGET);
    let endpoints = (
        api.create_endpoint_of("mysql", "The shop", "source", &from, PASSWORD).await.unwrap(),
        api.create_endpoint("The copy", "target", &to, world.pair.target.password()).await.unwrap(),
    );
    let settings = json!({"unfit_values": "null", "chunk_mib": 1, "load_parallelism": 2});
    let task = api.create_task("Copy shop", "full-load-and-cdc", endpoints, &rules(ways), &settings).await.unwrap();
    api.act(task, "start").await.unwrap();
    task
}

/// How many values of each column have no place, as the source counts them.
fn counted<P: Dialect>(source: &Server<P>, of: &str) -> u64 {
    source.rows(&format!("SELECT count(*) FROM shop.{of}")).unwrap()[0].parse().unwrap()
}

const KEPT: &str = "SELECT concat_ws(' ', source_table, source_column, way, sum(values)) FROM wavemark.unfit \
    GROUP BY source_table, source_column, way ORDER BY source_table, source_column";

pub(crate) async fn values_that_postgresql_does_not_have_are_altered_and_counted<P: Dialect>() {
    let tables =
        format!("{TABLES}{}{}{}", insert("nulled", 0, 20_000), insert("clamped", 0, 20_000), insert("spelled", 0, 500));
    let source = source::<P>(&["--sql-mode=ALLOW_INVALID_DATES"], &tables);
    let mut world = World::start().await;
    world.installation.workers[0].kill().unwrap();
    let task = task(&world, &source, &[("clamped", "%", "clamp"), ("spelled", "%", "text")]).await;
    dies_at(&mut world, "chunk.copied:3").await;
    world.live(task).await;
    become_equal(&world, &source).await;

    // All of these come once, whatever worker brings them, and go by single statements, by sets and by COPY.
    for (at, point) in ["wave.applied:1", "wave.commit-sent:1", "wave.committed:1"].into_iter().enumerate() {
        let after = 100_000 * u32::try_from(at + 1).unwrap();
        world.installation.workers[0].kill().unwrap();
        for table in ["nulled", "clamped", "spelled"] {
            source.execute(&insert(table, after, 30)).unwrap();
            source.execute(&insert(table, after + 1_000, 3_000)).unwrap();
        }
        dies_at(&mut world, point).await;
        become_equal(&world, &source).await;
    }
    let columns = [
        ("d", "CAST(d AS char) IN ('0000-00-00', '2024-02-31')"),
        ("m", "CAST(m AS char) LIKE '0000%'"),
        ("t", "t < 0 OR t > '24:00:00'"),
    ];
    let count = |table: &str, way: &str, also: u64| {
        columns.map(|(column, is_unfit)| {
            let values = counted(&source, &format!("{table} WHERE {is_unfit}")) + if column == "d" { also } else { 0 };
            format!("{table} {column} {way} {values}")
        })
    };
    let zeros = counted(&source, "keyless WHERE d = 0");
    let expected: Vec<String> = (count("clamped", "clamp", 0).into_iter())
        .chain([format!("keyless d null {zeros}")])
        .chain(count("nulled", "null", 0))
        .collect();
    counts_become(&world, task, &expected, async || target_rows(&world, KEPT).await).await;

    // Rows without a key are found again though they are others there, and rows that stay unfit count again.
    let again = counted(&source, "keyless WHERE d = 0 AND n = 1");
    source
        .execute(
            "USE shop; DELETE FROM keyless WHERE n = 2; UPDATE keyless SET n = 77 WHERE n = 1; \
             UPDATE nulled SET d = '0000-00-00' WHERE id = 2; UPDATE clamped SET d = '2020-01-01', t = '-00:00:01' WHERE id = 7; \
             UPDATE spelled SET m = '2024-00-00', t = '838:59:59' WHERE id = 3; DELETE FROM nulled WHERE id = 14;",
        )
        .unwrap();
    assert!(again > 0);
    become_equal(&world, &source).await;
    let updated: Vec<String> = expected
        .iter()
        .map(|line| {
            let (name, values) = line.rsplit_once(' ').unwrap();
            let more = match name {
                "keyless d null" => again,
                // The row with the number 2 has a zero date now; that with 7 another time, which was a hundred hours before.
                "nulled d null" | "clamped t clamp" => 1,
                _ => 0,
            };
            format!("{name} {}", values.parse::<u64>().unwrap() + more)
        })
        .collect();
    counts_become(&world, task, &updated, async || target_rows(&world, KEPT).await).await;
    seen_on_the_page(&world, task).await;

    // A reload counts from the beginning.
    world.installation.api.ask_of_tables(task, "reload", &[("shop", "nulled")]).await.unwrap();
    let reloaded: Vec<String> =
        updated.iter().filter(|line| !line.starts_with("nulled")).cloned().chain(count("nulled", "null", 0)).collect();
    counts_become(&world, task, &reloaded, async || target_rows(&world, KEPT).await).await;
    let declared = "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) \
        FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'spelled'";
    let expected = "id integer, d text, m text, t text, n integer, filler character varying";
    assert_eq!(target_rows(&world, declared).await, [expected]);
}

/// What tells rows apart, and what may not be NULL, is never altered.
pub(crate) async fn keys_and_columns_without_null_park_their_tables<P: Dialect>() {
    let source = source::<P>(
        &["--sql-mode=ALLOW_INVALID_DATES"],
        "CREATE DATABASE shop; USE shop; CREATE TABLE good (id int PRIMARY KEY, d date); INSERT INTO good VALUES (1, '0000-00-00'); \
         CREATE TABLE by_date (d date PRIMARY KEY); INSERT INTO by_date VALUES ('0000-00-00'), ('2024-01-01'); \
         CREATE TABLE apart (id int PRIMARY KEY, d date UNIQUE); INSERT INTO apart VALUES (1, '0000-00-00'); \
         CREATE TABLE strict (id int PRIMARY KEY, d date NOT NULL); INSERT INTO strict VALUES (1, '0000-00-00'); \
         CREATE TABLE exact (id int PRIMARY KEY, d date); INSERT INTO exact VALUES (1, '0000-00-00'); \
         CREATE TABLE zeros (id int PRIMARY KEY, t varchar(9)); INSERT INTO zeros VALUES (1, 'a\\0b'), (2, 'ab');",
    );
    let world = World::start().await;
    let task = task(&world, &source, &[("exact", "d", "as-data-error"), ("by_date", "d", "clamp")]).await;
    let table = |tables: &[wavemark_tests::api::Table]| -> Vec<String> {
        let of = |table: &wavemark_tests::api::Table| {
            let code = table.problem.as_ref().map_or("", |problem| problem.code.as_str());
            format!("{} {} {code}", table.source.table, table.state)
        };
        tables.iter().map(of).collect()
    };
    let expected = [
        "apart parked value-does-not-fit",
        "by_date parked value-does-not-fit",
        "exact parked value-does-not-fit",
        "good live ",
        "strict parked value-does-not-fit",
        "zeros live ",
    ];
    crate::world::until(|| async {
        let tables = world.installation.api.tables(task).await.unwrap();
        table(&tables) == expected
    })
    .await;
    assert_eq!(target_rows(&world, "SELECT concat_ws('|', id, t) FROM shop.zeros ORDER BY id").await, ["1", "2|ab"]);
}
