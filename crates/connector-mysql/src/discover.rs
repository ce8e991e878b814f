//! Tables and columns from `information_schema`, in a fixed number of queries.

use std::collections::BTreeMap;

use serde_json::json;
use wavemark_connector::source::Wanted;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Column, Problem, Table, TableName};

use crate::error;
use crate::native::{ColumnNative, labels};
use crate::wire::{Connection, Row};

/// The system's own, and where a target of this system keeps its bookmarks.
const NOT_OURS: &str = "('information_schema', 'mysql', 'performance_schema', 'sys', 'wavemark')";

/// Every table that is wanted.
pub(crate) async fn tables(connection: &mut Connection, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
    let names = query(
        connection,
        &format!(
            "SELECT table_schema, table_name, table_type, table_rows, data_length FROM information_schema.tables \
             WHERE table_schema NOT IN {NOT_OURS} AND table_type IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') \
             ORDER BY table_schema, table_name"
        ),
    )
    .await?;
    let mut tables: BTreeMap<TableName, Table> =
        names.iter().map(table).filter(|table| wanted(&table.name)).map(|table| (table.name.clone(), table)).collect();
    let schemas = schemas(&tables);
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let columns = format!(
        "SELECT table_schema, table_name, column_name, column_type, is_nullable, extra, data_type, \
         character_maximum_length, numeric_precision, numeric_scale, datetime_precision, character_set_name \
         FROM information_schema.columns WHERE table_schema IN ({schemas}) ORDER BY table_schema, table_name, \
         ordinal_position"
    );
    for row in query(connection, &columns).await? {
        if let Some(table) = tables.get_mut(&name(&row)) {
            table.columns.push(column(&row));
        }
    }
    let keys = format!(
        "SELECT table_schema, table_name, column_name FROM information_schema.statistics \
         WHERE index_name = 'PRIMARY' AND table_schema IN ({schemas}) ORDER BY table_schema, table_name, seq_in_index"
    );
    for row in query(connection, &keys).await? {
        if let Some(table) = tables.get_mut(&name(&row)) {
            table.key.extend(row.text(2));
        }
    }
    Ok(tables.into_values().collect())
}

async fn query(connection: &mut Connection, sql: &str) -> Result<Vec<Row>, Problem> {
    connection.query(sql).await.map_err(|cause| error::problem(&cause, "read the catalog"))
}

/// The schemas of these tables as literals.
fn schemas(tables: &BTreeMap<TableName, Table>) -> String {
    let mut names: Vec<String> = tables.keys().map(|name| literal(&name.schema)).collect();
    names.dedup();
    names.join(", ")
}

/// A text in SQL; sessions are set up to take a backslash for what it is by default.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn name(row: &Row) -> TableName {
    TableName::new(row.text(0).unwrap_or_default(), row.text(1).unwrap_or_default())
}

fn table(row: &Row) -> Table {
    let kind = if row.text(2).as_deref() == Some("VIEW") { TableKind::View } else { TableKind::Table };
    Table {
        name: name(row),
        kind,
        columns: Vec::new(),
        key: Vec::new(),
        rows_estimated: row.number(3),
        bytes_estimated: row.number(4),
        native: serde_json::Value::Null,
    }
}

fn column(row: &Row) -> Column {
    let declared = row.text(3).unwrap_or_default();
    let extra = row.text(5).unwrap_or_default().to_uppercase();
    let native = ColumnNative {
        data_type: row.text(6).unwrap_or_default().to_lowercase(),
        unsigned: declared.contains(" unsigned") || declared.contains(" zerofill"),
        length: row.number(7),
        precision: row.number(8),
        scale: row.number(9),
        digits: row.number(10).unwrap_or_default(),
        labels: if declared.starts_with("enum(") || declared.starts_with("set(") {
            labels(&declared)
        } else {
            Vec::new()
        },
        charset: row.text(11),
    };
    Column {
        name: row.text(2).unwrap_or_default(),
        declared,
        not_null: row.text(4).as_deref() == Some("NO"),
        // DEFAULT_GENERATED is a default that is an expression.
        generated: ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"].iter().any(|word| extra.contains(word)),
        native: json!(native),
    }
}
