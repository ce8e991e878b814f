//! A cap on the connections that all tasks of this worker together have open at one endpoint.
//!
//! Connections are counted before they are opened, by what may be open at once at most ([`Needs`]); the connectors open
//! them without asking.
//!
//! 1. A run takes what following and a load with one reader and one loader need, at both endpoints, all or nothing, and
//!    opens nothing before. Here alone it waits. What the load needs is given back once nothing is to be loaded.
//! 2. More readers and loaders are what is free when an attempt begins, possibly none; they are given back when the load
//!    is over.
//! 3. A load aside and a comparison that find too little free are tried again later, while the task goes on following.
//! 4. What is given back is free after [`CLOSING`]: a server takes a moment to end a session.
//!
//! Invariant: who has connections never waits for more of them before it goes on. So every run that has begun can go on,
//! and what it gives back lets the next one begin.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use wavemark_connector::needs::Needs;
use wavemark_connector::spec::MAX_CONNECTIONS;
use wavemark_connector::target::Loader;
use wavemark_domain::{Fault, Problem};

use crate::run::Run;

/// The code of the problem that too little is free.
pub(crate) const WAITS: &str = "endpoint-connections";

/// How many tasks look through a source's catalog at once.
const TURNS: usize = 4;

/// How long a connection that was given back still counts.
const CLOSING: Duration = Duration::from_secs(1);

/// The connections of one worker, by the endpoint's name.
#[derive(Default)]
pub struct Connections {
    endpoints: Mutex<BTreeMap<String, Endpoint>>,
    changed: Notify,
}

#[derive(Default)]
struct Endpoint {
    /// Who of those that begin may look through its catalog.
    turns: Option<Arc<Semaphore>>,
    most: Option<u64>,
    /// With those that are closing.
    taken: u64,
    closing: Vec<(Instant, u64)>,
}

impl Connections {
    /// Sets an endpoint's cap. What is taken stays; the newest setting counts from now on.
    pub fn cap(&self, endpoint: &str, most: Option<u64>) {
        self.endpoints().entry(endpoint.to_owned()).or_default().most = most;
        self.changed.notify_waiters();
    }

    fn endpoints(&self) -> MutexGuard<'_, BTreeMap<String, Endpoint>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    fn free(&mut self, now: Instant) -> u64 {
        let closed: u64 = self.closing.extract_if(.., |(at, _)| *at <= now).map(|(_, count)| count).sum();
        self.taken -= closed;
        self.most.map_or(u64::MAX, |most| most.saturating_sub(self.taken))
    }
}

/// So many at the source and at the target.
type Counts = [u64; 2];

/// From what a task takes its connections: its two endpoints, which may be one and the same. The default has no cap.
#[derive(Clone, Default)]
pub struct Share {
    connections: Arc<Connections>,
    endpoints: [String; 2],
}

impl Share {
    /// The share of a task between these endpoints.
    #[must_use]
    pub fn new(connections: &Arc<Connections>, source: &str, target: &str) -> Self {
        Self { connections: Arc::clone(connections), endpoints: [source.to_owned(), target.to_owned()] }
    }

    /// Waits until it is this task's turn to look through the source's catalog, which lasts until the permit is dropped:
    /// hundreds of tasks that begin at once would have the source do nothing else, and each other wait.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut endpoints = self.connections.endpoints();
            let endpoint = endpoints.entry(self.endpoints[0].clone()).or_default();
            Arc::clone(endpoint.turns.get_or_insert_with(|| Arc::new(Semaphore::new(TURNS))))
        };
        turns.acquire_owned().await.ok()
    }

    /// Takes so many, and as many more at both as are free up to `most`; or nothing, with the reason. That is a
    /// *settings* problem if the cap could never do.
    fn take(&self, counts: Counts, most: u64) -> Result<(Taken, u64), Problem> {
        let mut endpoints = self.connections.endpoints();
        let is_one = self.endpoints[0] == self.endpoints[1];
        let mut more = most;
        for (name, count) in self.endpoints.iter().zip(counts) {
            let (needed, each) = if is_one { (counts.iter().sum(), 2) } else { (count, 1) };
            let endpoint = endpoints.entry(name.clone()).or_default();
            let free = endpoint.free(Instant::now());
            let left = free.checked_sub(needed);
            let short = || too_few(name, needed, free, endpoint.most.unwrap_or(u64::MAX));
            more = more.min(left.ok_or_else(short)? / each);
        }
        let counts = counts.map(|count| count + more);
        for (name, count) in self.endpoints.iter().zip(counts) {
            if let Some(endpoint) = endpoints.get_mut(name) {
                endpoint.taken += count;
            }
        }
        Ok((Taken { share: self.clone(), counts }, more))
    }

    /// Waits until so many are free at once; `told` hears why.
    async fn wait_for(&self, counts: Counts, told: impl Fn(Problem)) -> Result<Taken, Problem> {
        loop {
            let mut changed = pin!(self.connections.changed.notified());
            changed.as_mut().enable();
            match self.take(counts, 0) {
                Ok((taken, _)) => return Ok(taken),
                Err(problem) if problem.fault == Fault::Transient => told(problem),
                Err(problem) => return Err(problem),
            }
            // What is given back is not free at once.
            let _ = timeout(CLOSING, changed).await;
        }
    }
}

fn too_few(endpoint: &str, needed: u64, free: u64, most: u64) -> Problem {
    if needed > most {
        let text = format!("The task needs {needed} connections at endpoint {endpoint}, whose cap is {most}.");
        return Problem::new(Fault::Settings, WAITS, text).advice(format!("Raise {MAX_CONNECTIONS} of the endpoint."));
    }
    let text = format!(
        "{needed} connections are needed at endpoint {endpoint}; of the {most} that this worker may open there, \
         {free} are free."
    );
    Problem::transient(WAITS, text).advice(format!(
        "It goes on by itself when other tasks of the worker end or have loaded. To have it go on now, stop one of \
         them, or raise {MAX_CONNECTIONS} of the endpoint and stop and resume this task."
    ))
}

/// Connections that may be open; given back when it is dropped, which is after they were closed.
pub(crate) struct Taken {
    share: Share,
    counts: Counts,
}

impl Taken {
    /// Some of them on their own.
    fn split(&mut self, counts: Counts) -> Self {
        for (mine, count) in self.counts.iter_mut().zip(counts) {
            *mine -= count;
        }
        Self { share: self.share.clone(), counts }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let connections = &self.share.connections;
        let mut endpoints = connections.endpoints();
        let now = Instant::now();
        for (name, count) in self.share.endpoints.iter().zip(self.counts) {
            if let Some(endpoint) = endpoints.get_mut(name) {
                endpoint.free(now);
                endpoint.closing.push((now + CLOSING, count));
            }
        }
        drop(endpoints);
        connections.changed.notify_waiters();
    }
}

/// What a run has from its beginning to its end.
pub(crate) struct Base {
    _follow: Taken,
    /// What a load needs at the source, until there is nothing to load.
    load: Option<Arc<Taken>>,
}

/// What a load aside has beside what following has.
#[derive(Default)]
pub(crate) struct Room {
    load: Option<Arc<Taken>>,
    _more: Option<Taken>,
}

impl Room {
    /// Takes what a load needs at the source, if that isn't there yet.
    pub(crate) fn ensure(&mut self, run: &Run) -> Result<(), Problem> {
        ensure(&mut self.load, run)
    }
}

fn ensure(load: &mut Option<Arc<Taken>>, run: &Run) -> Result<(), Problem> {
    if load.is_none() {
        let counts = [run.source.connections().load.into(), 0];
        *load = Some(Arc::new(run.connections.take(counts, 0)?.0));
    }
    Ok(())
}

fn needs(run: &Run) -> [Needs; 2] {
    [run.source.connections(), run.target.connections()]
}

impl Base {
    /// Takes a run's base if it is free.
    pub(crate) fn take(run: &Run) -> Result<Self, Problem> {
        let (taken, _) = run.connections.take(needs(run).map(|needs| needs.least().into()), 0)?;
        Ok(Self::of(run, taken))
    }

    /// Waits for it; `told` hears why.
    pub(crate) async fn wait_for(run: &Run, told: impl Fn(Problem)) -> Result<Self, Problem> {
        let counts = needs(run).map(|needs| needs.least().into());
        Ok(Self::of(run, run.connections.wait_for(counts, told).await?))
    }

    /// A target opens its loaders each time that it is opened: it keeps what one of them needs.
    fn of(run: &Run, mut taken: Taken) -> Self {
        let load = taken.split([run.source.connections().load.into(), 0]);
        Self { _follow: taken, load: Some(Arc::new(load)) }
    }

    /// Room for a load aside with these loaders. Where there is none now it is left with one loader: more would be held
    /// while it waits.
    pub(crate) fn room(&mut self, run: &Run, loaders: &mut Vec<Box<dyn Loader>>, more: Taken) -> Room {
        if ensure(&mut self.load, run).is_ok() {
            return Room { load: self.load.clone(), _more: Some(more) };
        }
        loaders.truncate(1);
        Room::default()
    }

    /// There is nothing to load.
    pub(crate) fn has_loaded(&mut self) {
        self.load = None;
    }
}

/// The run with as many parallel readers and loaders as there is room for, and that room.
pub(crate) fn widened(run: &Run) -> Result<(Run, Taken), Problem> {
    let wanted = if run.task.kind.loads() { run.task.settings.load_parallelism.max(1) } else { 1 };
    let (taken, more) = run.connections.take([0, 0], u64::from(wanted - 1))?;
    let mut run = run.clone();
    run.task.settings.load_parallelism = 1 + u16::try_from(more).unwrap_or(wanted - 1);
    Ok((run, taken))
}

/// Room for a comparison in up to so many sessions, and for how many there is.
pub(crate) fn for_compare(run: &Run, sessions: u16) -> Result<(Taken, u16), Problem> {
    let counts = needs(run).map(|needs| needs.compare.into());
    let (taken, more) = run.connections.take(counts, u64::from(sessions.max(1) - 1))?;
    Ok((taken, 1 + u16::try_from(more).unwrap_or(sessions.max(1) - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capped(most: u64) -> (Arc<Connections>, Share) {
        let connections = Arc::new(Connections::default());
        connections.cap("shop", Some(most));
        let share = Share::new(&connections, "shop", "copy");
        (connections, share)
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_together_take_no_more_than_the_cap() {
        let (connections, share) = capped(10);
        let (first, more) = share.take([4, 4], 3).unwrap();
        assert_eq!(more, 3);
        // Three are left at the source, and any number at the target.
        let (second, more) = share.take([1, 1], 5).unwrap();
        assert_eq!(more, 2);
        let other = Share::new(&connections, "another", "shop");
        let problem = other.take([1, 1], 0).err().unwrap();
        assert_eq!((problem.fault, problem.code.as_str()), (Fault::Transient, "endpoint-connections"));
        drop((first, second));
        tokio::time::sleep(CLOSING).await;
        assert_eq!(other.take([1, 1], 32).unwrap().1, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_get_all_takes_nothing() {
        let (connections, share) = capped(5);
        connections.cap("copy", Some(3));
        assert!(share.take([5, 3], 0).is_ok());
        tokio::time::sleep(CLOSING).await;
        let held = share.take([0, 1], 0).unwrap();
        // The source has enough and the target has not.
        assert!(share.take([5, 3], 0).is_err());
        assert!(share.take([5, 2], 0).is_ok());
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_free_once_the_server_had_time_to_close_it() {
        let (_, share) = capped(5);
        let (first, _) = share.take([5, 0], 0).unwrap();
        drop(first);
        assert!(share.take([1, 0], 0).is_err());
        tokio::time::sleep(CLOSING).await;
        assert!(share.take([5, 0], 0).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_goes_on_when_another_ends() {
        let (_, share) = capped(5);
        let (first, _) = share.take([5, 0], 0).unwrap();
        let began = Instant::now();
        let told = std::cell::Cell::new(0);
        let wait = share.wait_for([3, 3], |_| told.set(told.get() + 1));
        let end = async {
            tokio::time::sleep(Duration::from_mins(1)).await;
            drop(first);
        };
        let (taken, ()) = tokio::join!(wait, end);
        assert!(taken.is_ok());
        assert_eq!(began.elapsed().as_secs(), 61);
        assert!(told.get() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cap_that_is_raised_lets_the_next_task_begin() {
        let (connections, share) = capped(5);
        let _first = share.take([5, 0], 0).unwrap();
        let raise = async { connections.cap("shop", Some(8)) };
        let (taken, ()) = tokio::join!(share.wait_for([3, 0], |_| ()), raise);
        assert!(taken.is_ok());
        assert!(share.take([1, 0], 0).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_is_source_and_target_counts_both() {
        let (connections, _) = capped(10);
        let share = Share::new(&connections, "shop", "shop");
        let (_taken, more) = share.take([3, 2], 4).unwrap();
        assert_eq!(more, 2);
        // Nine of ten are taken.
        assert!(share.take([1, 1], 0).is_err());
        assert!(share.take([1, 0], 0).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_needs_more_than_the_cap_does_not_wait() {
        let (_, share) = capped(5);
        let problem = share.wait_for([6, 0], |_| panic!("it waits")).await.err().unwrap();
        assert_eq!(problem.fault, Fault::Settings);
        assert_eq!(problem.text, "The task needs 6 connections at endpoint shop, whose cap is 5.");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_given_back_alone() {
        let (_, share) = capped(9);
        let (mut taken, _) = share.take([9, 4], 0).unwrap();
        drop(taken.split([5, 0]));
        tokio::time::sleep(CLOSING).await;
        assert_eq!(share.take([0, 0], 32).unwrap().1, 5);
    }

    #[tokio::test]
    async fn without_a_cap_there_is_always_room() {
        assert_eq!(Share::default().take([100, 100], 32).unwrap().1, 32);
    }
}
