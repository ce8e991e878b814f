//! Columns of types that are not every server's.

use serde_json::json;

use super::*;

/// The log of a table `c` as MariaDB 10.11 writes it: an id, then varchar(1000), varchar(10), text, blob, tinytext, longblob,
/// varbinary(300) and mediumtext, all `COMPRESSED`.
fn announced_compressed() -> Vec<u8> {
    let columns =
        [9, 3, 141, 141, 140, 140, 140, 140, 141, 140, 11, 0xA1, 0x0F, 0x29, 0x00, 2, 2, 1, 4, 0x2D, 1, 3, 0xFE, 1];
    within(TABLE_MAP, &[&[0x12, 0, 0, 0, 0, 0, 1, 0, 4][..], b"shop\0\x01t\0", &columns].concat())
}

/// Its row 1 with long and short values, and its row 2, where they are NULL and empty.
fn inserted_compressed() -> Vec<u8> {
    const ROWS: &str = "00 fe 01 00 00 00 12 00 8a 04 b0 4b 3c bc 24 71 14 8d a2 51 34 8a 86 02 02 00 02 00 78 17 00 8a \
        0b b8 ed c1 31 01 00 00 00 c2 a0 dc 6b 6f 0d 0f a0 00 00 80 77 03 08 00 89 c8 ab aa 1a 1e 00 00 \
        00 59 00 00 00 8b 01 11 70 ed c1 31 01 00 00 00 c2 a0 d8 ab 6f 09 4f a0 00 00 00 00 00 00 00 00 \
        00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
        00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80 b7 01 0a 00 \
        8a 01 2c 2b 2b 1b 05 c4 02 00 0b 00 00 8a 01 f4 7b f9 72 14 8c 34 00 00 6a fe 02 00 00 00 00 00 \
        00 00 00 00 00 00";
    let rows: Vec<u8> = ROWS.split_ascii_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    within(23, &[&[0x12, 0, 0, 0, 0, 0, 1, 0, 9, 0xFF, 1][..], &rows].concat())
}

fn compressed_plan() -> TablePlan {
    let text = |name: &str, length: u32| json!({"data_type": name, "length": length, "charset": "utf8mb4"});
    let bytes = |name: &str, length: u32| json!({"data_type": name, "length": length});
    let columns = [
        ("v", text("varchar", 1_000)),
        ("s", text("varchar", 10)),
        ("t", text("text", 65_535)),
        ("b", bytes("blob", 65_535)),
        ("tb", text("tinytext", 255)),
        ("lb", bytes("longblob", u32::MAX)),
        ("vb", bytes("varbinary", 300)),
        ("mt", json!({"data_type": "mediumtext", "length": 16_777_215, "charset": "latin1"})),
    ];
    let columns = columns.into_iter().map(|(name, native)| examples::column(name, native));
    examples::plan(std::iter::once(examples::int("id")).chain(columns).collect(), &["id"])
}

#[test]
fn compressed_values_are_what_was_written() {
    let plan = compressed_plan();
    let width = plan.columns.len();
    let mut assembler = Assembler::new(&[plan], Start::at(place(100)), rules(TaskSettings::default()));
    assembler.learn(latin1());
    for (at, event) in (2..).zip([statement("BEGIN"), announced_compressed(), inserted_compressed(), xid()]) {
        assembler.event(&up_to(at * 100, event)).unwrap();
    }
    let batch = assembler.take().batch;
    let row = |at: usize| -> Vec<Option<Vec<u8>>> {
        let cells = batch.new_row(&batch.changes()[at], width).unwrap();
        cells.iter().skip(1).map(|cell| batch.value(*cell).map(<[u8]>::to_vec)).collect()
    };
    let text = |text: &str, count: usize| Some(text.repeat(count).into_bytes());
    let first = [("aä", 400), ("x", 1), ("y", 3_000), ("z", 200), ("", 0), ("w", 70_000), ("v", 300), ("é", 500)];
    assert_eq!(row(0), first.map(|(one, count)| text(one, count)));
    assert_eq!(row(1), [None, text("", 0), None, text("", 0), None, None, text("", 0), text("", 0)]);
}

/// What the server says of the set: its upper half is that of Unicode.
fn latin1() -> Charsets {
    let mut told = Charsets::default();
    let all = (0..=255_u8).map(|byte| (vec![byte], char::from(byte)));
    told.insert("latin1".to_owned(), crate::charset::Tree::of(all, false));
    told
}

#[test]
fn a_compressed_value_that_is_none_ends_its_table() {
    let rows = inserted_compressed();
    let at = rows.windows(4).position(|bytes| bytes == [0x8A, 4, 0xB0, 0x4B]).unwrap();
    for (by, to) in [(0, 0x9A), (1, 5), (3, 0xFF)] {
        let mut broken = rows.clone();
        broken[at + by] = to;
        let mut assembler = Assembler::new(&[compressed_plan()], Start::at(place(100)), rules(TaskSettings::default()));
        let events = [statement("BEGIN"), announced_compressed(), broken, xid()];
        assert_eq!(told(&mut assembler, &events), ["value-unreadable 1@500"]);
    }
}

/// A table with a column of type 99, of which three bytes are said, before one of a type that is known.
fn announced_unknown(name: &[u8]) -> Vec<u8> {
    let columns = [3, 3, 99, 15, 5, 1, 2, 3, 0x2C, 1, 0];
    within(TABLE_MAP, &[&[9, 0, 0, 0, 0, 0, 1, 0, 4][..], b"shop\0\x01", name, &[0], &columns].concat())
}

#[test]
fn a_type_that_is_not_known_is_its_tables_affair() {
    let unread = || within(WRITE_ROWS, &[9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b111, 0, 1, 2, 3, 4, 5, 6, 7]);
    let of = |name: &[u8]| {
        let events = [statement("BEGIN"), announced_unknown(name), unread(), xid()];
        let behind = [statement("BEGIN"), announced(), inserted(0..1), xid()];
        told(&mut assembler(), &[events, behind].concat())
    };
    assert_eq!(of(b"x"), ["insert 1@900"]);
    assert_eq!(of(b"t"), ["table-changed 1@500 1@900"]);
}
