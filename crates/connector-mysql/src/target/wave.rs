//! Waves on one connection: begin with the fence, apply, commit with the bookmark.
//!
//! Statements of single changes go many at once ([`Script`]); rows in large numbers go by `sets`. Every answer is read
//! before COMMIT is sent, so nothing is committed of which something failed.

use std::collections::{BTreeMap, BTreeSet};

use wavemark_connector::crash;
use wavemark_connector::target::{Segment, WaveEnd};
use wavemark_connector::unfit::{self, Counts, Tally};
use wavemark_domain::{Batch, Change, Problem, TableId, TableName, TablePlan};
use wavemark_netting::{Run, runs};

use super::apply::Single;
use super::fence::Grant;
use super::marks;
use super::script::{Expect, Script, Task};
use super::table::{self, TargetTable};
use super::unfit::Part;
use crate::sql::quoted_table;
use crate::wire::Connection;

/// Up to how many changes go one by one in the source's order.
const SINGLES: usize = 100;
/// How often old bookmarks are removed, and how many are left.
const SWEEP: i64 = 500;
const BOOKMARKS: i64 = 10;

/// What is known of a table.
pub(super) struct Known {
    pub(super) target: TargetTable,
    /// Its staging table, once it is made.
    pub(super) staging: Option<TargetTable>,
}

/// The wave that is open.
#[derive(Default)]
struct Open {
    /// Whether it has written exceptions.
    excepted: bool,
    /// Values that had no place.
    unfit: Counts,
    /// What it has changed of the names that counts go by: the table before, and its next name if it goes on.
    renamed: Vec<(TableName, Option<TableName>)>,
    /// Statements to run once it is committed. The server commits at each of them, and a crash before them loses no more
    /// than that they are done.
    after: Vec<String>,
}

pub(crate) struct Waves {
    pub(crate) connection: Connection,
    pub(crate) grant: Grant,
    /// Whether the server takes LOAD DATA from its clients.
    pub(super) loads: bool,
    pub(super) plan: Vec<TablePlan>,
    pub(super) tables: BTreeMap<TableId, Known>,
    pub(super) script: Script,
    /// Tables in which a unique value has stood in the way of sets: they go in the source's order.
    pub(super) collides: BTreeSet<TableId>,
    /// How many staging tables the session has made.
    pub(super) stagings: u32,
    open: Option<Open>,
    /// What is counted of values that had no place, as far as it is committed.
    pub(super) tally: Tally,
}

impl Waves {
    pub(crate) fn new(connection: Connection, grant: Grant, loads: bool, tally: Tally) -> Self {
        Self {
            connection,
            grant,
            loads,
            plan: Vec::new(),
            tables: BTreeMap::new(),
            script: Script::default(),
            collides: BTreeSet::new(),
            stagings: 0,
            open: None,
            tally,
        }
    }

    /// Takes the plan.
    pub(crate) fn attach(&mut self, plan: &[TablePlan]) {
        self.plan = plan.to_vec();
        self.tables.clear();
    }

    /// Takes a table's next plan.
    pub(super) fn replan(&mut self, next: &TablePlan) {
        self.plan.iter_mut().filter(|table| table.id == next.id).for_each(|table| *table = next.clone());
    }

    /// Whether a wave is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Forgets what was known of tables that are made anew.
    pub(crate) fn forget(&mut self, tables: impl Iterator<Item = TableId>) {
        for table in tables {
            self.tables.remove(&table);
            self.collides.remove(&table);
        }
    }

    pub(crate) async fn apply(&mut self, segment: &Segment<'_>) -> Result<(), Problem> {
        let mut changes: Vec<(usize, &Change)> = Vec::with_capacity(segment.range.len());
        changes.extend(segment.changes());
        self.learn(changes.iter().map(|(_, change)| change.table)).await?;
        self.begin();
        match self.altered(segment)? {
            None => self.runs(segment.batch, changes).await,
            Some((batch, unfit)) => {
                self.count(&unfit);
                self.runs(&batch, batch.changes().iter().enumerate().collect()).await
            }
        }
    }

    async fn runs(&mut self, batch: &Batch, changes: Vec<(usize, &Change)>) -> Result<(), Problem> {
        for run in runs(changes.into_iter()) {
            match run {
                Run::Rows(rows) if rows.len() > SINGLES => self.by_sets(batch, &rows).await?,
                Run::Rows(rows) => self.one_by_one(batch, rows.into_iter().map(|(_, change)| change)).await?,
                Run::Truncate(tables) => self.truncate(&tables).await?,
                Run::Barrier(_) => {}
            }
        }
        Ok(())
    }

    /// The segment with another value in the place of each that has none, if it has such values. Its tables are known.
    pub(crate) fn altered(&self, segment: &Segment<'_>) -> Result<Option<(Batch, Counts)>, Problem> {
        unfit::altered(segment, |table| self.tables.get(&table).map(|known| &known.target.fitting))
    }

    /// Counts values of the open wave that had no place.
    pub(crate) fn count(&mut self, unfit: &Counts) {
        if let Some(open) = &mut self.open {
            open.unfit.add(unfit);
        }
    }

    /// Reads what tables are at the target.
    pub(crate) async fn learn(&mut self, tables: impl Iterator<Item = TableId>) -> Result<(), Problem> {
        let unknown: BTreeSet<TableId> = tables.filter(|id| !self.tables.contains_key(id)).collect();
        if !unknown.is_empty() {
            self.drain().await?;
        }
        for id in unknown {
            let target = table::read(&mut self.connection, TablePlan::of(&self.plan, id)?).await?;
            self.tables.insert(id, Known { target, staging: None });
        }
        Ok(())
    }

    pub(crate) fn target(&self, table: TableId) -> Result<&TargetTable, Problem> {
        self.tables
            .get(&table)
            .map(|known| &known.target)
            .ok_or_else(|| Problem::internal(format!("Table number {table} was not looked up at the target.")))
    }

    pub(crate) fn begin(&mut self) {
        if self.open.is_some() {
            return;
        }
        self.open = Some(Open::default());
        self.script.add(Task::wave("begin a wave"), "START TRANSACTION");
        let hold = Task { expect: Expect::Fence, ..Task::wave("take the fence for a wave") };
        self.script.add(hold, &self.grant.share());
    }

    /// Has the server do all that was written so far.
    pub(crate) async fn drain(&mut self) -> Result<(), Problem> {
        self.script.run(&mut self.connection, &self.plan).await
    }

    /// Runs a statement by itself, after all that was written.
    pub(crate) async fn execute(&mut self, sql: &str, task: Task) -> Result<(), Problem> {
        self.script.add(task, sql);
        self.drain().await
    }

    /// Counts go by the next name of a table from the open wave on.
    pub(super) fn counts_go_by(&mut self, before: &TablePlan, next: &TablePlan) {
        let names = (before.name().clone(), Some(next.name().clone()));
        if let Some(open) = self.open.as_mut().filter(|_| before.name() != next.name()) {
            open.renamed.push(names);
        }
    }

    /// The open wave has written exceptions.
    pub(crate) fn note_exception(&mut self) {
        if let Some(open) = &mut self.open {
            open.excepted = true;
        }
    }

    /// Writes each change as a statement of its own.
    pub(super) async fn one_by_one<'a>(
        &mut self,
        batch: &Batch,
        changes: impl Iterator<Item = &'a Change>,
    ) -> Result<(), Problem> {
        for change in changes {
            self.single(batch, change).await?;
        }
        Ok(())
    }

    /// Writes one change.
    pub(crate) async fn single(&mut self, batch: &Batch, change: &Change) -> Result<(), Problem> {
        let Some(single) = Single::read(batch, change, self.target(change.table)?)? else { return Ok(()) };
        self.write_single(batch, change.table, &single).await
    }

    pub(super) async fn write_single(
        &mut self,
        batch: &Batch,
        table: TableId,
        single: &Single<'_>,
    ) -> Result<(), Problem> {
        let known = self.tables.get(&table);
        let target = &known.ok_or_else(|| Problem::internal("A change is of a table that was not looked up."))?.target;
        let written = self.script.push(single.task(table), |out| single.write(batch, target, out));
        if let Err(problem) = written {
            // What was written before must still be done: it says whether the wave is sound up to here.
            self.drain().await?;
            return Err(problem.table(TablePlan::of(&self.plan, table)?.name()));
        }
        if self.script.is_full() { self.drain().await } else { Ok(()) }
    }

    /// The server would commit at a TRUNCATE.
    pub(crate) async fn truncate(&mut self, tables: &[TableId]) -> Result<(), Problem> {
        for table in tables {
            let sql = format!("DELETE FROM {}", self.target(*table)?.name);
            let task = Task { verb: "empty", table: Some(*table), expect: Expect::Success };
            self.execute(&sql, task).await?;
        }
        Ok(())
    }

    /// Ends a table that is gone at the source: with the wave its mark goes, after it the table, if that is asked for.
    pub(crate) async fn end_table(&mut self, table: &TablePlan, drop: bool) -> Result<(), Problem> {
        self.begin();
        if let Some(open) = &mut self.open {
            open.unfit.forget(table.id);
            open.renamed.push((table.name().clone(), None));
        }
        let statements = if drop {
            marks::forgotten(self.grant.task, table.name())
        } else {
            marks::superseded(self.grant.task, table.name())
        };
        for sql in &statements {
            self.script.add(Task { table: Some(table.id), ..Task::wave("end table") }, sql);
        }
        self.drain().await?;
        if let Some(open) = self.open.as_mut().filter(|_| drop) {
            open.after.push(format!("DROP TABLE IF EXISTS {}", quoted_table(&table.target)));
        }
        self.forget(std::iter::once(table.id));
        Ok(())
    }

    /// Commits the open wave with its end.
    pub(crate) async fn commit(&mut self, end: &WaveEnd<'_>) -> Result<(), Problem> {
        self.begin();
        let task = self.grant.task;
        if self.open.as_ref().is_some_and(|open| open.excepted) {
            self.script.add(Task::wave("write to wavemark.exceptions"), &super::careful::position(task, end));
        }
        for (table, position, reason) in end.parked {
            let park = marks::park(task, TablePlan::of(&self.plan, *table)?, position, reason);
            self.script.add(Task { table: Some(*table), ..Task::wave("park") }, &park);
        }
        let counted = self.open.as_ref().map(|open| open.unfit.named(&self.plan)).unwrap_or_default();
        if let Some(sql) = super::unfit::add(task, Part::Rest, &counted) {
            self.script.add(Task::wave("count values that had no place"), &sql);
        }
        let write = Task::wave("write the bookmark of a wave");
        self.script.add(write, &marks::insert_bookmark(task, self.grant.epoch, end));
        if end.wave.0 % SWEEP == 0 {
            self.script.add(Task::wave("remove old bookmarks"), &marks::sweep(task, end.wave.0 - BOOKMARKS));
        }
        crash::point("wave.applied");
        self.drain().await?;
        crash::point("wave.commit-sent");
        self.execute("COMMIT", Task::wave("commit a wave")).await?;
        crash::point("wave.committed");
        let Open { renamed, after, .. } = self.open.take().unwrap_or_default();
        self.tally.add(counted);
        for (from, to) in renamed {
            match to {
                Some(to) => self.tally.rename(&from, &to),
                None => self.tally.forget(&from),
            }
        }
        for sql in after {
            // The wave is there, so nothing may fail any more: a table that somebody keeps in use stays, as an earlier load's.
            drop(self.execute(&sql, Task::wave("drop a table that is gone at the source")).await);
        }
        Ok(())
    }

    pub(crate) async fn roll_back(&mut self) -> Result<(), Problem> {
        self.script.clear();
        if self.open.take().is_none() {
            return Ok(());
        }
        self.execute("ROLLBACK", Task::wave("take a wave back")).await
    }
}
