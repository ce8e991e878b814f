//! What a source is.
//!
//! A task's life at its source, in order:
//!
//! 1. [`Source::begin`] makes what the source must keep (publication, slot) and fixes the start position with a
//!    consistent [`View`] of the tables as of it.
//! 2. The load reads chunks from the view. If it is interrupted and the view is gone, [`Source::view_again`] fixes
//!    another one at a later position and [`Source::touched`] says which keys changed between the two.
//! 3. [`Source::follow`] reads the log from a position; [`ChangeReader::confirm`] lets the source forget.
//! 4. Tables that are loaded later are loaded aside: [`Source::begin_aside`] fixes a view for them and keeps the log
//!    from there on, whatever is confirmed; [`Source::touched`] says what to fetch again; [`Source::end_aside`] ends it.
//! 5. [`Source::clean_up`] removes all of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::check::Finding;
#[cfg(doc)]
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{
    Batch, Encoding, Extras, Fault, Logical, Position, Problem, Relayout, RowFilter, TableId, TableName, TablePlan,
};

use crate::TaskContext;
use crate::compare::Side;
use crate::needs::Needs;

/// Whether a table is wanted, by its name.
pub type Wanted<'a> = &'a (dyn Fn(&TableName) -> bool + Send + Sync);

/// One system to read from.
#[async_trait]
pub trait Source: Send + Sync {
    /// How many connections a task opens here. No I/O.
    fn connections(&self) -> Needs;

    /// Closes what is kept open between two calls, if anything is; the next call opens it again.
    async fn rest(&self) {}

    /// Every table that is wanted, also one that the user may not read. Of the others nothing but the name is looked at:
    /// a task with one table must not cost what the whole catalog does.
    async fn tables(&self, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem>;

    /// What would stand in the way of following these tables: each finding with what mends it.
    async fn assess(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Vec<Finding>, Problem>;

    /// The encodings in which it can give a column, both in the load and in the log. No I/O.
    fn offers(&self, table: &Table, column: &Column) -> Vec<Encoding>;

    /// What a column holds in words that no system owns, for a target of another system; `None` if it has none. What is
    /// said here it can give, in the load and in the log, as [`Logical::encoding`] says. No I/O.
    fn logical(&self, table: &Table, column: &Column) -> Option<Logical> {
        let _ = (table, column);
        None
    }

    /// What a table has besides columns and a key, in words that no system owns, for a target of another system. No I/O.
    fn extras(&self, table: &Table) -> Extras {
        let _ = table;
        Extras::default()
    }

    /// Why the log can't say what happens to a table, if it can't. No I/O.
    fn refuses_to_follow(&self, table: &Table) -> Option<Problem>;

    /// Why the rows of a table can't be limited so, in the load and (if it is followed) in the log, if they can't. The
    /// columns are there. What is not refused is exact: the log has a row that comes into the filter as inserted, and one
    /// that leaves it as deleted. No I/O.
    fn refuses_rows(&self, table: &Table, rows: &RowFilter, follows: bool) -> Option<Problem> {
        let _ = (rows, follows);
        let text = format!("The rows of {} can't be filtered: this source has no filters.", table.name);
        Some(Problem::new(Fault::Data, "row-filter-refused", text).table(&table.name))
    }

    /// The forms in which it can give the rows of a planned table in the load, best first. No I/O.
    fn block_formats(&self, table: &TablePlan) -> Vec<BlockFormat>;

    /// A position as people of this system write it. No I/O; never fails, also not on a foreign position.
    fn describe(&self, position: &Position) -> String;

    /// A position that people wrote, in the history of another of this source; a *settings* problem if it is none. No
    /// I/O.
    fn position_from(&self, text: &str, like: &Position) -> Result<Position, Problem>;

    /// Begins an attempt at a run whose target has this of the source, at the furthest; nothing, if it has none. What this source
    /// gives a position from here on has one behind that, also where another server has taken over whose places are
    /// counted anew. No I/O.
    fn continue_behind(&self, furthest: Option<&Position>) {
        let _ = furthest;
    }

    /// Makes afresh what the source must keep for the task, and a view at the position from which it is kept.
    /// Leftovers of the same task and generation are dropped first: the caller knows that the target holds
    /// nothing of this generation. Without `task.kind.follows()` nothing needs to be kept.
    ///
    /// A worker that was overtaken may call this late. So what is kept carries the epoch that made it: only what a
    /// lower or the same epoch made is dropped, and something of a higher epoch is [`wavemark_domain::Fault::Fenced`].
    /// Of several, the one with the highest epoch is the task's.
    async fn begin(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Box<dyn View>, Problem>;

    /// For a task that only follows: makes sure that the source keeps its log, and gives the position from which. Where
    /// the settings name a start ([`TaskSettings::names_start`]), that is checked and nothing is made: what people made
    /// must have the log from there on, else the position is lost.
    async fn begin_following(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Position, Problem>;

    /// Another view, as of now, for a load of these tables that was interrupted or that is to catch up. What the source keeps
    /// stays; from the view on the log has these tables as they are planned.
    async fn view_again(&self, task: &TaskContext, tables: &[TablePlan]) -> Result<Box<dyn View>, Problem>;

    /// Makes afresh what the source keeps for tables that are loaded aside, while the others are followed: log from
    /// now on, whatever is confirmed meanwhile, and a view at the position from which it is kept. From there on the
    /// log has these tables as they are planned. What an earlier call made is dropped, unless a higher epoch made it: that
    /// is [`wavemark_domain::Fault::Fenced`].
    async fn begin_aside(&self, task: &TaskContext, tables: &[TablePlan]) -> Result<Box<dyn View>, Problem>;

    /// Whether what [`Source::begin_aside`] made is there and keeps the log after `since`.
    async fn keeps_aside(&self, task: &TaskContext, since: &Position) -> Result<bool, Problem>;

    /// Lets go of what [`Source::begin_aside`] made under the task's epoch or a lower one. Repeating it is safe.
    async fn end_aside(&self, task: &TaskContext) -> Result<(), Problem>;

    /// A view as of now for a comparison, beside whatever other view there is; it keeps no log. It may take long (open
    /// transactions at the source are waited for): dropping the future ends what was begun.
    async fn view_beside(&self, task: &TaskContext) -> Result<Box<dyn View>, Problem>;

    /// Reads the log after `from` up to and including `to` without confirming anything, and returns for each of
    /// `tables` what it did. Transactions whose end is ≤ `from` or > `to` don't count. `kept` says for whom that part
    /// of the log is kept.
    async fn touched(
        &self,
        task: &TaskContext,
        plan: &[TablePlan],
        tables: &[TableId],
        between: (&Position, &Position),
        kept: KeptFor,
    ) -> Result<Vec<Touched>, Problem>;

    /// Opens the log: the reader gives every transaction whose end is > `from`, whole, in commit order, and none
    /// that ended before. Before anything is read it is checked that the source still has the position; if not
    /// (slot missing, recreated, invalidated, moved past `from`; another system; another timeline) this fails with
    /// [`wavemark_domain::Fault::PositionLost`].
    ///
    /// Where the layout of a table changes (or its name) in a way that is proved and that the settings let through, the reader has
    /// `replan` make the table's next plan and goes on with that ([`Read::layouts`]); else the table ends with a
    /// [`wavemark_domain::ChangeKind::Barrier`]. So does one that is dropped, also one that was before the log is opened, of
    /// which the log may still have changes: then the plan has it as its rows in the target are.
    async fn follow(
        &self,
        task: &TaskContext,
        plan: &[TablePlan],
        from: &Position,
        replan: Arc<dyn Replan>,
    ) -> Result<Box<dyn ChangeReader>, Problem>;

    /// A table as the rows have it that a target holds of it, with what is known of it now: `kept` was noted with the
    /// rows, `storage` is the mark of the source's storage then. It is what the log goes on from. No I/O.
    fn as_kept(&self, kept: &Table, storage: &str, now: &Table) -> Table {
        let _ = storage;
        Table { columns: kept.columns.clone(), key: kept.key.clone(), ..now.clone() }
    }

    /// Whether a table that was noted with its rows is the one that is there now, also under another name. No I/O.
    fn is_same(&self, kept: &Table, now: &Table) -> bool {
        kept.name == now.name
    }

    /// Whether the log could be opened from there, by everything that [`Source::follow`] checks. Changes nothing.
    async fn still_has(&self, task: &TaskContext, from: &Position) -> Result<(), Problem>;

    /// Where the log ends and how much of it is kept for the task: as of now, or as another task of this process was
    /// told `within` that time before.
    async fn log_state(
        &self,
        task: &TaskContext,
        bookmark: Option<&Position>,
        within: Duration,
    ) -> Result<LogState, Problem>;

    /// Lets the log go that is kept for the task if it is more than so many bytes, as seen when it is let go: the
    /// position is lost then. Returns how much it was; `None` if it was less, and nothing is changed.
    async fn let_go(&self, task: &TaskContext, more_than: u64) -> Result<Option<u64>, Problem>;

    /// The counters (sequences, identities) that belong to the tables, with their present values.
    async fn counters(&self, plan: &[TablePlan]) -> Result<Vec<Counter>, Problem>;

    /// Removes what the task made at the source, all generations up to the given one. Repeating it is safe.
    /// When something can't be removed, [`LeftBehind`] holds the statements for a person.
    async fn clean_up(&self, task: &TaskContext) -> Result<(), LeftBehind>;
}

/// Makes the plan of a followed table whose layout changes.
pub trait Replan: Send + Sync {
    /// The plan of the table as it is described here, under the number that it has. No I/O.
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem>;
}

/// For whom a part of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptFor {
    /// The task as a whole, from its bookmark on.
    Task,
    /// Tables that are loaded aside, from where that began.
    Aside,
}

/// Where the log stands.
#[derive(Clone, Debug)]
pub struct LogState {
    /// The log's end.
    pub end: Position,
    /// Bytes from the bookmark to the end.
    pub behind_bytes: Option<u64>,
    /// Bytes of log that are kept because of the task.
    pub kept_bytes: Option<u64>,
    /// The most that the source would keep.
    pub limit_bytes: Option<u64>,
    /// Seconds until the source drops log behind the bookmark because of its age.
    pub drops_in_seconds: Option<u64>,
}

impl LogState {
    /// The bytes that count against the most that the source keeps. Where nothing is kept because of the task, and the source
    /// has such a limit of its own, it is what the task has not read.
    #[must_use]
    pub fn counted_bytes(&self) -> Option<u64> {
        self.kept_bytes.or_else(|| self.limit_bytes.and(self.behind_bytes))
    }
}

/// A counter of the source that the target must not fall behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The table whose column it feeds.
    pub table: TableId,
    /// The column's name at the source.
    pub column: String,
    /// The last value it gave; `None` if it gave none yet.
    pub last_value: Option<i64>,
}

/// What could not be removed.
#[derive(Clone, Debug)]
pub struct LeftBehind {
    /// Why.
    pub problem: Problem,
    /// The statements to run by hand, in order.
    pub statements: Vec<String>,
}

/// A consistent view of all planned tables as of one position, held until it is dropped.
///
/// A transaction is in the view if and only if its end is ≤ the position.
#[async_trait]
pub trait View: Send + Sync {
    /// As of where.
    fn position(&self) -> &Position;

    /// Whether the table's rows in this view are the rows that the log continues. Takes a lock that keeps the
    /// table from being rewritten or truncated for as long as the view is held. `storage` is a mark of the
    /// table's storage: if it differs between two views of one load, the table was rewritten in between. A table that is
    /// gone is a *data* problem with the code [`DROPPED_IN_LOAD`].
    async fn enter(&self, table: &TablePlan) -> Result<Entered, Problem>;

    /// Cuts an entered table into chunks that together hold each row once, of about `bytes` each.
    async fn chunks(&self, table: &TablePlan, bytes: u64) -> Result<Vec<ChunkRange>, Problem>;

    /// Reads one chunk, leaving out rows whose key is in `without`. Several chunks may be read at once; each
    /// reader has a connection of its own. Blocks are in `format`.
    async fn read(
        &self,
        table: &TablePlan,
        range: &ChunkRange,
        format: BlockFormat,
        without: Option<Arc<KeySet>>,
    ) -> Result<Box<dyn RowReader>, Problem>;

    /// Reads the rows of these keys (those that exist).
    async fn read_keys(
        &self,
        table: &TablePlan,
        keys: &KeySet,
        format: BlockFormat,
    ) -> Result<Box<dyn RowReader>, Problem>;

    /// The same view to compare, read by so many sessions; stays when this view is dropped.
    async fn side(&self, sessions: u16) -> Result<Box<dyn Side>, Problem>;
}

/// What entering a table found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// A mark of the table's storage; changes when the table is rewritten or truncated.
    pub storage: String,
    /// False if the table was rewritten after the view was fixed: its rows can't be read in this view.
    pub readable: bool,
    /// The source's estimate of its rows.
    pub rows_estimated: Option<u64>,
}

/// Part of a table; only the source's connector reads what is in it. Stored in the target with its mark.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChunkRange(pub String);

/// How the rows of a load travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFormat {
    /// As inserts in batches.
    Rows,
    /// As pieces of a byte stream that the target takes whole, named by both sides, e.g. `postgresql copy binary`.
    Stream(&'static str),
}

/// A piece of a chunk.
#[derive(Debug)]
pub enum Block {
    /// Inserts of one table; no transaction marks.
    Rows(Batch),
    /// The next bytes of the stream, cut anywhere.
    Stream(Bytes),
}

/// Reads the rows of one chunk in order. Not cancel safe: dropped in the middle it is of no more use.
#[async_trait]
pub trait RowReader: Send {
    /// The next block; `None` at the end. Blocks are of about 64 KiB to 1 MiB unless one row is larger.
    async fn next(&mut self) -> Result<Option<Block>, Problem>;
}

/// A set of keys of one table: the key's cells one after the other, each with its length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: std::collections::BTreeSet<Box<[u8]>>,
}

impl KeySet {
    /// Adds a key given as the bytes of its columns in key order. Returns whether it is new.
    pub fn insert<'a>(&mut self, key: impl IntoIterator<Item = &'a [u8]>) -> bool {
        self.keys.insert(Self::join(key).into())
    }

    /// Whether the key is in the set. `scratch` saves an allocation per call.
    pub fn contains<'a>(&self, key: impl IntoIterator<Item = &'a [u8]>, scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        key.into_iter().for_each(|cell| Self::push(scratch, cell));
        self.keys.contains(scratch.as_slice())
    }

    /// Each key as the bytes of its columns.
    pub fn iter(&self) -> impl Iterator<Item = Vec<&[u8]>> {
        self.keys.iter().map(|key| Self::split(key))
    }

    /// How many keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn join<'a>(key: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut joined = Vec::new();
        key.into_iter().for_each(|cell| Self::push(&mut joined, cell));
        joined
    }

    fn push(joined: &mut Vec<u8>, cell: &[u8]) {
        let len = u32::try_from(cell.len()).expect("a key's cell is far below 4 GiB");
        joined.extend_from_slice(&len.to_be_bytes());
        joined.extend_from_slice(cell);
    }

    fn split(mut joined: &[u8]) -> Vec<&[u8]> {
        let mut cells = Vec::new();
        while let Some((len, rest)) = joined.split_first_chunk::<4>() {
            let (cell, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
            cells.push(cell);
            joined = rest;
        }
        cells
    }
}

/// What the log did to one table between two positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// These keys were written: old and new ones.
    Keys(KeySet),
    /// Something that keys can't tell (truncate, change of layout, no key, too many keys): the table's load must
    /// start over.
    StartOver(String),
}

/// Reads the log.
#[async_trait]
pub trait ChangeReader: Send {
    /// The next changes in commit order. Waits until there is something; then gathers what is at hand up to
    /// about `most_bytes`, and returns. While the reader is behind, it reads in gulps (waits a few milliseconds
    /// for the socket to fill) rather than message by message. Cancel safe: nothing is lost when the future is
    /// dropped.
    ///
    /// A transaction larger than `most_bytes` that is known to be committed is returned in several batches, all
    /// but the last of them open; one that isn't is kept, in memory and then on disk, until it is.
    async fn next(&mut self, most_bytes: usize) -> Result<Read, Problem>;

    /// Tells the source that everything up to and including `position` is durable in the target; the position is
    /// a bookmark, never further. Also answers keepalives. Quick: it waits for the socket at most.
    async fn confirm(&mut self, position: &Position) -> Result<(), Problem>;

    /// Keeps the connection alive while the caller doesn't read. Called at least every five seconds.
    async fn keep_alive(&mut self) -> Result<(), Problem>;

    /// Makes the log move although nobody writes, so that the source can let it go; not again if that was done within
    /// this time, also for another task that follows the same source. May do nothing.
    async fn heartbeat(&mut self, within: Duration) -> Result<(), Problem>;

    /// What is in the reader's hands: not yet returned.
    fn in_hand(&self) -> InHand;
}

/// The code of a barrier's problem where the table was dropped at the source and nothing else is the matter: every change
/// of it lies before the barrier, and all of them were told. It lies between two transactions.
pub const TABLE_DROPPED: &str = "table-dropped";

/// The code of a barrier's problem where another table took the name of one that got another, as online schema changes do
/// it: what has the name now came about in ways that the log tells of another table.
pub const TABLE_SWAPPED: &str = "table-swapped";

/// The code of the problem where a table can't be entered or read in a view, because it was dropped.
pub const DROPPED_IN_LOAD: &str = "table-dropped-in-load";

/// What a call of [`ChangeReader::next`] gave.
#[derive(Debug)]
pub struct Read {
    /// Changes and the ends of transactions. An empty transaction at the end stands for the log's progress with
    /// nothing pending: everything up to it was read and nothing of it is in the reader's hands.
    pub batch: Batch,
    /// For an open batch: where its unfinished transaction ends, or a position that compares with every other end
    /// in the log as that end does (PostgreSQL: just after the beginning of the commit record).
    pub open_end: Option<Position>,
    /// When the source committed that transaction (microseconds since 1970).
    pub open_committed_at: Option<i64>,
    /// Whether more was at hand when this was returned.
    pub more: bool,
    /// The log's end as far as the reader knows.
    pub log_end: Option<Position>,
    /// The source's clock when it sent the last of this (microseconds since 1970), so that lag doesn't depend on
    /// clocks that agree.
    pub source_clock: Option<i64>,
    /// Layouts that hold from the batch's first change on.
    pub layouts: Vec<Relayout>,
    /// Why, for each table with a [`wavemark_domain::ChangeKind::Barrier`] in the batch; [`TABLE_DROPPED`] if it is gone.
    pub barriers: Vec<(TableId, Problem)>,
    /// Whether [`Source::tables`] may have more tables than when the log was opened, or others under their names. Told
    /// once for each time, some time after.
    pub tables_came: bool,
}

/// What a reader holds back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InHand {
    /// Transactions begun and not returned.
    pub transactions: u64,
    /// Their bytes in memory.
    pub bytes: u64,
    /// Their bytes on disk.
    pub spilled_bytes: u64,
    /// Bytes of log messages read since the reader was opened.
    pub bytes_read: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_join_to_the_same_bytes_stay_apart() {
        let mut keys = KeySet::default();
        assert!(keys.insert([&b"ab"[..], b"c"]));
        assert!(keys.insert([&b"a"[..], b"bc"]));
        assert!(!keys.insert([&b"a"[..], b"bc"]));
        assert_eq!(keys.len(), 2);
        assert!(keys.contains([&b"ab"[..], b"c"], &mut Vec::new()));
        assert!(!keys.contains([&b"abc"[..], b""], &mut Vec::new()));
        assert_eq!(keys.iter().next(), Some(vec![&b"a"[..], b"bc"]));
    }
}
