//! Which rows the log touched between two views of a load that was interrupted or goes on aside.
//!
//! A pass of its own over the log of the slot that keeps it for that load, which confirms nothing: the slot stands where it stood when it
//! ends. Transactions in progress aren't streamed, so that only committed ones come, each whole and in order.

use std::time::Duration;

use tokio::time::timeout;
use wavemark_connector::TaskContext;
use wavemark_connector::source::{ChangeReader, KeptFor, KeySet, Touched};
use wavemark_domain::{Batch, Change, ChangeKind, Position, Problem, TableId, TablePlan};

use super::follow;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Lsn, Streaming};

/// Above so many keys of one table its load is begun again: fetching by key would cost more.
const MOST_KEYS: usize = 3_000_000;
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
    let mut found: Vec<Touched> = tables.iter().map(|table| first(plan, *table)).collect();
    if !task.kind.follows() {
        let why = "the task keeps no log at its source, so what changed meanwhile is not known";
        return Ok(tables.iter().map(|_| Touched::StartOver(why.to_owned())).collect());
    }
    let end = lsn(to)?;
    if lsn(from)? >= end || found.iter().all(|touched| matches!(touched, Touched::StartOver(_))) {
        return Ok(found);
    }
    let mut reader = follow::open(settings, task, plan, from, kept, (Streaming::Off, None)).await?;
    reader.heartbeat(Duration::ZERO).await?;
    let mut gathering = Gathering { plan, tables, found: &mut found };
    loop {
        match timeout(ASK, reader.next(BATCH)).await {
            Ok(read) => {
                if gathering.take(&read?.batch, end)? {
                    return Ok(found);
                }
            }
            Err(_) => reader.report(true).await?,
        }
    }
}

fn first(plan: &[TablePlan], table: TableId) -> Touched {
    match plan.get(table.index()) {
        Some(table) if table.is_keyless() => Touched::StartOver(format!("table {} has no key", table.name())),
        _ => Touched::Keys(KeySet::default()),
    }
}

fn lsn(position: &Position) -> Result<Lsn, Problem> {
    let place = Place::from_position(position);
    place.map(|place| place.lsn).ok_or_else(|| Problem::internal("A position of another system was to be read from."))
}

struct Gathering<'a> {
    plan: &'a [TablePlan],
    tables: &'a [TableId],
    found: &'a mut [Touched],
}

impl Gathering<'_> {
    /// Gathers the keys of a batch; true when the end is reached. Keys of an open batch count although its
    /// transaction may end after `end`: a key too many is only fetched in vain.
    fn take(&mut self, batch: &Batch, end: Lsn) -> Result<bool, Problem> {
        let mut changes = batch.changes();
        let mut done = false;
        for mark in batch.transactions() {
            let at = lsn(&mark.end)?;
            if at >= end {
                let passed = if at > end { mark.changes_end_before(batch) } else { mark.changes_end };
                changes = &batch.changes()[..passed];
                done = true;
                break;
            }
        }
        for change in changes {
            self.change(batch, change);
        }
        Ok(done)
    }

    fn change(&mut self, batch: &Batch, change: &Change) {
        let Some(at) = self.tables.iter().position(|table| *table == change.table) else { return };
        let Some(table) = self.plan.get(change.table.index()) else { return };
        let Touched::Keys(keys) = &mut self.found[at] else { return };
        let why = match change.kind {
            ChangeKind::Truncate => "was truncated",
            ChangeKind::Barrier => "was changed",
            _ if keys.len() >= MOST_KEYS => "had too many rows changed",
            _ => {
                let width = table.columns.len();
                let rows = [batch.old(change, width), batch.new_row(change, width)];
                for row in rows.into_iter().flatten() {
                    keys.insert(table.key.iter().map(|cell| batch.value(row[*cell]).unwrap_or_default()));
                }
                return;
            }
        };
        let text = format!("table {} {why} after its load began", table.name());
        self.found[at] = Touched::StartOver(text);
    }
}

/// Where the transaction before a mark ends.
trait Before {
    fn changes_end_before(&self, batch: &Batch) -> usize;
}

impl Before for wavemark_domain::TransactionMark {
    fn changes_end_before(&self, batch: &Batch) -> usize {
        let marks = batch.transactions().iter().take_while(|mark| mark.end < self.end);
        marks.last().map_or(0, |mark| mark.changes_end)
    }
}
