//! Raising `AUTO_INCREMENT` to the source's counters.

use wavemark_connector::source::Counter;
use wavemark_domain::{Problem, TablePlan};

use super::fault::problem;
use super::fence::Grant;
use crate::sql::{literal, quoted_table};
use crate::wire::{Connection, WireError};

/// Sets each counter that is behind. The server raises it by itself with each row; what is left are values that the source
/// gave and that no row has.
pub(crate) async fn raise(
    connection: &mut Connection,
    grant: &Grant,
    plan: &[TablePlan],
    counters: &[Counter],
) -> Result<(), Problem> {
    let failed = |cause: WireError| problem(&cause, "raise counters in the target");
    for counter in counters {
        let (Some(table), Some(value)) = (plan.iter().find(|table| table.id == counter.table), counter.last_value)
        else {
            continue;
        };
        let next = next(connection, table).await.map_err(failed)?;
        let Some(wanted) = u64::try_from(value).ok().and_then(|value| value.checked_add(1)) else { continue };
        if next.is_none_or(|next| next >= wanted) {
            continue;
        }
        grant.begin(connection, "raise counters in the target").await?;
        let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {wanted}", quoted_table(&table.target));
        connection.query(&sql).await.map_err(failed)?;
    }
    Ok(())
}

/// The number that the server would give next; none for a table that has no counter.
async fn next(connection: &mut Connection, table: &TablePlan) -> Result<Option<u64>, WireError> {
    let sql = format!(
        "SELECT auto_increment FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
        literal(&table.target.schema),
        literal(&table.target.table)
    );
    Ok(connection.query(&sql).await?.first().and_then(|row| row.number(0)))
}
