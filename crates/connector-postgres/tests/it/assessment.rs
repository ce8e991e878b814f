//! What of a source can't be copied is named before a task begins.

use crate::support::Cluster;
use crate::support::task::{Fixture, planned};
use wavemark_domain::Fault;
use wavemark_domain::check::{Finding, Weight};

async fn found(fixture: &Fixture, names: &[&str], code: &str) -> Vec<Finding> {
    let all = fixture.source.tables(&|_| true).await.unwrap();
    let tables = all.into_iter().filter(|table| names.contains(&&*table.name.table));
    let tables: Vec<_> = tables.enumerate().map(|(at, table)| planned(at, table)).collect();
    assert_eq!(tables.len(), names.len());
    let found = fixture.source.assess(&fixture.task, &tables).await.unwrap();
    found.into_iter().filter(|finding| finding.code == code).collect()
}

#[tokio::test]
async fn large_objects_are_named_with_the_columns_that_refer_to_them() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create domain lo as oid; create table pictures (id int primary key, small oid, large lo, at regclass);
         create table words (id int primary key, word text)",
    );
    let fixture = Fixture::new(&cluster);
    assert_eq!(found(&fixture, &["pictures", "words"], "large-objects").await, []);
    cluster.sql("insert into pictures values (1, lo_from_bytea(0, 'a picture'), null)");
    let told = found(&fixture, &["pictures", "words"], "large-objects").await;
    assert_eq!(told[0].weight, Weight::Warning);
    assert_eq!(
        told[0].text,
        "The database has large objects, which are not copied: public.pictures.small, public.pictures.large may hold \
         their numbers, which mean nothing in the target."
    );
    let told = found(&fixture, &["words"], "large-objects").await;
    assert_eq!(told[0].weight, Weight::Note);
}

#[tokio::test]
async fn tables_that_inherit_and_are_not_chosen_are_named() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create table base (id int primary key); create table heir (extra int) inherits (base);
         create schema \"Far Off\"; create table \"Far Off\".heir () inherits (base);
         create table parted (id int) partition by list (id); create table part partition of parted for values in (1)",
    );
    let fixture = Fixture::new(&cluster);
    let told = found(&fixture, &["base", "parted"], "inherited-rows").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].weight, Weight::Warning);
    assert_eq!(
        told[0].text,
        "A task copies a table's own rows. Those of tables that inherit from public.base are shown with it at the source, \
         and are not chosen: Far Off.heir, public.heir."
    );
    cluster.sql("drop table \"Far Off\".heir");
    assert_eq!(found(&fixture, &["base", "heir"], "inherited-rows").await, []);
}

#[tokio::test]
async fn what_stands_beside_tables_and_is_not_carried_over_is_counted() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table calm (id serial primary key, n int)");
    let fixture = Fixture::new(&cluster);
    assert_eq!(found(&fixture, &["calm"], "not-carried").await, []);
    cluster.sql(
        "create sequence alone; create sequence used; alter table calm alter n set default nextval('used');
         create function noted() returns trigger language plpgsql as 'begin return new; end';
         create function other() returns int language sql as 'select 1';
         create trigger noted before insert on calm for each row execute function noted();
         create policy own on calm; create rule nothing as on delete to calm do also select 1",
    );
    let told = found(&fixture, &["calm"], "not-carried").await;
    assert_eq!(told[0].weight, Weight::Note);
    assert_eq!(
        told[0].text,
        "Of the chosen tables and their schemas this is not carried over: 1 trigger, 1 rule, 1 policy, 1 sequence that no \
         column uses, 2 functions."
    );
}

#[tokio::test]
async fn a_lock_table_too_small_for_very_many_tables_is_told_with_a_size_that_does() {
    let cluster = Cluster::start(&[("max_locks_per_transaction", "10"), ("max_connections", "40")]);
    // 10 × 40 locks are fewer than twice the tables.
    let make = |first: u32| {
        let tables = (first..first + 50).map(|number| format!("create table t{number} (id int primary key)"));
        tables.collect::<Vec<_>>().join("; ")
    };
    for first in (0..500).step_by(50) {
        cluster.sql(&make(first));
    }
    let fixture = Fixture::new(&cluster);
    let names: Vec<String> = (0..500).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let told = found(&fixture, &names, "few-locks").await;
    assert_eq!(
        told[0].text,
        "A load of 500 tables locks all of them, and the source's lock table has room for 400 locks: it may fail for \
         want of shared memory."
    );
    assert!(told[0].mend.as_ref().unwrap().contains("max_locks_per_transaction = 101;"), "{:?}", told[0].mend);
    assert_eq!(found(&fixture, &names[..100], "few-locks").await, []);
}

#[tokio::test]
async fn a_type_without_a_binary_form_is_named_by_its_column() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table rights (id int primary key, who aclitem, whose aclitem[])");
    let fixture = Fixture::new(&cluster);
    let told = found(&fixture, &["rights"], "type-without-binary-form").await;
    let texts: Vec<&str> = told.iter().map(|finding| finding.text.as_str()).collect();
    assert!(texts[0].starts_with("Column public.rights.who has type aclitem, which has no binary form"), "{texts:?}");
    assert!(texts[1].starts_with("Column public.rights.whose has type aclitem[], which"), "{texts:?}");
    assert!(told.iter().all(|finding| finding.weight == Weight::Blocker));
    // Nor is such a column offered in a form that nobody could read.
    let tables = fixture.source.tables(&|_| true).await.unwrap();
    let rights = tables.iter().find(|table| table.name.table == "rights").unwrap();
    assert_eq!(fixture.source.offers(rights, &rights.columns[1]), []);
    assert_eq!(fixture.source.refuses_to_follow(rights).map(|problem| problem.fault), None::<Fault>);
}
