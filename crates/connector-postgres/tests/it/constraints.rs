//! Constraints of target tables that some order of the same changes violates: what is legal at the source arrives, in
//! small waves and large ones, for a role that may switch triggers off and for one that may not.

use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{Preparation, TaskKind, TaskSettings};
use wavemark_engine::Ended;

use crate::support::pair::{Pair, rows_of, target_endpoint};
use crate::support::run::{ended, refused};

/// A superuser, and a role that owns its tables and may do nothing else.
const ROLES: [&str; 2] = ["postgres", "plain"];

async fn pair(schema: &str) -> Pair {
    let pair = Pair::start(&[]).await;
    let role = "CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE mart TO plain";
    pair.source.batch_execute(role).await.unwrap();
    pair.mart
        .batch_execute("CREATE EXTENSION btree_gist SCHEMA public; GRANT ALL ON SCHEMA public TO plain")
        .await
        .unwrap();
    pair.source.batch_execute("CREATE EXTENSION btree_gist SCHEMA public").await.unwrap();
    pair.source.batch_execute(schema).await.unwrap();
    pair
}

/// Loads, makes the changes one after the other, follows them by `role`, and expects equal tables that are live.
async fn arrives(pair: &Pair, role: &str, tables: &[&str], preparation: Preparation, changes: &[String]) {
    let run = |epoch: i64, stop_at: StopAt| {
        let mut run = pair.run(
            epoch,
            TaskKind::FullLoadAndCdc,
            tables,
            TaskSettings { preparation, stop_at, ..TaskSettings::default() },
        );
        let mut endpoint = target_endpoint(&pair.cluster);
        endpoint.values["user"] = role.into();
        run.target = Postgres.target(&endpoint).unwrap();
        run
    };
    assert_eq!(ended(&run(1, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    for change in changes {
        pair.source.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let followed = run(2, StopAt::Position(end));
    assert_eq!(ended(&followed).await.unwrap(), Ended::Finished);
    for table in followed.status.progress().tables {
        assert_eq!(table.state, TableState::Live, "{role}: {}: {:?}", table.table, table.problem);
    }
    for table in tables {
        assert_eq!(rows_of(&pair.mart, table).await, rows_of(&pair.source, table).await, "{role}: {table}");
    }
}

/// Hands the range of each of these rows to the next one, statement by statement: legal at each step.
fn handed_on(first: u32, last: u32) -> String {
    format!(
        "DO $$ BEGIN \
           UPDATE rooms SET during = '[1000000,1000001)' WHERE id = {last}; \
           FOR n IN REVERSE {last} .. {first} + 1 LOOP \
             UPDATE rooms SET during = int4range(2000000 + n * 10, 2000005 + n * 10) WHERE id = n - 1; \
             UPDATE rooms SET during = int4range((n - 1) * 10, (n - 1) * 10 + 5) WHERE id = n; \
           END LOOP; \
           UPDATE rooms SET during = int4range({last} * 10, {last} * 10 + 5) WHERE id = {first}; \
         END $$"
    )
}

/// Gives each place up and takes the one beside it, by other rows.
fn taken_over(from: u32, to: u32) -> String {
    format!(
        "DO $$ BEGIN FOR n IN {from} .. {to} LOOP \
           DELETE FROM rooms WHERE id = n; \
           INSERT INTO rooms VALUES (n + 10000, 7, int4range(n * 10 + 2, n * 10 + 8)); \
           UPDATE rooms SET during = int4range(n * 10, n * 10 + 5), room = 7 WHERE id = n + 10000; \
         END LOOP; END $$"
    )
}

#[tokio::test]
async fn ranges_that_are_handed_from_row_to_row_arrive_under_an_exclusion_constraint() {
    const ROOMS: &str = "CREATE TABLE rooms (id integer PRIMARY KEY, room integer, during int4range, \
        CONSTRAINT one_at_a_time EXCLUDE USING gist (room WITH =, during WITH &&)";
    for role in ROLES {
        for deferral in ["", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"] {
            for made_by_a_person in [false, true] {
                let rows =
                    "INSERT INTO rooms SELECT n, 7, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 400) n";
                let pair = pair(&format!("{ROOMS}{deferral}); {rows}")).await;
                if made_by_a_person {
                    let theirs = format!("{ROOMS}{deferral}); ALTER TABLE rooms OWNER TO plain");
                    pair.mart.batch_execute(&theirs).await.unwrap();
                }
                let changes = [handed_on(1, 3), handed_on(4, 300), taken_over(310, 312), taken_over(320, 390)];
                arrives(&pair, role, &["rooms"], Preparation::Nothing, &changes).await;
                let sql = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'one_at_a_time'";
                let there = pair.mart.query_one(sql, &[]).await.unwrap().get::<_, String>(0);
                assert_eq!(there, pair.ask(sql).await, "{role}{deferral}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_transaction_put_off_to_its_end_is_put_off_in_the_target_too() {
    let schema = "\
        CREATE TABLE rooms (id integer PRIMARY KEY, room integer, during int4range, \
            CONSTRAINT one_at_a_time EXCLUDE USING gist (during WITH &&) DEFERRABLE); \
        CREATE TABLE seats (id integer PRIMARY KEY, place integer UNIQUE DEFERRABLE); \
        INSERT INTO rooms SELECT n, 7, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 400) n; \
        INSERT INTO seats SELECT n, n FROM generate_series(1, 400) n";
    let changes = [
        // Two that change places, without a third.
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; \
         UPDATE rooms SET during = '[20,25)' WHERE id = 1; UPDATE rooms SET during = '[10,15)' WHERE id = 2; \
         UPDATE seats SET place = 2 WHERE id = 1; UPDATE seats SET place = 1 WHERE id = 2; COMMIT"
            .to_owned(),
        // One statement that is right at its end only.
        "UPDATE seats SET place = place + 1 WHERE id BETWEEN 300 AND 400".to_owned(),
        "UPDATE seats SET place = place + 1 WHERE id BETWEEN 390 AND 400".to_owned(),
        "UPDATE rooms SET during = int4range(lower(during) + 3, upper(during) + 7)".to_owned(),
    ];
    for role in ROLES {
        let pair = pair(schema).await;
        arrives(&pair, role, &["rooms", "seats"], Preparation::Nothing, &changes).await;
    }
}

#[tokio::test]
async fn a_table_whose_primary_key_may_be_violated_for_a_while_is_followed_by_whole_rows() {
    let schema = "CREATE TABLE seats (id integer PRIMARY KEY DEFERRABLE, place integer); \
        ALTER TABLE seats REPLICA IDENTITY FULL; INSERT INTO seats SELECT n, n FROM generate_series(1, 300) n";
    let changes = [
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE seats SET id = 2 WHERE id = 1; \
         UPDATE seats SET id = 1 WHERE place = 2; COMMIT",
        "UPDATE seats SET id = id + 1",
        "DELETE FROM seats WHERE id = 21",
    ]
    .map(str::to_owned);
    for role in ROLES {
        let pair = pair(schema).await;
        arrives(&pair, role, &["seats"], Preparation::Nothing, &changes).await;
    }
}

#[tokio::test]
async fn a_deferrable_primary_key_alone_names_no_rows_in_the_log_and_its_source_stays_writable() {
    let pair =
        pair("CREATE TABLE seats (id integer PRIMARY KEY DEFERRABLE, place integer); INSERT INTO seats VALUES (1, 1)")
            .await;
    let run = pair.run(1, TaskKind::FullLoadAndCdc, &["seats"], TaskSettings::default());
    let problem = refused(&run).await;
    assert_eq!(problem.code, "no-replica-identity", "{problem:?}");
    pair.source.batch_execute("UPDATE seats SET place = 2").await.unwrap();
}

#[tokio::test]
async fn a_key_of_a_target_table_that_is_checked_at_the_end_only_is_not_taken_for_one() {
    let pair =
        pair("CREATE TABLE seats (id integer PRIMARY KEY, place integer); INSERT INTO seats VALUES (1, 1)").await;
    pair.mart.batch_execute("CREATE TABLE seats (id integer PRIMARY KEY DEFERRABLE, place integer)").await.unwrap();
    let settings = TaskSettings { stop_at: StopAt::Loaded, ..TaskSettings::default() };
    let run = pair.run(1, TaskKind::FullLoadAndCdc, &["seats"], settings);
    ended(&run).await.unwrap();
    let table = run.status.progress().tables.remove(0);
    let problem = table.problem.unwrap();
    assert_eq!((table.state, problem.code.as_str()), (TableState::Parked, "table-without-key"));
    assert_eq!(rows_of(&pair.mart, "seats").await, [""; 0]);
}
