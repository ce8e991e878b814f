//! Labels that enums got at the source after they were made here.

use std::collections::BTreeMap;

use postgres_protocol::escape::escape_literal;
use tokio_postgres::{Client, Error};
use wavemark_domain::{Problem, TablePlan};

use super::create::{native, qualified, unreadable};
use super::fault::problem;
use crate::native::{ColumnNative, Qualified, TypeRef, TypeShape};

const LABELS: &str = "\
    SELECT n.nspname::text, t.typname::text, \
           ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) \
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'e'";

/// Adds the labels that the plan's enums have and the target's lack, each where the source has it. Labels are never
/// removed. Without the right to add one, the rows that hold it are refused later, by name.
pub(crate) async fn add_labels(client: &Client, plan: &[TablePlan]) -> Result<(), Problem> {
    let wanted = wanted(plan)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let failed = |error: Error| problem(&error, "look at the target's enums");
    for row in client.query(LABELS, &[]).await.map_err(failed)? {
        let name = Qualified { schema: row.get(0), name: row.get(1) };
        let Some(labels) = wanted.get(&name) else { continue };
        for statement in additions(&qualified(&name), row.get(2), labels) {
            match client.batch_execute(&statement).await {
                Ok(()) => tracing::info!(statement, "a label was added to an enum in the target"),
                Err(error) if error.as_db_error().is_some() => {
                    tracing::warn!(statement, "a label can't be added to an enum in the target: {}", failed(error));
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(())
}

/// The labels of every enum that the plan's tables use, by each name that it has here: one that was renamed at the source
/// keeps the name that columns were made with.
fn wanted(plan: &[TablePlan]) -> Result<BTreeMap<Qualified, Vec<String>>, Problem> {
    let mut wanted = BTreeMap::new();
    for table in plan {
        for definition in native(table)?.types {
            let TypeShape::Enum { labels } = definition.shape else { continue };
            for column in &table.columns {
                let column = ColumnNative::of(&table.in_target().columns[column.source]);
                let column = column.map_err(|error| unreadable(table, &error))?;
                names(&column.r#type, definition.oid, &mut |name| {
                    wanted.insert(name.clone(), labels.clone());
                });
            }
            wanted.insert(definition.name, labels);
        }
    }
    Ok(wanted)
}

/// What a type that columns were made with is called where this one is used in it.
fn names(used: &TypeRef, oid: u32, found: &mut dyn FnMut(&Qualified)) {
    if used.oid == oid {
        found(&used.name);
    }
    used.inner.iter().for_each(|inner| names(inner, oid, found));
    used.attributes.iter().for_each(|attribute| names(attribute, oid, found));
}

/// The statements that add what is missing, in an order in which each finds its neighbour.
fn additions(name: &str, mut there: Vec<String>, wanted: &[String]) -> Vec<String> {
    let mut statements = Vec::new();
    for (at, label) in wanted.iter().enumerate() {
        if there.contains(label) {
            continue;
        }
        let place = match (at.checked_sub(1), there.first()) {
            (Some(before), _) => format!(" AFTER {}", escape_literal(&wanted[before])),
            (None, Some(first)) => format!(" BEFORE {}", escape_literal(first)),
            (None, None) => String::new(),
        };
        statements.push(format!("ALTER TYPE {name} ADD VALUE IF NOT EXISTS {}{place}", escape_literal(label)));
        match at {
            0 => there.insert(0, label.clone()),
            _ => there.push(label.clone()),
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_finds_its_neighbour() {
        let labels = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = additions("s.mood", labels(&["b", "own"]), &labels(&["a", "it's", "b", "c"]));
        assert_eq!(
            found,
            [
                "ALTER TYPE s.mood ADD VALUE IF NOT EXISTS 'a' BEFORE 'b'",
                "ALTER TYPE s.mood ADD VALUE IF NOT EXISTS 'it''s' AFTER 'a'",
                "ALTER TYPE s.mood ADD VALUE IF NOT EXISTS 'c' AFTER 'b'",
            ]
        );
        assert_eq!(additions("m", Vec::new(), &labels(&["a"])), ["ALTER TYPE m ADD VALUE IF NOT EXISTS 'a'"]);
        assert_eq!(additions("m", labels(&["b", "a"]), &labels(&["a", "b"])), Vec::<String>::new());
    }
}
