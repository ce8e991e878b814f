//! Values for targets of other systems: the same bytes by the load and by the log, and those that are written out here.

use std::sync::Arc;

use wavemark_connector::source::{Block, BlockFormat, ChangeReader, Replan, RowReader, Source, View};
use wavemark_domain::moment::{Date, Timestamp};
use wavemark_domain::{Batch, Problem, Table, TableId, TablePlan};

use crate::support::Cluster;
use crate::support::pair::connect;
use crate::support::task::{Fixture, PATIENCE, planned};
use crate::support::types::TYPES;

/// A cell as it travels.
type Value = Option<Vec<u8>>;

/// The plan for a target that takes what the source says of its columns.
fn as_canonical(source: &dyn Source, mut plan: TablePlan) -> TablePlan {
    for column in &mut plan.columns {
        let logical = source.logical(&plan.source, &plan.source.columns[column.source]).unwrap();
        column.encoding = logical.encoding();
        assert!(source.offers(&plan.source, &plan.source.columns[column.source]).contains(&column.encoding));
    }
    assert_eq!(source.block_formats(&plan), [BlockFormat::Rows]);
    plan
}

struct Canonical(Arc<dyn Source>);

impl Replan for Canonical {
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
        Ok(as_canonical(&*self.0, planned(id.index(), Table::clone(table))))
    }
}

async fn plan(fixture: &Fixture, names: &[&str]) -> Vec<TablePlan> {
    let plan = fixture.plan(names).await;
    plan.into_iter().map(|table| as_canonical(&*fixture.source, table)).collect()
}

fn cells(batch: &Batch, table: &TablePlan, row: &[wavemark_domain::Cell]) -> Vec<Value> {
    assert_eq!(row.len(), table.columns.len());
    row.iter().map(|cell| batch.value(*cell).map(<[u8]>::to_vec)).collect()
}

/// The rows of a reader.
async fn rows(mut reader: Box<dyn RowReader>, table: &TablePlan) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    while let Some(block) = reader.next().await.unwrap() {
        let Block::Rows(batch) = block else { panic!("rows are all that it gives") };
        for change in batch.changes() {
            assert_eq!(change.table, table.id);
            rows.push(cells(&batch, table, batch.new_row(change, table.columns.len()).unwrap()));
        }
    }
    rows.sort();
    rows
}

async fn load(view: &dyn View, table: &TablePlan) -> Vec<Vec<Value>> {
    view.enter(table).await.unwrap();
    let mut all = Vec::new();
    for range in view.chunks(table, 65_536).await.unwrap() {
        all.extend(rows(view.read(table, &range, BlockFormat::Rows, None).await.unwrap(), table).await);
    }
    all.sort();
    all
}

/// The new rows of so many changes, by table.
async fn followed(reader: &mut dyn ChangeReader, plan: &[TablePlan], count: usize) -> Vec<Vec<Vec<Value>>> {
    let mut found: Vec<Vec<Vec<Value>>> = vec![Vec::new(); plan.len()];
    while found.iter().map(Vec::len).sum::<usize>() < count {
        let read = tokio::time::timeout(PATIENCE, reader.next(1 << 20)).await.expect("nothing came in time").unwrap();
        assert!(read.barriers.is_empty(), "{:?}", read.barriers);
        for change in read.batch.changes() {
            let table = &plan[change.table.index()];
            let row = read.batch.new_row(change, table.columns.len()).unwrap();
            found[change.table.index()].push(cells(&read.batch, table, row));
        }
    }
    found.iter_mut().for_each(|rows| rows.sort());
    found
}

fn date(year: i32, month: u8, day: u8) -> Vec<u8> {
    Date { year, month, day }.to_bytes().to_vec()
}

fn moment(year: i32, month: u8, day: u8, micros: i64) -> Vec<u8> {
    Timestamp { date: Date { year, month, day }, micros }.to_bytes().to_vec()
}

/// Types, what the source says of them, and values with the bytes that they are.
fn written_out() -> Vec<(&'static str, &'static str, Vec<(&'static str, Vec<u8>)>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("boolean", "boolean", vec![("true", vec![1]), ("false", vec![0])]),
        ("smallint", "int16", vec![("-32768", vec![0x80, 0]), ("32767", vec![0x7F, 0xFF])]),
        ("integer", "int32", vec![("-2147483648", vec![0x80, 0, 0, 0]), ("7", vec![0, 0, 0, 7])]),
        ("bigint", "int64", vec![("-1", vec![0xFF; 8]), ("9223372036854775807", i64::MAX.to_be_bytes().to_vec())]),
        ("oid", "int64", vec![("4294967295", vec![0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF])]),
        (
            "numeric",
            "decimal",
            vec![
                ("'NaN'", text("NaN")),
                ("'Infinity'", text("Infinity")),
                ("'-Infinity'", text("-Infinity")),
                ("0.000", text("0.000")),
                ("-1e-20", text("-0.00000000000000000001")),
                ("1e30", text("1000000000000000000000000000000")),
            ],
        ),
        ("numeric(12,4)", "decimal", vec![("0.1", text("0.1000")), ("'NaN'", text("NaN"))]),
        ("numeric(3,-2)", "decimal", vec![("12345", text("12300"))]),
        ("numeric(3,5)", "decimal", vec![("0.00123", text("0.00123"))]),
        (
            "real",
            "float32",
            vec![
                ("0.1", vec![0x3D, 0xCC, 0xCC, 0xCD]),
                ("1e-45", vec![0, 0, 0, 1]),
                ("3.4028235e38", vec![0x7F, 0x7F, 0xFF, 0xFF]),
                ("'-0'", vec![0x80, 0, 0, 0]),
                ("'NaN'", vec![0x7F, 0xC0, 0, 0]),
                ("'-Infinity'", vec![0xFF, 0x80, 0, 0]),
            ],
        ),
        (
            "double precision",
            "float64",
            vec![
                ("0.1", vec![0x3F, 0xB9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9A]),
                ("5e-324", vec![0, 0, 0, 0, 0, 0, 0, 1]),
                ("1.7976931348623157e308", vec![0x7F, 0xEF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
                ("'-0'", vec![0x80, 0, 0, 0, 0, 0, 0, 0]),
                ("'NaN'", vec![0x7F, 0xF8, 0, 0, 0, 0, 0, 0]),
                ("'Infinity'", vec![0x7F, 0xF0, 0, 0, 0, 0, 0, 0]),
            ],
        ),
        (
            "text",
            "text",
            vec![
                ("''", text("")),
                ("'\\N'", text("\\N")),
                ("E'a\\tb\\nc\\rd\\\\e\\\\.'", text("a\tb\nc\rd\\e\\.")),
                ("E'\\x01\\x0b\\x0c\\x08\\x7f'", vec![1, 11, 12, 8, 127]),
                ("'😀 ünï'", text("😀 ünï")),
            ],
        ),
        ("citext", "text", vec![("'AbC'", text("AbC"))]),
        ("name", "text", vec![("'with \"quotes\"'", text("with \"quotes\""))]),
        ("xml", "text", vec![("'<a>1</a>'", text("<a>1</a>"))]),
        ("json", "text", vec![("'{\"a\":  1, \"a\": 2}'", text("{\"a\":  1, \"a\": 2}"))]),
        ("character varying(9)", "text", vec![("'ab  '", text("ab  "))]),
        ("character(5)", "text", vec![("'ab'", text("ab   ")), ("'äöüßé'", text("äöüßé")), ("''", text("     "))]),
        ("bytea", "bytes", vec![("''", vec![]), ("'\\x00ff5c0a09'", vec![0, 0xFF, 0x5C, 0x0A, 0x09])]),
        (
            "date",
            "date",
            vec![
                ("'2024-02-29'", date(2024, 2, 29)),
                ("'0044-02-01 BC'", date(-43, 2, 1)),
                ("'4713-01-01 BC'", date(-4712, 1, 1)),
                ("'5874897-12-31'", date(5_874_897, 12, 31)),
                ("'infinity'", date(i32::MAX, 0, 0)),
                ("'-infinity'", date(i32::MIN, 0, 0)),
            ],
        ),
        (
            "time",
            "time",
            vec![
                ("'24:00'", 86_400_000_000_i64.to_be_bytes().to_vec()),
                ("'23:59:59.999999'", 86_399_999_999_i64.to_be_bytes().to_vec()),
            ],
        ),
        ("time(2)", "time", vec![("'00:00:00.987'", 990_000_i64.to_be_bytes().to_vec())]),
        (
            "timestamp",
            "timestamp",
            vec![
                ("'2024-03-31 02:30'", moment(2024, 3, 31, 9_000_000_000)),
                ("'4713-01-01 00:00 BC'", moment(-4712, 1, 1, 0)),
                ("'294276-12-31 23:59:59.999999'", moment(294_276, 12, 31, 86_399_999_999)),
                ("'infinity'", moment(i32::MAX, 0, 0, 0)),
            ],
        ),
        ("timestamp(3)", "timestamp", vec![("'2000-01-01 00:00:00.1239'", moment(2000, 1, 1, 124_000))]),
        (
            "timestamptz",
            "instant",
            vec![
                ("'2024-10-27 02:30:00.5+02'", moment(2024, 10, 27, 1_800_500_000)),
                ("'4713-01-01 00:00+00 BC'", moment(-4712, 1, 1, 0)),
                ("'-infinity'", moment(i32::MIN, 0, 0, 0)),
            ],
        ),
        (
            "uuid",
            "uuid",
            vec![(
                "'00112233-4455-6677-8899-AABBCCDDEEFF'",
                0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF_u128.to_be_bytes().to_vec(),
            )],
        ),
        ("jsonb", "json", vec![("'{\"b\":1.10,\"a\":null}'", text("{\"a\": null, \"b\": 1.10}"))]),
        ("mood", "text", vec![("'with, comma'", text("with, comma")), ("'ünïcode'", text("ünïcode"))]),
        ("bit(10)", "bits", vec![("B'1110000001'", vec![0b11, 0b1000_0001])]),
        ("bit(1)", "bits", vec![("B'1'", vec![1])]),
        ("price", "decimal", vec![("1.5", text("1.50"))]),
        ("flags", "bits", vec![("B'101'", vec![0b101])]),
        ("bit varying", "text", vec![("B'0101'", text("0101"))]),
        ("interval", "text", vec![("'1 mon -3 days 00:00:00.000001'", text("1 mon -3 days +00:00:00.000001"))]),
        ("time with time zone", "text", vec![("'04:05:06.789-08'", text("04:05:06.789-08"))]),
        ("inet", "text", vec![("'10.0.0.1'", text("10.0.0.1")), ("'::1/64'", text("::1/64"))]),
        ("cidr", "text", vec![("'10.0.0.0/8'", text("10.0.0.0/8"))]),
        ("macaddr", "text", vec![("'08-00-2b-01-02-03'", text("08:00:2b:01:02:03"))]),
        ("pg_lsn", "text", vec![("'16/B374D848'", text("16/B374D848"))]),
        ("text[]", "text", vec![("'{NULL,\"NULL\",\"a,b\"}'", text("{NULL,\"NULL\",\"a,b\"}"))]),
        ("timestamptz[]", "text", vec![("'{\"2024-10-27 02:30+02\"}'", text("{\"2024-10-27 00:30:00+00\"}"))]),
        ("bytea[]", "text", vec![("ARRAY['\\x00ff'::bytea]", text("{\"\\\\x00ff\"}"))]),
        ("int4range", "text", vec![("'[1,5)'", text("[1,5)"))]),
        ("address", "text", vec![("ROW('a b', 1, 'sad', '{other}')", text("(\"a b\",1,sad,{other})"))]),
        ("point", "text", vec![("'(0.1,2)'", text("(0.1,2)"))]),
        ("hstore", "text", vec![("'a=>NULL, b=>1'", text("\"a\"=>NULL, \"b\"=>\"1\""))]),
        ("tsvector", "text", vec![("'fat:2 cat'", text("'cat' 'fat':2"))]),
    ]
}

/// A table for each type, its values by the load under 0 and by the log under 100 and more.
async fn fill(source: &tokio_postgres::Client, name: &str, kind: &str, values: &[&str], from: usize) {
    let made = format!("CREATE TABLE IF NOT EXISTS {name} (id integer PRIMARY KEY, value {kind})");
    let rows: Vec<String> = (from..).zip(values).map(|(id, value)| format!("({id}, {value})")).collect();
    let sql = format!("{made}; INSERT INTO {name} VALUES {}", rows.join(", "));
    source.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
}

fn number(id: i32) -> Value {
    Some(id.to_be_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_have_the_bytes_that_are_written_out_by_the_load_and_by_the_log() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    // What a database's people set for how values are written is for their sessions.
    for setting in [
        "datestyle = 'german, dmy'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'America/St_Johns'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "client_encoding = 'LATIN1'",
    ] {
        source.batch_execute(&format!("ALTER DATABASE postgres SET {setting}")).await.unwrap();
    }
    source.batch_execute(TYPES).await.unwrap();
    source
        .batch_execute("CREATE DOMAIN price AS numeric(10,2); CREATE DOMAIN flags AS bit(3) CHECK (VALUE IS NOT NULL)")
        .await
        .unwrap();
    let all = written_out();
    let names: Vec<String> = (0..all.len()).map(|at| format!("v{at:02}")).collect();
    for (name, (kind, _, values)) in names.iter().zip(&all) {
        let values: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
        fill(&source, name, kind, &values, 0).await;
    }
    let fixture = Fixture::new(&cluster);
    let plan = plan(&fixture, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let view = fixture.begin(&plan).await;
    for (name, (kind, _, values)) in names.iter().zip(&all) {
        let values: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
        fill(&source, name, kind, &values, 100).await;
    }
    let from = view.position().clone();
    let replan = Arc::new(Canonical(Arc::clone(&fixture.source)));
    let mut reader = fixture.source.follow(&fixture.task, &plan, &from, replan).await.unwrap();
    let count = all.iter().map(|(_, _, values)| values.len()).sum();
    let logged = followed(&mut *reader, &plan, count).await;
    for ((table, logged), (kind, travels, values)) in plan.iter().zip(&logged).zip(&all) {
        assert_eq!(table.columns[1].encoding.name(), format!("canonical {travels}"), "{kind}");
        let expected = |from: i32| -> Vec<Vec<Value>> {
            (from..).zip(values).map(|(id, (_, value))| vec![number(id), Some(value.clone())]).collect()
        };
        assert_eq!(load(&*view, table).await, expected(0), "{kind}, loaded");
        assert_eq!(*logged, expected(100), "{kind}, followed");
    }
}

/// What there is in the manual of each type, as a server has them.
#[tokio::test]
async fn each_type_stands_in_the_manual_as_what_it_travels_as() {
    const MANUAL: &str = include_str!("../../../../docs/FIDELITY.md");
    let section = MANUAL.split("## From PostgreSQL").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let types: Vec<(&str, &str)> = rows
        .flat_map(|row| {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let (declared, travels) = (cells.next().unwrap(), cells.next().unwrap());
            declared.split(", ").map(move |name| (name.trim_matches('`'), travels))
        })
        .collect();
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    source.batch_execute(TYPES).await.unwrap();
    let columns: Vec<String> = types.iter().enumerate().map(|(at, (kind, _))| format!("c{at} {kind}")).collect();
    source.batch_execute(&format!("CREATE TABLE every ({})", columns.join(", "))).await.unwrap();
    let fixture = Fixture::new(&cluster);
    let table = fixture.plan(&["every"]).await.remove(0).source;
    for (column, (kind, travels)) in table.columns.iter().zip(&types) {
        let logical = fixture.source.logical(&table, column).map(|logical| logical.to_string());
        assert_eq!(logical.as_deref(), Some(*travels), "{kind}");
    }
    assert_eq!(types.len(), 44);
}
