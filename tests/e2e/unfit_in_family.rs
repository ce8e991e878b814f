//! Values of PostgreSQL that MySQL and MariaDB do not have, altered as a task's settings and mapping say: in the load, by the
//! log and after a crash. Counted as the source counts them. Wrapped by `mariadb` and `mysql`.

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::mysql_family::Server;
use wavemark_tests::pair;

use crate::mysql_family::Dialect;
use crate::mysql_target::{becomes_equal_to_postgresql, endpoint, target};
use crate::unfit::{counts_become, dies_at, rules};
use crate::world::World;

const TABLES: &str = "create schema shop; \
    create table shop.nulled (id int primary key, d date, ts timestamptz, f float8, n numeric(8, 2), filler text); \
    create table shop.clamped (like shop.nulled including all); \
    create table shop.spelled (id int primary key, d date, ts timestamptz, t timestamp, r real, f float8, n numeric, j jsonb); \
    create table shop.narrow (id int primary key, i int, s text, y bytea); \
    create table shop.keyless (f float8, n int); alter table shop.keyless replica identity full; \
    insert into shop.keyless select case n % 2 when 0 then 'NaN' else 1.5 end, n % 5 from generate_series(1, 100) n; ";

/// Rows of which some have no place, behind those with smaller numbers.
fn insert(table: &str, after: u32, count: u32) -> String {
    let values = match table {
        "narrow" => "n * 7 - 300, repeat('é', n % 5), decode(repeat('ab', n % 4), 'hex')",
        "spelled" => {
            "(case n % 4 when 0 then 'infinity' when 1 then '0044-03-15 BC' else '2024-02-29' end)::date, \
             (case n % 3 when 0 then '-infinity' when 1 then '2024-02-29 12:00:00.5+00' else '0044-03-15 12:00:00+00 BC' end)::timestamptz, \
             timestamp '2024-01-01 00:00:00' + n * interval '1234567 microseconds', \
             (case n % 3 when 0 then 'NaN' else (n * 1.1)::text end)::real, \
             (case n % 5 when 0 then '-Infinity' when 1 then '-0' else (n * 1e10 / 7)::text end)::float8, \
             (case n % 5 when 0 then 'NaN' when 1 then 'Infinity' else (n * 1.10)::text end)::numeric, \
             ('{\"a\": ' || n || '.10, \"b\": 123456789012345678901234567890}')::jsonb"
        }
        _ => {
            "(case n % 4 when 0 then 'infinity' when 1 then '0044-03-15 BC' else '2024-02-29' end)::date, \
             (case n % 3 when 0 then '-infinity' when 1 then 'infinity' else '2024-02-29 12:00:00.5+00' end)::timestamptz, \
             (case n % 5 when 0 then '-Infinity' when 1 then 'Infinity' else n::text end)::float8, \
             (case n % 6 when 0 then 'NaN' else n::text end)::numeric, repeat('x', 200)"
        }
    };
    // Nothing is near to what is no number, so none is clamped.
    let values = if table == "clamped" { values.replace("'NaN'", "'1'") } else { values.to_owned() };
    format!("insert into shop.{table} select n + {after}, {values} from generate_series(1, {count}) n;")
}

const WRITTEN: [(&str, &str); 5] = [
    (
        "select concat_ws('|', id, case when isfinite(d) and d > '0001-01-01' then d::text else '-' end, \
         case when isfinite(ts) then to_char(ts, 'YYYY-MM-DD HH24:MI:SS.US') else '-' end, \
         case when abs(f) < 'Infinity' then f::text else '-' end, case when n < 'NaN' then n::text else '-' end) \
         from shop.nulled order by id",
        "SELECT concat_ws('|', id, coalesce(d, '-'), coalesce(ts, '-'), coalesce(f, '-'), coalesce(n, '-')) FROM shop.nulled ORDER BY id",
    ),
    (
        "select concat_ws('|', id, case when d = 'infinity' then '9999-12-31' when d < '0001-01-01' then '0000-01-01' else d::text end, \
         case ts when 'infinity' then '9999-12-31 23:59:59.999999' when '-infinity' then '0000-01-01 00:00:00.000000' \
         else to_char(ts, 'YYYY-MM-DD HH24:MI:SS.US') end, \
         case f when 'Infinity' then '1.7976931348623157e308' when '-Infinity' then '-1.7976931348623157e308' else f::text end, n) \
         from shop.clamped order by id",
        "SELECT concat_ws('|', id, d, ts, f, n) FROM shop.clamped ORDER BY id",
    ),
    (
        "select concat_ws('|', id, d, ts, t, r, f, n, j) from shop.spelled order by id",
        "SELECT concat_ws('|', id, d, ts, t, r, f, n, j) FROM shop.spelled ORDER BY id",
    ),
    (
        "select concat_ws('|', id, least(greatest(i, -128), 127), left(s, 3), encode(substr(y, 1, 2), 'hex')) from shop.narrow order by id",
        "SELECT concat_ws('|', id, i, s, lower(hex(y))) FROM shop.narrow ORDER BY id",
    ),
    (
        "select line from (select concat_ws('|', case when f = 'NaN' then '-' else f::text end, n) as line from shop.keyless) x order by line collate \"C\"",
        "SELECT concat_ws('|', coalesce(f, '-'), n) AS line FROM shop.keyless ORDER BY CAST(line AS BINARY)",
    ),
];

async fn task<P: Dialect>(world: &World, to: &Server<P>) -> Uuid {
    let api = &world.installation.api;
    let from = pair::settings(&world.pair.source, pair::SOURCE, pair::SOURCE);
    let endpoints = (
        api.create_endpoint("The shop", "source", &from, world.pair.source.password()).await.unwrap(),
        endpoint::<P>(world, "The copy", "target", to.port(), "writer").await,
    );
    let ways = [("clamped", "%", "clamp"), ("narrow", "%", "clamp"), ("spelled", "%", "text")];
    let settings = json!({"unfit_values": "null", "chunk_mib": 1, "load_parallelism": 2});
    let task = api.create_task("Copy shop", "full-load-and-cdc", endpoints, &rules(&ways), &settings).await.unwrap();
    api.act(task, "start").await.unwrap();
    task
}

/// What the target is to count, by the source.
const COUNTED: [(&str, &str); 11] = [
    ("clamped d clamp", "clamped where not isfinite(d) or d < '0001-01-01'"),
    ("clamped f clamp", "clamped where abs(f) = 'Infinity'"),
    ("clamped ts clamp", "clamped where not isfinite(ts)"),
    ("keyless f null", "keyless where f = 'NaN'"),
    ("narrow i clamp", "narrow where i not between -128 and 127"),
    ("narrow s clamp", "narrow where length(s) > 3"),
    ("narrow y clamp", "narrow where length(y) > 2"),
    ("nulled d null", "nulled where not isfinite(d) or d < '0001-01-01'"),
    ("nulled f null", "nulled where abs(f) = 'Infinity'"),
    ("nulled n null", "nulled where n = 'NaN'"),
    ("nulled ts null", "nulled where not isfinite(ts)"),
];

async fn counted(world: &World) -> Vec<String> {
    let source = world.pair.source_client().await.unwrap();
    let mut counted = Vec::new();
    for (name, of) in COUNTED {
        let row = source.query_one(&format!("select count(*) from shop.{of}"), &[]).await.unwrap();
        counted.push(format!("{name} {}", row.get::<_, i64>(0)));
    }
    counted
}

const KEPT: &str = "SELECT concat_ws(' ', source_table, source_column, way, sum(`values`)) FROM wavemark.unfit \
    GROUP BY source_table, source_column, way ORDER BY source_table, source_column";

pub(crate) async fn values_that_only_postgresql_has_are_altered_and_counted<P: Dialect>(options: &[&str]) {
    let to = target::<P>(options);
    // A table that is there already, narrower than the source's.
    to.execute(
        "CREATE DATABASE shop; \
         CREATE TABLE shop.narrow (id int PRIMARY KEY, i tinyint, s varchar(3) CHARACTER SET utf8mb4, y varbinary(2));",
    )
    .unwrap();
    let mut world = World::start().await;
    world.source(TABLES).await;
    for (table, rows) in [("nulled", 15_000), ("clamped", 15_000), ("spelled", 500), ("narrow", 100)] {
        world.source(&insert(table, 0, rows)).await;
    }
    world.installation.workers[0].kill().unwrap();
    let task = task(&world, &to).await;
    dies_at(&mut world, "chunk.copied:3").await;
    world.live(task).await;
    becomes_equal_to_postgresql(&world, &to, &WRITTEN).await;

    for (at, point) in ["wave.applied:1", "wave.commit-sent:1", "wave.committed:1"].into_iter().enumerate() {
        let after = 100_000 * u32::try_from(at + 1).unwrap();
        let mut changes = String::new();
        for (table, rows) in [("nulled", 3_000), ("clamped", 3_000), ("spelled", 60), ("narrow", 60)] {
            changes += &insert(table, after, 30);
            changes += &insert(table, after + 1_000, rows);
        }
        let source = world.pair.source_client().await.unwrap();
        world.installation.workers[0].kill().unwrap();
        for change in changes.split_inclusive(';') {
            source.batch_execute(change).await.unwrap();
        }
        dies_at(&mut world, point).await;
        becomes_equal_to_postgresql(&world, &to, &WRITTEN).await;
    }
    let expected = counted(&world).await;
    counts_become(&world, task, &expected, async || to.rows(KEPT).unwrap()).await;

    // Rows without a key are found again though they are others there, and rows that stay unfit count again.
    let again: i64 = (world.pair.source_client().await.unwrap())
        .query_one("select count(*) from shop.keyless where f = 'NaN' and n = 1", &[])
        .await
        .unwrap()
        .get(0);
    world
        .source(
            "delete from shop.keyless where n = 2; update shop.keyless set n = 77 where n = 1; \
         update shop.nulled set n = 'NaN' where id = 2; update shop.clamped set ts = 'infinity', f = 1 where id = 2; \
         update shop.narrow set s = 'longer' where id = 1; update shop.spelled set d = '-infinity' where id = 3;",
        )
        .await;
    becomes_equal_to_postgresql(&world, &to, &WRITTEN).await;
    let updated: Vec<String> = expected
        .iter()
        .map(|line| {
            let (name, values) = line.rsplit_once(' ').unwrap();
            let more = match name {
                "keyless f null" => again,
                "nulled n null" | "clamped ts clamp" | "narrow s clamp" | "narrow i clamp" => 1,
                _ => 0,
            };
            format!("{name} {}", values.parse::<i64>().unwrap() + more)
        })
        .collect();
    counts_become(&world, task, &updated, async || to.rows(KEPT).unwrap()).await;
}
