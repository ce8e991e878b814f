//! What happened, as lines.

use time::OffsetDateTime;
use wavemark_store::events::Event;

use super::chip::Chip;
use super::problem;
use super::when::When;

/// One line.
#[derive(Clone, Debug)]
pub struct EventLine {
    /// Its number.
    pub id: i64,
    /// When.
    pub when: When,
    /// How loud it is.
    pub chip: Chip,
    /// One sentence.
    pub text: String,
    /// The task, if it is about one.
    pub task: Option<TaskLink>,
    /// Table, key columns, position, code, configuration.
    pub facts: Vec<String>,
    /// What to do.
    pub advice: Option<String>,
}

/// A link to a task.
#[derive(Clone, Debug)]
pub struct TaskLink {
    /// Where it leads.
    pub href: String,
    /// The task's name.
    pub name: String,
}

impl EventLine {
    /// The line of an event; on a task's own page the task is not named.
    #[must_use]
    pub fn new(event: &Event, on_task: bool, now: OffsetDateTime) -> Self {
        let task = event.task.filter(|_| !on_task).zip(event.task_name.clone());
        let mut facts = vec![event.code.clone()];
        if let Some(problem) = &event.problem {
            facts = problem::facts(problem);
            facts.extend(problem.server_code.clone());
        } else {
            facts.extend(event.table.as_ref().map(|table| format!("table {table}")));
        }
        facts.extend(event.config_version.map(|version| format!("configuration {version}")));
        facts.extend(event.epoch.map(|epoch| format!("epoch {epoch}")));
        Self {
            id: event.id,
            when: When::new(event.at, now),
            chip: Chip::severity(&event.severity),
            text: event.text.clone(),
            task: task.map(|(id, name)| TaskLink { href: format!("/tasks/{id}"), name }),
            facts,
            advice: event.problem.as_ref().and_then(|problem| problem.advice.clone()),
        }
    }
}
