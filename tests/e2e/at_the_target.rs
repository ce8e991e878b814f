//! What others do at the target while a task runs, and transactions that are prepared at the source.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use wavemark_tests::api::Task;
use wavemark_tests::cluster::Options;
use wavemark_tests::pair::{SOURCE, TARGET};
use wavemark_tests::shop::{Pace, Size, Writers};
use wavemark_tests::signal::Signal;

use crate::world::{World, small_chunks, until_within};

/// For a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

const LIMIT: Duration = PATIENCE;
const PACE: Pace = Pace { sessions: 2, per_second: 60.0, seed: 14 };

async fn shop_that_changes(world: &World) -> (Writers, Uuid) {
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    let task =
        world.replicate("shop", &json!({"chunk_mib": 1, "load_parallelism": 2, "lock_timeout_seconds": 1})).await;
    world.live(task).await;
    (writers, task)
}

async fn ends_equal(world: &World, mut writers: Writers, task: Uuid) {
    writers.stop().await.unwrap();
    let report = world.drained_and_compared(task).await;
    assert!(report.is_equal(), "{report}");
}

/// Whether the task waits because of an error of this SQLSTATE.
fn waits(code: &'static str) -> impl Fn(&Task) -> bool {
    move |task| {
        let waits = task.progress.as_ref().and_then(|progress| progress.waiting_for.as_ref());
        waits.is_some_and(|problem| problem.server_code.as_deref() == Some(code))
    }
}

/// How many events there were of an error of this SQLSTATE.
async fn met(world: &World, task: Uuid, code: &str) -> usize {
    let events = world.installation.api.events(task).await.unwrap();
    let is = |problem: &wavemark_tests::api::Problem| problem.server_code.as_deref() == Some(code);
    events.iter().filter(|event| event.problem.as_ref().is_some_and(is)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_set_for_our_roles_does_not_reach_our_sessions() {
    let world = World::with_shop().await;
    let set = [
        "statement_timeout = '100ms'",
        "lock_timeout = '1ms'",
        "idle_session_timeout = '2s'",
        "default_transaction_isolation = 'serializable'",
        "search_path = 'nowhere'",
        "datestyle = 'SQL, DMY'",
        "synchronous_commit = 'off'",
    ];
    for (cluster, role) in [(&world.pair.source, SOURCE), (&world.pair.target, TARGET)] {
        let all = set.map(|setting| format!("alter role {role} in database {role} set {setting}"));
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        cluster.execute("postgres", &all).await.unwrap();
    }
    let task = world.replicate("shop", &small_chunks()).await;
    world.live(task).await;
    let again = set.map(|setting| setting.split(' ').next().unwrap_or_default());
    for (cluster, role) in [(&world.pair.source, SOURCE), (&world.pair.target, TARGET)] {
        let all = again.map(|setting| format!("alter role {role} in database {role} reset {setting}"));
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        cluster.execute("postgres", &all).await.unwrap();
    }
    // Our sessions are those that were made while it was set.
    let mut writers = Writers::new(world.pair.source_config(), Size::SMALL);
    writers.start(PACE);
    tokio::time::sleep(Duration::from_secs(3)).await;
    ends_equal(&world, writers, task).await;
    let after = world.installation.api.task(task).await.unwrap();
    assert_eq!(after.progress.unwrap().retries, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_that_others_cancel_hold_up_or_fail_to_serialize_are_made_again() {
    let world = World::with_shop().await;
    let (writers, task) = shop_that_changes(&world).await;
    let api = &world.installation.api;
    // A trigger of the target's owner fails as a transaction does that can't be serialized, for a while.
    let client = world.pair.target.connect(TARGET).await.unwrap();
    let fails = "create sequence public.tries;
        create function public.fails() returns trigger language plpgsql as $$ begin
            if nextval('public.tries') < 3 then raise exception 'simulated' using errcode = '40001'; end if;
            return new; end $$;
        grant usage on sequence public.tries to public;
        create trigger fails before update on shop.accounts for each row execute function public.fails();
        alter table shop.accounts enable always trigger fails";
    client.batch_execute(fails).await.unwrap();
    until_within(PATIENCE, || async { met(&world, task, "40001").await > 0 }).await;
    let over = "select last_value >= 3 from public.tries";
    until_within(PATIENCE, || async { client.query_one(over, &[]).await.is_ok_and(|row| row.get(0)) }).await;
    // It may be chosen to end a deadlock with a wave.
    let drop = "drop trigger fails on shop.accounts; drop function public.fails; drop sequence public.tries";
    until_within(PATIENCE, || async { client.batch_execute(drop).await.is_ok() }).await;
    api.wait_task(task, LIMIT, "the task to go on", |task| !waits("40001")(task)).await.unwrap();

    // Rows that somebody holds for longer than a lock is waited for.
    client.batch_execute("begin; select from shop.accounts for update").await.unwrap();
    until_within(PATIENCE, || async { met(&world, task, "55P03").await > 0 }).await;
    client.batch_execute("rollback").await.unwrap();
    api.wait_task(task, LIMIT, "the task to go on", |task| !waits("55P03")(task)).await.unwrap();

    // Somebody cancels whatever the waves' session runs.
    let cancel = "select count(pg_cancel_backend(pid)) from pg_stat_activity
        where application_name like 'wavemark % waves' and state = 'active'";
    let end = std::time::Instant::now() + LIMIT;
    while met(&world, task, "57014").await == 0 {
        assert!(std::time::Instant::now() < end, "no statement of a wave was hit");
        for _ in 0..200 {
            client.query_one(cancel, &[]).await.unwrap();
        }
    }
    ends_equal(&world, writers, task).await;
    assert_eq!(api.task(task).await.unwrap().tables_parked, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_while_it_builds_an_index_is_taken_over_from() {
    let mut world = World::start().await;
    // The same function is slow at the target, so that the index takes a while there.
    let function = |body: &str| {
        format!(
            "create function public.weigh(v int) returns int immutable language plpgsql as $$ begin {body} return v; end $$"
        )
    };
    world.source(&function("")).await;
    world.target(&function("perform pg_sleep(0.01);")).await;
    world
        .source(
            "create table t (id int primary key, v int); insert into t select n, n from generate_series(1, 600) n; \
             create index t_weigh on t (public.weigh(v))",
        )
        .await;
    world.installation.add_worker().unwrap();
    let task = world.replicate("public", &json!({})).await;
    let client = world.pair.target.connect(TARGET).await.unwrap();
    let building = "select count(*) from pg_stat_activity where application_name like 'wavemark %' and state = 'active'
        and query ilike '%create index%' and wait_event = 'PgSleep'";
    until_within(PATIENCE, || async {
        client.query_one(building, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) > 0)
    })
    .await;
    let before = world.installation.api.task(task).await.unwrap();
    let frozen = world.installation.holder(task).await.unwrap();
    world.installation.workers[frozen].signal(Signal::Stop).unwrap();
    world.installation.taken_over(&before, Duration::from_secs(15)).await.unwrap();
    world.installation.workers[frozen].signal(Signal::Continue).unwrap();
    world.live(task).await;
    world.source("insert into t values (601, 601); update t set v = v + 1 where id = 7").await;
    until_within(PATIENCE, || async {
        world.target_value("select count(*)::text from t").await.as_deref() == Some("601")
    })
    .await;
    let report = world.compared("public").await;
    assert!(report.is_equal(), "{report}");
    let index = "select count(*)::text from pg_index where indexrelid = 'public.t_weigh'::regclass and indisvalid";
    assert_eq!(world.target_value(index).await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_transactions_arrive_when_they_are_committed_and_not_before() {
    let source = Options::source().set("max_prepared_transactions", 10).set("logical_decoding_work_mem", "64kB");
    let mut world = World::start_with(source, Options::default()).await;
    world.source("create table t (id int primary key, v text)").await;
    let task = world.replicate("public", &json!({})).await;
    world.live(task).await;
    let large = |from: u32| {
        format!("insert into t select n, repeat(md5(n::text), 10) from generate_series({from}, {from} + 4999) n")
    };
    for (name, from) in [("kept", 10_000), ("dropped", 20_000)] {
        world
            .source(&format!("begin; insert into t values ({from} - 1, 'first'); savepoint a; {}; rollback to a; {}; prepare transaction '{name}'",
                large(from), large(from)))
            .await;
    }
    world.source("insert into t values (1, 'between')").await;
    until_within(PATIENCE, || async {
        world.target_value("select string_agg(id::text, ' ') from t").await.as_deref() == Some("1")
    })
    .await;
    // The bookmark is behind both by now, and another run begins there.
    world.installation.workers[0].kill().unwrap();
    world.installation.workers[0].start().unwrap();
    world.source("insert into t values (2, 'between')").await;
    until_within(PATIENCE, || async {
        world.target_value("select count(*)::text from t").await.as_deref() == Some("2")
    })
    .await;
    world.source("rollback prepared 'dropped'").await;
    world.source("commit prepared 'kept'").await;
    until_within(PATIENCE, || async {
        world.target_value("select count(*)::text from t").await.as_deref() == Some("5003")
    })
    .await;
    let report = world.compared("public").await;
    assert!(report.is_equal(), "{report}");
}
