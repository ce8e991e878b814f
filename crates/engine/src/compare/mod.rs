//! Comparisons: asked for by people, begun by the follower, carried out beside it.
//!
//! 1. [`crate::follow`] makes a view of the source at a position P, applies everything up to P, sets the bookmark to
//!    exactly P, and has the target take a snapshot. Then it goes on.
//! 2. Both sides are read here ([`run`]), each from its snapshot, while the log goes on.
//! 3. What is found is kept in [`Compares`] until whoever asked has it.
//!
//! A comparison whose run ends in the middle (a crash, a restart, another worker) starts over: it changes nothing.

mod difference;
mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use wavemark_domain::Problem;
use wavemark_domain::compare::{CompareOrder, CompareProgress, CompareReport, CompareState, ComparedTable};

pub(crate) use run::{Sides, compare, keys_of};

/// How long a comparison that could not be begun waits for its next try.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// The comparisons that one run was asked for.
#[derive(Clone, Default)]
pub struct Compares {
    state: Arc<Mutex<BTreeMap<i64, Held>>>,
    news: Arc<Notify>,
    /// Woken when one is over, so that it is told at once.
    told: Arc<Notify>,
}

struct Held {
    order: CompareOrder,
    progress: CompareProgress,
    /// Counts changes, and which of them is known to whoever asked.
    version: u64,
    known: u64,
    not_before: Option<Instant>,
}

impl Compares {
    /// Adds what isn't there yet. What is not among `open` was taken back, or is over and known to be.
    pub fn give(&self, orders: Vec<CompareOrder>, open: &[i64]) {
        let mut state = self.state();
        state.retain(|number, _| open.contains(number));
        for order in orders {
            state.entry(order.number).or_insert_with(|| Held {
                order,
                progress: CompareProgress::default(),
                version: 0,
                known: 0,
                not_before: None,
            });
        }
        drop(state);
        self.news.notify_one();
    }

    /// What is known of each.
    #[must_use]
    pub fn reports(&self) -> Vec<CompareReport> {
        let state = self.state();
        let report = |(number, held): (&i64, &Held)| {
            let news = (held.version > held.known).then(|| held.progress.clone());
            CompareReport { number: *number, version: held.version, news }
        };
        state.iter().map(report).collect()
    }

    /// Whoever asked has this report.
    pub fn heard(&self, report: &CompareReport) {
        if let Some(held) = self.state().get_mut(&report.number) {
            held.known = held.known.max(report.version);
        }
    }

    /// Waits until a comparison is over, so that it can be told before the next report is due.
    pub async fn over(&self) {
        self.told.notified().await;
    }

    /// Waits until one can be begun.
    pub(crate) async fn due(&self) {
        loop {
            let now = Instant::now();
            let at = self.state().values().filter(|held| held.waits()).map(|held| held.not_before.unwrap_or(now)).min();
            match at {
                Some(at) if at <= now => return,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.news.notified() => {}
                },
                None => self.news.notified().await,
            }
        }
    }

    /// The first that can be begun.
    pub(crate) fn next(&self) -> Option<CompareOrder> {
        let now = Instant::now();
        let state = self.state();
        let due = |held: &&Held| held.waits() && held.not_before.is_none_or(|at| at <= now);
        state.values().find(due).map(|held| held.order.clone())
    }

    /// Whether it is still asked for.
    pub(crate) fn is_wanted(&self, number: i64) -> bool {
        self.state().contains_key(&number)
    }

    /// Changes what is known of one.
    pub(crate) fn update(&self, number: i64, change: impl FnOnce(&mut CompareProgress)) {
        let mut state = self.state();
        let Some(held) = state.get_mut(&number) else { return };
        change(&mut held.progress);
        held.version += 1;
        if held.progress.state.is_over() {
            self.told.notify_one();
        }
    }

    /// Changes what is known of one of its tables.
    pub(crate) fn update_table(&self, number: i64, at: usize, change: impl FnOnce(&mut ComparedTable)) {
        self.update(number, |progress| {
            if let Some(table) = progress.tables.get_mut(at) {
                change(table);
            }
        });
    }

    /// It could not be begun or went wrong in passing: it is tried again.
    pub(crate) fn postpone(&self, number: i64, problem: Problem) {
        if let Some(held) = self.state().get_mut(&number) {
            held.not_before = Some(Instant::now() + TRY_AGAIN);
        }
        self.update(number, |progress| {
            progress.state = CompareState::Waiting;
            progress.problem = Some(problem);
            progress.tables.clear();
        });
        self.news.notify_one();
    }

    /// It can't be done.
    pub(crate) fn fail(&self, number: i64, problem: Problem) {
        self.update(number, |progress| {
            progress.state = CompareState::Failed;
            progress.problem = Some(problem);
        });
    }

    /// What is in progress starts over: its reader is gone.
    pub(crate) fn start_over(&self) {
        let mut state = self.state();
        for held in state.values_mut().filter(|held| held.progress.state == CompareState::Running) {
            held.progress.state = CompareState::Waiting;
            held.progress.tables.clear();
            held.version += 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<i64, Held>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn waits(&self) -> bool {
        self.progress.state == CompareState::Waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: i64) -> CompareOrder {
        CompareOrder { number, tables: None, sessions: 1, repair: Vec::new() }
    }

    #[test]
    fn news_are_told_until_they_are_known() {
        let compares = Compares::default();
        compares.give(vec![order(1)], &[1]);
        assert_eq!(compares.reports()[0].news, None);
        compares.update(1, |progress| progress.state = CompareState::Running);
        let report = compares.reports().remove(0);
        assert_eq!(report.news.as_ref().unwrap().state, CompareState::Running);
        compares.update(1, |progress| progress.state = CompareState::Done);
        compares.heard(&report);
        let report = compares.reports().remove(0);
        assert_eq!(report.news.as_ref().unwrap().state, CompareState::Done);
        compares.heard(&report);
        assert_eq!(compares.reports()[0].news, None);
        compares.give(Vec::new(), &[]);
        assert!(compares.reports().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_postponed_is_tried_again_later() {
        let compares = Compares::default();
        compares.give(vec![order(1)], &[1]);
        compares.postpone(1, Problem::transient("slow", "too slow"));
        assert_eq!(compares.next(), None);
        let begun = Instant::now();
        compares.due().await;
        assert!(begun.elapsed() >= TRY_AGAIN);
        assert_eq!(compares.next(), Some(order(1)));
    }
}
