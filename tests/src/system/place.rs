//! Places in the logs of the servers that were a source one after the other.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::api::lsn;

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which server's log it is, of MySQL and MariaDB; 0 of PostgreSQL.
    pub server: Server,
    /// How many servers' logs a task came through before this one. A server itself does not know.
    pub era: u16,
    /// A number that grows as the log does: PostgreSQL's as it is, of MySQL and MariaDB the number of the file and the offset in
    /// it, which both fit.
    pub at: u64,
}

/// What tells a server from others: made of the name that it gives itself.
pub type Server = u64;

/// Tells a server by its name.
pub(super) fn server(name: &str) -> Server {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Place {
    /// Reads what a server says of the end of its log.
    pub(super) fn of(text: &str, server: Server) -> Option<Self> {
        let Some((file, offset)) = text.split_once(':') else { return Some(Self { server, era: 0, at: lsn(text)? }) };
        let (_, number) = file.rsplit_once('.')?;
        let offset: u32 = offset.trim().parse().ok()?;
        Some(Self { server, era: 0, at: u64::from(number.parse::<u32>().ok()?) << 32 | u64::from(offset) })
    }

    /// Reads a bookmark: its text, and the bytes beside it in hexadecimal. Those of MySQL's family begin with 255 and a length
    /// in two bytes; in so many bytes come the era in two, fourteen that the text has, too, and the names of file and server
    /// with a zero between them.
    #[must_use]
    pub fn of_bookmark(text: &str, bytes: &str) -> Option<Self> {
        let bytes = hex::decode(bytes).ok()?;
        let [255, high, low, rest @ ..] = &*bytes else { return Self::of(text, 0) };
        let (era, rest) = rest.get(..u16::from_be_bytes([*high, *low]).into())?.split_first_chunk()?;
        let name = rest.get(14..)?.split(|byte| *byte == 0).nth(1)?;
        Some(Self { era: u16::from_be_bytes(*era), ..Self::of(text, server(std::str::from_utf8(name).ok()?))? })
    }

    /// Whether it lies at or behind a place of the same log.
    #[must_use]
    pub fn reaches(self, end: Self) -> bool {
        self.server == end.server && self.at >= end.at
    }

    /// Whether it lies before another one of the same task.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        (self.era, self.at) < (other.era, other.at)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { era, at, .. } = self;
        write!(f, "{:X}/{:X}", at >> 32, at & 0xffff_ffff)?;
        if *era > 0 { write!(f, " of server {}", era + 1) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_order_as_their_log_does() {
        let at = |text| Place::of(text, 0).map(|place| place.at);
        assert_eq!(at("0/2A"), Some(42));
        assert_eq!(at("bin.000002:7"), Some(2 << 32 | 7));
        assert!(at("bin.000009:4000000") < at("bin.000010:4"));
        assert_eq!(at("nowhere"), None);
    }

    #[test]
    fn what_a_server_has_is_behind_all_of_the_one_before_it() {
        let bytes = format!("FF00200001{}{}00{}", "00".repeat(14), hex::encode("bin.000001"), hex::encode("seven"));
        let second = Place::of_bookmark("bin.000001:4", &bytes).unwrap();
        assert_eq!(second, Place { server: server("seven"), era: 1, at: 1 << 32 | 4 });
        let first = Place::of("bin.000999:4", server("six")).unwrap();
        assert!(first.is_before(second) && !first.reaches(second) && !second.reaches(first));
        assert_eq!(Place::of_bookmark("0/2A", "000000000000002a"), Some(Place { server: 0, era: 0, at: 42 }));
    }
}
