//! The simulated target's committed state, and how it is opened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use wavemark_domain::adopt::{KeptTable, KeptTask};
use wavemark_domain::catalog::Column;
use wavemark_domain::check::Finding;
use wavemark_domain::extras::Missing;
use wavemark_domain::{Encoding, Extras, Fault, Logical, Problem, TableId, TablePlan};

use super::backend::{Backends, Connection};
use super::model::{Row, table};
use super::session::{SimulatedLoader, SimulatedSession};
use super::source::ENCODING;
use super::standby::{Standby, Watch};
use super::{Chance, Mishap, Sabotage};
use crate::TaskContext;
use crate::needs::Needs;
use crate::source::{BlockFormat, LeftBehind};
use crate::target::{Bookmark, Durability, Kept, Loader, OpenError, Opened, Stage, TableMark, Target};
use crate::unfit::Tally;

/// A mark and how it came to be.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The mark.
    pub mark: TableMark,
    /// Parked before its load was over: nothing is said about its rows.
    pub parked_in_load: bool,
    /// Begun when there was a bookmark already.
    pub reloaded: bool,
}

/// Looks at every committed state.
pub type Watcher = Box<dyn FnMut(&TargetState) + Send>;

/// A bookmark and who put it there.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The bookmark.
    pub bookmark: Bookmark,
    /// The epoch of the worker.
    pub epoch: i64,
}

/// What is asked about foreign keys, of which the simulated target has none.
#[derive(Default)]
pub struct ForeignKeys {
    /// What dropping them is answered with, one after the other; after that there are none.
    pub answers: VecDeque<Result<Option<Vec<String>>, Problem>>,
    /// The parked tables from which they were to be dropped, each time.
    pub dropped_from: Vec<Vec<TableId>>,
    /// The tables among which they were to be made, each time.
    pub made_among: Vec<Vec<TableId>>,
}

/// What the simulated target has committed.
pub struct TargetState {
    /// Rows of each table, in no order; a table being loaded may hold a row twice.
    pub tables: Vec<Vec<Row>>,
    /// Marks by table.
    pub marks: BTreeMap<usize, Mark>,
    /// Tables that have ended, and whether they were dropped.
    pub ended: BTreeMap<usize, bool>,
    /// Commits of waves.
    pub waves: u64,
    /// Called after each commit that may be seen.
    pub committed: Option<Watcher>,
    /// The dice.
    pub chance: Chance,
    /// Every bookmark.
    pub progress: Vec<Progress>,
    /// What was asked about foreign keys.
    pub foreign_keys: ForeignKeys,
    /// Its standby, if it has one.
    pub(super) standby: Option<Standby>,
    /// The layout that each table was made with.
    pub(super) layouts: Vec<u64>,
    /// Tables that have no key.
    pub(super) keyless: BTreeSet<usize>,
    pub(super) backends: Backends,
    /// Until when other sessions hold rows of each table.
    held_until: Vec<Option<Instant>>,
}

impl TargetState {
    /// An empty target for so many tables.
    #[must_use]
    pub fn new(tables: usize, chance: Chance) -> Self {
        Self {
            tables: vec![Vec::new(); tables],
            marks: BTreeMap::new(),
            ended: BTreeMap::new(),
            waves: 0,
            committed: None,
            chance,
            progress: Vec::new(),
            foreign_keys: ForeignKeys::default(),
            standby: None,
            layouts: vec![0; tables],
            keyless: BTreeSet::new(),
            backends: Backends::default(),
            held_until: vec![None; tables],
        }
    }

    /// The newest bookmark.
    #[must_use]
    pub fn bookmark(&self) -> Option<&Bookmark> {
        self.progress.last().map(|progress| &progress.bookmark)
    }

    /// Another session takes rows of a table and keeps them for so long.
    pub fn hold_rows(&mut self, table: usize, lasts: Duration) {
        self.chance.note(Mishap::RowsHeld, Some(table));
        self.held_until[table] = Some(Instant::now() + lasts);
    }

    /// Whether the newest worker has a transaction open here and is to send something next.
    #[must_use]
    pub fn has_open_transaction(&self) -> bool {
        self.backends.any_open()
    }

    /// Until when a table can't be written.
    pub(super) fn held_until(&self, table: usize) -> Option<Instant> {
        self.held_until[table].filter(|until| *until > Instant::now())
    }

    pub(super) fn seen(&mut self) {
        if let Some(mut committed) = self.committed.take() {
            committed(self);
            self.committed = Some(committed);
        }
    }

    fn kept(&self, sabotage: Option<Sabotage>) -> Kept {
        let mut tables: Vec<TableMark> = self.marks.values().map(|mark| mark.mark.clone()).collect();
        if sabotage == Some(Sabotage::ParkedTableLetBackIn) {
            let parked = tables.iter_mut().filter(|mark| matches!(mark.stage, Stage::Parked(_)));
            parked.for_each(|mark| mark.stage = Stage::Loaded);
        }
        let noted = |(index, mark): (&usize, &Mark)| KeptTable {
            source: mark.mark.source.clone(),
            target: mark.mark.source.clone(),
            columns: None,
            layout: Some(table(*index, self.keyless.contains(index), self.layouts[*index])),
            rows: None,
        };
        Kept { bookmark: self.bookmark().cloned(), tables, written: self.marks.iter().map(noted).collect() }
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

    pub(super) async fn pause(&self, what: &str) -> Result<(), Problem> {
        let pause = self.state().chance.pause();
        tokio::time::sleep(pause).await;
        self.state().chance.lose_call(what)
    }

    /// Raises the fence if nothing of a predecessor is left.
    fn try_raise(&self, epoch: i64, connections: usize) -> Result<Option<Vec<u64>>, OpenError> {
        let mut state = self.state();
        let TargetState { backends, chance, .. } = &mut *state;
        backends.raise(epoch, connections, self.sabotage, || chance.hits(500))
    }
}

/// How often it is looked whether a predecessor is gone.
const POLL: Duration = Duration::from_millis(20);

#[async_trait]
impl Target for SimulatedTarget {
    fn connections(&self) -> Needs {
        Needs { follow: 1, load: 1, compare: 1 }
    }

    fn accepts(&self, _source_engine: &str, _column: &Column, _logical: Option<&Logical>) -> Vec<Encoding> {
        vec![ENCODING]
    }

    fn block_formats(&self, _table: &TablePlan) -> Vec<BlockFormat> {
        vec![BlockFormat::Rows]
    }

    async fn makes(&self, plan: &[TablePlan]) -> Result<Vec<Extras>, Problem> {
        Ok(plan.iter().map(|_| Extras::default()).collect())
    }

    fn statement(&self, _plan: &[TablePlan], _table: &TablePlan, missing: &Missing<'_>) -> String {
        format!("make {missing:?}")
    }

    async fn assess(&self, _task: &TaskContext, _plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
        Ok(Vec::new())
    }

    async fn open(&self, task: &TaskContext) -> Result<Opened, OpenError> {
        self.pause("opening the target").await?;
        let connections = 1 + usize::from(task.settings.load_parallelism);
        let backends = loop {
            match self.try_raise(task.epoch.0, connections)? {
                Some(backends) => break backends,
                None => tokio::time::sleep(POLL).await,
            }
        };
        self.pause("reading what is kept").await?;
        let mut state = self.state();
        let kept = state.kept(self.sabotage);
        state.chance.lose_answer("opening the target")?;
        drop(state);
        let connection = |backend| Connection { target: self.clone(), backend, epoch: task.epoch.0 };
        let loader = |backend: &u64| Box::new(SimulatedLoader::new(connection(*backend))) as Box<dyn Loader>;
        Ok(Opened {
            kept,
            unfit: Tally::default(),
            session: Box::new(SimulatedSession::new(connection(backends[0]))),
            loaders: backends[1..].iter().map(loader).collect(),
        })
    }

    fn durability(&self, _task: &TaskContext) -> Option<Box<dyn Durability>> {
        let watch = || Box::new(Watch { target: self.clone() }) as Box<dyn Durability>;
        self.state().standby.is_some().then(watch)
    }

    async fn kept_tasks(&self) -> Result<Vec<(KeptTask, Kept)>, Problem> {
        Ok(Vec::new())
    }

    async fn clean_up(&self, task: &TaskContext) -> Result<(), LeftBehind> {
        let failed = |problem| LeftBehind { problem, statements: Vec::new() };
        self.pause("cleaning up").await.map_err(failed)?;
        loop {
            if self.state().backends.is_buried() {
                return Ok(());
            }
            match self.try_raise(task.epoch.0, 0) {
                Ok(Some(_)) => break,
                Ok(None) => tokio::time::sleep(POLL).await,
                Err(OpenError::Problem(problem)) => return Err(failed(problem)),
                Err(fenced @ OpenError::Fenced { .. }) => {
                    return Err(failed(Problem::new(Fault::Fenced, "fenced", fenced.to_string())));
                }
            }
        }
        let mut state = self.state();
        state.backends.bury();
        state.marks.clear();
        state.progress.clear();
        Ok(())
    }
}
