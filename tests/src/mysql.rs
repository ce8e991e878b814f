//! A private MySQL server, of the version that `.ci/mysql-9` unpacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::mysql_family::{Programs, Server};

/// A running MySQL; the options of its start are those of `mysqld`. Its GTIDs are off:
/// `--gtid-mode=ON` and `--enforce-gtid-consistency=ON` turn them on.
pub type Mysql = Server<Unpacked>;

/// The programs in a folder `usr/bin` whose sisters hold what they need.
pub struct Unpacked {
    usr: PathBuf,
}

impl Programs for Unpacked {
    const SYSTEM: &str = "mysql";
    const ORIGIN: &str = "the folder that .ci/mysql-9 prints";

    fn find() -> Result<Self> {
        let folder = std::env::var_os("WAVEMARK_TEST_MYSQL_BIN")
            .context("WAVEMARK_TEST_MYSQL_BIN names no folder of MySQL's programs: .ci/mysql-9 prints one")?;
        let usr = Path::new(&folder).parent().context("WAVEMARK_TEST_MYSQL_BIN names no folder within another")?;
        Ok(Self { usr: usr.to_owned() })
    }

    fn initialize(&self) -> Command {
        let mut command = self.server();
        command.arg("--initialize-insecure");
        command
    }

    // Rows are what version 9 logs by default, where the option --binlog-format is deprecated; GTIDs are on by default.
    fn serve(&self) -> Command {
        let mut command = self.server();
        command.args(["--mysqlx=OFF", "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
        command
    }

    fn client(&self) -> Command {
        let mut command = Command::new(self.usr.join("bin/mysql"));
        command.arg("--no-defaults");
        command
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.usr.join("bin").join(format!("mysql{name}")));
        command.arg("--no-defaults");
        command
    }
}

impl Unpacked {
    /// The server, with the folders that it would look for below the machine's `/usr`, where another system's may be.
    fn server(&self) -> Command {
        let mut command = Command::new(self.usr.join("bin/mysqld"));
        command.args(["--no-defaults", "--secure-file-priv=NULL"]);
        for (option, folder) in [
            ("basedir", ""),
            ("lc-messages-dir", "share/mysql"),
            ("character-sets-dir", "share/mysql/charsets"),
            ("plugin-dir", "lib/mysql/plugin"),
        ] {
            command.arg(format!("--{option}={}", self.usr.join(folder).display()));
        }
        command
    }
}
