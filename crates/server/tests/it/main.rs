//! The server by HTTP, on a real PostgreSQL.

#[path = "../../../store/tests/support/mod.rs"]
mod cluster;
mod support;

mod auth;
mod endpoints;
mod openapi;
mod roles;
mod tasks;
mod workers;
