//! Columns that are `GENERATED ALWAYS AS IDENTITY` and change at the source: an UPDATE of the target may not set them.

use wavemark_domain::state::TableState;
use wavemark_domain::task::{ConflictPolicy, TaskSettings};
use wavemark_engine::Ended;

use crate::support::journey::{Journey, ROLES, shown};

/// An identity that is no key, and one that is.
const BESIDE: &str = "CREATE TABLE t (id integer PRIMARY KEY, seq integer GENERATED ALWAYS AS IDENTITY, n integer); \
    INSERT INTO t (id, n) SELECT n, n FROM generate_series(1, 300) n";
const KEY: &str = "CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer, doc text); \
    ALTER TABLE t ALTER doc SET STORAGE EXTERNAL; \
    INSERT INTO t (n, doc) SELECT n, repeat('d', 4000) FROM generate_series(1, 300) n";

#[tokio::test]
async fn an_identity_beside_the_key_takes_its_next_value() {
    for role in ROLES {
        let changes = ["UPDATE t SET seq = DEFAULT WHERE id = 1", "UPDATE t SET seq = DEFAULT"];
        Journey::of(role, BESIDE, &["t"]).await.arrives(&changes).await;
    }
}

#[tokio::test]
async fn a_row_is_overwritten_with_the_identity_of_the_source() {
    let settings = TaskSettings { conflicts: ConflictPolicy::Overwrite, ..TaskSettings::default() };
    let mut journey = Journey::of("postgres", BESIDE, &["t"]).await.with(settings);
    journey.load().await;
    let theirs = "INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1000, 999, 0)";
    journey.pair.mart.batch_execute(theirs).await.unwrap();
    let (run, outcome) = journey.follow("INSERT INTO t (id, n) VALUES (1000, 1)").await;
    assert_eq!(outcome.unwrap(), Ended::Finished);
    let (state, why) = shown(&run, "t");
    assert_eq!(state, TableState::Live, "{why}");
    journey.assert_equal("an insert whose key is taken").await;
}

#[tokio::test]
async fn an_identity_of_a_table_without_a_key_takes_its_next_value() {
    let schema = "CREATE TABLE t (n integer, seq integer GENERATED ALWAYS AS IDENTITY); ALTER TABLE t REPLICA IDENTITY FULL; \
        INSERT INTO t (n) SELECT n / 2 FROM generate_series(1, 60) n";
    for role in ROLES {
        let changes = ["UPDATE t SET seq = DEFAULT, n = n + 1 WHERE n = 7", "UPDATE t SET seq = DEFAULT"];
        Journey::of(role, schema, &["t"]).await.arrives(&changes).await;
    }
}

/// A row that goes and comes again would lose what only the target has of it.
#[tokio::test]
async fn an_identity_does_not_move_with_a_row_that_has_more_in_the_target() {
    let mut journey = Journey::of("postgres", BESIDE, &["t"]).await.ignoring("own");
    journey.load().await;
    journey.pair.mart.batch_execute("ALTER TABLE t ADD own text DEFAULT 'mine'").await.unwrap();
    let (run, outcome) = journey.follow("UPDATE t SET seq = DEFAULT WHERE id = 1").await;
    assert_eq!(outcome.unwrap(), Ended::Finished);
    let (state, why) = shown(&run, "t");
    assert_eq!(state, TableState::Parked);
    assert!(why.contains("GENERATED ALWAYS AS IDENTITY"), "{why}");
}

#[tokio::test]
async fn an_identity_that_is_the_key_moves_with_what_the_log_leaves_out() {
    for role in ROLES {
        let changes = [
            "UPDATE t SET id = DEFAULT WHERE id = 1",
            "ALTER TABLE t ALTER id DROP IDENTITY; UPDATE t SET id = id + 1000",
            "UPDATE t SET id = id + 5000, n = -n WHERE id < 1010 AND n % 2 = 0",
        ];
        Journey::of(role, KEY, &["t"]).await.arrives(&changes).await;
    }
}

#[tokio::test]
async fn a_column_becomes_an_identity_while_it_is_followed() {
    let schema = "CREATE TABLE t (id integer PRIMARY KEY, n integer NOT NULL); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n";
    for role in ROLES {
        let changes = ["ALTER TABLE t ALTER n ADD GENERATED ALWAYS AS IDENTITY; UPDATE t SET n = DEFAULT"];
        Journey::of(role, schema, &["t"]).await.arrives(&changes).await;
    }
}
