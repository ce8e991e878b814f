//! Alterations that are read after the next one was made, or that reach a table through its types: applied, or told as
//! what they are.

use std::time::Duration;

use wavemark_domain::state::TableState;
use wavemark_domain::task::TaskSettings;
use wavemark_engine::Ended;

use crate::support::journey::{Journey, ROLES, is, shown};
use crate::support::run::until;

async fn arrives(schema: &str, changes: &[&str]) {
    Journey::of("postgres", schema, &["t"]).await.arrives(changes).await;
}

/// Either the table has the source's rows, or it is parked; gives why.
async fn arrives_or_is_told(schema: &str, change: &str) -> String {
    let mut journey = Journey::of("postgres", schema, &["t"]).await;
    journey.load().await;
    let (run, outcome) = journey.follow(change).await;
    assert_eq!(outcome.unwrap(), Ended::Finished);
    let (state, why) = shown(&run, "t");
    if state == TableState::Live {
        journey.assert_equal(change).await;
    }
    why
}

#[tokio::test]
async fn a_type_that_a_column_had_for_a_while_is_known_though_another_column_has_it() {
    let schema =
        "CREATE TABLE t (id integer PRIMARY KEY, a varchar(10), b varchar(20)); INSERT INTO t VALUES (1, 'a', 'b')";
    let widened_twice = "ALTER TABLE t ALTER a TYPE varchar(20); INSERT INTO t VALUES (2, 'more than ten', 'b'); \
        ALTER TABLE t ALTER a TYPE varchar(30); INSERT INTO t VALUES (3, 'more than twenty letters', 'b')";
    let added_and_widened = "ALTER TABLE t ADD z varchar(10); INSERT INTO t VALUES (2, 'a', 'b', 'z'); \
        ALTER TABLE t ALTER z TYPE text; INSERT INTO t VALUES (3, 'a', 'b', 'more than ten')";
    for change in [widened_twice, added_and_widened] {
        arrives(schema, &[change]).await;
    }
}

#[tokio::test]
async fn a_type_that_a_column_had_for_a_while_is_known_where_no_other_has_it() {
    let schema = "CREATE TABLE t (id integer PRIMARY KEY, a varchar(10)); INSERT INTO t VALUES (1, 'a')";
    let change = "ALTER TABLE t ADD z numeric(5, 2) DEFAULT 1.5; INSERT INTO t VALUES (2, 'a', 2); \
        ALTER TABLE t ALTER z TYPE numeric(9, 2), ALTER a TYPE text; INSERT INTO t VALUES (3, 'more than ten', 12345.67)";
    arrives(schema, &[change]).await;
}

#[tokio::test]
async fn a_type_change_that_rewrites_nothing_is_applied_or_told_as_one() {
    for (before, after, value) in [
        ("timestamp", "timestamptz", "'2024-01-01 10:00Z'"),
        ("timestamptz", "timestamp", "'2024-01-01 10:00Z'"),
        ("integer", "oid", "5"),
    ] {
        let schema = format!("CREATE TABLE t (id integer PRIMARY KEY, a {before}); INSERT INTO t VALUES (1, {value})");
        let change =
            format!("SET timezone = 'UTC'; ALTER TABLE t ALTER a TYPE {after}; INSERT INTO t VALUES (2, {value})");
        let why = arrives_or_is_told(&schema, &change).await;
        assert!(!why.contains("was changed again since"), "{before} to {after}: {why}");
    }
}

#[tokio::test]
async fn a_table_that_gets_a_primary_key_while_nobody_follows_is_told_so() {
    let schema = "CREATE TABLE t (a integer NOT NULL, b text); ALTER TABLE t REPLICA IDENTITY FULL; \
        CREATE TABLE calm (id integer PRIMARY KEY); INSERT INTO t SELECT n, 'b' FROM generate_series(1, 30) n";
    let mut journey = Journey::of("postgres", schema, &["t", "calm"]).await;
    journey.load().await;
    let change = "ALTER TABLE t ADD PRIMARY KEY (a); UPDATE t SET b = 'c' WHERE a = 1; ALTER TABLE t REPLICA IDENTITY DEFAULT; \
        UPDATE t SET b = 'd' WHERE a = 2; INSERT INTO calm VALUES (1)";
    let (run, outcome) = journey.follow(change).await;
    assert_eq!(outcome.unwrap(), Ended::Finished);
    let (state, why) = shown(&run, "t");
    assert_eq!((state, shown(&run, "calm").0), (TableState::Parked, TableState::Live), "{why}");
    assert!(!why.contains("neither a primary key"), "{why}");
}

#[tokio::test]
async fn labels_of_an_enum_that_was_renamed_arrive() {
    let schema = "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (id integer PRIMARY KEY, m mood); INSERT INTO t VALUES (1, 'a')";
    let changes = [
        "ALTER TYPE mood ADD VALUE 'c'",
        "ALTER TYPE mood RENAME TO feeling; INSERT INTO t VALUES (2, 'c')",
        "ALTER TYPE feeling ADD VALUE 'd' BEFORE 'a'",
        "INSERT INTO t VALUES (3, 'd')",
    ];
    arrives(schema, &changes).await;
}

#[tokio::test]
async fn labels_arrive_wherever_an_enum_is_used() {
    let schema = "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN dm AS mood; CREATE TYPE cp AS (m mood); \
        CREATE TABLE t (id integer PRIMARY KEY, m mood, d dm, ms mood[], cp cp, cps cp[]); \
        INSERT INTO t VALUES (1, 'a', 'a', '{a}', ROW('a'), '{\"(a)\"}')";
    for rows in ["FROM generate_series(2, 2) n", "FROM generate_series(2, 300) n", "FROM generate_series(2, 6000) n"] {
        let insert = format!("INSERT INTO t SELECT n, 'c', 'c', '{{c}}', ROW('c')::cp, '{{\"(c)\"}}' {rows}");
        let update = "UPDATE t SET m = 'e', d = 'e', ms = '{e,a}', cp = ROW('e')";
        let label = |name: &str| format!("ALTER TYPE mood ADD VALUE '{name}'");
        arrives(schema, &[&label("c"), &insert, &label("e"), update]).await;
    }
}

#[tokio::test]
async fn a_composite_type_that_is_altered_is_followed_or_told() {
    let schema = "CREATE TYPE pt AS (a integer, b integer); CREATE TABLE t (id integer PRIMARY KEY, p pt); INSERT INTO t VALUES (1, (1, 2))";
    for change in [
        "ALTER TYPE pt ADD ATTRIBUTE c text; INSERT INTO t VALUES (2, (1, 2, 'x'))",
        "ALTER TYPE pt DROP ATTRIBUTE b; INSERT INTO t VALUES (2, ROW(1))",
        "ALTER TYPE pt DROP ATTRIBUTE b, ADD ATTRIBUTE c integer; INSERT INTO t VALUES (2, (1, 7))",
    ] {
        arrives_or_is_told(schema, change).await;
    }
}

/// Nothing else is written: the log says nothing of it, and an attribute that came in the place of another like it shows in
/// no type.
#[tokio::test]
async fn a_type_that_is_altered_ends_its_tables_though_nothing_is_written() {
    for (schema, harmless, changed, expected) in [
        (
            "CREATE TYPE pt AS (a integer, b integer); CREATE DOMAIN far AS pt[]; \
             CREATE TABLE t (id integer PRIMARY KEY, p far); INSERT INTO t VALUES (1, ARRAY[ROW(1, 2)::pt])",
            "ALTER TYPE pt RENAME ATTRIBUTE b TO c; ALTER TYPE pt RENAME ATTRIBUTE c TO b",
            "ALTER TYPE pt DROP ATTRIBUTE b; ALTER TYPE pt ADD ATTRIBUTE b integer",
            "attributes of its type public.pt were added or dropped",
        ),
        (
            "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TYPE pt AS (m mood); \
             CREATE TABLE t (id integer PRIMARY KEY, p pt[]); INSERT INTO t VALUES (1, ARRAY[ROW('good')::pt])",
            "ALTER TYPE mood ADD VALUE 'so' BEFORE 'bad'; ALTER TYPE mood RENAME TO feeling; ALTER TYPE feeling RENAME TO mood",
            "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'",
            "label good of its type public.mood was renamed",
        ),
    ] {
        for follows in [true, false] {
            let schema = format!("{schema}; CREATE TABLE calm (id integer PRIMARY KEY); INSERT INTO calm VALUES (1)");
            let settings = TaskSettings { idle_seconds: 1, ..TaskSettings::default() };
            let mut journey = Journey::of("postgres", &schema, &["t", "calm"]).await.with(settings);
            journey.load().await;
            if !follows {
                journey.change(changed).await;
            }
            let (run, task) = journey.begin();
            until(async || is(&run, "calm", TableState::Live)).await;
            if follows {
                for change in harmless.split("; ") {
                    journey.change(change).await;
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
                assert_eq!(shown(&run, "t").0, TableState::Live, "{harmless}");
                journey.change(changed).await;
            }
            until(async || is(&run, "t", TableState::Parked)).await;
            let why = shown(&run, "t").1;
            assert!(why.contains(expected), "{why}");
            assert_eq!(shown(&run, "calm").0, TableState::Live);
            run.stop.cancel();
            assert_eq!(task.await.unwrap().unwrap(), Ended::Stopped);
        }
    }
}

#[tokio::test]
async fn constraints_that_the_source_dropped_park_the_table_that_needs_them_gone() {
    for (column, change, expected) in [
        (
            "x integer NOT NULL",
            "ALTER TABLE t ALTER x DROP NOT NULL; INSERT INTO t VALUES (2, NULL)",
            "must not be NULL",
        ),
        ("x integer UNIQUE", "ALTER TABLE t DROP CONSTRAINT t_x_key; INSERT INTO t VALUES (2, 1)", "unique value"),
        ("x integer CHECK (x < 9)", "ALTER TABLE t DROP CONSTRAINT t_x_check; INSERT INTO t VALUES (2, 10)", "a check"),
    ] {
        for role in ROLES {
            let schema = format!("CREATE TABLE t (id integer PRIMARY KEY, {column}); INSERT INTO t VALUES (1, 1)");
            let mut journey = Journey::of(role, &schema, &["t"]).await;
            journey.load().await;
            let (run, outcome) = journey.follow(change).await;
            assert_eq!(outcome.unwrap(), Ended::Finished);
            let (state, why) = shown(&run, "t");
            assert!(state == TableState::Parked && why.contains(expected), "{state:?} {why}");
        }
    }
}
