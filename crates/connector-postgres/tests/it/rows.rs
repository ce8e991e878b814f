//! Tables of which only some rows travel: by the same condition in the load, in the log and in comparisons.

use std::time::Duration;

use serde_json::{Value, json};
use wavemark_connector::source::{BlockFormat, KeptFor, Touched};
use wavemark_domain::check::Weight;
use wavemark_domain::compare::{CompareOrder, CompareProgress, ComparedTable, RepairOrder};
use wavemark_domain::layout::ChangedTablePolicy;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::progress::Phase;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{TableName, TableOrder, TablePlan, TableWish};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of};
use crate::support::run::{ended, refused};
use crate::support::task;
use crate::support::task::load;

/// Conditions on a column.
fn on(column: &str, conditions: &Value) -> Value {
    json!({"filter-type": "source", "column-name": column, "filter-conditions": conditions})
}

fn equal(column: &str, values: &[&str]) -> Value {
    let conditions: Vec<Value> = values.iter().map(|value| json!({"filter-operator": "eq", "value": value})).collect();
    on(column, &json!(conditions))
}

/// A mapping of these tables of schema `public`, each with its filters.
fn mappings(tables: &[(&str, Value)]) -> Mappings {
    let rule = |(at, (table, filters)): (usize, &(&str, Value))| {
        json!({"rule-type": "selection", "rule-id": at.to_string(), "rule-name": table, "rule-action": "include",
               "object-locator": {"schema-name": "public", "table-name": table}, "filters": filters})
    };
    let rules: Vec<Value> = tables.iter().enumerate().map(rule).collect();
    Mappings::parse(&json!({"rules": rules})).unwrap()
}

/// A run of the task at an epoch.
fn run(pair: &Pair, epoch: i64, tables: &[(&str, Value)], settings: TaskSettings) -> Run {
    Run { mappings: mappings(tables), ..pair.run(epoch, TaskKind::FullLoadAndCdc, &["%"], settings) }
}

fn loaded() -> TaskSettings {
    TaskSettings { stop_at: StopAt::Loaded, ..TaskSettings::default() }
}

/// Settings of a run that follows up to now.
async fn until_now(pair: &Pair) -> TaskSettings {
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    TaskSettings { stop_at: StopAt::Position(end), ..TaskSettings::default() }
}

/// Follows up to now.
async fn follow(pair: &Pair, epoch: i64, tables: &[(&str, Value)]) -> Run {
    let run = run(pair, epoch, tables, until_now(pair).await);
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    run
}

/// The target's table is what the source's has under a condition.
async fn assert_rows(pair: &Pair, table: &str, condition: &str, when: &str) {
    let source = rows_of(&pair.source, &format!("(SELECT * FROM {table} WHERE {condition})")).await;
    assert_eq!(rows_of(&pair.mart, table).await, source, "{table} {when}");
}

/// Runs until the target's table is what the source's has under a condition.
async fn follows_until_equal(pair: &Pair, run: &Run, table: &str, condition: &str) {
    let equal = async {
        let source = format!("(SELECT * FROM {table} WHERE {condition})");
        let is_live = || {
            let tables = run.status.progress().tables;
            tables.iter().any(|one| one.table.table == table && one.state == TableState::Live)
        };
        while !is_live() || rows_of(&pair.mart, table).await != rows_of(&pair.source, &source).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        run.stop.cancel();
    };
    let (ended, ()) = tokio::join!(ended(run), equal);
    assert_eq!(ended.unwrap(), Ended::Stopped);
}

/// Why a table is parked.
fn parked(run: &Run, table: &str) -> String {
    let tables = run.status.progress().tables;
    let table = tables.into_iter().find(|one| one.table.table == table).unwrap();
    table.problem.map(|problem| format!("{}: {}", problem.code, problem.text)).unwrap_or_default()
}

const SCHEMA: &str = "\
    CREATE TABLE orders (id int, region varchar(10), n int, PRIMARY KEY (id, region)); \
    INSERT INTO orders SELECT i, (ARRAY['eu', 'us', 'o''x'])[i % 3 + 1], i FROM generate_series(1, 3000) i; \
    CREATE TABLE wide (id int PRIMARY KEY, amount numeric(9, 2), at timestamptz, doc text); \
    ALTER TABLE wide REPLICA IDENTITY FULL, ALTER doc SET STORAGE EXTERNAL; \
    INSERT INTO wide SELECT i, nullif(i, 7) / 4.0, '2026-01-01'::timestamptz + i * interval '1 h', repeat('d', 4000) \
        FROM generate_series(1, 100) i; \
    CREATE TABLE parts (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
    CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('eu'); \
    CREATE TABLE parts_b (n int, region text NOT NULL, id int NOT NULL); \
    ALTER TABLE parts_b REPLICA IDENTITY FULL; \
    ALTER TABLE parts ATTACH PARTITION parts_b DEFAULT; \
    INSERT INTO parts SELECT i, CASE WHEN i % 2 = 0 THEN 'eu' ELSE 'us' END, i FROM generate_series(1, 50) i; \
    CREATE TABLE whole (id int PRIMARY KEY, v text); INSERT INTO whole VALUES (1, 'one')";

fn tables() -> Vec<(&'static str, Value)> {
    vec![
        (
            "orders",
            json!([equal("region", &["eu", "o'x"]), on("id", &json!([{"filter-operator": "gte", "value": 100}]))]),
        ),
        (
            "wide",
            json!([
                on("amount", &json!([{"filter-operator": "ste", "value": "20"}, {"filter-operator": "null"}])),
                on(
                    "at",
                    &json!([{"filter-operator": "between", "start-value": "2026-01-01 10:00:00+02:00", "end-value": "2026-01-04"}])
                ),
            ]),
        ),
        ("parts", json!([equal("region", &["eu"])])),
        ("whole", json!([])),
    ]
}

/// The same in words of our own.
const CONDITIONS: [(&str, &str); 4] = [
    ("orders", "region IN ('eu', 'o''x') AND id >= 100"),
    ("wide", "(amount <= 20 OR amount IS NULL) AND at >= '2026-01-01 08:00Z' AND at <= '2026-01-04 00:00Z'"),
    ("parts", "region = 'eu'"),
    ("whole", "true"),
];

#[tokio::test]
async fn rows_come_into_a_filter_and_leave_it_as_they_change() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    assert_eq!(ended(&run(&pair, 1, &tables(), loaded())).await.unwrap(), Ended::Finished);
    for (table, condition) in CONDITIONS {
        assert_rows(&pair, table, condition, "after the load").await;
    }
    assert_eq!(rows_of(&pair.mart, "orders").await.len(), 1934);
    for change in [
        // In, out, within, outside; by one update of many rows, too.
        "UPDATE orders SET region = 'eu' WHERE id = 100; UPDATE orders SET region = 'us' WHERE id = 102",
        "UPDATE orders SET n = -n WHERE id < 200",
        "UPDATE orders SET id = id + 10000 WHERE id < 50; UPDATE orders SET id = -id WHERE id BETWEEN 300 AND 320",
        "DELETE FROM orders WHERE id % 7 = 0",
        "BEGIN; INSERT INTO orders VALUES (5000, 'eu', 1), (5001, 'us', 1), (40, 'eu', 1); UPDATE orders SET region = 'us' \
            WHERE id = 5000; UPDATE orders SET region = 'o''x' WHERE id = 5001; DELETE FROM orders WHERE id = 5000; COMMIT",
        "UPDATE wide SET amount = NULL WHERE id = 90; UPDATE wide SET amount = 1 WHERE id IN (85, 86, 3)",
        "UPDATE wide SET at = '2027-01-01' WHERE id = 20; UPDATE wide SET at = NULL WHERE id = 21",
        "UPDATE wide SET doc = 'short' WHERE id IN (22, 95); DELETE FROM wide WHERE id IN (23, 96)",
        // From one partition to the other, and within each.
        "UPDATE parts SET region = 'us' WHERE id = 2; UPDATE parts SET region = 'eu' WHERE id = 3; UPDATE parts SET n = 0",
        "INSERT INTO parts VALUES (60, 'eu', 1), (61, 'asia', 1); UPDATE parts SET region = 'eu' WHERE id = 61",
        "DELETE FROM parts WHERE id < 10",
        "INSERT INTO whole VALUES (2, 'two')",
    ] {
        pair.source.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let run = follow(&pair, 2, &tables()).await;
    for (table, condition) in CONDITIONS {
        assert_rows(&pair, table, condition, "after the changes").await;
        assert_eq!(parked(&run, table), "");
    }
    assert_ne!(rows_of(&pair.mart, "wide").await, Vec::<String>::new());
    pair.source
        .batch_execute("TRUNCATE orders, parts; INSERT INTO orders VALUES (200, 'eu', 1), (201, 'us', 1), (1, 'eu', 1)")
        .await
        .unwrap();
    follow(&pair, 3, &tables()).await;
    assert_eq!(rows_of(&pair.mart, "orders").await, ["(200,eu,1)"]);
    assert_eq!(rows_of(&pair.mart, "parts").await, Vec::<String>::new());
}

/// A column's declaration, its values, DMS's conditions, and the same in SQL.
const TYPES: [(&str, &[&str], &str, &str); 15] = [
    ("boolean", &["true", "false"], r#"[{"filter-operator": "eq", "value": "t"}]"#, "v"),
    ("smallint", &["-1", "5"], r#"[{"filter-operator": "gte", "value": 5}]"#, "v > 4"),
    ("integer", &["-2147483648", "7"], r#"[{"filter-operator": "lte", "value": "-2147483648"}]"#, "v < 0"),
    ("bigint", &["9223372036854775807", "1"], r#"[{"filter-operator": "noteq", "value": "1"}]"#, "v > 1"),
    ("numeric", &["1.10", "1.1", "NaN", "2"], r#"[{"filter-operator": "eq", "value": "1.100"}]"#, "v < 2"),
    (
        "numeric(5,1)",
        &["1.5", "99"],
        r#"[{"filter-operator": "between", "start-value": "1.45", "end-value": 98.9}]"#,
        "v = 1.5",
    ),
    ("real", &["1.5", "NaN", "0.1"], r#"[{"filter-operator": "eq", "value": "0.1"}]"#, "v < 1"),
    ("double precision", &["0.1", "-0", "1e300"], r#"[{"filter-operator": "ste", "value": "0"}]"#, "v <= 0"),
    (
        "text",
        &["", "a b", "it's", "\\x"],
        r#"[{"filter-operator": "eq", "value": "it's"}, {"filter-operator": "eq", "value": "\\x"}, {"filter-operator": "eq", "value": ""}]"#,
        "v <> 'a b'",
    ),
    ("varchar(3)", &["abc", "ab"], r#"[{"filter-operator": "noteq", "value": "abcd"}]"#, "v IS NOT NULL"),
    ("char(4)", &["ab", "abc"], r#"[{"filter-operator": "eq", "value": "ab"}]"#, "length(v) = 2"),
    (
        "uuid",
        &["00000000-0000-0000-0000-000000000001", "123e4567-e89b-12d3-a456-426614174000"],
        r#"[{"filter-operator": "eq", "value": "123E4567-E89B-12D3-A456-426614174000"}]"#,
        "v::text LIKE '1%'",
    ),
    (
        "date",
        &["2024-02-29", "infinity"],
        r#"[{"filter-operator": "notbetween", "start-value": "2024-02-01", "end-value": "2024-03-01"}]"#,
        "v = 'infinity'",
    ),
    (
        "timestamp",
        &["2024-02-29 23:59:59.5", "2024-03-01"],
        r#"[{"filter-operator": "ste", "value": "2024-02-29T23:59:59.500000"}]"#,
        "v < '2024-03-01'",
    ),
    (
        "timestamptz",
        &["2024-02-29 23:30:00+00", "2024-02-29 22:30:00+00"],
        r#"[{"filter-operator": "gte", "value": "2024-03-01 00:30:00+01"}]"#,
        "extract(hour FROM v AT TIME ZONE 'UTC') = 23",
    ),
];

#[tokio::test]
async fn each_type_is_filtered_alike_in_the_load_and_in_the_log() {
    // Sessions of others, and of ours where nothing is set, read dates and times in another way.
    let pair = Pair::start(&[("datestyle", "sql, dmy"), ("timezone", "Asia/Tokyo")]).await;
    let name = |at: usize| format!("t{at}");
    let names: Vec<String> = (0..TYPES.len()).map(name).collect();
    let insert = async |at: usize, from: usize, values: &[&str]| {
        for (number, value) in values.iter().map(|value| Some(*value)).chain([None]).enumerate() {
            let id = i32::try_from(from + number).unwrap();
            pair.source
                .execute(&format!("INSERT INTO t{at} VALUES ($1, ($2::text)::{})", TYPES[at].0), &[&id, &value])
                .await
                .unwrap();
        }
    };
    let mut tables = Vec::new();
    for client in [&pair.source, &pair.mart] {
        client.batch_execute("SET datestyle = iso").await.unwrap();
    }
    for (at, (declared, values, conditions, _)) in TYPES.iter().enumerate() {
        let sql =
            format!("CREATE TABLE t{at} (id int PRIMARY KEY, v {declared}); ALTER TABLE t{at} REPLICA IDENTITY FULL");
        pair.source.batch_execute(&sql).await.unwrap();
        insert(at, 0, values).await;
        tables.push((names[at].as_str(), json!([on("v", &serde_json::from_str(conditions).unwrap())])));
    }
    assert_eq!(ended(&run(&pair, 1, &tables, loaded())).await.unwrap(), Ended::Finished);
    for (at, (declared, values, _, condition)) in TYPES.iter().enumerate() {
        assert_rows(&pair, &name(at), condition, declared).await;
        assert_ne!(rows_of(&pair.mart, &name(at)).await.len(), 0, "{declared}");
        insert(at, 100, values).await;
        pair.source.batch_execute(&format!("UPDATE t{at} SET id = id + 1000 WHERE id < 100")).await.unwrap();
    }
    let run = follow(&pair, 2, &tables).await;
    for (at, (declared, _, _, condition)) in TYPES.iter().enumerate() {
        assert_eq!(parked(&run, &name(at)), "", "{declared}");
        assert_rows(&pair, &name(at), condition, declared).await;
    }
}

#[tokio::test]
async fn what_the_server_could_not_filter_is_refused_and_the_source_stays_writable() {
    let pair = Pair::start(&[]).await;
    let schema = "CREATE TYPE mood AS ENUM ('ok'); \
        CREATE TABLE t (id int PRIMARY KEY, region text, m mood, j jsonb); \
        CREATE TABLE made (id int PRIMARY KEY, region text, up text GENERATED ALWAYS AS (upper(region)) STORED); \
        INSERT INTO t VALUES (1, 'eu'); ALTER TABLE t REPLICA IDENTITY FULL; \
        CREATE TABLE key_only (id int PRIMARY KEY, region text); INSERT INTO key_only VALUES (1, 'eu'); \
        CREATE TABLE by_index (id int PRIMARY KEY, region text NOT NULL, UNIQUE (id, region)); \
        ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_id_region_key; \
        CREATE TABLE parts (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
        CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('eu'); INSERT INTO parts VALUES (1, 'eu'); \
        CREATE UNIQUE INDEX parts_a_id ON parts_a (id); ALTER TABLE parts_a REPLICA IDENTITY USING INDEX parts_a_id";
    pair.source.batch_execute(schema).await.unwrap();
    let eu = || json!([equal("region", &["eu"])]);
    let with = |column: &str, value: &str| json!([equal(column, &[value])]);
    for (table, filters, code, text) in [
        (
            "key_only",
            eu(),
            "row-filter-identity",
            "The rows of public.key_only can't be filtered by region while it is followed",
        ),
        ("t", with("m", "ok"), "row-filter-refused", "column m has the type public.mood, by which"),
        ("t", with("j", "{}"), "row-filter-refused", "column j has the type jsonb, by which"),
        ("made", with("up", "EU"), "row-filter-refused", "column up is generated"),
        ("t", with("id", "one"), "row-filter-refused", "column id is compared with a text that is no whole number"),
        ("t", with("nowhere", "x"), "table-refused", "its filter names column nowhere, which it does not have"),
        ("parts", eu(), "row-filter-identity", "The rows of public.parts can't be filtered by region"),
    ] {
        let problem = refused(&run(&pair, 1, &[(table, filters)], loaded())).await;
        assert_eq!(problem.code, code, "{problem:?}");
        assert!(problem.text.contains(text), "{problem}");
        assert!(problem.advice.is_some() || code == "row-filter-refused", "{problem:?}");
        assert_eq!(pair.ask("SELECT count(*)::text FROM pg_publication").await, "0");
    }
    let problem = refused(&run(&pair, 1, &[("t", eu()), ("_", with("region", "us"))], loaded())).await;
    assert!(problem.text.contains("the rules 0 and 1 select it with different filters"), "{problem}");
    // One that can't be filtered does not keep the others from being followed, and its users from writing.
    let both = [("key_only", eu()), ("by_index", eu()), ("t", eu())];
    assert_eq!(ended(&run(&pair, 1, &both, loaded())).await.unwrap(), Ended::Finished);
    let writes = "UPDATE key_only SET region = 'us'; INSERT INTO by_index VALUES (1, 'eu'), (2, 'us'); \
        UPDATE by_index SET region = 'eu' WHERE id = 2; UPDATE t SET region = 'us'; UPDATE parts SET id = 2; DELETE FROM key_only";
    // Not published, the partition misses nothing of its identity.
    pair.source.batch_execute(writes).await.unwrap();
    let run = follow(&pair, 2, &both).await;
    assert!(parked(&run, "key_only").starts_with("row-filter-identity"));
    assert_rows(&pair, "by_index", "region = 'eu'", "by its index").await;
    assert_rows(&pair, "t", "region = 'eu'", "by its whole rows").await;
}

#[tokio::test]
async fn an_assessment_names_what_filters_need_and_do() {
    let pair = Pair::start(&[]).await;
    let schema = "CREATE TABLE t (id int, region text, doc text, PRIMARY KEY (id, region)); \
        CREATE TABLE parts (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
        CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('eu'); \
        CREATE UNIQUE INDEX parts_a_id ON parts_a (id); ALTER TABLE parts_a REPLICA IDENTITY USING INDEX parts_a_id";
    pair.source.batch_execute(schema).await.unwrap();
    let filters = json!([equal("region", &["eu"])]);
    let run = run(&pair, 1, &[("t", filters.clone()), ("parts", filters)], loaded());
    let found = wavemark_engine::assess(&run).await.unwrap();
    let of = |code: &str| found.iter().filter(|one| one.code == code).collect::<Vec<_>>();
    let [uncovered] = of("row-filter-identity")[..] else { panic!("{found:?}") };
    assert_eq!(uncovered.weight, Weight::Blocker);
    assert!(uncovered.text.starts_with("The rows of public.parts can't be filtered by region"), "{uncovered:?}");
    let [large] = of("row-filter-large-values")[..] else { panic!("{found:?}") };
    assert_eq!(large.mend.as_deref(), Some("ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL;"));
    assert!(large.text.contains("a large value of doc"), "{large:?}");
    assert_eq!(of("row-filter").len(), 2);
}

#[tokio::test]
async fn a_row_that_comes_in_without_its_large_value_ends_the_table_or_reloads_it() {
    let pair = Pair::start(&[]).await;
    let schema = "CREATE TABLE t (id int, region text, doc text, PRIMARY KEY (id, region)); \
        ALTER TABLE t ALTER doc SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, 'us', repeat('d', 5000)), (2, 'us', 'short')";
    pair.source.batch_execute(schema).await.unwrap();
    let tables = [("t", json!([equal("region", &["eu"])]))];
    assert_eq!(ended(&run(&pair, 1, &tables, loaded())).await.unwrap(), Ended::Finished);
    pair.source.batch_execute("UPDATE t SET region = 'eu' WHERE id = 2").await.unwrap();
    follow(&pair, 2, &tables).await;
    assert_rows(&pair, "t", "region = 'eu'", "with a value that the log has").await;
    pair.source.batch_execute("UPDATE t SET region = 'eu' WHERE id = 1").await.unwrap();
    let parked_run = follow(&pair, 3, &tables).await;
    let why = parked(&parked_run, "t");
    assert!(why.starts_with("table-changed: ") && why.contains("leaves out a large value"), "{why}");
    assert_eq!(rows_of(&pair.mart, "t").await, ["(2,eu,short)"]);
    let reload = TaskSettings { changed_tables: ChangedTablePolicy::ReloadTable, ..TaskSettings::default() };
    follows_until_equal(&pair, &run(&pair, 4, &tables, reload), "t", "region = 'eu'").await;
}

/// How the server writes the condition on a published table.
async fn published(pair: &Pair, table: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(coalesce(pg_get_expr(prqual, prrelid), 'all'), ' '), 'none') FROM pg_publication_rel \
         WHERE prrelid = '{table}'::regclass"
    );
    pair.ask(&sql).await
}

const SMALL: &str = "CREATE TABLE t (id int, region text, PRIMARY KEY (id, region)); \
    INSERT INTO t SELECT i, (ARRAY['eu', 'us', 'asia'])[i % 3 + 1] FROM generate_series(1, 30) i; \
    CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)";

fn small(filters: Value) -> [(&'static str, Value); 2] {
    [("t", filters), ("u", json!([]))]
}

#[tokio::test]
async fn a_filter_that_an_edit_changes_parks_its_table_until_a_reload_publishes_the_new_one() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SMALL).await.unwrap();
    let eu = small(json!([equal("region", &["eu"])]));
    assert_eq!(ended(&run(&pair, 1, &eu, loaded())).await.unwrap(), Ended::Finished);
    assert_eq!(published(&pair, "t").await, "(region = 'eu'::text)");
    // To other rows, to all, from all.
    let us = small(json!([equal("region", &["us"])]));
    let edits = [
        (&us, "region = 'us'", "(region = 'us'::text)"),
        (&small(json!([])), "true", "all"),
        (&eu, "region = 'eu'", "(region = 'eu'::text)"),
    ];
    for (at, (tables, condition, expression)) in (0_i64..).zip(edits) {
        let before = rows_of(&pair.mart, "t").await;
        let write = "INSERT INTO t SELECT max(id) + 1, 'eu' FROM t; INSERT INTO t SELECT max(id) + 1, 'us' FROM t; \
            INSERT INTO u SELECT max(id) + 1 FROM u";
        pair.source.batch_execute(write).await.unwrap();
        let edited = follow(&pair, 10 * at + 2, tables).await;
        let why = parked(&edited, "t");
        assert!(why.starts_with("table-left-out: Of public.t "), "{why}");
        assert_eq!(rows_of(&pair.mart, "t").await, before, "nothing of what another filter lets through");
        assert_rows(&pair, "u", "true", "the others go on").await;
        let reload = run(&pair, 10 * at + 3, tables, TaskSettings::default());
        reload.orders.give(vec![TableOrder {
            number: at + 1,
            table: TableName::new("public", "t"),
            wish: TableWish::Reload,
        }]);
        pair.source
            .batch_execute("UPDATE t SET region = 'us' WHERE id = 3; UPDATE t SET region = 'eu' WHERE id = 4")
            .await
            .unwrap();
        follows_until_equal(&pair, &reload, "t", condition).await;
        assert_eq!(published(&pair, "t").await, expression);
        let moves = "UPDATE t SET region = CASE region WHEN 'eu' THEN 'us' WHEN 'us' THEN 'eu' ELSE region END; \
            DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (7, 'us')";
        pair.source.batch_execute(moves).await.unwrap();
        let followed = follow(&pair, 10 * at + 4, tables).await;
        assert_eq!(parked(&followed, "t"), "");
        assert_rows(&pair, "t", condition, "after the reload").await;
    }
}

#[tokio::test]
async fn an_edit_in_the_middle_of_a_first_load_begins_the_table_anew() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SMALL).await.unwrap();
    pair.source.batch_execute("INSERT INTO t SELECT i, 'eu' FROM generate_series(1000, 250000) i").await.unwrap();
    let eu = small(json!([equal("region", &["eu"])]));
    let cut = run(&pair, 1, &eu, TaskSettings { chunk_mib: 1, ..loaded() });
    let begun = async {
        while rows_of(&pair.mart, "pg_class").await.iter().all(|class| !class.contains(",chunks,")) {
            tokio::task::yield_now().await;
        }
        while pair.mart.query_one("SELECT count(*) FROM wavemark.chunks", &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
        cut.stop.cancel();
    };
    let (_, ()) = tokio::join!(ended(&cut), begun);
    pair.source
        .batch_execute("DELETE FROM t WHERE id % 5 = 0; UPDATE t SET region = 'us' WHERE id < 20")
        .await
        .unwrap();
    let us = small(json!([on("region", &json!([{"filter-operator": "noteq", "value": "eu"}]))]));
    assert_eq!(ended(&run(&pair, 2, &us, loaded())).await.unwrap(), Ended::Finished);
    let why = pair.ask("SELECT count(*)::text FROM pg_publication").await;
    assert_eq!(why, "1");
    pair.source
        .batch_execute("UPDATE t SET region = 'eu' WHERE id < 10; UPDATE t SET region = 'us' WHERE id > 39000")
        .await
        .unwrap();
    let followed = follow(&pair, 3, &us).await;
    if parked(&followed, "t").is_empty() {
        assert_rows(&pair, "t", "region <> 'eu'", "in the end").await;
        assert_eq!(published(&pair, "t").await, "(region <> 'eu'::text)");
    } else {
        panic!("{}", parked(&followed, "t"));
    }
}

#[tokio::test]
async fn what_others_make_of_the_publication_is_noticed() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SMALL).await.unwrap();
    let eu = small(json!([equal("region", &["eu"])]));
    assert_eq!(ended(&run(&pair, 1, &eu, loaded())).await.unwrap(), Ended::Finished);
    let name = pair.ask("SELECT pubname::text FROM pg_publication").await;
    // While nobody reads: the table without a filter gets one.
    let alter =
        format!("ALTER PUBLICATION {name} DROP TABLE u; ALTER PUBLICATION {name} ADD TABLE ONLY u WHERE (id > 1)");
    pair.source.batch_execute(&alter).await.unwrap();
    pair.source.batch_execute("INSERT INTO u VALUES (-1); INSERT INTO t VALUES (100, 'eu')").await.unwrap();
    let followed = follow(&pair, 2, &eu).await;
    assert!(parked(&followed, "u").contains("its publication has not all of its rows"), "{}", parked(&followed, "u"));
    assert_rows(&pair, "t", "region = 'eu'", "the other goes on").await;
    // While the task follows, and back again: what was missed meanwhile is missed.
    let following = run(&pair, 3, &eu, TaskSettings { idle_seconds: 1, ..TaskSettings::default() });
    let noticed = async {
        while following.status.progress().phase != Phase::Following {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let [out, back] = ["region = 'nowhere'", "region = 'eu'"].map(|rows| {
            format!("ALTER PUBLICATION {name} DROP TABLE t; ALTER PUBLICATION {name} ADD TABLE ONLY t WHERE ({rows})")
        });
        pair.source.batch_execute(&out).await.unwrap();
        pair.source.batch_execute("INSERT INTO t VALUES (101, 'eu')").await.unwrap();
        pair.source.batch_execute(&back).await.unwrap();
        while parked(&following, "t").is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        following.stop.cancel();
    };
    let (ended, ()) = tokio::join!(ended(&following), noticed);
    assert_eq!(ended.unwrap(), Ended::Stopped);
    let why = parked(&following, "t");
    assert!(why.contains("what the task's publication has of it was changed"), "{why}");
}

#[tokio::test]
async fn a_table_that_its_users_can_not_update_any_more_because_of_its_filter_is_taken_out() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SMALL).await.unwrap();
    let eu = small(json!([equal("region", &["eu"])]));
    assert_eq!(ended(&run(&pair, 1, &eu, loaded())).await.unwrap(), Ended::Finished);
    let following = run(&pair, 2, &eu, TaskSettings { idle_seconds: 1, ..TaskSettings::default() });
    let noticed = async {
        while following.status.progress().phase != Phase::Following {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pair.source.batch_execute("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)").await.unwrap();
        pair.source.batch_execute("UPDATE t SET id = id + 100").await.unwrap_err();
        while pair.source.batch_execute("UPDATE t SET id = id + 100").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while parked(&following, "t").is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        following.stop.cancel();
    };
    let (stopped, ()) = tokio::join!(ended(&following), noticed);
    assert_eq!(stopped.unwrap(), Ended::Stopped);
    let why = parked(&following, "t");
    assert!(why.contains("its replica identity lacks column region of its filter"), "{why}");
    assert_eq!(published(&pair, "t").await, "none");
    // Mended, a reload takes it up again.
    pair.source.batch_execute("ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO u VALUES (2)").await.unwrap();
    let reload = run(&pair, 3, &eu, TaskSettings::default());
    let table = TableName::new("public", "t");
    reload.orders.give(vec![TableOrder { number: 1, table, wish: TableWish::Reload }]);
    follows_until_equal(&pair, &reload, "t", "region = 'eu'").await;
    pair.source.batch_execute("UPDATE t SET region = 'us' WHERE id = 103").await.unwrap();
    follow(&pair, 4, &eu).await;
    assert_rows(&pair, "t", "region = 'eu'", "in the end").await;
    assert_rows(&pair, "u", "true", "all along").await;
}

#[tokio::test]
async fn a_filters_column_that_gets_another_name_or_goes_parks_its_table_alone() {
    for (is_followed, change) in [
        (true, "ALTER TABLE t RENAME region TO r; UPDATE t SET id = 300 WHERE id = 3"),
        (false, "ALTER TABLE t RENAME region TO r; UPDATE t SET id = 300 WHERE id = 3"),
        (false, "ALTER TABLE t RENAME region TO r"),
        (false, "ALTER TABLE t RENAME TO other"),
        (false, "ALTER TABLE t DROP region CASCADE"),
    ] {
        let pair = Pair::start(&[]).await;
        pair.source.batch_execute(SMALL).await.unwrap();
        let eu = small(json!([equal("region", &["eu"])]));
        assert_eq!(ended(&run(&pair, 1, &eu, loaded())).await.unwrap(), Ended::Finished);
        let before = rows_of(&pair.mart, "t").await;
        if is_followed {
            let following = run(&pair, 2, &eu, TaskSettings { idle_seconds: 1, ..TaskSettings::default() });
            let changed = async {
                while following.status.progress().phase != Phase::Following {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                pair.source.batch_execute(change).await.unwrap();
                while parked(&following, "t").is_empty() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                following.stop.cancel();
            };
            let (stopped, ()) = tokio::join!(ended(&following), changed);
            assert_eq!(stopped.unwrap(), Ended::Stopped);
            let why = parked(&following, "t");
            assert!(why.contains("its filter names column region, which it does not have"), "{why}");
        } else {
            pair.source.batch_execute(change).await.unwrap();
        }
        pair.source.batch_execute("INSERT INTO u VALUES (2)").await.unwrap();
        follow(&pair, 3, &eu).await;
        assert_rows(&pair, "u", "true", change).await;
        assert_eq!(rows_of(&pair.mart, "t").await, before, "{change}");
        let kept = "SELECT stage FROM wavemark.tables WHERE source_table = 't'";
        assert_eq!(pair.mart.query_one(kept, &[]).await.unwrap().get::<_, String>(0), "parked", "{change}");
    }
}

#[tokio::test]
async fn a_publication_of_ones_own_has_the_rows_of_the_mapping_or_is_refused() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SMALL).await.unwrap();
    for database in [&pair.source, &pair.mart] {
        database
            .batch_execute("CREATE TABLE IF NOT EXISTS t (id int, region text, PRIMARY KEY (id, region))")
            .await
            .unwrap();
    }
    pair.source.batch_execute("CREATE PUBLICATION mine FOR TABLE t WHERE (region IN ('eu', 'us'))").await.unwrap();
    pair.ask("SELECT pg_create_logical_replication_slot('mine', 'pgoutput')::text").await;
    let tables = [("t", json!([equal("region", &["eu", "us"])]))];
    let settings = async || TaskSettings {
        start_slot: "mine".to_owned(),
        start_publication: "mine".to_owned(),
        ..until_now(&pair).await
    };
    let own = async |epoch: i64| Run {
        mappings: mappings(&tables),
        ..pair.run(epoch, TaskKind::Cdc, &["%"], settings().await)
    };
    let problem = refused(&own(1).await).await;
    assert_eq!(problem.code, "start-publication");
    assert!(problem.text.contains("public.t: its publication has other rows"), "{problem}");
    let advice = problem.advice.unwrap();
    let statements: Vec<&str> = advice.split("; ").take(2).collect();
    // What the refusal says to run mends it.
    pair.source.batch_execute(&statements.join("; ")).await.unwrap();
    pair.ask("SELECT pg_drop_replication_slot('mine')::text").await;
    pair.ask("SELECT pg_create_logical_replication_slot('mine', 'pgoutput')::text").await;
    pair.source.batch_execute("INSERT INTO t VALUES (50, 'eu'), (51, 'asia'), (52, 'us')").await.unwrap();
    assert_eq!(ended(&own(2).await).await.unwrap(), Ended::Finished);
    assert_eq!(rows_of(&pair.mart, "t").await, ["(50,eu)", "(52,us)"]);
}

#[tokio::test]
async fn rows_are_filtered_too_where_an_interrupted_load_goes_on() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SMALL).await.unwrap();
    let planned = pair.fixture.plan(&["t"]).await;
    let rows = mappings(&[("t", json!([equal("region", &["eu"])]))]);
    let rows = rows.rows(&TableName::new("public", "t")).unwrap().cloned();
    let plan = vec![TablePlan { rows, ..planned[0].clone() }];
    let view = pair.fixture.begin(&plan).await;
    let from = view.position().clone();
    view.enter(&plan[0]).await.unwrap();
    let loaded = load(&*view, &plan[0], 1 << 20).await;
    assert_eq!(loaded.len(), 10, "{loaded:?}");
    drop(view);
    let changes = "UPDATE t SET region = 'us' WHERE id = 3; UPDATE t SET region = 'eu' WHERE id = 4; \
        UPDATE t SET region = 'asia' WHERE id = 7; DELETE FROM t WHERE id = 6; INSERT INTO t VALUES (40, 'eu'), (41, 'us')";
    pair.source.batch_execute(changes).await.unwrap();
    let later = pair.fixture.source.view_again(&pair.fixture.task, &plan).await.unwrap();
    let to = later.position().clone();
    let touched =
        pair.fixture.source.touched(&pair.fixture.task, &plan, &[plan[0].id], (&from, &to), KeptFor::Task).await;
    let [Touched::Keys(keys)] = &touched.unwrap()[..] else { panic!("no keys") };
    // 7 was and is outside, and so is 41.
    let ids: Vec<i32> = keys.iter().map(|key| i32::from_be_bytes(key[0].try_into().unwrap())).collect();
    assert_eq!(ids, [3, 4, 6, 40]);
    let mut every = keys.clone();
    for (id, region) in [(41_i32, "us"), (9, "eu"), (3, "us")] {
        every.insert([&id.to_be_bytes()[..], region.as_bytes()]);
    }
    later.enter(&plan[0]).await.unwrap();
    let reader = later.read_keys(&plan[0], &every, BlockFormat::Rows).await.unwrap();
    let mut read = task::rows_of(reader, &plan[0]).await;
    read.sort();
    assert_eq!(read, ["+t 4,eu", "+t 40,eu", "+t 9,eu"]);
}

/// Compares while the run follows; repairs first what is asked for.
async fn compared(run: &Run, number: i64, repair: Vec<RepairOrder>) -> CompareProgress {
    let order = CompareOrder { number, tables: None, sessions: 1, repair };
    run.orders.compares.give(vec![order], &[number]);
    loop {
        let reports = run.orders.compares.reports();
        let news = reports.into_iter().find(|report| report.number == number).and_then(|report| report.news);
        if let Some(progress) = news.filter(|progress| progress.state.is_over()) {
            return progress;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn comparisons_and_repairs_are_of_the_rows_that_travel() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SMALL).await.unwrap();
    let tables = small(json!([equal("region", &["eu"])]));
    assert_eq!(ended(&run(&pair, 1, &tables, loaded())).await.unwrap(), Ended::Finished);
    let following = run(&pair, 2, &tables, TaskSettings::default());
    let work = async {
        let found = compared(&following, 1, Vec::new()).await;
        let counts = |found: &CompareProgress| -> Vec<String> {
            let count = |table: &ComparedTable| {
                format!("{} {} {} {}", table.table.table, table.missing, table.extra, table.different)
            };
            found.tables.iter().map(count).collect()
        };
        assert_eq!(counts(&found), ["t 0 0 0", "u 0 0 0"], "{found:?}");
        pair.mart.batch_execute("DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (4, 'us')").await.unwrap();
        let found = compared(&following, 2, Vec::new()).await;
        assert_eq!(counts(&found), ["t 1 1 0", "u 0 0 0"], "{found:?}");
        let table = found.tables.iter().find(|table| table.table.table == "t").unwrap();
        let keys = table.keys.iter().map(|row| row.key.clone()).collect();
        let repaired = compared(&following, 3, vec![RepairOrder { table: table.table.clone(), keys }]).await;
        assert_eq!(counts(&repaired), ["t 0 0 0", "u 0 0 0"], "{repaired:?}");
        following.stop.cancel();
    };
    let (ended, ()) = tokio::join!(ended(&following), work);
    assert_eq!(ended.unwrap(), Ended::Stopped);
    assert_rows(&pair, "t", "region = 'eu'", "after the repair").await;
}
