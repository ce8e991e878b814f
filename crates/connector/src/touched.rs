//! What a stretch of log touched, gathered from the batches of any reader.

use std::cmp::Ordering;

use wavemark_domain::{Batch, Change, ChangeKind, Position, Problem, TableId, TablePlan, TransactionMark};

use crate::source::{KeySet, Touched};

/// Above so many keys of one table its load is begun again: fetching by key would cost more.
const MOST_KEYS: usize = 3_000_000;

/// Gathers the keys that the log touched in some tables.
pub struct Gathering<'a> {
    plan: &'a [TablePlan],
    tables: &'a [TableId],
    found: Vec<Touched>,
}

impl<'a> Gathering<'a> {
    /// Nothing yet; tables without a key start over.
    #[must_use]
    pub fn new(plan: &'a [TablePlan], tables: &'a [TableId]) -> Self {
        Self { plan, tables, found: tables.iter().map(|table| first(plan, *table)).collect() }
    }

    /// Whether all tables start over, so that nothing more is to be known.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.found.iter().all(|touched| matches!(touched, Touched::StartOver(_)))
    }

    /// What was gathered.
    #[must_use]
    pub fn found(self) -> Vec<Touched> {
        self.found
    }

    /// Gathers the keys of a batch; true when the end is reached, to which `order` compares a transaction's. Keys of an
    /// open batch count although its transaction may end after that: a key too many is only fetched in vain.
    pub fn take(
        &mut self,
        batch: &Batch,
        order: impl Fn(&Position) -> Result<Ordering, Problem>,
    ) -> Result<bool, Problem> {
        let mut changes = batch.changes();
        let mut done = false;
        for mark in batch.transactions() {
            let at = order(&mark.end)?;
            if at.is_ge() {
                let passed = if at.is_gt() { begin_of(mark, batch) } else { mark.changes_end };
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

fn first(plan: &[TablePlan], table: TableId) -> Touched {
    match plan.get(table.index()) {
        Some(table) if table.is_keyless() => Touched::StartOver(format!("table {} has no key", table.name())),
        _ => Touched::Keys(KeySet::default()),
    }
}

/// Where the transaction before a mark ends.
fn begin_of(mark: &TransactionMark, batch: &Batch) -> usize {
    let marks = batch.transactions().iter().take_while(|other| other.end < mark.end);
    marks.last().map_or(0, |other| other.changes_end)
}
