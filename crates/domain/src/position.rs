//! A place in a source's log.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A place in a source's log, as bytes that only the source's connector reads.
///
/// Invariant: along one log, the order of the bytes is the order of the log. A connector whose native position
/// has no such order (a GTID set) puts one in front of it. So everyone may compare positions and nobody but the
/// connector needs to know what they hold. Serialized as lower-case hex.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(Box<[u8]>);

impl Position {
    /// Wraps the connector's bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The connector's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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
            .map(|bytes| Self(bytes.into()))
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
    fn what_is_not_hex_is_refused() {
        for text in ["0", "zz", "+1", "é0"] {
            assert!(Position::from_hex(text).is_none(), "{text}");
        }
    }
}
