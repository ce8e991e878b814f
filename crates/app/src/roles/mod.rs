//! What one process does: server, worker, or both.

mod cluster;
pub(crate) mod server;
pub(crate) mod up;
pub(crate) mod worker;
