//! Rows as sets: binary array parameters, and COPY into the table or its staging table.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, pin_mut};
use tokio_postgres::{Client, CopyInSink, Error, Statement};
use wavemark_domain::{Batch, Cell, Problem};
use wavemark_netting::{NetRow, NetTable};

use super::copy::{Writer, rewritten};
use super::pipeline::{Answer, Param};
use super::table::{TargetColumn, TargetTable};

/// From how many rows on a set is worth more than statements of their own (`tests::speed` measures it: at 300 rows
/// arrays are 1.6 times as fast, at 10 no slower).
pub(crate) const ARRAYS_FROM: usize = 50;
/// From how many rows on inserts go by COPY, which takes half of the server's time and three exchanges of their own.
/// Updates and deletes gain nothing from being staged for one: they go by arrays where these can be unnested.
pub(crate) const COPY_FROM: usize = 4_000;
/// How much goes into the arrays of one statement: they are held twice on their way.
const ARRAY_ROWS: usize = 8_192;
const ARRAY_BYTES: usize = 2 << 20;
/// How many bytes go into one message of a COPY.
const PIECE: usize = 256 * 1024;
/// From so many bytes on a value goes by a COPY, which takes it in pieces: as a parameter it would be held three times
/// more on its way.
pub(crate) const LARGE: usize = 1 << 20;

/// How many rows of a table without a key are found each by a scan of its own; more are found by one for all.
pub(crate) const SCANS: usize = 5;

/// How a set of so many rows goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Singles,
    Arrays,
    Staged,
}

impl Method {
    /// How rows are found and changed. Arrays of arrays or of composites can't be unnested row by row, so such columns
    /// are staged.
    pub(crate) fn of(table: &TargetTable, rows: usize, columns: &[usize]) -> Self {
        let arrays = table.key.iter().chain(columns).all(|at| table.columns[*at].unnests);
        match rows {
            0..ARRAYS_FROM => Self::Singles,
            _ if arrays => Self::Arrays,
            _ => Self::Staged,
        }
    }
}

/// The rows of each statement, as many as its arrays may have.
pub(crate) fn pieces<'r>(batch: &Batch, net: &NetTable, rows: &'r [NetRow], columns: &[usize]) -> Vec<&'r [NetRow]> {
    let size = |row: &NetRow| {
        let cells = if columns.is_empty() { &[][..] } else { net.cells(batch, *row) };
        cells.iter().filter_map(|cell| batch.value(*cell)).map(<[u8]>::len).sum::<usize>()
    };
    let (mut pieces, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (at, row) in rows.iter().enumerate() {
        let more = size(row);
        if at > first && (at - first == ARRAY_ROWS || bytes + more > ARRAY_BYTES) {
            pieces.push(&rows[first..at]);
            (first, bytes) = (at, 0);
        }
        bytes += more;
    }
    pieces.extend((first < rows.len()).then_some(&rows[first..]));
    pieces
}

/// One column of a set as a one-dimensional array (the form that `array_send` writes).
pub(crate) fn array<'c>(
    batch: &Batch,
    column: &TargetColumn,
    cells: impl ExactSizeIterator<Item = &'c Cell> + Clone,
) -> Result<Param, Problem> {
    let values: usize = cells.clone().filter_map(|cell| batch.value(*cell)).map(<[u8]>::len).sum();
    let mut bytes = BytesMut::with_capacity(20 + cells.len() * 4 + values);
    bytes.put_i32(i32::from(cells.len() > 0));
    bytes.put_i32(i32::from(cells.clone().any(|cell| cell.is_null())));
    bytes.put_u32(column.base);
    if cells.len() > 0 {
        bytes.put_i32(i32::try_from(cells.len()).expect("a set has fewer than 2^31 rows"));
        bytes.put_i32(1);
    }
    let mut scratch = Vec::new();
    for cell in cells {
        match batch.value(*cell) {
            None => bytes.put_i32(-1),
            Some(value) => {
                let value = rewritten(value, column, &mut scratch)?;
                bytes.put_i32(i32::try_from(value.len()).expect("a value is smaller than 1 GiB"));
                bytes.put_slice(value);
            }
        }
    }
    Ok(Param(Some(bytes.freeze())))
}

/// The array parameters of a set: the key's columns if it has keys, then `columns`.
pub(crate) fn arrays(
    batch: &Batch,
    table: &TargetTable,
    net: &NetTable,
    rows: &[NetRow],
    keyed: bool,
    columns: &[usize],
) -> Result<Vec<Param>, Problem> {
    let mut params = Vec::with_capacity(table.key.len() + columns.len());
    for (at, column) in table.key.iter().enumerate().filter(|_| keyed) {
        params.push(array(batch, &table.columns[*column], rows.iter().map(|row| &net.key(*row)[at]))?);
    }
    for at in columns {
        params.push(array(batch, &table.columns[*at], rows.iter().map(|row| &net.cells(batch, *row)[*at]))?);
    }
    Ok(params)
}

/// A COPY on its way.
pub(crate) struct Copying {
    sink: std::pin::Pin<Box<CopyInSink<Bytes>>>,
    writer: Writer,
}

impl Copying {
    /// Begins a COPY.
    pub(crate) async fn begin(client: &Client, copy: &Statement) -> Result<Self, Error> {
        Ok(Self { sink: Box::pin(client.copy_in(copy).await?), writer: Writer::new() })
    }

    async fn flush(&mut self, at_least: usize) -> Result<(), Error> {
        if self.writer.len() < at_least {
            return Ok(());
        }
        let piece = self.writer.take();
        let sink = &mut self.sink;
        pin_mut!(sink);
        sink.send(piece).await
    }

    /// Sends all that is left; the answer is how many rows the server took, and ends the COPY when it is first polled.
    pub(crate) async fn end(mut self) -> Result<Answer, Error> {
        self.writer.end();
        self.flush(0).await?;
        self.sink.as_mut().flush().await?;
        Ok(Box::pin(async move { self.sink.as_mut().finish().await }))
    }

    /// One cell of a row. A large value is sent piece by piece.
    async fn cell(&mut self, batch: &Batch, cell: Cell, column: &TargetColumn) -> Result<(), Refused> {
        match batch.value(cell).filter(|value| value.len() >= LARGE && column.rewrite.is_none()) {
            None => self.writer.cell(batch, cell, column)?,
            Some(value) => {
                self.writer.length(value.len());
                for piece in value.chunks(PIECE) {
                    self.writer.raw(piece);
                    self.flush(PIECE).await?;
                }
            }
        }
        Ok(())
    }

    /// A row for the table itself.
    pub(crate) async fn row(&mut self, batch: &Batch, table: &TargetTable, cells: &[Cell]) -> Result<(), Refused> {
        self.writer.begin(cells.len());
        for (cell, column) in cells.iter().zip(&table.columns) {
            self.cell(batch, *cell, column).await?;
        }
        Ok(self.flush(PIECE).await?)
    }

    /// A row for the staging table of a table without a key: how many of it go, and its cells.
    pub(crate) async fn counted(
        &mut self,
        batch: &Batch,
        table: &TargetTable,
        times: usize,
        cells: &[Cell],
    ) -> Result<(), Refused> {
        self.writer.begin(1 + cells.len());
        self.writer.int8(i64::try_from(times).expect("a run has fewer than 2^63 changes"));
        for (cell, column) in cells.iter().zip(&table.columns) {
            self.cell(batch, *cell, column).await?;
        }
        Ok(self.flush(PIECE).await?)
    }

    /// A whole row for the staging table, to be inserted from there.
    pub(crate) async fn incoming(&mut self, batch: &Batch, table: &TargetTable, cells: &[Cell]) -> Result<(), Refused> {
        if table.key.is_empty() {
            return self.counted(batch, table, 1, cells).await;
        }
        let key: Vec<Cell> = table.key.iter().map(|_| Cell::NULL).collect();
        self.staged(batch, table, 0, &key, Some(cells)).await
    }

    /// A row for the staging table: its group, the key to find it by, and of the new cells those that are set.
    pub(crate) async fn staged(
        &mut self,
        batch: &Batch,
        table: &TargetTable,
        group: i16,
        key: &[Cell],
        cells: Option<&[Cell]>,
    ) -> Result<(), Refused> {
        self.writer.begin(1 + key.len() + table.columns.len());
        self.writer.int2(group);
        for (cell, at) in key.iter().zip(&table.key) {
            self.cell(batch, *cell, &table.columns[*at]).await?;
        }
        match cells {
            None => (0..table.columns.len()).for_each(|_| self.writer.null()),
            Some(cells) => {
                for (cell, column) in cells.iter().zip(&table.columns) {
                    self.cell(batch, *cell, column).await?;
                }
            }
        }
        Ok(self.flush(PIECE).await?)
    }
}

/// Why a row did not go into a COPY.
pub(crate) enum Refused {
    Server(Error),
    Here(Problem),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Here(problem)
    }
}
