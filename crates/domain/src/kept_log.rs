//! The log that a source keeps because of a task: how much of it is too much, and how long it may still grow.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::progress::Severity;
use crate::task::TaskSettings;
use crate::{Fault, Problem};

/// What is done when a task's budget of kept log is exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverBudget {
    /// People are told; the source goes on keeping its log.
    #[default]
    Warn,
    /// Tables are parked, so that the bookmark and with it the log go on: the one that holds the task up if that is known,
    /// else all. Each can be loaded again by itself.
    ParkTables,
    /// The slot is dropped. The task ends; its next start loads everything again.
    DropSlot,
}

/// The code of the problem with which a task ends whose log was let go: its next start loads everything again.
pub const LET_GO: &str = "log-let-go";
/// The code of the problem of a table that was parked so that the log could go.
pub const PARKED_FOR_LOG: &str = "parked-for-log";
/// The share of a budget or a limit, in percent, from which on people are told.
const LOUD_FROM: u64 = 70;

/// What is known of the log that a source keeps for a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptLog {
    /// How much.
    pub bytes: u64,
    /// The most that the source would keep.
    pub limit: Option<u64>,
    /// Seconds until that is reached, at the rate of late.
    pub seconds_left: Option<u64>,
    /// The same until the task's budget is.
    pub seconds_to_budget: Option<u64>,
}

/// The task's budget in bytes, if it has one.
#[must_use]
pub fn budget(settings: &TaskSettings) -> Option<u64> {
    (settings.log_budget_mib > 0).then(|| u64::from(settings.log_budget_mib) << 20)
}

/// The budget, if it is exceeded and the settings want this to be done then.
#[must_use]
pub fn exceeded(settings: &TaskSettings, bytes: u64, action: OverBudget) -> Option<u64> {
    budget(settings).filter(|budget| settings.log_over_budget == action && bytes > *budget)
}

/// What people are told about it, the worst first; nothing if all is well.
#[must_use]
pub fn judge(settings: &TaskSettings, kept: &KeptLog) -> Option<(Severity, Problem)> {
    let budget = budget(settings);
    if let Some(budget) = budget.filter(|budget| kept.bytes > *budget) {
        let text = format!("The source keeps {} of log for this task; its budget is {}", mib(kept.bytes), mib(budget));
        return Some((Severity::Error, told("log-over-budget", text)));
    }
    if let Some(limit) = kept.limit.filter(|limit| is_loud(kept.bytes, *limit)) {
        let text = format!("The source keeps {} of log for this task and gives up at {}", mib(kept.bytes), mib(limit));
        return Some((Severity::Error, told("log-near-limit", text)));
    }
    let soon = |seconds: &u64| *seconds < u64::from(settings.log_warning_minutes) * 60;
    if let Some(seconds) = kept.seconds_left.filter(soon) {
        let text = format!(
            "The source keeps {} of log for this task and at this rate gives up in about {} minutes",
            mib(kept.bytes),
            seconds / 60
        );
        return Some((Severity::Error, told("log-near-limit", text)));
    }
    let budget = budget?;
    let near = |what: &str| {
        let text =
            format!("The source keeps {} of log for this task, {what} its budget of {}", mib(kept.bytes), mib(budget));
        Some((Severity::Warning, told("log-near-budget", text)))
    };
    match kept.seconds_to_budget.filter(soon) {
        Some(seconds) => near(&format!("at this rate in about {} minutes more than", seconds / 60)),
        None if is_loud(kept.bytes, budget) => near("near"),
        None => None,
    }
}

/// The same of a source that drops its log by its age: `seconds` are left until it drops what the task still needs.
#[must_use]
pub fn judge_age(settings: &TaskSettings, seconds: Option<u64>) -> Option<(Severity, Problem)> {
    let seconds = seconds.filter(|seconds| *seconds < u64::from(settings.log_warning_minutes) * 60)?;
    let text = format!(
        "The source drops log that this task still needs in about {} minutes, for it keeps no older log",
        seconds / 60
    );
    let problem = Problem::transient("log-near-age", text).advice(
        "See what the task waits for, and let it go on; or have the source keep its log for longer. Once the log is \
         dropped, everything has to be loaded again.",
    );
    Some((Severity::Error, problem))
}

/// The problem with which a task ends whose log was let go.
#[must_use]
pub fn let_go(bytes: u64, budget: u64) -> Problem {
    let text = format!(
        "The source kept {} of log for this task, more than its budget of {}: the slot was dropped, as its settings say",
        mib(bytes),
        mib(budget)
    );
    Problem::new(Fault::PositionLost, LET_GO, text).advice(
        "Mend what kept the task from going on, then resume it: everything is loaded again. A larger budget leaves \
         more time.",
    )
}

/// The problem of a table that was parked so that the log could go.
#[must_use]
pub fn parked_for(bytes: u64, budget: u64) -> Problem {
    let text = format!(
        "The source kept {} of log for the task, more than its budget of {}: the table was parked, as its settings say",
        mib(bytes),
        mib(budget)
    );
    Problem::new(Fault::Data, PARKED_FOR_LOG, text)
        .advice("Mend what kept the task from going on, then reload the table. A larger budget leaves more time.")
}

/// Nobody knows how much log the source keeps for a task that may keep some.
#[must_use]
pub fn unknown(why: &Problem) -> Problem {
    let text = format!("Nobody can say how much log the source keeps for this task: {}", why.text);
    told("log-unknown", text)
}

fn told(code: &str, text: String) -> Problem {
    Problem::transient(code, text).advice(
        "See what the task waits for. If it can't go on, delete it, or let its settings drop the slot, and the source \
         lets its log go.",
    )
}

fn is_loud(bytes: u64, most: u64) -> bool {
    u128::from(bytes) * 100 >= u128::from(most) * u128::from(LOUD_FROM)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// How fast the log that is kept grows: what was seen over the last ten minutes.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// Seconds of any clock that only goes forward, and bytes; the oldest first.
    seen: VecDeque<(u64, u64)>,
}

impl Growth {
    const WINDOW: u64 = 600;
    /// Over less than that a rate means nothing.
    const LEAST: u64 = 10;

    /// Notes what is kept at a time.
    pub fn see(&mut self, seconds: u64, bytes: u64) {
        self.seen.push_back((seconds, bytes));
        while self.seen.front().is_some_and(|(at, _)| at + Self::WINDOW < seconds) {
            self.seen.pop_front();
        }
    }

    /// Seconds until so many bytes are kept, if it grows.
    #[must_use]
    pub fn seconds_until(&self, limit: u64) -> Option<u64> {
        let ((then, less), (now, more)) = (self.seen.front()?, self.seen.back()?);
        let (seconds, bytes) = (now - then, more.checked_sub(*less)?);
        if seconds < Self::LEAST || bytes == 0 {
            return None;
        }
        let left = u128::from(limit.saturating_sub(*more)) * u128::from(seconds) / u128::from(bytes);
        u64::try_from(left).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(budget_mib: u32, action: OverBudget) -> TaskSettings {
        TaskSettings { log_budget_mib: budget_mib, log_over_budget: action, ..TaskSettings::default() }
    }

    fn code(settings: &TaskSettings, kept: KeptLog) -> Option<(Severity, String)> {
        judge(settings, &kept).map(|(severity, problem)| (severity, problem.code))
    }

    #[test]
    fn seventy_percent_of_a_budget_are_told_and_more_than_all_of_it_louder() {
        let settings = settings(100, OverBudget::Warn);
        let kept = |mib: u64| KeptLog { bytes: mib << 20, ..KeptLog::default() };
        assert_eq!(code(&settings, kept(69)), None);
        assert_eq!(code(&settings, kept(70)), Some((Severity::Warning, "log-near-budget".to_owned())));
        assert_eq!(code(&settings, kept(100)), Some((Severity::Warning, "log-near-budget".to_owned())));
        assert_eq!(code(&settings, kept(101)), Some((Severity::Error, "log-over-budget".to_owned())));
    }

    #[test]
    fn log_that_is_soon_too_old_is_told() {
        let settings = settings(0, OverBudget::Warn);
        assert_eq!(judge_age(&settings, None), None);
        assert_eq!(judge_age(&settings, Some(3_600)), None);
        let (severity, problem) = judge_age(&settings, Some(3_599)).unwrap();
        assert_eq!((severity, problem.code.as_str()), (Severity::Error, "log-near-age"));
        assert!(problem.text.contains("in about 59 minutes"), "{}", problem.text);
    }

    #[test]
    fn without_a_budget_the_sources_own_limit_counts() {
        let settings = settings(0, OverBudget::DropSlot);
        let kept = |bytes, seconds_left| KeptLog { bytes, limit: Some(1_000), seconds_left, ..KeptLog::default() };
        assert_eq!(code(&settings, kept(699, None)), None);
        assert_eq!(code(&settings, kept(700, None)).unwrap().1, "log-near-limit");
        assert_eq!(code(&settings, kept(10, Some(3_599))).unwrap().1, "log-near-limit");
        assert_eq!(code(&settings, kept(10, Some(3_600))), None);
        assert_eq!(exceeded(&settings, u64::MAX, OverBudget::DropSlot), None);
    }

    #[test]
    fn a_budget_that_is_exceeded_soon_is_told_before_it_is_near() {
        let settings = settings(100, OverBudget::ParkTables);
        let kept = |mib: u64, seconds| KeptLog { bytes: mib << 20, seconds_to_budget: seconds, ..KeptLog::default() };
        assert_eq!(code(&settings, kept(10, Some(3_600))), None);
        let (severity, problem) = judge(&settings, &kept(10, Some(3_599))).unwrap();
        assert_eq!((severity, problem.code.as_str()), (Severity::Warning, "log-near-budget"));
        assert_eq!(
            problem.text,
            "The source keeps 10 MiB of log for this task, at this rate in about 59 minutes more than its budget of 100 MiB"
        );
    }

    #[test]
    fn something_is_done_only_above_the_budget_and_only_what_the_settings_say() {
        for (action, other) in
            [(OverBudget::DropSlot, OverBudget::ParkTables), (OverBudget::ParkTables, OverBudget::DropSlot)]
        {
            assert_eq!(exceeded(&settings(1, action), (1 << 20) + 1, action), Some(1 << 20));
            assert_eq!(exceeded(&settings(1, action), 1 << 20, action), None);
            assert_eq!(exceeded(&settings(1, other), u64::MAX, action), None);
            assert_eq!(exceeded(&settings(1, OverBudget::Warn), u64::MAX, action), None);
        }
    }

    #[test]
    fn the_time_that_is_left_follows_from_the_last_ten_minutes() {
        let mut growth = Growth::default();
        growth.see(0, 0);
        assert_eq!(growth.seconds_until(1_000), None);
        growth.see(100, 500);
        assert_eq!(growth.seconds_until(1_000), Some(100));
        // What was long ago is forgotten: from second 100 on it stood still.
        growth.see(701, 500);
        assert_eq!(growth.seconds_until(1_000), None);
        growth.see(702, 400);
        assert_eq!(growth.seconds_until(1_000), None);
    }
}
