//! Shapes that several parts of the API show.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use wavemark_domain::{Problem, TableName};

/// A table's name, exactly as its system stores it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct NameBody {
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl From<NameBody> for TableName {
    fn from(name: NameBody) -> Self {
        Self { schema: name.schema, table: name.table }
    }
}

impl From<TableName> for NameBody {
    fn from(name: TableName) -> Self {
        Self { schema: name.schema, table: name.table }
    }
}

/// A problem of a task, as a person sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TaskProblem {
    /// What is done about it: `transient`, `settings`, `data`, `position-lost`, `fenced` or `internal`.
    #[schema(value_type = String)]
    pub fault: wavemark_domain::Fault,
    /// A stable code.
    pub code: String,
    /// What happened.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The server's own code (SQLSTATE, errno).
    pub server_code: Option<String>,
    /// The source table.
    pub table: Option<NameBody>,
    /// The names of the key's columns.
    pub key_columns: Vec<String>,
    /// The place in the source's log.
    pub position: Option<String>,
}

impl From<Problem> for TaskProblem {
    fn from(problem: Problem) -> Self {
        Self {
            fault: problem.fault,
            code: problem.code,
            text: problem.text,
            advice: problem.advice,
            server_code: problem.server_code,
            table: problem.table.map(NameBody::from),
            key_columns: problem.key_columns,
            position: problem.position,
        }
    }
}

/// Microseconds since 1970 as a time.
pub(super) fn from_micros(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()
}
