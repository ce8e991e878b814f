//! A statement as words, names, values and signs.
//!
//! `sqlparser` takes the text apart; how names and texts are quoted depends on the `sql_mode` that the statement was run
//! with. Comments that the server runs (`/*! … */`) are part of the statement where every version runs them; where that
//! depends on the version, the statement can't be read.

use sqlparser::dialect::{Dialect, MySqlDialect};
use sqlparser::tokenizer::{Token as Raw, Tokenizer, Whitespace};

use super::Modes;

/// One part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A word without quotes: of the language, or a name.
    Word(String),
    /// A name in quotes.
    Name(String),
    /// A text, neither quoted nor escaped.
    Text(String),
    Number(String),
    /// `,`, `(`, `)`, `.`, `=`, `-`, `+` or `;`.
    Sign(char),
    /// Whatever else there is.
    Odd,
}

/// A longer one defines nothing that a person wrote.
const LONGEST: usize = 1 << 20;
/// From this version on MySQL and MariaDB number their versions so that the other one's comments are passed over.
const VERSIONS_PART: u32 = 50_700;

/// MySQL's words with the quotes of a mode.
#[derive(Debug)]
struct Quoting(Modes);

impl Dialect for Quoting {
    fn dialect(&self) -> std::any::TypeId {
        MySqlDialect {}.dialect()
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '`' || c == '"' && self.0.ansi_quotes
    }

    fn is_identifier_start(&self, c: char) -> bool {
        MySqlDialect {}.is_identifier_start(c)
    }

    fn is_identifier_part(&self, c: char) -> bool {
        MySqlDialect {}.is_identifier_part(c)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        !self.0.no_backslash_escapes
    }

    fn supports_numeric_prefix(&self) -> bool {
        true
    }

    fn requires_single_line_comment_whitespace(&self) -> bool {
        true
    }

    fn supports_hash_comment(&self) -> bool {
        true
    }
}

/// The parts of a statement; `None` if it can't be taken apart.
pub(crate) fn read(text: &str, modes: Modes) -> Option<Vec<Token>> {
    if text.len() > LONGEST {
        return None;
    }
    let mut tokens = Vec::new();
    for raw in Tokenizer::new(&Quoting(modes), text).with_unescape(false).tokenize().ok()? {
        match raw {
            Raw::Whitespace(Whitespace::MultiLineComment(comment)) => {
                tokens.extend(read(run_by_server(&comment)?, modes)?);
            }
            Raw::Whitespace(_) => {}
            raw => tokens.push(token(raw, modes)),
        }
    }
    Some(tokens)
}

/// What the server runs of a comment: nothing of most; `None` if that depends on the server.
fn run_by_server(comment: &str) -> Option<&str> {
    if comment.starts_with("M!") {
        return None;
    }
    let Some(run) = comment.strip_prefix('!') else { return Some("") };
    let digits = run.bytes().take_while(u8::is_ascii_digit).count();
    let is_of_all = digits == 0 || digits == 5 && run[..5].parse().is_ok_and(|version: u32| version < VERSIONS_PART);
    // A comment within would be one more question of who runs what.
    (is_of_all && !run.contains("/*")).then_some(&run[digits..])
}

fn token(raw: Raw, modes: Modes) -> Token {
    match raw {
        Raw::Word(word) => match word.quote_style {
            None => Token::Word(word.value),
            Some(quote) => Token::Name(undoubled(&word.value, quote)),
        },
        Raw::SingleQuotedString(text) => text_of(&text, '\'', modes),
        Raw::DoubleQuotedString(text) => text_of(&text, '"', modes),
        Raw::Number(number, false) => Token::Number(number),
        Raw::Comma => Token::Sign(','),
        Raw::LParen => Token::Sign('('),
        Raw::RParen => Token::Sign(')'),
        Raw::Period => Token::Sign('.'),
        Raw::Eq => Token::Sign('='),
        Raw::Minus => Token::Sign('-'),
        Raw::Plus => Token::Sign('+'),
        Raw::SemiColon => Token::Sign(';'),
        _ => Token::Odd,
    }
}

/// A quote in quotes is written twice.
fn undoubled(text: &str, quote: char) -> String {
    text.replace(&format!("{quote}{quote}"), &quote.to_string())
}

fn text_of(raw: &str, quote: char, modes: Modes) -> Token {
    if modes.no_backslash_escapes || !raw.contains('\\') {
        return Token::Text(undoubled(raw, quote));
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('0') => text.push('\0'),
                Some('b') => text.push('\u{8}'),
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                Some('Z') => text.push('\u{1A}'),
                // Outside of patterns these keep their backslash.
                Some(c @ ('%' | '_')) => text.extend(['\\', c]),
                Some(other) => text.push(other),
                None => return Token::Odd,
            },
            c if c == quote => {
                rest.next();
                text.push(c);
            }
            other => text.push(other),
        }
    }
    Token::Text(text)
}
