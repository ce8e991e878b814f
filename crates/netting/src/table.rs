//! The netting of one table: a hash table from a row's present key to what is pending for it.

use std::hash::{BuildHasher, Hasher};

use hashbrown::hash_table::Entry::{Occupied, Vacant};
use hashbrown::{DefaultHashBuilder, HashTable};
use wavemark_domain::{Batch, Cell, Change, ChangeKind, TableId};

use crate::{Layout, NetRow, NetTable, RowRef, UpdateGroup};

/// What is pending for one row.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The key that it had in the target before the run, or was inserted with; an index into the keys.
    first: u32,
    /// The key that it has now.
    current: u32,
    /// Whether the target holds it (under `first`).
    existed: bool,
    /// Whether it is there after the changes so far.
    live: bool,
    row: RowRef,
}

/// Where a row is pending. The hash of its key stands with it, so that a table which grows need not look the key up.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u64,
    entry: u32,
}

pub(crate) struct TableState<'l> {
    table: TableId,
    layout: Layout<'l>,
    hasher: DefaultHashBuilder,
    /// Present key → entry; also keys of rows that were deleted in the run and are in the target.
    places: HashTable<Place>,
    entries: Vec<Entry>,
    keys: Vec<Cell>,
    cells: Vec<Cell>,
    changes: Vec<u32>,
    ordered: bool,
}

impl<'l> TableState<'l> {
    /// With room for so many changes, each of a row of its own; but the hash table is the faster the smaller it is.
    pub(crate) fn new(table: TableId, layout: Layout<'l>, changes: usize) -> Self {
        Self {
            table,
            layout,
            hasher: DefaultHashBuilder::default(),
            places: HashTable::new(),
            entries: Vec::with_capacity(changes),
            keys: Vec::with_capacity(changes * layout.key.len()),
            cells: Vec::new(),
            changes: Vec::with_capacity(changes),
            ordered: false,
        }
    }

    pub(crate) fn push(&mut self, batch: &Batch, at: u32, change: &Change) {
        self.changes.push(at);
        if self.ordered {
            return;
        }
        let width = self.layout.columns;
        let done = match (change.kind, batch.old(change, width), batch.new_row(change, width)) {
            (ChangeKind::Insert, _, Some(new)) => self.insert(batch, at, new),
            (ChangeKind::Update, old, Some(new)) => self.update(batch, at, old, new),
            (ChangeKind::Delete, Some(old), _) => self.delete(batch, at, old),
            _ => None,
        };
        self.ordered = done.is_none();
    }

    /// `None` where the changes contradict each other, here and below.
    fn insert(&mut self, batch: &Batch, at: u32, new: &[Cell]) -> Option<()> {
        let key = self.push_key(new, None)?;
        let hash = self.hash(batch, key);
        let row = RowRef::Change(at);
        match self.find(batch, hash, key) {
            Some(there) if self.entries[there].live => None,
            // The target's own row under this very key went and comes back.
            Some(there) if self.same(batch, self.entries[there].first, key) => {
                self.keys.truncate(key as usize);
                let entry = &mut self.entries[there];
                entry.live = true;
                entry.row = row;
                Some(())
            }
            _ => {
                self.place(batch, hash, Entry { first: key, current: key, existed: false, live: true, row });
                Some(())
            }
        }
    }

    fn update(&mut self, batch: &Batch, at: u32, old: Option<&[Cell]>, new: &[Cell]) -> Option<()> {
        let before = self.push_key(old.unwrap_or(new), None)?;
        let hash = self.hash(batch, before);
        let there = match self.find(batch, hash, before) {
            Some(there) if !self.entries[there].live => return None,
            Some(there) => {
                let row = self.merge(batch, self.entries[there].row, at, new);
                self.entries[there].row = row;
                if old.is_none() {
                    self.keys.truncate(before as usize);
                }
                there
            }
            None => {
                let row = RowRef::Change(at);
                self.place(batch, hash, Entry { first: before, current: before, existed: true, live: true, row })
            }
        };
        if old.is_none() {
            return Some(());
        }
        let after = self.push_key(new, Some(before))?;
        if self.same(batch, before, after) {
            return Some(());
        }
        self.remove(batch, before);
        self.entries[there].current = after;
        let hash = self.hash(batch, after);
        match self.find(batch, hash, after) {
            Some(other) if self.entries[other].live => None,
            _ => {
                self.point(batch, hash, there);
                Some(())
            }
        }
    }

    fn delete(&mut self, batch: &Batch, at: u32, old: &[Cell]) -> Option<()> {
        let key = self.push_key(old, None)?;
        let hash = self.hash(batch, key);
        match self.find(batch, hash, key) {
            Some(there) if !self.entries[there].live => None,
            Some(there) => {
                self.keys.truncate(key as usize);
                self.entries[there].live = false;
                if !self.entries[there].existed {
                    self.remove(batch, self.entries[there].current);
                }
                Some(())
            }
            None => {
                let row = RowRef::Change(at);
                self.place(batch, hash, Entry { first: key, current: key, existed: true, live: false, row });
                Some(())
            }
        }
    }

    /// Copies a row's key cells; one that the log left out is taken from `base`. A key is never NULL.
    fn push_key(&mut self, row: &[Cell], base: Option<u32>) -> Option<u32> {
        let at = self.keys.len();
        for (place, &column) in self.layout.key.iter().enumerate() {
            let mut cell = row[column];
            if cell.is_unchanged() {
                cell = self.keys[base? as usize + place];
            }
            if cell.is_null() || cell.is_unchanged() {
                return None;
            }
            self.keys.push(cell);
        }
        Some(u32::try_from(at).expect("fewer keys than 2^32"))
    }

    fn entry(&self, place: &Place) -> &Entry {
        &self.entries[place.entry as usize]
    }

    fn key(&self, at: u32) -> &[Cell] {
        &self.keys[at as usize..at as usize + self.layout.key.len()]
    }

    fn same(&self, batch: &Batch, a: u32, b: u32) -> bool {
        self.key(a).iter().zip(self.key(b)).all(|(a, b)| batch.value(*a) == batch.value(*b))
    }

    fn hash(&self, batch: &Batch, key: u32) -> u64 {
        hash(&self.hasher, batch, self.key(key))
    }

    fn find(&self, batch: &Batch, hash: u64, key: u32) -> Option<usize> {
        self.places
            .find(hash, |place| self.same(batch, self.entry(place).current, key))
            .map(|place| place.entry as usize)
    }

    fn remove(&mut self, batch: &Batch, key: u32) {
        let hash = self.hash(batch, key);
        let (entries, keys, width) = (&self.entries, &self.keys, self.layout.key.len());
        let found = self.places.find_entry(hash, |place| {
            let current = entries[place.entry as usize].current as usize;
            let (a, b) = (&keys[current..current + width], &keys[key as usize..key as usize + width]);
            a.iter().zip(b).all(|(a, b)| batch.value(*a) == batch.value(*b))
        });
        if let Ok(found) = found {
            found.remove();
        }
    }

    /// Adds an entry under its present key, in place of a deleted one that had it.
    fn place(&mut self, batch: &Batch, hash: u64, entry: Entry) -> usize {
        self.entries.push(entry);
        let at = self.entries.len() - 1;
        self.point(batch, hash, at);
        at
    }

    fn point(&mut self, batch: &Batch, hash: u64, at: usize) {
        let (entries, keys, width) = (&self.entries, &self.keys, self.layout.key.len());
        let key_of = |entry: u32| {
            let current = entries[entry as usize].current as usize;
            &keys[current..current + width]
        };
        let at = u32::try_from(at).expect("fewer rows than 2^32");
        let key = key_of(at);
        let same = |place: &Place| key_of(place.entry).iter().zip(key).all(|(a, b)| batch.value(*a) == batch.value(*b));
        match self.places.entry(hash, same, |place| place.hash) {
            Occupied(mut there) => there.get_mut().entry = at,
            Vacant(free) => {
                free.insert(Place { hash, entry: at });
            }
        }
    }

    /// The later cells over the pending ones.
    fn merge(&mut self, batch: &Batch, pending: RowRef, at: u32, new: &[Cell]) -> RowRef {
        if !new.iter().any(|cell| cell.is_unchanged()) {
            return RowRef::Change(at);
        }
        let width = self.layout.columns;
        let start = self.cells.len();
        for (column, &cell) in new.iter().enumerate() {
            let cell = match pending {
                _ if !cell.is_unchanged() => cell,
                RowRef::Merged(row) => self.cells[row as usize + column],
                RowRef::Change(row) => {
                    batch.new_row(&batch.changes()[row as usize], width).map_or(cell, |row| row[column])
                }
            };
            self.cells.push(cell);
        }
        RowRef::Merged(u32::try_from(start).expect("fewer cells than 2^32"))
    }

    pub(crate) fn finish(mut self, batch: &Batch) -> NetTable {
        self.ordered = self.ordered || self.movers_collide(batch);
        let mut net = NetTable {
            table: self.table,
            changes: self.changes,
            ordered: self.ordered,
            deletes: Vec::new(),
            times: Vec::new(),
            updates: Vec::new(),
            inserts: Vec::new(),
            width: self.layout.columns,
            key_width: self.layout.key.len(),
            cells: self.cells,
            keys: self.keys,
        };
        if net.ordered {
            return net;
        }
        let mut present = Vec::with_capacity(self.layout.columns);
        for entry in &self.entries {
            let row = NetRow { key: entry.first, row: entry.row };
            match (entry.existed, entry.live) {
                (true, false) => net.deletes.push(row),
                (false, true) => net.inserts.push(row),
                (false, false) => {}
                (true, true) => {
                    let moved = entry.current != entry.first && !same_key(&net, batch, entry);
                    columns_to_set(net.cells(batch, row), self.layout.key, moved, &mut present);
                    add_update(&mut net.updates, &present, row);
                }
            }
        }
        let whole = |row: &NetRow| !net.cells(batch, *row).iter().any(|cell| cell.is_unchanged());
        if !net.inserts.iter().all(whole) {
            net.ordered = true;
            net.deletes.clear();
            net.updates.clear();
            net.inserts.clear();
        }
        net
    }

    /// Whether a moved row takes the place that another moved row leaves. In one UPDATE the one may come first.
    fn movers_collide(&self, batch: &Batch) -> bool {
        let movers: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.existed && entry.live && !self.same(batch, entry.first, entry.current))
            .collect();
        if movers.is_empty() {
            return false;
        }
        let mut left = HashTable::with_capacity(movers.len());
        for mover in &movers {
            left.insert_unique(self.hash(batch, mover.first), mover.first, |&key| self.hash(batch, key));
        }
        movers.iter().any(|mover| {
            left.find(self.hash(batch, mover.current), |&key| self.same(batch, key, mover.current)).is_some()
        })
    }
}

pub(crate) fn hash(hasher: &DefaultHashBuilder, batch: &Batch, key: &[Cell]) -> u64 {
    let mut hasher = hasher.build_hasher();
    for cell in key {
        let value = batch.value(*cell);
        hasher.write_usize(value.map_or(usize::MAX, <[u8]>::len));
        hasher.write(value.unwrap_or_default());
    }
    hasher.finish()
}

fn same_key(net: &NetTable, batch: &Batch, entry: &Entry) -> bool {
    let key = |at: u32| &net.keys[at as usize..at as usize + net.key_width];
    key(entry.first).iter().zip(key(entry.current)).all(|(a, b)| batch.value(*a) == batch.value(*b))
}

/// Which columns an update sets. One that has nothing to set sets its key to what it is, so that the target still
/// says whether the row is there.
fn columns_to_set(row: &[Cell], key: &[usize], moved: bool, present: &mut Vec<usize>) {
    present.clear();
    present.extend((0..row.len()).filter(|at| !row[*at].is_unchanged() && (moved || !key.contains(at))));
    if present.is_empty() {
        present.extend((0..row.len()).filter(|at| key.contains(at) && !row[*at].is_unchanged()));
    }
}

fn add_update(groups: &mut Vec<UpdateGroup>, present: &[usize], row: NetRow) {
    match groups.iter_mut().rev().find(|group| group.columns == present) {
        Some(group) => group.rows.push(row),
        None => groups.push(UpdateGroup { columns: present.to_vec(), rows: vec![row] }),
    }
}
