//! What tables have that only their own system has.

use std::collections::BTreeMap;

use serde_json::json;
use wavemark_domain::{Column, Problem, Table, TableName};

use super::query;
use crate::defaults::Dialect;
use crate::native::{ColumnNative, TableNative};
use crate::own::{Own, OwnKind};
use crate::sql::quoted;
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

/// An expression as statements have it: MySQL's catalog escapes it once more, as a text.
pub(super) fn expression(dialect: Dialect, text: String) -> String {
    if dialect == Dialect::Mariadb {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => plain.extend(rest.next()),
            c => plain.push(c),
        }
    }
    plain
}

/// What a column has, a row of `columns`.
pub(super) fn of_column(dialect: Dialect, column: &Column, row: &Row) -> Vec<Own> {
    let own = |kind, alteration| Own { kind, name: column.name.clone(), alteration };
    let name = quoted(&column.name);
    if column.generated {
        let expression = expression(dialect, row.text(15).unwrap_or_default());
        let is_virtual = row.text(5).is_some_and(|extra| extra.to_uppercase().contains("VIRTUAL"));
        let kind = if is_virtual { "VIRTUAL" } else { "STORED" };
        let alteration = format!("ADD COLUMN {name} {} AS ({expression}) {kind}", column.declared);
        return vec![own(OwnKind::Computed, alteration)];
    }
    let mut all = Vec::new();
    if row.text(5).is_some_and(|extra| extra.to_lowercase().contains("on update")) {
        let alteration = format!("MODIFY COLUMN {name} {} ON UPDATE CURRENT_TIMESTAMP", column.declared);
        all.push(own(OwnKind::OnUpdate, alteration));
    }
    let is_known = ColumnNative::of(column).is_ok_and(|native| native.default.is_some() || native.auto_increment);
    // MariaDB says NULL in so many letters.
    let default = row.text(13).filter(|text| !is_known && !text.eq_ignore_ascii_case("NULL"));
    all.extend(default.map(|text| Own::default(&column.name, &expression(dialect, text))));
    all
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
        let is_own = |row: &&Row| row.text(3).is_some_and(|clause| clause.starts_with("json_valid("));
        note(table, rows.iter().filter(|row| !is_own(row)).map(|row| check(dialect, row)).collect());
    }
    Ok(())
}

fn check(dialect: Dialect, row: &Row) -> Own {
    let name = row.text(2).unwrap_or_default();
    let clause = expression(dialect, row.text(3).unwrap_or_default());
    let is_enforced = row.text(4).is_none_or(|enforced| enforced != "NO");
    let enforced = if is_enforced { "" } else { " NOT ENFORCED" };
    let alteration = format!("ADD CONSTRAINT {} CHECK ({clause}){enforced}", quoted(&name));
    Own { kind: OwnKind::Check, name, alteration }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_of_mysqls_catalog_is_one_that_its_server_takes() {
        let told = r#"concat(`a`,_utf8mb4\'it\\\'s \\\\ "q"\')"#;
        assert_eq!(expression(Dialect::Mysql, told.to_owned()), r#"concat(`a`,_utf8mb4'it\'s \\ "q"')"#);
        assert_eq!(expression(Dialect::Mariadb, r"`a` <> '\\'".to_owned()), r"`a` <> '\\'");
    }
}
