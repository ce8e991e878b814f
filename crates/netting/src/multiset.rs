//! The plain model of a table without a key: a list of rows to which changes are applied one by one, and the same list
//! to which the net result is applied, each row to delete being there.

use proptest::prelude::*;
use wavemark_domain::{Batch, Cell, ChangeKind, TableId};

use crate::{Layout, NetTable, net};

/// Two columns, each NULL, empty or one byte.
type Row = [Option<Option<u8>>; 2];

const LAYOUT: Layout<'static> = Layout { columns: 2, key: &[] };
const NULLS: Row = [None, None];
const EMPTY: Row = [Some(None), None];

fn row(a: u8, b: u8) -> Row {
    [Some(Some(a)), Some(Some(b))]
}

fn log(batch: &mut Batch, kind: ChangeKind, old: Option<Row>, new: Option<Row>) {
    let mut push = |row: Row| {
        let start = batch.begin_row();
        for cell in row {
            match cell {
                None => batch.push_marker(Cell::NULL),
                Some(None) => batch.push_value(&[]),
                Some(Some(value)) => batch.push_value(&[value]),
            }
        }
        start
    };
    let (old, new) = (old.map(&mut push), new.map(&mut push));
    batch.push_change(TableId(0), kind, old, new);
}

fn read(batch: &Batch, cells: &[Cell]) -> Row {
    std::array::from_fn(|at| batch.value(cells[at]).map(|value| value.first().copied()))
}

fn take(table: &mut Vec<Row>, row: Row) {
    let at = table.iter().position(|other| *other == row).expect("the row is there");
    table.swap_remove(at);
}

/// Applies the net result: all rows to delete go before one is added.
fn sets(table: &mut Vec<Row>, batch: &Batch, net: &NetTable) {
    assert!(!net.ordered && net.updates.is_empty());
    assert_eq!(net.deletes.len(), net.times.len());
    for (gone, times) in net.deletes.iter().zip(&net.times) {
        for _ in 0..*times {
            take(table, read(batch, net.cells(batch, *gone)));
        }
    }
    table.extend(net.inserts.iter().map(|added| read(batch, net.cells(batch, *added))));
}

/// What is left of the changes: rows to delete with their number, then rows to insert.
fn net_of(batch: &Batch) -> (Vec<(Row, usize)>, Vec<Row>) {
    let nets = net(batch, batch.changes().iter().enumerate(), |_| LAYOUT);
    let net = &nets[0];
    assert!(!net.ordered);
    let gone = net.deletes.iter().zip(&net.times).map(|(row, times)| (read(batch, net.cells(batch, *row)), *times));
    (gone.collect(), net.inserts.iter().map(|row| read(batch, net.cells(batch, *row))).collect())
}

/// What a writer does: which of the rows there are is chosen by a number.
#[derive(Clone, Debug)]
enum Wish {
    Insert(Row),
    Update(usize, Row),
    Delete(usize),
}

fn wish() -> impl Strategy<Value = Wish> {
    let cell = prop_oneof![1 => Just(None), 1 => Just(Some(None)), 3 => (0_u8..2).prop_map(|value| Some(Some(value)))];
    let row = [cell.clone(), cell];
    prop_oneof![
        3 => row.clone().prop_map(Wish::Insert),
        3 => (0_usize..64, row).prop_map(|(at, row)| Wish::Update(at, row)),
        3 => (0_usize..64).prop_map(Wish::Delete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_net_result_leaves_the_rows_that_one_by_one_leaves(
        begin in prop::collection::vec((0_u8..2, 0_u8..2), 0..8),
        wishes in prop::collection::vec(wish(), 1..32),
    ) {
        let begin: Vec<Row> = begin.into_iter().map(|(a, b)| row(a, b)).collect();
        let mut source = begin.clone();
        let mut batch = Batch::default();
        for wish in wishes {
            match wish {
                Wish::Insert(new) => {
                    source.push(new);
                    log(&mut batch, ChangeKind::Insert, None, Some(new));
                }
                Wish::Update(at, new) if !source.is_empty() => {
                    let at = at % source.len();
                    log(&mut batch, ChangeKind::Update, Some(source[at]), Some(new));
                    source[at] = new;
                }
                Wish::Delete(at) if !source.is_empty() => {
                    let old = source.swap_remove(at % source.len());
                    log(&mut batch, ChangeKind::Delete, Some(old), None);
                }
                Wish::Update(..) | Wish::Delete(_) => {}
            }
        }
        let mut target = begin;
        for net in net(&batch, batch.changes().iter().enumerate(), |_| LAYOUT) {
            sets(&mut target, &batch, &net);
        }
        target.sort_unstable();
        source.sort_unstable();
        prop_assert_eq!(target, source);
    }
}

#[test]
fn equal_rows_are_counted() {
    let mut batch = Batch::default();
    for _ in 0..3 {
        log(&mut batch, ChangeKind::Delete, Some(row(1, 1)), None);
        log(&mut batch, ChangeKind::Insert, None, Some(row(2, 2)));
    }
    log(&mut batch, ChangeKind::Insert, None, Some(row(1, 1)));
    assert_eq!(net_of(&batch), (vec![(row(1, 1), 2)], vec![row(2, 2); 3]));
    let nets = net(&batch, batch.changes().iter().enumerate(), |_| LAYOUT);
    assert_eq!(nets[0].removals(), 2);
}

#[test]
fn a_chain_of_updates_is_its_ends() {
    let mut batch = Batch::default();
    log(&mut batch, ChangeKind::Update, Some(row(1, 1)), Some(row(1, 2)));
    log(&mut batch, ChangeKind::Update, Some(row(1, 2)), Some(NULLS));
    log(&mut batch, ChangeKind::Update, Some(NULLS), Some(row(1, 3)));
    assert_eq!(net_of(&batch), (vec![(row(1, 1), 1)], vec![row(1, 3)]));
}

#[test]
fn null_is_not_empty() {
    let mut batch = Batch::default();
    log(&mut batch, ChangeKind::Delete, Some(NULLS), None);
    log(&mut batch, ChangeKind::Insert, None, Some(EMPTY));
    assert_eq!(net_of(&batch), (vec![(NULLS, 1)], vec![EMPTY]));
}

#[test]
fn what_comes_and_goes_leaves_nothing() {
    let mut batch = Batch::default();
    log(&mut batch, ChangeKind::Insert, None, Some(row(1, 1)));
    log(&mut batch, ChangeKind::Update, Some(row(1, 1)), Some(row(1, 2)));
    log(&mut batch, ChangeKind::Delete, Some(row(1, 2)), None);
    assert_eq!(net_of(&batch), (vec![], vec![]));
}

#[test]
fn a_change_that_does_not_give_the_whole_row_keeps_the_order() {
    let mut batch = Batch::default();
    log(&mut batch, ChangeKind::Insert, None, Some(row(1, 1)));
    let old = batch.begin_row();
    batch.push_value(&[1]);
    batch.push_value(&[1]);
    let new = batch.begin_row();
    batch.push_value(&[2]);
    batch.push_marker(Cell::UNCHANGED);
    batch.push_change(TableId(0), ChangeKind::Update, Some(old), Some(new));
    let nets = net(&batch, batch.changes().iter().enumerate(), |_| LAYOUT);
    assert!(nets[0].ordered && nets[0].inserts.is_empty() && nets[0].deletes.is_empty());
    assert_eq!(nets[0].changes, vec![0, 1]);
}
