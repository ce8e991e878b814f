//! The tables of a task, as its worker told of them last.

use sqlx::PgConnection;
use time::OffsetDateTime;
use wavemark_domain::progress::TableProgress;
use wavemark_domain::{TableName, TableWish, TaskId};

use crate::{Error, Result};

/// One table of a task.
#[derive(Clone, Debug)]
pub struct TaskTable {
    /// Since when it is in its state.
    pub since: OffsetDateTime,
    /// What its worker told.
    pub progress: TableProgress,
    /// What was asked of it last and no worker has done yet.
    pub asked: Option<TableWish>,
}

/// The tables of a task after a name, by source schema and name.
///
/// # Errors
/// The statement failed.
pub async fn list(
    connection: &mut PgConnection,
    task: TaskId,
    after: Option<&TableName>,
    limit: i64,
) -> Result<Vec<TaskTable>> {
    let rows = sqlx::query!(
        "select changed_at, progress,
                (select wish from table_orders o where o.task_id = $1 and o.source_schema = b.source_schema
                        and o.source_table = b.source_table order by number desc limit 1) as wish
         from task_tables b
         where task_id = $1 and ($2::text is null or (source_schema, source_table) > ($2, $3::text))
         order by source_schema, source_table limit $4",
        task.0,
        after.map(|name| name.schema.as_str()),
        after.map(|name| name.table.as_str()),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let asked = row.wish.as_deref().map(crate::orders::wish).transpose()?;
            Ok(TaskTable { since: row.changed_at, progress: serde_json::from_value(row.progress)?, asked })
        })
        .collect()
}

/// The target's names of all tables of a task.
///
/// # Errors
/// The statement failed.
pub async fn targets(connection: &mut PgConnection, task: TaskId) -> Result<Vec<TableName>> {
    let rows = sqlx::query!("select target_schema, target_table from task_tables where task_id = $1", task.0)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| TableName::new(row.target_schema, row.target_table)).collect())
}

/// The place among these names of the first that is not a table of the task.
///
/// # Errors
/// The statement failed.
pub async fn first_unknown(connection: &mut PgConnection, task: TaskId, names: &[TableName]) -> Result<Option<usize>> {
    let schemas: Vec<String> = names.iter().map(|name| name.schema.clone()).collect();
    let tables: Vec<String> = names.iter().map(|name| name.table.clone()).collect();
    let place = sqlx::query_scalar!(
        r#"select min(n.place) from unnest($2::text[], $3::text[]) with ordinality as n (schema, name, place)
           where not exists (select from task_tables b where b.task_id = $1 and b.source_schema = n.schema
                             and b.source_table = n.name)"#,
        task.0,
        &schemas,
        &tables
    )
    .fetch_one(connection)
    .await?;
    let index = |place: i64| usize::try_from(place - 1).map_err(|_| Error::unreadable("the place of a name"));
    place.map(index).transpose()
}
