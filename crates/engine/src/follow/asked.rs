//! What people ask of a task that follows: done between two waves.

use std::sync::Arc;
use std::time::Duration;

use wavemark_domain::progress::{Drained, Severity};
use wavemark_domain::state::TableState;
use wavemark_domain::{Fault, Problem, TableId, TableName, TableWish, kept_log};

use super::{Follower, aside};
use crate::attempt::Stop;
use crate::hand_over::{self, Moment};
use crate::load::aside::{Aside, Request};
use crate::run::Run;

/// Something to be done between two waves.
pub(super) enum Asked {
    /// What people ask of tables, a drain, or that tables are parked for the log.
    Orders,
    /// The load aside needs something.
    Aside(Box<Request>),
    /// A comparison is to begin.
    Compare,
}

/// The next thing that is asked for. While the bookmark is held, only whoever holds it may ask.
pub(super) async fn next(run: &Run, aside: &mut Option<Aside>, held: bool, may_compare: bool) -> Asked {
    tokio::select! {
        biased;
        () = run.orders.news(), if !held => Asked::Orders,
        request = aside::request(aside) => Asked::Aside(Box::new(request)),
        () = run.orders.compares.due(), if may_compare => Asked::Compare,
    }
}

impl Follower<'_> {
    pub(super) async fn carry_out(&mut self, asked: Asked) -> Result<(), Stop> {
        match asked {
            Asked::Orders => self.obey().await,
            Asked::Aside(request) => self.serve(*request).await,
            Asked::Compare => self.begin_compare().await,
        }
    }

    /// Where one wave ends and the next is at hand already: large transactions that follow each other leave no other gap.
    pub(super) async fn carry_out_what_waits(&mut self) -> Result<(), Stop> {
        loop {
            let (held, may_compare) = (self.held, self.may_compare());
            let asked = tokio::select! {
                biased;
                () = self.run.stop.cancelled() => return Err(Stop::Asked),
                asked = next(self.run, &mut self.aside, held, may_compare) => asked,
                () = std::future::ready(()), if !held => return Ok(()),
            };
            self.carry_out(asked).await?;
        }
    }

    /// Does what is asked of single tables: parks here, between two waves; a reload begins with the load.
    async fn obey(&mut self) -> Result<(), Stop> {
        let parks = self.run.orders.wishing(TableWish::Park);
        let mut disturbs = false;
        for order in &parks {
            let Some(table) = self.plan.iter().find(|table| *table.name() == order.table) else { continue };
            let problem = parked_by_hand(&order.table);
            disturbs |= self.loading.contains_key(&table.id);
            if self.tables.is_aside(table.id) {
                // Nothing is said about the rows of a table whose load isn't over.
                self.session.park_table(table, &self.bookmark.position, &problem).await?;
                self.run.status.parked(table, &problem);
                self.tables.park(table.id);
                self.expect_keys_in_the_way();
            } else if !self.tables.is_parked(table.id) {
                self.park(table.id, problem);
            }
        }
        self.park_for_log();
        if !self.parks.is_empty() {
            self.commit_empty(None).await?;
        }
        for order in &parks {
            self.run.orders.finish(order.number);
        }
        if disturbs || self.run.orders.has_more() { Err(Stop::Again) } else { self.begin_drain().await }
    }

    /// Where the source keeps too much log: parks the table that holds the task up, or all if there is no such.
    fn park_for_log(&mut self) {
        let Some((kept, budget)) = self.run.orders.take_for_log() else { return };
        let plan = Arc::clone(&self.plan);
        let followed = || plan.iter().filter(|table| !self.tables.is_left_out(table.id));
        let held_up_by = self.carried.held_up_by.take();
        let named = followed().find(|table| held_up_by.as_ref() == Some(table.name()));
        let parked: Vec<TableId> =
            named.map_or_else(|| followed().map(|table| table.id).collect(), |table| vec![table.id]);
        for table in parked {
            self.park(table, kept_log::parked_for(kept, budget));
        }
    }

    /// Drains after what was asked of tables before: what follows from that belongs to what the target has.
    async fn begin_drain(&mut self) -> Result<(), Stop> {
        // It is asked for again until it is done; the end that counts is that of the first time.
        let known = self.draining.as_ref().map(|(number, _)| *number);
        if let Some(number) = self.run.orders.take_drain().filter(|number| Some(*number) != known) {
            let end =
                self.run.source.log_state(&self.run.task, Some(&self.bookmark.position), Duration::ZERO).await?.end;
            self.draining = Some((number, end));
            self.finish_drain().await?;
        }
        Ok(())
    }

    /// Says that a drain is done once the target has everything up to where the log ended when it was asked for,
    /// tables that are loaded aside included: their load ends this attempt, and the drain is asked for again.
    pub(super) async fn finish_drain(&mut self) -> Result<(), Stop> {
        let is_possible = !self.streaming && !self.held && self.aside.is_none();
        let Some((number, end)) = self.draining.clone().filter(|_| is_possible) else { return Ok(()) };
        if self.bookmark.position < end && self.idle_position.as_ref().is_some_and(|idle| *idle >= end) {
            self.commit_idle().await?;
        }
        if self.bookmark.position < end {
            return Ok(());
        }
        let counters = self.run.source.counters(&self.plan).await?;
        self.session.raise_counters(&self.plan, &counters).await?;
        if hand_over::refresh(self.run, &self.plan, self.session, Moment::Drain).await.is_break() {
            return Ok(());
        }
        self.draining = None;
        let tables = self.run.status.progress().tables;
        let behind = tables.iter().filter(|table| table.state != TableState::Live).count() as u64;
        let drained = Drained { number, position: self.run.source.describe(&end), behind, written_since: false };
        let text = format!("Everything up to {} is in the target and its counters are raised", drained.position);
        self.run.status.event(Severity::Info, "drained", text);
        self.run.status.update(|progress| progress.drained = Some(drained));
        Ok(())
    }
}

fn parked_by_hand(table: &TableName) -> Problem {
    Problem::new(Fault::Data, "parked-by-hand", format!("{table} was parked by a person"))
        .advice("Reload the table to take it up again.")
}
