//! End-to-end tests: real servers, the real program, a real browser. One program, so that it links once.

#![expect(clippy::unwrap_used, reason = "a failing step of a test is the test's failure")]

mod adoption;
mod at_the_target;
mod bad_input;
mod compare;
mod crash_points;
mod faults;
mod harness;
mod held_load;
mod limits;
mod mariadb;
mod mysql;
mod mysql_begin;
mod mysql_charsets;
mod mysql_failover;
mod mysql_family;
mod mysql_log;
mod mysql_logins;
mod mysql_schema;
mod mysql_statements;
mod mysql_sysbench;
mod mysql_tables;
mod mysql_target;
mod mysql_types;
mod new_tables;
mod outages;
mod pages;
mod replication;
mod schema_changes;
mod security_canaries;
mod security_revoked;
mod security_tls;
mod silence;
mod source_safety;
mod standbys;
mod storms;
mod switch;
mod tables;
mod tampering;
mod unfit;
mod unfit_in_family;
mod unfit_in_postgresql;
mod upgrade;
mod upheaval;
mod world;
