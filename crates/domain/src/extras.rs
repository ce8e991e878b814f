//! What a table has besides columns and a key, in words that no system owns: for a target of another system, as
//! [`crate::Logical`] is for what its columns hold. What has no word here is not carried over, and is named.

mod missing;

use serde::{Deserialize, Serialize};

use crate::TableName;
pub use missing::Missing;

/// What one table has besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// What its columns have, in their order; columns without an entry have nothing.
    pub columns: Vec<ColumnExtras>,
    /// Indexes besides the key's.
    pub indexes: Vec<Index>,
    /// Foreign keys from this table.
    pub foreign_keys: Vec<ForeignKey>,
    /// What people wrote about the table.
    pub comment: Option<String>,
    /// What else it has.
    pub left_out: Vec<LeftOut>,
}

/// Something of a table that has no word here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// What it is, by its name: `index words`.
    pub what: String,
    /// The statement that makes it, in the source's own words.
    pub statement: String,
}

/// What one column has besides a type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnExtras {
    /// What a row gets that says nothing of the column; none also for NULL.
    pub default: Option<DefaultValue>,
    /// Whether such a row gets the next number of a counter.
    pub counted: bool,
    /// What people wrote about the column.
    pub comment: Option<String>,
}

/// What a row gets that says nothing of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum DefaultValue {
    /// A value as its system writes it in a text: `-1.50`, `2024-02-29 12:00:00`, `it's`. Bytes are their hexadecimal digits,
    /// bits all of their digits, an instant is in UTC. Whether the target's type has such a value is for the target to see.
    Literal {
        /// The value, neither quoted nor escaped.
        text: String,
    },
    /// The moment at which the row comes.
    Now {
        /// Digits after the second's point.
        digits: u8,
    },
}

/// An index over whole columns in which rows lie by their values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its name, unique among the table's.
    pub name: String,
    /// Whether no two rows may have the same values; rows with a NULL among them may.
    pub unique: bool,
    /// Its columns in order.
    pub parts: Vec<IndexPart>,
    /// The most bytes that the values of one row can have in it, with texts in UTF-8; none if that is not known.
    pub most_bytes: Option<u32>,
}

/// One column of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPart {
    /// The column's name.
    pub column: String,
    /// Whether its largest value comes first.
    pub descending: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Its name, unique among the table's.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that it points at.
    pub target: TableName,
    /// The columns that it points at, which no two rows there have the same.
    pub target_columns: Vec<String>,
    /// What an update of the row that is pointed at does.
    pub on_update: Action,
    /// What its deletion does.
    pub on_delete: Action,
    /// Whether it means the same at servers of the source's own system alone. Others hold where values are the same only if
    /// they are the same to the last byte, and point at rows that are told apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

/// What a foreign key does about a row that is pointed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It refuses, once the statement is over.
    NoAction,
    /// It refuses at once.
    Restrict,
    /// It does the same to the rows that point there.
    Cascade,
    /// Rows that point there get NULL.
    SetNull,
}

impl Action {
    /// In the words of SQL.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoAction => "NO ACTION",
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
        }
    }
}
