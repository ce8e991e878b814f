//! Tables that came after the load and that the mapping chooses: loaded aside, left out, or parked.
//!
//! Nothing in a log says that there is a new table. The source tells that there may be one; then its tables are looked
//! at, and an attempt that is to have another begins anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use wavemark_connector::target::{Kept, Stage};
use wavemark_domain::layout::NewTablePolicy;
use wavemark_domain::{Table, TableId, TableName, TablePlan};

use crate::run::Run;

/// The source's tables, without those that the task is to leave out because they came after its load.
pub(crate) fn without_ignored(
    run: &Run,
    tables: Vec<Table>,
    kept: &Kept,
    is_wished: impl Fn(&Table) -> bool,
) -> Vec<Table> {
    if run.task.settings.new_tables != NewTablePolicy::Ignore || kept.bookmark.is_none() {
        return tables;
    }
    let marked: BTreeSet<&TableName> = kept.tables.iter().map(|mark| &mark.source).collect();
    tables.into_iter().filter(|table| marked.contains(&table.name) || is_wished(table)).collect()
}

/// Those to load: they came since, or were parked for that when the task was not to load them.
pub(crate) fn to_load(run: &Run, plan: &[TablePlan], kept: &Kept) -> Vec<TableId> {
    if !run.loads_new_tables() || kept.bookmark.is_none() {
        return Vec::new();
    }
    let marks = kept.marks();
    let is_there = |table: &TablePlan| {
        let mark = marks.get(table.name());
        mark.is_some_and(|mark| !matches!(&mark.stage, Stage::Parked(why) if why.code == NOT_LOADED))
    };
    plan.iter().filter(|table| !is_there(table)).map(|table| table.id).collect()
}

/// The code of the problem of a table that came after the load and waits for a person.
pub(crate) const NOT_LOADED: &str = "table-not-loaded";

/// After how long a source is asked again that could not be.
const AGAIN: Duration = Duration::from_secs(30);

/// Whether the mapping chooses a table of the source that the task does not show. The source tells of it once, so one that
/// can't be asked is asked again.
pub(crate) async fn are_there(run: Run, plan: Arc<[TablePlan]>) -> bool {
    if run.task.settings.new_tables == NewTablePolicy::Ignore {
        return false;
    }
    let shown: BTreeSet<TableName> = run.status.progress().tables.into_iter().map(|table| table.table).collect();
    loop {
        let turn = run.connections.turn().await;
        match run.source.tables(&|name| run.mappings.selects(name) && !shown.contains(name)).await {
            // One that is followed under the name that it had is none that came.
            Ok(tables) => {
                let is_followed = |table: &Table| plan.iter().any(|plan| run.source.is_same(&plan.source, table));
                return tables.iter().any(|table| !run.follows_names() || !is_followed(table));
            }
            Err(problem) => {
                tracing::debug!(task.id = %run.task.task, %problem, "the source's tables were not looked at");
            }
        }
        drop(turn);
        tokio::time::sleep(AGAIN).await;
    }
}
