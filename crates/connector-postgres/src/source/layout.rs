//! A table's rows in the log against its rows in the plan.
//!
//! The log describes a table in a Relation message, which may change at any moment, also in the middle of a
//! transaction. Rows are only read by a layout that is proved to be the plan's: the columns that travel are there by
//! name, in the same order, with the same type and modifier; no column is new; and the log names rows by the plan's
//! key. Columns that don't travel may go. Everything else is a change of layout.

use wavemark_connector::source::TABLE_DROPPED;
use wavemark_domain::{Fault, Problem, TableId, TableName, TablePlan};

use super::canonical::Form;
use super::names::quoted;
use crate::native::{ColumnNative, TableNative};
use crate::pgoutput::{Column, RelationBody, ReplicaIdentity};

/// A planned table as its Relation messages must describe it.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) table: TableId,
    pub(super) name: TableName,
    pub(super) oid: u32,
    columns: Vec<ExpectedColumn>,
    /// Columns that are not in the plan and may come all the same.
    ignored: Vec<String>,
    keyless: bool,
    pub(super) width: usize,
    filtered: bool,
}

#[derive(Clone, Debug)]
struct ExpectedColumn {
    name: String,
    type_id: u32,
    modifier: i32,
    /// The cell that it becomes; `None` for a column that doesn't travel.
    cell: Option<u16>,
    key: bool,
    form: Option<Form>,
}

/// How the cells of a log's row become the cells of a planned row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) table: TableId,
    /// For each column of the log's row, whether it travels and whether it is part of the key.
    pub(super) columns: Vec<Use>,
    /// Cells of the log's row by cell of the planned row, where the two are in different orders.
    pub(super) order: Option<Vec<u16>>,
    pub(super) keyless: bool,
    /// Cells of a planned row.
    pub(super) width: usize,
    /// Whether an update may come as an insert, because its row came into the table's filter.
    pub(super) filtered: bool,
}

/// What becomes of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) travels: bool,
    pub(super) key: bool,
    /// How its values are written anew; `None` for one that travels in binary form, as it comes.
    pub(super) form: Option<Form>,
}

impl Expected {
    /// What the plan says; `None` for what can't be followed (a view).
    pub(super) fn of(plan: &TablePlan) -> Result<Self, Problem> {
        let unread =
            |what: &str| Problem::internal(format!("The plan of table {} can't be read: {what}.", plan.name()));
        let native = TableNative::of(&plan.source).map_err(|error| unread(&error.to_string()))?;
        let mut columns = Vec::with_capacity(plan.source.columns.len());
        for (index, column) in plan.source.columns.iter().enumerate().filter(|(_, column)| !column.generated) {
            let native = ColumnNative::of(column).map_err(|error| unread(&error.to_string()))?;
            let cell = plan.columns.iter().position(|planned| planned.source == index);
            columns.push(ExpectedColumn {
                name: column.name.clone(),
                type_id: native.r#type.oid,
                modifier: native.type_modifier,
                key: cell.is_some_and(|cell| plan.key.contains(&cell)),
                form: cell.and_then(|cell| Form::of(&plan.columns[cell].encoding)),
                cell: cell.map(u16::try_from).transpose().map_err(|_| unread("too many columns"))?,
            });
        }
        Ok(Self {
            table: plan.id,
            name: plan.name().clone(),
            oid: native.oid,
            columns,
            ignored: Vec::new(),
            keyless: plan.is_keyless(),
            width: plan.columns.len(),
            filtered: plan.rows.is_some(),
        })
    }

    /// The name of the column at that place of the log's rows, where those are as planned.
    pub(super) fn column(&self, at: usize) -> Option<&str> {
        self.columns.get(at).filter(|_| self.ignored.is_empty()).map(|column| column.name.as_str())
    }

    /// The same, where columns of these names are passed over.
    pub(super) fn ignoring(self, ignored: Vec<String>) -> Self {
        Self { ignored, ..self }
    }

    /// Whether a message names the table as it is planned.
    pub(super) fn is_named(&self, relation: &RelationBody<'_>) -> bool {
        relation.namespace == self.name.schema && relation.name == self.name.table
    }

    /// The layout of the rows that follow this Relation message, if it is proved to be the plan's.
    pub(super) fn compare(&self, relation: &RelationBody<'_>) -> Result<Layout, Problem> {
        if relation.id != self.oid {
            return Err(self.changed("it was dropped and made again"));
        }
        if !self.is_named(relation) {
            return Err(self.changed(&format!("it is now named {}.{}", relation.namespace, relation.name)));
        }
        let mut uses = Vec::with_capacity(relation.columns.len());
        let mut cells = Vec::with_capacity(self.width);
        let mut left = self.columns.iter();
        for column in relation.columns.iter() {
            if self.ignored.iter().any(|ignored| ignored == column.name) {
                uses.push(Use { travels: false, key: false, form: None });
                continue;
            }
            let expected = self.skip_to(&mut left, &column)?;
            self.compare_key(expected, &column, relation.replica_identity)?;
            uses.push(Use { travels: expected.cell.is_some(), key: expected.key, form: expected.form });
            cells.extend(expected.cell);
        }
        if let Some(gone) = left.find(|column| column.cell.is_some()) {
            return Err(self.changed(&format!("column {} is gone or was renamed", gone.name)));
        }
        self.compare_identity(relation.replica_identity)?;
        Ok(Layout {
            table: self.table,
            order: order(&cells, &uses),
            columns: uses,
            keyless: self.keyless,
            width: self.width,
            filtered: self.filtered,
        })
    }

    /// The expected column of this name; those passed over are gone, which only those that don't travel may be.
    fn skip_to<'a>(
        &'a self,
        left: &mut std::slice::Iter<'a, ExpectedColumn>,
        column: &Column<'_>,
    ) -> Result<&'a ExpectedColumn, Problem> {
        for expected in left {
            if expected.name == column.name {
                if expected.cell.is_some()
                    && (expected.type_id != column.type_id || expected.modifier != column.modifier)
                {
                    return Err(self.changed(&format!("column {} has another type", column.name)));
                }
                return Ok(expected);
            }
            if expected.cell.is_some() {
                return Err(self.changed(&format!("column {} is gone or was renamed", expected.name)));
            }
        }
        Err(self.changed(&format!("column {} is new or was renamed", column.name)))
    }

    fn compare_key(&self, expected: &ExpectedColumn, column: &Column<'_>, by: ReplicaIdentity) -> Result<(), Problem> {
        let whole = by == ReplicaIdentity::Full;
        if !whole && !self.keyless && expected.key && !column.key {
            return Err(self.changed(&format!("the key that the log has lacks column {}", column.name)));
        }
        Ok(())
    }

    fn compare_identity(&self, by: ReplicaIdentity) -> Result<(), Problem> {
        if self.keyless && by != ReplicaIdentity::Full {
            let problem = self.changed("its replica identity is no longer full, and it has no key");
            return Err(
                problem.advice(format!("ALTER TABLE {} REPLICA IDENTITY FULL; then reload it.", quoted(&self.name)))
            );
        }
        Ok(())
    }

    /// The problem of a table whose rows can't be read any more.
    pub(super) fn changed(&self, how: &str) -> Problem {
        changed(&self.name, how)
    }
}

/// The problem of a table whose rows can't be read any more.
pub(super) fn changed(table: &TableName, how: &str) -> Problem {
    Problem::new(Fault::Data, "table-changed", format!("Table {table} was changed at the source: {how}."))
        .advice("Bring the target table to the same shape if needed, then reload the table.")
        .table(table)
}

/// The problem of a table that is gone, and whose changes were all read.
pub(super) fn dropped(table: &TableName) -> Problem {
    Problem { code: TABLE_DROPPED.into(), ..changed(table, "it was dropped") }
        .advice("Take it out of the task's mapping, or reload it if it is there again.")
}

/// `None` if the columns that travel come in the order of the cells.
fn order(cells: &[u16], uses: &[Use]) -> Option<Vec<u16>> {
    if cells.iter().enumerate().all(|(at, cell)| usize::from(*cell) == at) {
        return None;
    }
    let travelling = uses.iter().enumerate().filter(|(_, column)| column.travels).map(|(at, _)| at);
    let mut order = vec![0; cells.len()];
    for (column, cell) in travelling.zip(cells) {
        order[usize::from(*cell)] = u16::try_from(column).unwrap_or(u16::MAX);
    }
    Some(order)
}
