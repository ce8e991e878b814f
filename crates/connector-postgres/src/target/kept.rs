//! What schema `wavemark` says of tasks, for one whose metadata was lost. Only read: the fence stays as it is.

use tokio_postgres::{Client, Row};
use uuid::Uuid;
use wavemark_connector::target::Kept;
use wavemark_domain::adopt::{KeptTable, KeptTask};
use wavemark_domain::ids::Generation;
use wavemark_domain::task::TaskKind;
use wavemark_domain::{Epoch, Problem, TaskId};

use super::fault::problem;
use super::{marks, schema};

/// Before its second version the schema did not note the kind and the columns. Whole rows, so that one text does.
const FENCES: &str = "SELECT f.task, f.name, f.generation, f.epoch, f.tombstone, pg_catalog.to_jsonb(f) ->> 'kind' \
    FROM wavemark.fence f ORDER BY f.name, f.task";

/// Every task that was ever opened here.
pub(crate) async fn tasks(client: &Client) -> Result<Vec<(KeptTask, Kept)>, Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, "read what the target holds of its tasks");
    let Some(version) = schema::version(client).await.map_err(failed)? else { return Ok(Vec::new()) };
    schema::refuse_newer(version)?;
    let mut found = Vec::new();
    for row in client.query(FENCES, &[]).await.map_err(failed)? {
        let id: Uuid = row.get(0);
        let kept = marks::read(client, id).await?;
        found.push((task(&row, kept.written.clone()), kept));
    }
    Ok(found)
}

fn task(row: &Row, tables: Vec<KeptTable>) -> KeptTask {
    KeptTask {
        task: TaskId(row.get(0)),
        name: row.get(1),
        generation: Generation(row.get(2)),
        epoch: Epoch(row.get(3)),
        deleted: row.get(4),
        kind: row.get::<_, Option<&str>>(5).and_then(TaskKind::from_word),
        tables,
    }
}
