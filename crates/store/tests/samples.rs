//! Samples in a real PostgreSQL: what is thinned, what is dropped, how rates are made.

#![expect(clippy::unwrap_used, reason = "a failure in a helper is the failure of its test")]

mod support;

use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{EndpointId, TaskId};
use wavemark_store::endpoints::{self, EndpointRole};
use wavemark_store::{samples, tasks};

async fn task(connection: &mut sqlx::PgConnection) -> TaskId {
    let id = EndpointId(Uuid::now_v7());
    endpoints::create(connection, id, "both", "postgresql", EndpointRole::Both, &json!({})).await.unwrap();
    let config = tasks::Config {
        name: "one".to_owned(),
        kind: TaskKind::Cdc,
        source: id,
        target: id,
        mappings: json!({}),
        settings: TaskSettings::default(),
    };
    let task = TaskId(Uuid::now_v7());
    tasks::create(connection, task, &config, "test").await.unwrap();
    task
}

async fn put(pool: &sqlx::PgPool, task: TaskId, at: &str, epoch: i64, lag: i64, written: i64) {
    let sql = "insert into samples (task_id, at, epoch, lag_ms, changes_read, changes_written, bytes_written,
                                    rows_loaded, bytes_loaded)
               values ($1, date_trunc('minute', clock_timestamp()) + $2::interval, $3, $4, 0, $5, 0, 0, 0)";
    sqlx::query(sql).bind(task.0).bind(at).bind(epoch).bind(lag).bind(written).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_day_old_minute_keeps_its_last_sample_with_its_worst_lag() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let task = task(&mut connection).await;
    put(&pool, task, "-2 days", 1, 10, 100).await;
    put(&pool, task, "-2 days +20 seconds", 1, 900, 200).await;
    put(&pool, task, "-2 days +40 seconds", 1, 30, 300).await;
    put(&pool, task, "-32 days", 1, 1, 1).await;
    put(&pool, task, "-1 hour", 1, 5, 400).await;
    put(&pool, task, "-1 hour +5 seconds", 1, 6, 450).await;
    samples::thin(&mut connection).await.unwrap();
    assert_eq!(samples::thin(&mut connection).await.unwrap(), 0, "safe to repeat");
    let since = OffsetDateTime::now_utc() - Duration::days(60);
    let kept = samples::list(&mut connection, task, since, 100).await.unwrap();
    let lags: Vec<Option<i64>> = kept.iter().map(|sample| sample.lag_ms).collect();
    assert_eq!(lags, [Some(900), Some(5), Some(6)]);
    assert_eq!(kept[2].write_rate, Some(10.0));
}

#[tokio::test]
async fn a_rate_is_not_made_across_two_runs_of_a_task() {
    let pool = support::metadata().await;
    let mut connection = pool.acquire().await.unwrap();
    let task = task(&mut connection).await;
    put(&pool, task, "-50 seconds", 1, 1, 1_000).await;
    put(&pool, task, "-40 seconds", 1, 1, 1_500).await;
    put(&pool, task, "-30 seconds", 2, 1, 10).await;
    put(&pool, task, "-20 seconds", 2, 1, 30).await;
    let since = OffsetDateTime::now_utc() - Duration::hours(1);
    let kept = samples::list(&mut connection, task, since, 100).await.unwrap();
    let rates: Vec<Option<f64>> = kept.iter().map(|sample| sample.write_rate).collect();
    assert_eq!(rates, [None, Some(50.0), None, Some(2.0)]);
}
