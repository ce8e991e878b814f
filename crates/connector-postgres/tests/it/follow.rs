//! The log of a real server as whole transactions.

use crate::support::Cluster;
use crate::support::task;
use crate::support::task::{Fixture, Gathered, client, load, transactions};
use wavemark_domain::layout::ColumnPolicy;
use wavemark_domain::{Fault, TableId};

#[tokio::test]
async fn what_is_in_the_view_is_not_in_the_log_and_the_other_way_round() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text); insert into t values (1, 'one'), (2, 'two')");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let view = fixture.begin(&plan).await;
    cluster.sql("insert into t values (3, 'three'); update t set note = 'zwei' where id = 2");
    assert_eq!(load(&*view, &plan[0], 1 << 20).await, ["+t 1,one", "+t 2,two"]);

    cluster.sql("begin; update t set id = 4 where id = 3; delete from t where id = 1; commit");
    let from = view.position().clone();
    let mut reader = fixture.follow(&plan, &from).await;
    let found = transactions(&mut reader, &plan, 2).await;
    assert_eq!(found.transactions[0].changes, ["+t 3,three", "~t 2,zwei"]);
    assert_eq!(found.transactions[1].changes, ["~t (3,null) 4,three", "-t (1,null)"]);
    assert!(from < found.transactions[0].end && found.transactions[0].end < found.transactions[1].end);
    assert!(found.barriers.is_empty());

    let end = found.transactions[1].end.clone();
    reader.confirm(&end).await.unwrap();
    drop(reader);
    drop(view);
    let confirmed = "select confirmed_flush_lsn from pg_replication_slots";
    for _ in 0..100 {
        if cluster.sql(confirmed) == fixture.source.describe(&end) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(cluster.sql(confirmed), fixture.source.describe(&end));
}

#[tokio::test]
async fn the_log_goes_on_after_each_commit_exactly_where_it_ended() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    // Commits without a flush follow each other so closely that one record begins where the other ends.
    let one = |n: i32| format!("insert into t values ({n}, 'x');");
    let client = client(&cluster).await;
    client.batch_execute("set synchronous_commit = off").await.unwrap();
    for n in 0..60 {
        client.batch_execute(&one(n)).await.unwrap();
    }
    let all = transactions(&mut fixture.follow(&plan, &from).await, &plan, 60).await;
    assert_eq!(all.transactions.len(), 60);
    for at in [0, 1, 2, 3, 17, 30, 57, 58] {
        let mut reader = fixture.follow(&plan, &all.transactions[at].end).await;
        let rest = transactions(&mut reader, &plan, 59 - at).await;
        let expected: Vec<_> = all.changes()[at + 1..].to_vec();
        assert_eq!(rest.changes(), expected, "after transaction {at}");
    }
}

#[tokio::test]
async fn each_kind_of_change_comes_as_the_plan_needs_it() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create table keyed (id int primary key, note text, large text);
         alter table keyed alter large set storage external;
         create table whole (id int primary key, note text, large text);
         alter table whole alter large set storage external; alter table whole replica identity full;
         create table keyless (a int, b text); alter table keyless replica identity full;
         insert into keyed values (1, 'a', repeat('x', 9000)); insert into whole values (1, 'a', repeat('x', 9000));
         insert into keyless values (1, 'a'), (1, 'a'), (2, null)",
    );
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["keyed", "whole", "keyless"]).await;
    assert!(plan[2].is_keyless());
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("update keyed set note = 'b'; update keyed set id = 2");
    cluster.sql("update whole set note = 'b'; update whole set id = 2; delete from whole");
    cluster.sql("update keyless set b = 'c' where a = 2; delete from keyless where a = 2");
    cluster.sql("truncate keyed, whole");
    let found = transactions(&mut fixture.follow(&plan, &from).await, &plan, 4).await;
    assert_eq!(found.transactions[0].changes, ["~keyed 1,b,unchanged", "~keyed (1,null,null) 2,b,unchanged"]);
    assert_eq!(
        found.transactions[1].changes,
        ["~whole 1,b,xxx…9000", "~whole (1,null,null) 2,b,xxx…9000", "-whole (2,null,null)"]
    );
    assert_eq!(found.transactions[2].changes, ["~keyless (2,null) 2,c", "-keyless (2,c)"]);
    assert_eq!(found.transactions[3].changes, ["!keyed", "!whole"]);
}

#[tokio::test]
async fn a_change_of_shape_is_a_barrier_in_the_middle_of_its_transaction() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text); create table u (id int primary key)");
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings.added_columns = ColumnPolicy::ParkTable;
    let plan = fixture.plan(&["t", "u"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("begin; insert into t values (1, 'a'); alter table t add n int; insert into t values (2, 'b', 3); insert into u values (1); commit");
    cluster.sql("insert into t values (3, 'c', 3)");
    cluster.sql("insert into u values (2)");
    let found = transactions(&mut fixture.follow(&plan, &from).await, &plan, 2).await;
    assert_eq!(found.changes(), ["+t 1,a", "#t", "+u 1", "+u 2"]);
    assert_eq!(found.barriers.len(), 1);
    let (table, problem) = &found.barriers[0];
    assert_eq!((*table, problem.fault), (TableId(0), Fault::Data));
    assert_eq!(problem.text, "Table public.t was changed at the source: column n was added.");
    // Opened after the barrier's transaction, the table is still behind it.
    let again = transactions(&mut fixture.follow(&plan, &found.transactions[0].end).await, &plan, 2).await;
    assert_eq!(again.changes(), ["#t", "+u 2"]);
}

#[tokio::test]
async fn a_column_dropped_and_added_again_is_noticed() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("alter table t drop note; alter table t add note text; insert into t values (1, 'a')");
    let found = transactions(&mut fixture.follow(&plan, &from).await, &plan, 1).await;
    assert_eq!(found.changes(), ["#t"]);
}

#[tokio::test]
async fn a_large_transaction_in_progress_goes_to_disk_without_its_rolled_back_savepoints() {
    let cluster = Cluster::start(&[("logical_decoding_work_mem", "64kB")]);
    cluster.sql("create table t (id int primary key, note text)");
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings.memory_mib = 1;
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql(
        "begin;
         insert into t select n, repeat('a', 200) from generate_series(1, 3000) n;
         savepoint s;
         insert into t select n, repeat('b', 200) from generate_series(10001, 13000) n;
         savepoint nested;
         insert into t select n, repeat('c', 200) from generate_series(20001, 23000) n;
         rollback to s;
         savepoint kept;
         insert into t select n, repeat('d', 200) from generate_series(30001, 33000) n;
         release kept;
         insert into t select n, repeat('e', 200) from generate_series(40001, 43000) n;
         commit",
    );
    cluster.sql("insert into t values (50000, 'small')");
    let mut reader = fixture.follow(&plan, &from).await;
    let found = Gathered::default().until(&mut reader, &plan, 64 << 10, |found| found.transactions.len() >= 2).await;
    let expected: Vec<String> = [("aaa", 1), ("ddd", 30_001), ("eee", 40_001)]
        .iter()
        .flat_map(|(text, first)| (*first..*first + 3000).map(move |n| format!("+t {n},{text}…200")))
        .collect();
    assert_eq!(found.transactions[0].changes, expected);
    assert_eq!(found.transactions[1].changes, ["+t 50000,small"]);
    assert!(found.spilled > 1 << 20, "{} bytes went to disk", found.spilled);
    assert!(found.open_batches > 5, "it came in {} open batches", found.open_batches);
    assert_eq!(reader.in_hand().spilled_bytes, 0);
    assert_eq!(std::fs::read_dir(&fixture.task.spill_dir).unwrap().count(), 0);
}

#[tokio::test]
async fn more_than_the_quota_on_disk_stops_with_the_setting_to_raise() {
    let cluster = Cluster::start(&[("logical_decoding_work_mem", "64kB")]);
    cluster.sql("create table t (id int primary key, note text)");
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings.memory_mib = 1;
    fixture.task.settings.spill_mib = 1;
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("insert into t select n, repeat('a', 200) from generate_series(1, 20000) n");
    let mut reader = fixture.follow(&plan, &from).await;
    let problem = tokio::time::timeout(task::PATIENCE, reader.next(1 << 20)).await.unwrap().unwrap_err();
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "spill-quota"));
    assert!(problem.advice.unwrap().contains("spill_mib"));
}

#[tokio::test]
async fn an_aborted_transaction_that_was_streamed_leaves_nothing() {
    let cluster = Cluster::start(&[("logical_decoding_work_mem", "64kB")]);
    cluster.sql("create table t (id int primary key, note text)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("begin; insert into t select n, repeat('a', 200) from generate_series(1, 5000) n; rollback");
    // The first row of the table in the session comes in a savepoint that is rolled back: the server won't describe
    // the table again.
    cluster.sql(
        "begin; savepoint s; insert into t select n, repeat('b', 200) from generate_series(1, 5000) n; rollback to s;
         insert into t select n, repeat('c', 200) from generate_series(1, 2) n; commit",
    );
    cluster.sql("insert into t values (3, 'd')");
    let mut reader = fixture.follow(&plan, &from).await;
    let found = transactions(&mut reader, &plan, 2).await;
    assert_eq!(found.changes(), ["+t 1,ccc…200", "+t 2,ccc…200", "+t 3,d"]);
    assert_eq!(reader.in_hand().transactions, 0);
}

#[tokio::test]
async fn tasks_of_one_source_share_a_session_and_its_heartbeats() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let (one, mut two) = (Fixture::new(&cluster), Fixture::new(&cluster));
    two.task.task = wavemark_domain::TaskId(uuid::Uuid::from_u128(0x0192_dddd_eeee_ffff));
    let plan = one.plan(&["t"]).await;
    let (first, second) = (one.begin(&plan).await.position().clone(), two.begin(&plan).await.position().clone());
    let (mut reader, mut other) = (one.follow(&plan, &first).await, two.follow(&plan, &second).await);
    cluster.sql("create publication looks");
    cluster.sql("select pg_create_logical_replication_slot('looks', 'pgoutput')");
    let written = || {
        cluster.sql(
            "select count(*) from pg_logical_slot_peek_binary_changes('looks', null, null, 'proto_version', '1', \
             'publication_names', 'looks', 'messages', 'true') where get_byte(data, 0) = ascii('M')",
        )
    };
    let (now, long) = (std::time::Duration::ZERO, std::time::Duration::from_hours(1));
    reader.heartbeat(now).await.unwrap();
    assert_eq!(written(), "1");
    // One that is new enough for the other, whoever wrote it.
    other.heartbeat(long).await.unwrap();
    assert_eq!(written(), "1");
    other.heartbeat(now).await.unwrap();
    assert_eq!(written(), "2");
    let sessions = "select count(*) from pg_stat_activity where application_name like 'wavemark %'";
    assert_eq!(cluster.sql(&format!("{sessions} and application_name like '%heartbeat'")), "1");
    // And each reads its own log.
    assert_eq!(cluster.sql(&format!("{sessions} and backend_type = 'walsender'")), "2");
    // One that was ended is made again by who needs it next.
    cluster.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%heartbeat'");
    for _ in 0..100 {
        reader.heartbeat(now).await.unwrap();
        if written() == "3" {
            break;
        }
    }
    assert_eq!(written(), "3");
}

#[tokio::test]
async fn one_question_about_the_log_answers_for_all_tasks_of_a_source() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let (one, mut two) = (Fixture::new(&cluster), Fixture::new(&cluster));
    two.task.task = wavemark_domain::TaskId(uuid::Uuid::from_u128(0x0192_dddd_eeee_ffff));
    let plan = one.plan(&["t"]).await;
    one.begin(&plan).await;
    cluster.sql("insert into t select n, repeat('a', 100) from generate_series(1, 5000) n; checkpoint");
    two.begin(&plan).await;
    let (now, long) = (std::time::Duration::ZERO, std::time::Duration::from_hours(1));
    let first = one.source.log_state(&one.task, None, now).await.unwrap();
    cluster.sql("insert into t select n, repeat('a', 100) from generate_series(5001, 6000) n");
    // What one was told is told to the other, of its own slot.
    let second = two.source.log_state(&two.task, None, long).await.unwrap();
    assert_eq!(second.end, first.end);
    let restart = |task: &Fixture| {
        let slots = format!("slot_name like 'wavemark_{}_%'", task.task.task.0.simple());
        cluster.sql(&format!("select (restart_lsn - '0/0')::text from pg_replication_slots where {slots}"))
    };
    let between: u64 = restart(&two).parse::<u64>().unwrap() - restart(&one).parse::<u64>().unwrap();
    assert!(between > 500_000, "{between}");
    assert_eq!(first.kept_bytes.unwrap() - second.kept_bytes.unwrap(), between);
    // Who must know how it is now is told that.
    let third = two.source.log_state(&two.task, Some(&first.end), now).await.unwrap();
    assert!(third.end > first.end && third.behind_bytes.unwrap() > 100_000, "{third:?}");
    let fourth = one.source.log_state(&one.task, Some(&first.end), long).await.unwrap();
    assert_eq!((fourth.end, fourth.behind_bytes), (third.end, third.behind_bytes));
}

#[tokio::test]
async fn idle_the_log_moves_on_by_heartbeats() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text); create table elsewhere (id int)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let mut reader = fixture.follow(&plan, &from).await;
    cluster.sql("insert into elsewhere values (1)");
    reader.heartbeat(std::time::Duration::ZERO).await.unwrap();
    let target = cluster.sql("select pg_current_wal_insert_lsn()");
    let reached = |found: &Gathered| {
        found.progress.last().is_some_and(|at| parse(&fixture.source.describe(at)) >= parse(&target))
    };
    let found = Gathered::default().until(&mut reader, &plan, 1 << 20, reached).await;
    assert!(found.transactions.is_empty());
    reader.confirm(found.progress.last().unwrap()).await.unwrap();
    // Having confirmed it, nothing is found again, and what comes is.
    cluster.sql("insert into t values (1, 'a')");
    let end = found.progress.last().unwrap();
    drop(reader);
    let again = transactions(&mut fixture.follow(&plan, end).await, &plan, 1).await;
    assert_eq!(again.changes(), ["+t 1,a"]);
}

fn parse(lsn: &str) -> u64 {
    let (high, low) = lsn.split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

#[tokio::test]
async fn a_slot_that_no_longer_has_the_position_is_never_read() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let slot = cluster.sql("select slot_name from pg_replication_slots");

    // Read past the bookmark by someone else.
    cluster.sql("insert into t values (1, 'a')");
    cluster.sql(&format!("select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"));
    let ahead = fixture.refused(&plan, &from).await;
    assert_eq!((ahead.fault, ahead.code.as_str()), (Fault::PositionLost, "slot-ahead"));

    // Dropped, and made again under the same name.
    cluster.sql(&format!("select pg_drop_replication_slot('{slot}')"));
    cluster.sql("drop publication if exists nothing");
    let publication_alone = fixture.refused(&plan, &from).await;
    assert_eq!((publication_alone.fault, publication_alone.code.as_str()), (Fault::PositionLost, "slot-missing"));
    cluster.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    let recreated = fixture.refused(&plan, &from).await;
    assert_eq!((recreated.fault, recreated.code.as_str()), (Fault::PositionLost, "slot-ahead"));

    // A position of another system.
    let mut bytes = from.as_bytes().to_vec();
    bytes[0] ^= 1;
    let foreign = fixture.refused(&plan, &wavemark_domain::Position::new(bytes)).await;
    assert_eq!(foreign.fault, Fault::PositionLost);
}

#[tokio::test]
async fn an_invalidated_slot_is_told_as_one() {
    let cluster = Cluster::start(&[("max_slot_wal_keep_size", "1MB"), ("max_wal_size", "32MB")]);
    cluster.sql("create table t (id int primary key, note text)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("create table filler as select repeat('x', 1000) from generate_series(1, 60000); checkpoint");
    cluster.sql("select pg_switch_wal(); checkpoint");
    let problem = fixture.refused(&plan, &from).await;
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::PositionLost, "slot-invalidated"));
    assert!(problem.text.ends_with("it kept too much log."), "{problem}");
}

#[tokio::test]
async fn a_slot_held_by_a_sender_that_nobody_reads_is_freed() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let held = fixture.follow(&plan, &from).await;
    cluster.sql("insert into t values (1, 'a')");
    let mut second = fixture.follow(&plan, &from).await;
    assert_eq!(transactions(&mut second, &plan, 1).await.changes(), ["+t 1,a"]);
    drop(held);
}

#[tokio::test]
async fn an_overtaken_worker_neither_removes_nor_replaces_what_its_successor_made() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let mut successor = Fixture::new(&cluster);
    successor.task.epoch = wavemark_domain::Epoch(2);
    let plan = successor.plan(&["t"]).await;
    let from = successor.begin(&plan).await.position().clone();
    let late = Fixture::new(&cluster);
    let Err(problem) = late.source.begin(&late.task, &plan).await else { panic!("it should have been fenced") };
    assert_eq!(problem.fault, Fault::Fenced);
    assert_eq!(late.refused(&plan, &from).await.fault, Fault::Fenced);
    cluster.sql("insert into t values (1, 'a')");
    assert_eq!(transactions(&mut successor.follow(&plan, &from).await, &plan, 1).await.changes(), ["+t 1,a"]);
    successor.source.clean_up(&successor.task).await.unwrap();
    successor.source.clean_up(&successor.task).await.unwrap();
    assert_eq!(cluster.sql("select count(*) from pg_replication_slots"), "0");
    assert_eq!(cluster.sql("select count(*) from pg_publication"), "0");
}

#[tokio::test]
async fn a_reload_leaves_one_slot_and_one_publication() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text)");
    let mut fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let held = fixture.follow(&plan, &from).await;
    fixture.task.generation = wavemark_domain::ids::Generation(2);
    fixture.task.epoch = wavemark_domain::Epoch(2);
    let from = fixture.begin(&plan).await.position().clone();
    assert_eq!(cluster.sql("select count(*) from pg_replication_slots"), "1");
    assert_eq!(cluster.sql("select count(*) from pg_publication"), "1");
    cluster.sql("insert into t values (1, 'a')");
    assert_eq!(transactions(&mut fixture.follow(&plan, &from).await, &plan, 1).await.changes(), ["+t 1,a"]);
    drop(held);
}
