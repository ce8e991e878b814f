//! Comparing two equal tables against the time that the slower server alone needs to hash the same rows in one
//! statement.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::cluster::Cluster;

use crate::Rounds;
use crate::arena::{Arena, LIMIT, succeed};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Usage};

const FROM: &str = "bench_compare";
const TO: &str = "bench_compared";
const TABLE: &str = "pgbench_accounts";
/// What anyone would write: the number of rows, and a sum over the hashes of their text.
const STATEMENT: &str = "select count(*), sum(hashtextextended(t::text, 0)) from public.pgbench_accounts as t";

/// Fills the source, has a task copy it, and compares the two while the task follows.
pub(crate) async fn measure(arena: &Arena, scale: u32, rounds: Rounds) -> Result<Section> {
    println!("\nCompare: filling {TABLE} with {} rows …", u64::from(scale) * 100_000);
    arena.fresh_database(&arena.source, FROM).await?;
    arena.fresh_database(&arena.target, TO).await?;
    succeed(arena.source.program("pgbench").args(["-i", "-q", "-s", &scale.to_string(), FROM]))?;
    let task = arena.make_task("compare", FROM, TO, TABLE).await?;
    arena.installation.api.act(task, "start").await?;
    let is_live = |tables: &[wavemark_tests::api::Table]| tables.len() == 1 && tables[0].state == "live";
    tokio::time::timeout(LIMIT, async {
        while !arena.installation.api.tables(task).await.is_ok_and(|tables| is_live(&tables)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .context("the table is not live in time")?;
    arena.settle(&[FROM], &[TO]).await?;
    let named = |name| Contestant::new(name);
    let mut contestants = [named("wavemark"), named("one statement"), named("in one process")];
    usage::forget_peak(arena.worker()?)?;
    for round in 0..rounds.discarded + rounds.counted {
        let mut turns = [0, 1, 2];
        turns.rotate_left(round % 3);
        for turn in turns {
            let usage = match turn {
                0 => wavemark(arena, task).await?,
                1 => slower(arena, "").await?,
                _ => slower(arena, "set max_parallel_workers_per_gather = 0").await?,
            };
            if round >= rounds.discarded {
                contestants[turn].runs.push(usage);
            }
        }
    }
    let peak = usage::peak(arena.worker()?)?;
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    Ok(Section {
        name: "compare",
        what: format!("{TABLE}, {} rows on each side, equal", u64::from(scale) * 100_000),
        unit: Unit::Rows,
        count: scale * 100_000,
        contestants: contestants.into(),
        wanted: vec![
            Wanted { against: 1, at_most_time: Some(1.3), at_least_rate: None },
            Wanted { against: 2, at_most_time: Some(1.3), at_least_rate: None },
        ],
        worker_peak_bytes: peak,
        stages: Vec::new(),
    })
}

/// From the call of the API to the answer that all is equal.
async fn wavemark(arena: &Arena, task: Uuid) -> Result<Usage> {
    let api = &arena.installation.api;
    let meter = Meter::start(arena.roots()?)?;
    let path = format!("/tasks/{task}/compares");
    let asked: Value = api.call(reqwest::Method::POST, &path, Some(&json!({}))).await?;
    let path = format!("/compares/{}", asked["id"].as_str().context("a comparison has an id")?);
    let over = async {
        loop {
            let found: Value = api.get(&path).await?;
            if !matches!(found["state"].as_str(), Some("waiting" | "running")) {
                return Ok::<_, anyhow::Error>(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, over).await.context("the comparison does not end")??;
    let usage = meter.stop()?;
    ensure!(found["state"] == "done" && found["differences"] == 0, "the tables are equal: {found:#}");
    println!("  held {} ms, read {} ms", found["held_ms"], found["read_ms"]);
    Ok(usage)
}

/// The statement on each server alone; the longer of the two.
async fn slower(arena: &Arena, setting: &str) -> Result<Usage> {
    let source = statement(arena, &arena.source, FROM, setting).await?;
    let target = statement(arena, &arena.target, TO, setting).await?;
    Ok(if source.seconds > target.seconds { source } else { target })
}

async fn statement(arena: &Arena, cluster: &Cluster, database: &str, setting: &str) -> Result<Usage> {
    let client = cluster.connect(database).await?;
    client.batch_execute(setting).await?;
    let meter = Meter::start(arena.roots()?)?;
    client.query_one(STATEMENT, &[]).await?;
    meter.stop()
}
