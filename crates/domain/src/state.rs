//! The lives of a task and of a table in it: one enum each, with a checked `next`.

use serde::{Deserialize, Serialize};

/// The status of a task, with the words that AWS DMS uses, plus *degraded*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskStatus {
    /// Never started.
    Ready,
    /// Start was asked for; no worker runs it yet.
    Starting,
    /// A worker runs it and all of its tables are well.
    Running,
    /// A worker runs it and at least one table is parked.
    Degraded,
    /// Stop was asked for; the worker has not confirmed it, or could not be reached.
    Stopping,
    /// No worker runs it; it can be resumed.
    Stopped,
    /// No worker runs it, because of an error that a person must look at.
    Failed,
    /// Deletion was asked for; slot, publication and bookmark are being removed.
    Deleting,
    /// Deleted, but something could not be reached: its statements wait for a person.
    CleanUpPending,
}

/// What moves a task from one status to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskEvent {
    /// A person asks for start, resume or reload.
    StartAsked,
    /// A person asks for stop, or a policy does.
    StopAsked,
    /// A person asks for deletion.
    DeleteAsked,
    /// A worker reports that it runs the task, every table well.
    Runs,
    /// A worker reports that it runs the task with a table parked.
    RunsDegraded,
    /// A worker reports that the task ended as asked, or was finished.
    Ended,
    /// A worker reports an error that ends the task.
    Broke,
    /// The lease lapsed: another worker takes over.
    LeaseLapsed,
    /// The clean-up left something behind.
    CleanUpFailed,
}

impl TaskStatus {
    /// The status after an event, or `None` if the event can't happen in this status.
    #[must_use]
    #[expect(clippy::match_same_arms, reason = "a line per transition reads as the table that it is")]
    pub fn next(self, event: TaskEvent) -> Option<Self> {
        use TaskEvent as E;
        Some(match (self, event) {
            (Self::Ready | Self::Stopped | Self::Failed, E::StartAsked) => Self::Starting,
            (Self::Starting | Self::Running | Self::Degraded, E::StopAsked) => Self::Stopping,
            (Self::Ready | Self::Stopped | Self::Failed | Self::CleanUpPending, E::DeleteAsked) => Self::Deleting,
            (Self::Starting | Self::Running | Self::Degraded, E::Runs) => Self::Running,
            (Self::Starting | Self::Running | Self::Degraded, E::RunsDegraded) => Self::Degraded,
            (Self::Stopping, E::Runs | E::RunsDegraded | E::LeaseLapsed) => Self::Stopping,
            (Self::Starting | Self::Running | Self::Degraded, E::LeaseLapsed) => Self::Starting,
            (Self::Starting | Self::Running | Self::Degraded | Self::Stopping, E::Ended) => Self::Stopped,
            (Self::Starting | Self::Running | Self::Degraded | Self::Stopping, E::Broke) => Self::Failed,
            // Its log was let go while nobody ran it.
            (Self::Stopped, E::Broke) => Self::Failed,
            (Self::Deleting | Self::CleanUpPending, E::CleanUpFailed) => Self::CleanUpPending,
            (Self::CleanUpPending, E::LeaseLapsed) => Self::CleanUpPending,
            (Self::Deleting, E::LeaseLapsed) => Self::Deleting,
            _ => return None,
        })
    }

    /// Whether a worker should hold this task.
    #[must_use]
    pub fn wants_worker(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Degraded | Self::Stopping | Self::Deleting)
    }

    /// Whether a worker removes what the task left: as soon as it can, and again and again while something is away.
    #[must_use]
    pub fn is_cleaned_up(self) -> bool {
        matches!(self, Self::Deleting | Self::CleanUpPending)
    }

    /// The word used in the API, on pages and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::CleanUpPending => "clean-up-pending",
        }
    }

    /// Reads [`TaskStatus::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }
}

/// The life of one table in one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableState {
    /// Its load has not begun.
    Waiting,
    /// Its chunks are being copied.
    Loading,
    /// Its rows are there as of its load position; the log up to now is being applied.
    CatchingUp,
    /// It equals the source as of the bookmark.
    Live,
    /// It was left behind with an error; the others go on.
    Parked,
    /// Loaded, and nothing more is to come (full-load tasks).
    Done,
}

impl TableState {
    /// The word used in the API, on pages and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Loading => "loading",
            Self::CatchingUp => "catching-up",
            Self::Live => "live",
            Self::Parked => "parked",
            Self::Done => "done",
        }
    }

    /// Reads [`TableState::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_task_must_be_stopped_before_it_is_deleted() {
        assert_eq!(TaskStatus::Running.next(TaskEvent::DeleteAsked), None);
        assert_eq!(TaskStatus::Running.next(TaskEvent::StopAsked), Some(TaskStatus::Stopping));
        assert_eq!(TaskStatus::Stopping.next(TaskEvent::Ended), Some(TaskStatus::Stopped));
        assert_eq!(TaskStatus::Stopped.next(TaskEvent::DeleteAsked), Some(TaskStatus::Deleting));
    }

    #[test]
    fn a_stop_that_was_asked_for_outlives_a_lapsed_lease() {
        assert_eq!(TaskStatus::Stopping.next(TaskEvent::LeaseLapsed), Some(TaskStatus::Stopping));
    }

    #[test]
    fn words_read_back() {
        for status in [TaskStatus::Ready, TaskStatus::Degraded, TaskStatus::CleanUpPending] {
            assert_eq!(TaskStatus::from_word(status.word()), Some(status));
        }
        assert_eq!(TaskStatus::from_word("asleep"), None);
        assert_eq!(TableState::from_word("catching-up"), Some(TableState::CatchingUp));
    }
}
