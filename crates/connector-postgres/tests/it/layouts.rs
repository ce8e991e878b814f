//! Tables whose layout changes while they are followed: applied at the same place between the rows, or ended.

use crate::support::Cluster;
use crate::support::pair::Pair;
use crate::support::task;
use crate::support::task::{Fixture, Gathered, transactions};
use wavemark_domain::layout::{AlterPolicy, ColumnPolicy};
use wavemark_domain::task::TaskSettings;

/// The columns of a table as its server describes them.
const SHAPE: &str = "SELECT coalesce(string_agg(attname || ' ' || format_type(atttypid, atttypmod) \
    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || CASE WHEN attnotnull THEN ' not null' ELSE '' END, \
    ', ' ORDER BY attnum), '') FROM pg_attribute LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum \
    WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped";

/// Runs the statements on a table that is followed; rows and columns are equal in the end.
async fn follows(table: &str, changes: &[&str]) {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(table).await.unwrap();
    pair.copies(&["t"], changes).await;
    let shapes = [&pair.source, &pair.mart].map(|client| client.query_one(SHAPE, &[]));
    let [source, mart] = shapes;
    let (source, mart): (String, String) = (source.await.unwrap().get(0), mart.await.unwrap().get(0));
    assert_eq!(mart, source, "{changes:?}");
}

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, note varchar(10), n int); \
    INSERT INTO t SELECT i, 'note ' || i, i FROM generate_series(1, 5) i";

#[tokio::test]
async fn a_column_is_added_between_transactions_and_inside_one() {
    follows(TABLE, &["ALTER TABLE t ADD more text", "INSERT INTO t VALUES (6, 'six', 6, 'more')"]).await;
    let inside = "BEGIN; INSERT INTO t VALUES (6, 'six', 6); UPDATE t SET n = 60 WHERE id = 1; ALTER TABLE t ADD more text; \
        UPDATE t SET more = 'm' WHERE id = 6; INSERT INTO t VALUES (7, 'seven', 7, 'm'); DELETE FROM t WHERE id = 2; \
        ALTER TABLE t ADD yet bigint; INSERT INTO t VALUES (8, 'eight', 8, 'm', 8); COMMIT";
    follows(TABLE, &[inside, "UPDATE t SET yet = id"]).await;
}

#[tokio::test]
async fn rows_that_were_there_have_what_the_default_gave_them() {
    for (declared, later) in [
        ("int NOT NULL DEFAULT 7", "7"),
        ("text DEFAULT 'it''s \\ \"so\"'", "'later'"),
        ("timestamptz DEFAULT now()", "'2020-02-02 02:02:02.020202+02'"),
        ("int[] DEFAULT '[2:3]={1,NULL}'", "'{9}'"),
        ("bytea DEFAULT '\\x00ff'", "'\\xab'"),
        ("float8 DEFAULT 'NaN'", "0.1"),
        ("interval DEFAULT '1 mon -2 days +00:00:00.5'", "'1 year'"),
        ("jsonb NOT NULL DEFAULT '{\"a\": [1, null]}'", "'[]'"),
        ("boolean", "true"),
    ] {
        let add = format!("ALTER TABLE t ADD more {declared}");
        let insert = format!("INSERT INTO t VALUES (6, 'six', 6, {later}), (7, 'seven', 7, DEFAULT)");
        follows(TABLE, &[&add, &insert, "UPDATE t SET note = 'again'"]).await;
    }
    // As migrations do it: the default is there for the rows that are, and goes.
    let steps = ["ALTER TABLE t ADD more int NOT NULL DEFAULT 3", "ALTER TABLE t ALTER more DROP DEFAULT"];
    follows(TABLE, &[steps[0], steps[1], "INSERT INTO t VALUES (6, 'six', 6, 6)"]).await;
}

#[tokio::test]
async fn columns_are_dropped_renamed_and_made_wider() {
    follows(TABLE, &["ALTER TABLE t DROP note", "INSERT INTO t VALUES (6, 6)"]).await;
    follows(TABLE, &["ALTER TABLE t RENAME note TO remark", "INSERT INTO t VALUES (6, 'six', 6)"]).await;
    follows(
        TABLE,
        &["ALTER TABLE t RENAME id TO key", "UPDATE t SET key = 10 WHERE key = 1", "DELETE FROM t WHERE key = 2"],
    )
    .await;
    let swap = "BEGIN; ALTER TABLE t ADD n2 int; UPDATE t SET n2 = -n; ALTER TABLE t RENAME n TO x; ALTER TABLE t RENAME n2 TO n; \
        ALTER TABLE t RENAME x TO n2; UPDATE t SET n = n + 1; COMMIT";
    follows(TABLE, &[swap, "INSERT INTO t VALUES (6, 'six', 6, 7)"]).await;
    follows(TABLE, &["ALTER TABLE t ALTER note TYPE varchar(20)", "INSERT INTO t VALUES (6, 'more than ten', 6)"])
        .await;
    follows(TABLE, &["ALTER TABLE t ALTER note TYPE text", "UPDATE t SET note = repeat(note, 3)"]).await;
    // What is read first has another type by now.
    let twice = ["ALTER TABLE t ALTER note TYPE varchar(20)", "INSERT INTO t VALUES (6, 'more than ten', 6)"];
    follows(TABLE, &[twice[0], twice[1], "ALTER TABLE t ALTER note TYPE text", "UPDATE t SET note = 'x'"]).await;
    let all = [
        "ALTER TABLE t DROP n, ADD m numeric(9, 2) DEFAULT 1.50, ALTER note TYPE text",
        "UPDATE t SET m = m + 1 WHERE id < 3",
    ];
    follows(TABLE, &all).await;
}

#[tokio::test]
async fn columns_of_types_that_the_target_does_not_have_bring_them_along() {
    let types = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN small AS int";
    let add = "ALTER TABLE t ADD m mood DEFAULT 'ok', ADD s small, ADD ms mood[]";
    follows(TABLE, &[types, add, "INSERT INTO t VALUES (6, 'six', 6, 'sad', 5, '{sad,ok}')"]).await;
}

#[tokio::test]
async fn several_changes_that_are_read_late_are_told_apart() {
    follows(
        TABLE,
        &[
            "ALTER TABLE t ADD a int DEFAULT 1",
            "INSERT INTO t VALUES (6, 'six', 6, 60)",
            "ALTER TABLE t ADD b text DEFAULT 'b'",
            "INSERT INTO t VALUES (7, 'seven', 7, 70, 'x')",
            "ALTER TABLE t RENAME b TO c",
            "ALTER TABLE t ADD d int",
            "UPDATE t SET d = id, a = -1 WHERE id IN (1, 6)",
        ],
    )
    .await;
}

#[tokio::test]
async fn tables_that_are_altered_in_turn_keep_their_layouts_apart_wherever_a_batch_ends() {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    let make = |name: &str| {
        format!("CREATE TABLE {name} (id int PRIMARY KEY, a int, b text); INSERT INTO {name} VALUES (1, 1, 'one')")
    };
    pair.source.batch_execute(&[make("t"), make("u")].join(";")).await.unwrap();
    let many = |name: &str, from: u32, columns: &str| {
        format!("INSERT INTO {name} SELECT n, {columns} FROM generate_series({from}, {from} + 4000) n; ")
    };
    let at_once = [
        "BEGIN; ".to_owned(),
        many("t", 10_000, "n, repeat('x', 300), 1"),
        "ALTER TABLE u ADD c int DEFAULT 5; ".to_owned(),
        many("u", 10_000, "n, repeat('y', 300), 1, -n"),
        "ALTER TABLE t RENAME a TO g; ".to_owned(),
        many("t", 20_000, "n, repeat('z', 300), 2"),
        "ALTER TABLE u RENAME a TO d; ALTER TABLE t ADD f text; ".to_owned(),
        many("u", 20_000, "n, 'y', 2, n"),
        many("t", 30_000, "n, 'z', 3, 'new'"),
        "UPDATE t SET f = b WHERE id = 1; UPDATE u SET c = d WHERE id < 10010; COMMIT".to_owned(),
    ]
    .concat();
    let changes = [
        "UPDATE t SET a = 2; UPDATE u SET a = 2",
        "ALTER TABLE t ADD e int DEFAULT 3",
        "UPDATE u SET b = 'two'; UPDATE t SET e = 4",
        "ALTER TABLE u ADD e int DEFAULT 3; ALTER TABLE t RENAME e TO h",
        "UPDATE t SET b = 'three'; UPDATE u SET e = 4; ALTER TABLE u RENAME e TO h",
        &at_once,
        "UPDATE u SET c = 0 WHERE id = 1; DELETE FROM t WHERE id % 2 = 0",
    ];
    pair.copies(&["t", "u"], &changes).await;
}

#[tokio::test]
async fn partitioned_tables_and_tables_without_a_key_are_altered_too() {
    let sales = "CREATE TABLE t (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
        CREATE TABLE t_n PARTITION OF t FOR VALUES IN ('n'); CREATE TABLE t_s PARTITION OF t FOR VALUES IN ('s'); \
        INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN 'n' ELSE 's' END, i FROM generate_series(1, 6) i";
    let changes = [
        "ALTER TABLE t ADD more bigint DEFAULT 4, DROP n",
        "INSERT INTO t VALUES (7, 's', 70)",
        "UPDATE t SET more = 5 WHERE id = 2",
    ];
    follows(sales, &changes).await;
    let keyless = "CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)";
    follows(
        keyless,
        &[
            "ALTER TABLE t ADD c int DEFAULT 9",
            "DELETE FROM t WHERE ctid = '(0,1)'",
            "UPDATE t SET c = NULL WHERE a = 2",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_subtransaction_that_alters_and_is_rolled_back_leaves_the_layout() {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source.batch_execute(TABLE).await.unwrap();
    let back = "BEGIN; SAVEPOINT s; ALTER TABLE t ADD gone int; INSERT INTO t SELECT i, 'gone', i, i FROM generate_series(100, 3000) i; \
        ROLLBACK TO s; INSERT INTO t SELECT i, 'kept', i FROM generate_series(100, 3000) i; ALTER TABLE t ADD kept int; \
        INSERT INTO t SELECT i, 'kept', i, i FROM generate_series(4000, 7000) i; COMMIT";
    pair.copies(&["t"], &[back]).await;
}

/// Why the table ends where these statements are followed, and what came before.
async fn ends(settings: TaskSettings, statements: &[&str]) -> (Vec<String>, String, String) {
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
    let (_, problem) = found.barriers.first().unwrap().clone();
    let how = problem.text.strip_prefix("Table public.t was changed at the source: ").unwrap().to_owned();
    (found.changes().iter().map(|change| (*change).to_owned()).collect(), problem.code, how)
}

#[tokio::test]
async fn what_the_log_does_not_say_ends_the_table() {
    let touch = "UPDATE t SET n = n WHERE id = 1";
    let cases: [(&[&str], &str); 6] = [
        (
            &["ALTER TABLE t ALTER n TYPE bigint USING n * 2", touch],
            "column n has another type and its rows were rewritten, of which the log does not say what became of them.",
        ),
        (
            &["ALTER TABLE t ADD r float8 DEFAULT random()", touch],
            "column r was added, and the rows were rewritten, of which the log does not say what they have in it.",
        ),
        (&["ALTER TABLE t DROP n", "ALTER TABLE t ADD n int", touch], "column n was dropped and added again."),
        (
            &[
                "ALTER TABLE t DROP note",
                "DELETE FROM t WHERE id = 1",
                "ALTER TABLE t ADD note varchar(10)",
                "DELETE FROM t WHERE id = 2",
            ],
            "column note was dropped and added again.",
        ),
        // It may have been n under another name that took this place, and was dropped since.
        (
            &["ALTER TABLE t DROP n, ADD m int", "UPDATE t SET note = note WHERE id = 1"],
            "columns were dropped, and others added that may be the same under another name.",
        ),
        (
            &["ALTER TABLE t DROP CONSTRAINT t_pkey, DROP id, REPLICA IDENTITY FULL", "DELETE FROM t WHERE n = 1"],
            "column id of its key was dropped.",
        ),
    ];
    for (statements, expected) in cases {
        let (changes, code, how) = ends(TaskSettings::default(), statements).await;
        assert_eq!((code.as_str(), how.as_str()), ("table-changed", expected), "{statements:?}");
        assert_eq!(changes, ["#t", "+calm 1"], "{statements:?}");
    }
}

#[tokio::test]
async fn the_settings_say_what_is_let_through() {
    let park = TaskSettings {
        added_columns: ColumnPolicy::ParkTable,
        dropped_columns: ColumnPolicy::ParkTable,
        renamed_columns: AlterPolicy::ParkTable,
        retyped_columns: AlterPolicy::ParkTable,
        ..TaskSettings::default()
    };
    for (alteration, how) in [
        ("ADD more int", "column more was added."),
        ("DROP note", "column note was dropped."),
        ("RENAME note TO remark", "column note was renamed to remark."),
        ("ALTER note TYPE text", "column note has another type."),
    ] {
        let alter = format!("ALTER TABLE t {alteration}");
        let statements = [alter.as_str(), "DELETE FROM t WHERE id = 1"];
        assert_eq!(
            ends(park.clone(), &statements).await,
            (vec!["#t".to_owned(), "+calm 1".to_owned()], "layout-changed".to_owned(), how.to_owned())
        );
    }
}

#[tokio::test]
async fn columns_that_are_ignored_neither_come_nor_go() {
    let mut pair = Pair::start(&[]).await;
    let settings = &mut pair.fixture.task.settings;
    settings.added_columns = ColumnPolicy::Ignore;
    settings.dropped_columns = ColumnPolicy::Ignore;
    let table = "CREATE TABLE t (id int PRIMARY KEY, note text NOT NULL, n int); INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2)";
    pair.source.batch_execute(table).await.unwrap();
    let changes = [
        "ALTER TABLE t ADD more int",
        "INSERT INTO t VALUES (3, 'three', 3, 30)",
        "ALTER TABLE t DROP note, ADD yet int DEFAULT 4",
        "INSERT INTO t VALUES (4, 4, 40, 400)",
        "UPDATE t SET n = 11 WHERE id = 1",
    ];
    pair.copies_to_the_end(&["t"], &changes).await;
    let sql = "SELECT string_agg(t::text, ' ' ORDER BY id) FROM t";
    let rows: String = pair.mart.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(rows, "(1,one,11) (2,two,2) (3,three,3) (4,,4)");
}

#[tokio::test]
async fn a_reader_that_is_opened_before_a_change_finds_it_again() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(TABLE);
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("INSERT INTO t VALUES (6, 'six', 6)");
    cluster.sql("ALTER TABLE t ADD more int DEFAULT 8");
    cluster.sql("INSERT INTO t VALUES (7, 'seven', 7, 70)");
    let first = transactions(&mut fixture.follow(&plan, &from).await, &plan, 1).await;
    assert_eq!(first.changes(), ["+t 6,six,6"]);
    let mut again = fixture.follow(&plan, &first.transactions[0].end).await;
    let read = again.next(1 << 20).await.unwrap();
    assert_eq!(read.layouts.len(), 1);
    assert_eq!(
        read.layouts[0].steps,
        [wavemark_domain::LayoutStep::Add { column: "more".into(), existing: Some("8".into()) }]
    );
    assert_eq!(read.layouts[0].plan.schema_version, 2);
    assert_eq!(read.batch.transactions().len(), 1);
}

#[tokio::test]
async fn a_column_that_came_between_the_plan_and_the_view_is_not_missed() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(TABLE);
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    // The log from the view on has the column, and not what its rows have in it.
    cluster.sql("ALTER TABLE t ADD more int DEFAULT 8; UPDATE t SET more = id WHERE id < 3");
    let view = fixture.begin(&plan).await;
    let problem = view.enter(&plan[0]).await.unwrap_err();
    assert!(problem.text.ends_with("it has a new column more."), "{}", problem.text);
    assert!(view.enter(&fixture.plan(&["t"]).await[0]).await.is_ok());
}

#[tokio::test]
async fn what_a_part_that_is_rolled_back_says_of_a_layout_that_stays_is_not_taken_for_nothing() {
    let cluster = Cluster::start(&[("fsync", "off"), ("logical_decoding_work_mem", "64kB")]);
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY, a int, b int); CREATE TABLE calm (id int PRIMARY KEY)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t", "calm"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("INSERT INTO t VALUES (1, 1, 1)");
    // The layout is first told with a row that is rolled back; it has as many columns of the same types.
    cluster.sql(
        "BEGIN; INSERT INTO t SELECT n, n, n FROM generate_series(10, 5000) n; SAVEPOINT s; \
         ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b; RELEASE s; SAVEPOINT r; \
         INSERT INTO t SELECT n, n, n FROM generate_series(10000, 15000) n; ROLLBACK TO r; \
         INSERT INTO t (id, a, b) SELECT n, 1, 2 FROM generate_series(20000, 25000) n; COMMIT",
    );
    cluster.sql("INSERT INTO calm VALUES (1)");
    let mut reader = fixture.follow(&plan, &from).await;
    let read = tokio::time::timeout(task::PATIENCE, async {
        loop {
            // Either the layout is known where its rows come, or the table ends.
            let read = reader.next(1 << 20).await.unwrap();
            if !read.layouts.is_empty() || !read.barriers.is_empty() {
                return read;
            }
        }
    });
    let read = read.await.unwrap();
    assert!(read.layouts.len() + read.barriers.len() == 1);
}
