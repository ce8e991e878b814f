//! What is kept of tables is read again as it was written.

use wavemark_connector::target::{Kept, Loader, Session, Target as _};
use wavemark_domain::adopt::KeptTable;
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, LayoutStep, Relayout};

use super::*;

async fn kept(database: &Database, epoch: i64) -> (Kept, PgSession, Vec<super::super::loader::PgLoader>) {
    database.target().open_session(&task(epoch, epoch == 1)).await.unwrap()
}

fn written(table: &TablePlan) -> KeptTable {
    let same = |name: &str| (name.to_owned(), name.to_owned());
    KeptTable {
        source: table.name().clone(),
        target: table.target.clone(),
        columns: Some(vec![same("id"), same("v")]),
        layout: Some(wavemark_domain::Table::clone(&table.source)),
        rows: table.rows.clone(),
    }
}

#[tokio::test]
async fn marks_come_back_as_they_were_put_at_each_step_of_a_load() {
    let database = Database::new().await;
    database
        .sql(
            "CREATE SCHEMA shop; CREATE TABLE shop.a (id integer PRIMARY KEY, v text); \
             CREATE TABLE shop.b (id integer PRIMARY KEY, v text)",
        )
        .await;
    let plans =
        [plan(0, "a", &[("id!", "integer"), ("v", "text")]), plan(1, "b", &[("id!", "integer"), ("v", "text")])];
    let [a, b] = &plans;
    let (_, mut session, _) = kept(&database, 1).await;
    session.attach(&plans).await.unwrap();
    let marks =
        [mark(a, 3), TableMark { began: position(2), position: position(3), storage: "s".to_owned(), ..mark(b, 1) }];
    for (table, mark) in plans.iter().zip(&marks) {
        session.begin_table(table, Preparation::Nothing, mark).await.unwrap();
    }
    let (begun, mut session, mut loaders) = kept(&database, 2).await;
    assert_eq!(begun.tables, marks);
    assert_eq!(begun.written, [written(a), written(b)]);

    session.attach(&plans).await.unwrap();
    let mut row = Batch::default();
    insert(&mut row, 0, &[V::Int(1), V::Text("x")]);
    let loaded = loaders[0].load(a, 1, &mut Ready::rows(row), &|_| {}).await.unwrap();
    assert_eq!(loaded.rows, 1);
    let again = loaders[0].load(a, 1, &mut Ready(Vec::new()), &|_| {}).await;
    assert!(again.is_err(), "a chunk was loaded twice");
    let problem = Problem::new(Fault::Data, "no-good", "It does not fit.").advice("Mend it.");
    session.park_table(b, &position(7), &problem).await.unwrap();
    let (half, mut session, mut loaders) = kept(&database, 3).await;
    let done: Vec<_> = half.tables[0].chunks.iter().map(|chunk| chunk.done).collect();
    assert_eq!(done, [None, Some(loaded), None]);
    assert_eq!((&half.tables[1].stage, &half.tables[1].position), (&Stage::Parked(Box::new(problem)), &position(7)));

    session.attach(&plans).await.unwrap();
    loaders[0].complete_table(a).await.unwrap();
    let (over, ..) = kept(&database, 4).await;
    assert_eq!(over.tables[0].stage, Stage::Loaded);
    assert_eq!(over.written, [written(a), written(b)]);
}

fn goods(columns: &[(&str, &str)]) -> TablePlan {
    plan(0, "goods", columns)
}

const ID_AND_V: [(&str, &str); 2] = [("id!", "integer"), ("v", "text")];

#[tokio::test]
async fn a_table_that_is_altered_has_its_next_layout_noted_in_the_same_commit() {
    let database = Database::new().await;
    database.sql("CREATE SCHEMA shop; CREATE TABLE shop.goods (id integer PRIMARY KEY, v text)").await;
    let before = [goods(&ID_AND_V)];
    let after = [goods(&[("id!", "integer"), ("v", "text"), ("stock", "integer")])];
    let next = Relayout {
        plan: after[0].clone(),
        steps: vec![LayoutStep::Add { column: "stock".to_owned(), existing: Some("7".to_owned()) }],
    };
    let mut session = session(&database, &before).await;
    // Without a mark nobody knows whose rows these are.
    let problem = session.alter(&after, &before[0], &next).await.unwrap_err();
    assert_eq!(problem.fault, Fault::Internal, "{problem}");

    let (_, mut session, _) = kept(&database, 2).await;
    session.attach(&before).await.unwrap();
    session.begin_table(&before[0], Preparation::Nothing, &mark(&before[0], 0)).await.unwrap();
    database.sql("INSERT INTO shop.goods VALUES (1, 'a')").await;
    session.alter(&after, &before[0], &next).await.unwrap();
    let (there, mut session, _) = kept(&database, 3).await;
    assert_eq!(there.written, [written(&before[0])], "what was not committed is not noted");

    session.attach(&before).await.unwrap();
    session.alter(&after, &before[0], &next).await.unwrap();
    commit(&mut session, 1).await.unwrap();
    let (there, ..) = kept(&database, 4).await;
    let same = |name: &str| (name.to_owned(), name.to_owned());
    assert_eq!(there.written[0].columns, Some(vec![same("id"), same("v"), same("stock")]));
    assert_eq!(there.written[0].layout.as_ref(), Some(&*after[0].source));
    assert_eq!(database.rows("SELECT id AS a, stock AS b FROM shop.goods").await, "1|7");
}

#[tokio::test]
async fn a_table_of_ours_that_is_begun_again_loses_the_columns_that_the_source_dropped_and_no_others() {
    let database = Database::new().await;
    let plans = [goods(&ID_AND_V)];
    let mut session = session(&database, &plans).await;
    session.begin_table(&plans[0], Preparation::Nothing, &mark(&plans[0], 1)).await.unwrap();
    database.sql("ALTER TABLE shop.goods ADD theirs text").await;
    let narrow = goods(&ID_AND_V[..1]);
    session.begin_table(&narrow, Preparation::Truncate, &mark(&narrow, 1)).await.unwrap();
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) AS a FROM pg_attribute \
                   WHERE attrelid = 'shop.goods'::regclass AND attnum > 0 AND NOT attisdropped";
    assert_eq!(database.rows(columns).await, "id theirs");
}

/// What is kept of tables, of all tasks: source and target names, the stage, and how many chunks there are.
const KEPT: &str = "SELECT source_table AS a, target_table AS b, stage AS c, (SELECT count(*) FROM wavemark.chunks c \
    WHERE (c.task, c.source_table) = (t.task, t.source_table)) AS d FROM wavemark.tables t ORDER BY task, source_table";

/// Two tables that the task makes, begun with so many chunks.
async fn begun(database: &Database, chunks: u32) -> ([TablePlan; 2], PgSession) {
    let plans = [goods(&ID_AND_V), plan(1, "more", &ID_AND_V)];
    let mut session = session(database, &plans).await;
    for table in &plans {
        session.begin_table(table, Preparation::Nothing, &mark(table, chunks)).await.unwrap();
    }
    (plans, session)
}

#[tokio::test]
async fn a_table_that_ends_keeps_its_rows_as_those_of_an_earlier_load() {
    let database = Database::new().await;
    let (plans, mut session) = begun(&database, 2).await;
    assert_eq!(session.end_table(&plans[0], false).await.unwrap(), Some(Vec::new()));
    let before = "goods|goods|loading|2\nmore|more|loading|2";
    assert_eq!(database.rows(KEPT).await, before, "nothing holds before the wave is committed");
    commit(&mut session, 1).await.unwrap();
    assert_eq!(database.rows(KEPT).await, "goods|goods|superseded|0\nmore|more|loading|2");
    let (there, ..) = kept(&database, 2).await;
    let marked: Vec<_> = there.tables.iter().map(|mark| &mark.source.table).collect();
    assert_eq!(marked, ["more"], "its mark is no longer kept");
}

#[tokio::test]
async fn a_table_that_another_task_writes_is_neither_dropped_nor_renamed() {
    let database = Database::new().await;
    let plans = [goods(&ID_AND_V)];
    let mut session = session(&database, &plans).await;
    session.begin_table(&plans[0], Preparation::Nothing, &mark(&plans[0], 1)).await.unwrap();
    let other = TaskContext { task: TaskId(Uuid::from_u128(9)), name: "other".to_owned(), ..task(1, true) };
    let (_, mut others, _) = database.target().open_session(&other).await.unwrap();
    others.attach(&plans).await.unwrap();
    database.sql("ALTER TABLE shop.goods ADD PRIMARY KEY (id)").await;
    others.adopt_table(&plans[0], &mark(&plans[0], 1)).await.unwrap();
    drop(others);

    let problem = session.end_table(&plans[0], true).await.unwrap_err();
    assert_eq!((problem.fault, &*problem.code), (Fault::Data, "table-not-dropped"));
    assert!(problem.text.contains("task other writes it, too"), "{problem}");
    let next = renamed(&plans[0], "wares");
    let problem = session.alter(std::slice::from_ref(&next.plan), &plans[0], &next).await.unwrap_err();
    assert_eq!((problem.fault, &*problem.code), (Fault::Data, "table-shared"));
    session.roll_back().await.unwrap();

    // Once the other is gone for good it is this task's alone.
    database.target().clean_up(&TaskContext { epoch: Epoch(2), ..other }).await.unwrap();
    session.alter(std::slice::from_ref(&next.plan), &plans[0], &next).await.unwrap();
    commit(&mut session, 1).await.unwrap();
    assert_eq!(database.rows(KEPT).await, "wares|wares|loading|1");
    session.end_table(&next.plan, true).await.unwrap();
    commit(&mut session, 2).await.unwrap();
    assert_eq!(database.rows(KEPT).await, "");
    assert_eq!(database.rows("SELECT count(*) AS a FROM pg_tables WHERE schemaname = 'shop'").await, "0");
}

/// The table's next layout under another name.
fn renamed(before: &TablePlan, name: &str) -> Relayout {
    let next = TableName::new("shop", name);
    let source = wavemark_domain::Table { name: next.clone(), ..wavemark_domain::Table::clone(&before.source) };
    let plan = TablePlan { source: Arc::new(source), target: next.clone(), ..before.clone() };
    Relayout { plan, steps: vec![LayoutStep::Move { from: before.name().clone(), to: next }] }
}

#[tokio::test]
async fn what_is_kept_of_a_table_goes_with_its_name() {
    let database = Database::new().await;
    let (plans, mut session) = begun(&database, 3).await;
    // An earlier load left its rows under the next name, and another task has the same names.
    database
        .sql(
            "INSERT INTO wavemark.tables SELECT (jsonb_populate_record(t, '{\"source_table\": \"wares\", \
                 \"target_table\": \"wares\", \"stage\": \"superseded\"}')).* FROM wavemark.tables t \
                 WHERE source_table = 'goods'; \
             INSERT INTO wavemark.foreign_keys SELECT t.task, 'shop', k.on_table, k.on_table || '_fk', k.definition \
                 FROM (SELECT DISTINCT task FROM wavemark.tables) t, (VALUES \
                 ('goods', 'FOREIGN KEY (v) REFERENCES shop.more(id)'), \
                 ('more', 'FOREIGN KEY (v) REFERENCES shop.goods(id)')) AS k (on_table, definition); \
             INSERT INTO wavemark.foreign_keys SELECT '00000000-0000-0000-0000-000000000009', on_schema, on_table, \
                 name, definition FROM wavemark.foreign_keys",
        )
        .await;
    let next = renamed(&plans[0], "wares");
    let after = [next.plan.clone(), plans[1].clone()];
    session.alter(&after, &plans[0], &next).await.unwrap();
    commit(&mut session, 1).await.unwrap();
    assert_eq!(database.rows(KEPT).await, "more|more|loading|3\nwares|wares|loading|3");
    let keys = "SELECT right(task::text, 1) AS a, on_table AS b, definition AS c FROM wavemark.foreign_keys \
        ORDER BY task, name";
    assert_eq!(
        database.rows(keys).await,
        "7|wares|FOREIGN KEY (v) REFERENCES shop.more(id)\n7|more|FOREIGN KEY (v) REFERENCES shop.wares(id)\n\
         9|goods|FOREIGN KEY (v) REFERENCES shop.more(id)\n9|more|FOREIGN KEY (v) REFERENCES shop.goods(id)"
    );
    assert_eq!(database.rows("SELECT count(*) AS a FROM shop.wares").await, "0");
    let (there, ..) = kept(&database, 2).await;
    let marked: Vec<_> = there.tables.iter().map(|mark| (&*mark.source.table, mark.chunks.len())).collect();
    assert_eq!(marked, [("more", 3), ("wares", 3)]);
}

#[tokio::test]
async fn what_comes_after_an_alteration_is_written_by_the_next_layout_and_into_no_other_table() {
    let database = Database::new().await;
    let (before, mut session) = begun(&database, 0).await;
    database.sql("ALTER TABLE shop.goods ADD PRIMARY KEY (id); ALTER TABLE shop.more ADD PRIMARY KEY (id)").await;
    let next = goods(&[("id!", "integer"), ("v", "text"), ("stock", "integer")]);
    let steps = vec![LayoutStep::Add { column: "stock".to_owned(), existing: None }];
    let next = Relayout { plan: next, steps };
    let after = [next.plan.clone(), before[1].clone()];
    let mut first = Batch::default();
    insert(&mut first, 0, &[V::Int(1), V::Text("a")]);
    insert(&mut first, 1, &[V::Int(1), V::Text("b")]);
    let mut second = Batch::default();
    insert(&mut second, 0, &[V::Int(2), V::Text("c"), V::Int(5)]);
    insert(&mut second, 1, &[V::Int(2), V::Text("d")]);
    session.apply(&before, &Segment::whole(&first)).await.unwrap();
    session.alter(&after, &before[0], &next).await.unwrap();
    wave(&mut session, &after, &second, 1).await.unwrap();
    assert_eq!(
        database.rows("SELECT id AS a, v AS b, stock AS c FROM shop.goods ORDER BY id").await,
        "1|a|NULL\n2|c|5"
    );
    assert_eq!(database.rows("SELECT id AS a, v AS b FROM shop.more ORDER BY id").await, "1|b\n2|d");
}
