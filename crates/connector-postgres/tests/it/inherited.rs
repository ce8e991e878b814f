//! Tables that inherit from others, at the target: each is a table of its own, as at the source.

use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{Preparation, TaskKind, TaskSettings};
use wavemark_engine::Ended;

use crate::support::pair::Pair;
use crate::support::run::ended;

/// With a key and without one. Parent and child have rows of the same keys, at the same places.
const TABLES: &str = "\
    CREATE TABLE base (id integer PRIMARY KEY, v text); CREATE TABLE heir (more text, PRIMARY KEY (id)) INHERITS (base); \
    CREATE TABLE log (n integer, v text); CREATE TABLE log_heir () INHERITS (log); \
    ALTER TABLE log REPLICA IDENTITY FULL; ALTER TABLE log_heir REPLICA IDENTITY FULL";

const NAMES: [&str; 4] = ["base", "heir", "log", "log_heir"];

async fn assert_equal(pair: &Pair, when: &str) {
    for table in NAMES {
        let sql = format!("SELECT whole::text FROM ONLY {table} AS whole ORDER BY whole::text COLLATE \"C\"");
        let of = async |client: &tokio_postgres::Client| -> Vec<String> {
            client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
        };
        assert_eq!(of(&pair.mart).await, of(&pair.source).await, "{table} {when}");
    }
}

#[tokio::test]
async fn rows_of_a_table_that_inherits_are_left_alone_where_its_parent_is_written() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(&format!(
            "{TABLES}; INSERT INTO base SELECT n, 'base' FROM generate_series(1, 6000) n; \
             INSERT INTO heir SELECT n, 'heir', 'm' FROM generate_series(1, 6000) n; \
             INSERT INTO log SELECT n % 100, 'same' FROM generate_series(1, 900) n; \
             INSERT INTO log_heir SELECT n % 100, 'same' FROM generate_series(1, 900) n"
        ))
        .await
        .unwrap();
    // As whoever restores the schema first has it, with rows of before in both.
    pair.mart.batch_execute(&format!("{TABLES}; INSERT INTO heir VALUES (1, 'old', 'old')")).await.unwrap();
    let run = async |epoch: i64, stop_at: StopAt| {
        let settings = TaskSettings { stop_at, preparation: Preparation::Truncate, ..TaskSettings::default() };
        let run = pair.run(epoch, TaskKind::FullLoadAndCdc, &NAMES, settings);
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        for table in run.status.progress().tables {
            assert_eq!(table.problem, None, "{}", table.table);
        }
    };
    run(1, StopAt::Loaded).await;
    assert_equal(&pair, "after the load").await;
    // One by one, by arrays, staged; and all at once.
    let changes = [
        "UPDATE ONLY base SET v = 'one' WHERE id = 1; DELETE FROM ONLY base WHERE id = 2; \
         UPDATE ONLY base SET id = 9001 WHERE id = 3",
        "UPDATE ONLY log SET v = 'one' WHERE ctid = '(0,1)'; DELETE FROM ONLY log WHERE ctid = '(0,2)'",
        "UPDATE ONLY base SET v = 'some' WHERE id BETWEEN 10 AND 300; DELETE FROM ONLY base WHERE id BETWEEN 301 AND 500",
        "UPDATE ONLY base SET v = 'many'; DELETE FROM ONLY base WHERE id BETWEEN 1000 AND 5500",
        "DELETE FROM ONLY log WHERE n < 60",
        "UPDATE base SET v = v || '!'; DELETE FROM base WHERE id = 5999",
        "TRUNCATE ONLY base; INSERT INTO base VALUES (1, 'new'); TRUNCATE ONLY log",
    ];
    for (epoch, change) in (2..).zip(changes) {
        pair.source.batch_execute(change).await.unwrap();
        let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
        run(epoch, StopAt::Position(end)).await;
        assert_equal(&pair, change).await;
    }
}
