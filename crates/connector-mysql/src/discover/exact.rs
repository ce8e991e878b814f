//! Defaults that the catalog does not tell as they are. Of bytes it has a text, which ends at the first zero (MySQL) or has marks
//! in the place of what is no UTF-8 (MariaDB); of a `timestamp`, MySQL has the local time of whoever made it; of a text, a question
//! mark for each character beyond U+FFFF. The server itself knows them, and tells a session its value.

use std::collections::BTreeMap;

use serde_json::json;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::extras::DefaultValue;
use wavemark_domain::{Column, Problem, Table, TableName};

use super::own;
use crate::native::ColumnNative;
use crate::own::Own;
use crate::sql::{quoted, quoted_table};
use crate::wire::{Connection, WireError};

/// What is asked instead of the catalog.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bytes,
    Instant,
    Text,
}

/// Reads these anew, by one query for each table that has any.
pub(super) async fn defaults(
    connection: &mut Connection,
    tables: &mut BTreeMap<TableName, Table>,
) -> Result<(), Problem> {
    for table in tables.values_mut() {
        let inexact: Vec<(usize, Kind)> =
            table.columns.iter().enumerate().filter_map(|(at, column)| Some((at, kind(column)?))).collect();
        // A view has its tables' defaults, which it never uses.
        if inexact.is_empty() || table.kind == TableKind::View {
            continue;
        }
        let told = ask(connection, table, &inexact).await?;
        for ((at, _), told) in inexact.iter().zip(told) {
            let lost = set(&mut table.columns[*at], told);
            own::note(table, lost.into_iter().collect());
        }
    }
    Ok(())
}

fn kind(column: &Column) -> Option<Kind> {
    let native = ColumnNative::of(column).ok()?;
    let Some(DefaultValue::Literal { text }) = native.default else { return None };
    match native.data_type.as_str() {
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Some(Kind::Bytes),
        "timestamp" => Some(Kind::Instant),
        _ if native.charset.is_some() && text.contains('?') => Some(Kind::Text),
        _ => None,
    }
}

/// The defaults as the session has them, whose time zone is UTC; none where it may not read the table.
async fn ask(
    connection: &mut Connection,
    table: &Table,
    inexact: &[(usize, Kind)],
) -> Result<Vec<Option<String>>, Problem> {
    let value = |(at, kind): &(usize, Kind)| {
        let value = format!("DEFAULT(t.{})", quoted(&table.columns[*at].name));
        if *kind == Kind::Bytes { format!("concat('0x', hex({value}))") } else { format!("concat({value})") }
    };
    let values: Vec<String> = inexact.iter().map(value).collect();
    let name = quoted_table(&table.name);
    let sql = format!("SELECT {} FROM (SELECT 1) one LEFT JOIN {name} t ON FALSE", values.join(", "));
    match connection.query(&sql).await {
        Ok(rows) => Ok((0..inexact.len()).map(|at| rows.first().and_then(|row| row.text(at))).collect()),
        Err(WireError::Server { .. }) => Ok(inexact.iter().map(|_| None).collect()),
        Err(cause) => Err(crate::error::problem(&cause, "read the defaults of columns")),
    }
}

/// Sets a column's default to what was told; returns the one that nobody told.
fn set(column: &mut Column, told: Option<String>) -> Option<Own> {
    let mut native = ColumnNative::of(column).ok()?;
    let before = native.default.take();
    native.default = told.map(|text| DefaultValue::Literal { text });
    let is_lost = before.is_some() && native.default.is_none();
    let lost = is_lost.then(|| Own::default(&column.name, None));
    column.native = json!(native);
    lost
}
