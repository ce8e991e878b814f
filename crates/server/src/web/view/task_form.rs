//! The form of a new task, and of an edited one.

use std::collections::HashMap;

use askama::Template;
use wavemark_domain::task::TaskKind;

use super::field::{Choice, Field, choices};
use super::overview::Start;
use super::preview::Preview;
use super::shell::Shell;
use super::task_settings::FieldGroup;

/// The form of a task.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/tasks/form.html")]
pub struct TaskForm {
    /// What is around it.
    pub shell: Shell,
    /// Its title.
    pub title: String,
    /// What went wrong, where it is about no field.
    pub error: Option<String>,
    /// What must be there first.
    pub missing: Option<Start>,
    /// Where it is sent.
    pub action: String,
    /// Whether it makes a new task.
    pub creates: bool,
    /// Name, kind, source, target.
    pub basics: Vec<Field>,
    /// The mapping as typed.
    pub mappings: String,
    /// What is wrong with the mapping.
    pub mapping_error: Option<String>,
    /// What the mapping gives.
    pub preview: Preview,
    /// The settings that matter most.
    pub settings: Vec<Field>,
    /// The others.
    pub more_settings: Vec<FieldGroup>,
    /// Whether the others are shown.
    pub more_open: bool,
    /// The button.
    pub button: &'static str,
    /// Where *cancel* leads.
    pub back: String,
}

/// What was typed.
pub type Typed = HashMap<String, String>;

/// The mapping that a new task starts with.
pub const FIRST_MAPPING: &str = r#"{
  "rules": [
    {
      "rule-type": "selection",
      "rule-id": "1",
      "rule-name": "all of public",
      "object-locator": { "schema-name": "public", "table-name": "%" },
      "rule-action": "include"
    }
  ]
}"#;

const KINDS: [(TaskKind, &str); 3] =
    [(TaskKind::FullLoadAndCdc, "Load and follow"), (TaskKind::FullLoad, "Load only"), (TaskKind::Cdc, "Follow only")];

/// Name, kind, source and target.
#[must_use]
pub fn basics(typed: &Typed, sources: Vec<Choice>, targets: Vec<Choice>, error: Option<(&str, &str)>) -> Vec<Field> {
    let value = |name: &str| typed.get(name).cloned().unwrap_or_default();
    let kinds = KINDS.iter().map(|(kind, label)| (kind.word(), *label));
    vec![
        Field::text("name", "Name", value("name"))
            .required()
            .hint("For people and in addresses, e.g. shop-to-analytics.")
            .wrong(error),
        Field::choice("kind", "What it does", choices(kinds, &value("kind"))).wrong(error),
        Field::choice("source", "Source", sources).required().hint("Read from.").wrong(error),
        Field::choice("target", "Target", targets).required().hint("Written to.").wrong(error),
    ]
}
