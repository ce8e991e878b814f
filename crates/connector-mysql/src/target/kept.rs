//! What database `wavemark` says of tasks, for one whose metadata was lost. Only read: the fence stays as it is.

use wavemark_connector::target::Kept;
use wavemark_domain::adopt::KeptTask;
use wavemark_domain::ids::Generation;
use wavemark_domain::task::TaskKind;
use wavemark_domain::{Epoch, Problem, TaskId};

use super::fault::problem;
use super::{marks, schema};
use crate::wire::{Connection, WireError};

/// Every task that was ever opened here.
pub(crate) async fn tasks(connection: &mut Connection) -> Result<Vec<(KeptTask, Kept)>, Problem> {
    const FENCES: &str =
        "SELECT task, name, generation, epoch, tombstone, kind FROM wavemark.fence ORDER BY name, task";
    let failed = |cause: WireError| problem(&cause, "read what the target holds of its tasks");
    let Some(version) = schema::version(connection).await.map_err(failed)? else { return Ok(Vec::new()) };
    schema::refuse_newer(version)?;
    let mut found = Vec::new();
    for row in connection.query(FENCES).await.map_err(failed)? {
        let Some(id) = row.number(0) else { continue };
        let kept = marks::read(connection, id).await?;
        let task = KeptTask {
            task: TaskId(id),
            name: row.text(1).unwrap_or_default(),
            generation: Generation(row.number(2).unwrap_or_default()),
            epoch: Epoch(row.number(3).unwrap_or_default()),
            deleted: row.number::<i32>(4) == Some(1),
            kind: row.text(5).as_deref().and_then(TaskKind::from_word),
            tables: kept.written.clone(),
        };
        found.push((task, kept));
    }
    Ok(found)
}
