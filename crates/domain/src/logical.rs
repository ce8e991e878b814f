//! What a column holds, in words that no system owns, and the bytes that carry it between two systems.
//!
//! Between two endpoints of one system values go in that system's own form. Between two systems they go in the form
//! that stands here with each type; `n` systems need `2n` conversions so, and what a pair keeps exactly follows from
//! what the one can give and the other can hold. Numbers are big-endian.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Encoding;

/// A type of the small set that every system is described with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Logical {
    /// One byte, 0 or 1.
    Boolean,
    /// Two bytes, two's complement.
    Int16,
    /// Four bytes, two's complement.
    Int32,
    /// Eight bytes, two's complement.
    Int64,
    /// Eight bytes without a sign.
    Uint64,
    /// ASCII: an optional `-`, digits, and, if the scale isn't 0, a point and digits; or `NaN`, `Infinity`, `-Infinity`.
    Decimal {
        /// Digits in all; none if any number of them.
        precision: Option<u16>,
        /// Digits after the point.
        scale: Option<u16>,
    },
    /// Four bytes, IEEE 754.
    Float32,
    /// Eight bytes, IEEE 754.
    Float64,
    /// UTF-8.
    Text {
        /// The most characters; none if there is no such limit.
        length: Option<u32>,
    },
    /// The bytes.
    Bytes,
    /// [`crate::moment::Date`]: six bytes.
    Date,
    /// A time of day or a span of time: microseconds, eight bytes, two's complement.
    Time {
        /// Digits after the second's point.
        digits: u8,
    },
    /// [`crate::moment::Timestamp`], in no time zone: fourteen bytes.
    Timestamp {
        /// Digits after the second's point.
        digits: u8,
    },
    /// A moment: the same fourteen bytes, in UTC.
    Instant {
        /// Digits after the second's point.
        digits: u8,
    },
    /// Sixteen bytes.
    Uuid,
    /// A JSON text, UTF-8.
    Json,
    /// The label, UTF-8.
    Enum {
        /// The labels in their order.
        labels: Vec<String>,
    },
    /// The labels that are in it in their order, with commas between, UTF-8. No label has a comma.
    Set {
        /// The labels in their order.
        labels: Vec<String>,
    },
    /// So many bits in as few bytes, the last bit being the lowest of the last byte.
    Bits {
        /// How many.
        length: u16,
    },
}

impl Logical {
    /// The encoding of its bytes, as it is agreed when a plan is made.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        Encoding::named(match self {
            Self::Boolean => "canonical boolean",
            Self::Int16 => "canonical int16",
            Self::Int32 => "canonical int32",
            Self::Int64 => "canonical int64",
            Self::Uint64 => "canonical uint64",
            Self::Decimal { .. } => "canonical decimal",
            Self::Float32 => "canonical float32",
            Self::Float64 => "canonical float64",
            Self::Text { .. } => "canonical text",
            Self::Bytes => "canonical bytes",
            Self::Date => "canonical date",
            Self::Time { .. } => "canonical time",
            Self::Timestamp { .. } => "canonical timestamp",
            Self::Instant { .. } => "canonical instant",
            Self::Uuid => "canonical uuid",
            Self::Json => "canonical json",
            Self::Enum { .. } => "canonical enum",
            Self::Set { .. } => "canonical set",
            Self::Bits { .. } => "canonical bits",
        })
    }
}

/// As it is told to people.
impl fmt::Display for Logical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoding().name().trim_start_matches("canonical "))
    }
}
