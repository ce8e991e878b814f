//! What the end-to-end tests, the demo, the benchmark and the fault cycles have in common: private clusters, the
//! real program, a client of its API, a realistic source with writers, and ways to tell whether a copy is exact.

pub mod api;
pub mod bank;
pub mod browser;
pub mod cluster;
pub mod compare;
pub mod faults;
pub mod fidelity;
pub mod guard;
pub mod installation;
pub mod mariadb;
pub mod mysql;
pub mod mysql_family;
pub mod order;
pub mod pair;
pub mod process;
pub mod proxy;
pub mod shop;
pub mod signal;
pub mod system;
mod template;
pub mod trade;
