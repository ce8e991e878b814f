//! What workers say of how far their tasks are: of all tasks of a report by a few statements, however many there are.

use sqlx::PgConnection;
use wavemark_domain::TaskId;
use wavemark_domain::progress::{Phase, TableProgress, TaskProgress};

use crate::reports::Reported;
use crate::{Result, samples};

/// Keeps the newest of these tasks, which the caller has locked.
pub(crate) async fn keep(connection: &mut PgConnection, reports: &[&Reported<'_>]) -> Result<()> {
    if reports.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = reports.iter().map(|report| report.task.0).collect();
    let whole = reports.iter().map(|report| {
        let without_tables = TaskProgress { tables: Vec::new(), ..report.progress.clone() };
        serde_json::to_value(without_tables)
    });
    let opened = |progress: &TaskProgress| {
        progress.bookmark.is_some() || matches!(progress.phase, Phase::Loading | Phase::Finishing | Phase::Following)
    };
    let opened: Vec<bool> = reports.iter().map(|report| opened(report.progress)).collect();
    let drained = |progress: &TaskProgress| progress.drained.as_ref().map_or(0, |drained| drained.number);
    let drained: Vec<i64> = reports.iter().map(|report| drained(report.progress)).collect();
    sqlx::query!(
        "update tasks t set progress = n.progress, progress_at = clock_timestamp(),
                granted_generation = case when n.opened then t.generation else t.granted_generation end,
                drain_done = greatest(t.drain_done, n.drained)
         from unnest($1::uuid[], $2::jsonb[], $3::bool[], $4::int8[]) as n (id, progress, opened, drained)
         where t.id = n.id",
        &ids,
        &whole.collect::<Result<Vec<_>, _>>()?,
        &opened,
        &drained
    )
    .execute(&mut *connection)
    .await?;
    keep_tables(connection, reports).await?;
    let figures: Vec<_> = reports.iter().map(|report| (report.task, report.epoch, report.progress)).collect();
    samples::keep(connection, &figures).await
}

/// Writes the tables that changed, and forgets those that the tasks no longer have. Tasks that say nothing of tables keep
/// theirs.
async fn keep_tables(connection: &mut PgConnection, reports: &[&Reported<'_>]) -> Result<()> {
    let tables: Vec<(TaskId, &TableProgress)> =
        reports.iter().flat_map(|report| report.progress.tables.iter().map(|table| (report.task, table))).collect();
    if tables.is_empty() {
        return Ok(());
    }
    let column =
        |part: fn(&TableProgress) -> &str| tables.iter().map(|(_, table)| part(table).to_owned()).collect::<Vec<_>>();
    let tasks: Vec<_> = tables.iter().map(|(task, _)| task.0).collect();
    let schemas = column(|table| &table.table.schema);
    let names = column(|table| &table.table.table);
    let progress = tables.iter().map(|(_, table)| serde_json::to_value(table)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        "insert into task_tables (task_id, source_schema, source_table, target_schema, target_table, state, progress)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
         on conflict (task_id, source_schema, source_table) do update
         set target_schema = excluded.target_schema, target_table = excluded.target_table,
             changed_at = case when task_tables.state = excluded.state then task_tables.changed_at
                               else clock_timestamp() end,
             state = excluded.state, progress = excluded.progress
         where task_tables.progress is distinct from excluded.progress",
        &tasks,
        &schemas,
        &names,
        &column(|table| &table.target.schema),
        &column(|table| &table.target.table),
        &column(|table| table.state.word()),
        &progress
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from task_tables where task_id = any($1)
           and (task_id, source_schema, source_table) not in (select * from unnest($1::uuid[], $2::text[], $3::text[]))",
        &tasks,
        &schemas,
        &names
    )
    .execute(connection)
    .await?;
    Ok(())
}
