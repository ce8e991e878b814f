//! The simulated source's side of the contracts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::check::Finding;
use wavemark_domain::{Batch, ChangeKind, Encoding, Fault, Position, Problem, TableId, TablePlan};

use super::Sabotage;
use super::model::{Heap, Logged, Row, SourceState, Transaction, place, position};
use super::reader::Reader;
use crate::TaskContext;
use crate::source::{
    Block, BlockFormat, ChangeReader, ChunkRange, Counter, Entered, KeySet, LeftBehind, LogState, RowReader, Source,
    Touched, View,
};

/// The encoding of every simulated column: eight bytes, the highest first.
pub const ENCODING: Encoding = Encoding::named("simulated");

/// A simulated source.
#[derive(Clone)]
pub struct SimulatedSource {
    state: Arc<Mutex<SourceState>>,
    /// Woken when a transaction was written.
    pub written: Arc<Notify>,
    /// The rule that it breaks.
    pub sabotage: Option<Sabotage>,
}

impl SimulatedSource {
    /// A source on this state.
    #[must_use]
    pub fn new(state: SourceState, sabotage: Option<Sabotage>) -> Self {
        Self { state: Arc::new(Mutex::new(state)), written: Arc::new(Notify::new()), sabotage }
    }

    /// Its state.
    pub fn state(&self) -> MutexGuard<'_, SourceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pause(&self, what: &str) -> Result<(), Problem> {
        let pause = self.state().chance.pause();
        tokio::time::sleep(pause).await;
        self.state().chance.lose_call(what)
    }

    fn view(&self) -> Box<dyn View> {
        let state = self.state();
        Box::new(SimulatedView { source: self.clone(), heaps: state.heaps.clone(), position: position(state.end) })
    }
}

#[async_trait]
impl Source for SimulatedSource {
    async fn tables(&self) -> Result<Vec<Table>, Problem> {
        self.pause("the catalog").await?;
        Ok(self.state().catalog())
    }

    async fn assess(&self, _task: &TaskContext, _tables: &[Arc<Table>]) -> Result<Vec<Finding>, Problem> {
        Ok(Vec::new())
    }

    fn offers(&self, _table: &Table, _column: &Column) -> Vec<Encoding> {
        vec![ENCODING]
    }

    fn refuses_to_follow(&self, _table: &Table) -> Option<Problem> {
        None
    }

    fn block_formats(&self, _table: &TablePlan) -> Vec<BlockFormat> {
        vec![BlockFormat::Rows]
    }

    fn describe(&self, position: &Position) -> String {
        place(position).to_string()
    }

    async fn begin(&self, task: &TaskContext, _plan: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        self.pause("making a slot").await?;
        {
            let mut state = self.state();
            if state.slot_epoch > task.epoch.0 && self.sabotage != Some(Sabotage::LateBeginAllowed) {
                return Err(Problem::new(Fault::Fenced, "fenced", "simulated: a later worker made a slot"));
            }
            state.slot_epoch = task.epoch.0;
            let end = state.end;
            state.slot = Some(end);
            state.log.clear();
        }
        let view = self.view();
        self.state().chance.lose_answer("making a slot")?;
        Ok(view)
    }

    async fn view_again(&self, _task: &TaskContext, _plan: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        self.pause("another view").await?;
        Ok(self.view())
    }

    async fn touched(
        &self,
        _task: &TaskContext,
        plan: &[TablePlan],
        tables: &[TableId],
        from: &Position,
        to: &Position,
    ) -> Result<Vec<Touched>, Problem> {
        self.pause("reading what was touched").await?;
        let state = self.state();
        let between = |transaction: &&Arc<Transaction>| transaction.end > place(from) && transaction.end <= place(to);
        let log: Vec<_> = state.log.iter().filter(between).cloned().collect();
        Ok(tables.iter().map(|table| touched_in(&log, &plan[table.index()])).collect())
    }

    async fn follow(
        &self,
        _task: &TaskContext,
        plan: &[TablePlan],
        from: &Position,
    ) -> Result<Box<dyn ChangeReader>, Problem> {
        self.pause("opening the log").await?;
        let from = place(from);
        let slot = self.state().slot;
        if slot.is_none_or(|slot| slot > from) {
            let text = format!("simulated: the log was let go up to {slot:?}, beyond {from}");
            return Err(Problem::new(Fault::PositionLost, "slot-ahead", text));
        }
        Ok(Box::new(Reader::new(self.clone(), plan.len(), from)))
    }

    async fn log_state(&self, _task: &TaskContext, _bookmark: Option<&Position>) -> Result<LogState, Problem> {
        let end = position(self.state().end);
        Ok(LogState { end, behind_bytes: None, kept_bytes: None, limit_bytes: None })
    }

    async fn counters(&self, _plan: &[TablePlan]) -> Result<Vec<Counter>, Problem> {
        self.pause("reading counters").await?;
        Ok(Vec::new())
    }

    async fn clean_up(&self, _task: &TaskContext) -> Result<(), LeftBehind> {
        self.state().slot = None;
        Ok(())
    }
}

fn touched_in(log: &[Arc<Transaction>], plan: &TablePlan) -> Touched {
    if plan.is_keyless() {
        return Touched::StartOver("it has no key".to_owned());
    }
    let mut keys = KeySet::default();
    for (table, change) in log.iter().flat_map(|transaction| &transaction.changes) {
        if *table != plan.id.index() {
            continue;
        }
        let ids = match change {
            Logged::Insert(row) | Logged::Delete(row) => [row.id, row.id],
            Logged::Update { old, new, .. } => [old.id, new.id],
            Logged::Truncate => return Touched::StartOver("it was truncated".to_owned()),
        };
        for id in ids {
            keys.insert([&id.to_be_bytes()[..]]);
        }
    }
    Touched::Keys(keys)
}

/// Rows as of one position.
struct SimulatedView {
    source: SimulatedSource,
    heaps: Vec<Heap>,
    position: Position,
}

/// Places of a heap that go into one chunk.
const CHUNK: usize = 6;

impl SimulatedView {
    fn heap(&self, table: &TablePlan) -> &Heap {
        &self.heaps[table.id.index()]
    }

    fn reader(&self, rows: Vec<Row>) -> Box<dyn RowReader> {
        Box::new(SimulatedRows { source: self.source.clone(), rows })
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
        let now = self.source.state().heaps[table.id.index()].storage;
        Ok(Entered { storage: storage.to_string(), readable: storage == now, rows_estimated: None })
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
        Ok(self.reader(chosen.filter(|row| kept(row)).collect()))
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
        Ok(self.reader(rows.filter(|row| keys.contains([&row.id.to_be_bytes()[..]], &mut scratch)).collect()))
    }
}

struct SimulatedRows {
    source: SimulatedSource,
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
            push_row(&mut batch, row, false);
            batch.push_change(TableId(0), ChangeKind::Insert, None, Some(start));
        }
        Ok(Some(Block::Rows(batch)))
    }
}

/// Appends the cells of a row.
pub(super) fn push_row(batch: &mut Batch, row: Row, large_left_out: bool) {
    batch.push_value(&row.id.to_be_bytes());
    batch.push_value(&row.value.to_be_bytes());
    if large_left_out {
        batch.push_marker(wavemark_domain::Cell::UNCHANGED);
    } else {
        batch.push_value(&row.large.to_be_bytes());
    }
}
