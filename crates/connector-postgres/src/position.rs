//! Positions in PostgreSQL's log: always the end of a transaction, never the start of a commit record.
//!
//! A commit record may begin exactly where the one before ended, so a comparison with `commit_lsn` would count a
//! transaction that is not there; see GUARANTEES.md.

use wavemark_domain::{Fault, Position, Problem};

use crate::wire::Lsn;

/// A position with what makes it comparable: which system, and which of its histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `system_identifier` of the cluster; a standby shares its primary's.
    pub system: u64,
    /// The timeline on which the place was read.
    pub timeline: u32,
    /// The place itself.
    pub lsn: Lsn,
}

const LENGTH: usize = 20;

impl Place {
    /// The stored form: system, timeline, place, each big-endian, so that bytes order as the log does.
    #[must_use]
    pub fn to_position(self) -> Position {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&self.system.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.timeline.to_be_bytes());
        bytes[12..].copy_from_slice(&self.lsn.0.to_be_bytes());
        Position::new(bytes)
    }

    /// Reads the stored form; `None` for a position of another kind of system.
    #[must_use]
    pub fn from_position(position: &Position) -> Option<Self> {
        let bytes: &[u8; LENGTH] = position.as_bytes().try_into().ok()?;
        let (system, rest) = bytes.split_first_chunk::<8>()?;
        let (timeline, lsn) = rest.split_first_chunk::<4>()?;
        Some(Self {
            system: u64::from_be_bytes(*system),
            timeline: u32::from_be_bytes(*timeline),
            lsn: Lsn(u64::from_be_bytes(lsn.try_into().ok()?)),
        })
    }

    /// The same system and timeline at another place.
    #[must_use]
    pub fn at(self, lsn: Lsn) -> Self {
        Self { lsn, ..self }
    }
}

/// A position as PostgreSQL writes it, e.g. `3A/91C0F2B8`; hex for one of another system.
#[must_use]
pub fn describe(position: &Position) -> String {
    Place::from_position(position).map_or_else(|| position.to_string(), |place| place.lsn.to_string())
}

/// The form of a position that people write.
pub const FORM: &str = "a log sequence number like 16/B374D848, as pg_current_wal_lsn() gives it";

/// A position that people wrote, in the system and the timeline of another.
///
/// # Errors
/// A *settings* problem if it is no log sequence number.
pub fn read(text: &str, like: &Position) -> Result<Position, Problem> {
    let lsn = text.parse::<Lsn>().map_err(|_| {
        Problem::new(Fault::Settings, "not-a-position", format!("\"{text}\" is not a position of PostgreSQL."))
            .advice(format!("A position is {FORM}."))
    })?;
    let like = Place::from_position(like)
        .ok_or_else(|| Problem::internal("A position of another system was to be compared with an LSN."))?;
    Ok(like.at(lsn).to_position())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { system: 0x0102_0304_0506_0708, timeline: 3, lsn: Lsn(0x3A_91C0_F2B8) };

    #[test]
    fn a_position_reads_back_and_shows_as_the_server_writes_it() {
        let position = PLACE.to_position();
        assert_eq!(position.to_string(), "0102030405060708000000030000003a91c0f2b8");
        assert_eq!(Place::from_position(&position), Some(PLACE));
        assert_eq!(describe(&position), "3A/91C0F2B8");
    }

    #[test]
    fn bytes_order_as_the_log_does_also_over_a_change_of_timeline() {
        let later = PLACE.at(Lsn(PLACE.lsn.0 + 1));
        let promoted = Place { timeline: 4, ..PLACE.at(Lsn(1)) };
        assert!(PLACE.to_position() < later.to_position());
        assert!(later.to_position() < promoted.to_position());
    }

    #[test]
    fn what_people_write_is_read_in_the_history_of_another_position() {
        let same = PLACE.at(Lsn(0));
        assert_eq!(read("3A/91C0F2B8", &same.to_position()).unwrap(), PLACE.to_position());
        for text in ["3A", "mysql-bin.000024:373", "", "3A/91C0F2B8 "] {
            let problem = read(text, &same.to_position()).unwrap_err();
            assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "not-a-position"), "{text}");
        }
    }

    #[test]
    fn a_foreign_position_is_shown_and_not_read() {
        let foreign = Position::new(vec![0xab]);
        assert_eq!(Place::from_position(&foreign), None);
        assert_eq!(describe(&foreign), "ab");
    }
}
