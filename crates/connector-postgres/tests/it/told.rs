//! What event triggers at the source tell of an alteration, read late and in the middle of transactions: what the log and the
//! catalog alone do not prove.

use crate::support::Cluster;
use crate::support::pair::Pair;
use crate::support::task::{Fixture, Gathered, transactions};
use wavemark_domain::LayoutStep;
use wavemark_domain::layout::AlterPolicy;
use wavemark_domain::task::TaskSettings;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, note varchar(10), n int); \
    INSERT INTO t SELECT i, 'note ' || i, i FROM generate_series(1, 5) i";

fn with_triggers() -> TaskSettings {
    TaskSettings { event_triggers: true, ..TaskSettings::default() }
}

/// Runs the statements on a table that is followed; rows, and columns by name, are equal in the end.
async fn follows(table: &str, changes: &[&str]) {
    let mut pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.fixture.task.settings = with_triggers();
    pair.source.batch_execute(table).await.unwrap();
    pair.copies(&["t"], changes).await;
    let columns = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) \
                   FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped";
    let of_mart: String = pair.mart.query_one(columns, &[]).await.unwrap().get(0);
    assert_eq!(of_mart, pair.source.query_one(columns, &[]).await.unwrap().get::<_, String>(0), "{changes:?}");
}

#[tokio::test]
async fn a_column_that_is_dropped_while_a_like_one_is_added_is_another() {
    let touch = "UPDATE t SET note = 'touched' WHERE id = 1";
    follows(TABLE, &["ALTER TABLE t DROP n, ADD n int DEFAULT 7", touch, "INSERT INTO t VALUES (6, 'six', 60)"]).await;
    follows(TABLE, &["ALTER TABLE t DROP n, ADD m int", touch]).await;
    let late = ["ALTER TABLE t DROP note", "DELETE FROM t WHERE id = 1", "ALTER TABLE t ADD note varchar(10)"];
    follows(TABLE, &[late[0], late[1], late[2], "DELETE FROM t WHERE id = 2"]).await;
    let inside = "BEGIN; INSERT INTO t VALUES (6, 'six', 6); UPDATE t SET n = 60 WHERE id = 2; ALTER TABLE t DROP n; \
        DELETE FROM t WHERE id = 3; ALTER TABLE t ADD n int DEFAULT -1; UPDATE t SET n = 4 WHERE id = 4; \
        INSERT INTO t VALUES (7, 'seven', 7); COMMIT";
    follows(TABLE, &[inside, "UPDATE t SET n = n - 1 WHERE id < 7"]).await;
    // As above, twice over, and what is read first has been dropped since.
    let twice = "ALTER TABLE t DROP n, ADD n int DEFAULT 1";
    follows(TABLE, &[twice, "INSERT INTO t VALUES (6, 'six', 6)", twice, "INSERT INTO t VALUES (7, 'seven', 7)"]).await;
}

#[tokio::test]
async fn what_changes_in_many_ways_at_once_is_followed() {
    let swap = "BEGIN; UPDATE t SET n = -n; ALTER TABLE t ADD n2 int; ALTER TABLE t RENAME n TO x; \
        ALTER TABLE t RENAME n2 TO n; ALTER TABLE t DROP x; INSERT INTO t VALUES (6, 'six', 6); COMMIT";
    follows(TABLE, &[swap]).await;
    let there_and_back = "BEGIN; ALTER TABLE t RENAME TO u; ALTER TABLE u DROP n, ADD n int DEFAULT 2; CREATE SCHEMA s; \
        ALTER TABLE u SET SCHEMA s; ALTER TABLE s.u SET SCHEMA public; ALTER TABLE u RENAME TO t; \
        INSERT INTO t VALUES (6, 'six', 6); COMMIT";
    follows(TABLE, &[there_and_back]).await;
    let came_and_went = "ALTER TABLE t ADD a int DEFAULT 3";
    let gone = ["INSERT INTO t VALUES (6, 'six', 6, 6)", "ALTER TABLE t DROP a, ADD a text", "UPDATE t SET a = 'x'"];
    follows(TABLE, &[came_and_went, gone[0], gone[1], gone[2]]).await;
    let key = ["ALTER TABLE t RENAME id TO key", "ALTER TABLE t REPLICA IDENTITY FULL", "DELETE FROM t WHERE key = 2"];
    follows(TABLE, &[key[0], key[1], key[2], "ALTER TABLE t ALTER note TYPE text", "UPDATE t SET note = NULL"]).await;
    let sales = "CREATE TABLE t (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
        CREATE TABLE t_n PARTITION OF t FOR VALUES IN ('n'); CREATE TABLE t_s PARTITION OF t FOR VALUES IN ('s'); \
        INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN 'n' ELSE 's' END, i FROM generate_series(1, 6) i";
    let parts = ["ALTER TABLE t DROP n, ADD n int DEFAULT 4", "INSERT INTO t VALUES (7, 's', 70)"];
    follows(sales, &[parts[0], parts[1], "CREATE TABLE t_x PARTITION OF t DEFAULT", "INSERT INTO t VALUES (8, 'x')"])
        .await;
}

#[tokio::test]
async fn a_table_that_inherits_its_columns_is_told_of_too() {
    let family = "CREATE TABLE parent (id int, n int); CREATE TABLE t (PRIMARY KEY (id)) INHERITS (parent); \
        INSERT INTO t SELECT i, i FROM generate_series(1, 5) i";
    let changes = ["ALTER TABLE parent DROP n, ADD n int DEFAULT 7", "INSERT INTO t VALUES (6, 60)"];
    follows(family, &changes).await;
}

#[tokio::test]
async fn what_a_part_that_is_rolled_back_tells_counts_for_nothing() {
    let small = "BEGIN; SAVEPOINT s; ALTER TABLE t DROP n, ADD n int DEFAULT 7; UPDATE t SET n = 0; ROLLBACK TO s; \
        UPDATE t SET n = -n WHERE id < 4; COMMIT";
    follows(TABLE, &[small]).await;
    let rewrite = "BEGIN; SAVEPOINT s; ALTER TABLE t ALTER n TYPE int USING -n; ROLLBACK TO s; DELETE FROM t WHERE id = 1; COMMIT";
    follows(TABLE, &[rewrite, "ALTER TABLE t ADD more text", "INSERT INTO t VALUES (6, 'six', 6, 'm')"]).await;
    // So large that it is sent while it is in progress.
    let large = "BEGIN; INSERT INTO t SELECT i, 'first', i FROM generate_series(100, 3000) i; SAVEPOINT s; \
        ALTER TABLE t DROP n, ADD n int DEFAULT 7; INSERT INTO t SELECT i, 'gone', i FROM generate_series(4000, 7000) i; \
        ROLLBACK TO s; INSERT INTO t SELECT i, 'kept', i FROM generate_series(4000, 7000) i; \
        ALTER TABLE t DROP n; INSERT INTO t SELECT i, 'kept' FROM generate_series(8000, 11000) i; \
        ALTER TABLE t ADD n int DEFAULT -1; INSERT INTO t SELECT i, 'last', i FROM generate_series(12000, 15000) i; COMMIT";
    follows(TABLE, &[large, "DELETE FROM t WHERE n = -1 AND id > 9000"]).await;
}

#[tokio::test]
async fn new_files_without_an_alteration_are_no_rewrite() {
    let changes = [
        "VACUUM FULL t",
        "ALTER TABLE t ALTER note TYPE varchar(20)",
        "INSERT INTO t VALUES (6, 'more than ten', 6)",
        "CLUSTER t USING t_pkey",
        "ALTER TABLE t ADD a int, ADD b int DEFAULT 3",
        "UPDATE t SET a = 1 WHERE id = 6",
        "VACUUM FULL t",
        "ALTER TABLE t ALTER note TYPE text",
        "DELETE FROM t WHERE id = 2",
    ];
    follows(TABLE, &changes).await;
    // A generated column is stored anew with all rows, and does not travel.
    let generated = ["ALTER TABLE t ADD twice int GENERATED ALWAYS AS (n * 2) STORED", "ALTER TABLE t DROP twice"];
    follows(TABLE, &[generated[0], "UPDATE t SET n = 9 WHERE id = 1", "ALTER TABLE t ADD m int", generated[1]]).await;
}

/// What came of `t` and `calm` where these statements are followed, with why `t` ends if it does.
async fn ends(settings: TaskSettings, statements: &[&str]) -> (Vec<String>, Option<String>) {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(TABLE);
    cluster.sql("CREATE TABLE calm (id int PRIMARY KEY)");
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings = settings;
    let plan = fixture.plan(&["t", "calm"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    for sql in statements {
        cluster.sql(sql);
    }
    cluster.sql("INSERT INTO calm VALUES (1)");
    let is_calm = |found: &Gathered| found.changes().contains(&"+calm 1");
    let found = Gathered::default().until(&mut fixture.follow(&plan, &from).await, &plan, 1 << 20, is_calm).await;
    let how = |text: &str| text.strip_prefix("Table public.t was changed at the source: ").unwrap().to_owned();
    let why = found.barriers.first().map(|(_, problem)| how(&problem.text));
    (found.changes().iter().map(|change| (*change).to_owned()).collect(), why)
}

#[tokio::test]
async fn a_table_ends_where_its_rows_are_rewritten_or_it_goes() {
    let rewritten = "its rows were rewritten, of which the log does not say what became of them.";
    let retyped =
        "column n has another type and its rows were rewritten, of which the log does not say what became of them.";
    let random = "column r was added, and the rows were rewritten, of which the log does not say what they have in it.";
    let cases: [(&str, &str); 7] = [
        // To the catalog this looks as a VACUUM FULL does.
        ("ALTER TABLE t ALTER n TYPE int USING -n", rewritten),
        ("ALTER TABLE t ALTER n TYPE bigint USING n * 2", retyped),
        ("ALTER TABLE t ADD r float8 DEFAULT random()", random),
        ("ALTER TABLE t ADD r float8 DEFAULT random(), ALTER n TYPE int USING -n", random),
        ("DROP TABLE t", "it was dropped."),
        ("ALTER TABLE t RENAME TO u", "it is now named public.u."),
        ("CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s", "it is now named s.t."),
    ];
    for (statement, expected) in cases {
        let before = ["INSERT INTO calm VALUES (0)", "INSERT INTO t VALUES (6, 'six', 6)"];
        let (changes, why) = ends(with_triggers(), &[before[0], before[1], statement]).await;
        assert_eq!(why.as_deref(), Some(expected), "{statement}");
        assert_eq!(changes, ["+calm 0", "+t 6,six,6", "#t", "+calm 1"], "{statement}");
        // The place is that of the statement, not that of the next row; of a name, that of its transaction's end.
        let inside = format!("BEGIN; INSERT INTO calm VALUES (7); {statement}; INSERT INTO calm VALUES (8); COMMIT");
        let (changes, why) = ends(with_triggers(), &[&inside]).await;
        assert_eq!(why.as_deref(), Some(expected), "{inside}");
        let before =
            if expected.starts_with("it is now") { ["+calm 7", "+calm 8", "#t"] } else { ["+calm 7", "#t", "+calm 8"] };
        assert_eq!(changes, [&before[..], &["+calm 1"]].concat(), "{inside}");
    }
    // What was altered before it went under another name is followed up to there.
    let late = ["ALTER TABLE t ADD a int", "INSERT INTO t VALUES (6, 'six', 6, 60)", "ALTER TABLE t RENAME TO u"];
    let (changes, why) = ends(with_triggers(), &late).await;
    assert_eq!((changes.len(), why.as_deref()), (3, Some("it is now named public.u.")), "{changes:?}");
    // Without triggers a rewrite is not seen, and the new files of a VACUUM FULL are taken for one.
    let rewrite = ["ALTER TABLE t ALTER n TYPE int USING -n"];
    assert_eq!(ends(TaskSettings::default(), &rewrite).await, (vec!["+calm 1".to_owned()], None));
    let vacuum = ["VACUUM FULL t", "ALTER TABLE t ALTER note TYPE text", "DELETE FROM t WHERE id = 1"];
    assert!(
        ends(TaskSettings::default(), &vacuum).await.1.unwrap().starts_with("column note has another type and its")
    );
    let (changes, why) = ends(with_triggers(), &vacuum).await;
    assert_eq!((changes.as_slice(), why), (["-t (1,null,null)".to_owned(), "+calm 1".to_owned()].as_slice(), None));
}

#[tokio::test]
async fn the_settings_decide_about_what_is_told_as_about_what_is_read() {
    let settings = TaskSettings { renamed_columns: AlterPolicy::ParkTable, ..with_triggers() };
    let (changes, why) = ends(settings, &["ALTER TABLE t RENAME note TO remark"]).await;
    assert_eq!(changes, ["#t", "+calm 1"]);
    assert_eq!(why.as_deref(), Some("column note was renamed to remark."));
}

#[tokio::test]
async fn a_reader_that_is_opened_before_a_change_finds_it_again() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(TABLE);
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings = with_triggers();
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("INSERT INTO t VALUES (6, 'six', 6)");
    cluster.sql("INSERT INTO t VALUES (7, 'seven', 7)");
    cluster.sql("ALTER TABLE t DROP n, ADD n int DEFAULT 8");
    cluster.sql("INSERT INTO t VALUES (8, 'eight', 80)");
    let first = transactions(&mut fixture.follow(&plan, &from).await, &plan, 1).await;
    assert_eq!(first.changes()[0], "+t 6,six,6");
    let mut again = fixture.follow(&plan, &first.transactions[0].end).await;
    let read = again.next(1 << 20).await.unwrap();
    assert!(read.layouts.is_empty());
    assert_eq!(read.batch.transactions().len(), 1);
    let read = again.next(1 << 20).await.unwrap();
    let steps =
        [LayoutStep::Drop { column: "n".into() }, LayoutStep::Add { column: "n".into(), existing: Some("8".into()) }];
    assert_eq!(read.layouts.iter().map(|layout| layout.steps.as_slice()).collect::<Vec<_>>(), [steps.as_slice()]);
    // The alteration's own transaction, and the row's.
    assert_eq!((read.batch.transactions().len(), read.batch.changes().len()), (2, 1));
    // Whoever has the new layout already hears nothing new.
    let plan = vec![read.layouts[0].plan.clone()];
    let mut after = fixture.follow(&plan, &first.transactions[0].end).await;
    let read = after.next(1 << 20).await.unwrap();
    assert!(read.layouts.is_empty() && read.barriers.is_empty(), "{read:?}");
}
