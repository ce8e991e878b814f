//! A column as `ADD`, `MODIFY` and `CHANGE` define it.

use super::Modes;
use super::kinds::{self, Kind};
use super::rest::Rest;
use super::tokens::Token;

/// What rows get that say nothing of the column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// Nothing is said.
    Nothing,
    Null,
    Number(String),
    Text(String),
    /// Whatever else: an expression, the present moment.
    Computed,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own")]
pub(crate) struct ColumnDefinition {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) not_null: bool,
    /// Whether it is said that it may be NULL.
    pub(crate) nullable: bool,
    pub(crate) default: Given,
    pub(crate) invisible: bool,
    pub(crate) generated: bool,
    pub(crate) auto_increment: bool,
    /// Whether it is the primary key.
    pub(crate) is_key: bool,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
    /// Whether a foreign key that is defined with it acts on rows.
    pub(crate) acts: bool,
    pub(crate) comment: Option<String>,
}

/// Reads one column up to what does not belong to it; `None` if there is anything that is not known.
pub(super) fn read(rest: &mut Rest<'_>, modes: Modes) -> Option<ColumnDefinition> {
    let name = rest.name()?;
    let mut column = ColumnDefinition {
        name,
        kind: kinds::read(rest, modes)?,
        not_null: false,
        nullable: false,
        default: Given::Nothing,
        invisible: false,
        generated: false,
        auto_increment: false,
        is_key: false,
        charset: None,
        collation: None,
        acts: false,
        comment: None,
    };
    while !is_behind(rest) {
        attribute(rest, &mut column)?;
    }
    Some(column)
}

fn is_behind(rest: &Rest<'_>) -> bool {
    rest.is_over() || rest.is_sign(',') || rest.is_sign(')') || matches!(rest.upper().as_str(), "FIRST" | "AFTER")
}

fn attribute(rest: &mut Rest<'_>, column: &mut ColumnDefinition) -> Option<()> {
    let first = rest.upper();
    rest.next();
    match first.as_str() {
        "NOT" if rest.words(&["NULL"]) => column.not_null = true,
        "NULL" => column.nullable = true,
        "DEFAULT" => column.default = given(rest)?,
        "ON" => {
            rest.words(&["UPDATE"]).then_some(())?;
            moment(rest)?;
        }
        "AUTO_INCREMENT" => column.auto_increment = true,
        "UNIQUE" => drop(rest.words(&["KEY"])),
        "PRIMARY" => {
            rest.words(&["KEY"]);
            column.is_key = true;
        }
        "KEY" => column.is_key = true,
        "COMMENT" => column.comment = Some(text(rest)?).filter(|text| !text.is_empty()),
        "COLLATE" => column.collation = Some(rest.name_or_text()?.to_ascii_lowercase()),
        "CHARSET" => column.charset = Some(rest.name_or_text()?.to_ascii_lowercase()),
        "CHARACTER" => {
            rest.words(&["SET"]).then_some(())?;
            column.charset = Some(rest.name_or_text()?.to_ascii_lowercase());
        }
        "INVISIBLE" => column.invisible = true,
        "VISIBLE" | "ENFORCED" | "VIRTUAL" | "STORED" | "PERSISTENT" => {}
        "NOT" if rest.words(&["ENFORCED"]) => {}
        "COLUMN_FORMAT" | "STORAGE" => drop(rest.next()?),
        // How the server keeps it (MariaDB), which changes no value.
        "COMPRESSED" => {
            if rest.sign('=') {
                rest.name()?;
            }
        }
        "ENGINE_ATTRIBUTE" | "SECONDARY_ENGINE_ATTRIBUTE" => {
            rest.sign('=');
            text(rest)?;
        }
        "GENERATED" => {
            rest.words(&["ALWAYS", "AS"]).then_some(())?;
            rest.group()?;
            column.generated = true;
        }
        "AS" => {
            rest.group()?;
            column.generated = true;
        }
        "CHECK" => rest.group()?,
        "CONSTRAINT" => {
            if rest.upper() != "CHECK" {
                rest.name()?;
            }
            rest.words(&["CHECK"]).then_some(())?;
            rest.group()?;
        }
        "REFERENCES" => column.acts |= references(rest)?,
        _ => return None,
    }
    Some(())
}

fn text(rest: &mut Rest<'_>) -> Option<String> {
    match rest.next()? {
        Token::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Whether a foreign key that is defined here acts on rows.
fn references(rest: &mut Rest<'_>) -> Option<bool> {
    super::named(rest)?;
    if rest.is_sign('(') {
        rest.group()?;
    }
    let mut acts = false;
    loop {
        if rest.words(&["MATCH"]) {
            rest.next()?;
        } else if rest.words(&["ON", "DELETE"]) || rest.words(&["ON", "UPDATE"]) {
            acts |= matches!(rest.upper().as_str(), "CASCADE" | "SET");
            match rest.upper().as_str() {
                "CASCADE" | "RESTRICT" => drop(rest.next()),
                "SET" | "NO" => {
                    rest.next();
                    rest.next()?;
                }
                _ => return None,
            }
        } else {
            return Some(acts);
        }
    }
}

fn given(rest: &mut Rest<'_>) -> Option<Given> {
    if rest.is_sign('(') {
        rest.group()?;
        return Some(Given::Computed);
    }
    let minus = rest.sign('-');
    if !minus {
        rest.sign('+');
    }
    Some(match rest.peek()? {
        Token::Number(number) => {
            rest.next();
            Given::Number(if minus { format!("-{number}") } else { number.clone() })
        }
        Token::Text(text) if !minus => {
            rest.next();
            Given::Text(text.clone())
        }
        Token::Word(_) if !minus => match rest.upper().as_str() {
            "NULL" => taken(rest, Given::Null),
            "TRUE" => taken(rest, Given::Number("1".to_owned())),
            "FALSE" => taken(rest, Given::Number("0".to_owned())),
            _ => {
                moment(rest)?;
                Given::Computed
            }
        },
        // The bytes of `x'…'` and the bits of `b'…'`.
        Token::Odd if !minus => taken(rest, Given::Computed),
        _ => return None,
    })
}

fn taken(rest: &mut Rest<'_>, given: Given) -> Given {
    rest.next();
    given
}

/// `CURRENT_TIMESTAMP`, `now(3)`, or any other function.
fn moment(rest: &mut Rest<'_>) -> Option<()> {
    match rest.next()? {
        Token::Word(_) if rest.is_sign('(') => rest.group(),
        Token::Word(_) => Some(()),
        _ => None,
    }
}
