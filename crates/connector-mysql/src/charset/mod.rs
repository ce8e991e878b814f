//! Texts in their column's character set; on the way they are UTF-8.
//!
//! Load and log read them by the same rules, so that both give the same. Of the sets of Unicode, and of `latin1`, the rules stand
//! here; what the bytes of any other are the server itself is asked (`ask`), and its answers are kept as a tree (`tree`).

mod ask;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use wavemark_domain::{Column, Fault, Problem};

use crate::native::ColumnNative;

pub(crate) use ask::ask;
pub(crate) use tree::Tree;

/// A character set whose texts can be read.
#[derive(Clone, Debug)]
pub(crate) enum Charset {
    /// `utf8mb4`, and what is a part of it.
    Utf8,
    /// `latin1`, which is Windows' code page 1252, and the bytes that are free there as they are.
    Latin1,
    /// `ucs2`, `utf16`: two bytes, the higher first.
    Utf16,
    Utf16Le,
    /// Four bytes, the highest first.
    Utf32,
    /// As the server said.
    Told(Arc<Tree>),
}

/// What the server said of its sets, by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Charsets(HashMap<String, Arc<Tree>>);

/// What `latin1` has from 0x80 to 0x9F.
const LATIN1: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

/// Whether texts of a set can be read, be it by what the server says.
pub(crate) fn is_read(name: &str) -> bool {
    by_rule(name).is_some() || ask::is_told(name)
}

/// Whether a load has to read such texts as the bytes that they are: what has no character in Unicode the server would give
/// as a question mark, without a word.
pub(crate) fn is_read_as_bytes(name: &str) -> bool {
    ask::is_told(name) || matches!(by_rule(name), Some(Charset::Utf16 | Charset::Utf16Le | Charset::Utf32))
}

fn by_rule(name: &str) -> Option<Charset> {
    Some(match name {
        "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Charset::Utf8,
        "latin1" => Charset::Latin1,
        "ucs2" | "utf16" => Charset::Utf16,
        "utf16le" => Charset::Utf16Le,
        "utf32" => Charset::Utf32,
        _ => return None,
    })
}

/// The set of a column whose values are texts of their own, not labels.
pub(crate) fn of_texts(native: &ColumnNative) -> Option<&str> {
    let is_label = matches!(native.data_type.as_str(), "enum" | "set");
    native.charset.as_deref().filter(|_| !is_label)
}

/// That a value of a column is no text of its set, or one that has characters which Unicode has not.
pub(crate) fn unreadable(column: &str, native: &ColumnNative) -> Problem {
    let text = native.charset.as_ref().map_or_else(
        || format!("A value of column {column} in the log is no {}.", native.data_type),
        |set| format!("A value of column {column} is no text of {set}, or has characters that Unicode lacks."),
    );
    Problem::new(Fault::Data, "value-unreadable", text).advice(
        "Mend the value at the source, then reload the table; or leave the column out with a remove-column rule.",
    )
}

impl Charsets {
    /// A set by its name; `None` if it is not known, or not asked for yet.
    pub(crate) fn named(&self, name: &str) -> Option<Charset> {
        by_rule(name).or_else(|| self.0.get(name).map(|tree| Charset::Told(Arc::clone(tree))))
    }

    /// Those of these columns' sets of which the server has to be asked.
    pub(crate) fn lacking<'c>(&self, columns: impl Iterator<Item = &'c Column>) -> BTreeSet<String> {
        let natives = columns.filter_map(|column| ColumnNative::of(column).ok());
        let lacks = |name: &str| ask::is_told(name) && !self.0.contains_key(name);
        natives.filter_map(|native| of_texts(&native).filter(|name| lacks(name)).map(str::to_owned)).collect()
    }

    pub(crate) fn insert(&mut self, name: String, tree: Tree) {
        self.0.insert(name, Arc::new(tree));
    }

    /// Takes up what others say.
    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }
}

impl Charset {
    /// The text as UTF-8: as it is, or written into `out`; `None` if the bytes are none of this set, or have no character.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8], out: &'a mut String) -> Option<&'a [u8]> {
        out.clear();
        match self {
            Self::Utf8 => return std::str::from_utf8(bytes).ok().map(str::as_bytes),
            Self::Latin1 if bytes.is_ascii() => return Some(bytes),
            Self::Latin1 => out.extend(bytes.iter().map(|byte| match byte {
                0x80..=0x9F => LATIN1[usize::from(*byte - 0x80)],
                other => char::from(*other),
            })),
            Self::Utf16 => utf16(bytes, u16::from_be_bytes, out)?,
            Self::Utf16Le => utf16(bytes, u16::from_le_bytes, out)?,
            Self::Utf32 => {
                let (words, []) = bytes.as_chunks::<4>() else { return None };
                for word in words {
                    out.push(char::from_u32(u32::from_be_bytes(*word))?);
                }
            }
            Self::Told(tree) if tree.is_as_it_is(bytes) => return Some(bytes),
            Self::Told(tree) => tree.decode(bytes, out)?,
        }
        Some(out.as_bytes())
    }

    /// Whether a text may be more than one row of bytes in this set, so that the server need not find all of them by the text.
    pub(crate) fn is_ambiguous(&self, text: &str) -> bool {
        matches!(self, Self::Told(tree) if text.chars().any(|character| tree.is_ambiguous(character)))
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut String) -> Option<()> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    for char in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        out.push(char.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, bytes: &[u8]) -> Option<String> {
        let mut out = String::new();
        let charset = Charsets::default().named(name)?;
        charset.decode(bytes, &mut out).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn texts_become_utf8() {
        assert_eq!(decoded("utf8mb4", "grüß €".as_bytes()).unwrap(), "grüß €");
        assert_eq!(decoded("latin1", b"gr\xFC\xDF \x80\x81").unwrap(), "grüß €\u{81}");
        assert_eq!(decoded("ucs2", &[0x20, 0xAC]).unwrap(), "€");
        assert_eq!(decoded("utf16", &[0xD8, 0x3D, 0xDE, 0x00]).unwrap(), "😀");
        assert_eq!(decoded("utf16le", &[0xAC, 0x20]).unwrap(), "€");
        assert_eq!(decoded("utf32", &[0, 1, 0xF6, 0]).unwrap(), "😀");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(decoded("utf8mb4", &[0xFF]), None);
        assert_eq!(decoded("utf16", &[0xD8, 0x3D]), None);
        assert_eq!(decoded("ucs2", &[0x20]), None);
        assert_eq!(decoded("utf32", &[0, 0x11, 0, 0]), None);
        assert_eq!(decoded("gbk", b"a"), None, "the server was not asked");
        assert!(!is_read("filename"));
    }

    #[test]
    fn the_server_is_asked_once_of_the_sets_of_texts_that_no_rule_says() {
        let column = |data_type: &str, charset: &str| {
            let charset = Some(charset.to_owned());
            let native = ColumnNative { data_type: data_type.into(), charset, ..ColumnNative::default() };
            Column {
                name: "c".into(),
                declared: data_type.into(),
                not_null: false,
                generated: false,
                native: serde_json::json!(native),
            }
        };
        let columns = [
            column("varchar", "gbk"),
            column("text", "gbk"),
            column("char", "utf8mb4"),
            column("enum", "big5"),
            column("longtext", "koi8r"),
        ];
        let mut charsets = Charsets::default();
        assert_eq!(charsets.lacking(columns.iter()).into_iter().collect::<Vec<_>>(), ["gbk", "koi8r"]);
        charsets.insert("gbk".to_owned(), Tree::default());
        assert_eq!(charsets.lacking(columns.iter()).into_iter().collect::<Vec<_>>(), ["koi8r"]);
    }
}
