//! The target keeps the contract that the simulated one keeps: both go through the same test.

use std::sync::Arc;

use wavemark_connector::Connector;
use wavemark_connector::testkit::contract::{self, Subject};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::{LayoutStep, Relayout};

use crate::support::Cluster;
use crate::support::task::{Fixture, client, endpoint};

const TABLE: &str = "CREATE TABLE numbers (id bigint PRIMARY KEY, value bigint NOT NULL, large bigint NOT NULL)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_keeps_the_contract_of_targets() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = client(&cluster).await;
    source.batch_execute("CREATE DATABASE mart").await.unwrap();
    source.batch_execute(TABLE).await.unwrap();
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["numbers"]).await.remove(0);
    let mut endpoint = endpoint(&cluster, "postgres");
    endpoint.values["database"] = "mart".into();
    let mut next = plan.clone();
    Arc::make_mut(&mut next.source).columns[1].name = "amount".to_owned();
    next.columns[1].target_name = "amount".to_owned();
    let steps = vec![LayoutStep::Rename { from: "value".to_owned(), to: "amount".to_owned() }];
    let next = Relayout { plan: next, steps };
    let target = Postgres.target(&endpoint).unwrap();
    let subject = Subject { target, task: fixture.task.clone(), plan, next, in_next: |value| value };
    let settings = format!("host=127.0.0.1 port={} user=postgres dbname=mart", cluster.port);
    let (mart, driver) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    let rows = async || {
        let rows = mart.query("SELECT * FROM numbers ORDER BY id", &[]).await.unwrap();
        rows.iter().map(|row| [row.get(0), row.get(1), row.get(2)]).collect()
    };
    contract::check(&subject, rows).await;
}
