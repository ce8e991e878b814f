//! Tables without a key: many changes go as a multiset, by one scan of the table.

use super::super::sets::Method;
use super::*;

const METHODS: [Option<Method>; 3] = [None, Some(Method::Singles), Some(Method::Staged)];
const ALL: &str = "SELECT n AS a, j::text AS b, p::text AS c, x::text AS d, count(*) AS e FROM shop.log \
    GROUP BY n, j::text, p::text, x::text \
    ORDER BY n, j::text COLLATE \"C\", p::text COLLATE \"C\", x::text COLLATE \"C\"";

async fn log_table(database: &Database, rest: &str) -> [TablePlan; 1] {
    let columns = "n integer, j json, p point, x xml";
    database.sql(&format!("CREATE SCHEMA shop; CREATE TABLE shop.log ({columns}) {rest}")).await;
    [plan(0, "log", &[("n", "integer"), ("j", "json"), ("p", "point"), ("x", "xml")])]
}

/// In binary form a point is two float8.
fn point(x: f64, y: f64) -> V {
    V::Bytes([x.to_be_bytes(), y.to_be_bytes()].concat())
}

fn event(n: i32, json: &'static str) -> [V; 4] {
    [V::Int(n), V::Text(json), point(1.0, 2.0), V::Text("<a/>")]
}

const NULLS: [V; 4] = [V::Null, V::Null, V::Null, V::Null];

const ROWS: &str = "INSERT INTO shop.log SELECT n, '{\"a\":1}', '(1,2)', '<a/>' \
        FROM generate_series(1, 10) n, generate_series(1, 3); \
    INSERT INTO shop.log SELECT 1, '{\"a\": 1}', '(1,2)', '<a/>' FROM generate_series(1, 2); \
    INSERT INTO shop.log VALUES (1, '{\"a\":1}', '(1,2.5)', '<a/>'), (1, '{\"a\":1}', '(1,2)', NULL); \
    INSERT INTO shop.log SELECT FROM generate_series(1, 4)";

/// Equal rows, rows that differ in one cell only, NULLs, chains of updates, and rows that come and go.
fn many() -> Batch {
    let mut batch = Batch::default();
    for n in 1..=10 {
        delete(&mut batch, 0, &event(n, "{\"a\":1}"));
        update(&mut batch, 0, Some(&event(n, "{\"a\":1}")), &event(n, "{\"b\":1}"));
        update(&mut batch, 0, Some(&event(n, "{\"b\":1}")), &event(n, "{\"b\":2}"));
        insert(&mut batch, 0, &event(-n, "{}"));
        delete(&mut batch, 0, &event(-n, "{}"));
    }
    delete(&mut batch, 0, &event(1, "{\"a\": 1}"));
    delete(&mut batch, 0, &NULLS);
    update(&mut batch, 0, Some(&NULLS), &[V::Null, V::Text("null"), V::Null, V::Null]);
    delete(&mut batch, 0, &NULLS);
    insert(&mut batch, 0, &NULLS);
    batch.end_transaction(position(1), 0);
    batch
}

fn expected() -> String {
    let ordinary = |n: i32| format!("{n}|{{\"a\":1}}|(1,2)|<a/>|1\n{n}|{{\"b\":2}}|(1,2)|<a/>|1\n");
    let first = "1|{\"a\": 1}|(1,2)|<a/>|1\n1|{\"a\":1}|(1,2)|<a/>|1\n1|{\"a\":1}|(1,2)|NULL|1\n\
        1|{\"a\":1}|(1,2.5)|<a/>|1\n1|{\"b\":2}|(1,2)|<a/>|1\n";
    let rest: String = (2..=10).map(ordinary).collect();
    format!("{first}{rest}NULL|null|NULL|NULL|1\nNULL|NULL|NULL|NULL|2")
}

#[tokio::test]
async fn equal_rows_nulls_and_chains_leave_what_the_sources_order_leaves() {
    let partitions = "PARTITION BY LIST (n); CREATE TABLE shop.one PARTITION OF shop.log FOR VALUES IN (1, 2, 3); \
        CREATE TABLE shop.rest PARTITION OF shop.log DEFAULT";
    for (method, rest) in METHODS.into_iter().flat_map(|method| [(method, ""), (method, partitions)]) {
        let database = Database::new().await;
        let plan = log_table(&database, rest).await;
        database.sql(ROWS).await;
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        wave(&mut session, &plan, &many(), 1).await.unwrap();
        assert_eq!(database.rows(ALL).await, expected(), "{method:?} {rest}");
    }
}

#[tokio::test]
async fn staging_is_empty_in_the_next_wave() {
    let database = Database::new().await;
    let plan = log_table(&database, "").await;
    database.sql("INSERT INTO shop.log SELECT 1, '1' FROM generate_series(1, 30)").await;
    let mut session = session(&database, &plan).await;
    let row = [V::Int(1), V::Text("1"), V::Null, V::Null];
    for number in 1..=3 {
        let mut batch = Batch::default();
        (0..7).for_each(|_| delete(&mut batch, 0, &row));
        wave(&mut session, &plan, &batch, number).await.unwrap();
    }
    assert_eq!(database.rows("SELECT count(*) FROM shop.log").await, "9");
}

#[tokio::test]
async fn a_row_that_is_missing_is_a_divergence_and_nothing_goes() {
    for method in METHODS {
        let database = Database::new().await;
        let plan = log_table(&database, "").await;
        database.sql("INSERT INTO shop.log SELECT n, '1' FROM generate_series(1, 10) n").await;
        let mut session = session(&database, &plan).await;
        session.waves.force = method;
        let mut batch = Batch::default();
        (1..=10).for_each(|n| delete(&mut batch, 0, &[V::Int(n), V::Text("1"), V::Null, V::Null]));
        // There is one of it, not two.
        delete(&mut batch, 0, &[V::Int(7), V::Text("1"), V::Null, V::Null]);
        let problem = wave(&mut session, &plan, &batch, 1).await.unwrap_err();
        assert_eq!(problem.code, "divergence", "{method:?}");
        assert_eq!(problem.table.map(|table| table.to_string()).as_deref(), Some("shop.log"));
        session.roll_back().await.unwrap();
        assert_eq!(database.rows("SELECT count(*) FROM shop.log").await, "10");
    }
}

#[tokio::test]
async fn a_column_of_the_targets_own_keeps_its_value() {
    let database = Database::new().await;
    let plan = log_table(&database, "").await;
    database.sql("ALTER TABLE shop.log ADD own text; INSERT INTO shop.log SELECT n, '1', NULL, NULL, 'kept' FROM generate_series(1, 10) n").await;
    let mut session = session(&database, &plan).await;
    let mut batch = Batch::default();
    for n in 1..=10 {
        let row = |json| [V::Int(n), V::Text(json), V::Null, V::Null];
        update(&mut batch, 0, Some(&row("1")), &row("2"));
    }
    wave(&mut session, &plan, &batch, 1).await.unwrap();
    let rows = "SELECT j::text AS a, own AS b, count(*) AS c FROM shop.log GROUP BY 1, 2";
    assert_eq!(database.rows(rows).await, "2|kept|10");
}

/// One by one this is a scan for each row: minutes. `--nocapture` shows how long it took.
#[tokio::test]
async fn thousands_of_deletes_on_a_large_table_are_one_scan() {
    let database = Database::new().await;
    let plan = log_table(&database, "").await;
    let fill = "INSERT INTO shop.log SELECT n, '{\"a\":1}', '(1,2)', '<a/>' FROM generate_series(1, 100000) n";
    database.sql(fill).await;
    let mut session = session(&database, &plan).await;
    let mut batch = Batch::default();
    (1..=5_000).for_each(|n| delete(&mut batch, 0, &event(n * 20, "{\"a\":1}")));
    batch.end_transaction(position(1), 0);
    let begun = std::time::Instant::now();
    wave(&mut session, &plan, &batch, 1).await.unwrap();
    println!("5,000 rows of 100,000 were deleted in {:.2?}", begun.elapsed());
    let left = "SELECT count(*) AS a, count(*) FILTER (WHERE n % 20 = 0) AS b FROM shop.log";
    assert_eq!(database.rows(left).await, "95000|0");
    // The table was read once for all rows, and not once for each; the statistics come when the session is idle.
    let scans = "SELECT seq_scan < 10 FROM pg_stat_user_tables WHERE relname = 'log'";
    assert_eq!(database.rows(scans).await, "true");
}
