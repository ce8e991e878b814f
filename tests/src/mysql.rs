//! A private MySQL server, of the version that `.ci/mysql-9` unpacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cluster::Owner;
use crate::mysql_family::{Programs, Server};

/// A running MySQL; the options of its start are those of `mysqld`. Its GTIDs are off:
/// `--gtid-mode=ON` and `--enforce-gtid-consistency=ON` turn them on.
pub type Mysql = Server<Unpacked>;

/// The programs in a folder `usr/bin` whose sisters hold what they need.
pub struct Unpacked {
    usr: PathBuf,
}

/// Rows are what version 9 logs by default, where the option --binlog-format is deprecated; GTIDs are on by default.
const SERVING: [&str; 3] = ["--mysqlx=OFF", "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];

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
        let mut command = self.server(&self.program());
        command.arg("--initialize-insecure");
        command
    }

    fn serve(&self) -> Command {
        let mut command = self.server(&self.program());
        command.args(SERVING);
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
    fn program(&self) -> PathBuf {
        self.usr.join("bin/mysqld")
    }

    /// The server, with the folders that it would look for below the machine's `/usr`, where another system's may be.
    fn server(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
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

/// The same with a keyring, which a server needs to encrypt its log. It looks for what it is to load beside its program, and
/// for the settings of that beside it.
pub struct WithKeyring {
    plain: Unpacked,
    folder: TempDir,
}

impl WithKeyring {
    fn server(&self) -> Command {
        let mut command = self.plain.server(&self.folder.path().join("mysqld"));
        command.arg(format!("--plugin-dir={}", self.folder.path().display()));
        command
    }
}

impl Programs for WithKeyring {
    const SYSTEM: &str = Unpacked::SYSTEM;
    const ORIGIN: &str = Unpacked::ORIGIN;

    fn find() -> Result<Self> {
        const COMPONENT: &str = "component_keyring_file";
        let plain = Unpacked::find()?;
        let folder = tempfile::Builder::new().prefix("wavemark-keyring-").tempdir()?;
        let within = |name: &str| folder.path().join(name);
        let library = format!("{COMPONENT}.so");
        fs::copy(plain.program(), within("mysqld"))?;
        fs::copy(plain.usr.join("lib/mysql/plugin").join(&library), within(&library))?;
        fs::write(within("mysqld.my"), format!(r#"{{"components": "file://{COMPONENT}"}}"#))?;
        let keys = format!(r#"{{"path": "{}", "read_only": false}}"#, within("keys").display());
        fs::write(within(&format!("{COMPONENT}.cnf")), keys)?;
        Owner::find()?.map_or(Ok(()), |owner| owner.take(folder.path()))?;
        Ok(Self { plain, folder })
    }

    fn initialize(&self) -> Command {
        let mut command = self.server();
        command.arg("--initialize-insecure");
        command
    }

    fn serve(&self) -> Command {
        let mut command = self.server();
        command.args(SERVING);
        command
    }

    fn client(&self) -> Command {
        self.plain.client()
    }

    fn tool(&self, name: &str) -> Command {
        self.plain.tool(name)
    }
}
