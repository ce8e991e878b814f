//! A test authority and certificates for loopback, made by openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::Cluster;
use super::programs::succeed;

/// The names of every server of ours.
const LOOPBACK: &str = "DNS:localhost,IP:127.0.0.1";
/// What a cluster with TLS has in its data folder, as PostgreSQL's settings name them by default.
const FILES: [&str; 3] = ["server.crt", "server.key", "ca.crt"];

/// When a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From now on for a month.
    Now,
    /// No more: it was for a month, two months ago.
    Over,
}

/// An authority that lasts as long as this value.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Makes it.
    ///
    /// # Errors
    /// openssl is missing or fails.
    pub fn make() -> Result<Self> {
        let authority = Self { folder: tempfile::tempdir().context("making a folder for certificates")? };
        let request = "req -x509 -sha256 -days 30 -subj /CN=Wavemark-test-authority -keyout ca.key -out ca.crt";
        authority.openssl(&format!("{request} -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"))?;
        Ok(authority)
    }

    /// The authority's certificate as PEM.
    ///
    /// # Errors
    /// It can't be read.
    pub fn certificate(&self) -> Result<String> {
        self.read("ca.crt")
    }

    /// A certificate for a client (its common name is the database user) and its key, as PEM.
    ///
    /// # Errors
    /// openssl fails.
    pub fn client(&self, user: &str) -> Result<(String, String)> {
        self.sign(user, "extendedKeyUsage=clientAuth", Validity::Now)?;
        Ok((self.read(&format!("{user}.crt"))?, self.read(&format!("{user}.key"))?))
    }

    /// Puts a server's certificate for `localhost` and 127.0.0.1, its key and the authority's certificate into a
    /// data folder, as PostgreSQL's settings name them by default.
    ///
    /// # Errors
    /// openssl or a copy fails.
    pub(super) fn install(&self, data: &Path) -> Result<()> {
        self.install_for(data, LOOPBACK, Validity::Now)
    }

    /// A certificate for a server of any kind on loopback and its key, as PEM.
    ///
    /// # Errors
    /// openssl fails.
    pub fn server(&self) -> Result<(String, String)> {
        self.server_for(LOOPBACK)
    }

    /// The same for other names (`DNS:…,IP:…`).
    ///
    /// # Errors
    /// openssl fails.
    pub fn server_for(&self, names: &str) -> Result<(String, String)> {
        self.sign("server", &format!("subjectAltName={names}"), Validity::Now)?;
        Ok((self.read("server.crt")?, self.read("server.key")?))
    }

    /// Gives a running cluster another certificate, for these names (`DNS:…,IP:…`). Sessions that are open stay.
    ///
    /// # Errors
    /// openssl fails, or the cluster does not read its files again.
    pub fn give(&self, cluster: &Cluster, names: &str, validity: Validity) -> Result<()> {
        self.install_for(&cluster.data(), names, validity)?;
        for name in FILES {
            cluster.give(&cluster.data().join(name))?;
        }
        succeed(cluster.pg_ctl().arg("reload")).map(drop)
    }

    fn install_for(&self, data: &Path, names: &str, validity: Validity) -> Result<()> {
        self.sign("server", &format!("subjectAltName={names}"), validity)?;
        for name in FILES {
            let place = data.join(name);
            fs::copy(self.path(name), &place).with_context(|| format!("writing {}", place.display()))?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    fn sign(&self, name: &str, extension: &str, validity: Validity) -> Result<()> {
        fs::write(self.path("extensions"), format!("basicConstraints=CA:FALSE\n{extension}\n"))?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        self.openssl(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"))?;
        let signer = "-CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions";
        let sign = format!("openssl x509 -req -sha256 -days 30 -in {name}.csr {signer} -out {name}.crt");
        match validity {
            Validity::Now => self.run(&sign),
            // Its semaphore is named by its process: one that was killed may have left that of the first try.
            Validity::Over => {
                let sign = format!("faketime -f -60d {sign}");
                self.run(&sign).or_else(|_| self.run(&sign))
            }
        }
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("reading {name}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        self.run(&format!("openssl {arguments}"))
    }

    fn run(&self, command: &str) -> Result<()> {
        let mut words = command.split(' ');
        let program = words.next().context("a command has a first word")?;
        succeed(Command::new(program).args(words).current_dir(self.folder.path())).map(drop)
    }
}
