//! What this source knows of a table beyond what every system has. It travels as the `native` JSON of
//! [`wavemark_domain::Table`] and [`wavemark_domain::Column`].

use std::iter::Peekable;
use std::str::Chars;

use serde::{Deserialize, Serialize};
use wavemark_domain::extras::{ColumnExtras, DefaultValue, Extras, ForeignKey, Index, LeftOut};
use wavemark_domain::{Column, Table};

use crate::defaults::{self, Dialect};
use crate::own::Own;
use crate::unsaid::Unsaid;

/// The `native` part of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TableNative {
    /// Indexes besides the key's.
    pub(crate) indexes: Vec<Index>,
    /// Foreign keys from this table.
    pub(crate) foreign_keys: Vec<ForeignKey>,
    /// How much of each column's values the key has, in characters of a text and bytes of others; `None` for all. Empty if it has
    /// all of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) key_beginnings: Vec<Option<u32>>,
    /// Names of foreign keys by which the server deletes or changes rows of this table, and says nothing of it in its log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) silent_keys: Vec<String>,
    /// Whose words those in `own` are; none of a table that another system has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dialect: Option<Dialect>,
    /// What only a server of the same system can have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) own: Vec<Own>,
    /// What keeps the rows, as `ENGINE` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
    /// How many unique indexes MariaDB keeps hashes for, each in a column of its own behind all others, which its log has, too.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) hashes: usize,
    /// `TABLE_COMMENT`.
    pub(crate) comment: Option<String>,
    /// How texts are compared where a column that comes says nothing of it; its character set alone if no more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collation: Option<String>,
    /// Where in the log the statement ends by which the table came to be like this, as [`crate::position::Place::mark`]
    /// says it; none if it is as it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl TableNative {
    /// Reads the `native` part of a table; of one that has none, that there is nothing.
    pub(crate) fn of(table: &Table) -> Self {
        Self::deserialize(&table.native).unwrap_or_default()
    }
}

/// A table as its rows in the target have it: its columns, what later ones are like, and from where on in the log, are those
/// of then.
pub(crate) fn as_kept(kept: &Table, now: &Table) -> Table {
    let TableNative { collation, since, .. } = TableNative::of(kept);
    let native = serde_json::json!(TableNative { collation, since, ..TableNative::of(now) });
    Table { columns: kept.columns.clone(), key: kept.key.clone(), native, ..now.clone() }
}

/// What a table has besides columns and a key.
pub(crate) fn extras(table: &Table) -> Extras {
    let TableNative { indexes, foreign_keys, comment, own, .. } = TableNative::of(table);
    let mut left_out: Vec<LeftOut> = own.iter().map(|own| own.left_out(&table.name)).collect();
    let mut column = |column: &Column| {
        let native = ColumnNative::of(column).unwrap_or_default();
        let default = native.default.as_ref().and_then(|default| defaults::in_common_words(default, column));
        if let (Some(DefaultValue::Literal { text }), None) = (&native.default, &default) {
            left_out.push(Own::default(&column.name, Some(text)).left_out(&table.name));
        }
        ColumnExtras { default, counted: native.auto_increment, comment: native.comment }
    };
    let columns = table.columns.iter().map(&mut column).collect();
    Extras { columns, indexes, foreign_keys, comment, left_out }
}

/// The `native` part of a column: as `information_schema.columns` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own")]
pub(crate) struct ColumnNative {
    /// The type without what is in brackets, lower case: `decimal`.
    pub(crate) data_type: String,
    /// Whether a number has no sign.
    pub(crate) unsigned: bool,
    /// The most characters or bytes of a text.
    pub(crate) length: Option<u32>,
    /// Digits of a number, or the bits of a `bit`.
    pub(crate) precision: Option<u16>,
    /// Digits behind the point.
    pub(crate) scale: Option<u16>,
    /// Digits behind a second's point.
    pub(crate) digits: u8,
    /// The labels of an enum or a set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) labels: Vec<String>,
    /// The character set of a text; none for bytes.
    pub(crate) charset: Option<String>,
    /// How texts are compared; none for bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collation: Option<String>,
    /// The default, if it is a plain value or the present moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<DefaultValue>,
    /// What a row has in it that the log has without it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsaid: Option<Unsaid>,
    /// Whether it is the table's `AUTO_INCREMENT`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) auto_increment: bool,
    /// `COLUMN_COMMENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// Whether its moments are in UTC, though nothing of its type says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) in_utc: bool,
    /// Whether statements that don't name it pass it over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) invisible: bool,
    /// Whether it came after the load and does not travel, as the task's settings say.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ignored: bool,
}

impl ColumnNative {
    /// Reads the `native` part of a column.
    pub(crate) fn of(column: &Column) -> Result<Self, serde_json::Error> {
        Self::deserialize(&column.native)
    }
}

/// The labels of a type as it is declared: `enum('a','it''s')`.
pub(crate) fn labels(declared: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut rest = declared.chars().peekable();
    while rest.by_ref().any(|c| c == '\'') {
        labels.push(literal(&mut rest).0);
    }
    labels
}

/// A text as a literal has it: `'it''s'`; none if that is not all of it.
pub(crate) fn unquoted(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('\'')?.chars().peekable();
    let (text, ended) = literal(&mut rest);
    (ended && rest.next().is_none()).then_some(text)
}

/// The text of a literal behind its first quote, and whether there was a last one.
fn literal(rest: &mut Peekable<Chars<'_>>) -> (String, bool) {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\'' if rest.peek() == Some(&'\'') => text.extend(rest.next()),
            '\'' => return (text, true),
            '\\' => text.extend(rest.next().map(unescaped)),
            other => text.push(other),
        }
    }
    (text, false)
}

fn unescaped(c: char) -> char {
    match c {
        '0' => '\0',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'Z' => '\u{1a}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_from_the_declared_type() {
        assert_eq!(labels("enum('a','it''s','x,y','\\\\','')"), ["a", "it's", "x,y", "\\", ""]);
        assert_eq!(labels("set('one')"), ["one"]);
        assert!(labels("int(11)").is_empty());
    }

    #[test]
    fn a_literal_is_all_of_the_text_or_none() {
        assert_eq!(unquoted(r"'it''s \\ a\tb'").as_deref(), Some("it's \\ a\tb"));
        assert_eq!(unquoted("''").as_deref(), Some(""));
        for text in ["", "'", "'a", "a'", "'a' or 'b'", "'a\\'"] {
            assert_eq!(unquoted(text), None, "{text}");
        }
    }
}
