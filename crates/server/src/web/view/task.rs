//! The page of one task: is it fine, since when, what do I do, and only then the rest.

use askama::Template;
use time::OffsetDateTime;
use wavemark_domain::progress::{Phase, TableProgress};
use wavemark_domain::state::{TableState, TaskStatus};
use wavemark_domain::task::TaskSettings;
use wavemark_store::compares::Compare;
use wavemark_store::events::Event;
use wavemark_store::samples::Sample;
use wavemark_store::task_tables::TaskTable;
use wavemark_store::tasks::Task;

use super::action::{Action, Ask};
use super::chart::{self, Chart};
use super::chip::{Chip, Tone};
use super::compare::{self, CompareLine};
use super::event::EventLine;
use super::flow::{self, Stage};
use super::format;
use super::preview::Preview;
use super::problem::{self, Eye, ProblemCard};
use super::shell::{Area, Notice, Shell};
use super::tables::{self, TableRow, Unfit};
use super::task_row::Standing;
use super::when::When;

/// How many tables stand under the charts.
const FIRST_TABLES: usize = 12;

/// The page of one task.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/tasks/task.html", blocks = ["live"])]
pub struct TaskPage {
    /// What is around it.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// Its state.
    pub chip: Chip,
    /// What it does, in words.
    pub kind: &'static str,
    /// Since when, on which worker, which epoch and configuration.
    pub head: Head,
    /// What can be done now.
    pub actions: Vec<Action>,
    /// The questions of the dangerous ones.
    pub asks: Vec<Ask>,
    /// What needs someone.
    pub problems: Vec<ProblemCard>,
    /// How far a drain is.
    pub drain: Option<Notice>,
    /// The way of the data.
    pub flow: Vec<Stage>,
    /// How far the load is.
    pub load: Option<LoadBar>,
    /// What else there is about it.
    pub tabs: Vec<Tab>,
    /// What is shown of that.
    pub body: TaskBody,
}

/// One line under the name.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status as the start of a phrase.
    pub status: String,
    /// For how long.
    pub since: When,
    /// Worker, epoch, configuration.
    pub facts: Vec<String>,
}

/// How far the load is.
#[derive(Clone, Debug)]
pub struct LoadBar {
    /// What is going on.
    pub title: String,
    /// Rows, bytes, the time it may take.
    pub note: String,
    /// In percent.
    pub percent: u8,
}

/// One tab.
#[derive(Clone, Debug)]
pub struct Tab {
    /// Its name.
    pub label: &'static str,
    /// Where it leads.
    pub href: String,
    /// How many there are.
    pub count: Option<String>,
    /// Whether it is shown.
    pub here: bool,
}

/// Which tab is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TabName {
    /// Charts, and the worst tables.
    #[default]
    Now,
    /// All tables.
    Tables,
    /// Comparisons of source and target.
    Compares,
    /// Only what went wrong.
    Errors,
    /// Everything that happened.
    History,
    /// Mapping and settings.
    Mapping,
}

/// A link with its words.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where it leads.
    pub href: String,
    /// What it says.
    pub label: String,
}

/// A name and what it stands for.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The name.
    pub label: String,
    /// What it stands for.
    pub value: String,
}

/// What a tab shows.
#[derive(Clone, Debug)]
pub enum TaskBody {
    /// Charts and the worst tables.
    Now {
        /// The charts.
        charts: Vec<Chart>,
        /// The tables.
        tables: Vec<TableRow>,
        /// Values that had no place in the target.
        unfit: Vec<Unfit>,
        /// Where all of them are.
        more: Option<Link>,
    },
    /// All tables.
    Tables {
        /// The tables.
        tables: Vec<TableRow>,
        /// Values that had no place in the target.
        unfit: Vec<Unfit>,
        /// Where more of them are.
        more: Option<Link>,
    },
    /// What happened.
    History {
        /// The lines.
        events: Vec<EventLine>,
        /// Where the older ones are.
        more: Option<String>,
    },
    /// Comparisons.
    Compares {
        /// The button that begins one.
        begin: Option<Action>,
        /// The newest first.
        lines: Vec<CompareLine>,
    },
    /// Mapping and settings.
    Mapping {
        /// What the mapping gives.
        preview: Preview,
        /// The mapping.
        json: String,
        /// The settings.
        settings: Vec<Pair>,
    },
}

/// What the page is made from.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// The task with its figures.
    pub standing: &'a Standing,
    /// The systems' names for people: source and target.
    pub engines: (&'a str, &'a str),
    /// Its settings.
    pub settings: &'a TaskSettings,
    /// Its tables.
    pub tables: &'a [TaskTable],
    /// Which tab is shown.
    pub tab: TabName,
    /// Whether buttons are shown.
    pub may_edit: bool,
    /// The time.
    pub now: OffsetDateTime,
}

/// Makes the page.
#[must_use]
pub fn task(shell: Shell, material: Material<'_>, body: TaskBody) -> TaskPage {
    let Material { standing, may_edit, now, .. } = material;
    let task = &standing.task;
    let eye = Eye { may_edit, on_task: true, now };
    let all = material.tables.iter().map(|table| (table.since, &table.progress));
    let parked: Vec<_> = all.filter(|(_, table)| table.problem.is_some() || is_parked(table)).collect();
    let phase = task.progress.as_ref().map(|progress| progress.phase);
    TaskPage {
        name: task.name.clone(),
        chip: Chip::task(task.status, phase, standing.loaded()),
        kind: kind(task),
        head: head(task, now),
        actions: if may_edit { actions(task) } else { Vec::new() },
        asks: if may_edit { vec![ask_reload(task), ask_delete(task)] } else { Vec::new() },
        problems: problem::of_task(task, &parked, eye),
        drain: drain(task, material.tables),
        flow: flow::flow(standing, material.engines, Some(material.settings.memory_mib)),
        load: load(standing, material.tables),
        tabs: tabs(task, material.tab),
        body,
        shell: shell.page(Area::Tasks, &task.name, &[("Tasks", "/tasks")]),
    }
}

fn is_parked(table: &TableProgress) -> bool {
    table.state == TableState::Parked
}

/// What *Now* shows.
#[must_use]
pub fn now(material: Material<'_>, samples: &[Sample]) -> TaskBody {
    let task = &material.standing.task;
    let mut tables = tables::rows(task, material.tables, material.may_edit, material.now);
    let all = tables.len();
    tables.truncate(FIRST_TABLES);
    let more = (all > FIRST_TABLES).then(|| Link {
        href: format!("/tasks/{}?tab=tables", task.id),
        label: format!("All {}", format::counted(all as u64, "table", "tables")),
    });
    TaskBody::Now {
        charts: chart::of_task(&format!("/tasks/{}/points", task.id), samples),
        tables,
        unfit: tables::unfit(material.tables, material.now),
        more,
    }
}

/// What *Tables* shows.
#[must_use]
pub fn all_tables(material: Material<'_>) -> TaskBody {
    let tables = tables::rows(&material.standing.task, material.tables, material.may_edit, material.now);
    TaskBody::Tables { tables, unfit: tables::unfit(material.tables, material.now), more: None }
}

/// What *Compare* shows.
#[must_use]
pub fn compares(material: Material<'_>, found: &[Compare]) -> TaskBody {
    let task = &material.standing.task;
    let may = material.may_edit && compare::is_possible(task);
    let begin = may.then(|| Action::post("Compare all tables", format!("/tasks/{}/compares", task.id)).main());
    TaskBody::Compares { begin, lines: compare::lines(found, material.now) }
}

/// What *History* and *Errors* show.
#[must_use]
pub fn history(material: Material<'_>, events: &[Event], more: Option<i64>) -> TaskBody {
    let tab = if material.tab == TabName::Errors { "errors" } else { "history" };
    TaskBody::History {
        events: events.iter().map(|event| EventLine::new(event, true, material.now)).collect(),
        more: more.map(|before| format!("/tasks/{}?tab={tab}&before={before}", material.standing.task.id)),
    }
}

/// What *Mapping* shows.
#[must_use]
pub fn mapping(material: Material<'_>, json: &serde_json::Value, preview: Preview) -> TaskBody {
    TaskBody::Mapping {
        preview,
        json: serde_json::to_string_pretty(json).unwrap_or_default(),
        settings: settings(material.settings),
    }
}

fn settings(settings: &TaskSettings) -> Vec<Pair> {
    let all = serde_json::to_value(settings).unwrap_or_default();
    let pairs = all.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| Pair { label: format::word(name).replace('_', " "), value: super::field::shown(value) })
        .collect()
}

fn kind(task: &Task) -> &'static str {
    use wavemark_domain::task::TaskKind;
    match task.kind {
        TaskKind::FullLoad => "Load only",
        TaskKind::Cdc => "Follow only",
        TaskKind::FullLoadAndCdc => "Load and follow",
    }
}

fn head(task: &Task, now: OffsetDateTime) -> Head {
    let worker = task.worker.as_ref().map(|holder| {
        let state = if holder.lapsed { ", not heard of" } else { "" };
        format!("worker {}{state}", holder.name)
    });
    let epoch = (task.epoch.0 > 0).then(|| format!("epoch {}", task.epoch));
    let configuration = format!("configuration {}", task.config_version);
    Head {
        status: format!("{} for", task.status.word().replace('-', " ")),
        since: When::lasting(task.status_since, now),
        facts: worker.into_iter().chain(epoch).chain([configuration]).collect(),
    }
}

fn actions(task: &Task) -> Vec<Action> {
    let at = |what: &str| format!("/tasks/{}/{what}", task.id);
    let edit = Action::link("Edit", at("edit"));
    let reload = Action::link("Reload all…", at("reload")).risk().asks("ask-reload");
    let delete = Action::link("Delete…", at("delete")).risk().asks("ask-delete");
    match task.status {
        TaskStatus::Ready => vec![edit, delete, Action::post("Start", at("start")).main()],
        TaskStatus::Stopped | TaskStatus::Failed => {
            vec![edit, delete, reload, Action::post("Resume", at("resume")).main()]
        }
        TaskStatus::Starting | TaskStatus::Running | TaskStatus::Degraded => {
            let drain = task.kind.follows().then(|| Action::post("Drain", at("drain")));
            drain.into_iter().chain([Action::post("Stop", at("stop")).risk()]).collect()
        }
        TaskStatus::CleanUpPending => vec![Action::link("Delete again…", at("delete")).risk().asks("ask-delete")],
        TaskStatus::Stopping | TaskStatus::Deleting => Vec::new(),
    }
}

/// What a drain says to someone who wants to switch over.
fn drain(task: &Task, tables: &[TaskTable]) -> Option<Notice> {
    let notice = |tone, text| Some(Notice { tone, text });
    if task.draining {
        let text = "once nothing writes to the source any more, this says when the target has everything.";
        return notice(Tone::Busy, format!("Draining: {}{text}", drain_waits_for(tables)));
    }
    let drained = task.progress.as_ref()?.drained.as_ref().filter(|_| task.status.wants_worker())?;
    let up_to = format!("The target has everything up to {} and its counters are raised", drained.position);
    if drained.written_since {
        let text =
            format!("{up_to}, but changes have come since: something still writes. Stop that, then drain again.");
        return notice(Tone::Warn, text);
    }
    if drained.behind > 0 {
        let tables = format::counted(drained.behind, "table is", "tables are");
        return notice(Tone::Warn, format!("{up_to}, but {tables} behind. Reload what is parked, then drain again."));
    }
    notice(Tone::Ok, format!("Safe to switch. {up_to}; nothing has come since."))
}

/// What a drain comes after: what was asked of tables, and their loads.
fn drain_waits_for(tables: &[TaskTable]) -> String {
    let is_awaited = |table: &&TaskTable| {
        let (state, asked) = (table.progress.state, table.asked.is_some());
        asked || matches!(state, TableState::Waiting | TableState::Loading | TableState::CatchingUp)
    };
    let mut awaited = tables.iter().filter(is_awaited).map(|table| &table.progress.table);
    match (awaited.next(), awaited.count() as u64) {
        (None, _) => String::new(),
        (Some(table), 0) => format!("it waits for {table}, which is not live yet; "),
        (Some(table), more) => {
            let more = format::counted(more, "more table", "more tables");
            format!("it waits for {table} and {more}, which are not live yet; ")
        }
    }
}

/// Asks before everything is loaded again.
#[must_use]
pub fn ask_reload(task: &Task) -> Ask {
    let tables = match task.tables {
        0 => "The rows of its target tables are".to_owned(),
        tables => format!(
            "The rows of its {} in {} are",
            format::counted(tables.unsigned_abs(), "table", "tables"),
            task.target_name
        ),
    };
    let kept = task.progress.as_ref().and_then(|progress| progress.log_kept_bytes);
    let log = kept.map_or_else(String::new, |kept| format!("; {} of log are let go", format::bytes(kept)));
    Ask {
        id: "ask-reload",
        title: format!("Load all of {} again?", task.name),
        text: "There is no way back to the position of now.".to_owned(),
        consequences: vec![
            format!("{tables} replaced as its preparation says: readers see missing rows until the load is done."),
            format!("Its slot in {} is dropped and made again{log}.", task.source_name),
            "The bookmark is forgotten; following starts at the new load.".to_owned(),
        ],
        action: format!("/tasks/{}/reload", task.id),
        button: "Reload all",
        back: format!("/tasks/{}", task.id),
        ..Ask::default()
    }
}

/// Asks before a task is deleted; the name has to be typed.
#[must_use]
pub fn ask_delete(task: &Task) -> Ask {
    let kept = task.progress.as_ref().and_then(|progress| progress.log_kept_bytes);
    let log = kept.map_or_else(String::new, |kept| format!(": {} of log are let go", format::bytes(kept)));
    Ask {
        id: "ask-delete",
        title: format!("Delete {}?", task.name),
        text: "Its tables and rows in the target stay as they are.".to_owned(),
        consequences: vec![
            format!("Its slot and publication in {} are dropped{log}.", task.source_name),
            format!("Its bookmark in {} is removed: a new task must load again.", task.target_name),
            "What can't be reached is shown with the statements that remove it.".to_owned(),
        ],
        confirm: Some(task.name.clone()),
        action: format!("/tasks/{}/delete", task.id),
        button: "Delete",
        back: format!("/tasks/{}", task.id),
        ..Ask::default()
    }
}

/// Asks before a task is forgotten that left something behind.
#[must_use]
pub fn ask_forget(task: &Task) -> Ask {
    Ask {
        id: "ask-forget",
        title: format!("Forget {}?", task.name),
        text: "Only if what it left is gone, or its statements were run by a person.".to_owned(),
        consequences: vec![format!("A slot that is still in {} keeps log until its disk is full.", task.source_name)],
        confirm: Some(task.name.clone()),
        action: format!("/tasks/{}/forget", task.id),
        button: "Forget",
        back: format!("/tasks/{}", task.id),
        ..Ask::default()
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn load(standing: &Standing, tables: &[TaskTable]) -> Option<LoadBar> {
    let progress = standing.task.progress.as_ref().filter(|_| super::task_row::runs(standing.task.status))?;
    if !matches!(progress.phase, Phase::Loading | Phase::Finishing) {
        return None;
    }
    let percent = standing.loaded()?;
    let rows: u64 = tables.iter().map(|table| table.progress.rows_loaded).sum();
    let expected: Option<u64> = tables.iter().map(|table| table.progress.rows_estimated).sum();
    let left = expected.map(|expected| expected.saturating_sub(rows)).filter(|left| *left > 0);
    let ends = left
        .zip(standing.figures.load_rate.filter(|rate| *rate > 1.0))
        .map(|(left, rate)| format!(", about {} left", format::duration((left as f64 / rate) as u64)));
    let of = expected
        .filter(|expected| *expected > rows)
        .map_or_else(String::new, |expected| format!(" of about {}", format::count(expected)));
    let title = if progress.phase == Phase::Loading {
        format!("Loading, {percent}{}%", format::THIN)
    } else {
        "All rows are copied; keys, indexes and foreign keys are being made".to_owned()
    };
    Some(LoadBar { title, note: format!("{}{of} rows{}", format::count(rows), ends.unwrap_or_default()), percent })
}

fn tabs(task: &Task, here: TabName) -> Vec<Tab> {
    let count = (task.tables > 0).then(|| format::count(task.tables.unsigned_abs()));
    [
        ("Now", "", None, TabName::Now),
        ("Tables", "?tab=tables", count, TabName::Tables),
        ("Compare", "?tab=compares", None, TabName::Compares),
        ("Errors", "?tab=errors", None, TabName::Errors),
        ("History", "?tab=history", None, TabName::History),
        ("Mapping and settings", "?tab=mapping", None, TabName::Mapping),
    ]
    .into_iter()
    .map(|(label, query, count, tab)| Tab {
        label,
        href: format!("/tasks/{}{query}", task.id),
        count,
        here: tab == here,
    })
    .collect()
}

/// A page that asks one question, for browsers without scripts and after a wrong answer.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/tasks/ask.html")]
pub struct AskPage {
    /// What is around it.
    pub shell: Shell,
    /// The question.
    pub ask: Ask,
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn labels(status: TaskStatus) -> Vec<String> {
        let task = Task { status, ..samples::shop() };
        actions(&task).into_iter().map(|action| action.label).collect()
    }

    #[test]
    fn only_what_a_status_allows_has_a_button() {
        assert_eq!(labels(TaskStatus::Ready), ["Edit", "Delete…", "Start"]);
        assert_eq!(labels(TaskStatus::Running), ["Drain", "Stop"]);
        assert_eq!(labels(TaskStatus::Failed), ["Edit", "Delete…", "Reload all…", "Resume"]);
        assert_eq!(labels(TaskStatus::Stopping), Vec::<String>::new());
    }

    #[test]
    fn a_question_names_what_is_lost() {
        let ask = ask_delete(&samples::shop());
        assert_eq!(
            ask.consequences[0],
            "Its slot and publication in shop-prod are dropped: 1.2\u{202f}GiB of log are let go."
        );
        assert_eq!(ask.confirm.as_deref(), Some("shop-to-analytics"));
    }
}
