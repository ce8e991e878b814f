//! A steady stream of small transactions at the source, and when each of a part of them was seen in a target.
//!
//! So many transactions a second, by the clock and not by the answers, so that a slow moment is not hidden by asking for
//! less in it. All connections but one update random rows; that one inserts the next number, and a query
//! that is asked for the highest number every millisecond says when that is seen. It is counted from the answer to
//! COMMIT at the source to the answer of the first query that sees it: both are this program's own clock, so clocks
//! don't matter, and what the query costs is the same for everyone who is measured. The query is a statement of its
//! own each time; one that stayed open would be a snapshot that slows the target down.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_postgres::Client;

use crate::arena::LIMIT;
use crate::follow::{FROM, Follower, Race};

/// How many transactions a second, and on how many connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    connections: u32,
}

impl Rate {
    /// A hundred a second on each connection, if there may be so few or so many.
    pub(crate) fn of(per_second: u32) -> Self {
        Self { per_second, connections: (per_second / 100).clamp(5, 40) }
    }

    /// Of one connection.
    fn every(self) -> Duration {
        Duration::from_secs(1) * self.connections / self.per_second
    }

    /// The ticks of one connection.
    fn ticks(self, begin: Instant) -> Interval {
        let mut ticks = interval_at(begin.into(), self.every());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    }
}

/// When a number was committed at the source, since the stream's beginning, and how long until it was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) after: Duration,
}

impl Seen {
    pub(crate) fn millis(&self) -> f64 {
        self.after.as_secs_f64() * 1e3
    }
}

/// Writes for this long, and returns when the last number was seen: all numbers in the order of their commits, and how
/// many transactions a second it were.
pub(crate) async fn stream(
    race: &Race<'_>,
    follower: Follower,
    pace: Rate,
    length: Duration,
) -> Result<(Vec<Seen>, f64)> {
    let source = &race.arena.source;
    let target = race.arena.target.connect(follower.database()).await?;
    let first: i64 =
        source.connect(FROM).await?.query_one("select coalesce(max(seq), 0) + 1 from bench_probe", &[]).await?.get(0);
    let begin = Instant::now() + Duration::from_millis(100);
    let (last, is_last) = watch::channel(None);
    let mut updating = JoinSet::new();
    for number in 1..pace.connections {
        let client = source.connect(FROM).await?;
        let first = begin + pace.every() * number / pace.connections;
        updating.spawn(update(client, race.scale, pace.ticks(first), begin + length));
    }
    let probe = source.connect(FROM).await?;
    let looking = tokio::spawn(look(target, first, is_last));
    let committed = insert(probe, first, pace.ticks(begin), begin + length).await?;
    let mut updates = 0;
    while let Some(done) = updating.join_next().await {
        updates += done??;
    }
    let took = begin.elapsed().as_secs_f64();
    let count = i64::try_from(committed.len()).context("a run has fewer numbers than that")?;
    last.send_replace(Some(first + count - 1));
    let seen = tokio::time::timeout(LIMIT, looking).await.context("the last number does not come")???;
    let pairs = committed.into_iter().zip(seen);
    let all = f64::from(updates) + f64::from(u32::try_from(count)?);
    let seen = pairs.map(|(at, seen)| Seen { at: at - begin, after: seen.saturating_duration_since(at) }).collect();
    Ok((seen, all / took))
}

/// How many updates it were.
async fn update(client: Client, scale: u32, mut ticks: Interval, end: Instant) -> Result<u32> {
    let sql = client.prepare("update pgbench_accounts set abalance = abalance + $2 where aid = $1").await?;
    let highest = i32::try_from(100_000 * scale).context("a scale for integers")?;
    let mut count = 0;
    while ticks.tick().await.into_std() < end {
        let (aid, delta) = (rand::rng().random_range(1..=highest), rand::rng().random_range(-5_000..=5_000));
        client.execute(&sql, &[&aid, &delta]).await?;
        count += 1;
    }
    Ok(count)
}

/// When each number was committed.
async fn insert(client: Client, first: i64, mut ticks: Interval, end: Instant) -> Result<Vec<Instant>> {
    let sql = client.prepare("insert into bench_probe values ($1)").await?;
    let mut committed = Vec::new();
    for seq in first.. {
        if ticks.tick().await.into_std() >= end {
            break;
        }
        client.execute(&sql, &[&seq]).await?;
        committed.push(Instant::now());
    }
    Ok(committed)
}

/// When each number was seen, until the last one is known and seen.
async fn look(client: Client, first: i64, last: watch::Receiver<Option<i64>>) -> Result<Vec<Instant>> {
    // The plan is made while the table is empty, when reading all of it looks as cheap as reading the last entry of the
    // index; later it would cost more with each number.
    client.batch_execute("set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off").await?;
    let sql = client.prepare("select seq from public.bench_probe order by seq desc limit 1").await?;
    let mut seen = Vec::new();
    let mut next = first;
    loop {
        let highest: i64 = client.query_opt(&sql, &[]).await?.map_or(0, |row| row.get(0));
        let now = Instant::now();
        while next <= highest {
            seen.push(now);
            next += 1;
        }
        if last.borrow().is_some_and(|last| next > last) {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
