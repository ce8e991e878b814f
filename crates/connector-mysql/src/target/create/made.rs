//! What a table gets besides columns and a key, read from the statements that make it; and the statements by which people make
//! the rest.

use wavemark_domain::extras::{ColumnExtras, DefaultValue, IndexPart, LeftOut, Missing};
use wavemark_domain::{Column, ColumnPlan, Extras, TablePlan};

use super::columns::{self, Counting};
use super::defaults::default;
use super::server::Server;
use super::{add_foreign_key, comment, definition, foreign_keys, target_name};
use crate::native::{ColumnNative, TableNative};
use crate::sql::{literal, quoted, quoted_table};

/// What a table of a plan gets at a server.
pub(crate) fn made(table: &TablePlan, plan: &[TablePlan], server: &Server) -> Extras {
    let counting = columns::counting(table);
    let column = |(at, column): (usize, &Column)| made_of(table, at, column, counting.as_ref(), server);
    let mut indexes = TableNative::of(table.in_target()).indexes;
    indexes.retain(|index| definition(table, index, server).is_some());
    Extras {
        columns: table.in_target().columns.iter().enumerate().map(column).collect(),
        indexes,
        foreign_keys: foreign_keys(table, plan, &|_| true, server),
        comment: comment(table),
        left_out: Vec::new(),
    }
}

fn made_of(
    table: &TablePlan,
    at: usize,
    column: &Column,
    counting: Option<&Counting>,
    server: &Server,
) -> ColumnExtras {
    let Some(native) = ColumnNative::of(column).ok().filter(|_| table.columns.iter().any(|one| one.source == at))
    else {
        return ColumnExtras::default();
    };
    ColumnExtras {
        default: default(column, &native, server).map(|text| DefaultValue::Literal { text }),
        counted: counting.is_some_and(|counting| counting.source_name == column.name),
        comment: columns::comment(native),
    }
}

/// That columns are seen here which at a source of the family only statements see that name them.
pub(crate) fn seen(table: &TablePlan, server: &Server) -> Vec<LeftOut> {
    let is_seen = |planned: &&ColumnPlan| {
        let native = ColumnNative::of(&table.in_target().columns[planned.source]).unwrap_or_default();
        native.invisible && !columns::is_invisible(table, planned, server)
    };
    let left = |planned: &ColumnPlan| {
        let column = &table.in_target().columns[planned.source];
        let (name, own) = (quoted_table(&table.target), quoted(&planned.target_name));
        LeftOut {
            what: format!("that column {} is invisible", column.name),
            statement: format!("ALTER TABLE {name} MODIFY COLUMN {own} {} INVISIBLE;", column.declared),
        }
    };
    table.columns.iter().filter(is_seen).map(left).collect()
}

/// The statement by which a person makes what a table's copy lacks.
pub(crate) fn statement(plan: &[TablePlan], table: &TablePlan, missing: &Missing<'_>) -> String {
    let alter = format!("ALTER TABLE {}", quoted_table(&table.target));
    let name = |source: &str| quoted(target_name(table, source).unwrap_or(source));
    let found = |source: &str| table.in_target().column(source).map(|at| &table.in_target().columns[at]);
    let declared = |source: &str| found(source).map_or("", |column| column.declared.as_str());
    match missing {
        Missing::Default { column, value } => {
            let native = found(column).and_then(|column| ColumnNative::of(column).ok()).unwrap_or_default();
            format!("{alter} ALTER COLUMN {} SET DEFAULT ({});", name(column), written(value, &native))
        }
        Missing::Counter { column } => {
            format!("{alter} MODIFY COLUMN {} {} NOT NULL AUTO_INCREMENT;", name(column), declared(column))
        }
        Missing::ColumnComment { column, text } => {
            format!("{alter} MODIFY COLUMN {} {} COMMENT {};", name(column), declared(column), literal(text))
        }
        Missing::Comment { text } => format!("{alter} COMMENT = {};", literal(text)),
        Missing::Index(index) => {
            let part =
                |part: &IndexPart| format!("{}{}", name(&part.column), if part.descending { " DESC" } else { "" });
            let parts: Vec<String> = index.parts.iter().map(part).collect();
            let unique = if index.unique { "UNIQUE " } else { "" };
            format!("{alter} ADD {unique}INDEX {} ({});", quoted(&index.name), parts.join(", "))
        }
        Missing::ForeignKey(key) => format!("{};", add_foreign_key(table, plan, key)),
    }
}

/// A value as systems tell it each other, in this one's words.
fn written(value: &DefaultValue, native: &ColumnNative) -> String {
    match value {
        DefaultValue::Now { .. } if native.in_utc => format!("UTC_TIMESTAMP({})", native.digits),
        DefaultValue::Now { .. } => format!("CURRENT_TIMESTAMP({})", native.digits),
        DefaultValue::Literal { text } if native.data_type == "bit" => format!("b'{text}'"),
        DefaultValue::Literal { text } => match native.data_type.as_str() {
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => format!("X'{text}'"),
            _ => literal(text),
        },
    }
}
