//! Transactions at the simulated source whose changes are sent while they are in progress, with subtransactions that
//! are released or rolled back.
//!
//! Such a transaction sees its own rows. Others leave them alone until it ends, as row locks make them; a table that
//! it truncated or altered is its own altogether.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Mishap;
use super::log::Entry;
use super::model::{Logged, Row, SourceState, Transaction, What};

/// How many there are at once at most.
const MOST: usize = 2;

/// One transaction in progress.
pub(super) struct OpenTransaction {
    number: u64,
    /// Subtransactions that go on, the innermost last.
    running: Vec<Subtransaction>,
    view: Own,
    /// What was written and not rolled back.
    written: Vec<Logged>,
}

/// What a transaction in progress has made of the tables.
#[derive(Clone, Default)]
struct Own {
    /// Rows that it wrote by table and key; none for those that it removed.
    rows: BTreeMap<(usize, u64), Option<Row>>,
    /// Tables that nobody else may write.
    locked: BTreeSet<usize>,
    /// Layouts of the tables that it altered.
    layouts: BTreeMap<usize, u64>,
}

struct Subtransaction {
    number: u64,
    /// Subtransactions in it that were released: rolled back with it.
    released: Vec<u64>,
    before: Own,
    written_before: usize,
}

impl OpenTransaction {
    /// Whether it has written this row.
    pub(super) fn has(&self, table: usize, id: u64) -> bool {
        self.view.rows.contains_key(&(table, id))
    }

    fn uses(&self, table: usize) -> bool {
        self.view.locked.contains(&table) || self.view.rows.range((table, 0)..(table + 1, 0)).next().is_some()
    }
}

impl SourceState {
    /// A table that nobody else may write for now.
    pub(super) fn is_locked(&self, table: usize) -> bool {
        self.heaps[table].is_away() || self.open.iter().any(|open| open.view.locked.contains(&table))
    }

    /// A table that can't be locked for now.
    pub(super) fn is_in_use(&self, table: usize) -> bool {
        self.heaps[table].is_away() || self.open.iter().any(|open| open.uses(table))
    }

    /// One step of the transactions in progress: one begins, writes, sets a savepoint, goes back to one, releases one
    /// or ends.
    pub fn step_in_progress(&mut self) {
        if self.open.is_empty() || (self.open.len() < MOST && self.writes.hits(150)) {
            let number = self.next_id();
            self.open.push(OpenTransaction { number, running: Vec::new(), view: Own::default(), written: Vec::new() });
        }
        let at = self.writes.index(self.open.len());
        match self.writes.below(100) {
            0..=54 => {
                for _ in 0..=self.writes.below(3) {
                    self.write_in_progress(at);
                }
            }
            55..=70 => self.set_savepoint(at),
            71..=83 => self.roll_back_to_savepoint(at),
            84..=88 => self.release_savepoint(at),
            89..=96 => self.commit_in_progress(at),
            _ => self.abort_in_progress(at),
        }
    }

    /// Commits every transaction in progress.
    pub fn commit_all_in_progress(&mut self) {
        while !self.open.is_empty() {
            self.commit_in_progress(0);
        }
    }

    /// Commits those that have written a table.
    pub(super) fn commit_those_that_use(&mut self, table: usize) {
        while let Some(at) = self.open.iter().position(|open| open.uses(table)) {
            self.commit_in_progress(at);
        }
    }

    fn write_in_progress(&mut self, at: usize) {
        let table = self.writes.index(self.heaps.len());
        if self.heaps[table].is_away()
            || (0..self.open.len()).any(|other| other != at && self.open[other].view.locked.contains(&table))
        {
            return;
        }
        let alone = (0..self.open.len()).all(|other| other == at || !self.open[other].uses(table));
        if self.alters && alone && self.writes.hits(10) {
            self.alter_in_progress(at, table);
        }
        let what = match self.writes.below(100) {
            0 if alone => Some(self.truncate_in_progress(at, table)),
            0..=39 => {
                let row = self.new_row(table);
                self.open[at].view.rows.insert((table, row.id), Some(row));
                Some(What::Insert(row))
            }
            40..=79 => self.update_in_progress(at, table),
            _ => self.delete_in_progress(at, table),
        };
        let Some(what) = what else { return };
        let open = &mut self.open[at];
        let layout = open.view.layouts.get(&table).copied().unwrap_or(self.heaps[table].layout);
        let change = Logged { table, layout, what };
        open.written.push(change);
        let (transaction, subtransaction) = (open.number, open.running.last().map_or(open.number, |sub| sub.number));
        self.end += 1 + self.writes.below(10);
        self.log.push(Entry::Part { transaction, subtransaction, change });
    }

    fn alter_in_progress(&mut self, at: usize, table: usize) {
        let layout = self.heaps[table].layout + 1;
        let view = &mut self.open[at].view;
        view.layouts.insert(table, layout);
        view.locked.insert(table);
    }

    fn truncate_in_progress(&mut self, at: usize, table: usize) -> What {
        let view = &mut self.open[at].view;
        view.locked.insert(table);
        let here = self.heaps[table].places.iter().flatten().map(|row| row.id);
        let own = view.rows.range((table, 0)..(table + 1, 0)).map(|((_, id), _)| *id);
        let all: Vec<u64> = here.chain(own).collect();
        view.rows.extend(all.into_iter().map(|id| ((table, id), None)));
        What::Truncate
    }

    fn update_in_progress(&mut self, at: usize, table: usize) -> Option<What> {
        let old = self.visible(at, table)?;
        let update = self.changed(table, old);
        if let What::Update { new, .. } = update {
            let rows = &mut self.open[at].view.rows;
            rows.insert((table, old.id), None);
            rows.insert((table, new.id), Some(new));
        }
        Some(update)
    }

    fn delete_in_progress(&mut self, at: usize, table: usize) -> Option<What> {
        let row = self.visible(at, table)?;
        self.open[at].view.rows.insert((table, row.id), None);
        Some(What::Delete(row))
    }

    /// A row that the transaction sees and that no other one has written.
    fn visible(&mut self, at: usize, table: usize) -> Option<Row> {
        let free = |row: &&Row| !self.open.iter().any(|open| open.has(table, row.id));
        let mut rows: Vec<Row> = self.heaps[table].places.iter().flatten().filter(free).copied().collect();
        rows.extend(self.open[at].view.rows.range((table, 0)..(table + 1, 0)).filter_map(|(_, row)| *row));
        if rows.is_empty() { None } else { Some(rows[self.writes.index(rows.len())]) }
    }

    fn set_savepoint(&mut self, at: usize) {
        let number = self.next_id();
        let open = &mut self.open[at];
        let (before, written_before) = (open.view.clone(), open.written.len());
        open.running.push(Subtransaction { number, released: Vec::new(), before, written_before });
    }

    fn release_savepoint(&mut self, at: usize) {
        let running = &mut self.open[at].running;
        if let Some(released) = running.pop()
            && let Some(outer) = running.last_mut()
        {
            outer.released.extend(released.released);
            outer.released.push(released.number);
        }
    }

    /// Goes back to one of the savepoints: all that are inside it are rolled back too, each told by itself.
    fn roll_back_to_savepoint(&mut self, at: usize) {
        let depth = self.open[at].running.len();
        if depth == 0 {
            return;
        }
        for _ in 0..=self.writes.index(depth) {
            let open = &mut self.open[at];
            let Some(sub) = open.running.pop() else { return };
            for change in open.written.drain(sub.written_before..) {
                self.writes.note(Mishap::AbortedSubtransaction, Some(change.table));
            }
            open.view = sub.before;
            let transaction = open.number;
            for subtransaction in sub.released.into_iter().chain([sub.number]) {
                self.log.push(Entry::Abort { transaction, subtransaction });
            }
        }
    }

    fn abort_in_progress(&mut self, at: usize) {
        let open = self.open.swap_remove(at);
        self.log.push(Entry::Abort { transaction: open.number, subtransaction: open.number });
    }

    fn commit_in_progress(&mut self, at: usize) {
        let open = self.open.swap_remove(at);
        for (table, layout) in open.view.layouts {
            self.writes.note(Mishap::LayoutChange, Some(table));
            self.heaps[table].layout = layout;
        }
        for change in &open.written {
            self.carry_out(change);
        }
        let tables: BTreeSet<usize> = open.written.iter().map(|change| change.table).collect();
        let (commit, end) = self.put_commit(tables.into_iter());
        let committed = Arc::new(Transaction { commit, end, changes: open.written });
        self.log.push(Entry::Commit { transaction: open.number, committed });
    }

    fn carry_out(&mut self, change: &Logged) {
        let table = change.table;
        let of = |state: &Self, row: Row| state.heaps[table].places.iter().position(|found| *found == Some(row));
        match change.what {
            What::Insert(row) => self.put(table, row),
            What::Update { old, new, .. } => {
                let place = of(self, old).expect("nobody else writes a row of a transaction in progress");
                self.replace(table, place, new);
            }
            What::Delete(row) => {
                let place = of(self, row).expect("nobody else writes a row of a transaction in progress");
                self.heaps[table].places[place] = None;
            }
            What::Truncate => {
                self.writes.note(Mishap::Truncate, Some(table));
                self.heaps[table].places.clear();
                self.heaps[table].storage += 1;
            }
        }
    }
}
