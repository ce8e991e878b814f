//! A connection pooler in front of the source is recognised, at the endpoint's test and at a task's start.

use crate::support::Cluster;
use crate::support::pooler::Pooler;
use crate::support::task::{Fixture, endpoint};
use wavemark_connector::{Connector as _, EndpointSettings};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::check::Step;
use wavemark_domain::{Fault, Problem};

/// All that an administrator may have let pass in silence, the word *replication* among it.
const IGNORED: &str =
    "ignore_startup_parameters = extra_float_digits,bytea_output,IntervalStyle,application_name,replication";

async fn failed_step(endpoint: &EndpointSettings, as_source: bool) -> Option<Step> {
    let mut steps = Vec::new();
    Postgres.test(endpoint, as_source, !as_source, &mut |step| steps.push(step)).await;
    steps.into_iter().find(|step| !step.passed)
}

fn by(cluster: &Cluster, pooler: &Pooler) -> EndpointSettings {
    let mut endpoint = endpoint(cluster, "postgres");
    endpoint.values["host"] = "127.0.0.1".into();
    endpoint.values["port"] = pooler.port.into();
    endpoint
}

/// What a task's start says; nothing of it stays at the source.
async fn at_start(cluster: &Cluster, pooler: &Pooler) -> Problem {
    let mut fixture = Fixture::new(cluster);
    let plan = fixture.plan(&["t"]).await;
    fixture.source = Postgres.source(&by(cluster, pooler)).unwrap();
    let begun = fixture.source.begin(&fixture.task, &plan).await;
    let Err(problem) = begun else { panic!("it should have been refused") };
    assert_eq!(cluster.sql("select count(*) from pg_replication_slots"), "0");
    assert_eq!(cluster.sql("select count(*) from pg_publication"), "0");
    problem
}

fn assert_told(text: &str, mend: Option<&str>, why: &str) {
    assert!(text.contains("a connection pooler is in front of the server") && text.contains(why), "{text}");
    assert!(
        mend.unwrap().starts_with("Set the endpoint's host and port to those of the PostgreSQL server"),
        "{mend:?}"
    );
}

#[tokio::test]
async fn a_pooler_that_refuses_the_log_is_named_with_what_to_do() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key)");
    let pooler = Pooler::start(&cluster, "pool_mode = session");
    let step = failed_step(&by(&cluster, &pooler), true).await.unwrap();
    assert_eq!(step.name, "log in");
    assert_told(&step.text, step.mend.as_deref(), "unsupported startup parameter");
    let problem = at_start(&cluster, &pooler).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "pooler"), "{problem:?}");
    assert_told(&problem.text, problem.advice.as_deref(), "unsupported startup parameter");
    let log = format!("open a replication connection to endpoint test at 127.0.0.1:{}", pooler.port);
    assert!(problem.text.contains(&log), "{problem}");
}

#[tokio::test]
async fn a_pooler_that_swallows_what_it_does_not_know_is_recognised_all_the_same() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key)");
    let session = Pooler::start(&cluster, &format!("pool_mode = session\n{IGNORED}"));
    let step = failed_step(&by(&cluster, &session), true).await.unwrap();
    assert_eq!(step.name, "replication");
    assert_told(&step.text, step.mend.as_deref(), "does not pass the replication protocol on");
    let problem = at_start(&cluster, &session).await;
    assert_eq!(problem.code, "pooler");
    assert_told(&problem.text, problem.advice.as_deref(), "does not pass the replication protocol on");

    let transaction = Pooler::start(&cluster, &format!("pool_mode = transaction\n{IGNORED}"));
    for as_source in [true, false] {
        let step = failed_step(&by(&cluster, &transaction), as_source).await.unwrap();
        assert_eq!(step.name, "log in");
        assert_told(&step.text, step.mend.as_deref(), "gives each transaction another session");
    }
    let problem = at_start(&cluster, &transaction).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "pooler"), "{problem:?}");
}

#[tokio::test]
async fn a_pooler_that_keeps_sessions_does_for_a_target() {
    let cluster = Cluster::start(&[]);
    let pooler = Pooler::start(&cluster, &format!("pool_mode = session\n{IGNORED}"));
    assert_eq!(failed_step(&by(&cluster, &pooler), false).await, None);
}
