//! The engine: runs one task under one lease, from wherever the target says that it is.
//!
//! A run, in order:
//!
//! 1. [`plan`]: the source's tables under the task's mappings, with an encoding for each column.
//! 2. Open the target (the fence), read what it holds. Only that decides where the run begins.
//! 3. [`load`]: chunks from one consistent view, each with its mark in one commit; resumes mid-table.
//! 4. [`follow`]: capture → wave → apply → commit with the bookmark → confirm to the source, overlapping.
//! 5. What people ask of single tables ([`Orders`]) is done between two waves; a reload goes back to 1.
//!
//! The engine knows the traits of `wavemark-connector` and no database. It has no clock of its own but tokio's, so
//! that a simulation runs it on virtual time.

mod adopt;
mod assess;
mod attempt;
pub mod compare;
mod connections;
pub mod follow;
mod hand_over;
mod left_behind;
pub mod load;
mod log_watch;
mod newcomers;
mod orders;
mod pace;
pub mod plan;
mod run;
pub mod status;

pub use adopt::adoptable;
pub use assess::assess;
pub use attempt::Carried;
pub use compare::Compares;
pub use connections::{Connections, Share};
pub use orders::Orders;
pub use pace::Pace;
pub use run::{Ended, Failure, Run, clean_up};
pub use status::Status;
