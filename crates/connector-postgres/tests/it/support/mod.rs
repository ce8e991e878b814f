//! What tests share.

pub(crate) mod certificates;
mod cluster;
pub(crate) mod journey;
pub(crate) mod pair;
pub(crate) mod pooler;
pub(crate) mod run;
pub(crate) mod stream;
pub(crate) mod task;
pub(crate) mod types;

pub(crate) use cluster::{Cluster, PASSWORD, free_port};
