//! Reading a database for a comparison: the same for source and target.
//!
//! 1. A session of its own takes the snapshot, exports it again, and does nothing more but keep it.
//! 2. Several sessions take ranges of `ctid` as they get free, each range in a transaction of its own that imports
//!    the snapshot: so locks are held for one range only, and whoever wants to truncate or alter a table gets his turn.
//! 3. A table that got new storage since the snapshot reads as empty in it. So each range's transaction, which holds the
//!    table's lock by then, compares the storage of now with the snapshot's.
//!
//! `hashes` says how rows are hashed, and why differences can't cancel out.

mod hashes;
mod pieces;
mod side;

pub(crate) use side::{Origin, PgSide, Place};
