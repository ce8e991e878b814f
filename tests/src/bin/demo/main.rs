//! The demo: a shop that keeps changing, copied to another PostgreSQL and kept current, on clusters of its own.
//!
//! 1. Private clusters for metadata, source and target; the shop is filled; server and two workers start.
//! 2. Writers begin. Endpoints and a full-load-and-cdc task are made through the REST API.
//! 3. Once every table is live, the writers pause, source and target are compared row by row, the writers go on.
//! 4. Until Ctrl-C. With `--once` instead: the worker is killed in the load and while following, and at the end
//!    everything is compared; any difference is a failing exit.

mod kills;
mod screen;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;
use wavemark_tests::bank::Watch;
use wavemark_tests::compare;
use wavemark_tests::installation::{ADMIN, Installation};
use wavemark_tests::pair::{self, Pair};
use wavemark_tests::shop::{self, Pace, Size, Writers};

use screen::Screen;

/// Shows Wavemark at work on servers of its own.
#[derive(Parser)]
struct Options {
    /// Needs no person: kills the worker twice, compares, ends by itself, fails on any difference
    #[arg(long)]
    once: bool,
    /// A small shop, for trying the demo itself
    #[arg(long)]
    small: bool,
}

/// A gentle day in the shop.
const DAY: Pace = Pace { sessions: 4, per_second: 150.0, seed: 1 };
/// The last day before Christmas.
const RUSH: Pace = Pace { sessions: 4, per_second: 500.0, seed: 2 };

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        done = run(&options) => done,
        _ = tokio::signal::ctrl_c() => { eprintln!("\nStopping everything."); Ok(()) }
        _ = ended.recv() => bail!("asked to end"),
    }
}

/// Everything that runs, dropped in this order: writers, processes, clusters.
struct Demo {
    writers: Writers,
    installation: Installation,
    pair: Pair,
    task: Uuid,
    screen: Screen,
}

async fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let mut demo = Demo::start(if options.small { Size::SMALL } else { Size::FULL }).await?;
    let outcome = if options.once { demo.once().await } else { demo.until_stopped().await };
    if outcome.is_err() {
        eprintln!("{}", demo.installation.log_ends(10));
        for event in demo.installation.api.events(demo.task).await.unwrap_or_default() {
            if event.severity != "info" {
                eprintln!("{} {}: {}", event.severity, event.code, event.text);
            }
        }
    }
    outcome?;
    demo.screen.say(&format!("Everything was compared and is equal. All of it took {:.0?}.", begun.elapsed()));
    Ok(())
}

impl Demo {
    async fn start(size: Size) -> Result<Self> {
        let screen = Screen::new();
        screen.say("Starting private PostgreSQL clusters for metadata, source and target …");
        let pair = Pair::start().await?;
        let mut installation = Installation::start().await?;
        let filling = Instant::now();
        let source = pair.source_client().await?;
        shop::fill(&source, size).await?;
        let rows = shop::rows(&source).await?;
        screen.say(&format!("The shop has {} rows, filled in {:.0?}.", screen::grouped(rows), filling.elapsed()));
        installation.add_worker()?;
        installation.add_worker()?;
        let (base, password) = (installation.api.base(), installation.password());
        screen.say(&format!("\n  Dashboard  {base}\n  User       {ADMIN}\n  Password   {password}\n"));
        let mut writers = Writers::new(pair.source_config(), size);
        writers.start(DAY);
        let task = make_task(&installation, &pair, options_of(size)).await?;
        Ok(Self { writers, installation, pair, task, screen })
    }

    async fn until_stopped(&mut self) -> Result<()> {
        self.until_live().await?;
        self.writers.stop().await?;
        self.compare().await?;
        self.screen.say("Source and target are equal. The writers go on; Ctrl-C ends it all.\n");
        self.writers.allow_truncates(true);
        self.writers.start(DAY);
        loop {
            self.show().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn once(&mut self) -> Result<()> {
        kills::in_the_load(self).await?;
        self.writers.stop().await?;
        let watch = Watch::start(self.pair.target_config(), Duration::from_millis(50));
        self.writers.allow_truncates(true);
        self.writers.start(RUSH);
        kills::while_following(self).await?;
        self.writers.stop().await?;
        self.compare().await?;
        let seen = watch.stop().await?;
        self.screen.say(&format!("The bank was looked at {} times while all this went on.", seen.looks));
        anyhow::ensure!(seen.violations.is_empty(), "the target was torn: {:?}", seen.violations);
        anyhow::ensure!(seen.looks > 0, "the bank was never looked at");
        self.compare_sequences().await
    }

    /// Shows progress until every table is live and the task runs.
    async fn until_live(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            let tables = self.show().await;
            if !tables.is_empty() && tables.iter().all(|table| table.state == "live") {
                return Ok(());
            }
            if let Some(table) = tables.iter().find(|table| table.state == "parked") {
                bail!("{} is parked: {:?}", table.source, table.problem);
            }
            let task = self.installation.api.task(self.task).await?;
            anyhow::ensure!(task.status != "failed", "the task failed: {:?}", task.problem);
            anyhow::ensure!(Instant::now() < end, "not every table is live after two minutes: {}", task.in_words());
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Draws the progress, if the server answers, and gives the tables.
    async fn show(&self) -> Vec<wavemark_tests::api::Table> {
        let api = &self.installation.api;
        let (Ok(task), Ok(tables)) = (api.task(self.task).await, api.tables(self.task).await) else {
            return Vec::new();
        };
        self.screen.draw(&task, &tables, &self.writers.counts());
        tables
    }

    /// Drains, then compares all rows and the catalog. The writers are stopped.
    async fn compare(&mut self) -> Result<()> {
        let counts = self.writers.counts();
        let drained = self.pair.drain(&self.installation.api, self.task, Duration::from_mins(1)).await?;
        self.screen.say(&format!(
            "The writers stopped after {} transactions with {} changes; the target had all of it {drained:.1?} later.",
            screen::grouped(counts.transactions),
            screen::grouped(counts.changes)
        ));
        let begun = Instant::now();
        let (source, target) = (self.pair.source_client().await?, self.pair.target_client().await?);
        let pairs = compare::pairs(&source, shop::SCHEMA, shop::SCHEMA).await?;
        let report = compare::all(&source, &target, &pairs).await?;
        anyhow::ensure!(report.is_equal(), "source and target differ: {report}");
        self.screen.say(&format!(
            "Compared {} tables with {} rows in {:.1?}: no row is missing, extra or different; keys, indexes, checks, \
             defaults and foreign keys are the same.",
            report.tables,
            screen::grouped(report.rows),
            begun.elapsed()
        ));
        report.documented.iter().for_each(|line| self.screen.say(&format!("  As documented: {line}.")));
        Ok(())
    }

    /// Stops the task, which sets the sequences, and compares those.
    async fn compare_sequences(&mut self) -> Result<()> {
        let api = &self.installation.api;
        api.act(self.task, "stop").await?;
        let stopped = |task: &wavemark_tests::api::Task| task.status == "stopped";
        api.wait_task(self.task, Duration::from_secs(30), "the task to stop", stopped).await?;
        let (source, target) = (self.pair.source_client().await?, self.pair.target_client().await?);
        let pairs = compare::pairs(&source, shop::SCHEMA, shop::SCHEMA).await?;
        let behind = compare::catalog::sequences(&source, &target, &pairs).await?;
        anyhow::ensure!(behind.is_empty(), "sequences of the target are behind: {behind:?}");
        self.screen.say("The task is stopped, and no sequence of the target is behind the source's.");
        Ok(())
    }
}

/// Chunks small enough for a kill to find some done and some not.
fn options_of(size: Size) -> serde_json::Value {
    let chunk_mib = if size.orders > 10_000 { 8 } else { 1 };
    json!({"chunk_mib": chunk_mib, "load_parallelism": 2})
}

async fn make_task(installation: &Installation, pair: &Pair, settings: serde_json::Value) -> Result<Uuid> {
    let api = &installation.api;
    let endpoints = pair.make_endpoints(api).await?;
    for endpoint in [endpoints.0, endpoints.1] {
        let job = api.test_endpoint(endpoint).await?;
        let outcome = job.outcome.context("the test of an endpoint has no outcome")?;
        let steps = outcome["steps"].as_array().cloned().unwrap_or_default();
        let failed = steps.iter().find(|step| step["passed"] != true);
        anyhow::ensure!(!steps.is_empty() && failed.is_none(), "the test of an endpoint failed: {outcome}");
    }
    let rules = pair::whole_schema(shop::SCHEMA);
    let task = api.create_task("Copy the shop", "full-load-and-cdc", endpoints, &rules, &settings).await?;
    api.act(task, "start").await?;
    Ok(task)
}
