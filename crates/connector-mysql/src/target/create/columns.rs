//! The columns of a table in a `CREATE` statement.

use wavemark_domain::{Column, ColumnPlan, Fault, Problem, TablePlan};

use super::collations;
use super::defaults::default;
use super::server::Server;
use super::target_name;
use crate::defaults::Dialect;
use crate::native::{ColumnNative, TableNative};
use crate::sql::{literal, quoted};
use crate::target::values::TargetColumn;

/// The most characters of a name.
const LONGEST_NAME: usize = 64;
/// The most characters of a column's comment; a longer one is left out.
const COLUMN_COMMENT: usize = 1_024;
/// Digits behind the point that MySQL has at most; MariaDB has more.
const SCALE: u16 = 30;

/// Each column that travels.
pub(super) fn definitions(plan: &TablePlan, server: &Server) -> Result<Vec<String>, Problem> {
    plan.columns.iter().map(|planned| Ok(Definition::of(plan, planned, server)?.text())).collect()
}

/// A column in a statement that makes or changes it.
pub(super) struct Definition {
    /// Quoted.
    name: String,
    kind: String,
    not_null: bool,
    counts: bool,
    /// As the statement has it.
    default: Option<String>,
    is_invisible: bool,
    comment: Option<String>,
}

impl Definition {
    /// The column of a plan for a server.
    pub(super) fn of(plan: &TablePlan, planned: &ColumnPlan, server: &Server) -> Result<Self, Problem> {
        let column = &plan.in_target().columns[planned.source];
        let native = ColumnNative::of(column).map_err(|error| unreadable(plan, &error))?;
        let counts = counting(plan).is_some_and(|column| column.target_name == planned.target_name);
        let is_invisible = is_invisible(plan, planned, server);
        Ok(Self {
            name: quoted(&planned.target_name),
            kind: r#type(plan, column, &native, server)?,
            not_null: column.not_null || plan.in_target().key.contains(&column.name),
            counts,
            default: if counts { None } else { default(column, &native, server) },
            is_invisible,
            comment: comment(native),
        })
    }

    /// The same with another default.
    pub(super) fn with_default(self, default: String) -> Self {
        Self { default: Some(default), ..self }
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        let null = if self.not_null { "NOT NULL" } else { "NULL" };
        let mut text = format!("{} {} {null}", self.name, self.kind);
        if self.counts {
            text.push_str(" AUTO_INCREMENT");
        } else if let Some(default) = &self.default {
            text = format!("{text} DEFAULT {default}");
        }
        if self.is_invisible {
            text.push_str(" INVISIBLE");
        }
        if let Some(comment) = &self.comment {
            text = format!("{text} COMMENT {}", literal(comment));
        }
        text
    }
}

/// A column's comment, if it is one here.
pub(super) fn comment(native: ColumnNative) -> Option<String> {
    native.comment.filter(|text| text.chars().count() <= COLUMN_COMMENT)
}

/// Whether statements that don't name the column pass it over here, too. A table has one that they see; and MariaDB has each that
/// they don't take a default or NULL.
pub(super) fn is_invisible(plan: &TablePlan, planned: &ColumnPlan, server: &Server) -> bool {
    let read = |planned: &ColumnPlan| {
        let column = &plan.in_target().columns[planned.source];
        (column, ColumnNative::of(column).unwrap_or_default())
    };
    let (column, native) = read(planned);
    let is_filled = || {
        let not_null = column.not_null || plan.in_target().key.contains(&column.name);
        !not_null || native.auto_increment || default(column, &native, server).is_some()
    };
    native.invisible
        && server.hides_columns()
        && plan.columns.iter().any(|other| !read(other).1.invisible)
        && (server.dialect == Dialect::Mysql || is_filled())
}

/// What the rows that are there have in a new column, as the source writes it, as a default. In brackets every type takes one.
pub(super) fn existing(plan: &TablePlan, planned: &ColumnPlan, text: &str, server: &Server) -> Result<String, Problem> {
    let name = &planned.target_name;
    let column = &plan.in_target().columns[planned.source];
    let written = TargetColumn::planned(name, column, planned, server.dialect);
    let written = written.ok_or_else(|| unwritable(plan, name, "its type does not hold it"))?.literal_of(text);
    let written = written.map_err(|unfit| unwritable(plan, name, &unfit.to_string()))?;
    let written = String::from_utf8(written).map_err(|_| unwritable(plan, name, "it is no text"))?;
    Ok(format!("({written})"))
}

fn unwritable(plan: &TablePlan, column: &str, why: &str) -> Problem {
    let text = format!("What rows of {} have in their new column {column} has no place there: {why}.", plan.name());
    Problem::new(Fault::Data, "layout-not-followed", text)
        .table(plan.name())
        .advice("Reload the table: it is made anew with its new layout.")
}

fn unreadable(plan: &TablePlan, error: &serde_json::Error) -> Problem {
    Problem::internal(format!("The description of table {} can't be read: {error}.", plan.name())).table(plan.name())
}

/// The type as this server has it, with how it is compared.
fn r#type(plan: &TablePlan, column: &Column, native: &ColumnNative, server: &Server) -> Result<String, Problem> {
    if let Some(own) = other_dialect(native, server) {
        return Ok(own);
    }
    let declared = &column.declared;
    // MySQL's has no character set, and MariaDB's brings its own.
    if native.charset.is_none() || native.data_type == "json" {
        return Ok(declared.clone());
    }
    let comparison = collations::of(native, is_keyed(plan, &column.name), server).ok_or_else(|| {
        let collation = native.collation.as_deref().unwrap_or("a byte by byte one");
        let text = format!(
            "Column {} of {} can't be made at the target: {} {}.{} has nothing that compares a key's texts as {collation} does.",
            column.name,
            plan.name(),
            server.system(),
            server.version.0,
            server.version.1
        );
        Problem::new(Fault::Data, "collation-missing", text)
            .table(plan.name())
            .advice("Use MySQL 8.0.17 or later or MariaDB as the target, or make the table yourself with another collation.")
    })?;
    Ok(format!("{declared} CHARACTER SET {} COLLATE {}", comparison.charset, comparison.collation))
}

/// A type that the server lacks, as one that holds the same values.
pub(super) fn other_dialect(native: &ColumnNative, server: &Server) -> Option<String> {
    let mariadb_from = |version| server.dialect == Dialect::Mariadb && server.version >= version;
    let ascii = |declared: &str| Some(format!("{declared} CHARACTER SET ascii COLLATE ascii_bin"));
    match native.data_type.as_str() {
        "vector" if !mariadb_from((11, 7)) && (server.dialect != Dialect::Mysql || server.version < (9, 0)) => {
            Some("longblob".to_owned())
        }
        "geomcollection" => Some("geometrycollection".to_owned()),
        "uuid" if !mariadb_from((10, 7)) => ascii("char(36)"),
        "inet4" if !mariadb_from((10, 10)) => ascii("varchar(15)"),
        "inet6" if !mariadb_from((10, 5)) => ascii("varchar(45)"),
        "decimal" if server.dialect == Dialect::Mysql => {
            let (precision, scale) = (native.precision?, native.scale.filter(|scale| *scale > SCALE)?);
            Some(format!("decimal({},{SCALE})", precision.checked_sub(scale - SCALE)?))
        }
        _ => None,
    }
}

/// Whether a column and the one that it points at are of types between which the server takes a foreign key. For one of the
/// family's own, texts must be compared as they were at the source.
pub(super) fn are_alike(
    (table, column): (&TablePlan, &str),
    (parent, other): (&TablePlan, &str),
    own: bool,
    server: &Server,
) -> bool {
    let travels = |plan, name| target_name(plan, name).and_then(|_| native(plan, name));
    let (Some(left), Some(right)) = (travels(table, column), travels(parent, other)) else { return false };
    if left.charset.is_none() || right.charset.is_none() {
        return left.data_type == right.data_type && left.unsigned == right.unsigned;
    }
    let compared =
        |plan: &TablePlan, name: &str, native: &ColumnNative| collations::of(native, is_keyed(plan, name), server);
    let is_kept = || collations::is_kept(&left, server) && collations::is_kept(&right, server);
    compared(table, column, &left) == compared(parent, other, &right) && (!own || is_kept())
}

/// Whether rows are told apart or found by the column.
pub(super) fn is_keyed(plan: &TablePlan, column: &str) -> bool {
    let table = plan.in_target();
    let native = TableNative::of(table);
    let mut unique = native.indexes.iter().filter(|index| index.unique).flat_map(|index| &index.parts);
    // Those of the family's own are made only where texts are compared as at the source.
    let mut pointing = native.foreign_keys.iter().filter(|key| !key.own).flat_map(|key| &key.columns);
    table.key.iter().any(|name| name == column)
        || unique.any(|part| part.column == column)
        || pointing.any(|name| name == column)
}

/// A column that counts.
pub(super) struct Counting {
    /// The name in the table's description, as indexes have it.
    pub(super) source_name: String,
    pub(super) target_name: String,
}

/// The column that counts, if its type is one that every server counts with.
pub(super) fn counting(plan: &TablePlan) -> Option<Counting> {
    let table = plan.in_target();
    let column = table.columns.iter().find(|column| {
        let native = ColumnNative::of(column).unwrap_or_default();
        let is_whole = native.data_type.ends_with("int");
        native.auto_increment && is_whole && target_name(plan, &column.name).is_some()
    })?;
    let target_name = target_name(plan, &column.name)?.to_owned();
    Some(Counting { source_name: column.name.clone(), target_name })
}

/// The `native` part of a column of the table's description.
pub(super) fn native(plan: &TablePlan, column: &str) -> Option<ColumnNative> {
    let table = plan.in_target();
    ColumnNative::of(&table.columns[table.column(column)?]).ok()
}

/// A column of a staging table: of the target's type, and NULL where nothing is set.
pub(super) fn staged(column: &TargetColumn) -> String {
    let (charset, collation) = (&column.native.charset, &column.native.collation);
    let compared = match (charset, collation) {
        (Some(charset), Some(collation)) => format!(" CHARACTER SET {charset} COLLATE {collation}"),
        _ => String::new(),
    };
    format!("{} {}{compared} NULL", quoted(&column.name), column.declared)
}

/// Names that no server of this family takes are told before it refuses them.
pub(super) fn must_be_names(plan: &TablePlan) -> Result<(), Problem> {
    let columns = plan.columns.iter().map(|column| column.target_name.as_str());
    for name in [plan.target.schema.as_str(), plan.target.table.as_str()].into_iter().chain(columns) {
        let why = if name.chars().count() > LONGEST_NAME {
            "is longer than 64 characters"
        } else if name.is_empty() || name.ends_with(' ') {
            "ends with a blank or is empty"
        } else if name.chars().any(|c| c == '\0' || u32::from(c) > 0xFFFF) {
            "has a character that names can't have there"
        } else {
            continue;
        };
        let text = format!("Table {} can't be made at the target: the name {name} {why}.", plan.name());
        return Err(Problem::new(Fault::Data, "name-not-possible", text)
            .table(plan.name())
            .advice("Rename it with a mapping rule."));
    }
    Ok(())
}
