//! Statements in the log: those that make up transactions, and others, which define something: where rows are logged as
//! rows nothing else is left, but for whatever a session logged as a statement.

use std::borrow::Cow;

use super::ddl::{Definition, Modes};
use crate::binlog::Query;

/// What a statement is to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement<'t> {
    Begin,
    Commit,
    Rollback,
    Savepoint(&'t str),
    RollbackTo(&'t str),
    Release,
    /// Begins a transaction that is prepared, and committed or not by itself later.
    XaBegin,
    /// Ends the changes of one, by its name.
    XaEnd(&'t str),
    XaCommit(&'t str),
    XaRollback(&'t str),
    /// Says nothing of either.
    Xa,
    /// None of a transaction's.
    Defines,
}

impl<'t> Statement<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let text = text.trim();
        let mut words = text.split_ascii_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let upper = |word: &str| word.trim_end_matches(';').to_ascii_uppercase();
        match (upper(first).as_str(), upper(second).as_str()) {
            ("BEGIN", "") | ("START", "TRANSACTION") => Self::Begin,
            ("COMMIT", "") => Self::Commit,
            ("ROLLBACK", "") => Self::Rollback,
            ("ROLLBACK", "TO") => Self::RollbackTo(words.last().unwrap_or_default()),
            ("SAVEPOINT", _) => Self::Savepoint(second),
            ("RELEASE", _) => Self::Release,
            ("XA", "START" | "BEGIN") => Self::XaBegin,
            ("XA", "END") => Self::XaEnd(name(text)),
            ("XA", "COMMIT") => Self::XaCommit(name(text)),
            ("XA", "ROLLBACK") => Self::XaRollback(name(text)),
            ("XA", _) => Self::Xa,
            _ => Self::Defines,
        }
    }
}

/// What a statement of a prepared transaction names: everything behind its two words, which servers always write in one way.
fn name(text: &str) -> &str {
    let behind = text.splitn(3, |c: char| c.is_ascii_whitespace()).nth(2).unwrap_or_default();
    behind.trim().trim_end_matches(';')
}

/// A statement with what it was run with.
pub(super) struct Told<'a> {
    /// The session that ran it.
    pub(super) session: (u32, u32),
    /// Whether it, or what the session ran with it, has temporary tables.
    pub(super) is_of_session: bool,
    pub(super) schema: String,
    pub(super) text: Cow<'a, str>,
    /// None where a text of that mode is not read.
    pub(super) modes: Option<Modes>,
    /// Whether all of its text is known for what it is.
    pub(super) is_readable: bool,
    /// Whether it ended with an error, after a part of it was done.
    has_failed: bool,
}

/// Bits of `sql_mode`.
const REAL_AS_FLOAT: u64 = 1;
const ANSI_QUOTES: u64 = 4;
/// Statements are another system's (MariaDB); texts of a fixed length have their blanks; the empty text is NULL (MariaDB).
const NOT_READ: u64 = 1 << 9 | 1 << 31 | 1 << 32;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
const STRICT_TABLES: u64 = 1 << 21 | 1 << 22;

impl<'a> Told<'a> {
    pub(super) fn of(query: &Query<'a>) -> Self {
        let is_readable =
            query.text.is_ascii() || query.charset.is_some_and(is_utf8) && std::str::from_utf8(query.text).is_ok();
        Self {
            session: query.session,
            is_of_session: query.is_of_session,
            schema: String::from_utf8_lossy(query.schema).into_owned(),
            text: String::from_utf8_lossy(query.text),
            modes: query.sql_mode.and_then(modes),
            is_readable,
            has_failed: query.error != 0,
        }
    }

    /// What it defines.
    pub(super) fn definition(&self) -> Definition {
        match self.modes.filter(|_| self.is_readable && !self.has_failed) {
            Some(modes) => Definition::of(&self.text, modes),
            None => Definition::Unread,
        }
    }
}

fn modes(bits: u64) -> Option<Modes> {
    let has = |bit: u64| bits & bit != 0;
    (!has(NOT_READ)).then(|| Modes {
        ansi_quotes: has(ANSI_QUOTES),
        no_backslash_escapes: has(NO_BACKSLASH_ESCAPES),
        real_as_float: has(REAL_AS_FLOAT),
        strict: has(STRICT_TABLES),
    })
}

/// Whether a collation with this number is one of UTF-8: of MySQL's, and of MariaDB's from 1024 and 2048 on.
fn is_utf8(collation: u16) -> bool {
    let old = |number| matches!(number, 33 | 45 | 46 | 76 | 83 | 192..=247 | 255..=323);
    old(collation)
        || (1_024..2_048).contains(&collation) && old(collation - 1_024)
        || (2_048..2_560).contains(&collation)
}

/// Whether a statement may be about a table: its name stands in it as a word.
pub(super) fn names(text: &str, table: &str) -> bool {
    let (text, table) = (text.to_lowercase(), table.to_lowercase());
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    text.match_indices(&table).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_a_transaction_are_told_by_their_first_words() {
        for (text, statement) in [
            ("BEGIN", Statement::Begin),
            ("begin", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("SAVEPOINT `a`", Statement::Savepoint("`a`")),
            ("ROLLBACK TO `a`", Statement::RollbackTo("`a`")),
            ("ROLLBACK TO SAVEPOINT a", Statement::RollbackTo("a")),
            ("XA START X'61',X'',1", Statement::XaBegin),
            ("XA END X'61',X'',1", Statement::XaEnd("X'61',X'',1")),
            ("XA COMMIT X'61',X'62',7", Statement::XaCommit("X'61',X'62',7")),
            ("XA ROLLBACK X'61',X'62',7", Statement::XaRollback("X'61',X'62',7")),
            ("XA PREPARE X'61',X'62',7", Statement::Xa),
            ("BEGIN NOT ATOMIC SELECT 1; END", Statement::Defines),
            ("ALTER TABLE t ADD c int", Statement::Defines),
            ("", Statement::Defines),
        ] {
            assert_eq!(Statement::of(text), statement, "{text}");
        }
    }

    #[test]
    fn a_statement_is_read_only_where_its_words_are_known() {
        let query = |text, sql_mode, charset, error| Query {
            session: (1, 1),
            is_of_session: false,
            schema: b"shop",
            text,
            error,
            sql_mode,
            charset,
        };
        let of = |query: Query<'_>| Told::of(&query).definition();
        let drop = Definition::Drop(vec![crate::log::ddl::Named { schema: None, table: "größe".into() }]);
        let text = "DROP TABLE größe".as_bytes();
        assert_eq!(of(query(text, Some(0), Some(45), 0)), drop);
        assert_eq!(of(query(text, Some(0), Some(8), 0)), Definition::Unread);
        assert_eq!(of(query(text, Some(0), Some(45), 1_051)), Definition::Unread);
        assert_eq!(of(query(text, None, Some(45), 0)), Definition::Unread);
        assert_eq!(of(query(text, Some(1 << 9), Some(45), 0)), Definition::Unread);
        assert_eq!(of(query(text, Some(1 << 31), Some(45), 0)), Definition::Unread);
        assert_eq!(of(query(b"DROP TABLE \xFF", Some(0), Some(45), 0)), Definition::Unread);
        assert_eq!(
            of(query(b"DROP TABLE t", Some(0), None, 0)),
            Definition::Drop(vec![crate::log::ddl::Named { schema: None, table: "t".into() }])
        );
    }

    #[test]
    fn a_name_is_found_as_a_word_alone() {
        assert!(names("ALTER TABLE `Orders` ADD c int", "orders"));
        assert!(names("rename table shop.orders to x", "orders"));
        assert!(!names("alter table orders_old add c int", "orders"));
        assert!(!names("alter table myorders add c int", "orders"));
        assert!(names("insert into größe values (1)", "GRÖSSE") == "größe".contains("grösse"));
    }
}
