//! Following: the same backlog, waiting in a slot each, through a native subscription and through Wavemark.
//!
//! The clock starts when the contestant's slot is active, so neither the launcher's pause nor the way through the
//! API counts, and stops when the marker, the backlog's last row, is committed in the target. The target is asked
//! for it in statements of their own: a transaction that stays open would be a snapshot that slows both down.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::api::Task;

use crate::Rounds;
use crate::arena::{Arena, LIMIT, digest, succeed};
use crate::backlog::Backlog;
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Usage};

pub(crate) const FROM: &str = "bench_follow";
pub(crate) const TO_NATIVE: &str = "bench_native";
pub(crate) const TO_WAVEMARK: &str = "bench_wavemark";
const SUBSCRIPTION: &str = "bench_native";
const TABLES: [&str; 6] =
    ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history", "bench_marker", "bench_probe"];
/// The progress of a task that tells which of its stages is slow.
const STAGES: [&str; 8] =
    ["waves", "changes_written", "wave_changes", "wave_ms", "read_wait_us", "apply_us", "commit_us", "blocked_us"];

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follower {
    Wavemark,
    Native,
}

impl Follower {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wavemark => "wavemark",
            Self::Native => "native subscription",
        }
    }

    /// Its database.
    pub(crate) fn database(self) -> &'static str {
        match self {
            Self::Wavemark => TO_WAVEMARK,
            Self::Native => TO_NATIVE,
        }
    }

    /// What its slot's name is like.
    fn slot(self) -> &'static str {
        match self {
            Self::Wavemark => "wavemark%",
            Self::Native => SUBSCRIPTION,
        }
    }
}

/// A source with two followers that have all of it and are stopped.
pub(crate) struct Race<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) scale: u32,
    task: Uuid,
    source: Client,
    native: Client,
    wavemark: Client,
}

impl<'a> Race<'a> {
    pub(crate) async fn prepare(arena: &'a Arena, scale: u32) -> Result<Self> {
        println!("\nFollow: filling the source at scale {scale} and copying it to both targets …");
        for (cluster, name) in [(&arena.source, FROM), (&arena.target, TO_NATIVE), (&arena.target, TO_WAVEMARK)] {
            arena.fresh_database(cluster, name).await?;
        }
        succeed(arena.source.program("pgbench").args(["-i", "-q", "-s", &scale.to_string(), FROM]))?;
        let marker = "create table bench_marker (id bigint primary key)";
        let probe = "create table bench_probe (seq bigint primary key)";
        // Wavemark refuses a table whose changed rows nothing names; inserts, all that this one gets, cost the same.
        let whole_rows = "alter table pgbench_history replica identity full";
        let publication = "create publication bench_native for all tables";
        arena.source.execute(FROM, &[marker, probe, whole_rows, publication]).await?;
        let task = arena.make_task("follow", FROM, TO_WAVEMARK, "%").await?;
        let race = Self {
            arena,
            scale,
            task,
            source: arena.source.connect(FROM).await?,
            native: arena.target.connect(TO_NATIVE).await?,
            wavemark: arena.target.connect(TO_WAVEMARK).await?,
        };
        race.subscribe().await?;
        race.load().await?;
        Ok(race)
    }

    /// The subscription as anyone would make it, in the binary form, which is the faster one.
    async fn subscribe(&self) -> Result<()> {
        // Only psql reads what pg_dump writes.
        let file = tempfile::NamedTempFile::new()?;
        let mut dump = self.arena.source.program("pg_dump");
        succeed(dump.args(["--schema-only", "--no-publications", FROM]).stdout(file.reopen()?))?;
        let mut restore = self.arena.target.program("psql");
        restore.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", TO_NATIVE, "-f"]).arg(file.path());
        succeed(&mut restore)?;
        let (port, password) = (self.arena.source.port(), self.arena.source.password());
        let connection = format!("host=127.0.0.1 port={port} user=postgres password={password} dbname={FROM}");
        let sql = format!(
            "create subscription {SUBSCRIPTION} connection '{connection}' publication bench_native with (binary = true)"
        );
        self.native.batch_execute(&sql).await.context("making the subscription")?;
        let ready = "select 1 from pg_subscription_rel having bool_and(srsubstate = 'r') and count(*) = 6";
        wait_for(&self.native, ready).await.context("the subscription copies the tables")?;
        self.pause(Follower::Native).await
    }

    async fn load(&self) -> Result<()> {
        let api = &self.arena.installation.api;
        api.act(self.task, "start").await?;
        let following = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.phase == "following");
        let ended = |task: &Task| following(task) || task.status == "failed";
        let task = api.wait_task(self.task, LIMIT, "the load", ended).await?;
        ensure!(following(&task) && task.tables_parked == 0, "the load failed: {}", task.in_words());
        self.pause(Follower::Wavemark).await
    }

    /// Rounds of one kind of backlog.
    pub(crate) async fn measure(&self, kind: Backlog, rounds: Rounds) -> Result<Section> {
        println!("\nFollow {}: {} …", kind.name(), kind.in_words());
        let mut contestants = [Contestant::new("wavemark"), Contestant::new("native subscription")];
        let (mut peak, mut stages) = (0, Vec::new());
        for round in 0..rounds.discarded + rounds.counted {
            kind.make(&self.arena.source, FROM, self.scale)?;
            let marker = self.write_marker().await?;
            for turn in 0..2 {
                let at = (round + turn) % 2;
                self.arena.settle(&[FROM], &[TO_NATIVE, TO_WAVEMARK]).await?;
                let (usage, stage) = match at {
                    0 => self.run_wavemark(marker).await?,
                    _ => (self.run_native(marker).await?, None),
                };
                if at == 0 {
                    peak = peak.max(usage::peak(self.arena.worker()?)?);
                }
                if round >= rounds.discarded {
                    contestants[at].runs.push(usage);
                    stages.extend(stage);
                }
            }
        }
        Ok(Section {
            name: kind.name(),
            what: format!("follow, {}", kind.in_words()),
            unit: Unit::Changes,
            count: kind.changes(),
            contestants: contestants.into(),
            wanted: vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(kind.wanted()) }],
            worker_peak_bytes: peak,
            stages,
        })
    }

    /// The last row of a backlog.
    pub(crate) async fn write_marker(&self) -> Result<i64> {
        let sql = "insert into bench_marker select coalesce(max(id), 0) + 1 from bench_marker returning id";
        Ok(self.source.query_one(sql, &[]).await?.get(0))
    }

    pub(crate) async fn run_wavemark(&self, marker: i64) -> Result<(Usage, Option<Value>)> {
        let api = &self.arena.installation.api;
        usage::forget_peak(self.arena.worker()?)?;
        let roots = self.arena.roots()?;
        self.resume(Follower::Wavemark).await?;
        let meter = Meter::start(roots)?;
        arrived(&self.wavemark, marker).await.context("the marker comes through Wavemark")?;
        let usage = meter.stop()?;
        // The worker reports once a second.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let task: Value = api.get(&format!("/tasks/{}", self.task)).await?;
        let stages = STAGES.iter().map(|name| ((*name).to_owned(), task["progress"][name].clone())).collect();
        self.pause(Follower::Wavemark).await?;
        Ok((usage, Some(Value::Object(stages))))
    }

    pub(crate) async fn run_native(&self, marker: i64) -> Result<Usage> {
        let roots = self.arena.roots()?;
        self.resume(Follower::Native).await?;
        let meter = Meter::start(roots)?;
        arrived(&self.native, marker).await.context("the marker comes through the subscription")?;
        let usage = meter.stop()?;
        self.pause(Follower::Native).await?;
        Ok(usage)
    }

    /// Lets one of the two follow; returns when its slot is active.
    pub(crate) async fn resume(&self, follower: Follower) -> Result<()> {
        match follower {
            Follower::Wavemark => self.arena.installation.api.act(self.task, "resume").await?,
            Follower::Native => {
                self.native.batch_execute(&format!("alter subscription {SUBSCRIPTION} enable")).await?;
            }
        }
        let name = follower.name();
        self.wait_slot(follower.slot(), true).await.with_context(|| format!("{name} takes its slot"))
    }

    /// Stops it; returns when its slot is free.
    pub(crate) async fn pause(&self, follower: Follower) -> Result<()> {
        match follower {
            Follower::Wavemark => self.arena.stop_task(self.task).await?,
            Follower::Native => {
                self.native.batch_execute(&format!("alter subscription {SUBSCRIPTION} disable")).await?;
            }
        }
        self.wait_slot(follower.slot(), false).await
    }

    /// Waits until one that follows has everything that was committed before.
    pub(crate) async fn catch_up(&self, follower: Follower) -> Result<()> {
        let marker = self.write_marker().await?;
        self.wait_for_marker(follower, marker).await
    }

    async fn wait_for_marker(&self, follower: Follower, marker: i64) -> Result<()> {
        let target = match follower {
            Follower::Wavemark => &self.wavemark,
            Follower::Native => &self.native,
        };
        arrived(target, marker).await.with_context(|| format!("the marker comes through {}", follower.name()))
    }

    async fn wait_slot(&self, like: &str, active: bool) -> Result<()> {
        let wait = async {
            let sql = "select 1 from pg_replication_slots where slot_name like $1 and active = $2 and not temporary";
            while self.source.query_opt(sql, &[&like, &active]).await?.is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        };
        tokio::time::timeout(LIMIT, wait).await.with_context(|| format!("slot {like}: waiting for active {active}"))?
    }

    /// Lets both have the rest, and fails unless both targets are what the source is.
    pub(crate) async fn compare(&self) -> Result<()> {
        let marker = self.write_marker().await?;
        for follower in [Follower::Wavemark, Follower::Native] {
            self.resume(follower).await?;
            self.wait_for_marker(follower, marker).await?;
            self.pause(follower).await?;
        }
        for table in TABLES {
            let source = digest(&self.source, table).await?;
            ensure!(digest(&self.native, table).await? == source, "the subscription's {table} is another");
            ensure!(digest(&self.wavemark, table).await? == source, "Wavemark's {table} is another");
        }
        Ok(())
    }
}

async fn arrived(target: &Client, marker: i64) -> Result<()> {
    let sql = target.prepare("select 1 from public.bench_marker where id = $1").await?;
    let wait = async {
        while target.query_opt(&sql, &[&marker]).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, wait).await.context("it does not come")?
}

async fn wait_for(client: &Client, sql: &str) -> Result<()> {
    let wait = async {
        while client.query(sql, &[]).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, wait).await.context("it takes too long")?
}
