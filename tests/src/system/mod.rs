//! A server of any system as one side of a pair: started with the roles that a careful administrator would make, killed,
//! restarted, asked.

mod host;
mod place;
mod session;
mod slow;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::Api;
use crate::cluster::{Cluster, Mode};
use crate::mysql_family::Copies;
use crate::order::Order;
use crate::pair::{self, SOURCE, TARGET};
use host::{Host, Twins};

pub use host::Log;
pub use place::{Place, Server};
pub use session::{Door, Refused, Session};

/// Users of the family's servers. They have no password, so that they can log in without TLS, which a proxy can't look into.
const READER: &str = "wavemark";
const WRITER: &str = "writer";
/// By what rights a reader may see where logs end, in MySQL and in MariaDB.
const MONITOR: &str = "REPLICATION CLIENT";
const MONITORS: &str = "BINLOG MONITOR, SLAVE MONITOR";

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB, as it is installed.
    Mariadb,
    /// MySQL, of the version that `.ci/mysql-9` unpacks.
    Mysql,
}

impl Kind {
    /// Whether it is MySQL or MariaDB.
    #[must_use]
    pub fn is_family(self) -> bool {
        self != Self::Postgres
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
        })
    }
}

/// From which system to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Where the rows come from.
    pub from: Kind,
    /// Where they go.
    pub to: Kind,
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

impl FromStr for Ways {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = [Kind::Postgres, Kind::Mariadb, Kind::Mysql];
        let all = kinds.into_iter().flat_map(|from| kinds.map(|to| Self { from, to }));
        let refused = || format!("{text} is no pair: two of postgres, mariadb and mysql, as in mariadb-postgres");
        all.into_iter().find(|ways| ways.to_string() == text).ok_or_else(refused)
    }
}

/// One side of a pair.
pub struct System {
    host: Host,
    /// The user by whom tasks come here.
    user: &'static str,
}

impl System {
    /// A source of PostgreSQL whose owner is [`SOURCE`], or a target whose owner is [`TARGET`].
    #[must_use]
    pub fn of_postgres(cluster: Cluster, owner: &'static str) -> Self {
        Self { host: Host::Postgres(cluster), user: owner }
    }

    /// Starts a source.
    ///
    /// # Errors
    /// Its programs are missing, or it does not start.
    pub async fn source(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Postgres => Ok(Self::of_postgres(pair::start_source().await?, SOURCE)),
            Kind::Mariadb => Self::source_of_family(Twins::alone(&[])?, Host::Mariadb, MONITORS),
            Kind::Mysql => Self::source_of_family(Twins::alone(&[])?, Host::Mysql, MONITOR),
        }
    }

    /// Starts a source of MySQL's family beside which another server has a copy and can take its place.
    ///
    /// # Errors
    /// The same; there is none of PostgreSQL.
    pub fn source_with_copy(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Postgres => bail!("no server of PostgreSQL has a copy here"),
            Kind::Mariadb => Self::source_of_family(Twins::both()?, Host::Mariadb, MONITORS),
            Kind::Mysql => Self::source_of_family(Twins::both()?, Host::Mysql, MONITOR),
        }
    }

    fn source_of_family<P: Copies>(
        twins: Twins<P>,
        host: impl FnOnce(Twins<P>) -> Host,
        monitor: &str,
    ) -> Result<Self> {
        let rights = format!(
            "CREATE USER {READER}@'127.0.0.1'; \
             GRANT SELECT, RELOAD, REPLICATION SLAVE, {monitor} ON *.* TO {READER}@'127.0.0.1';"
        );
        Self::of_family(twins, host, READER, &rights)
    }

    /// Starts a target.
    ///
    /// # Errors
    /// Its programs are missing, or it does not start.
    pub async fn target(kind: Kind) -> Result<Self> {
        const OPTIONS: &[&str] = &["--local-infile=ON"];
        let rights = format!(
            "CREATE USER {WRITER}@'127.0.0.1'; GRANT ALL ON shop.* TO {WRITER}@'127.0.0.1'; \
             GRANT ALL ON wavemark.* TO {WRITER}@'127.0.0.1';"
        );
        match kind {
            Kind::Postgres => Ok(Self::of_postgres(pair::start_target().await?, TARGET)),
            Kind::Mariadb => Self::of_family(Twins::alone(OPTIONS)?, Host::Mariadb, WRITER, &rights),
            Kind::Mysql => Self::of_family(Twins::alone(OPTIONS)?, Host::Mysql, WRITER, &rights),
        }
    }

    fn of_family<P: Copies>(
        twins: Twins<P>,
        host: impl FnOnce(Twins<P>) -> Host,
        user: &'static str,
        rights: &str,
    ) -> Result<Self> {
        twins.execute(rights)?;
        Ok(Self { host: host(twins), user })
    }

    /// Which system it is.
    pub fn kind(&self) -> Kind {
        self.host.kind()
    }

    /// The user by whom tasks come here.
    pub fn user(&self) -> &'static str {
        self.user
    }

    /// The cluster, if it is one of PostgreSQL.
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.host {
            Host::Postgres(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.host.port()
    }

    /// Kills it as when the machine dies, but for what the kernel has in its page cache.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.host.kill()
    }

    /// Stops it without giving it the time to end anything.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop_at_once(&mut self) -> Result<()> {
        match &self.host {
            Host::Postgres(cluster) => cluster.stop(Mode::Immediate),
            _ => self.kill(),
        }
    }

    /// Starts it again on the same port, and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.host.restart()
    }

    /// How the owner of its tables comes in: at the family's servers root.
    pub fn door(&self) -> Door {
        self.host.door(self.user)
    }

    /// The same for who may see and set everything.
    pub fn back_door(&self) -> Door {
        match &self.host {
            Host::Postgres(cluster) => cluster.config(self.user).into(),
            _ => self.door(),
        }
    }

    /// A session of [`System::door`].
    ///
    /// # Errors
    /// The server is not there.
    pub async fn session(&self) -> Result<Session> {
        self.door().open().await
    }

    /// Makes its endpoint through the API; `port` is its own or that of a proxy before it.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn endpoint(&self, api: &Api, name: &str, role: &str, port: u16) -> Result<Uuid> {
        if let Host::Postgres(cluster) = &self.host {
            let mut settings = pair::settings(cluster, self.user, self.user);
            settings["port"] = port.into();
            return api.create_endpoint(name, role, &settings, cluster.password()).await;
        }
        let settings: Value = json!({"host": "127.0.0.1", "port": port, "user": self.user, "tls_mode": "disable"});
        api.create_endpoint_of("mysql", name, role, &settings, "").await
    }

    /// Where its log ends.
    ///
    /// # Errors
    /// It does not say so.
    pub async fn end(&self) -> Result<Place> {
        let sql = match self.kind() {
            Kind::Postgres => "select pg_current_wal_insert_lsn()",
            Kind::Mariadb => "SHOW MASTER STATUS",
            Kind::Mysql => "SHOW BINARY LOG STATUS",
        };
        let rows = self.session().await?.rows(sql).await?;
        let row = rows.first().context("the source tells no place in its log")?;
        let mut fields = row.split('\t');
        let text = match (self.kind(), fields.next(), fields.next()) {
            (Kind::Postgres, Some(place), _) => place.to_owned(),
            (_, Some(file), Some(offset)) => format!("{file}:{offset}"),
            _ => bail!("the source tells no place in its log: {row}"),
        };
        let server = self.logs().first().map_or(0, |log| log.server);
        Place::of(&text, server).with_context(|| format!("the source's place in its log is unreadable: {text}"))
    }

    /// Begins a new file of its log, waits until somebody else has read those before it, and removes them.
    ///
    /// # Errors
    /// It has no such files, refuses, or what is in them is not read in time.
    pub async fn purge(&self, order: &Order) -> Result<()> {
        let mut session = self.session().await?;
        session.rows("FLUSH BINARY LOGS").await?;
        let files = session.rows("SHOW BINARY LOGS").await?;
        let last = files.last().and_then(|line| line.split('\t').next()).context("the source lists no log")?;
        order.complete(&mut session, Duration::from_mins(1)).await?;
        // A file that somebody reads is kept in silence, and a reader that is gone is noticed with the next sign of life.
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            session.rows(&format!("PURGE BINARY LOGS TO '{last}'")).await?;
            let files = session.rows("SHOW BINARY LOGS").await?;
            if files.first().is_some_and(|line| line.split('\t').next() == Some(last)) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the source does not remove its log: {files:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The server dies in the middle of what is written to it, and the one that copied it goes on in its place with all that was
    /// committed.
    ///
    /// # Errors
    /// There is no other one, or it does not get everything in time.
    pub async fn fail_over(&mut self) -> Result<()> {
        let mut holder = self.session().await?;
        // No commit is between two servers when the first one dies. Whoever is in the middle of a transaction loses it.
        holder.rows("FLUSH TABLES WITH READ LOCK").await?;
        self.host.fail_over()
    }

    /// The server that died comes back, as the copy of the one in its place.
    ///
    /// # Errors
    /// It does not start, or refuses.
    pub fn copy_again(&mut self) -> Result<()> {
        self.host.copy_again()
    }

    /// The logs of the server of MySQL's family and of its copy; none of PostgreSQL.
    pub fn logs(&self) -> Vec<Log> {
        self.host.logs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_named_by_their_systems() {
        let ways = "mariadb-postgres".parse::<Ways>().unwrap();
        assert_eq!(ways, Ways { from: Kind::Mariadb, to: Kind::Postgres });
        assert!("oracle-postgres".parse::<Ways>().is_err());
    }
}
