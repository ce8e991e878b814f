//! The list of tasks with its filters.

use askama::Template;
use time::OffsetDateTime;
use wavemark_domain::state::TaskStatus;

use super::field::{Choice, choices};
use super::format;
use super::overview::Start;
use super::shell::Shell;
use super::task_row::{self, Standing, TaskRow};

/// The list of tasks.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/tasks/list.html", blocks = ["live"])]
pub struct TaskList {
    /// What is around it.
    pub shell: Shell,
    /// How many there are.
    pub headline: String,
    /// Whether buttons are shown.
    pub may_edit: bool,
    /// What is filtered by.
    pub filter: Filter,
    /// The tasks, worst first.
    pub tasks: Vec<TaskRow>,
    /// What stands there when there are none.
    pub nothing: Start,
    /// Where there are more.
    pub more: Option<String>,
}

/// What is filtered by.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of a name.
    pub text: String,
    /// The states to choose from.
    pub statuses: Vec<Choice>,
    /// Whether anything is filtered by.
    pub any: bool,
}

const STATUSES: [TaskStatus; 9] = [
    TaskStatus::Failed,
    TaskStatus::Degraded,
    TaskStatus::Running,
    TaskStatus::Starting,
    TaskStatus::Stopping,
    TaskStatus::Stopped,
    TaskStatus::Ready,
    TaskStatus::Deleting,
    TaskStatus::CleanUpPending,
];

impl Filter {
    /// A filter by part of a name and a state.
    #[must_use]
    pub fn new(text: &str, status: Option<TaskStatus>) -> Self {
        let all = [(String::new(), "Any state".to_owned())];
        let words = STATUSES.iter().map(|status| (status.word().to_owned(), format::word(status.word())));
        Self {
            text: text.to_owned(),
            statuses: choices(all.into_iter().chain(words), status.map_or("", TaskStatus::word)),
            any: !text.is_empty() || status.is_some(),
        }
    }
}

/// Makes the list.
#[must_use]
pub fn list(
    shell: Shell,
    mut standings: Vec<Standing>,
    filter: Filter,
    may_edit: bool,
    now: OffsetDateTime,
) -> TaskList {
    task_row::sort(&mut standings);
    let nothing = if filter.any {
        Start {
            title: "No such task",
            text: vec!["No task has this state and this text in its name or in the name of an endpoint."],
            button: "New task",
            href: "/tasks/new",
            commands: "",
        }
    } else {
        Start::task()
    };
    TaskList {
        headline: format::counted(standings.len() as u64, "task", "tasks"),
        may_edit,
        filter,
        tasks: standings.iter().map(|standing| TaskRow::new(standing, now)).collect(),
        nothing,
        more: None,
        shell,
    }
}
