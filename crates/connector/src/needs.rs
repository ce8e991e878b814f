//! How many connections a task opens at a system, so that they can be counted before they are opened.

/// The most connections that one task has open at one system at once, by what they are for. Short ones are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// While the log is followed, and from the task's start on.
    pub follow: u16,
    /// Beside that, for a load with one reader or one loader. Each further reader or loader needs one more.
    pub load: u16,
    /// Beside that, for a comparison that reads in one session. Each further session needs one more.
    pub compare: u16,
}

impl Needs {
    /// What a task that begins must find free.
    #[must_use]
    pub const fn least(self) -> u16 {
        self.follow + self.load
    }
}
