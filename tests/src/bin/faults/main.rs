//! `make faults`: kills and freezes processes under running tasks, troubles their network, ends their workers at every
//! named point of the program, gets in their way at the target, again and again, and says whether anything was lost,
//! doubled or torn. Exits non-zero if so, if another worker took too long, or if a point was not passed.
//!
//! Most of a cycle's time is spent waiting for a lease, so several worlds are struck at once: installations that share
//! nothing but the machine. Each takes its part of one schedule, which the seed draws.

mod report;
mod schedule;
mod world;

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wavemark_tests::faults::points;
use wavemark_tests::system::Ways;

use report::Sum;

/// Does every kind of harm to running tasks.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// From which system to which, as in mariadb-postgres: postgres, mariadb, or the mysql that make faults unpacks
    #[arg(long, default_value = "postgres-postgres")]
    pair: Ways,
    /// Which kinds of faults, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "processes,network,crashes,others")]
    kinds: Vec<Kind>,
    /// How many processes are killed or frozen
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// How often each trouble on each link, and each fault that others cause
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// How often a worker dies at each named point
    #[arg(long, default_value_t = 3)]
    fires: u32,
    /// Draws the order of the faults, the pauses and what the writers do; printed, so that it can be given again
    #[arg(long)]
    seed: Option<u64>,
    /// How many installations are struck at once, each by its part of the faults
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    worlds: u32,
    /// Transactions a second that are written in each world
    #[arg(long, default_value_t = 60)]
    rate: u32,
    /// Only this one of the worlds, by its number from 1 on, with the faults that it has beside the others
    #[arg(long)]
    only: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// SIGKILL and SIGSTOP to worker, server, source and target
    Processes,
    /// The links to source, target and metadata: cut, reset, dead, half-open, slow; lost replies to COMMIT
    Network,
    /// A worker dies at each named point
    Crashes,
    /// Deadlocks with others at the target, its stop in the middle of a COMMIT, a log that the source removed, and another
    /// server in the source's place
    Others,
    /// The metadata database is away for ten minutes
    MetadataAway,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    ensure!(options.only.is_none_or(|only| (1..=options.worlds).contains(&only)), "there is no world of that number");
    let seed = *options.seed.get_or_insert_with(|| rand::random_range(0..1_000_000));
    let stop = watch::Sender::new(false);
    tokio::select! {
        done = run(&options, seed, &stop) => done,
        _ = tokio::signal::ctrl_c() => {
            stop.send_replace(true);
            // Every world drops its receiver once its servers are gone.
            stop.closed().await;
            bail!("interrupted")
        }
    }
}

async fn run(options: &Options, seed: u64, stop: &watch::Sender<bool>) -> Result<()> {
    let begun = Instant::now();
    let schedule = schedule::draw(options, seed);
    let parts = schedule::parts(&schedule, options);
    let cycles: usize = parts.iter().map(|part| part.faults.len()).sum();
    println!(
        "{cycles} cycles of faults on {} in {} worlds, --seed {seed}. Starting servers, shops and writers …",
        options.pair,
        parts.len()
    );
    let mut worlds = JoinSet::new();
    for part in parts {
        let number = part.world;
        let world = world::start(part, options.pair, seed, options.rate, stop.subscribe())?;
        worlds.spawn(async move { (number, world.await) });
    }
    let mut sum = Sum::default();
    while let Some(ended) = worlds.join_next().await {
        let (number, lived) = ended?;
        let lived = lived.with_context(|| format!("the thread of world {number} broke"))?;
        if let Some(failure) = sum.add(number, lived) {
            println!("WORLD {number} FAILED: {failure}\nIt alone: {}", schedule::alone(options, seed, number));
        }
    }
    sum.print();
    ensure!(sum.is_clean(), "something was lost, doubled, torn or late, or a world came to its end too early");
    if options.kinds.contains(&Kind::Crashes) && options.only.is_none() {
        sum.every_point_fired(points(), options.fires)?;
    }
    println!("{} cycles, nothing lost, doubled or torn, in {:.0?}.", sum.cycles(), begun.elapsed());
    Ok(())
}
