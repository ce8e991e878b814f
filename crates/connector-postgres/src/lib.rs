//! connector-postgres
