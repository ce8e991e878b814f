//! `MariaDB`'s compressed events (`log_bin_compress`): each is the event that it stands for, of which the last part is
//! compressed: a statement's text, or the images of rows.
//!
//! That part begins with a byte that says with what it is compressed and how many bytes the length takes that it has
//! when it is not, then that length, the highest byte first.

use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::fields::{Fields, Malformed};

use super::event::{Event, Written};

/// What is larger would not be sent if it were not compressed: no packet of the protocol takes it.
const MOST: u64 = 1 << 30;

/// An event whose last part is compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compressed<'a> {
    /// The kind of event that it stands for, and by whom it was written.
    kind: (u8, Written),
    head: &'a [u8],
    packed: &'a [u8],
}

impl<'a> Compressed<'a> {
    /// `packed` is the end of `body`, from which on it is compressed.
    pub(super) fn new(kind: (u8, Written), body: &'a [u8], packed: &[u8]) -> Self {
        let (head, packed) = body.split_at(body.len().saturating_sub(packed.len()));
        Self { kind, head, packed }
    }

    /// The body of the event that it stands for.
    pub(crate) fn body(&self) -> Result<Vec<u8>, Malformed> {
        let mut fields = Fields(self.packed);
        let length = unpacked_length(&mut fields)?;
        // What is said of the length is not believed: room is made for what comes.
        let mut body = Vec::with_capacity(self.head.len() + self.packed.len());
        body.extend(self.head);
        match ZlibDecoder::new(fields.0).take(length + 1).read_to_end(&mut body) {
            Ok(read) if read as u64 == length => Ok(body),
            Ok(_) => Err(Malformed("a compressed event has another length than it says")),
            Err(_) => Err(Malformed("a compressed event can't be unpacked")),
        }
    }

    /// The event that it stands for, by its body.
    pub(crate) fn event<'b>(&self, body: &'b [u8]) -> Result<Event<'b>, Malformed> {
        Event::body(self.kind.0, self.kind.1, body)
    }
}

fn unpacked_length(fields: &mut Fields<'_>) -> Result<u64, Malformed> {
    let how = fields.u8()?;
    let bytes = usize::from(how & 0x0F);
    // The upper half: compressed, by zlib.
    if how & 0xF0 != 0x80 || !(1..=4).contains(&bytes) {
        return Err(Malformed("an event is compressed in a way that is not known"));
    }
    let length = fields.take(bytes)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if length > MOST { Err(Malformed("a compressed event is larger than one can be")) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::binlog::{LoggedColumn, Query, RowKind};

    /// Behind its length in so many bytes.
    fn packed(plain: &[u8], length: &[u8]) -> Vec<u8> {
        let mut packed = vec![0x80 | u8::try_from(length.len()).unwrap()];
        packed.extend(length);
        let mut encoder = ZlibEncoder::new(packed, Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn compressed(kind: u8, body: &[u8]) -> Compressed<'_> {
        match Event::body(kind, Written::default(), body).unwrap() {
            Event::Compressed(compressed) => compressed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_statement_is_unpacked_behind_its_schema() {
        let mut body = [0; 8].to_vec();
        body.extend([4, 0, 0, 3, 0, 9, 9, 9]);
        body.extend(b"shop\0");
        // As zlib itself writes it.
        body.extend([0x81, 16, 0x78, 0x9C, 0x0B, 0x09, 0x0A, 0xF5, 0x73, 0x76, 0x0C, 0x71, 0x55, 0x08, 0x71, 0x74]);
        body.extend([0xF2, 0x71, 0x55, 0x28, 0x01, 0x00, 0x27, 0x2D, 0x04, 0x83]);
        let compressed = compressed(165, &body);
        let body = compressed.body().unwrap();
        let read = compressed.event(&body).unwrap();
        assert!(matches!(read, Event::Query(Query { schema: b"shop", text: b"TRUNCATE TABLE t", .. })), "{read:?}");
    }

    #[test]
    fn the_images_of_rows_are_unpacked_behind_their_columns() {
        let image: &[u8] = &[0, 1, 0, 0, 0];
        let extended = [7, 0, 0, 0, 0, 0, 1, 0, 4, 0, 9, 9, 1, 1];
        let before = [7, 0, 0, 0, 0, 0, 1, 0, 1, 1];
        for (number, head, kind, images) in [
            (166, &before[..], RowKind::Write, 1),
            (167, &[&before[..], &[1]].concat(), RowKind::Update, 2),
            (168, &before, RowKind::Delete, 1),
            (169, &extended, RowKind::Write, 1),
            (170, &[&extended[..], &[1]].concat(), RowKind::Update, 2),
            (171, &extended, RowKind::Delete, 1),
        ] {
            let plain = image.repeat(images);
            let whole = [head, &packed(&plain, &[0, u8::try_from(plain.len()).unwrap()])].concat();
            let compressed = compressed(number, &whole);
            let body = compressed.body().unwrap();
            let Event::Rows(mut rows) = compressed.event(&body).unwrap() else { panic!("{number} is none of rows") };
            assert_eq!((rows.kind, rows.table, rows.columns()), (kind, 7, 1), "{number}");
            for at in 0..images {
                let mut cells = Vec::new();
                let there = rows.next::<Malformed>(at == 1, &[LoggedColumn::Whole(4)], |_, value| {
                    cells.push(format!("{value:?}"));
                    Ok(())
                });
                assert_eq!((there, cells), (Ok(true), vec!["Some(Int(1))".to_owned()]), "{number}");
            }
            assert_eq!(rows.next::<Malformed>(true, &[], |_, _| Ok(())), Ok(false), "{number}");
        }
    }

    #[test]
    fn a_length_may_take_one_to_four_bytes() {
        for length in [&[5][..], &[0, 5], &[0, 0, 5], &[0, 0, 0, 5]] {
            let packed = packed(b"hello", length);
            assert_eq!(Compressed::new((2, Written::default()), &packed, &packed).body().unwrap(), b"hello");
        }
        for length in [&[][..], &[0, 0, 0, 0, 5]] {
            let packed = packed(b"hello", length);
            assert!(Compressed::new((2, Written::default()), &packed, &packed).body().is_err());
        }
    }

    #[test]
    fn another_length_than_is_said_is_refused() {
        for length in [&[4][..], &[6], &[0xFF, 0xFF, 0xFF, 0xFF], &[0x40, 0, 0, 0]] {
            let packed = packed(b"hello", length);
            assert!(Compressed::new((2, Written::default()), &packed, &packed).body().is_err(), "{length:?}");
        }
        let whole = packed(&b"hello".repeat(100), &[1, 0xF4]);
        assert!(Compressed::new((2, Written::default()), &whole, &whole).body().is_ok());
        for cut in 0..whole.len() {
            assert!(Compressed::new((2, Written::default()), &whole[..cut], &whole[..cut]).body().is_err(), "{cut}");
        }
    }

    #[test]
    fn another_way_than_zlib_is_refused() {
        let mut packed = packed(b"hello", &[5]);
        for how in [0x01, 0x91, 0xF1, 0x89] {
            packed[0] = how;
            assert!(Compressed::new((2, Written::default()), &packed, &packed).body().is_err(), "{how}");
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(plain: Vec<u8>) {
            let length = u32::try_from(plain.len()).unwrap().to_be_bytes();
            let packed = packed(&plain, &length);
            prop_assert_eq!(Compressed::new((2, Written::default()), &packed, &packed).body().unwrap(), plain);
        }

        #[test]
        fn no_bytes_make_it_panic(kind in 165..=171_u8, head in proptest::collection::vec(0..4_u8, 0..40), tail: Vec<u8>, length: [u8; 4]) {
            for tail in [packed(&tail, &length), tail] {
                let body = [head.clone(), tail].concat();
                if let Ok(Event::Compressed(compressed)) = Event::body(kind, Written::default(), &body)
                    && let Ok(body) = compressed.body()
                {
                    drop(compressed.event(&body));
                }
            }
        }
    }
}
