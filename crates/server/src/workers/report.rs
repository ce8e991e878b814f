//! The report of all tasks of a worker, in one transaction.

use axum::extract::State;
use wavemark_domain::Epoch;
use wavemark_protocol::{Instruction, Report, ReportAnswer, RunState, TaskAnswer};
use wavemark_store::reports::{self, Answer, Asked, Reported, Stand};
use wavemark_store::tasks::CleanUp;
use wavemark_store::workers;

use super::{WorkerToken, unknown_worker};
use crate::extract::Json;
use crate::problem::ApiResult;
use crate::state::{AppState, commit};

pub(super) async fn report(
    State(state): State<AppState>,
    WorkerToken(token): WorkerToken,
    Json(mut report): Json<Report>,
) -> ApiResult<Json<ReportAnswer>> {
    let mut transaction = state.begin().await?;
    let memory = report.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    let drain =
        workers::reported(&mut transaction, report.worker, token, report.draining, report.cpu_percent, memory).await?;
    let drain = drain.ok_or_else(unknown_worker)?;
    // Rows are locked in one order by everyone.
    report.tasks.sort_by_key(|task| task.task);
    let mut tasks = Vec::with_capacity(report.tasks.len());
    for task in &report.tasks {
        let reported = Reported {
            task: task.task,
            epoch: task.epoch,
            stand: stand(&task.state, task.epoch),
            progress: &task.progress,
            events: &task.events,
            orders_done: &task.orders_done,
            compares: &task.compares,
        };
        let (instruction, asked) = match reports::take(&mut transaction, report.worker, &reported).await? {
            Answer::Continue(asked) => (Instruction::Continue, asked),
            Answer::Stop => (Instruction::Stop, Asked::default()),
            Answer::Abandon => (Instruction::Abandon, Asked::default()),
        };
        let Asked { orders, drain, compares, compares_open } = asked;
        tasks.push(TaskAnswer { task: task.task, instruction, orders, drain, compares, compares_open });
    }
    wavemark_store::announce_change(&mut transaction).await?;
    commit(transaction).await?;
    Ok(Json(ReportAnswer { tasks, drain }))
}

fn stand(state: &RunState, epoch: Epoch) -> Stand {
    match state {
        RunState::Running => Stand::Running,
        RunState::Stopped | RunState::Finished => Stand::Ended,
        RunState::Failed { problem } => Stand::Failed(problem.clone()),
        RunState::Released => Stand::Released,
        // Without the number, the next grant is one higher, until it is high enough.
        RunState::Fenced { held, generation } => Stand::Fenced(held.unwrap_or(epoch), *generation),
        RunState::CleanedUp => Stand::CleanedUp,
        RunState::CleanUpPending { problem, statements } => {
            Stand::CleanUpPending(CleanUp { problem: problem.clone(), statements: statements.clone() })
        }
    }
}
