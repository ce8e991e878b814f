//! Properties of the decoder: what was encoded comes back, and nothing makes it panic.

use std::fmt::Debug;

use proptest::prelude::*;

use super::encoder::{CellSpec, ColumnSpec, Encoder};
use super::{Cell, Column, Message, OldRow, Reason, ReplicaIdentity, Tuple, decode};

fn cell() -> impl Strategy<Value = CellSpec> {
    prop_oneof![
        Just(CellSpec::Null),
        Just(CellSpec::Unchanged),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(CellSpec::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(CellSpec::Binary),
    ]
}

fn row() -> impl Strategy<Value = Vec<CellSpec>> {
    prop::collection::vec(cell(), 0..12)
}

fn text() -> impl Strategy<Value = String> {
    "[^\\x00]{0,20}"
}

fn column() -> impl Strategy<Value = ColumnSpec> {
    (any::<bool>(), text(), any::<u32>(), any::<i32>())
}

fn same(tuple: &Tuple<'_>, cells: &[CellSpec]) -> Result<(), TestCaseError> {
    prop_assert_eq!(tuple.len(), cells.len());
    prop_assert_eq!(tuple.cells().count(), cells.len());
    for (found, cell) in tuple.cells().zip(cells) {
        let expected = match cell {
            CellSpec::Null => Cell::Null,
            CellSpec::Unchanged => Cell::Unchanged,
            CellSpec::Text(bytes) => Cell::Text(bytes),
            CellSpec::Binary(bytes) => Cell::Binary(bytes),
        };
        prop_assert_eq!(found, expected);
    }
    Ok(())
}

/// Every shorter form of a whole message is refused as cut off, at a byte inside it; one byte more as trailing.
fn only_whole(bytes: &[u8], in_stream: bool) -> Result<(), TestCaseError> {
    for length in 0..bytes.len() {
        let error = decode(&bytes[..length], in_stream).unwrap_err();
        prop_assert!(matches!(error.reason, Reason::Truncated(_)), "{length}: {error}");
        prop_assert!(error.at <= length);
    }
    let longer = [bytes, b"\0"].concat();
    prop_assert_eq!(decode(&longer, in_stream).unwrap_err().reason, Reason::Trailing(1));
    Ok(())
}

fn expect<T: PartialEq + Debug>(found: T, expected: T) -> Result<(), TestCaseError> {
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_give_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), in_stream: bool) {
        let _ = decode(&bytes, in_stream);
    }

    #[test]
    fn any_bytes_after_a_known_tag_give_a_message_or_an_error(
        tag in prop::sample::select(b"BCORYIUDTMSEcA".to_vec()),
        rest in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>(), 1 => Just(b'N')], 0..60),
        in_stream: bool,
    ) {
        let bytes = [&[tag][..], &rest].concat();
        if let Ok(Message::Insert(_, insert)) = decode(&bytes, in_stream) {
            prop_assert_eq!(insert.new.cells().count(), insert.new.len());
        }
    }

    #[test]
    fn a_recorded_message_with_bytes_changed_gives_a_message_or_an_error(
        number: prop::sample::Index,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..5, prop::collection::vec(any::<u8>(), 0..5)), 1..4),
        in_stream: bool,
    ) {
        let messages = super::recorded::bytes();
        let mut bytes = messages[number.index(messages.len())].to_vec();
        for (place, away, new) in edits {
            let from = place.index(bytes.len() + 1);
            let to = bytes.len().min(from + away);
            bytes.splice(from..to, new);
        }
        match decode(&bytes, in_stream) {
            Ok(Message::Insert(_, insert)) => prop_assert_eq!(insert.new.cells().count(), insert.new.len()),
            Ok(Message::Update(_, update)) => prop_assert_eq!(update.new.cells().count(), update.new.len()),
            Ok(Message::Relation(_, relation)) => drop(relation.columns.iter().count()),
            Ok(Message::Truncate(_, truncate)) => drop(truncate.relations.iter().count()),
            Ok(_) => {}
            Err(error) => prop_assert!(error.at <= bytes.len()),
        }
    }

    #[test]
    fn an_insert_comes_back(xid: Option<u32>, relation: u32, cells in row()) {
        let bytes = Encoder::new(b'I').xid(xid).int32(relation).int8(b'N').tuple(&cells).finish();
        let Message::Insert(found, insert) = decode(&bytes, xid.is_some()).unwrap() else { panic!("not an insert") };
        expect((found, insert.relation), (xid, relation))?;
        same(&insert.new, &cells)?;
        only_whole(&bytes, xid.is_some())?;
    }

    #[test]
    fn an_update_comes_back(
        xid: Option<u32>, relation: u32, old in prop::option::of((any::<bool>(), row())), new in row(),
    ) {
        let mut encoder = Encoder::new(b'U').xid(xid).int32(relation);
        if let Some((full, cells)) = &old {
            encoder = encoder.int8(if *full { b'O' } else { b'K' }).tuple(cells);
        }
        let bytes = encoder.int8(b'N').tuple(&new).finish();
        let Message::Update(found, update) = decode(&bytes, xid.is_some()).unwrap() else { panic!("not an update") };
        expect((found, update.relation), (xid, relation))?;
        same(&update.new, &new)?;
        match (update.old, &old) {
            (None, None) => {}
            (Some(OldRow::Full(tuple)), Some((true, cells))) | (Some(OldRow::Key(tuple)), Some((false, cells))) => {
                same(&tuple, cells)?;
            }
            other => prop_assert!(false, "{other:?}"),
        }
        only_whole(&bytes, xid.is_some())?;
    }

    #[test]
    fn a_delete_comes_back(xid: Option<u32>, relation: u32, full: bool, old in row()) {
        let mark = if full { b'O' } else { b'K' };
        let bytes = Encoder::new(b'D').xid(xid).int32(relation).int8(mark).tuple(&old).finish();
        let Message::Delete(found, delete) = decode(&bytes, xid.is_some()).unwrap() else { panic!("not a delete") };
        expect((found, delete.relation), (xid, relation))?;
        match delete.old {
            OldRow::Full(tuple) if full => same(&tuple, &old)?,
            OldRow::Key(tuple) if !full => same(&tuple, &old)?,
            other => prop_assert!(false, "{other:?}"),
        }
        only_whole(&bytes, xid.is_some())?;
    }

    #[test]
    fn a_relation_comes_back(
        xid: Option<u32>, id: u32, namespace in text(), name in text(),
        identity in prop::sample::select(vec![
            (b'd', ReplicaIdentity::Default), (b'n', ReplicaIdentity::Nothing),
            (b'f', ReplicaIdentity::Full), (b'i', ReplicaIdentity::Index),
        ]),
        columns in prop::collection::vec(column(), 0..10),
    ) {
        let bytes = Encoder::new(b'R').xid(xid).int32(id).string(&namespace).string(&name).int8(identity.0)
            .columns(&columns).finish();
        let Message::Relation(found, body) = decode(&bytes, xid.is_some()).unwrap() else { panic!("no relation") };
        expect((found, body.id, body.namespace, body.name), (xid, id, &*namespace, &*name))?;
        expect(body.replica_identity, identity.1)?;
        expect(body.columns.len(), columns.len())?;
        let expected: Vec<_> = columns.iter()
            .map(|(key, name, type_id, modifier)| Column { key: *key, name, type_id: *type_id, modifier: *modifier })
            .collect();
        expect(body.columns.iter().collect::<Vec<_>>(), expected)?;
        only_whole(&bytes, xid.is_some())?;
    }

    #[test]
    fn a_type_comes_back(xid: Option<u32>, id: u32, namespace in text(), name in text()) {
        let bytes = Encoder::new(b'Y').xid(xid).int32(id).string(&namespace).string(&name).finish();
        let Message::Type(found, body) = decode(&bytes, xid.is_some()).unwrap() else { panic!("not a type") };
        expect((found, body.id, body.namespace, body.name), (xid, id, &*namespace, &*name))?;
        only_whole(&bytes, xid.is_some())?;
    }

    #[test]
    fn a_truncate_comes_back(xid: Option<u32>, options in 0u8..4, ids in prop::collection::vec(any::<u32>(), 0..6)) {
        let count = u32::try_from(ids.len()).unwrap();
        let bytes = ids.iter()
            .fold(Encoder::new(b'T').xid(xid).int32(count).int8(options), |encoder, id| encoder.int32(*id)).finish();
        let Message::Truncate(found, body) = decode(&bytes, xid.is_some()).unwrap() else { panic!("no truncate") };
        expect((found, body.cascade, body.restart_identity), (xid, options & 1 != 0, options & 2 != 0))?;
        expect(body.relations.iter().collect::<Vec<_>>(), ids)?;
        only_whole(&bytes, xid.is_some())?;
    }

    #[test]
    fn a_logical_message_comes_back(
        xid: Option<u32>, transactional: bool, lsn: u64, prefix in text(),
        content in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let bytes = Encoder::new(b'M').xid(xid).int8(u8::from(transactional)).int64(lsn).string(&prefix)
            .counted(&content).finish();
        let Message::LogicalMessage(found, body) = decode(&bytes, xid.is_some()).unwrap() else { panic!("other") };
        expect((found, body.transactional, body.lsn, body.prefix, body.content),
            (xid, transactional, lsn, &*prefix, &*content))?;
        only_whole(&bytes, xid.is_some())?;
    }

    #[test]
    fn what_frames_transactions_comes_back(lsn: u64, end: u64, time: i64, xid: u32, subxid: u32, first: bool,
        name in text(), in_stream: bool) {
        let clock = time.cast_unsigned();
        let cases = [
            (Encoder::new(b'B').int64(lsn).int64(clock).int32(xid).finish(),
             Message::Begin(super::Begin { final_lsn: lsn, time, xid })),
            (Encoder::new(b'C').int8(0).int64(lsn).int64(end).int64(clock).finish(),
             Message::Commit(super::Commit { commit_lsn: lsn, end_lsn: end, time })),
            (Encoder::new(b'O').int64(lsn).string(&name).finish(),
             Message::Origin(super::Origin { lsn, name: &name })),
            (Encoder::new(b'S').int32(xid).int8(u8::from(first)).finish(),
             Message::StreamStart(super::StreamStart { xid, first })),
            (Encoder::new(b'E').finish(), Message::StreamStop),
            (Encoder::new(b'c').int32(xid).int8(0).int64(lsn).int64(end).int64(clock).finish(),
             Message::StreamCommit(super::StreamCommit { xid, commit_lsn: lsn, end_lsn: end, time })),
            (Encoder::new(b'A').int32(xid).int32(subxid).finish(),
             Message::StreamAbort(super::StreamAbort { xid, subxid })),
        ];
        for (bytes, expected) in &cases {
            expect(decode(bytes, in_stream).unwrap(), *expected)?;
            only_whole(bytes, in_stream)?;
        }
    }
}
