//! What the event triggers at the source write into its log: an alteration, at the place where it was made.
//!
//! A message belongs to its (sub)transaction: one that is rolled back tells nothing. It describes a table as it is from there
//! on, with its columns' numbers, so that nothing is to be guessed of them; and a rewrite of rows comes before the
//! description of what led to it.
//!
//! Anybody may write messages into the log of a server. Those of the triggers carry a number that only who may read the log
//! can know; others are passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::message::{self, Heading};
use super::numbers::Numbered;

/// The prefix of such messages.
pub(super) const PREFIX: &str = "wavemark.ddl";

/// A message.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum Told {
    /// A table is as described.
    Altered(Altered),
    /// The rows of this table are written anew; why, by `pg_event_trigger_table_rewrite_reason()`.
    Rewritten {
        /// The table.
        rewritten: u32,
        /// A set of bits.
        reason: i32,
    },
    /// These are gone.
    Dropped {
        /// OIDs, of other tables too.
        dropped: Vec<u32>,
    },
    /// Something was altered that could not be told.
    Failed {
        /// Always.
        failed: bool,
    },
}

/// A table from this place on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Altered {
    /// Its OID.
    #[serde(rename = "altered")]
    pub(super) relation: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// `pg_class.relreplident`.
    identity: String,
    /// How many columns it ever had.
    pub(super) ever: i16,
    /// Those that are not generated: number, name, type, modifier, whether it is in the replica identity.
    columns: Vec<(i16, String, u32, i32, bool)>,
    /// What rows have in columns that were added after them, by name; `None` if they don't agree.
    pub(super) missing: BTreeMap<String, Option<String>>,
}

/// What became of a table's rows with an alteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rewrite {
    reason: i32,
}

impl Rewrite {
    /// The table was made permanent, or is stored in another way: the values are what they were.
    const HARMLESS: i32 = 0x01 | 0x08;
    /// A column came with a value of its own for each row.
    const DEFAULT: i32 = 0x02;

    pub(super) fn of(reason: i32) -> Self {
        Self { reason: reason & !Self::HARMLESS }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { reason: self.reason | other.reason }
    }

    /// Whether values may be others, or came, of which the log says nothing.
    pub(super) fn is_one(self) -> bool {
        self.reason != 0
    }

    /// Whether values that were there may be others.
    pub(super) fn is_of_known(self) -> bool {
        self.reason & !Self::DEFAULT != 0
    }
}

/// A message with the number of the triggers that wrote it.
#[derive(Deserialize)]
struct Sealed {
    token: Option<i64>,
    told: Told,
}

impl Told {
    /// Reads a message's content; none if it is not from triggers with this number. One that can't be read tells that there
    /// was something.
    pub(super) fn of(content: &[u8], token: i64) -> Option<Self> {
        let unread = Sealed { token: None, told: Self::Failed { failed: true } };
        let sealed: Sealed = serde_json::from_slice(content).unwrap_or(unread);
        let is_theirs = sealed.token == Some(token) || matches!(sealed.told, Self::Failed { .. });
        is_theirs.then_some(sealed.told)
    }
}

/// Whether a message of the log, as it comes in a chunk or outside of one, begins as one of the triggers does.
pub(super) fn is_one(message: &[u8], in_chunk: bool) -> bool {
    // The kind, in a chunk the subtransaction, flags and the place.
    let prefix = message.get(if in_chunk { 14 } else { 10 }..).unwrap_or_default();
    message.first() == Some(&b'M')
        && prefix.strip_prefix(PREFIX.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
}

impl Altered {
    /// Its columns, without those that are generated.
    pub(super) fn columns(&self) -> Vec<Numbered> {
        let numbered = |(number, name, type_id, modifier, _): &(i16, String, u32, i32, bool)| Numbered {
            number: *number,
            name: name.clone(),
            type_id: *type_id,
            modifier: *modifier,
        };
        self.columns.iter().map(numbered).collect()
    }

    /// The same as a Relation message.
    pub(super) fn message(&self) -> Vec<u8> {
        let heading =
            Heading { relation: self.relation, schema: &self.schema, name: &self.name, identity: &self.identity };
        let columns = self.columns();
        message::relation(&heading, columns.iter().zip(self.columns.iter().map(|column| column.4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_triggers_write_is_read_and_nothing_else() {
        let altered = r#"{"token" : 5, "told" : {"altered" : 16390, "schema" : "public", "name" : "t", "identity" : "d", "ever" : 4,
            "columns" : [[1, "id", 23, -1, true], [4, "m", 1700, 655366, false]], "missing" : { "m" : "1.5", "x" : null }}}"#;
        assert_eq!(Told::of(altered.as_bytes(), 6), None);
        let Some(Told::Altered(altered)) = Told::of(altered.as_bytes(), 5) else { panic!("it can be read") };
        assert_eq!((altered.relation, altered.ever, altered.columns()[1].number), (16_390, 4, 4));
        assert_eq!(altered.missing["m"].as_deref(), Some("1.5"));
        assert_eq!(altered.missing["x"], None);
        let rewritten = Told::of(br#"{"token": 5, "told": {"rewritten" : 7, "reason" : 4}}"#, 5);
        assert_eq!(rewritten, Some(Told::Rewritten { rewritten: 7, reason: 4 }));
        let dropped = br#"{"token": 5, "told": {"dropped" : [7, 8]}}"#;
        assert_eq!(Told::of(dropped, 5), Some(Told::Dropped { dropped: vec![7, 8] }));
        assert_eq!(Told::of(dropped, 6), None);
        // What nobody can read, whoever wrote it, only takes confidence away.
        let failed = Some(Told::Failed { failed: true });
        assert_eq!(Told::of(br#"{"told": {"failed": true}}"#, 5), failed);
        for other in ["", "{}", "[]", "null", r#"{"dropped": 7}"#, r#"{"altered": 7}"#, "7", "\u{0}"] {
            assert_eq!(Told::of(format!(r#"{{"token": 5, "told": {other}}}"#).as_bytes(), 5), failed, "{other}");
            assert_eq!(Told::of(other.as_bytes(), 5), failed, "{other}");
        }
        assert_eq!(Told::of(b"{\"token\": 5, \"told\": \xff}", 5), failed);
    }

    #[test]
    fn the_prefix_is_found_where_the_log_has_it() {
        let message = [b"M\x01", &[0; 8][..], b"wavemark.ddl\0\0\0\0\x02{}"].concat();
        let in_chunk = [b"M\0\0\0\x09\x01", &[0; 8][..], b"wavemark.ddl\0\0\0\0\x02{}"].concat();
        assert!(is_one(&message, false) && is_one(&in_chunk, true));
        assert!(!is_one(&message, true) && !is_one(&in_chunk, false) && !is_one(b"M\x01", false));
        let other = [b"M\x01", &[0; 8][..], b"wavemark\0\0\0\0\0"].concat();
        assert!(!is_one(&other, false));
    }

    #[test]
    fn a_rewrite_that_only_stores_otherwise_is_none() {
        assert!(!Rewrite::of(0x01).and(Rewrite::of(0x08)).is_one());
        assert!(Rewrite::of(0x02).is_one() && !Rewrite::of(0x02).is_of_known());
        assert!(Rewrite::of(0x02).and(Rewrite::of(0x04)).is_of_known() && Rewrite::of(0x40).is_of_known());
    }
}
