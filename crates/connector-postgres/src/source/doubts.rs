//! Tables that the catalog has otherwise than they are known, where the source tells of alterations: the catalog may be ahead
//! of the log, which says at its place what became of them.

use wavemark_domain::{Problem, TableId};

use crate::wire::Lsn;

/// A table that ends if nothing comes in between.
pub(super) struct Doubt {
    /// Once the log is read up to here, all was read that the catalog shows.
    pub(super) from: Lsn,
    pub(super) table: TableId,
    /// Why the table ends there.
    pub(super) problem: Problem,
    /// Whether it does not if the log tells before what became of its columns.
    pub(super) unless_told: bool,
}

/// One for each table and kind: that of the first look.
#[derive(Default)]
pub(super) struct Doubts(Vec<Doubt>);

impl Doubts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, doubt: Doubt) {
        let is_known = |known: &Doubt| known.table == doubt.table && known.unless_told == doubt.unless_told;
        if !self.0.iter().any(is_known) {
            self.0.push(doubt);
        }
    }

    /// The next whose place is read.
    pub(super) fn due(&mut self, read_to: Lsn) -> Option<Doubt> {
        let at = self.0.iter().position(|doubt| doubt.from <= read_to)?;
        Some(self.0.swap_remove(at))
    }

    /// The source told what became of a table's columns.
    pub(super) fn told(&mut self, table: TableId) {
        self.0.retain(|doubt| doubt.table != table || !doubt.unless_told);
    }
}
