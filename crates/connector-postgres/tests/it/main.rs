//! The connector on real PostgreSQL servers: one program, so that what waits in one test leaves room for another.

#![expect(clippy::unwrap_used, reason = "tests")]

mod assessment;
mod bounds;
mod columns;
mod compare;
mod conflicts;
mod constraints;
mod contract;
mod copy_out;
mod discovery;
mod dropped;
mod encodings;
mod endpoint;
mod events;
mod existing;
mod failover;
mod follow;
mod hand_over;
mod hostile;
mod inherited;
mod large_rows;
mod layouts;
mod left_out;
mod load;
mod load_only;
mod login;
mod managed;
mod old_server;
mod pair;
mod pooler;
mod recording;
mod renamed;
mod replication;
mod row_security;
mod rows;
mod semantics;
mod slots;
mod standby;
mod support;
mod told;
mod unspoken;
mod unusual;
mod values;
mod volume;
mod workload;
