//! A task as one row of a list, and the order of such rows: worst first.

use std::collections::HashMap;

use wavemark_domain::TaskId;
use wavemark_domain::progress::Phase;
use wavemark_domain::state::TaskStatus;
use wavemark_store::pages::Figures;
use wavemark_store::tasks::Task;

use super::chart::{self, Spark};
use super::chip::Chip;
use super::format::{self, UNKNOWN};
use super::when::When;
use time::OffsetDateTime;

/// One task with what is shown beside it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The task.
    pub task: Task,
    /// Its figures.
    pub figures: Figures,
    /// `(minutes ago, milliseconds)` of the last hour, oldest first.
    pub lags: Vec<(i32, i64)>,
}

/// Puts tasks, figures and lags together.
#[must_use]
pub fn standings(tasks: Vec<Task>, figures: Vec<(TaskId, Figures)>, lags: Vec<(TaskId, i32, i64)>) -> Vec<Standing> {
    let mut figures: HashMap<_, _> = figures.into_iter().collect();
    let mut by_task: HashMap<TaskId, Vec<(i32, i64)>> = HashMap::new();
    for (task, ago, lag) in lags {
        by_task.entry(task).or_default().push((ago, lag));
    }
    tasks
        .into_iter()
        .map(|task| Standing {
            figures: figures.remove(&task.id).unwrap_or_default(),
            lags: by_task.remove(&task.id).unwrap_or_default(),
            task,
        })
        .collect()
}

impl Standing {
    /// How much of its load is done.
    #[must_use]
    pub fn loaded(&self) -> Option<u8> {
        format::percent(self.figures.chunks_done.max(0).unsigned_abs(), self.figures.chunks.max(0).unsigned_abs())
    }

    /// Its lag, if it runs and follows.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let runs = matches!(self.task.status, TaskStatus::Running | TaskStatus::Degraded | TaskStatus::Stopping);
        self.task.progress.as_ref().filter(|_| runs).and_then(|progress| progress.lag_ms)
    }

    /// Changes written per second; rows while it loads.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        match (self.figures.write_rate, self.figures.load_rate) {
            (None, None) => None,
            (write, load) => Some(write.unwrap_or(0.0) + load.unwrap_or(0.0)),
        }
    }

    /// How much someone is needed; the lowest first.
    #[must_use]
    pub fn rank(&self) -> u8 {
        let progress = self.task.progress.as_ref();
        let waits = progress.is_some_and(|progress| progress.waiting_for.is_some());
        let follows = progress.is_some_and(|progress| progress.phase == Phase::Following);
        let log_is_much = progress.is_some_and(|progress| progress.log_problem.is_some());
        match self.task.status {
            TaskStatus::Failed => 0,
            TaskStatus::CleanUpPending => 1,
            TaskStatus::Degraded => 2,
            _ if log_is_much => 3,
            TaskStatus::Running if waits => 3,
            TaskStatus::Starting | TaskStatus::Stopping | TaskStatus::Deleting => 4,
            TaskStatus::Running if !follows => 4,
            TaskStatus::Running => 5,
            TaskStatus::Ready => 6,
            TaskStatus::Stopped => 7,
        }
    }

    /// Whether someone should look.
    #[must_use]
    pub fn needs_someone(&self) -> bool {
        self.rank() <= 3
    }
}

/// Whether a worker runs it as it should be run.
#[must_use]
pub fn runs(status: TaskStatus) -> bool {
    matches!(status, TaskStatus::Running | TaskStatus::Degraded)
}

/// Worst first: by rank, then by lag, then by name.
pub fn sort(standings: &mut [Standing]) {
    standings.sort_by(|a, b| {
        let by_lag = b.lag().cmp(&a.lag());
        a.rank().cmp(&b.rank()).then(by_lag).then_with(|| a.task.name.cmp(&b.task.name))
    });
}

/// One row.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// The task's id.
    pub id: String,
    /// Where its page is.
    pub href: String,
    /// Its name.
    pub name: String,
    /// From where to where.
    pub route: String,
    /// Its state.
    pub chip: Chip,
    /// Its place among all.
    pub rank: u8,
    /// Its lag.
    pub lag: String,
    /// For sorting.
    pub lag_sort: String,
    /// Since when it is as it is, or how old its figures are.
    pub lag_note: String,
    /// The last hour's lag.
    pub spark: Spark,
    /// Rows or changes written per second.
    pub rate: String,
    /// For sorting.
    pub rate_sort: String,
    /// How many of its tables are well.
    pub tables: String,
    /// Which are not.
    pub tables_note: String,
}

impl TaskRow {
    /// The row of a task.
    #[must_use]
    pub fn new(standing: &Standing, now: OffsetDateTime) -> Self {
        let task = &standing.task;
        let phase = task.progress.as_ref().map(|progress| progress.phase);
        let lag = standing.lag();
        let rate = standing.rate();
        Self {
            id: task.id.to_string(),
            href: format!("/tasks/{}", task.id),
            name: task.name.clone(),
            route: format!("{} → {}", task.source_name, task.target_name),
            chip: Chip::task(task.status, phase, standing.loaded()),
            rank: standing.rank(),
            lag: format::or_unknown(lag, format::lag),
            lag_sort: lag.map_or_else(String::new, |lag| lag.to_string()),
            lag_note: note(task, phase, now),
            spark: chart::spark(&standing.lags),
            rate: format::or_unknown(rate, format::rate),
            rate_sort: rate.map_or_else(String::new, |rate| format!("{rate:.1}")),
            tables: if task.tables == 0 {
                UNKNOWN.to_owned()
            } else {
                format!(
                    "{} of {}",
                    format::count(standing.figures.well.max(0).unsigned_abs()),
                    format::count(task.tables.unsigned_abs())
                )
            },
            tables_note: match (task.tables, task.parked) {
                (0, _) => String::new(),
                (_, 0) => "live or done".to_owned(),
                (_, parked) => format!("live; {} parked", format::count(parked.unsigned_abs())),
            },
        }
    }
}

fn note(task: &Task, phase: Option<Phase>, now: OffsetDateTime) -> String {
    let since = || When::new(task.status_since, now).relative;
    match task.status {
        TaskStatus::Ready => "never started".to_owned(),
        TaskStatus::Running | TaskStatus::Degraded => match task.progress_at {
            Some(at) if (now - at).whole_seconds() > 10 => format!("as of {}", When::new(at, now).relative),
            _ if phase == Some(Phase::Following) => "following".to_owned(),
            _ => format!("since {}", When::lasting(task.status_since, now).relative),
        },
        status => format!("{} {}", status.word().replace('-', " "), since()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_worst_task_comes_first() {
        let mut standings = samples::standings();
        standings.reverse();
        sort(&mut standings);
        let names: Vec<_> = standings.iter().map(|standing| standing.task.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "billing-to-warehouse",
                "shop-to-analytics",
                "crm-to-analytics",
                "orders-to-search",
                "users-to-replica",
                "archive-2024"
            ]
        );
    }

    #[test]
    fn a_task_that_does_not_run_has_no_lag() {
        let standings = samples::standings();
        let stopped = standings.iter().find(|standing| standing.task.name == "archive-2024").unwrap();
        assert_eq!(TaskRow::new(stopped, samples::NOW).lag, "–");
        assert_eq!(TaskRow::new(stopped, samples::NOW).rate, "–");
    }
}
