//! A table that is renamed at the source, or moved to another schema: the target's too, as the mapping has its new name, and
//! all that is kept under the old one.

use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_domain::{Fault, Problem, TableName, TablePlan};

use super::fault::problem;
use super::table::quote_table;
use super::{create, marks};
use crate::wire::quote_identifier;

/// What a table is called between two schemas: either name alone may be taken in the other.
const BETWEEN: &str = "wavemark moves";

/// Renames the table and its marks, in the open wave. A name that is taken is a *data* problem.
pub(crate) async fn rename(client: &Client, task: Uuid, before: &TablePlan, next: &TablePlan) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| {
        problem(&error, &format!("rename table {} to {}", before.target, next.target))
            .table(before.name())
            .advice("Make room for the new name in the target, then reload the table.")
    };
    if before.target != next.target {
        if let Some(other) = marks::written_by_another(client, task, before).await.map_err(failed)? {
            let text = format!("Table {} is not renamed: task {other} writes it, too.", before.target);
            return Err(Problem::new(Fault::Data, "table-shared", text).table(before.name()));
        }
        create::create_schema(client, &next.target.schema).await.map_err(failed)?;
        for statement in statements(&before.target, &next.target) {
            client.batch_execute(&statement).await.map_err(failed)?;
        }
    }
    marks::rename(client, task, before, next).await.map_err(failed)
}

fn statements(from: &TableName, to: &TableName) -> Vec<String> {
    let rename =
        |table: &TableName, to: &str| format!("ALTER TABLE {} RENAME TO {}", quote_table(table), quote_identifier(to));
    if from.schema == to.schema {
        return vec![rename(from, &to.table)];
    }
    let out = TableName::new(from.schema.clone(), BETWEEN);
    let there = TableName::new(to.schema.clone(), BETWEEN);
    let moves = format!("ALTER TABLE {} SET SCHEMA {}", quote_table(&out), quote_identifier(&to.schema));
    vec![rename(from, BETWEEN), moves, rename(&there, &to.table)]
}
