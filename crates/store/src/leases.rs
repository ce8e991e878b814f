//! Leases: the right of one worker to run one task, for a time, under a number that only grows.
//!
//! Invariant: an epoch is granted once. It is one higher than any that was granted for the task or found in its
//! target, and is chosen under the lock of the task's row. The time of a lease is judged by the database's clock
//! alone. A lease whose time is over stays until another worker takes the task, for its holder may still be
//! writing; what makes that harmless is the fence in the target, not this table.

use std::collections::HashMap;

use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::ids::{ConfigVersion, Generation};
use wavemark_domain::progress::Severity;
use wavemark_domain::state::{TaskEvent, TaskStatus};
use wavemark_domain::{Epoch, TaskId, WorkerId};

use crate::events::{self, About};
use crate::tasks::{self, Locked};
use crate::{LEASE_SECONDS, Result};

/// A lease as granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Which task.
    pub task: TaskId,
    /// Under which number.
    pub epoch: Epoch,
    /// Which life of its artefacts.
    pub generation: Generation,
    /// Whether no worker is known to have opened the target in this generation.
    pub first_grant: bool,
    /// What the task is in now: `starting` (run it), `stopping` (raise the epoch, then end) or `deleting` and
    /// `clean-up-pending` (clean up).
    pub status: TaskStatus,
    /// Which configuration.
    pub config_version: ConfigVersion,
}

/// Grants up to `places` tasks that want a worker and whose lease nobody holds.
///
/// `reachable_since`: since when, by the database's clock, workers could report. Leases that lapsed because nobody
/// took reports are given a lease's time to be renewed by their holders first; the same after Postgres started.
///
/// # Errors
/// A statement failed.
pub async fn claim(
    connection: &mut PgConnection,
    worker: WorkerId,
    engines: &[String],
    places: i64,
    reachable_since: OffsetDateTime,
) -> Result<Vec<Granted>> {
    let candidates = sqlx::query_scalar!(
        "select t.id from tasks t
         join endpoints s on s.id = t.source_id
         join endpoints d on d.id = t.target_id
         left join leases l on l.task_id = t.id
         where t.status in ('starting', 'running', 'degraded', 'stopping', 'deleting', 'clean-up-pending')
           and (t.not_before is null or t.not_before <= clock_timestamp())
           and s.engine = any($1) and d.engine = any($1)
           and (l.task_id is null
                or greatest(l.expires_at,
                            pg_postmaster_start_time() + make_interval(secs => $3),
                            $4::timestamptz + make_interval(secs => $3)) <= clock_timestamp())
         order by t.status_since
         limit $2
         for update of t skip locked",
        engines,
        places,
        f64::from(LEASE_SECONDS),
        reachable_since
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut granted = Vec::new();
    for id in candidates {
        granted.extend(grant(connection, TaskId(id), worker, reachable_since).await?);
    }
    Ok(granted)
}

/// Grants one task whose row this transaction has locked. The lease is looked at again, in a new statement: one
/// that was granted between the snapshot of the search and the lock is seen only now.
async fn grant(
    connection: &mut PgConnection,
    id: TaskId,
    worker: WorkerId,
    reachable_since: OffsetDateTime,
) -> Result<Option<Granted>> {
    let Some(mut task) = tasks::lock(connection, id).await? else { return Ok(None) };
    let lapsed = sqlx::query!(
        r#"select w.name, greatest(l.expires_at, $3::timestamptz + make_interval(secs => $2)) <= clock_timestamp() as "lapsed!"
           from leases l join workers w on w.id = l.worker_id where task_id = $1"#,
        id.0,
        f64::from(LEASE_SECONDS),
        reachable_since
    )
    .fetch_optional(&mut *connection)
    .await?;
    if lapsed.as_ref().is_some_and(|lease| !lease.lapsed)
        || !(task.status.wants_worker() || task.status.is_cleaned_up())
    {
        return Ok(None);
    }
    if let Some(before) = lapsed {
        let text =
            format!("Worker \"{}\" was not heard of for {LEASE_SECONDS} s; another takes the task.", before.name);
        events::note(connection, task.about(), Severity::Warning, "lease-lapsed", &text, None).await?;
    }
    tasks::transition(connection, &mut task, TaskEvent::LeaseLapsed, None).await?;
    write(connection, &task, worker).await.map(Some)
}

async fn write(connection: &mut PgConnection, task: &Locked, worker: WorkerId) -> Result<Granted> {
    let epoch = sqlx::query_scalar!(
        "update tasks set epoch = epoch + 1, not_before = null where id = $1 returning epoch",
        task.id.0
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into leases (task_id, worker_id, epoch, expires_at)
         values ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
         on conflict (task_id) do update set worker_id = excluded.worker_id, epoch = excluded.epoch,
             granted_at = excluded.granted_at, renewed_at = excluded.renewed_at, expires_at = excluded.expires_at",
        task.id.0,
        worker.0,
        epoch,
        f64::from(LEASE_SECONDS)
    )
    .execute(&mut *connection)
    .await?;
    // A clean-up that is tried again and again is told once.
    if task.status != TaskStatus::CleanUpPending {
        let about = About { worker: Some(worker), epoch: Some(Epoch(epoch)), ..task.about() };
        let text = format!("A worker was given the task \"{}\" under epoch {epoch}.", task.name);
        events::note(connection, about, Severity::Info, "lease-granted", &text, None).await?;
    }
    Ok(Granted {
        task: task.id,
        epoch: Epoch(epoch),
        generation: task.generation,
        first_grant: !task.opened,
        status: task.status,
        config_version: task.config_version,
    })
}

/// Who holds a task's lease, under which epoch; also after its time is over.
///
/// # Errors
/// The statement failed.
pub async fn holder(connection: &mut PgConnection, task: TaskId) -> Result<Option<(WorkerId, Epoch)>> {
    Ok(holders(connection, &[task]).await?.remove(&task))
}

/// The same of several tasks.
pub(crate) async fn holders(
    connection: &mut PgConnection,
    tasks: &[TaskId],
) -> Result<HashMap<TaskId, (WorkerId, Epoch)>> {
    let ids: Vec<_> = tasks.iter().map(|task| task.0).collect();
    let rows = sqlx::query!("select task_id, worker_id, epoch from leases where task_id = any($1)", &ids)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (TaskId(row.task_id), (WorkerId(row.worker_id), Epoch(row.epoch)))).collect())
}

/// Renews leases whose holder reported. The caller has locked the tasks and compared worker and epochs.
pub(crate) async fn renew(connection: &mut PgConnection, tasks: &[TaskId]) -> Result<()> {
    let ids: Vec<_> = tasks.iter().map(|task| task.0).collect();
    sqlx::query!(
        "update leases set renewed_at = clock_timestamp(),
                expires_at = clock_timestamp() + make_interval(secs => $2) where task_id = any($1)",
        &ids,
        f64::from(LEASE_SECONDS)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a lease that its holder gave back.
pub(crate) async fn end(connection: &mut PgConnection, task: TaskId) -> Result<()> {
    sqlx::query!("delete from leases where task_id = $1", task.0).execute(connection).await?;
    Ok(())
}

/// Raises a task's epoch to what was found in its target, so that the next grant is above it, a little later.
///
/// So is its generation, which the target holds too: somebody opened it in that life.
pub(crate) async fn raise(
    connection: &mut PgConnection,
    task: TaskId,
    held: Epoch,
    generation: Option<Generation>,
) -> Result<()> {
    sqlx::query!(
        "update tasks set epoch = greatest(epoch, $2), not_before = clock_timestamp() + interval '2 seconds',
                granted_generation = case when $3::int > generation then $3 else granted_generation end,
                generation = greatest(generation, $3::int)
         where id = $1",
        task.0,
        held.0,
        generation.map(|generation| generation.0)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says that tasks whose leases lapsed have no worker: they are *starting* again until one takes them.
///
/// # Errors
/// A statement failed.
pub async fn lapse(connection: &mut PgConnection, reachable_since: OffsetDateTime) -> Result<usize> {
    let lapsed = sqlx::query_scalar!(
        "select t.id from tasks t join leases l on l.task_id = t.id
         where t.status in ('running', 'degraded')
           and greatest(l.expires_at, pg_postmaster_start_time() + make_interval(secs => $1),
                        $2::timestamptz + make_interval(secs => $1)) <= clock_timestamp()
         for update of t skip locked",
        f64::from(LEASE_SECONDS),
        reachable_since
    )
    .fetch_all(&mut *connection)
    .await?;
    for id in &lapsed {
        if let Some(mut task) = tasks::lock(connection, TaskId(*id)).await? {
            tasks::transition(connection, &mut task, TaskEvent::LeaseLapsed, None).await?;
        }
    }
    Ok(lapsed.len())
}
