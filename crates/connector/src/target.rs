//! What a target is.
//!
//! A task's life at its target, in order:
//!
//! 1. [`Target::open`] raises the fence to the task's epoch, makes sure that no predecessor can still commit, and
//!    only then reads what the target holds: [`Kept`].
//! 2. [`Session::attach`] looks at the tables of the plan.
//! 3. For a load: [`Session::begin_table`] makes a table together with the marks of its chunks, several
//!    [`Loader`]s copy chunks, each chunk with its mark in one commit, [`Loader::finish_table`] makes keys and
//!    indexes, [`Loader::complete_table`] lets the log take over, [`Session::finish_load`] makes the foreign keys.
//! 4. Waves: [`Session::apply`] any number of times, then [`Session::commit`] with the bookmark in the same commit.
//!    The first wave is empty and says that the load is over.
//! 5. [`Target::clean_up`] removes all of it but the tombstone.
//!
//! A value that has no place in its column is a *data* problem, unless its [`wavemark_domain::ColumnPlan`] says what comes
//! in its place: then it is altered before anything else sees the row ([`crate::unfit`]), in chunks, in waves, in rows that
//! are fetched again, and in the old rows of a table without a key alike, and is counted in the same commit.

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use wavemark_domain::adopt::{KeptTable, KeptTask};
use wavemark_domain::batch::Change;
use wavemark_domain::catalog::{Column, Table, TableName};
use wavemark_domain::check::Finding;
use wavemark_domain::extras::Missing;
use wavemark_domain::ids::Generation;
use wavemark_domain::task::Preparation;
use wavemark_domain::{
    Batch, Encoding, Epoch, Extras, Logical, Position, Problem, Relayout, TableId, TablePlan, WaveNumber,
};

use crate::TaskContext;
use crate::compare::Side;
use crate::needs::Needs;
use crate::source::{BlockFormat, ChunkRange, Counter, KeySet, LeftBehind, RowReader};
use crate::unfit::Tally;

/// One system to write to.
#[async_trait]
pub trait Target: Send + Sync {
    /// How many connections a task opens here. No I/O.
    fn connections(&self) -> Needs;

    /// The encodings that it takes for a source's column, best first; empty if it can't hold the type. `logical` is what
    /// a source of another system says of it. No I/O.
    fn accepts(&self, source_engine: &str, column: &Column, logical: Option<&Logical>) -> Vec<Encoding>;

    /// A table of another system as this one would declare it: names and their order are the source's, types, keys and
    /// what else there is are in this system's words. `logical` is what the source says of each column; one that it has no
    /// word for does not travel. `extras` is what it says of the rest; what can't be had here exactly is left out. `None`
    /// for a table of this system. No I/O.
    fn declare(
        &self,
        source_engine: &str,
        table: &Table,
        logical: &[Option<Logical>],
        extras: &Extras,
    ) -> Option<Table> {
        let _ = (source_engine, table, logical, extras);
        None
    }

    /// Whether what it declares for such values of another system's may lack a place for some of them, and a text has one for each,
    /// as that system writes it. Where a task's people ask for that, [`Target::declare`] is told of a text without a length
    /// instead, and [`wavemark_domain::ColumnPlan::as_text`] says what the values are. No I/O.
    fn spells(&self, source_engine: &str, logical: &Logical) -> bool {
        let _ = (source_engine, logical);
        false
    }

    /// The forms in which it takes the rows of a planned table in the load. No I/O.
    fn block_formats(&self, table: &TablePlan) -> Vec<BlockFormat>;

    /// What tables of a plan get besides columns and a key where a task makes them at this server, as a source would say it
    /// ([`crate::Source::extras`]): columns have their names at the source and the places that they have there. Of each
    /// table nothing that its source says and this does not is left out in silence: people are told of it.
    async fn makes(&self, plan: &[TablePlan]) -> Result<Vec<Extras>, Problem>;

    /// The statement by which a person makes what the copy of a planned table lacks, in this system's words: as it stands, or
    /// with changes where the system can't have it so. No I/O.
    fn statement(&self, plan: &[TablePlan], table: &TablePlan, missing: &Missing<'_>) -> String;

    /// What would stand in the way of writing these tables, and what those that come from a system like this one have there in
    /// its own words and will not have here ([`Finding::not_carried_over`]).
    async fn assess(&self, task: &TaskContext, plan: &[TablePlan]) -> Result<Vec<Finding>, Problem>;

    /// Opens the target under the task's epoch.
    ///
    /// Raises the stored epoch with a short lock timeout, ending the sessions of a predecessor (also one of the
    /// same epoch) until it can; waits until they are gone; **then** reads what is kept. After this returns,
    /// nothing that an earlier opening began can be committed. Only `task.first_grant` may make the fence's row;
    /// a tombstone is never reopened in the same generation: that is a *settings* problem.
    async fn open(&self, task: &TaskContext) -> Result<Opened, OpenError>;

    /// Who says which bookmarks are durable, where the settings ask for more than a commit of this target gives.
    /// None: a bookmark is durable when [`Session::commit`] returns. No I/O.
    fn durability(&self, task: &TaskContext) -> Option<Box<dyn Durability>> {
        let _ = task;
        None
    }

    /// What it holds of any task, deleted ones too, for one that lost its metadata. Changes nothing.
    async fn kept_tasks(&self) -> Result<Vec<(KeptTask, Kept)>, Problem>;

    /// Raises the fence, removes what is kept for the task and leaves a tombstone. The user's tables stay.
    /// Repeating it is safe.
    async fn clean_up(&self, task: &TaskContext) -> Result<(), LeftBehind>;
}

/// Why a target could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The target holds a higher epoch or a later generation.
    #[error("the target is held by epoch {held}, which is above ours")]
    Fenced {
        /// What it holds.
        held: Epoch,
        /// In which life of the task's artefacts, if it keeps that.
        generation: Option<Generation>,
    },
    /// Anything else.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// An open target.
pub struct Opened {
    /// What it holds.
    pub kept: Kept,
    /// What it keeps count of among the values that had no place; goes on counting.
    pub unfit: Tally,
    /// The right to write.
    pub session: Box<dyn Session>,
    /// Sessions of their own for the load, as many as `load_parallelism` says if the task loads.
    pub loaders: Vec<Box<dyn Loader>>,
}

/// What a target holds for a task besides the rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The newest wave; none while the load isn't over.
    pub bookmark: Option<Bookmark>,
    /// The tables that were begun.
    pub tables: Vec<TableMark>,
    /// Where and into which columns each of them was written, as far as the target notes it.
    pub written: Vec<KeptTable>,
}

impl Kept {
    /// Whether nothing of the task is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bookmark.is_none() && self.tables.is_empty()
    }

    /// The furthest position that is noted of the source, of whatever.
    #[must_use]
    pub fn furthest(&self) -> Option<&Position> {
        let of_tables = self.tables.iter().flat_map(|mark| [&mark.began, &mark.position]);
        self.bookmark.iter().map(|bookmark| &bookmark.position).chain(of_tables).max()
    }

    /// The marks by their tables' names: who asks for those of many tables must not look through all for each.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<&TableName, &TableMark> {
        self.tables.iter().map(|mark| (&mark.source, mark)).collect()
    }
}

/// Where the target is in the source's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// The wave that put it there.
    pub wave: WaveNumber,
    /// A source transaction is in the target if and only if its end is ≤ this.
    pub position: Position,
}

/// What a target holds about one table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableMark {
    /// The table's name at the source.
    pub source: TableName,
    /// As of where its first chunk was read: what was touched since then is fetched again when a load resumes.
    pub began: Position,
    /// As of where its finished chunks are: the table ignores transactions that ended up to here.
    pub position: Position,
    /// The mark of the source's storage when the load began.
    pub storage: String,
    /// How far it is.
    pub stage: Stage,
    /// Its chunks; those of a loaded table may be forgotten.
    pub chunks: Vec<ChunkMark>,
}

/// How far a table is.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Some chunks are missing, or its keys.
    Loading,
    /// Rows, keys and indexes are there.
    Loaded,
    /// Left behind at its `position`: later changes were not applied.
    Parked(Box<Problem>),
}

/// One chunk of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkMark {
    /// Its number within the table, from 0.
    pub number: u32,
    /// Which part of the table it is.
    pub range: ChunkRange,
    /// Rows and bytes copied, if it is done.
    pub done: Option<Loaded>,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Rows.
    pub rows: u64,
    /// Bytes as they travelled.
    pub bytes: u64,
}

/// The right to write waves and to change tables, under one opening. Any error of kind *transient*, *fenced* or
/// *internal* ends the session: the caller drops it and opens the target again.
#[async_trait]
pub trait Session: Send {
    /// Looks at the target tables of the plan. Called once, before anything else.
    async fn attach(&mut self, plan: &[TablePlan]) -> Result<(), Problem>;

    /// Makes a table ready to be loaded and puts its mark and the marks of its chunks there, in one commit.
    /// With `mark` already there the load starts over: our rows go. A table that exists and does not fit the plan
    /// is a *data* problem that names the columns; nothing is ever truncated or dropped in cascade.
    async fn begin_table(
        &mut self,
        table: &TablePlan,
        preparation: Preparation,
        mark: &TableMark,
    ) -> Result<(), Problem>;

    /// Puts the mark of a table that is there already and won't be loaded. It must fit the plan.
    async fn adopt_table(&mut self, table: &TablePlan, mark: &TableMark) -> Result<(), Problem>;

    /// Parks a table outside of a wave (while the load isn't over), in a commit of its own. Makes its mark if
    /// there is none.
    async fn park_table(&mut self, table: &TablePlan, at: &Position, problem: &Problem) -> Result<(), Problem>;

    /// Parks a loaded table that the plan no longer has, or maps otherwise than when it was loaded: by its name in the
    /// source, in a commit of its own.
    async fn leave_behind(&mut self, table: &TableName, at: &Position, problem: &Problem) -> Result<(), Problem>;

    /// Makes the foreign keys between loaded tables, validated, and what else they have once all rows are there. What can't be
    /// made is returned; the rest is there.
    /// Safe to repeat.
    async fn finish_load(&mut self, plan: &[TablePlan]) -> Result<Vec<Problem>, Problem>;

    /// Drops, after noting them, the foreign keys that point at parked tables or that these have: they can't hold while
    /// one side stands still. [`Session::finish_load`] makes them again once none of their tables is parked. Returns
    /// what was dropped, in words; `None` if the tables are in use just now, so that it is to be tried later. Safe to
    /// repeat. Not while a wave is open.
    async fn release_keys(&mut self, plan: &[TablePlan], parked: &[TableId]) -> Result<Option<Vec<String>>, Problem>;

    /// Raises identities and sequences to the source's counters; never lowers one. Safe to repeat.
    async fn raise_counters(&mut self, plan: &[TablePlan], counters: &[Counter]) -> Result<(), Problem>;

    /// Brings up to date what the target's system keeps about the plan's tables, and makes of them, for whoever takes it
    /// over: each after what it reads, each by itself. `told` hears in words of what is done. What can't be done is
    /// returned; nothing of the task is at stake. May take long, and may be dropped. Safe to repeat. Not while a wave is
    /// open.
    async fn refresh(&mut self, plan: &[TablePlan], what: Refresh, told: &(dyn Fn(String) + Sync)) -> Vec<Problem> {
        let _ = (plan, what, told);
        Vec::new()
    }

    /// Applies changes in the open wave, beginning one (with the fence held) if none is open. Strict: an update
    /// or delete that finds no row, an insert that finds one, is a *data* problem. May return before the target
    /// answered; then the error comes from a later call or from [`Session::commit`]. After a *data* or *transient*
    /// error nothing of the wave is there; the caller calls [`Session::roll_back`] before the next wave.
    async fn apply(&mut self, plan: &[TablePlan], segment: &Segment<'_>) -> Result<(), Problem>;

    /// Brings a table to its next layout in the open wave, beginning one (with the fence held) if none is open, and
    /// notes the layout with the table's mark: committed with the wave, or not at all. `plan` has the table as it is from
    /// here on, `before` is its plan until now. What the target can't do is a *data* problem; the wave is taken back
    /// then. After a wave that was taken back the session takes no more changes of the table.
    async fn alter(&mut self, plan: &[TablePlan], before: &TablePlan, next: &Relayout) -> Result<(), Problem>;

    /// Ends a table that is gone at the source, in the open wave, beginning one (with the fence held) if none is open:
    /// committed with the wave, or not at all. Its mark is no longer kept. Foreign keys between its target table and other
    /// tables of the task go for good, for the source has none of them any more. With `drop` the target table goes too: one
    /// that the task made, that no other task writes, and that nothing else depends on (never in cascade). Without, its
    /// rows stay as those of an earlier load, which a load under its name removes.
    ///
    /// Returns the foreign keys that went, in words; `None` if the tables are in use just now, so that it is to be tried
    /// later: the wave is taken back then. What forbids it is a *data* problem; the wave is taken back then, too.
    async fn end_table(&mut self, table: &TablePlan, drop: bool) -> Result<Option<Vec<String>>, Problem>;

    /// The careful way to apply: row by row in order, each failing one taken back alone and shown to `verdict`
    /// with its index in the batch. [`Verdict::LeaveOut`] writes it to the exceptions in this wave and goes on;
    /// [`Verdict::Abort`] ends with the row's problem; [`Verdict::Resolve`] settles a [`Conflict`], and if that fails
    /// the row is shown again. `checks` holds for the whole wave.
    async fn apply_carefully(
        &mut self,
        plan: &[TablePlan],
        segment: &Segment<'_>,
        checks: Checks,
        verdict: &mut (dyn for<'p> FnMut(Refused<'p>) -> Verdict + Send),
    ) -> Result<(), Problem>;

    /// Commits the open wave (or an empty one) together with its end: bookmark, parked tables. When it returns,
    /// the wave is there for good as far as this one server goes; [`Target::durability`] says whether more is asked
    /// for. After an error that is not *data* it is unknown whether the wave is there: open the target again and read
    /// the bookmark.
    async fn commit(&mut self, end: &WaveEnd<'_>) -> Result<(), Problem>;

    /// Takes the open wave back. Does nothing without one.
    async fn roll_back(&mut self) -> Result<(), Problem>;

    /// Puts rows in the place of others, in one commit under the fence: removes what is there under these keys and adds
    /// `rows`, which the source has under them as of the bookmark. Returns how many rows were added. Not while a wave
    /// is open. Rows of other tables stay as they are: where that can't be had it is refused with a *data* problem.
    async fn replace_rows(
        &mut self,
        table: &TablePlan,
        keys: &KeySet,
        rows: &mut dyn RowReader,
    ) -> Result<u64, Problem>;

    /// The tables as of the bookmark, to compare, read by so many sessions of their own; goes on beside this session.
    /// Not while a wave is open. If the target turns out not to stand at `position`, that is a *transient* problem.
    async fn side(&mut self, sessions: u16, position: &Position) -> Result<Box<dyn Side>, Problem>;
}

/// What is brought up to date when the target is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    /// Statistics that the system plans queries by.
    pub statistics: bool,
    /// Materialized views that read the tables.
    pub materialized_views: bool,
}

/// A session of its own for chunks and indexes; works beside the [`Session`] under the same opening.
#[async_trait]
pub trait Loader: Send {
    /// Copies one chunk and its mark in one commit, with the fence held beside others, waves too. Not cancel safe: after it is
    /// dropped in the middle the loader is of no more use. `progress` hears of bytes on their way.
    async fn load(
        &mut self,
        table: &TablePlan,
        chunk: u32,
        rows: &mut dyn RowReader,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Loaded, Problem>;

    /// Brings a table whose load isn't over to a later position, in one commit: removes `stale` keys, adds `rows`,
    /// and sets the mark's position and storage. Returns how many rows were added.
    async fn bring_forward(
        &mut self,
        table: &TablePlan,
        stale: &KeySet,
        rows: &mut dyn RowReader,
        to: &Position,
        storage: &str,
    ) -> Result<u64, Problem>;

    /// Makes primary key, indexes, unique constraints, checks and defaults of a table whose chunks are all done.
    /// What can't be made is a *data* problem that names it. Safe to repeat.
    async fn finish_table(&mut self, table: &TablePlan) -> Result<(), Problem>;

    /// Marks a finished table loaded: from here on it takes the log after its mark's position. The caller knows that
    /// the bookmark is not beyond that. Does nothing to a table that is loaded or parked.
    async fn complete_table(&mut self, table: &TablePlan) -> Result<(), Problem>;
}

/// Knows which bookmarks would still be there if the target as it is now were lost and what takes its place went on.
/// The source is never told to forget more than that.
#[async_trait]
pub trait Durability: Send {
    /// Looks once at what is durable by now, and returns within seconds. Asked again and again while a committed
    /// bookmark is not durable. Must be true of the very server that is asked, whatever went before. After an error the
    /// next call begins afresh.
    async fn durable(&mut self) -> Result<Durable, Problem>;
}

/// What is durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// The newest position of a bookmark that is.
    pub position: Option<Position>,
    /// What keeps newer ones from it, if that is known.
    pub waits_for: Option<Problem>,
}

/// Changes to apply: a run of one batch, less what is left out.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// Where the rows are.
    pub batch: &'a Batch,
    /// Which changes.
    pub range: Range<usize>,
    /// Changes to leave out, by index in the batch; parked tables, and tables that have them from their load.
    pub without: Option<&'a [bool]>,
}

impl<'a> Segment<'a> {
    /// The whole batch.
    #[must_use]
    pub fn whole(batch: &'a Batch) -> Self {
        Self { batch, range: 0..batch.changes().len(), without: None }
    }

    /// The changes with their index in the batch.
    pub fn changes(&self) -> impl Iterator<Item = (usize, &'a Change)> + Clone + use<'a> {
        let without = self.without;
        let start = self.range.start;
        self.batch.changes()[self.range.clone()]
            .iter()
            .enumerate()
            .map(move |(at, change)| (start + at, change))
            .filter(move |(at, _)| !without.is_some_and(|without| without[*at]))
    }
}

/// When constraints are checked that may wait for the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// When they say so themselves: what the commit refuses has no row.
    AsDeclared,
    /// With every row: the row that the commit would refuse is found. A transaction that is right only as a whole is
    /// refused, too, so this is for one whose commit was.
    AtOnce,
}

/// A row that can't be applied as it came.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'p> {
    /// Its index in the batch.
    pub index: usize,
    /// Why.
    pub problem: &'p Problem,
    /// Whether the target's rows are not as the change expects them, which was looked up by the key; none if something
    /// else is wrong with it.
    pub conflict: Option<Conflict>,
}

/// What a change finds in the target otherwise than it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A row with the key that the change's new row has.
    RowExists,
    /// No row to update or delete.
    RowMissing {
        /// Of an update: whether it has every cell of the new row, and a key to find that by.
        whole: bool,
    },
}

/// What to do with a row that can't be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it out and write it to the exceptions.
    LeaveOut,
    /// Of a conflict: make the row of that key what the change says it is at the source, whatever is there. A row with
    /// the new key is overwritten (columns that the plan doesn't have stay), a missing one is inserted, one to be deleted
    /// is passed over. Not for an update of a missing row that is not whole.
    Resolve,
    /// Give up on this wave.
    Abort,
}

/// The end of a wave.
#[derive(Clone, Debug)]
pub struct WaveEnd<'a> {
    /// The wave's number: the last one's plus one. The target refuses one that is there.
    pub wave: WaveNumber,
    /// The end of the last whole transaction in it.
    pub position: &'a Position,
    /// The same for people.
    pub position_text: &'a str,
    /// When the source committed that transaction (microseconds since 1970).
    pub committed_at: Option<i64>,
    /// Tables that are parked with this wave, at a position up to which they have everything.
    pub parked: &'a [(TableId, Position, Problem)],
}
