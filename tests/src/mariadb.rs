//! A private MariaDB server: of the version that is installed, or of the one that `.ci/mariadb-11` unpacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::mysql_family::{Programs, Server};

/// A running MariaDB; the options of its start are those of `mariadbd`.
pub type Mariadb = Server<Installed>;

/// The programs of Debian's packages, or those in a folder `usr/bin` whose sisters hold what they need.
pub struct Installed {
    unpacked: Option<PathBuf>,
}

impl Programs for Installed {
    const SYSTEM: &str = "mariadb";
    const ORIGIN: &str =
        "Debian's packages mariadb-server-core and mariadb-client-core, or the folder that .ci/mariadb-11 prints";

    fn find() -> Result<Self> {
        let Some(folder) = std::env::var_os("WAVEMARK_TEST_MARIADB_BIN") else { return Ok(Self { unpacked: None }) };
        let usr = Path::new(&folder).parent().context("WAVEMARK_TEST_MARIADB_BIN names no folder within another")?;
        Ok(Self { unpacked: Some(usr.to_owned()) })
    }

    fn initialize(&self) -> Command {
        let mut command = self.program("mariadb-install-db");
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        if let Some(usr) = &self.unpacked {
            command.arg(format!("--basedir={}", usr.display()));
        }
        command
    }

    fn serve(&self) -> Command {
        let mut command = self.program("mariadbd");
        command.args(["--no-defaults", "--binlog-format=ROW"]);
        // What it would look for below the machine's `/usr`, where another version's may be.
        for (option, folder) in [
            ("basedir", ""),
            ("lc-messages-dir", "share/mariadb"),
            ("character-sets-dir", "share/mariadb/charsets"),
            ("plugin-dir", "lib/mysql/plugin"),
        ] {
            command.args(self.unpacked.iter().map(|usr| format!("--{option}={}", usr.join(folder).display())));
        }
        command
    }

    fn client(&self) -> Command {
        let mut command = self.program("mariadb");
        command.arg("--no-defaults");
        command
    }

    // Of Debian's package mariadb-client.
    fn tool(&self, name: &str) -> Command {
        let mut command = self.program(&format!("mariadb-{name}"));
        command.arg("--no-defaults");
        command
    }
}

impl Installed {
    fn program(&self, name: &str) -> Command {
        let unpacked = self.unpacked.iter().map(|usr| usr.join("bin"));
        let folders = unpacked.chain(["/usr/bin", "/usr/sbin"].map(PathBuf::from));
        let found = folders.map(|folder| folder.join(name)).find(|program| program.exists());
        Command::new(found.unwrap_or_else(|| name.into()))
    }
}
