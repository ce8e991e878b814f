//! The real program as a process: started with its environment, killed, frozen, restarted, its log in a file.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::guard::Guard;
use crate::signal::Signal;

/// Where the program is: `WAVEMARK_BIN`, else beside or above the running executable, as cargo lays them.
///
/// # Errors
/// It is not there; the text says how to build it.
pub fn wavemark() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("WAVEMARK_BIN") {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("asking where this program is")?;
    let near = own.ancestors().skip(1).take(2).map(|folder| folder.join("wavemark"));
    let built = near.into_iter().find(|path| path.is_file());
    built.with_context(|| {
        format!(
            "there is no program wavemark near {}: build it first, with the same profile: \
        cargo build --package wavemark",
            own.display()
        )
    })
}

struct Started {
    child: Child,
    // Dropped after the child was waited for, so that its number can't be another's by then.
    _guard: Guard,
}

/// One process of the program, or of another one, that can be started again and again. Dropping it kills it.
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    started: Option<Started>,
}

impl Process {
    /// Describes a process; its output goes to the end of `log`. Nothing of our own `WAVEMARK_…` environment
    /// reaches it.
    pub fn new(program: impl Into<PathBuf>, arguments: &[&str], log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
            log: log.into(),
            started: None,
        }
    }

    /// Sets a variable of its environment, from the next start on.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_env(name, value);
        self
    }

    /// The same, later.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.unset_env(name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Runs another program in its place, from the next start on.
    pub fn set_program(&mut self, program: impl Into<PathBuf>) {
        self.program = program.into();
    }

    /// Limits its writable memory, from the next start on: the shell that sets the limit becomes the program.
    pub fn limit_memory(&mut self, bytes: u64) {
        let program = std::mem::replace(&mut self.program, PathBuf::from("/bin/sh"));
        let script = format!("ulimit -d {}; exec \"$0\" \"$@\"", bytes / 1_024);
        let before = ["-c".to_owned(), script, program.to_string_lossy().into_owned()];
        self.arguments.splice(0..0, before);
    }

    /// Takes a variable out of its environment, from the next start on.
    pub fn unset_env(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Starts it.
    ///
    /// # Errors
    /// It runs already, or can't be started.
    pub fn start(&mut self) -> Result<()> {
        anyhow::ensure!(!self.is_running(), "{} runs already", self.program.display());
        self.started = None;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WAVEMARK_") {
                command.env_remove(name);
            }
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let guard = Guard::over_process(child.id())?;
        self.started = Some(Started { child, _guard: guard });
        Ok(())
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.started.as_ref().map(|started| started.child.id())
    }

    /// Whether it runs; a frozen one does.
    pub fn is_running(&mut self) -> bool {
        self.started.as_mut().is_some_and(|started| matches!(started.child.try_wait(), Ok(None)))
    }

    /// Sends a signal without waiting for what it does.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal.send(&[self.pid().context("the process does not run")?])
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut started = self.started.take().context("the process does not run")?;
        started.child.kill().context("killing a process")?;
        started.child.wait().context("waiting for a killed process")?;
        Ok(())
    }

    /// Ends it with SIGTERM and waits for that.
    ///
    /// # Errors
    /// It does not run, or is still there after the time.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::Terminate)?;
        self.wait(limit)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not run, or is still there after the time.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = self.started.as_mut().context("the process does not run")?;
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = started.child.try_wait()? {
                self.started = None;
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("{} is still there after {limit:?}", self.program.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its output, for a failing test.
    pub fn log_end(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(lines).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // The guard's shell is there if this fails.
            drop(self.kill());
        }
    }
}
