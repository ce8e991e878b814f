//! Statements that make what a plan needs: the table with its key, staging tables, indexes, foreign keys. Text only.
//!
//! A table is made with its primary key, because rows lie in its order; everything else comes after the rows. What
//! the source computes is no column here, and what hangs on it is left out, as is what hangs on a column that does not travel.

pub(super) mod collations;
mod columns;
mod defaults;
mod indexes;
mod made;
mod server;

use std::collections::BTreeSet;

use wavemark_domain::extras::{ForeignKey, Index, IndexPart};
use wavemark_domain::{Column, ColumnPlan, Problem, TablePlan};

use self::columns::Definition;
pub(crate) use self::made::{made, seen, statement};
pub(crate) use self::server::Server;
use super::values::TargetColumn;
use crate::defaults::Dialect;
use crate::native::{ColumnNative, TableNative};
use crate::sql::{literal, quoted, quoted_table};

/// The index that a counting column has where no other begins with it: the server counts by an index alone.
const COUNTER: &str = "wavemark_counter";

/// The most characters of a table's comment; a longer one is left out.
const COMMENT: usize = 2_048;

/// How tables are kept: with transactions, and with indexes of 3,072 bytes whatever the server's own default is.
const OPTIONS: &str = "ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4";

/// The table with its key, for a server.
pub(crate) fn create_table(plan: &TablePlan, server: &Server) -> Result<String, Problem> {
    columns::must_be_names(plan)?;
    let mut parts = columns::definitions(plan, server)?;
    if !plan.in_target().key.is_empty() {
        let key: Vec<&str> = plan.in_target().key.iter().map(String::as_str).collect();
        let beginnings = TableNative::of(plan.in_target()).key_beginnings;
        let (key, _) = indexes::parts(plan, &key, &beginnings).ok_or_else(|| incomplete(plan))?;
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    parts.extend(counter(plan, server));
    let comment = comment(plan).map_or_else(String::new, |text| format!(" COMMENT={}", literal(&text)));
    let name = quoted_table(&plan.target);
    Ok(format!("CREATE TABLE {name} (\n    {}\n) {OPTIONS}{comment}", parts.join(",\n    ")))
}

/// The table's comment, if it is one here.
fn comment(plan: &TablePlan) -> Option<String> {
    TableNative::of(plan.in_target()).comment.filter(|text| text.chars().count() <= COMMENT)
}

fn incomplete(plan: &TablePlan) -> Problem {
    Problem::internal(format!("The plan of {} lacks a column of its key.", plan.name())).table(plan.name())
}

/// The index of a counting column that is not the key's first.
fn counter(plan: &TablePlan, server: &Server) -> Option<String> {
    let column = columns::counting(plan)?;
    if plan.in_target().key.first() == Some(&column.source_name) {
        return None;
    }
    let indexes = TableNative::of(plan.in_target()).indexes;
    let mut own =
        indexes.iter().filter(|index| index.parts.first().is_some_and(|part| part.column == column.source_name));
    let own = own.find_map(|index| definition(plan, index, server));
    own.or_else(|| Some(format!("INDEX {} ({})", quoted(COUNTER), quoted(&column.target_name))))
}

/// A database; one that is there stays as it is.
pub(crate) fn create_database(name: &str) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {}", quoted(name))
}

/// The type of this family as a server of it makes it, without how texts are compared.
pub(crate) fn type_at(column: &Column, dialect: Dialect, version: (u16, u16)) -> String {
    let native = ColumnNative::of(column).unwrap_or_default();
    let server = Server { dialect, version, patch: 0, collations: BTreeSet::new(), has_explicit_defaults: true };
    let declared = columns::other_dialect(&native, &server).unwrap_or_else(|| column.declared.clone());
    declared.split(" CHARACTER SET ").next().unwrap_or_default().to_owned()
}

/// A column by its name at the target, as a statement that adds or changes it has it.
pub(crate) fn column(plan: &TablePlan, name: &str, server: &Server) -> Result<String, Problem> {
    Ok(Definition::of(plan, planned(plan, name)?, server)?.text())
}

/// A new column that gives rows which are there a value, as the source writes it; and what gives it its own default then.
pub(crate) fn column_with(
    plan: &TablePlan,
    name: &str,
    value: &str,
    server: &Server,
) -> Result<(String, String), Problem> {
    let planned = planned(plan, name)?;
    let definition = Definition::of(plan, planned, server)?;
    // Nothing but all of it says that NULL is the default again.
    let last = format!("MODIFY COLUMN {}", definition.text());
    let existing = columns::existing(plan, planned, value, server)?;
    Ok((definition.with_default(existing).text(), last))
}

fn planned<'a>(plan: &'a TablePlan, name: &str) -> Result<&'a ColumnPlan, Problem> {
    let found = plan.columns.iter().find(|column| column.target_name == name);
    found.ok_or_else(|| Problem::internal(format!("Column {name} of {} is not planned.", plan.name())))
}

/// A table of this session's alone, whose columns have the target's types and take NULL. It has a key of its own, for there are
/// servers that make no table without one (`sql_require_primary_key`), and rows are then read in the order in which they came.
/// `name_sql` is quoted.
pub(crate) fn staging_table(name_sql: &str, columns: &[TargetColumn]) -> String {
    let columns: Vec<String> = columns.iter().map(columns::staged).collect();
    let row = "wavemark_row bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY";
    format!("CREATE TEMPORARY TABLE {name_sql} ({}, {row}) {OPTIONS}", columns.join(", "))
}

/// One statement for the indexes that are not `there` yet; `None` if none is missing.
pub(crate) fn add_indexes(plan: &TablePlan, there: &[&str], server: &Server) -> Option<String> {
    let indexes = TableNative::of(plan.in_target()).indexes;
    let is_missing = |index: &&Index| !there.iter().any(|name| name.eq_ignore_ascii_case(&index.name));
    let missing = indexes.iter().filter(is_missing);
    let missing: Vec<String> = missing.filter_map(|index| definition(plan, index, server)).collect();
    let add = |one: &String| format!("ADD {one}");
    let missing: Vec<String> = missing.iter().map(add).collect();
    (!missing.is_empty()).then(|| format!("ALTER TABLE {} {}", quoted_table(&plan.target), missing.join(", ")))
}

/// An index over columns that travel. One that tells no rows apart may have the beginnings of long values alone; one that does
/// has all of them, or their hashes where the server keeps such.
fn definition(plan: &TablePlan, index: &Index, server: &Server) -> Option<String> {
    let columns: Vec<&str> = index.parts.iter().map(|part| part.column.as_str()).collect();
    let (mut parts, is_whole) = indexes::parts(plan, &columns, &[])?;
    if index.unique && (!is_whole || indexes::is_too_long(plan, &columns, server)) {
        if !server.hashes_long_values() {
            return None;
        }
        parts = named(plan, &columns)?.into_iter().map(quoted).collect();
    }
    let ordered = |(text, part): (&String, &IndexPart)| format!("{text}{}", if part.descending { " DESC" } else { "" });
    let parts: Vec<String> = parts.iter().zip(&index.parts).map(ordered).collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    Some(format!("{unique}INDEX {} ({})", quoted(&index.name), parts.join(", ")))
}

/// The foreign keys that there will be, of those that point at tables of the plan that are loaded.
pub(crate) fn foreign_keys(
    table: &TablePlan,
    plan: &[TablePlan],
    is_loaded: &impl Fn(&TablePlan) -> bool,
    server: &Server,
) -> Vec<ForeignKey> {
    let mut keys = TableNative::of(table.in_target()).foreign_keys;
    keys.retain(|key| {
        let parent = plan.iter().find(|one| *one.name() == key.target && is_loaded(one));
        parent.is_some_and(|parent| {
            let mut pairs = key.columns.iter().zip(&key.target_columns);
            pairs.all(|(own, theirs)| columns::are_alike((table, own), (parent, theirs), key.own, server))
        })
    });
    keys
}

/// The statement that makes a foreign key. What the plan doesn't have is called what the source calls it.
pub(crate) fn add_foreign_key(table: &TablePlan, plan: &[TablePlan], key: &ForeignKey) -> String {
    let parent = plan.iter().find(|one| *one.name() == key.target);
    let named = |plan: &TablePlan, name: &String| quoted(target_name(plan, name).unwrap_or(name));
    let own: Vec<String> = key.columns.iter().map(|name| named(table, name)).collect();
    let theirs = key.target_columns.iter();
    let theirs: Vec<String> = match parent {
        Some(parent) => theirs.map(|name| named(parent, name)).collect(),
        None => theirs.map(|name| quoted(name)).collect(),
    };
    format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) ON UPDATE {} ON DELETE {}",
        quoted_table(&table.target),
        quoted(&key.name),
        own.join(", "),
        quoted_table(parent.map_or(&key.target, |parent| &parent.target)),
        theirs.join(", "),
        key.on_update.words(),
        key.on_delete.words(),
    )
}

/// The target's names of columns; `None` if one does not travel.
fn named<'a>(plan: &'a TablePlan, columns: &[&str]) -> Option<Vec<&'a str>> {
    columns.iter().map(|name| target_name(plan, name)).collect()
}

fn target_name<'a>(plan: &'a TablePlan, column: &str) -> Option<&'a str> {
    let at = plan.in_target().column(column)?;
    plan.columns.iter().find(|planned| planned.source == at).map(|planned| planned.target_name.as_str())
}

#[cfg(test)]
mod tests;
