//! What a look at a system found: steps of an endpoint's test, findings of a task's assessment.

use serde::{Deserialize, Serialize};

use crate::extras::LeftOut;
use crate::{Problem, TableName};

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

impl Finding {
    /// That a table's copy will not have something, with the statement that a person can go by.
    #[must_use]
    pub fn not_carried_over(table: &TableName, left: LeftOut) -> Self {
        Self {
            weight: Weight::Note,
            code: "not-carried-over".to_owned(),
            text: format!("Not carried over of {table}: {}. Make it at the target if it is wanted there.", left.what),
            mend: Some(left.statement),
        }
    }
}

impl Step {
    /// One that went well.
    pub fn passed(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), passed: true, text: text.into(), mend: None }
    }

    /// One that a problem ended.
    #[must_use]
    pub fn failed(name: &str, problem: &Problem) -> Self {
        Self { name: name.to_owned(), passed: false, text: problem.to_string(), mend: problem.advice.clone() }
    }

    /// One that went well if `ok`; if not, with what was found and what mends it.
    #[must_use]
    pub fn judged(name: &str, ok: bool, good: String, (bad, mend): (String, String)) -> Self {
        if ok {
            Self::passed(name, good)
        } else {
            Self { name: name.to_owned(), passed: false, text: bad, mend: Some(mend) }
        }
    }
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
