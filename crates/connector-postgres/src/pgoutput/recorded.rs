//! The decoder against what a PostgreSQL 15 sent. How it was recorded: `tests/fixtures/README.md`. The expected
//! values were written by hand from the recorded statements and the OIDs that the server's catalog gave.

use super::{
    Begin, Cell, Column, Commit, Delete, Insert, LogicalMessage, Message, OldRow, RelationBody, ReplicaIdentity, Tuple,
    TypeBody, Update, decode,
};

const RECORDED: &[u8] = include_bytes!("../../tests/fixtures/pgoutput-15.bin");
const MOOD: u32 = 16385;
const ITEM: u32 = 16389;
const WHOLE: u32 = 16396;
/// numeric 12.50: two digits of base 10000 (12, 5000), weight 0, positive, two decimals.
const PRICE: &[u8] = &[0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 0x13, 0x88];
/// numeric -1.
const MINUS_ONE: &[u8] = &[0, 1, 0, 0, 0x40, 0, 0, 0, 0, 1];
/// numeric NaN.
const NAN: &[u8] = &[0, 0, 0, 0, 0xC0, 0, 0, 0];

/// Each message's bytes.
pub(super) fn bytes() -> Vec<&'static [u8]> {
    let mut rest = RECORDED;
    let mut messages = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (message, tail) = tail.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        messages.push(message);
        rest = tail;
    }
    messages
}

fn messages() -> Vec<Message<'static>> {
    bytes().into_iter().map(|message| decode(message, false).unwrap()).collect()
}

fn cells(tuple: Tuple<'static>) -> Vec<Cell<'static>> {
    tuple.cells().collect()
}

fn int(value: &'static [u8]) -> Cell<'static> {
    Cell::Binary(value)
}

#[test]
fn the_recording_has_the_statements_in_their_order() {
    let kinds: Vec<_> = messages()
        .iter()
        .map(|message| match message {
            Message::Begin(_) => "begin",
            Message::Commit(_) => "commit",
            Message::Type(None, _) => "type",
            Message::Relation(None, _) => "relation",
            Message::Insert(None, _) => "insert",
            Message::Update(None, _) => "update",
            Message::Delete(None, _) => "delete",
            Message::Truncate(None, _) => "truncate",
            Message::LogicalMessage(None, _) => "message",
            other => panic!("{other:?} was not recorded"),
        })
        .collect();
    let first = ["begin", "type", "relation", "insert", "insert", "update", "update", "delete", "message", "commit"];
    let second = ["begin", "relation", "insert", "update", "delete", "commit"];
    let third = ["begin", "type", "relation", "relation", "truncate", "commit"];
    assert_eq!(kinds, [&first[..], &["message"], &second, &third].concat());
}

#[test]
fn transactions_carry_their_positions_times_and_numbers() {
    let messages = messages();
    let time = 0x0003_03C4_D5A3_0ECC;
    assert_eq!(messages[0], Message::Begin(Begin { final_lsn: 0x0153_4B90, time, xid: 730 }));
    assert_eq!(messages[9], Message::Commit(Commit { commit_lsn: 0x0153_4B90, end_lsn: 0x0153_4BC0, time }));
}

#[test]
fn relations_and_types_are_described() {
    let messages = messages();
    assert_eq!(messages[1], Message::Type(None, TypeBody { id: MOOD, namespace: "public", name: "mood" }));
    let Message::Relation(_, item) = messages[2] else { panic!("{:?}", messages[2]) };
    let RelationBody { id, namespace, name, replica_identity, columns } = item;
    assert_eq!((id, namespace, name, replica_identity), (ITEM, "public", "item", ReplicaIdentity::Default));
    let column = |key, name, type_id, modifier| Column { key, name, type_id, modifier };
    let expected = [
        column(true, "id", 23, -1),
        // varchar(20) is kept with the four bytes of its header counted in.
        column(false, "name", 1043, 24),
        column(false, "price", 1700, -1),
        column(false, "mood", MOOD, -1),
        column(false, "big", 25, -1),
    ];
    assert_eq!(columns.iter().collect::<Vec<_>>(), expected);
    let Message::Relation(_, whole) = messages[12] else { panic!("{:?}", messages[12]) };
    assert_eq!((whole.id, whole.replica_identity), (WHOLE, ReplicaIdentity::Full));
    assert!(whole.columns.iter().all(|column| column.key));
}

#[test]
fn rows_have_their_values_nulls_and_unchanged_cells() {
    let messages = messages();
    let Message::Insert(_, Insert { relation: ITEM, new }) = messages[3] else { panic!("{:?}", messages[3]) };
    let big = [b'x'; 2100];
    let [name, ok, bad] = ["é", "ok", "bad"].map(|text| Cell::Binary(text.as_bytes()));
    assert_eq!(cells(new), [int(b"\0\0\0\x01"), name, Cell::Binary(PRICE), ok, Cell::Binary(&big)]);
    let Message::Insert(_, Insert { relation: ITEM, new }) = messages[4] else { panic!("{:?}", messages[4]) };
    assert_eq!(cells(new), [int(b"\0\0\0\x02"), Cell::Null, Cell::Binary(NAN), bad, Cell::Null]);
    // The long text was not touched, so the log does not have it.
    let Message::Update(_, Update { relation: ITEM, old: None, new }) = messages[5] else {
        panic!("{:?}", messages[5])
    };
    assert_eq!(cells(new), [int(b"\0\0\0\x01"), name, Cell::Binary(MINUS_ONE), ok, Cell::Unchanged]);
}

#[test]
fn old_rows_are_keys_or_whole() {
    let messages = messages();
    let Message::Update(_, update) = messages[6] else { panic!("{:?}", messages[6]) };
    let Some(OldRow::Key(old)) = update.old else { panic!("{update:?}") };
    assert_eq!(cells(old), [int(b"\0\0\0\x02"), Cell::Null, Cell::Null, Cell::Null, Cell::Null]);
    assert_eq!(cells(update.new)[0], int(b"\0\0\0\x03"));
    let Message::Delete(_, Delete { relation: ITEM, old: OldRow::Key(old) }) = messages[7] else {
        panic!("{:?}", messages[7])
    };
    assert_eq!(cells(old)[0], int(b"\0\0\0\x03"));
    let Message::Update(_, update) = messages[14] else { panic!("{:?}", messages[14]) };
    let Some(OldRow::Full(old)) = update.old else { panic!("{update:?}") };
    assert_eq!(cells(old), [int(b"\0\0\0\x01"), Cell::Binary(b"a")]);
    assert_eq!(cells(update.new), [int(b"\0\0\0\x01"), Cell::Null]);
    let Message::Delete(_, Delete { relation: WHOLE, old: OldRow::Full(old) }) = messages[15] else {
        panic!("{:?}", messages[15])
    };
    assert_eq!(cells(old), [int(b"\0\0\0\x01"), Cell::Null]);
}

#[test]
fn messages_and_truncates_are_read() {
    let messages = messages();
    let inside = LogicalMessage { transactional: true, lsn: 0x0153_4B90, prefix: "inside", content: b"in" };
    assert_eq!(messages[8], Message::LogicalMessage(None, inside));
    let outside = LogicalMessage { transactional: false, lsn: 0x0153_4C00, prefix: "outside", content: &[0, 255] };
    assert_eq!(messages[10], Message::LogicalMessage(None, outside));
    let Message::Truncate(_, truncate) = messages[21] else { panic!("{:?}", messages[21]) };
    assert!(truncate.cascade && truncate.restart_identity);
    assert_eq!(truncate.relations.iter().collect::<Vec<_>>(), [ITEM, WHOLE]);
}
