//! `make faults`: kills and freezes processes under a running task, again and again, and says whether anything was
//! lost, doubled or torn. Exits non-zero if so, or if another worker took too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use wavemark_tests::faults::{Arena, Cycle, Fault, Phase, TAKEOVER};
use wavemark_tests::shop::{Pace, Size};

/// Kills and freezes processes under a running task.
#[derive(Parser)]
struct Options {
    /// How many faults
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// Draws the order of the faults, the pauses and what the writers do; printed, so that it can be given again
    #[arg(long)]
    seed: Option<u64>,
}

/// Enough for a load that a fault can hit in its middle.
const SHOP: Size = Size {
    customers: 5_000,
    products: 2_000,
    warehouses: 3,
    orders: 15_000,
    lines: 3,
    documents: 1_000,
    others: 2_000,
};

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    tokio::select! {
        done = run(&options) => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

async fn run(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("{} cycles of faults, --seed {seed}. Starting servers, a shop and its writers …", options.cycles);
    let begun = Instant::now();
    let mut arena = Arena::start(SHOP, Pace { sessions: 3, per_second: 150.0, seed }).await?;
    println!("Every table is live after {:.0?}.", begun.elapsed());
    let mut survived = Vec::new();
    for (fault, phase) in schedule(options.cycles, seed) {
        let cycle = arena.cycle(fault, phase).await?;
        println!("{}", line(survived.len() + 1, &cycle));
        survived.push(cycle);
    }
    let outcome = arena.finish().await?;
    summarize(&survived);
    println!(
        "\n{} transactions were written; the bank was looked at {} times; {} violations.\n{}",
        outcome.transactions,
        outcome.looks,
        outcome.violations.len(),
        outcome.report
    );
    outcome.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
    ensure!(outcome.is_clean(), "something was lost, doubled or torn");
    println!("{} cycles, nothing lost, doubled or torn, in {:.0?}.", survived.len(), begun.elapsed());
    Ok(())
}

/// Rounds of all five faults in a drawn order; one of each round strikes a load.
fn schedule(cycles: u32, seed: u64) -> Vec<(Fault, Phase)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    while all.len() < cycles as usize {
        let mut round = Fault::ALL;
        round.shuffle(&mut random);
        let loading = random.random_range(0..round.len());
        let phase = |place| if place == loading { Phase::Loading } else { Phase::Following };
        all.extend(round.into_iter().enumerate().map(|(place, fault)| (fault, phase(place))));
    }
    all.truncate(cycles as usize);
    all
}

fn line(number: usize, cycle: &Cycle) -> String {
    let phase = format!("{:?}", cycle.phase).to_lowercase();
    let takeover = cycle.takeover.map(|took| format!("another worker went on after {took:.1?}; ")).unwrap_or_default();
    format!(
        "{number:>4} {:<15} {phase:<10} in flight: {}; {takeover}all well after {:.1?}",
        cycle.fault, cycle.in_flight, cycle.recovered
    )
}

fn summarize(survived: &[Cycle]) {
    let mut kinds: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for cycle in survived {
        let phase = format!("{:?}", cycle.phase).to_lowercase();
        kinds.entry(format!("{:<15} {phase:<10}", cycle.fault)).or_default().push(cycle.recovered);
    }
    println!("\nfault           while      cycles  all well after, longest");
    for (kind, times) in kinds {
        println!("{kind} {:>6}  {:.1?}", times.len(), times.iter().max().copied().unwrap_or_default());
    }
    let mut takeovers: Vec<_> = survived.iter().filter_map(|cycle| cycle.takeover).collect();
    takeovers.sort();
    if let (Some(median), Some(longest)) = (takeovers.get(takeovers.len() / 2), takeovers.last()) {
        println!(
            "\n{} times another worker went on: after {median:.1?} in the median, {longest:.1?} at most; {TAKEOVER:?} \
             are allowed.",
            takeovers.len()
        );
    }
}
