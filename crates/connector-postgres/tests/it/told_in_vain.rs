//! What event triggers tell of a part that is rolled back, in a transaction that is streamed while it is in progress.
//! The server sends their messages under the number of the whole transaction, not under that of the part.

use wavemark_domain::layout::DroppedTablePolicy;
use wavemark_domain::state::TableState;
use wavemark_domain::task::{TaskKind, TaskSettings};

use crate::support::journey::Journey;
use crate::support::pair::{Pair, connect};
use crate::support::run::{told, until};

const TABLE: &str = "ALTER ROLE postgres SET logical_decoding_work_mem = '64kB'; \
    CREATE TABLE others (id integer, note text); CREATE TABLE t (id integer PRIMARY KEY, note text, n integer); \
    INSERT INTO t SELECT i, 'note ' || i, i FROM generate_series(1, 50) i";

/// Follows a large transaction in which this is done and taken back.
async fn nothing_comes_of(part: &str, before: &str, settings: TaskSettings) {
    let change = format!(
        "BEGIN; INSERT INTO t SELECT i, repeat('y', 500), i FROM generate_series(100, 1000) i; {before} SAVEPOINT q; \
         {part}; ROLLBACK TO q; UPDATE t SET note = 'x' WHERE id % 2 = 0; COMMIT"
    );
    let settings = TaskSettings { event_triggers: true, ..settings };
    Journey::of("postgres", TABLE, &["t"]).await.with(settings).arrives(&[&change]).await;
}

#[tokio::test]
async fn a_column_that_is_dropped_in_vain_keeps_its_values() {
    let before = "ALTER TABLE t ADD z integer DEFAULT 4; UPDATE t SET z = 5, id = -id WHERE id < 60;";
    nothing_comes_of("ALTER TABLE t DROP note; UPDATE t SET n = 0", before, TaskSettings::default()).await;
}

#[tokio::test]
async fn a_column_that_is_dropped_in_vain_first_of_all_keeps_its_values() {
    nothing_comes_of("ALTER TABLE t DROP note; UPDATE t SET n = 0", "", TaskSettings::default()).await;
}

#[tokio::test]
async fn a_table_that_is_dropped_in_vain_stays() {
    for dropped_tables in [DroppedTablePolicy::ParkTable, DroppedTablePolicy::Apply, DroppedTablePolicy::Ignore] {
        let settings = TaskSettings { dropped_tables, ..TaskSettings::default() };
        // With enough after it for the part to be sent before it is taken back.
        let part = "DROP TABLE t; INSERT INTO others SELECT n, repeat('o', 500) FROM generate_series(1, 1000) n";
        nothing_comes_of(part, "", settings).await;
    }
}

#[tokio::test]
async fn a_table_that_is_rewritten_in_vain_goes_on() {
    let part = "ALTER TABLE t ALTER n TYPE integer USING -n; UPDATE t SET n = 0";
    for before in ["", "ALTER TABLE t ADD z integer DEFAULT 4; UPDATE t SET z = 5 WHERE id < 60;"] {
        nothing_comes_of(part, before, TaskSettings::default()).await;
    }
}

/// What is told there is not used, also where it stays: what no row shows is seen in the catalog some time after.
#[tokio::test]
async fn a_column_that_a_like_one_replaces_beside_a_part_in_vain_ends_the_table() {
    let change = "BEGIN; INSERT INTO t SELECT i, 'first', i FROM generate_series(100, 3000) i; SAVEPOINT s; \
        ALTER TABLE t DROP n, ADD n int; RELEASE s; SAVEPOINT r; \
        INSERT INTO t SELECT i, 'gone', i FROM generate_series(4000, 7000) i; ROLLBACK TO r; \
        INSERT INTO t SELECT i, 'kept', i FROM generate_series(8000, 11000) i; COMMIT";
    let settings = TaskSettings { event_triggers: true, idle_seconds: 1, ..TaskSettings::default() };
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(TABLE).await.unwrap();
    let run = pair.run(1, TaskKind::FullLoadAndCdc, &["t"], settings);
    let own = run.clone();
    let running = tokio::spawn(async move { own.run().await });
    until(async || !told(&run, "table-live").is_empty()).await;
    let source = connect(&pair.cluster, "postgres").await;
    source.batch_execute(change).await.unwrap();
    until(async || run.status.progress().tables.iter().any(|table| table.state == TableState::Parked)).await;
    let why = run.status.progress().tables[0].problem.clone().unwrap();
    assert!(why.code == "table-changed" && why.text.contains('n'), "{why}");
    running.abort();
}
