//! A source and a target, with the roles that a careful administrator would make for Wavemark, and the ways to
//! tell that the target has all of what the source had.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio_postgres::{Client, Config};
use uuid::Uuid;

use crate::api::{Api, lsn};
use crate::cluster::{Cluster, Options};

/// The database and its owner on the source.
pub const SOURCE: &str = "shop";
/// The database and its owner on the target.
pub const TARGET: &str = "shop_copy";

/// The two clusters. Neither role is a superuser: the source's owns the tables and may replicate, the target's owns
/// its database and may switch triggers off.
pub struct Pair {
    /// Where the rows come from.
    pub source: Cluster,
    /// Where they go.
    pub target: Cluster,
}

impl Pair {
    /// Starts both with settings for a machine that also runs everything else.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::source(), Options::default()).await
    }

    /// The same with further settings.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start_with(source: Options<'_>, target: Options<'_>) -> Result<Self> {
        let source = Cluster::start("source", &sized(source))?;
        make_source(&source).await?;
        let target = Cluster::start("target", &sized(target))?;
        make_target(&target).await?;
        Ok(Self { source, target })
    }

    /// How the source's owner connects.
    pub fn source_config(&self) -> Config {
        self.source.config_of(SOURCE, self.source.password(), SOURCE)
    }

    /// How the target's owner connects.
    pub fn target_config(&self) -> Config {
        self.target.config_of(TARGET, self.target.password(), TARGET)
    }

    /// A session of the source's owner.
    ///
    /// # Errors
    /// The server is not there.
    pub async fn source_client(&self) -> Result<Client> {
        self.source.connect_as(SOURCE, self.source.password(), SOURCE).await
    }

    /// A session of the target's owner.
    ///
    /// # Errors
    /// The server is not there.
    pub async fn target_client(&self) -> Result<Client> {
        self.target.connect_as(TARGET, self.target.password(), TARGET).await
    }

    /// Makes both endpoints through the API.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn make_endpoints(&self, api: &Api) -> Result<(Uuid, Uuid)> {
        self.make_endpoints_by(api, self.source.port(), self.target.port()).await
    }

    /// The same by other ports, those of proxies before source and target.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn make_endpoints_by(&self, api: &Api, source_port: u16, target_port: u16) -> Result<(Uuid, Uuid)> {
        let mut source = settings(&self.source, SOURCE, SOURCE);
        let mut target = settings(&self.target, TARGET, TARGET);
        source["port"] = source_port.into();
        target["port"] = target_port.into();
        Ok((
            api.create_endpoint("The shop", "source", &source, self.source.password()).await?,
            api.create_endpoint("The copy", "target", &target, self.target.password()).await?,
        ))
    }

    /// Waits until everything that the source committed up to now is in the target, as the bookmark says through
    /// the API and as a last row shows. Nobody else may write to the source meanwhile.
    ///
    /// # Errors
    /// It is not within the time.
    pub async fn drain(&self, api: &Api, task: Uuid, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let source = self.source_client().await?;
        let end: String = source.query_one("select pg_current_wal_insert_lsn()::text", &[]).await?.get(0);
        let end = lsn(&end).context("the source's position is unreadable")?;
        // A transaction after that position, so that there is something to wait for.
        let last = format!("drain-{}", Uuid::new_v4());
        let sql = "insert into shop.hist (client, n, kind, ops, checksum) values ($1, 1, 'drain', '{}', '')";
        source.execute(sql, &[&last]).await?;
        let has = |task: &crate::api::Task| task.bookmark().is_some_and(|bookmark| bookmark >= end);
        api.wait_task(task, limit, "the bookmark to reach the source's end", has).await?;
        self.wait_for_row(&last, limit.saturating_sub(begun.elapsed())).await?;
        Ok(begun.elapsed())
    }

    async fn wait_for_row(&self, client: &str, limit: Duration) -> Result<()> {
        let target = self.target_client().await?;
        let end = Instant::now() + limit;
        let sql = "select 1 from shop.hist where client = $1";
        while target.query_opt(sql, &[&client]).await?.is_none() {
            if Instant::now() > end {
                bail!("the bookmark is past the source's end, and the source's last row is not in the target");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Starts a source alone, with its database and owner.
///
/// # Errors
/// It does not start.
pub(crate) async fn start_source() -> Result<Cluster> {
    let source = Cluster::start("source", &sized(Options::source()))?;
    make_source(&source).await.map(|()| source)
}

/// Starts a target alone, with its database and owner.
///
/// # Errors
/// It does not start.
pub(crate) async fn start_target() -> Result<Cluster> {
    let target = Cluster::start("target", &sized(Options::default()))?;
    make_target(&target).await.map(|()| target)
}

async fn make_source(cluster: &Cluster) -> Result<()> {
    let replicator = role(SOURCE, "replication", cluster);
    cluster.execute("postgres", &[&replicator, &format!("create database {SOURCE} owner {SOURCE}")]).await
}

async fn make_target(cluster: &Cluster) -> Result<()> {
    let writer = role(TARGET, "", cluster);
    let may = format!("grant set on parameter session_replication_role to {TARGET}");
    cluster.execute("postgres", &[&writer, &format!("create database {TARGET} owner {TARGET}"), &may]).await
}

fn role(name: &str, rights: &str, cluster: &Cluster) -> String {
    format!("create role {name} login {rights} password '{}'", cluster.password())
}

/// An endpoint's settings for a cluster of ours.
pub fn settings(cluster: &Cluster, user: &str, database: &str) -> Value {
    json!({
        "host": "127.0.0.1", "port": cluster.port(), "database": database, "user": user, "tls_mode": "disable",
    })
}

/// Table mappings that take every table of a schema.
pub fn whole_schema(schema: &str) -> Value {
    json!([{
        "rule-type": "selection", "rule-id": "1", "rule-name": "all of it", "rule-action": "include",
        "object-locator": {"schema-name": schema, "table-name": "%"},
    }])
}

/// The caller's settings come last, so they win.
fn sized(mut options: Options<'_>) -> Options<'_> {
    let base = [("shared_buffers", "256MB"), ("max_wal_size", "2GB")];
    options.settings.splice(0..0, base.map(|(name, value)| (name, value.to_owned())));
    options
}
