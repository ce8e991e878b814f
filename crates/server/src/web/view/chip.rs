//! A state: a colour, a shape and a word, the same word as in the API.

use std::fmt;

use askama::filters::HtmlSafe;
use wavemark_domain::progress::{Phase, Severity};
use wavemark_domain::state::{TableState, TaskStatus};

use super::format;

/// What a colour and a shape stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Ok,
    /// Something goes on that ends by itself.
    Busy,
    /// Someone should look.
    Warn,
    /// Someone must act.
    Bad,
    /// Nothing goes on.
    Idle,
}

impl Tone {
    /// The class that carries colour and shape.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }
}

/// A state as pages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Colour and shape.
    pub tone: Tone,
    /// The word.
    pub text: String,
}

impl Chip {
    /// A chip of one's own words; they must not need escaping.
    #[must_use]
    pub fn new(tone: Tone, text: &'static str) -> Self {
        Self { tone, text: text.to_owned() }
    }

    /// A task's status, with what it is doing where that says more.
    #[must_use]
    pub fn task(status: TaskStatus, phase: Option<Phase>, loaded: Option<u8>) -> Self {
        let tone = match status {
            TaskStatus::Running => Tone::Ok,
            TaskStatus::Starting | TaskStatus::Stopping | TaskStatus::Deleting => Tone::Busy,
            TaskStatus::Degraded | TaskStatus::CleanUpPending => Tone::Warn,
            TaskStatus::Failed => Tone::Bad,
            TaskStatus::Ready | TaskStatus::Stopped => Tone::Idle,
        };
        let word = format::word(status.word());
        let runs = matches!(status, TaskStatus::Running | TaskStatus::Degraded);
        let doing = phase.filter(|_| runs).and_then(|phase| doing(phase, loaded));
        let tone = if status == TaskStatus::Running && doing.is_some() { Tone::Busy } else { tone };
        Self { tone, text: doing.map_or_else(|| word.clone(), |doing| format!("{word} · {doing}")) }
    }

    /// A table's state.
    #[must_use]
    pub fn table(state: TableState) -> Self {
        let tone = match state {
            TableState::Live | TableState::Done => Tone::Ok,
            TableState::Loading | TableState::CatchingUp => Tone::Busy,
            TableState::Parked => Tone::Bad,
            TableState::Waiting => Tone::Idle,
        };
        Self { tone, text: format::word(state.word()) }
    }

    /// How loud an event is, by its word.
    #[must_use]
    pub fn severity(word: &str) -> Self {
        match word {
            "error" => Self::new(Tone::Bad, "Error"),
            "warning" => Self::new(Tone::Warn, "Warning"),
            _ => Self::new(Tone::Idle, "Info"),
        }
    }
}

/// The word of a severity in the store and in addresses.
#[must_use]
pub fn severity_from_word(word: &str) -> Option<Severity> {
    match word {
        "info" => Some(Severity::Info),
        "warning" => Some(Severity::Warning),
        "error" => Some(Severity::Error),
        _ => None,
    }
}

fn doing(phase: Phase, loaded: Option<u8>) -> Option<String> {
    Some(match phase {
        Phase::Preparing => "preparing".to_owned(),
        Phase::Loading => {
            loaded.map_or_else(|| "loading".to_owned(), |share| format!("loading {share}{}%", format::THIN))
        }
        Phase::Finishing => "finishing the load".to_owned(),
        Phase::Retrying => "retrying".to_owned(),
        Phase::CleaningUp => "cleaning up".to_owned(),
        Phase::Following => return None,
    })
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<span class="chip {}">{}</span>"#, self.tone.class(), self.text)
    }
}

/// Its words come from this file and from enums of the domain.
impl HtmlSafe for Chip {}

impl askama::FastWritable for Chip {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_task_says_what_it_does_until_it_follows() {
        assert_eq!(Chip::task(TaskStatus::Running, Some(Phase::Following), None), Chip::new(Tone::Ok, "Running"));
        let loading = Chip::task(TaskStatus::Running, Some(Phase::Loading), Some(63));
        assert_eq!(loading.text, "Running · loading 63\u{202f}%");
        assert_eq!(loading.tone, Tone::Busy);
    }

    #[test]
    fn a_stopped_task_does_not_say_what_it_did() {
        assert_eq!(Chip::task(TaskStatus::Stopped, Some(Phase::Loading), Some(5)), Chip::new(Tone::Idle, "Stopped"));
    }
}
