//! The words and rules of Wavemark: ids, positions, tables, rows as bytes, mappings, states.
//!
//! No I/O and no clock: everything here is a plain function over values, so that the engine, the server and
//! every connector agree on what the words mean.

pub mod adopt;
pub mod batch;
pub mod catalog;
pub mod check;
pub mod compare;
pub mod encoding;
pub mod extras;
pub mod fault;
pub mod filter;
pub mod ids;
pub mod kept_log;
pub mod layout;
pub mod logical;
pub mod mapping;
pub mod moment;
pub mod order;
pub mod plan;
pub mod position;
pub mod progress;
pub mod state;
pub mod stop;
pub mod task;
pub mod unfit;

pub use batch::{Batch, Cell, Change, ChangeKind, TransactionMark};
pub use catalog::{Column, Table, TableName};
pub use encoding::Encoding;
pub use extras::Extras;
pub use fault::{Fault, Problem};
pub use filter::RowFilter;
pub use ids::{EndpointId, Epoch, TableId, TaskId, WaveNumber, WorkerId};
pub use layout::{LayoutStep, Relayout};
pub use logical::Logical;
pub use order::{TableOrder, TableWish};
pub use plan::{ColumnPlan, TablePlan};
pub use position::Position;
pub use unfit::{UnfitCount, UnfitPolicy};
