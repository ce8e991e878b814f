//! The benchmark: Wavemark beside the best that PostgreSQL users have, on private servers, in one run.
//!
//! 1. Load: `pgbench_accounts` against pgcopydb and against a binary `COPY | COPY` with the key made after.
//! 2. Follow: the same backlog through Wavemark and through a native subscription, for each kind of backlog.
//! 3. Snapshot: our own rate while a report keeps a snapshot open on the target, and how the latency grows meanwhile.
//! 4. Latency at a steady stream of small transactions, ours and the subscription's.
//! 5. Idle: the CPU of a task that has nothing to do.
//! 6. Compare: two equal tables against one statement that hashes the rows of one of them.
//! 7. Delay: our own rate through a network that holds every byte back, against without.
//! 8. Memory: what the worker holds at most, of large transactions and wide rows.
//! 9. Tables: very many in one task. Busy and crowd: many tasks on one worker, with much and with nothing to do.
//! 10. MySQL and MariaDB against their own tools (`mysql`).
//! 11. The contestants take turns in changing order; a first round is discarded; what counts is the median of the
//!     ratios within a round. Every target is compared with its source at the end.
//!
//! Speeds of a shared machine say little; `foreign` tells how busy it was with other things.

mod arena;
mod backlog;
mod compare;
mod crowd;
mod delay;
mod figures;
mod follow;
mod huge;
mod idle;
mod latency;
mod load;
mod memory;
mod mysql;
mod profile;
mod report;
mod snapshot;
mod stream;
mod tables;
mod usage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use wavemark_tests::mariadb::Installed;
use wavemark_tests::mysql::Unpacked;

use arena::Arena;
use backlog::Backlog;
use report::Report;

/// Measures load, follow, latency and idling, against pgcopydb, COPY | COPY and a native subscription.
#[derive(Parser)]
struct Options {
    /// pgbench's scale for the load: 100,000 rows each
    #[arg(long, default_value_t = 50)]
    scale: u32,
    /// pgbench's scale for following
    #[arg(long, default_value_t = 10)]
    follow_scale: u32,
    /// Rounds that count, of each measurement
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Settings of the tasks as a JSON object, to see what they are worth; by default none
    #[arg(long, default_value = "{}")]
    settings: String,
    /// One round of each and none to warm up: a first impression, no more
    #[arg(long)]
    quick: bool,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Seconds of each turn of the latency
    #[arg(long, default_value_t = 60)]
    latency_seconds: u32,
    /// Transactions a second of the latency
    #[arg(long, value_delimiter = ',', default_values_t = [500, 3_000])]
    latency_rates: Vec<u32>,
    /// Minutes for which the latency is watched while a snapshot is open on the target; 0 for not at all
    #[arg(long, default_value_t = 0)]
    snapshot_minutes: u32,
    /// Seconds for which idle processes are watched
    #[arg(long, default_value_t = 60)]
    idle_seconds: u32,
    /// Tasks that have nothing to do
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    idle_tasks: u32,
    /// Tasks on one worker that have nothing to do
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    crowd_tasks: u32,
    /// Tasks on one worker that all are busy
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    busy_tasks: u32,
    /// Systems for those of MySQL's kind
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Mysql, Kind::Mariadb])]
    kinds: Vec<Kind>,
    /// Million rows of a load from there
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    mysql_millions: u32,
    /// Tables in one task
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    tables: u32,
    /// Where perf's record of the worker goes, of the last turn in which it follows a backlog
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Where the figures go as JSON (beside the programs, unless given)
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One measurement.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Rows that are there
    Load,
    /// Two equal tables, compared
    Compare,
    /// Short transactions of four changes, with hot rows
    Tpcb,
    /// Transactions of one random update
    Single,
    /// Transactions of four updates and two inserts
    Six,
    /// Transactions of a thousand updates of neighbouring rows
    Thousand,
    /// Transactions of one insert
    Insert1,
    /// Transactions of a thousand updates of random rows
    Random1000,
    /// One transaction of a million inserts
    Million,
    /// With a slow network
    Delay,
    /// Large transactions and wide rows
    Memory,
    /// Very many tables
    Tables,
    /// Fields of up to 1,000 MiB; only if it is named
    Huge,
    /// Many tasks with much to do; only if it is named
    Busy,
    /// Many tasks with nothing to do; only if it is named
    Crowd,
    /// With a snapshot open on the target
    Snapshot,
    /// From commit to commit, at a steady stream
    Latency,
    /// With nothing to do
    Idle,
    /// From MySQL and MariaDB into PostgreSQL; all of these only if they are named
    MysqlLoad,
    /// Reading the log from there
    MysqlCapture,
    /// Changes from there to PostgreSQL
    MysqlFollow,
    /// Changes from PostgreSQL to there
    MysqlApply,
    /// A load between two of the kind
    MysqlCopy,
    /// Changes between two of the kind
    MysqlReplica,
    /// Large transactions from there and to there
    MysqlMemory,
}

/// A system of MySQL's kind.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Version 9, as `.ci/mysql-9` unpacks it
    Mysql,
    /// As Debian has it
    Mariadb,
}

/// How often each measurement is repeated.
#[derive(Clone, Copy)]
struct Rounds {
    discarded: usize,
    counted: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        done = run(&options) => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = ended.recv() => bail!("asked to end"),
    }
}

async fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let rounds = if options.quick {
        Rounds { discarded: 0, counted: 1 }
    } else {
        Rounds { discarded: 1, counted: options.pairs }
    };
    let wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let settings = serde_json::from_str(&options.settings).context("--settings is no JSON object")?;
    let mut arena = Arena::start().await?;
    arena.settings = settings;
    arena.profile.clone_from(&options.profile);
    let mut report = Report::begin(&arena).await?;
    let outcome = measure(&arena, options, rounds, wanted, &mut report).await;
    if outcome.is_err() {
        eprintln!("{}", arena.installation.log_ends(15));
    }
    outcome?;
    let path = options.json.clone().map_or_else(beside, Ok)?;
    report.write(&path)?;
    println!("\nAll of it took {:.0?}. The figures are in {}.", begun.elapsed(), path.display());
    Ok(())
}

async fn measure(
    arena: &Arena,
    options: &Options,
    rounds: Rounds,
    wanted: impl Fn(Part) -> bool,
    report: &mut Report,
) -> Result<()> {
    if wanted(Part::Load) {
        for section in load::measure(arena, options.scale, rounds).await? {
            report.add(&section);
        }
    }
    if wanted(Part::Compare) {
        report.add(&compare::measure(arena, options.scale, rounds).await?);
    }
    let kinds = [
        (Part::Tpcb, Backlog::Tpcb),
        (Part::Single, Backlog::Single),
        (Part::Six, Backlog::Six),
        (Part::Thousand, Backlog::Thousand),
        (Part::Insert1, Backlog::Insert1),
        (Part::Random1000, Backlog::Random1000),
        (Part::Million, Backlog::Million),
    ];
    let kinds: Vec<_> = kinds.into_iter().filter(|(part, _)| wanted(*part)).map(|(_, kind)| kind).collect();
    if !kinds.is_empty() || wanted(Part::Snapshot) || wanted(Part::Latency) {
        let race = follow::Race::prepare(arena, options.follow_scale).await?;
        for kind in kinds {
            report.add(&race.measure(kind, rounds).await?);
        }
        if wanted(Part::Snapshot) {
            report.add(&snapshot::rate(&race, rounds).await?);
            if options.snapshot_minutes > 0 {
                report.add_figures(&snapshot::latency(&race, options.snapshot_minutes).await?);
            }
        }
        if wanted(Part::Latency) {
            for rate in &options.latency_rates {
                report.add_figures(&latency::measure(&race, rounds, *rate, options.latency_seconds).await?);
            }
        }
        race.compare().await?;
        println!("\nSource, subscription's and Wavemark's target are equal, row by row.");
    }
    if wanted(Part::Delay) {
        report.add(&delay::measure(arena, options.follow_scale, rounds).await?);
    }
    if wanted(Part::Memory) {
        report.add_figures(&memory::measure(arena).await?);
    }
    if wanted(Part::Tables) {
        report.add_figures(&tables::measure(arena, options.tables, options.idle_seconds).await?);
    }
    if wanted(Part::Idle) {
        report.add_figures(&idle::measure(arena, options.idle_seconds, options.idle_tasks).await?);
    }
    // What needs much memory or is long, the latter on servers of its own.
    if options.only.contains(&Part::Huge) {
        report.add_figures(&huge::measure(arena).await?);
    }
    if options.only.contains(&Part::Busy) {
        report.add_figures(&crowd::busy(options.busy_tasks, options.idle_seconds).await?);
    }
    if options.only.contains(&Part::Crowd) {
        report.add_figures(&crowd::idle(options.crowd_tasks, options.idle_seconds).await?);
    }
    for kind in &options.kinds {
        match kind {
            Kind::Mysql => measure_kind::<Unpacked>(arena, options, rounds, report).await?,
            Kind::Mariadb => measure_kind::<Installed>(arena, options, rounds, report).await?,
        }
    }
    Ok(())
}

/// What is measured of MySQL or MariaDB, each on a server of its own.
async fn measure_kind<P: mysql::System>(
    arena: &Arena,
    options: &Options,
    rounds: Rounds,
    report: &mut Report,
) -> Result<()> {
    let named = |part: Part| options.only.contains(&part);
    if named(Part::MysqlLoad) {
        for section in mysql::load::measure::<P>(arena, options.mysql_millions, rounds).await? {
            report.add(&section);
        }
    }
    if named(Part::MysqlCopy) {
        report.add(&mysql::copy::measure::<P>(arena, options.mysql_millions, rounds).await?);
    }
    if named(Part::MysqlCapture) {
        report.add(&mysql::capture::measure::<P>(arena, rounds)?);
    }
    if named(Part::MysqlFollow) {
        report.add(&mysql::follow::measure::<P>(arena, rounds).await?);
    }
    if named(Part::MysqlApply) {
        report.add(&mysql::apply::measure::<P>(arena, rounds).await?);
    }
    if named(Part::MysqlReplica) {
        report.add(&mysql::replica::measure::<P>(arena, rounds).await?);
    }
    if named(Part::MysqlMemory) {
        report.add_figures(&mysql::memory::measure::<P>(arena).await?);
    }
    Ok(())
}

fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("asking where this program is")?;
    Ok(own.with_file_name("bench.json"))
}
