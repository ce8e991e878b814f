//! Which rows the log touched between two views of a load that was interrupted or goes on aside.
//!
//! A pass of its own over the log of the slot that keeps it for that load, which confirms nothing: the slot stands where it stood when it
//! ends. Transactions in progress aren't streamed, so that only committed ones come, each whole and in order.

use std::time::Duration;

use tokio::time::timeout;
use wavemark_connector::TaskContext;
use wavemark_connector::source::{ChangeReader, KeptFor, Touched};
use wavemark_connector::touched::Gathering;
use wavemark_domain::{Position, Problem, TableId, TablePlan};

use super::follow;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Lsn, Streaming};

/// Bytes of changes at once.
const BATCH: usize = 4 << 20;
/// How long is waited before the server is asked how far it is.
const ASK: Duration = Duration::from_millis(100);

/// What the log did to each of `tables` after `from` up to and including `to`.
pub(super) async fn touched(
    settings: &Settings,
    task: &TaskContext,
    plan: &[TablePlan],
    tables: &[TableId],
    (from, to): (&Position, &Position),
    kept: KeptFor,
) -> Result<Vec<Touched>, Problem> {
    if !task.kind.follows() {
        let why = "the task keeps no log at its source, so what changed meanwhile is not known";
        return Ok(tables.iter().map(|_| Touched::StartOver(why.to_owned())).collect());
    }
    let end = lsn(to)?;
    let mut gathering = Gathering::new(plan, tables);
    if lsn(from)? >= end || gathering.is_over() {
        return Ok(gathering.found());
    }
    let mut reader = follow::open(settings, task, plan, from, kept, (Streaming::Off, None)).await?;
    reader.heartbeat(Duration::ZERO).await?;
    loop {
        match timeout(ASK, reader.next(BATCH)).await {
            Ok(read) => {
                if gathering.take(&read?.batch, |at| Ok(lsn(at)?.cmp(&end)))? {
                    return Ok(gathering.found());
                }
            }
            Err(_) => reader.report(true).await?,
        }
    }
}

fn lsn(position: &Position) -> Result<Lsn, Problem> {
    let place = Place::from_position(position);
    place.map(|place| place.lsn).ok_or_else(|| Problem::internal("A position of another system was to be read from."))
}
