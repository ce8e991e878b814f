//! Where PostgreSQL's programs are, and which user they run as.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// A folder that holds `initdb`, `pg_ctl` and `postgres`: `WAVEMARK_TEST_PG_BIN`, Debian's newest, or one of `PATH`.
///
/// # Errors
/// There is none; the text says what to install.
pub(super) fn folder() -> Result<PathBuf> {
    let named = std::env::var_os("WAVEMARK_TEST_PG_BIN").map(PathBuf::from);
    let mut debian: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    debian.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    let debian = debian.into_iter().rev().map(|path| path.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path).collect::<Vec<_>>();
    let has_server = |folder: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).exists());
    named.into_iter().chain(debian).chain(path).find(has_server).context(
        "PostgreSQL's server programs were found neither below /usr/lib/postgresql nor in PATH: \
         install Debian's package postgresql, or run .ci/install",
    )
}

/// The ordinary user that a cluster runs as when we are root, for PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

impl Owner {
    /// None when we are an ordinary user ourselves; else `postgres` (Debian's package makes it) or `nobody`.
    ///
    /// # Errors
    /// We are root and neither user exists.
    pub fn find() -> Result<Option<Self>> {
        let id = |arguments: &[&str]| -> Result<Option<u32>> {
            let output = Command::new("id").args(arguments).output().context("asking who we are")?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|_| output.status.success()))
        };
        if id(&["-u"])? != Some(0) {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let (Some(user), Some(group)) = (id(&["-u", name])?, id(&["-g", name])?) {
                return Ok(Some(Self { user, group }));
            }
        }
        bail!("run by root, and there is no user postgres or nobody to run PostgreSQL as")
    }

    /// Gives a file to this user.
    ///
    /// # Errors
    /// The file can't be given away.
    pub fn take(self, path: &Path) -> Result<()> {
        std::os::unix::fs::chown(path, Some(self.user), Some(self.group))
            .with_context(|| format!("giving {} to the user {}", path.display(), self.user))
    }
}

/// Has a program run as an ordinary user, out of reach of the terminal's Ctrl-C.
pub(crate) fn as_owner(command: &mut Command, owner: Option<Owner>) {
    command.current_dir("/").env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).process_group(0);
    if let Some(owner) = owner {
        command.uid(owner.user).gid(owner.group);
    }
}

/// The output of a program that must succeed.
///
/// # Errors
/// It can't be started or fails; the text holds what it said.
pub(crate) fn succeed(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}
