//! Nothing that tests start outlives the program that started it, whatever ends that program.
//!
//! Linux' parent death signal is of no use here: it fires when the *thread* that made the child ends (a test's
//! thread, an idle thread of a pool), and is lost when the child changes its user. So each thing gets a small
//! shell in a process group of its own that waits on a pipe from us. The pipe closes when we die, by whatever
//! signal; then the shell runs its script. A line on the pipe sends it home without.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// Runs a script when this process ends without having dropped the guard.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// Sets the guard up. `script` is POSIX shell, and sees `arguments` as `$1`, `$2` …
    ///
    /// # Errors
    /// The shell can't be started.
    pub fn with_script(script: &str, arguments: &[&str]) -> Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", &format!("read -r line && exit 0; {script}"), "guard"])
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the shell that guards a child process")?;
        Ok(Self { shell })
    }

    /// Kills a process when this one ends.
    ///
    /// # Errors
    /// The shell can't be started.
    pub fn over_process(pid: u32) -> Result<Self> {
        Self::with_script("kill -KILL \"$1\"", &[&pid.to_string()])
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // A shell that is gone already needs no word.
            drop(pipe.write_all(b"\n"));
        }
        drop(self.shell.wait());
    }
}
