//! Applying a run of changes as sets: netted by key, then deletes, updates and inserts, each by the method that its
//! size calls for.

use std::sync::Arc;

use wavemark_domain::{Batch, Cell, Change, ChangeKind, Fault, Problem, TableId};
use wavemark_netting::{Layout, NetRow, NetTable, net};

use super::apply::{Single, Verb, single_task};
use super::pipeline::{Param, Task};
use super::sets::{ARRAYS_FROM, Copying, Method, Refused, SCANS, arrays};
use super::statements::{self, Plans, Rows};
use super::wave::Waves;

impl Waves {
    /// Nets the run and applies each table's sets; where a unique value is in the way, the source's order instead.
    pub(super) async fn by_sets(&mut self, batch: &Batch, rows: Vec<(usize, &Change)>) -> Result<(), Problem> {
        self.large =
            rows.iter().filter(|(_, change)| self.is_large(batch, change)).map(|(_, change)| change.table).collect();
        let nets = {
            let known = &self.tables;
            net(batch, rows.into_iter(), |id| {
                known.get(&id).map_or(Layout { columns: 0, key: &[] }, |known| Layout {
                    columns: known.target.columns.len(),
                    key: &known.target.key,
                })
            })
        };
        for net in &nets {
            if net.ordered || self.must_keep_order(net) {
                self.in_order(batch, net).await?;
                continue;
            }
            self.execute("SAVEPOINT wavemark", Task::wave("set a savepoint")).await?;
            let fresh = self.fresh_staging();
            let applied = match self.sets(batch, net).await {
                Ok(()) => self.drain().await,
                Err(problem) => {
                    // What was sent before belongs to the failure.
                    let earlier = self.drain().await;
                    earlier.and(Err(problem))
                }
            };
            match applied {
                Ok(()) => {}
                Err(problem) if is_collision(&problem) => {
                    self.forget_staging(fresh);
                    let back = "ROLLBACK TO SAVEPOINT wavemark";
                    self.execute(back, Task::wave("go back to a savepoint")).await?;
                    self.in_order(batch, net).await?;
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    /// An identity that an UPDATE may not set can be among what updates give: it changed, or came with an insert that
    /// netting turns into an update. Without a key netting turns updates into deletes and inserts, which would lose
    /// what the plan doesn't give.
    fn must_keep_order(&self, net: &NetTable) -> bool {
        self.tables.get(&net.table).is_none_or(|known| {
            if known.target.key.is_empty() {
                return known.target.has_more;
            }
            let mut given = net.updates.iter().flat_map(|group| &group.columns);
            given.any(|at| known.target.columns[*at].always)
        })
    }

    /// A table's changes in the source's order: inserts in long runs by COPY, the rest one by one.
    async fn in_order(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        let changes: Vec<&Change> = net.changes.iter().map(|at| &batch.changes()[*at as usize]).collect();
        for run in changes.chunk_by(|a, b| a.kind == b.kind) {
            let by_copy = run.len() >= ARRAYS_FROM || self.large.contains(&net.table);
            if run[0].kind == ChangeKind::Insert && by_copy {
                let width = self.target(net.table)?.columns.len();
                let rows = run.iter().filter_map(|change| batch.new_row(change, width));
                self.copy(batch, net.table, rows).await?;
            } else {
                self.one_by_one(batch, run.iter().copied(), false).await?;
            }
        }
        Ok(())
    }

    /// Deletes, then updates, then inserts.
    async fn sets(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        if !net.times.is_empty() {
            self.take_counted(batch, net).await?;
            return self.insert(batch, net).await;
        }
        let deletes = self.method(net.table, net.deletes.len(), &[])?;
        let mut updates = Vec::with_capacity(net.updates.len());
        for group in &net.updates {
            updates.push((self.method(net.table, group.rows.len(), &group.columns)?, group.columns.clone()));
        }
        self.stage(batch, net, deletes, &updates).await?;
        self.delete(batch, net, deletes).await?;
        for (at, (method, set)) in updates.into_iter().enumerate() {
            self.update(batch, net, at, method, &set).await?;
        }
        self.insert(batch, net).await
    }

    fn method(&self, table: TableId, rows: usize, columns: &[usize]) -> Result<Method, Problem> {
        let is_large = self.large.contains(&table) && !columns.is_empty();
        let table = self.target(table)?;
        Ok(match self.force {
            None if rows > 0 && is_large => Method::Staged,
            Some(Method::Arrays) => Method::of(table, ARRAYS_FROM, columns),
            Some(Method::Staged) if rows > 0 => Method::Staged,
            _ => Method::of(table, rows, columns),
        })
    }

    async fn delete(&mut self, batch: &Batch, net: &NetTable, method: Method) -> Result<(), Problem> {
        let rows = net.deletes.as_slice();
        if rows.is_empty() {
            return Ok(());
        }
        let task = Task { verb: "delete rows from", table: Some(net.table), rows: Some(rows.len() as u64) };
        match method {
            Method::Singles => {
                for row in rows {
                    self.net_single(batch, net, Verb::Delete, *row, &[]).await?;
                }
                Ok(())
            }
            Method::Arrays => {
                let target = self.target(net.table)?;
                let params = arrays(batch, target, net, rows, true, &[])?;
                let sql = statements::delete_set(target, &Rows::Arrays);
                self.set(sql, params, task).await
            }
            Method::Staged => {
                let staging = self.staging(net.table)?.to_owned();
                let sql = statements::delete_set(self.target(net.table)?, &Rows::Staged(&staging, -1));
                self.set(sql, Vec::new(), task).await
            }
        }
    }

    /// Deletes rows of a table without a key.
    async fn take_counted(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
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
        self.make_staging(net.table, task).await?;
        self.drain().await?;
        let staging = self.staging(net.table)?;
        let target = self.target(net.table)?;
        let staged = async {
            let mut copying = Copying::begin(&self.client, &statements::copy_staging(staging)).await?;
            for (row, times) in net.deletes.iter().zip(&net.times) {
                copying.counted(batch, target, *times, net.cells(batch, *row)).await?;
            }
            Ok::<u64, Refused>(copying.end().await?)
        };
        staged.await.map_err(|refused| self.refused(refused, task))?;
        // Not kept prepared: the plan is to fit the number of rows that are staged now.
        let task = Task { verb: "delete rows from", table: Some(net.table), rows: Some(rows as u64) };
        let sql = statements::delete_counted(target, staging);
        self.execute(&statements::plans("LOCAL", Plans::OneScan), task).await?;
        let found = self.client.execute(&sql, &[]).await.map_err(|error| task.failed(&error, &self.plan))?;
        self.execute(&statements::plans("LOCAL", Plans::ByIndex), task).await?;
        if found == rows as u64 { Ok(()) } else { Err(task.diverged(found, &self.plan)) }
    }

    async fn update(
        &mut self,
        batch: &Batch,
        net: &NetTable,
        group: usize,
        method: Method,
        set: &[usize],
    ) -> Result<(), Problem> {
        let rows = net.updates[group].rows.as_slice();
        let task = Task { verb: "update rows of", table: Some(net.table), rows: Some(rows.len() as u64) };
        match method {
            Method::Singles => {
                for row in rows {
                    self.net_single(batch, net, Verb::Update, *row, set).await?;
                }
                Ok(())
            }
            Method::Arrays => {
                let target = self.target(net.table)?;
                let params = arrays(batch, target, net, rows, true, set)?;
                let sql = statements::update_set(target, set, &Rows::Arrays);
                self.set(sql, params, task).await
            }
            Method::Staged => {
                let staging = self.staging(net.table)?.to_owned();
                let rows = Rows::Staged(&staging, group_number(group)?);
                let sql = statements::update_set(self.target(net.table)?, set, &rows);
                self.set(sql, Vec::new(), task).await
            }
        }
    }

    /// Inserts go straight into the table: its own unique key refuses what is there already.
    async fn insert(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        let rows = net.inserts.as_slice();
        let all: Vec<usize> = (0..self.target(net.table)?.columns.len()).collect();
        match self.method(net.table, rows.len(), &all)? {
            _ if rows.is_empty() => Ok(()),
            Method::Singles => {
                for row in rows {
                    self.net_single(batch, net, Verb::Insert, *row, &[]).await?;
                }
                Ok(())
            }
            Method::Arrays => {
                let target = self.target(net.table)?;
                let params = arrays(batch, target, net, rows, false, &all)?;
                let task = Task { verb: "insert rows into", table: Some(net.table), rows: Some(rows.len() as u64) };
                self.set(statements::insert_set(target), params, task).await
            }
            Method::Staged => self.copy(batch, net.table, rows.iter().map(|row| net.cells(batch, *row))).await,
        }
    }

    async fn net_single(
        &mut self,
        batch: &Batch,
        net: &NetTable,
        verb: Verb,
        row: NetRow,
        set: &[usize],
    ) -> Result<(), Problem> {
        let target = self.target(net.table)?;
        let single = Single::netted(batch, net, verb, row, set);
        let params = single.params(batch, target)?;
        let task = single_task(net.table, verb);
        self.leave_unread();
        if self.prepared(net.table, &single, false).is_none() {
            self.drain().await?;
            let client = Arc::clone(&self.client);
            if let Some(known) = self.tables.get_mut(&net.table) {
                known
                    .prepared
                    .prepare_single(&client, &known.target, verb, set, false)
                    .await
                    .map_err(|error| task.failed(&error, &self.plan))?;
            }
        }
        if let Some(known) = self.tables.get(&net.table)
            && let Some(statement) = known.prepared.single(verb, set, false)
        {
            self.pipeline.send(&self.plan, statement, params, task).await;
        }
        Ok(())
    }

    async fn set(&mut self, sql: String, params: Vec<Param>, task: Task) -> Result<(), Problem> {
        self.drain().await?;
        let client = Arc::clone(&self.client);
        let Some(known) = task.table.and_then(|table| self.tables.get_mut(&table)) else { return Ok(()) };
        let statement = known.prepared.set(&client, sql).await.map_err(|error| task.failed(&error, &self.plan))?;
        self.leave_unread();
        self.pipeline.send(&self.plan, &statement, params, task).await;
        Ok(())
    }

    fn staging(&self, table: TableId) -> Result<&str, Problem> {
        self.tables
            .get(&table)
            .and_then(|known| known.staging.as_deref())
            .ok_or_else(|| Problem::internal("A staged set has no staging table."))
    }

    /// Puts all sets that are staged into the staging table, in one COPY.
    async fn stage(
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
        self.make_staging(net.table, task).await?;
        self.drain().await?;
        let staging = self.staging(net.table)?;
        let target = self.target(net.table)?;
        let staged = async {
            let mut copying = Copying::begin(&self.client, &statements::copy_staging(staging)).await?;
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
            Ok::<u64, Refused>(copying.end().await?)
        };
        staged.await.map(drop).map_err(|refused| self.refused(refused, task))
    }

    fn refused(&self, refused: Refused, task: Task) -> Problem {
        match refused {
            Refused::Server(error) => task.failed(&error, &self.plan),
            Refused::Here(problem) => problem,
        }
    }

    /// The staging table is emptied by each commit. One left by an earlier staging in this wave is emptied here.
    async fn make_staging(&mut self, table: TableId, task: Task) -> Result<(), Problem> {
        if let Ok(name) = self.staging(table) {
            let sql = format!("DELETE FROM {name}");
            return self.execute(&sql, task).await;
        }
        let name = self.new_staging(table);
        let sql = statements::create_staging(self.target(table)?, &name);
        self.execute(&sql, task).await?;
        if let Some(known) = self.tables.get_mut(&table) {
            known.staging = Some(name);
        }
        Ok(())
    }

    async fn copy<'c>(
        &mut self,
        batch: &Batch,
        table: TableId,
        rows: impl Iterator<Item = &'c [Cell]> + Send,
    ) -> Result<(), Problem> {
        let task = Task { verb: "copy rows into", table: Some(table), rows: None };
        if self.target(table)?.casts() {
            return self.copy_and_cast(batch, table, rows, task).await;
        }
        self.drain().await?;
        let target = self.target(table)?;
        let copied = async {
            let mut sent = 0;
            let mut copying = Copying::begin(&self.client, &statements::copy(target)).await?;
            for cells in rows {
                copying.row(batch, target, cells).await?;
                sent += 1;
            }
            Ok::<(u64, u64), Refused>((sent, copying.end().await?))
        };
        let (sent, taken) = copied.await.map_err(|refused| self.refused(refused, task))?;
        if sent == taken { Ok(()) } else { Err(Task { rows: Some(sent), ..task }.diverged(taken, &self.plan)) }
    }

    /// Copies rows into the staging table, and from there into a table that is wider than they are.
    async fn copy_and_cast<'c>(
        &mut self,
        batch: &Batch,
        table: TableId,
        rows: impl Iterator<Item = &'c [Cell]> + Send,
        task: Task,
    ) -> Result<(), Problem> {
        self.make_staging(table, task).await?;
        self.drain().await?;
        let staging = self.staging(table)?;
        let target = self.target(table)?;
        let copied = async {
            let mut copying = Copying::begin(&self.client, &statements::copy_staging(staging)).await?;
            for cells in rows {
                copying.incoming(batch, target, cells).await?;
            }
            Ok::<u64, Refused>(copying.end().await?)
        };
        let copied = copied.await.map_err(|refused| self.refused(refused, task))?;
        let sql = statements::insert_staged(target, staging);
        let taken = self.client.execute(&sql, &[]).await.map_err(|error| task.failed(&error, &self.plan))?;
        if copied == taken { Ok(()) } else { Err(Task { rows: Some(copied), ..task }.diverged(taken, &self.plan)) }
    }
}

/// Groups count the sets of columns that updates of one table have in one run.
fn group_number(at: usize) -> Result<i16, Problem> {
    i16::try_from(at).map_err(|_| Problem::internal("A run has more than 32,767 sets of updated columns."))
}

/// Whether only another order may be needed.
fn is_collision(problem: &Problem) -> bool {
    problem.fault == Fault::Data && matches!(problem.server_code.as_deref(), Some("23505" | "23P01"))
}
