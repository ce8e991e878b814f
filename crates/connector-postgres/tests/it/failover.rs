//! A source whose standby takes over: with the slot brought along (version 17 and newer) the task goes on, unless its
//! target is ahead of what the standby has.

use crate::support::Cluster;
use crate::support::task::{Fixture, Gathered, PATIENCE, endpoint, transactions};
use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::{Fault, Position, TablePlan};

/// A primary, its standby that keeps up with slots, and a task that follows the primary.
struct Failing {
    primary: Cluster,
    standby: Cluster,
    fixture: Fixture,
    plan: Vec<TablePlan>,
    from: Position,
}

/// `None` where the server has no failover slots.
async fn failing() -> Option<Failing> {
    let primary = Cluster::start(&[]);
    if primary.major() < 17 {
        println!("skipped: version {} has no failover slots; see make test-18", primary.major());
        return None;
    }
    primary.sql("create table t (id int primary key, note text)");
    let standby = primary.standby("second", &[("sync_replication_slots", "on")]);
    let fixture = Fixture::new(&primary);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    Some(Failing { primary, standby, fixture, plan, from })
}

impl Failing {
    /// Reads what one statement did and goes on until the standby has the slot; gives what was confirmed last.
    async fn followed(&self, sql: &str, changes: &[&str]) -> Position {
        let mut reader = self.fixture.follow(&self.plan, &self.from).await;
        self.primary.sql(sql);
        let found = transactions(&mut reader, &self.plan, 1).await;
        assert_eq!(found.changes(), changes);
        let mut end = found.transactions[0].end.clone();
        reader.confirm(&end).await.unwrap();
        // A slot comes to the standby once it has moved on with the log, as it does while a task goes on.
        let brought = "select count(*) from pg_replication_slots where synced and not temporary";
        let moved = async {
            while self.standby.sql(brought) != "1" {
                self.primary.sql("select pg_log_standby_snapshot()");
                reader.heartbeat(std::time::Duration::ZERO).await.unwrap();
                let found =
                    Gathered::default().until(&mut reader, &self.plan, 1 << 20, |found| !found.progress.is_empty());
                end = found.await.progress.pop().unwrap();
                reader.confirm(&end).await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, moved).await.unwrap();
        end
    }

    /// The standby takes over, and the endpoint is pointed at it.
    fn taken_over(&mut self) {
        self.primary.stop("immediate");
        self.standby.promote();
        self.fixture.source = Postgres.source(&endpoint(&self.standby, "postgres")).unwrap();
    }
}

#[tokio::test]
async fn a_source_that_failed_over_with_its_slot_is_followed_with_nothing_lost() {
    let Some(mut failing) = failing().await else { return };
    let bookmark = failing.followed("insert into t values (1, 'one')", &["+t 1,one"]).await;
    failing.primary.sql("update t set note = 'uno'");
    let end = failing.primary.sql("select pg_current_wal_flush_lsn()");
    failing.standby.until(&format!("select pg_last_wal_receive_lsn() >= '{end}'"), "t");
    failing.taken_over();
    failing.standby.sql("insert into t values (2, 'two')");
    let mut reader = failing.fixture.follow(&failing.plan, &bookmark).await;
    let found = transactions(&mut reader, &failing.plan, 2).await;
    assert_eq!(found.changes(), ["~t 1,uno", "+t 2,two"]);
    // It is confirmed there, and from then on the new history is the task's.
    let end = found.transactions[1].end.clone();
    reader.confirm(&end).await.unwrap();
    drop(reader);
    failing.standby.sql("insert into t values (3, 'three')");
    let mut reader = failing.fixture.follow(&failing.plan, &end).await;
    assert_eq!(transactions(&mut reader, &failing.plan, 1).await.changes(), ["+t 3,three"]);
}

#[tokio::test]
async fn a_target_ahead_of_the_standby_that_took_over_has_lost_its_position() {
    let Some(mut failing) = failing().await else { return };
    let bookmark = failing.followed("insert into t values (1, 'one')", &["+t 1,one"]).await;
    // Nothing reaches the standby any more, and the task is not told to wait for it.
    failing.standby.sql("alter system set primary_conninfo = ''");
    failing.standby.sql("select pg_reload_conf()");
    failing.standby.until("select count(*) from pg_stat_wal_receiver", "0");
    failing.primary.sql("insert into t values (2, 'two')");
    let mut reader = failing.fixture.follow(&failing.plan, &bookmark).await;
    let found = transactions(&mut reader, &failing.plan, 1).await;
    let ahead = found.transactions[0].end.clone();
    drop(reader);
    failing.taken_over();
    let problem = failing.fixture.refused(&failing.plan, &ahead).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::PositionLost, "diverged"), "{problem:?}");
}

#[tokio::test]
async fn a_task_that_may_get_ahead_of_a_standby_is_told_so_before() {
    let Some(failing) = failing().await else { return };
    let codes = async || {
        let found = failing.fixture.source.assess(&failing.fixture.task, &failing.plan).await.unwrap();
        found.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert!(codes().await.contains(&"failover-behind".to_owned()));
    failing.primary.sql("alter system set synchronized_standby_slots = 'second'");
    failing.primary.sql("select pg_reload_conf()");
    failing.primary.until("show synchronized_standby_slots", "second");
    assert!(!codes().await.contains(&"failover-behind".to_owned()));
    // A standby that the task waits for holds its log back as long as it is away.
    failing.followed("insert into t values (1, 'one')", &["+t 1,one"]).await;
}
