//! Transactions that a server left without an end when it died. MariaDB leaves such at the end of a file.

use super::*;
use crate::gtid::{Domains, Executed};

/// What a file begins with, without sums, behind the word that it is read.
fn next_file() -> [Vec<u8>; 2] {
    let rotation = event(ROTATE, 0, &[&4_u64.to_le_bytes()[..], b"bin.000002"].concat());
    [rotation, within(15, &[&[4, 0][..], &[0; 54], &[19], &[0; 40], &[0], &[0; 4]].concat())]
}

fn number(number: u64) -> Vec<u8> {
    within(162, &[&number.to_le_bytes()[..], &[0; 4], &[0]].concat())
}

fn transaction(number: u64, ids: std::ops::Range<i32>) -> Vec<Vec<u8>> {
    vec![self::number(number), announced(), inserted(ids), xid()]
}

fn unfinished(number: u64, ids: std::ops::Range<i32>) -> Vec<Vec<u8>> {
    transaction(number, ids)[..3].to_vec()
}

/// Takes events that end at 200, 300 and so on in the file that each is in.
fn take(assembler: &mut Assembler, events: &[Vec<u8>]) {
    take_from(2, assembler, events);
}

fn take_from(first: u32, assembler: &mut Assembler, events: &[Vec<u8>]) {
    for (at, event) in (first..).zip(events) {
        let next = if event[4] == ROTATE { 0 } else { at * 100 };
        assembler.event(&up_to(next, event.clone())).unwrap();
    }
}

fn ids(taken: &Taken) -> Vec<u8> {
    let change = |change| taken.batch.new_row(change, 1).and_then(|cells| taken.batch.value(cells[0])).unwrap()[3];
    taken.batch.changes().iter().map(change).collect()
}

#[test]
fn what_a_file_leaves_without_an_end_never_was() {
    let mut assembler = assembler();
    take(
        &mut assembler,
        &[transaction(1, 1..2), unfinished(2, 2..5), next_file().to_vec(), transaction(2, 7..9)].concat(),
    );
    let taken = assembler.take();
    assert_eq!(ids(&taken), [1, 7, 8]);
    assert_eq!(taken.batch.transactions().len(), 2);
    assert_eq!(taken.barriers, []);
}

#[test]
fn its_number_is_the_next_ones() {
    let executed = |number| Executed::Mariadb(Domains::parse(&format!("0-7-{number}")).unwrap());
    let start = Start { executed: executed(4), ..Start::at(place(100)) };
    let mut assembler = Assembler::new(&[plan()], start, rules(TaskSettings::default()));
    take(&mut assembler, &[unfinished(5, 2..5), next_file().to_vec()].concat());
    assert!(assembler.has_progress());
    assert_eq!(Memo::of(&assembler.position()).unwrap().1, executed(4));
    take_from(7, &mut assembler, &transaction(5, 7..8));
    assert_eq!(Memo::of(&assembler.position()).unwrap().1, executed(5));
}

#[test]
fn what_has_no_end_before_another_begins_never_was() {
    let begin = || vec![statement("BEGIN"), announced(), inserted(3..4), xid()];
    for next in [transaction(2, 3..4), begin(), prepared(A, 3..4, 1)] {
        let mut assembler = assembler();
        take(&mut assembler, &[unfinished(1, 1..3), next].concat());
        assert_eq!(ids(&assembler.take()), [3]);
    }
}

#[test]
fn what_was_prepared_before_it_stays_so() {
    let mut assembler = assembler();
    let unfinished_branch = prepared(B, 5..6, 0)[..3].to_vec();
    let events =
        [prepared(A, 0..2, 0), unfinished(2, 2..5), next_file().to_vec(), unfinished_branch, next_file().to_vec()];
    take(&mut assembler, &[&events.concat()[..], &[commit(A)]].concat());
    assert_eq!(ids(&assembler.take()), [0, 1]);
}

#[test]
fn what_was_given_out_of_it_ends_the_tables() {
    let mut assembler = assembler();
    take(&mut assembler, &unfinished(1, 1..3));
    assert!(assembler.take().open_end.is_some());
    take(&mut assembler, &[next_file().to_vec(), transaction(1, 7..8)].concat());
    let taken = assembler.take();
    assert_eq!(taken.barriers[0].1.code, "transaction-not-followed");
    assert_eq!(taken.batch.changes().len(), 1);
}
