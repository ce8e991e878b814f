//! Reading one side of a comparison.
//!
//! Both sides stand at one position when their [`Side`] is made ([`crate::source::View::side`],
//! [`crate::target::Session::side`]) and are then read beside the follower, each on its own and in any order:
//!
//! 1. Each table's rows are added up ([`Side::fingerprint`]): a number of rows and a sum of their hashes, in buckets by
//!    the key's hash. Sums don't depend on the order of rows, and equal rows don't cancel each other out.
//! 2. Buckets that differ are listed ([`Side::list`]), key by key.

use async_trait::async_trait;
use wavemark_domain::{Problem, TablePlan};

/// One side of a comparison: its tables as of one position, until it is dropped.
///
/// It writes nothing, takes no part in the fence, and keeps nobody from writing: locks are held for no longer than one
/// piece of a table is read. What is read is only what the view has: a table that was truncated or rewritten after the
/// view was made is told as a *data* problem.
#[async_trait]
pub trait Side: Send + Sync {
    /// The forms of hashes that it can give for a table, best first. Also looks whether the table fits the plan; if
    /// not, that is a *data* problem.
    async fn forms(&self, table: &TablePlan) -> Result<Vec<Form>, Problem>;

    /// All rows of a table in `buckets` buckets (a power of two; 1 for the table as a whole). Buckets without rows are
    /// left out, the others come in order. `heard` hears of rows as they are read.
    async fn fingerprint(
        &self,
        table: &TablePlan,
        form: &Form,
        buckets: u32,
        heard: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Bucket>, Problem>;

    /// The rows of chosen buckets, out of the same number of buckets. The caller chooses so few that they fit in
    /// memory. Of a table without a key, equal rows come as one with their number.
    async fn list(
        &self,
        table: &TablePlan,
        form: &Form,
        buckets: u32,
        chosen: &[u32],
        heard: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Listed>, Problem>;
}

/// How rows are hashed. Two sides that name the same form give the same hash for the same row, and other hashes for
/// rows that differ in any cell: NULL is not the empty text, 1.0 is not 1.00, and −0 is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form(pub String);

/// The rows of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Which.
    pub number: u32,
    /// How many rows.
    pub rows: u64,
    /// The sum of their hashes.
    pub sum: i128,
}

/// A row by its key and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The row's hash.
    pub hash: i64,
    /// How many rows are so: more than one only without a key.
    pub count: u64,
    /// Its key as text, column by column; empty without a key.
    pub text: Vec<String>,
    /// Its key as the cells travel, column by column.
    pub cells: Vec<Vec<u8>>,
}
