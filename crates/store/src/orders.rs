//! What people ask of single tables of a task, until a worker has done it.

use sqlx::PgConnection;
use wavemark_domain::{TableName, TableOrder, TableWish, TaskId};

use crate::{Error, Result};

/// Notes the same wish for several tables. One that is the last open one already is not noted twice.
///
/// # Errors
/// The statement failed.
pub async fn give(
    connection: &mut PgConnection,
    task: TaskId,
    tables: &[TableName],
    wish: TableWish,
    by: &str,
) -> Result<()> {
    let schemas: Vec<String> = tables.iter().map(|table| table.schema.clone()).collect();
    let names: Vec<String> = tables.iter().map(|table| table.table.clone()).collect();
    sqlx::query!(
        "insert into table_orders (task_id, source_schema, source_table, wish, created_by)
         select $1, n.schema, n.name, $4, $5 from unnest($2::text[], $3::text[]) as n (schema, name)
         where $4 is distinct from (
             select wish from table_orders o where o.task_id = $1 and o.source_schema = n.schema
                    and o.source_table = n.name order by number desc limit 1)",
        task.0,
        &schemas,
        &names,
        wish.word(),
        by
    )
    .execute(&mut *connection)
    .await?;
    crate::tasks::note_ask(connection, task).await
}

/// The open orders of a task, the oldest first.
///
/// # Errors
/// The statement failed.
pub async fn open(connection: &mut PgConnection, task: TaskId) -> Result<Vec<TableOrder>> {
    let rows = sqlx::query!(
        "select number, source_schema, source_table, wish from table_orders where task_id = $1 order by number",
        task.0
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TableOrder {
                number: row.number,
                table: TableName::new(row.source_schema, row.source_table),
                wish: wish(&row.wish)?,
            })
        })
        .collect()
}

pub(crate) fn wish(word: &str) -> Result<TableWish> {
    TableWish::from_word(word).ok_or_else(|| Error::unreadable(format!("the wish \"{word}\"")))
}

/// Forgets orders that a worker has done.
///
/// # Errors
/// The statement failed.
pub async fn done(connection: &mut PgConnection, task: TaskId, numbers: &[i64]) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    sqlx::query!("delete from table_orders where task_id = $1 and number = any($2)", task.0, numbers)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets all orders of a task: everything is loaded again anyway.
pub(crate) async fn clear(connection: &mut PgConnection, task: TaskId) -> Result<()> {
    sqlx::query!("delete from table_orders where task_id = $1", task.0).execute(connection).await?;
    Ok(())
}
