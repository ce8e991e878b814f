//! A steady stream of small transactions at the source, and when each of a part of them was seen in a target.
//!
//! 500 transactions a second on five connections, by the clock and not by the answers, so that a slow moment is not
//! hidden by asking for less in it. Four in five update a random row; the fifth inserts the next number, and a query
//! that is asked for the highest number every millisecond says when that is seen. It is counted from the answer to
//! COMMIT at the source to the answer of the first query that sees it: both are this program's own clock, so clocks
//! don't matter, and what the query costs is the same for everyone who is measured. The query is a statement of its
//! own each time; one that stayed open would be a snapshot that slows the target down.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_postgres::Client;

use crate::arena::LIMIT;
use crate::follow::{FROM, Follower, Race};

pub(crate) const PER_SECOND: u32 = 500;
const CONNECTIONS: u32 = 5;

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

/// Writes for this long, and returns when the last number was seen, in the order of their commits.
pub(crate) async fn stream(race: &Race<'_>, follower: Follower, length: Duration) -> Result<Vec<Seen>> {
    let source = &race.arena.source;
    let target = race.arena.target.connect(follower.database()).await?;
    let first: i64 =
        source.connect(FROM).await?.query_one("select coalesce(max(seq), 0) + 1 from bench_probe", &[]).await?.get(0);
    let begin = Instant::now() + Duration::from_millis(100);
    let (last, is_last) = watch::channel(None);
    let mut updating = JoinSet::new();
    for number in 1..CONNECTIONS {
        let client = source.connect(FROM).await?;
        updating.spawn(update(client, race.scale, begin + Duration::from_millis(2) * number, begin + length));
    }
    let probe = source.connect(FROM).await?;
    let looking = tokio::spawn(look(target, first, is_last));
    let committed = insert(probe, first, begin, begin + length).await?;
    while let Some(done) = updating.join_next().await {
        done??;
    }
    let count = i64::try_from(committed.len()).context("a run has fewer numbers than that")?;
    last.send_replace(Some(first + count - 1));
    let seen = tokio::time::timeout(LIMIT, looking).await.context("the last number does not come")???;
    let pairs = committed.into_iter().zip(seen);
    Ok(pairs.map(|(at, seen)| Seen { at: at - begin, after: seen.saturating_duration_since(at) }).collect())
}

/// The ticks of one connection.
fn ticks(begin: Instant) -> tokio::time::Interval {
    let every = Duration::from_secs(1) * CONNECTIONS / PER_SECOND;
    let mut ticks = interval_at(begin.into(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

async fn update(client: Client, scale: u32, begin: Instant, end: Instant) -> Result<()> {
    let sql = client.prepare("update pgbench_accounts set abalance = abalance + $2 where aid = $1").await?;
    let highest = i32::try_from(100_000 * scale).context("a scale for integers")?;
    let mut ticks = ticks(begin);
    while ticks.tick().await.into_std() < end {
        let (aid, delta) = (rand::rng().random_range(1..=highest), rand::rng().random_range(-5_000..=5_000));
        client.execute(&sql, &[&aid, &delta]).await?;
    }
    Ok(())
}

/// When each number was committed.
async fn insert(client: Client, first: i64, begin: Instant, end: Instant) -> Result<Vec<Instant>> {
    let sql = client.prepare("insert into bench_probe values ($1)").await?;
    let mut ticks = ticks(begin);
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
