//! Copying chunks, each with its mark in one commit.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, pin_mut};
use tokio_postgres::{CopyInSink, Transaction};
use wavemark_connector::crash;
use wavemark_connector::source::{Block, KeySet, RowReader};
use wavemark_connector::target::{Loaded, Loader};
use wavemark_connector::unfit::{Counts, Tally};
use wavemark_domain::{Fault, Position, Problem, TablePlan};

use super::copy::{Rewriter, Writer};
use super::fault::problem;
use super::fence::Grant;
use super::table::TargetTable;
use super::unfit::{self, Part};
use super::{finish, forward, marks, statements, table};
use crate::client::Connected;

/// One session for chunks and indexes.
pub(crate) struct PgLoader {
    pub(crate) connected: Connected,
    pub(crate) grant: Grant,
    /// What is counted of values that had no place.
    pub(crate) unfit: Tally,
    /// Whether a table that is loaded gets its statistics.
    pub(crate) analyzes: bool,
}

#[async_trait]
impl Loader for PgLoader {
    async fn load(
        &mut self,
        plan: &TablePlan,
        chunk: u32,
        rows: &mut dyn RowReader,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Loaded, Problem> {
        let failed =
            |error: tokio_postgres::Error| problem(&error, &format!("copy into {}", plan.target)).table(plan.name());
        let version = self.connected.version;
        let transaction = self.connected.client.transaction().await.map_err(failed)?;
        transaction.batch_execute(&self.grant.share()).await.map_err(failed)?;
        let target = table::read(&transaction, version, plan).await?;
        let (loaded, unfit) = copy(&transaction, plan, &target, rows, progress).await?;
        crash::point("chunk.copied");
        let marked =
            marks::chunk_done(&transaction, self.grant.task, plan.name(), chunk, loaded).await.map_err(failed)?;
        if !marked {
            let text = format!("Chunk {chunk} of {} has no mark, or is done already.", plan.name());
            return Err(Problem::internal(text).table(plan.name()));
        }
        let counted = unfit.named(std::slice::from_ref(plan));
        unfit::add(&transaction, self.grant.task, Part::Chunk(chunk), &counted).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        self.unfit.add(counted);
        crash::point("chunk.committed");
        Ok(loaded)
    }

    async fn bring_forward(
        &mut self,
        table: &TablePlan,
        stale: &KeySet,
        rows: &mut dyn RowReader,
        to: &Position,
        storage: &str,
    ) -> Result<u64, Problem> {
        let Connected { client, version, .. } = &mut self.connected;
        let to = forward::To { position: to, storage, unfit: &self.unfit };
        let brought = forward::bring(client, *version, &self.grant, table, stale, rows, to).await?;
        Ok(brought.rows)
    }

    async fn finish_table(&mut self, table: &TablePlan) -> Result<(), Problem> {
        finish::table(&mut self.connected.client, &self.grant, table, self.analyzes).await?;
        crash::point("table.finished");
        Ok(())
    }

    async fn complete_table(&mut self, table: &TablePlan) -> Result<(), Problem> {
        finish::complete(&mut self.connected.client, &self.grant, table).await?;
        crash::point("table.completed");
        Ok(())
    }
}

/// Copies all that a reader gives into a table; one COPY for one stream, since each stream has its own header.
pub(crate) async fn copy(
    transaction: &Transaction<'_>,
    plan: &TablePlan,
    target: &TargetTable,
    rows: &mut dyn RowReader,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Loaded, Counts), Problem> {
    let failed =
        |error: tokio_postgres::Error| problem(&error, &format!("copy into {}", plan.target)).table(plan.name());
    let sql = if target.casts() {
        transaction.batch_execute(&statements::create_incoming(target)).await.map_err(failed)?;
        statements::copy_staging(statements::INCOMING)
    } else {
        statements::copy(target)
    };
    let sink: CopyInSink<Bytes> = transaction.copy_in(&sql).await.map_err(failed)?;
    pin_mut!(sink);
    let (mut bytes, mut unfit) = (0, Counts::default());
    // The server takes a stream that ends between two rows for complete, so its trailer is looked for here.
    let mut tail = [0_u8; 2];
    let mut rewriter = (target.rewrites() || target.swallows).then(|| Rewriter::new(&target.columns));
    let mut writer: Option<Writer> = None;
    while let Some(block) = rows.next().await? {
        let piece = match block {
            Block::Stream(piece) => match &mut rewriter {
                Some(rewriter) => rewriter.push(&piece)?,
                None => piece,
            },
            Block::Rows(mut batch) => {
                unfit.add(&target.fitting.alter(plan.id, &mut batch)?);
                let writer = writer.get_or_insert_with(Writer::new);
                for change in batch.changes() {
                    let Some(cells) = batch.new_row(change, target.columns.len()) else { continue };
                    writer.begin(cells.len());
                    for (cell, column) in cells.iter().zip(&target.columns) {
                        writer.cell(&batch, *cell, column)?;
                    }
                }
                writer.take()
            }
        };
        bytes += piece.len() as u64;
        if let Some(last) = piece.last_chunk::<2>() {
            tail = *last;
        } else if let Some(last) = piece.first() {
            tail = [tail[1], *last];
        }
        progress(piece.len() as u64);
        if !piece.is_empty() {
            sink.send(piece).await.map_err(failed)?;
        }
    }
    let came = writer.as_ref().map_or(0, |writer| writer.rows) + rewriter.as_ref().map_or(0, |rewriter| rewriter.rows);
    match writer {
        Some(mut writer) => {
            writer.end();
            sink.send(writer.take()).await.map_err(failed)?;
        }
        // An empty source of rows has not even a header.
        None if bytes == 0 => {
            let mut writer = Writer::new();
            writer.end();
            sink.send(writer.take()).await.map_err(failed)?;
        }
        None if tail != [0xff, 0xff] || rewriter.as_ref().is_some_and(|rewriter| !rewriter.is_complete()) => {
            return Err(Problem::transient("stream-cut", format!("The rows of {} ended too early.", plan.name())));
        }
        None => {}
    }
    let mut rows = sink.finish().await.map_err(failed)?;
    if target.casts() {
        let insert = statements::insert_staged(target, statements::INCOMING);
        rows = transaction.execute(&insert, &[]).await.map_err(failed)?;
    }
    if target.swallows && rows != came {
        return Err(swallowed(plan, came, rows));
    }
    Ok((Loaded { rows, bytes }, unfit))
}

/// A server says of rows that a trigger leaves out only how many it took.
fn swallowed(plan: &TablePlan, came: u64, taken: u64) -> Problem {
    let text = format!(
        "The target took {taken} of {came} rows of {}: a trigger there leaves rows out, and the endpoint's role does not \
         switch it off.",
        plan.name()
    );
    Problem::new(Fault::Data, "rows-swallowed", text)
        .table(plan.name())
        .advice("Disable the trigger, or have it leave none out; then reload the table.")
}
