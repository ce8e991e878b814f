//! MySQL and MariaDB as a source.
//!
//! 1. `begin` has every reader see the tables as of one moment, by the shortest lock that the user's rights allow; `between`
//!    does it without one, with `late` rows out of the log.
//! 2. `view` keeps these readers; `chunks` cuts tables, `rows` reads them.
//! 3. The log is followed by `crate::log`; `state` says where it ends, `resume` whether and how it is gone on with from a
//!    position, `history` what a position is where one server took over from another.

mod assess;
mod begin;
mod between;
mod chunks;
mod counters;
mod history;
mod keys;
mod late;
mod looker;
mod refusals;
mod resume;
mod retention;
mod rows;
mod state;
mod touched;
mod view;

pub(crate) use assess::log as assess_log;
pub(crate) use looker::Looker;
pub(crate) use state::files;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wavemark_connector::TaskContext;
use wavemark_connector::needs::Needs;
use wavemark_connector::source::{
    BlockFormat, ChangeReader, Counter, KeptFor, LeftBehind, LogState, Replan, Source, Touched, View, Wanted,
};
use wavemark_domain::check::Finding;
use wavemark_domain::{Column, Encoding, Extras, Fault, Logical, Position, Problem, Table, TableId, TablePlan};

use crate::position::{Memo, Place};
use crate::settings::Settings;
use crate::{client, discover, encoding, log, native};

/// Followed: the log, and one that looks at its state. A load: one that looks at tables, and one reader.
pub(crate) const NEEDS: Needs = Needs { follow: 2, load: 2, compare: 0 };

use history::History;
use retention::Retention;

/// A server to read from.
pub(crate) struct MysqlSource {
    settings: Settings,
    looker: Arc<Looker>,
    history: History,
    retention: Retention,
}

impl MysqlSource {
    /// A source on these settings. Does no I/O.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            looker: Arc::new(Looker::new(settings.clone())),
            settings,
            history: History::default(),
            retention: Retention::default(),
        }
    }
}

#[async_trait]
impl Source for MysqlSource {
    fn connections(&self) -> Needs {
        NEEDS
    }

    async fn rest(&self) {
        self.looker.rest().await;
    }

    async fn tables(&self, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
        discover::tables(&mut client::open(&self.settings).await?, wanted).await
    }

    async fn assess(&self, task: &TaskContext, _: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
        if !task.kind.follows() {
            return Ok(Vec::new());
        }
        assess::log(&mut client::open(&self.settings).await?, &self.settings).await
    }

    fn offers(&self, _: &Table, column: &Column) -> Vec<Encoding> {
        encoding::logical(column).map(|logical| logical.encoding()).into_iter().collect()
    }

    fn logical(&self, _: &Table, column: &Column) -> Option<Logical> {
        encoding::logical(column)
    }

    fn extras(&self, table: &Table) -> Extras {
        native::extras(table)
    }

    fn refuses_to_follow(&self, table: &Table) -> Option<Problem> {
        refusals::of(table)
    }

    fn block_formats(&self, _: &TablePlan) -> Vec<BlockFormat> {
        vec![BlockFormat::Rows]
    }

    fn describe(&self, position: &Position) -> String {
        Place::from_position(position).map_or_else(
            || format!("{position} (of another system)"),
            |place| format!("{}:{}", place.file, place.offset),
        )
    }

    fn position_from(&self, _: &str, _: &Position) -> Result<Position, Problem> {
        let text = "A task can't begin or stop at a place of your own in a binary log yet.";
        Err(Problem::new(Fault::Settings, "position-unreadable", text))
    }

    fn continue_behind(&self, furthest: Option<&Position>) {
        self.history.continue_behind(furthest);
    }

    async fn begin(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(begin::view((&self.looker, &self.history), task, plan).await?))
    }

    async fn begin_following(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Position, Problem> {
        let mut control = client::open(&self.settings).await?;
        // Between the place and the look at the catalog nobody alters a table.
        begin::run(&mut control, "START TRANSACTION READ ONLY", "hold tables").await?;
        begin::hold(&mut control, plan, begin::patience(task)).await?;
        let end = state::end(&mut control).await?;
        begin::as_planned(&mut control, plan).await?;
        begin::run(&mut control, "COMMIT", "let others go on").await?;
        let place = self.history.put(end.ok_or_else(|| state::no_log(&self.settings))?)?;
        let executed = state::executed(&mut control, &place).await?;
        let begun_at = log::begun_at(&self.settings, &place).await?;
        Ok(place.to_position(&Memo::new(begun_at, &executed)))
    }

    async fn view_again(&self, task: &TaskContext, tables: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(begin::view((&self.looker, &self.history), task, tables).await?))
    }

    /// The server keeps its log by its own settings, so there is nothing to make.
    async fn begin_aside(&self, task: &TaskContext, tables: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(begin::view((&self.looker, &self.history), task, tables).await?))
    }

    async fn keeps_aside(&self, _: &TaskContext, since: &Position) -> Result<bool, Problem> {
        match resume::checked(&mut client::open(&self.settings).await?, &self.history, since).await {
            Ok(_) => Ok(true),
            Err(problem) if problem.fault == Fault::PositionLost => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    async fn end_aside(&self, _: &TaskContext) -> Result<(), Problem> {
        Ok(())
    }

    async fn view_beside(&self, _: &TaskContext) -> Result<Box<dyn View>, Problem> {
        Err(not_compared())
    }

    async fn touched(
        &self,
        task: &TaskContext,
        plan: &[TablePlan],
        tables: &[TableId],
        between: (&Position, &Position),
        _: KeptFor,
    ) -> Result<Vec<Touched>, Problem> {
        touched::touched((&self.looker, &self.history), task, plan, tables, between).await
    }

    async fn follow(
        &self,
        task: &TaskContext,
        plan: &[TablePlan],
        from: &Position,
        replan: Arc<dyn Replan>,
    ) -> Result<Box<dyn ChangeReader>, Problem> {
        let start = resume::start(&self.settings, &self.history, from).await?;
        Ok(Box::new(log::open(&self.looker, task, plan, start, log::Purpose::Follow(replan)).await?))
    }

    fn as_kept(&self, kept: &Table, _: &str, now: &Table) -> Table {
        native::as_kept(kept, now)
    }

    async fn still_has(&self, _: &TaskContext, from: &Position) -> Result<(), Problem> {
        resume::checked(&mut client::open(&self.settings).await?, &self.history, from).await.map(drop)
    }

    async fn log_state(&self, _: &TaskContext, bookmark: Option<&Position>, _: Duration) -> Result<LogState, Problem> {
        self.looker.log_state((&self.history, &self.retention), bookmark).await
    }

    async fn let_go(&self, _: &TaskContext, _: u64) -> Result<Option<u64>, Problem> {
        Ok(None)
    }

    async fn counters(&self, plan: &[TablePlan]) -> Result<Vec<Counter>, Problem> {
        counters::last(&self.settings, plan).await
    }

    async fn clean_up(&self, _: &TaskContext) -> Result<(), LeftBehind> {
        Ok(())
    }
}

/// Comparing needs hashes that both systems compute alike.
fn not_compared() -> Problem {
    Problem::new(Fault::Settings, "not-compared", "Tables of MySQL and MariaDB can't be compared with a target yet.")
}
