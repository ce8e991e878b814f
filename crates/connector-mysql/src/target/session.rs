//! The right to write waves and to change tables.

use async_trait::async_trait;
use wavemark_connector::compare::Side;
use wavemark_connector::crash;
use wavemark_connector::source::{Counter, KeySet, RowReader};
use wavemark_connector::target::{Checks, Refused, Segment, Session, Stage, TableMark, Verdict, WaveEnd};
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, Position, Problem, Relayout, TableId, TableName, TablePlan};

use super::fault::problem;
use super::fence::Grant;
use super::table::must_have_key;
use super::wave::Waves;
use super::{careful, counters, foreign_keys, forward, marks, own, prepare, table};
use crate::wire::{Connection, WireError};

/// Two connections: one whose transactions are waves, one for everything else.
pub(crate) struct MysqlSession {
    pub(crate) waves: Waves,
    pub(crate) control: Connection,
    pub(crate) task_name: String,
    /// Whether the server takes LOAD DATA from its clients.
    pub(crate) loads: bool,
    /// The newest wave.
    pub(crate) last: i64,
}

impl MysqlSession {
    fn grant(&self) -> Grant {
        self.waves.grant
    }

    async fn commit_control(&mut self, doing: &str) -> Result<(), Problem> {
        self.control.query("COMMIT").await.map(drop).map_err(|cause| problem(&cause, doing))
    }
}

#[async_trait]
impl Session for MysqlSession {
    async fn attach(&mut self, plan: &[TablePlan]) -> Result<(), Problem> {
        self.waves.attach(plan);
        Ok(())
    }

    async fn begin_table(
        &mut self,
        table: &TablePlan,
        preparation: Preparation,
        mark: &TableMark,
    ) -> Result<(), Problem> {
        let grant = self.grant();
        self.waves.forget([table.id].into_iter());
        prepare::table(&mut self.control, &grant, table, preparation, mark).await?;
        self.waves.tally.forget(table.name());
        crash::point("table.begun");
        Ok(())
    }

    async fn adopt_table(&mut self, table: &TablePlan, mark: &TableMark) -> Result<(), Problem> {
        let (grant, doing) = (self.grant(), format!("take over table {}", table.target));
        let failed = |cause: WireError| problem(&cause, &doing).table(table.name());
        let target = table::read(&mut self.control, table).await?;
        must_have_key(table, &target)?;
        grant.begin(&mut self.control, &doing).await?;
        marks::put(&mut self.control, grant.task, table, mark, (false, true)).await.map_err(failed)?;
        self.commit_control(&doing).await?;
        self.waves.tally.forget(table.name());
        Ok(())
    }

    async fn park_table(&mut self, table: &TablePlan, at: &Position, reason: &Problem) -> Result<(), Problem> {
        let (grant, doing) = (self.grant(), format!("park table {}", table.target));
        let failed = |cause: WireError| problem(&cause, &doing).table(table.name());
        grant.begin(&mut self.control, &doing).await?;
        self.control.query(&marks::park(grant.task, table, at, reason)).await.map_err(failed)?;
        self.commit_control(&doing).await
    }

    async fn leave_behind(&mut self, table: &TableName, at: &Position, reason: &Problem) -> Result<(), Problem> {
        let (grant, doing) = (self.grant(), format!("leave {table} behind"));
        let failed = |cause: WireError| problem(&cause, &doing).table(table);
        grant.begin(&mut self.control, &doing).await?;
        let stage = Stage::Parked(Box::new(reason.clone()));
        marks::set_stage(&mut self.control, grant.task, table, &stage).await.map_err(failed)?;
        marks::set_position(&mut self.control, grant.task, table, at, "").await.map_err(failed)?;
        self.commit_control(&doing).await
    }

    async fn finish_load(&mut self, plan: &[TablePlan]) -> Result<Vec<Problem>, Problem> {
        let grant = self.grant();
        let loaded = marks::complete(&mut self.control, grant.task, plan).await;
        let loaded = loaded.map_err(|cause| problem(&cause, "read which tables of the target are loaded"))?;
        let mut left = foreign_keys::make(&mut self.control, plan, &loaded).await?;
        left.extend(own::make(&mut self.control, &loaded).await?);
        Ok(left)
    }

    /// Foreign keys are off in every session of ours, so none is in the way of anything.
    async fn release_keys(&mut self, _plan: &[TablePlan], _parked: &[TableId]) -> Result<Option<Vec<String>>, Problem> {
        Ok(Some(Vec::new()))
    }

    async fn raise_counters(&mut self, plan: &[TablePlan], counters: &[Counter]) -> Result<(), Problem> {
        let grant = self.grant();
        counters::raise(&mut self.control, &grant, plan, counters).await
    }

    async fn apply(&mut self, _plan: &[TablePlan], segment: &Segment<'_>) -> Result<(), Problem> {
        self.waves.apply(segment).await
    }

    async fn alter(&mut self, _plan: &[TablePlan], before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
        self.waves.alter(before, next).await
    }

    async fn end_table(&mut self, table: &TablePlan, drop: bool) -> Result<Option<Vec<String>>, Problem> {
        if drop {
            prepare::must_be_ours(&mut self.control, self.waves.grant.task, table).await?;
        }
        self.waves.end_table(table, drop).await?;
        Ok(Some(Vec::new()))
    }

    async fn apply_carefully(
        &mut self,
        plan: &[TablePlan],
        segment: &Segment<'_>,
        _checks: Checks,
        verdict: &mut (dyn for<'p> FnMut(Refused<'p>) -> Verdict + Send),
    ) -> Result<(), Problem> {
        let context = careful::Context { task_name: &self.task_name, wave: self.last + 1 };
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
        forward::replace(&mut self.control, &grant, self.loads, table, keys, (rows, &self.waves.tally)).await
    }

    async fn side(&mut self, _sessions: u16, _position: &Position) -> Result<Box<dyn Side>, Problem> {
        let text = "The tables of a MySQL target can't be compared yet.";
        Err(Problem::new(Fault::Data, "compare-unsupported", text))
    }
}
