//! What a process does, recorded by perf while it is measured: for flame graphs, not for figures, which it makes worse.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wavemark_tests::signal::Signal;

/// Samples a second of each thread that works, and bytes of its stack with each.
const FREQUENCY: &str = "499";
const STACK: &str = "dwarf,16384";

/// A recording that goes on.
pub(crate) struct Recording(Child);

impl Recording {
    /// Begins to record; an earlier recording in the file is replaced.
    pub(crate) async fn begin(file: &Path, pid: u32) -> Result<Self> {
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "-F", FREQUENCY, "--call-graph", STACK, "-p", &pid.to_string(), "-o"]);
        let perf =
            perf.arg(file).stdin(Stdio::null()).spawn().context("starting perf (Debian's package linux-perf)")?;
        // It says nothing when it has begun.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(Self(perf))
    }

    /// Ends it and waits until the file is written.
    pub(crate) fn end(mut self) -> Result<()> {
        ensure!(self.0.try_wait()?.is_none(), "perf ended by itself: it may lack the right to record");
        Signal::Interrupt.send(&[self.0.id()])?;
        self.0.wait().context("waiting for perf").map(drop)
    }
}
