//! The server by HTTP, on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a failure in a helper is the failure of its test")]

#[path = "../../../store/tests/support/mod.rs"]
mod cluster;
mod support;

mod abuse;
mod auth;
mod contract;
mod endpoints;
mod objects;
mod openapi;
mod pages;
mod revoked;
mod roles;
mod tasks;
mod tls;
mod workers;
