//! Tables as their system describes them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A table's name in its system. Names are exact, as stored: no folding of case, no quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The schema (or database, for systems without schemas).
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// Rows in one place.
    Table,
    /// A parent whose rows are in its partitions; loaded and followed as one table.
    Partitioned,
    /// A stored query; can be loaded but not followed.
    View,
}

/// One column as its system describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The exact name.
    pub name: String,
    /// The type as the system writes it in a declaration, e.g. `numeric(10,2)`.
    pub declared: String,
    /// Whether NULL is forbidden.
    pub not_null: bool,
    /// Computed by its system; never written by us.
    pub generated: bool,
    /// What only connectors of the same system read: type ids, collation, identity, default and the like.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub native: serde_json::Value,
}

/// One table as its system describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The exact name.
    pub name: TableName,
    /// What it is.
    pub kind: TableKind,
    /// Its columns in the system's order.
    pub columns: Vec<Column>,
    /// The names of the columns that identify a row in the log (primary key, or the identity chosen by the
    /// source), in key order; empty without one.
    pub key: Vec<String>,
    /// The system's own estimate; unknown as `None`.
    pub rows_estimated: Option<u64>,
    /// Bytes on the source's disk; unknown as `None`.
    pub bytes_estimated: Option<u64>,
    /// What only connectors of the same system read: keys, indexes, checks, foreign keys, types to create.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub native: serde_json::Value,
}

impl Table {
    /// The place of a column by its exact name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}
