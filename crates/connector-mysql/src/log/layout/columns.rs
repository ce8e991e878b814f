//! A table's columns behind a statement, as the server makes them: those that stay in their order, changed ones where they
//! were; then, in the order of the statement, what is new or has another place.

use serde_json::json;
use wavemark_domain::Problem;
use wavemark_domain::catalog::Column;
use wavemark_domain::extras::DefaultValue;

use super::{Context, existing};
use crate::defaults::Dialect;
use crate::log::ddl::{ColumnDefinition, Given, Place, Spec};
use crate::native::{ColumnNative, TableNative};
use crate::own::OwnKind;
use crate::unsaid::Unsaid;

/// A column of the next layout.
pub(super) struct Draft<'a> {
    pub(super) column: Column,
    /// Its place in the layout before; none for a new one.
    pub(super) from: Option<usize>,
    /// How the statement defines it, if it does.
    pub(super) defined: Option<&'a ColumnDefinition>,
}

impl Draft<'_> {
    /// Has the column stand in the log's rows and travel no further, as one that its system computes.
    pub(super) fn ignore(&mut self) {
        self.column.generated = true;
        self.column.native["ignored"] = true.into();
    }
}

/// What the statement does to each column that was there.
enum Fate<'a> {
    Stays,
    Goes,
    Renamed(&'a str),
    Defined(&'a ColumnDefinition, &'a Place),
}

/// The table's own part, with what texts are in where nothing is said. A computed column of which the statement says something
/// is not the one that a copy has.
pub(super) fn table_native(context: &Context<'_>) -> Result<TableNative, Problem> {
    let mut native = TableNative::of(&context.plan.source);
    for spec in &context.alter.specs {
        match spec {
            Spec::Convert { charset: None } => {
                return Err(context.changed("its texts are in its schema's character set now, which is not known"));
            }
            Spec::Convert { charset: Some(charset) } => native.collation = Some(charset.clone()),
            Spec::Charset { charset, collation } => native.collation = collation.clone().or_else(|| charset.clone()),
            _ => {}
        }
    }
    let names = |spec: &Spec, name: &str| match spec {
        Spec::Drop { column, .. } | Spec::Change { column, .. } | Spec::RenameColumn { from: column, .. } => {
            is_name(column, name)
        }
        _ => false,
    };
    let specs = context.alter.specs.iter();
    native.own.retain(|own| own.kind != OwnKind::Computed || !specs.clone().any(|spec| names(spec, &own.name)));
    Ok(native)
}

/// All columns in their order.
pub(super) fn all<'a>(context: &Context<'a>, native: &TableNative) -> Result<Vec<Draft<'a>>, Problem> {
    let fates = fates(context)?;
    let before = &context.plan.source.columns;
    let mut drafts = Vec::with_capacity(before.len() + 1);
    for (at, (column, fate)) in before.iter().zip(&fates).enumerate() {
        let mut draft = Draft { column: column.clone(), from: Some(at), defined: None };
        match fate {
            Fate::Goes | Fate::Defined(_, Place::First | Place::After(_)) => continue,
            Fate::Stays => {}
            Fate::Renamed(to) => (*to).clone_into(&mut draft.column.name),
            Fate::Defined(to, Place::Stays) => draft = changed(context, native, at, to)?,
        }
        drafts.push(draft);
    }
    for spec in &context.alter.specs {
        match spec {
            Spec::Add { columns, if_not_exists } => {
                for (defined, place) in columns {
                    if *if_not_exists && find(before, &defined.name).is_some() {
                        continue;
                    }
                    let column = column(context, native, defined)?;
                    put(context, &mut drafts, Draft { column, from: None, defined: Some(defined) }, place)?;
                }
            }
            Spec::Change { column, to, place: place @ (Place::First | Place::After(_)), .. } => {
                if let Some(at) = find(before, column) {
                    let draft = changed(context, native, at, to)?;
                    put(context, &mut drafts, draft, place)?;
                }
            }
            _ => {}
        }
    }
    convert(context, &mut drafts)?;
    forget_defaults(context, &mut drafts);
    let mut names: Vec<String> = drafts.iter().map(|draft| draft.column.name.to_lowercase()).collect();
    names.sort_unstable();
    if drafts.is_empty() || names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(unlike(context, "two columns have one name"));
    }
    Ok(drafts)
}

fn fates<'a>(context: &Context<'a>) -> Result<Vec<Fate<'a>>, Problem> {
    let before = &context.plan.source.columns;
    let mut fates: Vec<Fate<'a>> = before.iter().map(|_| Fate::Stays).collect();
    for spec in &context.alter.specs {
        let (name, if_exists, fate) = match spec {
            Spec::Drop { column, if_exists } => (column, *if_exists, Fate::Goes),
            Spec::RenameColumn { from, to, if_exists } => (from, *if_exists, Fate::Renamed(to)),
            Spec::Change { column, to, place, if_exists } => (column, *if_exists, Fate::Defined(to, place)),
            _ => continue,
        };
        match find(before, name) {
            Some(at) if matches!(fates[at], Fate::Stays) => fates[at] = fate,
            None if if_exists => {}
            _ => return Err(unlike(context, &format!("column {name} is not there, or is named twice"))),
        }
    }
    Ok(fates)
}

/// `ALTER COLUMN … SET DEFAULT`: what later rows have that say nothing of the column is not known any more.
fn forget_defaults(context: &Context<'_>, drafts: &mut [Draft<'_>]) {
    for spec in &context.alter.specs {
        let Spec::Default { column } = spec else { continue };
        let is_it = |draft: &&mut Draft<'_>| {
            let before = draft.from.map(|from| context.plan.source.columns[from].name.as_str());
            is_name(column, &draft.column.name) || before.is_some_and(|before| is_name(column, before))
        };
        for draft in drafts.iter_mut().filter(is_it) {
            let native = ColumnNative::of(&draft.column).unwrap_or_default();
            draft.column.native = json!(ColumnNative { unsaid: None, ..native });
        }
    }
}

/// Names of columns are the same in upper and lower case.
fn find(columns: &[Column], name: &str) -> Option<usize> {
    let exact = columns.iter().position(|column| column.name == name);
    exact.or_else(|| columns.iter().position(|column| column.name.to_lowercase() == name.to_lowercase()))
}

fn put<'a>(context: &Context<'a>, drafts: &mut Vec<Draft<'a>>, draft: Draft<'a>, place: &Place) -> Result<(), Problem> {
    let at = match place {
        Place::Stays => drafts.len(),
        Place::First => 0,
        Place::After(name) => {
            // Which of its names counts is the server's to say.
            let is_renamed = context.alter.specs.iter().any(|spec| match spec {
                Spec::RenameColumn { from, to, .. } => is_name(from, name) || is_name(to, name),
                Spec::Change { column, to, .. } => {
                    !is_name(column, &to.name) && (is_name(column, name) || is_name(&to.name, name))
                }
                _ => false,
            });
            let found = drafts.iter().position(|other| is_name(&other.column.name, name)).filter(|_| !is_renamed);
            found.ok_or_else(|| unlike(context, &format!("a column comes after {name}")))? + 1
        }
    };
    drafts.insert(at, draft);
    Ok(())
}

fn is_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// A column that was there, as it is defined now.
fn changed<'a>(
    context: &Context<'a>,
    native: &TableNative,
    at: usize,
    to: &'a ColumnDefinition,
) -> Result<Draft<'a>, Problem> {
    let before = &context.plan.source.columns[at];
    let mut draft = Draft { column: column(context, native, to)?, from: Some(at), defined: Some(to) };
    let is_ignored = ColumnNative::of(before).is_ok_and(|native| native.ignored);
    if is_ignored {
        draft.ignore();
    } else if before.generated != to.generated {
        return Err(context.changed(&format!("column {} is generated now, or is not any more", to.name)));
    }
    // By a setting of the server it is not NULL then, and what was NULL becomes the present moment.
    if to.kind.native.data_type == "timestamp" && !before.not_null && !to.nullable {
        return Err(context.changed(&format!("column {} is a timestamp that is not said to be NULL any more", to.name)));
    }
    // A column of the primary key is never NULL.
    if !draft.column.not_null && context.plan.source.key.contains(&before.name) {
        draft.column.not_null = true;
        let mut native = ColumnNative::of(&draft.column).unwrap_or_default();
        if native.unsaid == Some(Unsaid::Null) {
            native.unsaid = Unsaid::nothing(&native);
        }
        draft.column.native = json!(native);
    }
    Ok(draft)
}

/// A column as it is defined.
fn column(context: &Context<'_>, table: &TableNative, defined: &ColumnDefinition) -> Result<Column, Problem> {
    if defined.is_key {
        return Err(context.changed("its primary key is another"));
    }
    if defined.acts && !context.rules.server.logs_actions {
        return Err(context.acts());
    }
    let mut native = defined.kind.native.clone();
    let mut declared = defined.kind.declared.clone();
    let mut charset = texts(context, table, defined)?;
    if defined.kind.is_json && context.rules.server.dialect == Dialect::Mariadb {
        native = ColumnNative { data_type: "longtext".to_owned(), length: Some(u32::MAX), ..native };
        "longtext".clone_into(&mut declared);
        charset = (Some("utf8mb4".to_owned()), Some("utf8mb4_bin".to_owned()));
    }
    (native.charset, native.collation) = charset;
    native.auto_increment = defined.auto_increment;
    native.invisible = defined.invisible;
    native.comment.clone_from(&defined.comment);
    native.default = match &defined.default {
        Given::Number(text) | Given::Text(text) => default(text, &native).map(|text| DefaultValue::Literal { text }),
        Given::Nothing | Given::Null | Given::Computed => None,
    };
    let mut column = Column {
        name: defined.name.clone(),
        declared,
        not_null: defined.not_null,
        generated: defined.generated,
        native: json!(native),
    };
    native.unsaid = unsaid(defined, &column, &native);
    column.native = json!(native);
    Ok(column)
}

/// What rows have that come later and say nothing of the column: what those have that were there.
fn unsaid(defined: &ColumnDefinition, column: &Column, native: &ColumnNative) -> Option<Unsaid> {
    if defined.generated {
        return None;
    }
    existing::value(defined, column).ok().and_then(|text| Unsaid::of(text, native))
}

/// A default as discovery has it; none of an instant, which is one in the session's time zone.
fn default(text: &str, native: &ColumnNative) -> Option<String> {
    match native.data_type.as_str() {
        "timestamp" => None,
        "bit" => existing::bits(text, native).map(|bits| format!("b'{bits}'")),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            text.is_ascii().then(|| format!("0x{}", hex::encode(text)))
        }
        _ => Some(text.to_owned()),
    }
}

/// The character set and the collation of a column, if it has texts.
fn texts(
    context: &Context<'_>,
    table: &TableNative,
    defined: &ColumnDefinition,
) -> Result<(Option<String>, Option<String>), Problem> {
    if !has_texts(&defined.kind.native) {
        return Ok((None, None));
    }
    let unknown = || unlike(context, &format!("which character set column {} has is not known", defined.name));
    let ColumnDefinition { charset, collation, .. } = defined;
    let collation =
        if charset.is_none() { collation.clone().or_else(|| table.collation.clone()) } else { collation.clone() };
    let charset = charset.clone().or_else(|| collation.as_deref().map(|name| of_collation(name).to_owned()));
    let charset = charset.filter(|name| name != "binary").ok_or_else(unknown)?;
    Ok((Some(named_now(&charset)), collation.filter(|name| name.contains('_'))))
}

/// The character set of a collation, which its name begins with.
fn of_collation(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

/// The server itself tells the old name of a set by the new one.
fn named_now(charset: &str) -> String {
    if charset == "utf8" { "utf8mb3".to_owned() } else { charset.to_owned() }
}

fn has_texts(native: &ColumnNative) -> bool {
    matches!(
        native.data_type.as_str(),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set"
    )
}

/// `CONVERT TO CHARACTER SET`: every column that has texts.
fn convert(context: &Context<'_>, drafts: &mut [Draft<'_>]) -> Result<(), Problem> {
    let mut charsets = context.alter.specs.iter().filter_map(|spec| match spec {
        Spec::Convert { charset } => charset.as_deref(),
        _ => None,
    });
    let Some(charset) = charsets.next_back() else { return Ok(()) };
    if charset == "binary" {
        return Err(unlike(context, "its texts became bytes"));
    }
    for draft in drafts {
        let mut native = ColumnNative::of(&draft.column).unwrap_or_default();
        if has_texts(&native) && native.charset.is_some() {
            native.charset = Some(named_now(charset));
            native.collation = None;
            draft.column.native = json!(native);
        }
    }
    Ok(())
}

fn unlike(context: &Context<'_>, why: &str) -> Problem {
    context.changed(&format!("a statement altered it that can't be followed exactly ({why})"))
}
