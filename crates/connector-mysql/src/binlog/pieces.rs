//! Rows whose event is larger than what `MariaDB` sends at once stand in several (`PARTIAL_ROW_DATA_EVENT`, from version 12.3
//! on; manual: "Replication Protocol"). Together they are the event with its header.
//!
//! The manual leaves open which of two numbers comes first, the piece's or how many there are: the first piece, which alone
//! says how long all of them are, is number 1. Nor does it say whether the event has its sum: where the last bytes are the
//! sum of the others, they are that.

use super::event::{CHECKSUM, Event, HEADER, Written};
use crate::fields::{Fields, Malformed};

/// What is larger is not put together in memory.
const MOST: u64 = 1 << 30;
/// The flag of the first piece, which has the length of all.
const HAS_LENGTH: u8 = 1;

const OUT_OF_ORDER: Malformed = Malformed("rows in several events do not come one piece after the other");

/// One piece of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    numbers: [u32; 2],
    length: Option<u64>,
    bytes: &'a [u8],
}

/// The pieces of one event so far.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Which of a piece's two numbers is its own.
    own: usize,
    count: u32,
    seen: u32,
    length: u64,
    bytes: Vec<u8>,
}

impl<'a> Piece<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let numbers = [fields.u32()?, fields.u32()?];
        let length = match fields.u8()? {
            0 => None,
            HAS_LENGTH => Some(u64::from_le_bytes(fields.array()?)),
            _ => return Err(Malformed("rows are in several events in a way that is not known")),
        };
        Ok(Self { numbers, length, bytes: fields.0 })
    }

    /// Puts it behind those before it, if there are some; the whole event, once it is the last.
    pub(crate) fn put(self, before: &mut Option<Pieces>) -> Result<Option<Pieces>, Malformed> {
        let mut pieces = match before.take() {
            Some(pieces) if self.length.is_none() => pieces,
            None => self.first()?,
            Some(_) => return Err(OUT_OF_ORDER),
        };
        pieces.push(self)?;
        if pieces.seen == pieces.count {
            return Ok(Some(pieces));
        }
        *before = Some(pieces);
        Ok(None)
    }

    fn first(&self) -> Result<Pieces, Malformed> {
        let length = self.length.ok_or(OUT_OF_ORDER)?;
        let own = self.numbers.iter().position(|number| *number == 1).ok_or(OUT_OF_ORDER)?;
        if length > MOST {
            return Err(Malformed("rows in several events are more than 1 GiB, which is not read"));
        }
        // What is said of the length is not believed: room is made for what comes.
        Ok(Pieces { own, count: self.numbers[1 - own], seen: 0, length, bytes: Vec::new() })
    }
}

impl Pieces {
    fn push(&mut self, piece: Piece<'_>) -> Result<(), Malformed> {
        self.seen += 1;
        let is_next = piece.numbers[self.own] == self.seen && piece.numbers[1 - self.own] == self.count;
        let length = self.bytes.len() + piece.bytes.len();
        if !is_next || length as u64 > self.length {
            return Err(OUT_OF_ORDER);
        }
        self.bytes.extend_from_slice(piece.bytes);
        Ok(())
    }

    /// The rows, once all pieces are there.
    pub(crate) fn event(&self) -> Result<Event<'_>, Malformed> {
        if self.bytes.len() as u64 != self.length {
            return Err(Malformed("rows in several events have another length than they say"));
        }
        let mut fields = Fields(&self.bytes);
        fields.take(4)?;
        let (kind, server) = (fields.u8()?, fields.u32()?);
        let said = fields.u32()? as usize;
        let all = self.bytes.len();
        let whole = match self.bytes.split_last_chunk::<CHECKSUM>() {
            Some((whole, sum)) if crc32fast::hash(whole) == u32::from_le_bytes(*sum) => whole,
            _ => &self.bytes,
        };
        if said != all && said != all + CHECKSUM {
            return Err(Malformed("rows in several events have another length than they say"));
        }
        match Event::body(kind, Written { server, is_of_session: false }, whole.get(HEADER..).ok_or(OUT_OF_ORDER)?)? {
            event @ (Event::Rows(_) | Event::Compressed(_)) => Ok(event),
            _ => Err(Malformed("what stands in several events is no event of rows")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::binlog::{LoggedColumn, RowKind};

    /// An event of rows of one column with its header: the numbers 1 to 4.
    fn event(sum: bool, said_more: usize) -> Vec<u8> {
        let body = [&[7, 0, 0, 0, 0, 0, 1, 0, 1, 1][..], &[0, 1, 0, 2, 0, 3, 0, 4]].concat();
        let length = HEADER + body.len() + if sum { CHECKSUM } else { 0 };
        let mut event = vec![0, 0, 0, 0, 23, 1, 0, 0, 0];
        event.extend(u32::try_from(length + said_more).unwrap().to_le_bytes());
        event.extend([0; 6]);
        event.extend(body);
        if sum {
            event.extend(crc32fast::hash(&event).to_le_bytes());
        }
        event
    }

    fn piece(numbers: [u32; 2], length: Option<usize>, bytes: &[u8]) -> Vec<u8> {
        let mut body = [numbers[0].to_le_bytes(), numbers[1].to_le_bytes()].concat();
        body.push(u8::from(length.is_some()));
        body.extend(length.map(|length| (length as u64).to_le_bytes()).into_iter().flatten());
        body.extend(bytes);
        body
    }

    /// The pieces of an event of which each has so many bytes; with the number of all first, or behind.
    fn cut(event: &[u8], each: usize, all_first: bool) -> Vec<Vec<u8>> {
        let count = u32::try_from(event.len().div_ceil(each)).unwrap();
        let numbers = |at: u32| if all_first { [count, at] } else { [at, count] };
        let pieces = event.chunks(each).zip(1_u32..);
        pieces.map(|(bytes, at)| piece(numbers(at), (at == 1).then_some(event.len()), bytes)).collect()
    }

    fn rows(pieces: &[Vec<u8>]) -> Result<Vec<String>, Malformed> {
        let mut before = None;
        let mut whole = None;
        for body in pieces {
            assert!(whole.is_none(), "it goes on behind the last");
            whole = Piece::read(body)?.put(&mut before)?;
        }
        let whole = whole.ok_or(Malformed("unfinished"))?;
        let Event::Rows(mut rows) = whole.event()? else { panic!("no rows") };
        assert_eq!((rows.kind, rows.table), (RowKind::Write, 7));
        let mut cells = Vec::new();
        while rows.next::<Malformed>(true, &[LoggedColumn::Whole(1)], |_, value| {
            cells.push(format!("{:?}", value.unwrap()));
            Ok(())
        })? {}
        Ok(cells)
    }

    const ALL: [&str; 4] = ["Int(1)", "Int(2)", "Int(3)", "Int(4)"];

    #[test]
    fn pieces_become_the_event_in_either_order_of_their_numbers() {
        for each in [1, 5, 18, 36] {
            for all_first in [true, false] {
                assert_eq!(rows(&cut(&event(false, 0), each, all_first)).unwrap(), ALL, "{each}");
            }
        }
        assert_eq!(rows(&cut(&event(false, 0), 37, true)).unwrap(), ALL);
    }

    #[test]
    fn a_sum_is_known_by_what_it_is() {
        assert_eq!(rows(&cut(&event(true, 0), 10, true)).unwrap(), ALL);
        assert_eq!(rows(&cut(&event(false, CHECKSUM), 10, true)).unwrap(), ALL, "said, and not there");
        assert!(rows(&cut(&event(false, 1), 10, true)).is_err());
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let whole = cut(&event(false, 0), 10, true);
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other.remove(at);
            assert!(rows(&other).is_err(), "without {at}");
        }
        for at in 0..whole.len() - 1 {
            let mut other = whole.clone();
            other.insert(at, whole[at].clone());
            assert!(rows(&other[..whole.len()]).is_err(), "twice {at}");
        }
        let mut other = whole.clone();
        other.swap(1, 2);
        assert!(rows(&other).is_err());
        assert!(rows(&[piece([1, 1], Some(3), b"abc")]).is_err(), "no event");
        assert!(rows(&[piece([1, 1], Some(1 << 40), b"abc")]).is_err(), "too large");
        assert!(rows(&[piece([2, 2], Some(3), b"abc")]).is_err(), "not the first");
    }

    #[test]
    fn what_is_no_event_of_rows_is_refused() {
        let mut event = event(false, 0);
        event[4] = 16;
        assert!(rows(&cut(&event, 10, true)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bodies: Vec<Vec<u8>>, numbers: [u32; 2], length: Option<u8>, bytes: Vec<u8>) {
            let mut before = None;
            for body in bodies.into_iter().chain([piece(numbers, length.map(usize::from), &bytes), piece([1, 1], Some(bytes.len()), &bytes)]) {
                if let Ok(Some(whole)) = Piece::read(&body).and_then(|piece| piece.put(&mut before)) {
                    drop(whole.event());
                }
            }
        }
    }
}
