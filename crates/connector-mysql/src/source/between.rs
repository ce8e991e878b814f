//! Readers that begin one after the other while others write, and see the tables as of one moment nevertheless: for who may
//! stop nobody at a MySQL that numbers its transactions.
//!
//! 1. A place of the log is noted, and waited until all before it can be seen: a transaction stands in the log a while
//!    before it can, and its number is in use for as long.
//! 2. The readers begin. Each sees all up to that place, and some of what came since.
//! 3. Where the log ends now is the view's position: no reader saw more than that.
//! 4. The log between the two says of which keys the readers may see different things. Their rows are as it says;
//!    no reader gives one of them.
//!
//! Such rows come with the first chunk of their table, whichever they would be of. So what a load that goes on in a later view
//! fetches again begins at the first place, not at the view's: then these rows are among it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wavemark_connector::TaskContext;
use wavemark_connector::source::{ChangeReader as _, KeySet};
use wavemark_domain::{Batch, Cell, Change, ChangeKind, Fault, Position, Problem, TableId, TablePlan};

use super::history::History;
use super::view::SnapshotView;
use super::{Looker, begin, keys, resume, state};
use crate::log::{self, Purpose, Start, begun_at};
use crate::position::{Memo, Place};
use crate::wire::Connection;

/// How often it is tried to begin where the log does not say enough.
const TRIES: u32 = 20;
/// How long between two looks at what is being committed.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes of changes at once.
const BATCH: usize = 4 << 20;
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

/// A view by these readers, which begin again if the log does not say enough of what happened meanwhile.
pub(super) async fn view(
    (looker, history): (&Arc<Looker>, &History),
    task: &TaskContext,
    tables: &[TablePlan],
    (mut control, mut readers): (Connection, Vec<Connection>),
) -> Result<SnapshotView, Problem> {
    let mut why = String::new();
    for _ in 0..TRIES {
        let (before, place) = begin_between((looker, history), task, tables, (&mut control, &mut readers)).await?;
        let start = (Start::at(before.clone()), resume::server(&mut control).await?);
        match late(looker, task, tables, start, &place).await? {
            Ok(late) => {
                begin::as_planned(&mut control, tables).await?;
                let memo = Memo::begun_over(begun_at(&looker.settings, &place).await?, &before);
                return Ok(SnapshotView::new(place.to_position(&memo), control, readers, late));
            }
            Err(unclear) => why = unclear,
        }
    }
    let text = format!("In {TRIES} tries the readers of the load could not begin as of one moment: {why}.");
    Err(Problem::new(Fault::Transient, "begin-unsettled", text).advice(format!(
        "It is tried again. Who may stop writers for a moment needs no luck: {}",
        begin::grants(&looker.settings)
    )))
}

/// Begins the readers. All of them see what was committed up to the first place, and none more than up to the second.
async fn begin_between(
    (looker, history): (&Looker, &History),
    task: &TaskContext,
    tables: &[TablePlan],
    (control, readers): (&mut Connection, &mut [Connection]),
) -> Result<(Place, Place), Problem> {
    let patience = begin::patience(task);
    begin::run(control, "START TRANSACTION READ ONLY", "hold tables").await?;
    begin::hold(control, tables, patience).await?;
    let before = end(looker, history, control).await?;
    all_seen(control, patience).await?;
    for reader in readers {
        begin::begin(reader).await?;
        begin::hold(reader, tables, patience).await?;
    }
    let place = end(looker, history, control).await?;
    begin::run(control, "COMMIT", "let others go on").await?;
    Ok((before, place))
}

async fn end(looker: &Looker, history: &History, control: &mut Connection) -> Result<Place, Problem> {
    let end = state::end(control).await?;
    history.put(end.ok_or_else(|| state::no_log(&looker.settings))?)
}

/// Waits until all that stands in the log by now can be seen.
async fn all_seen(control: &mut Connection, patience: Duration) -> Result<(), Problem> {
    let until = Instant::now() + patience;
    let mut left = state::in_commit(control).await?;
    while !left.is_empty() {
        if Instant::now() >= until {
            let text = format!("A transaction was being committed for {} s.", patience.as_secs());
            return Err(Problem::transient("commit-slow", text).advice(
                "It is tried again. Look whether the server waits for a replica or its disk (SHOW PROCESSLIST).",
            ));
        }
        sleep(LOOK).await;
        let now = state::in_commit(control).await?;
        left.retain(|number| now.contains(number));
    }
    Ok(())
}

/// Reads the log up to the place; or why it does not say enough.
async fn late(
    looker: &Arc<Looker>,
    task: &TaskContext,
    tables: &[TablePlan],
    start: (Start, log::Server),
    place: &Place,
) -> Result<Result<LateByTable, String>, Problem> {
    let mut gathering = Gathering::of(tables);
    if start.0.place != *place {
        let mut reader = log::open(looker, task, &numbered(tables), start, Purpose::LookBack).await?;
        let place = place.to_position(&Memo::default());
        loop {
            match gathering.take(&reader.next(BATCH).await?.batch, &place) {
                Ok(true) => break,
                Ok(false) => {}
                Err(unclear) => return Ok(Err(unclear)),
            }
        }
    }
    Ok(Ok(gathering.late()))
}

/// The tables under the numbers of their places: a reader of the log has a plan of all its tables, which may be some of the task's.
fn numbered(tables: &[TablePlan]) -> Vec<TablePlan> {
    let numbered = (0..).zip(tables).map(|(at, table)| TablePlan { id: TableId(at), ..table.clone() });
    numbered.collect()
}

/// Rows by their keys, as the log has them last; none where it has them deleted.
struct Gathering<'a> {
    /// As they are [`numbered`].
    tables: Vec<(&'a TablePlan, BTreeMap<Key, Option<Row>>)>,
    count: usize,
}

impl<'a> Gathering<'a> {
    fn of(tables: &'a [TablePlan]) -> Self {
        Self { tables: tables.iter().map(|table| (table, BTreeMap::new())).collect(), count: 0 }
    }

    /// Takes what ends up to the place; true once that is reached. What is open at the end of a batch is closed by a later one,
    /// or lies beyond the place: it is taken in either case, which holds it to be of the view. So that is unclear.
    fn take(&mut self, batch: &Batch, place: &Position) -> Result<bool, String> {
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

    fn late(self) -> LateByTable {
        let written = self.tables.into_iter().filter(|(_, rows)| !rows.is_empty());
        written.map(|(table, rows)| (table.id, Late::of(rows))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{int, plan};

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
