//! Applying a run of changes as sets: netted by key, then deletes, updates and inserts, each by the method that its
//! size calls for.

use std::sync::Arc;

use wavemark_domain::{Batch, Change, ChangeKind, Fault, Problem, TableId};
use wavemark_netting::{Layout, NetRow, NetTable, net};

use super::apply::{Single, Verb, single_task};
use super::pipeline::{Param, Task};
use super::sets::{ARRAYS_FROM, COPY_FROM, Method, arrays, pieces};
use super::staged::group_number;
use super::statements::{self, Rows};
use super::wave::{SAVEPOINT, Waves};

/// The savepoint before a table that goes apart.
const OF_TABLE: &str = "wavemark_table";

impl Waves {
    /// Nets the run and applies each table's sets without waiting in between; where a unique value is in the way, all is
    /// taken back and that table goes by itself.
    ///
    /// `first` says that the wave has nothing before it.
    pub(super) async fn by_sets(
        &mut self,
        batch: &Batch,
        rows: Vec<(usize, &Change)>,
        first: bool,
    ) -> Result<(), Problem> {
        self.large =
            rows.iter().filter(|(_, change)| self.is_large(batch, change)).map(|(_, change)| change.table).collect();
        let nets = {
            let known = &self.tables;
            net(batch, rows.iter().copied(), |id| {
                known.get(&id).map_or(Layout { columns: 0, key: &[] }, |known| Layout {
                    columns: known.target.columns.len(),
                    key: &known.target.key,
                })
            })
        };
        // What is before the savepoint is not taken back with what follows, so it must have gone well.
        if !first {
            self.drain().await?;
        }
        self.set_savepoint().await;
        loop {
            let fresh = self.fresh_staging();
            match self.tables(batch, &nets).await {
                Ok(()) => return Ok(()),
                Err(problem) => {
                    let Some(table) = self.collided(&problem, &nets) else { return Err(problem) };
                    self.collides.insert(table);
                    self.go_back(SAVEPOINT, fresh).await?;
                }
            }
        }
    }

    /// The table that only another order may help, if it has not been given one yet.
    fn collided(&self, problem: &Problem, nets: &[NetTable]) -> Option<TableId> {
        let name = problem.table.as_ref().filter(|_| is_collision(problem))?;
        let plan = self.plan.iter().find(|plan| plan.name() == name)?;
        let here = nets.iter().any(|net| net.table == plan.id);
        (here && !self.collides.contains(&plan.id)).then_some(plan.id)
    }

    async fn tables(&mut self, batch: &Batch, nets: &[NetTable]) -> Result<(), Problem> {
        let mut to_copy = Vec::new();
        for net in nets {
            let applied = if net.ordered || self.must_keep_order(net) {
                self.in_order(batch, net).await
            } else if self.collides.contains(&net.table) {
                self.apart(batch, net).await
            } else {
                to_copy.push(net);
                self.changes(batch, net).await
            };
            self.or_earlier(applied).await?;
        }
        // Each waits for what was sent before.
        for net in to_copy {
            let copied = self.copies(batch, net).await;
            self.or_earlier(copied).await?;
        }
        self.drain().await
    }

    /// What was sent before belongs to a failure, and says more of it.
    async fn or_earlier(&mut self, outcome: Result<(), Problem>) -> Result<(), Problem> {
        match outcome {
            Ok(()) => Ok(()),
            Err(problem) => self.drain().await.and(Err(problem)),
        }
    }

    /// The sets of a table whose unique values go from row to row now and then: by themselves, so that the source's order
    /// can be taken instead.
    async fn apart(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        let set = format!("SAVEPOINT {OF_TABLE}");
        self.execute(&set, Task::wave("set a savepoint")).await?;
        let fresh = self.fresh_staging();
        let applied = match self.changes(batch, net).await {
            Ok(()) => self.copies(batch, net).await,
            failed => failed,
        };
        match self.or_earlier(applied).await.and(self.drain().await) {
            Err(problem) if is_collision(&problem) => {
                self.go_back(OF_TABLE, fresh).await?;
                self.in_order(batch, net).await
            }
            other => other,
        }
    }

    async fn go_back(&mut self, savepoint: &str, fresh: usize) -> Result<(), Problem> {
        self.forget_staging(fresh);
        let back = format!("ROLLBACK TO SAVEPOINT {savepoint}");
        self.execute(&back, Task::wave("go back to a savepoint")).await
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

    /// Deletes, then updates, then inserts, if these don't go by COPY.
    async fn changes(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
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

    /// How a table's inserts go, and into which columns.
    fn method_of_inserts(&self, net: &NetTable) -> Result<(Method, Vec<usize>), Problem> {
        let columns: Vec<usize> = (0..self.target(net.table)?.columns.len()).collect();
        let rows = net.inserts.len();
        let method = self.method(net.table, rows, &columns)?;
        Ok((if rows >= COPY_FROM && self.force.is_none() { Method::Staged } else { method }, columns))
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
            Method::Arrays => self.by_arrays(batch, net, rows, None, task).await,
            Method::Staged => {
                let staging = self.staging(net.table)?.to_owned();
                let sql = statements::delete_set(self.target(net.table)?, &Rows::Staged(&staging, -1));
                self.set(sql, Vec::new(), task).await
            }
        }
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
            Method::Arrays => self.by_arrays(batch, net, rows, Some(set), task).await,
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
        let (method, all) = self.method_of_inserts(net)?;
        match method {
            Method::Singles => {
                for row in rows {
                    self.net_single(batch, net, Verb::Insert, *row, &[]).await?;
                }
                Ok(())
            }
            Method::Arrays => {
                let task = Task { verb: "insert rows into", table: Some(net.table), rows: None };
                for piece in pieces(batch, net, rows, &all) {
                    let target = self.target(net.table)?;
                    let params = arrays(batch, target, net, piece, false, &all)?;
                    let sql = statements::insert_set(target);
                    self.set(sql, params, Task { rows: Some(piece.len() as u64), ..task }).await?;
                }
                Ok(())
            }
            Method::Staged => Ok(()),
        }
    }

    /// Inserts that go by COPY.
    async fn copies(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        if self.method_of_inserts(net)?.0 != Method::Staged {
            return Ok(());
        }
        self.copy(batch, net.table, net.inserts.iter().map(|row| net.cells(batch, *row))).await
    }

    /// Updates `set` of rows, or deletes them.
    async fn by_arrays(
        &mut self,
        batch: &Batch,
        net: &NetTable,
        rows: &[NetRow],
        set: Option<&[usize]>,
        task: Task,
    ) -> Result<(), Problem> {
        let columns = set.unwrap_or_default();
        for piece in pieces(batch, net, rows, columns) {
            let target = self.target(net.table)?;
            let params = arrays(batch, target, net, piece, true, columns)?;
            let sql = match set {
                Some(set) => statements::update_set(target, set, &Rows::Arrays),
                None => statements::delete_set(target, &Rows::Arrays),
            };
            self.set(sql, params, Task { rows: Some(piece.len() as u64), ..task }).await?;
        }
        Ok(())
    }

    pub(super) async fn net_single(
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

    pub(super) async fn set(&mut self, sql: String, params: Vec<Param>, task: Task) -> Result<(), Problem> {
        let statement = self.prepare(sql, task).await?;
        self.leave_unread();
        self.pipeline.send(&self.plan, &statement, params, task).await;
        Ok(())
    }
}

/// Whether only another order may be needed.
fn is_collision(problem: &Problem) -> bool {
    problem.fault == Fault::Data && matches!(problem.server_code.as_deref(), Some("23505" | "23P01"))
}
