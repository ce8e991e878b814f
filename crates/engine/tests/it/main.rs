//! The engine between a simulated source and a simulated target, on virtual time.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bounds;
mod compares;
mod conflicts;
mod keys;
mod layouts;
mod log_budget;
mod passing;
mod policies;
mod progress;
mod simulation;
mod stopping;
mod support;
