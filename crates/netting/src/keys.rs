//! Keys of more than one column, in another order than the columns, and what only they can get wrong.

use wavemark_domain::{Batch, Cell, ChangeKind, TableId};

use crate::{Layout, NetTable, net};

/// place, name, region: the key is region, then place.
const LAYOUT: Layout<'static> = Layout { columns: 3, key: &[2, 0] };

/// A cell as a test writes it.
#[derive(Clone, Copy)]
enum V {
    Is(u8),
    Null,
    Unchanged,
}
use V::{Is, Null, Unchanged};

fn push(batch: &mut Batch, kind: ChangeKind, old: Option<[V; 3]>, new: Option<[V; 3]>) {
    let mut row = |cells: [V; 3]| {
        let start = batch.begin_row();
        for cell in cells {
            match cell {
                Is(value) => batch.push_value(&[value]),
                Null => batch.push_marker(Cell::NULL),
                Unchanged => batch.push_marker(Cell::UNCHANGED),
            }
        }
        start
    };
    let (old, new) = (old.map(&mut row), new.map(&mut row));
    batch.push_change(TableId(0), kind, old, new);
}

fn insert(batch: &mut Batch, new: [V; 3]) {
    push(batch, ChangeKind::Insert, None, Some(new));
}

fn update(batch: &mut Batch, new: [V; 3]) {
    push(batch, ChangeKind::Update, None, Some(new));
}

/// An update of the row that had this region and place.
fn moved(batch: &mut Batch, (region, place): (u8, u8), new: [V; 3]) {
    push(batch, ChangeKind::Update, Some([Is(place), Null, Is(region)]), Some(new));
}

fn delete(batch: &mut Batch, region: u8, place: u8) {
    push(batch, ChangeKind::Delete, Some([Is(place), Null, Is(region)]), None);
}

fn netted(batch: &Batch) -> NetTable {
    net(batch, batch.changes().iter().enumerate(), |_| LAYOUT).remove(0)
}

/// What is left, as text: keys are region/place, `-` is a cell that isn't written.
fn text(batch: &Batch) -> String {
    let net = netted(batch);
    if net.ordered {
        return "one by one".to_owned();
    }
    let cell = |cell: Cell| batch.value(cell).map_or("-".to_owned(), |value| value[0].to_string());
    let key = |row| net.key(row).iter().map(|at| cell(*at)).collect::<Vec<_>>().join("/");
    let cells = |row| net.cells(batch, row).iter().map(|at| cell(*at)).collect::<Vec<_>>().join(" ");
    let mut text: Vec<String> = net.deletes.iter().map(|row| format!("delete {}", key(*row))).collect();
    for group in &net.updates {
        text.extend(
            group.rows.iter().map(|row| format!("update {} columns {:?} to {}", key(*row), group.columns, cells(*row))),
        );
    }
    text.extend(net.inserts.iter().map(|row| format!("insert {} as {}", cells(*row), key(*row))));
    text.join("; ")
}

#[test]
fn rows_that_differ_in_one_column_of_the_key_are_two() {
    let mut batch = Batch::default();
    delete(&mut batch, 1, 1);
    delete(&mut batch, 1, 2);
    delete(&mut batch, 2, 1);
    update(&mut batch, [Is(2), Is(9), Is(2)]);
    assert_eq!(text(&batch), "delete 1/1; delete 1/2; delete 2/1; update 2/2 columns [1] to 2 9 2");
}

#[test]
fn a_column_of_the_key_that_the_log_left_out_is_what_it_was_before() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 1), [Is(4), Is(9), Unchanged]);
    moved(&mut batch, (7, 4), [Unchanged, Is(8), Is(6)]);
    delete(&mut batch, 6, 4);
    assert_eq!(text(&batch), "delete 7/1");
}

#[test]
fn the_second_column_of_the_key_that_the_log_left_out_is_what_it_was_before() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 1), [Unchanged, Is(8), Is(6)]);
    delete(&mut batch, 6, 1);
    assert_eq!(text(&batch), "delete 7/1");
}

#[test]
fn a_row_that_is_deleted_and_comes_back_is_updated() {
    let mut batch = Batch::default();
    delete(&mut batch, 7, 1);
    insert(&mut batch, [Is(1), Is(5), Is(7)]);
    assert_eq!(text(&batch), "update 7/1 columns [1] to 1 5 7");
}

#[test]
fn a_row_that_moves_in_one_column_of_its_key_is_found_by_the_old_key() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 1), [Is(4), Is(9), Is(7)]);
    update(&mut batch, [Is(4), Is(5), Is(7)]);
    assert_eq!(text(&batch), "update 7/1 columns [0, 1, 2] to 4 5 7");
}

#[test]
fn a_row_that_moves_away_and_back_keeps_its_key() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 1), [Is(4), Is(9), Is(7)]);
    moved(&mut batch, (7, 4), [Is(1), Is(9), Is(7)]);
    assert_eq!(text(&batch), "update 7/1 columns [1] to 1 9 7");
}

#[test]
fn a_row_that_takes_the_place_of_one_that_moves_on_goes_one_by_one() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 2), [Is(3), Is(9), Is(7)]);
    moved(&mut batch, (7, 1), [Is(2), Is(9), Is(7)]);
    assert_eq!(text(&batch), "one by one");
}

#[test]
fn rows_that_move_to_free_places_go_together() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 2), [Is(3), Is(9), Is(7)]);
    moved(&mut batch, (7, 1), [Is(2), Is(9), Is(8)]);
    assert_eq!(text(&batch), "update 7/2 columns [0, 1, 2] to 3 9 7; update 7/1 columns [0, 1, 2] to 2 9 8");
}

#[test]
fn a_place_that_was_left_and_taken_by_an_insert_is_the_new_rows() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 1), [Is(2), Is(9), Is(7)]);
    insert(&mut batch, [Is(1), Is(5), Is(7)]);
    update(&mut batch, [Is(1), Is(6), Is(7)]);
    assert_eq!(text(&batch), "update 7/1 columns [0, 1, 2] to 2 9 7; insert 1 6 7 as 7/1");
}

#[test]
fn a_move_onto_a_row_that_is_there_goes_one_by_one() {
    let mut batch = Batch::default();
    insert(&mut batch, [Is(2), Is(5), Is(7)]);
    moved(&mut batch, (7, 1), [Is(2), Is(9), Is(7)]);
    assert_eq!(text(&batch), "one by one");
}

#[test]
fn a_key_with_a_null_goes_one_by_one() {
    let mut batch = Batch::default();
    insert(&mut batch, [Null, Is(5), Is(7)]);
    assert_eq!(text(&batch), "one by one");
}

#[test]
fn a_key_that_nothing_tells_goes_one_by_one() {
    let mut batch = Batch::default();
    update(&mut batch, [Is(1), Is(5), Unchanged]);
    assert_eq!(text(&batch), "one by one");
}

#[test]
fn what_happens_to_a_row_after_its_delete_goes_one_by_one() {
    for kind in [ChangeKind::Update, ChangeKind::Delete] {
        let mut batch = Batch::default();
        delete(&mut batch, 7, 1);
        let row = Some([Is(1), Is(5), Is(7)]);
        push(&mut batch, kind, row.filter(|_| kind == ChangeKind::Delete), row);
        assert_eq!(text(&batch), "one by one", "{kind:?}");
    }
}

#[test]
fn an_insert_that_is_not_whole_leaves_no_sets() {
    let mut batch = Batch::default();
    delete(&mut batch, 1, 1);
    update(&mut batch, [Is(2), Is(9), Is(2)]);
    insert(&mut batch, [Is(1), Unchanged, Is(7)]);
    let net = netted(&batch);
    assert!(net.ordered && net.deletes.is_empty() && net.updates.is_empty() && net.inserts.is_empty());
    assert_eq!(net.changes, vec![0, 1, 2]);
}

#[test]
fn an_update_that_changes_nothing_still_asks_for_its_row() {
    let mut batch = Batch::default();
    update(&mut batch, [Is(2), Unchanged, Is(7)]);
    assert_eq!(text(&batch), "update 7/2 columns [0, 2] to 2 - 7");
}

#[test]
fn a_column_of_the_key_that_the_log_left_out_is_not_set() {
    let mut batch = Batch::default();
    moved(&mut batch, (7, 1), [Is(1), Unchanged, Unchanged]);
    assert_eq!(text(&batch), "update 7/1 columns [0] to 1 - -");
}

#[test]
fn updates_of_the_same_columns_are_one_statement() {
    let mut batch = Batch::default();
    update(&mut batch, [Is(1), Is(9), Is(7)]);
    update(&mut batch, [Is(2), Unchanged, Is(7)]);
    update(&mut batch, [Is(3), Is(8), Is(7)]);
    let net = netted(&batch);
    let groups: Vec<_> = net.updates.iter().map(|group| (group.columns.clone(), group.rows.len())).collect();
    assert_eq!(groups, vec![(vec![1], 2), (vec![0, 2], 1)]);
}

#[test]
fn each_table_is_netted_for_itself_in_the_order_of_first_changes() {
    let mut batch = Batch::default();
    for table in [2, 0, 2] {
        let old = batch.begin_row();
        for value in [table, 0, 7] {
            batch.push_value(&[value]);
        }
        batch.push_change(TableId(u32::from(table)), ChangeKind::Delete, Some(old), None);
    }
    let nets = net(&batch, batch.changes().iter().enumerate(), |_| LAYOUT);
    let found: Vec<_> = nets.iter().map(|net| (net.table, net.changes.clone(), net.ordered)).collect();
    assert_eq!(found, vec![(TableId(2), vec![0, 2], true), (TableId(0), vec![1], false)]);
}
