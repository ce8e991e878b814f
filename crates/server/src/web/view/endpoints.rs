//! Endpoints: the list, the page of one with its test, and its form.

use askama::Template;
use time::OffsetDateTime;
use wavemark_connector::spec::SettingsSpec;
use wavemark_domain::check::Step;
use wavemark_domain::{EndpointId, Problem, Table};
use wavemark_store::endpoints::{Endpoint, EndpointRole};
use wavemark_store::tasks::Task;

use super::action::Ask;
use super::chip::{Chip, Tone};
use super::field::{Field, shown};
use super::format::{self, UNKNOWN};
use super::overview::Start;
use super::shell::Shell;
use super::task::Pair;
use super::when::When;

/// How many discovered tables are shown.
const MOST_TABLES: usize = 300;

/// The list.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/endpoints/list.html", blocks = ["live"])]
pub struct EndpointList {
    /// What is around it.
    pub shell: Shell,
    /// How many there are.
    pub headline: String,
    /// Whether buttons are shown.
    pub may_edit: bool,
    /// What stands there when there are none.
    pub start: Start,
    /// The endpoints by name.
    pub endpoints: Vec<EndpointRow>,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointRow {
    /// Its id.
    pub id: String,
    /// Where its page is.
    pub href: String,
    /// Its name.
    pub name: String,
    /// Its system.
    pub engine: String,
    /// Host, port and database.
    pub address: String,
    /// What it may be used as.
    pub role: String,
    /// How its last test went.
    pub chip: Chip,
    /// When that was.
    pub tested: Option<When>,
    /// How many tasks use it.
    pub tasks: usize,
}

/// Makes the list.
#[must_use]
pub fn list(
    shell: Shell,
    endpoints: &[Endpoint],
    tasks: &[Task],
    specs: &[SettingsSpec],
    may_edit: bool,
    now: OffsetDateTime,
) -> EndpointList {
    let rows = endpoints.iter().map(|endpoint| EndpointRow {
        id: endpoint.id.to_string(),
        href: format!("/endpoints/{}", endpoint.id),
        name: endpoint.name.clone(),
        engine: title(specs, &endpoint.engine).to_owned(),
        address: address(endpoint),
        role: role(endpoint.role).to_owned(),
        chip: chip(endpoint.test.as_deref()),
        tested: endpoint.tested_at.map(|at| When::new(at, now)),
        tasks: tasks.iter().filter(|task| uses(task, endpoint.id)).count(),
    });
    EndpointList {
        headline: format::counted(endpoints.len() as u64, "endpoint", "endpoints"),
        may_edit,
        start: Start::endpoint(),
        endpoints: rows.collect(),
        shell,
    }
}

/// The page of one endpoint.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/endpoints/endpoint.html", blocks = ["live"])]
pub struct EndpointPage {
    /// What is around it.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// How its last test went.
    pub chip: Chip,
    /// Its system.
    pub engine: String,
    /// What it may be used as.
    pub role: String,
    /// Host, port and database.
    pub address: String,
    /// Whether buttons are shown.
    pub may_edit: bool,
    /// Where its page is.
    pub href: String,
    /// Its test.
    pub test: Test,
    /// Its settings; secrets only as set or not.
    pub settings: Vec<Pair>,
    /// The tasks that use it.
    pub tasks: Vec<UsedBy>,
    /// When its tables were discovered.
    pub discovered_note: String,
    /// Its tables.
    pub tables: Vec<DiscoveredRow>,
    /// What stands there when there are none.
    pub no_tables: String,
    /// How many are not shown.
    pub more_tables: Option<String>,
    /// The question before it is deleted.
    pub asks: Vec<Ask>,
}

/// A test as it stands.
#[derive(Clone, Debug, Default)]
pub struct Test {
    /// When it was.
    pub note: String,
    /// What is going on.
    pub running: Option<String>,
    /// Why it could not be done.
    pub failed: Option<String>,
    /// What to do about that.
    pub advice: Option<String>,
    /// Its steps.
    pub steps: Vec<StepLine>,
    /// What stands there before the first.
    pub nothing: Option<&'static str>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct StepLine {
    /// How it went.
    pub tone: Tone,
    /// A sign for that.
    pub mark: &'static str,
    /// A word for that.
    pub word: &'static str,
    /// What was tried.
    pub name: String,
    /// What was found.
    pub text: String,
    /// The statement that mends it.
    pub mend: Option<String>,
}

/// A task that uses an endpoint.
#[derive(Clone, Debug)]
pub struct UsedBy {
    /// Its state.
    pub chip: Chip,
    /// Where its page is.
    pub href: String,
    /// Its name.
    pub name: String,
    /// As its source or its target.
    pub as_what: &'static str,
}

/// A discovered table.
#[derive(Clone, Debug)]
pub struct DiscoveredRow {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// How many columns it has.
    pub columns: usize,
    /// The columns of its key.
    pub key: String,
    /// About how many rows it has.
    pub rows: String,
    /// For sorting.
    pub rows_sort: String,
    /// About how large it is.
    pub bytes: String,
    /// For sorting.
    pub bytes_sort: String,
}

/// What is going on with an endpoint's test.
#[derive(Clone, Debug)]
pub enum Running {
    /// Nothing.
    No,
    /// No worker has taken it yet.
    Waiting,
    /// A worker is at it.
    Running,
    /// It could not be done.
    Failed(Problem),
}

/// Makes the page of one endpoint.
#[must_use]
#[expect(clippy::too_many_arguments, reason = "everything that the page shows, from one caller")]
pub fn endpoint(
    shell: Shell,
    endpoint: &Endpoint,
    spec: Option<&SettingsSpec>,
    tasks: &[Task],
    found: Option<(OffsetDateTime, &[Table])>,
    running: &Running,
    discovering: bool,
    may_edit: bool,
    now: OffsetDateTime,
) -> EndpointPage {
    let tables = found.map_or(&[][..], |(_, tables)| tables);
    let hidden = tables.len().saturating_sub(MOST_TABLES);
    let used: Vec<_> = tasks.iter().filter(|task| uses(task, endpoint.id)).collect();
    EndpointPage {
        name: endpoint.name.clone(),
        chip: chip(endpoint.test.as_deref()),
        engine: spec.map_or(endpoint.engine.as_str(), |spec| spec.title).to_owned(),
        role: role(endpoint.role).to_owned(),
        address: address(endpoint),
        may_edit,
        href: format!("/endpoints/{}", endpoint.id),
        test: test(endpoint, running, now),
        settings: spec.map_or_else(Vec::new, |spec| settings(endpoint, spec)),
        tasks: used.iter().map(|task| used_by(task, endpoint.id)).collect(),
        discovered_note: found.map_or_else(String::new, |(at, _)| {
            format!(
                "{}, discovered {}",
                format::counted(tables.len() as u64, "table", "tables"),
                When::new(at, now).relative
            )
        }),
        tables: tables.iter().take(MOST_TABLES).map(discovered).collect(),
        no_tables: match (discovering, found) {
            (true, _) => "A worker is looking for tables …",
            (false, None) => "Nobody has looked for tables yet: press Discover tables.",
            (false, Some(_)) => "There are no tables that this user may see.",
        }
        .to_owned(),
        more_tables: (hidden > 0).then(|| format!("and {} more", format::counted(hidden as u64, "table", "tables"))),
        asks: if may_edit { vec![ask_delete(endpoint, used.len())] } else { Vec::new() },
        shell,
    }
}

/// Asks before an endpoint is deleted.
#[must_use]
pub fn ask_delete(endpoint: &Endpoint, used: usize) -> Ask {
    Ask {
        id: "ask-delete",
        title: format!("Delete the endpoint {}?", endpoint.name),
        text: match used {
            0 => {
                "No task uses it. Its settings and secrets are removed; the database itself is not touched.".to_owned()
            }
            used => {
                format!("{} it: delete or edit them first.", format::counted(used as u64, "task uses", "tasks use"))
            }
        },
        confirm: Some(endpoint.name.clone()),
        action: format!("/endpoints/{}/delete", endpoint.id),
        button: "Delete",
        back: format!("/endpoints/{}", endpoint.id),
        ..Ask::default()
    }
}

/// The form of an endpoint.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/endpoints/form.html")]
pub struct EndpointForm {
    /// What is around it.
    pub shell: Shell,
    /// Its title.
    pub title: String,
    /// What went wrong, where it is about no field.
    pub error: Option<String>,
    /// Where it is sent.
    pub action: String,
    /// The system.
    pub engine: String,
    /// The other systems that a new one may be of: where their form is, and what they are called.
    pub others: Vec<(String, &'static str)>,
    /// The version that is edited.
    pub version: Option<i32>,
    /// Its fields.
    pub fields: Vec<Field>,
    /// The button.
    pub button: &'static str,
    /// Where *cancel* leads.
    pub back: String,
}

/// The systems' name for people.
#[must_use]
pub fn title<'a>(specs: &'a [SettingsSpec], engine: &'a str) -> &'a str {
    specs.iter().find(|spec| spec.engine == engine).map_or(engine, |spec| spec.title)
}

/// What an endpoint may be used as, in words.
#[must_use]
pub fn role(role: EndpointRole) -> &'static str {
    match role {
        EndpointRole::Source => "Source",
        EndpointRole::Target => "Target",
        EndpointRole::Both => "Source and target",
    }
}

fn uses(task: &Task, endpoint: EndpointId) -> bool {
    task.source == endpoint || task.target == endpoint
}

fn used_by(task: &Task, endpoint: EndpointId) -> UsedBy {
    UsedBy {
        chip: Chip::task(task.status, None, None),
        href: format!("/tasks/{}", task.id),
        name: task.name.clone(),
        as_what: if task.source == endpoint { "as its source" } else { "as its target" },
    }
}

fn address(endpoint: &Endpoint) -> String {
    let text = |name: &str| endpoint.settings.get(name).map(shown).filter(|text| !text.is_empty());
    let port = text("port").map_or_else(String::new, |port| format!(":{port}"));
    let database = text("database").map_or_else(String::new, |database| format!("/{database}"));
    text("host").map_or_else(|| UNKNOWN.to_owned(), |host| format!("{host}{port}{database}"))
}

fn chip(test: Option<&[Step]>) -> Chip {
    match test {
        None => Chip::new(Tone::Idle, "Not tested"),
        Some(steps) if steps.iter().all(|step| step.passed) => Chip::new(Tone::Ok, "Passed"),
        Some(_) => Chip::new(Tone::Bad, "Failed"),
    }
}

fn test(endpoint: &Endpoint, running: &Running, now: OffsetDateTime) -> Test {
    let mut test =
        Test { note: endpoint.tested_at.map_or_else(String::new, |at| When::new(at, now).relative), ..Test::default() };
    match running {
        Running::Waiting => test.running = Some("Waiting for a worker to take the test …".to_owned()),
        Running::Running => test.running = Some("A worker is connecting …".to_owned()),
        Running::Failed(problem) => {
            test.failed = Some(problem.text.clone());
            test.advice.clone_from(&problem.advice);
        }
        Running::No => {
            test.steps = endpoint.test.iter().flatten().map(step).collect();
            test.nothing = endpoint.test.is_none().then_some("A worker really connects and says for each step how it went: resolve, connect, TLS, log in, privileges, log settings.");
        }
    }
    test
}

fn step(step: &Step) -> StepLine {
    let (tone, mark, word) = if step.passed { (Tone::Ok, "✓", "passed") } else { (Tone::Bad, "✗", "failed") };
    StepLine { tone, mark, word, name: format::word(&step.name), text: step.text.clone(), mend: step.mend.clone() }
}

fn settings(endpoint: &Endpoint, spec: &SettingsSpec) -> Vec<Pair> {
    let value = |field: &wavemark_connector::spec::FieldSpec| {
        if field.secret {
            return if endpoint.secrets.iter().any(|name| name == field.name) { "set, never shown" } else { "not set" }
                .to_owned();
        }
        match (endpoint.settings.get(field.name).filter(|value| !value.is_null()), field.default) {
            (Some(value), _) if field.kind == wavemark_connector::spec::FieldKind::Pem => {
                format!("PEM, {}", format::bytes(shown(value).len() as u64))
            }
            (Some(value), _) => shown(value),
            (None, Some(default)) => format!("{default} (default)"),
            (None, None) => "not set".to_owned(),
        }
    };
    spec.fields.iter().map(|field| Pair { label: field.label.to_owned(), value: value(field) }).collect()
}

fn discovered(table: &Table) -> DiscoveredRow {
    use wavemark_domain::catalog::TableKind;
    DiscoveredRow {
        name: table.name.to_string(),
        kind: match table.kind {
            TableKind::Table => "Table",
            TableKind::Partitioned => "Partitioned",
            TableKind::View => "View",
        },
        columns: table.columns.len(),
        key: if table.key.is_empty() { "none".to_owned() } else { table.key.join(", ") },
        rows: format::or_unknown(table.rows_estimated, format::count),
        rows_sort: table.rows_estimated.map_or_else(String::new, |rows| rows.to_string()),
        bytes: format::or_unknown(table.bytes_estimated, format::bytes),
        bytes_sort: table.bytes_estimated.map_or_else(String::new, |bytes| bytes.to_string()),
    }
}
