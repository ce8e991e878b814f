//! Every type of PostgreSQL with the values that break replicators: loaded and followed they are what they were, as text
//! and in the type's own binary form.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/pair.rs"]
mod pair;
mod support;
#[path = "support/task.rs"]
mod task;

use tokio_postgres::Client;
use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;

use pair::{check_encodings, connect, follow_until, load, target_endpoint};
use support::Cluster;
use task::Fixture;

/// Types that the values need, and where they come from with the server's contributed extensions.
const TYPES: &str = r#"
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE SCHEMA ext; CREATE EXTENSION isn SCHEMA ext;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'with, comma', 'with "quote"', 'ünïcode');
CREATE TYPE ext.mood AS ENUM ('other', 'sad');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN small AS positive CHECK (VALUE < 100);
CREATE DOMAIN document AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE TYPE address AS (street text, number small, mood mood, old ext.mood[]);
CREATE TYPE nested AS (inside address, many address[], at tstzrange);
CREATE TYPE moods AS RANGE (SUBTYPE = mood, MULTIRANGE_TYPE_NAME = many_moods);
CREATE DOMAIN place AS address;
"#;

/// A type and its values, as SQL.
const VALUES: &[(&str, &[&str])] = &[
    ("smallint", &["-32768", "32767", "0"]),
    ("integer", &["-2147483648", "2147483647", "0"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0",
            "0.000",
            "1.10",
            "100",
            "1e100",
            "-1e-100",
            "'1e131071'",
            "-0.00000000000000000001",
            "12345678901234567890123456789012345678901234567890.12345678901234567890",
            "('0.' || repeat('0', 16382) || '7')::numeric",
            "(repeat('9', 131072))::numeric",
        ],
    ),
    ("numeric(12,4)", &["'NaN'", "99999999.9999", "0.1", "-0.00001"]),
    ("numeric(3,-2)", &["12345", "-99900"]),
    ("numeric(3,5)", &["0.00123", "-0.00999"]),
    ("real", &["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1e-45", "3.4028235e38", "0.1", "16777217"]),
    (
        "double precision",
        &["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "5e-324", "1.7976931348623157e308", "0.1", "1e22"],
    ),
    ("money", &["-92233720368547758.08", "92233720368547758.07", "0.01"]),
    ("boolean", &["true", "false"]),
    ("\"char\"", &["''", "'a'", "'\\200'"]),
    ("character(5)", &["'ab'", "''", "'  x'", "'äöüßé'"]),
    ("character varying(9)", &["'ab  '", "''", "E'\\t\\n\\r\\\\N'"]),
    (
        "text",
        &[
            "''",
            "'NULL'",
            "'\\N'",
            "E'a\\tb\\nc\\rd\\\\e\\\\.'",
            "E'\\x01\\x7f'",
            "'😀 ünï'",
            "repeat('long', 100000)",
            "E'\\\\.'",
        ],
    ),
    ("name", &["''", "repeat('n', 63)", "'with \"quotes\"'"]),
    ("bytea", &["''", "'\\x00'", "'\\xdeadbeef'", "decode(repeat('5c00', 60000), 'hex')"]),
    (
        "date",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'0044-02-01 BC'",
            "'5874897-12-31'",
            "'10000-01-01'",
            "'2024-02-29'",
        ],
    ),
    ("time", &["'00:00'", "'24:00:00'", "'23:59:59.999999'"]),
    ("time(2)", &["'23:59:59.987'", "'24:00'"]),
    ("time with time zone", &["'24:00:00+00'", "'00:00:00+15:59:59'", "'12:00:00-15:59:59'", "'04:05:06.789-08'"]),
    (
        "timestamp",
        &["'infinity'", "'-infinity'", "'4713-01-01 00:00 BC'", "'294276-12-31 23:59:59.999999'", "'2024-03-31 02:30'"],
    ),
    ("timestamp(3)", &["'2000-01-01 00:00:00.123999'"]),
    (
        "timestamptz",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00+00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "'2024-10-27 02:30 Europe/Berlin'",
            "'0001-01-01 00:00+00'",
        ],
    ),
    (
        "interval",
        &[
            "'1 mon -3 days +00:00:00.000001'",
            "'-178000000 years'",
            "'178000000 years'",
            "'-00:00:00.000001'",
            "'0'",
            "'1 year -1 day'",
        ],
    ),
    ("interval day to second(1)", &["'1 day 01:02:03.456'"]),
    ("bit(1)", &["B'0'", "B'1'"]),
    ("bit(10)", &["B'1010101010'"]),
    ("bit varying", &["B''", "B'1'", "B'010101010101010101'"]),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
    (
        "json",
        &[
            "'null'",
            "'{\"a\":  1, \"a\": 2}'",
            "'1e400'",
            "'12345678901234567890123.10'",
            "'\"\\u0000\"'",
            "'\"\\ud800\"'",
            "'[1,  null , \"x\"]'",
        ],
    ),
    (
        "jsonb",
        &[
            "'null'",
            "'{\"b\": 1, \"a\": 2, \"a\": 3}'",
            "'1e400'",
            "'12345678901234567890123.10'",
            "'\"\"'",
            "'{}'",
            "'[]'",
            "'-0'",
            "'\"\\u00e9\\n\"'",
        ],
    ),
    ("xml", &["'<a b=\"c\">d &amp; e</a>'", "'text only'", "''"]),
    ("inet", &["'::1'", "'::ffff:1.2.3.4/128'", "'10.1.2.3/8'", "'0.0.0.0/0'"]),
    ("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'", "'0.0.0.0/0'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("point", &["'(1,-2)'", "'(NaN,Infinity)'", "'(-0,1e-300)'"]),
    ("line", &["'{1,-2,3}'"]),
    ("lseg", &["'[(0,0),(1,1)]'"]),
    ("box", &["'(3,4),(1,2)'"]),
    ("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0))'"]),
    ("polygon", &["'((0,0),(1,1),(2,0))'"]),
    ("circle", &["'<(1,2),3>'"]),
    ("tsvector", &["''", "'a fat:1A,3B cat:2'", "$$'it''s' 'with space':7 'back\\\\slash'$$"]),
    ("tsquery", &["'fat & !(rat | cat:AB*)'", "'a <2> b'", "$$'it''s'$$"]),
    ("oid", &["0", "4294967295", "2147483648"]),
    ("xid", &["'4294967295'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("cid", &["'7'"]),
    ("tid", &["'(4294967295,65535)'", "'(0,1)'"]),
    ("pg_lsn", &["'FFFFFFFF/FFFFFFFF'", "'0/0'"]),
    ("pg_snapshot", &["'10:20:10,14,15'"]),
    ("txid_snapshot", &["'10:20:'"]),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("int4range", &["'empty'", "'(,)'", "'[1,5)'", "'[,7]'"]),
    ("int8range", &["'[1,9223372036854775807)'"]),
    ("numrange", &["'(NaN,NaN]'", "'[1.10,1.100]'", "'[-Infinity,Infinity]'"]),
    ("daterange", &["'[infinity,infinity]'", "'[-infinity,2020-01-01)'", "'(,4713-01-01 BC)'"]),
    ("tsrange", &["'[-infinity,infinity]'", "'empty'"]),
    ("tstzrange", &["'[2020-01-01 00:00+02,infinity)'", "'(,)'"]),
    ("int4multirange", &["'{}'", "'{[1,2),[5,)}'", "'{(,)}'"]),
    ("datemultirange", &["'{[2020-01-01,2020-01-02),[2021-01-01,infinity)}'"]),
    ("nummultirange", &["'{[1.5,2.50],[3,)}'"]),
    (
        "integer[]",
        &["'{}'", "'{NULL}'", "'[0:1]={1,2}'", "'[-3:-2][5:5]={{1},{2}}'", "'{{1,NULL},{3,4}}'", "NULL::integer[]"],
    ),
    ("text[]", &["'{NULL,\"NULL\",\"\",\"a,b\",\"q\\\"q\",\"b\\\\s\",\"{}\"}'", "'{}'"]),
    ("bytea[]", &["ARRAY['\\x00'::bytea, '', NULL]"]),
    ("uuid[]", &["'{00000000-0000-0000-0000-000000000000,NULL}'"]),
    ("numeric(5,1)[]", &["'{NaN,1.25,-0.04}'"]),
    ("character(3)[]", &["'{a,\" b\",NULL}'"]),
    ("json[]", &["ARRAY['{\"a\":  1}'::json, 'null', NULL]"]),
    ("jsonb[]", &["ARRAY['{\"a\":  1}'::jsonb, 'null', NULL]"]),
    ("date[]", &["'{infinity,-infinity,NULL,\"0044-02-01 BC\"}'"]),
    ("timestamptz[]", &["'{infinity,\"2024-10-27 02:30+01\"}'"]),
    ("time with time zone[]", &["'{24:00:00+00,00:00:00+15:59:59}'"]),
    ("interval[]", &["'{\"1 mon -3 days\",NULL}'"]),
    ("int4range[]", &["'{empty,\"[1,2)\",NULL,\"(,)\"}'"]),
    ("point[]", &["'{\"(1,2)\",NULL}'"]),
    ("box[]", &["'{(3,4),(1,2);(5,6),(1,2)}'"]),
    ("pg_lsn[]", &["'{0/0,NULL}'"]),
    ("mood", &["'sad'", "'it''s ok'", "'with, comma'", "'with \"quote\"'", "'ünïcode'"]),
    ("ext.mood", &["'other'", "'sad'"]),
    ("mood[]", &["'{sad,NULL,\"with, comma\",\"with \\\"quote\\\"\"}'", "'{}'", "'[0:0]={sad}'"]),
    ("ext.mood[]", &["'{{other,sad},{NULL,sad}}'"]),
    ("small", &["1", "99"]),
    ("small[]", &["'{1,NULL,99}'"]),
    ("document", &["'{}'", "'{\"a\": 1e400}'"]),
    ("document[]", &["ARRAY['{\"a\": [null]}'::document, NULL]"]),
    (
        "address",
        &["ROW('a', 1, 'sad', '{other}')", "ROW(NULL, NULL, NULL, NULL)", "ROW('q\"(),', 99, 'with, comma', '{}')"],
    ),
    (
        "address[]",
        &["ARRAY[ROW('a', 1, 'sad', '{other,NULL}')::address, NULL, ROW(NULL, 2, NULL, NULL)::address]", "'{}'"],
    ),
    (
        "nested",
        &[
            "ROW(ROW('a', 1, 'sad', '{other}')::address, ARRAY[NULL, ROW('b', 2, NULL, NULL)::address], '(,infinity]')",
            "ROW(NULL, NULL, 'empty')",
        ],
    ),
    ("place", &["ROW('a', 1, 'sad', NULL)"]),
    ("moods", &["'[sad,\"with, comma\"]'", "'empty'", "'(,)'"]),
    ("many_moods", &["'{[sad,sad],[\"with, comma\",)}'", "'{}'"]),
    ("moods[]", &["ARRAY['[sad,sad]'::moods, NULL, 'empty']"]),
    ("citext", &["'AbC'", "''"]),
    ("hstore", &["''", "'a=>NULL, \"b c\"=>\"d\\\"e\", \"\"=>\"\"'"]),
    ("hstore[]", &["ARRAY['a=>1'::hstore, NULL, '']"]),
    ("ltree", &["''", "'a.b_1.C'"]),
    ("ltree[]", &["'{a.b,NULL}'"]),
    ("lquery", &["'a.*{1,2}.b@|c'"]),
];

fn table(at: usize) -> String {
    format!("v{at:03}")
}

/// A table for each type, with the odd ones of its values; the others come by the log.
async fn fill(source: &Client) {
    source.batch_execute(TYPES).await.unwrap();
    for (at, (kind, values)) in VALUES.iter().enumerate() {
        let name = table(at);
        let make = format!("CREATE TABLE {name} (id integer PRIMARY KEY, value {kind}, pad text)");
        source.batch_execute(&make).await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
        insert(source, at, values, 0).await;
        source.batch_execute(&format!("INSERT INTO {name} VALUES (1000, NULL)")).await.unwrap();
    }
}

/// Inserts every value under a number of its own.
async fn insert(source: &Client, at: usize, values: &[&str], from: usize) {
    for (n, value) in values.iter().enumerate() {
        let sql = format!("INSERT INTO {} VALUES ({}, {value}, 'pad')", table(at), from + n);
        source.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{value}: {error:?}"));
    }
}

/// By the log: each value new, in the place of NULL, unchanged beside a change, and in the place of another.
async fn change(source: &Client) {
    for (at, (_, values)) in VALUES.iter().enumerate() {
        let name = table(at);
        insert(source, at, values, 100).await;
        let sql = format!(
            "UPDATE {name} SET pad = 'changed' WHERE id < 100; UPDATE {name} SET value = (SELECT value FROM {name} \
             WHERE id = 0) WHERE id = 1000; UPDATE {name} SET value = (SELECT value FROM {name} WHERE id = {}) \
             WHERE id = 100; INSERT INTO {name} VALUES (1001, NULL); UPDATE {name} SET id = id + 200 WHERE id = 101",
            values.len() - 1
        );
        source.batch_execute(&sql).await.unwrap();
    }
}

/// A table's rows as text and, where the binary form holds no oid of the user's, in that.
async fn rows(client: &Client, at: usize) -> Vec<String> {
    let name = table(at);
    let send: Option<String> = client
        .query_one(
            "SELECT CASE WHEN t.oid < 16384 THEN t.typsend::regproc::text END FROM pg_attribute a \
             JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1::text::regclass AND a.attname = 'value'",
            &[&name],
        )
        .await
        .unwrap()
        .get(0);
    let binary = send.map_or("NULL".to_owned(), |send| format!("encode({send}(value), 'hex')"));
    let sql = format!("SELECT concat_ws(' | ', id, value::text, {binary}, pad) FROM {name} ORDER BY id");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn assert_equal(source: &Client, mart: &Client, when: &str) {
    for (at, (kind, _)) in VALUES.iter().enumerate() {
        assert_eq!(rows(mart, at).await, rows(source, at).await, "{kind}, {when}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_of_every_type_is_loaded_and_followed_as_it_is() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    source.batch_execute("CREATE DATABASE mart").await.unwrap();
    let mart = connect(&cluster, "mart").await;
    // So that no oid of a type is the same on both sides. Extensions are for the target's owner to make.
    mart.batch_execute(
        "CREATE TYPE shift AS ENUM (); CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; \
         CREATE SCHEMA ext; CREATE EXTENSION isn SCHEMA ext",
    )
    .await
    .unwrap();
    fill(&source).await;

    let fixture = Fixture::new(&cluster);
    let target = Postgres.target(&target_endpoint(&cluster)).unwrap();
    let names: Vec<String> = (0..VALUES.len()).map(table).collect();
    let plan = fixture.plan(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    check_encodings(&fixture, &target, &plan);
    let mut opened = target.open(&fixture.task).await.unwrap();
    opened.session.attach(&plan).await.unwrap();
    let view = fixture.begin(&plan).await;
    let start = view.position().clone();
    load(&mut opened, &*view, &plan).await;
    drop(view);
    assert_equal(&source, &mart, "loaded").await;

    change(&source).await;
    let last = format!("SELECT EXISTS (SELECT FROM {} WHERE id IN (301, 1001))", table(VALUES.len() - 1));
    follow_until(&fixture, &mut opened, (&plan, &start), async || mart.query_one(&last, &[]).await.unwrap().get(0))
        .await;
    assert_equal(&source, &mart, "followed").await;
}

/// Types without a binary form, those whose binary form means an object by its number at the source, and those whose
/// binary form the server doesn't read again.
const REFUSED: [&str; 8] =
    ["ext.isbn", "aclitem", "regclass", "regtype[]", "int2vector", "oidvector", "with_class", "class_domain[]"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_that_cannot_travel_are_refused() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    let columns: Vec<String> = REFUSED.iter().enumerate().map(|(at, kind)| format!("c{at} {kind}")).collect();
    let make = format!(
        "CREATE SCHEMA ext; CREATE EXTENSION isn SCHEMA ext; CREATE DOMAIN class_domain AS regclass; \
         CREATE TYPE with_class AS (name text, class regclass); CREATE TABLE odd (id integer PRIMARY KEY, {})",
        columns.join(", ")
    );
    source.batch_execute(&make).await.unwrap();
    let fixture = Fixture::new(&cluster);
    let target = Postgres.target(&target_endpoint(&cluster)).unwrap();
    let tables = fixture.source.tables().await.unwrap();
    let odd = tables.iter().find(|table| table.name.table == "odd").unwrap();
    for column in &odd.columns {
        let offered = fixture.source.offers(odd, column);
        let accepted = target.accepts("postgresql", odd, column);
        let travels = offered.iter().any(|encoding| accepted.contains(encoding));
        assert_eq!(travels, column.name == "id", "{}", column.declared);
    }
}
