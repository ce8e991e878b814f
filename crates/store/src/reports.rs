//! What workers report, taken in under the locks of the tasks' rows; the caller owns the transaction around all tasks of
//! a report. What comes with every report is done for all tasks at once: a worker may have a thousand.

use sqlx::PgConnection;
use wavemark_domain::compare::{CompareOrder, CompareReport};
use wavemark_domain::ids::Generation;
use wavemark_domain::kept_log::LET_GO;
use wavemark_domain::progress::{Severity, TaskEventRecord, TaskProgress};
use wavemark_domain::state::{TableState, TaskEvent, TaskStatus};
use wavemark_domain::{Epoch, Problem, TableOrder, TaskId, WorkerId};

use crate::events::{self, About};
use crate::tasks::{self, CleanUp, Locked};
use crate::{Result, compares, kept_log, leases, orders, progress};

/// How a task stands, as its worker says.
#[derive(Clone, Debug, PartialEq)]
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

/// Takes in all tasks of a report, each once under a grant; gives an answer for each, in their order.
///
/// A lease whose time is over but that nobody else took is renewed: the worker went on while it could not report.
///
/// # Errors
/// A statement failed.
pub async fn take(connection: &mut PgConnection, worker: WorkerId, reports: &[Reported<'_>]) -> Result<Vec<Answer>> {
    let ids: Vec<TaskId> = reports.iter().map(|report| report.task).collect();
    let mut locked = tasks::lock_all(connection, &ids).await?;
    let holders = leases::holders(connection, &ids).await?;
    let is_held = |report: &&Reported<'_>| holders.get(&report.task) == Some(&(worker, report.epoch));
    let held: Vec<&Reported<'_>> = reports.iter().filter(is_held).collect();
    for report in &held {
        let Some(task) = locked.get(&report.task) else { continue };
        let about = About { worker: Some(worker), epoch: Some(report.epoch), ..task.about() };
        for event in report.events {
            events::reported(connection, about, event).await?;
        }
        orders::done(connection, task.id, report.orders_done).await?;
        for compare in report.compares {
            compares::reported(connection, task.id, compare).await?;
        }
    }
    progress::keep(connection, &held).await?;
    let running = held.iter().filter(|report| report.stand == Stand::Running);
    leases::renew(connection, &running.map(|report| report.task).collect::<Vec<_>>()).await?;
    let mut answers = Vec::with_capacity(reports.len());
    for report in reports {
        answers.push(match locked.get_mut(&report.task).filter(|_| is_held(&report)) {
            Some(task) => stand(connection, task, report).await?,
            None => Answer::Abandon,
        });
    }
    Ok(answers)
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
