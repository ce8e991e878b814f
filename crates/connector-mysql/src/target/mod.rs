//! `MySQL` and `MariaDB` as a target.
//!
//! 1. `fence`: opening raises the epoch after every earlier session is gone; each writing transaction checks it.
//! 2. `prepare`, `loader`, `finish`, `foreign_keys`: tables, rows by LOAD DATA with their marks, then indexes, then foreign keys.
//! 3. `wave`, `sets`: changes with their bookmark in one commit, by single statements or by way of staging tables.
//! 4. `careful`: row by row under savepoints, for a wave that failed on data.
//!
//! The server commits at every statement that changes a table, so such a statement is never part of a wave. What the target
//! keeps is in database `wavemark` of its server (`schema`).

mod alter;
mod apply;
mod assess;
mod careful;
mod conflict;
mod counters;
mod create;
mod declare;
mod fault;
mod feed;
mod fence;
mod finish;
mod foreign_keys;
mod forward;
mod kept;
mod loader;
mod marks;
mod own;
mod prepare;
mod schema;
mod script;
mod session;
mod sets;
mod shares;
mod statements;
mod table;
mod unfit;
pub(crate) mod values;
mod wave;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use wavemark_connector::TaskContext;
use wavemark_connector::needs::Needs;
use wavemark_connector::source::{BlockFormat, LeftBehind};
use wavemark_connector::target::{Kept, Loader, OpenError, Opened, Target};
use wavemark_connector::unfit::Tally;
use wavemark_domain::adopt::KeptTask;
use wavemark_domain::check::Finding;
use wavemark_domain::extras::Missing;
use wavemark_domain::task::Statistics;
use wavemark_domain::{Column, Encoding, Extras, Logical, Problem, Table, TablePlan};

pub(crate) use create::type_at;
#[cfg(test)]
pub(crate) use declare::declared;
pub(crate) use declare::word;

use crate::client;
use crate::settings::{ENGINE, Settings};
use crate::wire::{Connection, WireError};
use fault::problem;
use fence::Grant;
use loader::MysqlLoader;
use session::MysqlSession;
use wave::Waves;

/// Followed: control, waves, and one that assesses. A load: one loader. A comparison is not made.
pub(crate) const NEEDS: Needs = Needs { follow: 3, load: 1, compare: 0 };

/// A server to write to.
pub(crate) struct MysqlTarget {
    settings: Settings,
}

impl MysqlTarget {
    /// A target on these settings. Does no I/O.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    async fn connect(&self, task: &TaskContext) -> Result<Connection, Problem> {
        let mut connection = client::open_to_write(&self.settings).await?;
        wait_for_locks(&mut connection, task).await?;
        Ok(connection)
    }

    async fn named(&self, task: &TaskContext, names: &mut Vec<String>) -> Result<Connection, Problem> {
        let mut connection = self.connect(task).await?;
        names.push(fence::name(&mut connection).await?);
        Ok(connection)
    }

    async fn open_all(&self, task: &TaskContext) -> Result<(Kept, MysqlSession, Vec<MysqlLoader>), OpenError> {
        let mut names = Vec::new();
        let mut control = self.named(task, &mut names).await?;
        schema::ensure(&mut control).await?;
        let loads = takes_loads(&mut control).await?;
        let writer = self.named(task, &mut names).await?;
        let count = if task.kind.loads() { task.settings.load_parallelism } else { 0 };
        let analyzes = task.settings.statistics != Statistics::Never;
        let grant = Grant::of(task);
        let mut loaders = Vec::with_capacity(count.into());
        for _ in 0..count {
            let connection = self.named(task, &mut names).await?;
            loaders.push(MysqlLoader { connection, grant, loads, unfit: Tally::default(), analyzes });
        }
        fence::raise(&mut control, task, &names).await?;
        wait_for_locks(&mut control, task).await?;
        let kept = marks::read(&mut control, task.task.0).await?;
        let last = kept.bookmark.as_ref().map_or(0, |bookmark| bookmark.wave.0);
        let failed = |cause: WireError| problem(&cause, "read what the target counts of values that had no place");
        let tally = unfit::read(&mut control, task.task.0).await.map_err(failed)?;
        for loader in &mut loaders {
            loader.unfit = tally.clone();
        }
        let waves = Waves::new(writer, grant, loads, tally);
        Ok((kept, MysqlSession { waves, control, task_name: task.name.clone(), loads, last }, loaders))
    }

    /// Ends every session of the task, removes what is kept and leaves the tombstone, in one commit.
    async fn remove(&self, task: &TaskContext) -> Result<(), Problem> {
        let mut control = self.connect(task).await?;
        schema::ensure(&mut control).await?;
        fence::bury(&mut control, task).await
    }
}

/// How long a statement waits for rows or tables that somebody else holds.
async fn wait_for_locks(connection: &mut Connection, task: &TaskContext) -> Result<(), Problem> {
    let seconds = task.settings.lock_timeout_seconds.max(1);
    let waits = format!("SET SESSION innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}");
    connection.query(&waits).await.map(drop).map_err(|cause| problem(&cause, "set up a session at the target"))
}

/// Whether the server takes LOAD DATA from its clients.
async fn takes_loads(connection: &mut Connection) -> Result<bool, Problem> {
    let failed = |cause: WireError| problem(&cause, "ask whether the server takes LOAD DATA from its clients");
    let rows = connection.query("SELECT @@local_infile").await.map_err(failed)?;
    Ok(rows.first().and_then(|row| row.number::<i32>(0)) == Some(1))
}

#[async_trait]
impl Target for MysqlTarget {
    fn connections(&self) -> Needs {
        NEEDS
    }

    fn accepts(&self, _source_engine: &str, column: &Column, logical: Option<&Logical>) -> Vec<Encoding> {
        declare::accepts(column, logical)
    }

    fn declare(
        &self,
        source_engine: &str,
        table: &Table,
        logical: &[Option<Logical>],
        extras: &Extras,
    ) -> Option<Table> {
        (source_engine != ENGINE).then(|| declare::table(table, logical, extras))
    }

    fn spells(&self, source_engine: &str, logical: &Logical) -> bool {
        source_engine != ENGINE && values::is_spelled(logical)
    }

    fn block_formats(&self, _table: &TablePlan) -> Vec<BlockFormat> {
        vec![BlockFormat::Rows]
    }

    async fn makes(&self, plan: &[TablePlan]) -> Result<Vec<Extras>, Problem> {
        let server = create::Server::of(&mut client::open_to_write(&self.settings).await?).await?;
        Ok(plan.iter().map(|table| create::made(table, plan, &server)).collect())
    }

    fn statement(&self, plan: &[TablePlan], table: &TablePlan, missing: &Missing<'_>) -> String {
        create::statement(plan, table, missing)
    }

    async fn assess(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
        assess::assess(&mut self.connect(task).await?, task, plan).await
    }

    async fn open(&self, task: &TaskContext) -> Result<Opened, OpenError> {
        let (kept, session, loaders) = self.open_all(task).await?;
        let loaders = loaders.into_iter().map(|loader| Box::new(loader) as Box<dyn Loader>).collect();
        let unfit = session.waves.tally.clone();
        Ok(Opened { kept, unfit, session: Box::new(session), loaders })
    }

    async fn kept_tasks(&self) -> Result<Vec<(KeptTask, Kept)>, Problem> {
        kept::tasks(&mut client::open_to_write(&self.settings).await?).await
    }

    async fn clean_up(&self, task: &TaskContext) -> Result<(), LeftBehind> {
        let id = task.task.0;
        self.remove(task).await.map_err(|problem| {
            let mut statements: Vec<String> = ["progress", "unfit", "chunks", "tables", "exceptions"]
                .iter()
                .map(|kept| format!("DELETE FROM wavemark.{kept} WHERE task = '{id}'"))
                .collect();
            statements.push(format!("UPDATE wavemark.fence SET tombstone = true WHERE task = '{id}'"));
            LeftBehind { problem, statements }
        })
    }
}
