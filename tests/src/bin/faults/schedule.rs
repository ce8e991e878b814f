//! Which faults there are, in which order, and which world gets which.

use std::time::Duration;

use clap::ValueEnum as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use wavemark_tests::faults::{Fault, Network, Phase, Place, Strike, points};
use wavemark_tests::proxy::Trouble;

use crate::{Kind, Options};

/// How long the metadata database is away: longer than every lease, token and patience.
const AWAY: Duration = Duration::from_mins(10);

/// What one world has to go through.
pub(crate) struct Part {
    /// Its number, from 1 on.
    pub(crate) world: u32,
    pub(crate) faults: Vec<Fault>,
}

/// Everything that was asked for, in a drawn order.
pub(crate) fn draw(options: &Options, seed: u64) -> Vec<Fault> {
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
            if options.pair.from.is_family() {
                all.extend([Fault::PurgedLog, Fault::Failover, Fault::Failover]);
            }
        }
    }
    if options.kinds.contains(&Kind::MetadataAway) {
        all.push(Fault::Network(Network { place: Place::Metadata, trouble: Trouble::Hole, hold: AWAY }));
    }
    if options.kinds.contains(&Kind::Crashes) {
        (0..options.fires).for_each(|_| all.extend(points().iter().map(|point| Fault::Crash(point))));
    }
    all.shuffle(&mut random);
    all
}

/// The faults of each world, or of the only one that was asked for.
pub(crate) fn parts(schedule: &[Fault], options: &Options) -> Vec<Part> {
    let numbers = 1..=options.worlds;
    let wanted = numbers.filter(|number| options.only.is_none_or(|only| only == *number));
    let part = |world: u32| {
        let faults = schedule.iter().skip(world as usize - 1).step_by(options.worlds as usize).copied();
        Part { world, faults: faults.collect() }
    };
    wanted.map(part).collect()
}

/// The command that gives one world the same faults again.
pub(crate) fn alone(options: &Options, seed: u64, world: u32) -> String {
    let Options { pair, cycles, rounds, fires, worlds, rate, .. } = options;
    let kinds: Vec<_> =
        options.kinds.iter().filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned())).collect();
    format!(
        "make faults ARGS=\"--pair {pair} --kinds {} --cycles {cycles} --rounds {rounds} --fires {fires} --seed {seed} --rate {rate} \
         --worlds {worlds} --only {world}\"",
        kinds.join(",")
    )
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
