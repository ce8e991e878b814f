//! PostgreSQL (13 and later) as a target.
//!
//! 1. `fence`: opening raises the epoch after every earlier session is gone; each writing transaction checks it.
//! 2. `create`, `loader`, `finish`, `foreign_keys`: tables, rows by COPY with their marks, then keys and indexes, then
//!    foreign keys.
//! 3. `wave`: changes with their bookmark in one commit, by single statements, arrays or staged sets.
//! 4. `careful`: row by row under savepoints, for a wave that failed on data.
//!
//! What it keeps is in schema `wavemark` of the target database (`schema`).

mod alter;
mod apply;
mod assess;
mod by_sets;
mod canonical;
mod careful;
mod clamp;
mod conflict;
mod copy;
mod counters;
mod create;
mod declare;
mod durable;
mod end;
mod enums;
mod fault;
mod fence;
mod finish;
mod foreign_keys;
mod forward;
mod kept;
mod loader;
mod made;
mod marks;
mod moved;
mod names;
mod pipeline;
mod put_off;
mod refresh;
mod schema;
mod session;
mod sets;
mod spelled;
mod staged;
mod statements;
mod table;
mod types;
mod unfit;
mod wave;
pub(crate) mod wider;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wavemark_connector::TaskContext;
use wavemark_connector::needs::Needs;
use wavemark_connector::source::{BlockFormat, LeftBehind};
use wavemark_connector::target::{Durability, Kept, Loader, OpenError, Opened, Target};
use wavemark_connector::unfit::Tally;
use wavemark_domain::adopt::KeptTask;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::check::Finding;
use wavemark_domain::extras::Missing;
use wavemark_domain::layout::ColumnPolicy;
use wavemark_domain::task::Statistics;
use wavemark_domain::{Encoding, Extras, Logical, Problem, TablePlan};

use crate::client::{Backend, Connected, Purpose, connect, open};
use crate::compare::Place;
use crate::encoding::{BINARY, COPY_BINARY};
use crate::native::{ColumnNative, TypeRef};
use crate::settings::{ENGINE, Settings};
pub(crate) use declare::word;
pub(crate) use durable::assess as assess_durability;
use fault::problem;
use fence::Grant;
use loader::PgLoader;
use session::PgSession;
use statements::Plans;
use wave::Waves;

/// A PostgreSQL database to write to.
pub struct PostgresTarget {
    settings: Settings,
}

impl PostgresTarget {
    /// A target on these settings. Does no I/O.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    async fn connect(&self, task: &TaskContext, part: &str) -> Result<Connected, Problem> {
        let lock_timeout = Duration::from_secs(task.settings.lock_timeout_seconds.into());
        connect(&self.settings, &Purpose { name: &task.name, part, lock_timeout, writes: true }).await
    }

    async fn session(&self, task: &TaskContext) -> Result<PgSession, OpenError> {
        let mut control = self.connect(task, "control").await?;
        schema::ensure(&mut control.client).await?;
        let writer = self.connect(task, "waves").await?;
        writer
            .client
            .batch_execute(&statements::plans("SESSION", Plans::ByIndex))
            .await
            .map_err(|error| problem(&error, "set up the session for waves"))?;
        let beside = Place::new(&self.settings, task);
        let waves = Waves::new(Arc::new(writer.client), writer.version, Grant::of(task), writer.replica);
        Ok(PgSession {
            waves,
            control,
            task_name: task.name.clone(),
            drops_columns: task.settings.dropped_columns != ColumnPolicy::Ignore,
            last: 0,
            writer: writer.backend,
            beside,
        })
    }

    async fn loaders(&self, task: &TaskContext) -> Result<Vec<PgLoader>, Problem> {
        let count = if task.kind.loads() { task.settings.load_parallelism } else { 0 };
        let mut loaders = Vec::with_capacity(count.into());
        let analyzes = task.settings.statistics != Statistics::Never;
        for number in 0..count {
            let connected = self.connect(task, &format!("load {number}")).await?;
            loaders.push(PgLoader { connected, grant: Grant::of(task), unfit: Tally::default(), analyzes });
        }
        Ok(loaders)
    }

    /// Opens the target; the concrete session, for tests that choose an apply method.
    async fn open_session(
        &self,
        task: &TaskContext,
    ) -> Result<(wavemark_connector::target::Kept, PgSession, Vec<PgLoader>), OpenError> {
        let mut session = self.session(task).await?;
        let mut loaders = self.loaders(task).await?;
        let writers: Vec<Backend> = [session.control.backend.clone(), session.writer.clone()]
            .into_iter()
            .chain(loaders.iter().map(|loader| loader.connected.backend.clone()))
            .collect();
        fence::raise(&mut session.control.client, task, &writers).await?;
        let kept = marks::read(&session.control.client, task.task.0).await?;
        session.last = kept.bookmark.as_ref().map_or(0, |bookmark| bookmark.wave.0);
        let failed =
            |error: tokio_postgres::Error| problem(&error, "read what the target counts of values that had no place");
        let tally = unfit::read(&session.control.client, task.task.0).await.map_err(failed)?;
        for loader in &mut loaders {
            loader.unfit = tally.clone();
        }
        session.waves.tally = tally;
        Ok((kept, session, loaders))
    }
}

/// Followed: control, waves, and one that looks at standbys or assesses. A load: one loader. A comparison: one keeps the
/// snapshot, one reads.
pub(crate) const NEEDS: Needs = Needs { follow: 3, load: 1, compare: 2 };

#[async_trait]
impl Target for PostgresTarget {
    fn connections(&self) -> Needs {
        NEEDS
    }

    fn accepts(&self, source_engine: &str, column: &Column, logical: Option<&Logical>) -> Vec<Encoding> {
        if source_engine != ENGINE {
            return logical.map(Logical::encoding).into_iter().collect();
        }
        let fits =
            ColumnNative::of(column).is_ok_and(|native| native.r#type.has_binary && !names_objects(&native.r#type));
        if fits { vec![BINARY] } else { Vec::new() }
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
        source_engine != ENGINE && spelled::Spelled::of(logical).is_some()
    }

    fn block_formats(&self, table: &TablePlan) -> Vec<BlockFormat> {
        let binary = table.columns.iter().all(|column| column.encoding == BINARY);
        if binary { vec![BlockFormat::Stream(COPY_BINARY), BlockFormat::Rows] } else { vec![BlockFormat::Rows] }
    }

    async fn makes(&self, plan: &[TablePlan]) -> Result<Vec<Extras>, Problem> {
        plan.iter().map(|table| made::of(plan, table)).collect()
    }

    fn statement(&self, plan: &[TablePlan], table: &TablePlan, missing: &Missing<'_>) -> String {
        made::statement(plan, table, missing)
    }

    async fn assess(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
        let connected = self.connect(task, "assess").await?;
        let mut findings = durable::assess(&connected.client, &self.settings).await?;
        findings.extend(assess::assess(&connected, task, plan).await?);
        Ok(findings)
    }

    async fn open(&self, task: &TaskContext) -> Result<Opened, OpenError> {
        let (kept, session, loaders) = self.open_session(task).await?;
        let loaders = loaders.into_iter().map(|loader| Box::new(loader) as Box<dyn Loader>).collect();
        let unfit = session.waves.tally.clone();
        Ok(Opened { kept, unfit, session: Box::new(session), loaders })
    }

    fn durability(&self, task: &TaskContext) -> Option<Box<dyn Durability>> {
        durable::of(&self.settings, task)
    }

    async fn kept_tasks(&self) -> Result<Vec<(KeptTask, Kept)>, Problem> {
        let purpose = Purpose { name: "job", part: "adopt", lock_timeout: Duration::from_secs(10), writes: false };
        kept::tasks(&open(&self.settings, &purpose).await?).await
    }

    async fn clean_up(&self, task: &TaskContext) -> Result<(), LeftBehind> {
        let id = task.task.0;
        self.remove(task).await.map_err(|problem| {
            let mut statements: Vec<String> = ["progress", "unfit", "chunks", "tables", "foreign_keys", "exceptions"]
                .iter()
                .map(|kept| format!("DELETE FROM wavemark.{kept} WHERE task = '{id}'"))
                .collect();
            statements.push(format!("UPDATE wavemark.fence SET tombstone = true WHERE task = '{id}'"));
            LeftBehind { problem, statements }
        })
    }
}

impl PostgresTarget {
    /// Ends every session of the task, removes what is kept and leaves the tombstone, in one commit.
    async fn remove(&self, task: &TaskContext) -> Result<(), Problem> {
        let mut control = self.connect(task, "clean up").await?;
        schema::ensure(&mut control.client).await?;
        fence::bury(&mut control.client, task).await
    }
}

/// Types whose binary form is an oid of this very database: a table's, a role's, a function's number means something
/// else elsewhere.
fn names_objects(of: &TypeRef) -> bool {
    const REG: [&str; 11] = [
        "regclass",
        "regcollation",
        "regconfig",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
    ];
    (of.name.schema == "pg_catalog" && REG.contains(&of.name.name.as_str()))
        || of.inner.as_deref().is_some_and(names_objects)
        || of.attributes.iter().any(names_objects)
}
