//! From where a log is read.

use crate::gtid::Executed;
use crate::position::Place;

/// What the log is read on from.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The place; of a log that is asked for by its transactions only era and server count.
    pub(crate) place: Place,
    /// What was executed before it.
    pub(crate) executed: Executed,
    /// A file that the log must have if it comes to it, by its name and when it was begun (seconds since 1970).
    pub(crate) file: Option<(Box<str>, u32)>,
    pub(crate) by: By,
}

/// What the server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The log from the place on.
    Place,
    /// The place's file from its beginning, of which what lies before the place is passed over: it says what was executed there,
    /// and no place beyond 4 GiB can be asked for.
    File,
    /// All transactions but those that were executed: it is another server's log than that in which the place was, and has them
    /// where it has them.
    Transactions,
}

impl By {
    /// The way by the place itself, which no other asks for less than, where numbers of transactions are not wanted.
    pub(crate) fn without_numbers(self, place: &Place) -> Self {
        if self == Self::File && u32::try_from(place.offset).is_ok() { Self::Place } else { self }
    }
}

impl Start {
    /// A place as it is.
    pub(crate) fn at(place: Place) -> Self {
        let by = By::File.without_numbers(&place);
        Self { place, executed: Executed::Unknown, file: None, by }
    }
}
