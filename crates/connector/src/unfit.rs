//! Values that have no place in their column at the target, where the plan says what comes in their place.
//!
//! A batch is altered before anything else of the target sees it: what nets, stages, finds or writes rows works on what
//! the target will hold. So an old row of a table without a key finds the row that was altered when it was written. Only
//! what comes with new rows is counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wavemark_domain::{Batch, Problem, TableId, TableName, TablePlan, UnfitCount, UnfitPolicy};

use crate::target::Segment;

/// A column whose values may be altered, as its target knows it.
pub trait Column {
    /// What is done to a value that has no place in it.
    fn way(&self) -> UnfitPolicy;

    /// What becomes of a value. `scratch` is memory to write in; what it has means nothing.
    fn fit(&self, value: &[u8], scratch: &mut Vec<u8>) -> Fit;
}

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It has its place, or none and nothing can come in it: what writes it says so.
    AsItIs,
    /// NULL comes in its place.
    Null,
    /// Another value, in the same encoding.
    Other(Vec<u8>),
}

/// The columns of a table whose values may be altered.
#[derive(Clone, Debug)]
pub struct Fitting<C> {
    /// How many cells a row has.
    pub width: usize,
    /// Each with its place in a row.
    pub columns: Vec<(usize, C)>,
}

struct Edit {
    change: usize,
    is_new: bool,
    column: usize,
    way: UnfitPolicy,
    value: Option<Vec<u8>>,
}

impl<C: Column> Fitting<C> {
    /// Alters a batch of rows of this one table where that is due.
    ///
    /// # Errors
    /// A batch can't hold what comes in the place of its values.
    pub fn alter(&self, table: TableId, batch: &mut Batch) -> Result<Counts, Problem> {
        let (mut edits, mut scratch) = (Vec::new(), Vec::new());
        for at in 0..batch.changes().len() {
            self.edits(batch, (at, at), &mut edits, &mut scratch);
        }
        let mut counts = Counts::default();
        counts.note(table, &edits);
        write(batch, edits, |_| self.width)?;
        Ok(counts)
    }

    /// What is to be altered in change `at`, which is to be number `to`.
    fn edits(&self, batch: &Batch, (at, to): (usize, usize), edits: &mut Vec<Edit>, scratch: &mut Vec<u8>) {
        if self.columns.is_empty() {
            return;
        }
        let change = &batch.changes()[at];
        for (is_new, row) in [(false, batch.old(change, self.width)), (true, batch.new_row(change, self.width))] {
            let Some(cells) = row else { continue };
            for (column, fitting) in &self.columns {
                let fit = batch.value(cells[*column]).map_or(Fit::AsItIs, |value| fitting.fit(value, scratch));
                let value = match fit {
                    Fit::AsItIs => continue,
                    Fit::Null => None,
                    Fit::Other(value) => Some(value),
                };
                edits.push(Edit { change: to, is_new, column: *column, way: fitting.way(), value });
            }
        }
    }
}

/// The changes of a segment with their values altered, and how many were; `None` where all have their place.
///
/// # Errors
/// A batch can't hold what comes in the place of its values.
pub fn altered<'t, C: Column + 't>(
    segment: &Segment<'_>,
    tables: impl Fn(TableId) -> Option<&'t Fitting<C>>,
) -> Result<Option<(Batch, Counts)>, Problem> {
    let (batch, mut edits, mut counts) = (segment.batch, Vec::new(), Counts::default());
    let mut scratch = Vec::new();
    for (to, (at, change)) in segment.changes().enumerate() {
        let Some(fitting) = tables(change.table) else { continue };
        let before = edits.len();
        fitting.edits(batch, (at, to), &mut edits, &mut scratch);
        counts.note(change.table, &edits[before..]);
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let width = |table| tables(table).map_or(0, |fitting| fitting.width);
    let mut copy = Batch::default();
    for (at, _) in segment.changes() {
        copy.append_changes(batch, at..at + 1, width);
    }
    write(&mut copy, edits, width)?;
    Ok(Some((copy, counts)))
}

fn write(batch: &mut Batch, edits: Vec<Edit>, width: impl Fn(TableId) -> usize) -> Result<(), Problem> {
    for Edit { change, is_new, column, value, .. } in edits {
        if !batch.fits(value.as_ref().map_or(0, Vec::len)) {
            return Err(Problem::internal("A batch is too full for what comes in the place of its values."));
        }
        let columns = width(batch.changes()[change].table);
        batch.replace(change, is_new, (column, columns), value.as_deref());
    }
    Ok(())
}

/// How many values were altered, of which column of which table and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(TableId, usize, UnfitPolicy), u64>);

/// Counts of one table, to be added to what its target holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The name at the source.
    pub table: TableName,
    /// How many more there are.
    pub count: UnfitCount,
}

impl Counts {
    fn note(&mut self, table: TableId, edits: &[Edit]) {
        for edit in edits.iter().filter(|edit| edit.is_new) {
            *self.0.entry((table, edit.column, edit.way)).or_default() += 1;
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets those of a table.
    pub fn forget(&mut self, table: TableId) {
        self.0.retain(|(id, ..), _| *id != table);
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        for (key, values) in &others.0 {
            *self.0.entry(*key).or_default() += values;
        }
    }

    /// With the names that they have at the source, always in the same order, as of now.
    #[must_use]
    pub fn named(&self, plan: &[TablePlan]) -> Vec<Counted> {
        let since = now();
        let named = |(&(id, column, way), &values): (&(TableId, usize, UnfitPolicy), &u64)| {
            let table = plan.iter().find(|table| table.id == id)?;
            let column = table.source.columns.get(table.columns.get(column)?.source)?.name.clone();
            Some(Counted { table: table.name().clone(), count: UnfitCount { column, way, values, since } })
        };
        let mut all: Vec<Counted> = self.0.iter().filter_map(named).collect();
        all.sort_by(|a, b| (&a.table, &a.count.column, a.count.way).cmp(&(&b.table, &b.count.column, b.count.way)));
        all
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What the open target counts, by table: read when it was opened, and added to after each commit. Whoever loses the answer to
/// a commit opens the target again, so it is never behind for long and never ahead.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<TableName, Vec<UnfitCount>>>>);

impl Tally {
    /// What a table has, by column.
    #[must_use]
    pub fn of(&self, table: &TableName) -> Vec<UnfitCount> {
        self.lock().get(table).cloned().unwrap_or_default()
    }

    /// Adds what was committed.
    pub fn add(&self, counted: Vec<Counted>) {
        let mut tables = self.lock();
        for Counted { table, count } in counted {
            put(tables.entry(table).or_default(), count);
        }
    }

    /// A table is loaded anew, or is no longer the task's.
    pub fn forget(&self, table: &TableName) {
        self.lock().remove(table);
    }

    /// A table has another name.
    pub fn rename(&self, from: &TableName, to: &TableName) {
        let mut tables = self.lock();
        for count in tables.remove(from).unwrap_or_default() {
            put(tables.entry(to.clone()).or_default(), count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TableName, Vec<UnfitCount>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a count to its like, in the order of columns.
fn put(columns: &mut Vec<UnfitCount>, count: UnfitCount) {
    match columns.iter_mut().find(|known| known.column == count.column && known.way == count.way) {
        Some(known) => {
            known.values += count.values;
            known.since = known.since.min(count.since);
        }
        None => columns.push(count),
    }
    columns.sort_by(|a, b| (&a.column, a.way).cmp(&(&b.column, b.way)));
}

#[cfg(test)]
mod tests {
    use wavemark_domain::{Cell, ChangeKind};

    use super::*;

    /// Holds one digit.
    struct Digit(UnfitPolicy);

    impl Column for Digit {
        fn way(&self) -> UnfitPolicy {
            self.0
        }

        fn fit(&self, value: &[u8], _scratch: &mut Vec<u8>) -> Fit {
            match (value.len(), self.0) {
                (1, _) => Fit::AsItIs,
                (_, UnfitPolicy::Null) => Fit::Null,
                _ => Fit::Other(b"9".to_vec()),
            }
        }
    }

    fn row(batch: &mut Batch, values: [&str; 2]) -> wavemark_domain::batch::RowStart {
        let row = batch.begin_row();
        for value in values {
            batch.push_value(value.as_bytes());
        }
        row
    }

    fn texts(batch: &Batch, cells: &[Cell]) -> Vec<Option<String>> {
        cells.iter().map(|cell| batch.value(*cell).map(|value| String::from_utf8(value.to_vec()).unwrap())).collect()
    }

    #[test]
    fn old_and_new_rows_are_altered_alike_and_new_ones_counted() {
        let fitting = Fitting { width: 2, columns: vec![(1, Digit(UnfitPolicy::Clamp))] };
        let mut batch = Batch::default();
        let other = row(&mut batch, ["10", "10"]);
        batch.push_change(TableId(5), ChangeKind::Insert, None, Some(other));
        let (old, new) = (row(&mut batch, ["10", "10"]), row(&mut batch, ["20", "2"]));
        batch.push_change(TableId(1), ChangeKind::Update, Some(old), Some(new));
        let new = row(&mut batch, ["30", "30"]);
        batch.push_change(TableId(1), ChangeKind::Insert, None, Some(new));
        // The first is of a parked table, of which nothing is known.
        let segment = Segment { batch: &batch, range: 0..3, without: Some(&[true, false, false]) };
        let (copy, counts) = altered(&segment, |table| (table == TableId(1)).then_some(&fitting)).unwrap().unwrap();
        let [update, insert] = copy.changes() else { panic!("two changes are left") };
        let some = |texts: [&str; 2]| texts.map(|text| Some(text.to_owned())).to_vec();
        assert_eq!(texts(&copy, copy.old(update, 2).unwrap()), some(["10", "9"]));
        assert_eq!(texts(&copy, copy.new_row(update, 2).unwrap()), some(["20", "2"]));
        assert_eq!(texts(&copy, copy.new_row(insert, 2).unwrap()), some(["30", "9"]));
        assert_eq!(counts.0, BTreeMap::from([((TableId(1), 1, UnfitPolicy::Clamp), 1)]));
    }

    #[test]
    fn a_batch_is_altered_where_it_is() {
        let fitting = Fitting { width: 2, columns: vec![(0, Digit(UnfitPolicy::Null))] };
        let mut batch = Batch::default();
        let new = row(&mut batch, ["10", "10"]);
        batch.push_change(TableId(0), ChangeKind::Insert, None, Some(new));
        let counts = fitting.alter(TableId(0), &mut batch).unwrap();
        let cells = batch.new_row(&batch.changes()[0], 2).unwrap();
        assert_eq!(texts(&batch, cells), [None, Some("10".to_owned())]);
        assert!(cells[0].is_null());
        assert!(!counts.is_empty());
        assert!(fitting.alter(TableId(0), &mut batch).unwrap().is_empty());
    }

    #[test]
    fn what_fits_is_not_copied() {
        let fitting = Fitting { width: 2, columns: vec![(1, Digit(UnfitPolicy::Null))] };
        let mut batch = Batch::default();
        let new = row(&mut batch, ["10", "1"]);
        batch.push_change(TableId(0), ChangeKind::Insert, None, Some(new));
        assert_eq!(altered(&Segment::whole(&batch), |_| Some(&fitting)).unwrap().map(|(_, counts)| counts), None);
    }

    #[test]
    fn a_tally_counts_by_column_from_the_first_on() {
        let tally = Tally::default();
        let (orders, sold) = (TableName::new("shop", "orders"), TableName::new("shop", "sold"));
        let counted = |column: &str, values, since| Counted {
            table: orders.clone(),
            count: UnfitCount { column: column.to_owned(), way: UnfitPolicy::Null, values, since },
        };
        tally.add(vec![counted("paid", 2, 70)]);
        tally.add(vec![counted("born", 1, 80), counted("paid", 3, 90)]);
        let expected =
            [("born", 1, 80), ("paid", 5, 70)].map(|(column, values, since)| counted(column, values, since).count);
        assert_eq!(tally.of(&orders), expected);
        tally.rename(&orders, &sold);
        assert_eq!((tally.of(&orders).len(), tally.of(&sold).len()), (0, 2));
        tally.forget(&sold);
        assert!(tally.of(&sold).is_empty());
    }
}
