//! The simulated source's side of the contracts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::check::Finding;
use wavemark_domain::{Encoding, Fault, Position, Problem, TableId, TablePlan};

use super::Sabotage;
use super::model::{SourceState, Transaction, What, layout_of, place, position};
use super::reader::Reader;
use super::view::SimulatedView;
use crate::TaskContext;
use crate::needs::Needs;
use crate::source::{
    BlockFormat, ChangeReader, Counter, KeptFor, KeySet, LeftBehind, LogState, Replan, Source, Touched, View, Wanted,
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

    pub(super) async fn pause(&self, what: &str) -> Result<(), Problem> {
        let pause = self.state().chance.pause();
        tokio::time::sleep(pause).await;
        self.state().chance.lose_call(what)
    }

    fn view(&self) -> Box<dyn View> {
        let state = self.state();
        Box::new(SimulatedView::new(self.clone(), state.heaps.clone(), position(state.end)))
    }
}

#[async_trait]
impl Source for SimulatedSource {
    fn connections(&self) -> Needs {
        Needs { follow: 1, load: 1, compare: 1 }
    }

    async fn tables(&self, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
        self.pause("the catalog").await?;
        let mut state = self.state();
        state.looks += 1;
        Ok(state.catalog().into_iter().filter(|table| wanted(&table.name)).collect())
    }

    async fn assess(&self, _task: &TaskContext, _plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
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

    fn position_from(&self, text: &str, _like: &Position) -> Result<Position, Problem> {
        let not_one = |_| Problem::new(Fault::Settings, "not-a-position", "simulated: a position is a number");
        text.parse().map(position).map_err(not_one)
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
            state.aside = None;
            state.log.begin_anew();
            state.readings += 1;
        }
        let view = self.view();
        self.state().chance.lose_answer("making a slot")?;
        Ok(view)
    }

    async fn begin_following(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Position, Problem> {
        if !task.settings.names_start() {
            return self.begin(task, plan).await.map(|view| view.position().clone());
        }
        self.pause("looking for a slot").await?;
        let state = self.state();
        let gone = || Problem::new(Fault::PositionLost, "slot-ahead", "simulated: the slot does not have the start");
        let slot = state.slot.ok_or_else(gone)?;
        let start = match task.settings.start_position.as_str() {
            "" => slot,
            text => place(&self.position_from(text, &position(slot))?),
        };
        if slot > start { Err(gone()) } else { Ok(position(start)) }
    }

    async fn view_again(&self, _task: &TaskContext, _tables: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        self.pause("another view").await?;
        Ok(self.view())
    }

    async fn begin_aside(&self, task: &TaskContext, _tables: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        self.pause("making a slot aside").await?;
        {
            let mut state = self.state();
            if state.aside.is_some_and(|(_, epoch)| epoch > task.epoch.0) || state.slot_epoch > task.epoch.0 {
                return Err(Problem::new(Fault::Fenced, "fenced", "simulated: a later worker made a slot"));
            }
            state.aside = (self.sabotage != Some(Sabotage::AsideNotKept)).then_some((state.end, task.epoch.0));
        }
        let view = self.view();
        self.state().chance.lose_answer("making a slot aside")?;
        Ok(view)
    }

    async fn keeps_aside(&self, _task: &TaskContext, since: &Position) -> Result<bool, Problem> {
        self.pause("looking for a slot aside").await?;
        Ok(self.state().aside.is_some_and(|(from, _)| from <= place(since)))
    }

    async fn end_aside(&self, task: &TaskContext) -> Result<(), Problem> {
        self.pause("dropping a slot aside").await?;
        let mut state = self.state();
        if state.aside.is_some_and(|(_, epoch)| epoch <= task.epoch.0) {
            state.aside = None;
        }
        state.chance.lose_answer("dropping a slot aside")
    }

    async fn view_beside(&self, _task: &TaskContext) -> Result<Box<dyn View>, Problem> {
        self.pause("a view to compare").await?;
        Ok(self.view())
    }

    async fn touched(
        &self,
        _task: &TaskContext,
        plan: &[TablePlan],
        tables: &[TableId],
        (from, to): (&Position, &Position),
        kept: KeptFor,
    ) -> Result<Vec<Touched>, Problem> {
        self.pause("reading what was touched").await?;
        let state = self.state();
        let begins = if kept == KeptFor::Aside { state.aside.map(|(from, _)| from) } else { state.slot };
        if begins.is_none_or(|begins| begins > place(from)) && self.sabotage != Some(Sabotage::AsideNotKept) {
            return Err(Problem::transient("log-gone", "simulated: that part of the log is not kept"));
        }
        let between = |transaction: &&Arc<Transaction>| transaction.end > place(from) && transaction.end <= place(to);
        let log: Vec<_> = state.log.committed().filter(between).cloned().collect();
        Ok(tables.iter().map(|table| touched_in(&log, &plan[table.index()])).collect())
    }

    async fn follow(
        &self,
        task: &TaskContext,
        plan: &[TablePlan],
        from: &Position,
        replan: Arc<dyn Replan>,
    ) -> Result<Box<dyn ChangeReader>, Problem> {
        self.pause("opening the log").await?;
        let from = place(from);
        let mut state = self.state();
        let slot = state.slot;
        if slot.is_none_or(|slot| slot > from) {
            let text = format!("simulated: the log was let go up to {slot:?}, beyond {from}");
            return Err(Problem::new(Fault::PositionLost, "slot-ahead", text));
        }
        state.readings += 1;
        Ok(Box::new(Reader::new(self.clone(), &state, task, (plan, replan), from)))
    }

    async fn still_has(&self, _task: &TaskContext, from: &Position) -> Result<(), Problem> {
        let slot = self.state().slot;
        if slot.is_none_or(|slot| slot > place(from)) {
            return Err(Problem::new(Fault::PositionLost, "slot-ahead", "simulated: the log was let go"));
        }
        Ok(())
    }

    async fn log_state(&self, _: &TaskContext, _: Option<&Position>, _: Duration) -> Result<LogState, Problem> {
        let state = self.state();
        let kept_bytes = state.slot.and(state.kept);
        Ok(LogState {
            end: position(state.end),
            behind_bytes: None,
            kept_bytes,
            limit_bytes: state.limit,
            drops_in_seconds: None,
        })
    }

    async fn let_go(&self, _task: &TaskContext, more_than: u64) -> Result<Option<u64>, Problem> {
        let mut state = self.state();
        let kept = state.slot.and(state.kept).filter(|kept| *kept > more_than);
        if kept.is_some() {
            state.slot = None;
            state.aside = None;
        }
        Ok(kept)
    }

    async fn counters(&self, _plan: &[TablePlan]) -> Result<Vec<Counter>, Problem> {
        self.pause("reading counters").await?;
        Ok(Vec::new())
    }

    async fn clean_up(&self, _task: &TaskContext) -> Result<(), LeftBehind> {
        let mut state = self.state();
        state.slot = None;
        state.aside = None;
        Ok(())
    }
}

fn touched_in(log: &[Arc<Transaction>], plan: &TablePlan) -> Touched {
    if plan.is_keyless() {
        return Touched::StartOver("it has no key".to_owned());
    }
    let mut keys = KeySet::default();
    for change in log.iter().flat_map(|transaction| &transaction.changes) {
        if change.table != plan.id.index() {
            continue;
        }
        if change.layout != layout_of(plan) {
            return Touched::StartOver("it was changed".to_owned());
        }
        let ids = match change.what {
            What::Insert(row) | What::Delete(row) => [row.id, row.id],
            What::Update { old, new, .. } => [old.id, new.id],
            What::Truncate => return Touched::StartOver("it was truncated".to_owned()),
        };
        for id in ids {
            keys.insert([&id.to_be_bytes()[..]]);
        }
    }
    Touched::Keys(keys)
}
