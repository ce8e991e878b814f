//! Changes of every kind, and of the tables themselves.

use std::sync::Arc;

use wavemark_connector::Connector as _;
use wavemark_connector::source::{BlockFormat, ChangeReader};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::{ChangeKind, Fault, LayoutStep, Position, TablePlan};

use super::{Canonical, cells, number, plan, text};
use crate::support::Cluster;
use crate::support::task::{Fixture, PATIENCE, endpoint, transactions};

async fn follow(fixture: &Fixture, plan: &[TablePlan], from: &Position) -> Box<dyn ChangeReader> {
    let replan = Arc::new(Canonical(Arc::clone(&fixture.source)));
    fixture.source.follow(&fixture.task, plan, from, replan).await.unwrap()
}

const SCHEMA: &str = "\
    CREATE TABLE plain (id int PRIMARY KEY, code char(3), doc text, n int); ALTER TABLE plain ALTER doc SET STORAGE EXTERNAL; \
    INSERT INTO plain VALUES (1, 'a', repeat('d', 4000), 1), (2, 'b', 'short', 2); \
    CREATE TABLE whole (id int PRIMARY KEY, doc text, n int); ALTER TABLE whole REPLICA IDENTITY FULL, \
        ALTER doc SET STORAGE EXTERNAL; INSERT INTO whole VALUES (1, repeat('w', 4000), 1); \
    CREATE TABLE keyless (a varchar(9), b int); ALTER TABLE keyless REPLICA IDENTITY FULL; INSERT INTO keyless VALUES ('x', 1); \
    CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
    CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
    CREATE TABLE part_2 (v text, id int NOT NULL); ALTER TABLE parts ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20)";

const CHANGES: [&str; 7] = [
    "UPDATE plain SET n = 10 WHERE id = 1; UPDATE plain SET code = 'zz', doc = NULL WHERE id = 2",
    "UPDATE plain SET id = 5 WHERE id = 2; DELETE FROM plain WHERE id = 5",
    "UPDATE whole SET n = 2; UPDATE whole SET id = 9; DELETE FROM whole",
    "UPDATE keyless SET b = NULL; INSERT INTO keyless VALUES (NULL, 7); DELETE FROM keyless WHERE a = 'x'",
    "INSERT INTO parts VALUES (1, 'one'), (11, 'eleven'); UPDATE parts SET id = 12 WHERE id = 1",
    "TRUNCATE parts, keyless",
    "BEGIN; INSERT INTO plain SELECT n, 'c', 'd', n FROM generate_series(100, 1500) n; SAVEPOINT s; \
     DELETE FROM plain WHERE id > 1200; ROLLBACK TO s; UPDATE plain SET n = 0 WHERE id = 1500; COMMIT",
];

/// Numbers and texts are the same in both forms.
#[tokio::test]
async fn changes_of_every_kind_are_those_that_the_binary_form_has() {
    let cluster = Cluster::start(&[("fsync", "off"), ("logical_decoding_work_mem", "64kB")]);
    cluster.sql(SCHEMA);
    let fixture = Fixture::new(&cluster);
    let names = ["plain", "whole", "keyless", "parts"];
    let (binary, canonical) = (fixture.plan(&names).await, plan(&fixture, &names).await);
    let view = fixture.begin(&binary).await;
    let from = view.position().clone();
    drop(view);
    for change in CHANGES {
        cluster.sql(change);
    }
    let count = CHANGES.len();
    let one = transactions(&mut fixture.follow(&binary, &from).await, &binary, count).await;
    let two = transactions(&mut follow(&fixture, &canonical, &from).await, &canonical, count).await;
    assert_eq!(two.changes(), one.changes());
    let expected = [
        "~plain 1,a  ,unchanged,10",
        "~plain 2,zz ,null,2",
        "~plain (2,null,null,null) 5,zz ,null,2",
        "-plain (5,null,null,null)",
        "~whole 1,www…4000,2",
        "~whole (1,null,null) 9,www…4000,2",
        "-whole (9,null,null)",
        "~keyless (x,1) x,null",
        "+keyless null,7",
        "-keyless (x,null)",
    ];
    assert_eq!(two.changes()[..expected.len()], expected);
    assert_eq!(two.changes().last().unwrap(), &"~plain 1500,c  ,d,0");
}

#[tokio::test]
async fn columns_that_come_and_change_have_the_form_of_their_type() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster
        .sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(3), d numeric(5,1)); INSERT INTO t VALUES (1, 'a', 1.5)");
    let fixture = Fixture::new(&cluster);
    let plan = plan(&fixture, &["t"]).await;
    let view = fixture.begin(&plan).await;
    let from = view.position().clone();
    drop(view);
    cluster.sql(
        "ALTER TABLE t ADD at timestamptz DEFAULT '2024-01-01 02:00+02', ALTER v TYPE varchar(30), ALTER d TYPE numeric(7,1)",
    );
    cluster.sql("ALTER TABLE t RENAME v TO word");
    cluster.sql("INSERT INTO t VALUES (2, 'longer', 123456.7, '2024-06-01 00:00:01+00')");
    let mut reader = follow(&fixture, &plan, &from).await;
    let read = loop {
        let read = tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.unwrap().unwrap();
        assert!(read.barriers.is_empty(), "{:?}", read.barriers);
        if !read.batch.changes().is_empty() {
            break read;
        }
    };
    let next = &read.layouts[0];
    let added = LayoutStep::Add { column: "at".into(), existing: Some("2024-01-01 00:00:00+00".into()) };
    assert!(next.steps.contains(&added), "{:?}", next.steps);
    let encodings: Vec<&str> = next.plan.columns.iter().map(|column| column.encoding.name()).collect();
    assert_eq!(encodings, ["canonical int32", "canonical text", "canonical decimal", "canonical instant"]);
    let change = read.batch.changes()[0];
    let row = cells(&read.batch, &next.plan, read.batch.new_row(&change, 4).unwrap());
    let at = [&[0, 0, 7, 0xE8, 6, 1][..], &1_000_000_i64.to_be_bytes()].concat();
    assert_eq!(row, [Some(number(2)), Some(text("longer")), Some(text("123456.7")), Some(at)]);
}

#[tokio::test]
async fn a_type_by_which_a_column_travels_in_another_form_ends_its_table() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(
        "CREATE TABLE bits (id int PRIMARY KEY, v bit(3)); CREATE TABLE texts (id int PRIMARY KEY, v varchar(3)); \
         SET TimeZone = 'UTC'; CREATE TABLE moments (id int PRIMARY KEY, v timestamp)",
    );
    let fixture = Fixture::new(&cluster);
    let plan = plan(&fixture, &["bits", "texts", "moments"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    cluster.sql(
        "ALTER TABLE bits ALTER v TYPE bit varying; ALTER TABLE texts ALTER v TYPE text; SET TimeZone = 'UTC'; \
         ALTER TABLE moments ALTER v TYPE timestamptz; INSERT INTO bits VALUES (1, B'1'); INSERT INTO texts VALUES (1, 'long'); \
         INSERT INTO moments VALUES (1, now())",
    );
    let mut reader = follow(&fixture, &plan, &from).await;
    let (mut barriers, mut rows) = (Vec::new(), 0);
    while barriers.len() < 2 || rows < 1 {
        let read = tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.unwrap().unwrap();
        barriers.extend(read.barriers.into_iter().map(|(table, problem)| (table.0, problem.text)));
        rows += read.batch.changes().iter().filter(|change| change.kind == ChangeKind::Insert).count();
    }
    let of_bits = "Table public.bits was changed at the source: column v has another type, by which it travels as canonical \
        text instead of canonical bits.";
    let of_moments = "Table public.moments was changed at the source: column v has another type, by which it travels as \
        canonical instant instead of canonical timestamp.";
    assert_eq!(barriers, [(0, of_bits.to_owned()), (2, of_moments.to_owned())]);
}

#[tokio::test]
async fn columns_in_another_order_and_without_some_are_read() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(
        "CREATE TABLE t (a text, id int PRIMARY KEY, b bool, c bytea); INSERT INTO t VALUES ('x', 1, true, '\\x00')",
    );
    let fixture = Fixture::new(&cluster);
    let mut plan = plan(&fixture, &["t"]).await;
    plan[0].columns.swap(0, 2);
    plan[0].columns.remove(3);
    assert_eq!(plan[0].key, [1]);
    let view = fixture.begin(&plan).await;
    let expected = vec![Some(vec![1]), Some(number(1)), Some(text("x"))];
    assert_eq!(super::load(&*view, &plan[0]).await, [expected]);
    cluster.sql("UPDATE t SET id = 2, b = false");
    let mut reader = follow(&fixture, &plan, view.position()).await;
    let found = super::followed(&mut *reader, &plan, 1).await;
    assert_eq!(found[0], [vec![Some(vec![0]), Some(number(2)), Some(text("x"))]]);
}

#[tokio::test]
async fn a_text_that_is_no_utf_8_ends_its_table_and_is_not_shown() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql("CREATE DATABASE shop ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let source = crate::support::pair::connect(&cluster, "shop").await;
    let insert = "INSERT INTO t VALUES (1, convert_from('\\xe9206f', 'SQL_ASCII'))";
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY, note text)").await.unwrap();
    let mut fixture = Fixture::new(&cluster);
    let mut settings = endpoint(&cluster, "postgres");
    settings.values["database"] = "shop".into();
    fixture.source = Postgres.source(&settings).unwrap();
    let plan = plan(&fixture, &["t"]).await;
    let from = fixture.begin(&plan).await.position().clone();
    source.batch_execute("INSERT INTO t VALUES (0, 'ü')").await.unwrap();
    source.batch_execute(insert).await.unwrap();
    let mut reader = follow(&fixture, &plan, &from).await;
    let logged = loop {
        let read = tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.unwrap().unwrap();
        if let Some((_, problem)) = read.barriers.into_iter().next() {
            break problem;
        }
    };
    drop(reader);
    let view = fixture.begin(&plan).await;
    view.enter(&plan[0]).await.unwrap();
    let range = view.chunks(&plan[0], 65_536).await.unwrap().remove(0);
    let loaded = view.read(&plan[0], &range, BlockFormat::Rows, None).await.unwrap().next().await.unwrap_err();
    for problem in [logged, loaded] {
        assert_eq!((problem.fault, &*problem.code), (Fault::Data, "invalid-text"));
        assert_eq!(problem.text, "A value in column note of public.t can't be read: it is not valid UTF-8.");
    }
}
