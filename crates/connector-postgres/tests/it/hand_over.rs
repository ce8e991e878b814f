//! What is brought up to date in the target before others take it over: statistics and materialized views, as the task's
//! settings say. What can't be done is told, and nothing of the task fails for it.

use std::time::Duration;

use wavemark_connector::Connector as _;
use wavemark_connector_postgres::Postgres;
use wavemark_domain::stop::StopAt;
use wavemark_domain::task::{MaterializedViews, Preparation, Statistics, TaskKind, TaskSettings};
use wavemark_engine::{Ended, Run};

use crate::support::pair::{Pair, rows_of, target_endpoint};
use crate::support::run::{ended, told};
use crate::support::task;

/// Views on views, each named against the order that it needs; one that a partition's rows go into, and one that reads
/// something else.
const TARGET: &str = "\
    CREATE TABLE goods (id integer PRIMARY KEY, price integer); \
    CREATE TABLE parts (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id); \
    CREATE TABLE first_parts PARTITION OF parts FOR VALUES FROM (0) TO (1000); \
    CREATE TABLE others (n integer); \
    CREATE MATERIALIZED VIEW z_sums AS SELECT count(*) AS rows, sum(price) AS price FROM goods WITH NO DATA; \
    CREATE VIEW m_doubled AS SELECT rows, price * 2 AS price FROM z_sums; \
    CREATE MATERIALIZED VIEW a_both AS SELECT d.price, (SELECT count(*) FROM goods) AS goods FROM m_doubled d WITH NO DATA; \
    CREATE MATERIALIZED VIEW b_parts AS SELECT sum(n) AS n FROM first_parts WITH NO DATA; \
    CREATE MATERIALIZED VIEW c_others AS SELECT count(*) FROM others WITH NO DATA";

const TABLES: [&str; 2] = ["goods", "parts"];

async fn pair() -> Pair {
    let pair = Pair::start(&[("autovacuum", "off")]).await;
    pair.source
        .batch_execute(
            "CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE mart TO plain; \
             CREATE TABLE goods (id integer PRIMARY KEY, price integer); CREATE TABLE parts (id integer PRIMARY KEY, n integer); \
             INSERT INTO goods SELECT n, 10 FROM generate_series(1, 100) n; \
             INSERT INTO parts SELECT n, 1 FROM generate_series(1, 100) n",
        )
        .await
        .unwrap();
    pair.mart.batch_execute(TARGET).await.unwrap();
    pair
}

fn run(pair: &Pair, epoch: i64, kind: TaskKind, settings: TaskSettings) -> Run {
    pair.run(epoch, kind, &TABLES, TaskSettings { preparation: Preparation::Truncate, ..settings })
}

fn refreshing() -> TaskSettings {
    TaskSettings {
        statistics: Statistics::AlsoAtHandOver,
        materialized_views: MaterializedViews::Refresh,
        ..TaskSettings::default()
    }
}

/// The rows that the server expects in goods, by its statistics; none if it has none.
async fn expected(pair: &Pair) -> Option<i64> {
    let sql = "SELECT reltuples::int8 FROM pg_class WHERE oid = 'goods'::regclass";
    Some(pair.mart.query_one(sql, &[]).await.unwrap().get(0)).filter(|rows| *rows >= 0)
}

async fn populated(pair: &Pair) -> Vec<String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind = 'm' AND relispopulated ORDER BY 1";
    pair.mart.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Follows until a drain is told as done, then stops.
async fn drained(run: &Run) {
    let running = tokio::spawn({
        let run = run.clone();
        async move { run.run().await }
    });
    run.orders.ask_drain(Some(1));
    let done = async {
        while run.status.progress().drained.is_none_or(|drained| drained.number != 1) {
            assert!(!running.is_finished(), "the task goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(task::PATIENCE, done).await.unwrap();
    run.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
}

#[tokio::test]
async fn a_drain_makes_statistics_and_materialized_views_as_new_as_the_rows() {
    let pair = pair().await;
    let loaded = TaskSettings { stop_at: StopAt::Loaded, ..TaskSettings::default() };
    assert_eq!(ended(&run(&pair, 1, TaskKind::FullLoadAndCdc, loaded)).await.unwrap(), Ended::Finished);
    assert_eq!((expected(&pair).await, populated(&pair).await), (Some(100), Vec::new()), "nobody asked for views");
    pair.source
        .batch_execute("INSERT INTO goods SELECT n, 10 FROM generate_series(101, 250) n; UPDATE parts SET n = 2")
        .await
        .unwrap();
    let draining = run(&pair, 2, TaskKind::FullLoadAndCdc, refreshing());
    drained(&draining).await;
    assert_eq!(expected(&pair).await, Some(250));
    assert_eq!(populated(&pair).await, ["a_both", "b_parts", "z_sums"]);
    assert_eq!(rows_of(&pair.mart, "a_both").await, ["(5000,250)"], "made after what it reads");
    assert_eq!(rows_of(&pair.mart, "b_parts").await, ["(200)"]);
    let told = told(&draining, "refreshed");
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], "The statistics of 2 tables are made anew");
    assert!(told[1].starts_with("Materialized view public.z_sums is refreshed, which took "), "{told:?}");
}

#[tokio::test]
async fn what_cannot_be_refreshed_is_told_and_the_drain_is_done_all_the_same() {
    let pair = pair().await;
    // A role to whom nothing belongs; a view that can't be made; and one that depends on it.
    pair.mart
        .batch_execute(
            "GRANT ALL ON SCHEMA public TO plain; \
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON goods, parts, first_parts TO plain; \
             ALTER MATERIALIZED VIEW z_sums OWNER TO plain; ALTER VIEW m_doubled OWNER TO plain; \
             CREATE MATERIALIZED VIEW d_broken AS SELECT 1 / (price - 10) FROM goods WITH NO DATA; \
             ALTER MATERIALIZED VIEW d_broken OWNER TO plain",
        )
        .await
        .unwrap();
    let by_plain = |epoch: i64, settings: TaskSettings| {
        let mut run = run(&pair, epoch, TaskKind::FullLoadAndCdc, settings);
        let mut endpoint = target_endpoint(&pair.cluster);
        endpoint.values["user"] = "plain".into();
        run.target = Postgres.target(&endpoint).unwrap();
        run
    };
    let loaded = TaskSettings { stop_at: StopAt::Loaded, ..refreshing() };
    let first = by_plain(1, loaded);
    assert_eq!(ended(&first).await.unwrap(), Ended::Finished);
    let draining = by_plain(2, refreshing());
    drained(&draining).await;
    for run in [&first, &draining] {
        let texts = |code: &str| told(run, code).join("\n");
        let refused = texts("missing-privilege");
        for name in ["public.goods", "public.parts", "public.a_both", "public.b_parts"] {
            assert!(refused.contains(name), "{name}: {refused}");
        }
        assert!(texts("refused").contains("public.d_broken"), "{:?}", run.status.events());
        assert!(texts("refreshed").contains("public.z_sums"));
    }
    assert_eq!(populated(&pair).await, ["z_sums"]);
    assert_eq!(rows_of(&pair.mart, "goods").await, rows_of(&pair.source, "goods").await);
}

#[tokio::test]
async fn a_task_that_only_loads_hands_over_at_its_end_and_makes_statistics_only_if_it_may() {
    for (statistics, views, rows) in [
        (Statistics::Never, MaterializedViews::Leave, None),
        (Statistics::AfterLoad, MaterializedViews::Refresh, Some(100)),
    ] {
        let pair = pair().await;
        let settings = TaskSettings { statistics, materialized_views: views, ..TaskSettings::default() };
        assert_eq!(ended(&run(&pair, 1, TaskKind::FullLoad, settings)).await.unwrap(), Ended::Finished);
        assert_eq!(expected(&pair).await, rows, "{statistics:?}");
        let there = populated(&pair).await;
        assert_eq!(there.len(), if views == MaterializedViews::Refresh { 3 } else { 0 }, "{there:?}");
    }
}

#[tokio::test]
async fn a_refresh_that_takes_long_is_ended_when_the_task_is_stopped() {
    let pair = pair().await;
    let loaded = TaskSettings { stop_at: StopAt::Loaded, ..TaskSettings::default() };
    assert_eq!(ended(&run(&pair, 1, TaskKind::FullLoadAndCdc, loaded)).await.unwrap(), Ended::Finished);
    pair.mart
        .batch_execute(
            "CREATE MATERIALIZED VIEW slow AS SELECT pg_sleep(3600)::text AS slept FROM goods LIMIT 1 WITH NO DATA",
        )
        .await
        .unwrap();
    let draining = run(&pair, 2, TaskKind::FullLoadAndCdc, refreshing());
    let running = tokio::spawn({
        let run = draining.clone();
        async move { run.run().await }
    });
    draining.orders.ask_drain(Some(1));
    let asleep = async |expected: bool| {
        let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'REFRESH % public.slow' AND state = 'active')";
        let is = async || pair.mart.query_one(sql, &[]).await.unwrap().get::<_, bool>(0);
        let wait = async {
            while is().await != expected {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(task::PATIENCE, wait).await.expect("the server's sessions say so");
    };
    asleep(true).await;
    draining.stop.cancel();
    let stopped = tokio::time::timeout(task::PATIENCE, running).await.expect("the task stops").unwrap();
    assert_eq!(stopped.unwrap(), Ended::Stopped);
    assert_eq!(draining.status.progress().drained, None);
    asleep(false).await;
}
