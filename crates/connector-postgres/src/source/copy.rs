//! Reading a chunk: COPY BINARY as it comes, or row by row where rows are left out or wanted as a batch.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use wavemark_connector::source::{Block, BlockFormat, KeySet, RowReader};
use wavemark_domain::{Batch, Cell, ChangeKind, Problem, TablePlan};

use super::copyrows::{CopyRow, CopyRows, HEADER, TRAILER};
use super::lent::Lent;
use super::oversized;
use crate::error;
use crate::wire::{Connection, Piece, WireError};

/// Of about this size are blocks.
pub(super) const BLOCK: usize = 256 * 1024;

/// Reads one chunk.
pub(super) struct CopyReader {
    lent: Option<Lent<Connection>>,
    most_row: usize,
    taking: Taking,
}

/// What is made of the pieces of a chunk.
struct Taking {
    table: Arc<TablePlan>,
    sink: Sink,
    /// Blocks that go before what has gathered.
    ready: VecDeque<Bytes>,
    rows: CopyRows,
    without: Option<Arc<KeySet>>,
    scratch: Vec<u8>,
    // Invariant: rows are parsed if and only if some are left out or a batch is wanted.
    parses: bool,
}

/// Where rows go.
pub(super) enum Sink {
    /// Pieces of a COPY stream.
    Stream(BytesMut),
    /// Inserts.
    Rows(Batch),
}

impl CopyReader {
    pub(super) async fn open(
        mut lent: Lent<Connection>,
        table: &TablePlan,
        select: &str,
        format: BlockFormat,
        without: Option<Arc<KeySet>>,
    ) -> Result<Self, Problem> {
        let most_row = lent.most_row();
        let statement = format!("COPY ({select}) TO STDOUT (FORMAT binary)");
        lent.session.copy_out(&statement, most_row).await.map_err(|error| failed(&error, table))?;
        Ok(Self { lent: Some(lent), most_row, taking: Taking::new(table, format, without) })
    }

    /// Takes in what is at hand until it makes a block; gives that, or none if more must come.
    fn take_in(&mut self) -> Result<Option<Block>, Problem> {
        let (Some(lent), taking) = (&mut self.lent, &mut self.taking) else { return Ok(None) };
        let large = if taking.parses { usize::MAX } else { BLOCK };
        loop {
            match lent.session.piece(large).map_err(|error| failed(&error, &taking.table))? {
                Piece::Data(piece) => taking.take_in(piece)?,
                Piece::Large(piece) => return Ok(taking.take_whole(piece)),
                Piece::TooLarge(size) => return Err(too_large(&taking.table, size, self.most_row)),
                Piece::Nothing => return Ok(None),
                Piece::End => break,
            }
            if let Some(block) = taking.sink.block(BLOCK) {
                return Ok(Some(block));
            }
        }
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
        self.taking.end()
    }
}

impl Taking {
    fn new(table: &TablePlan, format: BlockFormat, without: Option<Arc<KeySet>>) -> Self {
        let without = without.filter(|keys| !keys.is_empty());
        let parses = without.is_some() || format == BlockFormat::Rows;
        let mut sink = Sink::new(format);
        if parses {
            sink.begin();
        }
        Self {
            table: Arc::new(table.clone()),
            sink,
            ready: VecDeque::new(),
            rows: CopyRows::default(),
            without,
            scratch: Vec::new(),
            parses,
        }
    }

    /// Takes in a piece, which the server cuts at its rows.
    fn take_in(&mut self, piece: &[u8]) -> Result<(), Problem> {
        match &mut self.sink {
            Sink::Stream(out) if !self.parses => {
                out.extend_from_slice(piece);
                return Ok(());
            }
            _ => self.rows.push(piece),
        }
        while let Some(row) = self.rows.next()? {
            if !is_left_out(&row, &self.table, self.without.as_deref(), &mut self.scratch) {
                self.sink.push(&row, &self.table)?;
            }
        }
        Ok(())
    }

    /// Gives a large piece as it is, after what has gathered.
    fn take_whole(&mut self, piece: Bytes) -> Option<Block> {
        self.ready.push_back(piece);
        self.sink.block(1).or_else(|| self.ready.pop_front().map(Block::Stream))
    }

    fn end(&mut self) -> Result<Option<Block>, Problem> {
        if self.parses {
            if !self.rows.is_ended() {
                return Err(Problem::internal("A COPY ended in the middle of a row.").table(self.table.name()));
            }
            self.sink.end();
        }
        Ok(self.sink.block(0))
    }
}

/// The refusal of a row that is larger than allowed.
pub(super) fn too_large(table: &TablePlan, size: usize, most: usize) -> Problem {
    oversized::refusal(table.name(), &oversized::mib(size as u64), most as u64)
}

/// The problem of reading a table.
pub(super) fn failed(error: &WireError, table: &TablePlan) -> Problem {
    error::wire(error, &format!("read table {}", table.name())).table(table.name())
}

/// Whether the row's key is among those that are left out.
fn is_left_out(row: &CopyRow<'_>, table: &TablePlan, without: Option<&KeySet>, scratch: &mut Vec<u8>) -> bool {
    without.is_some_and(|keys| {
        let key = table.key.iter().map(|column| row.fields().nth(*column).flatten().unwrap_or_default());
        keys.contains(key, scratch)
    })
}

impl Sink {
    pub(super) fn new(format: BlockFormat) -> Self {
        match format {
            BlockFormat::Stream(_) => Self::Stream(BytesMut::with_capacity(BLOCK + 8 * 1024)),
            BlockFormat::Rows => Self::Rows(Batch::default()),
        }
    }

    /// What a stream begins with when its rows are put together here.
    pub(super) fn begin(&mut self) {
        if let Self::Stream(out) = self {
            out.extend_from_slice(HEADER);
        }
    }

    /// And what it ends with.
    pub(super) fn end(&mut self) {
        if let Self::Stream(out) = self {
            out.extend_from_slice(&TRAILER);
        }
    }

    fn push(&mut self, row: &CopyRow<'_>, table: &TablePlan) -> Result<(), Problem> {
        match self {
            Self::Stream(out) => out.extend_from_slice(row.raw),
            Self::Rows(batch) => insert(batch, table, row.raw.len(), row.fields())?,
        }
        Ok(())
    }

    /// Adds a row that came as single values.
    pub(super) fn push_values(&mut self, values: &[Option<&[u8]>], table: &TablePlan) -> Result<(), Problem> {
        let too_large = || Problem::internal(format!("A row of table {} is too large.", table.name()));
        match self {
            Self::Stream(out) => {
                out.extend_from_slice(&u16::try_from(values.len()).map_err(|_| too_large())?.to_be_bytes());
                for value in values {
                    let Some(value) = value else {
                        out.extend_from_slice(&(-1_i32).to_be_bytes());
                        continue;
                    };
                    out.extend_from_slice(&i32::try_from(value.len()).map_err(|_| too_large())?.to_be_bytes());
                    out.extend_from_slice(value);
                }
            }
            Self::Rows(batch) => {
                let bytes = values.iter().flatten().map(|value| value.len()).sum();
                insert(batch, table, bytes, values.iter().copied())?;
            }
        }
        Ok(())
    }

    /// What has gathered, if it is at least so many bytes.
    pub(super) fn block(&mut self, least: usize) -> Option<Block> {
        match self {
            Self::Stream(out) if out.len() >= least.max(1) => {
                let block = std::mem::replace(out, BytesMut::with_capacity(BLOCK + 8 * 1024));
                Some(Block::Stream(Bytes::from(block)))
            }
            Self::Rows(batch) if batch.bytes() >= least.max(1) => Some(Block::Rows(std::mem::take(batch))),
            _ => None,
        }
    }
}

fn insert<'a>(
    batch: &mut Batch,
    table: &TablePlan,
    bytes: usize,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<(), Problem> {
    if !batch.fits(bytes) {
        return Err(Problem::internal(format!("A row of table {} is too large.", table.name())).table(table.name()));
    }
    let row = batch.begin_row();
    for value in values {
        match value {
            Some(value) => batch.push_value(value),
            None => batch.push_marker(Cell::NULL),
        }
    }
    batch.push_change(table.id, ChangeKind::Insert, None, Some(row));
    Ok(())
}

#[async_trait]
impl RowReader for CopyReader {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        loop {
            if let Some(block) = self.taking.ready.pop_front() {
                return Ok(Some(Block::Stream(block)));
            }
            if let Some(block) = self.take_in()? {
                return Ok(Some(block));
            }
            let Some(lent) = &mut self.lent else { return Ok(None) };
            lent.session.fill().await.map_err(|error| failed(&error, &self.taking.table))?;
        }
    }
}
