//! The report of all tasks of a worker, in one transaction.

use axum::extract::State;
use wavemark_domain::{Epoch, TaskId};
use wavemark_protocol::{Instruction, Report, ReportAnswer, RunState, TaskAnswer, TaskReport};
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
    report.tasks.sort_by_key(grant);
    report.tasks.dedup_by_key(|task| grant(task));
    let reported: Vec<Reported<'_>> = report.tasks.iter().map(reported).collect();
    let answers = reports::take(&mut transaction, report.worker, &reported).await?;
    let tasks = reported.iter().zip(answers).map(|(reported, given)| answer(reported.task, given)).collect();
    wavemark_store::announce_change(&mut transaction).await?;
    commit(transaction).await?;
    Ok(Json(ReportAnswer { tasks, drain }))
}

fn grant(task: &TaskReport) -> (TaskId, Epoch) {
    (task.task, task.epoch)
}

fn reported(task: &TaskReport) -> Reported<'_> {
    Reported {
        task: task.task,
        epoch: task.epoch,
        stand: stand(&task.state, task.epoch),
        progress: &task.progress,
        events: &task.events,
        orders_done: &task.orders_done,
        compares: &task.compares,
    }
}

fn answer(task: TaskId, answer: Answer) -> TaskAnswer {
    let (instruction, asked) = match answer {
        Answer::Continue(asked) => (Instruction::Continue, asked),
        Answer::Stop => (Instruction::Stop, Asked::default()),
        Answer::Abandon => (Instruction::Abandon, Asked::default()),
    };
    let Asked { orders, drain, compares, compares_open } = asked;
    TaskAnswer { task, instruction, orders, drain, compares, compares_open }
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
