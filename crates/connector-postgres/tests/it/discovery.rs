//! What is read of a source's catalog for a task.

use std::time::Duration;

use crate::support::Cluster;
use crate::support::task;
use crate::support::task::Fixture;
use wavemark_domain::{Table, TableName};

const SCHEMA: &str = "\
    create type mood as enum ('good', 'bad');
    create table goods (id int generated always as identity primary key, code text not null unique, how mood,
                        made timestamptz default now(), check (code <> ''));
    create index by_time on goods (made desc) where how = 'good';
    create table moves (id bigserial primary key, good int references goods, at numeric(10,2)[]);
    create table parts (id int, part int, primary key (id, part)) partition by list (part);
    create table part_1 partition of parts for values in (1);
    create view all_goods as select * from goods";

async fn tables(fixture: &Fixture, names: &[&str]) -> Vec<Table> {
    fixture.source.tables(&|name| names.contains(&&*name.table)).await.unwrap()
}

#[tokio::test]
async fn tables_that_are_wanted_are_described_as_among_all() {
    let cluster = Cluster::start(&[]);
    cluster.sql(SCHEMA);
    let fixture = Fixture::new(&cluster);
    let all = fixture.source.tables(&|_| true).await.unwrap();
    let names: Vec<String> = all.iter().map(|table| table.name.to_string()).collect();
    assert_eq!(names, ["public.all_goods", "public.goods", "public.moves", "public.parts"]);
    for table in &all {
        let name = table.name.table.as_str();
        assert_eq!(tables(&fixture, &[name]).await, std::slice::from_ref(table), "{name}");
    }
    assert_eq!(tables(&fixture, &["parts", "goods"]).await, [all[1].clone(), all[3].clone()]);
    assert_eq!(tables(&fixture, &["part_1", "nothing"]).await, []);
}

#[tokio::test]
async fn a_table_that_is_not_wanted_is_not_touched() {
    let cluster = Cluster::start(&[]);
    cluster.sql(SCHEMA);
    let fixture = Fixture::new(&cluster);
    let mut client = task::client(&cluster).await;
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("lock table moves, parts in access exclusive mode").await.unwrap();
    // Asking for its size alone would wait for the lock until that is given up.
    let found = tables(&fixture, &["goods"]).await;
    assert_eq!(found.iter().map(|table| &table.name).collect::<Vec<_>>(), [&TableName::new("public", "goods")]);
}

/// What is found of tables whose look-up begins before a statement is committed and ends after it: it waits for a lock.
async fn found_during(fixture: &Fixture, cluster: &Cluster, statement: &str) -> Vec<Table> {
    let client = task::client(cluster).await;
    client.batch_execute(&format!("begin; {statement}")).await.unwrap();
    let meets_it = async {
        let waits = "select exists (select from pg_locks where not granted)";
        while !client.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.batch_execute("commit").await.unwrap();
    };
    let found = fixture.source.tables(&|name| name.table.starts_with("by_"));
    let (found, ()) = tokio::time::timeout(task::PATIENCE, async { tokio::join!(found, meets_it) }).await.unwrap();
    found.unwrap_or_else(|problem| panic!("{statement}: {problem}"))
}

/// The server writes some definitions as they are now, whatever else is looked at in the same transaction.
#[tokio::test]
async fn tables_that_change_while_they_are_looked_at_are_described_as_of_one_moment() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create table by_index (id int not null, note text); create unique index by_index_id on by_index (id); \
         alter table by_index replica identity using index by_index_id; \
         create table by_check (id int primary key, check (id > 0))",
    );
    let fixture = Fixture::new(&cluster);
    for (statement, expected) in [
        ("lock by_index; alter index by_index_id rename to other", vec!["by_check", "by_index"]),
        ("alter table by_index rename to by_another_name", vec!["by_another_name", "by_check"]),
        (
            "drop table by_check; create table by_check (id int primary key, check (id > 5))",
            vec!["by_another_name", "by_check"],
        ),
        ("drop table by_check", vec!["by_another_name"]),
        (
            "alter table by_another_name replica identity full; drop index other; create index more on by_another_name (note)",
            vec!["by_another_name"],
        ),
        ("drop table by_another_name", vec![]),
    ] {
        let found = found_during(&fixture, &cluster, statement).await;
        let names: Vec<&str> = found.iter().map(|table| table.name.table.as_str()).collect();
        assert_eq!(names, expected, "{statement}");
        assert_eq!(found, fixture.source.tables(&|name| name.table.starts_with("by_")).await.unwrap(), "{statement}");
        for table in &found {
            assert_eq!(fixture.source.refuses_to_follow(table), None, "{statement}");
        }
    }
}
