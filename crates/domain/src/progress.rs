//! What a running task tells about itself: written by the engine, carried by the protocol, kept by the store,
//! shown by pages. Counters count since this run of the task began; a figure that isn't known is `None`, never 0.

use serde::{Deserialize, Serialize};

use crate::state::TableState;
use crate::{Problem, TableName, UnfitCount};

/// What a task is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Opening both systems, making the plan, preparing the target.
    #[default]
    Preparing,
    /// Copying chunks.
    Loading,
    /// Making keys, indexes and foreign keys after the rows.
    Finishing,
    /// Applying the log.
    Following,
    /// Waiting to try again after a passing problem.
    Retrying,
    /// Removing slot, publication and bookmark.
    CleaningUp,
}

/// The whole of a task's progress; each report replaces the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskProgress {
    /// What it is doing.
    pub phase: Phase,
    /// Where the source's log ends, as the source writes it.
    pub source_position: Option<String>,
    /// How far the log has been read.
    pub read_position: Option<String>,
    /// What the target has, durably.
    pub bookmark: Option<String>,
    /// The bookmark as stored, to compare with positions of the same source.
    pub bookmark_key: Option<crate::Position>,
    /// Number of the newest wave.
    pub wave: Option<i64>,
    /// When the source committed the newest transaction in the target (microseconds since 1970, source's clock).
    pub applied_commit_at: Option<i64>,
    /// Source commit to target commit, of the newest wave; grows while something is pending (milliseconds).
    pub lag_ms: Option<u64>,
    /// Bytes of log between the bookmark and the log's end.
    pub behind_bytes: Option<u64>,
    /// Bytes of log that the source keeps for this task.
    pub log_kept_bytes: Option<u64>,
    /// Bytes of log that the source would keep at most, if it has a limit.
    pub log_limit_bytes: Option<u64>,
    /// Bytes of log that the task's settings allow.
    pub log_budget_bytes: Option<u64>,
    /// Seconds until the source's limit is reached, at the rate of late, or until it drops what the task needs by its age.
    pub log_seconds_left: Option<u64>,
    /// What people must know about the log that is kept.
    pub log_problem: Option<Problem>,
    /// When a task that does not run was looked at for that (microseconds since 1970, the server's clock).
    pub log_seen_at: Option<i64>,
    /// Changes read from the log.
    pub changes_read: u64,
    /// Bytes of log messages read.
    pub bytes_read: u64,
    /// Changes committed in the target, as they came from the log.
    pub changes_written: u64,
    /// Bytes of row data of those.
    pub bytes_written: u64,
    /// Source transactions committed in the target.
    pub transactions_written: u64,
    /// Rows copied by the load.
    pub rows_loaded: u64,
    /// Bytes copied by the load.
    pub bytes_loaded: u64,
    /// Waves committed.
    pub waves: u64,
    /// Changes in the newest wave.
    pub wave_changes: u64,
    /// Time of the newest wave, from its first statement to its commit (milliseconds).
    pub wave_ms: Option<u64>,
    /// Time spent waiting for the source (microseconds).
    pub read_wait_us: u64,
    /// Time spent applying waves before their commit (microseconds).
    pub apply_us: u64,
    /// Time spent in commits (microseconds).
    pub commit_us: u64,
    /// Time the reader waited because memory was full (microseconds).
    pub blocked_us: u64,
    /// Transactions read and not yet committed in the target.
    pub in_hand_transactions: u64,
    /// Bytes of those in memory.
    pub in_hand_bytes: u64,
    /// Bytes of those on disk.
    pub spilled_bytes: u64,
    /// Problems that were met and retried.
    pub retries: u64,
    /// The passing problem that is being waited out.
    pub waiting_for: Option<Problem>,
    /// Why the source is not told to forget what the target has committed: it isn't durable as the settings say.
    #[serde(default)]
    pub confirm_waits_for: Option<Problem>,
    /// The newest drain that is done.
    pub drained: Option<Drained>,
    /// Each table.
    pub tables: Vec<TableProgress>,
}

/// Everything that the source had when a drain was asked for is in the target, and counters are raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// The drain's number.
    pub number: i64,
    /// Where the source's log ended then, as the source writes it.
    pub position: String,
    /// Tables that were not up to date then: parked ones.
    pub behind: u64,
    /// Whether changes have come since: something still writes to the source.
    pub written_since: bool,
}

impl TaskProgress {
    /// Whether the target holds more than it did then.
    #[must_use]
    pub fn got_further_than(&self, before: &Self) -> bool {
        self.bookmark_key > before.bookmark_key || self.rows_loaded > before.rows_loaded
    }
}

impl Drained {
    /// Whether the target can take over: nothing is behind and nothing has come since.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.behind == 0 && !self.written_since
    }
}

/// One table's progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableProgress {
    /// The source's name.
    pub table: TableName,
    /// The target's name.
    pub target: TableName,
    /// Where it is in its life.
    pub state: TableState,
    /// The source's own estimate of its rows when the load was planned.
    pub rows_estimated: Option<u64>,
    /// Rows copied, over all runs.
    pub rows_loaded: u64,
    /// Bytes copied, over all runs.
    pub bytes_loaded: u64,
    /// Chunks of its load.
    pub chunks: u32,
    /// Chunks whose rows and mark are committed in the target, over all runs.
    pub chunks_done: u32,
    /// Chunks read from the source in this run; with the chunks done before it never more than `chunks`.
    pub chunks_read: u32,
    /// Rows fetched again by key because they changed while the load was interrupted.
    pub rows_refetched: u64,
    /// Inserts applied.
    pub inserts: u64,
    /// Updates applied.
    pub updates: u64,
    /// Deletes applied.
    pub deletes: u64,
    /// Truncates applied.
    pub truncates: u64,
    /// Rows left out and written to `wavemark.exceptions`.
    pub exceptions: u64,
    /// Changes whose row in the target was not as expected, and that the task's policy for conflicts decided about.
    #[serde(default)]
    pub conflicts: u64,
    /// Values that were written otherwise than they are at the source, by column: as the target keeps count of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<UnfitCount>,
    /// When the source committed its newest applied change (microseconds since 1970).
    pub applied_commit_at: Option<i64>,
    /// Why it is parked.
    pub problem: Option<Problem>,
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something happened.
    Info,
    /// Someone should look.
    Warning,
    /// Someone must act.
    Error,
}

/// One thing that happened in a running task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskEventRecord {
    /// When, by the worker's clock (microseconds since 1970); the store also keeps its own time.
    pub at: i64,
    /// How loud.
    pub severity: Severity,
    /// A stable code, kebab-case: `load-started`, `table-live`, `table-parked`, `wave-retried` …
    pub code: String,
    /// One sentence.
    pub text: String,
    /// The source table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
    /// The full problem, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
