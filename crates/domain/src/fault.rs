//! What goes wrong, in the one form that the engine branches on and people read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::TableName;

/// What a supervisor does about an error. Code branches on this, never on text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Try again later: a lost connection, a deadlock, a restart, a full disk.
    Transient,
    /// A person must change the settings or the rights.
    Settings,
    /// A row or table can't be represented or applied; the data policy decides.
    Data,
    /// The source no longer has the position: a reload is needed.
    PositionLost,
    /// Another worker holds a higher epoch: stop at once, write nothing.
    Fenced,
    /// A bug of ours; the task stops.
    Internal,
}

/// One problem as a person sees it. Never holds row values except the names of key columns, nor secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What a supervisor does about it.
    pub fault: Fault,
    /// A stable code of ours, kebab-case, e.g. `slot-missing`.
    pub code: String,
    /// What was attempted and what happened, one sentence with the names in it.
    pub text: String,
    /// What to do about it, one sentence; may hold a statement to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The server's own code (SQLSTATE, errno) and message with values taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_code: Option<String>,
    /// The source table it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
    /// The names of the key's columns, where one row is concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_columns: Vec<String>,
    /// The source position for people, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

impl Problem {
    /// A problem with its kind, code and sentence.
    pub fn new(fault: Fault, code: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            fault,
            code: code.into(),
            text: text.into(),
            advice: None,
            server_code: None,
            table: None,
            key_columns: Vec::new(),
            position: None,
        }
    }

    /// Shorthand for a passing problem.
    pub fn transient(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Fault::Transient, code, text)
    }

    /// Shorthand for what only a bug of ours can cause.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(Fault::Internal, "internal", text)
    }

    /// Adds what to do.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Adds the server's own code.
    #[must_use]
    pub fn server_code(mut self, code: impl Into<String>) -> Self {
        self.server_code = Some(code.into());
        self
    }

    /// Names the table.
    #[must_use]
    pub fn table(mut self, table: &TableName) -> Self {
        self.table = Some(table.clone());
        self
    }

    /// Names the position as people read it.
    #[must_use]
    pub fn position(mut self, position: impl Into<String>) -> Self {
        self.position = Some(position.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if let Some(code) = &self.server_code {
            write!(f, " [{code}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
