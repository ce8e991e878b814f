//! A data folder that is made once in this process and copied for each server: making one costs seconds of processor time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::cluster::{Owner, succeed};
use crate::guard::Guard;

/// See the module. Kept in a static, which is never dropped: its folder goes with the end of this process.
pub(crate) struct Template {
    folder: TempDir,
    _guard: Guard,
}

impl Template {
    /// Has a data folder made, by its path; other files that are needed for it may lie beside it.
    pub(crate) fn make(fill: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("wavemark-template-").tempdir()?;
        let guard = Guard::with_script("rm -rf \"$1\"", &[&folder.path().to_string_lossy()])?;
        Owner::find()?.map_or(Ok(()), |owner| owner.take(folder.path()))?;
        let made = Self { folder, _guard: guard };
        fill(&made.data())?;
        Ok(made)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Copies the data folder, with the owners of its files.
    pub(crate) fn copy(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        succeed(Command::new("cp").args(["-a", "--reflink=auto", "--sparse=auto"]).arg(self.data()).arg(to)).map(drop)
    }
}
