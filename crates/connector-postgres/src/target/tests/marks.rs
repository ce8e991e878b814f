//! What is kept of tables is read again as it was written.

use wavemark_connector::target::{Kept, Loader, Session};
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
