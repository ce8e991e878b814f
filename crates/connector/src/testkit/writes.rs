//! What others do at the simulated source: transactions that are committed at once, and changes of tables.

use std::sync::Arc;

use wavemark_domain::ChangeKind;

use super::Mishap;
use super::log::Entry;
use super::model::{Logged, Row, SourceState, Transaction, What};

impl SourceState {
    /// Commits one transaction of up to so many changes.
    pub fn write_transaction(&mut self, most: u64) {
        let changes = self.some_changes(most);
        self.commit_whole(changes);
    }

    /// Commits one transaction of exactly these changes, each of some row. What has no row to work on is left out.
    pub fn write(&mut self, changes: &[(usize, ChangeKind)]) {
        let logged = changes.iter().filter_map(|(table, kind)| {
            let what = match kind {
                ChangeKind::Insert => Some(self.insert(*table)),
                ChangeKind::Update => self.update(*table),
                ChangeKind::Delete => self.delete(*table),
                ChangeKind::Truncate => return self.truncate_now(*table),
                ChangeKind::Barrier => None,
            };
            what.map(|what| Logged { table: *table, layout: self.heaps[*table].layout, what })
        });
        let logged = logged.collect();
        self.commit_whole(logged);
    }

    /// Changes a table's layout, by itself or in the middle of a transaction that writes it before and after. Storage
    /// may be new with it. It waits for transactions in progress that have written the table, as all of these do.
    pub fn alter(&mut self, table: usize) {
        self.commit_those_that_use(table);
        if self.is_in_use(table) {
            return;
        }
        if self.writes.hits(500) {
            self.alter_now(table);
            return;
        }
        let mut changes = self.some_changes(3);
        changes.extend(self.change(table));
        self.alter_now(table);
        changes.extend(self.change(table));
        changes.extend(self.some_changes(3));
        self.commit_whole(changes);
    }

    /// Truncates a table in a transaction of its own.
    pub fn truncate(&mut self, table: usize) {
        self.commit_those_that_use(table);
        if let Some(change) = self.truncate_now(table) {
            self.commit_whole(vec![change]);
        }
    }

    /// Drops the last table, in a transaction of its own. It waits for transactions in progress that have written it.
    pub fn drop_table(&mut self) {
        let table = self.heaps.len() - 1;
        if self.heaps[table].is_away() {
            return;
        }
        self.commit_those_that_use(table);
        self.commit_whole(Vec::new());
        self.heaps[table].gone = Some(self.end);
    }

    /// Gives a table new storage, as `VACUUM FULL` does: rows are at other places, and the log says nothing.
    pub fn rewrite(&mut self, table: usize) {
        self.commit_those_that_use(table);
        if self.is_in_use(table) {
            return;
        }
        self.writes.note(Mishap::Rewrite, Some(table));
        let heap = &mut self.heaps[table];
        heap.storage += 1;
        heap.places.retain(Option::is_some);
        if !heap.places.is_empty() {
            let by = self.writes.index(heap.places.len());
            heap.places.rotate_left(by);
        }
    }

    fn commit_whole(&mut self, changes: Vec<Logged>) {
        let (commit, end) = self.put_commit(changes.iter().map(|change| change.table).collect::<Vec<_>>().into_iter());
        self.log.push(Entry::Whole(Arc::new(Transaction { commit, end, changes })));
    }

    fn some_changes(&mut self, most: u64) -> Vec<Logged> {
        let mut changes = Vec::new();
        for _ in 0..=self.writes.below(most) {
            let table = self.writes.index(self.heaps.len());
            changes.extend(self.change(table));
        }
        changes
    }

    fn alter_now(&mut self, table: usize) {
        self.writes.note(Mishap::LayoutChange, Some(table));
        self.heaps[table].layout += 1;
        if self.writes.hits(500) {
            self.heaps[table].storage += 1;
        }
    }

    fn truncate_now(&mut self, table: usize) -> Option<Logged> {
        if self.is_in_use(table) {
            return None;
        }
        self.writes.note(Mishap::Truncate, Some(table));
        self.heaps[table].places.clear();
        self.heaps[table].storage += 1;
        Some(Logged { table, layout: self.heaps[table].layout, what: What::Truncate })
    }

    fn change(&mut self, table: usize) -> Option<Logged> {
        if self.is_locked(table) {
            return None;
        }
        if self.writes.hits(2) {
            return self.truncate_now(table);
        }
        let what = match self.writes.below(10) {
            0..=3 => Some(self.insert(table)),
            4..=7 => self.update(table),
            _ => self.delete(table),
        };
        what.map(|what| Logged { table, layout: self.heaps[table].layout, what })
    }

    fn insert(&mut self, table: usize) -> What {
        let row = self.new_row(table);
        self.put(table, row);
        What::Insert(row)
    }

    fn update(&mut self, table: usize) -> Option<What> {
        let place = self.occupied(table)?;
        let old = self.heaps[table].places[place]?;
        let update = self.changed(table, old);
        if let What::Update { new, .. } = update {
            self.replace(table, place, new);
        }
        Some(update)
    }

    fn delete(&mut self, table: usize) -> Option<What> {
        let place = self.occupied(table)?;
        self.heaps[table].places[place].take().map(What::Delete)
    }

    /// An update of a row: of its value, sometimes of the large one, sometimes of its key.
    pub(super) fn changed(&mut self, table: usize, old: Row) -> What {
        let large_left_out = self.writes.hits(600);
        let mut new = Row { value: self.value(table), ..old };
        if !large_left_out {
            new.large = self.writes.below(1_000_000);
        }
        if self.writes.hits(150) {
            new.id = self.next_id();
        }
        What::Update { old, new, large_left_out }
    }

    /// Puts a row at a free place or at the end.
    pub(super) fn put(&mut self, table: usize, row: Row) {
        let free = if self.writes.hits(500) { self.heaps[table].places.iter().position(Option::is_none) } else { None };
        match free {
            Some(place) => self.heaps[table].places[place] = Some(row),
            None => self.heaps[table].places.push(Some(row)),
        }
    }

    /// Replaces a row, sometimes at another place.
    pub(super) fn replace(&mut self, table: usize, place: usize, row: Row) {
        self.heaps[table].places[place] = Some(row);
        if self.writes.hits(300) {
            let moved = self.heaps[table].places[place].take();
            self.heaps[table].places.push(moved);
        }
    }

    /// The place of a row that no transaction in progress has written.
    fn occupied(&mut self, table: usize) -> Option<usize> {
        let len = self.heaps[table].places.len();
        if len == 0 {
            return None;
        }
        let start = self.writes.index(len);
        (start..len).chain(0..start).find(|place| {
            self.heaps[table].places[*place].is_some_and(|row| !self.open.iter().any(|open| open.has(table, row.id)))
        })
    }
}
