//! The rows of statements one after the other, from the wire into batches: of one chunk, or of keys.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use wavemark_connector::source::{Block, KeySet, RowReader};
use wavemark_domain::{Batch, ChangeKind, Column, Fault, Logical, Problem, TableId, TableName, TablePlan};

use super::view::Lent;
use crate::charset::{self, Charset, Charsets, unreadable};
use crate::native::ColumnNative;
use crate::value::Value;
use crate::wire::{Connection, Rows, WireError};
use crate::{encoding, error};

/// How much a block holds.
const BLOCK: usize = 256 * 1024;

/// Reads rows; its connection goes back to the view at the end.
pub(super) struct TableReader {
    /// None once all rows are read.
    open: Option<(Rows, Lent)>,
    /// Statements that are still to be run.
    left: VecDeque<String>,
    columns: Vec<Reading>,
    table: TableId,
    name: TableName,
    key: Vec<usize>,
    /// Rows with these keys are left out.
    without: Vec<Arc<KeySet>>,
    /// Rows that come before what is read.
    first: Option<Batch>,
    scratch: Vec<u8>,
    text: String,
}

/// A column that is read.
struct Reading {
    name: String,
    native: ColumnNative,
    logical: Logical,
    /// Of a text that comes as the bytes that it is.
    charset: Option<Charset>,
}

impl Reading {
    /// None if it has no type.
    fn of(column: &Column, charsets: &Charsets) -> Option<Self> {
        let native = ColumnNative::of(column).ok()?;
        let charset = charset::of_texts(&native).filter(|name| charset::is_read_as_bytes(name));
        let charset = charset.and_then(|name| charsets.named(name));
        Some(Self { name: column.name.clone(), logical: encoding::logical(column)?, charset, native })
    }

    fn push(&self, batch: &mut Batch, value: Value<'_>, text: &mut String) -> Result<(), Problem> {
        let value = match (&self.charset, value) {
            (Some(charset), Value::Bytes(bytes)) => {
                let text = charset.decode(bytes, text);
                Value::Bytes(text.ok_or_else(|| unreadable(&self.name, &self.native))?)
            }
            (_, value) => value,
        };
        encoding::push(batch, &self.logical, value)
    }
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
    /// Runs the first statement; `lent` is the connection's place in the view. `first` rows come first, and those whose keys are in one
    /// of the sets are left out of what is read.
    pub(super) async fn open(
        (connection, lent): (Connection, Lent),
        table: &TablePlan,
        statements: impl IntoIterator<Item = String>,
        (first, without): (Option<Batch>, Vec<Arc<KeySet>>),
        charsets: &Charsets,
    ) -> Result<Self, Problem> {
        let columns = table.columns.iter().map(|column| Reading::of(&table.source.columns[column.source], charsets));
        let columns = columns
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Problem::internal("A column travels that has no type.").table(table.name()))?;
        let mut reader = Self {
            open: None,
            left: statements.into_iter().collect(),
            columns,
            table: table.id,
            name: table.name().clone(),
            key: table.key.clone(),
            without,
            first: first.filter(|rows| !rows.is_empty()),
            scratch: Vec::new(),
            text: String::new(),
        };
        reader.run(connection, lent).await?;
        Ok(reader)
    }

    /// Runs the next statement; gives the connection back if there is none.
    async fn run(&mut self, connection: Connection, lent: Lent) -> Result<(), Problem> {
        let Some(sql) = self.left.pop_front() else {
            lent.back(connection);
            return Ok(());
        };
        let rows = Rows::open(connection, &sql).await.map_err(|cause| failed(&cause, &self.name))?;
        self.open = Some((rows, lent));
        Ok(())
    }

    /// Whether the row that was just written is one to leave out.
    fn is_left_out(&mut self, batch: &Batch) -> bool {
        let row = batch.last_cells(self.columns.len());
        let key = || self.key.iter().filter_map(|at| row.get(*at)).map(|cell| batch.value(*cell).unwrap_or_default());
        self.without.iter().any(|without| without.contains(key(), &mut self.scratch))
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
        let mut batch = self.first.take().unwrap_or_default();
        while batch.bytes() < BLOCK {
            let Some((rows, _)) = &mut self.open else { break };
            let (columns, text) = (&self.columns, &mut self.text);
            let row = batch.begin_row();
            let read = rows.next(|at, value| {
                let column = columns.get(at).ok_or(WireError::Protocol("a row has more cells than columns"))?;
                column.push(&mut batch, value, text).map_err(Failed::Value)
            });
            match read.await {
                Ok(true) if self.is_left_out(&batch) => {}
                Ok(true) => batch.push_change(self.table, ChangeKind::Insert, None, Some(row)),
                Ok(false) => {
                    if let Some((rows, lent)) = self.open.take() {
                        let connection = rows.close().await.map_err(|cause| failed(&cause, &self.name))?;
                        self.run(connection, lent).await?;
                    }
                }
                Err(cause) => return Err(self.unread(cause)),
            }
        }
        Ok((!batch.is_empty()).then_some(Block::Rows(batch)))
    }
}
