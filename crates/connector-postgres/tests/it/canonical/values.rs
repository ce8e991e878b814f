//! Values: the same bytes by the load and by the log, and those that are written out.

use std::sync::Arc;

use wavemark_connector::fidelity::Given;
use wavemark_connector_postgres::fidelity;
use wavemark_domain::Table;

use super::written_out::{Kind, kinds};
use super::{Canonical, Value, followed, load, number, plan};
use crate::support::Cluster;
use crate::support::pair::connect;
use crate::support::task::Fixture;
use crate::support::types::TYPES;

/// A table for each type, its values by the load from 0 on and by the log from 100 on, and a NULL.
async fn fill(source: &tokio_postgres::Client, name: &str, kind: &str, values: &[&str], from: usize) {
    let made = format!("CREATE TABLE IF NOT EXISTS {name} (id integer PRIMARY KEY, value {kind})");
    let rows: Vec<String> = (from..).zip(values).map(|(id, value)| format!("({id}, {value})")).collect();
    let sql = format!("{made}; INSERT INTO {name} VALUES {}, ({}, NULL)", rows.join(", "), from + values.len());
    source.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_have_the_bytes_that_are_written_out_by_the_load_and_by_the_log() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    // What a database's people set for how values are written is for their sessions.
    for setting in [
        "datestyle = 'german, dmy'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'America/St_Johns'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "client_encoding = 'LATIN1'",
    ] {
        source.batch_execute(&format!("ALTER DATABASE postgres SET {setting}")).await.unwrap();
    }
    source.batch_execute(TYPES).await.unwrap();
    source.batch_execute("CREATE DOMAIN price AS numeric(10,2); CREATE DOMAIN flags AS bit(3)").await.unwrap();
    let all = kinds();
    let names: Vec<String> = (0..all.len()).map(|at| format!("v{at:02}")).collect();
    for (name, Kind { declared: kind, values, .. }) in names.iter().zip(&all) {
        let values: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
        fill(&source, name, kind, &values, 0).await;
    }
    let fixture = Fixture::new(&cluster);
    let plan = plan(&fixture, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let view = fixture.begin(&plan).await;
    for (name, Kind { declared: kind, values, .. }) in names.iter().zip(&all) {
        let values: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
        fill(&source, name, kind, &values, 100).await;
    }
    let from = view.position().clone();
    let replan = Arc::new(Canonical(Arc::clone(&fixture.source)));
    let mut reader = fixture.source.follow(&fixture.task, &plan, &from, replan).await.unwrap();
    let count = all.iter().map(|kind| kind.values.len() + 1).sum();
    let logged = followed(&mut *reader, &plan, count).await;
    for ((table, logged), Kind { declared: kind, travels, values }) in plan.iter().zip(&logged).zip(&all) {
        assert_eq!(table.columns[1].encoding.name(), format!("canonical {travels}"), "{kind}");
        let expected = |from: i32| -> Vec<Vec<Value>> {
            let values = values.iter().map(|(_, value)| Some(value.clone())).chain([None]);
            (from..).zip(values).map(|(id, value)| vec![Some(number(id)), value]).collect()
        };
        assert_eq!(load(&*view, table).await, expected(0), "{kind}, loaded");
        assert_eq!(*logged, expected(100), "{kind}, followed");
    }
}

/// Columns of these types, as a server has them.
async fn columns_of(cluster: &Cluster, kinds: &[String]) -> (Fixture, Arc<Table>) {
    let source = connect(cluster, "postgres").await;
    source.batch_execute(TYPES).await.unwrap();
    let columns: Vec<String> = kinds.iter().enumerate().map(|(at, kind)| format!("c{at} {kind}")).collect();
    source.batch_execute(&format!("CREATE TABLE every ({})", columns.join(", "))).await.unwrap();
    let fixture = Fixture::new(cluster);
    let tables = fixture.source.tables(&|name| name.table == "every").await.unwrap();
    (fixture, Arc::new(tables.into_iter().next().unwrap()))
}

#[tokio::test]
async fn each_example_in_the_table_of_types_is_what_a_server_has() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let given = fidelity::given();
    let kind = |given: &Given| match given.name.as_str() {
        "an enum" => "mood".to_owned(),
        "a composite type" => "address".to_owned(),
        others if others.starts_with("every other") => "hstore".to_owned(),
        declared => declared.to_owned(),
    };
    let kinds: Vec<String> = given.iter().map(kind).collect();
    let (fixture, table) = columns_of(&cluster, &kinds).await;
    for ((found, given), kind) in table.columns.iter().zip(&given).zip(&kinds) {
        let of = |column| fixture.source.logical(&table, column);
        assert_eq!(of(found), of(&given.column), "{kind}");
        assert_eq!(found.declared, if *kind == given.name { kind.as_str() } else { &found.declared });
    }
}

/// Those that nobody has columns of are left out.
#[tokio::test]
async fn each_type_of_the_server_is_in_the_table_of_types() {
    const SQL: &str = "SELECT format_type(oid, NULL) FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace \
        AND typtype = 'b' AND typname !~ '^(_|reg|gtsvector|pg_(node_tree|ndistinct|dependencies|mcv_list|brin))'";
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    let there: Vec<String> = source.query(SQL, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    // `time(3) without time zone` is of `time without time zone`.
    let plain = |name: &str| match (name.find('('), name.find(')')) {
        (Some(from), Some(to)) => format!("{}{}", &name[..from], &name[to + 1..]),
        _ => name.to_owned(),
    };
    let told: Vec<String> = fidelity::given().iter().map(|given| plain(&given.name)).collect();
    let missing: Vec<&String> = there.iter().filter(|name| !told.contains(name)).collect();
    assert!(there.len() > 50 && missing.is_empty(), "{missing:?} of {}", there.len());
}
