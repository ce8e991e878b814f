//! Foreign keys between loaded tables. Sessions of ours have them switched off, so they are for whoever takes the target over.

use wavemark_domain::{Fault, Problem, TablePlan};

use super::create;
use super::fault::problem;
use super::marks::Complete;
use crate::sql::literal;
use crate::wire::{Connection, WireError};

/// Makes those that are missing of tables that the task made, with a look at the rows. What can't be made is returned.
pub(super) async fn make(
    connection: &mut Connection,
    plan: &[TablePlan],
    loaded: &[Complete<'_>],
) -> Result<Vec<Problem>, Problem> {
    let failed = |cause: WireError| problem(&cause, "make foreign keys in the target");
    let is_loaded = |table: &TablePlan| loaded.iter().any(|one| one.plan.id == table.id);
    let mut left = Vec::new();
    let server = create::Server::of(connection).await?;
    connection.query("SET SESSION foreign_key_checks = 1").await.map_err(failed)?;
    for table in loaded.iter().filter(|table| table.made).map(|table| table.plan) {
        let there = names(connection, table).await.map_err(failed)?;
        for key in create::foreign_keys(table, plan, &is_loaded, &server) {
            if there.iter().any(|one| one.eq_ignore_ascii_case(&key.name)) {
                continue;
            }
            let sql = create::add_foreign_key(table, plan, &key);
            let Err(cause) = connection.query(&sql).await else { continue };
            let doing = format!("make foreign key {} on {}", key.name, table.target);
            let problem = problem(&cause, &doing).table(table.name());
            if problem.fault != Fault::Data {
                return Err(problem);
            }
            left.push(problem);
        }
    }
    connection.query("SET SESSION foreign_key_checks = 0").await.map_err(failed)?;
    Ok(left)
}

/// The foreign keys that a table has.
async fn names(connection: &mut Connection, table: &TablePlan) -> Result<Vec<String>, WireError> {
    let sql = format!(
        "SELECT constraint_name FROM information_schema.table_constraints WHERE constraint_type = 'FOREIGN KEY' \
         AND table_schema = {} AND table_name = {}",
        literal(&table.target.schema),
        literal(&table.target.table)
    );
    Ok(connection.query(&sql).await?.iter().filter_map(|row| row.text(0)).collect())
}
