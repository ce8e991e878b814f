//! Transactions out of events that are written here byte by byte.

use proptest::prelude::*;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Column, ColumnPlan, Encoding, Table};

use super::*;

const QUERY: u8 = 2;
const ROTATE: u8 = 4;
const XID: u8 = 16;
const TABLE_MAP: u8 = 19;
const WRITE_ROWS: u8 = 30;
const PAYLOAD: u8 = 40;

/// `shop.t (id int PRIMARY KEY)`.
fn plan() -> TablePlan {
    let id = Column {
        name: "id".to_owned(),
        declared: "int".to_owned(),
        not_null: true,
        generated: false,
        native: serde_json::json!({"data_type": "int"}),
    };
    let table = Table {
        name: TableName::new("shop", "t"),
        kind: TableKind::Table,
        columns: vec![id],
        key: vec!["id".to_owned()],
        rows_estimated: None,
        bytes_estimated: None,
        native: serde_json::Value::Null,
    };
    TablePlan {
        id: TableId(0),
        source: Arc::new(table),
        declared: None,
        target: TableName::new("shop", "t"),
        columns: vec![ColumnPlan { source: 0, target_name: "id".to_owned(), encoding: Encoding::named("x") }],
        key: vec![0],
        rows: None,
        schema_version: 1,
    }
}

fn assembler() -> Assembler {
    Assembler::new(&[plan()], place(100))
}

fn place(offset: u64) -> Place {
    Place::new("bin.000001", offset, "s").unwrap()
}

fn event(kind: u8, next: u32, body: &[u8]) -> Vec<u8> {
    let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
    event.push(kind);
    event.extend(7_u32.to_le_bytes());
    event.extend(u32::try_from(19 + body.len()).unwrap().to_le_bytes());
    event.extend(next.to_le_bytes());
    event.extend([0, 0]);
    event.extend(body);
    event
}

/// Events within another say places that are none.
fn within(kind: u8, body: &[u8]) -> Vec<u8> {
    event(kind, 4_711, body)
}

fn statement(text: &str) -> Vec<u8> {
    within(QUERY, &[&[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0][..], b"shop\0", text.as_bytes()].concat())
}

fn announced() -> Vec<u8> {
    within(TABLE_MAP, &[&[7, 0, 0, 0, 0, 0, 1, 0, 4][..], b"shop\0", &[1], b"t\0", &[1, 3, 0, 0]].concat())
}

fn inserted(ids: std::ops::Range<i32>) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1];
    for id in ids {
        body.push(0);
        body.extend(id.to_le_bytes());
    }
    within(WRITE_ROWS, &body)
}

fn payload(next: u32, events: &[Vec<u8>]) -> Bytes {
    let packed = zstd::encode_all(events.concat().as_slice(), 3).unwrap();
    let mut body = vec![2, 1, 0, 1, 4, 0xFD];
    body.extend(&u32::try_from(packed.len()).unwrap().to_le_bytes()[..3]);
    body.push(0);
    body.extend(packed);
    event(PAYLOAD, next, &body).into()
}

fn all(assembler: &mut Assembler, event: &Bytes) -> Result<(), Problem> {
    assembler.event(event)?;
    while assembler.packed_event()? {}
    Ok(())
}

#[test]
fn a_compressed_transaction_ends_where_its_event_ends() {
    let mut assembler = assembler();
    let events = [statement("BEGIN"), announced(), inserted(0..2), inserted(2..5), within(XID, &[0; 8])];
    all(&mut assembler, &payload(900, &events)).unwrap();
    all(&mut assembler, &payload(1_500, &events)).unwrap();
    let taken = assembler.take();
    let ends: Vec<_> = taken.batch.transactions().iter().map(|mark| (mark.end.clone(), mark.changes_end)).collect();
    assert_eq!(ends, [(place(900).to_position(), 5), (place(1_500).to_position(), 10)]);
    assert!(taken.batch.transactions().iter().all(|mark| mark.committed_at == 1_700_000_000_000_000));
    assert!(!taken.batch.is_open());
    assert_eq!(assembler.position(), place(1_500).to_position());
}

#[test]
fn what_is_not_unpacked_yet_is_no_progress() {
    let mut assembler = assembler();
    let events = [statement("BEGIN"), announced(), inserted(0..2), within(XID, &[0; 8])];
    assembler.event(&payload(900, &events)).unwrap();
    for _ in 0..2 {
        assert!(!assembler.has_progress());
        assert!(assembler.take().batch.is_empty());
        assert!(assembler.packed_event().unwrap());
    }
    assert!(assembler.packed_event().unwrap());
    let taken = assembler.take();
    assert_eq!((taken.batch.changes().len(), taken.batch.transactions().len()), (2, 0));
    assert_eq!(taken.open_end, Some(place(101).to_position()));
    while assembler.packed_event().unwrap() {}
    let taken = assembler.take();
    assert_eq!(taken.batch.transactions().len(), 1);
    assert_eq!(taken.batch.transactions()[0].end, place(900).to_position());
}

#[test]
fn a_large_compressed_transaction_is_given_out_while_it_is_unpacked() {
    let mut assembler = assembler();
    let mut events = vec![statement("BEGIN"), announced()];
    events.extend((0..100).map(|at| inserted(at * 100..at * 100 + 100)));
    events.push(within(XID, &[0; 8]));
    assembler.event(&payload(900, &events)).unwrap();
    let (mut changes, mut ends) = (0, Vec::new());
    while assembler.packed_event().unwrap() {
        if assembler.bytes() >= 10_000 {
            let taken = assembler.take();
            assert!(taken.batch.bytes() < 20_000);
            changes += taken.batch.changes().len();
            ends.extend(taken.batch.transactions().to_vec());
        }
    }
    let taken = assembler.take();
    changes += taken.batch.changes().len();
    ends.extend(taken.batch.transactions().to_vec());
    assert_eq!(changes, 10_000);
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].end, place(900).to_position());
    assert_eq!(assembler.packed_bytes(), 0);
}

#[test]
fn what_is_more_or_less_than_one_transaction_is_refused() {
    let xid = within(XID, &[0; 8]);
    let whole = [statement("BEGIN"), announced(), inserted(0..2), xid.clone()];
    let nested = payload(900, &whole).to_vec();
    let rotation = within(ROTATE, &[&4_u64.to_le_bytes()[..], b"bin.000009"].concat());
    for events in [
        whole[..3].to_vec(),
        [whole.to_vec(), whole.to_vec()].concat(),
        [whole.to_vec(), vec![inserted(3..4)]].concat(),
        vec![statement("BEGIN"), nested, xid.clone()],
        vec![statement("BEGIN"), rotation, xid],
    ] {
        let problem = all(&mut assembler(), &payload(900, &events)).unwrap_err();
        assert_eq!(problem.code, "log-malformed");
        assert!(problem.to_string().contains("bin.000001:100"), "{problem}");
    }
}

#[test]
fn what_is_prepared_is_not_given_as_if_it_were_committed() {
    let mut assembler = assembler();
    for (at, written) in [statement("XA START X'61',X'',1"), announced(), inserted(0..2)].iter().enumerate() {
        let mut written = written.clone();
        written[13..17].copy_from_slice(&(200 + u32::try_from(at).unwrap()).to_le_bytes());
        assembler.event(&written.into()).unwrap();
    }
    assert!(!assembler.has_progress());
    assembler.event(&statement("XA END X'61',X'',1").into()).unwrap();
    let taken = assembler.take();
    let kinds: Vec<_> = taken.batch.changes().iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Barrier]);
    assert_eq!(taken.barriers[0].1.code, "transaction-not-followed");
}

/// The event as it stands in the file, up to `next`.
fn up_to(next: u32, mut event: Vec<u8>) -> Bytes {
    event[13..17].copy_from_slice(&next.to_le_bytes());
    event.into()
}

#[test]
fn a_transaction_of_which_all_was_given_out_ends_before_the_next_begins() {
    let mut assembler = assembler();
    for (next, written) in [(200, statement("BEGIN")), (300, announced()), (400, inserted(0..2))] {
        assembler.event(&up_to(next, written)).unwrap();
    }
    assert_eq!(assembler.take().open_end, Some(place(101).to_position()));
    for (next, written) in
        [(500, within(XID, &[0; 8])), (600, statement("BEGIN")), (700, inserted(2..3)), (800, within(XID, &[0; 8]))]
    {
        assembler.event(&up_to(next, written)).unwrap();
    }
    let taken = assembler.take();
    let ends: Vec<_> = taken.batch.transactions().iter().map(|mark| (mark.end.clone(), mark.changes_end)).collect();
    assert_eq!(ends, [(place(500).to_position(), 0), (place(800).to_position(), 1)]);
}

#[test]
fn a_place_that_goes_back_is_refused() {
    let mut assembler = assembler();
    assembler.event(&up_to(4_000_000_000, statement("BEGIN"))).unwrap();
    // The server counts in 32 bits: beyond 4 GiB it begins anew.
    let problem = assembler.event(&up_to(500, within(XID, &[0; 8]))).unwrap_err();
    assert_eq!(problem.code, "log-file-too-large");
    assert_eq!(assembler.position(), place(4_000_000_000).to_position());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(parts in proptest::collection::vec((prop::sample::select(vec![2, 16, 19, 23, 30, 31, 32, 40, 162, 165, 166, 170]), any::<Vec<u8>>()), 0..8)) {
        let mut events = vec![statement("BEGIN"), announced()];
        events.extend(parts.iter().map(|(kind, body)| within(*kind, body)));
        drop(all(&mut assembler(), &payload(900, &events)));
        let mut plain = assembler();
        for event in events {
            drop(plain.event(&event.into()));
        }
        drop(plain.take());
    }
}
