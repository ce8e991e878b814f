//! PostgreSQL to PostgreSQL, both ends of this connector: the structure, the load and the log of tables that have
//! most of what tables can have.

use std::process::Command;

use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;

use crate::support::Cluster;
use crate::support::pair;
use crate::support::pair::{check_encodings, connect, load, target_endpoint};
use crate::support::task::Fixture;

const SCHEMA: &str = r#"
CREATE SCHEMA shop;
CREATE SCHEMA "Odd ""schema";
CREATE TYPE shop.mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE DOMAIN shop.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN shop.code AS text COLLATE "C" NOT NULL DEFAULT 'x' CONSTRAINT short CHECK (length(VALUE) < 9);
CREATE TYPE shop.address AS (street text, number shop.positive, mood shop.mood);
CREATE TYPE "Odd ""schema".moods AS RANGE (SUBTYPE = shop.mood);
CREATE TABLE shop.customers (
    id integer GENERATED ALWAYS AS IDENTITY (START WITH 10 INCREMENT BY 5) PRIMARY KEY,
    email text NOT NULL UNIQUE,
    address shop.address,
    old_addresses shop.address[],
    mood shop.mood DEFAULT 'sad',
    moods shop.mood[] NOT NULL DEFAULT '{}',
    swings "Odd ""schema".moods,
    born date,
    score numeric(12,4),
    anything numeric,
    ratio double precision,
    active boolean DEFAULT true,
    joined timestamptz DEFAULT now(),
    stay interval,
    document jsonb,
    raw json,
    picture bytea,
    token uuid,
    net inet,
    spans tstzrange,
    search tsvector,
    bits bit varying(9),
    place point,
    letter "char",
    fixed character(5),
    long text,
    initial text GENERATED ALWAYS AS (upper(substr(email, 1, 1))) STORED,
    CONSTRAINT score_low CHECK (score < 100000)
);
CREATE INDEX customers_lower ON shop.customers (lower(email) DESC NULLS LAST) INCLUDE (mood) WHERE active;
CREATE INDEX customers_document ON shop.customers USING gin (document jsonb_path_ops);
COMMENT ON TABLE shop.customers IS 'who buys';
COMMENT ON COLUMN shop.customers.long IS 'often TOASTed';
CREATE TABLE shop.orders (
    number bigserial,
    part smallint NOT NULL,
    customer integer NOT NULL REFERENCES shop.customers (id) ON DELETE CASCADE DEFERRABLE,
    code shop.code,
    amount shop.positive,
    during int4range,
    CONSTRAINT orders_pk PRIMARY KEY (number, part) INCLUDE (amount),
    CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&)
);
CREATE SEQUENCE shop.loose CYCLE MAXVALUE 900;
CREATE TABLE "Odd ""schema"."Odd.table é" (
    "the ""key""" text COLLATE "C" PRIMARY KEY,
    "select" integer DEFAULT nextval('shop.loose'),
    parent text REFERENCES "Odd ""schema"."Odd.table é"
);
CREATE TABLE shop.log (at timestamptz, line text, extra json);
ALTER TABLE shop.log REPLICA IDENTITY FULL;
"#;

const ROWS: &str = r#"
INSERT INTO shop.customers (email, address, old_addresses, mood, moods, swings, born, score, anything, ratio, joined,
    stay, document, raw, picture, token, net, spans, search, bits, place, letter, fixed, long)
SELECT n || '@x.org', ROW('Street ' || n, n, 'it''s ok'::shop.mood)::shop.address, ARRAY[ROW('a', 1, 'sad'::shop.mood)::shop.address, NULL, ROW(NULL, NULL, NULL)::shop.address],
    'happy', '{sad,NULL,happy}', '[sad,happy]', 'infinity', n / 7.0, 'NaN', '-0', '-infinity', '-1 mon +3 days -00:00:01',
    '{"a": [1, null, 1e400]}', '{"a":  1, "a": 2}', '\x00ff', gen_random_uuid(), '::1/64', '[2020-01-01,infinity)',
    'fat:1A cat:2', B'0101', '(1,-2)', '~', 'ab', repeat(md5(n::text), 300)
FROM generate_series(1, 500) n;
INSERT INTO shop.customers (email) SELECT 'empty ' || n FROM generate_series(1, 20) n;
INSERT INTO shop.orders (part, customer, code, amount, during)
    SELECT n % 3, 10 + 5 * (n % 100), 'c' || n, n, int4range(n, n + 1) FROM generate_series(1, 2000) n;
INSERT INTO "Odd ""schema"."Odd.table é" VALUES ('a', 1, NULL), ('b', DEFAULT, 'a'), ('', DEFAULT, 'b');
INSERT INTO shop.log SELECT '2024-01-01', 'line ' || n % 10, '{"n": 1}' FROM generate_series(1, 100) n;
"#;

const CHANGES: &str = r#"
UPDATE shop.customers SET mood = 'sad', moods = moods || '{sad}' WHERE id % 2 = 0;
UPDATE shop.customers SET address.number = 7 WHERE address IS NOT NULL AND id % 7 = 0;
BEGIN;
INSERT INTO shop.customers (email, long) VALUES ('new@x.org', repeat('long', 9000));
UPDATE shop.customers SET long = NULL WHERE id BETWEEN 100 AND 200;
UPDATE shop.customers SET email = 'swap' WHERE id = 10;
UPDATE shop.customers SET email = '1@x.org' WHERE id = 15;
UPDATE shop.customers SET email = '2@x.org' WHERE id = 10;
DELETE FROM shop.customers WHERE id BETWEEN 300 AND 400;
COMMIT;
UPDATE shop.orders SET part = part + 10 WHERE number < 300;
UPDATE shop.orders SET number = number + 1 WHERE number > 1990;
INSERT INTO shop.orders (part, customer, code, amount, during)
    SELECT 5, 15, 'late', n, int4range(n, n + 1) FROM generate_series(3001, 6000) n;
TRUNCATE "Odd ""schema"."Odd.table é";
INSERT INTO "Odd ""schema"."Odd.table é" VALUES ('z', DEFAULT, NULL);
DELETE FROM shop.log WHERE ctid IN (SELECT ctid FROM shop.log WHERE line = 'line 3' LIMIT 4);
UPDATE shop.log SET line = 'changed', extra = NULL WHERE ctid IN (SELECT ctid FROM shop.log WHERE line = 'line 5' LIMIT 3);
INSERT INTO shop.log VALUES (NULL, NULL, NULL), (NULL, NULL, NULL);
"#;

const TABLES: [&str; 4] = ["shop.customers", "shop.orders", "\"Odd \"\"schema\".\"Odd.table é\"", "shop.log"];

/// The structure of both schemas as `pg_dump` writes it, less what is the source's own.
fn structure(cluster: &Cluster, database: &str) -> String {
    let port = cluster.port.to_string();
    let output = Command::new(cluster.program("pg_dump"))
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-s", "-O", "-n", "shop", "-n", "\"Odd \"\"schema\""])
        .arg(database)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let kept = |line: &&str| {
        !line.starts_with("--")
            && !line.starts_with('\\')
            && !line.contains("REPLICA IDENTITY")
            && !line.trim().is_empty()
    };
    text.lines().filter(kept).collect::<Vec<_>>().join("\n")
}

/// Every row of every table as text, sorted.
async fn rows(client: &tokio_postgres::Client) -> Vec<String> {
    let mut all = Vec::new();
    for table in TABLES {
        let sql = format!(
            "SELECT '{}' || t::text FROM {table} AS t ORDER BY t::text COLLATE \"C\"",
            table.replace('\'', "''")
        );
        all.extend(client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn structure_rows_and_changes_arrive_as_they_are() {
    let cluster = Cluster::start(&[("fsync", "off")]);
    let source = connect(&cluster, "postgres").await;
    source.batch_execute("CREATE DATABASE mart").await.unwrap();
    source.batch_execute(SCHEMA).await.unwrap();
    source.batch_execute(ROWS).await.unwrap();
    let mart = connect(&cluster, "mart").await;
    // So that no oid of a type is the same on both sides.
    mart.batch_execute("CREATE TYPE shift AS ENUM (); CREATE TABLE shifted ()").await.unwrap();

    let fixture = Fixture::new(&cluster);
    let target = Postgres.target(&target_endpoint(&cluster)).unwrap();
    let plan = fixture.plan(&["customers", "orders", "Odd.table é", "log"]).await;
    check_encodings(&fixture, &target, &plan);
    assert_eq!(target.assess(&fixture.task, &plan).await.unwrap(), []);
    let mut opened = target.open(&fixture.task).await.unwrap();
    opened.session.attach(&plan).await.unwrap();
    let view = fixture.begin(&plan).await;
    let start = view.position().clone();
    load(&mut opened, &*view, &plan).await;
    drop(view);
    let counters = fixture.source.counters(&plan).await.unwrap();
    opened.session.raise_counters(&plan, &counters).await.unwrap();
    assert_eq!(structure(&cluster, "mart"), structure(&cluster, "postgres"));
    assert_eq!(rows(&mart).await, rows(&source).await);
    assert_eq!(last_values(&mart).await, last_values(&source).await);

    source.batch_execute(CHANGES).await.unwrap();
    source.batch_execute("INSERT INTO shop.log VALUES (NULL, 'the end', NULL)").await.unwrap();
    pair::follow_until(&fixture, &mut opened, (&plan, &start), async || {
        mart.query_one("SELECT EXISTS (SELECT FROM shop.log WHERE line = 'the end')", &[]).await.unwrap().get(0)
    })
    .await;
    assert_eq!(rows(&mart).await, rows(&source).await);
}

async fn last_values(client: &tokio_postgres::Client) -> Vec<(String, Option<i64>)> {
    const SQL: &str = "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = 'shop' ORDER BY 1";
    client.query(SQL, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}
