//! Bringing a table to its next layout, in the open wave: the server takes it back with the wave.

use std::sync::Arc;

use postgres_protocol::escape::escape_literal;
use wavemark_domain::{Fault, LayoutStep, Problem, Relayout, TablePlan};

use super::create::{self, native};
use super::fault::problem;
use super::table::{self, Relation, quote_table};
use super::wave::Waves;
use super::wider;
use super::{marks, moved};
use crate::native::ColumnNative;
use crate::wire::quote_identifier;

impl Waves {
    /// Alters the table and notes its layout.
    pub(crate) async fn alter(&mut self, before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
        self.begin().await?;
        self.drain().await?;
        self.write_counts().await?;
        self.check_now(&[before.id]).await?;
        let altered = self.try_alter(before, next).await;
        // What the role may not do, or others' objects forbid, concerns this table alone.
        let altered = altered.map_err(|problem| match problem.fault {
            Fault::Settings => Problem { fault: Fault::Data, ..problem },
            _ => problem,
        });
        altered?;
        self.forget(std::iter::once(before.id)).await?;
        self.counts_go_by(before, &next.plan);
        self.replan(&next.plan);
        self.leave_unread();
        Ok(())
    }

    async fn try_alter(&mut self, before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
        let client = Arc::clone(&self.client);
        let failed = |error: tokio_postgres::Error| {
            problem(&error, &format!("alter table {}", before.target))
                .table(before.name())
                .advice("Mend what the target's server says, for example drop what depends on the column; then reload the table.")
        };
        let there = table::look(&*client, &before.target).await.map_err(failed)?;
        let there = there.ok_or_else(|| {
            let text = format!("The target table {} is not there.", before.target);
            Problem::new(Fault::Data, "table-missing", text).table(before.name())
        })?;
        create::create_missing_types(&*client, &next.plan, &native(&next.plan)?).await?;
        for statement in statements(before, next, &there)? {
            client.batch_execute(&statement).await.map_err(failed)?;
        }
        if before.name() != next.plan.name() {
            moved::rename(&client, self.grant.task, before, &next.plan).await?;
        }
        if !marks::note_layout(&*client, self.grant.task, &next.plan).await.map_err(failed)? {
            return Err(Problem::internal(format!("Table {} is altered but has no mark.", before.target)));
        }
        Ok(())
    }
}

fn statements(before: &TablePlan, next: &Relayout, there: &Relation) -> Result<Vec<String>, Problem> {
    let table = quote_table(&before.target);
    let mut statements = Vec::new();
    let mut later = Vec::new();
    for step in &next.steps {
        match step {
            LayoutStep::Drop { column } => {
                let name = name_in(before, column)?;
                statements.push(format!("ALTER TABLE {table} DROP COLUMN {}", quote_identifier(name)));
            }
            LayoutStep::Leave { column } => {
                let name = name_in(before, column)?;
                if there.wants_value(name) {
                    let name = quote_identifier(name);
                    statements.push(format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL"));
                }
            }
            LayoutStep::Rename { from, to } => {
                let (from, to) = (name_in(before, from)?, name_in(&next.plan, to)?);
                let rename = |from: &str, to: &str| {
                    format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", quote_identifier(from), quote_identifier(to))
                };
                // Two may change places: each goes by a name that nobody has.
                if from != to {
                    let between = format!("wavemark renames {}", later.len());
                    statements.push(rename(from, &between));
                    later.push(rename(&between, to));
                }
            }
            LayoutStep::Retype { column } => {
                let (name, kind) = declared(&next.plan, column)?;
                if holds_already(before, next, column, there)? {
                    continue;
                }
                later.push(format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE {kind}"));
            }
            LayoutStep::Loosen { column } => {
                let name = quote_identifier(name_in(&next.plan, column)?);
                later.push(format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL"));
            }
            // Last of all, by the names of both plans.
            LayoutStep::Move { .. } => {}
            LayoutStep::Add { column, existing } => later.extend(add(&table, &next.plan, column, existing.as_deref())?),
        }
    }
    statements.extend(later);
    Ok(statements)
}

/// Whether the column is wider than the source's was, and as wide as it is to be.
fn holds_already(before: &TablePlan, next: &Relayout, column: &str, there: &Relation) -> Result<bool, Problem> {
    let renamed = next.steps.iter().find_map(|step| match step {
        LayoutStep::Rename { from, to } if to == column => Some(from.as_str()),
        _ => None,
    });
    let old = renamed.unwrap_or(column);
    let Some(found) = there.declared(name_in(before, old)?) else { return Ok(false) };
    let was = before.in_target().columns.iter().find(|one| one.name == old).map(|one| one.declared.as_str());
    let planned = next.plan.columns.iter().find(|one| next.plan.in_target().columns[one.source].name == column);
    Ok(was != Some(found) && planned.is_some_and(|planned| wider::fit(&next.plan, planned, found).is_some()))
}

/// A new column: rows that are there get their value by a default, which then is the source's.
fn add(table: &str, plan: &TablePlan, column: &str, existing: Option<&str>) -> Result<Vec<String>, Problem> {
    let (name, kind) = declared(plan, column)?;
    let source = plan.in_target().columns.iter().find(|one| one.name == column);
    let default = source.and_then(|source| ColumnNative::of(source).ok()).and_then(|native| native.default);
    let default = default.filter(|default| !default.starts_with("nextval("));
    let first = existing.map_or_else(String::new, |value| format!(" DEFAULT {}", escape_literal(value)));
    let mut statements = vec![format!("ALTER TABLE {table} ADD COLUMN {name} {kind}{first}")];
    match default {
        Some(default) => statements.push(format!("ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {default}")),
        None if existing.is_some() => statements.push(format!("ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT")),
        None => {}
    }
    // Without a value for the rows that were there a NOT NULL came later, once they had one: the log gives it to them.
    if existing.is_some() && source.is_some_and(|source| source.not_null) {
        statements.push(format!("ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL"));
    }
    Ok(statements)
}

/// A column's name in the target, quoted, and its type with its collation.
fn declared(plan: &TablePlan, column: &str) -> Result<(String, String), Problem> {
    let name = quote_identifier(name_in(plan, column)?);
    let source = plan.in_target().columns.iter().find(|one| one.name == column).ok_or_else(|| lacks(plan, column))?;
    let collation = ColumnNative::of(source).ok().and_then(|native| native.collation);
    Ok((name, format!("{}{}", source.declared, create::collate(collation.as_ref()))))
}

fn name_in<'a>(plan: &'a TablePlan, column: &str) -> Result<&'a str, Problem> {
    let planned = plan.columns.iter().find(|planned| plan.in_target().columns[planned.source].name == column);
    planned.map(|planned| planned.target_name.as_str()).ok_or_else(|| lacks(plan, column))
}

fn lacks(plan: &TablePlan, column: &str) -> Problem {
    Problem::internal(format!(
        "A step to the next layout of {} names column {column}, which is not planned.",
        plan.name()
    ))
}
