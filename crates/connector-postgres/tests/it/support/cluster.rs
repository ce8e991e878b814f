//! A private PostgreSQL cluster: own data folder, loopback, a free port, gone at the end.
//!
//! A machine without PostgreSQL's programs fails the tests, it doesn't skip them.

#![allow(dead_code, reason = "the tests of the target use a part of this")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The password of every role that the tests make.
pub(crate) const PASSWORD: &str = "pass'word \\ 1";

/// A running cluster. Dropping it stops the server and removes its files.
pub(crate) struct Cluster {
    folder: TempDir,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    /// Where it listens on loopback, IPv4 and IPv6.
    pub(crate) port: u16,
}

impl Cluster {
    /// Makes and starts a cluster with `wal_level=logical` and these further settings; `postgres` may come in over
    /// loopback without a password.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        Self::prepared(settings, "", |_| {})
    }

    /// The same with lines of `pg_hba.conf` that come first, and with files put into the data folder before the
    /// start.
    pub(crate) fn prepared(settings: &[(&str, &str)], hba: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::Builder::new().prefix("wavemark-pg-").tempdir().unwrap();
        let mut cluster = Self { bin: programs(), user: ordinary_user(), folder, port: free_port() };
        cluster.own(cluster.folder.path());
        let data = cluster.data();
        wavemark_tests::cluster::initialize(&data).unwrap();
        prepare(&data);
        let defaults = [
            ("wal_level", "logical"),
            ("max_connections", "40"),
            ("shared_buffers", "32MB"),
            ("listen_addresses", "localhost"),
            ("unix_socket_directories", ""),
        ];
        let lines: Vec<_> =
            defaults.iter().chain(settings).map(|(name, value)| format!("{name} = '{value}'")).collect();
        fs::write(data.join("postgresql.auto.conf"), lines.join("\n")).unwrap();
        let trust = "host all postgres localhost trust\nhost replication postgres localhost trust\n";
        fs::write(data.join("pg_hba.conf"), format!("{hba}\n{trust}")).unwrap();
        for file in fs::read_dir(&data).unwrap() {
            cluster.own(&file.unwrap().path());
        }
        cluster.launch();
        cluster
    }

    /// A standby of this server that streams from it by a slot of its name, with these further settings.
    pub(crate) fn standby(&self, name: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("wavemark-pg-").tempdir().unwrap();
        let mut standby = Self { bin: self.bin.clone(), user: self.user, folder, port: free_port() };
        standby.own(standby.folder.path());
        let (data, port) = (standby.data(), self.port.to_string());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync"];
        standby.run("pg_basebackup", &[&from[..], &["-C", "-S", name, "-D", data.to_str().unwrap()]].concat());
        let upstream = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres application_name={name}");
        let own = [
            ("primary_conninfo", upstream.as_str()),
            ("primary_slot_name", name),
            ("hot_standby_feedback", "on"),
            ("wal_retrieve_retry_interval", "200ms"),
        ];
        let lines: Vec<_> = own.iter().chain(settings).map(|(name, value)| format!("\n{name} = '{value}'")).collect();
        let file = data.join("postgresql.auto.conf");
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{before}{}", lines.concat())).unwrap();
        standby.write("data/standby.signal", "");
        standby.launch();
        standby
    }

    /// Makes a standby a server of its own, on a new timeline.
    pub(crate) fn promote(&self) {
        self.run("pg_ctl", &["-D", self.data().to_str().unwrap(), "-w", "-t", "60", "promote"]);
    }

    /// The server's major version.
    pub(crate) fn major(&self) -> u32 {
        self.sql("select current_setting('server_version_num')::int / 10000").parse().unwrap()
    }

    /// Waits until SQL gives this.
    pub(crate) fn until(&self, sql: &str, expected: &str) {
        for _ in 0..1200 {
            if self.sql(sql) == expected {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{sql} does not become {expected}, it is {}", self.sql(sql));
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One of the server's own programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Runs SQL as the superuser, outside of a transaction, and gives psql's bare output.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let port = self.port.to_string();
        let output = self.run(
            "psql",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "postgres",
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                sql,
                "postgres",
            ],
        );
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Stops the server (`fast`, `immediate`) and waits until it has.
    pub(crate) fn stop(&self, mode: &str) {
        self.run("pg_ctl", &["-D", self.data().to_str().unwrap(), "-m", mode, "-w", "-t", "60", "stop"]);
    }

    /// Another process may take the free port first, so a start is tried on a few.
    fn launch(&mut self) {
        let data = self.data();
        let log = self.folder.path().join("log");
        let mut failure = String::new();
        for _ in 0..5 {
            let port = format!("-p {}", self.port);
            let arguments =
                ["-D", data.to_str().unwrap(), "-l", log.to_str().unwrap(), "-o", &port, "-w", "-t", "60", "start"];
            if self.command("pg_ctl", &arguments).output().unwrap().status.success() {
                return;
            }
            failure = fs::read_to_string(&log).unwrap_or_default();
            self.port = free_port();
        }
        panic!("the cluster does not start: {failure}");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program, arguments).output().unwrap();
        assert!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir("/").env("LC_ALL", "C.UTF-8").env_remove("PGPASSWORD");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Runs a program beside the server, as its user.
    pub(crate) fn beside(&self, program: &Path) -> Command {
        self.command(&program.to_string_lossy(), &[])
    }

    /// A file of the server's user that goes with it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        self.own(&path);
        path
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data();
        // Failing to stop inside a panic must not hide the panic.
        drop(self.command("pg_ctl", &["-D", data.to_str().unwrap_or_default(), "-m", "immediate", "stop"]).output());
    }
}

/// Where PostgreSQL's programs are: `WAVEMARK_TEST_PG_BIN`, else Debian's newest.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("WAVEMARK_TEST_PG_BIN") {
        return folder.into();
    }
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = installed.max_by_key(|path| path.file_name()?.to_str()?.parse::<u32>().ok());
    newest.expect("the tests need PostgreSQL: install Debian's package postgresql").join("bin")
}

/// PostgreSQL refuses to run as root, so there it runs as the package's user.
fn ordinary_user() -> Option<(u32, u32)> {
    let id = |flag: &[&str]| -> u32 {
        let output = Command::new("id").args(flag).output().unwrap();
        assert!(output.status.success(), "the tests run as root need the user postgres");
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
