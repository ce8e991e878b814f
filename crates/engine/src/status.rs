//! What a run tells about itself while it goes on: one shared record that the reporter copies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use wavemark_connector::unfit::Tally;
use wavemark_domain::check::Finding;
use wavemark_domain::progress::{Phase, Severity, TableProgress, TaskEventRecord, TaskProgress};
use wavemark_domain::state::TableState;
use wavemark_domain::{Problem, TableId, TablePlan};

/// How many events wait for the server at most; the oldest are dropped first, with a note.
const EVENTS_KEPT: usize = 1_000;

/// A handle on a run's progress and events. Cheap to clone; never held locked across an await.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    progress: TaskProgress,
    events: Vec<TaskEventRecord>,
    dropped_events: u64,
    pending_since: Option<PendingSince>,
    /// What the target counts of values that had no place.
    unfit: Tally,
}

/// Since when something read is not yet in the target, and how old it was when it was read.
#[derive(Clone, Copy)]
struct PendingSince {
    read_at: Instant,
    age_ms: u64,
}

impl Status {
    /// The progress as of now; lag grows while something is pending.
    #[must_use]
    pub fn progress(&self) -> TaskProgress {
        let inner = self.lock();
        let mut progress = inner.progress.clone();
        for table in &mut progress.tables {
            table.unfit = inner.unfit.of(&table.table);
        }
        if let Some(pending) = inner.pending_since {
            let waited = u64::try_from(pending.read_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            progress.lag_ms = Some(pending.age_ms.saturating_add(waited));
        }
        progress
    }

    /// The events since the last [`Status::forget_events`], oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<TaskEventRecord> {
        self.lock().events.clone()
    }

    /// Drops the oldest events, because the server has them.
    pub fn forget_events(&self, count: usize) {
        let mut inner = self.lock();
        let count = count.min(inner.events.len());
        inner.events.drain(..count);
    }

    /// Changes the progress.
    pub fn update(&self, change: impl FnOnce(&mut TaskProgress)) {
        change(&mut self.lock().progress);
    }

    /// Changes one table's progress.
    pub fn update_table(&self, table: TableId, change: impl FnOnce(&mut TableProgress)) {
        if let Some(progress) = self.lock().progress.tables.get_mut(table.index()) {
            change(progress);
        }
    }

    /// Has the progress say what this target counts of values that had no place.
    pub(crate) fn counts_unfit(&self, tally: Tally) {
        self.lock().unfit = tally;
    }

    /// Says that a new phase begins.
    pub fn phase(&self, phase: Phase) {
        self.update(|progress| progress.phase = phase);
    }

    /// Notes that something happened.
    pub fn event(&self, severity: Severity, code: &str, text: impl Into<String>) {
        self.push(record(severity, code, text.into()));
    }

    /// Notes that something happened to a table.
    pub fn table_event(&self, severity: Severity, code: &str, plan: &TablePlan, text: impl Into<String>) {
        self.push(TaskEventRecord { table: Some(plan.name().clone()), ..record(severity, code, text.into()) });
    }

    /// Notes a problem.
    pub fn problem(&self, severity: Severity, problem: &Problem) {
        self.push(TaskEventRecord {
            table: problem.table.clone(),
            problem: Some(problem.clone()),
            ..record(severity, &problem.code, problem.to_string())
        });
    }

    /// Notes what an assessment found.
    pub(crate) fn found(&self, finding: &Finding) {
        self.push(crate::assess::event(finding, now_micros()));
    }

    /// Puts a table's state, with an event if it changed.
    pub fn table_state(&self, plan: &TablePlan, state: TableState) {
        let mut changed = false;
        self.update_table(plan.id, |table| {
            changed = table.state != state;
            table.state = state;
        });
        if changed {
            let text = format!("{} is {}", plan.name(), state.word());
            self.table_event(Severity::Info, &format!("table-{}", state.word()), plan, text);
        }
    }

    /// Shows a table as parked with its problem.
    pub fn parked(&self, plan: &TablePlan, problem: &Problem) {
        let mut news = false;
        self.update_table(plan.id, |table| {
            news = table.state != TableState::Parked || table.problem.as_ref() != Some(problem);
            table.state = TableState::Parked;
            table.problem = Some(problem.clone());
        });
        if news {
            self.push(TaskEventRecord {
                table: Some(plan.name().clone()),
                problem: Some(problem.clone()),
                ..record(Severity::Error, "table-parked", format!("{} is parked: {problem}", plan.name()))
            });
        }
    }

    /// Says that changes wait to be applied: when they were read, and how old (milliseconds since their commit at
    /// the source) they were then.
    pub fn pending(&self, read_at: Instant, age_ms: u64) {
        let mut inner = self.lock();
        if inner.pending_since.is_none() {
            inner.pending_since = Some(PendingSince { read_at, age_ms });
        }
    }

    /// Says that all that was pending is in the target; returns the lag at that moment.
    pub fn caught_up(&self) -> Option<u64> {
        let pending = self.lock().pending_since.take()?;
        let waited = u64::try_from(pending.read_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(pending.age_ms.saturating_add(waited))
    }

    fn push(&self, event: TaskEventRecord) {
        log(&event);
        let mut inner = self.lock();
        if inner.events.len() >= EVENTS_KEPT {
            inner.events.remove(0);
            inner.dropped_events += 1;
        }
        inner.events.push(event);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(severity: Severity, code: &str, text: String) -> TaskEventRecord {
    TaskEventRecord { at: now_micros(), severity, code: code.to_owned(), text, table: None, problem: None }
}

fn log(event: &TaskEventRecord) {
    let table = event.table.as_ref().map(ToString::to_string);
    match event.severity {
        Severity::Info => tracing::info!(event.code, table.name = table, "{}", event.text),
        Severity::Warning => tracing::warn!(event.code, table.name = table, "{}", event.text),
        Severity::Error => tracing::error!(event.code, table.name = table, "{}", event.text),
    }
}

fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
