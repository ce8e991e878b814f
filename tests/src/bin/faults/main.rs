//! `make faults`: kills and freezes processes under a running task, troubles its network, ends its workers at every
//! named point of their program, gets in its way at the target, again and again, and says whether anything was lost,
//! doubled or torn. Exits non-zero if so, if another worker took too long, or if a point was not passed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::{Parser, ValueEnum};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use wavemark_tests::faults::{Arena, Cycle, Fault, Network, Outcome, Phase, Strike, TAKEOVER, points};
use wavemark_tests::proxy::Trouble;
use wavemark_tests::shop::{Pace, Size};

/// Does every kind of harm to a running task.
#[derive(Parser)]
struct Options {
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// SIGKILL and SIGSTOP to worker, server, source and target
    Processes,
    /// The links to source, target and metadata: cut, reset, dead, half-open, slow; lost replies to COMMIT
    Network,
    /// A worker dies at each named point
    Crashes,
    /// Deadlocks with others at the target, and its stop in the middle of a COMMIT
    Others,
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
    let schedule = schedule(options, seed);
    println!("{} cycles of faults, --seed {seed}. Starting servers, a shop and its writers …", schedule.len());
    let begun = Instant::now();
    let mut arena = Arena::start(SHOP, Pace { sessions: 3, per_second: 150.0, seed }).await?;
    println!("Every table is live after {:.0?}.", begun.elapsed());
    let mut survived = Vec::new();
    for fault in schedule {
        let cycle = arena.cycle(fault).await?;
        println!("{}", line(survived.len() + 1, &cycle));
        survived.push(cycle);
    }
    let outcome = arena.finish().await?;
    summarize(&survived);
    println!(
        "\n{} transactions were written; the bank was looked at {} times, {} of them compared with the order of the \
         source's commits; {} violations.\n{}",
        outcome.transactions,
        outcome.looks,
        outcome.ordered,
        outcome.violations.len(),
        outcome.report
    );
    outcome.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
    ensure!(outcome.is_clean(), "something was lost, doubled or torn");
    if options.kinds.contains(&Kind::Crashes) {
        every_point_fired(&outcome, options.fires)?;
    }
    println!("{} cycles, nothing lost, doubled or torn, in {:.0?}.", survived.len(), begun.elapsed());
    Ok(())
}

/// Fails with the names of the points that ended fewer workers than they should.
fn every_point_fired(outcome: &Outcome, times: u32) -> Result<()> {
    let fired = |point: &str| outcome.fired.get(point).copied().unwrap_or_default();
    let missing: Vec<_> = points().iter().filter(|point| fired(point) < times).collect();
    ensure!(missing.is_empty(), "crash points that did not fire {times} times: {missing:?}");
    println!("Each of {} crash points ended a worker {times} times.", points().len());
    Ok(())
}

/// Everything that was asked for, in a drawn order.
fn schedule(options: &Options, seed: u64) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    if options.kinds.contains(&Kind::Processes) {
        all.extend(strikes(options.cycles, &mut random));
    }
    for _ in 0..options.rounds {
        if options.kinds.contains(&Kind::Network) {
            all.extend(Network::every(&mut random).into_iter().map(Fault::Network));
        }
        if options.kinds.contains(&Kind::Others) {
            all.extend([Fault::Deadlock, Fault::StopInCommit, Fault::StopInCommit]);
        }
    }
    if options.kinds.contains(&Kind::Crashes) {
        (0..options.fires).for_each(|_| all.extend(points().iter().map(|point| Fault::Crash(point))));
    }
    all.shuffle(&mut random);
    all
}

/// Rounds of all five strikes; one of each round hits a load.
fn strikes(cycles: u32, random: &mut StdRng) -> Vec<Fault> {
    let mut all = Vec::new();
    while all.len() < cycles as usize {
        let mut round = Strike::ALL;
        round.shuffle(random);
        let loading = random.random_range(0..round.len());
        let phase = |place| if place == loading { Phase::Loading } else { Phase::Following };
        all.extend(round.into_iter().enumerate().map(|(place, strike)| Fault::Process(strike, phase(place))));
    }
    all.truncate(cycles as usize);
    all
}

fn line(number: usize, cycle: &Cycle) -> String {
    let phase = format!("{:?}", cycle.fault.phase()).to_lowercase();
    let takeover = cycle.takeover.map(|took| format!("another worker went on after {took:.1?}; ")).unwrap_or_default();
    format!(
        "{number:>4} {:<28} {phase:<10} in flight: {}; {takeover}all well after {:.1?}",
        cycle.fault, cycle.in_flight, cycle.recovered
    )
}

/// The fault without what was drawn of it.
fn kind(fault: Fault) -> String {
    match fault {
        Fault::Network(Network { place, trouble: Trouble::CutAfter(_), .. }) => {
            format!("cut after n bytes {place:?}").to_lowercase()
        }
        other => other.to_string(),
    }
}

fn summarize(survived: &[Cycle]) {
    let mut kinds: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for cycle in survived {
        let phase = format!("{:?}", cycle.fault.phase()).to_lowercase();
        kinds.entry(format!("{:<28} {phase:<10}", kind(cycle.fault))).or_default().push(cycle.recovered);
    }
    println!("\nfault                        while      cycles  all well after, longest");
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
