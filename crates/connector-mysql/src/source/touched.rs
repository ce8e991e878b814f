//! Which rows the log touched between two views of a load that was interrupted: a pass of its own over the log.

use std::sync::Arc;

use wavemark_connector::TaskContext;
use wavemark_connector::source::{ChangeReader, Touched};
use wavemark_connector::touched::Gathering;
use wavemark_domain::{Position, Problem, TableId, TablePlan};

use super::history::History;
use super::{Looker, keys, resume};
use crate::log::{self, Purpose, Start};
use crate::position::Memo;

/// Bytes of changes at once.
const BATCH: usize = 4 << 20;

/// What the log did to each of `tables` after `from` up to and including `to`.
pub(super) async fn touched(
    (looker, history): (&Arc<Looker>, &History),
    task: &TaskContext,
    plan: &[TablePlan],
    tables: &[TableId],
    (from, to): (&Position, &Position),
) -> Result<Vec<Touched>, Problem> {
    let mut gathering = Gathering::new(plan, tables);
    let from = &Memo::since(from);
    if from < to && !gathering.is_over() {
        let (start, server) = resume::start(&looker.settings, history, from).await?;
        // What was executed before there is of no interest.
        let start = (Start { by: start.by.without_numbers(&start.place), ..start }, server);
        let mut reader = log::open(looker, task, plan, start, Purpose::LookBack).await?;
        // What is at hand goes beyond `to` before the log is silent: there the view was made.
        while !gathering.take(&reader.next(BATCH).await?.batch, |at| Ok(at.cmp(to)))? {}
    }
    let found = gathering.found().into_iter().zip(tables);
    Ok(found.map(|(touched, table)| keys::fetched(touched, plan.get(table.index()))).collect())
}
