//! What tables from a system like the target's have in words of that system alone ([`crate::own`]): made once their rows are
//! there, as foreign keys are, and taken away where a column that it hangs on goes or is called otherwise, as it was at the source.

use wavemark_domain::check::Finding;
use wavemark_domain::{Fault, LayoutStep, Problem, Relayout, TablePlan};

use super::fault::problem;
use super::marks::Complete;
use crate::defaults::Dialect;
use crate::discover;
use crate::native::TableNative;
use crate::own::{Own, OwnKind};
use crate::sql::{quoted, quoted_table};
use crate::wire::Connection;

/// What a table's copy gets: of the same system, and where every column that has values goes by its own name.
fn copied(plan: &TablePlan, dialect: Dialect) -> Vec<Own> {
    let native = TableNative::of(&plan.source);
    let goes_as_it_is =
        |at: usize, name: &str| plan.columns.iter().any(|planned| planned.source == at && planned.target_name == name);
    let mut stored = plan.source.columns.iter().enumerate().filter(|(_, column)| !column.generated);
    if plan.declared.is_some()
        || native.dialect != Some(dialect)
        || !stored.all(|(at, column)| goes_as_it_is(at, &column.name))
    {
        return Vec::new();
    }
    native.own.into_iter().filter(Own::is_copied).collect()
}

/// What the copy will not have, for a person to make it: all that a table lacks which the task keeps as it `is_kept`.
pub(super) async fn not_carried_over(
    connection: &mut Connection,
    plan: &TablePlan,
    is_kept: bool,
) -> Result<Vec<Finding>, Problem> {
    let mut left = TableNative::of(&plan.source).own;
    if plan.declared.is_some() || left.is_empty() {
        return Ok(Vec::new());
    }
    if is_kept {
        let there = discover::own_of(connection, &plan.target).await?;
        left.retain(|own| !is_among(own, &there));
    } else {
        let copied = copied(plan, Dialect::of(&connection.version));
        left.retain(|own| !copied.contains(own));
    }
    Ok(left.iter().map(|own| Finding::not_carried_over(plan.name(), own.left_out(plan.name()))).collect())
}

/// Makes what is missing of loaded tables that the task made. What can't be made is returned.
pub(super) async fn make(connection: &mut Connection, loaded: &[Complete<'_>]) -> Result<Vec<Problem>, Problem> {
    let mut left = Vec::new();
    for table in loaded.iter().filter(|table| table.made).map(|table| table.plan) {
        let mut missing = copied(table, Dialect::of(&connection.version));
        if !missing.is_empty() {
            let there = discover::own_of(connection, &table.target).await?;
            missing.retain(|own| !is_among(own, &there));
            left.extend(add(connection, table, &missing).await?);
        }
    }
    Ok(left)
}

/// Whether there is something of its kind and name: servers of two versions may write the same in two ways.
fn is_among(own: &Own, there: &[Own]) -> bool {
    there.iter().any(|other| other.kind == own.kind && other.name.eq_ignore_ascii_case(&own.name))
}

/// All by one statement, for each may write the table anew; where one can't be made, the others by one each.
async fn add(connection: &mut Connection, plan: &TablePlan, missing: &[Own]) -> Result<Vec<Problem>, Problem> {
    let alter = |what: &str| format!("ALTER TABLE {} {what}", quoted_table(&plan.target));
    let all: Vec<&str> = missing.iter().map(|own| own.alteration.as_str()).collect();
    if all.is_empty() || connection.query(&alter(&all.join(", "))).await.is_ok() {
        return Ok(Vec::new());
    }
    let mut left = Vec::new();
    for own in missing {
        let sql = alter(&own.alteration);
        let Err(cause) = connection.query(&sql).await else { continue };
        let doing = format!("make {} of {}", own.what(), plan.target);
        let problem = problem(&cause, &doing).table(plan.name()).advice(format!("If it is wanted: {sql}"));
        if problem.fault != Fault::Data {
            return Err(problem);
        }
        left.push(problem);
    }
    Ok(left)
}

/// The parts of an alteration that take away what the source has no more, and what holds columns which go or get another name.
pub(super) async fn in_the_way(
    connection: &mut Connection,
    before: &TablePlan,
    next: &Relayout,
) -> Result<Vec<String>, Problem> {
    let leaves = |step: &LayoutStep| match step {
        LayoutStep::Drop { column } | LayoutStep::Rename { from: column, .. } => Some(column.clone()),
        _ => None,
    };
    let mut leaving: Vec<String> = next.steps.iter().filter_map(leaves).collect();
    let stored = leaving.len();
    let dialect = Dialect::of(&connection.version);
    let mut copied = copied(before, dialect);
    let kept = TableNative::of(&next.plan.source).own;
    let mut going: Vec<Own> = copied.extract_if(.., |own| !kept.contains(own)).collect();
    leaving.extend(going.iter().filter(|own| own.kind == OwnKind::Computed).map(|own| own.name.clone()));
    going.extend(holding(copied, &mut leaving, stored));
    if going.is_empty() {
        return Ok(Vec::new());
    }
    let there = discover::own_of(connection, &next.plan.target).await?;
    // A default goes with its column.
    let is_left = |own: &&Own| is_among(own, &there) && !(own.kind == OwnKind::Default && leaving.contains(&own.name));
    Ok(going.iter().filter(is_left).map(|own| removal(own, dialect)).collect())
}

/// What holds columns that leave, of which the first have values of their own, and what holds those that go with it.
fn holding(mut own: Vec<Own>, leaving: &mut Vec<String>, stored: usize) -> Vec<Own> {
    let mut holding = Vec::new();
    let mut at = 0;
    while at < leaving.len() {
        let column = leaving[at].clone();
        // Indexes over a column with values of its own the server keeps in step with it by itself.
        let holds = |own: &mut Own| {
            own.is_of(&column) && own.kind != OwnKind::OnUpdate && (at >= stored || own.kind != OwnKind::Index)
        };
        for found in own.extract_if(.., holds) {
            if found.kind == OwnKind::Computed {
                leaving.push(found.name.clone());
            }
            holding.push(found);
        }
        at += 1;
    }
    holding
}

fn removal(own: &Own, dialect: Dialect) -> String {
    let name = quoted(&own.name);
    match (own.kind, dialect) {
        (OwnKind::Computed, _) => format!("DROP COLUMN {name}"),
        (OwnKind::Default | OwnKind::OnUpdate, _) => format!("ALTER COLUMN {name} DROP DEFAULT"),
        (OwnKind::Index | OwnKind::IndexOfExpression, _) => format!("DROP INDEX {name}"),
        (OwnKind::Check, Dialect::Mysql) => format!("DROP CHECK {name}"),
        (OwnKind::Check, Dialect::Mariadb) => format!("DROP CONSTRAINT {name}"),
        (OwnKind::ForeignKey, _) => format!("DROP FOREIGN KEY {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(kind: OwnKind, name: &str, alteration: &str) -> Own {
        Own { kind, name: name.to_owned(), alteration: alteration.to_owned(), unread: false }
    }

    #[test]
    fn what_holds_a_column_goes_with_it_and_what_holds_that() {
        let all = vec![
            own(OwnKind::Computed, "twice", "ADD COLUMN `twice` int AS (`N` * 2) STORED"),
            own(OwnKind::Computed, "other", "ADD COLUMN `other` int AS (`m` * 2) STORED"),
            own(OwnKind::Index, "by_n", "ADD INDEX `by_n` (`n`(3))"),
            own(OwnKind::IndexOfExpression, "sum", "ADD INDEX `sum` ((`n` + 1))"),
            own(OwnKind::Index, "by_twice", "ADD INDEX `by_twice` (`twice`, `m`)"),
            own(OwnKind::Check, "even", "ADD CONSTRAINT `even` CHECK (`twice` > 0)"),
        ];
        let mut leaving = vec!["n".to_owned()];
        let names: Vec<String> = holding(all, &mut leaving, 1).into_iter().map(|own| own.name).collect();
        assert_eq!(names, ["twice", "sum", "by_twice", "even"]);
    }

    #[test]
    fn each_is_taken_away_in_the_servers_words() {
        let check = own(OwnKind::Check, "it`s", "");
        assert_eq!(removal(&check, Dialect::Mysql), "DROP CHECK `it``s`");
        assert_eq!(removal(&check, Dialect::Mariadb), "DROP CONSTRAINT `it``s`");
    }
}
