//! Names of what a task keeps at its source, and names as SQL takes them.

use std::sync::atomic::{AtomicU32, Ordering};

use wavemark_connector::TaskContext;
use wavemark_domain::{TableName, TaskId};

use crate::wire::quote_identifier;

/// The name of a slot and of its publication: `wavemark_<task>_<generation>_<epoch that made it>`.
///
/// Lower-case letters, digits and `_` are all that a slot's name may have, and 63 bytes all that it may be long: 42
/// are fixed, 20 are left for two numbers that count starts and grants.
pub(super) fn artefact(task: &TaskContext) -> String {
    format!("{}{}", prefix(task), task.epoch)
}

/// The name of a publication that people make for one generation of a task, where we can't: with an epoch that is
/// never granted.
pub(super) fn by_hand(task: &TaskContext) -> String {
    format!("{}0", prefix(task))
}

/// What the names of one generation begin with; an epoch follows.
pub(super) fn prefix(task: &TaskContext) -> String {
    format!("{}{}_", task_prefix(task.task), task.generation)
}

/// What the names of all generations of a task begin with.
pub(super) fn task_prefix(task: TaskId) -> String {
    format!("wavemark_{}_", task.0.simple())
}

/// A name for a temporary slot that fixes another view: one of its own each time, for the slot before may still be
/// there until the server notices that its session has ended.
pub(super) fn temporary(task: &TaskContext) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}_v{}", artefact(task), NEXT.fetch_add(1, Ordering::Relaxed) % 10_000)
}

/// The name of the slot that keeps log for tables that are loaded aside.
pub(super) fn aside(task: &TaskContext) -> String {
    format!("{}{ASIDE}", artefact(task))
}

/// What the names of slots for tables that are loaded aside end with.
pub(super) const ASIDE: &str = "_a";

/// The name of the temporary slot that fixes a view to compare.
pub(super) fn beside(task: &TaskContext) -> String {
    format!("{}_c", artefact(task))
}

/// The generation and epoch in a name that begins with the task's prefix.
pub(super) fn numbers(name: &str, task: TaskId) -> Option<(i32, i64)> {
    let (generation, epoch) = name.strip_prefix(&task_prefix(task))?.split_once('_')?;
    Some((generation.parse().ok()?, epoch.parse().ok()?))
}

/// A table's name as SQL takes it.
pub(crate) fn quoted(table: &TableName) -> String {
    format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.table))
}

/// A text as a literal; `standard_conforming_strings` is on in every session of ours.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_names_stay_names() {
        let table = TableName::new("sh\"op", "a.b \u{1f600}");
        assert_eq!(quoted(&table), "\"sh\"\"op\".\"a.b \u{1f600}\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn a_name_tells_its_generation_and_epoch() {
        let task = TaskId(uuid::Uuid::from_u128(0xabcd));
        let name = "wavemark_0000000000000000000000000000abcd_3_17";
        assert_eq!(numbers(name, task), Some((3, 17)));
        assert_eq!(numbers(&format!("{name}_v7"), task), None);
        assert_eq!(numbers(&format!("{name}_a"), task), None);
        assert_eq!(numbers(name, TaskId(uuid::Uuid::from_u128(1))), None);
    }
}
