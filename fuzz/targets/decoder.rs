//! Bytes that claim to be pgoutput messages. The first byte says whether they come inside of a streamed transaction.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavemark_connector_postgres::pgoutput::{Message, OldRow, Tuple, decode};

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    match decode(bytes, first & 1 == 1) {
        Ok(message) => walk(message),
        Err(error) => {
            assert!(error.at <= bytes.len());
            assert!(!error.to_string().is_empty());
        }
    }
});

fn walk(message: Message<'_>) {
    match message {
        Message::Insert(_, insert) => cells(&insert.new),
        Message::Update(_, update) => {
            cells(&update.new);
            update.old.iter().for_each(old);
        }
        Message::Delete(_, delete) => old(&delete.old),
        Message::Relation(_, relation) => {
            assert!(relation.columns.iter().all(|column| !column.name.contains('\0')));
        }
        Message::Truncate(_, truncate) => drop(truncate.relations.iter().count()),
        _ => {}
    }
}

fn old(row: &OldRow<'_>) {
    let (OldRow::Key(tuple) | OldRow::Full(tuple)) = row;
    cells(tuple);
}

fn cells(tuple: &Tuple<'_>) {
    assert_eq!(tuple.cells().count(), tuple.len());
}
