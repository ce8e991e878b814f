//! Positions over more than one server.
//!
//! The files of each server's log are numbered anew, so where the log goes on at another server an era begins: what has a
//! position there is behind all that had one before.

use std::sync::{Arc, Mutex, PoisonError};

use wavemark_domain::{Fault, Position, Problem};

use crate::position::Place;

/// A server, and the era that its log is.
type Era = (Arc<str>, u16);

/// What one attempt of a run knows of that.
#[derive(Default)]
pub(super) struct History(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Where the furthest position was that the target has.
    before: Option<Era>,
    /// Where positions are since.
    now: Option<Era>,
}

impl History {
    /// Begins an attempt behind the furthest position that the target has.
    pub(super) fn continue_behind(&self, furthest: Option<&Position>) {
        let before = furthest.and_then(Place::from_position).map(|place| (place.server, place.era));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Known { before, now: None };
    }

    /// A place that its server told just now. Within one attempt all are of one server: what is loaded from one and followed
    /// from the other would have a gap between them, or an overlap.
    pub(super) fn put(&self, place: Place) -> Result<Place, Problem> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let era = match (&known.now, &known.before) {
            (Some((server, era)), _) if *server == place.server => *era,
            (Some(_), _) => return Err(moved(&place)),
            (None, Some((server, era))) if *server == place.server => *era,
            (None, Some((_, era))) => era.checked_add(1).ok_or_else(|| moved(&place))?,
            (None, None) => 0,
        };
        known.now = Some((Arc::clone(&place.server), era));
        Ok(place.in_era(era))
    }
}

fn moved(place: &Place) -> Problem {
    let text = format!(
        "Another server ({}) answers at the source's address than the one that was read just now.",
        place.server
    );
    Problem::new(Fault::Transient, "source-moved", text).advice(
        "It is tried again. If it does not end, the address leads to several servers in turn: name one of them.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Memo;

    fn place(server: &str) -> Place {
        Place::new("bin.000007", 4, server).unwrap()
    }

    #[test]
    fn a_new_task_is_in_the_first_era() {
        let history = History::default();
        assert_eq!(history.put(place("a")).unwrap().era, 0);
    }

    #[test]
    fn another_server_begins_an_era_and_the_same_one_stays_in_its() {
        let history = History::default();
        let bookmark = place("a").in_era(3).to_position(&Memo::default());
        for (server, era) in [("a", 3), ("b", 4)] {
            history.continue_behind(Some(&bookmark));
            assert_eq!(history.put(place(server)).unwrap().era, era);
            assert_eq!(history.put(place(server)).unwrap().era, era);
        }
    }

    #[test]
    fn two_servers_in_one_attempt_are_refused() {
        let history = History::default();
        history.put(place("a")).unwrap();
        let problem = history.put(place("b")).unwrap_err();
        assert_eq!((problem.fault, &*problem.code), (Fault::Transient, "source-moved"));
        history.continue_behind(None);
        assert_eq!(history.put(place("b")).unwrap().era, 0);
    }
}
