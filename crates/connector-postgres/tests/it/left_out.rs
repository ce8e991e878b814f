//! Tables that can't travel, or whose types the target lacks: they are shown with the reason, and nobody else waits for
//! them.

use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Problem, TableName, TableOrder, TableWish};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of};
use crate::support::run::{ended, told, until};

fn run(pair: &Pair, epoch: i64, tables: &[&str], stop_at: StopAt) -> Run {
    let settings = TaskSettings { stop_at, idle_seconds: 1, ..TaskSettings::default() };
    pair.run(epoch, TaskKind::FullLoadAndCdc, tables, settings)
}

async fn end_of_log(pair: &Pair) -> StopAt {
    StopAt::Position(pair.ask("SELECT pg_current_wal_insert_lsn()::text").await)
}

fn state(run: &Run, table: &str) -> (TableState, Option<Problem>) {
    let tables = run.status.progress().tables.into_iter();
    tables
        .map(|one| (one.table.table, one.state, one.problem))
        .find(|one| one.0 == table)
        .map(|one| (one.1, one.2))
        .unwrap()
}

/// The problem of a table that is parked.
fn parked(run: &Run, table: &str) -> Problem {
    let (state, problem) = state(run, table);
    assert_eq!(state, TableState::Parked, "{table}");
    problem.unwrap()
}

/// Goes on with an order to load a table again, until that is followed; then stops.
async fn reloaded(run: &Run, table: &str) {
    let name = TableName::new("public", table);
    run.orders.give(vec![TableOrder { number: 1, table: name, wish: TableWish::Reload }]);
    let live = async {
        until(async || run.orders.done().contains(&1) && state(run, table).0 == TableState::Live).await;
        run.stop.cancel();
    };
    let (stopped, ()) = tokio::join!(ended(run), live);
    assert_eq!(stopped.unwrap(), Ended::Stopped);
}

async fn is_there(pair: &Pair, table: &str) -> bool {
    pair.mart.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_table_with_a_type_that_can_not_travel_is_parked_by_column_and_type() {
    const TABLES: [&str; 3] = ["good", "rights", "named"];
    let pair = Pair::start(&[]).await;
    // The first has no binary form; what the second is called by number is another thing at the target.
    pair.source
        .batch_execute(
            "CREATE TABLE good (id integer PRIMARY KEY, note text); INSERT INTO good VALUES (1, 'a'), (2, 'b'); \
             CREATE TABLE rights (id integer PRIMARY KEY, note text, given aclitem); \
             INSERT INTO rights VALUES (1, 'a', 'postgres=arwdDxt/postgres'); \
             CREATE TABLE named (id integer PRIMARY KEY, many regclass[]); INSERT INTO named VALUES (1, '{good,rights}')",
        )
        .await
        .unwrap();
    let why = |run: &Run| {
        for (table, column) in [("rights", "given has the type aclitem"), ("named", "many has the type regclass[]")] {
            let problem = parked(run, table);
            let text = format!("public.{table} can't be replicated: column {column}, which the target can't take");
            assert_eq!((problem.code.as_str(), problem.text), ("table-refused", text));
            assert_eq!(problem.advice.as_deref(), Some("Leave it out with a remove-column rule."));
        }
    };
    let loaded = run(&pair, 1, &TABLES, StopAt::Loaded);
    assert_eq!(ended(&loaded).await.unwrap(), Ended::Finished);
    why(&loaded);
    let told = told(&loaded, "table-refused");
    assert!(["rights", "named"].iter().all(|table| told.concat().contains(&format!("public.{table} "))), "{told:?}");
    pair.assert_equal(&["good"], "after the load").await;
    // They stay writable, and of their changes nothing is in the way.
    pair.source
        .batch_execute(
            "UPDATE rights SET note = 'b', given = 'postgres=r/postgres'; UPDATE good SET note = 'c' WHERE id = 1; \
             INSERT INTO named VALUES (2, NULL); DELETE FROM rights WHERE id = 7; INSERT INTO good VALUES (3, 'd')",
        )
        .await
        .unwrap();
    let followed = run(&pair, 2, &TABLES, end_of_log(&pair).await);
    assert_eq!(ended(&followed).await.unwrap(), Ended::Finished);
    why(&followed);
    assert_eq!(state(&followed, "good"), (TableState::Live, None));
    pair.assert_equal(&["good"], "after it was followed").await;
    assert!(!is_there(&pair, "rights").await && !is_there(&pair, "named").await);
    // Without the column it can.
    pair.source.batch_execute("ALTER TABLE rights DROP COLUMN given").await.unwrap();
    reloaded(&run(&pair, 3, &TABLES, StopAt::Never), "rights").await;
    pair.source.batch_execute("INSERT INTO rights VALUES (9, 'new'); UPDATE good SET note = 'e'").await.unwrap();
    let last = run(&pair, 4, &TABLES, end_of_log(&pair).await);
    assert_eq!(ended(&last).await.unwrap(), Ended::Finished);
    pair.assert_equal(&["good", "rights"], "at the end").await;
    assert_eq!(parked(&last, "named").code, "table-refused");
}

const EXTENDED: &str = "\
    CREATE EXTENSION citext; CREATE SCHEMA kinds; CREATE EXTENSION hstore SCHEMA kinds; \
    CREATE TABLE good (id integer PRIMARY KEY, note text); INSERT INTO good VALUES (1, 'a'); \
    CREATE TABLE people (name citext PRIMARY KEY, names citext[], note text); \
    INSERT INTO people SELECT 'Name' || n, ARRAY['A', NULL]::citext[], 'n' FROM generate_series(1, 300) n; \
    CREATE TABLE things (id integer PRIMARY KEY, of kinds.hstore); INSERT INTO things VALUES (1, 'a=>1')";

#[tokio::test]
async fn a_table_whose_extension_the_target_lacks_waits_for_it_alone() {
    const TABLES: [&str; 3] = ["good", "people", "things"];
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(EXTENDED).await.unwrap();
    let loaded = run(&pair, 1, &TABLES, StopAt::Loaded);
    assert_eq!(ended(&loaded).await.unwrap(), Ended::Finished);
    let problem = parked(&loaded, "people");
    assert_eq!(problem.code, "extension-missing", "{problem}");
    assert_eq!(problem.text, "The target lacks type \"public\".\"citext\", which extension citext brings.");
    let advice = problem.advice.unwrap();
    assert_eq!(advice, "CREATE EXTENSION \"citext\" SCHEMA \"public\"");
    assert_eq!(parked(&loaded, "things").code, "extension-missing");
    assert!(!is_there(&pair, "people").await, "nothing of a half");
    pair.source
        .batch_execute(
            "UPDATE people SET note = 'm' WHERE name = 'name7'; DELETE FROM people WHERE name = 'NAME8'; \
             INSERT INTO good VALUES (2, 'b'); UPDATE things SET of = 'b=>2'",
        )
        .await
        .unwrap();
    let followed = run(&pair, 2, &TABLES, end_of_log(&pair).await);
    assert_eq!(ended(&followed).await.unwrap(), Ended::Finished);
    assert_eq!(state(&followed, "good"), (TableState::Live, None));
    pair.assert_equal(&["good"], "after it was followed").await;
    assert_eq!(parked(&followed, "people").code, "extension-missing", "a worker later");
    // As its advice says.
    pair.mart.batch_execute(&advice).await.unwrap();
    reloaded(&run(&pair, 3, &TABLES, StopAt::Never), "people").await;
    pair.source
        .batch_execute(
            "UPDATE people SET note = 'o' WHERE name = 'NAME9'; DELETE FROM people WHERE name = 'name10'; \
             UPDATE people SET name = upper(name) WHERE name = 'name11'; INSERT INTO people VALUES ('New', NULL, NULL); \
             UPDATE good SET note = 'c'",
        )
        .await
        .unwrap();
    let last = run(&pair, 4, &TABLES, end_of_log(&pair).await);
    assert_eq!(ended(&last).await.unwrap(), Ended::Finished);
    assert_eq!(state(&last, "people"), (TableState::Live, None));
    pair.assert_equal(&["good", "people"], "at the end").await;
    assert_eq!(rows_of(&pair.mart, "people").await.len(), 299);
    assert_eq!(parked(&last, "things").code, "extension-missing", "it has another extension");
}

#[tokio::test]
async fn the_statement_that_brings_an_extension_also_makes_the_schema_that_it_is_in() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(EXTENDED).await.unwrap();
    let loaded = run(&pair, 1, &["good", "things"], StopAt::Loaded);
    assert_eq!(ended(&loaded).await.unwrap(), Ended::Finished);
    let advice = parked(&loaded, "things").advice.unwrap();
    pair.mart.batch_execute(&advice).await.unwrap_or_else(|error| panic!("{advice}: {error:?}"));
    reloaded(&run(&pair, 2, &["good", "things"], StopAt::Never), "things").await;
    pair.assert_equal(&["good", "things"], "at the end").await;
}

#[tokio::test]
async fn a_column_of_a_missing_extension_that_comes_while_its_table_is_followed_parks_that_table() {
    const TABLES: [&str; 2] = ["good", "things"];
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE EXTENSION hstore; CREATE TABLE good (id integer PRIMARY KEY, note text); \
             CREATE TABLE things (id integer PRIMARY KEY); INSERT INTO things VALUES (1); INSERT INTO good VALUES (1, 'a')",
        )
        .await
        .unwrap();
    assert_eq!(ended(&run(&pair, 1, &TABLES, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    for step in [
        "INSERT INTO things VALUES (2)",
        "ALTER TABLE things ADD of hstore",
        "INSERT INTO things VALUES (3, 'a=>1'); UPDATE good SET note = 'b'",
    ] {
        pair.source.batch_execute(step).await.unwrap();
    }
    let followed = run(&pair, 2, &TABLES, end_of_log(&pair).await);
    assert_eq!(ended(&followed).await.unwrap(), Ended::Finished);
    let problem = parked(&followed, "things");
    let text = "The target's table could not be changed as the source's was: The target lacks type \"public\".\"hstore\", \
        which extension hstore brings.";
    assert_eq!((problem.code.as_str(), problem.text.as_str()), ("table-not-altered", text));
    let advice = problem.advice.unwrap();
    assert_eq!(advice, "CREATE EXTENSION \"hstore\" SCHEMA \"public\"");
    assert_eq!(rows_of(&pair.mart, "things").await, ["(1)", "(2)"], "as it was before the column");
    assert_eq!(state(&followed, "good"), (TableState::Live, None));
    pair.assert_equal(&["good"], "after it was followed").await;
    pair.mart.batch_execute(&advice).await.unwrap();
    reloaded(&run(&pair, 3, &TABLES, StopAt::Never), "things").await;
    pair.assert_equal(&TABLES, "at the end").await;
}

#[tokio::test]
async fn a_column_that_can_not_travel_and_comes_while_its_table_is_followed_parks_that_table() {
    const TABLES: [&str; 2] = ["good", "things"];
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE good (id integer PRIMARY KEY, note text); INSERT INTO good VALUES (1, 'a'); \
             CREATE TABLE things (id integer PRIMARY KEY); INSERT INTO things VALUES (1)",
        )
        .await
        .unwrap();
    assert_eq!(ended(&run(&pair, 1, &TABLES, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    for step in [
        "INSERT INTO things VALUES (2)",
        "ALTER TABLE things ADD given aclitem",
        "INSERT INTO things VALUES (3, 'postgres=r/postgres'); UPDATE good SET note = 'b'",
    ] {
        pair.source.batch_execute(step).await.unwrap();
    }
    let followed = run(&pair, 2, &TABLES, end_of_log(&pair).await);
    assert_eq!(ended(&followed).await.unwrap(), Ended::Finished);
    let problem = parked(&followed, "things");
    assert!(problem.text.contains("given has the type aclitem"), "{problem}");
    assert_eq!(rows_of(&pair.mart, "things").await, ["(1)", "(2)"], "as it was before the column");
    assert_eq!(state(&followed, "good"), (TableState::Live, None));
    pair.assert_equal(&["good"], "after it was followed").await;
}
