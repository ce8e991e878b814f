//! Transactions at the simulated target, and the server processes that carry them out.
//!
//! - A transaction that writes takes the fence first: one wave at a time, chunks and tables beside all. The epoch is
//!   looked at then; from there on only the lock, and the end of its backend, keep it from being committed.
//! - A commit is carried out by the backend: it goes on when the client is dropped, as a server's process does.
//! - A client that is dropped with a transaction open leaves a backend that notices, or one that lives on and keeps its
//!   lock until somebody ends it.

use std::collections::BTreeMap;

use wavemark_domain::{Epoch, Fault, Problem};

use super::target::{SimulatedTarget, TargetState};
use super::{Mishap, Sabotage};
use crate::target::OpenError;

/// How the fence is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// Beside all others.
    Shared,
    /// Beside all but another like this.
    Alone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Open(Lock),
    /// Its commit is under way; whether it was told to end meanwhile.
    Committing {
        lock: Lock,
        told: bool,
    },
}

struct Backend {
    epoch: i64,
    phase: Phase,
}

/// The server processes of the target, and who of them may write.
#[derive(Default)]
pub(super) struct Backends {
    all: BTreeMap<u64, Backend>,
    /// Those that the fence names: of the newest opening.
    writers: Vec<u64>,
    epoch: i64,
    /// Whether the task was cleaned up.
    tombstone: bool,
    next: u64,
}

impl Backends {
    /// Leaves a tombstone: nobody opens the target again.
    pub(super) fn bury(&mut self) {
        self.tombstone = true;
    }

    pub(super) fn is_buried(&self) -> bool {
        self.tombstone
    }

    /// Whether a transaction is open whose client is to send something next.
    pub(super) fn any_open(&self) -> bool {
        self.writers.iter().any(|id| self.all.get(id).is_some_and(|backend| matches!(backend.phase, Phase::Open(_))))
    }

    /// Raises the fence for so many new backends, once nothing of a predecessor is left that could commit; none while
    /// something is. Each try tells what is left to end.
    pub(super) fn raise(
        &mut self,
        epoch: i64,
        count: usize,
        sabotage: Option<Sabotage>,
        mut ends_at_once: impl FnMut() -> bool,
    ) -> Result<Option<Vec<u64>>, OpenError> {
        if sabotage != Some(Sabotage::NoEpochCheck) {
            if self.tombstone {
                return Err(Problem::new(Fault::Settings, "task-deleted", "simulated: the task was deleted").into());
            }
            if self.epoch > epoch {
                return Err(OpenError::Fenced { held: Epoch(self.epoch), generation: None });
            }
            for id in self.writers.clone() {
                self.end(id, epoch, sabotage, &mut ends_at_once);
            }
            let left = self.writers.iter().filter_map(|id| self.all.get(id));
            if left.into_iter().any(|backend| !backend.is_left_alone(epoch, sabotage)) {
                return Ok(None);
            }
        }
        self.epoch = self.epoch.max(epoch);
        self.writers = (self.next..self.next + count as u64).collect();
        self.next += count as u64;
        self.all.extend(self.writers.iter().map(|id| (*id, Backend { epoch, phase: Phase::Idle })));
        Ok(Some(self.writers.clone()))
    }

    /// Tells a backend to end: at once if it only waits, and after its commit, or just before it, if that is under way.
    fn end(&mut self, id: u64, epoch: i64, sabotage: Option<Sabotage>, ends_at_once: &mut impl FnMut() -> bool) {
        let Some(backend) = self.all.get_mut(&id) else { return };
        if backend.is_left_alone(epoch, sabotage) {
            return;
        }
        match &mut backend.phase {
            Phase::Committing { told: true, .. } => {}
            Phase::Committing { told, .. } if !ends_at_once() => *told = true,
            _ => {
                self.all.remove(&id);
            }
        }
    }

    fn is_held_against(&self, id: u64, wanted: Lock) -> bool {
        let others = self.all.iter().filter(|(other, _)| **other != id);
        others.into_iter().any(|(_, backend)| match backend.phase {
            Phase::Idle => false,
            Phase::Open(lock) | Phase::Committing { lock, .. } => lock == Lock::Alone && wanted == Lock::Alone,
        })
    }
}

impl Backend {
    fn is_left_alone(&self, epoch: i64, sabotage: Option<Sabotage>) -> bool {
        match (sabotage, self.phase) {
            (Some(Sabotage::OpenTransactionLeftAlone), Phase::Open(_)) => true,
            (Some(Sabotage::CommitUnderWayIgnored), Phase::Committing { .. }) => self.epoch == epoch,
            _ => false,
        }
    }
}

/// A connection to one backend of an opening.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) target: SimulatedTarget,
    pub(super) backend: u64,
    pub(super) epoch: i64,
}

/// An open transaction.
pub(super) struct Begun {
    connection: Connection,
    lock: Lock,
    /// Committed or rolled back, or on its way to that without us.
    over: bool,
}

impl Connection {
    /// Begins a transaction, with the fence.
    pub(super) async fn begin(&self, lock: Lock, what: &str) -> Result<Begun, Problem> {
        self.target.pause(what).await?;
        loop {
            if let Some(begun) = self.try_begin(lock)? {
                return Ok(begun);
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    fn try_begin(&self, lock: Lock) -> Result<Option<Begun>, Problem> {
        let sabotage = self.target.sabotage;
        let mut state = self.target.state();
        let backends = &mut state.backends;
        if !backends.all.contains_key(&self.backend) {
            return Err(gone());
        }
        let unlocked = matches!(sabotage, Some(Sabotage::NoEpochCheck | Sabotage::OpenTransactionLeftAlone));
        if !unlocked && backends.is_held_against(self.backend, lock) {
            return Ok(None);
        }
        if sabotage != Some(Sabotage::NoEpochCheck) && backends.epoch != self.epoch {
            return Err(Problem::new(Fault::Fenced, "fenced", "simulated: the epoch was raised"));
        }
        if let Some(backend) = backends.all.get_mut(&self.backend) {
            backend.phase = Phase::Open(lock);
        }
        Ok(Some(Begun { connection: self.clone(), lock, over: false }))
    }

    /// Does one thing in a transaction of its own.
    pub(super) async fn write(
        &self,
        lock: Lock,
        what: &str,
        work: impl FnOnce(&mut TargetState) -> Result<(), Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        self.begin(lock, what).await?.commit(what, work).await
    }
}

impl Begun {
    /// Commits. The work is what the transaction has done; nobody sees it before.
    pub(super) async fn commit(
        mut self,
        what: &str,
        work: impl FnOnce(&mut TargetState) -> Result<(), Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        let Connection { target, backend, .. } = self.connection.clone();
        target.pause(what).await?;
        self.set(Phase::Committing { lock: self.lock, told: false })?;
        self.over = true;
        let (answer, done) = tokio::sync::oneshot::channel();
        let pause = target.state().chance.commit_pause();
        let server = target.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let mut state = server.state();
            let Some(ended) = state.backends.end_of_commit(backend) else { return };
            let outcome = work(&mut state);
            if outcome.is_ok() {
                state.seen();
            }
            if ended {
                state.backends.all.remove(&backend);
            }
            drop(state);
            let _ = answer.send(outcome);
        });
        let waiting = Waiting { target: &target, answered: false };
        // A connection that breaks now leaves the commit under way as well.
        target.state().chance.lose_answer(what)?;
        let outcome = done.await.map_err(|_| gone());
        waiting.answered();
        outcome??;
        target.state().chance.lose_answer(what)
    }

    /// Takes it back.
    pub(super) fn roll_back(mut self) -> Result<(), Problem> {
        self.over = true;
        self.set(Phase::Idle)
    }

    fn set(&self, phase: Phase) -> Result<(), Problem> {
        let mut state = self.connection.target.state();
        let backend = state.backends.all.get_mut(&self.connection.backend).ok_or_else(gone)?;
        backend.phase = phase;
        Ok(())
    }
}

impl Backends {
    /// The commit of a backend is done: whether it was told to end meanwhile; none if it is gone.
    fn end_of_commit(&mut self, id: u64) -> Option<bool> {
        let backend = self.all.get_mut(&id)?;
        let told = matches!(backend.phase, Phase::Committing { told: true, .. });
        backend.phase = Phase::Idle;
        Some(told)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut state = self.connection.target.state();
        if self.over || !state.backends.all.contains_key(&self.connection.backend) {
            return;
        }
        if state.chance.hits(500) {
            state.backends.all.remove(&self.connection.backend);
        } else {
            state.chance.note(Mishap::TransactionLeftOpen, None);
        }
    }
}

/// A client that waits for the answer of a commit.
struct Waiting<'a> {
    target: &'a SimulatedTarget,
    answered: bool,
}

impl Waiting<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.target.state().chance.note(Mishap::CommitLeftUnderWay, None);
        }
    }
}

fn gone() -> Problem {
    Problem::transient("backend-gone", "simulated: the backend was ended")
}
