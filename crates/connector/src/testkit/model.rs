//! The simulated source's tables and log, and the rows that both sides share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wavemark_domain::catalog::{Column, Table, TableKind};
use wavemark_domain::{Position, TableName};

use super::Chance;

/// A row: a key, a value, and a large value that updates may leave out of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The key, where the table has one.
    pub id: u64,
    /// A value.
    pub value: u64,
    /// A large value, left out of the log by updates that don't touch it.
    pub large: u64,
}

/// A value that the simulated target can't take.
pub const POISON: u64 = 0xdead;

/// One change in the simulated log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// A new row.
    Insert(Row),
    /// A changed row.
    Update {
        /// Before.
        old: Row,
        /// After.
        new: Row,
        /// Whether the log leaves the large value out.
        large_left_out: bool,
    },
    /// A row that went.
    Delete(Row),
    /// All rows went.
    Truncate,
}

/// One committed transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Where its commit record begins; may be exactly where the transaction before ended.
    pub commit: u64,
    /// Where it ends.
    pub end: u64,
    /// Table and change, in order.
    pub changes: Vec<(usize, Logged)>,
}

/// One simulated table: rows at places, as a heap has them.
#[derive(Clone, Debug)]
pub struct Heap {
    /// Whether rows have a key.
    pub keyless: bool,
    /// Rows by place; an update may move a row to another place.
    pub places: Vec<Option<Row>>,
    /// Changes when the table is truncated.
    pub storage: u64,
}

/// The rows of each table, sorted.
pub type Rows = Vec<Vec<Row>>;

/// The simulated source.
pub struct SourceState {
    /// The tables.
    pub heaps: Vec<Heap>,
    /// Transactions that are still kept.
    pub log: VecDeque<Arc<Transaction>>,
    /// Where the log ends.
    pub end: u64,
    /// The rows as of each position at which they were something.
    pub history: BTreeMap<u64, Arc<Rows>>,
    /// Up to where the source may forget, while something of ours makes it remember.
    pub slot: Option<u64>,
    /// The epoch that made it.
    pub slot_epoch: i64,
    /// The dice.
    pub chance: Chance,
    next_id: u64,
}

/// A position of the simulated log.
#[must_use]
pub fn position(at: u64) -> Position {
    Position::new(at.to_be_bytes().to_vec())
}

/// The place that a simulated position means.
#[must_use]
pub fn place(position: &Position) -> u64 {
    position.as_bytes().try_into().map_or(0, u64::from_be_bytes)
}

impl SourceState {
    /// A source with so many tables, the last of them without a key, each with some rows.
    #[must_use]
    pub fn new(tables: usize, rows: u64, chance: Chance) -> Self {
        let mut state = Self {
            heaps: (0..tables)
                .map(|table| Heap { keyless: table + 1 == tables, places: Vec::new(), storage: 0 })
                .collect(),
            log: VecDeque::new(),
            end: 100,
            history: BTreeMap::new(),
            slot: None,
            slot_epoch: 0,
            chance,
            next_id: 1,
        };
        for table in 0..tables {
            for _ in 0..state.chance.below(rows + 1) {
                let row = state.new_row();
                state.heaps[table].places.push(Some(row));
            }
        }
        state.remember();
        state
    }

    /// The tables as a catalog shows them.
    #[must_use]
    pub fn catalog(&self) -> Vec<Table> {
        let column = |name: &str| Column {
            name: name.to_owned(),
            declared: "int8".to_owned(),
            not_null: true,
            generated: false,
            native: serde_json::Value::Null,
        };
        self.heaps
            .iter()
            .enumerate()
            .map(|(index, heap)| Table {
                name: TableName::new("sim", format!("t{index}")),
                kind: TableKind::Table,
                columns: vec![column("id"), column("value"), column("large")],
                key: if heap.keyless { Vec::new() } else { vec!["id".to_owned()] },
                rows_estimated: None,
                bytes_estimated: None,
                native: serde_json::Value::Null,
            })
            .collect()
    }

    /// Commits one transaction of up to so many changes.
    pub fn write_transaction(&mut self, most: u64) {
        let wanted = 1 + self.chance.below(most);
        let mut changes = Vec::new();
        for _ in 0..wanted {
            let table = self.chance.index(self.heaps.len());
            changes.extend(self.change(table).map(|change| (table, change)));
        }
        let commit = self.end + self.chance.below(2) * self.chance.below(30);
        let end = commit + 1 + self.chance.below(40);
        self.end = end;
        self.log.push_back(Arc::new(Transaction { commit, end, changes }));
        self.remember();
    }

    /// The rows as of a position.
    #[must_use]
    pub fn rows_at(&self, at: u64) -> Arc<Rows> {
        self.history.range(..=at).next_back().map(|(_, rows)| Arc::clone(rows)).unwrap_or_default()
    }

    /// Lets go of transactions that ended up to here.
    pub fn forget(&mut self, up_to: u64) {
        if let Some(slot) = self.slot.as_mut() {
            *slot = (*slot).max(up_to);
            while self.log.front().is_some_and(|transaction| transaction.end <= up_to) {
                self.log.pop_front();
            }
        }
    }

    fn change(&mut self, table: usize) -> Option<Logged> {
        if self.chance.hits(4) {
            self.heaps[table].places.clear();
            self.heaps[table].storage += 1;
            return Some(Logged::Truncate);
        }
        match self.chance.below(10) {
            0..=3 => Some(self.insert(table)),
            4..=7 => self.update(table),
            _ => self.delete(table),
        }
    }

    fn insert(&mut self, table: usize) -> Logged {
        let row = self.new_row();
        let free = self.heaps[table].places.iter().position(Option::is_none);
        match free.filter(|_| self.chance.hits(500)) {
            Some(place) => self.heaps[table].places[place] = Some(row),
            None => self.heaps[table].places.push(Some(row)),
        }
        Logged::Insert(row)
    }

    fn update(&mut self, table: usize) -> Option<Logged> {
        let place = self.occupied(table)?;
        let old = self.heaps[table].places[place]?;
        let large_left_out = self.chance.hits(600);
        let mut new = Row { value: self.value(), ..old };
        if !large_left_out {
            new.large = self.chance.below(1_000_000);
        }
        if self.chance.hits(150) {
            new.id = self.next_id();
        }
        self.heaps[table].places[place] = Some(new);
        if self.chance.hits(300) {
            let moved = self.heaps[table].places[place].take();
            self.heaps[table].places.push(moved);
        }
        Some(Logged::Update { old, new, large_left_out })
    }

    fn delete(&mut self, table: usize) -> Option<Logged> {
        let place = self.occupied(table)?;
        self.heaps[table].places[place].take().map(Logged::Delete)
    }

    fn occupied(&mut self, table: usize) -> Option<usize> {
        let places = &self.heaps[table].places;
        let taken: Vec<usize> = (0..places.len()).filter(|place| places[*place].is_some()).collect();
        if taken.is_empty() {
            return None;
        }
        Some(taken[self.chance.index(taken.len())])
    }

    fn new_row(&mut self) -> Row {
        Row { id: self.next_id(), value: self.value(), large: self.chance.below(1_000_000) }
    }

    fn value(&mut self) -> u64 {
        if self.chance.poisons() { POISON } else { self.chance.below(50_000) }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn remember(&mut self) {
        let sorted = |heap: &Heap| {
            let mut rows: Vec<Row> = heap.places.iter().copied().flatten().collect();
            rows.sort_unstable();
            rows
        };
        let rows = Arc::new(self.heaps.iter().map(sorted).collect());
        self.history.insert(self.end, rows);
    }
}
