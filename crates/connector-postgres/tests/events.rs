//! Alterations that event triggers at the source tell of: known at their place, with rows and without.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/pair.rs"]
mod pair;
#[path = "support/run.rs"]
mod run;
mod support;
#[path = "support/task.rs"]
mod task;

use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use pair::Pair;
use run::{told, until};

/// Triggers, and heartbeats so rare that none helps.
fn with_triggers() -> TaskSettings {
    TaskSettings { event_triggers: true, idle_seconds: 3_600, ..TaskSettings::default() }
}

const FILL: &str = "CREATE TABLE goods (id integer PRIMARY KEY, name varchar(10), price numeric(10, 2)); \
                    INSERT INTO goods SELECT n, 'no ' || n, n FROM generate_series(1, 50) n;";

/// Tables that are followed.
async fn followed(tables: &[&str], prepare: &str, settings: TaskSettings) -> (Pair, Run, tokio::task::JoinHandle<()>) {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source.batch_execute(prepare).await.unwrap();
    let run = pair.run(1, TaskKind::FullLoadAndCdc, tables, settings);
    let own = run.clone();
    let running = tokio::spawn(async move {
        assert_eq!(own.run().await.unwrap(), Ended::Stopped);
    });
    until(async || told(&run, "table-live").len() == tables.len()).await;
    (pair, run, running)
}

/// Every row with its columns by name, so that their order does not count.
async fn rows(client: &tokio_postgres::Client, table: &str) -> String {
    let sql = format!("SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY id), '[]')::text FROM {table} t");
    client.query_one(&sql, &[]).await.map_or_else(|error| error.to_string(), |row| row.get(0))
}

async fn become_equal(pair: &Pair, table: &str) {
    until(async || rows(&pair.mart, table).await == rows(&pair.source, table).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alteration_arrives_at_once_though_no_row_is_written() {
    let (pair, run, running) = followed(&["goods"], FILL, with_triggers()).await;
    for step in [
        "ALTER TABLE goods ADD stock integer DEFAULT 7, ADD note text",
        "ALTER TABLE goods DROP price, ALTER name TYPE text",
        "ALTER TABLE goods RENAME name TO title",
    ] {
        pair.source.batch_execute(step).await.unwrap();
        become_equal(&pair, "goods").await;
    }
    pair.source.batch_execute("UPDATE goods SET title = 'a longer one than before' WHERE id % 3 = 0").await.unwrap();
    become_equal(&pair, "goods").await;
    run.stop.cancel();
    running.await.unwrap();
    assert_eq!(told(&run, "table-parked"), Vec::<String>::new());
}
