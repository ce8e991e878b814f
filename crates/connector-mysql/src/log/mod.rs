//! Following the binary log.
//!
//! 1. `stream` has the server send the log from where `start` says.
//! 2. `assembler` makes of its events changes of the task's tables, transaction by transaction; `columns` knows what their
//!    cells must look like and writes them, `statement` and `ddl` what statements in the log do to tables, `layout` what a table
//!    becomes by one.
//! 3. `reader` is what the engine reads from; `branch` reads a transaction again that was prepared and is committed now, whose
//!    events `walk` finds.
//!
//! A transaction stands in the log whole and only once it is committed, so none has to be kept until it is: a large one
//! is given out while it is read.

mod assembler;
mod branch;
mod columns;
mod ddl;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod layout;
mod reader;
mod start;
mod statement;
mod stream;
mod walk;

use wavemark_domain::{Fault, Problem};

use crate::binlog::Header;
use crate::fields::Malformed;
use crate::position::Place;
use crate::source::files;

pub(crate) use columns::refuse;
pub(crate) use ddl::type_of;
pub(crate) use layout::{Server, implicit, plain};
pub(crate) use reader::{Purpose, open, try_out};
pub(crate) use start::{By, Start};
pub(crate) use stream::begun_at;

/// Bytes that are none of a log.
fn malformed(cause: Malformed, place: &Place) -> Problem {
    let text = format!("The source's log can't be read at {}:{}: {cause}.", place.file, place.offset);
    Problem::new(Fault::Internal, "log-malformed", text)
}

/// Where in the file an event ends that begins there. The servers count in 32 bits, and begin anew beyond them.
fn end_of(header: &Header, begin: u64) -> Result<u64, Malformed> {
    let ahead = u64::from(header.next.wrapping_sub(u32::try_from(begin & 0xFFFF_FFFF).unwrap_or_default()));
    // Events of which the server sends nothing are passed over, too; a sign of life ends where it begins.
    if u64::from(header.next) >= begin || ahead == header.length as u64 || ahead == 0 {
        Ok(begin + ahead)
    } else {
        Err(Malformed("an event ends before it begins"))
    }
}
