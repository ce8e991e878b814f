//! How far the counters of `AUTO_INCREMENT` columns are.

use std::collections::BTreeMap;

use wavemark_connector::source::Counter;
use wavemark_domain::{Problem, TableName, TablePlan};

use crate::native::ColumnNative;
use crate::settings::Settings;
use crate::sql::literal;
use crate::{client, error};

/// The last number that each counter of these tables gave. Asks nothing where no table has one.
pub(super) async fn last(settings: &Settings, plan: &[TablePlan]) -> Result<Vec<Counter>, Problem> {
    let columns: Vec<(&TablePlan, &str)> = plan.iter().filter_map(|table| Some((table, column(table)?))).collect();
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let mut schemas: Vec<String> = columns.iter().map(|(table, _)| literal(&table.name().schema)).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let sql = format!(
        "SELECT table_schema, table_name, auto_increment FROM information_schema.tables \
         WHERE auto_increment IS NOT NULL AND table_schema IN ({})",
        schemas.join(", ")
    );
    let rows = client::open(settings).await?.query(&sql).await;
    let rows = rows.map_err(|cause| error::problem(&cause, "read the counters of AUTO_INCREMENT"))?;
    let next: BTreeMap<TableName, u64> =
        rows.iter().filter_map(|row| Some((TableName::new(row.text(0)?, row.text(1)?), row.number(2)?))).collect();
    let counter = |(table, column): (&TablePlan, &str)| Counter {
        table: table.id,
        column: column.to_owned(),
        last_value: next.get(table.name()).copied().and_then(before),
    };
    Ok(columns.into_iter().map(counter).collect())
}

/// The column that counts, if it travels.
fn column(table: &TablePlan) -> Option<&str> {
    let mut all = table.columns.iter().map(|column| &table.source.columns[column.source]);
    let counts = |column: &wavemark_domain::Column| ColumnNative::of(column).is_ok_and(|native| native.auto_increment);
    all.find(|column| counts(column)).map(|column| column.name.as_str())
}

/// The number before the next one; none if that is the first, or more than a counter elsewhere could be.
fn before(next: u64) -> Option<i64> {
    i64::try_from(next.checked_sub(1)?).ok().filter(|last| *last > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_the_one_before_the_next() {
        assert_eq!(before(101), Some(100));
        assert_eq!(before(1), None);
        assert_eq!(before(0), None);
        assert_eq!(before(u64::MAX), None);
    }
}
