//! Applying a run of changes as sets: netted by key, then deletes, updates and inserts. Rows to delete and to update go into a
//! staging table, from where one statement finds them by the key's index; inserts go straight into the table.
//!
//! Nothing here is ON DUPLICATE KEY UPDATE or REPLACE: those take any unique index for the key, and change or remove another
//! row in silence. A unique value that another row of the run still holds fails the statement; then all is taken back, and the
//! table goes in the source's order.

use wavemark_connector::unfit::Fitting;
use wavemark_domain::{Batch, Change, Fault, Problem, TableId, TablePlan};
use wavemark_netting::{Layout, NetRow, NetTable, net};

use super::apply::{Single, Verb};
use super::feed::{self, Feed};
use super::script::Task;
use super::table::TargetTable;
use super::values::TargetColumn;
use super::wave::Waves;
use super::{create, statements};
use crate::sql::quoted;

/// From how many rows on a set is worth more than statements of their own.
const STAGED_FROM: usize = 50;
/// From how many rows on inserts go by LOAD DATA, which is two exchanges of its own.
const LOADED_FROM: usize = 1_000;
/// About how many bytes one insert of many rows has.
const INSERT: usize = 256 * 1024;

const SAVEPOINT: &str = "SAVEPOINT wavemark";
const GO_BACK: &str = "ROLLBACK TO SAVEPOINT wavemark";

impl Waves {
    /// Nets the run and applies each table's sets; where a unique value is in the way, all is taken back and that table goes
    /// in the source's order.
    pub(super) async fn by_sets(&mut self, batch: &Batch, rows: &[(usize, &Change)]) -> Result<(), Problem> {
        let nets = {
            let known = &self.tables;
            net(batch, rows.iter().copied(), |id| {
                known.get(&id).map_or(Layout { columns: 0, key: &[] }, |known| Layout {
                    columns: known.target.columns.len(),
                    key: &known.target.key,
                })
            })
        };
        self.execute(SAVEPOINT, Task::wave("set a savepoint")).await?;
        loop {
            let Err(problem) = self.tables(batch, &nets).await else { return Ok(()) };
            let Some(table) = self.collided(&problem, &nets) else { return Err(problem) };
            self.collides.insert(table);
            self.script.clear();
            self.execute(GO_BACK, Task::wave("go back to a savepoint")).await?;
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
        for net in nets {
            if net.ordered || self.collides.contains(&net.table) {
                let changes = net.changes.iter().map(|at| &batch.changes()[*at as usize]);
                self.one_by_one(batch, changes).await?;
            } else {
                self.changes(batch, net).await?;
            }
        }
        self.drain().await
    }

    /// Deletes, then updates, then inserts.
    async fn changes(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        let updates: usize = net.updates.iter().map(|group| group.rows.len()).sum();
        if net.times.is_empty() && net.deletes.len() + updates >= STAGED_FROM {
            self.staged(batch, net).await?;
        } else {
            self.singles(batch, net).await?;
        }
        self.insert(batch, net).await
    }

    /// Rows to delete and to update, each by a statement of its own.
    async fn singles(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        for (at, row) in net.deletes.iter().enumerate() {
            let single = Single::netted(batch, net, Verb::Delete, *row, (&[], net.times.get(at).copied()));
            self.write_single(batch, net.table, &single).await?;
        }
        for group in &net.updates {
            for row in &group.rows {
                let single = Single::netted(batch, net, Verb::Update, *row, (&group.columns, None));
                self.write_single(batch, net.table, &single).await?;
            }
        }
        Ok(())
    }

    /// Rows to delete and to update by way of the staging table.
    async fn staged(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        self.drain().await?;
        let staging = self.staging(net.table).await?;
        self.fill(batch, net, &staging).await?;
        let target = self.target(net.table)?;
        let mut sets = Vec::new();
        if !net.deletes.is_empty() {
            sets.push((
                delete_set(target, &staging),
                Task::rows("delete rows from", net.table, net.deletes.len() as u64),
            ));
        }
        for (at, group) in net.updates.iter().enumerate() {
            let task = Task::rows("update rows of", net.table, group.rows.len() as u64);
            sets.push((update_set(target, &staging, number(at)?, &group.columns), task));
        }
        for (sql, task) in sets {
            self.script.add(task, &sql);
        }
        let empty = format!("DELETE FROM {}", staging.name);
        self.script.add(Task { table: Some(net.table), ..Task::wave("empty the staging table of") }, &empty);
        self.drain().await
    }

    async fn fill(&mut self, batch: &Batch, net: &NetTable, staging: &TargetTable) -> Result<(), Problem> {
        let task = Task::rows("stage rows of", net.table, 0);
        let plan = &self.plan;
        let failed = |cause| task.failed(plan, &cause);
        let mut feed = Feed::begin(&mut self.connection, staging, self.loads).await.map_err(failed)?;
        let mut count = 0;
        for (group, row, has_cells) in staged_rows(net)? {
            let cells = has_cells.then(|| net.cells(batch, row));
            if let Err(problem) = feed.staged(staging, batch, group, net.key(row), cells) {
                drop(feed.end().await);
                return Err(named(self, net.table, problem));
            }
            count += 1;
            feed.flush().await.map_err(failed)?;
        }
        let done = feed.end().await.map_err(failed)?;
        self.judge_rows(net.table, done, count, "stage rows of").await
    }

    /// Inserts: by LOAD DATA if there are many, else by statements of many rows.
    async fn insert(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        if net.inserts.len() >= LOADED_FROM {
            self.drain().await?;
            return self.load(batch, net).await;
        }
        let mut rest = net.inserts.as_slice();
        while !rest.is_empty() {
            rest = self.insert_piece(batch, net, rest).await?;
        }
        Ok(())
    }

    /// Writes one statement of as many rows as it may have; returns the rest.
    async fn insert_piece<'r>(
        &mut self,
        batch: &Batch,
        net: &NetTable,
        rows: &'r [NetRow],
    ) -> Result<&'r [NetRow], Problem> {
        let target = &self.tables[&net.table].target;
        let mut out = statements::insert(target).into_bytes();
        let mut taken = 0;
        let mut outcome = Ok(());
        while taken < rows.len() && out.len() < INSERT && outcome.is_ok() {
            if taken > 0 {
                out.push(b',');
            }
            outcome = statements::row(target, batch, net.cells(batch, rows[taken]), &mut out);
            taken += 1;
        }
        if let Err(problem) = outcome {
            self.drain().await?;
            return Err(named(self, net.table, problem));
        }
        let task = Task::rows("insert rows into", net.table, taken as u64);
        self.script.add_bytes(task, &out);
        if self.script.is_full() {
            self.drain().await?;
        }
        Ok(&rows[taken..])
    }

    async fn load(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        let task = Task::rows("insert rows into", net.table, 0);
        let plan = &self.plan;
        let failed = |cause| task.failed(plan, &cause);
        let target = &self.tables[&net.table].target;
        let mut feed = Feed::begin(&mut self.connection, target, self.loads).await.map_err(failed)?;
        for row in &net.inserts {
            if let Err(problem) = feed.row(target, batch, net.cells(batch, *row)) {
                drop(feed.end().await);
                return Err(named(self, net.table, problem));
            }
            feed.flush().await.map_err(failed)?;
        }
        let done = feed.end().await.map_err(failed)?;
        self.judge_rows(net.table, done, net.inserts.len() as u64, "insert rows into").await
    }

    async fn judge_rows(
        &mut self,
        table: TableId,
        done: crate::wire::Done,
        rows: u64,
        verb: &str,
    ) -> Result<(), Problem> {
        let plan = TablePlan::of(&self.plan, table)?;
        let doing = format!("{verb} {}", plan.target);
        let judged = feed::judge(&mut self.connection, done, rows, &doing).await;
        judged.map_err(|problem| problem.table(plan.name()))
    }

    /// The staging table of a table, made if it is not there; it is empty.
    async fn staging(&mut self, table: TableId) -> Result<TargetTable, Problem> {
        if let Some(staging) = self.tables.get(&table).and_then(|known| known.staging.clone()) {
            return Ok(staging);
        }
        self.stagings += 1;
        let staging = staging_of(self.target(table)?, self.stagings);
        let sql = create::staging_table(&staging.name, &staging.columns);
        let task = Task { table: Some(table), ..Task::wave("make a staging table for") };
        self.execute(&sql, task).await?;
        if let Some(known) = self.tables.get_mut(&table) {
            known.staging = Some(staging.clone());
        }
        Ok(staging)
    }
}

/// Rows to delete, in a group of their own, and rows to update by which columns they set; the latter have new cells.
fn staged_rows(net: &NetTable) -> Result<Vec<(i16, NetRow, bool)>, Problem> {
    let mut rows: Vec<(i16, NetRow, bool)> = net.deletes.iter().map(|row| (-1, *row, false)).collect();
    for (at, group) in net.updates.iter().enumerate() {
        let at = number(at)?;
        rows.extend(group.rows.iter().map(|row| (at, *row, true)));
    }
    Ok(rows)
}

/// The staging table: the group, the key to find a row by, the new cells.
fn staging_of(target: &TargetTable, number: u32) -> TargetTable {
    let keys = target.key.iter().enumerate().map(|(at, column)| target.columns[*column].staged(format!("k{at}")));
    let cells = target.columns.iter().enumerate().map(|(at, column)| column.staged(format!("c{at}")));
    let columns = std::iter::once(TargetColumn::group()).chain(keys).chain(cells).collect();
    let name = format!("wavemark.{}", quoted(&format!("staging {number}")));
    let fitting = Fitting { width: 0, columns: Vec::new() };
    TargetTable {
        name,
        columns,
        key: Vec::new(),
        fitting,
        has_unique_key: false,
        lax_key: None,
        set_themselves: Vec::new(),
        dialect: target.dialect,
    }
}

/// The rows of the staging table are read, each with a look at the target by its key. The target has no other name here: a
/// statement that deletes by such a name wants a default database.
fn joined(target: &TargetTable, staging: &TargetTable) -> String {
    let on: Vec<String> =
        target.key.iter().enumerate().map(|(at, column)| format!("{} = s.k{at}", of_target(target, *column))).collect();
    format!("{} AS s STRAIGHT_JOIN {} ON {}", staging.name, target.name, on.join(" AND "))
}

fn of_target(target: &TargetTable, column: usize) -> String {
    format!("{}.{}", target.name, quoted(&target.columns[column].name))
}

fn delete_set(target: &TargetTable, staging: &TargetTable) -> String {
    format!("DELETE {} FROM {} WHERE s.g = -1", target.name, joined(target, staging))
}

fn update_set(target: &TargetTable, staging: &TargetTable, group: i16, set: &[usize]) -> String {
    let mut values: Vec<String> = set.iter().map(|at| format!("{} = s.c{at}", of_target(target, *at))).collect();
    let keep = |at| format!("{0} = {0}", of_target(target, at));
    values.extend(statements::kept(target, set).map(keep));
    format!("UPDATE {} SET {} WHERE s.g = {group}", joined(target, staging), values.join(", "))
}

/// Groups count the sets of columns that updates of one table have in one run.
fn number(at: usize) -> Result<i16, Problem> {
    i16::try_from(at).map_err(|_| Problem::internal("A run has more than 32,767 sets of updated columns."))
}

fn named(waves: &Waves, table: TableId, problem: Problem) -> Problem {
    match TablePlan::of(&waves.plan, table) {
        Ok(plan) => problem.table(plan.name()),
        Err(_) => problem,
    }
}

/// Whether only another order may be needed.
fn is_collision(problem: &Problem) -> bool {
    problem.fault == Fault::Data && problem.code == "duplicate-key"
}
