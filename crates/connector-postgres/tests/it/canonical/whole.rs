//! Whole runs to a target that takes the source for another system's: what arrives is what the source writes of it.

use serde_json::json;
use tokio_postgres::Client;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of};
use crate::support::run::ended;
use crate::support::types::VALUES;
use crate::values::{change, fill, table};

/// The task at an epoch, as if its source were another system's.
fn run(pair: &Pair, epoch: i64, stop_at: StopAt) -> Run {
    let settings = TaskSettings { stop_at, ..TaskSettings::default() };
    Run { source_engine: "another".to_owned(), ..pair.run(epoch, TaskKind::FullLoadAndCdc, &["%"], settings) }
}

/// A table's rows as the server writes their values.
async fn rows(client: &Client, name: &str) -> Vec<String> {
    let sql = format!("SELECT format('%s %L %s', id, value, pad) FROM {name} ORDER BY id");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

fn assert_none_parked(run: &Run) {
    for table in run.status.progress().tables {
        assert_eq!(table.problem.map(|problem| problem.text), None, "{}", table.table);
    }
}

async fn assert_equal(pair: &Pair, when: &str) {
    for (at, (kind, _)) in VALUES.iter().enumerate() {
        let name = table(at);
        let (source, mart) = (rows(&pair.source, &name).await, rows(&pair.mart, &name).await);
        assert!(source.len() > 1);
        // Some values are far too long to be shown.
        let differs = source.iter().zip(&mart).find(|(source, mart)| source != mart);
        assert!(differs.is_none() && mart.len() == source.len(), "{kind}, {when}: {} rows, {}", mart.len(), name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_of_every_type_arrives_in_another_system_as_it_is_written() {
    let pair = Pair::start(&[]).await;
    fill(&pair.source).await;
    let load = run(&pair, 1, StopAt::Loaded);
    assert_eq!(ended(&load).await.unwrap(), Ended::Finished);
    assert_none_parked(&load);
    assert_equal(&pair, "loaded").await;
    change(&pair.source).await;
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let follow = run(&pair, 2, StopAt::Position(end));
    assert_eq!(ended(&follow).await.unwrap(), Ended::Finished);
    assert_none_parked(&follow);
    assert_equal(&pair, "followed").await;
}

/// A table with what another system can have of it, and with what it can't.
const RICH: &str = "\
    CREATE TYPE mood AS ENUM ('sad', 'glad'); \
    CREATE TABLE customers (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code varchar(20) NOT NULL UNIQUE, \
        mood mood DEFAULT 'sad', made timestamptz(3) NOT NULL DEFAULT now(), active boolean DEFAULT true, \
        amount numeric(10,2) DEFAULT -1.50, note text DEFAULT 'it''s', day date DEFAULT '2024-02-29', fixed char(4) DEFAULT 'a', \
        double integer GENERATED ALWAYS AS (3) STORED, CHECK (amount < 100)); \
    CREATE INDEX by_day ON customers (day DESC, code) WITH (fillfactor = 70); \
    CREATE INDEX low ON customers (lower(code)); CREATE INDEX partial ON customers (day) WHERE active; \
    COMMENT ON TABLE customers IS 'who buys'; COMMENT ON COLUMN customers.code IS 'as printed'; \
    CREATE TABLE orders (id bigserial PRIMARY KEY, customer integer REFERENCES customers ON DELETE CASCADE, \
        again integer CONSTRAINT later REFERENCES customers DEFERRABLE, other varchar(20), \
        CONSTRAINT by_code FOREIGN KEY (other) REFERENCES customers (code) ON UPDATE RESTRICT ON DELETE SET NULL); \
    INSERT INTO customers (code) VALUES ('one'); INSERT INTO orders (customer, other) VALUES (1, 'one')";

async fn list(client: &Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_table_has_besides_is_made_in_another_system() {
    let pair = Pair::start(&[]).await;
    pair.source.batch_execute(RICH).await.unwrap();
    let load = run(&pair, 1, StopAt::Loaded);
    assert_eq!(ended(&load).await.unwrap(), Ended::Finished);
    assert_none_parked(&load);
    let columns = "SELECT concat_ws(' ', column_name, udt_name, column_default, nullif(is_identity, 'NO')) \
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'customers' ORDER BY ordinal_position";
    assert_eq!(
        list(&pair.mart, columns).await,
        [
            "id int4 YES",
            "code varchar",
            "mood varchar 'sad'::character varying",
            "made timestamptz CURRENT_TIMESTAMP(3)",
            "active bool true",
            "amount numeric '-1.50'::numeric",
            "note text 'it''s'::text",
            "day date '2024-02-29'::date",
            "fixed varchar 'a   '::character varying",
        ]
    );
    let indexes =
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'the_end' ORDER BY indexname";
    assert_eq!(
        list(&pair.mart, indexes).await,
        [
            "CREATE INDEX customers_by_day_idx ON public.customers USING btree (day DESC, code)",
            "CREATE UNIQUE INDEX customers_customers_code_key_key ON public.customers USING btree (code)",
            "CREATE UNIQUE INDEX customers_pkey ON public.customers USING btree (id)",
            "CREATE UNIQUE INDEX orders_pkey ON public.orders USING btree (id)",
        ]
    );
    let keys = "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN ('f', 'c') \
        AND connamespace = 'public'::regnamespace ORDER BY 1";
    assert_eq!(
        list(&pair.mart, keys).await,
        [
            "by_code FOREIGN KEY (other) REFERENCES customers(code) ON UPDATE RESTRICT ON DELETE SET NULL",
            "orders_customer_fkey FOREIGN KEY (customer) REFERENCES customers(id) ON DELETE CASCADE",
        ]
    );
    let comments =
        "SELECT obj_description('customers'::regclass) UNION ALL SELECT col_description('customers'::regclass, 2)";
    assert_eq!(list(&pair.mart, comments).await, ["who buys", "as printed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_tables_and_types_go_on_or_end_as_they_do_within_one_system() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE moods (id int PRIMARY KEY, mood mood); \
             INSERT INTO moods VALUES (1, 'sad'); CREATE TABLE t (id int PRIMARY KEY, v varchar(3)); INSERT INTO t VALUES (1, 'a'); \
             CREATE TABLE parts (id int PRIMARY KEY, at timestamptz) PARTITION BY RANGE (id); \
             CREATE TABLE part PARTITION OF parts DEFAULT; INSERT INTO parts SELECT n, now() FROM generate_series(1, 50) n",
        )
        .await
        .unwrap();
    assert_eq!(ended(&run(&pair, 1, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    for change in [
        "ALTER TYPE mood ADD VALUE 'new' BEFORE 'sad'",
        "INSERT INTO moods VALUES (2, 'new')",
        "ALTER TABLE t ADD b boolean DEFAULT true, ADD at timestamptz DEFAULT '2024-01-01 02:00+02'",
        "ALTER TABLE t ALTER v TYPE varchar(30); INSERT INTO t VALUES (2, 'longer', false, 'infinity')",
        "ALTER TABLE t RENAME v TO word; UPDATE t SET word = 'b' WHERE id = 1",
        "DELETE FROM parts WHERE id > 20; UPDATE parts SET id = id + 100 WHERE id < 5",
    ] {
        pair.source.batch_execute(change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let end = async || StopAt::Position(pair.ask("SELECT pg_current_wal_insert_lsn()::text").await);
    let follow = run(&pair, 2, end().await);
    assert_eq!(ended(&follow).await.unwrap(), Ended::Finished);
    assert_none_parked(&follow);
    pair.assert_equal(&["moods", "t", "parts"], "after the changes").await;
    let change =
        "TRUNCATE parts; INSERT INTO parts VALUES (7, '-infinity'); ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'";
    pair.source.batch_execute(change).await.unwrap();
    let follow = run(&pair, 3, end().await);
    assert_eq!(ended(&follow).await.unwrap(), Ended::Finished);
    pair.assert_equal(&["t", "parts"], "in the end").await;
    let parked =
        follow.status.progress().tables.into_iter().filter_map(|table| Some((table.table, table.problem?.text)));
    let parked: Vec<String> = parked.map(|(table, text)| format!("{table}: {text}")).collect();
    let renamed =
        "public.moods: Table public.moods was changed at the source: label sad of its type public.mood was renamed.";
    assert_eq!(parked, [renamed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rows_of_a_filter_arrive() {
    let pair = Pair::start(&[]).await;
    pair.source
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, doc text); ALTER TABLE t REPLICA IDENTITY FULL, \
             ALTER doc SET STORAGE EXTERNAL; \
             INSERT INTO t SELECT n, '2024-01-01'::date + n, repeat('d', 4000) FROM generate_series(1, 100) n",
        )
        .await
        .unwrap();
    let conditions = json!([{"filter-operator": "gte", "value": "2024-02-01 02:00:00+02:00"}]);
    let filter = json!([{"filter-type": "source", "column-name": "at", "filter-conditions": conditions}]);
    let run = |epoch, stop_at| {
        let settings = TaskSettings { stop_at, ..TaskSettings::default() };
        let run = pair.filtered_run(epoch, TaskKind::FullLoadAndCdc, &[("t", filter.clone())], settings);
        Run { source_engine: "another".to_owned(), ..run }
    };
    assert_eq!(ended(&run(1, StopAt::Loaded)).await.unwrap(), Ended::Finished);
    let travel = "(SELECT * FROM t WHERE at >= '2024-02-01 00:00+00')";
    assert_eq!(rows_of(&pair.mart, "t").await, rows_of(&pair.source, travel).await);
    for change in [
        "UPDATE t SET at = '2025-01-01', doc = 'new' WHERE id = 1; UPDATE t SET at = '2023-01-01' WHERE id = 100",
        "UPDATE t SET id = id + 1000 WHERE id > 90; DELETE FROM t WHERE id IN (2, 80)",
    ] {
        pair.source.batch_execute(change).await.unwrap();
    }
    let end = pair.ask("SELECT pg_current_wal_insert_lsn()::text").await;
    let follow = run(2, StopAt::Position(end));
    assert_eq!(ended(&follow).await.unwrap(), Ended::Finished);
    assert_none_parked(&follow);
    assert_eq!(rows_of(&pair.mart, "t").await, rows_of(&pair.source, travel).await);
}
