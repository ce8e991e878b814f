//! PostgreSQL as a source.
//!
//! Why nothing is lost between the load and the log: the slot's consistent point P is at once the place from which
//! the log is kept and the place of the exported snapshot that the chunks are read in. A transaction whose commit
//! record lies before P is in the snapshot and not in the log, every other one is in the log and not in the snapshot.
//! `begin` has the steps and the race that must be waited out; `storage` what MVCC does not cover; `assembler` how
//! the log becomes whole transactions; `follow` what is checked before it is opened again.

mod altered;
mod assembler;
mod begin;
mod beside;
mod canonical;
mod chunks;
mod copy;
mod copyrows;
mod described;
mod doubts;
mod events;
mod follow;
mod heart;
mod keys;
mod known;
mod layout;
mod lent;
mod made_of;
mod message;
mod named;
mod names;
mod numbers;
mod oversized;
mod reader;
mod relayout;
mod rows;
mod session;
mod shape;
mod slot;
mod standby;
mod state;
mod storage;
mod streamed;
mod text;
mod told;
mod touched;
mod unspoken;
mod view;
mod watch;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use wavemark_connector::TaskContext;
use wavemark_connector::needs::Needs;
use wavemark_connector::source::{
    BlockFormat, ChangeReader, Counter, KeptFor, LeftBehind, LogState, Replan, Source, Touched, View, Wanted,
};
use wavemark_domain::catalog::{Column, Table, TableKind};
use wavemark_domain::check::Finding;
use wavemark_domain::{Encoding, Extras, Fault, Logical, Position, Problem, RowFilter, TableId, TablePlan};

use heart::Heart;

use crate::encoding::{BINARY, COPY_BINARY};
use crate::native::{ColumnNative, TableNative};
use crate::settings::Settings;
use crate::wire::Streaming;
use crate::{assess, extras, logical, position};

pub(crate) use canonical::is_written_so;
pub(crate) use named::{check as check_start, is_named};
pub(crate) use names::quoted;
pub(crate) use rows::{condition, uncovered};
pub(crate) use session::{replication, wire_settings};
pub(crate) use shape::{LEAST_VERSION as FILTERS_VERSION, too_old as too_old_to_filter, uncovered as uncovered_tables};
pub(crate) use slot::identity;

/// One PostgreSQL database to read from.
pub struct PostgresSource {
    settings: Settings,
    /// Answers the small questions of every few seconds.
    heart: std::sync::Mutex<Option<Arc<Heart>>>,
    /// Whether transactions are read while they are in progress: until the server fails at that.
    streams: Arc<AtomicBool>,
}

impl PostgresSource {
    /// A source with these settings. Does no I/O.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, heart: std::sync::Mutex::default(), streams: Arc::new(AtomicBool::new(true)) }
    }

    fn heart(&self) -> Arc<Heart> {
        let mut heart = self.heart.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(heart.get_or_insert_with(|| heart::of(&self.settings)))
    }
}

/// Followed: the log, the session that the tasks of a worker share, and one for short questions (to open the log, for
/// counters). A load: three that make and keep a view, and two of which one becomes the reader: they make the view, or read
/// what was touched. A comparison: four make its view; then one keeps the snapshot, and the others read.
pub(crate) const NEEDS: Needs = Needs { follow: 3, load: 5, compare: 4 };

#[async_trait]
impl Source for PostgresSource {
    fn connections(&self) -> Needs {
        NEEDS
    }

    async fn rest(&self) {
        self.heart.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn tables(&self, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
        crate::discover(&self.settings, wanted).await
    }

    async fn assess(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
        let client = session::ordinary(&self.settings, task, "assess").await?;
        let mut findings = assess::assess(&client, task, plan).await?;
        findings.extend(events::assess(&client, task).await?);
        match named::assess(&self.settings, task).await {
            Err(problem) if problem.fault == Fault::Transient => return Err(problem),
            Err(problem) => findings.insert(0, assess::blocker(&problem)),
            Ok(()) => {}
        }
        Ok(findings)
    }

    fn offers(&self, _table: &Table, column: &Column) -> Vec<Encoding> {
        let binary = ColumnNative::of(column).is_ok_and(|native| native.r#type.has_binary);
        let canonical = logical::of(column).map(|logical| logical.encoding());
        binary.then_some(BINARY).into_iter().chain(canonical).collect()
    }

    fn logical(&self, _table: &Table, column: &Column) -> Option<Logical> {
        logical::of(column)
    }

    fn extras(&self, table: &Table) -> Extras {
        extras::of(table)
    }

    fn refuses_to_follow(&self, table: &Table) -> Option<Problem> {
        if table.kind == TableKind::View {
            let text = format!("{} can't be replicated: a view leaves nothing in the log.", table.name);
            let problem = Problem::new(Fault::Data, "table-refused", text).table(&table.name);
            return Some(problem.advice("Load it with a full-load task."));
        }
        if TableNative::of(table).is_ok_and(|native| native.updates_refused) {
            return Some(shape::updates_refused(&table.name));
        }
        if TableNative::of(table).is_ok_and(|native| native.unlogged) {
            let text = format!("{} can't be followed: it, or a partition of it, is unlogged.", table.name);
            let problem = Problem::new(Fault::Data, "table-refused", text).table(&table.name);
            return Some(problem.advice("ALTER TABLE … SET LOGGED, or load it with a full-load task."));
        }
        (!slot::identity(table)).then(|| slot::no_identity(table))
    }

    fn block_formats(&self, table: &TablePlan) -> Vec<BlockFormat> {
        if canonical::are_wanted([table]) {
            return vec![BlockFormat::Rows];
        }
        vec![BlockFormat::Stream(COPY_BINARY), BlockFormat::Rows]
    }

    fn describe(&self, position: &Position) -> String {
        position::describe(position)
    }

    fn position_from(&self, text: &str, like: &Position) -> Result<Position, Problem> {
        position::read(text, like)
    }

    async fn begin(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(begin::begin(&self.settings, task, plan).await?))
    }

    async fn begin_following(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Position, Problem> {
        match named::of(task) {
            Some(named) => named::begin(&self.settings, task, named, plan).await,
            None => Ok(begin::begin(&self.settings, task, plan).await?.position().clone()),
        }
    }

    fn refuses_rows(&self, table: &Table, rows: &RowFilter, follows: bool) -> Option<Problem> {
        rows::refuse(table, rows, follows)
    }

    async fn view_again(&self, task: &TaskContext, tables: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(begin::again(&self.settings, task, tables).await?))
    }

    async fn begin_aside(&self, task: &TaskContext, tables: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(begin::aside(&self.settings, task, tables).await?))
    }

    async fn keeps_aside(&self, task: &TaskContext, since: &Position) -> Result<bool, Problem> {
        follow::keeps_aside(&self.settings, task, since).await
    }

    async fn end_aside(&self, task: &TaskContext) -> Result<(), Problem> {
        begin::end_aside(&self.settings, task).await
    }

    async fn view_beside(&self, task: &TaskContext) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(beside::view(&self.settings, task).await?))
    }

    async fn touched(
        &self,
        task: &TaskContext,
        plan: &[TablePlan],
        tables: &[TableId],
        between: (&Position, &Position),
        kept: KeptFor,
    ) -> Result<Vec<Touched>, Problem> {
        touched::touched(&self.settings, task, plan, tables, between, kept).await
    }

    async fn follow(
        &self,
        task: &TaskContext,
        plan: &[TablePlan],
        from: &Position,
        replan: Arc<dyn Replan>,
    ) -> Result<Box<dyn ChangeReader>, Problem> {
        let streams = self.streams.load(Ordering::Relaxed);
        let how = (if streams { Streaming::On } else { Streaming::Off }, Some(replan));
        let reader = follow::open(&self.settings, task, plan, from, KeptFor::Task, how).await?;
        Ok(Box::new(if streams { reader.streaming(Arc::clone(&self.streams)) } else { reader }))
    }

    fn is_same(&self, kept: &Table, now: &Table) -> bool {
        let oid = |table: &Table| TableNative::of(table).map(|native| native.oid).ok();
        oid(kept).is_some() && oid(kept) == oid(now)
    }

    fn as_kept(&self, kept: &Table, storage: &str, now: &Table) -> Table {
        known::as_kept(kept, storage, now)
    }

    async fn still_has(&self, task: &TaskContext, from: &Position) -> Result<(), Problem> {
        follow::still_has(&self.settings, task, from).await
    }

    async fn log_state(
        &self,
        task: &TaskContext,
        bookmark: Option<&Position>,
        within: Duration,
    ) -> Result<LogState, Problem> {
        Ok(self.heart().log(within).await?.state(task, bookmark))
    }

    async fn let_go(&self, task: &TaskContext, more_than: u64) -> Result<Option<u64>, Problem> {
        state::let_go(&self.settings, task, more_than).await
    }

    async fn counters(&self, plan: &[TablePlan]) -> Result<Vec<Counter>, Problem> {
        let client = crate::job_client(&self.settings, "counters").await?;
        state::counters(&client, plan).await
    }

    async fn clean_up(&self, task: &TaskContext) -> Result<(), LeftBehind> {
        state::clean_up(&self.settings, task).await
    }
}
