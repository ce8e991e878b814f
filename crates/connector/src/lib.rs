//! What a connector is: one system that Wavemark reads from, writes to, or both.
//!
//! The engine knows only the traits of this crate; a connector knows this crate and nothing of the engine. The
//! docs of the traits are contracts: what the caller guarantees, what the implementor must do, what is durable
//! when, and what may be cancelled. `testkit` holds a simulated source and target that keep the same contracts
//! in memory, from a seed.

pub mod compare;
pub mod crash;
pub mod fence;
pub mod fidelity;
pub mod needs;
pub mod source;
pub mod spec;
pub mod spill;
pub mod target;
pub mod testkit;
pub mod touched;
pub mod unfit;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use wavemark_domain::catalog::Table;
use wavemark_domain::check::Step;
use wavemark_domain::ids::Generation;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, Problem, TaskId};

pub use source::Source;
pub use spec::SettingsSpec;
pub use target::Target;

/// The settings of one endpoint, as validated against its connector's [`SettingsSpec`].
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// The endpoint's name, for messages.
    pub name: String,
    /// Settings without secrets, a JSON object.
    pub values: serde_json::Value,
    /// Secrets by name.
    pub secrets: BTreeMap<String, SecretString>,
}

/// One system. Stateless: all state is in what its methods return.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Its name, roles and settings.
    fn spec(&self) -> SettingsSpec;

    /// A source on the endpoint. Does no I/O; fails with [`wavemark_domain::Fault::Settings`] only.
    fn source(&self, endpoint: &EndpointSettings) -> Result<Arc<dyn Source>, Problem>;

    /// A target on the endpoint. Does no I/O; fails with [`wavemark_domain::Fault::Settings`] only.
    fn target(&self, endpoint: &EndpointSettings) -> Result<Arc<dyn Target>, Problem>;

    /// Really connects and does what a task would need, step by step: resolve, connect, TLS, log in, rights, log
    /// settings. Each step is sent to `steps` as it ends; the first failed step that others need ends the test.
    async fn test(
        &self,
        endpoint: &EndpointSettings,
        as_source: bool,
        as_target: bool,
        steps: &mut (dyn FnMut(Step) + Send),
    );

    /// Every table that the endpoint's user may read, with columns, keys and row estimates.
    async fn discover(&self, endpoint: &EndpointSettings) -> Result<Vec<Table>, Problem>;
}

/// Which task a source or target works for, and with what.
#[derive(Clone, Debug)]
pub struct TaskContext {
    /// Which task.
    pub task: TaskId,
    /// Its name, for people who look at the source or target.
    pub name: String,
    /// Which life of its artefacts: their names carry it.
    pub generation: Generation,
    /// The grant that this run has.
    pub epoch: Epoch,
    /// Whether this is the first grant of this generation: only then may the target's row be made.
    pub first_grant: bool,
    /// What it does.
    pub kind: TaskKind,
    /// Its settings.
    pub settings: TaskSettings,
    /// Where transactions larger than the memory may be put; made by whoever writes there.
    pub spill_dir: PathBuf,
}
