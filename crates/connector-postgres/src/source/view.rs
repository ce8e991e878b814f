//! A consistent view: one exported snapshot, kept by two sessions and imported by as many readers as are asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_connector::compare::Side;
use wavemark_connector::source::{BlockFormat, ChunkRange, Entered, KeySet, RowReader, View};
use wavemark_domain::{Position, Problem, TableId, TablePlan};

use super::begin::{Exported, Keeper, settle};
use super::names::literal;
use super::storage::Leaf;
use super::{chunks, copy, keys, oversized, session, storage};
use crate::compare::{Origin, PgSide, Place};
use crate::error;
use crate::settings::Settings;

/// A view as of one place.
pub(super) struct SnapshotView {
    position: Position,
    shared: Arc<Shared>,
    /// The leaves of entered tables.
    leaves: Mutex<HashMap<TableId, Arc<[Leaf]>>>,
    /// Runs ordinary statements, each with a snapshot of its own: what is true now.
    control: Client,
    /// Has imported the snapshot and holds the locks of entered tables. One statement after the other.
    holder: tokio::sync::Mutex<Client>,
    keeper: Mutex<Option<Keeper>>,
}

/// What readers need.
pub(super) struct Shared {
    settings: Settings,
    task: TaskContext,
    /// Names of the same snapshot, exported by each of the two sessions that keep it.
    snapshots: [String; 2],
    idle: Mutex<Vec<Client>>,
    permits: Arc<Semaphore>,
}

impl SnapshotView {
    /// Imports an exported snapshot and waits until it can be read.
    pub(super) async fn open(settings: &Settings, task: &TaskContext, exported: Exported) -> Result<Self, Problem> {
        let control = session::ordinary(settings, task, "control").await?;
        let holder = session::ordinary(settings, task, "view").await?;
        import(&holder, &exported.snapshot).await?;
        settle(&holder, &control).await?;
        let again = holder
            .query_one("SELECT pg_export_snapshot()", &[])
            .await
            .map_err(|error| error::driver(&error, "export a snapshot"))?;
        let readers = usize::from(task.settings.load_parallelism).clamp(1, 32) + 1;
        Ok(Self {
            position: exported.place.to_position(),
            shared: Arc::new(Shared {
                settings: settings.clone(),
                task: task.clone(),
                snapshots: [again.get(0), exported.snapshot],
                idle: Mutex::new(Vec::new()),
                permits: Arc::new(Semaphore::new(readers)),
            }),
            leaves: Mutex::new(HashMap::new()),
            control,
            holder: tokio::sync::Mutex::new(holder),
            keeper: Mutex::new(Some(exported.keeper)),
        })
    }

    /// Lets the slot go that the view was made with: another session keeps the snapshot.
    pub(super) fn let_slot_go(&self) {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn leaves(&self, table: &TablePlan) -> Result<Arc<[Leaf]>, Problem> {
        let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.get(&table.id).cloned().ok_or_else(|| {
            Problem::internal(format!("Table {} was not entered before its chunks.", table.name())).table(table.name())
        })
    }
}

/// Begins a transaction that reads in the snapshot.
async fn import(client: &Client, snapshot: &str) -> Result<(), Problem> {
    let statement =
        format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}", literal(snapshot));
    client.batch_execute(&statement).await.map_err(|error| {
        let problem = error::driver(&error, &format!("import the snapshot {snapshot}"));
        // The session that exported it is gone: a view must be made again, which is what *transient* asks for.
        if error.as_db_error().is_some() { Problem::transient("snapshot-gone", problem.text) } else { problem }
    })
}

/// A reader's connection; it goes back to the others with [`Lent::give_back`], else it is closed.
pub(super) struct Lent {
    pub(super) client: Client,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    /// Bytes that a row may have.
    pub(super) fn most_row(&self) -> usize {
        oversized::most(&self.shared.task.settings)
    }

    pub(super) fn give_back(self) {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.client);
    }
}

impl Shared {
    /// A connection in the snapshot; waits while the most are in use.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<Lent, Problem> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Problem::internal("A view was closed while it was read."))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let client = match idle.filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(Lent { client, shared: Arc::clone(self), _permit: permit })
    }

    async fn connect(&self) -> Result<Client, Problem> {
        let client = session::rows(&self.settings, &self.task, "load").await?;
        match import(&client, &self.snapshots[0]).await {
            Ok(()) => return Ok(client),
            Err(problem) if problem.code == "snapshot-gone" => {}
            Err(problem) => return Err(problem),
        }
        client.batch_execute("ROLLBACK").await.map_err(|error| error::driver(&error, "end a transaction"))?;
        import(&client, &self.snapshots[1]).await?;
        Ok(client)
    }
}

#[async_trait]
impl View for SnapshotView {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn enter(&self, table: &TablePlan) -> Result<Entered, Problem> {
        let found = storage::enter(&*self.holder.lock().await, &self.control, table).await?;
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner).insert(table.id, found.leaves.into());
        Ok(found.entered)
    }

    async fn chunks(&self, table: &TablePlan, bytes: u64) -> Result<Vec<ChunkRange>, Problem> {
        chunks::cut(&self.control, table, &self.leaves(table)?, bytes).await
    }

    async fn read(
        &self,
        table: &TablePlan,
        range: &ChunkRange,
        format: BlockFormat,
        without: Option<Arc<KeySet>>,
    ) -> Result<Box<dyn RowReader>, Problem> {
        let statement = chunks::select(table, &self.leaves(table)?, range)?;
        let lent = self.shared.lend().await?;
        Ok(Box::new(copy::CopyReader::open(lent, table, &statement, format, without).await?))
    }

    async fn read_keys(
        &self,
        table: &TablePlan,
        keys: &KeySet,
        format: BlockFormat,
    ) -> Result<Box<dyn RowReader>, Problem> {
        let lent = self.shared.lend().await?;
        Ok(Box::new(keys::KeyReader::new(lent, table, keys, format)?))
    }

    async fn side(&self, sessions: u16) -> Result<Box<dyn Side>, Problem> {
        let place = Place::new(&self.shared.settings, &self.shared.task);
        Ok(Box::new(PgSide::open(place, Origin::Source, Some(&self.shared.snapshots[0]), sessions).await?))
    }
}
