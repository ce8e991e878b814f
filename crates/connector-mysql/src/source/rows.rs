//! The rows of one chunk, from the wire into batches.

use async_trait::async_trait;
use wavemark_connector::source::{Block, RowReader};
use wavemark_domain::{Batch, ChangeKind, Fault, Logical, Problem, TableId, TableName, TablePlan};

use super::view::Lent;
use crate::wire::{Connection, Rows, WireError};
use crate::{encoding, error};

/// How much a block holds.
const BLOCK: usize = 256 * 1024;

/// Reads one chunk; its connection goes back to the view at the end.
pub(super) struct TableReader {
    /// None once all rows are read.
    open: Option<(Rows, Lent)>,
    logical: Vec<Logical>,
    table: TableId,
    name: TableName,
}

/// Why a row was not read.
enum Failed {
    Wire(WireError),
    Value(Problem),
}

impl From<WireError> for Failed {
    fn from(cause: WireError) -> Self {
        Self::Wire(cause)
    }
}

impl TableReader {
    pub(super) async fn open(
        connection: Connection,
        lent: Lent,
        table: &TablePlan,
        sql: &str,
    ) -> Result<Self, Problem> {
        let logical = table.columns.iter().map(|column| encoding::logical(&table.source.columns[column.source]));
        let logical = logical
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Problem::internal("A column travels that has no type.").table(table.name()))?;
        let rows = Rows::open(connection, sql).await.map_err(|cause| failed(&cause, table.name()))?;
        Ok(Self { open: Some((rows, lent)), logical, table: table.id, name: table.name().clone() })
    }

    fn unread(&self, failed: Failed) -> Problem {
        match failed {
            Failed::Wire(cause) => self::failed(&cause, &self.name),
            Failed::Value(problem) => problem.table(&self.name),
        }
    }
}

fn failed(cause: &WireError, name: &TableName) -> Problem {
    let problem = error::problem(cause, &format!("read {name}")).table(name);
    match cause.code() {
        // The table was altered or truncated since the view: what it had then can't be read any more.
        Some(1_412) => Problem { fault: Fault::Transient, code: "table-changed".to_owned(), ..problem },
        _ => problem,
    }
}

#[async_trait]
impl RowReader for TableReader {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        let Some((rows, _)) = &mut self.open else { return Ok(None) };
        let (logical, table) = (&self.logical, self.table);
        let mut batch = Batch::default();
        while batch.bytes() < BLOCK {
            let row = batch.begin_row();
            let read = rows.next(|at, value| {
                let logical = logical.get(at).ok_or(WireError::Protocol("a row has more cells than columns"))?;
                encoding::push(&mut batch, logical, value).map_err(Failed::Value)
            });
            match read.await {
                Ok(true) => batch.push_change(table, ChangeKind::Insert, None, Some(row)),
                Ok(false) => break,
                Err(cause) => return Err(self.unread(cause)),
            }
        }
        if batch.is_empty() {
            if let Some((rows, lent)) = self.open.take() {
                lent.back(rows.close().await.map_err(|cause| failed(&cause, &self.name))?);
            }
            return Ok(None);
        }
        Ok(Some(Block::Rows(batch)))
    }
}
