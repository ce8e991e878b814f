//! The log that sources keep for tasks that no worker runs: looked at by short jobs, twice a minute. A running task's
//! worker does so itself.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;
use wavemark_domain::ids::JobId;
use wavemark_domain::kept_log::{self, Growth, KeptLog};
use wavemark_domain::progress::{Severity, TaskProgress};
use wavemark_domain::state::{TaskEvent, TaskStatus};
use wavemark_domain::{Problem, TaskId};

use crate::jobs::{self, JobKind};
use crate::tasks::{self, Locked};
use crate::{Result, events, samples};

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Where the source's log ends, for people.
    pub position: Option<String>,
    /// How much is kept for the task.
    pub kept_bytes: Option<u64>,
    /// The most that the source would keep.
    pub limit_bytes: Option<u64>,
    /// How much was kept when it was let go.
    pub let_go: Option<u64>,
    /// Seconds until the source drops what the task needs by its age.
    pub drops_in_seconds: Option<u64>,
}

/// Asks for a look at each task that may keep log, is not run by anybody, and was not looked at lately.
///
/// # Errors
/// A statement failed.
pub async fn ask(connection: &mut PgConnection) -> Result<()> {
    let due = sqlx::query_scalar!(
        "update tasks t set log_looked_at = clock_timestamp()
         where t.id in (
             select id from tasks
             where status in ('stopped', 'failed') and kind <> 'full-load' and epoch > 0 and not must_reload
               and coalesce(log_looked_at, status_since - interval '25 seconds')
                   < clock_timestamp() - interval '30 seconds'
               and not exists (select from jobs j where j.task_id = tasks.id and j.kind = 'look-at-log'
                               and j.status in ('waiting', 'running'))
             order by log_looked_at nulls first limit 20 for update skip locked)
         returning t.id"
    )
    .fetch_all(&mut *connection)
    .await?;
    for task in due {
        jobs::create(connection, JobId(Uuid::now_v7()), JobKind::LookAtLog(TaskId(task)), "the server").await?;
    }
    sqlx::query!(
        "delete from jobs where kind = 'look-at-log' and finished_at < clock_timestamp() - interval '10 minutes'"
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes in what a look found. Of a task that a worker runs again only a log that was let go counts.
///
/// # Errors
/// A statement failed.
pub async fn looked(connection: &mut PgConnection, id: TaskId, found: &Looked) -> Result<()> {
    let Some(mut task) = tasks::lock(connection, id).await? else { return Ok(()) };
    let settings = settings(connection, &task).await?;
    if let (Some(bytes), Some(budget)) = (found.let_go, kept_log::budget(&settings)) {
        let problem = kept_log::let_go(bytes, budget);
        return let_go(connection, &mut task, &problem).await;
    }
    let now = now(connection).await?;
    let settings = &settings;
    judged(connection, &task, |progress| {
        let before = progress.log_seen_at.zip(progress.log_kept_bytes);
        progress.source_position.clone_from(&found.position);
        progress.log_kept_bytes = found.kept_bytes;
        progress.log_limit_bytes = found.limit_bytes;
        progress.log_budget_bytes = kept_log::budget(settings);
        progress.log_seen_at = Some(now);
        let growth = growth(before, now, found).unwrap_or_default();
        let seconds_left = found.limit_bytes.and_then(|limit| growth.seconds_until(limit));
        progress.log_seconds_left = seconds_left.or(found.drops_in_seconds);
        let judged_age = kept_log::judge_age(settings, found.drops_in_seconds);
        let kept = KeptLog {
            bytes: found.kept_bytes.unwrap_or_default(),
            limit: found.limit_bytes,
            seconds_left,
            seconds_to_budget: progress.log_budget_bytes.and_then(|budget| growth.seconds_until(budget)),
        };
        found.kept_bytes.and_then(|_| kept_log::judge(settings, &kept)).or(judged_age)
    })
    .await
}

/// Takes in that nobody could look.
///
/// # Errors
/// A statement failed.
pub async fn not_looked(connection: &mut PgConnection, id: TaskId, why: &Problem) -> Result<()> {
    let Some(task) = tasks::lock(connection, id).await? else { return Ok(()) };
    judged(connection, &task, |_| Some((Severity::Warning, kept_log::unknown(why)))).await
}

async fn settings(connection: &mut PgConnection, task: &Locked) -> Result<wavemark_domain::task::TaskSettings> {
    let config = tasks::config(connection, task.id, task.config_version).await?;
    Ok(config.map(|config| config.settings).unwrap_or_default())
}

async fn now(connection: &mut PgConnection) -> Result<i64> {
    let now: OffsetDateTime =
        sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(connection).await?;
    Ok(i64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
}

fn growth(before: Option<(i64, u64)>, now: i64, found: &Looked) -> Option<Growth> {
    let (at, bytes) = before?;
    let mut growth = Growth::default();
    growth.see(0, bytes);
    growth.see(u64::try_from((now - at) / 1_000_000).ok()?, found.kept_bytes?);
    Some(growth)
}

/// Changes a stopped task's progress by what was judged of it; a judgement of another kind is an event too.
async fn judged(
    connection: &mut PgConnection,
    task: &Locked,
    judge: impl FnOnce(&mut TaskProgress) -> Option<(Severity, Problem)>,
) -> Result<()> {
    if !matches!(task.status, TaskStatus::Stopped | TaskStatus::Failed) {
        return Ok(());
    }
    let kept =
        sqlx::query_scalar!("select progress from tasks where id = $1", task.id.0).fetch_one(&mut *connection).await?;
    let mut progress: TaskProgress = kept.map(serde_json::from_value).transpose()?.unwrap_or_default();
    let before = progress.log_problem.take().map(|problem| problem.code);
    let found = judge(&mut progress);
    if let Some((severity, problem)) = &found
        && before.as_ref() != Some(&problem.code)
    {
        events::note(connection, task.about(), *severity, &problem.code, &problem.text, Some(problem)).await?;
    }
    progress.log_problem = found.map(|(_, problem)| problem);
    samples::keep(connection, &[(task.id, task.epoch, &progress)]).await?;
    sqlx::query!("update tasks set progress = $2 where id = $1", task.id.0, serde_json::to_value(progress)?)
        .execute(&mut *connection)
        .await?;
    crate::announce_change(connection).await
}

/// The log of a task that nobody runs was let go: it has failed, with the reason.
async fn let_go(connection: &mut PgConnection, task: &mut Locked, problem: &Problem) -> Result<()> {
    must_reload(connection, task).await?;
    match task.status {
        TaskStatus::Stopped => {
            tasks::transition(connection, task, TaskEvent::Broke, Some(problem)).await?;
        }
        // What it failed with before no longer matters.
        TaskStatus::Failed => {
            sqlx::query!("update tasks set problem = $2 where id = $1", task.id.0, serde_json::to_value(problem)?)
                .execute(&mut *connection)
                .await?;
            events::note(connection, task.about(), Severity::Error, &problem.code, &problem.text, Some(problem))
                .await?;
        }
        // A worker runs it again and says itself that the position is lost.
        _ => {}
    }
    sqlx::query!(
        "update tasks set progress = progress || '{\"log_kept_bytes\": null, \"log_problem\": null}' where id = $1",
        task.id.0
    )
    .execute(&mut *connection)
    .await?;
    crate::announce_change(connection).await
}

/// The task's next start loads everything again: its log is gone on purpose.
pub(crate) async fn must_reload(connection: &mut PgConnection, task: &mut Locked) -> Result<()> {
    sqlx::query!("update tasks set must_reload = true where id = $1", task.id.0).execute(connection).await?;
    task.must_reload = true;
    Ok(())
}
