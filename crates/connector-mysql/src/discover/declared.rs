//! What a table's declaration tells that the catalog does not: MySQL's catalog has a moment's default by the clock of whoever
//! declared it, and neither has all characters of a default; nothing in it tells which parser an index of full texts has.

use wavemark_domain::extras::DefaultValue;
use wavemark_domain::{Column, Table};

use crate::native::{ColumnNative, TableNative, unquoted};
use crate::own::OwnKind;
use crate::sql::{quoted, quoted_table};
use crate::wire::Connection;

/// The table's declaration; empty if the table is gone meanwhile, or hidden from the user.
pub(super) async fn of(connection: &mut Connection, table: &wavemark_domain::TableName) -> String {
    let show = format!("SHOW CREATE TABLE {}", quoted_table(table));
    // A lost connection fails the next question.
    connection.query(&show).await.ok().and_then(|rows| rows.first()?.text(1)).unwrap_or_default()
}

/// Gives a column of MySQL the default that its declaration has, in UTC as the session is.
pub(super) fn give_default(declaration: &str, table: &mut Table, column: &str) {
    let Some(at) = table.column(column) else { return };
    let Some(text) = default(declaration, &table.columns[at]) else { return };
    let native = ColumnNative::of(&table.columns[at]).unwrap_or_default();
    let native = ColumnNative { default: Some(DefaultValue::Literal { text }), ..native };
    table.columns[at].native = serde_json::json!(native);
    let mut native = TableNative::of(table);
    native.own.retain(|own| !(own.kind == OwnKind::Default && own.name == column));
    table.native = serde_json::json!(native);
}

/// A plain value; one of bytes, or with characters beyond U+FFFF, stands there as hexadecimal digits.
fn default(declaration: &str, column: &Column) -> Option<String> {
    let start = format!("  {} ", quoted(&column.name));
    let line = declaration.lines().find_map(|line| line.strip_prefix(&start))?;
    let value = behind(line, " DEFAULT ")?;
    let native = ColumnNative::of(column).ok()?;
    match value.strip_prefix("0x") {
        Some(_) if native.charset.is_none() => Some(value.to_owned()),
        Some(digits) if native.charset.as_deref() == Some("utf8mb4") => {
            String::from_utf8(hex::decode(digits).ok()?).ok()
        }
        Some(_) => None,
        None => unquoted(value),
    }
}

/// The parser of an index of full texts, if it is not the server's own.
pub(super) fn parser(declaration: &str, index: &str) -> Option<String> {
    let start = format!("  FULLTEXT KEY {} ", quoted(index));
    let line = declaration.lines().find_map(|line| line.strip_prefix(&start))?;
    let name = line.split_once("WITH PARSER `")?.1.split('`').next()?;
    Some(name.to_owned())
}

/// The word or literal behind a word that is in no literal itself.
fn behind<'l>(line: &'l str, word: &str) -> Option<&'l str> {
    let mut at = 0;
    while at < line.len() {
        if let Some(rest) = line[at..].strip_prefix(word) {
            let end = if rest.starts_with('\'') { literal(rest) } else { rest.find([' ', ',']).unwrap_or(rest.len()) };
            return rest.get(..end);
        }
        at += if line[at..].starts_with('\'') { literal(&line[at..]) } else { line[at..].chars().next()?.len_utf8() };
    }
    None
}

/// The bytes of a literal with its quotes.
fn literal(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 1,
            b'\'' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As MySQL 9.7 writes it.
    const DECLARED: &str = "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  \
        `e` varchar(30) DEFAULT 0xC3A9F09F98803F COMMENT 'a DEFAULT 7',\n  `vb` varbinary(10) DEFAULT 0x00FFC3,\n  \
        `ts` timestamp NULL DEFAULT '2024-01-01 07:00:00',\n  `k` enum('a DEFAULT 1','it''s') NOT NULL DEFAULT 'it''s',\n  \
        `n` int DEFAULT '7',\n  PRIMARY KEY (`id`),\n  \
        FULLTEXT KEY `words` (`e`) /*!50100 WITH PARSER `ngram` */ ,\n  FULLTEXT KEY `plain` (`e`)\n) ENGINE=InnoDB";

    fn told(name: &str, charset: Option<&str>) -> Option<String> {
        let native = ColumnNative { charset: charset.map(str::to_owned), ..ColumnNative::default() };
        let native = json!(native);
        default(
            DECLARED,
            &Column { name: name.to_owned(), declared: String::new(), not_null: false, generated: false, native },
        )
    }

    #[test]
    fn a_default_is_read_from_the_declaration() {
        assert_eq!(told("e", Some("utf8mb4")).as_deref(), Some("é😀?"));
        assert_eq!(told("e", Some("utf16")), None);
        assert_eq!(told("vb", None).as_deref(), Some("0x00FFC3"));
        assert_eq!(told("ts", None).as_deref(), Some("2024-01-01 07:00:00"));
        assert_eq!(told("k", Some("utf8mb4")).as_deref(), Some("it's"));
        assert_eq!(told("n", None).as_deref(), Some("7"));
        assert_eq!(told("id", None), None);
        assert_eq!(told("gone", None), None);
    }

    #[test]
    fn an_index_of_full_texts_has_its_parser() {
        assert_eq!(parser(DECLARED, "words").as_deref(), Some("ngram"));
        assert_eq!(parser(DECLARED, "plain"), None);
    }
}
