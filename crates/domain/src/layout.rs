//! From one layout of a table to the next: what a source finds in its log, and what is done about it.

use serde::{Deserialize, Serialize};

use crate::{TableName, TablePlan};

/// A table's layout from some place in the log on, proved to be what its rows there have.
#[derive(Clone, Debug, PartialEq)]
pub struct Relayout {
    /// The table's plan from there on.
    pub plan: TablePlan,
    /// What leads from the plan before to this one, in the order in which it must be done.
    pub steps: Vec<LayoutStep>,
}

/// One step. Columns are named as at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutStep {
    /// A column is gone.
    Drop {
        /// Its name before.
        column: String,
    },
    /// A column is gone, and the target keeps its own: rows that come have nothing for it.
    Leave {
        /// Its name before.
        column: String,
    },
    /// A column has another name.
    Rename {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// A column has another type or modifier, and the value of each row is what it was.
    Retype {
        /// Its name after.
        column: String,
    },
    /// A column may be NULL, which it could not before.
    Loosen {
        /// Its name after.
        column: String,
    },
    /// The table has another name, or is in another schema.
    Move {
        /// Before.
        from: TableName,
        /// After.
        to: TableName,
    },
    /// A column is new.
    Add {
        /// Its name.
        column: String,
        /// What the rows that were there have in it, as the source writes it as text; `None` for NULL.
        existing: Option<String>,
    },
}

impl LayoutStep {
    /// For people: "column note was added".
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Drop { column } | Self::Leave { column } => format!("column {column} was dropped"),
            Self::Rename { from, to } => format!("column {from} was renamed to {to}"),
            Self::Retype { column } => format!("column {column} has another type"),
            Self::Loosen { column } => format!("column {column} may be NULL"),
            Self::Move { from, to } => format!("it was renamed from {from} to {to}"),
            Self::Add { column, .. } => format!("column {column} was added"),
        }
    }
}

/// What happens when a column is added or dropped at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnPolicy {
    /// The target's table is altered likewise, at the same place between its rows.
    #[default]
    Apply,
    /// The target's table stays as it is: a new column does not travel, one that was dropped is kept.
    Ignore,
    /// The table is parked.
    ParkTable,
}

/// What happens when a table that the mapping chooses comes after the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewTablePolicy {
    /// It is loaded while the others go on, and then followed as they are.
    #[default]
    Load,
    /// It is left out; of those that are left out nothing is shown.
    Ignore,
    /// It is parked until a person asks for its load.
    ParkTable,
}

/// What happens when a table is dropped at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DroppedTablePolicy {
    /// It is parked, and the target keeps its table.
    #[default]
    ParkTable,
    /// It is no longer the task's, and the target keeps its table.
    Ignore,
    /// It is no longer the task's, and the target's table is dropped too, if the task made it and nothing depends on it.
    Apply,
}

/// What happens when a table gets another name, or comes into another schema, at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RenamedTablePolicy {
    /// It is parked, and what has its name by now is another table.
    #[default]
    ParkTable,
    /// It is followed on, and the target's table is renamed as the mapping says.
    Apply,
}

/// What happens when a column gets another name or type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlterPolicy {
    /// The target's table is altered likewise, at the same place between its rows.
    #[default]
    Apply,
    /// The table is parked.
    ParkTable,
}

/// What happens to a table that was changed at the source in a way that can't be applied exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangedTablePolicy {
    /// It is parked until somebody reloads it.
    #[default]
    ParkTable,
    /// It is loaded again at once, aside, while the others go on.
    ReloadTable,
}
