//! From a definition in the log to the next layout of a table, where that can be proved.
//!
//! What a statement does to columns is computed from its text alone, so that it is as true for one of last week as for one
//! of now; the catalog has only what is true at last. Each announcement of rows behind it is compared with what was
//! computed: number and types of the columns, and their names where the log has them.
//!
//! The log says nothing of what a definition did to the rows that were there. A new column has its default in them, if that is a
//! plain value; a column with another type has what it had where the new type has every value of the old one. Anything
//! else is a change that can't be applied.

mod columns;
mod existing;
mod same;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use wavemark_connector::source::Replan;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::layout::{AlterPolicy, ColumnPolicy};
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{Fault, LayoutStep, Problem, Relayout, TableName, TablePlan};

use super::ddl::{Alter, Spec};
use crate::defaults::Dialect;
use crate::native::{ColumnNative, TableNative};
use columns::Draft;
pub(crate) use existing::{implicit, plain};

/// What holds for every table that is followed.
pub(super) struct Rules {
    /// None where no table's layout is to change: each then ends where it does.
    pub(super) replan: Option<Arc<dyn Replan>>,
    pub(super) settings: TaskSettings,
    pub(super) server: Server,
}

/// What has to be known of the server.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Server {
    pub(crate) dialect: Dialect,
    /// Whether names of tables are the same in upper and lower case.
    pub(crate) folds_names: bool,
    /// Whether they are kept in lower case, however they are written.
    pub(crate) lowers_names: bool,
    /// Whether sessions log rows that don't say otherwise.
    pub(crate) logs_rows: bool,
    /// Whether the log has what foreign keys do.
    pub(crate) logs_actions: bool,
}

/// A table that a statement alters.
pub(super) struct Context<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) alter: &'a Alter,
    /// Whether values that don't fit are errors.
    pub(super) strict: bool,
    pub(super) rules: &'a Rules,
    /// Where the statement ends, as its table's layout notes it.
    pub(super) since: String,
}

impl Context<'_> {
    /// The table's next layout, if it is another one; why there is none, if it can't be proved.
    pub(super) fn next(&self, name: &TableName) -> Result<Option<Relayout>, Problem> {
        if self.alter.ignores {
            return Err(self.changed("it was altered with IGNORE, which changes and removes rows that don't fit"));
        }
        for spec in &self.alter.specs {
            self.refuse(spec)?;
        }
        let native = columns::table_native(self)?;
        let drafts = columns::all(self, &native)?;
        let is_same = name == self.plan.name()
            && drafts.iter().map(|draft| draft.from).eq((0..self.plan.source.columns.len()).map(Some));
        let before = self.native();
        let is_as_before = native.collation == before.collation && native.own == before.own;
        if is_same && is_as_before && drafts.iter().all(|draft| !self.differs(draft)) {
            return Ok(None);
        }
        self.relayout(name, native, drafts).map(Some)
    }

    fn native(&self) -> TableNative {
        TableNative::of(&self.plan.source)
    }

    /// What none can go on after.
    fn refuse(&self, spec: &Spec) -> Result<(), Problem> {
        match spec {
            Spec::Rows { how, .. } => Err(self.changed(&format!("{how}, and the log does not tell which rows"))),
            Spec::Key => Err(self.changed("its primary key is another")),
            Spec::ForeignKey { acts: true } if !self.rules.server.logs_actions => Err(self.acts()),
            _ => Ok(()),
        }
    }

    fn acts(&self) -> Problem {
        let name = self.plan.name();
        let text =
            format!("{name} got a foreign key that acts on its rows by itself, which is not in the server's log.");
        Problem::new(Fault::Data, "key-acts-unlogged", text).table(name).advice(
            "Make the key ON DELETE NO ACTION ON UPDATE NO ACTION, then reload the table; or leave the table out.",
        )
    }

    fn before(&self, draft: &Draft<'_>) -> Option<&Column> {
        draft.from.map(|at| &self.plan.source.columns[at])
    }

    /// Whether the column's rows are read otherwise than before, or it is called otherwise.
    fn differs(&self, draft: &Draft<'_>) -> bool {
        self.before(draft).is_none_or(|before| {
            let (old, new) =
                (ColumnNative::of(before).unwrap_or_default(), ColumnNative::of(&draft.column).unwrap_or_default());
            before.name != draft.column.name
                || before.not_null != draft.column.not_null
                || before.generated != draft.column.generated
                || old.charset != new.charset
                || self.rules.replan.is_some() && old.unsaid != new.unsaid
                || new.auto_increment && !old.auto_increment
                || !same::is_one(&old, &new)
        })
    }

    fn relayout(&self, name: &TableName, native: TableNative, mut drafts: Vec<Draft<'_>>) -> Result<Relayout, Problem> {
        let key = self.key(&drafts)?;
        let mut steps = self.moves(name);
        steps.extend(self.drops(&drafts)?);
        steps.extend(self.alterations(&drafts)?);
        let native = serde_json::json!(TableNative { since: Some(self.since.clone()), ..native });
        let table = |drafts: &[Draft<'_>]| Table {
            name: name.clone(),
            columns: drafts.iter().map(|draft| draft.column.clone()).collect(),
            key: key.clone(),
            native: native.clone(),
            ..(*self.plan.source).clone()
        };
        let mut plan = self.replanned(table(&drafts))?;
        let added: Vec<usize> =
            (0..drafts.len()).filter(|at| drafts[*at].from.is_none() && travels(&plan, *at)).collect();
        match self.rules.settings.added_columns {
            ColumnPolicy::ParkTable if !added.is_empty() => {
                let name = &drafts[added[0]].column.name;
                return Err(self.parked(&format!("column {name} was added")));
            }
            ColumnPolicy::Ignore if !added.is_empty() => {
                for at in &added {
                    drafts[*at].ignore();
                }
                plan = self.replanned(table(&drafts))?;
            }
            _ => {
                for at in &added {
                    steps.push(self.add(&drafts[*at])?);
                }
            }
        }
        self.check_columns(&plan, &drafts)?;
        Ok(Relayout { plan, steps })
    }

    /// Every column goes on to travel, or not, as it did.
    fn check_columns(&self, plan: &TablePlan, drafts: &[Draft<'_>]) -> Result<(), Problem> {
        let is_as_before = |(at, draft): (usize, &Draft<'_>)| {
            draft.from.is_none_or(|from| travels(self.plan, from) == travels(plan, at))
        };
        if drafts.iter().enumerate().all(is_as_before) {
            return Ok(());
        }
        Err(self.changed("other columns of it travel by the mapping, or one is not generated any more"))
    }

    fn moves(&self, name: &TableName) -> Vec<LayoutStep> {
        let (from, to) = (self.plan.name(), name);
        if from == to { Vec::new() } else { vec![LayoutStep::Move { from: from.clone(), to: to.clone() }] }
    }

    fn key(&self, drafts: &[Draft<'_>]) -> Result<Vec<String>, Problem> {
        let now = |name: &String| {
            let draft = drafts.iter().find(|draft| self.before(draft).is_some_and(|before| before.name == *name));
            draft.map(|draft| draft.column.name.clone())
        };
        let dropped = |name: &String| self.changed(&format!("column {name} of its key was dropped"));
        self.plan.source.key.iter().map(|name| now(name).ok_or_else(|| dropped(name))).collect()
    }

    fn drops(&self, drafts: &[Draft<'_>]) -> Result<Vec<LayoutStep>, Problem> {
        let gone = (0..self.plan.source.columns.len())
            .filter(|at| travels(self.plan, *at) && !drafts.iter().any(|draft| draft.from == Some(*at)));
        let step = |at: usize| {
            let column = self.plan.source.columns[at].name.clone();
            match self.rules.settings.dropped_columns {
                ColumnPolicy::Apply => Ok(LayoutStep::Drop { column }),
                ColumnPolicy::Ignore => Ok(LayoutStep::Leave { column }),
                ColumnPolicy::ParkTable => Err(self.parked(&format!("column {column} was dropped"))),
            }
        };
        gone.map(step).collect()
    }

    fn alterations(&self, drafts: &[Draft<'_>]) -> Result<Vec<LayoutStep>, Problem> {
        let (mut renamed, mut others) = (Vec::new(), Vec::new());
        for draft in drafts {
            let Some((at, before)) = draft.from.zip(self.before(draft)) else { continue };
            let (name, to) = (&before.name, &draft.column.name);
            if !travels(self.plan, at) {
                continue;
            }
            if name != to {
                if self.rules.settings.renamed_columns == AlterPolicy::ParkTable {
                    return Err(self.parked(&format!("column {name} was renamed to {to}")));
                }
                renamed.push(LayoutStep::Rename { from: name.clone(), to: to.clone() });
            }
            others.extend(self.retype(before, draft)?);
            if before.not_null && !draft.column.not_null {
                others.push(LayoutStep::Loosen { column: to.clone() });
            }
        }
        renamed.extend(others);
        Ok(renamed)
    }

    fn retype(&self, before: &Column, draft: &Draft<'_>) -> Result<Option<LayoutStep>, Problem> {
        let (old, new) =
            (ColumnNative::of(before).unwrap_or_default(), ColumnNative::of(&draft.column).unwrap_or_default());
        let name = &draft.column.name;
        let unproved = |why: &str| self.changed(&format!("column {name} {why}"));
        if new.auto_increment && !old.auto_increment {
            return Err(unproved("is counted now, which gives numbers to rows that had none"));
        }
        if draft.column.not_null && !before.not_null && !self.strict {
            return Err(unproved("may not be NULL any more, and what was NULL became something else"));
        }
        let charsets = old.charset.as_deref().zip(new.charset.as_deref()).filter(|(old, new)| old != new);
        if charsets.is_some_and(|(old, new)| !same::has_all_characters(old, new, self.strict)) {
            return Err(unproved("has another character set, which may lack characters of its texts"));
        }
        if same::is_one(&old, &new) {
            return Ok(None);
        }
        if self.rules.settings.retyped_columns == AlterPolicy::ParkTable {
            return Err(self.parked(&format!("column {name} has another type")));
        }
        if !same::has_all_values(&old, &new) {
            return Err(unproved(&format!(
                "has another type ({}, was {}), and the log does not say what became of its values",
                draft.column.declared, before.declared
            )));
        }
        Ok(Some(LayoutStep::Retype { column: name.clone() }))
    }

    fn add(&self, draft: &Draft<'_>) -> Result<LayoutStep, Problem> {
        let column = draft.column.name.clone();
        let existing =
            draft.defined.ok_or("it is not known how").and_then(|defined| existing::value(defined, &draft.column));
        let existing = existing.map_err(|why| {
            self.changed(&format!(
                "column {column} was added, and what the rows that were there have in it is not in the log: {why}"
            ))
        })?;
        Ok(LayoutStep::Add { column, existing })
    }

    fn replanned(&self, table: Table) -> Result<TablePlan, Problem> {
        let Some(replan) = &self.rules.replan else { return Err(self.changed("its columns are others")) };
        let plan = replan.plan(self.plan.id, &Arc::new(table))?;
        let goes_elsewhere = plan.target != self.plan.target && plan.name() == self.plan.name();
        if goes_elsewhere || plan.is_keyless() != self.plan.is_keyless() {
            return Err(self.changed("it goes elsewhere, or its key is another"));
        }
        Ok(TablePlan { schema_version: self.plan.schema_version + 1, ..plan })
    }

    fn changed(&self, how: &str) -> Problem {
        changed(self.plan.name(), how)
    }

    /// What the settings don't let through, whatever is done about changes that can't be applied.
    fn parked(&self, how: &str) -> Problem {
        let text = format!("Table {} was changed at the source: {how}.", self.plan.name());
        Problem::new(Fault::Data, "layout-changed", text)
            .table(self.plan.name())
            .advice("Reload the table, or let the task's settings apply such changes.")
    }
}

fn travels(plan: &TablePlan, at: usize) -> bool {
    plan.columns.iter().any(|column| column.source == at)
}

/// The problem of a table whose rows can't be read any more, or not all of whose changes are known.
pub(super) fn changed(table: &TableName, how: &str) -> Problem {
    Problem::new(Fault::Data, "table-changed", format!("Table {table} was changed at the source: {how}."))
        .advice("Bring the target table to the same shape if needed, then reload the table.")
        .table(table)
}
