//! A standby as source: refused where it can't be followed, and followed over its promotion where it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::Cluster;
use crate::support::task;
use crate::support::task::{Fixture, Gathered, endpoint, load, transactions};
use wavemark_connector::Connector as _;
use wavemark_connector::source::{KeptFor, Touched};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::check::{Step, Weight};
use wavemark_domain::{Fault, Problem, TablePlan};

const CAUGHT_UP: &str = "select pg_last_wal_replay_lsn() >= '";

fn pair() -> (Cluster, Cluster) {
    let primary = Cluster::start(&[]);
    primary.sql("create table t (id int primary key, note text); insert into t values (1, 'one')");
    let standby = primary.standby("second", &[]);
    replayed(&primary, &standby);
    (primary, standby)
}

fn replayed(primary: &Cluster, standby: &Cluster) {
    let end = primary.sql("select pg_current_wal_flush_lsn()");
    standby.until(&format!("{CAUGHT_UP}{end}'"), "t");
}

async fn refused(fixture: &Fixture, plan: &[TablePlan]) -> Problem {
    match fixture.source.begin(&fixture.task, plan).await {
        Ok(_) => panic!("it should have been refused"),
        Err(problem) => problem,
    }
}

async fn steps(cluster: &Cluster) -> Vec<Step> {
    let mut steps = Vec::new();
    Postgres.test(&endpoint(cluster, "postgres"), true, false, &mut |step| steps.push(step)).await;
    steps
}

/// A primary that has something to tell of running transactions, as one that is used has.
struct Records {
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Records {
    fn of(primary: &Cluster) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (until, psql, port) = (Arc::clone(&ends), primary.program("psql"), primary.port.to_string());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let mut psql = std::process::Command::new(&psql);
                psql.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-XqAt", "-c"]);
                psql.arg("select pg_log_standby_snapshot()").output().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[tokio::test]
async fn a_standby_that_cannot_be_followed_is_refused_with_what_to_do() {
    let (_primary, standby) = pair();
    let fixture = Fixture::new(&standby);
    let plan = fixture.plan(&["t"]).await;
    let findings = fixture.source.assess(&fixture.task, &plan).await.unwrap();
    let weight = findings.iter().find(|finding| finding.code == "standby").unwrap().weight;
    let problem = refused(&fixture, &plan).await;
    if standby.major() >= 16 {
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "publication-needed"));
        assert_eq!(weight, Weight::Note);
        standby.sql("alter system set hot_standby_feedback = off");
        standby.sql("select pg_reload_conf()");
        standby.until("show hot_standby_feedback", "off");
        let findings = fixture.source.assess(&fixture.task, &plan).await.unwrap();
        let blocker = findings.iter().find(|finding| finding.weight == Weight::Blocker).unwrap();
        assert_eq!(blocker.code, "no-standby-feedback");
    } else {
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "standby"));
        assert_eq!(
            problem.text,
            "The source is a standby of version 15: the log of a standby can be followed from version 16 on."
        );
        assert_eq!(problem.advice.as_deref(), Some("Use its primary as the source."));
        assert_eq!(weight, Weight::Blocker);
    }
    let failed: Vec<Step> = steps(&standby).await.into_iter().filter(|step| !step.passed).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].name, "standby");
}

#[tokio::test]
async fn a_standby_is_loaded_and_followed_and_goes_on_after_its_promotion() {
    let (primary, standby) = pair();
    if primary.major() < 16 {
        println!("skipped: version {} can't decode on a standby; see make test-18", primary.major());
        return;
    }
    let _records = Records::of(&primary);
    let mut fixture = Fixture::new(&standby);
    let plan = fixture.plan(&["t"]).await;
    let problem = refused(&fixture, &plan).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "publication-needed"));
    let advice = problem.advice.unwrap();
    let statement = advice.strip_prefix("Run at the primary of the source, then resume the task: ").unwrap();
    primary.sql(&statement.replace(" FOR TABLE ONLY \"public\".\"t\"", ""));
    replayed(&primary, &standby);
    // One that lacks a table, and one that lacks rows, are not taken.
    let lacks = refused(&fixture, &plan).await;
    assert!(lacks.text.contains("lacks public.t"), "{lacks}");
    primary.sql(lacks.advice.unwrap().split_once("resume the task: ").unwrap().1);
    let name = primary.sql("select pubname from pg_publication");
    primary.sql(&format!("alter publication {name} set table t where (id > 5)"));
    replayed(&primary, &standby);
    assert!(refused(&fixture, &plan).await.text.contains("or has other rows of it"));
    primary.sql(&format!("alter publication {name} set table only t"));
    replayed(&primary, &standby);

    fixture.task.epoch = wavemark_domain::Epoch(2);
    let view = fixture.begin(&plan).await;
    assert_eq!(load(&*view, &plan[0], 1 << 20).await, ["+t 1,one"]);
    let from = view.position().clone();
    drop(view);
    primary.sql("insert into t values (2, 'two')");
    let mut reader = fixture.follow(&plan, &from).await;
    let found = transactions(&mut reader, &plan, 1).await;
    assert_eq!(found.changes(), ["+t 2,two"]);
    let bookmark = found.transactions[0].end.clone();
    reader.confirm(&bookmark).await.unwrap();
    drop(reader);
    // A later epoch goes on, and so does a view to compare.
    fixture.task.epoch = wavemark_domain::Epoch(3);
    primary.sql("update t set note = 'zwei' where id = 2");
    let beside = fixture.source.view_beside(&fixture.task).await.unwrap();
    drop(beside);
    // A table that is chosen later waits for its publication, beside those that are followed.
    primary.sql("create table u (id int primary key, note text)");
    replayed(&primary, &standby);
    let wider = fixture.plan(&["t", "u"]).await;
    let Err(waits) = fixture.source.begin_aside(&fixture.task, &wider).await else { panic!("it should have waited") };
    assert_eq!((waits.fault, waits.code.as_str()), (Fault::Transient, "publication-needed"));
    primary.sql(waits.advice.unwrap().split_once("then it goes on by itself: ").unwrap().1);
    replayed(&primary, &standby);
    drop(fixture.source.begin_aside(&fixture.task, &wider).await.unwrap());
    fixture.source.end_aside(&fixture.task).await.unwrap();
    primary.stop("immediate");
    standby.promote();
    standby.sql("insert into t values (3, 'three')");
    let mut reader = fixture.follow(&plan, &bookmark).await;
    let found = transactions(&mut reader, &plan, 2).await;
    assert_eq!(found.changes(), ["~t 2,zwei", "+t 3,three"]);
    reader.confirm(&found.transactions[1].end).await.unwrap();
    drop(reader);
    // It is a server of its own now: a reload makes what it needs itself, and takes away what was made by hand.
    fixture.task.generation = wavemark_domain::ids::Generation(2);
    fixture.task.epoch = wavemark_domain::Epoch(4);
    drop(fixture.begin(&plan).await);
    assert_eq!(standby.sql("select count(*) from pg_publication where pubname like '%_1_0'"), "0");
    fixture.source.clean_up(&fixture.task).await.unwrap();
    let left = "select (select count(*) from pg_publication) + (select count(*) from pg_replication_slots)";
    assert_eq!(standby.sql(left), "0");
}

#[tokio::test]
async fn an_interrupted_load_and_an_idle_log_go_on_at_a_standby_that_nobody_can_write_to() {
    let (primary, standby) = pair();
    if primary.major() < 16 {
        println!("skipped: version {} can't decode on a standby; see make test-18", primary.major());
        return;
    }
    let _records = Records::of(&primary);
    let fixture = Fixture::new(&standby);
    let plan = fixture.plan(&["t"]).await;
    let advice = refused(&fixture, &plan).await.advice.unwrap();
    primary.sql(advice.split_once("resume the task: ").unwrap().1);
    replayed(&primary, &standby);
    let from = fixture.begin(&plan).await.position().clone();
    primary.sql("update t set note = 'uno'; insert into t values (2, 'two')");
    replayed(&primary, &standby);
    let later = fixture.source.view_again(&fixture.task, &plan).await.unwrap();
    let between = (&from, later.position());
    let found = fixture.source.touched(&fixture.task, &plan, &[plan[0].id], between, KeptFor::Task).await.unwrap();
    let [Touched::Keys(keys)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(task::integers(keys), [1, 2]);
    assert_eq!(load(&*later, &plan[0], 1 << 20).await, ["+t 1,uno", "+t 2,two"]);
    let mut reader = fixture.follow(&plan, later.position()).await;
    drop(later);
    // What moves the log is of no table that is followed, and a heartbeat is none here.
    primary.sql("create table elsewhere (id int); insert into elsewhere values (1)");
    let end = primary.sql("select pg_current_wal_flush_lsn()");
    replayed(&primary, &standby);
    reader.heartbeat(std::time::Duration::ZERO).await.unwrap();
    let reached = |at: &wavemark_domain::Position| {
        standby.sql(&format!("select '{}'::pg_lsn >= '{end}'", fixture.source.describe(at))) == "t"
    };
    let moved = |found: &Gathered| found.progress.last().is_some_and(reached);
    let found = Gathered::default().until(&mut reader, &plan, 1 << 20, moved).await;
    assert!(found.transactions.is_empty());
    reader.confirm(found.progress.last().unwrap()).await.unwrap();
    fixture.source.log_state(&fixture.task, found.progress.last(), std::time::Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn what_a_task_leaves_at_a_standby_is_removed_but_for_what_only_its_primary_can() {
    let (primary, standby) = pair();
    if primary.major() < 16 {
        println!("skipped: version {} can't decode on a standby; see make test-18", primary.major());
        return;
    }
    let _records = Records::of(&primary);
    let fixture = Fixture::new(&standby);
    let plan = fixture.plan(&["t"]).await;
    let advice = refused(&fixture, &plan).await.advice.unwrap();
    primary.sql(advice.split_once("resume the task: ").unwrap().1);
    replayed(&primary, &standby);
    let from = fixture.begin(&plan).await.position().clone();
    let left = fixture.source.clean_up(&fixture.task).await.unwrap_err();
    assert_eq!(left.problem.code, "read-only");
    assert_eq!(standby.sql("select count(*) from pg_replication_slots"), "0");
    assert_eq!(fixture.refused(&plan, &from).await.code, "slot-missing");
    primary.sql(left.statements.last().unwrap());
    replayed(&primary, &standby);
    fixture.source.clean_up(&fixture.task).await.unwrap();
}

#[tokio::test]
async fn a_standby_hears_of_alterations_that_its_primary_tells() {
    let (primary, standby) = pair();
    if primary.major() < 16 {
        println!("skipped: version {} can't decode on a standby; see make test-18", primary.major());
        return;
    }
    let _records = Records::of(&primary);
    let mut fixture = Fixture::new(&standby);
    fixture.task.settings.event_triggers = true;
    let plan = fixture.plan(&["t"]).await;
    let problem = refused(&fixture, &plan).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "event-triggers"));
    assert!(problem.text.starts_with("The source is a standby, and its primary does not have the event triggers"));
    let findings = fixture.source.assess(&fixture.task, &plan).await.unwrap();
    let finding = findings.into_iter().find(|finding| finding.code == "event-triggers").unwrap();
    assert_eq!(finding.weight, Weight::Blocker);
    primary.sql(&finding.mend.unwrap());
    primary.until("select (wavemark_source.since()).since is not null", "t");
    replayed(&primary, &standby);
    let needed = refused(&fixture, &plan).await;
    primary.sql(needed.advice.unwrap().split_once("resume the task: ").unwrap().1);
    replayed(&primary, &standby);
    let from = fixture.begin(&plan).await.position().clone();
    let mut reader = fixture.follow(&plan, &from).await;
    primary.sql("alter table t drop note, add note text default 'new'");
    let read = loop {
        let read = tokio::time::timeout(task::PATIENCE, reader.next(1 << 20)).await.unwrap().unwrap();
        if !read.layouts.is_empty() || !read.barriers.is_empty() {
            break read;
        }
    };
    assert_eq!((read.layouts.len(), read.barriers.len()), (1, 0));
    // The row of before has what the catalog keeps for it.
    let add = wavemark_domain::LayoutStep::Add { column: "note".into(), existing: Some("new".into()) };
    assert_eq!(read.layouts[0].steps[1], add);
}
