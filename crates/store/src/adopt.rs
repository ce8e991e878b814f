//! A task that takes over the identity of one whose metadata was lost.

use sqlx::PgConnection;
use wavemark_domain::TaskId;
use wavemark_domain::adopt::Adoptable;
use wavemark_domain::progress::Severity;

use crate::tasks::{self, Locked};
use crate::{Result, events};

/// Gives a task that never ran the identity that the target holds: its id, generation and epoch. It is stopped then, and
/// a resume goes on from the bookmark under an epoch above the one that was found.
///
/// # Errors
/// A statement failed; a task of that identity is known already ([`crate::Error::is_duplicate`]).
pub async fn adopt(connection: &mut PgConnection, task: &Locked, found: &Adoptable) -> Result<Option<Locked>> {
    sqlx::query!(
        "insert into tasks (id, name, kind, source_id, target_id, config_version, status, generation,
                            granted_generation, epoch, created_at)
         select $2::uuid, $2::uuid::text, kind, source_id, target_id, config_version, 'stopped', $3, $3, $4, created_at
         from tasks where id = $1",
        task.id.0,
        found.task.0,
        found.generation.0,
        found.epoch.0
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("update task_configs set task_id = $2 where task_id = $1", task.id.0, found.task.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("update events set task_id = $2 where task_id = $1", task.id.0, found.task.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from tasks where id = $1", task.id.0).execute(&mut *connection).await?;
    sqlx::query!("update tasks set name = $2 where id = $1", found.task.0, task.name).execute(&mut *connection).await?;
    let adopted = tasks::lock(connection, TaskId(found.task.0)).await?;
    if let Some(adopted) = &adopted {
        let text = format!(
            "The task \"{}\" goes on as \"{}\" ({}), generation {}, above epoch {}.",
            task.name, found.name, found.task, found.generation, found.epoch
        );
        events::note(connection, adopted.about(), Severity::Info, "task-adopted", &text, None).await?;
    }
    Ok(adopted)
}
