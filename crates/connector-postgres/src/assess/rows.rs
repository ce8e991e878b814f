//! What filters on rows need of the server, and what they do to whoever uses the tables.

use tokio_postgres::Client;
use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::{Problem, TablePlan};

use super::{blocker, finding};
use crate::error;
use crate::native::TableNative;
use crate::source::{FILTERS_VERSION, quoted, too_old_to_filter, uncovered, uncovered_tables};

/// The columns that may be stored out of line: the log of an update leaves out those that it does not change.
const LARGE: &str = "\
    SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attlen = -1 \
    AND attstorage NOT IN ('p', 'm') ORDER BY attnum";

/// What was found about the tables that are filtered and followed.
pub(super) async fn assess(client: &Client, plan: &[TablePlan], version: i32) -> Result<Vec<Finding>, Problem> {
    let filtered: Vec<&TablePlan> = plan.iter().filter(|table| table.rows.is_some()).collect();
    let Some(first) = filtered.first() else { return Ok(Vec::new()) };
    if version < FILTERS_VERSION {
        return Ok(vec![blocker(&too_old_to_filter(first, version))]);
    }
    let mut findings: Vec<Finding> = uncovered_tables(client, filtered.iter().copied())
        .await?
        .iter()
        .map(|(table, column)| blocker(&uncovered(&table.source, column)))
        .collect();
    for table in filtered {
        findings.extend(in_the_way(table));
        findings.extend(left_out(client, table).await?);
    }
    Ok(findings)
}

/// What the server refuses from now on.
fn in_the_way(table: &TablePlan) -> Option<Finding> {
    let columns = table.rows.as_ref()?.columns().join(", ");
    let text = format!(
        "Rows of {} are filtered by {columns} in the task's publication. As long as that is there the server refuses to drop or \
         retype these columns, and refuses updates and deletes of the table should its replica identity no longer have them.",
        table.name()
    );
    Some(finding(Weight::Note, "row-filter", text, None))
}

/// An update may bring a row into the filter, and the log then has not all of it.
async fn left_out(client: &Client, table: &TablePlan) -> Result<Option<Finding>, Problem> {
    let Some(filter) = &table.rows else { return Ok(None) };
    let native = TableNative::of(&table.source).unwrap_or_default();
    if native.replica_identity == "f" {
        return Ok(None);
    }
    let oid = native.oid;
    let rows = client.query(LARGE, &[&oid]).await.map_err(|error| error::driver(&error, "assess the source"))?;
    let travels = |name: &&str| table.columns.iter().any(|column| table.source.columns[column.source].name == **name);
    let large: Vec<&str> = rows
        .iter()
        .map(|row| row.get(0))
        .filter(travels)
        .filter(|name| !table.source.key.iter().any(|key| key == name))
        .collect();
    if large.is_empty() {
        return Ok(None);
    }
    let text = format!(
        "An update of {} that brings a row into the filter on {} and leaves a large value of {} as it is does not have that \
         value in the log: the table is parked there, or loaded again.",
        table.name(),
        filter.columns().join(", "),
        large.join(", ")
    );
    let mend = format!("ALTER TABLE {} REPLICA IDENTITY FULL;", quoted(table.name()));
    Ok(Some(finding(Weight::Warning, "row-filter-large-values", text, Some(mend))))
}
