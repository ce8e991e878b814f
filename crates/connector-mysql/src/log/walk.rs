//! Reading events of a log one after the other, each with the place at which it begins, as a plain function over what a server
//! sends. Those of a transaction that came in one event begin where that one does.

use bytes::Bytes;
use wavemark_domain::Problem;

use super::start::{By, Start};
use super::{end_of, malformed};
use crate::binlog::{Checksum, Event, Events};
use crate::fields::Malformed;
use crate::position::Place;

/// An event.
pub(super) struct Step {
    /// Where it begins.
    pub(super) place: Place,
    pub(super) bytes: Bytes,
    pub(super) checksum: Checksum,
}

/// See the module.
pub(super) struct Walk {
    checksum: Checksum,
    /// Where the next event begins.
    place: Place,
    /// Up to where in the first file everything is passed over.
    passing: Option<u64>,
    /// A transaction that came in one event, and where that begins.
    packed: Option<(Place, Events)>,
}

impl Walk {
    /// As the log is asked for.
    pub(super) fn from(start: &Start) -> Self {
        let passing = (start.by == By::File).then_some(start.place.offset);
        Self { checksum: Checksum::None, place: start.place.clone(), passing, packed: None }
    }

    /// Where the next event begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Takes what the server sent; nothing if it lies before the place that is read from, or is a transaction whose events
    /// [`Self::unpacked`] has.
    pub(super) fn take(&mut self, bytes: Bytes) -> Result<Option<Step>, Problem> {
        let begin = self.place.clone();
        let refuse = |cause| malformed(cause, &begin);
        let (header, event) = Event::read(&bytes, self.checksum).map_err(refuse)?;
        if header.next != 0 {
            self.place.offset = end_of(&header, begin.offset).map_err(refuse)?;
            if !matches!(event, Event::Format { .. }) && self.passes_over(&begin)? {
                return Ok(None);
            }
        }
        match event {
            Event::Format { checksum, .. } => self.checksum = checksum,
            Event::Rotate { file, position } => {
                let file = String::from_utf8_lossy(file);
                let next = Place::new(&file, position, begin.server.clone()).map(|place| place.in_era(begin.era));
                self.place = next.unwrap_or_else(|| begin.clone());
            }
            Event::Payload(payload) => {
                self.packed = Some((begin.clone(), payload.events(&bytes).map_err(refuse)?));
                return Ok(None);
            }
            _ => {}
        }
        Ok(Some(Step { place: begin, bytes, checksum: self.checksum }))
    }

    /// The next event of a transaction that came in one.
    pub(super) fn unpacked(&mut self) -> Result<Option<Step>, Problem> {
        let Some((begin, events)) = &mut self.packed else { return Ok(None) };
        let event = events.next().map_err(|cause| malformed(cause, begin))?;
        let step = event.map(|bytes| Step {
            place: begin.clone(),
            bytes: Bytes::copy_from_slice(bytes),
            checksum: Checksum::None,
        });
        if step.is_none() {
            self.packed = None;
        }
        Ok(step)
    }

    fn passes_over(&mut self, begin: &Place) -> Result<bool, Problem> {
        let Some(until) = self.passing else { return Ok(false) };
        if begin.offset > until {
            return Err(malformed(Malformed("no event begins where one was read before"), begin));
        }
        if begin.offset == until {
            self.passing = None;
        }
        Ok(begin.offset < until)
    }
}

#[cfg(test)]
mod tests {
    use super::super::assembler::tests::{XID, announced, event, inserted, payload, place, statement, up_to, within};
    use super::*;

    const ROTATE: u8 = 4;

    /// The first word of a connection: which file is read, and from where on.
    fn rotation(position: u64) -> Bytes {
        event(ROTATE, 0, &[&position.to_le_bytes()[..], b"bin.000001"].concat()).into()
    }

    /// What comes of events: the kind of each with where it begins.
    fn walked(walk: &mut Walk, events: Vec<Bytes>) -> Result<Vec<(u8, u64)>, Problem> {
        let mut found = Vec::new();
        for event in events {
            let mut next = walk.take(event)?;
            while let Some(step) = next.or(walk.unpacked()?) {
                found.push((step.bytes[4], step.place.offset));
                next = None;
            }
        }
        Ok(found)
    }

    #[test]
    fn events_of_a_transaction_in_one_begin_where_it_begins() {
        let mut walk = Walk::from(&Start::at(place(100)));
        let events = [statement("XA START 'a'"), announced(), inserted(0..2), statement("XA END 'a'")];
        let behind = up_to(1_000, within(XID, &[0; 8]));
        let found = walked(&mut walk, vec![rotation(100), payload(900, &events), behind]).unwrap();
        assert_eq!(found, [(ROTATE, 100), (2, 100), (19, 100), (30, 100), (2, 100), (XID, 900)]);
        assert_eq!(walk.place().offset, 1_000);
    }

    /// No place beyond 4 GiB can be asked for: the server sends the file from its beginning.
    #[test]
    fn what_lies_before_a_place_beyond_4_gib_is_passed_over() {
        let begin = (1 << 32) + 500;
        let file = || {
            let before = u32::MAX - 100;
            let packed = payload(before, &[statement("BEGIN"), announced(), inserted(5..9)]);
            vec![rotation(4), packed, up_to(u32::MAX, within(XID, &[0; 100 - 19])), up_to(500, within(XID, &[0; 482]))]
        };
        let mut walk = Walk::from(&Start::at(place(begin)));
        let (first, second) = (statement("XA START 'a'"), announced());
        let ends = [500 + first.len(), 500 + first.len() + second.len()].map(|end| u32::try_from(end).unwrap());
        let wanted = vec![up_to(ends[0], first), up_to(ends[1], second)];
        let found = walked(&mut walk, [file(), wanted].concat()).unwrap();
        assert_eq!(found, [(ROTATE, begin), (2, begin), (19, (1 << 32) + u64::from(ends[0]))]);

        let mut walk = Walk::from(&Start::at(place(begin - 1)));
        let behind = up_to(500 + u32::try_from(announced().len()).unwrap(), announced());
        assert_eq!(walked(&mut walk, [file(), vec![behind]].concat()).unwrap_err().code, "log-malformed");
    }
}
