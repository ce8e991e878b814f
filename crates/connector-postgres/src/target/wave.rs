//! Waves on one connection: begin with the fence, apply, commit with the bookmark.
//!
//! A small wave is one exchange: BEGIN, the fence, its changes, the bookmark and COMMIT are sent without waiting for
//! an answer. That is safe because each of its statements fails by itself when it does not do what it must, and a
//! COMMIT after a failed statement takes everything back. Where answers must be read to know that (row counts of
//! larger runs), they are read before COMMIT is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use tokio_postgres::{Client, Statement};
use wavemark_connector::crash;
use wavemark_connector::target::{Segment, WaveEnd};
use wavemark_connector::unfit::{self, Counted, Counts, Tally};
use wavemark_domain::{Batch, Change, ChangeKind, Problem, TableId, TableName, TablePlan};
use wavemark_netting::{Run, runs};

use super::apply::{Prepared, Single, Verb, single_task};
use super::fence::Grant;
use super::foreign_keys;
use super::pipeline::{Param, Pipeline, Task};
use super::sets::{LARGE, Method, SCANS};
use super::statements;
use super::table::{self, TargetTable};
use super::unfit::Part;

/// Up to how many changes go one by one in the source's order.
const SINGLES: usize = 100;
/// Up to how many changes check themselves, so that COMMIT need not wait for their answers.
const GUARDED: usize = 64;
/// The savepoint before a run that goes by sets.
pub(super) const SAVEPOINT: &str = "wavemark";
/// Of how many tables it is asked at once what they are.
const LEARNT_AT_ONCE: usize = 32;
/// How often old bookmarks are removed, and how many are left.
const SWEEP: i64 = 500;
const BOOKMARKS: i64 = 10;

pub(super) struct Known {
    pub(super) target: TargetTable,
    pub(super) prepared: Prepared,
    /// The staging table, once it is made.
    pub(super) staging: Option<String>,
}

/// The wave that is open.
#[derive(Default)]
struct Open {
    /// Whether answers must be read before COMMIT.
    unread: bool,
    /// Whether it has written exceptions.
    excepted: bool,
    /// Values that had no place and are not counted yet.
    unfit: Counts,
    /// Those that are, and tables that got other names or ended, in order.
    counted: Vec<Count>,
    /// Whether constraints are checked at once, though they may be put off.
    at_once: bool,
    /// Tables whose staging was made in it.
    fresh: Vec<TableId>,
    /// Tables whose staging may have rows.
    staged: BTreeSet<TableId>,
}

/// What becomes of counts with the wave.
enum Count {
    Add(Vec<Counted>),
    Rename(TableName, TableName),
    Forget(TableName),
}

/// The statements that every wave has.
struct Frame {
    begin: Statement,
    hold: Statement,
    /// Where constraints are checked: puts those off that may be. The source may have, and the order within a wave is
    /// not always the source's.
    put_off: Option<Statement>,
    savepoint: Statement,
    progress: Statement,
    sweep: Statement,
    commit: Statement,
}

pub(crate) struct Waves {
    pub(crate) client: Arc<Client>,
    pub(crate) version: i32,
    pub(crate) grant: Grant,
    /// Whether triggers and foreign keys are off.
    pub(crate) replica: bool,
    pub(super) plan: Vec<TablePlan>,
    /// Tables with large values in the run that is applied by sets.
    pub(super) large: BTreeSet<TableId>,
    pub(super) pipeline: Pipeline,
    frame: Option<Frame>,
    pub(super) tables: BTreeMap<TableId, Known>,
    open: Option<Open>,
    /// Tables in which a unique value has stood in the way of sets. They go apart, so that nothing else is done twice.
    pub(super) collides: BTreeSet<TableId>,
    /// How many staging tables the session has made.
    stagings: u32,
    /// What is counted of values that had no place, as far as it is committed.
    pub(crate) tally: Tally,
    /// Method chosen by hand, for tests and measurements.
    pub(crate) force: Option<Method>,
}

impl Waves {
    pub(crate) fn new(client: Arc<Client>, version: i32, grant: Grant, replica: bool) -> Self {
        let pipeline = Pipeline::new(Arc::clone(&client));
        Self {
            client,
            version,
            grant,
            replica,
            plan: Vec::new(),
            large: BTreeSet::new(),
            pipeline,
            frame: None,
            tables: BTreeMap::new(),
            open: None,
            collides: BTreeSet::new(),
            stagings: 0,
            tally: Tally::default(),
            force: None,
        }
    }

    /// Takes the plan.
    pub(crate) fn attach(&mut self, plan: &[TablePlan]) {
        self.plan = plan.to_vec();
    }

    /// Takes a table's next plan.
    pub(super) fn replan(&mut self, next: &TablePlan) {
        self.plan.iter_mut().filter(|table| table.id == next.id).for_each(|table| *table = next.clone());
    }

    /// Forgets what was known of tables that are made anew; between waves.
    pub(crate) async fn forget(&mut self, tables: impl Iterator<Item = TableId>) -> Result<(), Problem> {
        let staging: Vec<String> = tables.filter_map(|table| self.tables.remove(&table)?.staging).collect();
        if staging.is_empty() {
            return Ok(());
        }
        self.execute(&statements::drop_staging(&staging), Task::wave("drop staging tables")).await
    }

    pub(crate) async fn apply(&mut self, segment: &Segment<'_>) -> Result<(), Problem> {
        let mut changes: Vec<(usize, &Change)> = Vec::with_capacity(segment.range.len());
        changes.extend(segment.changes());
        self.learn(changes.iter().map(|(_, change)| change.table)).await?;
        let first = self.open.is_none();
        self.begin().await?;
        match self.altered(segment)? {
            None => self.runs(segment.batch, changes, first).await,
            Some((batch, unfit)) => {
                self.count(&unfit);
                self.runs(&batch, batch.changes().iter().enumerate().collect(), first).await
            }
        }
    }

    async fn runs(&mut self, batch: &Batch, changes: Vec<(usize, &Change)>, mut first: bool) -> Result<(), Problem> {
        for run in runs(changes.into_iter()) {
            match run {
                Run::Rows(rows) if self.goes_by_sets(batch, &rows) => {
                    self.by_sets(batch, rows, first).await?;
                }
                Run::Rows(rows) => {
                    let guarded = rows.len() <= GUARDED;
                    self.one_by_one(batch, rows.into_iter().map(|(_, change)| change), guarded).await?;
                }
                Run::Truncate(tables) => self.truncate(&tables).await?,
                Run::Barrier(_) => {}
            }
            first = false;
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

    /// Writes what the open wave has counted so far, under the names that tables and columns have until now.
    pub(super) async fn write_counts(&mut self) -> Result<(), Problem> {
        let unfit = self.open.as_mut().map(|open| std::mem::take(&mut open.unfit)).unwrap_or_default();
        if unfit.is_empty() {
            return Ok(());
        }
        self.drain().await?;
        let (counted, task) = (unfit.named(&self.plan), Task::wave("count values that had no place"));
        let added = super::unfit::add(&*self.client, self.grant.task, Part::Rest, &counted).await;
        added.map_err(|error| task.failed(&error, &self.plan))?;
        self.note_count(Count::Add(counted));
        Ok(())
    }

    /// Counts go by the next name of a table from here on.
    pub(super) fn counts_go_by(&mut self, before: &TablePlan, next: &TablePlan) {
        if before.name() != next.name() {
            self.note_count(Count::Rename(before.name().clone(), next.name().clone()));
        }
    }

    /// A table has ended, and its counts with it.
    pub(super) fn counts_end(&mut self, table: &TablePlan) {
        self.note_count(Count::Forget(table.name().clone()));
    }

    fn note_count(&mut self, count: Count) {
        if let Some(open) = &mut self.open {
            open.counted.push(count);
        }
    }

    fn tell_counts(&self, counted: Vec<Count>) {
        for count in counted {
            match count {
                Count::Add(counted) => self.tally.add(counted),
                Count::Rename(from, to) => self.tally.rename(&from, &to),
                Count::Forget(table) => self.tally.forget(&table),
            }
        }
    }

    /// Without the right to switch foreign keys off, the source's order is the only one that they allow. Tables that are
    /// too wide to be staged go change by change, too.
    pub(super) fn goes_by_sets(&self, batch: &Batch, rows: &[(usize, &Change)]) -> bool {
        if self.force == Some(Method::Singles) {
            return false;
        }
        let scans = |change: &Change| {
            change.kind != ChangeKind::Insert
                && self.tables.get(&change.table).is_some_and(|known| known.target.key.is_empty())
        };
        let many_scans = || rows.iter().filter(|(_, change)| scans(change)).nth(SCANS).is_some();
        let known = |change: &Change| self.tables.get(&change.table).map(|known| &known.target);
        let related = |change: &Change| known(change).is_some_and(|target| target.related);
        let too_wide = |change: &Change| known(change).is_some_and(|target| !target.can_be_staged());
        let is_large = || rows.iter().any(|(_, change)| self.is_large(batch, change));
        (rows.len() > SINGLES || self.force.is_some() || many_scans() || is_large())
            && !rows.iter().any(|(_, change)| too_wide(change) || (!self.replica && related(change)))
    }

    /// Whether a change brings a large value.
    pub(super) fn is_large(&self, batch: &Batch, change: &Change) -> bool {
        let width = self.tables.get(&change.table).map_or(0, |known| known.target.columns.len());
        let mut cells = batch.new_row(change, width).into_iter().flatten();
        batch.arena_len() >= LARGE && cells.any(|cell| batch.value(*cell).is_some_and(|value| value.len() >= LARGE))
    }

    /// Reads what tables are at the target, before the pipeline is used.
    pub(crate) async fn learn(&mut self, tables: impl Iterator<Item = TableId>) -> Result<(), Problem> {
        let unknown: BTreeSet<TableId> = tables.filter(|id| !self.tables.contains_key(id)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        self.drain().await?;
        let (client, version, plan, replica) = (&self.client, self.version, &self.plan, self.replica);
        let read = |id| async move {
            let plan = TablePlan::of(plan, id)?;
            if !replica {
                foreign_keys::refuse_acting(client, plan).await?;
            }
            Ok::<_, Problem>((id, table::read(&**client, version, plan).await?))
        };
        let read: Vec<_> = stream::iter(unknown).map(read).buffer_unordered(LEARNT_AT_ONCE).try_collect().await?;
        let known = |(id, target)| (id, Known { target, prepared: Prepared::default(), staging: None });
        self.tables.extend(read.into_iter().map(known));
        Ok(())
    }

    pub(crate) fn target(&self, table: TableId) -> Result<&TargetTable, Problem> {
        self.tables
            .get(&table)
            .map(|known| &known.target)
            .ok_or_else(|| Problem::internal(format!("Table number {table} was not looked up at the target.")))
    }

    pub(crate) async fn begin(&mut self) -> Result<(), Problem> {
        if self.open.is_some() {
            return Ok(());
        }
        if self.frame.is_none() {
            let failed = |error: tokio_postgres::Error| Task::wave("prepare waves").failed(&error, &[]);
            self.frame = Some(frame(&self.client, &self.grant, self.replica).await.map_err(failed)?);
        }
        self.open = Some(Open::default());
        if let Some(frame) = &self.frame {
            self.pipeline.send(&self.plan, &frame.begin, Vec::new(), Task::wave("begin a wave")).await;
            self.pipeline.send(&self.plan, &frame.hold, Vec::new(), Task::wave("take the fence for a wave")).await;
            if let Some(put_off) = &frame.put_off {
                let task = Task::wave("put off what constraints check");
                self.pipeline.send(&self.plan, put_off, Vec::new(), task).await;
            }
        }
        Ok(())
    }

    pub(crate) async fn drain(&mut self) -> Result<(), Problem> {
        if let Some(open) = &mut self.open {
            open.unread = false;
        }
        self.pipeline.drain(&self.plan).await
    }

    /// Sends the savepoint before a run.
    pub(super) async fn set_savepoint(&mut self) {
        if let Some(frame) = &self.frame {
            let task = Task::wave("set a savepoint");
            self.pipeline.send(&self.plan, &frame.savepoint, Vec::new(), task).await;
        }
    }

    /// Answers must be read before COMMIT is sent.
    pub(super) fn leave_unread(&mut self) {
        if let Some(open) = &mut self.open {
            open.unread = true;
        }
    }

    /// Has every constraint of the open wave checked at once from here on.
    pub(crate) async fn check_at_once(&mut self) -> Result<(), Problem> {
        self.execute("SET CONSTRAINTS ALL IMMEDIATE", Task::wave("have constraints checked at once")).await?;
        if let Some(open) = &mut self.open {
            open.at_once = true;
        }
        Ok(())
    }

    pub(super) fn checks_at_once(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.at_once)
    }

    /// The open wave has written exceptions.
    pub(crate) fn note_exception(&mut self) {
        if let Some(open) = &mut self.open {
            open.excepted = true;
        }
    }

    /// The name of a staging table that is about to be made for a table, and goes if the wave does. Names are never
    /// used twice: one that is forgotten is in nobody's way.
    pub(super) fn new_staging(&mut self, table: TableId) -> String {
        if let Some(open) = &mut self.open {
            open.fresh.push(table);
        }
        self.stagings += 1;
        statements::staging_name(self.stagings)
    }

    /// Whether the staging table of a table may have rows of this wave already. From now on it may.
    pub(super) fn stages_again(&mut self, table: TableId) -> bool {
        self.open.as_mut().is_some_and(|open| !open.staged.insert(table))
    }

    /// For how many tables staging was made in this wave.
    pub(super) fn fresh_staging(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.fresh.len())
    }

    /// Runs a statement by itself, after all that was sent.
    pub(crate) async fn execute(&mut self, sql: &str, task: Task) -> Result<(), Problem> {
        self.drain().await?;
        self.client.batch_execute(sql).await.map_err(|error| task.failed(&error, &self.plan))
    }

    /// Sends each change as a statement of its own.
    pub(super) async fn one_by_one<'a>(
        &mut self,
        batch: &Batch,
        changes: impl Iterator<Item = &'a Change>,
        guarded: bool,
    ) -> Result<(), Problem> {
        for change in changes {
            self.single(batch, change, guarded).await?;
        }
        Ok(())
    }

    /// Sends one change.
    pub(crate) async fn single(&mut self, batch: &Batch, change: &Change, guarded: bool) -> Result<(), Problem> {
        let target = self.target(change.table)?;
        let Some(single) = Single::read(batch, change, target)? else { return Ok(()) };
        self.send_single(batch, change.table, &single, guarded).await
    }

    /// Sends what a change is to the server, or what settles it.
    pub(super) async fn send_single(
        &mut self,
        batch: &Batch,
        table: TableId,
        single: &Single<'_>,
        guarded: bool,
    ) -> Result<(), Problem> {
        let params = single.params(batch, self.target(table)?)?;
        // Where triggers don't fire, nothing swallows an insert: it succeeds or fails by itself.
        let sure = self.replica && single.verb == Verb::Insert && !self.target(table)?.swallows;
        let guarded = guarded && !sure && single.verb != Verb::Replace;
        if !guarded && !sure {
            self.leave_unread();
        }
        let task = single_task(table, single.verb);
        if self.prepared(table, single, guarded).is_none() {
            self.drain().await?;
            let client = Arc::clone(&self.client);
            if let Some(known) = self.tables.get_mut(&table) {
                known
                    .prepared
                    .prepare_single(&client, &known.target, single.verb, &single.set, guarded)
                    .await
                    .map_err(|error| task.failed(&error, &self.plan))?;
            }
        }
        if let Some(known) = self.tables.get(&table)
            && let Some(statement) = known.prepared.single(single.verb, &single.set, guarded)
        {
            self.pipeline.send(&self.plan, statement, params, task).await;
        }
        Ok(())
    }

    /// Whether a row is there, as the open wave sees it. Nothing may have failed before.
    pub(super) async fn finds(&mut self, batch: &Batch, table: TableId, single: &Single<'_>) -> Result<bool, Problem> {
        self.drain().await?;
        let target = self.target(table)?;
        let (params, sql) = (single.params(batch, target)?, statements::find(target));
        let task = Task { verb: "look for a row of", table: Some(table), rows: None };
        let statement = self.prepare(sql, task).await?;
        let found =
            self.client.execute_raw(&statement, params).await.map_err(|error| task.failed(&error, &self.plan))?;
        Ok(found > 0)
    }

    /// The statement for a task's table; what was sent is waited for if it must be prepared.
    pub(super) async fn prepare(&mut self, sql: String, task: Task) -> Result<Statement, Problem> {
        let known = |waves: &Self| waves.tables.get(&task.table?)?.prepared.known_set(&sql);
        if let Some(statement) = known(self) {
            return Ok(statement);
        }
        self.drain().await?;
        let known = task.table.and_then(|table| self.tables.get_mut(&table));
        let known = known.ok_or_else(|| Problem::internal("A statement is for a table that was not looked up."))?;
        known.prepared.set(&self.client, sql).await.map_err(|error| task.failed(&error, &self.plan))
    }

    pub(super) fn prepared(&self, table: TableId, single: &Single<'_>, guarded: bool) -> Option<&Statement> {
        self.tables.get(&table)?.prepared.single(single.verb, &single.set, guarded)
    }

    pub(crate) async fn truncate(&mut self, tables: &[TableId]) -> Result<(), Problem> {
        let targets = tables.iter().map(|id| self.target(*id)).collect::<Result<Vec<_>, _>>()?;
        let sql = statements::truncate(&targets).join("; ");
        let task = Task { verb: "truncate", table: tables.first().copied(), rows: None };
        self.check_now(tables).await?;
        self.execute(&sql, task).await
    }

    /// Commits the open wave with its end.
    pub(crate) async fn commit(&mut self, end: &WaveEnd<'_>) -> Result<(), Problem> {
        self.begin().await?;
        self.write_counts().await?;
        let (unread, excepted) = self.open.as_ref().map_or((false, false), |open| (open.unread, open.excepted));
        if unread || excepted || !end.parked.is_empty() {
            self.drain().await?;
        }
        if excepted {
            super::careful::name_position(&self.client, self.grant.task, end).await?;
        }
        for (table, position, reason) in end.parked {
            let plan = TablePlan::of(&self.plan, *table)?;
            super::marks::park(&*self.client, self.grant.task, plan, position, reason)
                .await
                .map_err(|error| Task { verb: "park", table: Some(*table), rows: None }.failed(&error, &self.plan))?;
        }
        crash::point("wave.applied");
        let Some(frame) = &self.frame else { return Ok(()) };
        let task = Task::wave("write the bookmark of a wave");
        self.pipeline.send(&self.plan, &frame.progress, bookmark(end), Task { rows: Some(1), ..task }).await;
        if end.wave.0 % SWEEP == 0 {
            let before = Param(Some((end.wave.0 - BOOKMARKS).to_be_bytes().to_vec().into()));
            self.pipeline.send(&self.plan, &frame.sweep, vec![before], Task::wave("remove old bookmarks")).await;
        }
        self.pipeline.send(&self.plan, &frame.commit, Vec::new(), Task::wave("commit a wave")).await;
        tokio::task::yield_now().await;
        crash::point("wave.commit-sent");
        let done = self.pipeline.drain(&self.plan).await;
        // COMMIT ends the transaction either way: after a failed statement it takes everything back.
        if done.is_err() {
            self.forget_staging(0);
        }
        let open = self.open.take();
        done?;
        self.tell_counts(open.map(|open| open.counted).unwrap_or_default());
        crash::point("wave.committed");
        Ok(())
    }

    /// Staging tables made since then went with the transaction.
    pub(super) fn forget_staging(&mut self, since: usize) {
        for table in self.open.iter_mut().flat_map(|open| open.fresh.drain(since..)) {
            if let Some(known) = self.tables.get_mut(&table) {
                known.staging = None;
            }
        }
    }

    pub(crate) async fn roll_back(&mut self) -> Result<(), Problem> {
        if self.open.is_none() && self.pipeline.is_empty() {
            return Ok(());
        }
        // The error that led here was told already.
        drop(self.drain().await);
        let task = Task::wave("take a wave back");
        let done = self.client.batch_execute("ROLLBACK").await.map_err(|error| task.failed(&error, &self.plan));
        self.forget_staging(0);
        self.open = None;
        done
    }
}

/// On the wire a timestamptz counts microseconds since 2000-01-01 UTC.
const EPOCH: i64 = 946_684_800_000_000;

fn bookmark(end: &WaveEnd<'_>) -> Vec<Param> {
    let bytes = |value: &[u8]| Param(Some(value.to_vec().into()));
    vec![
        bytes(&end.wave.0.to_be_bytes()),
        bytes(end.position.as_bytes()),
        bytes(end.position_text.as_bytes()),
        Param(end.committed_at.map(|at| (at - EPOCH).to_be_bytes().to_vec().into())),
    ]
}

async fn frame(client: &Client, grant: &Grant, replica: bool) -> Result<Frame, tokio_postgres::Error> {
    let Grant { task, epoch, .. } = grant;
    let progress = format!(
        "INSERT INTO wavemark.progress (task, wave, position, position_text, source_committed_at, epoch) \
         VALUES ('{task}', $1::int8, $2::bytea, $3::text, $4::timestamptz, {epoch})"
    );
    // Bounded from below, too: what a snapshot keeps of those removed before would be passed over again each time.
    let span = 2 * SWEEP;
    let sweep = format!(
        "DELETE FROM wavemark.progress WHERE task = '{task}' AND wave >= $1::int8 - {span} AND wave < $1::int8"
    );
    let hold = grant.hold();
    let savepoint = format!("SAVEPOINT {SAVEPOINT}");
    let put_off = async { Ok(if replica { None } else { Some(client.prepare(statements::PUT_OFF).await?) }) };
    let (begin, hold, savepoint, progress, sweep, commit, put_off) = tokio::try_join!(
        client.prepare("BEGIN"),
        client.prepare(&hold),
        client.prepare(&savepoint),
        client.prepare(&progress),
        client.prepare(&sweep),
        client.prepare("COMMIT"),
        put_off,
    )?;
    Ok(Frame { begin, hold, put_off, savepoint, progress, sweep, commit })
}
