//! Table mappings, in the JSON of AWS DMS: which tables are copied, and what they and their columns are called in
//! the target.
//!
//! 1. All `include` and `explicit` selections are put together, then `exclude` takes away.
//! 2. A schema, a table and a column are different objects. Of the transformations that match one object, that with
//!    the lowest rule-id is done and no other.
//! 3. `include-column` rules limit their tables to the columns that they name; of `include-column` and
//!    `remove-column` on one column the lowest rule-id wins.
//!
//! 4. Source filters limit the rows of their rule's tables. A table that several rules select must have the same filters in
//!    each, else it is not known which of its rows are meant.
//!
//! 5. `unfit-values` rules say of columns what is done about a value that the target's column can't hold; of several on
//!    one column the lowest rule-id wins. AWS DMS has no such rule.
//!
//! What this program does not do yet (expressions, other rule types …) is refused with the rule's id and
//! the field, never ignored.

mod filters;
mod parse;
mod pattern;
mod rename;

pub use pattern::Pattern;
pub use rename::Rename;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::filter::RowFilter;
use crate::{Table, TableName, UnfitPolicy};

/// Parsed table mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mappings {
    selections: Vec<Selection>,
    /// In the order of rule-ids: the first that matches wins.
    schemas: Vec<SchemaRule>,
    tables: Vec<TableRule>,
    columns: Vec<ColumnRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Selection {
    id: String,
    exclude: bool,
    schema: Pattern,
    table: Pattern,
    /// The rows that travel; `None` for all.
    rows: Option<RowFilter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SchemaRule {
    schema: Pattern,
    rename: Rename,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TableRule {
    schema: Pattern,
    table: Pattern,
    rename: Rename,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ColumnRule {
    schema: Pattern,
    table: Pattern,
    column: Pattern,
    action: ColumnAction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ColumnAction {
    Rename(Rename),
    Include,
    Remove,
    /// What is done about values that the target's column can't hold.
    Unfit(UnfitPolicy),
}

/// Why mappings can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}{field} {text}", rule_id.as_ref().map(|id| format!("rule {id}: ")).unwrap_or_default())]
pub struct MappingError {
    /// Which rule; unknown where the document itself or the id is wrong.
    pub rule_id: Option<String>,
    /// Which field, e.g. `object-locator.table-name`.
    pub field: String,
    /// What is wrong with it, the rest of a sentence that begins with the field.
    pub text: String,
}

/// A table that the mappings take, with its names in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The name in the target.
    pub target: TableName,
    /// The columns that travel: index in the source table and name in the target, in the source's order. Generated
    /// columns are among them, for the target's declaration.
    pub columns: Vec<(usize, String)>,
}

/// Rules that select a table with different filters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules {first} and {other} select it with different filters")]
pub struct UnclearRows {
    /// The rule-id of the first that selects it.
    pub first: String,
    /// The rule-id of one with other filters.
    pub other: String,
}

/// Two things of the source that would be one in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collision {
    /// Several tables have one name.
    Tables {
        /// The name in the target.
        target: TableName,
        /// The source's tables.
        sources: Vec<TableName>,
    },
    /// Several columns of a table have one name.
    Columns {
        /// The source's table.
        table: TableName,
        /// The name in the target.
        target: String,
        /// The source's columns.
        sources: Vec<String>,
    },
}

impl Mappings {
    /// Reads the JSON document `{"rules": […]}`.
    ///
    /// # Errors
    /// The first thing that can't be accepted, with its rule and field.
    pub fn parse(document: &serde_json::Value) -> Result<Self, MappingError> {
        parse::document(document)
    }

    /// Whether a table is copied.
    #[must_use]
    pub fn selects(&self, name: &TableName) -> bool {
        let mut excluded = self.selections.iter().filter(|rule| rule.exclude && rule.is_for(name));
        self.including(name).next().is_some() && excluded.next().is_none()
    }

    /// Which rows of a selected table travel; `None` for all.
    ///
    /// # Errors
    /// The rules that select it don't agree.
    pub fn rows(&self, name: &TableName) -> Result<Option<&RowFilter>, UnclearRows> {
        let mut rules = self.including(name);
        let Some(first) = rules.next() else { return Ok(None) };
        match rules.find(|rule| rule.rows != first.rows) {
            Some(other) => Err(UnclearRows { first: first.id.clone(), other: other.id.clone() }),
            None => Ok(first.rows.as_ref()),
        }
    }

    fn including(&self, name: &TableName) -> impl Iterator<Item = &Selection> {
        self.selections.iter().filter(move |rule| !rule.exclude && rule.is_for(name))
    }

    /// What the mappings make of a table; `None` if it is not copied.
    #[must_use]
    pub fn apply(&self, table: &Table) -> Option<Mapped> {
        let name = &table.name;
        if !self.selects(name) {
            return None;
        }
        let limited = self.columns.iter().any(|rule| rule.action == ColumnAction::Include && rule.is_for(name));
        let columns = table
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, column)| Some((index, self.column(name, &column.name, limited)?)))
            .collect();
        Some(Mapped { target: self.target(name), columns })
    }

    /// The name in the target of a table that is copied.
    #[must_use]
    pub fn target(&self, name: &TableName) -> TableName {
        let schema = self.schemas.iter().find(|rule| rule.schema.matches(&name.schema));
        let table =
            self.tables.iter().find(|rule| rule.schema.matches(&name.schema) && rule.table.matches(&name.table));
        TableName {
            schema: schema.map_or_else(|| name.schema.clone(), |rule| rule.rename.apply(&name.schema)),
            table: table.map_or_else(|| name.table.clone(), |rule| rule.rename.apply(&name.table)),
        }
    }

    /// What the rules say about values of a column that the target can't hold; `None` if none does.
    #[must_use]
    pub fn unfit(&self, table: &TableName, column: &str) -> Option<UnfitPolicy> {
        let mut rules = self.columns.iter().filter(|rule| rule.is_for(table) && rule.column.matches(column));
        rules.find_map(|rule| match rule.action {
            ColumnAction::Unfit(policy) => Some(policy),
            _ => None,
        })
    }

    fn column(&self, table: &TableName, column: &str, limited: bool) -> Option<String> {
        let matching: Vec<&ColumnAction> = self
            .columns
            .iter()
            .filter(|rule| rule.is_for(table) && rule.column.matches(column))
            .map(|rule| &rule.action)
            .filter(|action| !matches!(action, ColumnAction::Unfit(_)))
            .collect();
        let included = matching.contains(&&ColumnAction::Include);
        if matching.first() == Some(&&ColumnAction::Remove) || (limited && !included) {
            return None;
        }
        let rename = matching.iter().find_map(|action| match action {
            ColumnAction::Rename(rename) => Some(rename),
            _ => None,
        });
        Some(rename.map_or_else(|| column.to_owned(), |rename| rename.apply(column)))
    }
}

impl Selection {
    fn is_for(&self, table: &TableName) -> bool {
        self.schema.matches(&table.schema) && self.table.matches(&table.table)
    }
}

impl ColumnRule {
    fn is_for(&self, table: &TableName) -> bool {
        self.schema.matches(&table.schema) && self.table.matches(&table.table)
    }
}

/// Which rows of a selected table travel, for people; `None` for all.
#[must_use]
pub fn rows_in_words(mappings: &Mappings, table: &TableName) -> Option<String> {
    match mappings.rows(table) {
        Ok(rows) => rows.map(|rows| format!("rows with {rows}")),
        Err(unclear) => Some(format!("refused: {unclear}")),
    }
}

/// What would be one in the target: tables of one name, columns of one name in a table.
#[must_use]
pub fn collisions<'a>(mapped: impl IntoIterator<Item = (&'a Table, &'a Mapped)>) -> Vec<Collision> {
    let mut tables: BTreeMap<&TableName, Vec<TableName>> = BTreeMap::new();
    let mut found = Vec::new();
    for (source, mapped) in mapped {
        tables.entry(&mapped.target).or_default().push(source.name.clone());
        let mut columns: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (index, target) in &mapped.columns {
            columns.entry(target).or_default().push(source.columns[*index].name.clone());
        }
        found.extend(columns.into_iter().filter(|(_, sources)| sources.len() > 1).map(|(target, sources)| {
            Collision::Columns { table: source.name.clone(), target: target.to_owned(), sources }
        }));
    }
    let tables = tables.into_iter().filter(|(_, sources)| sources.len() > 1);
    found.extend(tables.map(|(target, sources)| Collision::Tables { target: target.clone(), sources }));
    found
}

impl std::fmt::Display for Collision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tables { target, sources } => {
                let sources: Vec<String> = sources.iter().map(TableName::to_string).collect();
                write!(f, "The tables {} would all be {target} in the target.", sources.join(", "))
            }
            Self::Columns { table, target, sources } => {
                write!(f, "The columns {} of {table} would all be \"{target}\" in the target.", sources.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests;
