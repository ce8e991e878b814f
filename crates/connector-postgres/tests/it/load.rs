//! Discovery, views, chunks and touched keys on a real server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support;
use crate::support::Cluster;
use crate::support::task;
use crate::support::task::{Fixture, bytes_of, client, integers, load, planned, rows_of, transactions};
use wavemark_connector::TaskContext;
use wavemark_connector::source::{BlockFormat, KeptFor, KeySet, Touched};
use wavemark_connector_postgres::encoding::{BINARY, COPY_BINARY};
use wavemark_connector_postgres::native::{ColumnNative, Identity, TableNative, TypeCategory, TypeShape};
use wavemark_domain::catalog::{TableKind, TableName};
use wavemark_domain::{Epoch, Fault, Table, TableId, TablePlan};

const HARD: &str = r#"
    create schema "Sch.ema ""q""";
    create schema wavemark; create table wavemark.fence (id int);
    create type mood as enum ('sad', 'o''k', 'very "happy"');
    create domain positive as int check (value > 0);
    create domain more_positive as positive check (value > 1);
    create type pair as (left_one positive, right_one mood[]);
    create type span as range (subtype = numeric);
    create table "Sch.ema ""q"""."ein.Tisch mit 63 Bytes und 'Zeichen' und "" und 😀 ..........x" (
        "Id" bigint generated always as identity primary key,
        "a.b""c" text collate "C" not null default 'it''s',
        double int generated always as (length("a.b""c")) stored,
        n numeric(10, 2)
    );
    create table everything (
        a int, b text, m mood default 'sad', p more_positive, q pair, ms mood[], s span, mr int4multirange, acl aclitem,
        serial_one serial,
        constraint odd_order primary key (b, a) include (m),
        constraint one unique (p), constraint sane check (a > 0)
    );
    create index on everything (lower(b)) where a > 5;
    create unique index on everything (a desc, s);
    create table child (id int primary key, b text, a int,
        constraint up foreign key (b, a) references everything (b, a) on delete cascade deferrable initially deferred);
    create table log (at date not null, n int not null, note text, primary key (n, at)) partition by range (at);
    create table log_1 partition of log for values from ('2026-01-01') to ('2026-02-01');
    create table log_2 (note text, n int not null, at date not null);
    alter table log attach partition log_2 for values from ('2026-02-01') to ('2026-03-01');
    create table keyless (a int, b text); alter table keyless replica identity full;
    create table by_index (a int not null, b int not null, c text, primary key (a));
    create unique index by_b on by_index (b); alter table by_index replica identity using index by_b;
    create unlogged table fleeting (id int primary key);
    create view looks as select a, b from everything;
    create table hidden (id int primary key);
    comment on table child is 'of whom';
"#;

fn named<'a>(tables: &'a [Table], name: &str) -> &'a Table {
    tables.iter().find(|table| table.name.table == name).unwrap_or_else(|| panic!("no table {name}"))
}

#[tokio::test]
async fn hard_tables_are_discovered_as_they_are() {
    let cluster = Cluster::start(&[]);
    cluster.sql(HARD);
    cluster.sql("create temp table gone (id int)");
    let fixture = Fixture::new(&cluster);
    let tables = fixture.source.tables(&|_| true).await.unwrap();
    let names: Vec<_> = tables.iter().map(|table| table.name.table.as_str()).collect();
    let long = "ein.Tisch mit 63 Bytes und 'Zeichen' und \" und 😀 ..........x";
    assert_eq!(long.len(), 63);
    assert_eq!(names, [long, "by_index", "child", "everything", "fleeting", "hidden", "keyless", "log", "looks"]);

    let odd = &tables[0];
    assert_eq!(odd.name, TableName::new("Sch.ema \"q\"", long));
    let columns: Vec<_> = odd.columns.iter().map(|c| (c.name.as_str(), c.declared.as_str(), c.generated)).collect();
    assert_eq!(
        columns,
        [
            ("Id", "bigint", false),
            ("a.b\"c", "text", false),
            ("double", "integer", true),
            ("n", "numeric(10,2)", false)
        ]
    );
    assert_eq!(ColumnNative::of(&odd.columns[0]).unwrap().identity, Some(Identity::Always));
    let text = ColumnNative::of(&odd.columns[1]).unwrap();
    assert_eq!((text.default.as_deref(), text.collation.unwrap().name.as_str()), (Some("'it''s'::text"), "C"));
    assert_eq!(ColumnNative::of(&odd.columns[2]).unwrap().generated.as_deref(), Some("length(\"a.b\"\"c\")"));
    assert_eq!(odd.key, ["Id"]);

    let everything = named(&tables, "everything");
    assert_eq!(everything.key, ["b", "a"]);
    let native = TableNative::of(everything).unwrap();
    let primary = native.primary_key.unwrap();
    assert_eq!(
        (primary.name.as_str(), primary.columns, primary.included),
        ("odd_order", vec!["b".into(), "a".into()], vec!["m".into()])
    );
    assert_eq!((native.uniques.len(), native.checks[0].definition.as_str()), (1, "CHECK ((a > 0))"));
    let definitions: Vec<_> = native.indexes.iter().map(|index| index.definition.as_str()).collect();
    assert_eq!(definitions, ["USING btree (a DESC, s)", "USING btree (lower(b)) WHERE (a > 5)"]);
    assert_eq!(native.indexes[1].columns, [None]);
    let kinds: Vec<_> = native.types.iter().map(|one| one.name.name.as_str()).collect();
    let place =
        |name: &str| kinds.iter().position(|kind| *kind == name).unwrap_or_else(|| panic!("{name} in {kinds:?}"));
    assert!(
        place("mood") < place("pair")
            && place("positive") < place("pair")
            && place("positive") < place("more_positive")
    );
    let TypeShape::Enum { labels } = &native.types[place("mood")].shape else { panic!() };
    assert_eq!(labels, &["sad", "o'k", "very \"happy\""]);
    let TypeShape::Range { subtype, multirange, .. } = &native.types[place("span")].shape else { panic!() };
    assert_eq!((subtype.as_str(), multirange.as_deref()), ("numeric", Some("span_multirange")));
    assert_eq!(native.sequences[0].name.name, "everything_serial_one_seq");
    assert!(native.sequences[0].owned && !native.sequences[0].identity);
    let moods = ColumnNative::of(&everything.columns[everything.column("ms").unwrap()]).unwrap().r#type;
    assert_eq!((moods.category, moods.inner.unwrap().category), (TypeCategory::Array, TypeCategory::Enum));
    let acl = &everything.columns[everything.column("acl").unwrap()];
    assert_eq!(fixture.source.offers(everything, acl), []);
    assert_eq!(fixture.source.offers(everything, &everything.columns[0]).first(), Some(&BINARY));

    let up = &TableNative::of(named(&tables, "child")).unwrap().foreign_keys[0];
    assert_eq!(
        (up.columns.clone(), up.target.name.as_str(), up.target_columns.clone()),
        (vec!["b".to_owned(), "a".to_owned()], "everything", vec!["b".to_owned(), "a".to_owned()])
    );
    assert!(up.deferrable && up.deferred && up.validated && up.on_delete == "c");
    assert_eq!(TableNative::of(named(&tables, "child")).unwrap().comment.as_deref(), Some("of whom"));

    let parts = named(&tables, "log");
    assert_eq!((parts.kind, parts.key.clone()), (TableKind::Partitioned, vec!["n".to_owned(), "at".to_owned()]));
    assert_eq!(TableNative::of(parts).unwrap().partitioning.unwrap().columns, [Some("at".to_owned())]);
    assert_eq!(named(&tables, "keyless").key, Vec::<String>::new());
    assert_eq!(named(&tables, "by_index").key, ["b"]);
    assert_eq!(named(&tables, "looks").kind, TableKind::View);
}

#[tokio::test]
async fn findings_come_with_the_statement_that_mends_them() {
    let cluster = Cluster::start(&[("max_replication_slots", "1"), ("max_prepared_transactions", "2")]);
    cluster.sql(HARD);
    cluster.sql("alter table everything drop constraint odd_order cascade");
    cluster.sql(&format!("create role limited login password '{}'", support::PASSWORD.replace('\'', "''")));
    let other = client(&cluster).await;
    other.batch_execute("begin; insert into hidden values (1); prepare transaction 'it''s old'").await.unwrap();
    let fixture = Fixture::new(&cluster);
    let tables = fixture.source.tables(&|_| true).await.unwrap().into_iter().enumerate();
    let tables: Vec<TablePlan> = tables.map(|(at, table)| planned(at, table)).collect();
    let found = fixture.source.assess(&fixture.task, &tables).await.unwrap();
    let mend = |code: &str| {
        found.iter().find(|one| one.code == code).unwrap_or_else(|| panic!("{code} in {found:#?}")).mend.clone()
    };
    assert_eq!(mend("no-replica-identity").unwrap(), "ALTER TABLE \"public\".\"everything\" REPLICA IDENTITY FULL;");
    assert_eq!(mend("unlogged").unwrap(), "ALTER TABLE \"public\".\"fleeting\" SET LOGGED;");
    assert!(mend("type-without-binary-form").is_none());
    assert!(mend("not-followable").is_none());
    assert_eq!(mend("prepared-transaction").unwrap(), "ROLLBACK PREPARED 'it''s old'; -- or COMMIT PREPARED");
    assert!(mend("few-slots-left").unwrap().contains("max_replication_slots"));
    assert!(found.is_sorted_by_key(|one| one.weight));
    cluster.sql("rollback prepared 'it''s old'");

    // What would break its users' updates is not published.
    let everything = tables.iter().find(|table| table.name().table == "everything").unwrap();
    let plan = vec![planned(0, Table::clone(&everything.source))];
    let Err(problem) = fixture.source.begin(&fixture.task, &plan).await else { panic!("it was published") };
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Settings, "no-replica-identity"));
    assert_eq!(cluster.sql("select count(*) from pg_publication"), "0");
}

#[tokio::test]
async fn chunks_hold_each_row_once_as_of_the_view_while_others_write() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create table t (id int primary key, v int, note text);
         insert into t select n, 1000, repeat('x', 100) from generate_series(1, 20000) n;
         create table p (id int, v int, primary key (id, v)) partition by hash (id);
         create table p1 partition of p for values with (modulus 2, remainder 0);
         create table p2 partition of p for values with (modulus 2, remainder 1);
         insert into p select n, 1 from generate_series(1, 5000) n",
    );
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t", "p"]).await;
    let writer = client(&cluster).await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // Moves amounts between rows, which also moves the rows: their sum is the same in every consistent view.
    let writing = tokio::spawn(async move {
        let mut n = 0_u32;
        while !stopped.load(Ordering::Relaxed) {
            n += 1;
            let (a, b) = (n * 7919 % 20_000 + 1, n * 104_729 % 20_000 + 1);
            if a != b {
                let transfer = format!(
                    "begin; update t set v = v - 5 where id = {a}; update t set v = v + 5 where id = {b}; commit"
                );
                writer.batch_execute(&transfer).await.unwrap();
            }
        }
        n
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let view = fixture.begin(&plan).await;
    let rows = load(&*view, &plan[0], 200_000).await;
    let parts = load(&*view, &plan[1], 30_000).await;
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 50);
    assert!(view.chunks(&plan[0], 200_000).await.unwrap().len() > 8);

    let mut model: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &rows {
        let mut fields = row.strip_prefix("+t ").unwrap().split(',').map(str::parse::<i64>);
        let (id, v) = (fields.next().unwrap().unwrap(), fields.next().unwrap().unwrap());
        assert!(model.insert(id, v).is_none(), "row {id} came twice");
    }
    assert_eq!(model.len(), 20_000);
    assert_eq!(model.values().sum::<i64>(), 20_000_000);
    assert_eq!(parts.len(), 5000);
    assert_eq!(parts.iter().collect::<std::collections::BTreeSet<_>>().len(), 5000);

    // View and log meet: replaying the log over the view gives the table as it is.
    let end = cluster.sql("insert into t values (0, 0, 'end'); select count(*) from t");
    assert_eq!(end, "20001");
    let mut reader = fixture.follow(&plan, view.position()).await;
    let found = task::Gathered::default()
        .until(&mut reader, &plan, 1 << 20, |found| {
            found.changes().last().is_some_and(|last| last.starts_with("+t 0,"))
        })
        .await;
    for change in found.changes() {
        let mut fields = change[3..].split(',').map(str::parse::<i64>);
        model.insert(fields.next().unwrap().unwrap(), fields.next().unwrap().unwrap());
    }
    let expected: BTreeMap<i64, i64> = cluster
        .sql("select id || ' ' || v from t")
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(id, v)| (id.parse().unwrap(), v.parse().unwrap()))
        .collect();
    assert_eq!(model, expected);
}

#[tokio::test]
async fn a_chunk_passes_through_as_the_server_wrote_it() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text); insert into t select n, 'row ' || n from generate_series(1, 3000) n");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let view = fixture.begin(&plan).await;
    view.enter(&plan[0]).await.unwrap();
    let ranges = view.chunks(&plan[0], 1 << 30).await.unwrap();
    assert_eq!(ranges.len(), 1);
    let format = BlockFormat::Stream(COPY_BINARY);
    let whole = bytes_of(view.read(&plan[0], &ranges[0], format, None).await.unwrap()).await;
    let direct = client(&cluster).await;
    let stream = direct.copy_out("copy t to stdout (format binary)").await.unwrap();
    let expected: Vec<u8> = futures_util::TryStreamExt::try_collect::<Vec<_>>(stream).await.unwrap().concat();
    assert_eq!(whole, expected);

    let mut without = KeySet::default();
    (1..3000_i32).for_each(|n| {
        without.insert([&n.to_be_bytes()[..]]);
    });
    let left = bytes_of(view.read(&plan[0], &ranges[0], format, Some(Arc::new(without))).await.unwrap()).await;
    let one = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\x0b\xb8\0\0\0\x08row 3000\xff\xff";
    assert_eq!(left, one);
}

#[tokio::test]
async fn rows_are_fetched_by_keys_of_every_kind() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create type mood as enum ('sad', 'ok'); create domain code as text check (length(value) > 0);
         create extension citext;
         create table odd (m mood, c code, u uuid, i int[], n numeric, ci citext, v varchar(5), note text,
                           primary key (m, c, u, i, n, ci, v));
         insert into odd select case when n % 2 = 0 then 'sad'::mood else 'ok' end, 'c' || n,
                ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, array[n, null], n + 0.50, 'Ci' || n, 'v', 'note ' || n
         from generate_series(1, 3000) n",
    );
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["odd"]).await;
    assert_eq!(plan[0].key.len(), 7);
    let view = fixture.begin(&plan).await;
    // Keys as the log has them.
    cluster.sql("update odd set note = 'again'");
    let from = view.position().clone();
    let to = fixture.source.view_again(&fixture.task, &plan).await.unwrap();
    let touched = fixture
        .source
        .touched(&fixture.task, &plan, &[TableId(0)], (&from, to.position()), KeptFor::Task)
        .await
        .unwrap();
    let [Touched::Keys(keys)] = &touched[..] else { panic!("{touched:?}") };
    assert_eq!(keys.len(), 3000);
    to.enter(&plan[0]).await.unwrap();
    let rows = rows_of(to.read_keys(&plan[0], keys, BlockFormat::Rows).await.unwrap(), &plan[0]).await;
    assert_eq!(rows.len(), 3000);
    assert!(rows.iter().all(|row| row.ends_with(",again")));
    // In the first view they are as they were.
    view.enter(&plan[0]).await.unwrap();
    let rows = rows_of(view.read_keys(&plan[0], keys, BlockFormat::Rows).await.unwrap(), &plan[0]).await;
    assert_eq!(rows.iter().filter(|row| row.contains(",note ")).count(), 3000);
    assert_eq!(
        bytes_of(view.read_keys(&plan[0], &KeySet::default(), BlockFormat::Stream(COPY_BINARY)).await.unwrap()).await,
        b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff"
    );
}

#[tokio::test]
async fn the_touched_keys_are_exactly_those_between_two_views() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create table t (id int primary key, note text); insert into t select n, repeat('x', 200) from generate_series(1, 200) n;
         create table p (id int primary key, note text) partition by range (id);
         create table p1 partition of p for values from (0) to (100);
         create table p2 partition of p for values from (100) to (1000);
         insert into p select n, 'a' from generate_series(1, 10) n;
         create table cut (id int primary key); insert into cut values (1);
         create table keyless (a int); alter table keyless replica identity full;
         create table full_one (id int primary key, note text); alter table full_one replica identity full;
         insert into full_one values (1, 'a'), (2, 'b')",
    );
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t", "p", "cut", "keyless", "full_one"]).await;
    let first = fixture.begin(&plan).await;
    let storage = first.enter(&plan[0]).await.unwrap().storage;
    let p1 = first.position().clone();
    drop(first);
    cluster.sql("update t set note = 'moved' where id in (1, 150); delete from t where id = 7; insert into t values (300, 'new')");
    cluster.sql("update t set id = 400 where id = 9");
    cluster.sql("begin; update t set note = 'no' where id = 11; rollback");
    cluster.sql("update p set id = 500 where id = 3; truncate cut; update full_one set note = 'c' where id = 2");
    let second = fixture.source.view_again(&fixture.task, &plan).await.unwrap();
    cluster.sql("update t set note = 'after' where id = 20; update p set note = 'after' where id = 5");
    let tables: Vec<TableId> = plan.iter().map(|table| table.id).collect();
    let found =
        fixture.source.touched(&fixture.task, &plan, &tables, (&p1, second.position()), KeptFor::Task).await.unwrap();
    let keys = |at: usize| match &found[at] {
        Touched::Keys(keys) => integers(keys),
        Touched::StartOver(why) => panic!("{why}"),
    };
    assert_eq!(keys(0), [1, 7, 9, 150, 300, 400]);
    assert_eq!(keys(1), [3, 500]);
    assert_eq!(found[2], Touched::StartOver("table public.cut was truncated after its load began".to_owned()));
    assert!(matches!(found[3], Touched::StartOver(_)));
    assert_eq!(keys(4), [2]);
    assert_eq!(second.enter(&plan[0]).await.unwrap().storage, storage);

    // Nothing was confirmed, and the slot still gives everything.
    drop(second);
    let again = transactions(&mut fixture.follow(&plan, &p1).await, &plan, 4).await;
    assert_eq!(again.transactions[0].changes.len(), 4);
    assert_eq!(cluster.sql("select count(*) from pg_replication_slots"), "1");
}

#[tokio::test]
async fn a_table_that_was_renamed_after_the_plan_is_told_as_changed_whether_its_name_is_taken_or_not() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table moved (id int primary key); create table swapped (id int primary key)");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["moved", "swapped"]).await;
    let view = fixture.begin(&plan).await;
    cluster.sql("alter table moved rename to elsewhere; alter table swapped rename to next");
    cluster.sql("create table swapped (id int primary key)");
    for (table, name) in plan.iter().zip(["elsewhere", "next"]) {
        let problem = view.enter(table).await.unwrap_err();
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Data, "table-changed"));
        assert!(problem.text.contains(&format!("it is now named public.{name}")), "{}", problem.text);
    }
}

#[tokio::test]
async fn a_table_rewritten_after_the_view_is_not_read_in_it() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "create table kept (id int primary key); create table rewritten (id int primary key, n int);
         create table emptied (id int primary key); create table altered (id int primary key, n int);
         insert into rewritten values (1, 1); insert into emptied values (1)",
    );
    let mut fixture = Fixture::new(&cluster);
    fixture.task.settings.lock_timeout_seconds = 1;
    let plan = fixture.plan(&["kept", "rewritten", "emptied", "altered"]).await;
    let view = fixture.begin(&plan).await;
    cluster.sql("vacuum full rewritten");
    cluster.sql("truncate emptied");
    cluster.sql("alter table altered alter n type bigint");
    assert!(view.enter(&plan[0]).await.unwrap().readable);
    assert!(!view.enter(&plan[1]).await.unwrap().readable);
    assert!(!view.enter(&plan[2]).await.unwrap().readable);
    let problem = view.enter(&plan[3]).await.unwrap_err();
    assert_eq!((problem.fault, problem.code.as_str()), (Fault::Data, "table-changed"));

    // An entered table can't be truncated; a table that is locked is told as such and the view lives on.
    let other = client(&cluster).await;
    other.batch_execute("set lock_timeout = 200").await.unwrap();
    assert_eq!(other.batch_execute("truncate kept").await.unwrap_err().code().unwrap().code(), "55P03");
    cluster.sql("create table late (id int primary key)");
    drop(view);
    // Before the lock: it gives its transaction a number, and a slot waits for all of those.
    let again = fixture.source.view_again(&fixture.task, &plan).await.unwrap();
    other.batch_execute("set lock_timeout = '20s'").await.unwrap();
    other.batch_execute("begin; lock table rewritten").await.unwrap();
    let locked = again.enter(&plan[1]).await.unwrap_err();
    assert_eq!((locked.fault, locked.code.as_str()), (Fault::Transient, "lock-timeout"));
    other.batch_execute("rollback").await.unwrap();
    assert!(again.enter(&plan[1]).await.unwrap().readable);
    assert_eq!(load(&*again, &plan[1], 1 << 20).await, ["+rewritten 1,1"]);
}

#[tokio::test]
async fn what_is_loaded_aside_keeps_its_log_whatever_the_task_confirms() {
    let cluster = Cluster::start(&[]);
    cluster.sql("create table t (id int primary key, note text); insert into t values (1, 'a'), (2, 'b')");
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let begun = fixture.begin(&plan).await.position().clone();
    assert!(!fixture.source.keeps_aside(&fixture.task, &begun).await.unwrap());
    cluster.sql("update t set note = 'before' where id = 1");

    let aside = fixture.source.begin_aside(&fixture.task, &plan).await.unwrap();
    let from = aside.position().clone();
    aside.enter(&plan[0]).await.unwrap();
    assert_eq!(load(&*aside, &plan[0], 1 << 20).await, ["+t 2,b", "+t 1,before"]);
    drop(aside);
    cluster.sql("update t set note = 'later' where id = 2");
    let slots = "select pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) from pg_replication_slots \
                 where slot_name not like '%a'";
    cluster.sql(slots);
    let later = fixture.source.view_again(&fixture.task, &plan).await.unwrap();
    assert!(fixture.source.keeps_aside(&fixture.task, &from).await.unwrap());
    assert!(!fixture.source.keeps_aside(&fixture.task, &begun).await.unwrap(), "it begins after that");
    let between = (&from, later.position());
    let found = fixture.source.touched(&fixture.task, &plan, &[TableId(0)], between, KeptFor::Aside).await.unwrap();
    let [Touched::Keys(keys)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(integers(keys), [2]);

    let overtaken = TaskContext { epoch: Epoch(fixture.task.epoch.0 - 1), ..fixture.task.clone() };
    for late in
        [fixture.source.begin_aside(&overtaken, &plan).await.map(drop), fixture.source.end_aside(&overtaken).await]
    {
        assert_eq!(late.unwrap_err().fault, Fault::Fenced);
    }
    fixture.source.end_aside(&fixture.task).await.unwrap();
    fixture.source.end_aside(&fixture.task).await.unwrap();
    assert!(!fixture.source.keeps_aside(&fixture.task, &from).await.unwrap());
    let gone = fixture.source.touched(&fixture.task, &plan, &[TableId(0)], between, KeptFor::Aside).await.unwrap_err();
    assert_eq!(gone.fault, Fault::Transient, "the task as a whole has lost nothing: {gone}");

    drop(fixture.source.begin_aside(&fixture.task, &plan).await.unwrap());
    fixture.source.clean_up(&fixture.task).await.unwrap();
    assert_eq!(cluster.sql("select count(*) from pg_replication_slots where not temporary"), "0");
}

#[tokio::test]
async fn the_state_of_the_log_and_the_counters_are_told() {
    let cluster = Cluster::start(&[("max_slot_wal_keep_size", "512MB")]);
    cluster.sql(
        "create sequence free start 100;
         create table t (id int generated always as identity primary key, s serial, note text,
                         f int default nextval('free'));
         insert into t (note) values ('a'), ('b')",
    );
    let fixture = Fixture::new(&cluster);
    let plan = fixture.plan(&["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql("insert into t (note) select repeat('x', 1000) from generate_series(1, 2000)");
    let state = fixture.source.log_state(&fixture.task, Some(&from), std::time::Duration::ZERO).await.unwrap();
    assert!(state.end > from);
    assert!(state.behind_bytes.unwrap() > 2_000_000 && state.behind_bytes <= state.kept_bytes);
    assert!(state.limit_bytes.unwrap() > 400 << 20);
    let counters = fixture.source.counters(&plan).await.unwrap();
    let told: Vec<_> = counters.iter().map(|one| (one.column.as_str(), one.last_value)).collect();
    assert_eq!(told, [("id", Some(2002)), ("s", Some(2002)), ("f", Some(2101))]);
}
