//! Following the log: capture → wave → apply → commit with the bookmark → confirm to the source.
//!
//! The reader runs on its own ([`capture`]) and hands batches over through a queue that is bounded in bytes. Here,
//! what is at hand becomes a wave ([`wave`]), the target commits it with the bookmark, and only then the source is
//! told. A wave closes when nothing more is at hand or when it is large enough, never inside a transaction.
//!
//! Where a table's layout changes, the target's is altered at the same place between its rows ([`layouts`]).
//!
//! Invariant: `committed` is only ever given a bookmark that the target committed, and the source hears of it only
//! once it is durable ([`durable`]).

mod aside;
mod asked;
mod capture;
mod careful;
mod conflicts;
mod durable;
mod gone;
mod hold;
mod keys;
mod layouts;
mod pieces;
mod shown;
pub(crate) mod stop;
mod stream;
mod tables;
mod tally;
mod wave;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wavemark_connector::target::{Bookmark, Kept, Loader, Session, TableMark, WaveEnd};
use wavemark_domain::progress::{Phase, Severity};
use wavemark_domain::{Fault, Position, Problem, TableId, TableName, TablePlan};

use crate::attempt::{Carried, Stop, changed};
use crate::connections::Room;
use crate::load::aside::Aside;
use crate::newcomers;
use crate::plan::Replanner;
use crate::run::{Ended, Run};
use capture::Captured;
use tables::Tables;
use tally::Tally;

/// The write side of following one task.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about where it is")]
struct Follower<'a> {
    run: &'a Run,
    plan: Arc<[TablePlan]>,
    session: &'a mut dyn Session,
    carried: &'a mut Carried,
    bookmark: Bookmark,
    tables: Tables,
    /// Tables to park with the next commit.
    parks: Vec<(TableId, Position, Problem)>,
    /// Rows that the open wave leaves out, and why: told once it is committed.
    left_out: Vec<(TableId, Problem)>,
    /// Conflicts of the open wave: told once it is committed.
    conflicts: Vec<conflicts::Settlement>,
    /// Layouts that the open wave has taken up, in words: told once it is committed.
    taken_up: Vec<(TableId, String)>,
    /// Whether a table was parked, here or in the load before, that is to be loaded again.
    reload_due: bool,
    /// The look for tables that came: whether there are some that the task is to have. The waves don't wait for it.
    looking: JoinSet<bool>,
    /// Whether the plan is to be made anew, with them.
    tables_came: bool,
    tally: Tally,
    /// Whether the wave holds the beginning of a transaction whose end is still to be read.
    streaming: bool,
    /// Whether foreign keys are still to be made; safe to repeat, so every run that follows a load begins with it.
    keys_due: bool,
    /// When foreign keys of parked tables are to be dropped.
    keys_in_the_way: Option<Instant>,
    /// What each table is called in what the target has committed.
    marked: Vec<TableName>,
    /// Why tables end that are gone.
    ends: BTreeMap<TableId, Problem>,
    /// When tables that are gone at the source are to be ended in the target.
    ending_at: Option<Instant>,
    /// Read with nothing pending, and beyond the bookmark.
    idle_position: Option<Position>,
    /// Tables that are loaded aside, with their marks if they were begun before.
    loading: Loading,
    aside: Option<Aside>,
    /// Whether the bookmark stays where it is, for the load aside.
    held: bool,
    /// The drain that is asked for, and where the source's log ended then.
    draining: Option<(i64, Position)>,
    /// Where the log ended once the source's clock was past the time to stop.
    stop_end: Option<Position>,
    /// A view that waits for the bookmark to reach its position, to compare.
    hold: Option<hold::Hold>,
    /// What is compared beside; ends with the follower.
    comparing: JoinSet<()>,
    /// Has the log move, so that what is waited for comes soon.
    nudge: Arc<Notify>,
    committed_at: Instant,
    committed: watch::Sender<Position>,
}

/// Tables that are loaded aside, with their marks if they were begun before.
pub(crate) type Loading = BTreeMap<TableId, Option<TableMark>>;

/// Follows the log from the bookmark until the run is stopped or something breaks.
pub(crate) async fn follow(
    run: &Run,
    plan: &Arc<[TablePlan]>,
    kept: &Kept,
    session: &mut dyn Session,
    carried: &mut Carried,
    (loading, loaders, room): (Loading, Vec<Box<dyn Loader>>, Room),
) -> Result<Ended, Stop> {
    let bookmark = kept.bookmark.clone().ok_or_else(|| Problem::internal("following without a bookmark"))?;
    let reader = run.source.follow(&run.task, plan, &bookmark.position, Arc::new(Replanner(run.clone()))).await?;
    run.status.phase(Phase::Following);
    let (committed, of_target) = watch::channel(bookmark.position.clone());
    let (batches, received) = mpsc::unbounded_channel();
    let mut capturing = JoinSet::new();
    let confirm = durable::confirmed(run, of_target, &mut capturing);
    let nudge = Arc::new(Notify::new());
    capturing.spawn(capture::capture(run.clone(), reader, batches, confirm, Arc::clone(&nudge)));
    run.orders.compares.start_over();
    let mut follower = Follower {
        run,
        plan: Arc::clone(plan),
        session,
        tables: Tables::new(plan, &kept.tables),
        parks: Vec::new(),
        left_out: Vec::new(),
        conflicts: Vec::new(),
        taken_up: Vec::new(),
        reload_due: changed(run, plan, kept).any(|table| !loading.contains_key(&table)),
        looking: JoinSet::new(),
        tables_came: false,
        tally: Tally::default(),
        streaming: false,
        keys_due: run.task.kind.loads(),
        keys_in_the_way: None,
        marked: plan.iter().map(|table| table.name().clone()).collect(),
        ends: BTreeMap::new(),
        ending_at: None,
        idle_position: None,
        aside: (!loading.is_empty()).then(|| Aside::start(run, plan, (loaders, room), loading.clone())),
        loading,
        held: false,
        draining: None,
        stop_end: None,
        hold: None,
        comparing: JoinSet::new(),
        nudge,
        committed_at: Instant::now(),
        bookmark,
        carried,
        committed,
    };
    follower.refuse_passed_stop()?;
    follower.leave_out_new_tables(kept);
    follower.show_bookmark();
    follower.park_carried();
    follower.leave_parked(kept);
    follower.begin_new_tables(kept);
    follower.expect_keys_in_the_way();
    follower.run(received).await
}

impl Follower<'_> {
    async fn run(&mut self, mut received: mpsc::UnboundedReceiver<Result<Captured, Problem>>) -> Result<Ended, Stop> {
        loop {
            if !self.streaming && self.is_at_stop() {
                return self.end_at_stop().await;
            }
            if self.reload_due && !self.streaming && self.parks.is_empty() {
                return Err(Stop::Again);
            }
            // A load that goes on aside ends in an attempt that has them.
            if self.tables_came && !self.streaming && !self.held && self.aside.is_none() && self.parks.is_empty() {
                return Err(Stop::Again);
            }
            let (idle_at, has_idle_news, may_compare) = (self.idle_at(), self.has_idle_news(), self.may_compare());
            let is_between = !self.streaming && !self.held;
            let keys_at = self.keys_in_the_way.filter(|_| is_between);
            let ending_at = self.ending_at.filter(|_| is_between);
            let first = tokio::select! {
                biased;
                () = self.run.stop.cancelled() => return self.end().await,
                asked = asked::next(self.run, &mut self.aside, self.held, may_compare), if !self.streaming => {
                    self.carry_out(asked).await?;
                    continue;
                }
                Some(_) = self.comparing.join_next() => continue,
                Some(came) = self.looking.join_next() => {
                    self.tables_came |= came.unwrap_or(false);
                    continue;
                }
                () = sleep_until(keys_at) => {
                    self.release_keys().await?;
                    continue;
                }
                () = sleep_until(ending_at) => {
                    self.end_gone().await?;
                    continue;
                }
                first = received.recv(), if !self.held => first,
                () = tokio::time::sleep_until(idle_at), if has_idle_news => {
                    self.commit_idle().await?;
                    continue;
                }
            };
            let first = first.ok_or_else(|| Problem::internal("the reader ended without a word"))??;
            let mut broken = None;
            let wave = gather(first, &mut received, self.run.task.settings.wave_changes as usize, &mut broken);
            if wave.iter().any(|captured| captured.read.tables_came) && self.looking.is_empty() {
                self.looking.spawn(newcomers::are_there(self.run.clone(), Arc::clone(&self.plan)));
            }
            let clock = wave.iter().filter_map(|captured| captured.read.source_clock).max();
            match self.take(wave).await {
                Err(Stop::Asked) => return self.end().await,
                Err(Stop::Over) => return self.end_at_stop().await,
                taken => taken?,
            }
            self.see_clock(clock).await?;
            self.finish_drain().await?;
            self.cut_if_there().await?;
            if let Some(problem) = broken {
                return Err(problem.into());
            }
        }
    }

    /// Ends as asked: an unfinished transaction is taken back, counters are raised once more.
    async fn end(&mut self) -> Result<Ended, Stop> {
        self.aside = None;
        self.take_back().await?;
        if !self.parks.is_empty() {
            self.commit_empty(None).await?;
        }
        self.raise_counters().await?;
        Ok(Ended::Stopped)
    }

    /// Raises the target's counters to the source's; a source that can't be asked is told and passed over.
    async fn raise_counters(&mut self) -> Result<(), Stop> {
        match self.run.source.counters(&self.plan).await {
            Ok(counters) => self.session.raise_counters(&self.plan, &counters).await?,
            Err(problem) => self.run.status.problem(Severity::Warning, &problem),
        }
        Ok(())
    }

    /// One comparison at a time, begun between two waves once all tables that the waves take are live.
    fn may_compare(&self) -> bool {
        let between = !self.streaming && !self.held && self.hold.is_none();
        between && self.comparing.is_empty() && self.tables.all_taken_are_live()
    }

    fn idle_at(&self) -> Instant {
        self.committed_at + Duration::from_secs(u64::from(self.run.task.settings.idle_seconds))
    }

    fn has_idle_news(&self) -> bool {
        !self.streaming && !self.held && (self.idle_position.is_some() || !self.parks.is_empty())
    }

    /// An empty wave, so that the source can let go of log that holds nothing for this task.
    async fn commit_idle(&mut self) -> Result<(), Stop> {
        let position = self.idle_position.take();
        self.commit_empty(position).await
    }

    async fn commit_empty(&mut self, position: Option<Position>) -> Result<(), Stop> {
        let position = position.unwrap_or_else(|| self.bookmark.position.clone());
        self.commit(position, None).await?;
        Ok(())
    }

    /// Commits what was applied together with the bookmark, then lets the source forget up to there.
    async fn commit(&mut self, position: Position, committed_at: Option<i64>) -> Result<(), Problem> {
        let text = self.run.source.describe(&position);
        let wave = self.bookmark.wave.next();
        let end = WaveEnd { wave, position: &position, position_text: &text, committed_at, parked: &self.parks };
        let began = Instant::now();
        durable::patiently(&self.run.status, self.session.commit(&end)).await?;
        if !self.parks.is_empty() {
            self.reload_due |= self.parks.iter().any(|(_, _, problem)| self.run.reloads(problem));
            self.parks.clear();
            self.expect_keys_in_the_way();
        }
        self.tell_left_out();
        self.tell_conflicts();
        self.tell_taken_up();
        self.carried.held_up_by = None;
        self.idle_position = None;
        self.committed_at = Instant::now();
        self.bookmark = Bookmark { wave, position };
        self.committed.send_replace(self.bookmark.position.clone());
        self.show_bookmark();
        self.run.status.update(|progress| {
            progress.waves += 1;
            progress.commit_us += micros(began.elapsed());
            if committed_at.is_some() {
                progress.applied_commit_at = committed_at;
            }
        });
        Ok(())
    }

    /// Takes the open wave back.
    async fn take_back(&mut self) -> Result<(), Problem> {
        self.left_out.clear();
        self.conflicts.clear();
        self.taken_up.clear();
        self.tally.clear();
        self.session.roll_back().await
    }

    /// Parks a table from the bookmark on: its later changes are left out, and the next commit says so.
    fn park(&mut self, table: TableId, problem: Problem) {
        let plan = &self.plan[table.index()];
        let problem = Problem {
            advice: problem.advice.clone().or_else(|| Some("Mend the cause, then reload the table.".to_owned())),
            ..problem.table(plan.name()).position(self.run.source.describe(&self.bookmark.position))
        };
        self.run.status.parked(plan, &problem);
        if self.tables.park(table) {
            self.parks.push((table, self.bookmark.position.clone(), problem));
        }
    }

    /// Parks what an earlier attempt of this run found and could not commit.
    fn park_carried(&mut self) {
        for (name, problem) in std::mem::take(&mut self.carried.parks) {
            let found = self.plan.iter().find(|plan| *plan.name() == name).map(|plan| plan.id);
            if let Some(table) = found.filter(|table| !self.leaves(*table, &problem)) {
                self.park(table, problem);
            }
        }
    }

    /// Of what is to be loaded for the first time the waves take nothing, also before that begins.
    fn leave_out_new_tables(&mut self, kept: &Kept) {
        let marks = kept.marks();
        for table in self.loading.keys() {
            if !marks.contains_key(self.plan[table.index()].name()) {
                self.tables.take_aside(*table);
            }
        }
    }

    /// A table that matches the mapping and was never loaded can't be followed: it is parked until it is.
    fn begin_new_tables(&mut self, kept: &Kept) {
        let marks = kept.marks();
        for plan in Arc::clone(&self.plan).iter() {
            if self.loading.contains_key(&plan.id) {
                continue;
            }
            if !marks.contains_key(plan.name()) {
                let text = format!("{} appeared after the load and has no rows in the target yet", plan.name());
                let problem = Problem::new(Fault::Data, newcomers::NOT_LOADED, text);
                self.park(plan.id, problem.advice("Reload the table, or leave it out by an exclude rule."));
            }
        }
    }

    fn show_bookmark(&self) {
        let text = self.run.source.describe(&self.bookmark.position);
        self.run.status.update(|progress| {
            progress.bookmark = Some(text);
            progress.bookmark_key = Some(self.bookmark.position.clone());
            progress.wave = Some(self.bookmark.wave.0);
        });
    }
}

/// Never, without a time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What is at hand, up to about so many changes, ending with an open batch if there is one. An error of the reader
/// comes after what was read before it, which is good.
fn gather(
    first: Captured,
    received: &mut mpsc::UnboundedReceiver<Result<Captured, Problem>>,
    most_changes: usize,
    broken: &mut Option<Problem>,
) -> Vec<Captured> {
    let mut changes = first.read.batch.changes().len();
    let mut wave = vec![first];
    while changes < most_changes && wave.last().is_some_and(|captured| !captured.read.batch.is_open()) {
        match received.try_recv() {
            Ok(Ok(next)) => {
                changes += next.read.batch.changes().len();
                if let Some(apart) = wave.last_mut().expect("it begins with one").join(next) {
                    wave.push(apart);
                }
            }
            Ok(Err(problem)) => {
                *broken = Some(problem);
                break;
            }
            Err(_) => break,
        }
    }
    wave
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
