//! A private MariaDB server, of the version that is installed.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::mysql_family::{Programs, Server};

/// A running MariaDB; the options of its start are those of `mariadbd`.
pub type Mariadb = Server<Installed>;

/// The programs of Debian's packages.
pub struct Installed;

impl Programs for Installed {
    const SYSTEM: &str = "mariadb";
    const ORIGIN: &str = "Debian's packages mariadb-server-core and mariadb-client-core";

    fn find() -> Result<Self> {
        Ok(Self)
    }

    fn initialize(&self) -> Command {
        let mut command = program("mariadb-install-db");
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        command
    }

    fn serve(&self) -> Command {
        let mut command = program("mariadbd");
        command.args(["--no-defaults", "--binlog-format=ROW"]);
        command
    }

    fn client(&self) -> Command {
        let mut command = Command::new("mariadb");
        command.arg("--no-defaults");
        command
    }

    // Of Debian's package mariadb-client.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(format!("mariadb-{name}"));
        command.arg("--no-defaults");
        command
    }
}

fn program(name: &str) -> Command {
    let folder = ["/usr/bin", "/usr/sbin"].into_iter().find(|folder| Path::new(folder).join(name).exists());
    Command::new(Path::new(folder.unwrap_or_default()).join(name))
}
