//! What this source knows of a column beyond what every system has. It travels as the `native` JSON of
//! [`wavemark_domain::Column`].

use serde::{Deserialize, Serialize};

/// The `native` part of a column: as `information_schema.columns` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
}

impl ColumnNative {
    /// Reads the `native` part of a column.
    pub(crate) fn of(column: &wavemark_domain::Column) -> Result<Self, serde_json::Error> {
        Self::deserialize(&column.native)
    }
}

/// The labels of a type as it is declared: `enum('a','it''s')`.
pub(crate) fn labels(declared: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut rest = declared.chars().peekable();
    while rest.by_ref().any(|c| c == '\'') {
        let mut label = String::new();
        while let Some(c) = rest.next() {
            match c {
                '\'' if rest.peek() == Some(&'\'') => label.extend(rest.next()),
                '\'' => break,
                '\\' => label.extend(rest.next().map(unescaped)),
                other => label.push(other),
            }
        }
        labels.push(label);
    }
    labels
}

fn unescaped(c: char) -> char {
    match c {
        '0' => '\0',
        'n' => '\n',
        'r' => '\r',
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
}
