//! What a network costs our own rate: the same kind of backlog with every byte between worker and databases on its way
//! for a while, in each direction, and without. Both go through the same proxies, so that those cost both the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::api::Task;
use wavemark_tests::proxy::{Proxy, Trouble};

use crate::Rounds;
use crate::arena::{Arena, LIMIT, digest, succeed};
use crate::backlog::Backlog;
use crate::follow::{arrived, mark, wait_slot};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Usage};

const FROM: &str = "bench_delay";
const TO: &str = "bench_delayed";
const KIND: Backlog = Backlog::Tpcb;
/// In each direction, between the worker and each of the two databases.
const DELAY: Duration = Duration::from_millis(20);
/// The least rate with it, as a part of that without.
const LEAST_RATE: f64 = 0.7;

/// A task behind proxies, stopped.
struct Far<'a> {
    arena: &'a Arena,
    links: [Proxy; 2],
    task: Uuid,
    source: Client,
    target: Client,
}

pub(crate) async fn measure(arena: &Arena, scale: u32, rounds: Rounds) -> Result<Section> {
    println!("\nDelay: {} with {DELAY:?} on each way, and without …", KIND.in_words());
    let far = Far::prepare(arena, scale).await?;
    let mut contestants = [Contestant::new("with a delay"), Contestant::new("without")];
    let mut peak = 0;
    for round in 0..rounds.discarded + rounds.counted {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            KIND.make(&arena.source, FROM, scale)?;
            let marker = mark(&far.source).await?;
            arena.settle(&[FROM], &[TO]).await?;
            usage::forget_peak(arena.worker()?)?;
            let usage = far.run(marker, at == 0).await?;
            peak = peak.max(usage::peak(arena.worker()?)?);
            if round >= rounds.discarded {
                contestants[at].runs.push(usage);
            }
        }
    }
    far.end().await?;
    Ok(Section {
        name: "delay",
        what: format!("follow with {DELAY:?} on each way, {}", KIND.in_words()),
        unit: Unit::Changes,
        count: KIND.changes(),
        contestants: contestants.into(),
        wanted: vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(LEAST_RATE) }],
        worker_peak_bytes: peak,
        stages: Vec::new(),
    })
}

impl<'a> Far<'a> {
    async fn prepare(arena: &'a Arena, scale: u32) -> Result<Self> {
        arena.fresh_database(&arena.source, FROM).await?;
        arena.fresh_database(&arena.target, TO).await?;
        succeed(arena.source.program("pgbench").args(["-i", "-q", "-s", &scale.to_string(), FROM]))?;
        let marker = "create table bench_marker (id bigint primary key)";
        let whole_rows = "alter table pgbench_history replica identity full";
        arena.source.execute(FROM, &[marker, whole_rows]).await?;
        let links = [Proxy::start(arena.source.port()).await?, Proxy::start(arena.target.port()).await?];
        let task = arena.make_task_by("delay", (FROM, links[0].port()), (TO, links[1].port()), "%").await?;
        let api = &arena.installation.api;
        api.act(task, "start").await?;
        let following = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.phase == "following");
        let loaded = api.wait_task(task, LIMIT, "the load", following).await?;
        ensure!(loaded.tables_parked == 0, "the load failed: {}", loaded.in_words());
        arena.stop_task(task).await?;
        let (source, target) = (arena.source.connect(FROM).await?, arena.target.connect(TO).await?);
        Ok(Self { arena, links, task, source, target })
    }

    /// From the slot's being active to the marker's being there, as between the contestants elsewhere.
    async fn run(&self, marker: i64, delayed: bool) -> Result<Usage> {
        for link in self.links.iter().filter(|_| delayed) {
            link.strike(Trouble::Delay(DELAY));
        }
        self.arena.installation.api.act(self.task, "resume").await?;
        wait_slot(&self.source, "wavemark%", true).await?;
        let meter = Meter::start(self.arena.roots()?)?;
        arrived(&self.target, marker).await.context("the marker comes through the proxies")?;
        let usage = meter.stop()?;
        self.links.iter().for_each(Proxy::heal);
        self.arena.stop_task(self.task).await?;
        wait_slot(&self.source, "wavemark%", false).await?;
        Ok(usage)
    }

    /// Fails unless the target is what the source is.
    async fn end(self) -> Result<()> {
        for table in ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"] {
            let expected = digest(&self.source, table).await?;
            ensure!(digest(&self.target, table).await? == expected, "the {table} behind the proxies is another");
        }
        println!("\nSource and target behind the proxies are equal, row by row.");
        self.arena.delete_task(self.task).await
    }
}
