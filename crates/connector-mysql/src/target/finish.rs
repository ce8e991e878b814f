//! What a table gets after its rows: its indexes but for the key, which is there from the start because rows lie by it.

use wavemark_domain::{Problem, TablePlan};

use super::fault::problem;
use super::fence::Grant;
use super::{create, marks, table};
use crate::native::TableNative;
use crate::sql::quoted_table;
use crate::wire::{Connection, WireError};

/// Makes what is missing of a table whose chunks are all done. The server commits at each of these statements, and each is
/// left out if what it makes is there.
pub(crate) async fn table(
    connection: &mut Connection,
    grant: &Grant,
    plan: &TablePlan,
    analyzes: bool,
) -> Result<(), Problem> {
    let doing = format!("make indexes of {}", plan.target);
    let failed = |cause: WireError| problem(&cause, &doing).table(plan.name());
    grant.begin(connection, &doing).await?;
    let begun = marks::begun(connection, grant.task, plan).await.map_err(failed)?;
    connection.query("COMMIT").await.map_err(failed)?;
    let Some(begun) = begun else {
        return Err(Problem::internal(format!("Table {} is finished but was never begun.", plan.target)));
    };
    if begun.stage == "loaded" {
        return Ok(());
    }
    if begun.made {
        let there = table::look(connection, &plan.target).await?;
        let there = there.map(|there| TableNative::of(&there).indexes).unwrap_or_default();
        let names: Vec<&str> = there.iter().map(|index| index.name.as_str()).collect();
        let server = create::Server::of(connection).await?;
        if let Some(sql) = create::add_indexes(plan, &names, &server) {
            connection.query(&sql).await.map_err(failed)?;
        }
    }
    if analyzes {
        connection.query(&format!("ANALYZE TABLE {}", quoted_table(&plan.target))).await.map_err(failed)?;
    }
    Ok(())
}
