//! Comparing source and target of a task that follows: what is asked, and what was found.

use serde::{Deserialize, Serialize};

use crate::{Problem, TableName};

/// Keys of differing rows that are kept of one table at most; the counts go on.
pub const KEYS_PER_TABLE: usize = 1_000;
/// Keys that are kept of one comparison at most.
pub const KEYS_PER_COMPARE: usize = 20_000;

/// A comparison that is asked for; repeated to a worker that does not have it until it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareOrder {
    /// Its number; a later one has a higher one.
    pub number: i64,
    /// Which tables, by their names at the source; all without it.
    #[serde(default)]
    pub tables: Option<Vec<TableName>>,
    /// How many sessions read on each side.
    pub sessions: u16,
    /// Rows that are made equal first, at the same position: at the target they are removed, and added as the source
    /// has them.
    #[serde(default)]
    pub repair: Vec<RepairOrder>,
}

/// Rows of one table to be made equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairOrder {
    /// The table's name at the source.
    pub table: TableName,
    /// The rows' keys.
    pub keys: Vec<RowKey>,
}

/// A row's key in the two forms that are needed: to be shown, and to find the row again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowKey {
    /// As text, column by column.
    pub text: Vec<String>,
    /// As the cells travel, column by column, in hex.
    pub cells: Vec<String>,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompareState {
    /// Asked for; it waits for the task to follow, for another comparison, or to be tried again.
    #[default]
    Waiting,
    /// Both sides are read.
    Running,
    /// All tables were read, or are named with the reason why not.
    Done,
    /// It can't be done.
    Failed,
    /// Taken back.
    Cancelled,
}

impl CompareState {
    /// The word used in the API and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads [`CompareState::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }

    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What is known of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompareProgress {
    /// How far it is.
    pub state: CompareState,
    /// Why it waits or failed.
    pub problem: Option<Problem>,
    /// The position at which both sides are read, as the source writes it.
    pub position: Option<String>,
    /// For how many milliseconds nothing was written to the target so that both sides stand at one position.
    pub held_ms: Option<u64>,
    /// How many milliseconds both sides were read.
    pub read_ms: Option<u64>,
    /// How often it was begun.
    pub tries: u32,
    /// Each table.
    pub tables: Vec<ComparedTable>,
}

/// One table of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedTable {
    /// Its name at the source.
    pub table: TableName,
    /// How far it is.
    pub state: ComparedState,
    /// Why it was not compared.
    #[serde(default)]
    pub reason: Option<String>,
    /// Rows read so far at the source and at the target; what is read again counts again.
    #[serde(default)]
    pub read: [u64; 2],
    /// Its rows at the source and at the target, once both are read.
    #[serde(default)]
    pub rows: Option<[u64; 2]>,
    /// Rows that the source has and the target doesn't.
    #[serde(default)]
    pub missing: u64,
    /// Rows that the target has and the source doesn't.
    #[serde(default)]
    pub extra: u64,
    /// Rows that both have under one key with other values.
    #[serde(default)]
    pub different: u64,
    /// Keys whose rows were made equal before.
    #[serde(default)]
    pub repaired: u64,
    /// The names of the key's columns; none for a table without a key, whose differing rows are only counted.
    #[serde(default)]
    pub key: Vec<String>,
    /// The first of the differing rows by key.
    #[serde(default)]
    pub keys: Vec<DifferingRow>,
}

impl ComparedTable {
    /// A table that is to be compared.
    #[must_use]
    pub fn new(table: TableName, key: Vec<String>) -> Self {
        Self {
            table,
            state: ComparedState::Waiting,
            reason: None,
            read: [0, 0],
            rows: None,
            missing: 0,
            extra: 0,
            different: 0,
            repaired: 0,
            key,
            keys: Vec::new(),
        }
    }

    /// A table that is not compared.
    #[must_use]
    pub fn left_out(table: TableName, reason: String) -> Self {
        Self { state: ComparedState::LeftOut, reason: Some(reason), ..Self::new(table, Vec::new()) }
    }

    /// How many rows differ in any way.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// How far one table of a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComparedState {
    /// Its turn comes.
    Waiting,
    /// It is read.
    Running,
    /// It was read on both sides.
    Done,
    /// It was not compared.
    LeftOut,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferingRow {
    /// How.
    pub difference: Difference,
    /// Its key.
    #[serde(flatten)]
    pub key: RowKey,
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// The source has it and the target doesn't.
    Missing,
    /// The target has it and the source doesn't.
    Extra,
    /// Both have it with other values.
    Different,
}

/// What a worker says about a comparison that it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    /// Its number.
    pub number: i64,
    /// Grows with each change.
    #[serde(default)]
    pub version: u64,
    /// What is known now; none if nothing changed since the last report that was answered.
    #[serde(default)]
    pub news: Option<CompareProgress>,
}
