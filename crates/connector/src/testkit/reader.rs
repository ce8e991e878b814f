//! The simulated log's reader.
//!
//! Transactions in progress come in parts, mixed with others. They are kept by their numbers until they commit, and
//! what was rolled back meanwhile is left out then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use wavemark_domain::layout::ColumnPolicy;
use wavemark_domain::{Batch, Cell, ChangeKind, Fault, LayoutStep, Position, Problem, Relayout, TableId, TablePlan};

use super::log::Entry;
use super::model::{
    Logged, Row, SourceState, Transaction, What, is_proved, layout_of, place, position, table, time_of,
};
use super::source::SimulatedSource;
use super::view::push_row;
use super::{Mishap, Sabotage};
use crate::TaskContext;
use crate::source::{ChangeReader, InHand, Read, Replan, TABLE_DROPPED};

/// Changes of one transaction that go into one batch at most.
const PART: usize = 5;

/// Reads the simulated log after a position.
pub(super) struct Reader {
    source: SimulatedSource,
    /// Which opening of the log this is.
    reading: u64,
    tables: Vec<Followed>,
    from: u64,
    /// The number of the next entry.
    next: u64,
    /// Everything that ended up to here was returned.
    read: u64,
    /// What transactions in progress have sent.
    kept: BTreeMap<u64, Kept>,
    /// A transaction that was returned in part: itself and how many of its changes.
    part: Option<(Arc<Transaction>, usize)>,
    barriers: Vec<(TableId, Problem)>,
    layouts: Vec<Relayout>,
    replan: Arc<dyn Replan>,
    /// What is done about a new layout.
    policy: ColumnPolicy,
    /// Whether something came that the target has.
    resent: bool,
    bytes_read: u64,
}

struct Followed {
    keyless: bool,
    layout: u64,
    /// Whether a change of its layout was told: nothing of it follows.
    barred: bool,
}

#[derive(Default)]
struct Kept {
    /// Changes with their subtransactions.
    changes: Vec<(u64, Logged)>,
    aborted: BTreeSet<u64>,
}

impl Reader {
    /// The caller holds the state of `source`.
    pub(super) fn new(
        source: SimulatedSource,
        state: &SourceState,
        task: &TaskContext,
        (plan, replan): (&[TablePlan], Arc<dyn Replan>),
        from: u64,
    ) -> Self {
        let followed =
            |table: &TablePlan| Followed { keyless: table.is_keyless(), layout: layout_of(table), barred: false };
        Self {
            source,
            reading: state.readings,
            tables: plan.iter().map(followed).collect(),
            from,
            next: state.log.first(),
            read: from,
            kept: BTreeMap::new(),
            part: None,
            barriers: Vec::new(),
            layouts: Vec::new(),
            replan,
            policy: task.settings.added_columns,
            resent: false,
            bytes_read: 0,
        }
    }

    fn breaks(&self, sabotage: Sabotage) -> bool {
        self.source.sabotage == Some(sabotage)
    }

    /// The next transaction to return; what has to be kept or passed over on the way to it is.
    fn next_transaction(&mut self) -> Option<Arc<Transaction>> {
        loop {
            let entry = {
                let state = self.source.state();
                // What was let go since was confirmed, so it is not to be read.
                self.next = self.next.max(state.log.first());
                state.log.get(self.next).filter(|entry| entry.end().is_none_or(|end| state.is_sent(end))).cloned()?
            };
            self.next += 1;
            let ended = match entry {
                Entry::Whole(transaction) => transaction,
                Entry::Part { transaction, subtransaction, change } => {
                    self.kept.entry(transaction).or_default().changes.push((subtransaction, change));
                    continue;
                }
                Entry::Abort { transaction, subtransaction } => {
                    self.abort(transaction, subtransaction);
                    continue;
                }
                Entry::Commit { transaction, committed } => self.replay(transaction, &committed),
            };
            if !self.is_passed_over(&ended) {
                return Some(ended);
            }
            if !std::mem::replace(&mut self.resent, true) {
                self.source.state().chance.note(Mishap::Resend, None);
            }
        }
    }

    fn abort(&mut self, transaction: u64, subtransaction: u64) {
        if transaction == subtransaction {
            self.kept.remove(&transaction);
        } else if !self.breaks(Sabotage::AbortedSubtransactionKept)
            && let Some(kept) = self.kept.get_mut(&transaction)
        {
            kept.aborted.insert(subtransaction);
        }
    }

    /// What a transaction holds that was sent in parts.
    fn replay(&mut self, transaction: u64, committed: &Transaction) -> Arc<Transaction> {
        let kept = self.kept.remove(&transaction).unwrap_or_default();
        let changes = kept.changes.into_iter().filter(|(sub, _)| !kept.aborted.contains(sub)).map(|(_, change)| change);
        Arc::new(Transaction { commit: committed.commit, end: committed.end, changes: changes.collect() })
    }

    /// Whether the target has it: it ended at or before the position from which is read.
    fn is_passed_over(&self, transaction: &Transaction) -> bool {
        transaction.end <= self.from
            || (self.breaks(Sabotage::CommitPositionCompared) && transaction.commit <= self.from)
    }

    /// Puts what is at hand into a batch. None if nothing is.
    fn gather(&mut self) -> Option<Read> {
        let mut batch = Batch::default();
        let mut open = None;
        let mut wanted = 1 + self.source.state().chance.below(6);
        while wanted > 0 || batch.is_empty() {
            let (transaction, done) = match self.part.take() {
                Some(part) => part,
                None => match self.next_transaction() {
                    Some(transaction) => {
                        self.end_dropped(&mut batch, self.read);
                        (transaction, 0)
                    }
                    None => break,
                },
            };
            let mut until = transaction.changes.len().min(done + PART);
            for (at, change) in (done..until).zip(&transaction.changes[done..until]) {
                // What a batch holds of a table has one layout.
                if self.takes_up(change) && !self.take_up(&batch, change) {
                    until = at;
                    break;
                }
                self.push(&mut batch, change);
            }
            wanted = wanted.saturating_sub(1);
            if until == transaction.changes.len() {
                batch.end_transaction(position(transaction.end), time_of(transaction.end));
                self.read = transaction.end;
                continue;
            }
            if done == 0 {
                let tables: BTreeSet<usize> = transaction.changes.iter().map(|change| change.table).collect();
                for table in tables {
                    self.note(Mishap::TransactionInParts, table);
                }
            }
            if self.breaks(Sabotage::WaveCutInsideTransaction) {
                batch.end_transaction(position(transaction.end), time_of(transaction.end));
            } else if batch.is_open() {
                open = Some((position(transaction.commit + 1), time_of(transaction.end)));
            }
            self.part = Some((transaction, until));
            if !batch.is_empty() {
                break;
            }
        }
        (!batch.is_empty()).then(|| self.give(batch, open))
    }

    fn give(&mut self, batch: Batch, open: Option<(Position, i64)>) -> Read {
        self.bytes_read += batch.bytes() as u64;
        let mut state = self.source.state();
        if self.breaks(Sabotage::ConfirmBeforeCommit) {
            state.forget(self.read);
        }
        let ends = |number| state.log.get(number).map(|entry| entry.end().is_some_and(|end| state.is_sent(end)));
        let more = self.part.is_some() || (self.next..).map_while(ends).any(|ends| ends);
        Read {
            batch,
            open_committed_at: open.as_ref().map(|(_, time)| *time),
            open_end: open.map(|(end, _)| end),
            more,
            log_end: Some(position(state.end)),
            source_clock: Some(state.clock.max(time_of(state.end))),
            layouts: std::mem::take(&mut self.layouts),
            tables_came: false,
            barriers: std::mem::take(&mut self.barriers),
        }
    }

    /// With everything read: how far the log is, told as an empty transaction.
    fn progress(&mut self) -> Option<Read> {
        let end = {
            let state = self.source.state();
            state.withheld_after.map_or(state.end, |after| after.min(state.end))
        };
        if end <= self.read || !self.source.state().chance.hits(300) {
            return None;
        }
        self.read = end;
        let mut batch = Batch::default();
        self.end_dropped(&mut batch, end);
        batch.end_transaction(position(end), time_of(end));
        Some(self.give(batch, None))
    }

    /// Ends tables that are gone once everything up to where they were dropped is read.
    fn end_dropped(&mut self, batch: &mut Batch, read: u64) {
        let state = self.source.state();
        for (index, table) in self.tables.iter_mut().enumerate() {
            if !table.barred && state.heaps[index].gone.is_some_and(|gone| gone <= read) {
                table.barred = true;
                let id = TableId(u32::try_from(index).unwrap_or_default());
                batch.push_change(id, ChangeKind::Barrier, None, None);
                self.barriers.push((id, Problem::new(Fault::Data, TABLE_DROPPED, "simulated: the table was dropped")));
            }
        }
    }

    fn note(&self, mishap: Mishap, table: usize) {
        self.source.state().chance.note(mishap, Some(table));
    }

    /// Whether the change has a layout that its table does not have yet and may take up.
    fn takes_up(&self, change: &Logged) -> bool {
        let followed = self.tables.get(change.table).filter(|table| !table.barred);
        let is_next = |table: &Followed| change.layout > table.layout && is_proved(change.layout);
        self.policy == ColumnPolicy::Apply && followed.is_some_and(is_next) && !self.breaks(Sabotage::LayoutIgnored)
    }

    /// The table has the change's layout from here on; false if the batch has to be returned first.
    fn take_up(&mut self, batch: &Batch, change: &Logged) -> bool {
        if !batch.is_empty() {
            return false;
        }
        let id = TableId(u32::try_from(change.table).unwrap_or_default());
        let followed = &mut self.tables[change.table];
        let next = Arc::new(table(change.table, followed.keyless, change.layout));
        if let Ok(plan) = self.replan.plan(id, &next) {
            followed.layout = change.layout;
            let steps = vec![LayoutStep::Retype { column: "value".to_owned() }];
            // The newest stands for those before it.
            self.layouts.retain(|layout| layout.plan.id != id);
            self.layouts.push(Relayout { plan, steps });
        }
        true
    }

    fn push(&mut self, batch: &mut Batch, change: &Logged) {
        let id = TableId(u32::try_from(change.table).unwrap_or_default());
        let layout_ignored = self.breaks(Sabotage::LayoutIgnored);
        // A table that was made after the plan is none of it.
        let Some(table) = self.tables.get_mut(change.table).filter(|table| !table.barred) else { return };
        if change.layout != table.layout && !layout_ignored {
            table.barred = true;
            batch.push_change(id, ChangeKind::Barrier, None, None);
            let text = "simulated: the table was changed at the source";
            self.barriers.push((id, Problem::new(Fault::Data, "table-changed", text)));
            return;
        }
        let (keyless, layout) = (table.keyless, change.layout);
        match change.what {
            What::Insert(row) => {
                let new = whole(batch, row, layout);
                batch.push_change(id, ChangeKind::Insert, None, Some(new));
            }
            What::Delete(row) => {
                let old = if keyless { whole(batch, row, layout) } else { key(batch, row) };
                batch.push_change(id, ChangeKind::Delete, Some(old), None);
            }
            What::Update { old, new, large_left_out } => {
                let before = match (keyless, old.id == new.id) {
                    (true, _) => Some(whole(batch, old, layout)),
                    (false, true) => None,
                    (false, false) => Some(key(batch, old)),
                };
                let after = batch.begin_row();
                let sabotaged = self.breaks(Sabotage::UnchangedCellWritten) && large_left_out;
                let written = if sabotaged { Row { large: 0, ..new } } else { new };
                push_row(batch, written, layout, large_left_out && !sabotaged && !keyless);
                batch.push_change(id, ChangeKind::Update, before, Some(after));
            }
            What::Truncate => batch.push_change(id, ChangeKind::Truncate, None, None),
        }
    }
}

fn whole(batch: &mut Batch, row: Row, layout: u64) -> wavemark_domain::batch::RowStart {
    let start = batch.begin_row();
    push_row(batch, row, layout, false);
    start
}

fn key(batch: &mut Batch, row: Row) -> wavemark_domain::batch::RowStart {
    let start = batch.begin_row();
    batch.push_value(&row.id.to_be_bytes());
    batch.push_marker(Cell::NULL);
    batch.push_marker(Cell::NULL);
    start
}

#[async_trait]
impl ChangeReader for Reader {
    async fn next(&mut self, _most_bytes: usize) -> Result<Read, Problem> {
        loop {
            let written = Arc::clone(&self.source.written);
            let news = written.notified();
            let pause = self.source.state().chance.pause();
            tokio::time::sleep(pause).await;
            self.source.state().chance.lose_call("the log")?;
            if self.source.state().readings != self.reading {
                return Err(Problem::transient("log-interrupted", "simulated: another one reads the log now"));
            }
            if let Some(read) = self.gather() {
                return Ok(read);
            }
            if let Some(read) = self.progress() {
                return Ok(read);
            }
            news.await;
        }
    }

    async fn confirm(&mut self, position: &Position) -> Result<(), Problem> {
        let mut state = self.source.state();
        if state.readings == self.reading {
            state.forget(place(position));
        }
        Ok(())
    }

    async fn keep_alive(&mut self) -> Result<(), Problem> {
        Ok(())
    }

    async fn heartbeat(&mut self, _: std::time::Duration) -> Result<(), Problem> {
        Ok(())
    }

    fn in_hand(&self) -> InHand {
        let transactions = self.kept.len() as u64 + u64::from(self.part.is_some());
        InHand { transactions, bytes_read: self.bytes_read, ..InHand::default() }
    }
}
