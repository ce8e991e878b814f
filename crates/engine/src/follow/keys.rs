//! Foreign keys in the target: made once all tables stand at the bookmark, taken off from tables that are parked.

use std::time::Duration;

use tokio::time::Instant;
use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, TableId};

use super::Follower;
use crate::attempt::Stop;
use crate::load::make_foreign_keys;

/// After how long it is tried again where somebody else uses the tables.
const AGAIN: Duration = Duration::from_secs(30);

impl Follower<'_> {
    /// Foreign keys hold once the log has passed every table's load, and not before.
    pub(super) async fn make_due_keys(&mut self) -> Result<(), Stop> {
        if self.keys_due && !self.streaming && self.tables.all_live() {
            self.keys_due = false;
            let tables = &self.tables;
            make_foreign_keys(self.run, &self.plan, self.session, |table| tables.is_live(table.id)).await?;
        }
        Ok(())
    }

    /// A parked table stands still while those that it is tied to go on: soon the keys between them can't hold. What
    /// is only followed has keys that are not ours, and no reload that would make them again.
    pub(super) fn expect_keys_in_the_way(&mut self) {
        if self.run.task.kind.loads() {
            self.keys_in_the_way = Some(Instant::now());
        }
    }

    /// Takes foreign keys off from parked tables, and names them.
    pub(super) async fn release_keys(&mut self) -> Result<(), Stop> {
        let is_parked = |table: &TableId| self.tables.is_parked(*table);
        let parked: Vec<TableId> = self.plan.iter().map(|table| table.id).filter(is_parked).collect();
        self.keys_in_the_way = None;
        if parked.is_empty() {
            return Ok(());
        }
        let dropped = match self.session.release_keys(&self.plan, &parked).await {
            Ok(dropped) => dropped,
            // Nobody is stopped for a key: without the right to drop it, what it ties to the table fails on it at most.
            Err(problem) if matches!(problem.fault, Fault::Settings | Fault::Data) => {
                self.run.status.problem(Severity::Warning, &problem);
                return Ok(());
            }
            Err(problem) => return Err(problem.into()),
        };
        let Some(dropped) = dropped else {
            let text = "Foreign keys of parked tables stay for now, because somebody else uses the tables in the target: \
                rows of tables that they tie to a parked one may be refused";
            self.run.status.event(Severity::Warning, "foreign-keys-kept", text);
            self.keys_in_the_way = Some(Instant::now() + AGAIN);
            return Ok(());
        };
        if !dropped.is_empty() {
            let text = format!(
                "While a table is parked, foreign keys between it and others can't hold. Dropped until it is reloaded: {}",
                dropped.join(", ")
            );
            self.run.status.event(Severity::Warning, "foreign-keys-dropped", text);
        }
        Ok(())
    }
}
