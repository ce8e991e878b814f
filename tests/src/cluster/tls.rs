//! A test authority and certificates for loopback, made by openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::programs::succeed;

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
        self.sign(user, "extendedKeyUsage=clientAuth")?;
        Ok((self.read(&format!("{user}.crt"))?, self.read(&format!("{user}.key"))?))
    }

    /// Puts a server's certificate for `localhost` and 127.0.0.1, its key and the authority's certificate into a
    /// data folder, as PostgreSQL's settings name them by default.
    ///
    /// # Errors
    /// openssl or a copy fails.
    pub(super) fn install(&self, data: &Path) -> Result<()> {
        self.sign("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")?;
        for name in ["server.crt", "server.key", "ca.crt"] {
            let place = data.join(name);
            fs::copy(self.path(name), &place).with_context(|| format!("writing {}", place.display()))?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    fn sign(&self, name: &str, extension: &str) -> Result<()> {
        fs::write(self.path("extensions"), format!("basicConstraints=CA:FALSE\n{extension}\n"))?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        self.openssl(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"))?;
        let signer = "-CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions";
        self.openssl(&format!("x509 -req -sha256 -days 30 -in {name}.csr {signer} -out {name}.crt"))
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("reading {name}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        succeed(Command::new("openssl").args(arguments.split(' ')).current_dir(self.folder.path())).map(drop)
    }
}
