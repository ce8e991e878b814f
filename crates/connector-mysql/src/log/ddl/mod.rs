//! Definitions in the log: statements that make, change and remove tables, as the servers' manuals describe them.
//!
//! The grammar here is meant to be narrow: what is not known word by word is not read, so that nobody takes a guess for what
//! a statement did. A general parser takes more than the servers do, and lacks half of what they do take.

mod alter;
mod column;
mod kinds;
mod options;
mod rest;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use alter::{Alter, Place, Spec};
pub(crate) use column::{ColumnDefinition, Given};

use rest::Rest;

use crate::native::ColumnNative;

/// What a statement was run with, as far as it says what its text means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mode of the server's own")]
pub(crate) struct Modes {
    /// `"…"` is a name, not a text.
    pub(crate) ansi_quotes: bool,
    pub(crate) no_backslash_escapes: bool,
    /// `REAL` is `FLOAT`.
    pub(crate) real_as_float: bool,
    /// Values that don't fit are errors.
    pub(crate) strict: bool,
}

/// A table in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// None for that in which the statement was run.
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
}

/// What a statement does to tables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Definition {
    /// All rows of a table went.
    Truncate(Named),
    /// Tables are gone.
    Drop(Vec<Named>),
    /// The session has a table of its own that hides another of the name.
    Hide(Named),
    /// It has these no longer.
    Show(Vec<Named>),
    /// All tables of a schema are gone.
    DropSchema(String),
    /// There is a table that may be new; `replaces` where one of the name would have gone for it.
    Create {
        table: Named,
        replaces: bool,
    },
    /// Tables have other names, one after the other.
    Rename(Vec<(Named, Named)>),
    Alter(Alter),
    /// Changes no row and no column of any table.
    Harmless,
    /// May have changed every table there is: it stands in place of rows.
    Runs,
    /// May have changed every table whose name it has.
    Unread,
}

impl Definition {
    /// What a statement with this text does.
    pub(crate) fn of(text: &str, modes: Modes) -> Self {
        let Some(tokens) = tokens::read(text, modes) else { return Self::Unread };
        read(Rest::of(&tokens), modes).unwrap_or(Self::Unread)
    }
}

/// A type as the server declares it, without its character set; `None` if it is not known.
pub(crate) fn type_of(declared: &str) -> Option<ColumnNative> {
    let tokens = tokens::read(declared, Modes::default())?;
    let mut rest = Rest::of(&tokens);
    let kind = kinds::read(&mut rest, Modes::default())?;
    rest.is_over().then_some(kind.native)
}

/// What else can be made, altered and dropped, and holds no rows.
const WITHOUT_ROWS: [&str; 14] = [
    "USER",
    "ROLE",
    "VIEW",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "EVENT",
    "SERVER",
    "PACKAGE",
    "RESOURCE",
    "LOGFILE",
    "UNDO",
    "SEQUENCE",
    "INSTANCE",
];

fn read(mut rest: Rest<'_>, modes: Modes) -> Option<Definition> {
    let first = rest.upper();
    rest.next();
    let statement = match first.as_str() {
        "TRUNCATE" => truncate(&mut rest)?,
        "DROP" => return drop_of(rest),
        "CREATE" => return create(rest),
        "RENAME" => rename(&mut rest)?,
        "ALTER" => return alter(rest, modes),
        "SET" if rest.upper() == "STATEMENT" => return None,
        // MariaDB runs a statement that it is to analyze.
        "ANALYZE" if !is_about_tables(&rest) => return Some(Definition::Runs),
        "ANALYZE" | "OPTIMIZE" | "CHECK" | "CHECKSUM" | "FLUSH" | "GRANT" | "REVOKE" | "SET" | "RELEASE"
        | "INSTALL" | "UNINSTALL" => return Some(Definition::Harmless),
        _ => return None,
    };
    rest.is_over().then_some(statement)
}

fn is_about_tables(rest: &Rest<'_>) -> bool {
    let is_option = |at| matches!(rest.upper_at(at).as_str(), "LOCAL" | "NO_WRITE_TO_BINLOG");
    matches!(rest.upper_at(usize::from(is_option(0))).as_str(), "TABLE" | "TABLES")
}

fn truncate(rest: &mut Rest<'_>) -> Option<Definition> {
    rest.words(&["TABLE"]);
    let table = named(rest)?;
    // MariaDB says how long it waits.
    let _ = rest.words(&["NOWAIT"]) || rest.words(&["WAIT"]) && rest.number().is_some();
    Some(Definition::Truncate(table))
}

fn drop_of(mut rest: Rest<'_>) -> Option<Definition> {
    let is_temporary = rest.words(&["TEMPORARY"]);
    if rest.one_of(&["DATABASE", "SCHEMA"]) {
        rest.words(&["IF", "EXISTS"]);
        let schema = rest.name()?;
        return rest.is_over().then_some(Definition::DropSchema(schema));
    }
    if rest.words(&["INDEX"]) {
        rest.words(&["IF", "EXISTS"]);
        // That is the key by which rows are told apart.
        return (!rest.name()?.eq_ignore_ascii_case("PRIMARY")).then_some(Definition::Harmless);
    }
    if !rest.one_of(&["TABLE", "TABLES"]) {
        return without_rows(&mut rest);
    }
    rest.words(&["IF", "EXISTS"]);
    let mut tables = vec![named(&mut rest)?];
    while rest.sign(',') {
        tables.push(named(&mut rest)?);
    }
    rest.one_of(&["RESTRICT", "CASCADE"]);
    match rest.is_over() {
        true if is_temporary => Some(Definition::Show(tables)),
        true => Some(Definition::Drop(tables)),
        false => None,
    }
}

fn create(mut rest: Rest<'_>) -> Option<Definition> {
    let replaces = rest.words(&["OR", "REPLACE"]);
    if rest.one_of(&["DATABASE", "SCHEMA"]) {
        return Some(Definition::Harmless);
    }
    if rest.words(&["TEMPORARY", "TABLE"]) {
        rest.words(&["IF", "NOT", "EXISTS"]);
        let table = named(&mut rest)?;
        return Some(if has_query(&rest) { Definition::Runs } else { Definition::Hide(table) });
    }
    if rest.words(&["TEMPORARY"]) {
        // A sequence.
        return Some(Definition::Harmless);
    }
    if rest.words(&["TABLE"]) {
        rest.words(&["IF", "NOT", "EXISTS"]);
        let table = named(&mut rest)?;
        return Some(if has_query(&rest) { Definition::Runs } else { Definition::Create { table, replaces } });
    }
    if rest.one_of(&["INDEX", "UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "OFFLINE"]) {
        return Some(Definition::Harmless);
    }
    without_rows(&mut rest)
}

/// Whether a new table gets rows from a query, which may run routines that change others. Where rows are logged as rows the statement
/// stands in the log without it.
fn has_query(rest: &Rest<'_>) -> bool {
    rest.has(&["SELECT"]) || rest.has(&["AS", "VALUES"]) || rest.has(&["AS", "TABLE"])
}

/// Something else than a table; how it works and who made it may stand before what it is.
fn without_rows(rest: &mut Rest<'_>) -> Option<Definition> {
    let is_one = |rest: &Rest<'_>| WITHOUT_ROWS.contains(&rest.upper().as_str());
    while !is_one(rest) {
        if rest.words(&["ALGORITHM"]) {
            rest.sign('=');
            rest.name()?;
        } else if rest.words(&["DEFINER"]) {
            rest.sign('=').then_some(())?;
            while !is_one(rest) && !["SQL", "AGGREGATE"].contains(&rest.upper().as_str()) {
                rest.next()?;
            }
        } else if rest.words(&["SQL", "SECURITY"]) {
            rest.name()?;
        } else if !rest.words(&["AGGREGATE"]) {
            return None;
        }
    }
    Some(Definition::Harmless)
}

fn rename(rest: &mut Rest<'_>) -> Option<Definition> {
    if rest.words(&["USER"]) {
        while rest.next().is_some() {}
        return Some(Definition::Harmless);
    }
    rest.one_of(&["TABLE", "TABLES"]).then_some(())?;
    rest.words(&["IF", "EXISTS"]);
    let mut renames = Vec::new();
    loop {
        let from = named(rest)?;
        let _ = rest.words(&["NOWAIT"]) || rest.words(&["WAIT"]) && rest.number().is_some();
        rest.words(&["TO"]).then_some(())?;
        renames.push((from, named(rest)?));
        if !rest.sign(',') {
            return Some(Definition::Rename(renames));
        }
    }
}

fn alter(mut rest: Rest<'_>, modes: Modes) -> Option<Definition> {
    let _ = rest.words(&["ONLINE"]);
    let ignores = rest.words(&["IGNORE"]);
    if rest.words(&["TABLE"]) {
        return alter::read(rest, ignores, modes).map(Definition::Alter);
    }
    // A schema's defaults are for tables that come.
    if rest.one_of(&["DATABASE", "SCHEMA"]) { Some(Definition::Harmless) } else { without_rows(&mut rest) }
}

/// A table's name, with its schema if that is said.
fn named(rest: &mut Rest<'_>) -> Option<Named> {
    let first = rest.name()?;
    if rest.sign('.') {
        return Some(Named { schema: Some(first), table: rest.name()? });
    }
    Some(Named { schema: None, table: first })
}
