//! People who change the target's tables while a task loads or follows them, and foreign keys that were there before.

use wavemark_domain::layout::ChangedTablePolicy;
use wavemark_domain::progress::Phase;
use wavemark_domain::state::TableState;
use wavemark_domain::task::TaskSettings;
use wavemark_engine::Run;

use crate::support::journey::{Journey, ROLES, shown};
use crate::support::run::{told, until};

fn follows(run: &Run) -> bool {
    run.status.progress().phase == Phase::Following
}

/// Waits until the tables are equal, or one is parked.
async fn settles(journey: &Journey, run: &Run) {
    until(async || {
        let is_parked = run.status.progress().tables.iter().any(|table| table.state == TableState::Parked);
        is_parked || journey.difference().await.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_others_refer_to_since_it_is_followed_is_emptied() {
    let schema = "CREATE TABLE goods (id integer PRIMARY KEY, note text); INSERT INTO goods VALUES (1, 'a'), (2, 'b')";
    for role in ROLES {
        let mut journey = Journey::of(role, schema, &["goods"]).await;
        let (run, running) = journey.begin();
        until(async || follows(&run)).await;
        journey.change("INSERT INTO goods VALUES (3, 'c')").await;
        settles(&journey, &run).await;
        let theirs = "CREATE TABLE theirs (of integer REFERENCES goods ON DELETE CASCADE)";
        journey.pair.mart.batch_execute(theirs).await.unwrap();
        journey.change("BEGIN; TRUNCATE goods; INSERT INTO goods VALUES (4, 'd'); COMMIT").await;
        settles(&journey, &run).await;
        let (state, why) = shown(&run, "goods");
        assert_eq!(state, TableState::Live, "{role}: {why}");
        journey.assert_equal("TRUNCATE").await;
        run.stop.cancel();
        running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_the_targets_people_add_to_a_table_without_a_key_keeps_its_values() {
    let schema = "CREATE TABLE notes (a integer, b text); ALTER TABLE notes REPLICA IDENTITY FULL; \
        INSERT INTO notes SELECT n, 'b' FROM generate_series(1, 200) n";
    for role in ROLES {
        let mut journey = Journey::of(role, schema, &["notes"]).await.ignoring("theirs");
        let (run, running) = journey.begin();
        until(async || follows(&run)).await;
        journey.change("UPDATE notes SET b = 'c' WHERE a < 150").await;
        settles(&journey, &run).await;
        journey
            .pair
            .mart
            .batch_execute("ALTER TABLE notes ADD theirs text; UPDATE notes SET theirs = 'kept'")
            .await
            .unwrap();
        journey.change("UPDATE notes SET b = 'd' WHERE a < 180").await;
        settles(&journey, &run).await;
        journey.assert_equal("UPDATE").await;
        let kept = "SELECT count(*) FROM notes WHERE theirs = 'kept'";
        assert_eq!(journey.pair.mart.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 200, "{role}");
        run.stop.cancel();
        running.await.unwrap().unwrap();
    }
}

/// Tables that are loaded one after the other, the last of them for long.
fn loaded_in_turn(of: &str) -> (String, String) {
    let tables = format!(
        "CREATE TABLE a_parents (id integer PRIMARY KEY, note text); \
         CREATE TABLE b_children (id integer PRIMARY KEY, of integer REFERENCES a_parents {of}); \
         CREATE TABLE c_many (id integer PRIMARY KEY, note text)"
    );
    let rows = "INSERT INTO a_parents SELECT n, 'p' FROM generate_series(1, 20) n; \
        INSERT INTO b_children SELECT n, n FROM generate_series(1, 15) n; \
        INSERT INTO c_many SELECT n, repeat('m', 50) FROM generate_series(1, 150000) n";
    (tables.clone(), format!("{tables}; {rows}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_are_loaded_stay_when_a_broken_load_goes_on_with_their_parents() {
    for of in ["ON DELETE CASCADE", "ON DELETE SET NULL", ""] {
        for role in ROLES {
            let (tables, source) = loaded_in_turn(of);
            let mut journey = Journey::of(role, &source, &["a_parents", "b_children", "c_many"]).await;
            let owned = "ALTER TABLE a_parents OWNER TO plain; ALTER TABLE b_children OWNER TO plain; ALTER TABLE c_many OWNER TO plain";
            journey.pair.mart.batch_execute(&format!("{tables}; {owned}")).await.unwrap();
            let (run, running) = journey.begin();
            until(async || told(&run, "table-loading").iter().any(|text| text.contains("c_many"))).await;
            running.abort();
            assert!(running.await.is_err(), "the load is killed in its middle");
            journey.change("UPDATE a_parents SET note = 'q' WHERE id < 10").await;
            let (run, running) = journey.begin();
            until(async || follows(&run)).await;
            settles(&journey, &run).await;
            for table in run.status.progress().tables {
                let why = table.problem.map(|problem| problem.text).unwrap_or_default();
                assert_eq!(table.state, TableState::Live, "{role}: {of}: {}: {why}", table.table);
            }
            journey.assert_equal(&format!("a broken load, {of}")).await;
            run.stop.cancel();
            running.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parents_that_are_loaded_again_leave_their_children_and_the_key_between_them() {
    let schema = "CREATE TABLE parents (id integer PRIMARY KEY, n integer); \
        CREATE TABLE children (id integer PRIMARY KEY, of integer REFERENCES parents ON DELETE CASCADE); \
        INSERT INTO parents SELECT n, n FROM generate_series(1, 200) n; INSERT INTO children SELECT n, n FROM generate_series(1, 100) n";
    let settings =
        TaskSettings { changed_tables: ChangedTablePolicy::ReloadTable, idle_seconds: 1, ..TaskSettings::default() };
    for role in ROLES {
        let mut journey = Journey::of(role, schema, &["parents", "children"]).await.with(settings.clone());
        let (run, running) = journey.begin();
        until(async || follows(&run)).await;
        journey
            .change("ALTER TABLE parents ALTER n TYPE bigint USING n * 2; UPDATE parents SET n = 0 WHERE id < 9; INSERT INTO children VALUES (150, 150)")
            .await;
        until(async || {
            let live = run.status.progress().tables.iter().all(|table| table.state == TableState::Live);
            live && journey.difference().await.is_none()
        })
        .await;
        journey.change("DELETE FROM parents WHERE id = 1; DELETE FROM children WHERE id = 20; DELETE FROM parents WHERE id = 20").await;
        until(async || journey.difference().await.is_none()).await;
        let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'children'::regclass";
        until(async || journey.pair.mart.query_opt(key, &[]).await.unwrap().is_some()).await;
        run.stop.cancel();
        running.await.unwrap().unwrap();
    }
}
