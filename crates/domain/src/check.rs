//! What a look at a system found: steps of an endpoint's test, findings of a task's assessment.

use serde::{Deserialize, Serialize};

/// One step of an endpoint's test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was tried, e.g. `log in`.
    pub name: String,
    /// Whether it went well.
    pub passed: bool,
    /// What was found, one sentence.
    pub text: String,
    /// The statement or setting that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How much a finding of an assessment matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// The task can't start.
    Blocker,
    /// The task can start, but something will be missing or slow.
    Warning,
    /// Good to know.
    Note,
}

/// One finding of an assessment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// A stable code, kebab-case, e.g. `wal-level`.
    pub code: String,
    /// What was found, with the names, and why it matters.
    pub text: String,
    /// The statement that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}
