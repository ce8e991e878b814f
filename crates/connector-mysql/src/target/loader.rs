//! Copying chunks, each with its mark in one commit.

use async_trait::async_trait;
use wavemark_connector::crash;
use wavemark_connector::source::{Block, KeySet, RowReader};
use wavemark_connector::target::{Loaded, Loader, Stage};
use wavemark_connector::unfit::{Counts, Tally};
use wavemark_domain::{Position, Problem, TablePlan};

use super::fault::problem;
use super::feed::{self, Feed};
use super::fence::Grant;
use super::table::{self, TargetTable};
use super::unfit::{self, Part};
use super::{finish, forward, marks};
use crate::wire::{Connection, WireError};

/// One session for chunks and indexes.
pub(crate) struct MysqlLoader {
    pub(crate) connection: Connection,
    pub(crate) grant: Grant,
    pub(crate) loads: bool,
    /// What is counted of values that had no place.
    pub(crate) unfit: Tally,
    /// Whether a table that is loaded gets its statistics.
    pub(crate) analyzes: bool,
}

#[async_trait]
impl Loader for MysqlLoader {
    async fn load(
        &mut self,
        plan: &TablePlan,
        chunk: u32,
        rows: &mut dyn RowReader,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Loaded, Problem> {
        let loaded = self.try_load(plan, chunk, rows, progress).await;
        taken_back(&mut self.connection, loaded).await
    }

    async fn bring_forward(
        &mut self,
        table: &TablePlan,
        stale: &KeySet,
        rows: &mut dyn RowReader,
        to: &Position,
        storage: &str,
    ) -> Result<u64, Problem> {
        let to = forward::To { position: to, storage, unfit: &self.unfit };
        let brought = forward::bring(&mut self.connection, &self.grant, self.loads, table, stale, rows, to).await;
        taken_back(&mut self.connection, brought).await
    }

    async fn finish_table(&mut self, table: &TablePlan) -> Result<(), Problem> {
        finish::table(&mut self.connection, &self.grant, table, self.analyzes).await?;
        crash::point("table.finished");
        Ok(())
    }

    async fn complete_table(&mut self, table: &TablePlan) -> Result<(), Problem> {
        let doing = format!("mark {} as loaded", table.target);
        let failed = |cause: WireError| problem(&cause, &doing).table(table.name());
        let connection = &mut self.connection;
        self.grant.begin(connection, &doing).await?;
        let begun = marks::begun(connection, self.grant.task, table).await.map_err(failed)?;
        let Some(begun) = begun else {
            let text = format!("Table {} is completed but was never begun.", table.target);
            return Err(Problem::internal(text));
        };
        if begun.stage == "loading" {
            marks::set_stage(connection, self.grant.task, table.name(), &Stage::Loaded).await.map_err(failed)?;
        }
        connection.query("COMMIT").await.map_err(failed)?;
        crash::point("table.completed");
        Ok(())
    }
}

impl MysqlLoader {
    async fn try_load(
        &mut self,
        plan: &TablePlan,
        chunk: u32,
        rows: &mut dyn RowReader,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Loaded, Problem> {
        let doing = format!("copy into {}", plan.target);
        let failed = |cause: WireError| problem(&cause, &doing).table(plan.name());
        let connection = &mut self.connection;
        let target = table::read(connection, plan).await?;
        self.grant.begin(connection, &doing).await?;
        let (loaded, unfit) = copy(connection, self.loads, plan, &target, rows, progress).await?;
        crash::point("chunk.copied");
        let marked =
            marks::chunk_done(connection, self.grant.task, plan.name(), chunk, loaded).await.map_err(failed)?;
        if !marked {
            let text = format!("Chunk {chunk} of {} has no mark, or is done already.", plan.name());
            return Err(Problem::internal(text).table(plan.name()));
        }
        let counted = unfit.named(std::slice::from_ref(plan));
        if let Some(sql) = unfit::add(self.grant.task, Part::Chunk(chunk), &counted) {
            connection.query(&sql).await.map_err(failed)?;
        }
        connection.query("COMMIT").await.map_err(failed)?;
        self.unfit.add(counted);
        crash::point("chunk.committed");
        Ok(loaded)
    }
}

/// Takes back what is open after an error, so that the session can go on with another table.
pub(crate) async fn taken_back<T>(connection: &mut Connection, outcome: Result<T, Problem>) -> Result<T, Problem> {
    if outcome.is_err() {
        // A connection that is broken says so at its next statement.
        drop(connection.query("ROLLBACK").await);
    }
    outcome
}

/// Copies all that a reader gives into a table, in the transaction that is open.
pub(crate) async fn copy(
    connection: &mut Connection,
    loads: bool,
    plan: &TablePlan,
    target: &TargetTable,
    rows: &mut dyn RowReader,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Loaded, Counts), Problem> {
    let doing = format!("copy into {}", plan.target);
    let failed = |cause: WireError| problem(&cause, &doing).table(plan.name());
    let mut feed = Feed::begin(connection, target, loads).await.map_err(failed)?;
    match pump(&mut feed, plan, target, rows, progress).await {
        Ok((loaded, unfit)) => {
            let done = feed.end().await.map_err(failed)?;
            let judged = feed::judge(connection, done, loaded.rows, &doing).await;
            judged.map(|()| (loaded, unfit)).map_err(|problem| problem.table(plan.name()))
        }
        Err(problem) => {
            // The server waits for the end; what it has is taken back with the transaction.
            drop(feed.end().await);
            Err(problem)
        }
    }
}

async fn pump(
    feed: &mut Feed<'_>,
    plan: &TablePlan,
    target: &TargetTable,
    rows: &mut dyn RowReader,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Loaded, Counts), Problem> {
    let failed = |cause: WireError| problem(&cause, &format!("copy into {}", plan.target)).table(plan.name());
    let (mut loaded, mut unfit) = (Loaded { rows: 0, bytes: 0 }, Counts::default());
    while let Some(block) = rows.next().await? {
        let Block::Rows(mut batch) = block else {
            return Err(Problem::internal("A stream of another system's was given to a MySQL target."));
        };
        let bytes = batch.bytes() as u64;
        loaded.bytes += bytes;
        progress(bytes);
        unfit.add(&target.fitting.alter(plan.id, &mut batch)?);
        for change in batch.changes() {
            let Some(cells) = batch.new_row(change, target.columns.len()) else { continue };
            feed.row(target, &batch, cells).map_err(|problem| problem.table(plan.name()))?;
            loaded.rows += 1;
            feed.flush().await.map_err(failed)?;
        }
    }
    Ok((loaded, unfit))
}
