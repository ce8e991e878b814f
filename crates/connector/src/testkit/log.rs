//! The simulated log: what was committed, and what transactions in progress have written so far.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::model::{Logged, Transaction};

/// One piece of the log, in the order in which a server sends them.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A transaction that is sent after its commit.
    Whole(Arc<Transaction>),
    /// A change of a transaction in progress, by its subtransaction.
    Part { transaction: u64, subtransaction: u64, change: Logged },
    /// A subtransaction was rolled back; the transaction as a whole if both numbers are the same.
    Abort { transaction: u64, subtransaction: u64 },
    /// A transaction whose parts were sent before is committed. What it holds in the end is here for who reads the
    /// log afterwards; a reader has to find it out from the parts.
    Commit { transaction: u64, committed: Arc<Transaction> },
}

impl Entry {
    /// Where the transaction ends whose commit this is.
    pub(super) fn end(&self) -> Option<u64> {
        match self {
            Self::Whole(committed) | Self::Commit { committed, .. } => Some(committed.end),
            Self::Part { .. } | Self::Abort { .. } => None,
        }
    }
}

/// The part of the log that is kept.
#[derive(Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the first entry since the beginning.
    first: u64,
    /// Transactions sent in parts that have ended: where, if they were committed.
    ended: BTreeMap<u64, Option<u64>>,
}

impl Log {
    pub(super) fn push(&mut self, entry: Entry) {
        match &entry {
            Entry::Commit { transaction, committed } => {
                self.ended.insert(*transaction, Some(committed.end));
            }
            Entry::Abort { transaction, subtransaction } if transaction == subtransaction => {
                self.ended.insert(*transaction, None);
            }
            _ => {}
        }
        self.entries.push_back(entry);
    }

    /// The number of the first entry that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// An entry by its number.
    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Drops what is at the beginning and needed by no transaction that ended after `up_to` or is in progress.
    pub(super) fn forget(&mut self, up_to: u64) {
        while self.entries.front().is_some_and(|entry| self.is_over(entry, up_to)) {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Drops all that was committed, as for a slot that is made now.
    pub(super) fn begin_anew(&mut self) {
        let ended = &self.ended;
        let before = self.entries.len() as u64;
        self.entries.retain(|entry| match entry {
            Entry::Whole(_) | Entry::Commit { .. } => false,
            Entry::Part { transaction, .. } | Entry::Abort { transaction, .. } => !ended.contains_key(transaction),
        });
        self.first += before - self.entries.len() as u64;
    }

    /// What was committed, in order.
    pub(super) fn committed(&self) -> impl Iterator<Item = &Arc<Transaction>> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Whole(committed) | Entry::Commit { committed, .. } => Some(committed),
            _ => None,
        })
    }

    fn is_over(&self, entry: &Entry, up_to: u64) -> bool {
        match entry {
            Entry::Whole(committed) | Entry::Commit { committed, .. } => committed.end <= up_to,
            Entry::Part { transaction, .. } | Entry::Abort { transaction, .. } => {
                self.ended.get(transaction).is_some_and(|end| end.is_none_or(|end| end <= up_to))
            }
        }
    }
}
