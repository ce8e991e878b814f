//! Loading tables aside: a reload, or a table that was added, while the other tables are followed.
//!
//! 1. The source keeps its log for these tables from the place of a view on, whatever is confirmed meanwhile.
//! 2. Each table is begun between two waves; from then on the waves leave it out. Its chunks, keys and indexes are
//!    made beside the waves.
//! 3. It catches up in rounds: a later view, the keys that the log touched since, their rows fetched again.
//! 4. When little is left the waves stand still between two of them. The last round brings the table to a view that is
//!    not before the bookmark, and only then it is marked loaded: from there on the log takes over, as after a first
//!    load.
//!
//! A table whose keys can't tell what was touched (it has none) is loaded while the waves stand still all the time.
//! After a crash the marks in the target say how far each table is; what the source keeps says whether that counts.
//!
//! Invariant: a table is marked loaded only while the waves stand still, at a position that is not before the bookmark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wavemark_connector::crash;
use wavemark_connector::source::{KeptFor, View};
use wavemark_connector::target::{Kept, Loader, Stage, TableMark};
use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, Problem, TableId, TablePlan};

use super::chunks::{self, Then};
use super::{Job, jobs_of, no_loader, resume, sort_by_size};
use crate::connections::Room;
use crate::run::Run;

/// What the loader of tables asks of whoever writes waves; answered between two waves.
pub(crate) enum Request {
    /// Make these tables ready to be loaded from the view; those with a reason were begun before.
    Begin { view: Arc<dyn View>, tables: BTreeMap<TableId, Option<String>>, reply: oneshot::Sender<Vec<TableMark>> },
    /// Park a table that can't be loaded.
    Park { table: TableId, at: Box<TableMark>, problem: Problem, reply: oneshot::Sender<()> },
    /// Let the bookmark stay where it is.
    Hold { reply: oneshot::Sender<()> },
    /// Go on with waves.
    Release,
    /// Every table is loaded or parked: read the log anew, with them.
    Done,
    /// It can't go on.
    Failed(Problem),
}

/// The tables to load aside, with the marks of those that are half loaded.
pub(crate) fn tables(
    plan: &[TablePlan],
    kept: &Kept,
    asked: &BTreeSet<TableId>,
) -> BTreeMap<TableId, Option<TableMark>> {
    let marks = kept.marks();
    let half = |table: &TablePlan| {
        let mark = marks.get(table.name()).copied();
        mark.filter(|mark| mark.stage == Stage::Loading).cloned()
    };
    let chosen = |table: &TablePlan| match half(table) {
        _ if asked.contains(&table.id) => Some((table.id, None)),
        Some(mark) => Some((table.id, Some(mark))),
        None => None,
    };
    plan.iter().filter_map(chosen).collect()
}

/// A load that goes on aside; ends when it is dropped.
pub(crate) struct Aside {
    requests: mpsc::Receiver<Request>,
    _work: JoinSet<()>,
}

impl Aside {
    /// Begins to load: the tables without a mark afresh, the others from where their marks say. There is at least one.
    pub(crate) fn start(
        run: &Run,
        plan: &Arc<[TablePlan]>,
        (loaders, room): (Vec<Box<dyn Loader>>, Room),
        tables: BTreeMap<TableId, Option<TableMark>>,
    ) -> Self {
        let (requests, received) = mpsc::channel(1);
        let mut marks = vec![None; plan.len()];
        let mut fresh = BTreeMap::new();
        for (table, mark) in tables {
            match mark {
                Some(mark) => marks[table.index()] = Some(mark),
                None => drop(fresh.insert(table, None)),
            }
        }
        let (run, plan) = (run.clone(), Arc::clone(plan));
        let work = Work { run, plan, loaders, room, marks, fresh, holding: false, writer: requests };
        let mut working = JoinSet::new();
        working.spawn(work.work());
        Self { requests: received, _work: working }
    }

    /// The next thing that is asked for. Cancel safe.
    pub(crate) async fn request(&mut self) -> Request {
        let gone = || Request::Failed(Problem::internal("the load aside ended without a word"));
        self.requests.recv().await.unwrap_or_else(gone)
    }
}

/// Rounds of catching up before the waves are held, and how short one must be to be the last before that.
const ROUNDS: u32 = 8;
const SHORT: Duration = Duration::from_secs(1);
/// How long waves are held for a view that does not come, and how long they go on before the next try.
const HOLD_PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(30);
/// How long a source that can't begin is left alone.
const RETRY: Duration = Duration::from_secs(15);

struct Work {
    run: Run,
    plan: Arc<[TablePlan]>,
    loaders: Vec<Box<dyn Loader>>,
    /// The connections that it may open.
    room: Room,
    /// The tables in hand, by their place in the plan.
    marks: Vec<Option<TableMark>>,
    /// The tables to begin, with the reason if they were begun before.
    fresh: BTreeMap<TableId, Option<String>>,
    /// Whether the waves stand still for us.
    holding: bool,
    writer: mpsc::Sender<Request>,
}

/// Why it ends before its end.
enum Halt {
    /// Nobody listens any more: the run goes on without us, or not at all.
    Abandoned,
    /// It can't go on.
    Problem(Problem),
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<oneshot::error::RecvError> for Halt {
    fn from(_: oneshot::error::RecvError) -> Self {
        Self::Abandoned
    }
}

impl Work {
    async fn work(mut self) {
        let last = match self.load().await {
            Ok(()) => Request::Done,
            Err(Halt::Problem(problem)) => Request::Failed(problem),
            Err(Halt::Abandoned) => return,
        };
        let _ = self.writer.send(last).await;
    }

    async fn load(&mut self) -> Result<(), Halt> {
        let mut view = self.first_view().await?;
        loop {
            let jobs = self.begin(&view).await?;
            self.copy(&view, jobs).await?;
            // Its sessions end before those of a later view begin.
            drop(view);
            if !self.is_loading() {
                break;
            }
            match self.hand_over().await? {
                Some(later) => view = later,
                None => break,
            }
        }
        Ok(self.run.source.end_aside(&self.run.task).await?)
    }

    /// The view to begin with, and what the source keeps from it on. A source that can't give one does not disturb the
    /// tables that are followed.
    async fn first_view(&mut self) -> Result<Arc<dyn View>, Halt> {
        let mut told = None;
        loop {
            let problem = match self.try_first_view().await {
                Err(Halt::Problem(problem)) if problem.fault == Fault::Transient => problem,
                other => return other,
            };
            self.release().await?;
            if told.replace(problem.code.clone()).as_ref() != Some(&problem.code) {
                self.run.status.problem(Severity::Warning, &problem);
            }
            sleep(RETRY).await;
        }
    }

    async fn try_first_view(&mut self) -> Result<Arc<dyn View>, Halt> {
        self.room.ensure(&self.run)?;
        let began = self.marks.iter().flatten().map(|mark| mark.began.clone()).min();
        let keeps = match &began {
            Some(began) => self.run.source.keeps_aside(&self.run.task, began).await?,
            None => false,
        };
        if !keeps {
            self.start_over("the source no longer keeps the log since its load began");
        }
        let view = if self.in_hand().any(TablePlan::is_keyless) {
            self.hold().await?;
            let view = self.view(keeps);
            timeout(HOLD_PATIENCE, view).await.unwrap_or_else(|_| Err(no_view()))
        } else {
            self.view(keeps).await
        };
        let view = view?;
        if !keeps {
            crash::point("aside.begun");
        }
        let names: Vec<String> = self.in_hand().map(|table| table.name().to_string()).collect();
        let position = self.run.source.describe(view.position());
        let text = format!("{} is loaded aside, from the source as of {position}", names.join(", "));
        self.run.status.event(Severity::Info, "load-aside", text);
        Ok(view)
    }

    async fn view(&mut self, keeps: bool) -> Result<Arc<dyn View>, Problem> {
        let (source, task) = (&self.run.source, &self.run.task);
        let tables: Vec<TablePlan> = self.in_hand().cloned().collect();
        let view = if keeps { source.view_again(task, &tables).await } else { source.begin_aside(task, &tables).await };
        view.map(Into::into)
    }

    fn in_hand(&self) -> impl Iterator<Item = &TablePlan> {
        let has = |table: &&TablePlan| self.marks[table.id.index()].is_some() || self.fresh.contains_key(&table.id);
        self.plan.iter().filter(has)
    }

    fn is_loading(&self) -> bool {
        self.marks.iter().flatten().any(|mark| mark.stage == Stage::Loading)
    }

    /// Everything that was begun is to be begun again.
    fn start_over(&mut self, why: &str) {
        for (table, mark) in self.plan.iter().zip(&mut self.marks) {
            if mark.take().is_some() {
                self.fresh.insert(table.id, Some(why.to_owned()));
            }
        }
    }

    /// Brings the tables in hand to the view, begins the others in it, and lists what is left to copy.
    async fn begin(&mut self, view: &Arc<dyn View>) -> Result<Vec<Job>, Halt> {
        let mut jobs = self.bring_forward(view).await?;
        let tables = std::mem::take(&mut self.fresh);
        if !tables.is_empty() {
            let (reply, begun) = oneshot::channel();
            self.ask(Request::Begin { view: Arc::clone(view), tables, reply }).await?;
            for mark in begun.await?.into_iter().filter(|mark| mark.stage == Stage::Loading) {
                let Some(at) = self.plan.iter().position(|table| *table.name() == mark.source) else { continue };
                jobs.extend(jobs_of(at, &mark, None));
                self.marks[at] = Some(mark);
            }
        }
        sort_by_size(&self.plan, &mut jobs);
        Ok(jobs)
    }

    /// Brings every table in hand to the view, and lists what is left of them to copy. Those that have to start over are
    /// in `fresh` then.
    async fn bring_forward(&mut self, view: &Arc<dyn View>) -> Result<Vec<Job>, Halt> {
        // What a table whose chunks are all done lacks is what was touched since it was last brought forward.
        let since = |mark: &TableMark| {
            let from = if resume::has_open_chunks(mark) { &mark.began } else { &mark.position };
            // Another view may be at the same place, and have come there in another way.
            (from.as_bytes() != view.position().as_bytes()).then(|| from.clone())
        };
        let loader = self.loaders.first_mut().ok_or_else(no_loader)?;
        let (run, plan, kept) = (&self.run, &self.plan, KeptFor::Aside);
        let forward =
            resume::bring_forward(run, plan, view.as_ref(), loader.as_mut(), &mut self.marks, kept, since).await?;
        for (index, why) in forward.again {
            self.marks[index] = None;
            self.fresh.insert(self.plan[index].id, Some(why));
        }
        for (index, problem) in forward.failed {
            self.park(index, problem).await?;
        }
        Ok(forward.jobs)
    }

    /// Copies the chunks that are left, and makes keys and indexes.
    async fn copy(&mut self, view: &Arc<dyn View>, jobs: Vec<Job>) -> Result<(), Halt> {
        let loaders = std::mem::take(&mut self.loaders);
        let (failed, loaders) =
            chunks::copy(&self.run, &self.plan, Arc::clone(view), loaders, jobs, Then::Wait).await?;
        self.loaders = loaders;
        for (index, problem) in failed {
            self.park(index, problem).await?;
        }
        // They are all done.
        self.marks.iter_mut().flatten().for_each(|mark| mark.chunks.clear());
        Ok(())
    }

    /// Lets the log take over. Gives a later view if some tables have to start over, in that view.
    async fn hand_over(&mut self) -> Result<Option<Arc<dyn View>>, Halt> {
        if !self.holding {
            for _ in 0..ROUNDS {
                let began = Instant::now();
                let view = self.view(true).await?;
                self.bring_forward(&view).await?;
                if !self.fresh.is_empty() {
                    return Ok(Some(view));
                }
                if began.elapsed() < SHORT {
                    break;
                }
            }
            let view = self.held_view().await?;
            self.bring_forward(&view).await?;
            if !self.fresh.is_empty() {
                self.release().await?;
                return Ok(Some(view));
            }
        }
        let Some(loader) = self.loaders.first_mut() else { return Err(no_loader().into()) };
        for (table, mark) in self.plan.iter().zip(&self.marks) {
            if mark.is_some() {
                loader.complete_table(table).await?;
                crash::point("table.completed");
            }
        }
        Ok(None)
    }

    /// A view that is not before the bookmark: it is made while the waves stand still, and not for long.
    async fn held_view(&mut self) -> Result<Arc<dyn View>, Halt> {
        loop {
            self.hold().await?;
            if let Ok(view) = timeout(HOLD_PATIENCE, self.view(true)).await {
                return Ok(view?);
            }
            self.release().await?;
            self.run.status.problem(Severity::Warning, &no_view());
            sleep(PAUSE).await;
        }
    }

    async fn hold(&mut self) -> Result<(), Halt> {
        if !self.holding {
            let (reply, held) = oneshot::channel();
            self.ask(Request::Hold { reply }).await?;
            held.await?;
            self.holding = true;
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<(), Halt> {
        if std::mem::take(&mut self.holding) {
            self.ask(Request::Release).await?;
        }
        Ok(())
    }

    async fn park(&mut self, index: usize, problem: Problem) -> Result<(), Halt> {
        let Some(mark) = self.marks[index].take() else { return Ok(()) };
        let (reply, parked) = oneshot::channel();
        self.ask(Request::Park { table: self.plan[index].id, at: Box::new(mark), problem, reply }).await?;
        Ok(parked.await?)
    }

    async fn ask(&mut self, request: Request) -> Result<(), Halt> {
        self.writer.send(request).await.map_err(|_| Halt::Abandoned)
    }
}

fn no_view() -> Problem {
    let text =
        "The source did not give a view of tables that are loaded aside: it waits for transactions that are open.";
    Problem::transient("view-waits", text).advice(
        "The other tables are followed meanwhile and it is tried again. See the source's oldest transactions that write.",
    )
}
