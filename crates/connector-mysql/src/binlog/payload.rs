//! MySQL's compressed transactions (`TRANSACTION_PAYLOAD_EVENT`): in one event stand all others of a transaction, from
//! its beginning to its end, each with its header and none with a sum. Where they say that the next one begins is no
//! place in the file.
//!
//! What stands before them is told field by field: its number, the length of its value, its value; number 0 ends them.

use std::io::Read;

use bytes::{Buf, Bytes};

use super::event::{HEADER, Header};
use crate::fields::{Fields, Malformed};

/// What is larger would not be sent by itself: no packet of the protocol takes it.
const MOST: usize = 1 << 30;

/// A transaction's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    form: Form,
    bytes: &'a [u8],
    /// How many bytes they are when they are not compressed, if that is said.
    length: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Zstd,
    Plain,
}

/// A transaction's events one after the other. Each is unpacked when it is asked for, so that no more than one is held.
pub(crate) struct Events {
    source: Box<dyn Read + Send>,
    event: Vec<u8>,
    read: u64,
    length: Option<u64>,
    held: usize,
}

impl<'a> Payload<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let (mut packed, mut length, mut form) = (None, None, None);
        loop {
            let field = fields.length()?;
            if field == 0 {
                break;
            }
            let mut value = Fields(fields.sized()?);
            match field {
                1 => packed = Some(value.length()?),
                2 => form = Some(value.length()?),
                3 => length = Some(value.length()? as u64),
                // What was added later may be left out.
                _ => {}
            }
        }
        let form = match form {
            Some(0) => Form::Zstd,
            Some(255) => Form::Plain,
            _ => return Err(Malformed("a transaction is compressed in a way that is not known")),
        };
        if packed != Some(fields.0.len()) {
            return Err(Malformed("a compressed transaction has another length than it says"));
        }
        Ok(Self { form, bytes: fields.0, length })
    }

    /// Begins to unpack it. `event` is the one that it was read of, which stays in memory until it is read to the end.
    pub(crate) fn events(self, event: &Bytes) -> Result<Events, Malformed> {
        let packed = event.slice_ref(self.bytes).reader();
        let source: Box<dyn Read + Send> = match self.form {
            // The window that must be held is 128 MiB at most; what wants a larger one is refused.
            Form::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| UNREADABLE)?),
            Form::Plain => Box::new(packed),
        };
        Ok(Events { source, event: Vec::new(), read: 0, length: self.length, held: event.len() })
    }
}

const UNREADABLE: Malformed = Malformed("a compressed transaction can't be unpacked");

impl Events {
    /// The next event; `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Malformed> {
        self.event.clear();
        self.fill(HEADER)?;
        if self.event.is_empty() {
            return match self.length {
                Some(length) if length != self.read => {
                    Err(Malformed("a compressed transaction has another length than it says"))
                }
                _ => Ok(None),
            };
        }
        let length = Header::length(&self.event)?;
        if !(HEADER..=MOST).contains(&length) {
            return Err(Malformed("an event of a compressed transaction has a length that none can have"));
        }
        self.fill(length)?;
        if self.event.len() < length {
            return Err(Malformed("a compressed transaction ends within an event"));
        }
        Ok(Some(&self.event))
    }

    /// About how much it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.held + self.event.capacity()
    }

    /// Reads on until the event has so many bytes, or to the end. Room is made for what comes, not for what is said.
    fn fill(&mut self, length: usize) -> Result<(), Malformed> {
        let missing = length.saturating_sub(self.event.len()) as u64;
        let read = self.source.by_ref().take(missing).read_to_end(&mut self.event).map_err(|_| UNREADABLE)?;
        self.read += read as u64;
        if self.length.is_some_and(|length| self.read > length) {
            return Err(Malformed("a compressed transaction has another length than it says"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event of this length, header included, that says this length.
    fn event(length: usize, said: usize) -> Vec<u8> {
        let mut event = vec![0, 0, 0, 0, 16, 1, 0, 0, 0];
        event.extend(u32::try_from(said).unwrap().to_le_bytes());
        event.resize(length, 7);
        event
    }

    fn body(form: &[u8], length: u8, payload: &[u8]) -> Vec<u8> {
        let packed = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let mut body = vec![2, u8::try_from(form.len()).unwrap()];
        body.extend(form);
        body.extend([3, 1, length, 9, 2, 77, 77, 1, 4, 0xFD]);
        body.extend(&packed[..3]);
        body.push(0);
        body.extend(payload);
        body
    }

    const ZSTD: &[u8] = &[0];
    const PLAIN: &[u8] = &[0xFC, 255, 0];

    fn packed(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, 3).unwrap()
    }

    fn all(body: Vec<u8>) -> Result<Vec<Vec<u8>>, Malformed> {
        let body = Bytes::from(body);
        let mut events = Payload::read(&body)?.events(&body)?;
        let mut all = Vec::new();
        while let Some(event) = events.next()? {
            all.push(event.to_vec());
        }
        Ok(all)
    }

    #[test]
    fn events_come_one_after_the_other() {
        let events = [event(20, 20), event(19, 19), event(100, 100)];
        let plain = events.concat();
        assert_eq!(all(body(PLAIN, 139, &plain)).unwrap(), events);
        assert_eq!(all(body(ZSTD, 139, &packed(&plain))).unwrap(), events);
    }

    #[test]
    fn a_frame_that_says_neither_length_nor_sum_is_read() {
        // A window of 2 MiB, then one block of 19 bytes as they are.
        let frame =
            [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58, 0x99, 0, 0, 0, 0, 0, 0, 16, 1, 0, 0, 0, 19, 0, 0, 0, 7, 7, 7, 7, 7, 7];
        assert_eq!(all(body(ZSTD, 19, &frame)).unwrap(), [event(19, 19)]);
    }

    #[test]
    fn another_length_than_is_said_is_refused() {
        let plain = [event(20, 20), event(30, 30)].concat();
        for length in [0, 19, 49, 51, 250] {
            assert!(all(body(PLAIN, length, &plain)).is_err());
            assert!(all(body(ZSTD, length, &packed(&plain))).is_err());
        }
        let mut longer = body(PLAIN, 50, &plain);
        longer.push(0);
        assert!(all(longer).is_err());
    }

    #[test]
    fn an_event_that_goes_beyond_the_end_is_refused() {
        for (length, said) in [(20, 21), (18, 19), (20, 18), (20, 0), (20, MOST), (20, u32::MAX as usize)] {
            let plain = event(length, said);
            let length = u8::try_from(length).unwrap();
            assert!(all(body(PLAIN, length, &plain)).is_err(), "{said}");
            assert!(all(body(ZSTD, length, &packed(&plain))).is_err(), "{said}");
        }
    }

    #[test]
    fn a_cut_transaction_is_refused() {
        let whole = packed(&[event(20, 20), event(90, 90)].concat());
        for cut in 0..whole.len() {
            assert!(all(body(ZSTD, 110, &whole[..cut])).is_err(), "{cut}");
        }
    }

    #[test]
    fn another_form_than_zstandard_is_refused() {
        assert!(all(body(&[1], 19, &packed(&event(19, 19)))).is_err());
        assert!(all(vec![1, 1, 0, 0]).is_err());
    }

    #[test]
    fn of_a_large_transaction_one_event_is_held() {
        let plain = event(8_000, 8_000).repeat(10_000);
        let payload = packed(&plain);
        let mut whole = vec![2, 1, 0, 1, 4, 0xFD];
        whole.extend(&u32::try_from(payload.len()).unwrap().to_le_bytes()[..3]);
        whole.push(0);
        whole.extend(&payload);
        let whole = Bytes::from(whole);
        let mut events = Payload::read(&whole).unwrap().events(&whole).unwrap();
        let mut count = 0;
        while events.next().unwrap().is_some() {
            count += 1;
            assert!(events.bytes() < whole.len() + 32_000);
        }
        assert_eq!(count, 10_000);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, lengths in proptest::collection::vec(0..64_usize, 0..5)) {
            drop(all(bytes.clone()));
            drop(all(body(PLAIN, 100, &bytes)));
            drop(all(body(ZSTD, 100, &bytes)));
            drop(all(body(ZSTD, 100, &packed(&bytes))));
            let events: Vec<u8> = lengths.iter().flat_map(|length| event(*length.max(&19), *length)).collect();
            drop(all(body(ZSTD, 100, &packed(&events))));
        }

        #[test]
        fn no_changed_byte_makes_it_panic(at: prop::sample::Index, to: u8) {
            let mut payload = packed(&event(200, 200));
            let at = at.index(payload.len());
            payload[at] = to;
            drop(all(body(ZSTD, 200, &payload)));
        }
    }
}
