//! `ALTER TABLE`: what each of its parts does.

use super::column::{self, ColumnDefinition};
use super::options;
use super::rest::Rest;
use super::{Modes, Named, named};

/// What is done to one table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alter {
    pub(crate) table: Named,
    /// Whether rows that don't fit are changed or removed (MariaDB's `IGNORE`).
    pub(crate) ignores: bool,
    pub(crate) specs: Vec<Spec>,
}

/// Where a column comes to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it was; a new one behind all others.
    Stays,
    First,
    After(String),
}

/// One part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Spec {
    Add {
        columns: Vec<(ColumnDefinition, Place)>,
        if_not_exists: bool,
    },
    Drop {
        column: String,
        if_exists: bool,
    },
    /// `MODIFY` has the same name before and after.
    Change {
        column: String,
        to: Box<ColumnDefinition>,
        place: Place,
        if_exists: bool,
    },
    RenameColumn {
        from: String,
        to: String,
        if_exists: bool,
    },
    RenameTo(Named),
    /// Later rows that say nothing of the column get something else.
    Default {
        column: String,
    },
    /// What columns get that come later and say nothing of it.
    Charset {
        charset: Option<String>,
        collation: Option<String>,
    },
    /// All texts are in another character set; none for the schema's.
    Convert {
        charset: Option<String>,
    },
    /// The primary key is another.
    Key,
    /// A foreign key, and whether it acts on this table's rows.
    ForeignKey {
        acts: bool,
    },
    /// Rows or columns change in a way that the log does not tell, of the other table, too.
    Rows {
        how: &'static str,
        with: Option<Named>,
    },
    /// Neither rows nor columns change.
    Nothing,
}

/// Reads what stands behind `ALTER TABLE`; `None` if there is anything that is not known.
pub(super) fn read(mut rest: Rest<'_>, ignores: bool, modes: Modes) -> Option<Alter> {
    rest.words(&["IF", "EXISTS"]);
    let table = named(&mut rest)?;
    let _ = rest.words(&["NOWAIT"]) || rest.words(&["WAIT"]) && rest.number().is_some();
    let mut specs = Vec::new();
    while !rest.is_over() {
        specs.push(spec(&mut rest, modes)?);
        rest.sign(',');
    }
    Some(Alter { table, ignores, specs })
}

fn spec(rest: &mut Rest<'_>, modes: Modes) -> Option<Spec> {
    let first = rest.upper();
    match first.as_str() {
        "ADD" => add(rest, modes),
        "DROP" => drop_of(rest),
        "MODIFY" => {
            rest.next();
            rest.words(&["COLUMN"]);
            let if_exists = rest.words(&["IF", "EXISTS"]);
            let (to, place) = defined(rest, modes)?;
            Some(Spec::Change { column: to.name.clone(), to: Box::new(to), place, if_exists })
        }
        "CHANGE" => {
            rest.next();
            rest.words(&["COLUMN"]);
            let if_exists = rest.words(&["IF", "EXISTS"]);
            let column = rest.name()?;
            let (to, place) = defined(rest, modes)?;
            Some(Spec::Change { column, to: Box::new(to), place, if_exists })
        }
        "ALTER" => default(rest),
        "RENAME" => rename(rest),
        "CONVERT" => convert(rest),
        _ => options::read(rest),
    }
}

/// What stands up to the next part changes nothing.
fn nothing(rest: &mut Rest<'_>) -> Spec {
    rest.up_to_next();
    Spec::Nothing
}

fn add(rest: &mut Rest<'_>, modes: Modes) -> Option<Spec> {
    rest.next();
    match (rest.upper().as_str(), rest.upper_at(1).as_str()) {
        ("INDEX" | "KEY" | "FULLTEXT" | "SPATIAL" | "UNIQUE" | "CHECK", _) => Some(nothing(rest)),
        ("PRIMARY", _) => Some(key(rest)),
        ("FOREIGN", _) => Some(foreign_key(rest)),
        ("CONSTRAINT", _) => constraint(rest),
        ("PARTITION", _) => {
            while rest.next().is_some() {}
            Some(Spec::Nothing)
        }
        ("SYSTEM", "VERSIONING") | ("PERIOD", "FOR") => Some(history(rest)),
        _ => {
            rest.words(&["COLUMN"]);
            let if_not_exists = rest.words(&["IF", "NOT", "EXISTS"]);
            let columns = if rest.is_sign('(') { group(rest, modes)? } else { vec![defined(rest, modes)?] };
            Some(Spec::Add { columns, if_not_exists })
        }
    }
}

fn group(rest: &mut Rest<'_>, modes: Modes) -> Option<Vec<(ColumnDefinition, Place)>> {
    rest.sign('(').then_some(())?;
    let mut columns = Vec::new();
    loop {
        columns.push((column::read(rest, modes)?, Place::Stays));
        if rest.sign(')') {
            return Some(columns);
        }
        rest.sign(',').then_some(())?;
    }
}

/// A column with its place. Behind it there is nothing or the next part.
fn defined(rest: &mut Rest<'_>, modes: Modes) -> Option<(ColumnDefinition, Place)> {
    let column = column::read(rest, modes)?;
    let place = if rest.words(&["FIRST"]) {
        Place::First
    } else if rest.words(&["AFTER"]) {
        Place::After(rest.name()?)
    } else {
        Place::Stays
    };
    (rest.is_over() || rest.is_sign(',')).then_some((column, place))
}

fn constraint(rest: &mut Rest<'_>) -> Option<Spec> {
    rest.next();
    let is_unnamed = ["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"].contains(&rest.upper().as_str());
    if !is_unnamed {
        rest.name()?;
    }
    match rest.upper().as_str() {
        "PRIMARY" => Some(key(rest)),
        "FOREIGN" => Some(foreign_key(rest)),
        "UNIQUE" | "CHECK" => Some(nothing(rest)),
        _ => None,
    }
}

fn key(rest: &mut Rest<'_>) -> Spec {
    rest.up_to_next();
    Spec::Key
}

fn history(rest: &mut Rest<'_>) -> Spec {
    rest.up_to_next();
    Spec::Rows { how: "its history is kept otherwise", with: None }
}

fn foreign_key(rest: &mut Rest<'_>) -> Spec {
    let all = rest.up_to_next();
    let acts = ["CASCADE", "SET"]
        .iter()
        .any(|act| ["DELETE", "UPDATE"].iter().any(|event| Rest::of(all).has(&["ON", event, act])));
    Spec::ForeignKey { acts }
}

fn drop_of(rest: &mut Rest<'_>) -> Option<Spec> {
    rest.next();
    let second = rest.upper();
    match second.as_str() {
        "PRIMARY" => Some(key(rest)),
        "PARTITION" => {
            while rest.next().is_some() {}
            Some(Spec::Rows { how: "a partition was dropped with its rows", with: None })
        }
        "SYSTEM" if rest.upper_at(1) == "VERSIONING" => Some(history(rest)),
        "PERIOD" if rest.upper_at(1) == "FOR" => Some(history(rest)),
        "FOREIGN" => Some(nothing(rest)),
        "INDEX" | "KEY" | "CHECK" | "CONSTRAINT" => {
            rest.next();
            rest.words(&["IF", "EXISTS"]);
            let is_key = rest.name()?.eq_ignore_ascii_case("PRIMARY");
            Some(if is_key { Spec::Key } else { Spec::Nothing })
        }
        _ => {
            rest.words(&["COLUMN"]);
            let if_exists = rest.words(&["IF", "EXISTS"]);
            let column = rest.name()?;
            rest.one_of(&["RESTRICT", "CASCADE"]);
            Some(Spec::Drop { column, if_exists })
        }
    }
}

/// `ALTER COLUMN` changes what later rows get, `ALTER INDEX` and the like who sees what.
fn default(rest: &mut Rest<'_>) -> Option<Spec> {
    rest.next();
    if rest.one_of(&["INDEX", "KEY", "CHECK", "CONSTRAINT"]) {
        return Some(nothing(rest));
    }
    rest.words(&["COLUMN"]);
    rest.words(&["IF", "EXISTS"]);
    let column = rest.name()?;
    let is_default = rest.upper_at(1) == "DEFAULT";
    ["SET", "DROP"].contains(&rest.upper().as_str()).then_some(())?;
    let nothing = nothing(rest);
    Some(if is_default { Spec::Default { column } } else { nothing })
}

fn rename(rest: &mut Rest<'_>) -> Option<Spec> {
    rest.next();
    if rest.one_of(&["INDEX", "KEY"]) {
        return Some(nothing(rest));
    }
    if rest.words(&["COLUMN"]) {
        let if_exists = rest.words(&["IF", "EXISTS"]);
        let from = rest.name()?;
        rest.words(&["TO"]).then_some(())?;
        return Some(Spec::RenameColumn { from, to: rest.name()?, if_exists });
    }
    let _ = rest.one_of(&["TO", "AS"]) || rest.sign('=');
    named(rest).map(Spec::RenameTo)
}

fn convert(rest: &mut Rest<'_>) -> Option<Spec> {
    rest.next();
    if rest.upper() == "PARTITION" || rest.upper() == "TABLE" {
        let is_table = rest.words(&["TABLE"]);
        let mut with = if is_table { named(rest) } else { None };
        while rest.peek().is_some() {
            if with.is_none() && rest.words(&["TO", "TABLE"]) {
                with = named(rest);
            } else {
                rest.next();
            }
        }
        return Some(Spec::Rows { how: "a partition became a table, or a table one", with });
    }
    rest.words(&["TO"]).then_some(())?;
    let (charset, _) = options::charset(rest)?;
    Some(Spec::Convert { charset })
}
