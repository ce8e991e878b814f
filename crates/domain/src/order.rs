//! What people ask of single tables of a task while it runs.

use serde::{Deserialize, Serialize};

use crate::TableName;

/// One order. It stays open until a worker says that the target holds what follows from it; to do it again does no
/// harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableOrder {
    /// Its number; a later order has a higher one.
    pub number: i64,
    /// The table's name at the source.
    pub table: TableName,
    /// What is asked.
    pub wish: TableWish,
}

/// What can be asked of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableWish {
    /// Load it again, or for the first time.
    Reload,
    /// Leave it behind where it is.
    Park,
}

impl TableWish {
    /// The word used in the API and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Park => "park",
        }
    }

    /// Reads [`TableWish::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }
}
