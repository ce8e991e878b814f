//! The netting of one table without a key: its rows are a multiset, so that a run leaves a count per distinct row.
//!
//! An insert adds a row, a delete takes one equal row, an update takes the old one and adds the new one. Rows are equal if
//! all their cells are, byte for byte. What is below zero in the end must be there in the target; what came and went
//! within the run never gets there.

use hashbrown::{DefaultHashBuilder, HashTable};
use wavemark_domain::{Batch, Cell, Change, ChangeKind, TableId};

use crate::table::hash;
use crate::{NetRow, NetTable, RowRef};

/// A distinct row and how many of it the run adds, or takes if negative.
struct Counted {
    /// Its first cell in the cells.
    row: u32,
    count: i64,
}

pub(crate) struct KeylessState {
    table: TableId,
    columns: usize,
    hasher: DefaultHashBuilder,
    places: HashTable<u32>,
    counted: Vec<Counted>,
    cells: Vec<Cell>,
    changes: Vec<u32>,
    ordered: bool,
}

impl KeylessState {
    pub(crate) fn new(table: TableId, columns: usize) -> Self {
        Self {
            table,
            columns,
            hasher: DefaultHashBuilder::default(),
            places: HashTable::new(),
            counted: Vec::new(),
            cells: Vec::new(),
            changes: Vec::new(),
            ordered: false,
        }
    }

    pub(crate) fn push(&mut self, batch: &Batch, at: u32, change: &Change) {
        self.changes.push(at);
        if self.ordered {
            return;
        }
        let done = match (change.kind, batch.old(change, self.columns), batch.new_row(change, self.columns)) {
            (ChangeKind::Insert, _, Some(new)) => self.count(batch, new, 1),
            (ChangeKind::Delete, Some(old), _) => self.count(batch, old, -1),
            (ChangeKind::Update, Some(old), Some(new)) => {
                self.count(batch, old, -1).and_then(|()| self.count(batch, new, 1))
            }
            _ => None,
        };
        self.ordered = done.is_none();
    }

    /// `None` for a row that isn't whole: what it is depends on the row that it changes.
    fn count(&mut self, batch: &Batch, row: &[Cell], by: i64) -> Option<()> {
        if row.iter().any(|cell| cell.is_unchanged()) {
            return None;
        }
        let hash_of = hash(&self.hasher, batch, row);
        let (hasher, counted, cells, width) = (&self.hasher, &self.counted, &self.cells, self.columns);
        let there = |at: u32| &cells[counted[at as usize].row as usize..counted[at as usize].row as usize + width];
        let same = |at: u32| there(at).iter().zip(row).all(|(a, b)| batch.value(*a) == batch.value(*b));
        if let Some(&at) = self.places.find(hash_of, |at| same(*at)) {
            self.counted[at as usize].count += by;
            return Some(());
        }
        let at = u32::try_from(counted.len()).expect("fewer rows than 2^32");
        self.places.insert_unique(hash_of, at, |at| hash(hasher, batch, there(*at)));
        let start = u32::try_from(self.cells.len()).expect("fewer cells than 2^32");
        self.cells.extend_from_slice(row);
        self.counted.push(Counted { row: start, count: by });
        Some(())
    }

    pub(crate) fn finish(self) -> NetTable {
        let mut net = NetTable {
            table: self.table,
            changes: self.changes,
            ordered: self.ordered,
            deletes: Vec::new(),
            times: Vec::new(),
            updates: Vec::new(),
            inserts: Vec::new(),
            width: self.columns,
            key_width: 0,
            cells: self.cells,
            keys: Vec::new(),
        };
        if net.ordered {
            return net;
        }
        for Counted { row, count } in self.counted {
            let row = NetRow { key: 0, row: RowRef::Merged(row) };
            let times = usize::try_from(count.unsigned_abs()).expect("a run has fewer changes than usize counts");
            // What came as often as it went is inserted no time.
            if count < 0 {
                net.deletes.push(row);
                net.times.push(times);
            } else {
                net.inserts.extend(std::iter::repeat_n(row, times));
            }
        }
        net
    }
}
