//! The way of the data: source → read → in hand → write → target, with the slowest stage marked.

use wavemark_domain::progress::{Phase, TaskProgress};
use wavemark_store::tasks::Task;

use super::format;
use super::overview::to_limit;
use super::task_row::Standing;

/// One stage of the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Which.
    pub label: String,
    /// The most important about it.
    pub value: String,
    /// The rest.
    pub lines: Vec<StageLine>,
    /// Why it is the slowest, if it is.
    pub slow: Option<String>,
}

/// One line of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageLine {
    /// The line.
    pub text: String,
    /// Whether it is a position or the like.
    pub code: bool,
}

/// Which stage holds the others up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Nothing more comes from the source.
    Read,
    /// Statements take the time.
    Apply,
    /// Commits take the time.
    Commit,
}

/// Below this lag nothing is called slow.
const SLOW_FROM_MS: u64 = 3_000;

/// Which stage holds the others up, with its share of the time since this run began; none while the task keeps up.
#[must_use]
pub fn slowest(progress: &TaskProgress) -> Option<(Slow, u8)> {
    if progress.phase != Phase::Following || progress.lag_ms.is_none_or(|lag| lag < SLOW_FROM_MS) {
        return None;
    }
    let total = progress.read_wait_us + progress.apply_us + progress.commit_us;
    // While the reader is blocked by full memory the source is not what is slow, whatever it once waited for.
    let read = progress.read_wait_us.saturating_sub(progress.blocked_us);
    [(Slow::Apply, progress.apply_us), (Slow::Commit, progress.commit_us), (Slow::Read, read)]
        .into_iter()
        .max_by_key(|(_, time)| *time)
        .and_then(|(stage, time)| Some((stage, format::percent(time, total)?)))
}

/// The five stages of a task.
#[must_use]
pub fn flow(standing: &Standing, engines: (&str, &str), memory_mib: Option<u32>) -> Vec<Stage> {
    let nothing = TaskProgress::default();
    let runs = standing.task.status.wants_worker();
    let progress = standing.task.progress.as_ref().unwrap_or(&nothing);
    let slow = slowest(progress).filter(|_| runs);
    let why = |stages: &[Slow]| {
        slow.filter(|(stage, _)| stages.contains(stage)).map(|(stage, share)| match stage {
            Slow::Read => format!("{share} % of the time waits for the source"),
            Slow::Apply => format!("{share} % of the time goes into statements"),
            Slow::Commit => format!("{share} % of the time goes into commits"),
        })
    };
    vec![
        source(standing, progress, engines.0),
        Stage { slow: why(&[Slow::Read]), ..read(standing, progress, runs) },
        in_hand(progress, memory_mib, runs),
        Stage { slow: why(&[Slow::Apply, Slow::Commit]), ..write(standing, progress, runs) },
        target(&standing.task, progress, engines.1),
    ]
}

fn line(text: impl Into<String>) -> StageLine {
    StageLine { text: text.into(), code: false }
}

fn code(label: &str, text: Option<&String>) -> Vec<StageLine> {
    text.map(|text| StageLine { text: format!("{label} {text}"), code: true }).into_iter().collect()
}

fn source(standing: &Standing, progress: &TaskProgress, engine: &str) -> Stage {
    let mut lines = code("log", progress.source_position.as_ref());
    if let Some(kept) = progress.log_kept_bytes {
        let left = to_limit(kept, progress.log_limit_bytes, standing.figures.log_growth);
        let of = progress.log_limit_bytes.map_or_else(String::new, |limit| format!(" of {}", format::bytes(limit)));
        lines.push(line(format!("keeps {}{of}", format::bytes(kept))));
        lines.extend(left.map(line));
    }
    Stage { label: format!("Source · {engine}"), value: standing.task.source_name.clone(), lines, slow: None }
}

fn read(standing: &Standing, progress: &TaskProgress, runs: bool) -> Stage {
    let loads = progress.phase == Phase::Loading;
    let rate = if loads { standing.figures.load_rate } else { standing.figures.read_rate }.filter(|_| runs);
    let what = if loads { "rows" } else { "changes" };
    let mut lines = code("at", progress.read_position.as_ref());
    if let Some(behind) = progress.behind_bytes.filter(|_| runs) {
        lines.push(line(format!("{} of log behind the source", format::bytes(behind))));
    }
    Stage {
        label: "Read".to_owned(),
        value: format!("{} {what}/s", format::or_unknown(rate, format::brief)),
        lines,
        slow: None,
    }
}

fn in_hand(progress: &TaskProgress, memory_mib: Option<u32>, runs: bool) -> Stage {
    if !runs {
        return Stage { label: "In hand".to_owned(), value: format::UNKNOWN.to_owned(), ..Stage::default() };
    }
    let budget = memory_mib.map_or_else(String::new, |mib| format!(" of {}", format::bytes(u64::from(mib) << 20)));
    let disk = match progress.spilled_bytes {
        0 => "none on disk".to_owned(),
        bytes => format!("{} on disk", format::bytes(bytes)),
    };
    Stage {
        label: "In hand".to_owned(),
        value: format::counted(progress.in_hand_transactions, "transaction", "transactions"),
        lines: vec![line(format!("{}{budget}", format::bytes(progress.in_hand_bytes))), line(disk)],
        slow: None,
    }
}

fn write(standing: &Standing, progress: &TaskProgress, runs: bool) -> Stage {
    let rate = standing.rate().filter(|_| runs);
    let what = if progress.phase == Phase::Loading { "rows" } else { "changes" };
    let mut lines = Vec::new();
    if let Some(wave) = progress.wave {
        let took = progress.wave_ms.map_or_else(String::new, |ms| format!(" in {}", format::lag(ms)));
        let wave = format::count(wave.unsigned_abs());
        lines.push(line(format!("wave {wave}: {}{took}", format::counted(progress.wave_changes, "change", "changes"))));
    }
    if progress.retries > 0 {
        lines.push(line(format!("{} repeated", format::counted(progress.retries, "try", "tries"))));
    }
    Stage {
        label: "Write".to_owned(),
        value: format!("{} {what}/s", format::or_unknown(rate, format::brief)),
        lines,
        slow: None,
    }
}

fn target(task: &Task, progress: &TaskProgress, engine: &str) -> Stage {
    let mut lines = code("bookmark", progress.bookmark.as_ref());
    if let Some(lag) = progress.lag_ms {
        let runs = task.status.wants_worker();
        lines.push(line(format!(
            "{} behind the source{}",
            format::lag(lag),
            if runs { "" } else { " when it stopped" }
        )));
    }
    Stage { label: format!("Target · {engine}"), value: task.target_name.clone(), lines, slow: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(lag_ms: u64, read_wait_us: u64, apply_us: u64, commit_us: u64, blocked_us: u64) -> TaskProgress {
        TaskProgress {
            phase: Phase::Following,
            lag_ms: Some(lag_ms),
            read_wait_us,
            apply_us,
            commit_us,
            blocked_us,
            ..TaskProgress::default()
        }
    }

    #[test]
    fn nothing_is_slow_while_the_task_keeps_up() {
        assert_eq!(slowest(&progress(900, 10, 80, 10, 0)), None);
        assert_eq!(slowest(&TaskProgress { lag_ms: None, ..progress(0, 10, 80, 10, 0) }), None);
    }

    #[test]
    fn the_stage_that_takes_most_of_the_time_is_the_slowest() {
        assert_eq!(slowest(&progress(9_000, 10, 80, 10, 0)), Some((Slow::Apply, 80)));
        assert_eq!(slowest(&progress(9_000, 10, 20, 70, 0)), Some((Slow::Commit, 70)));
        assert_eq!(slowest(&progress(9_000, 90, 5, 5, 0)), Some((Slow::Read, 90)));
    }

    #[test]
    fn a_reader_that_waits_for_memory_is_not_the_slowest() {
        assert_eq!(slowest(&progress(9_000, 50, 40, 10, 45)), Some((Slow::Apply, 40)));
    }
}
