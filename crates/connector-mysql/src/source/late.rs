//! Rows as the log has them last: of keys of which the readers of a view may see different things.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wavemark_connector::source::KeySet;
use wavemark_domain::{Batch, Cell, Change, ChangeKind, Position, TableId, TablePlan};

use super::keys;

/// The most rows that are held of the time in which readers begin.
const MOST_ROWS: usize = 100_000;

type Key = Vec<Box<[u8]>>;
type Row = Vec<Option<Box<[u8]>>>;

/// What the log says of the keys of a table of which readers may see different things.
pub(super) struct Late {
    pub(super) touched: Arc<KeySet>,
    /// As of the view, if they are there.
    rows: Vec<(Key, Row)>,
}

/// The same of each table that was written to.
pub(super) type LateByTable = HashMap<TableId, Late>;

impl Late {
    fn of(rows: BTreeMap<Key, Option<Row>>) -> Self {
        let mut touched = KeySet::default();
        for key in rows.keys() {
            touched.insert(key.iter().map(|cell| &**cell));
        }
        let rows = rows.into_iter().filter_map(|(key, row)| Some((key, row?))).collect();
        Self { touched: Arc::new(touched), rows }
    }

    /// The rows whose keys are in the set, or are not, as inserts.
    pub(super) fn rows(&self, table: TableId, keys: &KeySet, are_in: bool) -> Batch {
        let (mut batch, mut scratch) = (Batch::default(), Vec::new());
        for (key, row) in &self.rows {
            if keys.contains(key.iter().map(|cell| &**cell), &mut scratch) != are_in {
                continue;
            }
            let start = batch.begin_row();
            for cell in row {
                match cell {
                    Some(value) => batch.push_value(value),
                    None => batch.push_marker(Cell::NULL),
                }
            }
            batch.push_change(table, ChangeKind::Insert, None, Some(start));
        }
        batch
    }
}

/// Rows by their keys, as the log has them last; none where it has them deleted.
pub(super) struct Gathering<'a> {
    /// By the numbers that the log's reader has them under.
    tables: Vec<(&'a TablePlan, BTreeMap<Key, Option<Row>>)>,
    count: usize,
}

impl<'a> Gathering<'a> {
    pub(super) fn of(tables: &'a [TablePlan]) -> Self {
        Self { tables: tables.iter().map(|table| (table, BTreeMap::new())).collect(), count: 0 }
    }

    /// Takes what ends up to the place; true once that is reached. What is open at the end of a batch is closed by a later one,
    /// or lies beyond the place: it is taken in either case, which holds it to be of the view. So that is unclear.
    pub(super) fn take(&mut self, batch: &Batch, place: &Position) -> Result<bool, String> {
        let up_to = batch.transactions().iter().take_while(|mark| mark.end <= *place).last();
        let changes = up_to.map_or(0, |mark| mark.changes_end);
        for change in &batch.changes()[..changes] {
            self.change(batch, change)?;
        }
        let is_over = batch.transactions().last().is_some_and(|mark| mark.end >= *place);
        if !is_over && batch.is_open() {
            return Err("a large transaction was committed".to_owned());
        }
        Ok(is_over)
    }

    fn change(&mut self, batch: &Batch, change: &Change) -> Result<(), String> {
        let Some((table, rows)) = self.tables.get_mut(change.table.index()) else { return Ok(()) };
        let name = table.name();
        if !keys::are_findable(table) {
            return Err(format!("{name}, whose rows have no key to find them by, was written to"));
        }
        if matches!(change.kind, ChangeKind::Truncate | ChangeKind::Barrier) {
            return Err(format!("{name} was truncated or altered"));
        }
        self.count += 1;
        if self.count > MOST_ROWS {
            return Err("too many rows were written".to_owned());
        }
        let width = table.columns.len();
        let owned = |cell: &Cell| batch.value(*cell).map(Box::from);
        let key = |row: &[Cell]| table.key.iter().map(|at| owned(&row[*at]).unwrap_or_default()).collect::<Key>();
        if let Some(old) = batch.old(change, width) {
            rows.insert(key(old), None);
        }
        if let Some(new) = batch.new_row(change, width) {
            if new.iter().any(|cell| cell.is_unchanged()) {
                return Err(format!("a row of {name} was logged in part (binlog_row_image is not FULL)"));
            }
            rows.insert(key(new), Some(new.iter().map(owned).collect()));
        }
        Ok(())
    }

    pub(super) fn late(self) -> LateByTable {
        let written = self.tables.into_iter().filter(|(_, rows)| !rows.is_empty());
        written.map(|(table, rows)| (table.id, Late::of(rows))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{int, plan};
    use crate::position::{Memo, Place};

    fn at(offset: u64) -> Position {
        Place::new("bin.000001", offset, "s").unwrap().to_position(&Memo::default())
    }

    /// The ninth of the task's tables.
    fn table(key: &[&str]) -> [TablePlan; 1] {
        [TablePlan { id: TableId(8), ..plan(vec![int("id"), int("n")], key) }]
    }

    fn push(batch: &mut Batch, cells: [Option<&[u8]>; 2]) {
        for cell in cells {
            match cell {
                Some(value) => batch.push_value(value),
                None => batch.push_marker(Cell::NULL),
            }
        }
    }

    fn insert(batch: &mut Batch, id: &[u8], n: &[u8]) {
        let new = batch.begin_row();
        push(batch, [Some(id), Some(n)]);
        batch.push_change(TableId(0), ChangeKind::Insert, None, Some(new));
    }

    fn delete(batch: &mut Batch, id: &[u8]) {
        let old = batch.begin_row();
        push(batch, [Some(id), None]);
        batch.push_change(TableId(0), ChangeKind::Delete, Some(old), None);
    }

    fn keys(keys: &[&[u8]]) -> KeySet {
        let mut set = KeySet::default();
        for key in keys {
            set.insert([*key]);
        }
        set
    }

    /// Id and n of each row.
    fn rows(batch: &Batch) -> Vec<[&[u8]; 2]> {
        let cells = |change| batch.new_row(change, 2).unwrap();
        batch.changes().iter().map(|change| [0, 1].map(|at| batch.value(cells(change)[at]).unwrap())).collect()
    }

    #[test]
    fn a_key_is_as_the_log_has_it_last_up_to_the_place() {
        let (tables, mut batch) = (table(&["id"]), Batch::default());
        insert(&mut batch, b"a", b"1");
        insert(&mut batch, b"b", b"2");
        batch.end_transaction(at(100), 0);
        delete(&mut batch, b"a");
        delete(&mut batch, b"c");
        insert(&mut batch, b"c", b"3");
        batch.end_transaction(at(200), 0);
        // Beyond the place.
        insert(&mut batch, b"b", b"9");
        batch.end_transaction(at(300), 0);
        let mut gathering = Gathering::of(&tables);
        assert_eq!(gathering.take(&batch, &at(200)), Ok(true));
        let late = &gathering.late()[&TableId(8)];
        assert_eq!(*late.touched, keys(&[b"a", b"b", b"c"]));
        assert_eq!(rows(&late.rows(TableId(8), &keys(&[]), false)), [[b"b", b"2"], [b"c", b"3"]]);
        assert_eq!(rows(&late.rows(TableId(8), &keys(&[b"c", b"a"]), false)), [[b"b", b"2"]]);
        assert_eq!(rows(&late.rows(TableId(8), &keys(&[b"c", b"a"]), true)), [[b"c", b"3"]]);
    }

    #[test]
    fn an_updated_key_is_gone_and_another_there() {
        let (tables, mut batch) = (table(&["id"]), Batch::default());
        let old = batch.begin_row();
        push(&mut batch, [Some(b"a"), None]);
        let new = batch.begin_row();
        push(&mut batch, [Some(b"b"), Some(b"1")]);
        batch.push_change(TableId(0), ChangeKind::Update, Some(old), Some(new));
        batch.end_transaction(at(100), 0);
        let mut gathering = Gathering::of(&tables);
        assert_eq!(gathering.take(&batch, &at(150)), Ok(false));
        let mut silent = Batch::default();
        silent.end_transaction(at(150), 0);
        assert_eq!(gathering.take(&silent, &at(150)), Ok(true));
        let late = &gathering.late()[&TableId(8)];
        assert_eq!(*late.touched, keys(&[b"a", b"b"]));
        assert_eq!(rows(&late.rows(TableId(8), &keys(&[]), false)), [[b"b", b"1"]]);
    }

    #[test]
    fn what_the_log_does_not_say_in_whole_is_unclear() {
        let unclear = |key: &[&str], write: fn(&mut Batch)| {
            let (tables, mut batch) = (table(key), Batch::default());
            write(&mut batch);
            Gathering::of(&tables).take(&batch, &at(200)).unwrap_err()
        };
        let in_part: fn(&mut Batch) = |batch| {
            let new = batch.begin_row();
            batch.push_value(b"a");
            batch.push_marker(Cell::UNCHANGED);
            batch.push_change(TableId(0), ChangeKind::Update, None, Some(new));
            batch.end_transaction(at(100), 0);
        };
        let truncated: fn(&mut Batch) = |batch| {
            batch.push_change(TableId(0), ChangeKind::Truncate, None, None);
            batch.end_transaction(at(100), 0);
        };
        let whole: fn(&mut Batch) = |batch| {
            insert(batch, b"a", b"1");
            batch.end_transaction(at(100), 0);
        };
        assert!(unclear(&["id"], in_part).contains("binlog_row_image"));
        assert!(unclear(&["id"], truncated).contains("truncated"));
        assert!(unclear(&[], whole).contains("no key"));
        assert!(unclear(&["id"], |batch| insert(batch, b"a", b"1")).contains("large transaction"));
    }
}
