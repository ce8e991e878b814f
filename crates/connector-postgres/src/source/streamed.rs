//! Transactions that the source sends while they are in progress: kept until they commit, in memory and then on disk.
//!
//! Their chunks interleave, so each is kept by its top-level transaction, as the messages came. Every message carries
//! the number of the subtransaction that it belongs to; one that is rolled back is noted, and its messages are passed
//! over when the transaction is replayed. (The source reports each nested subtransaction by an abort of its own.)

use std::collections::{HashMap, HashSet};

use wavemark_connector::source::InHand;
use wavemark_connector::spill::{Spill, SpillFile, blocking};
use wavemark_domain::Problem;

/// A transaction's memory is written out in pieces of at least this size, unless memory is short.
const PIECE: usize = 1 << 20;

/// What is kept of one transaction.
#[derive(Default)]
struct Kept {
    /// Messages, each with its length in front.
    tail: Vec<u8>,
    spilled: Option<SpillFile>,
    aborted: HashSet<u32>,
}

/// All transactions in progress.
pub(super) struct Streamed {
    transactions: HashMap<u32, Kept>,
    memory: usize,
    /// Bytes in memory above which something is written out.
    budget: usize,
    spill: Spill,
}

/// A committed transaction on its way out.
pub(super) struct Replay {
    kept: Kept,
    piece: Vec<u8>,
    at: usize,
    /// Whether the memory's part has been reached.
    last: bool,
}

impl Streamed {
    pub(super) fn new(budget: usize, spill: Spill) -> Self {
        Self { transactions: HashMap::new(), memory: 0, budget, spill }
    }

    /// Keeps a message of a chunk of the transaction.
    pub(super) fn keep(&mut self, transaction: u32, message: &[u8]) -> Result<(), Problem> {
        let kept = self.transactions.entry(transaction).or_default();
        let length =
            u32::try_from(message.len()).map_err(|_| Problem::internal("A message of the log is too large."))?;
        kept.tail.extend_from_slice(&length.to_ne_bytes());
        kept.tail.extend_from_slice(message);
        self.memory += 4 + message.len();
        if self.memory > self.budget { self.write_out() } else { Ok(()) }
    }

    /// The transaction that holds the most memory gives it up.
    fn write_out(&mut self) -> Result<(), Problem> {
        let Some(kept) = self.transactions.values_mut().max_by_key(|kept| kept.tail.len()) else { return Ok(()) };
        if kept.spilled.is_none() {
            kept.spilled = Some(blocking(|| self.spill.create())?);
        }
        let Some(file) = &mut kept.spilled else { return Ok(()) };
        blocking(|| file.append(&kept.tail))?;
        self.memory -= kept.tail.len();
        kept.tail.clear();
        kept.tail.shrink_to(PIECE);
        Ok(())
    }

    /// A transaction, or one subtransaction of it, was rolled back.
    pub(super) fn abort(&mut self, transaction: u32, subtransaction: u32) {
        if transaction == subtransaction {
            drop(self.take(transaction));
        } else if let Some(kept) = self.transactions.get_mut(&transaction) {
            kept.aborted.insert(subtransaction);
        }
    }

    /// A transaction has committed: its messages, to be walked in order.
    pub(super) fn commit(&mut self, transaction: u32) -> Result<Replay, Problem> {
        let mut kept = self.take(transaction).unwrap_or_default();
        if let Some(file) = &mut kept.spilled {
            blocking(|| file.rewind())?;
        }
        Ok(Replay { kept, piece: Vec::new(), at: 0, last: false })
    }

    fn take(&mut self, transaction: u32) -> Option<Kept> {
        let kept = self.transactions.remove(&transaction)?;
        self.memory -= kept.tail.len();
        Some(kept)
    }

    /// What is held.
    pub(super) fn in_hand(&self) -> InHand {
        InHand {
            transactions: self.transactions.len() as u64,
            bytes: self.memory as u64,
            spilled_bytes: self.spill.used(),
            bytes_read: 0,
        }
    }
}

impl Replay {
    /// The next message and whether its subtransaction was rolled back; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], bool)>, Problem> {
        while self.at == self.piece.len() {
            if !self.next_piece()? {
                return Ok(None);
            }
        }
        let damaged = || Problem::internal("A kept transaction can't be read back.");
        let (length, rest) = self.piece[self.at..].split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_ne_bytes(*length) as usize;
        let message = rest.get(..length).ok_or_else(damaged)?;
        self.at += 4 + length;
        let aborted = !self.kept.aborted.is_empty()
            && subtransaction(message).is_some_and(|number| self.kept.aborted.contains(&number));
        Ok(Some((message, aborted)))
    }

    fn next_piece(&mut self) -> Result<bool, Problem> {
        self.at = 0;
        if self.last {
            self.piece.clear();
            return Ok(false);
        }
        if let Some(file) = &mut self.kept.spilled
            && blocking(|| file.next_frame(&mut self.piece))?
        {
            return Ok(true);
        }
        self.last = true;
        self.kept.spilled = None;
        self.piece = std::mem::take(&mut self.kept.tail);
        Ok(!self.piece.is_empty())
    }

    /// Whether a part of it was rolled back.
    pub(super) fn is_broken_up(&self) -> bool {
        !self.kept.aborted.is_empty()
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.piece.len() + self.kept.tail.len()
    }
}

/// The number behind a message's first byte.
fn subtransaction(message: &[u8]) -> Option<u32> {
    message.get(1..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subtransaction: u32, text: &str) -> Vec<u8> {
        [&b"I"[..], &subtransaction.to_be_bytes(), text.as_bytes()].concat()
    }

    fn replayed(streamed: &mut Streamed, transaction: u32) -> Vec<String> {
        let mut replay = streamed.commit(transaction).unwrap();
        let mut found = Vec::new();
        while let Some((message, aborted)) = replay.next().unwrap() {
            if !aborted {
                found.push(String::from_utf8(message[5..].to_vec()).unwrap());
            }
        }
        found
    }

    #[test]
    fn only_what_was_rolled_back_is_passed_over_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        for budget in [0, 40, 1 << 20] {
            let spill = Spill::new(folder.path(), 1 << 20);
            let mut streamed = Streamed::new(budget, spill.clone());
            streamed.keep(7, &message(7, "a")).unwrap();
            streamed.keep(9, &message(9, "other")).unwrap();
            streamed.keep(7, &message(8, "rolled back")).unwrap();
            streamed.keep(7, &message(10, "kept savepoint")).unwrap();
            streamed.abort(7, 8);
            streamed.keep(7, &message(7, "b")).unwrap();
            assert_eq!(streamed.in_hand().transactions, 2);
            assert_eq!(spill.used() > 0, budget < 100);
            assert_eq!(replayed(&mut streamed, 7), ["a", "kept savepoint", "b"]);
            streamed.abort(9, 9);
            assert_eq!(streamed.in_hand(), InHand::default());
        }
    }
}
