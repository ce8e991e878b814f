//! Rights and settings as Amazon RDS and Aurora have them, as near as a server without their changes comes to it: the
//! roles and the setting by their names.

use std::collections::BTreeMap;

use crate::support::Cluster;
use crate::support::task;
use crate::support::task::{Fixture, endpoint};
use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;

/// What a test of the endpoint says by step: nothing where it passed, else what mends it.
async fn mends(cluster: &Cluster) -> BTreeMap<String, Option<String>> {
    let mut steps = BTreeMap::new();
    Postgres
        .test(&endpoint(cluster, "copier"), true, false, &mut |step| {
            steps.insert(step.name, (!step.passed).then(|| step.mend.unwrap_or_default()));
        })
        .await;
    steps
}

async fn findings(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut fixture = Fixture::new(cluster);
    let plan = fixture.plan(&["t"]).await;
    fixture.source = Postgres.source(&endpoint(cluster, "copier")).unwrap();
    let found = fixture.source.assess(&fixture.task, &plan).await.unwrap();
    found.into_iter().map(|finding| (finding.code, finding.mend.unwrap_or_default())).collect()
}

fn server(settings: &[(&str, &str)]) -> Cluster {
    let hba = "host all copier localhost trust";
    let cluster = Cluster::prepared(settings, hba, |_| {});
    cluster.sql(
        "create role rds_superuser nologin; create role rds_replication nologin; create role copier login;
         grant create on database postgres to copier; grant all on schema public to copier;
         set role copier; create table t (id int primary key)",
    );
    cluster
}

#[tokio::test]
async fn what_is_missing_there_is_mended_as_it_is_there() {
    let settings = [("wal_level", "replica"), ("rds.logical_replication", "off"), ("max_replication_slots", "0")];
    let cluster = server(&settings);
    let group = "in the parameter group of the instance (Aurora: of the cluster), and reboot it.";
    let level = format!("Set rds.logical_replication = 1 {group}");
    let slots = format!("Set max_replication_slots = 20 {group}");
    let grant = "GRANT rds_replication TO \"copier\";";
    let steps = mends(&cluster).await;
    assert_eq!(steps["log level"].as_deref(), Some(level.as_str()));
    assert_eq!(steps["slots left"].as_deref(), Some(slots.as_str()));
    assert_eq!(steps["replication right"].as_deref(), Some(grant));
    let found = findings(&cluster).await;
    assert_eq!(found["wal-level"], level);
    assert_eq!(found["no-slots-left"], slots);
    assert_eq!(found["no-replication-right"], grant);
    assert!(found["log-unlimited"].starts_with("Set max_slot_wal_keep_size = 102400 in the parameter group"));
}

#[tokio::test]
async fn membership_stands_for_the_right_to_replicate() {
    let cluster = server(&[("rds.logical_replication", "on")]);
    cluster.sql("grant rds_replication to copier");
    let steps = mends(&cluster).await;
    assert_eq!(steps["replication right"], None);
    assert_eq!(steps["publication right"], None);
    // This server doesn't know the role for what it is there, which the test notices because it really tries.
    assert!(steps["replication"].is_some());
    let found = findings(&cluster).await;
    assert!(!found.contains_key("no-replication-right") && !found.contains_key("not-owner"), "{found:?}");
    // What is made at the source needs no event trigger and no superuser: with the attribute itself a task begins.
    cluster.sql("alter role copier replication");
    assert_eq!(mends(&cluster).await["replication"], None);
    let mut fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    fixture.source = Postgres.source(&endpoint(&cluster, "copier")).unwrap();
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("insert into t values (1)");
    let mut reader = fixture.follow(&plan, &from).await;
    assert_eq!(task::transactions(&mut reader, &plan, 1).await.changes(), ["+t 1"]);
    reader.heartbeat(std::time::Duration::ZERO).await.unwrap();
    fixture.source.log_state(&fixture.task, Some(&from), std::time::Duration::ZERO).await.unwrap();
    fixture.source.clean_up(&fixture.task).await.unwrap();
    assert_eq!(cluster.sql("select count(*) from pg_event_trigger"), "0");
}
