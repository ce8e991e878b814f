//! A client of the MySQL protocol: logging in, statements, and rows as the server's own bytes.
//!
//! Rows of a load go from the socket into a batch's arena without an object of their own; no driver gives them so. What
//! a log is read by needs the same connection. Statements are few and simple: texts without parameters whose answers are
//! text (`query`), and ones whose rows come in binary form (`open`).

mod auth;
mod connection;
mod error;
mod load;
mod packet;
mod rows;
mod socket;

pub(crate) use connection::{Connection, Done, Login, Row};
pub(crate) use error::WireError;
pub(crate) use load::Load;
pub(crate) use rows::Rows;
