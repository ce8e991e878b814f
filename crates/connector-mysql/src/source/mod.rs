//! MySQL and MariaDB as a source: what is there is loaded. The binary log is not followed yet; a task that would is
//! refused.
//!
//! 1. `begin` has every reader see the tables as of one moment, by the shortest lock that the user's rights allow.
//! 2. `view` keeps these readers; `chunks` cuts tables, `rows` reads them.

mod begin;
mod chunks;
mod rows;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wavemark_connector::TaskContext;
use wavemark_connector::needs::Needs;
use wavemark_connector::source::{
    BlockFormat, ChangeReader, Counter, KeptFor, LeftBehind, LogState, Replan, Source, Touched, View, Wanted,
};
use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::{Column, Encoding, Fault, Logical, Position, Problem, Table, TableId, TablePlan};

use crate::position::Place;
use crate::settings::Settings;
use crate::{client, discover, encoding};

/// A load: one that looks at tables, and one reader.
pub(crate) const NEEDS: Needs = Needs { follow: 1, load: 1, compare: 0 };

/// A server to read from.
pub(crate) struct MysqlSource {
    settings: Settings,
}

impl MysqlSource {
    /// A source on these settings. Does no I/O.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

/// The log can't be read yet.
fn no_log() -> Problem {
    Problem::new(Fault::Settings, "log-not-followed", "The binary log of MySQL and MariaDB can't be followed yet.")
        .advice("Make it a task that only loads (full-load).")
}

#[async_trait]
impl Source for MysqlSource {
    fn connections(&self) -> Needs {
        NEEDS
    }

    async fn tables(&self, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
        discover::tables(&mut client::open(&self.settings).await?, wanted).await
    }

    async fn assess(&self, task: &TaskContext, _: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
        let problem = no_log();
        let finding = Finding { weight: Weight::Blocker, code: problem.code, text: problem.text, mend: problem.advice };
        Ok(task.kind.follows().then_some(finding).into_iter().collect())
    }

    fn offers(&self, _: &Table, column: &Column) -> Vec<Encoding> {
        encoding::logical(column).map(|logical| logical.encoding()).into_iter().collect()
    }

    fn logical(&self, _: &Table, column: &Column) -> Option<Logical> {
        encoding::logical(column)
    }

    fn refuses_to_follow(&self, table: &Table) -> Option<Problem> {
        Some(no_log().table(&table.name))
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
        Err(no_log())
    }

    async fn begin(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        if task.kind.follows() {
            return Err(no_log());
        }
        Ok(Box::new(begin::view(&self.settings, task, plan).await?))
    }

    async fn begin_following(&self, _: &TaskContext, _: &[TablePlan]) -> Result<Position, Problem> {
        Err(no_log())
    }

    async fn view_again(&self, task: &TaskContext, tables: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Ok(Box::new(begin::view(&self.settings, task, tables).await?))
    }

    async fn begin_aside(&self, _: &TaskContext, _: &[TablePlan]) -> Result<Box<dyn View>, Problem> {
        Err(no_log())
    }

    async fn keeps_aside(&self, _: &TaskContext, _: &Position) -> Result<bool, Problem> {
        Ok(false)
    }

    async fn end_aside(&self, _: &TaskContext) -> Result<(), Problem> {
        Ok(())
    }

    async fn view_beside(&self, _: &TaskContext) -> Result<Box<dyn View>, Problem> {
        Err(not_compared())
    }

    async fn touched(
        &self,
        _: &TaskContext,
        _: &[TablePlan],
        _: &[TableId],
        _: (&Position, &Position),
        _: KeptFor,
    ) -> Result<Vec<Touched>, Problem> {
        Err(no_log())
    }

    async fn follow(
        &self,
        _: &TaskContext,
        _: &[TablePlan],
        _: &Position,
        _: Arc<dyn Replan>,
    ) -> Result<Box<dyn ChangeReader>, Problem> {
        Err(no_log())
    }

    async fn still_has(&self, _: &TaskContext, _: &Position) -> Result<(), Problem> {
        Err(no_log())
    }

    async fn log_state(&self, _: &TaskContext, _: Option<&Position>, _: Duration) -> Result<LogState, Problem> {
        Err(no_log())
    }

    async fn let_go(&self, _: &TaskContext, _: u64) -> Result<Option<u64>, Problem> {
        Ok(None)
    }

    async fn counters(&self, _: &[TablePlan]) -> Result<Vec<Counter>, Problem> {
        Ok(Vec::new())
    }

    async fn clean_up(&self, _: &TaskContext) -> Result<(), LeftBehind> {
        Ok(())
    }
}

/// Comparing needs hashes that both systems compute alike.
fn not_compared() -> Problem {
    Problem::new(Fault::Settings, "not-compared", "Tables of MySQL and MariaDB can't be compared with a target yet.")
}
