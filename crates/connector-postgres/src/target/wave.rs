//! Waves on one connection: begin with the fence, apply, commit with the bookmark.
//!
//! A small wave is one exchange: BEGIN, the fence, its changes, the bookmark and COMMIT are sent without waiting for
//! an answer. That is safe because each of its statements fails by itself when it does not do what it must, and a
//! COMMIT after a failed statement takes everything back. Where answers must be read to know that (row counts of
//! larger runs), they are read before COMMIT is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::{Client, Statement};
use wavemark_connector::crash;
use wavemark_connector::target::{Segment, WaveEnd};
use wavemark_domain::{Batch, Change, ChangeKind, Fault, Problem, TableId, TablePlan};
use wavemark_netting::{Layout, NetTable, Run, net, runs};

use super::apply::{Prepared, Single, plan_of, single_task};
use super::fence::Grant;
use super::pipeline::{Param, Pipeline, Task};
use super::sets::{ARRAYS_FROM, Copying, Method, Refused, arrays};
use super::statements::{self, Rows};
use super::table::{self, TargetTable};

/// Up to how many changes go one by one in the source's order.
const SINGLES: usize = 300;
/// Up to how many changes check themselves, so that COMMIT need not wait for their answers.
const GUARDED: usize = 64;
/// How often old bookmarks are removed, and how many are left.
const SWEEP: i64 = 500;
const BOOKMARKS: i64 = 10;

struct Known {
    target: TargetTable,
    prepared: Prepared,
    /// The staging table, once it is made.
    staging: Option<String>,
}

/// The statements that every wave has.
struct Frame {
    begin: Statement,
    hold: Statement,
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
    plan: Vec<TablePlan>,
    pipeline: Pipeline,
    frame: Option<Frame>,
    tables: BTreeMap<TableId, Known>,
    open: bool,
    /// Whether answers must be read before COMMIT.
    unread: bool,
    /// Tables whose staging was made in the open wave.
    fresh: Vec<TableId>,
    /// Whether the open wave has written exceptions.
    pub(crate) excepted: bool,
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
            pipeline,
            frame: None,
            tables: BTreeMap::new(),
            open: false,
            unread: false,
            fresh: Vec::new(),
            excepted: false,
            force: None,
        }
    }

    /// Takes the plan; what was known of tables that are the same stays.
    pub(crate) fn attach(&mut self, plan: &[TablePlan]) {
        let same = |id: &TableId| {
            let of = |plan: &[TablePlan]| plan.iter().find(|table| table.id == *id).cloned();
            of(plan) == of(&self.plan)
        };
        let kept: Vec<TableId> = self.tables.keys().copied().filter(same).collect();
        self.tables.retain(|id, _| kept.contains(id));
        self.plan = plan.to_vec();
    }

    /// Forgets what was known of a table: it is made anew.
    pub(crate) fn forget(&mut self, table: TableId) {
        self.tables.remove(&table);
    }

    pub(crate) async fn apply(&mut self, segment: &Segment<'_>) -> Result<(), Problem> {
        let changes: Vec<(usize, &Change)> = segment.changes().collect();
        self.learn(changes.iter().map(|(_, change)| change.table)).await?;
        self.begin().await?;
        for run in runs(changes.into_iter()) {
            match run {
                Run::Rows(rows) if self.goes_by_sets(&rows) => self.by_sets(segment.batch, rows).await?,
                Run::Rows(rows) => {
                    let guarded = rows.len() <= GUARDED;
                    self.one_by_one(segment.batch, rows.into_iter().map(|(_, change)| change), guarded).await?;
                }
                Run::Truncate(tables) => self.truncate(&tables).await?,
                Run::Barrier(_) => {}
            }
        }
        Ok(())
    }

    /// Without the right to switch foreign keys off, the source's order is the only one that they allow.
    fn goes_by_sets(&self, rows: &[(usize, &Change)]) -> bool {
        if self.force == Some(Method::Singles) {
            return false;
        }
        let related = |change: &Change| self.tables.get(&change.table).is_some_and(|known| known.target.related);
        (rows.len() > SINGLES || self.force.is_some())
            && (self.replica || !rows.iter().any(|(_, change)| related(change)))
    }

    /// Reads what tables are at the target, before the pipeline is used.
    pub(crate) async fn learn(&mut self, tables: impl Iterator<Item = TableId>) -> Result<(), Problem> {
        for id in tables {
            if !self.tables.contains_key(&id) {
                self.drain().await?;
                let target = table::read(&*self.client, self.version, plan_of(&self.plan, id)?).await?;
                self.tables.insert(id, Known { target, prepared: Prepared::default(), staging: None });
            }
        }
        Ok(())
    }

    pub(crate) fn target(&self, table: TableId) -> Result<&TargetTable, Problem> {
        self.tables
            .get(&table)
            .map(|known| &known.target)
            .ok_or_else(|| Problem::internal(format!("Table number {table} was not looked up at the target.")))
    }

    pub(crate) async fn begin(&mut self) -> Result<(), Problem> {
        if self.open {
            return Ok(());
        }
        if self.frame.is_none() {
            let failed = |error: tokio_postgres::Error| Task::wave("prepare waves").failed(&error, &[]);
            self.frame = Some(frame(&self.client, &self.grant).await.map_err(failed)?);
        }
        self.open = true;
        self.unread = false;
        if let Some(frame) = &self.frame {
            self.pipeline.send(&self.plan, &frame.begin, Vec::new(), Task::wave("begin a wave")).await;
            self.pipeline.send(&self.plan, &frame.hold, Vec::new(), Task::wave("take the fence for a wave")).await;
        }
        Ok(())
    }

    pub(crate) async fn drain(&mut self) -> Result<(), Problem> {
        self.unread = false;
        self.pipeline.drain(&self.plan).await
    }

    /// Runs a statement by itself, after all that was sent.
    pub(crate) async fn execute(&mut self, sql: &str, task: Task) -> Result<(), Problem> {
        self.drain().await?;
        self.client.batch_execute(sql).await.map_err(|error| task.failed(&error, &self.plan))
    }

    /// Sends each change as a statement of its own.
    async fn one_by_one<'a>(
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
        let params = single.params(batch, target)?;
        // Rules and triggers can swallow an insert only where they fire.
        let guarded = guarded && !(self.replica && single.verb == super::apply::Verb::Insert);
        self.unread |= !guarded && single.verb != super::apply::Verb::Insert;
        let task = single_task(change.table, single.verb);
        if self.prepared(change.table, &single, guarded).is_none() {
            self.drain().await?;
            let client = Arc::clone(&self.client);
            if let Some(known) = self.tables.get_mut(&change.table) {
                known
                    .prepared
                    .prepare_single(&client, &known.target, single.verb, &single.set, guarded)
                    .await
                    .map_err(|error| task.failed(&error, &self.plan))?;
            }
        }
        if let Some(known) = self.tables.get(&change.table)
            && let Some(statement) = known.prepared.single(single.verb, &single.set, guarded)
        {
            self.pipeline.send(&self.plan, statement, params, task).await;
        }
        Ok(())
    }

    fn prepared(&self, table: TableId, single: &Single<'_>, guarded: bool) -> Option<&Statement> {
        self.tables.get(&table)?.prepared.single(single.verb, &single.set, guarded)
    }

    pub(crate) async fn truncate(&mut self, tables: &[TableId]) -> Result<(), Problem> {
        let targets = tables.iter().map(|id| self.target(*id)).collect::<Result<Vec<_>, _>>()?;
        let sql = statements::truncate(&targets).join("; ");
        let task = Task { verb: "truncate", table: tables.first().copied(), rows: None };
        self.execute(&sql, task).await
    }

    /// Nets the run and applies each table's sets; where a unique value is in the way, the source's order instead.
    async fn by_sets(&mut self, batch: &Batch, rows: Vec<(usize, &Change)>) -> Result<(), Problem> {
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
            if net.ordered || self.must_keep_order(net.table) {
                self.in_order(batch, net).await?;
                continue;
            }
            self.execute("SAVEPOINT wavemark", Task::wave("set a savepoint")).await?;
            let fresh = self.fresh.len();
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

    /// An identity that an UPDATE may not set can come with an insert that netting turns into an update.
    fn must_keep_order(&self, table: TableId) -> bool {
        self.tables.get(&table).is_none_or(|known| {
            let columns = &known.target.columns;
            (0..columns.len()).any(|at| columns[at].always && !known.target.key.contains(&at))
        })
    }

    /// A table's changes in the source's order: inserts in long runs by COPY, the rest one by one.
    async fn in_order(&mut self, batch: &Batch, net: &NetTable) -> Result<(), Problem> {
        let changes: Vec<&Change> = net.changes.iter().map(|at| &batch.changes()[*at as usize]).collect();
        for run in changes.chunk_by(|a, b| a.kind == b.kind) {
            if run[0].kind == ChangeKind::Insert && run.len() >= ARRAYS_FROM {
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
        let deletes = self.method(net.table, net.deletes.len(), &[])?;
        let mut updates = Vec::with_capacity(net.updates.len());
        for group in &net.updates {
            let set = statements::settable(self.target(net.table)?, &group.columns);
            updates.push((self.method(net.table, group.rows.len(), &group.columns)?, set));
        }
        self.stage(batch, net, deletes, &updates).await?;
        self.delete(batch, net, deletes).await?;
        for (at, (method, set)) in updates.into_iter().enumerate() {
            self.update(batch, net, at, method, &set).await?;
        }
        self.insert(batch, net).await
    }

    fn method(&self, table: TableId, rows: usize, columns: &[usize]) -> Result<Method, Problem> {
        let table = self.target(table)?;
        Ok(match self.force {
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
                    self.net_single(batch, net, super::apply::Verb::Delete, *row, &[]).await?;
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
                    self.net_single(batch, net, super::apply::Verb::Update, *row, set).await?;
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
                    self.net_single(batch, net, super::apply::Verb::Insert, *row, &[]).await?;
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
        verb: super::apply::Verb,
        row: wavemark_netting::NetRow,
        set: &[usize],
    ) -> Result<(), Problem> {
        let target = self.target(net.table)?;
        let single = Single::netted(batch, net, verb, row, set);
        let params = single.params(batch, target)?;
        let task = single_task(net.table, verb);
        self.unread = true;
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
        self.unread = true;
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
        let target = self.target(table)?;
        let name = statements::staging_name(target);
        let made = self.tables.get(&table).is_some_and(|known| known.staging.is_some());
        let sql = if made { format!("DELETE FROM {name}") } else { statements::create_staging(target, &name) };
        self.execute(&sql, task).await?;
        if !made {
            self.fresh.push(table);
            if let Some(known) = self.tables.get_mut(&table) {
                known.staging = Some(name);
            }
        }
        Ok(())
    }

    async fn copy<'c>(
        &mut self,
        batch: &Batch,
        table: TableId,
        rows: impl Iterator<Item = &'c [wavemark_domain::Cell]> + Send,
    ) -> Result<(), Problem> {
        let task = Task { verb: "copy rows into", table: Some(table), rows: None };
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

    /// Commits the open wave with its end.
    pub(crate) async fn commit(&mut self, end: &WaveEnd<'_>) -> Result<(), Problem> {
        self.begin().await?;
        if self.unread || !end.parked.is_empty() {
            self.drain().await?;
        }
        for (table, position, reason) in end.parked {
            let plan = plan_of(&self.plan, *table)?;
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
        self.open = false;
        self.unread = false;
        match done {
            Ok(()) => self.fresh.clear(),
            Err(problem) => {
                self.forget_staging(0);
                return Err(problem);
            }
        }
        crash::point("wave.committed");
        Ok(())
    }

    /// Staging tables made since then went with the transaction.
    fn forget_staging(&mut self, since: usize) {
        for table in self.fresh.drain(since..) {
            if let Some(known) = self.tables.get_mut(&table) {
                known.staging = None;
            }
        }
    }

    pub(crate) async fn roll_back(&mut self) -> Result<(), Problem> {
        if !self.open && self.pipeline.is_empty() {
            return Ok(());
        }
        // The error that led here was told already.
        drop(self.drain().await);
        let task = Task::wave("take a wave back");
        let done = self.client.batch_execute("ROLLBACK").await.map_err(|error| task.failed(&error, &self.plan));
        self.open = false;
        self.excepted = false;
        self.forget_staging(0);
        done
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

fn bookmark(end: &WaveEnd<'_>) -> Vec<Param> {
    let bytes = |value: &[u8]| Param(Some(value.to_vec().into()));
    // timestamptz on the wire: microseconds since 2000-01-01 UTC.
    const EPOCH: i64 = 946_684_800_000_000;
    vec![
        bytes(&end.wave.0.to_be_bytes()),
        bytes(end.position.as_bytes()),
        bytes(end.position_text.as_bytes()),
        Param(end.committed_at.map(|at| (at - EPOCH).to_be_bytes().to_vec().into())),
    ]
}

async fn frame(client: &Client, grant: &Grant) -> Result<Frame, tokio_postgres::Error> {
    let Grant { task, epoch, .. } = grant;
    let progress = format!(
        "INSERT INTO wavemark.progress (task, wave, position, position_text, source_committed_at, epoch) \
         VALUES ('{task}', $1::int8, $2::bytea, $3::text, $4::timestamptz, {epoch})"
    );
    let sweep = format!("DELETE FROM wavemark.progress WHERE task = '{task}' AND wave < $1::int8");
    Ok(Frame {
        begin: client.prepare("BEGIN").await?,
        hold: client.prepare(&grant.hold()).await?,
        progress: client.prepare(&progress).await?,
        sweep: client.prepare(&sweep).await?,
        commit: client.prepare("COMMIT").await?,
    })
}
