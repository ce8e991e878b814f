//! Tables that are at the target already and are not quite the source's: wider types, another order of columns, columns of
//! their own. What the source has arrives as its own server casts it; what would not arrive whole is refused by name.

use wavemark_connector::Connector as _;
use wavemark_connector::compare::{Form, Listed, Side};
use wavemark_connector_postgres::Postgres;
use wavemark_domain::check::Weight;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, TablePlan};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, target_endpoint};
use crate::support::run::ended;

const SOURCE: &str = "\
    CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy'); \
    CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE >= 0 OR VALUE = 'NaN'); CREATE DOMAIN dear AS price; \
    CREATE TABLE wide (id integer PRIMARY KEY, s smallint, i integer, b bigint, r real, name varchar(10), word text, \
        fixed char(4), padded char(4), amount numeric(10,2), at timestamp(3), zoned timestamptz(0), clock time(2), \
        stay interval(3), bits bit(4), mood mood, cost price, dear dear, doc text); \
    ALTER TABLE wide ALTER doc SET STORAGE EXTERNAL; \
    CREATE TABLE pairs (code char(4), part smallint, note text, PRIMARY KEY (part, code)); \
    CREATE TABLE notes (n integer, code char(4), mood mood); ALTER TABLE notes REPLICA IDENTITY FULL";

const TARGET: &str = "\
    CREATE TABLE wide (mood text, b numeric(20,0), extra text, name text, i bigint, doc varchar, cost numeric, \
        dear numeric(12,2), bits bit varying(8), stay interval, clock time, zoned timestamptz, at timestamp, \
        amount numeric, padded char(8), fixed text, word varchar, r double precision, s numeric, \
        id bigint PRIMARY KEY, made timestamptz NOT NULL DEFAULT now(), kept integer NOT NULL DEFAULT 7); \
    CREATE TABLE pairs (theirs text DEFAULT 'kept', note varchar, part integer, code varchar(5), PRIMARY KEY (part, code)); \
    CREATE TABLE notes (mood varchar, code text, n numeric)";

/// Values at both ends, and those that are like no other.
fn values(first: u32, last: u32) -> String {
    format!(
        "INSERT INTO wide SELECT n, \
            CASE n % 4 WHEN 0 THEN -32768 WHEN 1 THEN 32767 WHEN 2 THEN n % 1000 END, \
            CASE n % 3 WHEN 0 THEN -2147483648 WHEN 1 THEN 2147483647 END, \
            CASE n % 3 WHEN 0 THEN -9223372036854775808 WHEN 1 THEN 9223372036854775807 END, \
            CASE n % 7 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' WHEN 2 THEN 1.4e-45 WHEN 3 THEN '-0' \
                WHEN 4 THEN 3.4028235e38 WHEN 5 THEN 0.1 END::real, \
            CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN 'é ' || n % 1000 END, 'w' || n, \
            CASE n % 4 WHEN 0 THEN 'a' WHEN 1 THEN '' WHEN 2 THEN ' b' END, 'c', \
            CASE n % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN 99999999.90 END::numeric, \
            CASE n % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 12:00:00.123 BC' END::timestamp, \
            CASE n % 3 WHEN 0 THEN '-infinity' WHEN 1 THEN '2024-02-29 23:59:59Z' END::timestamptz, \
            CASE n % 2 WHEN 0 THEN '24:00:00' END::time, CASE n % 2 WHEN 0 THEN '1 mon -3 days 0.125 s' END::interval, \
            CASE n % 2 WHEN 0 THEN B'0101' END, CASE n % 2 WHEN 0 THEN 'it''s ok' WHEN 1 THEN 'happy' END::mood, \
            CASE n % 2 WHEN 0 THEN 1.50 END, CASE n % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN 0.00 END::numeric, \
            CASE n % 100 WHEN 0 THEN repeat('d', 5000) END \
            FROM generate_series({first}, {last}) n; \
         INSERT INTO pairs SELECT 'k' || n % 100, n / 100, 'p' || n FROM generate_series({first}, {last}) n; \
         INSERT INTO notes SELECT n % 50, 'n' || n % 7, 'sad' FROM generate_series({first}, {last}) n"
    )
}

/// What the source's own server makes of its rows in the target's types, and the target's rows.
const AS_WIDE: [(&str, &str, &str); 3] = [
    (
        "wide",
        "id::bigint, s::numeric, i::bigint, b::numeric(20,0), r::double precision, name::text, word::varchar, fixed::text, \
         padded::char(8), amount::numeric, at::timestamp, zoned::timestamptz, clock::time, stay::interval, \
         bits::bit varying(8), mood::text, cost::numeric, dear::numeric(12,2), doc::varchar",
        "id, s, i, b, r, name, word, fixed, padded, amount, at, zoned, clock, stay, bits, mood, cost, dear, doc",
    ),
    ("pairs", "code::varchar(5), part::integer, note::varchar", "code, part, note"),
    ("notes", "n::numeric, code::text, mood::varchar", "n, code, mood"),
];

const TABLES: [&str; 3] = ["wide", "pairs", "notes"];

/// Rows as text and in their binary form, sorted.
async fn rows(client: &tokio_postgres::Client, table: &str, columns: &str) -> Vec<String> {
    let sql = format!(
        "SELECT ROW({columns})::text || ' ' || encode(record_send(ROW({columns})), 'hex') FROM {table} ORDER BY 1"
    );
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn assert_equal(pair: &Pair, when: &str) {
    for (table, cast, plain) in AS_WIDE {
        let (there, here) = (rows(&pair.mart, table, plain).await, rows(&pair.source, table, cast).await);
        assert_eq!(there.len(), here.len(), "{table} {when}");
        let differing = there.iter().zip(&here).find(|(there, here)| there != here);
        assert_eq!(differing, None, "{table} {when}");
    }
}

fn run(pair: &Pair, epoch: i64, tables: &[&str], stop_at: StopAt) -> Run {
    let settings = TaskSettings { stop_at, ..TaskSettings::default() };
    pair.run(epoch, TaskKind::FullLoadAndCdc, tables, settings)
}

async fn end_of_log(pair: &Pair) -> StopAt {
    StopAt::Position(pair.ask("SELECT pg_current_wal_insert_lsn()::text").await)
}

/// Each of a size that another way of applying is for: one by one, arrays, staged.
const CHANGES: [&str; 12] = [
    "UPDATE wide SET s = -1, i = NULL, r = 0.3, fixed = 'x', mood = NULL, amount = 7.00 WHERE id = 2; \
     DELETE FROM wide WHERE id = 3; UPDATE wide SET id = 1000003, b = 5 WHERE id = 4",
    "UPDATE pairs SET code = 'z' WHERE (part, code) = (0, 'k5'); UPDATE pairs SET note = 'n' WHERE (part, code) = (1, 'k7'); \
     DELETE FROM pairs WHERE (part, code) = (1, 'k9')",
    "UPDATE notes SET n = 2147483647 WHERE ctid = (SELECT min(ctid) FROM notes); \
     DELETE FROM notes WHERE ctid = (SELECT max(ctid) FROM notes)",
    "UPDATE wide SET s = s - 0, b = b / 2, r = 0.25, padded = 'p', fixed = NULL WHERE id BETWEEN 100 AND 400",
    "BEGIN; DELETE FROM wide WHERE id BETWEEN 500 AND 600; UPDATE wide SET id = id + 2000000, mood = 'sad' \
     WHERE id BETWEEN 700 AND 900; COMMIT",
    "UPDATE pairs SET note = note || '!' WHERE part BETWEEN 2 AND 4; DELETE FROM pairs WHERE part = 5",
    "DELETE FROM notes WHERE n < 20",
    "UPDATE wide SET word = word || '!', i = 5, zoned = '2020-01-01Z'; UPDATE pairs SET code = left(code, 3) || '_'",
    "BEGIN; DELETE FROM wide WHERE id BETWEEN 1000 AND 5500; UPDATE notes SET mood = 'happy', n = n + 1; COMMIT",
    "TRUNCATE notes; INSERT INTO notes VALUES (1, 'a', 'sad'), (1, 'a', 'sad'), (2, NULL, NULL)",
    "BEGIN; INSERT INTO wide (id, s) VALUES (9, 9) ON CONFLICT (id) DO UPDATE SET s = 99; SAVEPOINT a; DELETE FROM wide; \
     ROLLBACK TO a; DELETE FROM notes WHERE n = 2; COMMIT",
    // Left out by the log, and moved.
    "UPDATE wide SET id = -id WHERE doc IS NOT NULL AND id % 200 = 0; UPDATE wide SET s = 1 WHERE doc IS NOT NULL",
];

#[tokio::test]
async fn what_the_source_has_arrives_in_wider_columns_in_any_order() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(&format!("{SOURCE}; {}", values(1, 3000))).await.unwrap();
    pair.mart.batch_execute(TARGET).await.unwrap();
    assert_eq!(ended(&run(&pair, 1, &TABLES, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    assert_equal(&pair, "after the load").await;
    pair.mart
        .batch_execute("UPDATE wide SET extra = 'theirs', kept = 8; UPDATE pairs SET theirs = 'own'")
        .await
        .unwrap();
    let many = [values(10_001, 10_003), values(10_004, 10_300), values(20_001, 27_000)];
    let changes = CHANGES.iter().map(|change| (*change).to_owned());
    for (epoch, change) in (2..).zip(many.into_iter().chain(changes)) {
        pair.source.batch_execute(&change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let followed = run(&pair, epoch, &TABLES, end_of_log(&pair).await);
        assert_eq!(ended(&followed).await.unwrap(), Ended::Finished, "{change}");
        for table in followed.status.progress().tables {
            assert_eq!(table.state, TableState::Live, "{change}: {:?}", table.problem);
        }
        assert_equal(&pair, &change).await;
    }
    let kept =
        "SELECT count(*) FILTER (WHERE kept = 8 AND extra = 'theirs') > 0 AND bool_and(kept IN (7, 8)) FROM wide";
    assert!(pair.mart.query_one(kept, &[]).await.unwrap().get::<_, bool>(0), "columns of their own stay");
    assert!(findings(&pair, &TABLES).await.is_empty());
}

async fn findings(pair: &Pair, tables: &[&str]) -> Vec<(String, String)> {
    let findings = wavemark_engine::assess(&run(pair, 1, tables, StopAt::Never)).await.unwrap();
    let worst = findings.into_iter().filter(|finding| finding.weight == Weight::Blocker);
    worst.map(|finding| (finding.code, finding.text)).collect()
}

/// The texts of the keys whose rows differ, of a table without a key how many do.
async fn differing((source, target): (&dyn Side, &dyn Side), table: &TablePlan, form: &Form) -> Vec<String> {
    let whole = async |side: &dyn Side| side.fingerprint(table, form, 1, &|_| {}).await.unwrap();
    let list = async |side: &dyn Side| -> Vec<Listed> { side.list(table, form, 1, &[0], &|_| {}).await.unwrap() };
    let (here, there) = (list(source).await, list(target).await);
    let lacks = |rows: &[Listed], row: &Listed| {
        !rows.iter().any(|other| (other.hash, &other.text, &other.cells) == (row.hash, &row.text, &row.cells))
    };
    let mut found: Vec<String> = there.iter().filter(|row| lacks(&here, row)).map(|row| row.text.join("/")).collect();
    found.extend(here.iter().filter(|row| lacks(&there, row)).map(|row| row.text.join("/")));
    found.sort();
    found.dedup();
    let same = whole(source).await == whole(target).await;
    assert_eq!(found.is_empty(), same, "{}: {found:?}", table.name());
    found
}

#[tokio::test]
async fn a_comparison_takes_each_wider_column_for_what_the_source_has_and_nothing_else() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(&format!("{SOURCE}; {}", values(1, 500))).await.unwrap();
    pair.mart.batch_execute(TARGET).await.unwrap();
    assert_eq!(ended(&run(&pair, 1, &TABLES, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    let plan = pair.fixture.plan(&TABLES).await;
    let mut task = pair.fixture.task.clone();
    let mut found = async |damage: &str, table: usize| {
        pair.mart.batch_execute(damage).await.unwrap();
        task.epoch = Epoch(task.epoch.0 + 1);
        let mut opened = Postgres.target(&target_endpoint(&pair.cluster)).unwrap().open(&task).await.unwrap();
        let position = opened.kept.bookmark.unwrap().position;
        let target = opened.session.side(2, &position).await.unwrap();
        let source = pair.fixture.source.view_beside(&task).await.unwrap().side(2).await.unwrap();
        let forms = source.forms(&plan[table]).await.unwrap();
        assert_eq!(forms, target.forms(&plan[table]).await.unwrap());
        let mut all = Vec::new();
        for form in &forms {
            all.push(differing((&*source, &*target), &plan[table], form).await);
        }
        assert!(all.iter().all(|one| *one == all[0]), "{damage}: {all:?}");
        all.remove(0)
    };
    for (at, table) in TABLES.iter().enumerate() {
        assert_eq!(found("", at).await, [""; 0], "{table}");
    }
    // What no value of the source is, where that has NULL, and where it has a value that is like it.
    for (set, id) in [
        ("i = 3000000000", 2),
        ("s = 7.00", 3),
        ("s = 40000", 3),
        ("r = 0.1", 5),
        ("r = 1e300", 6),
        ("r = 1e-300", 6),
        ("fixed = ' b '", 2),
        ("fixed = 'abcdef'", 3),
        ("name = NULL", 3),
        ("mood = 'none of them'", 2),
        ("cost = 1.5", 2),
    ] {
        let told = found(&format!("CREATE TABLE was AS TABLE wide; UPDATE wide SET {set} WHERE id = {id}"), 0).await;
        assert_eq!(told, [id.to_string()], "{set}");
        pair.mart.batch_execute("DELETE FROM wide; INSERT INTO wide SELECT * FROM was; DROP TABLE was").await.unwrap();
    }
    assert_eq!(found("INSERT INTO wide (id) VALUES (5000000000)", 0).await, ["5000000000"]);
    assert_eq!(found("INSERT INTO pairs (code, part) VALUES ('a b', 70000)", 1).await, ["70000/a b"]);
    assert_eq!(found("UPDATE notes SET n = 1e20 WHERE ctid = (SELECT min(ctid) FROM notes)", 2).await, [""]);
}

#[tokio::test]
async fn what_would_not_arrive_whole_is_refused_with_the_column_and_both_types() {
    let pair = Pair::start(&[]).await;
    let source = "CREATE TABLE t (id integer PRIMARY KEY, a bigint, b varchar(10), c numeric(10,2), d char(4))";
    pair.source.batch_execute(&format!("{source}; INSERT INTO t VALUES (1, 1, 'b', 1, 'd')")).await.unwrap();
    for (columns, refused) in [
        ("id integer PRIMARY KEY, a integer, b text, c numeric, d text", "a is integer instead of bigint"),
        ("id integer PRIMARY KEY, a bigint, b varchar(9), c numeric, d text", "b is character varying(9) instead of"),
        (
            "id integer PRIMARY KEY, a bigint, b text, c numeric(12,3), d text",
            "c is numeric(12,3) instead of numeric(10,2)",
        ),
        ("id integer PRIMARY KEY, a bigint, b text, c numeric, d varchar(3)", "d is character varying(3) instead of"),
        ("id integer PRIMARY KEY, a bigint, b text, c numeric", "d is missing"),
        (
            "id integer PRIMARY KEY, a bigint, b text, c numeric, d text, e text NOT NULL",
            "e must not be NULL but gets no value",
        ),
        (
            "id integer PRIMARY KEY, a bigint, b text, c numeric, d text GENERATED ALWAYS AS ('x') STORED",
            "d is generated",
        ),
    ] {
        pair.mart.batch_execute(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t ({columns})")).await.unwrap();
        let found = findings(&pair, &["t"]).await;
        assert!(found.iter().any(|(code, text)| code == "table-does-not-fit" && text.contains(refused)), "{found:?}");
    }
    // Columns of its own that need no value are no hindrance.
    let columns = "e text NOT NULL DEFAULT 'e', d text, c numeric, f text, b text, a bigint, id integer PRIMARY KEY, \
        g integer GENERATED ALWAYS AS (id + 1) STORED, h integer GENERATED BY DEFAULT AS IDENTITY";
    pair.mart.batch_execute(&format!("DROP TABLE t; CREATE TABLE t ({columns})")).await.unwrap();
    assert_eq!(findings(&pair, &["t"]).await, []);
    assert_eq!(ended(&run(&pair, 1, &["t"], StopAt::Loaded)).await.unwrap(), Ended::Finished);
    assert_eq!(
        rows(&pair.mart, "t", "id, a, b, c, d, e, f, g, h").await[0].split(' ').next(),
        Some("(1,1,b,1.00,d,e,,2,1)")
    );
}

#[tokio::test]
async fn a_column_that_is_wide_enough_stays_as_it_is_when_the_sources_gets_wider() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, a varchar(10), b varchar(10), c varchar(10), d numeric(5,2))",
        )
        .await
        .unwrap();
    let target = "CREATE TABLE t (id bigint PRIMARY KEY, a text, b varchar(12), c varchar(30), d numeric(9,2))";
    pair.mart.batch_execute(target).await.unwrap();
    assert_eq!(ended(&run(&pair, 1, &["t"], StopAt::Loaded)).await.unwrap(), Ended::Finished);
    pair.source
        .batch_execute(
            "INSERT INTO t VALUES (1, 'a', 'b', 'c', 1); \
             ALTER TABLE t ALTER a TYPE varchar(20), ALTER b TYPE varchar(20), ALTER c TYPE varchar(20), \
                ALTER d TYPE numeric(7,2); \
             ALTER TABLE t RENAME a TO e; \
             INSERT INTO t VALUES (2, 'aaaaaaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbbbbbb', 'cccccccccccccccccccc', 12345.67)",
        )
        .await
        .unwrap();
    let followed = run(&pair, 2, &["t"], end_of_log(&pair).await);
    assert_eq!(ended(&followed).await.unwrap(), Ended::Finished);
    let table = followed.status.progress().tables.remove(0);
    assert_eq!(table.state, TableState::Live, "{:?}", table.problem);
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute \
        WHERE attrelid = 't'::regclass AND attnum > 0";
    let there: String = pair.mart.query_one(types, &[]).await.unwrap().get(0);
    assert_eq!(there, "bigint, text, character varying(20), character varying(30), numeric(9,2)");
    let all = "id::bigint, e, b, c, d";
    assert_eq!(rows(&pair.mart, "t", all).await.len(), 2);
    assert_eq!(
        rows(&pair.mart, "t", "id, e::text, b::text, c::text, d::numeric").await,
        rows(&pair.source, "t", "id::bigint, e::text, b::text, c::text, d::numeric").await
    );
}
