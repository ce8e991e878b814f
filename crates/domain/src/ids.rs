//! Ids are types: no bare number or `Uuid` crosses a function when it means something.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

uuid_id! {
    /// One system with its connection settings.
    EndpointId,
    /// One replication: source endpoint, target endpoint, mappings, settings.
    TaskId,
    /// A process that runs tasks.
    WorkerId,
    /// A person or a program that may log in.
    UserId,
    /// A short piece of work for a worker: test an endpoint, discover its tables, assess a task.
    JobId,
    /// A revocable secret for programs.
    TokenId,
}

macro_rules! number_id {
    ($($(#[$doc:meta])* $name:ident($inner:ty)),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

number_id! {
    /// The number of a lease's grant for one task: each grant is one higher than the last.
    Epoch(i64),
    /// The number of a wave within one task; waves count up by one.
    WaveNumber(i64),
    /// A table within one running task: an index into its plan, never stored.
    TableId(u32),
    /// Counts the configurations of a task; each edit makes the next.
    ConfigVersion(i32),
    /// Counts the lives of a task's artefacts: a reload of all makes the next.
    Generation(i32),
}

impl TableId {
    /// The id as an index into the plan's tables.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl WaveNumber {
    /// The number of the wave after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
