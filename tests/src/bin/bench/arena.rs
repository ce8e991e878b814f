//! What is measured on: a source, a target, an installation with one worker, and the same settings for everybody.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::api::{Refusal, Task};
use wavemark_tests::cluster::{Cluster, Options};
use wavemark_tests::installation::Installation;
use wavemark_tests::pair;

use crate::usage::Roots;

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
pub(crate) const SUPERUSER: &str = "postgres";

/// Everything that runs; processes are dropped before the clusters that they are connected to.
pub(crate) struct Arena {
    pub(crate) installation: Installation,
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
    /// Where the worker's doings are recorded while it follows a backlog.
    pub(crate) profile: Option<PathBuf>,
    /// What the tasks are set to, besides what a measurement sets itself.
    pub(crate) settings: Map<String, Value>,
}

impl Arena {
    pub(crate) async fn start() -> Result<Self> {
        let source = Cluster::start("bench-source", &tuned(Options::source()))?;
        let target = Cluster::start("bench-target", &tuned(Options::default()))?;
        let mut installation = Installation::start().await?;
        installation.add_worker()?;
        Ok(Self { installation, source, target, profile: None, settings: Map::new() })
    }

    /// One for so many tasks on its worker, with servers that are small but for the sessions that they take.
    pub(crate) async fn crowded(tasks: u32) -> Result<Self> {
        let many = |options: Options<'static>| options.set("max_connections", tasks * 3 + 100).set("autovacuum", "off");
        let slots = tasks + 20;
        let source = Options::source().set("max_wal_senders", slots).set("max_replication_slots", slots);
        let source = Cluster::start("bench-source", &many(source))?;
        let target = Cluster::start("bench-target", &many(Options::default()))?;
        // Hundreds of their processes want the cores at once. Elsewhere the control plane has a machine of its own: here leases
        // would run out, and what is measured would be takeovers.
        [&source, &target].into_iter().try_for_each(|cluster| step_back(cluster.postmaster()?))?;
        let mut installation = Installation::start().await?;
        installation.add_worker_with(&[("WAVEMARK_PLACES", &(tasks + 1).to_string())])?;
        Ok(Self { installation, source, target, profile: None, settings: Map::new() })
    }

    /// The processes whose time is counted.
    pub(crate) fn roots(&self) -> Result<Roots> {
        Ok(Roots { source: self.source.postmaster()?, target: self.target.postmaster()?, worker: self.worker()? })
    }

    pub(crate) fn worker(&self) -> Result<u32> {
        self.installation.workers.first().and_then(wavemark_tests::process::Process::pid).context("no worker runs")
    }

    /// Makes endpoints and a task for some tables of schema `public`.
    pub(crate) async fn make_task(&self, name: &str, from: &str, to: &str, tables: &str) -> Result<Uuid> {
        self.make_task_by(name, (from, self.source.port()), (to, self.target.port()), tables).await
    }

    /// The same with settings.
    pub(crate) async fn make_task_with(
        &self,
        name: &str,
        from: &str,
        to: &str,
        tables: &str,
        settings: &Value,
    ) -> Result<Uuid> {
        let ends = ((from, self.source.port()), (to, self.target.port()));
        self.make(name, ends, tables, settings).await
    }

    /// The same by other ports, those of proxies.
    pub(crate) async fn make_task_by(
        &self,
        name: &str,
        from: (&str, u16),
        to: (&str, u16),
        tables: &str,
    ) -> Result<Uuid> {
        self.make(name, (from, to), tables, &json!({})).await
    }

    async fn make(
        &self,
        name: &str,
        ((from, from_port), (to, to_port)): ((&str, u16), (&str, u16)),
        tables: &str,
        settings: &Value,
    ) -> Result<Uuid> {
        let api = &self.installation.api;
        let mut source = pair::settings(&self.source, SUPERUSER, from);
        let mut target = pair::settings(&self.target, SUPERUSER, to);
        source["port"] = from_port.into();
        target["port"] = to_port.into();
        let source = api.create_endpoint(&format!("{name} source"), "source", &source, self.source.password()).await?;
        let target = api.create_endpoint(&format!("{name} target"), "target", &target, self.target.password()).await?;
        self.between(name, (source, target), ("public", tables), settings).await
    }

    /// Makes a task between endpoints that are there.
    pub(crate) async fn between(
        &self,
        name: &str,
        endpoints: (Uuid, Uuid),
        (schema, tables): (&str, &str),
        settings: &Value,
    ) -> Result<Uuid> {
        let rules = json!([{
            "rule-type": "selection", "rule-id": "1", "rule-name": "tables", "rule-action": "include",
            "object-locator": {"schema-name": schema, "table-name": tables},
        }]);
        let mut all = self.settings.clone();
        all.extend(settings.as_object().cloned().unwrap_or_default());
        self.installation.api.create_task(name, "full-load-and-cdc", endpoints, &rules, &all.into()).await
    }

    /// An endpoint of one of the two clusters, as the superuser.
    pub(crate) async fn endpoint(&self, name: &str, role: &str, cluster: &Cluster, database: &str) -> Result<Uuid> {
        let settings = pair::settings(cluster, SUPERUSER, database);
        self.installation.api.create_endpoint(name, role, &settings, cluster.password()).await
    }

    pub(crate) async fn stop_task(&self, task: Uuid) -> Result<()> {
        let api = &self.installation.api;
        api.act(task, "stop").await?;
        api.wait_task(task, LIMIT, "the task to stop", |task: &Task| task.status == "stopped").await.map(drop)
    }

    /// Deletes a stopped task and waits until its slot and the rest are cleaned up.
    pub(crate) async fn delete_task(&self, task: Uuid) -> Result<()> {
        let api = &self.installation.api;
        api.delete_task(task).await?;
        for _ in 0..600 {
            match api.get::<Value>(&format!("/tasks/{task}")).await {
                Err(error) if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == 404) => {
                    return Ok(());
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        bail!("a deleted task is still there after half a minute")
    }

    /// Drops a database if it is there and makes it anew.
    pub(crate) async fn fresh_database(&self, cluster: &Cluster, name: &str) -> Result<()> {
        let drop = format!("drop database if exists {name} with (force)");
        cluster.execute("postgres", &[&drop, &format!("create database {name}")]).await
    }

    /// Vacuums the databases of the measurement and writes everything to disk, so that nobody pays for the one before.
    pub(crate) async fn settle(&self, from: &[&str], to: &[&str]) -> Result<()> {
        for (cluster, databases) in [(&self.source, from), (&self.target, to)] {
            for database in databases {
                cluster.execute(database, &["vacuum"]).await?;
            }
            cluster.execute("postgres", &["checkpoint"]).await?;
        }
        Ok(())
    }
}

/// Runs a program that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Number of rows and a sum over the hashes of their text, the same for equal tables in any order.
pub(crate) async fn digest(client: &Client, table: &str) -> Result<(i64, String)> {
    let sql = format!(
        "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from public.{table} as t"
    );
    let row = client.query_one(&sql, &[]).await?;
    Ok((row.get(0), row.get(1)))
}

/// Durable as by default; nothing of its own accord in the middle of a measurement.
fn tuned(options: Options<'_>) -> Options<'_> {
    options
        .set("shared_buffers", "1GB")
        .set("max_wal_size", "16GB")
        .set("checkpoint_timeout", "1h")
        .set("autovacuum", "off")
        .set("jit", "off")
}

/// Gives a process, and those that it starts from here on, the cores that others leave.
fn step_back(process: u32) -> Result<()> {
    let status = Command::new("renice").args(["-n", "10", "-p", &process.to_string()]).stdout(Stdio::null()).status();
    ensure!(status.context("running renice")?.success(), "renice failed");
    Ok(())
}
