//! The first page: is it fine, who is needed, and the tasks, worst first.

use std::collections::HashMap;

use askama::Template;
use time::OffsetDateTime;
use wavemark_domain::TaskId;
use wavemark_domain::progress::TableProgress;
use wavemark_store::pages::Parked;
use wavemark_store::workers::Worker;

use super::format::{self, UNKNOWN};
use super::problem::{self, Eye, ProblemCard};
use super::shell::Shell;
use super::task_row::{self, Standing, TaskRow};
use super::when::When;

/// How many problems and tasks the first page shows.
const MOST_PROBLEMS: usize = 12;
const MOST_TASKS: usize = 30;

/// One large figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub label: &'static str,
    /// The figure.
    pub value: String,
    /// What belongs to it.
    pub note: String,
}

/// What stands on a page that is still empty.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// What is missing.
    pub title: &'static str,
    /// What it is.
    pub text: Vec<&'static str>,
    /// The button.
    pub button: &'static str,
    /// Where it leads.
    pub href: &'static str,
    /// The same without pages.
    pub commands: &'static str,
}

/// What is shown while there is no endpoint.
pub const NO_ENDPOINT: Start = Start {
    title: "Start with two endpoints",
    text: Vec::new(),
    button: "New endpoint",
    href: "/endpoints/new",
    commands: r#"cat > shop-prod.json <<'END'
{"name": "shop-prod", "engine": "postgresql", "role": "source",
 "settings": {"host": "db1", "database": "shop", "user": "wavemark", "tls_mode": "verify-full"},
 "secrets": {"password": "…"}}
END
curl -s $WAVEMARK/api/v1/endpoints -H "Authorization: Bearer $TOKEN" \
  -H 'content-type: application/json' -d @shop-prod.json

wavemark endpoint create shop-prod.json"#,
};

/// What is shown while there is no task.
pub const NO_TASK: Start = Start {
    title: "Now a task",
    text: Vec::new(),
    button: "New task",
    href: "/tasks/new",
    commands: r#"cat > task.json <<'END'
{"name": "shop-to-analytics", "kind": "full-load-and-cdc", "source_id": "…", "target_id": "…",
 "mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-action": "include",
   "object-locator": {"schema-name": "public", "table-name": "%"}}]}}
END
curl -s $WAVEMARK/api/v1/tasks -H "Authorization: Bearer $TOKEN" \
  -H 'content-type: application/json' -d @task.json

wavemark task create task.json"#,
};

impl Start {
    fn told(mut self, text: &[&'static str]) -> Self {
        self.text = text.to_vec();
        self
    }

    /// What an endpoint is.
    #[must_use]
    pub fn endpoint() -> Self {
        NO_ENDPOINT.told(&[
            "An endpoint is one database with its connection settings. A task reads from one and writes to another.",
            "Give each its own user with the least rights; the test names what is missing, with the statement that grants it.",
        ])
    }

    /// What a task is.
    #[must_use]
    pub fn task() -> Self {
        NO_TASK.told(&[
            "A task copies the tables that you pick from one endpoint to another, then follows the source's log for as long as you want.",
            "Its page shows at every moment how far behind each table is, and why.",
        ])
    }
}

/// The first page.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/overview/overview.html", blocks = ["live"])]
pub struct Overview {
    /// What is around it.
    pub shell: Shell,
    /// How many tasks, and how many need someone.
    pub headline: String,
    /// Whether buttons are shown.
    pub may_edit: bool,
    /// The large figures.
    pub figures: Vec<Figure>,
    /// What to begin with.
    pub start: Option<Start>,
    /// Who needs someone.
    pub problems: Vec<ProblemCard>,
    /// How many more there are.
    pub more_problems: Option<String>,
    /// Since when nothing needs anyone.
    pub fine_since: Option<When>,
    /// The tasks, worst first.
    pub tasks: Vec<TaskRow>,
    /// The link to all of them.
    pub all_tasks: String,
}

/// Makes the first page.
#[must_use]
pub fn overview(
    shell: Shell,
    mut standings: Vec<Standing>,
    parked: &[Parked],
    workers: &[Worker],
    may_edit: bool,
    now: OffsetDateTime,
) -> Overview {
    task_row::sort(&mut standings);
    let eye = Eye { may_edit, on_task: false, now };
    let mut problems = problems(&standings, parked, eye);
    let hidden = problems.len().saturating_sub(MOST_PROBLEMS);
    let needy = standings.iter().filter(|standing| standing.needs_someone()).count();
    problems.truncate(MOST_PROBLEMS);
    let start = match (shell.counts.endpoints, standings.len()) {
        (0, 0) => Some(Start::endpoint()),
        (_, 0) => Some(Start::task()),
        _ => None,
    };
    Overview {
        headline: if start.is_some() { "Nothing to watch yet".to_owned() } else { headline(standings.len(), needy) },
        may_edit,
        figures: vec![worst_lag(&standings), written(&standings), log_kept(&standings), places(workers)],
        start,
        more_problems: (hidden > 0)
            .then(|| format!("and {} more", format::counted(hidden as u64, "problem", "problems"))),
        fine_since: None,
        problems,
        all_tasks: format!("All {}", format::counted(standings.len() as u64, "task", "tasks")),
        tasks: standings.iter().take(MOST_TASKS).map(|standing| TaskRow::new(standing, now)).collect(),
        shell,
    }
}

fn problems(standings: &[Standing], parked: &[Parked], eye: Eye) -> Vec<ProblemCard> {
    let mut by_task: HashMap<TaskId, Vec<(OffsetDateTime, &TableProgress)>> = HashMap::new();
    for table in parked {
        by_task.entry(table.task).or_default().push((table.since, &table.table));
    }
    standings
        .iter()
        .flat_map(|standing| {
            let parked = by_task.get(&standing.task.id).map_or(&[][..], Vec::as_slice);
            problem::of_task(&standing.task, parked, eye)
        })
        .collect()
}

fn headline(tasks: usize, needy: usize) -> String {
    let tasks = format::counted(tasks as u64, "task", "tasks");
    match needy {
        0 => tasks,
        1 => format!("{tasks} · 1 needs you"),
        _ => format!("{tasks} · {needy} need you"),
    }
}

fn worst_lag(standings: &[Standing]) -> Figure {
    let worst = standings.iter().filter_map(|standing| Some((standing.lag()?, &standing.task.name))).max();
    Figure {
        label: "Worst lag",
        value: format::or_unknown(worst, |(lag, _)| format::lag(lag)),
        note: worst.map_or_else(|| "no task follows".to_owned(), |(_, name)| name.clone()),
    }
}

fn written(standings: &[Standing]) -> Figure {
    let rates: Vec<_> = standings.iter().filter_map(Standing::rate).collect();
    Figure {
        label: "Rows written",
        value: format::or_unknown((!rates.is_empty()).then(|| rates.iter().sum()), format::rate),
        note: format!("by {}", format::counted(rates.len() as u64, "running task", "running tasks")),
    }
}

fn log_kept(standings: &[Standing]) -> Figure {
    let kept = |standing: &Standing| standing.task.progress.as_ref().and_then(|progress| progress.log_kept_bytes);
    let known: Vec<_> = standings.iter().filter_map(|standing| Some((kept(standing)?, standing))).collect();
    let most = known.iter().max_by_key(|(bytes, _)| *bytes);
    let total: u64 = known.iter().map(|(bytes, _)| bytes).sum();
    let note = most.map_or_else(String::new, |(bytes, standing)| {
        let progress = standing.task.progress.as_ref();
        let left =
            progress.and_then(|progress| to_limit(*bytes, progress.log_limit_bytes, standing.figures.log_growth));
        match left {
            Some(left) => format!("{}: {left}", standing.task.source_name),
            None => format!("most on {}, {}", standing.task.source_name, format::bytes(*bytes)),
        }
    });
    Figure {
        label: "Source log kept",
        value: format::or_unknown((!known.is_empty()).then_some(total), format::bytes),
        note,
    }
}

/// When the log kept will reach the source's limit, if it grows: `31 h to its limit`.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate in hours"
)]
pub fn to_limit(kept: u64, limit: Option<u64>, growth: Option<f64>) -> Option<String> {
    let left = limit?.saturating_sub(kept);
    let growth = growth.filter(|growth| *growth > 1.0)?;
    let seconds = (left as f64 / growth).min(3e9) as u64;
    (seconds < 30 * 86_400).then(|| format!("{} to its limit at this rate", format::duration(seconds)))
}

fn places(workers: &[Worker]) -> Figure {
    let alive: Vec<_> = workers.iter().filter(|worker| worker.alive).collect();
    let places: i32 = alive.iter().filter(|worker| !worker.draining).map(|worker| worker.places).sum();
    let taken: i64 = alive.iter().map(|worker| worker.tasks).sum();
    Figure {
        label: "Workers",
        value: if workers.is_empty() { UNKNOWN.to_owned() } else { format!("{} of {}", alive.len(), workers.len()) },
        note: if workers.is_empty() {
            "none has registered".to_owned()
        } else {
            format!("alive; {taken} of {places} places taken")
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_counts_who_needs_someone() {
        assert_eq!(headline(14, 0), "14 tasks");
        assert_eq!(headline(14, 1), "14 tasks · 1 needs you");
        assert_eq!(headline(1, 1), "1 task · 1 needs you");
    }

    #[test]
    fn the_time_to_the_limit_is_told_only_while_the_log_grows() {
        assert_eq!(
            to_limit(1 << 30, Some(2 << 30), Some(298_261.6)).as_deref(),
            Some("1\u{202f}h to its limit at this rate")
        );
        assert_eq!(to_limit(1 << 30, Some(2 << 30), Some(0.0)), None);
        assert_eq!(to_limit(1 << 30, None, Some(9_000.0)), None);
    }
}
