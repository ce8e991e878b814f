//! Following the binary log.
//!
//! 1. `stream` has the server send the log from a place on.
//! 2. `assembler` makes of its events changes of the task's tables, transaction by transaction; `columns` knows what their
//!    cells must look like and writes them, `statement` and `ddl` what statements in the log do to tables, `layout` what a table
//!    becomes by one.
//! 3. `reader` is what the engine reads from.
//!
//! A transaction stands in the log whole and only once it is committed, so none has to be kept until it is: a large one
//! is given out while it is read.

mod assembler;
mod columns;
mod ddl;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod layout;
mod reader;
mod statement;
mod stream;

use wavemark_domain::{Fault, Problem};

use crate::position::Place;

pub(crate) use columns::refuse;
pub(crate) use layout::Server;
pub(crate) use reader::{Purpose, open, try_out};

/// A place beyond what the server tells places by.
fn file_too_large(place: &Place) -> Problem {
    let text = format!("A place beyond 4 GiB of one log file can't be told: {}:{}.", place.file, place.offset);
    Problem::new(Fault::Settings, "log-file-too-large", text)
        .advice("Reload the tables, and keep max_binlog_size and the largest transaction below 4 GiB.")
}
