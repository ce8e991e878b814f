//! MySQL's: a set of transactions, as `gtid_executed` has it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use uuid::Uuid;

use crate::fields::{Fields, Malformed};

/// Who numbered a transaction: a server, and the tag that it was given (from version 8.3 on).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) server: Uuid,
    pub(crate) tag: Box<str>,
}

/// Numbers of each origin: ranges without their ends, in order, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GtidSet(BTreeMap<Origin, Vec<Range<u64>>>);

/// The first byte and the last of a form with tags.
const TAGGED: u8 = 1;

impl GtidSet {
    /// Reads `uuid:1-5:7:tag:9,uuid:1`; `None` if it is no such set.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for of_server in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut parts = of_server.split(':').map(str::trim);
            let server = Uuid::try_parse(parts.next()?).ok()?;
            let mut origin = Origin { server, tag: "".into() };
            for part in parts {
                if is_tag(part) {
                    origin.tag = part.into();
                } else {
                    let (first, last) = part.split_once('-').unwrap_or((part, part));
                    set.add(&origin, first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?);
                }
            }
        }
        Some(set)
    }

    pub(crate) fn add(&mut self, origin: &Origin, numbers: Range<u64>) {
        if numbers.is_empty() {
            return;
        }
        let Some(ranges) = self.0.get_mut(origin) else {
            self.0.insert(origin.clone(), vec![numbers]);
            return;
        };
        // Those that it touches become one with it.
        let first = ranges.partition_point(|range| range.end < numbers.start);
        let behind = ranges.partition_point(|range| range.start <= numbers.end);
        let touched = ranges.get(first..behind).unwrap_or_default();
        let start = touched.first().map_or(numbers.start, |range| range.start.min(numbers.start));
        let end = touched.last().map_or(numbers.end, |range| range.end.max(numbers.end));
        ranges.splice(first..behind.max(first), std::iter::once(start..end));
    }

    /// All of another set, too.
    pub(crate) fn extend(&mut self, other: Self) {
        for (origin, ranges) in other.0 {
            for range in ranges {
                self.add(&origin, range);
            }
        }
    }

    fn has_tags(&self) -> bool {
        self.0.keys().any(|origin| !origin.tag.is_empty())
    }

    /// Appends the form in which the protocol has it; that with tags is read from version 8.3 on.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let origins = self.0.len() as u64;
        let has_tags = self.has_tags();
        let mut head = if has_tags { origins << 8 } else { origins }.to_le_bytes();
        if has_tags {
            (head[0], head[7]) = (TAGGED, TAGGED);
        }
        out.extend(head);
        for (origin, ranges) in &self.0 {
            out.extend(origin.server.as_bytes());
            if has_tags {
                out.push(u8::try_from(origin.tag.len() << 1).unwrap_or_default());
                out.extend(origin.tag.as_bytes());
            }
            out.extend((ranges.len() as u64).to_le_bytes());
            for range in ranges {
                out.extend(range.start.to_le_bytes());
                out.extend(range.end.to_le_bytes());
            }
        }
    }

    /// Reads the form in which the protocol has it.
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let head = fields.u64()?;
        let has_tags = head.to_le_bytes()[7] == TAGGED;
        let origins = if has_tags { head << 8 >> 16 } else { head };
        let mut set = Self::default();
        for _ in 0..origins {
            let server = Uuid::from_bytes(fields.array()?);
            let tag = if has_tags { tag(fields)? } else { "".into() };
            let origin = Origin { server, tag };
            for _ in 0..fields.u64()? {
                let (start, end) = (fields.u64()?, fields.u64()?);
                if start >= end {
                    return Err(Malformed("a range of transactions ends before it begins"));
                }
                set.add(&origin, start..end);
            }
        }
        Ok(set)
    }
}

/// Whether it is a tag, not a range: a letter, then letters and digits, 32 at most.
fn is_tag(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.len() <= 32 && text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// A tag behind its length.
pub(crate) fn tag(fields: &mut Fields<'_>) -> Result<Box<str>, Malformed> {
    let length = usize::try_from(fields.packed()?).unwrap_or(usize::MAX);
    std::str::from_utf8(fields.take(length)?).map(Into::into).map_err(|_| Malformed("a tag is no text"))
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (Origin { server, tag }, ranges) in &self.0 {
            write!(f, "{between}{server}")?;
            between = ",";
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for Range { start, end } in ranges {
                if start + 1 == *end { write!(f, ":{start}")? } else { write!(f, ":{start}-{}", end - 1)? }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4f22fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        GtidSet::parse(text).unwrap()
    }

    #[test]
    fn a_set_is_read_as_the_servers_write_it() {
        let text = format!("{A}:1-5:7,\n{B}:3:blue:1-2:9:green:4");
        assert_eq!(set(&text).to_string(), format!("{A}:1-5:7,{B}:3,{B}:blue:1-2:9,{B}:green:4"));
        assert_eq!(set("").to_string(), "");
        for text in ["x:1", &format!("{A}:x-1"), &format!("{A}:1-"), "1-2"] {
            assert_eq!(GtidSet::parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_that_touch_become_one_range() {
        for (before, more, after) in [
            ("1-5", 6..7, "1-5:6"),
            ("1-5:8", 6..8, "1-8"),
            ("1-5:8-9", 7..8, "1-5:7-9"),
            ("2-3:5:7", 1..9, "1-8"),
            ("5", 1..2, "1:5"),
            ("5", 9..10, "5:9"),
            ("1-5", 2..3, "1-5"),
        ] {
            let mut set = set(&format!("{A}:{before}"));
            let origin = Origin { server: A.parse().unwrap(), tag: "".into() };
            set.add(&origin, more);
            assert_eq!(set, self::set(&format!("{A}:{after}")), "{before} {after}");
        }
    }

    #[test]
    fn the_protocol_has_a_set_without_tags_as_it_always_had() {
        let mut bytes = Vec::new();
        set(&format!("{A}:1-5")).encode(&mut bytes);
        let expected = [
            &[1, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x3e, 0x11, 0xfa, 0x47, 0x71, 0xca, 0x11, 0xe1, 0x9e, 0x33, 0xc8, 0x0a, 0xa9, 0x42, 0x95, 0x62],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn a_set_comes_back_with_its_tags() {
        for text in [String::new(), format!("{A}:1-5:7"), format!("{A}:1,{A}:blue:1-2,{B}:3")] {
            let mut bytes = Vec::new();
            set(&text).encode(&mut bytes);
            assert_eq!(GtidSet::decode(&mut Fields(&bytes)).unwrap().to_string(), text);
            for length in 0..bytes.len() {
                assert!(GtidSet::decode(&mut Fields(&bytes[..length])).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_the_numbers_that_were_added(added in prop::collection::vec((0_u64..40, 1_u64..6), 0..20)) {
            let origin = Origin { server: A.parse().unwrap(), tag: "".into() };
            let mut set = GtidSet::default();
            let mut numbers = std::collections::BTreeSet::new();
            for (start, length) in added {
                set.add(&origin, start..start + length);
                numbers.extend(start..start + length);
            }
            let ranges = set.0.remove(&origin).unwrap_or_default();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(ranges.into_iter().flatten().collect::<std::collections::BTreeSet<_>>(), numbers);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(GtidSet::decode(&mut Fields(&bytes)));
        }
    }
}
