//! The test of an endpoint: bad input has a named step and the statement that mends it.

use std::collections::BTreeMap;

use crate::support;
use crate::support::Cluster;
use crate::support::task::endpoint;
use secrecy::SecretString;
use serde_json::json;
use wavemark_connector::{Connector, EndpointSettings};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::check::Step;

async fn steps(endpoint: &EndpointSettings, as_source: bool, as_target: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    Postgres.test(endpoint, as_source, as_target, &mut |step| steps.push(step)).await;
    steps
}

fn failed(steps: &[Step]) -> Vec<(&str, Option<&str>)> {
    steps.iter().filter(|step| !step.passed).map(|step| (step.name.as_str(), step.mend.as_deref())).collect()
}

#[tokio::test]
async fn an_endpoint_that_is_as_it_should_be_passes_each_step() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key)");
    let found = steps(&endpoint(&cluster, "postgres"), true, true).await;
    assert_eq!(failed(&found), []);
    let names: Vec<_> = found.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "resolve",
            "connect",
            "TLS",
            "log in",
            "version",
            "read tables",
            "log level",
            "replication right",
            "publication right",
            "slots left",
            "senders left",
            "replication",
            "write",
            "create schemas",
            "triggers",
        ]
    );
    // The slot goes with its session, which the server ends a moment after the connection.
    for _ in 0..100 {
        if cluster.sql("select count(*) from pg_replication_slots") == "0" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the test of an endpoint left a slot behind");
}

#[tokio::test]
async fn what_keeps_an_endpoint_from_working_is_named_with_its_cure() {
    let hba = "host all limited localhost scram-sha-256";
    let cluster = Cluster::prepared(&[("wal_level", "replica"), ("max_replication_slots", "0")], hba, |_| {});
    let password = support::PASSWORD.replace('\'', "''");
    cluster.sql(&format!("create role limited login password '{password}'; create table t (id int primary key)"));
    let found = steps(&endpoint(&cluster, "limited"), true, true).await;
    let grant =
        "GRANT USAGE ON SCHEMA public TO \"limited\"; GRANT SELECT ON ALL TABLES IN SCHEMA public TO \"limited\";";
    let restart = " -- then restart the server";
    let level = format!("ALTER SYSTEM SET wal_level = logical;{restart}");
    let slots = format!("ALTER SYSTEM SET max_replication_slots = 20;{restart}");
    let create = "GRANT CREATE ON DATABASE \"postgres\" TO \"limited\";";
    assert_eq!(
        failed(&found),
        [
            ("read tables", Some(grant)),
            ("log level", Some(level.as_str())),
            ("replication right", Some("ALTER ROLE \"limited\" REPLICATION;")),
            ("publication right", Some(create)),
            ("slots left", Some(slots.as_str())),
            ("create schemas", Some(create)),
        ]
    );

    let mut wrong = endpoint(&cluster, "limited");
    wrong.secrets = BTreeMap::from([("password".to_owned(), SecretString::from("hunter2"))]);
    let found = steps(&wrong, true, false).await;
    assert_eq!(failed(&found), [("log in", Some("Correct the endpoint's user and password."))]);
    assert!(!found.iter().any(|step| step.text.contains("hunter2")));

    cluster.sql("alter role limited nologin");
    let found = steps(&endpoint(&cluster, "limited"), true, false).await;
    assert_eq!(failed(&found).len(), 1, "{found:?}");
    assert_eq!(failed(&found)[0].0, "log in", "{found:?}");
    assert!(found.iter().any(|step| step.text.contains("not permitted to log in")), "{found:?}");

    let mut nowhere = endpoint(&cluster, "postgres");
    nowhere.values["host"] = json!("no-such-host.invalid");
    assert_eq!(failed(&steps(&nowhere, true, false).await)[0].0, "resolve");
    let mut closed = endpoint(&cluster, "postgres");
    closed.values["port"] = json!(1);
    assert_eq!(failed(&steps(&closed, true, false).await)[0].0, "connect");
    let mut encrypted = endpoint(&cluster, "postgres");
    encrypted.values["tls_mode"] = json!("require");
    let found = steps(&encrypted, true, false).await;
    assert_eq!(failed(&found)[0].0, "TLS");
    assert!(found.iter().all(|step| step.name != "log in"));
    let mut missing = endpoint(&cluster, "postgres");
    missing.values["database"] = json!("none");
    assert_eq!(failed(&steps(&missing, true, false).await), [("log in", Some("Correct the endpoint's database."))]);
}
