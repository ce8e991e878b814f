//! What server and worker say to each other: JSON over HTTPS, the worker always dials.
//!
//! Every path is below [`PREFIX`] and carries the worker's token as `Authorization: Bearer`. Each request carries
//! [`spoken`] in the header [`VERSION_HEADER`]; a server that speaks another major version answers 426 with a sentence that
//! names both.
//!
//! | path | message | answer |
//! |---|---|---|
//! | `POST /register` | [`Register`] | [`Registered`] |
//! | `POST /poll` (waits up to `wait_seconds`) | [`Poll`] | [`Work`] |
//! | `POST /report` (about once a second, all tasks at once) | [`Report`] | [`ReportAnswer`] |
//! | `POST /jobs/{id}` | [`JobOutcome`] | empty, 204 |

pub mod job;
pub mod lease;
pub mod report;

pub use job::{JobGrant, JobOutcome, JobWork};
pub use lease::{EndpointConfig, LeaseGrant, LeaseWork, Secrets};
pub use report::{Instruction, Report, ReportAnswer, RunState, TaskAnswer, TaskReport};

use serde::{Deserialize, Serialize};
use wavemark_domain::WorkerId;

/// The major version of this protocol: peers of the same one work together, others refuse each other. A change that an
/// older peer would misread makes the next: a new kind of job, a new setting of a task, a new word of an enum, another
/// default.
pub const VERSION: u32 = 2;
/// Counts what was added since the major version began and an older peer does no harm by not knowing: a field that has a
/// default, a message that is not needed.
pub const MINOR: u32 = 3;
/// The header that carries [`spoken`].
pub const VERSION_HEADER: &str = "wavemark-protocol";
/// What every path starts with.
pub const PREFIX: &str = "/worker/v1";

/// What a peer of this version says that it speaks: `major.minor`.
#[must_use]
pub fn spoken() -> String {
    format!("{VERSION}.{MINOR}")
}

/// Whether a peer that speaks this is understood. The first version said its number alone.
#[must_use]
pub fn understands(spoken: &str) -> bool {
    let major = spoken.split_once('.').map_or(spoken, |(major, _)| major);
    major.parse() == Ok(VERSION)
}

/// A worker introduces itself; sent at start and whenever the server says that it doesn't know the worker (404).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Register {
    /// A name for people, usually the host's.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// How many tasks it takes at once.
    pub places: u16,
    /// The systems whose connectors it has.
    pub engines: Vec<String>,
}

/// What the server says to a new worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// Its id from now on.
    pub worker: WorkerId,
    /// How long a lease lasts after a report, in seconds.
    pub lease_seconds: u32,
    /// How often to report, in milliseconds.
    pub report_millis: u32,
}

/// A worker asks for work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Poll {
    /// Who asks.
    pub worker: WorkerId,
    /// How many more tasks it takes; 0 while it drains.
    pub free_places: u16,
    /// How long the server may wait before it answers with nothing.
    pub wait_seconds: u16,
    /// The highest [`Work::last_ask`] that it heard. Without it the poll waits for work alone (since 2.1).
    #[serde(default)]
    pub last_ask: Option<i64>,
}

/// What there is to do.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Work {
    /// Tasks that the worker holds from now on.
    pub leases: Vec<LeaseGrant>,
    /// Short jobs.
    pub jobs: Vec<JobGrant>,
    /// The number of the last thing that a person asked of the tasks that the worker holds. If it is news, the worker
    /// reports at once: the answer says what is asked (since 2.1).
    #[serde(default)]
    pub last_ask: i64,
}
