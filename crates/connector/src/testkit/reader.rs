//! The simulated log's reader.

use std::sync::Arc;

use async_trait::async_trait;
use wavemark_domain::{Batch, Cell, ChangeKind, Position, Problem, TableId};

use super::Sabotage;
use super::model::{Logged, Row, Transaction, place, position};
use super::source::{SimulatedSource, push_row};
use crate::source::{ChangeReader, InHand, Read};

/// Changes of one transaction that go into one batch at most.
const PART: usize = 5;

/// Reads the simulated log after a position.
pub(super) struct Reader {
    source: SimulatedSource,
    keyless: Vec<bool>,
    from: u64,
    /// Everything that ended up to here was returned.
    read: u64,
    /// A transaction that was returned in part: itself and how many of its changes.
    part: Option<(Arc<Transaction>, usize)>,
    bytes_read: u64,
}

impl Reader {
    pub(super) fn new(source: SimulatedSource, tables: usize, from: u64) -> Self {
        let keyless = source.state().heaps.iter().take(tables).map(|heap| heap.keyless).collect();
        Self { source, keyless, from, read: from, part: None, bytes_read: 0 }
    }

    /// The next transaction that is not returned yet.
    fn next_transaction(&self) -> Option<Arc<Transaction>> {
        let state = self.source.state();
        let compared = self.source.sabotage == Some(Sabotage::CommitPositionCompared);
        let first = self.read == self.from && compared;
        let after = |transaction: &&Arc<Transaction>| {
            transaction.end > self.read && !(first && transaction.commit <= self.from)
        };
        state.log.iter().find(after).cloned()
    }

    /// Puts what is at hand into a batch.
    fn gather(&mut self) -> Option<Read> {
        let mut batch = Batch::default();
        let mut open_end = None;
        let wanted = 1 + self.source.state().chance.below(6);
        for _ in 0..wanted {
            let (transaction, done) = match self.part.take() {
                Some(part) => part,
                None => match self.next_transaction() {
                    Some(transaction) => (transaction, 0),
                    None => break,
                },
            };
            let until = transaction.changes.len().min(done + PART);
            for (table, change) in &transaction.changes[done..until] {
                self.push(&mut batch, *table, change);
            }
            if until < transaction.changes.len() {
                if self.source.sabotage == Some(Sabotage::WaveCutInsideTransaction) {
                    batch.end_transaction(position(transaction.end), 0);
                } else {
                    open_end = Some(position(transaction.commit + 1));
                }
                self.part = Some((transaction, until));
                break;
            }
            batch.end_transaction(position(transaction.end), 0);
            self.read = transaction.end;
        }
        if batch.is_empty() {
            return None;
        }
        self.bytes_read += batch.bytes() as u64;
        let more = self.part.is_some() || self.next_transaction().is_some();
        let log_end = Some(position(self.source.state().end));
        if self.source.sabotage == Some(Sabotage::ConfirmBeforeCommit) {
            self.source.state().forget(self.read);
        }
        Some(Read { batch, open_end, more, log_end, source_clock: Some(0), barriers: Vec::new() })
    }

    fn push(&self, batch: &mut Batch, table: usize, change: &Logged) {
        let id = TableId(u32::try_from(table).unwrap_or_default());
        let keyless = self.keyless[table];
        match *change {
            Logged::Insert(row) => {
                let new = whole(batch, row);
                batch.push_change(id, ChangeKind::Insert, None, Some(new));
            }
            Logged::Delete(row) => {
                let old = if keyless { whole(batch, row) } else { key(batch, row) };
                batch.push_change(id, ChangeKind::Delete, Some(old), None);
            }
            Logged::Update { old, new, large_left_out } => {
                let before = match (keyless, old.id == new.id) {
                    (true, _) => Some(whole(batch, old)),
                    (false, true) => None,
                    (false, false) => Some(key(batch, old)),
                };
                let after = batch.begin_row();
                let sabotaged = self.source.sabotage == Some(Sabotage::UnchangedCellWritten) && large_left_out;
                let written = if sabotaged { Row { large: 0, ..new } } else { new };
                push_row(batch, written, large_left_out && !sabotaged && !keyless);
                batch.push_change(id, ChangeKind::Update, before, Some(after));
            }
            Logged::Truncate => batch.push_change(id, ChangeKind::Truncate, None, None),
        }
    }
}

fn whole(batch: &mut Batch, row: Row) -> wavemark_domain::batch::RowStart {
    let start = batch.begin_row();
    push_row(batch, row, false);
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
            if let Some(read) = self.gather() {
                return Ok(read);
            }
            news.await;
        }
    }

    async fn confirm(&mut self, position: &Position) -> Result<(), Problem> {
        self.source.state().forget(place(position));
        Ok(())
    }

    async fn keep_alive(&mut self) -> Result<(), Problem> {
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<(), Problem> {
        Ok(())
    }

    fn in_hand(&self) -> InHand {
        InHand { transactions: u64::from(self.part.is_some()), bytes_read: self.bytes_read, ..InHand::default() }
    }
}
