//! The binary log's events, as plain functions over bytes (internals manual: "Binary Log Events"; MariaDB: "Replication
//! Protocol").
//!
//! `event` reads one event; `gtid` the number of a transaction, `query` what is in a statement, `table_map` and `rows` what is in those
//! that tell of rows; `values` their cells, `json` the text of one that is JSON, and `deflated` one of `MariaDB`'s that is compressed. `compressed` unpacks an event of `MariaDB`'s,
//! `payload` a transaction of MySQL's, and `pieces` puts rows of `MariaDB`'s together that stand in several. Nothing here knows of tables'
//! names in a task, and nothing panics, whatever the
//! bytes are.

mod compressed;
mod deflated;
mod event;
mod gtid;
mod json;
mod payload;
mod pieces;
mod query;
mod rows;
mod table_map;
mod values;

pub(crate) use deflated::inflate;
pub(crate) use event::{Checksum, Event, Header};
pub(crate) use gtid::Follows;
pub(crate) use json::{write as write_json, write_changed as write_changed_json};
pub(crate) use payload::Events;
pub(crate) use pieces::Pieces;
pub(crate) use query::Query;
pub(crate) use rows::{RowKind, Rows};
pub(crate) use table_map::{LoggedColumn, TableMap};
