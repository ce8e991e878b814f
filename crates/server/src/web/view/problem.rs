//! A problem card, the same everywhere: what happened, since when, where, in the server's own words, what to do.

use time::OffsetDateTime;
use wavemark_domain::progress::TableProgress;
use wavemark_domain::state::TaskStatus;
use wavemark_domain::{Fault, Problem, TableWish};
use wavemark_store::tasks::Task;

use super::action::Action;
use super::chip::Tone;
use super::format;
use super::table_wish;
use super::when::When;

/// One problem as pages show it.
#[derive(Clone, Debug)]
pub struct ProblemCard {
    /// Stable while the problem lasts, so that replacing the page keeps the place.
    pub id: String,
    /// How bad it is.
    pub tone: Tone,
    /// What happened, one sentence with the names.
    pub title: String,
    /// Since when.
    pub since: Option<When>,
    /// How often, table, key columns, position.
    pub facts: Vec<String>,
    /// The server's own code and text.
    pub said: Option<String>,
    /// What to do.
    pub advice: Option<String>,
    /// Statements that a person can run.
    pub statements: Vec<String>,
    /// The buttons that do it.
    pub actions: Vec<Action>,
}

/// Who looks, from where, and when.
#[derive(Clone, Copy, Debug)]
pub struct Eye {
    /// Whether buttons are shown.
    pub may_edit: bool,
    /// Whether the page is the task's own: then it need not be named or linked.
    pub on_task: bool,
    /// The time.
    pub now: OffsetDateTime,
}

/// All problems of one task, worst first. `parked` are its parked tables with the time since when they are.
#[must_use]
pub fn of_task(task: &Task, parked: &[(OffsetDateTime, &TableProgress)], eye: Eye) -> Vec<ProblemCard> {
    let mut cards: Vec<_> = failed(task, eye).into_iter().chain(clean_up(task, eye)).collect();
    if let Some(card) = silent(task, eye) {
        cards.push(card);
    }
    cards.extend(parked.iter().map(|(since, table)| parked_table(task, *since, table, eye)));
    cards.extend(waiting(task, eye));
    cards.extend(confirm_waits(task, eye));
    cards.extend(log_kept(task, eye));
    cards
}

impl ProblemCard {
    fn new(task: &Task, what: &str, tone: Tone, title: String, eye: Eye) -> Self {
        let title = if eye.on_task { title } else { format!("{}: {title}", task.name) };
        Self {
            id: format!("problem-{}-{what}", task.id),
            tone,
            title,
            since: None,
            facts: Vec::new(),
            said: None,
            advice: None,
            statements: Vec::new(),
            actions: Vec::new(),
        }
    }

    fn problem(mut self, problem: &Problem) -> Self {
        self.facts.extend(facts(problem));
        self.said.clone_from(&problem.server_code);
        self.advice.clone_from(&problem.advice);
        self
    }

    fn since(mut self, at: OffsetDateTime, eye: Eye) -> Self {
        self.since = Some(When::new(at, eye.now));
        self
    }

    fn actions(mut self, task: &Task, eye: Eye, actions: impl IntoIterator<Item = Action>) -> Self {
        if eye.may_edit {
            self.actions.extend(actions);
        }
        if !eye.on_task {
            self.actions.push(Action::link("Open", format!("/tasks/{}", task.id)));
        }
        self
    }
}

/// What a problem names besides its sentence.
#[must_use]
pub fn facts(problem: &Problem) -> Vec<String> {
    let table = problem.table.as_ref().map(|table| format!("table {table}"));
    let key = (!problem.key_columns.is_empty()).then(|| format!("key ({})", problem.key_columns.join(", ")));
    let position = problem.position.as_ref().map(|position| format!("at {position}"));
    table.into_iter().chain(key).chain(position).chain([problem.code.clone()]).collect()
}

/// Everything is reloaded from a task that does not run.
fn reload(task: &Task, eye: Eye) -> Action {
    if matches!(task.status, TaskStatus::Starting | TaskStatus::Running | TaskStatus::Degraded) {
        return Action::post("Stop, to reload", format!("/tasks/{}/stop", task.id));
    }
    let action = Action::link("Reload all…", format!("/tasks/{}/reload", task.id));
    if eye.on_task { action.asks("ask-reload") } else { action }
}

fn resume(task: &Task) -> Action {
    Action::post("Resume", format!("/tasks/{}/resume", task.id)).main()
}

fn failed(task: &Task, eye: Eye) -> Option<ProblemCard> {
    let problem = task.problem.as_ref().filter(|_| task.status == TaskStatus::Failed)?;
    let card = ProblemCard::new(task, "failed", Tone::Bad, format!("failed: {}", problem.text), eye)
        .problem(problem)
        .since(task.status_since, eye);
    let way_out = match problem.fault {
        Fault::PositionLost => vec![reload(task, eye)],
        Fault::Settings => vec![Action::link("Edit", format!("/tasks/{}/edit", task.id)), resume(task)],
        _ => vec![resume(task)],
    };
    Some(capitalized(card, eye).actions(task, eye, way_out))
}

fn clean_up(task: &Task, eye: Eye) -> Option<ProblemCard> {
    let left = task.clean_up.as_ref().filter(|_| task.status == TaskStatus::CleanUpPending)?;
    let title = format!("something could not be removed: {}", left.problem.text);
    let mut card =
        ProblemCard::new(task, "clean-up", Tone::Warn, title, eye).problem(&left.problem).since(task.status_since, eye);
    let advice = "It is tried again by itself until it can be reached. If it never will be, run these statements there, then forget the task.";
    card.advice = Some(card.advice.map_or_else(|| advice.to_owned(), |own| format!("{own} {advice}")));
    card.statements.clone_from(&left.statements);
    let again = Action::link("Delete again…", format!("/tasks/{}/delete", task.id));
    let again = if eye.on_task { again.asks("ask-delete") } else { again };
    let forget = Action::link("Forget…", format!("/tasks/{}/forget", task.id)).risk();
    Some(capitalized(card, eye).actions(task, eye, [again, forget]))
}

/// A task that should run but whose worker has not been heard of.
fn silent(task: &Task, eye: Eye) -> Option<ProblemCard> {
    if !task.status.wants_worker() {
        return None;
    }
    let Some(holder) = &task.worker else {
        let waits = (eye.now - task.status_since).whole_seconds();
        let title = format!(
            "{} for {}, but no worker has taken it",
            task.status.word(),
            format::duration(waits.max(0).unsigned_abs())
        );
        let mut card = ProblemCard::new(task, "no-worker", Tone::Warn, title, eye).since(task.status_since, eye);
        card.advice =
            Some("Look whether a worker is alive, has a free place and has the connectors of both systems.".to_owned());
        let workers = Action::link("Workers", "/workers");
        return (waits > 15).then(|| capitalized(card, eye).actions(task, Eye { may_edit: true, ..eye }, [workers]));
    };
    let title = format!("worker {} has not been heard of; another one takes the task over", holder.name);
    let mut card = ProblemCard::new(task, "silent", Tone::Warn, title, eye).since(holder.renewed_at, eye);
    if task.status == TaskStatus::Stopping {
        card.title = format!(
            "{}stopping: worker {} has not been heard of",
            if eye.on_task { String::new() } else { format!("{}: ", task.name) },
            holder.name
        );
        card.advice = Some("It counts as stopped once another worker has raised the epoch in the target: only then nothing can be written any more.".to_owned());
    }
    holder.lapsed.then(|| {
        capitalized(card, eye).actions(task, Eye { may_edit: true, ..eye }, [Action::link("Workers", "/workers")])
    })
}

fn parked_table(task: &Task, since: OffsetDateTime, table: &TableProgress, eye: Eye) -> ProblemCard {
    let others = task.tables - task.parked;
    let on = match others {
        0 => String::new(),
        1 => ", 1 other goes on".to_owned(),
        _ => format!(", {} others go on", format::count(others.unsigned_abs())),
    };
    let reason = table.problem.as_ref().map_or_else(String::new, |problem| format!(": {}", problem.text));
    let title = format!("table {} is parked{on}{reason}", table.table);
    let what = format!("parked-{}", table.table);
    let mut card =
        ProblemCard::new(task, &what, if others == 0 { Tone::Bad } else { Tone::Warn }, title, eye).since(since, eye);
    if let Some(problem) = &table.problem {
        card = card.problem(problem);
        card.facts.retain(|fact| !fact.starts_with("table "));
    }
    let note = "Its changes are not kept while it is parked: the way back is to mend the cause and reload the table.";
    card.advice = Some(card.advice.map_or_else(|| note.to_owned(), |own| format!("{own} {note}")));
    let reload = Action::link("Reload table…", table_wish::href(task, &table.table, TableWish::Reload));
    capitalized(card, eye).actions(task, eye, task.kind.loads().then_some(reload))
}

fn waiting(task: &Task, eye: Eye) -> Option<ProblemCard> {
    let progress = task.progress.as_ref().filter(|_| task.status.wants_worker())?;
    let problem = progress.waiting_for.as_ref()?;
    let mut card =
        ProblemCard::new(task, "waiting", Tone::Warn, format!("trying again: {}", problem.text), eye).problem(problem);
    card.since = task.progress_at.map(|at| When::new(at, eye.now));
    if progress.retries > 0 {
        card.facts.insert(0, format!("{} so far", format::counted(progress.retries, "try", "tries")));
    }
    Some(capitalized(card, eye).actions(task, eye, []))
}

fn confirm_waits(task: &Task, eye: Eye) -> Option<ProblemCard> {
    let progress = task.progress.as_ref().filter(|_| task.status.wants_worker())?;
    let problem = progress.confirm_waits_for.as_ref()?;
    let title = format!("the source keeps its log although the target has it: {}", problem.text);
    let mut card = ProblemCard::new(task, "confirm-waits", Tone::Warn, title, eye).problem(problem);
    card.since = task.progress_at.map(|at| When::new(at, eye.now));
    Some(capitalized(card, eye).actions(task, eye, []))
}

fn log_kept(task: &Task, eye: Eye) -> Option<ProblemCard> {
    let progress = task.progress.as_ref()?;
    let problem = progress.log_problem.as_ref()?;
    let near_limit = matches!(problem.code.as_str(), "log-over-budget" | "log-near-limit");
    let tone = if near_limit { Tone::Bad } else { Tone::Warn };
    let title = format!("{}: {}", task.source_name, problem.text);
    let mut card = ProblemCard::new(task, "log-kept", tone, title, eye).problem(problem);
    let seen =
        progress.log_seen_at.and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000).ok());
    card.since = seen.or(task.progress_at).map(|at| When::new(at, eye.now));
    let limit = progress.log_limit_bytes;
    card.facts.extend(
        limit.map(|limit| {
            format!("the source drops it at {}; then everything must be loaded again", format::bytes(limit))
        }),
    );
    card.advice = Some(if task.status.wants_worker() {
        "See below which stage is slow; the log is let go as the target catches up.".to_owned()
    } else {
        "The task does not run: resume it, or delete it so that the slot is dropped.".to_owned()
    });
    let actions = if task.status.wants_worker() { vec![] } else { vec![resume(task)] };
    Some(capitalized(card, eye).actions(task, eye, actions))
}

/// A sentence that does not follow the task's name begins with a capital.
fn capitalized(mut card: ProblemCard, eye: Eye) -> ProblemCard {
    if eye.on_task {
        let mut letters = card.title.chars();
        card.title = letters
            .next()
            .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str());
    }
    card
}
