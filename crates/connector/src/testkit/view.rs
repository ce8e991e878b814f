//! The simulated source's tables as of one position.

use std::sync::Arc;

use async_trait::async_trait;
use wavemark_domain::{Batch, ChangeKind, Fault, Position, Problem, TableId, TablePlan};

use super::Sabotage;
use super::model::{Heap, Row, in_layout, layout_of};
use super::side::SimulatedSide;
use super::source::SimulatedSource;
use crate::compare::Side;
use crate::source::{Block, BlockFormat, ChunkRange, DROPPED_IN_LOAD, Entered, KeySet, RowReader, View};

/// Rows as of one position.
pub(super) struct SimulatedView {
    source: SimulatedSource,
    heaps: Vec<Heap>,
    position: Position,
}

/// Places of a heap that go into one chunk.
const CHUNK: usize = 6;

impl SimulatedView {
    pub(super) fn new(source: SimulatedSource, heaps: Vec<Heap>, position: Position) -> Self {
        Self { source, heaps, position }
    }

    fn heap(&self, table: &TablePlan) -> &Heap {
        &self.heaps[table.id.index()]
    }

    fn reader(&self, table: &TablePlan, rows: Vec<Row>) -> Box<dyn RowReader> {
        Box::new(SimulatedRows { source: self.source.clone(), layout: self.heap(table).layout, rows })
    }
}

#[async_trait]
impl View for SimulatedView {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn enter(&self, table: &TablePlan) -> Result<Entered, Problem> {
        self.source.pause("locking a table").await?;
        let storage = self.heap(table).storage;
        let state = self.source.state();
        let now = &state.heaps[table.id.index()];
        if now.gone.is_some() {
            let text = "simulated: the table was dropped before its load was over";
            return Err(Problem::new(Fault::Data, DROPPED_IN_LOAD, text).table(table.name()));
        }
        if now.layout != layout_of(table) && self.source.sabotage != Some(Sabotage::LayoutIgnored) {
            let text = "simulated: the table changed after the plan was made";
            return Err(Problem::new(Fault::Data, "table-changed", text).table(table.name()));
        }
        Ok(Entered { storage: storage.to_string(), readable: storage == now.storage, rows_estimated: None })
    }

    async fn chunks(&self, table: &TablePlan, _bytes: u64) -> Result<Vec<ChunkRange>, Problem> {
        let places = self.heap(table).places.len();
        let starts = (0..places.max(1)).step_by(CHUNK).collect::<Vec<_>>();
        let last = starts.len() - 1;
        let range = |(at, start): (usize, &usize)| {
            let end = if at == last { usize::MAX } else { start + CHUNK };
            ChunkRange(format!("{start}-{end}"))
        };
        Ok(starts.iter().enumerate().map(range).collect())
    }

    async fn read(
        &self,
        table: &TablePlan,
        range: &ChunkRange,
        _format: BlockFormat,
        without: Option<Arc<KeySet>>,
    ) -> Result<Box<dyn RowReader>, Problem> {
        self.source.pause("reading a chunk").await?;
        let (start, end) = range.0.split_once('-').ok_or_else(|| Problem::internal("not a simulated chunk"))?;
        let bound = |text: &str| text.parse::<usize>().map_err(|_| Problem::internal("not a simulated chunk"));
        let (start, end) = (bound(start)?, bound(end)?);
        let now = self.source.state().heaps[table.id.index()].places.clone();
        let sabotaged = self.source.sabotage == Some(Sabotage::ChunksFromTwoSnapshots);
        let places = if sabotaged { &now } else { &self.heap(table).places };
        let mut scratch = Vec::new();
        let mut kept =
            |row: &Row| !without.as_ref().is_some_and(|keys| keys.contains([&row.id.to_be_bytes()[..]], &mut scratch));
        let chosen = places.iter().take(end).skip(start).copied().flatten();
        Ok(self.reader(table, chosen.filter(|row| kept(row)).collect()))
    }

    async fn read_keys(
        &self,
        table: &TablePlan,
        keys: &KeySet,
        _format: BlockFormat,
    ) -> Result<Box<dyn RowReader>, Problem> {
        self.source.pause("reading keys").await?;
        let mut scratch = Vec::new();
        let rows = self.heap(table).places.iter().copied().flatten();
        Ok(self.reader(table, rows.filter(|row| keys.contains([&row.id.to_be_bytes()[..]], &mut scratch)).collect()))
    }

    async fn side(&self, _sessions: u16) -> Result<Box<dyn Side>, Problem> {
        self.source.pause("a side to compare").await?;
        let later = self.source.sabotage == Some(Sabotage::ComparedLater);
        let heaps = if later { self.source.state().heaps.clone() } else { self.heaps.clone() };
        let rows = |heap: &Heap| heap.places.iter().copied().flatten().collect();
        Ok(Box::new(SimulatedSide(heaps.iter().map(rows).collect())))
    }
}

struct SimulatedRows {
    source: SimulatedSource,
    layout: u64,
    rows: Vec<Row>,
}

#[async_trait]
impl RowReader for SimulatedRows {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        self.source.pause("the rows of a chunk").await?;
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut batch = Batch::default();
        for row in self.rows.drain(..self.rows.len().min(4)) {
            let start = batch.begin_row();
            push_row(&mut batch, row, self.layout, false);
            batch.push_change(TableId(0), ChangeKind::Insert, None, Some(start));
        }
        Ok(Some(Block::Rows(batch)))
    }
}

/// Appends the cells of a row.
pub(super) fn push_row(batch: &mut Batch, row: Row, layout: u64, large_left_out: bool) {
    batch.push_value(&row.id.to_be_bytes());
    batch.push_value(&in_layout(row.value, layout).to_be_bytes());
    if large_left_out {
        batch.push_marker(wavemark_domain::Cell::UNCHANGED);
    } else {
        batch.push_value(&row.large.to_be_bytes());
    }
}
