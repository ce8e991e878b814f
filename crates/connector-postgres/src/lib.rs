//! connector-postgres

pub mod native;
pub mod pgoutput;
pub mod tls;
pub mod wire;
