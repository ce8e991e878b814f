//! One run of a task: attempts until it ends, is stopped, or meets something that only a person can mend.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wavemark_connector::source::{DROPPED_IN_LOAD, LeftBehind, TABLE_DROPPED, TABLE_SWAPPED};
use wavemark_connector::{Source, Target, TaskContext};
use wavemark_domain::ids::Generation;
use wavemark_domain::layout::{ChangedTablePolicy, DroppedTablePolicy, NewTablePolicy, RenamedTablePolicy};
use wavemark_domain::mapping::Mappings;
use wavemark_domain::progress::{Phase, Severity};
use wavemark_domain::{Epoch, Fault, Problem};

use crate::attempt::{Carried, Stop, attempt};
use crate::connections::{self, Base, Share};
use crate::log_watch;
use crate::orders::Orders;
use crate::pace::Pace;
use crate::plan::{NOT_CHOSEN, Rules};
use crate::status::Status;

/// A task with everything to run it.
#[derive(Clone)]
pub struct Run {
    /// Which task, under which grant.
    pub task: TaskContext,
    /// Which tables, under which names.
    pub mappings: Mappings,
    /// The name of the source's system.
    pub source_engine: String,
    /// Where from.
    pub source: Arc<dyn Source>,
    /// Where to.
    pub target: Arc<dyn Target>,
    /// What the run tells about itself.
    pub status: Status,
    /// What is asked of single tables.
    pub orders: Orders,
    /// How fast its loads may be, for its source and for its target.
    pub paces: Vec<Arc<Pace>>,
    /// What connections it may have open.
    pub connections: Share,
    /// Asks the run to finish its wave and end.
    pub stop: CancellationToken,
}

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// There is nothing more to do: a load is complete, or the task is where its settings have it stop.
    Finished,
}

/// How a run ended badly. Nothing was half done: what the target holds says where the next run begins.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Another worker has the task.
    Fenced {
        /// The epoch found in the target, if it is known.
        held: Option<Epoch>,
        /// The generation found there, if it is known.
        generation: Option<Generation>,
    },
    /// A person must act.
    Problem(Problem),
}

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl Run {
    /// Whether a table that was parked for this is loaded again without being asked: it was changed at the source.
    pub(crate) fn reloads(&self, problem: &Problem) -> bool {
        self.loads_aside()
            && self.task.settings.changed_tables == ChangedTablePolicy::ReloadTable
            && ["table-changed", TABLE_SWAPPED, TABLE_DROPPED, DROPPED_IN_LOAD].contains(&&*problem.code)
    }

    /// Whether a table that came after the load is loaded without being asked.
    pub(crate) fn loads_new_tables(&self) -> bool {
        self.loads_aside() && self.task.settings.new_tables == NewTablePolicy::Load
    }

    /// Whether a table that is gone at the source is followed to its end, and is then no longer the task's.
    pub(crate) fn parts_with_dropped(&self) -> bool {
        self.task.kind.follows() && self.task.settings.dropped_tables != DroppedTablePolicy::ParkTable
    }

    /// Whether a table that has another name at the source goes on under it.
    pub(crate) fn follows_names(&self) -> bool {
        self.task.kind.follows() && self.task.settings.renamed_tables == RenamedTablePolicy::Apply
    }

    /// Whether a table ends for this without being parked, or without staying so. Of one whose load was not over nothing is
    /// kept in silence.
    pub(crate) fn ends_for(&self, problem: &Problem) -> bool {
        match &*problem.code {
            TABLE_DROPPED => self.parts_with_dropped(),
            DROPPED_IN_LOAD => self.parts_with_dropped() && self.drops_tables(),
            NOT_CHOSEN => self.follows_names(),
            _ => false,
        }
    }

    /// Whether the target's table goes with the source's.
    pub(crate) fn drops_tables(&self) -> bool {
        self.task.settings.dropped_tables == DroppedTablePolicy::Apply
    }

    /// What the plan is made by.
    pub(crate) fn rules(&self) -> Rules<'_> {
        let follows = self.task.kind.follows();
        Rules { mappings: &self.mappings, follows, unfit: self.task.settings.unfit_values }
    }

    fn loads_aside(&self) -> bool {
        self.task.kind.loads() && self.task.kind.follows()
    }

    /// Runs the task. Passing problems are waited out for as long as it takes, each attempt starting from what the
    /// target holds. May be dropped at any await: the next run continues.
    pub async fn run(&self) -> Result<Ended, Failure> {
        // Before anything is opened.
        let mut base = match Base::take(self) {
            Ok(base) => Some(base),
            Err(problem) => {
                self.show_waiting(problem);
                None
            }
        };
        let mut watch = JoinSet::new();
        if self.task.kind.follows() {
            watch.spawn(log_watch::until_over_budget(self.clone()));
        }
        loop {
            // Whatever an attempt was doing when its log is let go is over, as if the worker had died there.
            let budget = tokio::select! {
                biased;
                Some(Ok(budget)) = watch.join_next() => budget,
                outcome = self.attempts(&mut base) => return outcome,
            };
            if let Some(problem) = log_watch::let_go(self, budget).await {
                self.status.problem(Severity::Error, &problem);
                return Err(Failure::Problem(problem));
            }
            watch.spawn(log_watch::until_over_budget(self.clone()));
        }
    }

    async fn attempts(&self, base: &mut Option<Base>) -> Result<Ended, Failure> {
        let base = match base {
            Some(base) => base,
            None => match self.wait_for_connections().await? {
                Some(taken) => base.insert(taken),
                None => return Ok(Ended::Stopped),
            },
        };
        let mut carried = Carried::default();
        let mut wait = FIRST_WAIT;
        let mut lost_before = false;
        loop {
            let before = self.status.progress();
            let (run, more) = connections::widened(self).map_err(Failure::Problem)?;
            let stop = match attempt(&run, &mut carried, base, more).await {
                Ok(ended) => return Ok(ended),
                Err(stop) => stop,
            };
            let problem = match stop {
                Stop::Again => continue,
                Stop::Asked => return Ok(Ended::Stopped),
                Stop::Over => return Ok(Ended::Finished),
                Stop::Fenced { held, generation } => return Err(Failure::Fenced { held, generation }),
                Stop::Problem(problem) if problem.fault == Fault::Fenced => {
                    return Err(Failure::Fenced { held: None, generation: None });
                }
                // Another worker may have taken the task, and the log with it, since the target was opened: only a
                // target that is opened again and still ours says that the position is lost.
                Stop::Problem(problem) if problem.fault == Fault::PositionLost && !lost_before => {
                    lost_before = true;
                    continue;
                }
                Stop::Problem(problem) if problem.fault != Fault::Transient => {
                    self.status.problem(Severity::Error, &problem);
                    return Err(Failure::Problem(problem));
                }
                Stop::Problem(problem) => problem,
            };
            carried.held_up_by.clone_from(&problem.table);
            if self.status.progress().got_further_than(&before) {
                wait = FIRST_WAIT;
                lost_before = false;
            }
            if self.wait_out(problem, wait).await.is_break() {
                return Ok(Ended::Stopped);
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Waits until there are connections for it; none if the run is stopped meanwhile.
    async fn wait_for_connections(&self) -> Result<Option<Base>, Failure> {
        let taken = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(None),
            taken = Base::wait_for(self, |problem| self.show_waiting(problem)) => taken,
        };
        let base = taken.map_err(|problem| {
            self.status.problem(Severity::Error, &problem);
            Failure::Problem(problem)
        })?;
        self.status.update(|progress| progress.waiting_for = None);
        Ok(Some(base))
    }

    /// Shows the problem and waits; breaks if the run is stopped meanwhile.
    async fn wait_out(&self, problem: Problem, wait: Duration) -> std::ops::ControlFlow<()> {
        self.show_waiting(problem);
        self.status.update(|progress| progress.retries += 1);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => std::ops::ControlFlow::Break(()),
            () = tokio::time::sleep(wait) => std::ops::ControlFlow::Continue(()),
        }
    }

    /// Says what is waited for; an event too, if that is new.
    fn show_waiting(&self, problem: Problem) {
        let known = self.status.progress().waiting_for.is_some_and(|waiting| waiting.code == problem.code);
        if !known {
            self.status.problem(Severity::Warning, &problem);
        }
        self.status.update(|progress| {
            progress.phase = Phase::Retrying;
            progress.waiting_for = Some(problem);
        });
    }
}

/// Removes what the task made at the source and at the target. Both are tried, whatever happens to the other, unless
/// the target is another's: then the slot is, too.
pub async fn clean_up(run: &Run) -> Result<(), LeftBehind> {
    run.status.phase(Phase::CleaningUp);
    let target = run.target.clean_up(&run.task).await;
    if let Err(left) = &target
        && left.problem.fault == Fault::Fenced
    {
        return target;
    }
    let source = run.source.clean_up(&run.task).await;
    match (target, source) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(left), Ok(())) | (Ok(()), Err(left)) => Err(left),
        (Err(mut left), Err(other)) => {
            left.problem.text = format!("{}; {}", left.problem.text, other.problem.text);
            left.statements.extend(other.statements);
            Err(left)
        }
    }
}
