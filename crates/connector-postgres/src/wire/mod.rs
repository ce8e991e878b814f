//! A client for the two streams of PostgreSQL that carry rows, on the wire protocol itself: the log and `COPY … TO STDOUT`.
//!
//! The driver that the connector uses for everything else has no replication mode, and hands rows of a COPY over one by
//! one between threads, which costs more than to read them; hence this one. It follows the
//! manual's pages "Message Flow" (protocol-flow), "Message Formats" (protocol-message-formats), "SASL
//! Authentication" (sasl-authentication) and "Streaming Replication Protocol" (protocol-replication).
//!
//! 1. [`Connection::connect`]: TCP, `SSLRequest`, TLS, startup (with `replication=database` where it is asked for), login.
//! 2. [`Connection::query`] and the commands in `replication`: the simple protocol, one at a time.
//! 3. [`Connection::start_replication`] turns the connection into a [`ReplicationStream`], whose two halves are
//!    independent: status updates go out while nothing is read, so keepalives are answered under back-pressure.
//! 4. [`Connection::copy_out`]: the rows of a table, one COPY after the other.
//!
//! What is absent: the extended protocol, COPY to the server, notifications, cancelling. No length from
//! the wire is believed before it is checked, and buffers grow only as bytes really arrive.

mod auth;
mod backend;
mod binding;
mod buffer;
mod connection;
mod copy;
mod error;
mod lsn;
mod replication;
mod settings;
mod socket;
mod stream;
mod tcp;

pub use connection::{Connection, Row, Rows};
pub use copy::Piece;
pub use error::{ServerError, WireError};
pub use lsn::Lsn;
pub use replication::{
    CreatedSlot, PgoutputOptions, SlotLife, SlotSnapshot, Streaming, SystemIdentity, quote_identifier,
};
pub use settings::{ChannelBinding, ConnectSettings};
pub use stream::{Frame, ReplicationStream, StatusSender, StreamReader};
