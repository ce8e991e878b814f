//! What a report costs that keeps its snapshot open on the target: from then on no version of a row that it might
//! still read is pruned, and who updates a row meets all the versions of it.

use std::time::Duration;

use anyhow::Result;
use tokio_postgres::Client;

use crate::Rounds;
use crate::backlog::Backlog;
use crate::figures::{Figures, Judged, Row, quantile};
use crate::follow::{FROM, Follower, Race, TO_NATIVE, TO_WAVEMARK};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::stream::{Rate, Seen, stream};
use crate::usage;

/// The least rate with a snapshot, as a part of our own without.
const LEAST_RATE: f64 = 0.7;
/// By how much the slowest of a hundred may become slower while a snapshot stays open.
const MOST_GROWTH: f64 = 1.5;
const MINUTE: Duration = Duration::from_mins(1);
const PER_SECOND: u32 = 500;

/// A session that has looked and goes on looking at the target as it was. Dropping it ends the session.
struct Report {
    _session: Client,
}

impl Report {
    async fn open(race: &Race<'_>) -> Result<Self> {
        let session = race.arena.target.connect(TO_WAVEMARK).await?;
        session.batch_execute("begin isolation level repeatable read; select count(*) from pgbench_branches").await?;
        Ok(Self { _session: session })
    }
}

/// The same kind of backlog with a snapshot open on the target and without.
pub(crate) async fn rate(race: &Race<'_>, rounds: Rounds) -> Result<Section> {
    let kind = Backlog::Tpcb;
    println!("\nSnapshot: {} with a snapshot open on the target, and without …", kind.in_words());
    let mut contestants = [Contestant::new("with a snapshot"), Contestant::new("without")];
    let (mut peak, mut stages) = (0, Vec::new());
    for round in 0..rounds.discarded + rounds.counted {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            kind.make(&race.arena.source, FROM, race.scale)?;
            let marker = race.write_marker().await?;
            race.arena.settle(&[FROM], &[TO_NATIVE, TO_WAVEMARK]).await?;
            let report = if at == 0 { Some(Report::open(race).await?) } else { None };
            let (usage, stage) = race.run_wavemark(marker).await?;
            drop(report);
            peak = peak.max(usage::peak(race.arena.worker()?)?);
            if round >= rounds.discarded {
                contestants[at].runs.push(usage);
                stages.extend(stage);
            }
            // The subscription's slot must not keep the log of all rounds.
            race.run_native(marker).await?;
        }
    }
    Ok(Section {
        name: "snapshot",
        what: format!("follow with a snapshot open on the target, {}", kind.in_words()),
        unit: Unit::Changes,
        count: kind.changes(),
        contestants: contestants.into(),
        wanted: vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(LEAST_RATE) }],
        worker_peak_bytes: peak,
        stages,
    })
}

/// The latency of a steady stream for a minute, and then for each of these minutes with a snapshot open.
pub(crate) async fn latency(race: &Race<'_>, minutes: u32) -> Result<Figures> {
    println!(
        "\nSnapshot: {PER_SECOND} transactions a second, a snapshot opened after a minute and kept for {minutes} …"
    );
    race.arena.settle(&[FROM], &[TO_NATIVE, TO_WAVEMARK]).await?;
    race.resume(Follower::Wavemark).await?;
    race.catch_up(Follower::Wavemark).await?;
    // A few seconds before the first minute that counts, for what a beginning brings along.
    let warm_up = Duration::from_secs(5);
    let opened = async {
        tokio::time::sleep(warm_up + MINUTE).await;
        Report::open(race).await
    };
    let streamed = stream(race, Follower::Wavemark, Rate::of(PER_SECOND), warm_up + MINUTE * (1 + minutes));
    let ((seen, _), report) = tokio::try_join!(streamed, opened)?;
    drop(report);
    race.pause(Follower::Wavemark).await?;
    let mut rows = Vec::new();
    for minute in 0..=minutes {
        let from = warm_up + MINUTE * minute;
        let of_minute = seen.iter().filter(|seen| seen.at >= from && seen.at < from + MINUTE);
        let mut millis: Vec<f64> = of_minute.map(Seen::millis).collect();
        let name = if minute == 0 { "without".to_owned() } else { format!("minute {minute} of the snapshot") };
        rows.push(Row { name, values: [0.5, 0.99, 0.999, 1.0].map(|share| quantile(&mut millis, share)).into() });
    }
    let (before, after) = (rows[0].values[1], rows[rows.len() - 1].values[1]);
    Ok(Figures {
        name: "snapshot-latency",
        what: format!("{PER_SECOND} transactions a second, from COMMIT at the source to being seen in the target"),
        columns: &["p50 ms", "p99 ms", "p99.9 ms", "most ms"],
        rows,
        judged: vec![Judged {
            what: "p99 of the last minute by that before the snapshot".to_owned(),
            is: after / before,
            at_most: MOST_GROWTH,
        }],
    })
}
