//! What the API gives, as far as tests look at it. A field that the server no longer has fails the test.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

/// The server's answer other than 2xx: the one error body, RFC 9457.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The stable code, or nothing where the body was no error body.
    pub code: String,
    /// The sentence.
    pub detail: String,
    /// The field that it concerns.
    pub field: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: u16, body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let detail = text("detail").unwrap_or_else(|| body.to_string());
        Self { status, code: text("code").unwrap_or_default(), detail, field: text("field") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)?;
        self.field.iter().try_for_each(|field| write!(f, " (field {field})"))
    }
}

impl std::error::Error for Refusal {}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// For the next page.
    pub next_cursor: Option<String>,
}

/// A problem of a task.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// What is done about it.
    pub fault: String,
    /// A stable code.
    pub code: String,
    /// What happened.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The server's own code.
    pub server_code: Option<String>,
    /// The source table.
    pub table: Option<TableName>,
    /// The names of the key's columns.
    pub key_columns: Vec<String>,
    /// Where in the log.
    pub position: Option<String>,
}

/// A table's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// The worker that holds a lease.
#[derive(Clone, Debug, Deserialize)]
pub struct Holder {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Whether its time is over.
    pub lapsed: bool,
}

/// A task.
#[derive(Clone, Debug, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: String,
    /// Counts the lives of its artefacts.
    pub generation: i64,
    /// The newest lease's number.
    pub epoch: i64,
    /// Who holds the lease.
    pub worker: Option<Holder>,
    /// How many tables are known.
    pub tables: i64,
    /// How many are parked.
    pub tables_parked: i64,
    /// What its worker last said.
    pub progress: Option<Progress>,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// What a clean-up left behind.
    pub clean_up: Option<Value>,
}

impl Task {
    /// How it stands, for a message.
    #[must_use]
    pub fn in_words(&self) -> String {
        let worker = self.worker.as_ref().map_or("nobody", |worker| &worker.name);
        let problem = self.problem.as_ref().map(|problem| format!("; {}", problem.text)).unwrap_or_default();
        let progress = self.progress.as_ref().map(|progress| format!("{progress:?}")).unwrap_or_default();
        format!("{}, held by {worker}, epoch {}{problem}; {progress}", self.status, self.epoch)
    }

    /// The bookmark as a place in PostgreSQL's log.
    #[must_use]
    pub fn bookmark(&self) -> Option<u64> {
        lsn(self.progress.as_ref()?.bookmark.as_deref()?)
    }
}

/// Reads `16/B374D848`.
#[must_use]
pub fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.trim().split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}

/// What a running task says about itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Progress {
    /// What it is doing.
    pub phase: String,
    /// What the target has.
    pub bookmark: Option<String>,
    /// Number of the newest wave.
    pub wave: Option<i64>,
    /// Source commit to target commit, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Bytes of log between bookmark and end.
    pub behind_bytes: Option<u64>,
    /// Bytes of log that the source keeps.
    pub log_kept_bytes: Option<u64>,
    /// What people must know about that.
    pub log_problem: Option<Problem>,
    /// Changes committed in the target.
    pub changes_written: u64,
    /// Transactions committed in the target.
    pub transactions_written: u64,
    /// Rows copied by the load.
    pub rows_loaded: u64,
    /// Bytes copied by the load.
    pub bytes_loaded: u64,
    /// Waves committed.
    pub waves: u64,
    /// Problems met and retried.
    pub retries: u64,
    /// The passing problem that is being waited out.
    pub waiting_for: Option<Problem>,
    /// Why the source still keeps what the target has.
    pub confirm_waits_for: Option<Problem>,
    /// The newest drain that is done.
    pub drained: serde_json::Value,
}

/// One table of a task.
#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    /// The name in the source.
    pub source: TableName,
    /// The name in the target.
    pub target: TableName,
    /// Where it is in its life.
    pub state: String,
    /// What was asked of it and is not done yet.
    pub asked: Option<String>,
    /// Rows copied, over all runs.
    pub rows_loaded: u64,
    /// Chunks of its load.
    pub chunks: u32,
    /// Chunks committed in the target, over all runs.
    pub chunks_done: u32,
    /// Chunks read from the source in this run.
    pub chunks_read: u32,
    /// Rows fetched again by key.
    pub rows_refetched: u64,
    /// Inserts applied.
    pub inserts: u64,
    /// Updates applied.
    pub updates: u64,
    /// Deletes applied.
    pub deletes: u64,
    /// Truncates applied.
    pub truncates: u64,
    /// Rows left out.
    pub exceptions: u64,
    /// Rows that were not as expected in the target.
    #[serde(default)]
    pub conflicts: u64,
    /// Values that were written otherwise than they are at the source.
    #[serde(default)]
    pub unfit: Vec<Unfit>,
    /// Why it is parked.
    pub problem: Option<Problem>,
}

/// Values of a column that had no place in the target.
#[derive(Clone, Debug, Deserialize)]
pub struct Unfit {
    /// The column.
    pub column: String,
    /// What was done.
    pub way: String,
    /// How many.
    pub values: u64,
    /// Since when.
    pub since: Option<String>,
}

impl Table {
    /// Whether it is live and nothing more is asked of it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state == "live" && self.asked.is_none()
    }
}

/// An event.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// How loud.
    pub severity: String,
    /// A stable code.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// The source table.
    pub table: Option<TableName>,
    /// The problem.
    pub problem: Option<Problem>,
}

/// A worker.
#[derive(Clone, Debug, Deserialize)]
pub struct Worker {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// How many tasks it holds.
    pub tasks: i64,
    /// Whether it was heard of lately.
    pub alive: bool,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// Resident memory.
    pub memory_bytes: Option<u64>,
}

/// A job that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// `done` or `failed` when it ended.
    pub status: String,
    /// What was found.
    pub outcome: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::lsn;

    #[test]
    fn a_place_in_the_log_is_read_as_postgresql_writes_it() {
        assert_eq!(lsn("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(lsn("0/0"), Some(0));
        assert_eq!(lsn("here"), None);
    }
}
