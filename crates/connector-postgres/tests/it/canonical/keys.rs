//! Keys of every type: what the log touched is found again, left out, and fetched.

use wavemark_connector::source::{BlockFormat, KeptFor, KeySet, Touched, View};
use wavemark_domain::{TableId, TablePlan};

use super::{Value, load, number, plan, rows};
use crate::support::Cluster;
use crate::support::pair::connect;
use crate::support::task::Fixture;
use crate::support::types::TYPES;

/// Types that can be a key, and two values of each.
const KEYS: [(&str, [&str; 2]); 31] = [
    ("boolean", ["true", "false"]),
    ("smallint", ["-32768", "1"]),
    ("integer", ["-1", "2147483647"]),
    ("bigint", ["-9223372036854775808", "7"]),
    ("oid", ["4294967295", "0"]),
    ("numeric", ["1.10", "'NaN'"]),
    ("numeric(12,4)", ["-0.5", "99999999.9999"]),
    ("real", ["0.1", "'-Infinity'"]),
    ("double precision", ["5e-324", "'NaN'"]),
    ("text", ["E'it''s \\\\ a\\tb\\n'", "''"]),
    ("citext", ["'AbC'", "'x'"]),
    ("varchar(9)", ["'ab  '", "'ünï'"]),
    ("character(5)", ["'ab'", "'  x'"]),
    ("name", ["'n'", "'with \"quotes\"'"]),
    ("bytea", ["'\\x005c0aff'", "''"]),
    ("date", ["'0044-02-01 BC'", "'infinity'"]),
    ("time", ["'24:00'", "'00:00:00.000001'"]),
    ("timestamp", ["'4713-01-01 00:00 BC'", "'294276-12-31 23:59:59.999999'"]),
    ("timestamptz", ["'0044-02-01 00:00+00 BC'", "'-infinity'"]),
    ("uuid", ["'00112233-4455-6677-8899-aabbccddeeff'", "'00000000-0000-0000-0000-000000000000'"]),
    ("jsonb", ["'{\"a\": 1.10}'", "'null'"]),
    ("mood", ["'it''s ok'", "'sad'"]),
    ("bit(10)", ["B'1110000001'", "B'0000000000'"]),
    ("bit varying", ["B'1110000001'", "B''"]),
    ("inet", ["'10.1.2.3/8'", "'::1'"]),
    ("interval", ["'1 mon -3 days'", "'0'"]),
    ("time with time zone", ["'04:05:06.789-08'", "'24:00:00+00'"]),
    ("small", ["1", "99"]),
    ("text[]", ["'{NULL,\"a,b\"}'", "'{}'"]),
    ("int4range", ["'[1,5)'", "'empty'"]),
    ("address", ["ROW('a''b', 1, 'sad', '{other}')", "ROW('q\"(),', 99, 'with, comma', '{}')"]),
];

fn name(at: usize) -> String {
    format!("k{at:02}")
}

async fn fetched(view: &dyn View, table: &TablePlan, keys: &KeySet) -> Vec<Vec<Value>> {
    rows(view.read_keys(table, keys, BlockFormat::Rows).await.unwrap(), table).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_the_log_touched_are_left_out_and_fetched_by_keys_of_every_type() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    source.batch_execute(TYPES).await.unwrap();
    for (at, (kind, [first, second])) in KEYS.iter().enumerate() {
        let make = format!(
            "CREATE TABLE {0} (n integer, key {kind} PRIMARY KEY); INSERT INTO {0} VALUES (1, {first}), (2, {second})",
            name(at)
        );
        source.batch_execute(&make).await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
    }
    let fixture = Fixture::new(&cluster);
    let names: Vec<String> = (0..KEYS.len()).map(name).collect();
    let plan = plan(&fixture, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let first = fixture.begin(&plan).await;
    let from = first.position().clone();
    let before: Vec<Vec<Vec<Value>>> = {
        let mut before = Vec::new();
        for table in &plan {
            before.push(load(&*first, table).await);
        }
        before
    };
    drop(first);
    for at in 0..KEYS.len() {
        source.batch_execute(&format!("UPDATE {} SET n = 3 WHERE n = 1", name(at))).await.unwrap();
    }
    let view = fixture.source.view_again(&fixture.task, &plan).await.unwrap();
    let tables: Vec<TableId> = plan.iter().map(|table| table.id).collect();
    let between = (&from, view.position());
    let touched = fixture.source.touched(&fixture.task, &plan, &tables, between, KeptFor::Task).await.unwrap();
    for (((table, (kind, _)), touched), before) in plan.iter().zip(&KEYS).zip(touched).zip(&before) {
        let Touched::Keys(keys) = touched else { panic!("{kind}: {touched:?}") };
        assert_eq!(keys.len(), 1, "{kind}");
        let key = |n: i32| before.iter().find(|row| row[0] == Some(number(n))).unwrap()[1].clone();
        assert!(keys.contains([key(1).unwrap().as_slice()], &mut Vec::new()), "{kind}");
        assert_eq!(fetched(&*view, table, &keys).await, [vec![Some(number(3)), key(1)]], "{kind}");
        view.enter(table).await.unwrap();
        let range = view.chunks(table, 65_536).await.unwrap().remove(0);
        let left = view.read(table, &range, BlockFormat::Rows, Some(keys.into())).await.unwrap();
        assert_eq!(rows(left, table).await, [vec![Some(number(2)), key(2)]], "{kind}");
    }
}

#[tokio::test]
async fn more_keys_than_a_statement_has_and_keys_of_rows_that_are_gone_are_asked_for() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    cluster.sql(
        "CREATE TABLE many (a text, b integer, PRIMARY KEY (b, a)); \
         INSERT INTO many SELECT 'n' || n, n FROM generate_series(1, 2500) n",
    );
    let fixture = Fixture::new(&cluster);
    let plan = plan(&fixture, &["many"]).await;
    let view = fixture.begin(&plan).await;
    let mut keys = KeySet::default();
    for n in 1..=3000_i32 {
        keys.insert([&n.to_be_bytes()[..], format!("n{n}").as_bytes()]);
    }
    assert_eq!(fetched(&*view, &plan[0], &keys).await.len(), 2500);
    // The session goes back to the others as it was.
    assert_eq!(load(&*view, &plan[0]).await.len(), 2500);
    assert_eq!(fetched(&*view, &plan[0], &KeySet::default()).await.len(), 0);
    // Its hashes would be of another form than the target's rows have.
    assert_eq!(view.side(1).await.unwrap().forms(&plan[0]).await.unwrap(), []);
}
