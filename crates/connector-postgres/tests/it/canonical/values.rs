//! Values: the same bytes by the load and by the log, and those that are written out.

use std::sync::Arc;

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

/// What there is in the manual of each type, as a server has them.
#[tokio::test]
async fn each_type_stands_in_the_manual_as_what_it_travels_as() {
    const MANUAL: &str = include_str!("../../../../../docs/FIDELITY.md");
    let section = MANUAL.split("## From PostgreSQL").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let types: Vec<(&str, &str)> = rows
        .flat_map(|row| {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let (declared, travels) = (cells.next().unwrap(), cells.next().unwrap());
            declared.split(", ").map(move |name| (name.trim_matches('`'), travels))
        })
        .collect();
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    source.batch_execute(TYPES).await.unwrap();
    let columns: Vec<String> = types.iter().enumerate().map(|(at, (kind, _))| format!("c{at} {kind}")).collect();
    source.batch_execute(&format!("CREATE TABLE every ({})", columns.join(", "))).await.unwrap();
    let fixture = Fixture::new(&cluster);
    let table = fixture.plan(&["every"]).await.remove(0).source;
    for (column, (kind, travels)) in table.columns.iter().zip(&types) {
        let logical = fixture.source.logical(&table, column).map(|logical| logical.to_string());
        assert_eq!(logical.as_deref(), Some(*travels), "{kind}");
    }
    assert_eq!(types.len(), 44);
}
