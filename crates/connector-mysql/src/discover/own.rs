//! What tables have that only their own system has.

use std::collections::BTreeMap;

use serde_json::json;
use wavemark_domain::{Column, Problem, Table, TableName};

use super::{expression, query};
use crate::defaults::Dialect;
use crate::native::{ColumnNative, TableNative};
use crate::own::{Own, OwnKind};
use crate::sql::{literal, quoted};
use crate::wire::{Connection, Row};

/// Notes more of it with a table.
pub(super) fn note(table: &mut Table, more: Vec<Own>) {
    if more.is_empty() {
        return;
    }
    let mut native = TableNative::of(table);
    native.own.extend(more);
    table.native = json!(native);
}

/// What a column has, a row of `columns`.
pub(super) fn of_column(dialect: Dialect, column: &Column, row: &Row) -> Vec<Own> {
    let native = ColumnNative::of(column).unwrap_or_default();
    let own = |kind, expression: Option<String>, alteration: &dyn Fn(&str) -> String| {
        Own::new(kind, &column.name, expression.as_deref(), alteration)
    };
    let name = quoted(&column.name);
    if column.generated {
        let expression = expression::of(dialect, &row.text(15).unwrap_or_default());
        let is_virtual = row.text(5).is_some_and(|extra| extra.to_uppercase().contains("VIRTUAL"));
        let computed = |text: &str| format!("ADD COLUMN {name} {}", computed(column, &native, text, is_virtual));
        return vec![own(OwnKind::Computed, expression, &computed)];
    }
    let mut all = Vec::new();
    if row.text(5).is_some_and(|extra| extra.to_lowercase().contains("on update")) {
        let alteration = |_: &str| format!("MODIFY COLUMN {name} {} ON UPDATE CURRENT_TIMESTAMP", column.declared);
        all.push(own(OwnKind::OnUpdate, Some(String::new()), &alteration));
    }
    let is_known = native.default.is_some() || native.auto_increment;
    // MariaDB says NULL in so many letters.
    let default = row.text(13).filter(|text| !is_known && !text.eq_ignore_ascii_case("NULL"));
    let told = |text: String| expression::of(dialect, &text);
    all.extend(default.map(|text| Own::default(&column.name, told(text).as_deref())));
    all
}

/// A computed column as a statement that adds it has it, behind its name.
fn computed(column: &Column, native: &ColumnNative, expression: &str, is_virtual: bool) -> String {
    let charset = native.charset.as_ref().zip(native.collation.as_ref());
    let compared = charset.map(|(charset, collation)| format!(" CHARACTER SET {charset} COLLATE {collation}"));
    let kept = if is_virtual { "VIRTUAL" } else { "STORED" };
    let not_null = if column.not_null { " NOT NULL" } else { "" };
    let comment = native.comment.as_ref().map(|comment| format!(" COMMENT {}", literal(comment)));
    let (compared, comment) = (compared.unwrap_or_default(), comment.unwrap_or_default());
    format!("{}{compared} AS ({expression}) {kept}{not_null}{comment}", column.declared)
}

/// Check constraints of which a condition on `t` holds, those of columns too.
pub(super) async fn checks(
    connection: &mut Connection,
    there: &str,
    tables: &mut BTreeMap<TableName, Table>,
) -> Result<(), Problem> {
    let dialect = Dialect::of(&connection.version);
    let sql = match dialect {
        Dialect::Mariadb => format!(
            "SELECT constraint_schema, table_name, constraint_name, check_clause, 'YES' FROM \
             information_schema.check_constraints t WHERE {there} ORDER BY 1, 2, 3"
        ),
        Dialect::Mysql => format!(
            "SELECT c.constraint_schema, t.table_name, c.constraint_name, c.check_clause, t.enforced FROM \
             information_schema.check_constraints c JOIN information_schema.table_constraints t \
             ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name \
             WHERE t.constraint_type = 'CHECK' AND {there} ORDER BY 1, 2, 3"
        ),
    };
    // MySQL knows no checks before version 8.0.16, nor a view of them.
    if connection.query("SELECT 1 FROM information_schema.check_constraints LIMIT 0").await.is_err() {
        return Ok(());
    }
    for (name, rows) in super::by_table(query(connection, &sql).await?) {
        let Some(table) = tables.get_mut(&name) else { continue };
        // MariaDB checks of its own that what is called JSON is some.
        let is_own = |row: &&Row| {
            let of_name = row.text(2).map(|name| format!("json_valid({})", quoted(&name)));
            row.text(3).is_some() && row.text(3) == of_name
        };
        note(table, rows.iter().filter(|row| !is_own(row)).map(|row| check(dialect, row)).collect());
    }
    Ok(())
}

fn check(dialect: Dialect, row: &Row) -> Own {
    let name = row.text(2).unwrap_or_default();
    let clause = expression::of(dialect, &row.text(3).unwrap_or_default());
    let is_enforced = row.text(4).is_none_or(|enforced| enforced != "NO");
    let enforced = if is_enforced { "" } else { " NOT ENFORCED" };
    let alteration = |clause: &str| format!("ADD CONSTRAINT {} CHECK ({clause}){enforced}", quoted(&name));
    Own::new(OwnKind::Check, &name, clause.as_deref(), alteration)
}
