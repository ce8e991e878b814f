//! The task's tables, by their numbers and names.

use std::collections::{BTreeSet, HashMap};

use wavemark_domain::{Column, TableId, TableName, TablePlan};

use crate::charset::Charsets;
use crate::log::columns::LogColumn;
use crate::native::TableNative;
use crate::position::{Place, noted};

/// A table of the task.
pub(super) struct Followed {
    pub(super) id: TableId,
    pub(super) plan: TablePlan,
    pub(super) columns: Vec<LogColumn>,
    pub(super) width: usize,
    pub(super) key: Vec<usize>,
    /// How many columns the log may have behind all others.
    pub(super) hashes: usize,
    /// Up to where in the log nothing is the table's: what made it what it is was taken up by who noted that, and
    /// everything of it before that is in the target. What has its name there is another table, or it itself as it is no
    /// more.
    since: Option<(u64, u64)>,
    /// Nothing more of it is told.
    pub(super) ended: bool,
}

impl Followed {
    fn of(plan: &TablePlan, charsets: &Charsets) -> Self {
        let native = TableNative::of(&plan.source);
        Self {
            id: plan.id,
            columns: LogColumn::all(plan, charsets),
            width: plan.columns.len(),
            key: plan.key.clone(),
            hashes: native.hashes,
            since: native.since.as_deref().and_then(noted),
            ended: false,
            plan: plan.clone(),
        }
    }

    pub(super) fn name(&self) -> &TableName {
        self.plan.name()
    }

    /// Whether something of its name that ends there in the log is the table's.
    pub(super) fn has(&self, end: &Place) -> bool {
        !self.ended && self.since.is_none_or(|since| !end.is_up_to(since))
    }
}

/// All of them.
pub(super) struct Tables {
    all: Vec<Followed>,
    by_name: HashMap<TableName, usize>,
    /// Whether names are the same in upper and lower case.
    folds_names: bool,
    /// What the server said of sets of characters.
    charsets: Charsets,
    /// Sets of which it has to be asked before a row is read.
    lacking: BTreeSet<String>,
}

impl Tables {
    pub(super) fn of(plan: &[TablePlan], folds_names: bool) -> Self {
        let charsets = Charsets::default();
        let all = plan.iter().map(|table| Followed::of(table, &charsets)).collect();
        let lacking = plan.iter().flat_map(|table| charsets.lacking(travelling(table))).collect();
        let mut tables = Self { all, by_name: HashMap::new(), folds_names, charsets, lacking };
        for (at, table) in tables.all.iter().enumerate() {
            tables.by_name.insert(tables.key(table.name()), at);
        }
        tables
    }

    pub(super) fn key(&self, name: &TableName) -> TableName {
        if self.folds_names {
            TableName::new(name.schema.to_lowercase(), name.table.to_lowercase())
        } else {
            name.clone()
        }
    }

    pub(super) fn is_one_name(&self, a: &TableName, b: &TableName) -> bool {
        self.key(a) == self.key(b)
    }

    /// The place of a table that has this name, ended or not.
    pub(super) fn named(&self, name: &TableName) -> Option<usize> {
        self.by_name.get(&self.key(name)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn at(&self, at: usize) -> &Followed {
        &self.all[at]
    }

    pub(super) fn width(&self, table: TableId) -> usize {
        self.all[table.index()].width
    }

    /// Nothing more of it is told; false if that is so already.
    pub(super) fn end(&mut self, at: usize) -> bool {
        !std::mem::replace(&mut self.all[at].ended, true)
    }

    /// Takes up a table's next plan.
    pub(super) fn replan(&mut self, at: usize, plan: &TablePlan) {
        let before = self.key(self.all[at].name());
        if self.by_name.get(&before) == Some(&at) {
            self.by_name.remove(&before);
        }
        self.by_name.insert(self.key(plan.name()), at);
        self.lacking.extend(self.charsets.lacking(travelling(plan)));
        self.all[at] = Followed::of(plan, &self.charsets);
    }

    /// Sets of which the server has to be asked.
    pub(super) fn lacking(&self) -> &BTreeSet<String> {
        &self.lacking
    }

    /// Takes up what the server said of them.
    pub(super) fn learn(&mut self, told: Charsets) {
        self.charsets.extend(told);
        self.lacking.clear();
        for table in &mut self.all {
            table.columns = LogColumn::all(&table.plan, &self.charsets);
        }
    }
}

/// The columns of a table that travel.
fn travelling(table: &TablePlan) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter_map(|column| table.source.columns.get(column.source))
}
