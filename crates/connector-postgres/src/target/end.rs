//! Ending a table that is gone at the source, in the open wave: its mark goes, and with it the target's table where that
//! is asked for.
//!
//! Foreign keys between it and other tables of the task go first, and for good: a table at the source can't point at one
//! that is gone, and one that stands still may hold up rows of those that it points at. Those of anybody else's tables stay:
//! they keep the server from dropping it, as a view does.

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;
use wavemark_domain::{Fault, Problem, TablePlan};

use super::fault::problem;
use super::table::{self, quote_table};
use super::wave::Waves;
use super::{foreign_keys, marks};

/// Somebody who reads the table is not waited for, since everybody else's rows would wait, too.
const WAIT: &str = "SET LOCAL lock_timeout = '1s'";

impl Waves {
    /// Ends the table; see [`wavemark_connector::target::Session::end_table`].
    pub(crate) async fn end_table(&mut self, table: &TablePlan, drop: bool) -> Result<Option<Vec<String>>, Problem> {
        self.begin().await?;
        self.drain().await?;
        self.write_counts().await?;
        let client = Arc::clone(&self.client);
        let keys = match try_end(&client, self.grant.task, table, drop).await {
            Ok(keys) => keys,
            Err(problem) if problem.code == "lock-timeout" => {
                self.roll_back().await?;
                return Ok(None);
            }
            Err(problem) if matches!(problem.fault, Fault::Settings | Fault::Data) => {
                self.roll_back().await?;
                return Err(Problem { fault: Fault::Data, ..problem });
            }
            Err(problem) => return Err(problem),
        };
        self.forget(std::iter::once(table.id)).await?;
        self.counts_end(table);
        self.leave_unread();
        Ok(Some(keys))
    }
}

async fn try_end(client: &Client, task: Uuid, plan: &TablePlan, drop: bool) -> Result<Vec<String>, Problem> {
    let name = quote_table(&plan.target);
    let doing = if drop { format!("drop table {}", plan.target) } else { format!("part with table {}", plan.target) };
    let failed = |error: tokio_postgres::Error| {
        let problem = problem(&error, &doing).table(plan.name());
        match error.code() {
            Some(code) if *code == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => problem.advice(
                "Drop what depends on the table and then the table, or keep both; nothing is dropped in cascade.",
            ),
            _ => problem,
        }
    };
    client.batch_execute(WAIT).await.map_err(failed)?;
    let is_there = table::look(client, &plan.target).await.map_err(failed)?.is_some();
    if drop && is_there {
        must_be_ours(client, task, plan).await?;
    }
    let keys = foreign_keys::part(client, task, plan).await.map_err(failed)?;
    if drop {
        if is_there {
            client.batch_execute(&format!("DROP TABLE {name}")).await.map_err(failed)?;
        }
        marks::remove(client, task, plan.name()).await.map_err(failed)?;
    } else {
        marks::set_superseded(client, task, plan.name()).await.map_err(failed)?;
    }
    Ok(keys)
}

/// A table that was there before the task, or that another task writes, is not dropped.
async fn must_be_ours(client: &Client, task: Uuid, table: &TablePlan) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, "read the marks of tables").table(table.name());
    let refused = |why: &str| {
        Problem::new(Fault::Data, "table-not-dropped", format!("Table {} is not dropped: {why}.", table.target))
            .table(table.name())
            .advice("Drop it yourself, or keep it: the task no longer changes it.")
    };
    match marks::begun(client, task, table).await.map_err(failed)? {
        Some(begun) if begun.made => {}
        Some(_) => return Err(refused("it was there before the task")),
        None => return Err(Problem::internal(format!("Table {} has ended and has no mark.", table.target))),
    }
    match marks::written_by_another(client, task, table).await.map_err(failed)? {
        Some(other) => Err(refused(&format!("task {other} writes it, too"))),
        None => Ok(()),
    }
}
