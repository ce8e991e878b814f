//! Rows that go by COPY: into the table itself, or into a staging table from which a set statement takes them.
//!
//! A COPY begins when all that was sent is known to have gone well: the driver gives a connection up on which one is
//! refused at its beginning. Its end is one of the pipeline's answers.

use wavemark_domain::{Batch, Cell, Problem, TableId};
use wavemark_netting::NetTable;

use super::apply::Verb;
use super::pipeline::Task;
use super::sets::{Copying, Method, Refused, SCANS};
use super::statements::{self, Plans};
use super::wave::Waves;

impl Waves {
    /// Deletes rows of a table without a key.
    pub(super) async fn take_counted(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        let rows = net.removals();
        if rows <= SCANS && self.force.is_none() {
            for (row, times) in net.deletes.iter().zip(&net.times) {
                for _ in 0..*times {
                    self.net_single(batch, net, Verb::Delete, *row, &[]).await?;
                }
            }
            return self.drain().await;
        }
        let task = Task { verb: "stage changes of", table: Some(net.table), rows: None };
        let mut copying = self.stage_into(net.table, task).await?;
        let target = self.target(net.table)?;
        let staged = async {
            for (row, times) in net.deletes.iter().zip(&net.times) {
                copying.counted(batch, target, *times, net.cells(batch, *row)).await?;
            }
            Ok(())
        };
        let staged = staged.await;
        self.end_copy(copying, staged, task).await?;
        // Not kept prepared: the plan is to fit the number of rows that are staged now.
        let task = Task { verb: "delete rows from", table: Some(net.table), rows: Some(rows as u64) };
        let sql = statements::delete_counted(self.target(net.table)?, self.staging(net.table)?);
        self.execute(&statements::plans("LOCAL", Plans::OneScan), task).await?;
        let found = self.client.execute(&sql, &[]).await.map_err(|error| task.failed(&error, &self.plan))?;
        self.execute(&statements::plans("LOCAL", Plans::ByIndex), task).await?;
        if found == rows as u64 { Ok(()) } else { Err(task.diverged(found, &self.plan)) }
    }

    pub(super) fn staging(&self, table: TableId) -> Result<&str, Problem> {
        self.tables
            .get(&table)
            .and_then(|known| known.staging.as_deref())
            .ok_or_else(|| Problem::internal("A staged set has no staging table."))
    }

    /// Puts all sets that are staged into the staging table, in one COPY.
    pub(super) async fn stage(
        &mut self,
        batch: &Batch,
        net: &NetTable,
        deletes: Method,
        updates: &[(Method, Vec<usize>)],
    ) -> Result<(), Problem> {
        let task = Task { verb: "stage changes of", table: Some(net.table), rows: None };
        if deletes != Method::Staged && updates.iter().all(|(method, _)| *method != Method::Staged) {
            return Ok(());
        }
        let mut copying = self.stage_into(net.table, task).await?;
        let target = self.target(net.table)?;
        let staged = async {
            if deletes == Method::Staged {
                for row in &net.deletes {
                    copying.staged(batch, target, -1, net.key(*row), None).await?;
                }
            }
            for (at, group) in net.updates.iter().enumerate().filter(|(at, _)| updates[*at].0 == Method::Staged) {
                for row in &group.rows {
                    let cells = Some(net.cells(batch, *row));
                    copying.staged(batch, target, group_number(at)?, net.key(*row), cells).await?;
                }
            }
            Ok(())
        };
        let staged = staged.await;
        self.end_copy(copying, staged, task).await
    }

    async fn begin_copy(&mut self, sql: String, task: Task) -> Result<Copying, Problem> {
        let statement = self.prepare(sql, task).await?;
        self.drain().await?;
        Copying::begin(&self.client, &statement).await.map_err(|error| task.failed(&error, &self.plan))
    }

    /// Begins a COPY into the staging table, which is empty.
    async fn stage_into(&mut self, table: TableId, task: Task) -> Result<Copying, Problem> {
        self.make_staging(table, task).await?;
        let sql = statements::copy_staging(self.staging(table)?);
        self.begin_copy(sql, task).await
    }

    /// Sends the end of a COPY. How many rows the server took is its answer.
    async fn end_copy(&mut self, copying: Copying, rows: Result<(), Refused>, task: Task) -> Result<(), Problem> {
        let ended = match rows {
            Ok(()) => copying.end().await.map_err(Refused::Server),
            Err(refused) => Err(refused),
        };
        let answer = ended.map_err(|refused| self.refused(refused, task))?;
        self.leave_unread();
        self.pipeline.expect(answer, task).await;
        Ok(())
    }

    fn refused(&self, refused: Refused, task: Task) -> Problem {
        match refused {
            Refused::Server(error) => task.failed(&error, &self.plan),
            Refused::Here(problem) => problem,
        }
    }

    /// The staging table is emptied by each commit. One left by an earlier staging in this wave is emptied here.
    async fn make_staging(&mut self, table: TableId, task: Task) -> Result<(), Problem> {
        let again = self.stages_again(table);
        if let Ok(name) = self.staging(table) {
            let sql = format!("DELETE FROM {name}");
            return if again { self.execute(&sql, task).await } else { Ok(()) };
        }
        let name = self.new_staging(table);
        let sql = statements::create_staging(self.target(table)?, &name);
        self.execute(&sql, task).await?;
        if let Some(known) = self.tables.get_mut(&table) {
            known.staging = Some(name);
        }
        Ok(())
    }

    /// Copies rows into a table; into one that is wider than they are by way of its staging table.
    pub(super) async fn copy<'c>(
        &mut self,
        batch: &Batch,
        table: TableId,
        rows: impl Iterator<Item = &'c [Cell]> + Send,
    ) -> Result<(), Problem> {
        let task = Task { verb: "copy rows into", table: Some(table), rows: None };
        let casts = self.target(table)?.casts();
        let mut copying = if casts {
            self.stage_into(table, task).await?
        } else {
            self.begin_copy(statements::copy(self.target(table)?), task).await?
        };
        let target = self.target(table)?;
        let mut sent = 0;
        let copied = async {
            for cells in rows {
                if casts {
                    copying.incoming(batch, target, cells).await?;
                } else {
                    copying.row(batch, target, cells).await?;
                }
                sent += 1;
            }
            Ok(())
        };
        let copied = copied.await;
        let task = Task { rows: Some(sent), ..task };
        self.end_copy(copying, copied, task).await?;
        if !casts {
            return Ok(());
        }
        let sql = statements::insert_staged(self.target(table)?, self.staging(table)?);
        self.set(sql, Vec::new(), task).await
    }
}

/// Groups count the sets of columns that updates of one table have in one run.
pub(super) fn group_number(at: usize) -> Result<i16, Problem> {
    i16::try_from(at).map_err(|_| Problem::internal("A run has more than 32,767 sets of updated columns."))
}
