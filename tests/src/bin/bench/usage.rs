//! Time and CPU of a measurement, from the clock and from /proc.
//!
//! A process' line in /proc also counts the children that it has waited for, so a postmaster with its living
//! children is the whole of its cluster, and this program's waited-for children are the clients that it started.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;
use wavemark_tests::signal;

/// Whose time is counted.
#[derive(Clone, Copy)]
pub(crate) struct Roots {
    pub(crate) source: u32,
    pub(crate) target: u32,
    pub(crate) worker: u32,
}

/// The outcome of one measurement; seconds throughout.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    /// CPU of the whole source cluster: walsender, backends, writers.
    pub(crate) source_cpu: f64,
    /// CPU of the whole target cluster.
    pub(crate) target_cpu: f64,
    /// CPU of what stands between: the worker, pgcopydb, psql.
    pub(crate) client_cpu: f64,
    /// Share of the machine that others used.
    pub(crate) foreign: f64,
}

/// A running measurement.
pub(crate) struct Meter {
    roots: Roots,
    began: Instant,
    before: Counters,
}

#[derive(Clone, Copy)]
struct Counters {
    source: Duration,
    target: Duration,
    client: Duration,
    all: Duration,
}

impl Meter {
    pub(crate) fn start(roots: Roots) -> Result<Self> {
        let before = Counters::read(roots)?;
        Ok(Self { roots, began: Instant::now(), before })
    }

    pub(crate) fn stop(self) -> Result<Usage> {
        let seconds = self.began.elapsed().as_secs_f64();
        let after = Counters::read(self.roots)?;
        let spent = |of: fn(&Counters) -> Duration| of(&after).saturating_sub(of(&self.before)).as_secs_f64();
        let (source_cpu, target_cpu) = (spent(|counters| counters.source), spent(|counters| counters.target));
        let client_cpu = spent(|counters| counters.client);
        let others = spent(|counters| counters.all) - source_cpu - target_cpu - client_cpu;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let machine = seconds * f64::from(u32::try_from(cores).unwrap_or(1));
        Ok(Usage { seconds, source_cpu, target_cpu, client_cpu, foreign: (others / machine).max(0.0) })
    }
}

impl Counters {
    fn read(roots: Roots) -> Result<Self> {
        Ok(Self {
            source: cluster(roots.source)?,
            target: cluster(roots.target)?,
            client: of(&roots.worker.to_string())?.whole() + of("self")?.waited_for,
            all: busy()?,
        })
    }
}

/// CPU time of a process, and of the children that it has waited for.
struct Process {
    own: Duration,
    waited_for: Duration,
}

impl Process {
    fn whole(&self) -> Duration {
        self.own + self.waited_for
    }
}

fn of(pid: &str) -> Result<Process> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let fields = text.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect::<Vec<_>>());
    let fields = fields.with_context(|| format!("{path} has another form"))?;
    let at = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).map_or(Duration::ZERO, ticks);
    Ok(Process { own: at(11) + at(12), waited_for: at(13) + at(14) })
}

/// A child that ends between the two looks is counted in neither or by the postmaster; hundredths of a second.
pub(crate) fn cluster(postmaster: u32) -> Result<Duration> {
    let children = signal::children(postmaster);
    let living = children.iter().filter_map(|pid| of(&pid.to_string()).ok()).map(|child| child.whole());
    Ok(living.sum::<Duration>() + of(&postmaster.to_string())?.whole())
}

/// CPU time of a process to the nanosecond, from the scheduler's own account of its threads. What a thread that ends
/// used since the last look is lost, so one looks now and then.
pub(crate) struct Exact {
    pid: u32,
    began: u64,
    /// Of each thread that was ever seen.
    threads: BTreeMap<u32, u64>,
}

impl Exact {
    /// Begins to count.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut exact = Self { pid, began: 0, threads: BTreeMap::new() };
        exact.look()?;
        exact.began = exact.threads.values().sum();
        Ok(exact)
    }

    pub(crate) fn look(&mut self) -> Result<()> {
        let folder = format!("/proc/{}/task", self.pid);
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
            let entry = entry?;
            let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // A thread that ends between the two looks has no file any more.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
            let (thread, nanos) = thread.zip(nanos).with_context(|| format!("{folder} has another form"))?;
            self.threads.insert(thread, nanos);
        }
        Ok(())
    }

    /// What was used since the beginning, up to the last look.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.threads.values().sum::<u64>() - self.began)
    }
}

/// What all cores did so far that was work: user, nice, system, interrupts, and what the host took.
fn busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat has another form")?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    Ok([0, 1, 2, 5, 6, 7].into_iter().filter_map(|index| fields.get(index).copied()).map(ticks).sum())
}

/// Linux counts in hundredths of a second here.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(10 * count)
}

/// Sets the peak of a process' memory back to what it has now.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("setting back a process' peak memory")
}

/// The peak of a process' memory in bytes.
pub(crate) fn peak(pid: u32) -> Result<u64> {
    signal::memory(pid, "VmHWM").context("a process without a peak of memory")
}

/// The machine's load over the last minute.
pub(crate) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
    text.split(' ').next().and_then(|word| word.parse().ok()).context("/proc/loadavg has another form")
}
