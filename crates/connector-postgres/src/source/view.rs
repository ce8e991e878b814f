//! A consistent view: one exported snapshot, kept by two sessions and imported by as many readers as are asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_connector::compare::Side;
use wavemark_connector::source::{BlockFormat, ChunkRange, Entered, KeySet, RowReader, View};
use wavemark_domain::{Position, Problem, TableId, TablePlan};

use super::begin::{Exported, Keeper, settle};
use super::lent::{Readers, import};
use super::storage::Leaf;
use super::{canonical, chunks, copy, keys, session, storage, text};
use crate::compare::{Origin, PgSide, Place};
use crate::error;
use crate::settings::Settings;

/// A view as of one place.
pub(super) struct SnapshotView {
    position: Position,
    readers: Arc<Readers>,
    /// The leaves of entered tables.
    leaves: Mutex<HashMap<TableId, Arc<[Leaf]>>>,
    /// Runs ordinary statements, each with a snapshot of its own: what is true now.
    control: Client,
    /// Has imported the snapshot and holds the locks of entered tables. One statement after the other.
    holder: tokio::sync::Mutex<Client>,
    keeper: Mutex<Option<Keeper>>,
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
        Ok(Self {
            position: exported.place.to_position(),
            readers: Arc::new(Readers::new(settings, task, [again.get(0), exported.snapshot])),
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
        let lent = self.readers.lend().await?;
        if canonical::are_wanted([table]) {
            return Ok(Box::new(text::TextReader::new(lent, table, std::iter::once(Ok(statement)), without)?));
        }
        Ok(Box::new(copy::CopyReader::open(lent, table, &statement, format, without).await?))
    }

    async fn read_keys(
        &self,
        table: &TablePlan,
        keys: &KeySet,
        format: BlockFormat,
    ) -> Result<Box<dyn RowReader>, Problem> {
        if canonical::are_wanted([table]) {
            let selects = keys::as_text(table, keys)?;
            let mut lent = self.readers.lend().await?;
            keys::find_operators(&mut lent.session, table).await?;
            return Ok(Box::new(text::TextReader::new(lent, table, selects, None)?.resetting(keys::RESET)));
        }
        let lent = self.readers.lend().await?;
        Ok(Box::new(keys::KeyReader::new(lent, table, keys, format)?))
    }

    async fn side(&self, sessions: u16) -> Result<Box<dyn Side>, Problem> {
        let place = Place::new(&self.readers.settings, &self.readers.task);
        Ok(Box::new(PgSide::open(place, Origin::Source, Some(&self.readers.snapshots[0]), sessions).await?))
    }
}
