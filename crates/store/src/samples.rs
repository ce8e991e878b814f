//! What a task's figures were: every five seconds for a day, every minute for a month, then dropped.

use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::progress::TaskProgress;
use wavemark_domain::{Epoch, TaskId};

use crate::Result;

/// One point of a chart. Rates are per second since the point before, unknown at the first of a run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When.
    pub at: OffsetDateTime,
    /// Source commit to target commit.
    pub lag_ms: Option<i64>,
    /// Bytes of log between bookmark and end.
    pub behind_bytes: Option<i64>,
    /// Bytes of log that the source keeps.
    pub log_kept_bytes: Option<i64>,
    /// Changes read per second.
    pub read_rate: Option<f64>,
    /// Changes committed in the target per second.
    pub write_rate: Option<f64>,
    /// Bytes of those per second.
    pub write_byte_rate: Option<f64>,
    /// Rows copied per second.
    pub load_rate: Option<f64>,
}

/// Keeps a sample of each task whose last is five seconds old.
pub(crate) async fn keep(connection: &mut PgConnection, figures: &[(TaskId, Epoch, &TaskProgress)]) -> Result<()> {
    let ids: Vec<_> = figures.iter().map(|(task, ..)| task.0).collect();
    let epochs: Vec<i64> = figures.iter().map(|(_, epoch, _)| epoch.0).collect();
    let gauge = |part: fn(&TaskProgress) -> Option<u64>| -> Vec<Option<i64>> {
        figures.iter().map(|(.., progress)| part(progress).map(saturate)).collect()
    };
    let count = |part: fn(&TaskProgress) -> u64| -> Vec<i64> {
        figures.iter().map(|(.., progress)| saturate(part(progress))).collect()
    };
    sqlx::query!(
        "insert into samples (task_id, at, epoch, lag_ms, behind_bytes, log_kept_bytes, changes_read, changes_written,
                              bytes_written, rows_loaded, bytes_loaded)
         select n.task, clock_timestamp(), n.epoch, n.lag, n.behind, n.kept, n.changes_read, n.changes_written, n.written,
                n.rows, n.loaded
         from unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
                     $9::int8[], $10::int8[])
              as n (task, epoch, lag, behind, kept, changes_read, changes_written, written, rows, loaded)
         where not exists (
             select from samples where task_id = n.task and at > clock_timestamp() - interval '4.5 seconds')",
        &ids,
        &epochs,
        &gauge(|progress| progress.lag_ms) as _,
        &gauge(|progress| progress.behind_bytes) as _,
        &gauge(|progress| progress.log_kept_bytes) as _,
        &count(|progress| progress.changes_read),
        &count(|progress| progress.changes_written),
        &count(|progress| progress.bytes_written),
        &count(|progress| progress.rows_loaded),
        &count(|progress| progress.bytes_loaded)
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn saturate(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

/// The samples of a task from a time on, oldest first.
///
/// # Errors
/// The statement failed.
pub async fn list(
    connection: &mut PgConnection,
    task: TaskId,
    since: OffsetDateTime,
    limit: i64,
) -> Result<Vec<Sample>> {
    Ok(sqlx::query_as!(
        Sample,
        r#"with s as (
             select *, extract(epoch from at - lag(at) over w)::float8 as seconds, lag(epoch) over w = epoch as same,
                    changes_read - lag(changes_read) over w as read,
                    changes_written - lag(changes_written) over w as written,
                    bytes_written - lag(bytes_written) over w as bytes,
                    rows_loaded - lag(rows_loaded) over w as loaded
             from samples where task_id = $1 and at >= $2 window w as (order by at))
           select at, lag_ms, behind_bytes, log_kept_bytes,
                  case when same and read >= 0 then read / nullif(seconds, 0) end as read_rate,
                  case when same and written >= 0 then written / nullif(seconds, 0) end as write_rate,
                  case when same and bytes >= 0 then bytes / nullif(seconds, 0) end as write_byte_rate,
                  case when same and loaded >= 0 then loaded / nullif(seconds, 0) end as load_rate
           from s order by at limit $3"#,
        task.0,
        since,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Thins samples older than a day to one per minute (its last, with the minute's worst lag) and drops those older
/// than 31 days. Safe to repeat.
///
/// # Errors
/// A statement failed.
pub async fn thin(connection: &mut PgConnection) -> Result<u64> {
    let thinned = sqlx::query!(
        "with old as (
             select task_id, at,
                    row_number() over (partition by task_id, date_trunc('minute', at) order by at desc) as place,
                    max(lag_ms) over (partition by task_id, date_trunc('minute', at)) as worst,
                    max(behind_bytes) over (partition by task_id, date_trunc('minute', at)) as behind
             from samples
             where not coarse and at < date_trunc('minute', clock_timestamp() - interval '1 day')),
         kept as (
             update samples s set coarse = true, lag_ms = old.worst, behind_bytes = old.behind
             from old where old.place = 1 and s.task_id = old.task_id and s.at = old.at)
         delete from samples s using old where old.place > 1 and s.task_id = old.task_id and s.at = old.at"
    )
    .execute(&mut *connection)
    .await?;
    let dropped = sqlx::query!("delete from samples where at < clock_timestamp() - interval '31 days'")
        .execute(connection)
        .await?;
    Ok(thinned.rows_affected() + dropped.rows_affected())
}
