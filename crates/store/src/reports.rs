//! What workers report, taken in one task at a time under the lock of the task's row; the caller owns the
//! transaction around all tasks of a report.

use sqlx::PgConnection;
use wavemark_domain::compare::{CompareOrder, CompareReport};
use wavemark_domain::ids::Generation;
use wavemark_domain::kept_log::LET_GO;
use wavemark_domain::progress::{Phase, Severity, TableProgress, TaskEventRecord, TaskProgress};
use wavemark_domain::state::{TableState, TaskEvent, TaskStatus};
use wavemark_domain::{Epoch, Problem, TableOrder, TaskId, WorkerId};

use crate::events::{self, About};
use crate::tasks::{self, CleanUp, Locked};
use crate::{Result, compares, kept_log, leases, orders, samples};

/// How a task stands, as its worker says.
#[derive(Clone, Debug)]
pub enum Stand {
    /// It goes on.
    Running,
    /// It ended, as asked or because all is done.
    Ended,
    /// It can't go on.
    Failed(Problem),
    /// The worker goes away; its sessions on the target are closed.
    Released,
    /// The target holds a higher epoch, or a later generation.
    Fenced(Epoch, Option<Generation>),
    /// Clean-up is done.
    CleanedUp,
    /// Clean-up left something behind.
    CleanUpPending(CleanUp),
}

/// One task of a report.
#[derive(Clone, Debug)]
pub struct Reported<'a> {
    /// Which.
    pub task: TaskId,
    /// Under which grant.
    pub epoch: Epoch,
    /// How it stands.
    pub stand: Stand,
    /// Its progress.
    pub progress: &'a TaskProgress,
    /// What happened.
    pub events: &'a [TaskEventRecord],
    /// Orders that are done.
    pub orders_done: &'a [i64],
    /// Its comparisons.
    pub compares: &'a [CompareReport],
}

/// What the worker is to do with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on; the lease is renewed. With what is asked of the task.
    Continue(Asked),
    /// End.
    Stop,
    /// The lease is another's.
    Abandon,
}

/// What people ask of a running task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Of single tables.
    pub orders: Vec<TableOrder>,
    /// The number of a drain.
    pub drain: Option<i64>,
    /// Comparisons that the worker did not name.
    pub compares: Vec<CompareOrder>,
    /// The numbers of all that are not over.
    pub compares_open: Vec<i64>,
}

/// Takes in one task of a report.
///
/// A lease whose time is over but that nobody else took is renewed: the worker went on while it could not report.
///
/// # Errors
/// A statement failed.
pub async fn take(connection: &mut PgConnection, worker: WorkerId, report: &Reported<'_>) -> Result<Answer> {
    let Some(mut task) = tasks::lock(connection, report.task).await? else { return Ok(Answer::Abandon) };
    if leases::holder(connection, task.id).await? != Some((worker, report.epoch)) {
        return Ok(Answer::Abandon);
    }
    let about = About { worker: Some(worker), epoch: Some(report.epoch), ..task.about() };
    for event in report.events {
        events::reported(connection, about, event).await?;
    }
    keep_progress(connection, &task, report).await?;
    orders::done(connection, task.id, report.orders_done).await?;
    for compare in report.compares {
        compares::reported(connection, task.id, compare).await?;
    }
    stand(connection, &mut task, report).await
}

async fn stand(connection: &mut PgConnection, task: &mut Locked, report: &Reported<'_>) -> Result<Answer> {
    match &report.stand {
        Stand::Running => return running(connection, task, report).await,
        Stand::Ended => {
            leases::end(connection, task.id).await?;
            tasks::transition(connection, task, TaskEvent::Ended, None).await?;
        }
        Stand::Failed(problem) if task.status.is_cleaned_up() => {
            let left = CleanUp { problem: problem.clone(), statements: Vec::new() };
            leave_behind(connection, task, &left).await?;
        }
        Stand::Failed(problem) => {
            if problem.code == LET_GO {
                kept_log::must_reload(connection, task).await?;
            }
            leases::end(connection, task.id).await?;
            tasks::transition(connection, task, TaskEvent::Broke, Some(problem)).await?;
        }
        Stand::Released => {
            leases::end(connection, task.id).await?;
            let ended = task.status == TaskStatus::Stopping;
            let event = if ended { TaskEvent::Ended } else { TaskEvent::LeaseLapsed };
            tasks::transition(connection, task, event, None).await?;
            crate::announce_work(connection).await?;
        }
        Stand::Fenced(held, generation) => fenced(connection, task, *held, *generation).await?,
        Stand::CleanedUp if task.status.is_cleaned_up() => tasks::delete(connection, task).await?,
        Stand::CleanedUp => leases::end(connection, task.id).await?,
        Stand::CleanUpPending(left) => leave_behind(connection, task, left).await?,
    }
    Ok(Answer::Continue(Asked::default()))
}

async fn running(connection: &mut PgConnection, task: &mut Locked, report: &Reported<'_>) -> Result<Answer> {
    let progress = report.progress;
    leases::renew(connection, task.id).await?;
    let parked = progress.tables.iter().any(|table| table.state == TableState::Parked);
    let event = if parked { TaskEvent::RunsDegraded } else { TaskEvent::Runs };
    tasks::transition(connection, task, event, None).await?;
    if task.status == TaskStatus::Stopping {
        return Ok(Answer::Stop);
    }
    let orders = if task.ordered { orders::open(connection, task.id).await? } else { Vec::new() };
    let done = progress.drained.as_ref().map_or(0, |drained| drained.number);
    let mut compares = if task.compared { compares::open(connection, task.id).await? } else { Vec::new() };
    let compares_open = compares.iter().map(|order| order.number).collect();
    compares.retain(|order| !report.compares.iter().any(|known| known.number == order.number));
    let drain = task.drain.filter(|number| *number > done);
    Ok(Answer::Continue(Asked { orders, drain, compares, compares_open }))
}

/// The newest grant met a higher epoch: the metadata is older than the target (it was restored), or two
/// installations share a target. The next grant goes above what was found.
async fn fenced(
    connection: &mut PgConnection,
    task: &mut Locked,
    held: Epoch,
    generation: Option<Generation>,
) -> Result<()> {
    let text = format!(
        "The target holds epoch {held}, above the {} granted for \"{}\": the metadata is older than the target. \
         The next grant goes above it.",
        task.epoch, task.name
    );
    events::note(connection, task.about(), Severity::Warning, "epoch-raised", &text, None).await?;
    leases::end(connection, task.id).await?;
    leases::raise(connection, task.id, held, generation).await?;
    tasks::transition(connection, task, TaskEvent::LeaseLapsed, None).await?;
    Ok(())
}

async fn leave_behind(connection: &mut PgConnection, task: &mut Locked, left: &CleanUp) -> Result<()> {
    leases::end(connection, task.id).await?;
    let value = serde_json::to_value(left)?;
    // It is tried again for as long as it takes, at ever longer intervals.
    sqlx::query!(
        "update tasks set clean_up = $2, not_before = clock_timestamp() + least(interval '10 minutes',
             greatest(interval '5 seconds', case when status = 'clean-up-pending'
                                                 then (clock_timestamp() - status_since) / 4 end))
         where id = $1",
        task.id.0,
        value
    )
    .execute(&mut *connection)
    .await?;
    tasks::transition(connection, task, TaskEvent::CleanUpFailed, Some(&left.problem)).await?;
    Ok(())
}

async fn keep_progress(connection: &mut PgConnection, task: &Locked, report: &Reported<'_>) -> Result<()> {
    let progress = report.progress;
    let opened =
        progress.bookmark.is_some() || matches!(progress.phase, Phase::Loading | Phase::Finishing | Phase::Following);
    let without_tables = TaskProgress { tables: Vec::new(), ..progress.clone() };
    sqlx::query!(
        "update tasks set progress = $2, progress_at = clock_timestamp(),
                granted_generation = case when $3 then generation else granted_generation end,
                drain_done = greatest(drain_done, $4)
         where id = $1",
        task.id.0,
        serde_json::to_value(without_tables)?,
        opened,
        progress.drained.as_ref().map_or(0, |drained| drained.number)
    )
    .execute(&mut *connection)
    .await?;
    keep_tables(connection, task.id, &progress.tables).await?;
    samples::keep(connection, task.id, report.epoch, progress).await
}

/// Writes the tables that changed, and forgets those that the task no longer has.
async fn keep_tables(connection: &mut PgConnection, task: TaskId, tables: &[TableProgress]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let column =
        |part: fn(&TableProgress) -> &str| tables.iter().map(|table| part(table).to_owned()).collect::<Vec<_>>();
    let schemas = column(|table| &table.table.schema);
    let names = column(|table| &table.table.table);
    let progress = tables.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        "insert into task_tables (task_id, source_schema, source_table, target_schema, target_table, state, progress)
         select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
         on conflict (task_id, source_schema, source_table) do update
         set target_schema = excluded.target_schema, target_table = excluded.target_table,
             changed_at = case when task_tables.state = excluded.state then task_tables.changed_at
                               else clock_timestamp() end,
             state = excluded.state, progress = excluded.progress
         where task_tables.progress is distinct from excluded.progress",
        task.0,
        &schemas,
        &names,
        &column(|table| &table.target.schema),
        &column(|table| &table.target.table),
        &column(|table| table.state.word()),
        &progress
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from task_tables where task_id = $1
           and (source_schema, source_table) not in (select * from unnest($2::text[], $3::text[]))",
        task.0,
        &schemas,
        &names
    )
    .execute(connection)
    .await?;
    Ok(())
}
