//! Short work for a worker: it really connects, looks, and says what it found.

use serde::{Deserialize, Serialize};
use wavemark_domain::catalog::Table;
use wavemark_domain::check::{Finding, Step};
use wavemark_domain::ids::JobId;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Problem, TaskId};

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
#[expect(clippy::large_enum_variant, reason = "one at a time, on its way to JSON")]
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
    /// It could not be done.
    Failed {
        /// Why.
        problem: Problem,
    },
}
