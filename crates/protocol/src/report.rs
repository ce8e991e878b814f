//! The report that renews leases and carries progress, and its answer.

use serde::{Deserialize, Serialize};
use wavemark_domain::compare::{CompareOrder, CompareReport};
use wavemark_domain::ids::Generation;
use wavemark_domain::progress::{TaskEventRecord, TaskProgress};
use wavemark_domain::{Epoch, Problem, TableOrder, TaskId, WorkerId};

/// All tasks of a worker at once. Events are kept by the worker until a report with them was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who reports.
    pub worker: WorkerId,
    /// Whether the worker takes nothing new and is finishing.
    pub draining: bool,
    /// CPU used since the last report, in percent of one core.
    pub cpu_percent: Option<f32>,
    /// Resident memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Each leased task.
    pub tasks: Vec<TaskReport>,
}

/// One task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which.
    pub task: TaskId,
    /// Under which grant.
    pub epoch: Epoch,
    /// How it stands.
    pub state: RunState,
    /// Its progress.
    pub progress: TaskProgress,
    /// What happened since the last answered report, oldest first.
    pub events: Vec<TaskEventRecord>,
    /// Orders that are done: the target holds what follows from them.
    #[serde(default)]
    pub orders_done: Vec<i64>,
    /// The comparisons that the worker has, each with what changed.
    #[serde(default)]
    pub compares: Vec<CompareReport>,
}

/// How a leased task stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum RunState {
    /// It goes on.
    Running,
    /// It ended as asked; the lease is given back.
    Stopped,
    /// Everything there was to do is done (full load); the lease is given back.
    Finished,
    /// It can't go on; the lease is given back.
    Failed {
        /// Why.
        problem: Problem,
    },
    /// The worker goes away (drain): another may take it at once.
    Released,
    /// The target holds a higher epoch than this grant's.
    Fenced {
        /// The epoch found in the target, if it is known.
        held: Option<Epoch>,
        /// The generation found there, if it is known.
        #[serde(default)]
        generation: Option<Generation>,
    },
    /// Clean-up is done.
    CleanedUp,
    /// Clean-up left something behind.
    CleanUpPending {
        /// Why.
        problem: Problem,
        /// The statements that a person can run.
        statements: Vec<String>,
    },
}

impl RunState {
    /// Whether the worker gives the lease back with this.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// What the server says to a report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// Each reported task.
    pub tasks: Vec<TaskAnswer>,
    /// Take nothing new, finish what there is.
    pub drain: bool,
}

/// What to do with one task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskAnswer {
    /// Which.
    pub task: TaskId,
    /// What.
    pub instruction: Instruction,
    /// What is asked of single tables; repeated until it is done.
    #[serde(default)]
    pub orders: Vec<TableOrder>,
    /// The number of the drain that is asked for; repeated until the progress shows it as done.
    #[serde(default)]
    pub drain: Option<i64>,
    /// Comparisons that are asked for and that the report did not name.
    #[serde(default)]
    pub compares: Vec<CompareOrder>,
    /// The numbers of all comparisons that are asked for and not over: the worker forgets others.
    #[serde(default)]
    pub compares_open: Vec<i64>,
}

/// What the server wants of a running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instruction {
    /// Go on; the lease is renewed.
    Continue,
    /// Finish the wave, then report `Stopped`.
    Stop,
    /// The lease is another's (or the task is gone): stop at once, report nothing more.
    Abandon,
}
