//! What is read of a source's catalog for a task.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;
#[path = "support/task.rs"]
mod task;

use support::Cluster;
use task::Fixture;
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
