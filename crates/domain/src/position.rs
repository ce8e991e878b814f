//! A place in a source's log.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A place in a source's log, as bytes that only the source's connector reads.
///
/// Invariant: along one log, the order of the bytes is the order of the log. A connector whose native position
/// has no such order (a GTID set) puts one in front of it. So everyone may compare positions and nobody but the
/// connector needs to know what they hold. Serialized as lower-case hex.
///
/// What the connector has to find again besides, and what says nothing of the order, is the memo: two positions
/// with one place and different memos are equal.
///
/// Stored is the place alone, or [`HAS_MEMO`], the place's length in two bytes, the place, and the memo.
#[derive(Clone)]
pub struct Position(Box<[u8]>);

/// What the stored form of a position with a memo begins with; no connector's place does.
const HAS_MEMO: u8 = 0xFF;

impl Position {
    /// Wraps the connector's bytes, or what [`Position::as_bytes`] gave.
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// A place, which does not begin with `0xFF` nor is longer than 64 KiB, and what is to be found again with it.
    #[must_use]
    pub fn with_memo(place: &[u8], memo: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(3 + place.len() + memo.len());
        bytes.push(HAS_MEMO);
        bytes.extend(u16::try_from(place.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(place);
        bytes.extend(memo);
        Self(bytes.into())
    }

    /// The stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What positions are compared by.
    #[must_use]
    pub fn place(&self) -> &[u8] {
        self.split().0
    }

    /// What is to be found again with the place.
    #[must_use]
    pub fn memo(&self) -> &[u8] {
        self.split().1
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let with_memo = match &*self.0 {
            [HAS_MEMO, high, low, rest @ ..] => rest.split_at_checked(u16::from_be_bytes([*high, *low]).into()),
            _ => None,
        };
        with_memo.unwrap_or((&self.0, &[]))
    }

    /// Reads the hex form that [`fmt::Display`] writes.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect::<Option<Vec<u8>>>()
            .map(Self::new)
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Position {}

impl Hash for Position {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(other.place())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("a position is written as an even number of hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hex_form_reads_back() {
        let position = Position::new(vec![0x00, 0x3a, 0xff]);
        assert_eq!(position.to_string(), "003aff");
        assert_eq!(Position::from_hex("003aff"), Some(position.clone()));
        assert_eq!(serde_json::from_str::<Position>("\"003aff\"").unwrap(), position);
    }

    #[test]
    fn a_memo_is_kept_and_has_no_part_in_the_order() {
        let with = |place: &[u8], memo: &[u8]| Position::with_memo(place, memo);
        let stored = Position::new(with(&[1, 2], &[9, 9]).as_bytes());
        assert_eq!((stored.place(), stored.memo()), (&[1, 2][..], &[9, 9][..]));
        assert_eq!(with(&[1, 2], &[9]), with(&[1, 2], &[3]));
        assert_eq!(with(&[1, 2], &[9]), Position::new(vec![1, 2]));
        assert!(with(&[1, 2], &[9]) < Position::new(vec![1, 3]));
        assert!(with(&[1, 3], &[]) > with(&[1, 2], &[9]));
        assert!(with(&[1], &[9]) < with(&[1, 0], &[]));
    }

    #[test]
    fn no_bytes_are_refused() {
        for bytes in [&[][..], &[0xFF], &[0xFF, 0, 9, 1], &[0xFF, 0, 0]] {
            let position = Position::new(bytes);
            assert_eq!(position.as_bytes(), bytes);
            assert!(position.place().len() + position.memo().len() <= bytes.len());
        }
    }

    #[test]
    fn what_is_not_hex_is_refused() {
        for text in ["0", "zz", "+1", "é0"] {
            assert!(Position::from_hex(text).is_none(), "{text}");
        }
    }
}
