//! Every type of PostgreSQL with the values that break replicators: loaded and followed they are what they were, as text
//! and in the type's own binary form.

use tokio_postgres::Client;
use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;

use crate::support::Cluster;
use crate::support::pair::{Pair, check_encodings, connect, follow_until, load, target_endpoint};
use crate::support::task::Fixture;
use crate::support::types::{TYPES, VALUES};

pub(crate) fn table(at: usize) -> String {
    format!("v{at:03}")
}

/// A table for each type, with the odd ones of its values; the others come by the log.
pub(crate) async fn fill(source: &Client) {
    source.batch_execute(TYPES).await.unwrap();
    for (at, (kind, values)) in VALUES.iter().enumerate() {
        let name = table(at);
        let make = format!("CREATE TABLE {name} (id integer PRIMARY KEY, value {kind}, pad text)");
        source.batch_execute(&make).await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
        insert(source, at, values, 0).await;
        source.batch_execute(&format!("INSERT INTO {name} VALUES (1000, NULL)")).await.unwrap();
    }
}

/// Inserts every value under a number of its own.
async fn insert(source: &Client, at: usize, values: &[&str], from: usize) {
    for (n, value) in values.iter().enumerate() {
        let sql = format!("INSERT INTO {} VALUES ({}, {value}, 'pad')", table(at), from + n);
        source.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{value}: {error:?}"));
    }
}

/// By the log: each value new, in the place of NULL, unchanged beside a change, and in the place of another.
pub(crate) async fn change(source: &Client) {
    for (at, (_, values)) in VALUES.iter().enumerate() {
        let name = table(at);
        insert(source, at, values, 100).await;
        let sql = format!(
            "UPDATE {name} SET pad = 'changed' WHERE id < 100; UPDATE {name} SET value = (SELECT value FROM {name} \
             WHERE id = 0) WHERE id = 1000; UPDATE {name} SET value = (SELECT value FROM {name} WHERE id = {}) \
             WHERE id = 100; INSERT INTO {name} VALUES (1001, NULL); UPDATE {name} SET id = id + 200 WHERE id = 101",
            values.len() - 1
        );
        source.batch_execute(&sql).await.unwrap();
    }
}

/// A table's rows as text and, where the binary form holds no oid of the user's, in that. That of `refcursor` is its text.
async fn rows(client: &Client, at: usize) -> Vec<String> {
    let name = table(at);
    let send: Option<String> = client
        .query_one(
            "SELECT CASE WHEN t.oid < 16384 AND t.typname <> 'refcursor' THEN t.typsend::regproc::text END FROM pg_attribute a \
             JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1::text::regclass AND a.attname = 'value'",
            &[&name],
        )
        .await
        .unwrap()
        .get(0);
    let binary = send.map_or("NULL".to_owned(), |send| format!("encode({send}(value), 'hex')"));
    let sql = format!("SELECT concat_ws(' | ', id, value::text, {binary}, pad) FROM {name} ORDER BY id");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn assert_equal(source: &Client, mart: &Client, when: &str) {
    for (at, (kind, _)) in VALUES.iter().enumerate() {
        assert_eq!(rows(mart, at).await, rows(source, at).await, "{kind}, {when}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_of_every_type_is_loaded_and_followed_as_it_is() {
    loads_and_follows(&[]).await;
}

/// Versions before 17 have none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn infinite_intervals_are_loaded_and_followed() {
    let pair = Pair::start(&[]).await;
    if pair.ask("SELECT (current_setting('server_version_num')::int >= 170000)::text").await == "false" {
        return;
    }
    pair.source
        .batch_execute(
            "CREATE TABLE spans (id integer PRIMARY KEY, span interval, spans interval[]); \
             INSERT INTO spans VALUES (1, 'infinity', '{-infinity,NULL,infinity}')",
        )
        .await
        .unwrap();
    let changes =
        ["INSERT INTO spans VALUES (2, '-infinity', '{}')", "UPDATE spans SET span = '-infinity' WHERE id = 1"];
    pair.copies(&["spans"], &changes).await;
}

/// What a database's people set for how values are written and read is for their sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_databases_for_how_values_are_written_change_none() {
    let settings = [
        "datestyle = 'german, dmy'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'America/St_Johns'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "xmloption = 'document'",
        "array_nulls = off",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
    ];
    loads_and_follows(&settings).await;
}

/// Under settings that hold for every session but the test's own.
async fn loads_and_follows(settings: &[&str]) {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    source.batch_execute("CREATE DATABASE mart").await.unwrap();
    let mart = connect(&cluster, "mart").await;
    for (database, setting) in ["postgres", "mart"].iter().flat_map(|one| settings.iter().map(move |two| (one, two))) {
        source.batch_execute(&format!("ALTER DATABASE {database} SET {setting}")).await.unwrap();
    }
    // So that no oid of a type is the same on both sides. Extensions are for the target's owner to make.
    mart.batch_execute(
        "CREATE TYPE shift AS ENUM (); CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; \
         CREATE SCHEMA ext; CREATE EXTENSION isn SCHEMA ext",
    )
    .await
    .unwrap();
    fill(&source).await;

    let fixture = Fixture::new(&cluster);
    let target = Postgres.target(&target_endpoint(&cluster)).unwrap();
    let names: Vec<String> = (0..VALUES.len()).map(table).collect();
    let plan = fixture.plan(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    check_encodings(&fixture, &target, &plan);
    let mut opened = target.open(&fixture.task).await.unwrap();
    opened.session.attach(&plan).await.unwrap();
    let view = fixture.begin(&plan).await;
    let start = view.position().clone();
    load(&mut opened, &*view, &plan).await;
    drop(view);
    assert_equal(&source, &mart, "loaded").await;

    change(&source).await;
    let last = format!("SELECT EXISTS (SELECT FROM {} WHERE id IN (301, 1001))", table(VALUES.len() - 1));
    follow_until(&fixture, &mut opened, (&plan, &start), async || mart.query_one(&last, &[]).await.unwrap().get(0))
        .await;
    assert_equal(&source, &mart, "followed").await;
}

/// Types without a binary form, those whose binary form means an object by its number at the source, and those whose
/// binary form the server doesn't read again.
const REFUSED: [&str; 8] =
    ["ext.isbn", "aclitem", "regclass", "regtype[]", "int2vector", "oidvector", "with_class", "class_domain[]"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_cannot_travel_are_refused() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    let columns: Vec<String> = REFUSED.iter().enumerate().map(|(at, kind)| format!("c{at} {kind}")).collect();
    let make = format!(
        "CREATE SCHEMA ext; CREATE EXTENSION isn SCHEMA ext; CREATE DOMAIN class_domain AS regclass; \
         CREATE TYPE with_class AS (name text, class regclass); CREATE TABLE odd (id integer PRIMARY KEY, {})",
        columns.join(", ")
    );
    source.batch_execute(&make).await.unwrap();
    let fixture = Fixture::new(&cluster);
    let target = Postgres.target(&target_endpoint(&cluster)).unwrap();
    let tables = fixture.source.tables(&|_| true).await.unwrap();
    let odd = tables.iter().find(|table| table.name.table == "odd").unwrap();
    for column in &odd.columns {
        let offered = fixture.source.offers(odd, column);
        let accepted = target.accepts("postgresql", column, None);
        let travels = offered.iter().any(|encoding| accepted.contains(encoding));
        assert_eq!(travels, column.name == "id", "{}", column.declared);
    }
}
