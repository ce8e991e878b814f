//! connector-postgres

pub mod pgoutput;
pub mod tls;
pub mod wire;
