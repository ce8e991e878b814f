//! From a commit at the source to the target, at so many small transactions a second: Wavemark and the native
//! subscription in turns, each alone with the source.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::Rounds;
use crate::figures::{Figures, Judged, Row, quantile};
use crate::follow::{FROM, Follower, Race, TO_NATIVE, TO_WAVEMARK};
use crate::report::median;
use crate::stream::{Rate, Seen, stream};
use crate::usage::{Meter, Usage};

/// What the beginning of a stream brings along: connections, plans, a follower that just woke up.
const WARM_UP: Duration = Duration::from_secs(3);

/// How much later than through the subscription half of the commits and 99 of 100 may be seen at a rate, in
/// milliseconds.
fn limits(per_second: u32) -> (Option<f64>, Option<f64>) {
    match per_second {
        500 => (Some(3.0), Some(5.0)),
        3_000 => (None, Some(50.0)),
        _ => (None, None),
    }
}

/// One turn of one follower.
struct Turn {
    millis: Vec<f64>,
    per_second: f64,
    usage: Usage,
}

pub(crate) async fn measure(race: &Race<'_>, rounds: Rounds, per_second: u32, seconds: u32) -> Result<Figures> {
    println!("\nLatency: {per_second} transactions a second for {seconds} s each …");
    let mut turns: [Vec<Turn>; 2] = [Vec::new(), Vec::new()];
    let length = WARM_UP + Duration::from_secs(u64::from(seconds));
    // The warm-up of each turn is in the turn; none is discarded.
    for round in 0..rounds.counted {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let follower = [Follower::Wavemark, Follower::Native][at];
            race.arena.settle(&[FROM], &[TO_NATIVE, TO_WAVEMARK]).await?;
            turns[at].push(take_turn(race, follower, Rate::of(per_second), length).await?);
        }
    }
    let later = |share: f64| {
        let of = |turn: &mut Turn| quantile(&mut turn.millis, share);
        let [ours, native] = &mut turns;
        median(ours.iter_mut().zip(native).map(|(ours, native)| of(ours) - of(native)).collect())
    };
    let mut later = later;
    let judge = |name: &str, is: f64, at_most: Option<f64>| {
        let what = format!("{name} later than native's by ms, median of rounds");
        at_most.map(|at_most| Judged { what, is, at_most })
    };
    let (half, last) = limits(per_second);
    let judged = [judge("p50", later(0.5), half), judge("p99", later(0.99), last)].into_iter().flatten().collect();
    let mut rows = Vec::new();
    for (follower, turns) in [Follower::Wavemark, Follower::Native].into_iter().zip(&mut turns) {
        for (number, turn) in (1..).zip(turns) {
            rows.push(row(format!("{} {number}", follower.name()), turn));
        }
    }
    Ok(Figures {
        name: "latency",
        what: format!(
            "{per_second} transactions a second for {seconds} s, from COMMIT at the source to being seen in the target"
        ),
        columns: &[
            "tx/s",
            "samples",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "most ms",
            "source CPU s",
            "target CPU s",
            "worker CPU s",
            "foreign %",
        ],
        rows,
        judged,
    })
}

async fn take_turn(race: &Race<'_>, follower: Follower, pace: Rate, length: Duration) -> Result<Turn> {
    race.resume(follower).await?;
    race.catch_up(follower).await?;
    let meter = Meter::start(race.arena.roots()?)?;
    let (seen, per_second) = stream(race, follower, pace, length).await?;
    let usage = meter.stop()?;
    race.pause(follower).await?;
    let warm = seen.iter().filter(|seen| seen.at >= WARM_UP);
    Ok(Turn { millis: warm.map(Seen::millis).collect(), per_second, usage })
}

fn row(name: String, turn: &mut Turn) -> Row {
    let shares = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(&mut turn.millis, share));
    let Usage { source_cpu, target_cpu, client_cpu, foreign, .. } = turn.usage;
    let samples = json!(turn.millis.len()).as_f64().unwrap_or(f64::NAN);
    let cpu = [source_cpu, target_cpu, client_cpu, 100.0 * foreign];
    Row { name, values: [turn.per_second, samples].into_iter().chain(shares).chain(cpu).collect() }
}
