//! What runs, of whichever system.

use std::mem;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::place;
use super::{Door, Kind};
use crate::cluster::Cluster;
use crate::mariadb::Installed;
use crate::mysql::Unpacked;
use crate::mysql_family::{Copies, Server};

/// The log of a server of MySQL's family.
pub struct Log {
    /// Whose it is.
    pub server: place::Server,
    /// A program that writes what is in files of it.
    pub reader: Command,
    /// Where the files are.
    pub folder: PathBuf,
}

pub(super) enum Host {
    Postgres(Cluster),
    Mariadb(Twins<Installed>),
    Mysql(Twins<Unpacked>),
}

/// A server, and another one that may take its place.
pub(super) struct Twins<P> {
    now: Twin<P>,
    copy: Option<Twin<P>>,
}

struct Twin<P> {
    server: Server<P>,
    name: place::Server,
}

impl<P: Copies> Twin<P> {
    fn start(options: &[&str]) -> Result<Self> {
        let server = Server::start(options)?;
        let name = place::server(&server.rows(P::NAME)?.join(""));
        Ok(Self { server, name })
    }

    fn log(&self) -> Log {
        Log { server: self.name, reader: self.server.log_reader(), folder: self.server.data() }
    }
}

impl<P: Copies> Twins<P> {
    pub(super) fn alone(options: &[&str]) -> Result<Self> {
        Ok(Self { now: Twin::start(options)?, copy: None })
    }

    /// Each copies whatever it is told to.
    pub(super) fn both() -> Result<Self> {
        let start = |id| Twin::start(&[P::NUMBERED, &[id]].concat());
        let (now, copy) = (start("--server-id=1")?, start("--server-id=2")?);
        now.server.let_copy()?;
        copy.server.copy(&now.server)?;
        Ok(Self { now, copy: Some(copy) })
    }

    pub(super) fn execute(&self, sql: &str) -> Result<()> {
        self.now.server.execute(sql)
    }

    /// The server dies once the other one has everything, which goes on in its place. Nobody may write meanwhile.
    fn fail_over(&mut self) -> Result<()> {
        let copy = self.copy.as_mut().context("there is no other server")?;
        copy.server.wait_for_all(&self.now.server)?;
        self.now.server.kill()?;
        mem::swap(&mut self.now, copy);
        self.now.server.promote()
    }

    /// The one that died comes back and copies the other.
    fn copy_again(&mut self) -> Result<()> {
        let copy = self.copy.as_mut().context("there is no other server")?;
        copy.server.restart()?;
        copy.server.copy(&self.now.server)
    }

    fn logs(&self) -> Vec<Log> {
        [&self.now].into_iter().chain(&self.copy).map(Twin::log).collect()
    }
}

impl Host {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Postgres(_) => Kind::Postgres,
            Self::Mariadb(_) => Kind::Mariadb,
            Self::Mysql(_) => Kind::Mysql,
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Postgres(cluster) => cluster.port(),
            Self::Mariadb(twins) => twins.now.server.port(),
            Self::Mysql(twins) => twins.now.server.port(),
        }
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        match self {
            Self::Postgres(cluster) => cluster.kill(),
            Self::Mariadb(twins) => twins.now.server.kill(),
            Self::Mysql(twins) => twins.now.server.kill(),
        }
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        match self {
            Self::Postgres(cluster) => cluster.restart(),
            Self::Mariadb(twins) => twins.now.server.restart(),
            Self::Mysql(twins) => twins.now.server.restart(),
        }
    }

    /// The door of the owner of its tables: at the family's servers root.
    pub(super) fn door(&self, owner: &str) -> Door {
        match self {
            Self::Postgres(cluster) => cluster.config_of(owner, cluster.password(), owner).into(),
            Self::Mariadb(twins) => Door::of_family(&twins.now.server.root()),
            Self::Mysql(twins) => Door::of_family(&twins.now.server.root()),
        }
    }

    pub(super) fn fail_over(&mut self) -> Result<()> {
        match self {
            Self::Postgres(_) => bail!("there is no other server"),
            Self::Mariadb(twins) => twins.fail_over(),
            Self::Mysql(twins) => twins.fail_over(),
        }
    }

    pub(super) fn copy_again(&mut self) -> Result<()> {
        match self {
            Self::Postgres(_) => bail!("there is no other server"),
            Self::Mariadb(twins) => twins.copy_again(),
            Self::Mysql(twins) => twins.copy_again(),
        }
    }

    pub(super) fn logs(&self) -> Vec<Log> {
        match self {
            Self::Postgres(_) => Vec::new(),
            Self::Mariadb(twins) => twins.logs(),
            Self::Mysql(twins) => twins.logs(),
        }
    }
}
