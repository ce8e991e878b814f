//! Ordinary tables of the source whose rows go into partitioned tables that people made in the target: however a row
//! gets from one partition into another, it is there once.

use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{Preparation, TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of, target_endpoint};
use crate::support::run::ended;

const SOURCE: &str = "\
    CREATE TABLE sales (id integer, at date, amount numeric(10,2), note text, doc text, PRIMARY KEY (id, at)); \
    ALTER TABLE sales ALTER doc SET STORAGE EXTERNAL; \
    CREATE TABLE visits (n integer, at date, note text); ALTER TABLE visits REPLICA IDENTITY FULL";

/// By range, one of them by range again; one made with another order of columns and one that had another before, so
/// that a row's form is not the same everywhere; and one for what is left.
const TARGET: &str = "\
    CREATE TABLE sales (id integer, at date, amount numeric(10,2), note text, doc text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
    CREATE TABLE sales_2022 PARTITION OF sales FOR VALUES FROM ('2022-01-01') TO ('2023-01-01'); \
    CREATE TABLE sales_2023 (note text, doc text, at date NOT NULL, id integer NOT NULL, amount numeric(10,2)); \
    ALTER TABLE sales ATTACH PARTITION sales_2023 FOR VALUES FROM ('2023-01-01') TO ('2024-01-01'); \
    CREATE TABLE sales_2024 PARTITION OF sales FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY RANGE (id); \
    CREATE TABLE sales_2024_low PARTITION OF sales_2024 FOR VALUES FROM (MINVALUE) TO (1000); \
    CREATE TABLE sales_2024_high (gone integer, id integer NOT NULL, at date NOT NULL, amount numeric(10,2), note text, doc text); \
    ALTER TABLE sales_2024_high DROP COLUMN gone; \
    ALTER TABLE sales_2024 ATTACH PARTITION sales_2024_high FOR VALUES FROM (1000) TO (MAXVALUE); \
    CREATE TABLE sales_else PARTITION OF sales DEFAULT; \
    CREATE TABLE visits (n integer, at date, note text) PARTITION BY RANGE (at); \
    CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM (MINVALUE) TO ('2024-01-01') PARTITION BY RANGE (n); \
    CREATE TABLE visits_old_low PARTITION OF visits_old FOR VALUES FROM (MINVALUE) TO (1000); \
    CREATE TABLE visits_old_high PARTITION OF visits_old FOR VALUES FROM (1000) TO (MAXVALUE); \
    CREATE TABLE visits_new (note text, at date, n integer); ALTER TABLE visits ATTACH PARTITION visits_new DEFAULT";

const TABLES: [&str; 2] = ["sales", "visits"];

/// Rows in every partition; of `visits` each is there twice.
fn rows(first: u32, last: u32) -> String {
    format!(
        "INSERT INTO sales SELECT n, '2022-01-01'::date + n % 1460, n / 3.0, 's' || n, CASE n % 50 WHEN 0 THEN \
            repeat('d', 9000) END FROM generate_series({first}, {last}) n; \
         INSERT INTO visits SELECT n / 2, '2022-01-01'::date + n / 2 % 1460, CASE n / 2 % 3 WHEN 0 THEN 'v' || n / 2 END \
            FROM generate_series({first}, {last}) n"
    )
}

/// Each is a wave of its own, of the size that another way of applying is for.
fn changes() -> Vec<String> {
    let one_by_one = [
        "UPDATE sales SET amount = 7 WHERE id = 11; DELETE FROM sales WHERE id = 12; INSERT INTO sales VALUES (12, '2024-05-05', 1)",
        // From year to year, from half to half, and both; a value that stays out of the log goes with it.
        "UPDATE sales SET at = '2024-02-29' WHERE id = 13; UPDATE sales SET id = 5013 WHERE id = 13; \
         UPDATE sales SET id = 14, at = '2030-01-01' WHERE id = 14; UPDATE sales SET at = at + 365 WHERE id = 50; \
         UPDATE sales SET note = 'n' WHERE id IN (50, 100)",
        "UPDATE visits SET at = '2024-03-03' WHERE ctid = (SELECT min(ctid) FROM visits WHERE n = 20); \
         UPDATE visits SET n = n + 5000 WHERE ctid = (SELECT min(ctid) FROM visits WHERE n = 21); \
         UPDATE visits SET note = 'w' WHERE n = 22; DELETE FROM visits WHERE ctid = (SELECT min(ctid) FROM visits WHERE n = 23)",
    ];
    let arrays = [
        "BEGIN; UPDATE sales SET at = at + 365 WHERE id BETWEEN 200 AND 299; UPDATE sales SET amount = -amount, note = NULL \
         WHERE id BETWEEN 300 AND 399; DELETE FROM sales WHERE id BETWEEN 400 AND 449; \
         INSERT INTO sales SELECT n, '2023-06-06', n FROM generate_series(400, 449) n; COMMIT",
        "BEGIN; UPDATE visits SET at = '2024-04-04' WHERE n BETWEEN 200 AND 249; DELETE FROM visits WHERE n BETWEEN 250 AND 299; \
         UPDATE visits SET n = n + 1000 WHERE n BETWEEN 300 AND 340; COMMIT",
    ];
    let staged = [
        "BEGIN; UPDATE sales SET at = CASE WHEN at < '2024-01-01' THEN at + 730 ELSE at - 730 END WHERE id BETWEEN 1500 AND 3500; \
         UPDATE sales SET note = note || '!' WHERE id BETWEEN 3501 AND 5000; DELETE FROM sales WHERE id BETWEEN 500 AND 1000; \
         INSERT INTO sales SELECT n, '2024-07-07', n FROM generate_series(500, 1500) n ON CONFLICT DO NOTHING; COMMIT",
        "BEGIN; UPDATE visits SET at = '2024-08-08' WHERE n BETWEEN 500 AND 1500; UPDATE visits SET note = 'x' \
         WHERE n BETWEEN 1501 AND 2000; DELETE FROM visits WHERE n BETWEEN 2001 AND 2500 AND note IS NULL; COMMIT",
        "UPDATE sales SET id = id + 100000",
    ];
    let emptied = [
        "BEGIN; TRUNCATE sales, visits; INSERT INTO sales VALUES (1, '2022-01-01'), (1, '2024-01-01'); \
         INSERT INTO visits VALUES (1, NULL, NULL), (1, NULL, NULL), (5000, '2020-01-01', 'y'); COMMIT",
        "DELETE FROM visits WHERE ctid = (SELECT min(ctid) FROM visits); UPDATE sales SET at = '2031-01-01' WHERE at = '2022-01-01'",
        "TRUNCATE visits",
    ];
    let more = [rows(10_001, 10_020), rows(10_101, 10_400), rows(20_001, 25_000)];
    let fixed = [&one_by_one[..], &arrays, &staged, &emptied].concat();
    let mut all: Vec<String> = fixed.into_iter().map(str::to_owned).collect();
    // Before all of them are moved and emptied.
    all.splice(5..5, more);
    all
}

fn run(pair: &Pair, role: &str, epoch: i64, settings: TaskSettings) -> Run {
    let mut run = pair.run(epoch, TaskKind::FullLoadAndCdc, &TABLES, settings);
    let mut endpoint = target_endpoint(&pair.cluster);
    endpoint.values["user"] = role.into();
    run.target = Postgres.target(&endpoint).unwrap();
    run
}

async fn pair() -> Pair {
    let pair = Pair::start(&[]).await;
    let role = "CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE mart TO plain";
    pair.source.batch_execute(&format!("{role}; {SOURCE}; {}", rows(1, 6000))).await.unwrap();
    pair.mart.batch_execute(&format!("{TARGET}; GRANT ALL ON ALL TABLES IN SCHEMA public TO plain")).await.unwrap();
    pair
}

/// The rows of each partition, and whether each is one that belongs there is what the server sees to.
async fn spread(pair: &Pair) -> String {
    let sql = "SELECT string_agg(part || ' ' || rows, ', ' ORDER BY part) FROM ( \
        SELECT tableoid::regclass::text AS part, count(*) AS rows FROM sales GROUP BY 1 UNION ALL \
        SELECT tableoid::regclass::text, count(*) FROM visits GROUP BY 1) AS parts";
    pair.mart.query_one(sql, &[]).await.unwrap().get(0)
}

async fn arrives(role: &str) {
    let pair = pair().await;
    let loaded = TaskSettings { stop_at: StopAt::Loaded, ..TaskSettings::default() };
    assert_eq!(ended(&run(&pair, role, 1, loaded)).await.unwrap(), Ended::Finished);
    pair.assert_equal(&TABLES, "after the load").await;
    let all = [
        "sales_2022",
        "sales_2023",
        "sales_2024_high",
        "sales_2024_low",
        "sales_else",
        "visits_new",
        "visits_old_high",
        "visits_old_low",
    ];
    let loaded = spread(&pair).await;
    assert!(all.iter().all(|part| loaded.contains(&format!("{part} "))), "{loaded}");
    for (epoch, change) in (2..).zip(changes()) {
        pair.source.batch_execute(&change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let end = StopAt::Position(pair.ask("SELECT pg_current_wal_insert_lsn()::text").await);
        let followed = run(&pair, role, epoch, TaskSettings { stop_at: end, ..TaskSettings::default() });
        assert_eq!(ended(&followed).await.unwrap(), Ended::Finished, "{change}");
        for table in followed.status.progress().tables {
            assert_eq!(table.state, TableState::Live, "{role}: {change}: {:?}", table.problem);
        }
        for table in TABLES {
            let (there, here) = (rows_of(&pair.mart, table).await, rows_of(&pair.source, table).await);
            assert!(there == here, "{role}: {table} after {change}: {} rows and {}", there.len(), here.len());
        }
    }
    assert_eq!(spread(&pair).await, "sales_2024_low 1, sales_else 1");
}

#[tokio::test]
async fn rows_go_into_the_partitions_of_a_table_that_was_made_before() {
    arrives("postgres").await;
}

#[tokio::test]
async fn rows_go_into_partitions_by_a_role_that_may_not_switch_triggers_off() {
    arrives("plain").await;
}

#[tokio::test]
async fn partitions_are_emptied_and_loaded_again_where_the_task_may() {
    let pair = pair().await;
    pair.mart
        .batch_execute(
            "INSERT INTO sales SELECT n, '2024-01-01' FROM generate_series(1, 3000) n; INSERT INTO visits VALUES (1, '1999-01-01')",
        )
        .await
        .unwrap();
    let settings =
        || TaskSettings { stop_at: StopAt::Loaded, preparation: Preparation::Truncate, ..TaskSettings::default() };
    assert_eq!(ended(&run(&pair, "postgres", 1, settings())).await.unwrap(), Ended::Finished);
    pair.assert_equal(&TABLES, "after the load").await;
    let kind = "SELECT string_agg(relkind::text, '') FROM pg_class WHERE relname IN ('sales', 'visits')";
    assert_eq!(
        pair.mart.query_one(kind, &[]).await.unwrap().get::<_, String>(0),
        "pp",
        "they are the ones that were there"
    );
}
