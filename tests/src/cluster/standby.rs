//! Streaming standbys, made by `pg_basebackup`, and their promotion.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Cluster, append, free_port, guard, programs};

impl Cluster {
    /// Makes and starts a standby of this server, asynchronous unless the server's settings say otherwise. It streams
    /// from `port`, this server's own or that of a proxy before it, and calls itself `name`. Slots are not copied.
    ///
    /// # Errors
    /// The backup can't be made, or the standby does not start.
    pub fn standby(&self, name: &str, port: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("wavemark-{name}-")).tempdir()?;
        let guard = guard(folder.path())?;
        let (bin, owner, password) = (self.bin.clone(), self.owner, self.password.clone());
        let mut standby = Self { bin, owner, port: free_port()?, password, folder, _guard: guard };
        standby.give(standby.folder.path())?;
        let mut backup = standby.as_owner("pg_basebackup");
        backup.env("PGPASSWORD", &self.password).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        backup.args(["-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync", "-D"]).arg(standby.data());
        programs::succeed(&mut backup)?;
        let lines = format!(
            "port = {}\nunix_socket_directories = '{}'\nwal_retrieve_retry_interval = '200ms'\n\
             primary_conninfo = 'host=127.0.0.1 port={port} user=postgres password={} application_name={name}'\n",
            standby.port,
            standby.folder.path().display(),
            self.password
        );
        append(&standby.data().join("postgresql.conf"), &lines)?;
        let signal = standby.data().join("standby.signal");
        fs::write(&signal, "").with_context(|| format!("writing {}", signal.display()))?;
        standby.give(&signal)?;
        standby.first_start()?;
        Ok(standby)
    }

    /// Makes a standby a server of its own, on a new timeline.
    ///
    /// # Errors
    /// It does not become one within a minute.
    pub fn promote(&self) -> Result<()> {
        programs::succeed(self.pg_ctl().args(["-w", "-t", "60", "promote"])).map(drop)
    }
}
