//! Bringing a table to its next layout. The server commits at such a statement, so it is never inside a wave:
//!
//! 1. Everything before it is committed with its bookmark; a change of layout in the middle of a transaction is refused.
//! 2. The table is altered by one statement, which the server does as a whole or not at all.
//! 3. The next wave, which holds no row, notes the layout.
//!
//! A worker that dies between the last two finds, on its way from the same bookmark, the same change of layout again and the
//! table with its next shape: then only the defaults of new columns are set once more. Where the two shapes can't be told
//! apart (columns that change places by name) the change is refused.

use wavemark_domain::extras::Index;
use wavemark_domain::{Fault, LayoutStep, Problem, Relayout, Table, TablePlan};

use super::create::{self, Server};
use super::fault::problem;
use super::script::Task;
use super::wave::Waves;
use super::{marks, own, table};
use crate::defaults::Dialect;
use crate::native::TableNative;
use crate::sql::{quoted, quoted_table};
use crate::wire::WireError;

impl Waves {
    /// Alters the table and notes its layout.
    pub(crate) async fn alter(&mut self, before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
        if self.is_open() {
            return Err(refused(
                before,
                "it changed in the middle of a transaction, and the server commits at every change",
            ));
        }
        let altered = self.try_alter(before, next).await;
        // What the user may not do, or others' objects forbid, concerns this table alone.
        altered.map_err(|problem| match problem.fault {
            Fault::Settings => Problem { fault: Fault::Data, ..problem },
            _ => problem,
        })?;
        self.forget(std::iter::once(before.id));
        self.replan(&next.plan);
        self.begin();
        self.counts_go_by(before, &next.plan);
        for sql in marks::relayout(self.grant.task, before, &next.plan) {
            self.script.add(Task { table: Some(before.id), ..Task::wave("note the layout of") }, &sql);
        }
        Ok(())
    }

    async fn try_alter(&mut self, before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
        self.must_be_ours_still().await?;
        self.rename(before, &next.plan).await?;
        let there = table::look(&mut self.connection, &next.plan.target).await?;
        let there = there.ok_or_else(|| refused(before, "the target's table is not there"))?;
        let in_the_way = own::in_the_way(&mut self.connection, before, next).await?;
        let server = Server::of(&mut self.connection).await?;
        if in_the_way.is_empty() && next.steps.iter().all(|step| is_done(before, next, step, &there)) {
            return self.give_defaults(before, next, &server).await;
        }
        for sql in statements(before, next, &there, &server, in_the_way)? {
            self.change(before, &sql).await?;
        }
        Ok(())
    }

    /// A worker that died behind the first statement has left new columns with the default by which rows got their value.
    async fn give_defaults(&mut self, before: &TablePlan, next: &Relayout, server: &Server) -> Result<(), Problem> {
        for step in &next.steps {
            let LayoutStep::Add { column, existing: Some(value) } = step else { continue };
            let Some(name) = name_in(&next.plan, column) else { continue };
            let (_, last) = create::column_with(&next.plan, name, value, server)?;
            self.change(before, &format!("ALTER TABLE {} {last}", quoted_table(&next.plan.target))).await?;
        }
        Ok(())
    }

    /// Looks at the fence: the statements that follow hold no lock of it. A successor ends this session before it reads
    /// anything, and waits for its end.
    async fn must_be_ours_still(&mut self) -> Result<(), Problem> {
        let grant = self.grant;
        grant.begin(&mut self.connection, "look at the fence of the task").await?;
        self.execute("COMMIT", Task::wave("look at the fence of the task")).await
    }

    async fn rename(&mut self, before: &TablePlan, next: &TablePlan) -> Result<(), Problem> {
        if before.target == next.target || table::look(&mut self.connection, &before.target).await?.is_none() {
            return Ok(());
        }
        self.change(before, &create::create_database(&next.target.schema)).await?;
        let rename = format!("RENAME TABLE {} TO {}", quoted_table(&before.target), quoted_table(&next.target));
        self.change(before, &rename).await
    }

    async fn change(&mut self, before: &TablePlan, sql: &str) -> Result<(), Problem> {
        let failed = |cause: WireError| {
            problem(&cause, &format!("alter table {}", before.target))
                .table(before.name())
                .advice("Mend what the target's server says; then reload the table.")
        };
        self.connection.query(sql).await.map(drop).map_err(failed)
    }
}

fn refused(plan: &TablePlan, why: &str) -> Problem {
    let text = format!("The layout of {} is not followed: {why}.", plan.name());
    Problem::new(Fault::Data, "layout-not-followed", text)
        .table(plan.name())
        .advice("Reload the table: it is made anew with its new layout.")
}

/// Whether the table has the shape that a step leads to.
fn is_done(before: &TablePlan, next: &Relayout, step: &LayoutStep, there: &Table) -> bool {
    let column = |name: &str| there.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    match step {
        LayoutStep::Drop { column: name } => name_in(before, name).is_none_or(|name| column(name).is_none()),
        LayoutStep::Leave { column: name } => {
            name_in(before, name).and_then(column).is_none_or(|column| !column.not_null)
        }
        LayoutStep::Rename { from, to } => {
            let (from, to) = (name_in(before, from), name_in(&next.plan, to));
            from == to || (to.and_then(column).is_some() && from.and_then(column).is_none())
        }
        LayoutStep::Retype { column: name } => {
            let wanted = next.plan.in_target().columns.iter().find(|one| one.name == *name);
            let found = name_in(&next.plan, name).and_then(column);
            found.zip(wanted).is_some_and(|(found, wanted)| found.declared.eq_ignore_ascii_case(&wanted.declared))
        }
        LayoutStep::Loosen { column: name } => {
            name_in(&next.plan, name).and_then(column).is_some_and(|one| !one.not_null)
        }
        // One that is computed is another, which goes.
        LayoutStep::Add { column: name, .. } => {
            name_in(&next.plan, name).and_then(column).is_some_and(|one| !one.generated)
        }
        LayoutStep::Move { .. } => true,
    }
}

/// The name of a column at the target, by its name at the source.
fn name_in<'a>(plan: &'a TablePlan, column: &str) -> Option<&'a str> {
    let planned = plan.columns.iter().find(|planned| plan.in_target().columns[planned.source].name == column);
    planned.map(|planned| planned.target_name.as_str())
}

/// `parts` is what the first of them has before all else.
fn statements(
    before: &TablePlan,
    next: &Relayout,
    there: &Table,
    server: &Server,
    mut parts: Vec<String>,
) -> Result<Vec<String>, Problem> {
    must_be_told_apart(before, next)?;
    let mut after = Vec::new();
    for step in &next.steps {
        let lacks = |column: &str| Problem::internal(format!("A step names column {column}, which is not planned."));
        match step {
            _ if is_done(before, next, step, there) => {}
            LayoutStep::Drop { column } => {
                let name = name_in(before, column).ok_or_else(|| lacks(column))?;
                for part in with_its_column(there, name, server.dialect) {
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
                parts.push(format!("DROP COLUMN {}", quoted(name)));
            }
            LayoutStep::Leave { column } => {
                let name = name_in(before, column).ok_or_else(|| lacks(column))?;
                let found = there.columns.iter().find(|one| one.name.eq_ignore_ascii_case(name));
                let declared = found.map(|found| found.declared.as_str()).ok_or_else(|| lacks(column))?;
                parts.push(format!("MODIFY COLUMN {} {declared} NULL", quoted(name)));
            }
            LayoutStep::Rename { from, to } => {
                let name = name_in(before, from).ok_or_else(|| lacks(from))?;
                let to = name_in(&next.plan, to).ok_or_else(|| lacks(to))?;
                parts.push(format!("RENAME COLUMN {} TO {}", quoted(name), quoted(to)));
            }
            LayoutStep::Retype { column } | LayoutStep::Loosen { column } => {
                let name = name_in(&next.plan, column).ok_or_else(|| lacks(column))?;
                let modify = format!("MODIFY COLUMN {}", create::column(&next.plan, name, server)?);
                // A column that has both is changed once.
                if !parts.contains(&modify) {
                    parts.push(modify);
                }
            }
            LayoutStep::Add { column, existing } => {
                let name = name_in(&next.plan, column).ok_or_else(|| lacks(column))?;
                let definition = create::column(&next.plan, name, server)?;
                match existing {
                    None => parts.push(format!("ADD COLUMN {definition}")),
                    Some(value) => {
                        let (first, last) = create::column_with(&next.plan, name, value, server)?;
                        parts.push(format!("ADD COLUMN {first}"));
                        after.push(last);
                    }
                }
            }
            LayoutStep::Move { .. } => {}
        }
    }
    let name = quoted_table(&next.plan.target);
    let altered = (!parts.is_empty()).then(|| format!("ALTER TABLE {name} {}", parts.join(", ")));
    Ok(altered.into_iter().chain(after.into_iter().map(|last| format!("ALTER TABLE {name} {last}"))).collect())
}

/// MariaDB drops no column of a unique index that has others, so at a source of it the index is gone already.
fn with_its_column(there: &Table, column: &str, dialect: Dialect) -> Vec<String> {
    let is_of = |index: &Index| index.parts.iter().any(|part| part.column.eq_ignore_ascii_case(column));
    let mut indexes = TableNative::of(there).indexes;
    indexes.retain(|index| dialect == Dialect::Mariadb && index.unique && index.parts.len() > 1 && is_of(index));
    indexes.iter().map(|index| format!("DROP INDEX {}", quoted(&index.name))).collect()
}

/// A name that a column leaves and another takes says nothing of whether it was done.
fn must_be_told_apart(before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
    let mut leaving = Vec::new();
    let mut coming = Vec::new();
    for step in &next.steps {
        match step {
            LayoutStep::Drop { column } => leaving.push(column),
            LayoutStep::Rename { from, to } => {
                leaving.push(from);
                coming.push(to);
            }
            LayoutStep::Add { column, .. } => coming.push(column),
            LayoutStep::Leave { .. }
            | LayoutStep::Retype { .. }
            | LayoutStep::Loosen { .. }
            | LayoutStep::Move { .. } => {}
        }
    }
    let twice = leaving.iter().find(|name| coming.iter().any(|other| other.eq_ignore_ascii_case(name)));
    match twice {
        Some(name) => Err(refused(before, &format!("column {name} goes and another comes under its name at once"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wavemark_domain::catalog::TableKind;
    use wavemark_domain::{Column, ColumnPlan, Encoding, TableId, TableName};

    use super::*;

    fn table(columns: &[(&str, &str, bool)]) -> Table {
        let column = |(name, declared, not_null): &(&str, &str, bool)| Column {
            name: (*name).to_owned(),
            declared: (*declared).to_owned(),
            not_null: *not_null,
            generated: false,
            native: serde_json::Value::Null,
        };
        Table {
            name: TableName::new("shop", "orders"),
            kind: TableKind::Table,
            columns: columns.iter().map(column).collect(),
            key: Vec::new(),
            rows_estimated: None,
            bytes_estimated: None,
            native: serde_json::Value::Null,
        }
    }

    fn plan(columns: &[(&str, &str, bool)]) -> TablePlan {
        let planned = |(source, (name, ..)): (usize, &(&str, &str, bool))| ColumnPlan {
            source,
            target_name: (*name).to_owned(),
            encoding: Encoding::named("canonical text"),
            unfit: wavemark_domain::UnfitPolicy::default(),
            as_text: None,
        };
        TablePlan {
            id: TableId(0),
            source: Arc::new(table(columns)),
            declared: None,
            target: TableName::new("shop", "orders"),
            columns: columns.iter().enumerate().map(planned).collect(),
            key: Vec::new(),
            rows: None,
            schema_version: 1,
        }
    }

    /// What is done of each step where the table has these columns.
    fn done(before: &[(&str, &str, bool)], next: &Relayout, there: &[(&str, &str, bool)]) -> Vec<bool> {
        let there = table(there);
        next.steps.iter().map(|step| is_done(&plan(before), next, step, &there)).collect()
    }

    #[test]
    fn the_shape_of_a_table_says_what_was_done() {
        let before = [("a", "int", true), ("b", "int", true), ("c", "int", true)];
        let after = [("a", "bigint", false), ("d", "int", true), ("e", "int", false)];
        let next = Relayout {
            plan: plan(&after),
            steps: vec![
                LayoutStep::Drop { column: "c".into() },
                LayoutStep::Rename { from: "b".into(), to: "d".into() },
                LayoutStep::Retype { column: "a".into() },
                LayoutStep::Loosen { column: "a".into() },
                LayoutStep::Add { column: "e".into(), existing: None },
            ],
        };
        assert_eq!(done(&before, &next, &before), [false; 5]);
        assert_eq!(done(&before, &next, &after), [true; 5]);
        assert!(must_be_told_apart(&plan(&before), &next).is_ok());
    }

    #[test]
    fn a_column_that_the_target_keeps_may_be_null() {
        let before = [("a", "int", true), ("b", "int", true)];
        let next = Relayout { plan: plan(&before[..1]), steps: vec![LayoutStep::Leave { column: "b".into() }] };
        assert_eq!(done(&before, &next, &before), [false]);
        assert_eq!(done(&before, &next, &[("a", "int", true), ("b", "int", false)]), [true]);
    }

    #[test]
    fn columns_that_trade_names_are_refused() {
        let columns = [("a", "int", true), ("b", "int", true)];
        let rename = |from: &str, to: &str| LayoutStep::Rename { from: from.into(), to: to.into() };
        let trade = Relayout { plan: plan(&columns), steps: vec![rename("a", "b"), rename("b", "a")] };
        let problem = must_be_told_apart(&plan(&columns), &trade).unwrap_err();
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Data, "layout-not-followed"));
        let again =
            vec![LayoutStep::Drop { column: "a".into() }, LayoutStep::Add { column: "a".into(), existing: None }];
        let again = Relayout { plan: plan(&columns), steps: again };
        assert!(must_be_told_apart(&plan(&columns), &again).is_err());
    }
}
