//! The simulated source's tables, and the rows that both sides share.

use std::collections::BTreeMap;
use std::sync::Arc;

use wavemark_domain::catalog::{Column, Table, TableKind};
use wavemark_domain::{Position, TableName, TablePlan};

use super::log::Log;
use super::open::OpenTransaction;
use super::{Chance, Mishap};

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

/// A value that it refuses at the commit, as deferred constraints do, unless rows are checked one by one.
pub const LATE_POISON: u64 = 0xfeed;

/// Whether the simulated target refuses the value, now or later.
#[must_use]
pub const fn is_poison(value: u64) -> bool {
    matches!(value, POISON | LATE_POISON)
}

/// One change in the simulated log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The table.
    pub table: usize,
    /// The layout of the table then: a reader with another one reads other values.
    pub layout: u64,
    /// What happened.
    pub what: What,
}

/// What happened to a row or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
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
    /// Its changes in order, less what was rolled back.
    pub changes: Vec<Logged>,
}

/// One simulated table: rows at places, as a heap has them.
#[derive(Clone, Debug, Default)]
pub struct Heap {
    /// Whether rows have a key.
    pub keyless: bool,
    /// Rows by place; an update may move a row to another place.
    pub places: Vec<Option<Row>>,
    /// Changes when the table is truncated or rewritten.
    pub storage: u64,
    /// Changes when the table is altered.
    pub layout: u64,
    /// Whether a value was written that the target can't take.
    pub poisoned: bool,
    /// Whether it is made later: nobody sees it yet.
    pub unmade: bool,
    /// Where it was dropped; its last rows stay here, to compare.
    pub gone: Option<u64>,
    /// Changes when its description does and the layout of its rows does not, as when an enum gets a label.
    pub labels: u64,
}

impl Heap {
    /// Whether there is no such table, not yet or not any more.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        self.unmade || self.gone.is_some()
    }

    fn described(&self, table: Table) -> Table {
        if self.labels == 0 { table } else { Table { native: self.labels.into(), ..table } }
    }
}

/// The rows of each table, sorted.
pub type Rows = Vec<Arc<Vec<Row>>>;

/// The simulated source.
pub struct SourceState {
    /// The tables.
    pub heaps: Vec<Heap>,
    /// Where the log ends.
    pub end: u64,
    /// Up to where the source may forget, while something of ours makes it remember.
    pub slot: Option<u64>,
    /// From where the log is kept for tables that are loaded aside, and the epoch that asked for it.
    pub(super) aside: Option<(u64, i64)>,
    /// Its readers get nothing yet that ended after this place: a server that is slow to decode its log.
    pub withheld_after: Option<u64>,
    /// Its clock (microseconds since 1970), if that is beyond the end of the log: each transaction is committed at the
    /// time that is its end.
    pub clock: i64,
    /// How much log it says that it keeps.
    pub kept: Option<u64>,
    /// How much of it it says that it would keep.
    pub limit: Option<u64>,
    /// How often its catalog was read.
    pub looks: u64,
    /// The dice of its calls.
    pub chance: Chance,
    /// The dice of what is written.
    pub writes: Chance,
    /// Whether transactions in progress change the layouts of tables too.
    pub alters: bool,
    /// The epoch that made the slot.
    pub(super) slot_epoch: i64,
    /// What the slot keeps.
    pub(super) log: Log,
    /// How often the log was opened: only the newest reader goes on, since one slot has one connection.
    pub(super) readings: u64,
    /// Transactions in progress whose changes are in the log already.
    pub(super) open: Vec<OpenTransaction>,
    /// The rows as of each commit.
    history: BTreeMap<u64, Rows>,
    /// Where the commit record of each transaction begins, by its end.
    commits: BTreeMap<u64, u64>,
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

/// When a transaction that ends there was committed.
#[must_use]
pub(super) fn time_of(end: u64) -> i64 {
    i64::try_from(end).unwrap_or(i64::MAX)
}

/// A table as a catalog shows it.
pub(super) fn table(index: usize, keyless: bool, layout: u64) -> Table {
    let column = |name: &str| Column {
        name: name.to_owned(),
        declared: "int8".to_owned(),
        not_null: true,
        generated: false,
        native: layout.into(),
    };
    Table {
        name: TableName::new("sim", format!("t{index}")),
        kind: TableKind::Table,
        columns: vec![column("id"), column("value"), column("large")],
        key: if keyless { Vec::new() } else { vec!["id".to_owned()] },
        rows_estimated: None,
        bytes_estimated: None,
        native: serde_json::Value::Null,
    }
}

/// Whether a change to this layout can be proved: not to every fifth.
#[must_use]
pub(super) const fn is_proved(layout: u64) -> bool {
    layout % 5 != 4
}

/// The layout that a plan was made with.
#[must_use]
pub(super) fn layout_of(plan: &TablePlan) -> u64 {
    plan.source.columns.first().and_then(|column| column.native.as_u64()).unwrap_or_default()
}

/// A value as it travels: it means something else to whoever reads it with another layout.
#[must_use]
pub(super) fn in_layout(value: u64, layout: u64) -> u64 {
    value ^ (layout << 48)
}

impl SourceState {
    /// A source with so many tables, the last of them without a key, each with some rows.
    #[must_use]
    pub fn new(tables: usize, rows: u64, mut chance: Chance) -> Self {
        let heap = |table| Heap { keyless: table + 1 == tables, ..Heap::default() };
        let writes = chance.split();
        let mut state = Self {
            heaps: (0..tables).map(heap).collect(),
            end: 100,
            slot: None,
            aside: None,
            withheld_after: None,
            clock: 0,
            kept: None,
            limit: None,
            looks: 0,
            chance,
            writes,
            alters: false,
            slot_epoch: 0,
            log: Log::default(),
            readings: 0,
            open: Vec::new(),
            history: BTreeMap::new(),
            commits: BTreeMap::new(),
            next_id: 1,
        };
        for table in 0..tables {
            for _ in 0..state.writes.below(rows + 1) {
                let row = state.new_row(table);
                state.heaps[table].places.push(Some(row));
            }
        }
        state.history.insert(state.end, vec![Arc::default(); tables]);
        state.remember(0..tables);
        state
    }

    /// Leaves room for one more table, which has a key and is made when it is first asked for.
    #[must_use]
    pub fn and_one_later(mut self) -> Self {
        self.heaps.push(Heap { unmade: true, ..Heap::default() });
        self.history.values_mut().for_each(|rows| rows.push(Arc::default()));
        self
    }

    /// Makes the table that was left for later.
    pub fn make_table(&mut self) {
        if let Some(heap) = self.heaps.last_mut() {
            heap.unmade = false;
        }
    }

    /// The tables as a catalog shows them.
    #[must_use]
    pub fn catalog(&self) -> Vec<Table> {
        let made = self.heaps.iter().enumerate().filter(|(_, heap)| !heap.is_away());
        made.map(|(index, heap)| heap.described(table(index, heap.keyless, heap.layout))).collect()
    }

    /// How often the log was opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.readings
    }

    /// The rows as of a position.
    #[must_use]
    pub fn rows_at(&self, at: u64) -> Rows {
        self.history.range(..=at).next_back().map(|(_, rows)| rows.clone()).unwrap_or_default()
    }

    /// Whether a position lies between the commit record of a transaction and its end, or before the log.
    #[must_use]
    pub fn is_inside_transaction(&self, at: u64) -> bool {
        let next = self.commits.range(at + 1..).next();
        next.is_some_and(|(_, commit)| *commit < at) || at > self.end
    }

    /// Lets go of what only transactions need that ended up to here.
    pub fn forget(&mut self, up_to: u64) {
        if let Some(slot) = self.slot.as_mut() {
            *slot = (*slot).max(up_to);
            self.log.forget(self.aside.map_or(up_to, |(from, _)| from.min(up_to)));
        }
    }

    /// Whether readers get yet what ended there.
    pub(super) fn is_sent(&self, end: u64) -> bool {
        self.withheld_after.is_none_or(|after| end <= after)
    }

    /// Ends a transaction that wrote these tables: gives the place of its commit record and its end.
    pub(super) fn put_commit(&mut self, tables: impl Iterator<Item = usize>) -> (u64, u64) {
        let commit = self.end + self.writes.below(2) * self.writes.below(30);
        let end = commit + 1 + self.writes.below(40);
        self.end = end;
        self.commits.insert(end, commit);
        self.remember(tables);
        (commit, end)
    }

    pub(super) fn new_row(&mut self, table: usize) -> Row {
        Row { id: self.next_id(), value: self.value(table), large: self.writes.below(1_000_000) }
    }

    pub(super) fn value(&mut self, table: usize) -> u64 {
        if self.writes.poisons() {
            self.heaps[table].poisoned = true;
            self.writes.note(Mishap::Poison, Some(table));
            return if self.writes.hits(300) { LATE_POISON } else { POISON };
        }
        self.writes.below(50_000)
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn remember(&mut self, tables: impl Iterator<Item = usize>) {
        let mut rows = self.rows_at(self.end);
        for table in tables {
            let mut sorted: Vec<Row> = self.heaps[table].places.iter().copied().flatten().collect();
            sorted.sort_unstable();
            rows[table] = Arc::new(sorted);
        }
        self.history.insert(self.end, rows);
    }
}
