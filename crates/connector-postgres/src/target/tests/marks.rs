//! What is kept of tables is read again as it was written.

use wavemark_connector::target::{Kept, Loader, Session};
use wavemark_domain::Fault;
use wavemark_domain::adopt::KeptTable;
use wavemark_domain::task::Preparation;

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
