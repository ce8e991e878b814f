//! Checks that a wave puts off, where the role may not switch constraints off: had done before a statement that the server
//! refuses while they are pending (TRUNCATE, ALTER TABLE).
//!
//! The source refused it likewise, so at that place its own rows stood the checks. Those of other tables stay put off: the
//! source may have put them off, too.

use wavemark_domain::{Problem, TableId};

use super::pipeline::Task;
use super::statements::PUT_OFF;
use super::wave::Waves;

/// Constraints that may be put off and whose checks are of rows of these tables.
const NAMES: &str = "\
    SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I', n.nspname, k.conname), ', ') \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace \
    JOIN pg_catalog.unnest($1::text[]) t (name) ON pg_catalog.to_regclass(t.name) IN (k.conrelid, k.confrelid) \
    WHERE k.condeferrable";

impl Waves {
    /// Has the checks done that are put off of these tables' rows. Later ones are put off as before.
    pub(super) async fn check_now(&mut self, tables: &[TableId]) -> Result<(), Problem> {
        if self.replica || self.checks_at_once() {
            return Ok(());
        }
        self.learn(tables.iter().copied()).await?;
        self.drain().await?;
        let task = Task { verb: "check rows of", table: tables.first().copied(), rows: None };
        let names = tables.iter().map(|table| Ok(self.target(*table)?.name.clone()));
        let names = names.collect::<Result<Vec<_>, Problem>>()?;
        let row = self.client.query_one(NAMES, &[&names]).await.map_err(|error| task.failed(&error, &self.plan))?;
        let Some(constraints) = row.get::<_, Option<String>>(0) else { return Ok(()) };
        self.execute(&format!("SET CONSTRAINTS {constraints} IMMEDIATE; {PUT_OFF}"), task).await
    }
}
