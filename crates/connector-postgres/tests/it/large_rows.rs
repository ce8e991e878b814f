//! Large rows: those that are allowed arrive by every way that they can take, a larger one is refused by its name.

use wavemark_domain::progress::TableProgress;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{DataErrorPolicy, TaskKind, TaskSettings};
use wavemark_domain::{Fault, TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of};
use crate::support::run::{ended, refused};

const TABLES: [&str; 2] = ["films", "goods"];

const SCHEMA: &str = "\
    CREATE TABLE films (id integer PRIMARY KEY, name text, film bytea); ALTER TABLE films ALTER film SET STORAGE EXTERNAL; \
    CREATE TABLE goods (id integer PRIMARY KEY, name text); \
    CREATE FUNCTION noise(kib integer) RETURNS bytea LANGUAGE sql AS $$ \
        SELECT convert_to(repeat(md5(kib::text), kib * 32), 'UTF8') $$; \
    INSERT INTO films VALUES (1, 'short', noise(1)); INSERT INTO goods VALUES (1, 'one')";

/// Streams what is still in progress from 64 kB on, or never.
const SENDERS: [&str; 2] = ["64kB", "1GB"];

async fn pair(sender: &str) -> Pair {
    let pair = Pair::start(&[("logical_decoding_work_mem", sender)]).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    pair
}

impl Pair {
    /// The task up to where the source is now.
    async fn up_to_now(&self, epoch: i64, row_mib: u32, data_errors: DataErrorPolicy) -> Run {
        let now = self.ask("SELECT pg_current_wal_insert_lsn()::text").await;
        self.up_to(epoch, StopAt::Position(now), row_mib, data_errors)
    }

    /// The task until all of its tables are loaded.
    fn loading(&self, epoch: i64, row_mib: u32) -> Run {
        self.up_to(epoch, StopAt::Loaded, row_mib, DataErrorPolicy::ParkTable)
    }

    fn up_to(&self, epoch: i64, stop_at: StopAt, row_mib: u32, data_errors: DataErrorPolicy) -> Run {
        let settings = TaskSettings { stop_at, row_mib, data_errors, ..TaskSettings::default() };
        self.run(epoch, TaskKind::FullLoadAndCdc, &TABLES, settings)
    }
}

fn table(run: &Run, name: &str) -> TableProgress {
    run.status.progress().tables.into_iter().find(|table| table.table == TableName::new("public", name)).unwrap()
}

async fn films(client: &tokio_postgres::Client) -> Vec<i32> {
    client.query("SELECT id FROM films ORDER BY id", &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_row_larger_than_allowed_parks_its_table_by_name_and_the_others_go_on() {
    for sender in SENDERS {
        let pair = pair(sender).await;
        assert_eq!(ended(&pair.loading(1, 1)).await.unwrap(), Ended::Finished);
        for change in [
            "INSERT INTO films VALUES (2, 'allowed', noise(1000))",
            // Rolled back, it is nobody's business.
            "BEGIN; INSERT INTO goods VALUES (2, 'two'); SAVEPOINT s; INSERT INTO films VALUES (9, 'gone', noise(1500)); \
             ROLLBACK TO s; INSERT INTO films VALUES (3, 'kept', noise(100)); COMMIT",
            "BEGIN; INSERT INTO goods VALUES (3, 'three'); INSERT INTO films VALUES (4, 'before', noise(1)); \
             INSERT INTO films VALUES (5, 'too long', noise(3000)); INSERT INTO films VALUES (6, 'after', noise(1)); \
             INSERT INTO goods VALUES (4, 'four'); COMMIT",
            "UPDATE films SET film = noise(2000) WHERE id = 1; UPDATE goods SET name = upper(name)",
        ] {
            pair.source.batch_execute(change).await.unwrap();
        }
        let run = pair.up_to_now(2, 1, DataErrorPolicy::ParkTable).await;
        assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
        assert_eq!(rows_of(&pair.mart, "goods").await, rows_of(&pair.source, "goods").await);
        // Up to the transaction before, and nothing of the one that has it.
        assert_eq!(films(&pair.mart).await, [1, 2, 3], "{sender}");
        let parked = table(&run, "films");
        let problem = parked.problem.unwrap();
        assert_eq!((parked.state, &*problem.code, problem.fault), (TableState::Parked, "row-too-large", Fault::Data));
        let said = "A row of public.films has 3 MiB, 3 MiB of them in film; the task takes rows of up to 1 MiB.";
        assert_eq!(problem.text, said, "{sender}");
        assert!(problem.advice.unwrap().contains("row_mib"));
        assert!(problem.position.is_some());
        // Allowed and loaded again it is there.
        let again = pair.loading(3, 4);
        let order = TableOrder { number: 1, table: TableName::new("public", "films"), wish: TableWish::Reload };
        again.orders.give(vec![order]);
        assert_eq!(ended(&again).await.unwrap(), Ended::Finished);
        pair.assert_equal(&TABLES, sender).await;
    }
}

#[tokio::test]
async fn a_row_larger_than_allowed_stops_a_task_that_is_to_stop_and_goes_on_once_it_is_allowed() {
    for sender in SENDERS {
        let pair = pair(sender).await;
        assert_eq!(ended(&pair.loading(1, 1)).await.unwrap(), Ended::Finished);
        pair.source.batch_execute("INSERT INTO goods VALUES (2, 'two')").await.unwrap();
        pair.source
            .batch_execute(
                "BEGIN; INSERT INTO goods VALUES (3, 'three'); INSERT INTO films VALUES (2, 'f', noise(1100)); COMMIT",
            )
            .await
            .unwrap();
        let problem = refused(&pair.up_to_now(2, 1, DataErrorPolicy::StopTask).await).await;
        assert_eq!((&*problem.code, problem.table), ("row-too-large", Some(TableName::new("public", "films"))));
        assert_eq!(films(&pair.mart).await, [1]);
        assert_eq!(rows_of(&pair.mart, "goods").await, ["(1,one)", "(2,two)"], "{sender}");
        assert_eq!(ended(&pair.up_to_now(3, 2, DataErrorPolicy::StopTask).await).await.unwrap(), Ended::Finished);
        pair.assert_equal(&TABLES, sender).await;
    }
}

#[tokio::test]
async fn a_row_larger_than_allowed_parks_its_table_in_the_load() {
    let pair = pair(SENDERS[0]).await;
    pair.source
        .batch_execute("INSERT INTO films SELECT n, 'f', noise(n * 400) FROM generate_series(2, 4) n")
        .await
        .unwrap();
    let run = pair.loading(1, 1);
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    assert_eq!(rows_of(&pair.mart, "goods").await, ["(1,one)"]);
    let parked = table(&run, "films");
    assert_eq!(parked.state, TableState::Parked);
    let said = "A row of public.films has 2 MiB; the task takes rows of up to 1 MiB.";
    assert_eq!(parked.problem.map(|problem| problem.text).as_deref(), Some(said));
    let again = pair.loading(2, 2);
    let order = TableOrder { number: 1, table: TableName::new("public", "films"), wish: TableWish::Reload };
    again.orders.give(vec![order]);
    assert_eq!(ended(&again).await.unwrap(), Ended::Finished);
    pair.assert_equal(&TABLES, "loaded again").await;
}

/// Every way that a value takes from about a megabyte on: pieces of a COPY, staging, the source's order.
#[tokio::test]
async fn large_values_arrive_by_every_way() {
    for sender in SENDERS {
        let pair = pair(sender).await;
        pair.source
            .batch_execute(
                "CREATE TABLE bare (id integer, film bytea); ALTER TABLE bare REPLICA IDENTITY FULL; \
                 ALTER TABLE bare ALTER film SET STORAGE EXTERNAL; \
                 CREATE TABLE pairs (id integer PRIMARY KEY, code integer UNIQUE, words text[], film bytea, more text); \
                 INSERT INTO films VALUES (2, 'loaded', noise(2500)), (3, 'to be changed', noise(1024)), (4, 'n', NULL)",
            )
            .await
            .unwrap();
        let changes = [
            "INSERT INTO films VALUES (10, 'exactly', substr(noise(1024), 1, 1048576)), (11, 'less', substr(noise(1024), 2))",
            "BEGIN; INSERT INTO films VALUES (12, 'a', noise(3000)); UPDATE films SET name = 'renamed' WHERE id IN (2, 12); \
             UPDATE films SET film = noise(1300) WHERE id = 3; DELETE FROM films WHERE id = 1; \
             UPDATE films SET id = 40, film = noise(1400) WHERE id = 4; INSERT INTO films VALUES (1, 'again', noise(1)); COMMIT",
            "UPDATE films SET id = id + 100; UPDATE films SET film = NULL WHERE id = 112",
            "INSERT INTO films SELECT n, 'many', noise(300 + n) FROM generate_series(1000, 1008) n",
            "INSERT INTO bare VALUES (1, noise(2000)), (1, noise(2000)), (2, noise(1))",
            "UPDATE bare SET id = 3 WHERE id = 2; UPDATE bare SET film = noise(1500) WHERE id = 3",
            "DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare WHERE id = 1)",
            "INSERT INTO pairs VALUES (1, 1, ARRAY[encode(noise(800), 'hex'), 'b'], noise(1), 'x'), (2, 2, NULL, noise(1200), 'y')",
            // A unique value goes from row to row: only the source's order does.
            "BEGIN; UPDATE pairs SET code = 3 WHERE id = 1; UPDATE pairs SET code = 1, film = noise(1300) WHERE id = 2; \
             INSERT INTO pairs VALUES (3, 2, NULL, noise(1100), repeat('z', 3000000)); COMMIT",
        ];
        pair.copies(&["films", "bare", "pairs"], &changes).await;
    }
}
