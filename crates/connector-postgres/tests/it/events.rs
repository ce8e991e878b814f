//! Alterations that event triggers at the source tell of: known at their place, with rows and without.

use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::check::Weight;
use wavemark_domain::layout::{ChangedTablePolicy, ColumnPolicy};
use wavemark_domain::state::TableState;
use wavemark_domain::task::{PublishedColumns, TaskKind, TaskSettings};
use wavemark_domain::{Fault, TaskId};
use wavemark_engine::{Ended, Run};

use crate::support::Cluster;
use crate::support::pair::Pair;
use crate::support::run::{told, until};
use crate::support::task;
use crate::support::task::{Fixture, Gathered, endpoint, transactions};

/// Triggers, and heartbeats so rare that none helps.
fn with_triggers() -> TaskSettings {
    TaskSettings { event_triggers: true, idle_seconds: 3_600, ..TaskSettings::default() }
}

const FILL: &str = "CREATE TABLE goods (id integer PRIMARY KEY, name varchar(10), price numeric(10, 2)); \
                    INSERT INTO goods SELECT n, 'no ' || n, n FROM generate_series(1, 50) n;";

/// Tables that are followed.
async fn followed(tables: &[&str], prepare: &str, settings: TaskSettings) -> (Pair, Run, tokio::task::JoinHandle<()>) {
    let pair = Pair::start(&[("logical_decoding_work_mem", "64kB")]).await;
    pair.source.batch_execute(prepare).await.unwrap();
    let run = pair.run(1, TaskKind::FullLoadAndCdc, tables, settings);
    let own = run.clone();
    let running = tokio::spawn(async move {
        assert_eq!(own.run().await.unwrap(), Ended::Stopped);
    });
    until(async || told(&run, "table-live").len() == tables.len()).await;
    (pair, run, running)
}

/// Every row with its columns by name, so that their order does not count.
async fn rows(client: &tokio_postgres::Client, table: &str) -> String {
    let sql = format!("SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY id), '[]')::text FROM {table} t");
    client.query_one(&sql, &[]).await.map_or_else(|error| error.to_string(), |row| row.get(0))
}

async fn become_equal(pair: &Pair, run: &Run, table: &str) {
    let are_equal = async || rows(&pair.mart, table).await == rows(&pair.source, table).await;
    let deadline = tokio::time::Instant::now() + task::PATIENCE;
    while !are_equal().await && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (of_mart, of_source) = (rows(&pair.mart, table).await, rows(&pair.source, table).await);
    let events: Vec<String> = run.status.events().into_iter().map(|event| event.text).collect();
    assert!(of_mart == of_source, "{of_mart}\n{of_source}\n{}", events.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alteration_arrives_at_once_though_no_row_is_written() {
    let (pair, run, running) = followed(&["goods"], FILL, with_triggers()).await;
    for step in [
        "ALTER TABLE goods ADD stock integer DEFAULT 7, ADD note text",
        "ALTER TABLE goods DROP price, ALTER name TYPE text",
        "ALTER TABLE goods RENAME name TO title",
    ] {
        pair.source.batch_execute(step).await.unwrap();
        become_equal(&pair, &run, "goods").await;
    }
    pair.source.batch_execute("UPDATE goods SET title = 'a longer one than before' WHERE id % 3 = 0").await.unwrap();
    become_equal(&pair, &run, "goods").await;
    run.stop.cancel();
    running.await.unwrap();
    assert_eq!(told(&run, "table-parked"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_has_its_table_loaded_again_at_once_and_a_drop_parks_it() {
    let settings = TaskSettings { changed_tables: ChangedTablePolicy::ReloadTable, ..with_triggers() };
    let other = "CREATE TABLE other (id integer PRIMARY KEY); INSERT INTO other VALUES (1);";
    let (pair, run, running) = followed(&["goods", "other"], &format!("{FILL}{other}"), settings).await;
    let all_live = || run.status.progress().tables.iter().all(|table| table.state == TableState::Live);
    let inside = "BEGIN; INSERT INTO goods VALUES (99, 'new', 1); ALTER TABLE goods ADD at timestamptz DEFAULT clock_timestamp(); \
        INSERT INTO other VALUES (2); INSERT INTO goods VALUES (100, 'newer', 2); COMMIT";
    for (parks, rewrite) in [(1, "ALTER TABLE goods ALTER price TYPE numeric(10, 2) USING -price"), (2, inside)] {
        pair.source.batch_execute(rewrite).await.unwrap();
        until(async || told(&run, "table-parked").len() >= parks && all_live()).await;
        become_equal(&pair, &run, "goods").await;
        become_equal(&pair, &run, "other").await;
    }
    pair.source.batch_execute("VACUUM FULL goods").await.unwrap();
    pair.source.batch_execute("ALTER TABLE goods ALTER name TYPE text; DROP TABLE other").await.unwrap();
    until(async || told(&run, "table-parked").len() >= 3).await;
    let parked = told(&run, "table-parked");
    assert!(parked[2].contains("public.other was changed at the source: it was dropped"), "{parked:?}");
    become_equal(&pair, &run, "goods").await;
    run.stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_are_not_sent_are_not_missed() {
    let settings = TaskSettings {
        published_columns: PublishedColumns::Mapped,
        added_columns: ColumnPolicy::Ignore,
        ..with_triggers()
    };
    let (pair, run, running) = followed(&["goods"], FILL, settings).await;
    for step in [
        "ALTER TABLE goods ADD stock integer DEFAULT 7",
        "UPDATE goods SET stock = 8, name = 'eight' WHERE id = 1",
        "ALTER TABLE goods DROP stock, ADD stock bigint",
        "ALTER TABLE goods ADD random float8 DEFAULT random()",
        "UPDATE goods SET stock = 9, name = 'nine' WHERE id = 2",
    ] {
        pair.source.batch_execute(step).await.unwrap();
    }
    let name = "SELECT string_agg(name, ' ' ORDER BY id) FROM goods WHERE id < 3";
    let parked = || told(&run, "table-parked");
    let arrived = async || pair.mart.query_one(name, &[]).await.unwrap().get::<_, String>(0) == "eight nine";
    until(async || arrived().await || !parked().is_empty()).await;
    run.stop.cancel();
    running.await.unwrap();
    assert_eq!(parked(), Vec::<String>::new());
}

const TABLE: &str = "create table t (id int primary key, n int)";

/// A server with a role that may replicate, and whose tables are its own.
fn with_role() -> Cluster {
    let cluster = Cluster::prepared(&[("fsync", "off")], "host all copier localhost trust", |_| {});
    cluster.sql(&format!(
        "create role copier login replication; grant create on database postgres to copier;
         grant all on schema public to copier; set role copier; {TABLE}"
    ));
    cluster
}

fn fixture(cluster: &Cluster, role: &str) -> Fixture {
    let mut fixture = Fixture::new(cluster);
    fixture.task.settings = with_triggers();
    fixture.source = Postgres.source(&endpoint(cluster, role)).unwrap();
    fixture
}

#[tokio::test]
async fn a_role_that_may_not_make_them_is_refused_and_uses_those_that_somebody_made() {
    let cluster = with_role();
    let fixture = fixture(&cluster, "copier");
    let plan = fixture.plan(&["t"]).await;
    let text = "The endpoint's role may not make the event triggers at the source that event_triggers asks for.";
    let found = fixture.source.assess(&fixture.task, &plan).await.unwrap();
    let found = found.into_iter().find(|finding| finding.code == "event-triggers").unwrap();
    assert_eq!((found.weight, found.text.as_str()), (Weight::Blocker, text));
    let Err(problem) = fixture.source.begin(&fixture.task, &plan).await else { panic!("it is refused") };
    assert_eq!(
        (problem.fault, problem.code.as_str(), problem.text.as_str()),
        (Fault::Settings, "event-triggers", text)
    );
    assert!(problem.advice.unwrap().contains("set event_triggers to false"));
    assert_eq!(cluster.sql("select count(*) from pg_namespace where nspname = 'wavemark_source'"), "0");
    // What the assessment gives is run by a superuser; then nothing is in the way.
    cluster.sql(&found.mend.unwrap());
    let found = fixture.source.assess(&fixture.task, &plan).await.unwrap();
    assert!(found.iter().all(|finding| finding.code != "event-triggers"));
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("set role copier; alter table t drop n, add n int default 7; insert into t values (1, 1)");
    let mut reader = fixture.follow(&plan, &from).await;
    let read = reader.next(1 << 20).await.unwrap();
    assert_eq!(read.layouts.len(), 1);
    // A role may only take away what it made.
    fixture.source.clean_up(&fixture.task).await.unwrap();
    assert_eq!(cluster.sql("select count(*) from pg_event_trigger"), "3");
}

#[tokio::test]
async fn who_only_may_connect_tells_nothing() {
    let cluster = with_role();
    let fixture = fixture(&cluster, "postgres");
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let oid = cluster.sql("select 't'::regclass::oid");
    cluster.sql("create role nobody");
    let forged = format!(
        r#"{{"altered": {oid}, "schema": "public", "name": "t", "identity": "d", "ever": 2, "columns": [[1, "id", 23, -1, true]], "missing": {{}}}}"#
    );
    for content in
        [forged.clone(), format!(r#"{{"dropped": [{oid}]}}"#), format!(r#"{{"rewritten": {oid}, "reason": 4}}"#)]
    {
        for message in
            [content.clone(), format!(r#"{{"token": 0, "told": {content}}}"#), format!(r#"{{"told": {content}}}"#)]
        {
            cluster.sql(&format!("set role nobody; select pg_logical_emit_message(true, 'wavemark.ddl', '{message}')"));
        }
    }
    let read = "do $$ declare read bigint; begin select last_value into read from wavemark_source.token; raise 'it was read'; \
                exception when insufficient_privilege then null; end $$";
    cluster.sql(&format!("set role nobody; {read}"));
    cluster.sql("insert into t values (1, 1)");
    let mut reader = fixture.follow(&plan, &from).await;
    let found = transactions(&mut reader, &plan, 1).await;
    assert_eq!(found.changes(), ["+t 1,1"]);
    assert!(found.barriers.is_empty());
    cluster.sql("alter role copier noreplication");
    let settings = format!("host=localhost port={} user=copier dbname=postgres", cluster.port);
    let (client, driver) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    let row = client.query_one("select token from wavemark_source.since()", &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<i64>>(0), None);
}

#[tokio::test]
async fn nobodys_statement_fails_for_them() {
    let cluster = with_role();
    let mut fixture = fixture(&cluster, "postgres");
    fixture.task.settings.idle_seconds = 1;
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    let add = |column: &str| {
        let alter =
            format!("alter table t add {column} int; insert into t (id, {column}) values ({}, 1)", column.len());
        cluster.sql(&format!("set role copier; create temp table mine (id int); alter table mine add x int; {alter}"));
    };
    add("a");
    // What it reads is gone; then even what it writes with is taken from it; then it is gone itself but for its name.
    cluster.sql("drop sequence wavemark_source.token");
    add("bb");
    cluster.sql(
        "create role weak; grant create, usage on schema wavemark_source to weak;
         alter function wavemark_source.tell() owner to weak;
         do $$ begin execute (select string_agg(format('revoke execute on function %s from public', oid::regprocedure), ';')
             from pg_proc where proname = 'pg_logical_emit_message'); end $$",
    );
    add("ccc");
    cluster.sql("create or replace function wavemark_source.tell() returns event_trigger language plpgsql as $$ begin null; end $$");
    add("dddd");
    // What is not told is found by the log and the catalog.
    let mut reader = fixture.follow(&plan, &from).await;
    let mut plan = plan;
    let mut rows = Vec::new();
    while rows.len() < 4 {
        let read = tokio::time::timeout(task::PATIENCE, reader.next(1 << 20)).await.unwrap().unwrap();
        assert!(read.barriers.is_empty(), "{:?}", read.barriers);
        read.layouts.iter().for_each(|next| plan = vec![next.plan.clone()]);
        rows.extend(read.batch.changes().iter().map(|change| task::shown(&read.batch, change, &plan)));
    }
    assert_eq!(rows, ["+t 1,null,1", "+t 2,null,null,1", "+t 3,null,null,null,1", "+t 4,null,null,null,null,1"]);
}

#[tokio::test]
async fn what_was_altered_while_they_were_off_is_not_taken_for_told() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(TABLE);
    cluster.sql("create table calm (id int primary key)");
    let fixture = fixture(&cluster, "postgres");
    let plan = fixture.plan(&["t", "calm"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    // A session of a replica is told of all the same.
    cluster.sql("set session_replication_role = replica; alter table t drop n, add n int");
    let mut reader = fixture.follow(&plan, &from).await;
    let read = reader.next(1 << 20).await.unwrap();
    assert_eq!(read.layouts.len(), 1);
    let mut plan = plan;
    plan[0] = read.layouts[0].plan.clone();
    let from = read.batch.transactions().last().unwrap().end.clone();
    for trigger in ["wavemark_altered", "wavemark_rewritten", "wavemark_dropped"] {
        cluster.sql(&format!("alter event trigger {trigger} disable"));
    }
    cluster.sql("alter table t drop n; alter table t add n int");
    for trigger in ["wavemark_altered", "wavemark_rewritten", "wavemark_dropped"] {
        cluster.sql(&format!("alter event trigger {trigger} enable always"));
    }
    cluster.sql("insert into t values (1, 1); insert into calm values (1)");
    let is_calm = |found: &Gathered| found.changes().contains(&"+calm 1");
    let found = Gathered::default().until(&mut fixture.follow(&plan, &from).await, &plan, 1 << 20, is_calm).await;
    assert_eq!(found.changes(), ["#t", "+calm 1"]);
    assert!(found.barriers[0].1.text.ends_with("column n was dropped and added again."), "{:?}", found.barriers);
}

#[tokio::test]
async fn whoever_did_not_hear_them_for_a_while_takes_nothing_for_told() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(TABLE);
    cluster.sql("create table calm (id int primary key)");
    let mut fixture = fixture(&cluster, "postgres");
    let plan = fixture.plan(&["t", "calm"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    // They tell, and the reader of then does not hear.
    fixture.task.settings.event_triggers = false;
    cluster.sql("insert into calm values (0)");
    let mut deaf = fixture.follow(&plan, &from).await;
    transactions(&mut deaf, &plan, 1).await;
    cluster.sql("alter table t drop n, add n int");
    cluster.sql("insert into calm values (1)");
    let bookmark = transactions(&mut deaf, &plan, 1).await.transactions[0].end.clone();
    drop(deaf);
    fixture.task.settings.event_triggers = true;
    cluster.sql("insert into t values (1, 1)");
    cluster.sql("alter table t add more int");
    cluster.sql("insert into calm values (2)");
    let is_calm = |found: &Gathered| found.changes().contains(&"+calm 2");
    let found = Gathered::default().until(&mut fixture.follow(&plan, &bookmark).await, &plan, 1 << 20, is_calm).await;
    assert_eq!(found.changes(), ["#t", "+calm 2"]);
    assert!(found.barriers[0].1.text.ends_with("column n was dropped and added again."), "{:?}", found.barriers);
}

#[tokio::test]
async fn the_last_task_takes_them_away() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(TABLE);
    let first = fixture(&cluster, "postgres");
    let mut second = fixture(&cluster, "postgres");
    second.task.task = TaskId(uuid::Uuid::from_u128(0x0192_aaaa_bbbb_dddd));
    second.task.settings.event_triggers = false;
    let count = "select count(*) from pg_event_trigger";
    let plan = first.plan(&["t"]).await;
    // Whoever begins at the same time makes them once.
    let (one, other) = tokio::join!(first.source.begin(&first.task, &plan), second.source.begin(&second.task, &plan));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(cluster.sql(count), "3");
    drop((one, other));
    first.source.clean_up(&first.task).await.unwrap();
    assert_eq!(cluster.sql(count), "3");
    second.source.clean_up(&second.task).await.unwrap();
    let left = "select count(*) from pg_namespace where nspname = 'wavemark_source'";
    assert_eq!((cluster.sql(count), cluster.sql(left)), ("0".to_owned(), "0".to_owned()));
    // Nothing is in the way of a task that has none.
    second.source.clean_up(&second.task).await.unwrap();
}

#[tokio::test]
async fn what_others_write_into_the_log_is_passed_over() {
    let cluster = Cluster::start(&[("fsync", "off"), ("logical_decoding_work_mem", "64kB")]);
    cluster.sql(TABLE);
    let mut fixture = fixture(&cluster, "postgres");
    fixture.task.settings.row_mib = 1;
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql(
        "select pg_logical_emit_message(false, 'theirs', repeat('x', 3000000));
         select pg_logical_emit_message(true, 'theirs', repeat('x', 3000000));
         begin; insert into t select n, n from generate_series(1, 4000) n;
         select pg_logical_emit_message(true, 'theirs', repeat('x', 3000000)); select pg_logical_emit_message(true, 'x', 'small');
         insert into t values (5000, 1); commit",
    );
    let mut reader = fixture.follow(&plan, &from).await;
    assert_eq!(transactions(&mut reader, &plan, 1).await.changes().len(), 4_001);
}
