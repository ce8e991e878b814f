//! Large objects are neither in a table nor in the log: only the numbers that columns hold of them are copied.

use std::sync::Arc;

use tokio_postgres::{Client, Error};
use wavemark_domain::Table;
use wavemark_domain::check::{Finding, Weight};

use super::finding;
use crate::native::{ColumnNative, TypeRef};

/// So many columns are named.
const NAMED: usize = 10;

/// Says that the database has large objects, and which columns of these tables may hold their numbers.
pub(super) async fn assess(client: &Client, tables: &[Arc<Table>]) -> Result<Option<Finding>, Error> {
    let row = client.query_one("SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)", &[]).await?;
    Ok(row.get::<_, bool>(0).then(|| told(&columns(tables))))
}

fn told(columns: &[String]) -> Finding {
    let named = columns.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if columns.len() > NAMED { " and others" } else { "" };
    let which = match columns {
        [] => "no column of the chosen tables is of a type that refers to them".to_owned(),
        _ => format!("{named}{more} may hold their numbers, which mean nothing in the target"),
    };
    let weight = if columns.is_empty() { Weight::Note } else { Weight::Warning };
    let mend = (!columns.is_empty())
        .then(|| "-- keep them as bytea: ALTER TABLE … ADD COLUMN … bytea; UPDATE … SET … = lo_get(…)".to_owned());
    let text = format!("The database has large objects, which are not copied: {which}.");
    finding(weight, "large-objects", text, mend)
}

fn columns(tables: &[Arc<Table>]) -> Vec<String> {
    let of = |table: &Arc<Table>| {
        let refers = |column: &&wavemark_domain::Column| {
            ColumnNative::of(column).is_ok_and(|native| base(&native.r#type).name.name == "oid")
        };
        let name = table.name.clone();
        let named = |column: &wavemark_domain::Column| format!("{name}.{}", column.name);
        table.columns.iter().filter(refers).map(named).collect::<Vec<_>>()
    };
    tables.iter().flat_map(of).collect()
}

/// What a domain is over: extension `lo` has one over `oid`.
fn base(of: &TypeRef) -> &TypeRef {
    of.inner.as_deref().filter(|_| of.category == crate::native::TypeCategory::Domain).map_or(of, base)
}
