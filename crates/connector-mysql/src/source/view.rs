//! A consistent view: readers whose transactions began at one moment, lent to one chunk at a time.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use wavemark_connector::compare::Side;
use wavemark_connector::source::{BlockFormat, ChunkRange, DROPPED_IN_LOAD, Entered, KeySet, RowReader, View};
use wavemark_domain::{Fault, Position, Problem, TableId, TablePlan};

use super::late::LateByTable;
use super::rows::TableReader;
use super::{chunks, keys, not_compared};
use crate::charset::{self, Charsets};
use crate::error;
use crate::sql::literal;
use crate::wire::Connection;

/// A view as of one place.
pub(super) struct SnapshotView {
    position: Position,
    /// Runs short statements, each of which sees what is there now.
    control: Mutex<Connection>,
    /// What the server said of sets of characters so far.
    charsets: Mutex<Charsets>,
    readers: Arc<Readers>,
    /// Rows that are as the log says, whatever the readers see.
    late: LateByTable,
    /// The first chunks of tables that began in this view, which have those rows.
    firsts: std::sync::Mutex<HashMap<TableId, ChunkRange>>,
}

/// Readers that are free.
pub(super) struct Readers {
    free: std::sync::Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

/// A reader, until it comes back.
pub(super) struct Lent {
    readers: Arc<Readers>,
    permit: OwnedSemaphorePermit,
}

impl Readers {
    /// Waits for a reader that is free. One that was lost in the middle of its rows does not come back.
    async fn lend(self: &Arc<Self>) -> Result<(Connection, Lent), Problem> {
        let lost = || Problem::transient("view-lost", "The view of the source's tables is gone.");
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| lost())?;
        let connection = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or_else(lost)?;
        Ok((connection, Lent { readers: Arc::clone(self), permit }))
    }
}

impl Lent {
    /// Gives it back.
    pub(super) fn back(self, connection: Connection) {
        self.readers.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        drop(self.permit);
    }
}

impl SnapshotView {
    pub(super) fn new(position: Position, control: Connection, readers: Vec<Connection>, late: LateByTable) -> Self {
        let places = Arc::new(Semaphore::new(readers.len()));
        let readers = Arc::new(Readers { free: std::sync::Mutex::new(readers), places });
        let (control, firsts) = (Mutex::new(control), std::sync::Mutex::default());
        Self { position, control, charsets: Mutex::default(), readers, late, firsts }
    }

    fn is_first(&self, table: TableId, range: &ChunkRange) -> bool {
        self.firsts.lock().unwrap_or_else(PoisonError::into_inner).get(&table) == Some(range)
    }

    /// The sets of characters of a table's texts.
    async fn charsets(&self, table: &TablePlan) -> Result<Charsets, Problem> {
        let mut known = self.charsets.lock().await;
        let columns = table.columns.iter().filter_map(|column| table.source.columns.get(column.source));
        let lacking = known.lacking(columns);
        if !lacking.is_empty() {
            known.extend(charset::ask(&mut *self.control.lock().await, lacking).await?);
        }
        Ok(known.clone())
    }
}

#[async_trait]
impl View for SnapshotView {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn enter(&self, table: &TablePlan) -> Result<Entered, Problem> {
        let sql = format!(
            "SELECT create_time, table_rows FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
            literal(&table.name().schema),
            literal(&table.name().table)
        );
        let rows = self.control.lock().await.query(&sql).await;
        let rows = rows.map_err(|cause| error::problem(&cause, "look at a table").table(table.name()))?;
        let row = rows.first().ok_or_else(|| {
            let text = format!("Table {} was dropped while it was loaded.", table.name());
            Problem::new(Fault::Data, DROPPED_IN_LOAD, text).table(table.name())
        })?;
        // When it was made tells one that was truncated or rewritten: both make it anew.
        Ok(Entered { storage: row.text(0).unwrap_or_default(), readable: true, rows_estimated: row.number(1) })
    }

    async fn chunks(&self, table: &TablePlan, bytes: u64) -> Result<Vec<ChunkRange>, Problem> {
        let ranges = chunks::cut(&mut *self.control.lock().await, table, bytes).await?;
        let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
        firsts.extend(ranges.first().map(|range| (table.id, range.clone())));
        Ok(ranges)
    }

    async fn read(
        &self,
        table: &TablePlan,
        range: &ChunkRange,
        _: BlockFormat,
        without: Option<Arc<KeySet>>,
    ) -> Result<Box<dyn RowReader>, Problem> {
        let sql = format!("{}{}", keys::select(table), chunks::condition(table, range)?);
        let charsets = self.charsets(table).await?;
        let mut left_out: Vec<_> = without.iter().cloned().collect();
        let late = self.late.get(&table.id);
        left_out.extend(late.map(|late| Arc::clone(&late.touched)));
        let without = without.unwrap_or_default();
        let late = late.filter(|_| self.is_first(table.id, range)).map(|late| late.rows(table.id, &without, false));
        let lent = self.readers.lend().await?;
        Ok(Box::new(TableReader::open(lent, table, [sql], (late, left_out), &charsets).await?))
    }

    async fn read_keys(&self, table: &TablePlan, keys: &KeySet, _: BlockFormat) -> Result<Box<dyn RowReader>, Problem> {
        let charsets = self.charsets(table).await?;
        let statements = keys::statements(table, keys, &charsets);
        let late = self.late.get(&table.id);
        let rows = late.map(|late| late.rows(table.id, keys, true));
        let without = late.map(|late| Arc::clone(&late.touched)).into_iter().collect();
        let lent = self.readers.lend().await?;
        Ok(Box::new(TableReader::open(lent, table, statements, (rows, without), &charsets).await?))
    }

    async fn side(&self, _: u16) -> Result<Box<dyn Side>, Problem> {
        Err(not_compared())
    }
}
