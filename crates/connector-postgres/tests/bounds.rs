//! Where a task ends by itself, on real servers: the target's rows are those that the source had there.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/pair.rs"]
mod pair;
#[path = "support/run.rs"]
mod run;
mod support;
#[path = "support/task.rs"]
mod task;

use wavemark_domain::Fault;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::Ended;

use pair::{Pair, rows_of};
use run::{ended, refused, told};

const TABLES: [&str; 2] = ["goods", "moves"];

const SCHEMA: &str = "\
    CREATE TABLE goods (id integer PRIMARY KEY, name text, left_over numeric(10,2)); \
    CREATE TABLE moves (id integer PRIMARY KEY, good integer REFERENCES goods (id), at timestamptz); \
    INSERT INTO goods SELECT n, 'good ' || n, n / 3.0 FROM generate_series(1, 200) n";

/// Small transactions and one that comes in several parts, streamed before it is committed.
const CHANGES: [&str; 5] = [
    "UPDATE goods SET name = upper(name) WHERE id % 3 = 0",
    "INSERT INTO moves SELECT n, 1 + n % 200, now() FROM generate_series(1, 50) n",
    "BEGIN; INSERT INTO moves SELECT n, 1 + n % 200, now() FROM generate_series(1000, 120000) n; \
     DELETE FROM moves WHERE id < 20; COMMIT",
    "UPDATE goods SET id = id + 1000 WHERE id NOT IN (SELECT good FROM moves); UPDATE goods SET left_over = 0",
    "BEGIN; DELETE FROM moves WHERE id > 60000; TRUNCATE moves; COMMIT",
];

/// The source after a transaction.
struct Moment {
    lsn: String,
    time: String,
    rows: [Vec<String>; 2],
}

async fn rows(client: &tokio_postgres::Client) -> [Vec<String>; 2] {
    [rows_of(client, TABLES[0]).await, rows_of(client, TABLES[1]).await]
}

/// A task that has loaded, and what the source was after each change.
async fn changed() -> (Pair, Vec<Moment>) {
    let settings = [("track_commit_timestamp", "on"), ("logical_decoding_work_mem", "64kB")];
    let pair = Pair::start(&settings).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    let run = pair.run(1, TaskKind::FullLoadAndCdc, &TABLES, settings_for(StopAt::Loaded));
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    assert_eq!(rows(&pair.mart).await, rows(&pair.source).await);
    let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated";
    assert_eq!(pair.mart.query_one(keys, &[]).await.unwrap().get::<_, i64>(0), 1, "its foreign key is there");
    let mut moments = Vec::new();
    for change in CHANGES {
        pair.source.batch_execute(change).await.unwrap();
        moments.push(Moment {
            lsn: pair.ask("SELECT pg_current_wal_insert_lsn()::text").await,
            time: pair
                .ask("SELECT to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') FROM pg_last_committed_xact()")
                .await,
            rows: rows(&pair.source).await,
        });
    }
    (pair, moments)
}

fn settings_for(stop_at: StopAt) -> TaskSettings {
    TaskSettings { stop_at, memory_mib: 8, idle_seconds: 1, ..TaskSettings::default() }
}

#[tokio::test]
async fn a_task_that_ends_at_a_position_leaves_the_rows_that_were_there() {
    let (pair, moments) = changed().await;
    for (epoch, moment) in (2..).zip(&moments) {
        let stop_at = StopAt::Position(moment.lsn.clone());
        let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &TABLES, settings_for(stop_at));
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        let found = rows(&pair.mart).await;
        assert!(found == moment.rows, "at {}", moment.lsn);
        let bookmark = run.status.progress().bookmark.unwrap();
        let within = format!("SELECT ('{bookmark}'::pg_lsn <= '{}'::pg_lsn)::text", moment.lsn);
        assert_eq!(pair.ask(&within).await, "true", "{bookmark} is beyond {}", moment.lsn);
        let said = format!("at position {}, as stop_at says: the target has everything up to {bookmark}", moment.lsn);
        assert!(told(&run, "stop-reached")[0].contains(&said), "{:?}", told(&run, "stop-reached"));
    }
    let behind = StopAt::Position(moments[0].lsn.clone());
    let problem = refused(&pair.run(9, TaskKind::FullLoadAndCdc, &TABLES, settings_for(behind))).await;
    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "stop-passed"), "{problem}");
    let foreign = StopAt::Position("mysql-bin.000024:373".to_owned());
    let problem = refused(&pair.run(10, TaskKind::FullLoadAndCdc, &TABLES, settings_for(foreign))).await;
    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "not-a-position"), "{problem}");
}

#[tokio::test]
async fn a_task_that_ends_at_a_commit_time_leaves_the_rows_that_were_committed_by_then() {
    let (pair, moments) = changed().await;
    for (epoch, moment) in (2..).zip(&moments) {
        let stop_at: StopAt = format!("commit-time:{}", moment.time).parse().unwrap();
        // The last one is over by the source's clock alone, since nothing follows it.
        let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &TABLES, settings_for(stop_at));
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        assert!(rows(&pair.mart).await == moment.rows, "at {}", moment.time);
    }
}
