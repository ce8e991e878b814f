//! Following the binary log into PostgreSQL, against the same changes between two PostgreSQL. As in `crate::follow` a round's
//! changes wait in the log while nobody follows; the clock runs from when the log is read until the last of them is in
//! the target.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::api::Task;

use super::changes::{self, CHANGES, FROM, Round, Rows, SCHEMA};
use super::session::Session;
use super::{Instance, System};
use crate::Rounds;
use crate::arena::{Arena, LIMIT};
use crate::follow::{recorded, stages, wait_slot};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Usage};

const FROM_MYSQL: &str = "bench_from_mysql";
const FROM_POSTGRES: &str = "bench_from_postgres";

struct Course<'a, P: System> {
    arena: &'a Arena,
    source: Instance<P>,
    looker: Session,
    postgres: Client,
    /// From MySQL and from PostgreSQL: the task and its target.
    ways: [(Uuid, Client); 2],
}

pub(crate) async fn measure<P: System>(arena: &Arena, rounds: Rounds) -> Result<Section> {
    println!("\nFollow {}: filling the sources and copying them …", P::TITLE);
    let mut course = Course::<P>::prepare(arena).await?;
    let mut contestants = [Contestant::new("wavemark"), Contestant::new("from PostgreSQL")];
    let (mut rows, mut peak, mut told) = (Rows::new(), 0, Vec::new());
    for number in 0..rounds.discarded + rounds.counted {
        let round = rows.next_round()?;
        changes::at_postgres(arena, &round)?;
        changes::at_mysql(&course.source, &round)?;
        for turn in 0..2 {
            let at = (number + turn) % 2;
            arena.settle(&[FROM], &[FROM_MYSQL, FROM_POSTGRES]).await?;
            usage::forget_peak(arena.worker()?)?;
            let (usage, stage) = course.run(at, &round).await?;
            if at == 0 {
                peak = peak.max(usage::peak(arena.worker()?)?);
            }
            if number >= rounds.discarded {
                contestants[at].runs.push(usage);
                told.extend((at == 0).then_some(stage));
            }
        }
        course.compare().await?;
    }
    println!("\nBoth sources and both targets are equal, row by row.");
    Ok(Section {
        name: "mysql-follow",
        what: format!("follow, {} to PostgreSQL, {CHANGES} changes in transactions of four", course.source.title()?),
        unit: Unit::Changes,
        count: CHANGES,
        contestants: contestants.into(),
        wanted: vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(0.8) }],
        worker_peak_bytes: peak,
        stages: told,
    })
}

impl<'a, P: System> Course<'a, P> {
    async fn prepare(arena: &'a Arena) -> Result<Self> {
        for name in [FROM_MYSQL, FROM_POSTGRES] {
            arena.fresh_database(&arena.target, name).await?;
        }
        let source = Instance::<P>::start()?;
        changes::fill_mysql(&source, SCHEMA)?;
        changes::fill_postgres(arena).await?;
        let name = format!("follow {}", Uuid::new_v4().simple());
        let from = [
            source.endpoint(arena, &format!("{name} source"), "source").await?,
            arena.endpoint(&format!("{name} other source"), "source", &arena.source, FROM).await?,
        ];
        let mut ways = Vec::new();
        for (from, to) in from.into_iter().zip([FROM_MYSQL, FROM_POSTGRES]) {
            let target = arena.endpoint(&format!("{name} {to}"), "target", &arena.target, to).await?;
            let task = arena.between(&format!("{name} {to}"), (from, target), (SCHEMA, "%"), &json!({})).await?;
            loaded(arena, task).await?;
            ways.push((task, arena.target.connect(to).await?));
        }
        let ways = ways.try_into().ok().context("there are two ways")?;
        Ok(Self { arena, looker: source.session()?, postgres: arena.source.connect(FROM).await?, source, ways })
    }

    async fn run(&mut self, at: usize, round: &Round) -> Result<(Usage, Value)> {
        let roots = if at == 0 { self.source.as_source(self.arena)? } else { self.arena.roots()? };
        // Only the one from MySQL is of interest.
        let recording = recorded(self.arena, at == 0).await?;
        self.resume(at).await?;
        let meter = Meter::start(roots)?;
        let (task, target) = &self.ways[at];
        arrived(target, round.marker).await?;
        let usage = meter.stop()?;
        recording.map_or(Ok(()), crate::profile::Recording::end)?;
        let stage = stages(self.arena, *task).await?;
        self.arena.stop_task(*task).await?;
        Ok((usage, stage))
    }

    /// Lets it follow; returns when its log is read. A session of an earlier run may still be shown.
    async fn resume(&mut self, at: usize) -> Result<()> {
        let api = &self.arena.installation.api;
        if at == 1 {
            wait_slot(&self.postgres, "wavemark%", false).await?;
            api.act(self.ways[at].0, "resume").await?;
            return wait_slot(&self.postgres, "wavemark%", true).await;
        }
        let before = self.looker.ask("SELECT max(id) FROM information_schema.processlist")?;
        api.act(self.ways[at].0, "resume").await?;
        let reads = "SELECT count(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
        self.looker.until(&format!("{reads} AND id > {before}")).await
    }

    async fn compare(&self) -> Result<()> {
        let expected = changes::digest_of_mysql(&self.source, SCHEMA)?;
        for client in [&self.postgres, &self.ways[0].1, &self.ways[1].1] {
            let found = changes::digest_of_postgres(client).await?;
            ensure!(found == expected, "a copy is another: {found}, not {expected}");
        }
        Ok(())
    }
}

/// Starts a task, waits until it follows, and stops it.
pub(super) async fn loaded(arena: &Arena, task: Uuid) -> Result<()> {
    let api = &arena.installation.api;
    api.act(task, "start").await?;
    let following = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.phase == "following");
    let ended = |task: &Task| following(task) || task.status == "failed";
    let loaded = api.wait_task(task, LIMIT, "the load", ended).await?;
    ensure!(following(&loaded) && loaded.tables_parked == 0, "the load failed: {}", loaded.in_words());
    arena.stop_task(task).await
}

pub(super) async fn arrived(target: &Client, marker: i32) -> Result<()> {
    let sql = target.prepare("select 1 from bench.bench_marker where id = $1").await?;
    let wait = async {
        while target.query_opt(&sql, &[&marker]).await?.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, wait).await.context("the last change does not come")?
}
