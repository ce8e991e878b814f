//! Many tasks on one worker: what each holds while it has nothing to do, and what the worker needs while all are busy.
//!
//! All tasks have one source database and one target database; each has a schema with one table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::{pair, signal};

use crate::arena::{Arena, SUPERUSER};
use crate::figures::{Figures, Judged, Row};
use crate::idle::{self, Spent};
use crate::usage;

const FROM: &str = "bench_crowd";
const TO: &str = "bench_crowded";
/// How long many tasks may take for anything.
const PATIENCE: Duration = Duration::from_mins(30);
/// After the last task's load, until all is quiet.
const SETTLE: Duration = Duration::from_secs(30);
/// A worker's memory, in MiB, and its CPU, in percent of a core.
const MOST_MEMORY: f64 = 1_024.0;
const MOST_CPU: f64 = 20.0;
/// How many tasks load at once, before the next are started.
const AT_ONCE: u32 = 20;
/// Rows that each table gets at once while its task is busy.
const BURST: u32 = 10_000;

/// Tasks that follow, on one worker.
struct Crowd<'a> {
    arena: &'a Arena,
    count: u32,
    tasks: Vec<Uuid>,
    source: Client,
    target: Client,
}

/// What it takes that so many tasks have nothing to do.
pub(crate) async fn idle(count: u32, seconds: u32) -> Result<Figures> {
    println!("\nCrowd: {count} tasks with nothing to do on one worker, watched for {seconds} s …");
    let arena = Arena::crowded(count).await?;
    let length = Duration::from_secs(u64::from(seconds));
    let outcome = async {
        let crowd = Crowd::gather(&arena, count).await?;
        tokio::time::sleep(SETTLE).await;
        let spent = idle::watch(&arena, length).await?;
        let memory = crowd.memory()?;
        let sessions = [crowd.sessions(&crowd.source).await?, crowd.sessions(&crowd.target).await?];
        crowd.end().await?;
        Ok((spent, memory, sessions))
    };
    let (spent, memory, sessions) = told(&arena, outcome.await)?;
    let Spent { worker, server, metadata, source, target } = spent;
    let each = |count_of: f64| count_of / f64::from(count);
    Ok(Figures {
        name: "crowd",
        what: format!("{count} idle tasks on one worker, CPU in % of a core over {seconds} s, sessions for each task"),
        columns: &["worker", "server", "its database", "source", "target", "worker's MiB", "at source", "at target"],
        rows: vec![Row {
            name: format!("{count} idle"),
            values: vec![worker, server, metadata, source, target, memory, each(sessions[0]), each(sessions[1])],
        }],
        judged: vec![
            Judged { what: "the worker's CPU, % of a core".to_owned(), is: worker, at_most: MOST_CPU },
            Judged { what: "the worker's memory, MiB".to_owned(), is: memory, at_most: MOST_MEMORY },
        ],
    })
}

/// What the worker needs while every task has much to do at once, and then a little all the time.
pub(crate) async fn busy(count: u32, seconds: u32) -> Result<Figures> {
    println!("\nBusy: {count} tasks on one worker, {BURST} rows for each at once, then {seconds} s of small changes …");
    let arena = Arena::crowded(count).await?;
    let outcome = async {
        let crowd = Crowd::gather(&arena, count).await?;
        usage::forget_peak(arena.worker()?)?;
        let began = Instant::now();
        let sql = format!("insert into s{{}}.t select n, md5(n::text) from generate_series(2, {BURST} + 1) as n");
        crowd.write(&sql).await?;
        crowd.wait_until_equal().await?;
        let burst = began.elapsed().as_secs_f64();
        let burst_peak = crowd.peak()?;
        usage::forget_peak(arena.worker()?)?;
        let end = Instant::now() + Duration::from_secs(u64::from(seconds));
        let mut transactions = 0.0;
        let began = Instant::now();
        while Instant::now() < end {
            crowd.write("update s{}.t set word = word || '.' where id % 2000 = 1").await?;
            transactions += f64::from(count);
        }
        let rate = transactions / began.elapsed().as_secs_f64();
        crowd.wait_until_equal().await?;
        let steady = began.elapsed().as_secs_f64();
        let steady_peak = crowd.peak()?;
        crowd.end().await?;
        Ok([(burst, 0.0, burst_peak), (steady, rate, steady_peak)])
    };
    let turns = told(&arena, outcome.await)?;
    let row = |name: String, (seconds, rate, peak): (f64, f64, f64)| Row { name, values: vec![seconds, rate, peak] };
    let most = turns.iter().fold(0.0, |most: f64, turn| most.max(turn.2));
    Ok(Figures {
        name: "busy",
        what: format!("{count} busy tasks on one worker, all targets equal at the end"),
        columns: &["seconds", "tx/s", "peak MiB"],
        rows: vec![row(format!("{BURST} rows for each"), turns[0]), row("small changes".to_owned(), turns[1])],
        judged: vec![Judged { what: "the worker's memory, MiB".to_owned(), is: most, at_most: MOST_MEMORY }],
    })
}

/// The outcome; after a failure with the ends of the logs.
pub(crate) fn told<T>(arena: &Arena, outcome: Result<T>) -> Result<T> {
    outcome.inspect_err(|_| eprintln!("{}", arena.installation.log_ends(15)))
}

impl<'a> Crowd<'a> {
    /// Makes the tables and the tasks, and waits until all follow.
    async fn gather(arena: &'a Arena, count: u32) -> Result<Self> {
        arena.fresh_database(&arena.source, FROM).await?;
        arena.fresh_database(&arena.target, TO).await?;
        let (source, target) = (arena.source.connect(FROM).await?, arena.target.connect(TO).await?);
        let mut crowd = Self { arena, count, tasks: Vec::new(), source, target };
        crowd.write("create schema s{}; create table s{}.t (id int primary key, word text)").await?;
        crowd.write("insert into s{}.t values (1, 'one')").await?;
        let api = &arena.installation.api;
        let mut ends = Vec::new();
        for (cluster, name, role) in [(&arena.source, FROM, "source"), (&arena.target, TO, "target")] {
            let settings = pair::settings(cluster, SUPERUSER, name);
            ends.push(api.create_endpoint(name, role, &settings, cluster.password()).await?);
        }
        let began = Instant::now();
        for number in 0..count {
            let (name, rules) = (format!("crowd {number}"), pair::whole_schema(&format!("s{number}")));
            let settings = json!({"load_parallelism": 1});
            let task = api.create_task(&name, "full-load-and-cdc", (ends[0], ends[1]), &rules, &settings).await?;
            api.act(task, "start").await?;
            crowd.tasks.push(task);
            if (number + 1) % AT_ONCE == 0 {
                crowd.wait_until_followed(AT_ONCE as usize).await?;
            }
        }
        crowd.wait_until_followed(crowd.tasks.len()).await?;
        println!("  all follow after {:.0?}", began.elapsed());
        Ok(crowd)
    }

    async fn wait_until_followed(&self, newest: usize) -> Result<()> {
        for task in self.tasks.iter().rev().take(newest) {
            let follows = |task: &wavemark_tests::api::Task| {
                task.progress.as_ref().is_some_and(|progress| progress.phase == "following")
            };
            let task = self.arena.installation.api.wait_task(*task, PATIENCE, "a task to follow", follows).await?;
            ensure!(task.tables_parked == 0, "a load failed: {}", task.in_words());
        }
        Ok(())
    }

    /// Runs a statement at the source for each schema, whose number stands in the place of the braces.
    async fn write(&self, sql: &str) -> Result<()> {
        for number in 0..self.count {
            self.source.batch_execute(&sql.replace("{}", &number.to_string())).await?;
        }
        Ok(())
    }

    /// Of all tables: the number of rows, and a sum over their hashes.
    async fn digest(&self, client: &Client) -> Result<(i64, String)> {
        let mut all = (0, 0_i128);
        for number in 0..self.count {
            let sql =
                format!("select count(*), sum(hashtextextended(t::text, 0)::numeric)::text from s{number}.t as t");
            let row = client.query_one(&sql, &[]).await?;
            let sum: Option<String> = row.get(1);
            all = (
                all.0 + row.get::<_, i64>(0),
                all.1 + sum.unwrap_or_default().parse::<i128>().unwrap_or(0) * i128::from(number + 1),
            );
        }
        Ok((all.0, all.1.to_string()))
    }

    async fn wait_until_equal(&self) -> Result<()> {
        let expected = self.digest(&self.source).await?;
        let equal = async {
            while self.digest(&self.target).await? != expected {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, equal).await.context("the targets do not become what the sources are")?
    }

    /// How many sessions the product has at a server.
    async fn sessions(&self, client: &Client) -> Result<f64> {
        let sql = "select count(*)::float8 from pg_stat_activity where application_name like 'wavemark %'";
        Ok(client.query_one(sql, &[]).await?.get(0))
    }

    /// The worker's memory now, in MiB.
    fn memory(&self) -> Result<f64> {
        signal::memory(self.arena.worker()?, "VmRSS").map(mib).context("a process without memory")
    }

    /// The same at most since it was set back.
    fn peak(&self) -> Result<f64> {
        usage::peak(self.arena.worker()?).map(mib)
    }

    /// Fails unless every task runs as it did.
    async fn end(self) -> Result<()> {
        for task in &self.tasks {
            let task = self.arena.installation.api.task(*task).await?;
            ensure!((task.status.as_str(), task.epoch) == ("running", 1), "a task did not last: {}", task.in_words());
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown in MiB")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
