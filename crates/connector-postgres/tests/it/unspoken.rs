//! Alterations after which no row is written: the log says nothing of them.

use std::time::Duration;

use wavemark_domain::layout::{ChangedTablePolicy, ColumnPolicy};
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use crate::support::pair::Pair;
use crate::support::run::{told, until};

/// Tables that are followed; the statements come one after the other, and nothing is written.
async fn followed(tables: &[&str], prepare: &str, settings: TaskSettings) -> (Pair, Run, tokio::task::JoinHandle<()>) {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(prepare).await.unwrap();
    let run = pair.run(1, TaskKind::FullLoadAndCdc, tables, TaskSettings { idle_seconds: 1, ..settings });
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
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

async fn become_equal(pair: &Pair, table: &str) {
    until(async || rows(&pair.mart, table).await == rows(&pair.source, table).await).await;
}

const FILL: &str = "CREATE TABLE goods (id integer PRIMARY KEY, name varchar(10), price numeric(10, 2)); \
                    INSERT INTO goods SELECT n, 'no ' || n, n FROM generate_series(1, 50) n; \
                    CREATE TABLE parts (id integer, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
                    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); \
                    INSERT INTO parts SELECT n, '2026-01-05' FROM generate_series(1, 50) n;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alterations_arrive_though_no_row_is_written() {
    let (pair, run, running) = followed(&["goods", "parts"], FILL, TaskSettings::default()).await;
    for (step, table) in [
        ("ALTER TABLE goods ADD stock integer DEFAULT 7, ADD note text", "goods"),
        ("ALTER TABLE goods DROP price, ALTER name TYPE text", "goods"),
        ("ALTER TABLE goods RENAME name TO title", "goods"),
        ("ALTER TABLE parts ADD tag text NOT NULL DEFAULT 'x'", "parts"),
    ] {
        pair.source.batch_execute(step).await.unwrap();
        become_equal(&pair, table).await;
    }
    // Rows are read by what was told of no row.
    pair.source
        .batch_execute(
            "UPDATE goods SET title = 'a longer one than before', note = 'n' WHERE id % 3 = 0; \
             INSERT INTO goods VALUES (99, 'new', 1, 'one'); UPDATE parts SET tag = 'y' WHERE id < 9",
        )
        .await
        .unwrap();
    become_equal(&pair, "goods").await;
    become_equal(&pair, "parts").await;
    run.stop.cancel();
    running.await.unwrap();
    assert_eq!(told(&run, "table-parked"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_rewritten_alone_are_loaded_again() {
    let settings = TaskSettings { changed_tables: ChangedTablePolicy::ReloadTable, ..TaskSettings::default() };
    let (pair, run, running) = followed(&["goods", "parts"], FILL, settings).await;
    pair.source.batch_execute("ALTER TABLE goods ALTER id TYPE bigint USING id * 2").await.unwrap();
    become_equal(&pair, "goods").await;
    pair.source.batch_execute("ALTER TABLE goods ADD at timestamptz DEFAULT clock_timestamp()").await.unwrap();
    become_equal(&pair, "goods").await;
    run.stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_nobody_followed_is_seen_soon_after() {
    let (pair, run, running) = followed(&["goods", "parts"], FILL, TaskSettings::default()).await;
    run.stop.cancel();
    running.await.unwrap();
    pair.source.batch_execute("ALTER TABLE goods ADD stock integer DEFAULT 7").await.unwrap();
    let settings = TaskSettings { idle_seconds: 1, ..TaskSettings::default() };
    let again = pair.run(2, TaskKind::FullLoadAndCdc, &["goods", "parts"], settings);
    let own = again.clone();
    let running = tokio::spawn(async move { own.run().await.unwrap() });
    become_equal(&pair, "goods").await;
    again.stop.cancel();
    assert_eq!(running.await.unwrap(), Ended::Stopped);
    assert_eq!(told(&again, "table-parked"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_are_to_be_ignored_stay_ignored() {
    let settings = TaskSettings { added_columns: ColumnPolicy::Ignore, ..TaskSettings::default() };
    let (pair, run, running) = followed(&["goods"], FILL, settings).await;
    pair.source.batch_execute("ALTER TABLE goods ADD stock integer DEFAULT 7").await.unwrap();
    // It is looked every third heartbeat.
    tokio::time::sleep(Duration::from_secs(8)).await;
    pair.source.batch_execute("UPDATE goods SET name = 'later' WHERE id = 1").await.unwrap();
    let name = "SELECT name::text FROM goods WHERE id = 1";
    until(async || pair.mart.query_one(name, &[]).await.unwrap().get::<_, String>(0) == "later").await;
    run.stop.cancel();
    running.await.unwrap();
    assert_eq!(told(&run, "table-parked"), Vec::<String>::new());
    let columns = "SELECT string_agg(attname::text, ',' ORDER BY attname) FROM pg_attribute \
                   WHERE attrelid = 'goods'::regclass AND attnum > 0 AND NOT attisdropped";
    assert_eq!(pair.mart.query_one(columns, &[]).await.unwrap().get::<_, String>(0), "id,name,price");
}
