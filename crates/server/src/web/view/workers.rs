//! The list of workers.

use askama::Template;
use time::OffsetDateTime;
use wavemark_domain::{TaskId, WorkerId};
use wavemark_store::workers::Worker;

use super::chip::{Chip, Tone};
use super::event::TaskLink;
use super::format;
use super::shell::Shell;
use super::when::When;

/// The list of workers.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/workers/list.html", blocks = ["live"])]
pub struct WorkerList {
    /// What is around it.
    pub shell: Shell,
    /// How many there are.
    pub headline: String,
    /// Whether buttons are shown.
    pub may_edit: bool,
    /// How to start one.
    pub commands: &'static str,
    /// The workers, alive ones first.
    pub workers: Vec<WorkerRow>,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct WorkerRow {
    /// Its id.
    pub id: String,
    /// Whether it is alive.
    pub chip: Chip,
    /// Its name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Its connectors.
    pub engines: String,
    /// When it was last heard of.
    pub seen: When,
    /// How long it has been up.
    pub since: When,
    /// Places taken.
    pub places: String,
    /// CPU.
    pub cpu: String,
    /// Memory.
    pub memory: String,
    /// What it runs.
    pub tasks: Vec<TaskLink>,
    /// Whether it can be asked to drain.
    pub may_drain: bool,
}

const COMMANDS: &str = "wavemark workers token eu-1        # prints the token once
WAVEMARK_SERVER=https://… WAVEMARK_WORKER_TOKEN=… wavemark worker";

/// Makes the list.
#[must_use]
pub fn list(
    shell: Shell,
    mut workers: Vec<Worker>,
    held: &[(WorkerId, TaskId, String)],
    may_edit: bool,
    now: OffsetDateTime,
) -> WorkerList {
    workers.sort_by(|a, b| b.alive.cmp(&a.alive).then_with(|| a.name.cmp(&b.name)));
    let alive = workers.iter().filter(|worker| worker.alive).count();
    let headline = match workers.len() {
        0 => "No workers".to_owned(),
        all => format!("{}, {alive} alive", format::counted(all as u64, "worker", "workers")),
    };
    let workers = workers.iter().map(|worker| row(worker, held, now)).collect();
    WorkerList { shell, headline, may_edit, commands: COMMANDS, workers }
}

fn row(worker: &Worker, held: &[(WorkerId, TaskId, String)], now: OffsetDateTime) -> WorkerRow {
    let chip = match (worker.alive, worker.draining) {
        (true, false) => Chip::new(Tone::Ok, "Alive"),
        (true, true) => Chip::new(Tone::Busy, "Draining"),
        (false, true) => Chip::new(Tone::Idle, "Drained and gone"),
        (false, false) => Chip::new(Tone::Bad, "Not heard of"),
    };
    let tasks = held.iter().filter(|(id, _, _)| *id == worker.id);
    WorkerRow {
        id: worker.id.to_string(),
        chip,
        name: worker.name.clone(),
        version: worker.version.clone(),
        engines: worker.engines.join(", "),
        seen: When::new(worker.seen_at, now),
        since: When::lasting(worker.registered_at, now),
        places: format!("{} of {}", worker.tasks, worker.places),
        cpu: format::or_unknown(worker.cpu_percent.filter(|_| worker.alive), |cpu| {
            format!("{cpu:.0}{}%", format::THIN)
        }),
        memory: format::or_unknown(worker.memory_bytes.filter(|_| worker.alive), |bytes| {
            format::bytes(bytes.max(0).unsigned_abs())
        }),
        tasks: tasks.map(|(_, id, name)| TaskLink { href: format!("/tasks/{id}"), name: name.clone() }).collect(),
        may_drain: worker.alive && !worker.draining,
    }
}
