//! What one task does with one table: source columns to target columns, and how their bytes are written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Encoding, Logical, Problem, RowFilter, Table, TableId, TableName, UnfitPolicy};

/// One column on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnPlan {
    /// Index into the source table's columns.
    pub source: usize,
    /// The exact name in the target.
    pub target_name: String,
    /// What the bytes of this column's cells mean.
    pub encoding: Encoding,
    /// What is done about a value that the target's column can't hold.
    #[serde(default, skip_serializing_if = "UnfitPolicy::is_default")]
    pub unfit: UnfitPolicy,
    /// What its values are, where the target declares it as a text because its own type for them can't hold them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_text: Option<Logical>,
}

/// One table on its way: the layout of its rows and where they go.
///
/// Invariant: a row of this table has exactly `columns.len()` cells in this order, in every batch and in every
/// chunk, for as long as `schema_version` stays the same. Generated columns are not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePlan {
    /// The table's index in the task's plan.
    pub id: TableId,
    /// The table as the source describes it.
    pub source: Arc<Table>,
    /// The table as the target's system would declare it, with the source's names, where the two systems differ: the same
    /// columns in the same order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Arc<Table>>,
    /// The exact name in the target.
    pub target: TableName,
    /// The columns that travel, in the order of a row's cells.
    pub columns: Vec<ColumnPlan>,
    /// Indexes into `columns` that identify a row; empty for a table without a key, whose old rows travel whole.
    pub key: Vec<usize>,
    /// The rows that travel; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowFilter>,
    /// Which schema of the source table this plan was made for.
    pub schema_version: i32,
}

impl TablePlan {
    /// Whether the log's old rows are whole rows rather than keys.
    #[must_use]
    pub fn is_keyless(&self) -> bool {
        self.key.is_empty()
    }

    /// The columns that are written: the name at the source and the name in the target.
    #[must_use]
    pub fn column_names(&self) -> Vec<(String, String)> {
        let name = |column: &ColumnPlan| (self.source.columns[column.source].name.clone(), column.target_name.clone());
        self.columns.iter().map(name).collect()
    }

    /// The key's columns as the source names them.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|at| self.source.columns[self.columns[*at].source].name.clone()).collect()
    }

    /// What a target notes of the table: as its rows there have it, and which of them there are if not all.
    #[must_use]
    pub fn layout_to_note(&self) -> serde_json::Value {
        let mut layout = serde_json::json!(*self.source);
        if let (Some(rows), Some(layout)) = (&self.rows, layout.as_object_mut()) {
            layout.insert("rows".to_owned(), serde_json::json!(rows));
        }
        layout
    }

    /// The table of this number in a task's plan.
    ///
    /// # Errors
    /// There is none: an internal problem.
    pub fn of(plan: &[Self], table: TableId) -> Result<&Self, Problem> {
        let found = plan.iter().find(|one| one.id == table);
        found.ok_or_else(|| Problem::internal(format!("Table number {table} is not in the task's plan.")))
    }

    /// The table in the words of the target's system; its names are the source's.
    #[must_use]
    pub fn in_target(&self) -> &Table {
        self.declared.as_deref().unwrap_or(&self.source)
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.source.name
    }
}
