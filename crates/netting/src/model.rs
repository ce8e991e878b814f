//! The plain model: a table in memory to which changes are applied one by one, and the same table to which the net
//! result is applied as sets, as strictly as a database would.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wavemark_domain::{Batch, Cell, ChangeKind, Position, TableId};

use crate::{Layout, NetTable, Run, net, runs};

const TABLE: TableId = TableId(0);
/// id (key), code (unique), note, document (often unchanged).
const COLUMNS: usize = 4;
const LAYOUT: Layout<'static> = Layout { columns: COLUMNS, key: &[0] };

type Row = [u8; COLUMNS];
type Table = BTreeMap<u8, Row>;
/// What a change gives to each column; `None` for unchanged.
type Given = [Option<u8>; COLUMNS];

#[derive(Debug, PartialEq)]
enum Refused {
    Key,
    Code,
    Missing,
}

fn put(table: &mut Table, row: Row) -> Result<(), Refused> {
    if table.values().any(|other| other[1] == row[1]) {
        return Err(Refused::Code);
    }
    if table.insert(row[0], row).is_some() { Err(Refused::Key) } else { Ok(()) }
}

fn set(table: &mut Table, key: u8, given: Given) -> Result<(), Refused> {
    let mut row = table.remove(&key).ok_or(Refused::Missing)?;
    for (cell, given) in row.iter_mut().zip(given) {
        *cell = given.unwrap_or(*cell);
    }
    put(table, row)
}

fn push(batch: &mut Batch, kind: ChangeKind, old: Option<u8>, new: Option<&Given>) {
    let old = old.map(|key| {
        let row = batch.begin_row();
        batch.push_value(&[key]);
        (1..COLUMNS).for_each(|_| batch.push_marker(Cell::NULL));
        row
    });
    let new = new.map(|given| {
        let row = batch.begin_row();
        for cell in given {
            match cell {
                Some(value) => batch.push_value(&[*value]),
                None => batch.push_marker(Cell::UNCHANGED),
            }
        }
        row
    });
    batch.push_change(TABLE, kind, old, new);
}

fn given(batch: &Batch, cells: &[Cell]) -> Given {
    std::array::from_fn(|at| batch.value(cells[at]).map(|value| value[0]))
}

fn key(batch: &Batch, cells: &[Cell]) -> u8 {
    batch.value(cells[0]).unwrap()[0]
}

/// One change as a source would log it; what its table doesn't allow is left out.
#[derive(Clone, Debug)]
enum Wish {
    Insert(Row),
    Update(u8, Given),
    Delete(u8),
    /// Two rows change their codes over a spare one.
    SwapCodes(u8, u8),
    /// Two rows change their keys over a spare one.
    SwapKeys(u8, u8),
    Truncate,
}

const SPARE: u8 = 200;

fn log(table: &mut Table, batch: &mut Batch, wish: &Wish) {
    match wish {
        Wish::Insert(row) => {
            let mut after = table.clone();
            if put(&mut after, *row).is_ok() {
                *table = after;
                push(batch, ChangeKind::Insert, None, Some(&row.map(Some)));
            }
        }
        Wish::Update(key, change) => {
            let mut after = table.clone();
            if set(&mut after, *key, *change).is_ok() {
                // The log gives every column but those left out for being large and untouched.
                let mut logged = table[key].map(Some);
                for (cell, given) in logged.iter_mut().zip(change) {
                    *cell = given.or(*cell);
                }
                if change[3].is_none() {
                    logged[3] = None;
                }
                let moved = change[0].is_some_and(|new| new != *key);
                *table = after;
                push(batch, ChangeKind::Update, moved.then_some(*key), Some(&logged));
            }
        }
        Wish::Delete(key) => {
            if table.remove(key).is_some() {
                push(batch, ChangeKind::Delete, Some(*key), None);
            }
        }
        Wish::SwapCodes(a, b) => {
            if let (Some(x), Some(y), true) = (table.get(a).copied(), table.get(b).copied(), a != b) {
                for (key, code) in [(*a, SPARE), (*b, x[1]), (*a, y[1])] {
                    log(table, batch, &Wish::Update(key, [None, Some(code), None, None]));
                }
            }
        }
        Wish::SwapKeys(a, b) => {
            if table.contains_key(a) && table.contains_key(b) && a != b {
                for (from, to) in [(*a, SPARE), (*b, *a), (SPARE, *b)] {
                    log(table, batch, &Wish::Update(from, [Some(to), None, None, None]));
                }
            }
        }
        Wish::Truncate => {
            table.clear();
            batch.push_change(TABLE, ChangeKind::Truncate, None, None);
        }
    }
}

/// Applies a change as the log says it.
fn one(table: &mut Table, batch: &Batch, at: u32) -> Result<(), Refused> {
    let change = &batch.changes()[at as usize];
    let old = batch.old(change, COLUMNS).map(|cells| key(batch, cells));
    let new = batch.new_row(change, COLUMNS).map(|cells| given(batch, cells));
    match (change.kind, old, new) {
        (ChangeKind::Insert, _, Some(new)) => put(table, new.map(Option::unwrap)),
        (ChangeKind::Update, old, Some(new)) => set(table, old.or(new[0]).unwrap(), new),
        (ChangeKind::Delete, Some(old), _) => table.remove(&old).map(drop).ok_or(Refused::Missing),
        other => panic!("not a change of a row: {other:?}"),
    }
}

/// Applies a net result as sets, each row of a set checked at once, in the order given or the other way round.
fn sets(table: &mut Table, batch: &Batch, net: &NetTable, backwards: bool) -> Result<(), Refused> {
    for row in &net.deletes {
        table.remove(&key(batch, net.key(*row))).ok_or(Refused::Missing)?;
    }
    for group in &net.updates {
        let mut rows = group.rows.clone();
        if backwards {
            rows.reverse();
        }
        for row in rows {
            let cells = given(batch, net.cells(batch, row));
            let change = std::array::from_fn(|at| group.columns.contains(&at).then(|| cells[at].unwrap()));
            set(table, key(batch, net.key(row)), change)?;
        }
    }
    for row in &net.inserts {
        put(table, given(batch, net.cells(batch, *row)).map(Option::unwrap))?;
    }
    Ok(())
}

/// Applies a batch run by run: sets where they go, one by one where netting says so or a unique value is in the way.
/// Returns how many runs went by sets.
fn apply(table: &mut Table, batch: &Batch, backwards: bool) -> usize {
    let mut by_sets = 0;
    for run in runs(batch.changes().iter().enumerate()) {
        let rows = match run {
            Run::Rows(rows) => rows,
            Run::Truncate(_) => {
                table.clear();
                continue;
            }
            Run::Barrier(_) => continue,
        };
        for net in net(batch, rows.into_iter(), |_| LAYOUT) {
            let before = table.clone();
            match if net.ordered { Err(Refused::Code) } else { sets(table, batch, &net, backwards) } {
                Ok(()) => by_sets += 1,
                Err(Refused::Code) => {
                    *table = before;
                    net.changes.iter().for_each(|at| one(table, batch, *at).unwrap());
                }
                Err(other) => panic!("netting must have seen this: {other:?}"),
            }
        }
    }
    by_sets
}

fn wish() -> impl Strategy<Value = Wish> {
    let small = 0_u8..6;
    let document = prop_oneof![Just(None), (10_u8..14).prop_map(Some)];
    let maybe = |low: u8, high: u8| prop_oneof![3 => Just(None), 1 => (low..high).prop_map(Some)];
    prop_oneof![
        4 => (small.clone(), 0_u8..8, 0_u8..9, 10_u8..14).prop_map(|(a, b, c, d)| Wish::Insert([a, b, c, d])),
        6 => (small.clone(), maybe(0, 6), maybe(0, 8), 0_u8..9, document)
            .prop_map(|(key, id, code, note, document)| Wish::Update(key, [id, code, Some(note), document])),
        3 => small.clone().prop_map(Wish::Delete),
        1 => (small.clone(), small.clone()).prop_map(|(a, b)| Wish::SwapCodes(a, b)),
        1 => (small.clone(), small).prop_map(|(a, b)| Wish::SwapKeys(a, b)),
        1 => Just(Wish::Truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_net_result_leaves_the_table_that_one_by_one_leaves(
        start in prop::collection::vec((0_u8..6, 0_u8..9), 0..6),
        wishes in prop::collection::vec(wish(), 0..24),
        backwards: bool,
    ) {
        let mut begin = Table::new();
        for (code, (id, note)) in start.into_iter().enumerate() {
            begin.entry(id).or_insert([id, u8::try_from(code).unwrap(), note, 10]);
        }
        let mut source = begin.clone();
        let mut batch = Batch::default();
        for wish in &wishes {
        log(&mut source, &mut batch, wish);
    }
        batch.end_transaction(Position::new(vec![1]), 0);

        let mut plain = begin.clone();
        for at in 0..batch.changes().len() {
            if batch.changes()[at].kind == ChangeKind::Truncate {
                plain.clear();
            } else {
                one(&mut plain, &batch, u32::try_from(at).unwrap()).unwrap();
            }
        }
        prop_assert_eq!(&plain, &source);

        let mut target = begin;
        apply(&mut target, &batch, backwards);
        prop_assert_eq!(target, source);
    }
}

/// Nets wishes on a table, and says what is left as text.
fn net_of(begin: &[Row], wishes: &[Wish]) -> String {
    let mut source: Table = begin.iter().map(|row| (row[0], *row)).collect();
    let mut batch = Batch::default();
    for wish in wishes {
        log(&mut source, &mut batch, wish);
    }
    let nets = net(&batch, batch.changes().iter().enumerate(), |_| LAYOUT);
    let net = &nets[0];
    if net.ordered {
        return "one by one".to_owned();
    }
    let mut text = Vec::new();
    text.extend(net.deletes.iter().map(|row| format!("delete {}", key(&batch, net.key(*row)))));
    for group in &net.updates {
        for row in &group.rows {
            let cells = given(&batch, net.cells(&batch, *row));
            let set: Vec<_> = group.columns.iter().map(|at| format!("{at}={}", cells[*at].unwrap())).collect();
            text.push(format!("update {} set {}", key(&batch, net.key(*row)), set.join(" ")));
        }
    }
    for row in &net.inserts {
        text.push(format!("insert {:?}", given(&batch, net.cells(&batch, *row)).map(Option::unwrap)));
    }
    text.join("; ")
}

fn note(key: u8, note: u8) -> Wish {
    Wish::Update(key, [None, None, Some(note), None])
}

fn rename(from: u8, to: u8) -> Wish {
    Wish::Update(from, [Some(to), None, None, None])
}

#[test]
fn an_insert_and_its_updates_are_one_insert() {
    assert_eq!(net_of(&[], &[Wish::Insert([1, 2, 3, 10]), note(1, 4)]), "insert [1, 2, 4, 10]");
}

#[test]
fn an_insert_and_its_delete_are_nothing() {
    assert_eq!(net_of(&[], &[Wish::Insert([1, 2, 3, 10]), Wish::Delete(1)]), "");
}

#[test]
fn an_unchanged_cell_inherits_the_pending_value() {
    let wishes = [Wish::Update(1, [None, None, None, Some(11)]), note(1, 5)];
    assert_eq!(net_of(&[[1, 2, 3, 10]], &wishes), "update 1 set 1=2 2=5 3=11");
}

#[test]
fn a_cell_that_nothing_changed_is_never_written() {
    assert_eq!(net_of(&[[1, 2, 3, 10]], &[note(1, 4), note(1, 5)]), "update 1 set 1=2 2=5");
}

#[test]
fn an_update_and_a_delete_are_a_delete() {
    assert_eq!(net_of(&[[1, 2, 3, 10]], &[note(1, 4), Wish::Delete(1)]), "delete 1");
}

#[test]
fn a_delete_and_an_insert_replace_the_row() {
    let wishes = [Wish::Delete(1), Wish::Insert([1, 7, 8, 12])];
    assert_eq!(net_of(&[[1, 2, 3, 10]], &wishes), "update 1 set 1=7 2=8 3=12");
}

#[test]
fn a_chain_of_keys_is_one_update_and_keeps_unchanged_cells() {
    assert_eq!(net_of(&[[1, 2, 3, 10]], &[rename(1, 4), rename(4, 5)]), "update 1 set 0=5 1=2 2=3");
}

#[test]
fn a_key_that_comes_back_is_not_set() {
    assert_eq!(net_of(&[[1, 2, 3, 10]], &[rename(1, 4), rename(4, 1)]), "update 1 set 1=2 2=3");
}

#[test]
fn a_moved_and_deleted_row_is_deleted_under_its_old_key() {
    let wishes = [rename(1, 4), Wish::Delete(4), Wish::Insert([4, 2, 3, 10])];
    assert_eq!(net_of(&[[1, 2, 3, 10]], &wishes), "delete 1; insert [4, 2, 3, 10]");
}

#[test]
fn keys_that_swap_go_one_by_one() {
    assert_eq!(net_of(&[[1, 2, 3, 10], [4, 5, 6, 10]], &[Wish::SwapKeys(1, 4)]), "one by one");
}

#[test]
fn a_row_that_takes_a_deleted_rows_key_is_moved() {
    let wishes = [Wish::Delete(4), rename(1, 4)];
    assert_eq!(net_of(&[[1, 2, 3, 10], [4, 5, 6, 10]], &wishes), "delete 4; update 1 set 0=4 1=2 2=3");
}

#[test]
fn an_insert_onto_a_row_of_the_run_goes_one_by_one() {
    let mut batch = Batch::default();
    for _ in 0..2 {
        push(&mut batch, ChangeKind::Insert, None, Some(&[Some(1), Some(2), Some(3), Some(4)]));
    }
    let nets = net(&batch, batch.changes().iter().enumerate(), |_| LAYOUT);
    assert!(nets[0].ordered);
    assert_eq!(nets[0].changes, vec![0, 1]);
}
