//! What the source's own limits do to a slot and to who reads it.

use std::time::Duration;

use crate::support::Cluster;
use crate::support::task;
use crate::support::task::{Fixture, transactions};
use wavemark_domain::Fault;

#[tokio::test]
async fn a_slot_given_up_because_nobody_read_it_is_told_with_that_reason() {
    let cluster = Cluster::start(&[]);
    if cluster.major() < 18 {
        println!("skipped: version {} has no idle_replication_slot_timeout; see make test-18", cluster.major());
        return;
    }
    cluster.sql("create table t (id int primary key, note text)");
    cluster.sql("alter system set idle_replication_slot_timeout = '1s'");
    cluster.sql("select pg_reload_conf()");
    cluster.until("show idle_replication_slot_timeout", "1s");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let found = fixture.source.assess(&fixture.task, &plan).await.unwrap();
    let warning = found.iter().find(|finding| finding.code == "idle-slots-dropped").unwrap();
    assert!(warning.mend.as_deref().unwrap().starts_with("ALTER SYSTEM SET idle_replication_slot_timeout = 0;"));
    let from = fixture.begin(&plan).await.position().clone();
    let reason = "select invalidation_reason from pg_replication_slots";
    let gave_up = async {
        while cluster.sql(reason) != "idle_timeout" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.sql("checkpoint");
        }
    };
    tokio::time::timeout(task::PATIENCE, gave_up).await.unwrap();
    let problem = fixture.refused(&plan, &from).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::PositionLost, "slot-invalidated"));
    assert!(problem.text.contains("nobody read it for longer than idle_replication_slot_timeout"), "{problem}");
    assert!(problem.advice.unwrap().contains("idle_replication_slot_timeout = 0"));
}

#[tokio::test]
async fn a_sender_with_little_patience_outlasts_a_target_that_takes_nothing() {
    let cluster = Cluster::start(&[("wal_sender_timeout", "1s")]);
    cluster.sql("create table t (id int primary key, note text)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let mut reader = fixture.follow(&plan, &from).await;
    let sender = "select active_pid from pg_replication_slots";
    let before = cluster.sql(sender);
    cluster.sql("insert into t select n, repeat('x', 1000) from generate_series(1, 30000) n");
    // Nobody reads or answers for several times as long as the server would wait.
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.sql("insert into t values (0, 'late')");
    let found = transactions(&mut reader, &plan, 2).await;
    assert_eq!(
        (found.transactions[0].changes.len(), found.transactions[1].changes.as_slice()),
        (30_000, &["+t 0,late".to_owned()][..])
    );
    assert_eq!(cluster.sql(sender), before);
}
