//! Signals to processes, sent by the shell's own `kill` so that no unsafe code is needed, and what /proc tells.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends it at once.
    Kill,
    /// Asks it to end.
    Terminate,
    /// What Ctrl-C sends.
    Interrupt,
    /// Freezes it.
    Stop,
    /// Lets it go on.
    Continue,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }

    /// Sends it to each of the processes; one that is gone already is no error.
    ///
    /// # Errors
    /// The shell can't be started.
    pub fn send(self, pids: &[u32]) -> Result<()> {
        if pids.is_empty() {
            return Ok(());
        }
        let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let script = format!("for pid in {pids}; do kill -{} $pid 2>/dev/null; done; true", self.word());
        let status = Command::new("/bin/sh").args(["-c", &script]).status().context("sending a signal")?;
        anyhow::ensure!(status.success(), "the shell that sends {self:?} to {pids} failed");
        Ok(())
    }
}

/// The fields of `/proc/<pid>/stat` after the program's name, of a process that is not a zombie.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect();
    (fields.first()? != "Z").then_some(fields)
}

/// Whether the process exists and is more than a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some()
}

/// The direct children of a process.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = parent.to_string();
    pids.filter(|&pid| stat(pid).is_some_and(|fields| fields.get(1) == Some(&parent))).collect()
}

/// CPU time used so far, user and system, and 0 for a process that is gone.
///
/// Linux counts it in ticks of a hundredth of a second in this file, on every architecture that Debian has.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let ticks = |fields: &[String], at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    stat(pid).map_or(Duration::ZERO, |fields| Duration::from_millis(10 * (ticks(&fields, 11) + ticks(&fields, 12))))
}

/// Resident memory in bytes: now (`VmRSS`) or at its highest (`VmHWM`).
#[must_use]
pub fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Waits until all of the processes are gone.
///
/// # Errors
/// One is still there after the time.
pub fn wait_gone(pids: &[u32], limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    while let Some(pid) = pids.iter().find(|&&pid| is_alive(pid)) {
        if Instant::now() > end {
            bail!("process {pid} is still there after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
