//! One world: an installation of its own in threads of its own, because starting and killing servers blocks.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use wavemark_tests::faults::{Arena, Cycle, Outcome};
use wavemark_tests::shop::{Pace, Size};
use wavemark_tests::system::Ways;

use crate::report;
use crate::schedule::Part;

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

/// What became of a world.
#[derive(Default)]
pub(crate) struct Lived {
    /// The faults that it survived.
    pub(crate) survived: Vec<Cycle>,
    /// What it came to, or what ended it too early.
    pub(crate) end: Option<Result<Outcome>>,
}

/// Starts a world's thread; what it sends is what became of it.
pub(crate) fn start(
    part: Part,
    pair: Ways,
    seed: u64,
    rate: u32,
    mut stop: watch::Receiver<bool>,
) -> Result<oneshot::Receiver<Lived>> {
    let (done, lived) = oneshot::channel();
    let name = format!("world {}", part.world);
    let run = move || {
        let runtime = Builder::new_multi_thread().worker_threads(3).enable_all().build();
        let mut lived = Lived::default();
        lived.end = Some(runtime.context("starting the threads of a world").and_then(|runtime| {
            runtime.block_on(async {
                tokio::select! {
                    end = live(&part, pair, Pace { sessions: 3, per_second: rate.into(), seed }, &mut lived.survived) => end,
                    _ = stop.wait_for(|stop| *stop) => bail!("interrupted"),
                }
            })
        }));
        // Nobody waits any more when the program was interrupted.
        drop(done.send(lived));
        drop(stop);
    };
    std::thread::Builder::new().name(name).spawn(run).context("starting a world's thread")?;
    Ok(lived)
}

async fn live(part: &Part, pair: Ways, pace: Pace, survived: &mut Vec<Cycle>) -> Result<Outcome> {
    let (world, begun) = (part.world, Instant::now());
    let pace = Pace { seed: pace.seed + u64::from(world) - 1, ..pace };
    let mut arena = Arena::start(pair, SHOP, pace, &part.faults).await?;
    println!("World {world}: every table is live after {:.0?}; {} faults follow.", begun.elapsed(), part.faults.len());
    for fault in &part.faults {
        let cycle = arena.cycle(*fault).await?;
        println!("{}", report::line(world, survived.len() + 1, &cycle));
        survived.push(cycle);
    }
    let outcome = arena.finish().await?;
    println!("World {world} ends after {:.0?}: {}", begun.elapsed(), outcome.report);
    Ok(outcome)
}
