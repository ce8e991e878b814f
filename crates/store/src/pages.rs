//! What only pages ask for: figures of many tasks at once.

use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::{TableName, TaskId, WorkerId};

use crate::Result;

/// One task's figures that are not in its progress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Tables that are live or done.
    pub well: i64,
    /// Chunks of all loads.
    pub chunks: i64,
    /// Chunks that are done.
    pub chunks_done: i64,
    /// Changes read per second over the last ten seconds or so; unknown while nothing is reported.
    pub read_rate: Option<f64>,
    /// Changes committed in the target per second.
    pub write_rate: Option<f64>,
    /// Rows copied per second.
    pub load_rate: Option<f64>,
    /// Bytes per second by which the log that the source keeps grew over the last ten minutes.
    pub log_growth: Option<f64>,
}

/// The figures of some tasks.
///
/// # Errors
/// The statement failed.
pub async fn figures(connection: &mut PgConnection, tasks: &[TaskId]) -> Result<Vec<(TaskId, Figures)>> {
    let ids: Vec<_> = tasks.iter().map(|task| task.0).collect();
    let rows = sqlx::query!(
        r#"select t.id, b.well as "well!", b.chunks as "chunks!", b.chunks_done as "chunks_done!",
                  case when o.changes_read <= n.changes_read
                       then (n.changes_read - o.changes_read) / o.seconds end as read_rate,
                  case when o.changes_written <= n.changes_written
                       then (n.changes_written - o.changes_written) / o.seconds end as write_rate,
                  case when o.rows_loaded <= n.rows_loaded
                       then (n.rows_loaded - o.rows_loaded) / o.seconds end as load_rate,
                  (n.log_kept_bytes - g.log_kept_bytes) / nullif(extract(epoch from n.at - g.at)::float8, 0) as log_growth
           from unnest($1::uuid[]) as t (id)
           cross join lateral (
               select count(*) filter (where state in ('live', 'done')) as well,
                      coalesce(sum((progress->>'chunks')::bigint), 0)::bigint as chunks,
                      coalesce(sum((progress->>'chunks_done')::bigint), 0)::bigint as chunks_done
               from task_tables where task_id = t.id) b
           left join lateral (
               select * from samples where task_id = t.id and at > clock_timestamp() - interval '20 seconds'
               order by at desc limit 1) n on true
           left join lateral (
               select *, extract(epoch from n.at - at)::float8 as seconds from samples
               where task_id = t.id and epoch = n.epoch
                 and at between n.at - interval '40 seconds' and n.at - interval '4 seconds'
               order by abs(extract(epoch from n.at - at) - 10) limit 1) o on true
           left join lateral (
               select * from samples where task_id = t.id and log_kept_bytes is not null
                 and at between n.at - interval '10 minutes' and n.at - interval '1 minute'
               order by at limit 1) g on true"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    let figures = rows.into_iter().filter_map(|row| {
        let figures = Figures {
            well: row.well,
            chunks: row.chunks,
            chunks_done: row.chunks_done,
            read_rate: row.read_rate,
            write_rate: row.write_rate,
            load_rate: row.load_rate,
            log_growth: row.log_growth,
        };
        Some((TaskId(row.id?), figures))
    });
    Ok(figures.collect())
}

/// The worst lag of each minute of the last hour, oldest first: `(task, minutes ago, milliseconds)`.
///
/// # Errors
/// The statement failed.
pub async fn lags(connection: &mut PgConnection, tasks: &[TaskId]) -> Result<Vec<(TaskId, i32, i64)>> {
    let ids: Vec<_> = tasks.iter().map(|task| task.0).collect();
    let rows = sqlx::query!(
        r#"select task_id, (extract(epoch from clock_timestamp() - at) / 60)::int as "ago!", max(lag_ms) as "lag!"
           from samples
           where task_id = any($1) and at > clock_timestamp() - interval '1 hour' and lag_ms is not null
           group by 1, 2 order by 1, 2 desc"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (TaskId(row.task_id), row.ago, row.lag)).collect())
}

/// A parked table of any task.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The task.
    pub task: TaskId,
    /// Since when.
    pub since: OffsetDateTime,
    /// The table as last reported.
    pub table: wavemark_domain::progress::TableProgress,
}

/// The parked tables of all tasks, newest first.
///
/// # Errors
/// The statement failed.
pub async fn parked(connection: &mut PgConnection, limit: i64) -> Result<Vec<Parked>> {
    let rows = sqlx::query!(
        "select task_id, changed_at, progress from task_tables where state = 'parked' order by changed_at desc limit $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let table = serde_json::from_value(row.progress)?;
            Ok(Parked { task: TaskId(row.task_id), since: row.changed_at, table })
        })
        .collect()
}

/// How often a table met the problem with this code since a time, and when first.
///
/// # Errors
/// The statement failed.
pub async fn seen(
    connection: &mut PgConnection,
    task: TaskId,
    table: Option<&TableName>,
    code: &str,
) -> Result<(i64, Option<OffsetDateTime>)> {
    let row = sqlx::query!(
        r#"select count(*) as "count!", min(at) as first from events
           where task_id = $1 and problem->>'code' = $2
             and ($3::text is null or (table_schema = $3 and table_name = $4))"#,
        task.0,
        code,
        table.map(|table| table.schema.as_str()),
        table.map(|table| table.table.as_str())
    )
    .fetch_one(connection)
    .await?;
    Ok((row.count, row.first))
}

/// Which tasks each worker holds a lease on, by name.
///
/// # Errors
/// The statement failed.
pub async fn held(connection: &mut PgConnection) -> Result<Vec<(WorkerId, TaskId, String)>> {
    let rows = sqlx::query!(
        "select l.worker_id, t.id, t.name from leases l join tasks t on t.id = l.task_id
         where l.expires_at > clock_timestamp() order by t.name"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (WorkerId(row.worker_id), TaskId(row.id), row.name)).collect())
}

/// What the navigation counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All tasks.
    pub tasks: i64,
    /// All endpoints.
    pub endpoints: i64,
    /// Workers heard of within a lease's time.
    pub workers: i64,
}

/// What the navigation counts.
///
/// # Errors
/// The statement failed.
pub async fn counts(connection: &mut PgConnection) -> Result<Counts> {
    Ok(sqlx::query_as!(
        Counts,
        r#"select (select count(*) from tasks) as "tasks!", (select count(*) from endpoints) as "endpoints!",
                  (select count(*) from workers
                   where seen_at > clock_timestamp() - make_interval(secs => 10)) as "workers!""#
    )
    .fetch_one(connection)
    .await?)
}

/// The newest job of a kind about an endpoint.
///
/// # Errors
/// The statement failed.
pub async fn newest_job(
    connection: &mut PgConnection,
    endpoint: wavemark_domain::EndpointId,
    kind: &str,
) -> Result<Option<NewestJob>> {
    Ok(sqlx::query_as!(
        NewestJob,
        "select status, outcome, created_at from jobs where endpoint_id = $1 and kind = $2
         order by created_at desc limit 1",
        endpoint.0,
        kind
    )
    .fetch_optional(connection)
    .await?)
}

/// How the newest job of a kind stands.
#[derive(Clone, Debug)]
pub struct NewestJob {
    /// `waiting`, `running`, `done` or `failed`.
    pub status: String,
    /// What was found.
    pub outcome: Option<serde_json::Value>,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
}
