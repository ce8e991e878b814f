//! What tables that are loaded aside need of whoever writes waves: done between two of them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;
use wavemark_connector::source::View;
use wavemark_connector::target::{Stage, TableMark};
use wavemark_domain::TableId;

use super::Follower;
use crate::attempt::Stop;
use crate::load::aside::{Aside, Request};
use crate::load::{begin_or_park, finish_orders, park};

/// The next thing that is asked for; never comes where nothing is loaded aside.
pub(super) async fn request(aside: &mut Option<Aside>) -> Request {
    match aside {
        Some(aside) => aside.request().await,
        None => std::future::pending().await,
    }
}

impl Follower<'_> {
    /// Does what the load aside asks for.
    pub(super) async fn serve(&mut self, request: Request) -> Result<(), Stop> {
        match request {
            Request::Begin { view, tables, reply } => {
                let begun = self.begin_aside(view.as_ref(), tables).await?;
                answer(reply, begun);
            }
            Request::Park { table, at, problem, reply } => {
                park(self.run, &self.plan[table.index()], self.session, &at.position, problem.clone()).await?;
                self.tables.park(table);
                if !self.leaves(table, &problem) {
                    self.expect_keys_in_the_way();
                }
                answer(reply, ());
            }
            Request::Hold { reply } => {
                self.held = true;
                answer(reply, ());
            }
            Request::Release => self.held = false,
            Request::Done => {
                let counters = self.run.source.counters(&self.plan).await?;
                self.session.raise_counters(&self.plan, &counters).await?;
                return Err(Stop::Again);
            }
            Request::Failed(problem) => return Err(problem.into()),
        }
        Ok(())
    }

    /// Makes tables ready to be loaded: from here on the waves leave them out.
    async fn begin_aside(
        &mut self,
        view: &dyn View,
        tables: BTreeMap<TableId, Option<String>>,
    ) -> Result<Vec<TableMark>, Stop> {
        let mut begun = Vec::with_capacity(tables.len());
        for (table, why) in &tables {
            // It was to be parked, if it was, for what it was before.
            self.parks.retain(|(parked, ..)| parked != table);
            let plan = &self.plan[table.index()];
            let mark = begin_or_park(self.run, plan, view, self.session, why.as_deref()).await?;
            match mark.stage {
                Stage::Loading => self.tables.take_aside(*table),
                _ => drop(self.tables.park(*table)),
            }
            if let Stage::Parked(problem) = &mark.stage {
                self.leaves(*table, problem);
            }
            begun.push(mark);
        }
        let asked: BTreeSet<TableId> = tables.into_keys().collect();
        finish_orders(self.run, &asked, &self.plan);
        Ok(begun)
    }
}

/// Whoever asked may be gone; then nobody needs the answer.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}
