//! Short work for a worker: it really connects, looks, and says what it found.

use serde::{Deserialize, Serialize};
use wavemark_domain::adopt::Adoptable;
use wavemark_domain::catalog::Table;
use wavemark_domain::check::{Finding, Step};
use wavemark_domain::ids::{Generation, JobId};
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, Position, Problem, TaskId};

use crate::EndpointConfig;

/// One job for one worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobGrant {
    /// Which.
    pub id: JobId,
    /// What to do.
    pub work: JobWork,
}

/// What a job is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "job")]
pub enum JobWork {
    /// Connect and check, step by step.
    Test {
        /// Which system.
        endpoint: EndpointConfig,
        /// Whether to check what a source needs.
        as_source: bool,
        /// Whether to check what a target needs.
        as_target: bool,
    },
    /// List schemas, tables, columns, keys, row estimates.
    Discover {
        /// Which system.
        endpoint: EndpointConfig,
    },
    /// Say what would stand in the way of a task.
    Assess {
        /// Which task.
        task: TaskId,
        /// Its name.
        name: String,
        /// What it does.
        kind: TaskKind,
        /// Where from.
        source: EndpointConfig,
        /// Where to.
        target: EndpointConfig,
        /// The table mappings.
        mappings: serde_json::Value,
        /// Its settings.
        #[serde(serialize_with = "wavemark_domain::task::sparse")]
        settings: TaskSettings,
    },
    /// Say which of the tasks that the target knows this one could go on as.
    Adoptable {
        /// Which task.
        task: TaskId,
        /// Its name.
        name: String,
        /// What it does.
        kind: TaskKind,
        /// Where from.
        source: EndpointConfig,
        /// Where to.
        target: EndpointConfig,
        /// The table mappings.
        mappings: serde_json::Value,
        /// Its settings.
        #[serde(serialize_with = "wavemark_domain::task::sparse")]
        settings: TaskSettings,
    },
    /// See how much log the source keeps for a task that no worker runs, and let it go if it is more than so much.
    LookAtLog {
        /// Which task.
        task: TaskId,
        /// Its name.
        name: String,
        /// Which life of its artefacts.
        generation: Generation,
        /// Its newest grant.
        epoch: Epoch,
        /// What it does.
        kind: TaskKind,
        /// Where from.
        source: EndpointConfig,
        /// Above how many bytes the log is let go.
        let_go_above: Option<u64>,
        /// What the target has, as far as that is known (since 2.3).
        #[serde(default)]
        bookmark: Option<Position>,
        /// Its settings (since 2.2).
        #[serde(default, serialize_with = "wavemark_domain::task::sparse")]
        settings: TaskSettings,
    },
}

/// What a job found. A job that could not even begin says so with a problem.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "job")]
pub enum JobOutcome {
    /// Of a test.
    Tested {
        /// Each step in order; nothing follows a failed step that needs it.
        steps: Vec<Step>,
    },
    /// Of a discovery.
    Discovered {
        /// Every table that the user may see.
        tables: Vec<Table>,
    },
    /// Of an assessment.
    Assessed {
        /// What was found, worst first; empty is good.
        findings: Vec<Finding>,
    },
    /// Of a look at what the target holds.
    Adoptable {
        /// Each task that it knows.
        found: Vec<Adoptable>,
    },
    /// Of a look at the log that is kept.
    LookedAtLog {
        /// Where it ends, as the source writes it.
        position: String,
        /// How much is kept for the task.
        kept_bytes: Option<u64>,
        /// The most that the source would keep.
        limit_bytes: Option<u64>,
        /// How much was kept when it was let go.
        let_go: Option<u64>,
        /// Seconds until the source drops what the task needs by its age (since 2.3).
        #[serde(default)]
        drops_in_seconds: Option<u64>,
    },
    /// It could not be done.
    Failed {
        /// Why.
        problem: Problem,
    },
}
