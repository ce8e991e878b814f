//! The right to write waves and to change tables.

use async_trait::async_trait;
use tokio_postgres::Client;
use wavemark_connector::compare::Side;
use wavemark_connector::crash;
use wavemark_connector::source::{Counter, KeySet, RowReader};
use wavemark_connector::target::{Checks, Refresh, Refused, Segment, Session, Stage, TableMark, Verdict, WaveEnd};
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, Position, Problem, Relayout, TableId, TableName, TablePlan};

use super::create::{self, Before};
use super::fault::problem;
use super::fence::Grant;
use super::wave::Waves;
use super::{careful, counters, enums, foreign_keys, forward, marks, refresh, table};
use crate::client::{Backend, Connected};
use crate::compare::{Origin, PgSide, Place};

/// Two connections: one whose transactions are waves, one for everything else.
pub(crate) struct PgSession {
    pub(crate) waves: Waves,
    pub(crate) control: Connected,
    /// Who the connection for waves is at the server.
    pub(crate) writer: Backend,
    pub(crate) task_name: String,
    /// Whether columns that the source has dropped go from tables that are loaded again.
    pub(crate) drops_columns: bool,
    /// The newest wave.
    pub(crate) last: i64,
    /// Where sessions for a comparison are opened.
    pub(crate) beside: Place,
}

impl PgSession {
    fn grant(&self) -> Grant {
        self.waves.grant
    }
}

/// Made once for all tables and tasks, so that types and schemas that two need are made by one.
const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7813457201128642)";

async fn begin_table(
    client: &mut Client,
    version: i32,
    grant: Grant,
    (plan, drops): (&TablePlan, bool),
    preparation: Preparation,
    mark: &TableMark,
) -> Result<(), Problem> {
    let failed =
        |error: tokio_postgres::Error| problem(&error, &format!("begin table {}", plan.target)).table(plan.name());
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&format!("{}; {LOCK}", grant.share())).await.map_err(failed)?;
    let begun = marks::begun(&transaction, grant.task, plan).await.map_err(failed)?;
    let mut gone = marks::columns_of(&transaction, grant.task, plan).await.map_err(failed)?;
    gone.retain(|name| drops && !plan.columns.iter().any(|column| column.target_name == *name));
    let before = Before {
        gone,
        relation: table::look(&transaction, &plan.target).await.map_err(failed)?,
        made: begun.as_ref().is_some_and(|begun| begun.made),
        written: begun.is_some_and(|begun| begun.written),
    };
    let made = create::prepare(&transaction, grant.task, plan, preparation, before).await?;
    let target = table::read(&transaction, version, plan).await?;
    if !made {
        must_have_key(plan, &target)?;
    }
    marks::put(&transaction, grant.task, plan, mark, made).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// A table that is there already must refuse a second row with the same key, or copies would pass unseen.
pub(super) fn must_have_key(plan: &TablePlan, target: &table::TargetTable) -> Result<(), Problem> {
    if plan.is_keyless() || target.has_unique_key() {
        return Ok(());
    }
    let columns: Vec<&str> = plan.key.iter().map(|at| target.columns[*at].name.as_str()).collect();
    let text = format!(
        "The target table {} has no unique index on ({}) that is checked at once.",
        plan.target,
        columns.join(", ")
    );
    Err(Problem::new(Fault::Data, "table-without-key", text).table(plan.name()).advice(format!(
        "ALTER TABLE {} ADD PRIMARY KEY ({})",
        target.name,
        columns.join(", ")
    )))
}

#[async_trait]
impl Session for PgSession {
    async fn attach(&mut self, plan: &[TablePlan]) -> Result<(), Problem> {
        self.waves.attach(plan);
        enums::add_labels(&self.control.client, plan).await
    }

    async fn begin_table(
        &mut self,
        table: &TablePlan,
        preparation: Preparation,
        mark: &TableMark,
    ) -> Result<(), Problem> {
        let (grant, version) = (self.grant(), self.control.version);
        self.waves.forget([table.id].into_iter()).await?;
        let dropping = (table, self.drops_columns);
        begin_table(&mut self.control.client, version, grant, dropping, preparation, mark).await?;
        self.waves.tally.forget(table.name());
        crash::point("table.begun");
        Ok(())
    }

    async fn adopt_table(&mut self, table: &TablePlan, mark: &TableMark) -> Result<(), Problem> {
        let grant = self.grant();
        let failed = |error: tokio_postgres::Error| {
            problem(&error, &format!("take over table {}", table.target)).table(table.name())
        };
        let version = self.control.version;
        let transaction = self.control.client.transaction().await.map_err(failed)?;
        transaction.batch_execute(&grant.share()).await.map_err(failed)?;
        let target = table::read(&transaction, version, table).await?;
        must_have_key(table, &target)?;
        marks::put(&transaction, grant.task, table, mark, false).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        self.waves.tally.forget(table.name());
        Ok(())
    }

    async fn park_table(&mut self, table: &TablePlan, at: &Position, reason: &Problem) -> Result<(), Problem> {
        let grant = self.grant();
        let failed =
            |error: tokio_postgres::Error| problem(&error, &format!("park table {}", table.target)).table(table.name());
        let transaction = self.control.client.transaction().await.map_err(failed)?;
        transaction.batch_execute(&grant.share()).await.map_err(failed)?;
        marks::park(&transaction, grant.task, table, at, reason).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn leave_behind(&mut self, table: &TableName, at: &Position, reason: &Problem) -> Result<(), Problem> {
        let grant = self.grant();
        let failed = |error: tokio_postgres::Error| problem(&error, &format!("leave {table} behind")).table(table);
        let transaction = self.control.client.transaction().await.map_err(failed)?;
        transaction.batch_execute(&grant.share()).await.map_err(failed)?;
        let stage = Stage::Parked(Box::new(reason.clone()));
        marks::set_stage(&transaction, grant.task, table, &stage).await.map_err(failed)?;
        marks::set_position(&transaction, grant.task, table, at, "").await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn finish_load(&mut self, plan: &[TablePlan]) -> Result<Vec<Problem>, Problem> {
        let grant = self.grant();
        let left = foreign_keys::make(&mut self.control.client, &grant, plan, self.waves.replica).await?;
        // What was known of foreign keys is no longer true.
        self.waves.forget(plan.iter().map(|table| table.id)).await?;
        Ok(left)
    }

    async fn release_keys(&mut self, plan: &[TablePlan], parked: &[TableId]) -> Result<Option<Vec<String>>, Problem> {
        let grant = self.grant();
        let parked: Vec<TablePlan> = parked.iter().map(|table| plan[table.index()].clone()).collect();
        let dropped = foreign_keys::release_parked(&mut self.control.client, &grant, &parked).await?;
        if dropped.as_ref().is_some_and(|keys| !keys.is_empty()) {
            self.waves.forget(plan.iter().map(|table| table.id)).await?;
        }
        Ok(dropped)
    }

    async fn raise_counters(&mut self, plan: &[TablePlan], counters: &[Counter]) -> Result<(), Problem> {
        let grant = self.grant();
        counters::raise(&mut self.control.client, &grant, plan, counters).await
    }

    async fn refresh(&mut self, plan: &[TablePlan], what: Refresh, told: &(dyn Fn(String) + Sync)) -> Vec<Problem> {
        match self.beside.open("refresh").await {
            Ok(client) => {
                let _ending = self.beside.ending(&client);
                refresh::refresh(&client, self.control.version, plan, what, told).await
            }
            Err(problem) => vec![problem],
        }
    }

    async fn apply(&mut self, plan: &[TablePlan], segment: &Segment<'_>) -> Result<(), Problem> {
        debug_assert!(!plan.is_empty(), "the plan was given to attach");
        self.waves.apply(segment).await
    }

    async fn alter(&mut self, _plan: &[TablePlan], before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
        self.waves.alter(before, next).await
    }

    async fn end_table(&mut self, table: &TablePlan, drop: bool) -> Result<Option<Vec<String>>, Problem> {
        self.waves.end_table(table, drop).await
    }

    async fn apply_carefully(
        &mut self,
        plan: &[TablePlan],
        segment: &Segment<'_>,
        checks: Checks,
        verdict: &mut (dyn for<'p> FnMut(Refused<'p>) -> Verdict + Send),
    ) -> Result<(), Problem> {
        let context = careful::Context { task_name: &self.task_name, wave: self.last + 1, checks };
        careful::apply(&mut self.waves, plan, &context, segment, verdict).await
    }

    async fn commit(&mut self, end: &WaveEnd<'_>) -> Result<(), Problem> {
        if end.wave.0 != self.last + 1 {
            let text = format!("Wave {} does not follow wave {}.", end.wave, self.last);
            return Err(Problem::internal(text));
        }
        self.waves.commit(end).await?;
        self.last = end.wave.0;
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), Problem> {
        self.waves.roll_back().await
    }

    async fn replace_rows(
        &mut self,
        table: &TablePlan,
        keys: &KeySet,
        rows: &mut dyn RowReader,
    ) -> Result<u64, Problem> {
        let grant = self.grant();
        forward::replace(&mut self.control, &grant, table, keys, (rows, &self.waves.tally)).await
    }

    async fn side(&mut self, sessions: u16, position: &Position) -> Result<Box<dyn Side>, Problem> {
        let side = PgSide::open(self.beside.clone(), Origin::Target, None, sessions).await?;
        let rows = side.ask(marks::BOOKMARK, &[&self.grant().task]).await?;
        let found = rows.first().map(|row| Position::new(row.get::<_, Vec<u8>>(1)));
        if found.as_ref() != Some(position) {
            let text = "The bookmark in the target is not where it was to be compared.";
            return Err(Problem::transient("bookmark-moved", text));
        }
        Ok(Box::new(side))
    }
}
