//! A connection pooler of the kind that most have, in front of a cluster.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::support::{Cluster, free_port};

/// A pooler that ends with its value.
pub(crate) struct Pooler {
    child: Child,
    pub(crate) port: u16,
}

impl Pooler {
    /// Starts one with these lines of its settings, and waits until it answers.
    pub(crate) fn start(cluster: &Cluster, lines: &str) -> Self {
        let users = cluster.write("pooler-users", "\"postgres\" \"\"\n");
        for _ in 0..5 {
            let port = free_port();
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = trust\nauth_file = {}\n{lines}\n",
                cluster.port,
                users.display()
            );
            let file = cluster.write(&format!("pooler-{port}.ini"), &settings);
            let mut command = cluster.beside(&program());
            let child = command.arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut pooler = Self { child, port };
            if pooler.answers() {
                return pooler;
            }
        }
        panic!("PgBouncer does not start");
    }

    /// False when it ended, as it does when another process took its port.
    fn answers(&mut self) -> bool {
        while self.child.try_wait().unwrap().is_none() {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let found = folders.into_iter().map(|folder| folder.join("pgbouncer")).find(|program| program.exists());
    found.expect("the test needs Debian's package pgbouncer; run .ci/install")
}
