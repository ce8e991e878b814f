//! Who may open a target, by what its fence holds: the same for every system.

use std::cmp::Ordering;

use wavemark_domain::ids::Generation;
use wavemark_domain::{Epoch, Fault, Problem};

use crate::TaskContext;
use crate::target::OpenError;

/// The fence's row of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// In which life of its artefacts the task was opened last.
    pub generation: Generation,
    /// The highest epoch under which it was opened.
    pub epoch: Epoch,
    /// Whether the task was deleted.
    pub tombstone: bool,
}

impl Held {
    /// Whether the row lets the task's holder in.
    ///
    /// # Errors
    /// A higher epoch or a later generation is there, or the target and the metadata don't know of each other.
    pub fn admit(&self, task: &TaskContext) -> Result<(), OpenError> {
        let fenced = Err(OpenError::Fenced { held: self.epoch, generation: Some(self.generation) });
        match self.generation.0.cmp(&task.generation.0) {
            Ordering::Greater => fenced,
            Ordering::Equal if self.tombstone => Err(buried(task).into()),
            // An epoch counts grants of the task in all its generations, so it may not go back with a later one either.
            Ordering::Equal | Ordering::Less if self.epoch.0 > task.epoch.0 => fenced,
            Ordering::Equal => Ok(()),
            Ordering::Less if task.first_grant => Ok(()),
            Ordering::Less => Err(forgotten(task).into()),
        }
    }
}

/// A task that has run before finds nothing of it.
#[must_use]
pub fn forgotten(task: &TaskContext) -> Problem {
    let text = format!("The target database holds nothing about task {}, though the task has run before.", task.name);
    Problem::new(Fault::Settings, "target-forgotten", text)
        .advice("Check that the endpoint points at the same database as before; else reload the task.")
}

fn buried(task: &TaskContext) -> Problem {
    let text = format!("The target database says that task {} was deleted.", task.name);
    Problem::new(Fault::Settings, "task-deleted", text).advice(
        "If the metadata was restored from an older backup, delete the task here, too; a reload begins it anew.",
    )
}
