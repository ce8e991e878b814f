//! Somebody else writes to the target's tables: what becomes of the rows, by each policy, on real servers.

use wavemark_domain::progress::TableProgress;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{ConflictPolicy, DataErrorPolicy, TaskKind, TaskSettings};
use wavemark_engine::Ended;

use crate::support::pair::{Pair, rows_of};
use crate::support::run::{ended, told};

const TABLES: [&str; 3] = ["goods", "numbered", "notes"];

/// A value that is kept out of line, so that the log leaves it out of updates that don't touch it.
const SCHEMA: &str = "\
    CREATE TABLE goods (id integer PRIMARY KEY, name text UNIQUE, doc text); \
    ALTER TABLE goods ALTER doc SET STORAGE EXTERNAL; \
    INSERT INTO goods SELECT n, 'good ' || n, CASE WHEN n IN (3, 5) THEN repeat('d', 5000) END \
        FROM generate_series(1, 8) n; \
    CREATE TABLE numbered (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer); \
    INSERT INTO numbered (n) VALUES (1), (2); \
    CREATE TABLE notes (a integer, b text); ALTER TABLE notes REPLICA IDENTITY FULL; \
    INSERT INTO notes VALUES (1, 'one'), (2, 'two'), (3, 'three')";

const THEIRS: &str = "\
    ALTER TABLE goods ADD theirs text DEFAULT 'kept'; \
    INSERT INTO goods VALUES (20, 'theirs', 't'), (31, 'thirty-one', 't'), (50, 'taken', 't'); \
    DELETE FROM goods WHERE id IN (2, 3, 4); \
    INSERT INTO numbered OVERRIDING SYSTEM VALUE VALUES (3, 33); \
    DELETE FROM numbered WHERE id = 1; \
    UPDATE notes SET b = 'changed' WHERE a = 1; DELETE FROM notes WHERE a = 2";

const OURS: [&str; 9] = [
    "INSERT INTO goods VALUES (20, 'ours', 'o')",
    "UPDATE goods SET name = 'two' WHERE id = 2",
    "UPDATE goods SET name = 'three' WHERE id = 3",
    "BEGIN; DELETE FROM goods WHERE id = 4; INSERT INTO goods VALUES (21, 'new', NULL); COMMIT",
    "UPDATE goods SET id = 31, name = 'moved' WHERE id = 5",
    // Another key has this name in the target: no conflict of keys, but a value that is refused.
    "INSERT INTO goods VALUES (60, 'taken', NULL)",
    "INSERT INTO numbered (n) VALUES (3); UPDATE numbered SET n = 11 WHERE id = 1",
    "UPDATE notes SET b = 'uno' WHERE a = 1; DELETE FROM notes WHERE a = 2; DELETE FROM notes WHERE a = 3",
    // Large enough to go by sets, with one row that is in the way.
    "BEGIN; DELETE FROM goods WHERE id = 6; INSERT INTO goods SELECT n, 'many ' || n, NULL FROM generate_series(100, 400) n; COMMIT",
];

/// The task with a policy, after both have written: its tables as it tells of them.
async fn after(conflicts: ConflictPolicy, data_errors: DataErrorPolicy) -> (Pair, Vec<TableProgress>, Vec<String>) {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    let settings = TaskSettings { conflicts, data_errors, ..TaskSettings::default() };
    let load = TaskSettings { stop_at: StopAt::Loaded, ..settings.clone() };
    assert_eq!(ended(&pair.run(1, TaskKind::FullLoadAndCdc, &TABLES, load)).await.unwrap(), Ended::Finished);
    pair.mart.batch_execute(THEIRS).await.unwrap();
    pair.mart.batch_execute("INSERT INTO goods VALUES (333, 'their 333', NULL)").await.unwrap();
    for change in OURS {
        pair.source.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let follow = TaskSettings { stop_at: StopAt::Position(end), ..settings };
    let run = pair.run(2, TaskKind::FullLoadAndCdc, &TABLES, follow);
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    let tables = run.status.progress().tables;
    let table = |name: &str| tables.iter().find(|table| table.table.table == name).unwrap().clone();
    let tables = TABLES.iter().map(|name| table(name)).collect();
    (pair, tables, told(&run, "conflicts"))
}

/// The rows of goods below 100 as short texts.
async fn goods(pair: &Pair) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', id, name, length(doc), theirs) FROM goods WHERE id < 100 ORDER BY id";
    pair.mart.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn exceptions(pair: &Pair) -> Vec<String> {
    let sql =
        "SELECT source_table || ' ' || kind || ' ' || key::text || ' ' || code FROM wavemark.exceptions ORDER BY id";
    pair.mart.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

fn counts(tables: &[TableProgress]) -> Vec<(u64, u64)> {
    tables.iter().map(|table| (table.conflicts, table.exceptions)).collect()
}

#[tokio::test]
async fn rows_become_what_they_are_at_the_source_where_they_are_overwritten() {
    let (pair, tables, told) = after(ConflictPolicy::Overwrite, DataErrorPolicy::LogError).await;
    let expected = [
        "1 good 1 kept",
        "2 two kept",
        "7 good 7 kept",
        "8 good 8 kept",
        "20 ours 1 kept",
        "21 new kept",
        // With the value that the log left out, from the row that moved there.
        "31 moved 5000 kept",
        "50 taken 1 kept",
    ];
    assert_eq!(goods(&pair).await, expected);
    let many = "SELECT count(*) || ' ' || min(name) FILTER (WHERE id = 333) FROM goods WHERE id >= 100";
    assert_eq!(pair.mart.query_one(many, &[]).await.unwrap().get::<_, String>(0), "301 many 333");
    assert_eq!(rows_of(&pair.mart, "numbered").await, rows_of(&pair.source, "numbered").await);
    assert_eq!(rows_of(&pair.mart, "notes").await, ["(1,changed)"]);
    assert_eq!(
        exceptions(&pair).await,
        [
            // An update that does not have the whole row.
            "public.goods update {\"id\": \"3\"} WM002",
            // A value that is refused.
            "public.goods insert {\"id\": \"60\"} 23505",
            "public.notes update {\"a\": \"1\", \"b\": \"one\"} WM002",
        ]
    );
    assert_eq!(counts(&tables), [(6, 2), (2, 0), (2, 1)], "{told:?}");
    assert!(tables.iter().all(|table| table.state == TableState::Live));
}

#[tokio::test]
async fn changes_that_are_skipped_leave_what_others_wrote_and_are_all_written_down() {
    let (pair, tables, told) = after(ConflictPolicy::Skip, DataErrorPolicy::LogError).await;
    let expected = [
        "1 good 1 kept",
        "5 good 5 5000 kept",
        "7 good 7 kept",
        "8 good 8 kept",
        "20 theirs 1 kept",
        "21 new kept",
        "31 thirty-one 1 kept",
        "50 taken 1 kept",
    ];
    assert_eq!(goods(&pair).await, expected);
    assert_eq!(rows_of(&pair.mart, "numbered").await, ["(2,2)", "(3,33)"]);
    assert_eq!(counts(&tables), [(6, 7), (2, 2), (2, 2)], "{told:?}");
    assert_eq!(exceptions(&pair).await.len(), 11);
}

#[tokio::test]
async fn a_conflict_parks_its_table_as_any_row_that_fails_unless_a_policy_says_otherwise() {
    let (pair, tables, told) = after(ConflictPolicy::AsDataError, DataErrorPolicy::ParkTable).await;
    assert!(tables.iter().all(|table| table.state == TableState::Parked));
    assert_eq!((counts(&tables), told.len()), (vec![(0, 0); 3], 0));
    assert!(goods(&pair).await.contains(&"20 theirs 1 kept".to_owned()));
}

#[tokio::test]
async fn how_many_rows_a_change_found_is_told() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(SCHEMA).await.unwrap();
    let load = TaskSettings { stop_at: StopAt::Loaded, ..TaskSettings::default() };
    assert_eq!(ended(&pair.run(1, TaskKind::FullLoadAndCdc, &TABLES, load)).await.unwrap(), Ended::Finished);
    pair.mart.batch_execute("DELETE FROM goods WHERE id = 2").await.unwrap();
    pair.source.batch_execute("UPDATE goods SET name = 'two' WHERE id = 2").await.unwrap();
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let run = pair.run(
        2,
        TaskKind::FullLoadAndCdc,
        &TABLES,
        TaskSettings { stop_at: StopAt::Position(end), ..TaskSettings::default() },
    );
    assert_eq!(ended(&run).await.unwrap(), Ended::Finished);
    let goods = run.status.progress().tables.into_iter().find(|table| table.table.table == "goods").unwrap();
    let problem = goods.problem.unwrap();
    assert_eq!(problem.code, "divergence");
    assert!(problem.text.contains("touched 0 rows where 1 must be"), "{problem}");
}
