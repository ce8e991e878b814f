//! The simulated target's side of the contracts.
//!
//! A commit is done by a *backend*: a task of its own that goes on when the session is dropped, as a server's
//! process does. Opening ends the backends of its predecessors, unless that is what is sabotaged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::task::JoinHandle;
use wavemark_domain::batch::Change;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::check::Finding;
use wavemark_domain::task::Preparation;
use wavemark_domain::{Cell, ChangeKind, Encoding, Epoch, Fault, Position, Problem, TableId, TablePlan, WaveNumber};

use super::model::{POISON, Row};
use super::source::ENCODING;
use super::{Chance, Sabotage};
use crate::TaskContext;
use crate::source::{Block, BlockFormat, Counter, KeySet, LeftBehind, RowReader};
use crate::target::{
    Bookmark, Kept, Loaded, Loader, OpenError, Opened, Segment, Session, Stage, TableMark, Target, Verdict, WaveEnd,
};

/// A mark and how it came to be parked.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The mark.
    pub mark: TableMark,
    /// Parked before there was a bookmark: nothing is said about its rows.
    pub parked_in_load: bool,
}

/// Looks at every committed state.
pub type Watcher = Box<dyn FnMut(&TargetState) + Send>;

/// What the simulated target has committed.
pub struct TargetState {
    /// Rows of each table, in no order; a table being loaded may hold a row twice.
    pub tables: Vec<Vec<Row>>,
    /// Marks by table.
    pub marks: BTreeMap<usize, Mark>,
    /// Commits of waves.
    pub waves: u64,
    /// Called after each commit that may be seen.
    pub committed: Option<Watcher>,
    /// The dice.
    pub chance: Chance,
    progress: Vec<Bookmark>,
    epoch: i64,
    opening: u64,
    backends: Vec<JoinHandle<()>>,
}

impl TargetState {
    /// An empty target for so many tables.
    #[must_use]
    pub fn new(tables: usize, chance: Chance) -> Self {
        Self {
            tables: vec![Vec::new(); tables],
            marks: BTreeMap::new(),
            waves: 0,
            committed: None,
            chance,
            progress: Vec::new(),
            epoch: 0,
            opening: 0,
            backends: Vec::new(),
        }
    }

    /// The newest bookmark.
    #[must_use]
    pub fn bookmark(&self) -> Option<&Bookmark> {
        self.progress.last()
    }

    fn seen(&mut self) {
        if let Some(mut committed) = self.committed.take() {
            committed(self);
            self.committed = Some(committed);
        }
    }
}

/// A simulated target.
#[derive(Clone)]
pub struct SimulatedTarget {
    state: Arc<Mutex<TargetState>>,
    /// The rule that it breaks.
    pub sabotage: Option<Sabotage>,
}

impl SimulatedTarget {
    /// A target on this state.
    #[must_use]
    pub fn new(state: TargetState, sabotage: Option<Sabotage>) -> Self {
        Self { state: Arc::new(Mutex::new(state)), sabotage }
    }

    /// Its committed state.
    pub fn state(&self) -> MutexGuard<'_, TargetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pause(&self, what: &str) -> Result<(), Problem> {
        let pause = self.state().chance.pause();
        tokio::time::sleep(pause).await;
        self.state().chance.lose_call(what)
    }
}

#[async_trait]
impl Target for SimulatedTarget {
    fn accepts(&self, _source_engine: &str, _table: &Table, _column: &Column) -> Vec<Encoding> {
        vec![ENCODING]
    }

    fn block_formats(&self, _table: &TablePlan) -> Vec<BlockFormat> {
        vec![BlockFormat::Rows]
    }

    async fn assess(&self, _task: &TaskContext, _plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
        Ok(Vec::new())
    }

    async fn open(&self, task: &TaskContext) -> Result<Opened, OpenError> {
        self.pause("opening the target").await?;
        let checked = self.sabotage != Some(Sabotage::NoEpochCheck);
        let opening = {
            let mut state = self.state();
            if checked && state.epoch > task.epoch.0 {
                return Err(OpenError::Fenced { held: Epoch(state.epoch) });
            }
            state.epoch = state.epoch.max(task.epoch.0);
            state.opening += 1;
            if checked && self.sabotage != Some(Sabotage::CommitUnderWayIgnored) {
                state.backends.drain(..).for_each(|backend| backend.abort());
            }
            state.opening
        };
        self.pause("reading what is kept").await?;
        let held = Held { target: self.clone(), opening, epoch: task.epoch.0 };
        let state = self.state();
        let kept = Kept {
            bookmark: state.progress.last().cloned(),
            tables: state.marks.values().map(|mark| mark.mark.clone()).collect(),
        };
        let loader = || Box::new(SimulatedLoader { held: held.clone() }) as Box<dyn Loader>;
        Ok(Opened {
            kept,
            loaders: (0..task.settings.load_parallelism).map(|_| loader()).collect(),
            session: Box::new(SimulatedSession { held: held.clone(), wave: None }),
        })
    }

    async fn clean_up(&self, _task: &TaskContext) -> Result<(), LeftBehind> {
        Ok(())
    }
}

/// What an opening gives the right to.
#[derive(Clone)]
struct Held {
    target: SimulatedTarget,
    opening: u64,
    epoch: i64,
}

impl Held {
    /// Does a commit in a backend of its own: it goes on if the caller is dropped.
    async fn commit(
        &self,
        what: &str,
        work: impl FnOnce(&mut TargetState) -> Result<(), Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        self.target.pause(what).await?;
        let (answer, done) = tokio::sync::oneshot::channel();
        let held = self.clone();
        let pause = self.target.state().chance.pause();
        let backend = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let mut state = held.target.state();
            let outcome = held.check(&state).and_then(|()| work(&mut state));
            if outcome.is_ok() {
                state.seen();
            }
            drop(state);
            let _ = answer.send(outcome);
        });
        self.target.state().backends.push(backend);
        let outcome = done.await.map_err(|_| Problem::transient("backend-gone", "simulated: the backend was ended"))?;
        outcome?;
        self.target.state().chance.lose_answer(what)
    }

    fn check(&self, state: &TargetState) -> Result<(), Problem> {
        match self.target.sabotage {
            Some(Sabotage::NoEpochCheck) => Ok(()),
            Some(Sabotage::CommitUnderWayIgnored) if state.epoch == self.epoch => Ok(()),
            _ if state.epoch == self.epoch && state.opening == self.opening => Ok(()),
            _ if state.epoch == self.epoch => {
                Err(Problem::transient("backend-gone", "simulated: this session was ended"))
            }
            _ => Err(Problem::new(Fault::Fenced, "fenced", "simulated: the epoch was raised")),
        }
    }
}

/// A wave that is being applied: the tables as they will be.
struct Wave {
    tables: Vec<Vec<Row>>,
}

struct SimulatedSession {
    held: Held,
    wave: Option<Wave>,
}

impl SimulatedSession {
    fn wave(&mut self) -> &mut Wave {
        let target = &self.held.target;
        self.wave.get_or_insert_with(|| Wave { tables: target.state().tables.clone() })
    }
}

#[async_trait]
impl Session for SimulatedSession {
    async fn attach(&mut self, _plan: &[TablePlan]) -> Result<(), Problem> {
        Ok(())
    }

    async fn begin_table(
        &mut self,
        table: &TablePlan,
        _preparation: Preparation,
        mark: &TableMark,
    ) -> Result<(), Problem> {
        let (index, mark) = (table.id.index(), mark.clone());
        let begin = move |state: &mut TargetState| {
            state.tables[index].clear();
            state.marks.insert(index, Mark { mark, parked_in_load: false });
            Ok(())
        };
        self.held.commit("beginning a table", begin).await
    }

    async fn adopt_table(&mut self, table: &TablePlan, mark: &TableMark) -> Result<(), Problem> {
        let (index, mark) = (table.id.index(), mark.clone());
        let adopt = move |state: &mut TargetState| {
            state.marks.insert(index, Mark { mark, parked_in_load: false });
            Ok(())
        };
        self.held.commit("adopting a table", adopt).await
    }

    async fn park_table(&mut self, table: &TablePlan, at: &Position, problem: &Problem) -> Result<(), Problem> {
        let mark = TableMark {
            source: table.name().clone(),
            began: at.clone(),
            position: at.clone(),
            storage: String::new(),
            stage: Stage::Parked(Box::new(problem.clone())),
            chunks: Vec::new(),
        };
        let index = table.id.index();
        let park = move |state: &mut TargetState| {
            state.marks.insert(index, Mark { mark, parked_in_load: true });
            Ok(())
        };
        self.held.commit("parking a table", park).await
    }

    async fn bring_forward(
        &mut self,
        table: &TablePlan,
        stale: &KeySet,
        rows: &mut dyn RowReader,
        to: &Position,
        storage: &str,
    ) -> Result<u64, Problem> {
        let fresh = read_all(rows).await?;
        refuse_poison(&fresh)?;
        let added = fresh.len() as u64;
        let (index, stale, to, storage) = (table.id.index(), stale.clone(), to.clone(), storage.to_owned());
        let forward = move |state: &mut TargetState| {
            let mut scratch = Vec::new();
            state.tables[index].retain(|row| !stale.contains([&row.id.to_be_bytes()[..]], &mut scratch));
            state.tables[index].extend(fresh);
            let mark = state.marks.get_mut(&index).expect("a table is begun before it is brought forward");
            mark.mark.position = to;
            mark.mark.storage = storage;
            Ok(())
        };
        self.held.commit("bringing a table forward", forward).await?;
        Ok(added)
    }

    async fn finish_load(&mut self, _plan: &[TablePlan]) -> Result<Vec<(TableId, Problem)>, Problem> {
        Ok(Vec::new())
    }

    async fn raise_counters(&mut self, _plan: &[TablePlan], _counters: &[Counter]) -> Result<(), Problem> {
        self.held.target.pause("raising counters").await
    }

    async fn apply(&mut self, plan: &[TablePlan], segment: &Segment<'_>) -> Result<(), Problem> {
        self.held.target.pause("applying").await?;
        for (_, change) in segment.changes() {
            apply_change(&mut self.wave().tables, plan, segment, change)?;
        }
        Ok(())
    }

    async fn apply_carefully(
        &mut self,
        plan: &[TablePlan],
        segment: &Segment<'_>,
        verdict: &mut (dyn for<'p> FnMut(usize, &'p Problem) -> Verdict + Send),
    ) -> Result<(), Problem> {
        self.held.target.pause("applying row by row").await?;
        for (index, change) in segment.changes() {
            if let Err(problem) = apply_change(&mut self.wave().tables, plan, segment, change)
                && verdict(index, &problem) == Verdict::Abort
            {
                return Err(problem);
            }
        }
        Ok(())
    }

    async fn commit(&mut self, end: &WaveEnd<'_>) -> Result<(), Problem> {
        let wave = self.wave.take();
        let bookmark = Bookmark { wave: end.wave, position: end.position.clone() };
        let parked: Vec<_> = end.parked.to_vec();
        if self.held.target.sabotage == Some(Sabotage::BookmarkBeforeRows) {
            let early = bookmark.clone();
            self.held.commit("the bookmark alone", move |state| put_bookmark(state, early)).await?;
            let rows = move |state: &mut TargetState| put_rows(state, wave, parked);
            return self.held.commit("the rows alone", rows).await;
        }
        let all = move |state: &mut TargetState| {
            put_bookmark(state, bookmark)?;
            put_rows(state, wave, parked)
        };
        self.held.commit("a wave", all).await
    }

    async fn roll_back(&mut self) -> Result<(), Problem> {
        self.wave = None;
        Ok(())
    }
}

fn put_bookmark(state: &mut TargetState, bookmark: Bookmark) -> Result<(), Problem> {
    let expected = state.progress.last().map_or(WaveNumber(1), |last| last.wave.next());
    if bookmark.wave != expected {
        return Err(Problem::transient("wave-there", "simulated: this wave is there already"));
    }
    state.progress.push(bookmark);
    state.waves += 1;
    Ok(())
}

fn put_rows(
    state: &mut TargetState,
    wave: Option<Wave>,
    parked: Vec<(TableId, Position, Problem)>,
) -> Result<(), Problem> {
    if let Some(wave) = wave {
        state.tables = wave.tables;
    }
    for (table, at, problem) in parked {
        let mark = state.marks.get_mut(&table.index()).ok_or_else(|| Problem::internal("no mark to park"))?;
        mark.mark.stage = Stage::Parked(Box::new(problem));
        mark.mark.position = mark.mark.position.clone().max(at);
    }
    Ok(())
}

/// One change on the tables; strict.
fn apply_change(
    tables: &mut [Vec<Row>],
    plan: &[TablePlan],
    segment: &Segment<'_>,
    change: &Change,
) -> Result<(), Problem> {
    let batch = segment.batch;
    let table = change.table.index();
    let keyless = plan[table].is_keyless();
    let rows = &mut tables[table];
    let number = |cell: Cell| batch.value(cell).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("8 bytes")));
    let old = batch.old(change, 3).map(|cells| [number(cells[0]), number(cells[1]), number(cells[2])]);
    let new = batch.new_row(change, 3).map(|cells| [number(cells[0]), number(cells[1]), number(cells[2])]);
    let find = |rows: &[Row], id: Option<u64>| rows.iter().position(|row| Some(row.id) == id);
    let find_whole = |rows: &[Row], old: [Option<u64>; 3]| {
        rows.iter().position(|row| [Some(row.id), Some(row.value), Some(row.large)] == old)
    };
    let missing = || Problem::new(Fault::Data, "row-missing", "simulated: no such row in the target");
    match change.kind {
        ChangeKind::Truncate => rows.clear(),
        ChangeKind::Barrier => return Err(Problem::internal("a barrier was given to the target")),
        ChangeKind::Insert => {
            let row = whole(new)?;
            if !keyless && find(rows, Some(row.id)).is_some() {
                return Err(Problem::new(Fault::Data, "row-exists", "simulated: the row is there already"));
            }
            refuse_poison(&[row])?;
            rows.push(row);
        }
        ChangeKind::Delete => {
            let old = old.ok_or_else(missing)?;
            let at = if keyless { find_whole(rows, old) } else { find(rows, old[0]) };
            rows.swap_remove(at.ok_or_else(missing)?);
        }
        ChangeKind::Update => {
            let new = new.ok_or_else(missing)?;
            let at = match old {
                Some(old) if keyless => find_whole(rows, old),
                Some(old) => find(rows, old[0]),
                None => find(rows, new[0]),
            };
            let at = at.ok_or_else(missing)?;
            let before = rows[at];
            let row = Row {
                id: new[0].unwrap_or(before.id),
                value: new[1].unwrap_or(before.value),
                large: new[2].unwrap_or(before.large),
            };
            refuse_poison(&[row])?;
            if !keyless && row.id != before.id && find(rows, Some(row.id)).is_some() {
                return Err(Problem::new(Fault::Data, "row-exists", "simulated: the row is there already"));
            }
            rows[at] = row;
        }
    }
    Ok(())
}

fn whole(cells: Option<[Option<u64>; 3]>) -> Result<Row, Problem> {
    match cells {
        Some([Some(id), Some(value), Some(large)]) => Ok(Row { id, value, large }),
        _ => Err(Problem::internal("an insert without all of its cells")),
    }
}

fn refuse_poison(rows: &[Row]) -> Result<(), Problem> {
    if rows.iter().any(|row| row.value == POISON) {
        return Err(Problem::new(Fault::Data, "poison", "simulated: a value that the target can't take"));
    }
    Ok(())
}

async fn read_all(rows: &mut dyn RowReader) -> Result<Vec<Row>, Problem> {
    let mut all = Vec::new();
    while let Some(block) = rows.next().await? {
        let Block::Rows(batch) = block else { return Err(Problem::internal("a simulated chunk holds rows")) };
        for change in batch.changes() {
            let cells = batch.new_row(change, 3).ok_or_else(|| Problem::internal("a row without cells"))?;
            let number =
                |cell: Cell| batch.value(cell).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("8 bytes")));
            all.push(whole(Some([number(cells[0]), number(cells[1]), number(cells[2])]))?);
        }
    }
    Ok(all)
}

struct SimulatedLoader {
    held: Held,
}

#[async_trait]
impl Loader for SimulatedLoader {
    async fn load(
        &mut self,
        table: &TablePlan,
        chunk: u32,
        rows: &mut dyn RowReader,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Loaded, Problem> {
        let all = read_all(rows).await?;
        refuse_poison(&all)?;
        let copied = Loaded { rows: all.len() as u64, bytes: all.len() as u64 * 24 };
        progress(copied.bytes);
        let index = table.id.index();
        let mark = move |state: &mut TargetState| {
            let table = state.marks.get_mut(&index).ok_or_else(|| Problem::internal("no mark for a chunk"))?;
            let chunk = table.mark.chunks.iter_mut().find(|mark| mark.number == chunk);
            let chunk = chunk.ok_or_else(|| Problem::internal("no such chunk"))?;
            if chunk.done.replace(copied).is_some() {
                return Err(Problem::internal("a chunk was copied twice"));
            }
            Ok(())
        };
        let put = move |state: &mut TargetState| {
            state.tables[index].extend(all);
            Ok(())
        };
        if self.held.target.sabotage == Some(Sabotage::ChunkMarkOutsideCommit) {
            self.held.commit("a chunk's mark alone", mark).await?;
            self.held.commit("a chunk's rows alone", put).await?;
        } else {
            self.held.commit("a chunk", move |state| mark(state).and_then(|()| put(state))).await?;
        }
        Ok(copied)
    }

    async fn finish_table(&mut self, table: &TablePlan) -> Result<(), Problem> {
        let (index, keyless) = (table.id.index(), table.is_keyless());
        let finish = move |state: &mut TargetState| {
            let mut ids: Vec<u64> = state.tables[index].iter().map(|row| row.id).collect();
            ids.sort_unstable();
            if !keyless && ids.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Problem::new(Fault::Data, "key-twice", "simulated: a key is there twice after the load"));
            }
            let mark = state.marks.get_mut(&index).ok_or_else(|| Problem::internal("no mark to finish"))?;
            mark.mark.stage = Stage::Loaded;
            Ok(())
        };
        self.held.commit("finishing a table", finish).await
    }
}
