//! Constraints of target tables that some order of the same changes violates: what is legal at the source arrives, in
//! small waves and large ones, for a role that may switch triggers off and for one that may not.

use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{Preparation, TaskKind, TaskSettings};
use wavemark_engine::Ended;

use crate::support::pair::{Pair, rows_of, target_endpoint};
use crate::support::run::{ended, refused, stuck};

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
    tokio::select! {
        outcome = ended(&followed) => assert_eq!(outcome.unwrap(), Ended::Finished),
        problem = stuck(&followed) => panic!("{role}: it is tried again and again: {problem}"),
    }
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

/// Notes each time that it is called.
const NOISY: &str = "\
    CREATE TABLE noise (what text); GRANT ALL ON noise TO plain; \
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        INSERT INTO public.noise VALUES (concat_ws(' ', TG_NAME, TG_OP)); RETURN coalesce(NEW, OLD); END $$";

#[tokio::test]
async fn an_ordinary_trigger_of_the_target_is_silent_where_the_role_may_switch_it_off() {
    const GOODS: &str = "CREATE TABLE goods (id integer PRIMARY KEY, note text)";
    let changes = [
        "INSERT INTO goods VALUES (1001, 'a'); UPDATE goods SET note = 'b' WHERE id = 7; DELETE FROM goods WHERE id = 8",
        "UPDATE goods SET note = 'c' WHERE id <= 300; DELETE FROM goods WHERE id BETWEEN 301 AND 600",
        "BEGIN; INSERT INTO goods SELECT n, 'd' FROM generate_series(10001, 16000) n; UPDATE goods SET note = 'e'; COMMIT",
        "TRUNCATE goods; INSERT INTO goods VALUES (1, 'f')",
    ]
    .map(str::to_owned);
    for role in ROLES {
        let pair = pair(&format!("{GOODS}; INSERT INTO goods SELECT n, 'n' FROM generate_series(1, 1000) n")).await;
        let theirs = format!(
            "{GOODS}; ALTER TABLE goods OWNER TO plain; {NOISY}; \
             CREATE TRIGGER ordinary BEFORE INSERT OR UPDATE OR DELETE ON goods FOR EACH ROW EXECUTE FUNCTION note(); \
             CREATE TRIGGER whole AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON goods EXECUTE FUNCTION note(); \
             CREATE TRIGGER always AFTER INSERT OR UPDATE OR DELETE ON goods FOR EACH ROW EXECUTE FUNCTION note(); \
             ALTER TABLE goods ENABLE ALWAYS TRIGGER always"
        );
        pair.mart.batch_execute(&theirs).await.unwrap();
        arrives(&pair, role, &["goods"], Preparation::Nothing, &changes).await;
        let heard = "SELECT string_agg(DISTINCT what, ', ' ORDER BY what) FROM noise";
        let heard: String = pair.mart.query_one(heard, &[]).await.unwrap().get(0);
        let always = "always DELETE, always INSERT, always UPDATE";
        let all = "ordinary DELETE, ordinary INSERT, ordinary UPDATE, whole DELETE, whole INSERT, whole TRUNCATE, whole UPDATE";
        let expected = if role == "plain" { format!("{always}, {all}") } else { always.to_owned() };
        assert_eq!(heard, expected, "{role}");
    }
}

/// Two tables that refer to each other, and a row that refers to another of its own table.
fn circle(deferral: &str) -> String {
    format!(
        "CREATE TABLE people (id integer PRIMARY KEY, team integer NOT NULL, boss integer); \
         CREATE TABLE teams (id integer PRIMARY KEY, lead integer NOT NULL); \
         INSERT INTO people SELECT n, n, nullif(n / 2, 0) FROM generate_series(1, 400) n; \
         INSERT INTO teams SELECT n, 401 - n FROM generate_series(1, 400) n; \
         ALTER TABLE people ADD CONSTRAINT in_team FOREIGN KEY (team) REFERENCES teams {deferral}, \
            ADD CONSTRAINT has_boss FOREIGN KEY (boss) REFERENCES people {deferral}; \
         ALTER TABLE teams ADD CONSTRAINT has_lead FOREIGN KEY (lead) REFERENCES people {deferral}"
    )
}

#[tokio::test]
async fn rows_that_refer_to_each_other_in_a_circle_arrive_in_any_order() {
    let put_off = |changes: &str| format!("BEGIN; SET CONSTRAINTS ALL DEFERRED; {changes}; COMMIT");
    let changes = [
        // One circle; then one that is taken apart, and one that is turned around.
        put_off(
            "INSERT INTO people VALUES (1001, 1001, 1002), (1002, 1001, 1001); INSERT INTO teams VALUES (1001, 1002)",
        ),
        put_off("DELETE FROM people WHERE id IN (1001, 1002); DELETE FROM teams WHERE id = 1001"),
        put_off("UPDATE teams SET id = 2001 WHERE id = 1; UPDATE people SET team = 2001 WHERE team = 1"),
        put_off("UPDATE people SET id = 2400 WHERE id = 400; UPDATE teams SET lead = 2400 WHERE lead = 400"),
        "UPDATE people SET team = 2, boss = NULL WHERE id = 3; UPDATE teams SET lead = 3 WHERE id = 2".to_owned(),
        put_off(
            "INSERT INTO teams SELECT n, n + 1 FROM generate_series(3001, 3150) n; \
             INSERT INTO people SELECT n, least(n, 3150), n - 1 FROM generate_series(3151, 3001, -1) n; \
             UPDATE people SET boss = NULL WHERE id = 3001",
        ),
        put_off(
            "INSERT INTO people SELECT n, n, 7500 - n + 5001 FROM generate_series(5001, 7500) n; \
             INSERT INTO teams SELECT n, n FROM generate_series(7500, 5001, -1) n; \
             DELETE FROM people WHERE id BETWEEN 3001 AND 3151; DELETE FROM teams WHERE id BETWEEN 3001 AND 3150",
        ),
        put_off(
            "DELETE FROM teams WHERE id BETWEEN 5001 AND 6000; DELETE FROM people WHERE id BETWEEN 6501 AND 7500; \
             DELETE FROM people WHERE id BETWEEN 5001 AND 6000; DELETE FROM teams WHERE id BETWEEN 6501 AND 7500",
        ),
    ];
    for role in ROLES {
        for deferral in ["DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"] {
            let pair = pair(&circle(deferral)).await;
            arrives(&pair, role, &["people", "teams"], Preparation::Nothing, &changes).await;
            let sql = "SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated, '; ' ORDER BY conname) \
                FROM pg_constraint WHERE contype = 'f'";
            let there = pair.mart.query_one(sql, &[]).await.unwrap().get::<_, String>(0);
            assert_eq!(there, pair.ask(sql).await, "{role} {deferral}");
        }
    }
}

#[tokio::test]
async fn tables_in_a_circle_are_emptied_together() {
    let changes = [
        "TRUNCATE teams, people",
        "BEGIN; INSERT INTO people VALUES (1, 1, NULL); INSERT INTO teams VALUES (1, 1); COMMIT",
        "BEGIN; INSERT INTO teams VALUES (2, 1); SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE people CASCADE; \
         SET CONSTRAINTS ALL DEFERRED; INSERT INTO teams VALUES (3, 3); INSERT INTO people VALUES (3, 3, 3); COMMIT",
    ]
    .map(str::to_owned);
    for role in ROLES {
        let pair = pair(&circle("DEFERRABLE INITIALLY DEFERRED")).await;
        arrives(&pair, role, &["people", "teams"], Preparation::Nothing, &changes).await;
    }
}

/// Children whose keys may be checked later.
const CHECKED_LATER: &str = "CREATE TABLE parents (id integer PRIMARY KEY); INSERT INTO parents VALUES (1), (2); \
    CREATE TABLE children (id integer PRIMARY KEY, of integer REFERENCES parents DEFERRABLE); \
    INSERT INTO children SELECT n, 1 FROM generate_series(1, 50) n";

async fn children_arrive(changes: [&str; 4]) {
    for role in ROLES {
        let pair = pair(CHECKED_LATER).await;
        arrives(&pair, role, &["parents", "children"], Preparation::Nothing, &changes.map(str::to_owned)).await;
    }
}

#[tokio::test]
async fn a_table_is_emptied_right_after_rows_came_into_it_whose_keys_are_not_checked_yet() {
    let changes = [
        "BEGIN; INSERT INTO children VALUES (51, 2); TRUNCATE children; INSERT INTO children VALUES (52, 2); COMMIT",
        "UPDATE children SET of = 1",
        "TRUNCATE children",
        "INSERT INTO children VALUES (53, 1)",
    ];
    children_arrive(changes).await;
}

#[tokio::test]
async fn a_table_is_altered_right_after_rows_came_into_it_whose_keys_are_not_checked_yet() {
    let changes = [
        "BEGIN; INSERT INTO children VALUES (51, 2); ALTER TABLE children ADD note text; \
         INSERT INTO children VALUES (52, 2, 'new'); COMMIT",
        "UPDATE children SET of = 2, note = 'all'",
        "ALTER TABLE children ADD more text",
        "INSERT INTO children VALUES (53, 1, 'a', 'b')",
    ];
    children_arrive(changes).await;
}

/// A parent whose children follow what becomes of it, each in another way.
fn children(of_gone: &str) -> String {
    format!(
        "CREATE TABLE parents (id integer PRIMARY KEY); INSERT INTO parents SELECT generate_series(1, 900); \
         CREATE TABLE gone (id integer PRIMARY KEY, of integer REFERENCES parents {of_gone}); \
         CREATE TABLE freed (id integer PRIMARY KEY, of integer REFERENCES parents ON DELETE SET NULL ON UPDATE SET NULL); \
         CREATE TABLE reset (id integer PRIMARY KEY, of integer DEFAULT 900 REFERENCES parents ON DELETE SET DEFAULT); \
         INSERT INTO gone SELECT n, n FROM generate_series(1, 800) n; \
         INSERT INTO freed SELECT n, n FROM generate_series(1, 800) n; \
         INSERT INTO reset SELECT n, n FROM generate_series(201, 800) n"
    )
}

/// Alone and many at once.
const OF_PARENTS: [&str; 5] = [
    "DELETE FROM parents WHERE id = 1",
    "UPDATE parents SET id = 1002 WHERE id = 2",
    "DELETE FROM parents WHERE id = 201",
    "DELETE FROM parents WHERE id BETWEEN 211 AND 400",
    "UPDATE parents SET id = id + 2000 WHERE id BETWEEN 11 AND 120",
];

#[tokio::test]
async fn what_a_foreign_key_does_by_itself_is_done_once() {
    let changes = OF_PARENTS.map(str::to_owned);
    for (role, of_gone) in
        [("postgres", "ON DELETE CASCADE ON UPDATE CASCADE"), ("plain", "ON DELETE SET NULL ON UPDATE CASCADE")]
    {
        let pair = pair(&children(of_gone)).await;
        arrives(&pair, role, &["parents", "gone", "freed", "reset"], Preparation::Nothing, &changes).await;
    }
}

#[tokio::test]
async fn rows_that_a_foreign_key_deletes_are_deleted_once_by_a_role_that_may_not_switch_it_off() {
    let pair = pair(&children("ON DELETE CASCADE ON UPDATE CASCADE")).await;
    let changes = OF_PARENTS.map(str::to_owned);
    arrives(&pair, "plain", &["parents", "gone", "freed", "reset"], Preparation::Nothing, &changes).await;
}

/// The key of a line has that of its order in it: what becomes of an order's key becomes of its lines' keys.
#[tokio::test]
async fn keys_that_a_foreign_key_changes_are_changed_once() {
    let schema = "CREATE TABLE parents (id integer PRIMARY KEY); INSERT INTO parents SELECT generate_series(1, 400); \
        CREATE TABLE lines (of integer REFERENCES parents ON UPDATE CASCADE ON DELETE CASCADE, n integer, note text, \
            PRIMARY KEY (of, n)); \
        CREATE TABLE parts (of integer, n integer, part integer, \
            FOREIGN KEY (of, n) REFERENCES lines ON UPDATE CASCADE ON DELETE CASCADE, PRIMARY KEY (of, n, part)); \
        INSERT INTO lines SELECT p, n, 'x' FROM generate_series(1, 400) p, generate_series(1, 3) n; \
        INSERT INTO parts SELECT of, n, 1 FROM lines";
    let changes = [
        "UPDATE parents SET id = 1001 WHERE id = 1",
        "BEGIN; UPDATE parents SET id = 1002 WHERE id = 2; UPDATE lines SET note = 'y' WHERE of = 1002; \
         UPDATE lines SET n = n + 10 WHERE of = 1002 AND n = 3; DELETE FROM lines WHERE of = 1002 AND n = 1; COMMIT",
        "UPDATE parents SET id = id + 2000 WHERE id BETWEEN 10 AND 200",
        "UPDATE lines SET of = 300, n = n + 100 WHERE of = 301",
        "DELETE FROM parents WHERE id BETWEEN 302 AND 350",
    ]
    .map(str::to_owned);
    for role in ROLES {
        let pair = pair(schema).await;
        arrives(&pair, role, &["parents", "lines", "parts"], Preparation::Nothing, &changes).await;
    }
}
