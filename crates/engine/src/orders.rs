//! What people ask of single tables of a running task: given by the worker, done between waves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wavemark_domain::{TableOrder, TableWish};

use crate::compare::Compares;

/// The orders of one run. An order that is done is not taken again until it is forgotten.
#[derive(Clone, Default)]
pub struct Orders {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
    /// Comparisons, which are carried out beside the follower.
    pub compares: Compares,
}

#[derive(Default)]
struct State {
    open: BTreeMap<i64, TableOrder>,
    done: BTreeSet<i64>,
    /// Open ones that the attempt at hand is carrying out.
    taken: BTreeSet<i64>,
    /// The number of the drain that is asked for.
    drain: Option<i64>,
    /// Log that is kept, and the budget that it exceeds: tables are to be parked for it.
    for_log: Option<(u64, u64)>,
}

impl State {
    fn has_more(&self) -> bool {
        self.open.keys().any(|number| !self.taken.contains(number))
    }

    fn drop_superseded(&mut self) {
        let last: BTreeMap<_, _> = self.open.values().map(|order| (order.table.clone(), order.number)).collect();
        let superseded = |order: &TableOrder| last[&order.table] != order.number;
        let (old, kept) = std::mem::take(&mut self.open).into_iter().partition(|(_, order)| superseded(order));
        self.open = kept;
        let old: BTreeMap<i64, TableOrder> = old;
        self.done.extend(old.into_keys());
    }
}

impl Orders {
    /// Adds what isn't there yet. Of several for one table the last is what its giver wants now; the others are done.
    pub fn give(&self, orders: Vec<TableOrder>) {
        let mut state = self.state();
        for order in orders {
            if !state.done.contains(&order.number) {
                state.open.insert(order.number, order);
            }
        }
        state.drop_superseded();
        if !state.open.is_empty() {
            self.news.notify_one();
        }
    }

    /// Asks for a drain: that everything that the source has now comes to the target, and then to say so.
    pub fn ask_drain(&self, number: Option<i64>) {
        let Some(number) = number else { return };
        self.state().drain = Some(number);
        self.news.notify_one();
    }

    /// The drain that is asked for, once.
    pub(crate) fn take_drain(&self) -> Option<i64> {
        self.state().drain.take()
    }

    /// Asks for tables to be parked because the source keeps so much log, more than this budget; or no longer.
    pub(crate) fn park_for_log(&self, kept: Option<(u64, u64)>) {
        self.state().for_log = kept;
        if kept.is_some() {
            self.news.notify_one();
        }
    }

    /// Why tables are to be parked for the log, once.
    pub(crate) fn take_for_log(&self) -> Option<(u64, u64)> {
        self.state().for_log.take()
    }

    /// The numbers of those that are done: the target holds what follows from them.
    #[must_use]
    pub fn done(&self) -> Vec<i64> {
        self.state().done.iter().copied().collect()
    }

    /// Forgets orders that whoever gave them knows to be done.
    pub fn forget(&self, done: &[i64]) {
        self.state().done.retain(|number| !done.contains(number));
    }

    /// Those that are open, in the order in which they were given.
    #[cfg(test)]
    fn open(&self) -> Vec<TableOrder> {
        self.state().open.values().cloned().collect()
    }

    /// The open ones of one kind.
    pub(crate) fn wishing(&self, wish: TableWish) -> Vec<TableOrder> {
        self.state().open.values().filter(|order| order.wish == wish).cloned().collect()
    }

    /// Whether one is open that the attempt at hand doesn't carry out.
    pub(crate) fn has_more(&self) -> bool {
        self.state().has_more()
    }

    /// The open ones of one kind, which the attempt at hand carries out from now on.
    pub(crate) fn take(&self, wish: TableWish) -> Vec<TableOrder> {
        let orders = self.wishing(wish);
        self.state().taken = orders.iter().map(|order| order.number).collect();
        orders
    }

    /// An order is done.
    pub(crate) fn finish(&self, number: i64) {
        let mut state = self.state();
        state.open.remove(&number);
        state.done.insert(number);
    }

    /// Waits until an order is open that nobody carries out, or a drain or parking for the log is asked for.
    pub(crate) async fn news(&self) {
        while self.has_none() {
            self.news.notified().await;
        }
    }

    fn has_none(&self) -> bool {
        let state = self.state();
        !state.has_more() && state.drain.is_none() && state.for_log.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use wavemark_domain::TableName;

    use super::*;

    fn order(number: i64) -> TableOrder {
        TableOrder { number, table: TableName::new("s", format!("t{number}")), wish: TableWish::Reload }
    }

    #[test]
    fn the_last_order_for_a_table_counts() {
        let orders = Orders::default();
        let park = TableOrder { wish: TableWish::Park, ..order(1) };
        let reload = TableOrder { number: 2, ..order(1) };
        orders.give(vec![park, reload.clone(), order(3)]);
        assert_eq!(orders.open(), [reload, order(3)]);
        assert_eq!(orders.done(), [1]);
    }

    #[test]
    fn an_order_that_is_done_is_not_taken_again_while_its_giver_repeats_it() {
        let orders = Orders::default();
        orders.give(vec![order(1), order(2)]);
        orders.finish(1);
        orders.give(vec![order(1), order(2)]);
        assert_eq!(orders.open(), [order(2)]);
        assert_eq!(orders.done(), [1]);
        orders.forget(&[1]);
        assert_eq!(orders.done(), Vec::<i64>::new());
    }
}
