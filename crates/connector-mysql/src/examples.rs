//! Plans of tables for tests.

use std::sync::Arc;

use serde_json::{Value, json};
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Column, ColumnPlan, Encoding, Table, TableId, TableName, TablePlan, UnfitPolicy};

/// A column that is never NULL.
pub(crate) fn column(name: &str, native: Value) -> Column {
    let declared = native["data_type"].as_str().unwrap_or_default().to_owned();
    Column { name: name.to_owned(), declared, not_null: true, generated: false, native }
}

/// A whole number.
pub(crate) fn int(name: &str) -> Column {
    column(name, json!({"data_type": "int"}))
}

/// Table `shop.t`, of which every column travels.
pub(crate) fn plan(columns: Vec<Column>, key: &[&str]) -> TablePlan {
    let at = |name: &&str| columns.iter().position(|column| column.name == *name).unwrap();
    let travels = |(source, column): (usize, &Column)| ColumnPlan {
        source,
        target_name: column.name.clone(),
        encoding: Encoding::named("x"),
        unfit: UnfitPolicy::default(),
        as_text: None,
    };
    let (key_at, travelling) = (key.iter().map(at).collect(), columns.iter().enumerate().map(travels).collect());
    let name = TableName::new("shop", "t");
    let table = Table {
        name: name.clone(),
        kind: TableKind::Table,
        columns,
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        rows_estimated: None,
        bytes_estimated: None,
        native: Value::Null,
    };
    TablePlan {
        id: TableId(0),
        source: Arc::new(table),
        declared: None,
        target: name,
        columns: travelling,
        key: key_at,
        rows: None,
        schema_version: 1,
    }
}
