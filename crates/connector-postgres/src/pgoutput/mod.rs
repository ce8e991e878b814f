//! The messages of PostgreSQL's built-in output plugin, decoded without copying.
//!
//! Follows the manual's page "Logical Replication Message Formats" (protocol-logicalrep-message-formats) and
//! "Logical Streaming Replication Protocol" (protocol-logical-replication): protocol version 1, and version 2 with
//! its stream messages. The messages of a two-phase commit (version 3) are known by name and refused: they are
//! only sent to a slot that was made with `TWO_PHASE`, which this connector never asks for. The abort position of
//! version 4 (`streaming 'parallel'`) is not read either.
//!
//! Pure: bytes in, a borrowed [`Message`] out; no allocation, no I/O, and no panic on any input. A message is
//! checked whole before it is handed out, so walking the cells of a [`Tuple`] cannot fail.

mod decode;
mod error;
mod message;
mod reader;
mod tuple;

#[cfg(test)]
mod encoder;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;

pub use decode::decode;
pub use error::{DecodeError, Reason};
pub use message::{
    Begin, Column, Columns, Commit, Delete, Insert, LogicalMessage, Message, OldRow, Origin, OwnedRelation,
    RelationBody, RelationIds, ReplicaIdentity, StreamAbort, StreamCommit, StreamStart, Truncate, TypeBody, Update,
};
pub use tuple::{Cell, Cells, Tuple};
