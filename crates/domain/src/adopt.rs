//! Adoption: a task whose metadata was lost goes on from what its target holds.

use serde::{Deserialize, Serialize};

use crate::ids::Generation;
use crate::task::TaskKind;
use crate::{Epoch, RowFilter, Table, TableName, TablePlan, TaskId};

/// What a target holds of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptTask {
    /// Under which identity: names at source and target carry it.
    pub task: TaskId,
    /// Its name when the target was opened last.
    pub name: String,
    /// The life of its artefacts.
    pub generation: Generation,
    /// The highest epoch that opened the target.
    pub epoch: Epoch,
    /// Whether it was deleted.
    pub deleted: bool,
    /// What it does, if that was noted.
    pub kind: Option<TaskKind>,
    /// Its tables.
    pub tables: Vec<KeptTable>,
}

/// One table of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptTable {
    /// The name at the source.
    pub source: TableName,
    /// The name in the target.
    pub target: TableName,
    /// The columns that are written, source and target, if that was noted.
    pub columns: Option<Vec<(String, String)>>,
    /// The table at the source as its rows here have it, as of the bookmark, if that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Table>,
    /// The rows that are written; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowFilter>,
}

/// A task of which the target holds something, and whether another may go on as it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adoptable {
    /// Under which identity.
    pub task: TaskId,
    /// Its name when the target was opened last.
    pub name: String,
    /// The life of its artefacts.
    pub generation: Generation,
    /// The highest epoch that opened the target.
    pub epoch: Epoch,
    /// Its bookmark, as the source writes it; none if its first load was not over.
    pub bookmark: Option<String>,
    /// Its tables at the source.
    pub tables: Vec<TableName>,
    /// Why it can't be adopted; empty if it can.
    pub refused: Vec<String>,
    /// What to know.
    pub notes: Vec<String>,
}

/// Why a task of this kind with this plan can't go on as the kept one; and what to know if it can.
#[must_use]
pub fn judge(kept: &KeptTask, kind: TaskKind, plan: &[TablePlan]) -> (Vec<String>, Vec<String>) {
    if kept.deleted {
        return (vec!["It was deleted: what it left at the target is no longer kept true.".to_owned()], Vec::new());
    }
    if kept.tables.is_empty() {
        return (vec!["The target holds no table of it: there is nothing to go on from.".to_owned()], Vec::new());
    }
    let mut refused = Vec::new();
    if !kind.follows() {
        refused.push("This task only loads: there is nothing to go on with. Start it instead.".to_owned());
    }
    if let Some(was) = kept.kind.filter(|was| *was != kind) {
        refused.push(format!("It was a task of the kind {}, and this one is {}.", was.word(), kind.word()));
    }
    refused.extend(kept.tables.iter().filter_map(|table| differs(table, plan)));
    let is_new = |table: &&TablePlan| !kept.tables.iter().any(|kept| kept.source == *table.name());
    let notes = plan.iter().filter(is_new);
    let notes =
        notes.map(|table| format!("{} is not among its tables: it is parked until it is reloaded.", table.name()));
    (refused, notes.collect())
}

/// Why the rows of a kept table are not those of this plan.
#[must_use]
pub fn differs(kept: &KeptTable, plan: &[TablePlan]) -> Option<String> {
    let name = &kept.source;
    let Some(planned) = plan.iter().find(|table| table.name() == name) else {
        return Some(format!("{name} was one of its tables; this task does not choose it, or can't replicate it."));
    };
    if planned.target != kept.target {
        return Some(format!("{name} went to {}; with this task it would go to {}.", kept.target, planned.target));
    }
    if planned.rows != kept.rows {
        let (before, now) = (words(kept.rows.as_ref()), words(planned.rows.as_ref()));
        return Some(format!("Of {name} {before} were copied; with this task {now} would be."));
    }
    // Of a table whose columns were not noted only its names can be compared.
    let columns = kept.columns.as_ref()?;
    let planned = planned.column_names();
    let difference = columns
        .iter()
        .find(|column| !planned.contains(column))
        .or_else(|| planned.iter().find(|column| !columns.contains(column)))?;
    Some(format!(
        "The columns of {name} differ: {} to {} is written by one and not by the other.",
        difference.0, difference.1
    ))
}

fn words(rows: Option<&RowFilter>) -> String {
    rows.map_or_else(|| "all rows".to_owned(), |rows| format!("the rows with {rows}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::{Column, Table, TableKind};
    use crate::filter::{ColumnFilter, Condition};
    use crate::{ColumnPlan, Encoding, TableId};

    fn plan(table: &str, target: &str, columns: &[&str]) -> TablePlan {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            declared: "integer".to_owned(),
            not_null: false,
            generated: false,
            native: serde_json::Value::Null,
        };
        let planned = |(source, name): (usize, &&str)| ColumnPlan {
            source,
            target_name: (*name).to_owned(),
            encoding: Encoding::named("x"),
            unfit: crate::UnfitPolicy::default(),
            as_text: None,
        };
        TablePlan {
            id: TableId(0),
            source: Arc::new(Table {
                name: TableName::new("s", table),
                kind: TableKind::Table,
                columns: columns.iter().map(column).collect(),
                key: vec![columns[0].to_owned()],
                rows_estimated: None,
                bytes_estimated: None,
                native: serde_json::Value::Null,
            }),
            declared: None,
            target: TableName::new("s", target),
            columns: columns.iter().enumerate().map(planned).collect(),
            key: vec![0],
            rows: None,
            schema_version: 1,
        }
    }

    fn kept(columns: Option<&[&str]>) -> KeptTask {
        let pairs = |columns: &[&str]| columns.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
        KeptTask {
            task: TaskId::default(),
            name: "old".to_owned(),
            generation: Generation(2),
            epoch: Epoch(9),
            deleted: false,
            kind: Some(TaskKind::FullLoadAndCdc),
            tables: vec![KeptTable {
                source: TableName::new("s", "t"),
                target: TableName::new("s", "t"),
                columns: columns.map(pairs),
                layout: None,
                rows: None,
            }],
        }
    }

    fn refused(kept: &KeptTask, plan: &[TablePlan]) -> Vec<String> {
        judge(kept, TaskKind::FullLoadAndCdc, plan).0
    }

    #[test]
    fn the_same_tables_can_be_adopted_and_a_further_one_is_only_noted() {
        let same = plan("t", "t", &["id", "n"]);
        assert_eq!(refused(&kept(Some(&["id", "n"])), std::slice::from_ref(&same)), Vec::<String>::new());
        assert_eq!(refused(&kept(None), std::slice::from_ref(&same)), Vec::<String>::new());
        let (refused, notes) = judge(&kept(None), TaskKind::FullLoadAndCdc, &[same, plan("new", "new", &["id"])]);
        assert_eq!(refused, Vec::<String>::new());
        assert_eq!(notes, ["s.new is not among its tables: it is parked until it is reloaded."]);
    }

    #[test]
    fn what_differs_is_refused_by_name() {
        let columns = refused(&kept(Some(&["id", "n"])), &[plan("t", "t", &["id"])]);
        assert_eq!(columns, ["The columns of s.t differ: n to n is written by one and not by the other."]);
        let target = refused(&kept(None), &[plan("t", "u", &["id"])]);
        assert_eq!(target, ["s.t went to s.t; with this task it would go to s.u."]);
        let only = |value: &str| {
            let any = vec![Condition::Equal(value.to_owned())];
            Some(RowFilter(vec![ColumnFilter { column: "id".to_owned(), any }]))
        };
        let limited = TablePlan { rows: only("7"), ..plan("t", "t", &["id"]) };
        let rows = refused(&kept(None), std::slice::from_ref(&limited));
        assert_eq!(rows, ["Of s.t all rows were copied; with this task the rows with id = '7' would be."]);
        let mut was_limited = kept(None);
        was_limited.tables[0].rows = only("7");
        assert_eq!(refused(&was_limited, std::slice::from_ref(&limited)), Vec::<String>::new());
        let rows = refused(&was_limited, &[plan("t", "t", &["id"])]);
        assert_eq!(rows, ["Of s.t the rows with id = '7' were copied; with this task all rows would be."]);
        let rows = refused(&was_limited, &[TablePlan { rows: only("8"), ..limited }]);
        assert_eq!(rows.len(), 1);
        let missing = refused(&kept(None), &[plan("u", "u", &["id"])]);
        assert_eq!(missing, ["s.t was one of its tables; this task does not choose it, or can't replicate it."]);
        let kind = judge(&kept(None), TaskKind::Cdc, &[plan("t", "t", &["id"])]).0;
        assert_eq!(kind, ["It was a task of the kind full-load-and-cdc, and this one is cdc."]);
        let deleted = KeptTask { deleted: true, ..kept(None) };
        assert_eq!(refused(&deleted, &[plan("t", "t", &["id"])]).len(), 1);
    }
}
