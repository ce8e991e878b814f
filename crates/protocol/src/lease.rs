//! The right to run a task, with everything needed to run it.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use wavemark_domain::ids::{ConfigVersion, Generation};
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, TableOrder, TaskId};

/// One task for one worker. Sent only to the worker that holds the lease, for it carries secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Which task.
    pub task: TaskId,
    /// Its name, for logs and for names in the source.
    pub name: String,
    /// This grant's number; higher than any before.
    pub epoch: Epoch,
    /// Which life of the task's artefacts this is; names in the source carry it.
    pub generation: Generation,
    /// Whether no worker is known to have opened the target in this generation (none reported a bookmark or a phase
    /// past *preparing*): only then may the target's row be made. A row that is there already is taken over.
    pub first_grant: bool,
    /// Run it or remove what it left.
    pub work: LeaseWork,
    /// The configuration's version, echoed in events.
    pub config_version: ConfigVersion,
    /// What it does.
    pub kind: TaskKind,
    /// Where from.
    pub source: EndpointConfig,
    /// Where to.
    pub target: EndpointConfig,
    /// The table mappings (`{"rules": […]}`).
    pub mappings: serde_json::Value,
    /// Its settings.
    #[serde(serialize_with = "wavemark_domain::task::sparse")]
    pub settings: TaskSettings,
    /// What is asked of single tables.
    #[serde(default)]
    pub orders: Vec<TableOrder>,
}

/// What to do with a leased task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseWork {
    /// Load and follow from wherever the target says that it is.
    Run,
    /// Raise the epoch in the target and report `Ended`: the worker that ran it could not be reached.
    Stop,
    /// Remove slot, publication and bookmark; leave a tombstone.
    CleanUp,
}

/// One system as a worker needs it.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndpointConfig {
    /// Its name, for messages.
    pub name: String,
    /// Which connector.
    pub engine: String,
    /// The settings without secrets, as the connector's spec describes them.
    pub settings: serde_json::Value,
    /// The secrets by name.
    pub secrets: Secrets,
}

/// Secrets by name; shown by no `Debug`, serialized only here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Secrets(pub BTreeMap<String, SecretString>);

impl Serialize for Secrets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, secret)| (name, secret.expose_secret())))
    }
}
