//! The page of everything that happened.

use askama::Template;

use super::event::EventLine;
use super::field::Choice;
use super::shell::Shell;

/// Everything that happened, newest first.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/events/list.html", blocks = ["live"])]
pub struct EventList {
    /// What is around it.
    pub shell: Shell,
    /// How loud.
    pub severities: Vec<Choice>,
    /// Of which task.
    pub tasks: Vec<Choice>,
    /// How old at most.
    pub spans: Vec<Choice>,
    /// Of which kind.
    pub code: String,
    /// Whether anything is filtered by.
    pub any: bool,
    /// The lines.
    pub events: Vec<EventLine>,
    /// What stands there when there are none.
    pub nothing: &'static str,
    /// Where the older ones are.
    pub more: Option<String>,
}
