//! Very many tables in one task: how long until all are followed, what the worker holds, and that changes arrive.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;
use wavemark_tests::api::Task;

use crate::arena::{Arena, LIMIT};
use crate::crowd::{mib, told};
use crate::figures::{Figures, Judged, Row};
use crate::idle;
use crate::usage;

const FROM: &str = "bench_tables";
const TO: &str = "bench_many_tables";
const PATIENCE: Duration = Duration::from_mins(30);
/// Statements of one transaction: each table that it makes needs locks of its own.
const AT_ONCE: u32 = 500;
/// The worker's memory, in MiB.
const MOST_MEMORY: f64 = 1_024.0;

pub(crate) async fn measure(arena: &Arena, count: u32, seconds: u32) -> Result<Figures> {
    println!("\nTables: making {count} of them, of 10 rows each …");
    arena.fresh_database(&arena.source, FROM).await?;
    arena.fresh_database(&arena.target, TO).await?;
    let (source, target) = (arena.source.connect(FROM).await?, arena.target.connect(TO).await?);
    for first in (0..count).step_by(AT_ONCE as usize) {
        let mut sql = String::new();
        for number in first..(first + AT_ONCE).min(count) {
            writeln!(sql, "create table t{number} (id int primary key, word text);")?;
            writeln!(sql, "insert into t{number} select n, {number} || ' ' || n from generate_series(1, 10) as n;")?;
        }
        source.batch_execute(&sql).await?;
    }
    let task = arena.make_task("tables", FROM, TO, "t%").await?;
    usage::forget_peak(arena.worker()?)?;
    let began = Instant::now();
    let api = &arena.installation.api;
    api.act(task, "start").await?;
    let follows = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.phase == "following");
    let task = told(arena, api.wait_task(task, PATIENCE, "the task to follow", follows).await)?;
    ensure!(task.tables_parked == 0, "the load failed: {}", task.in_words());
    let (load, load_peak) = (began.elapsed().as_secs_f64(), mib(usage::peak(arena.worker()?)?));
    usage::forget_peak(arena.worker()?)?;
    let began = Instant::now();
    for number in 0..count {
        source.execute(&format!("update t{number} set word = word || ' more' where id = 7"), &[]).await?;
    }
    arrived(&target, count).await?;
    let (changes, changes_peak) = (began.elapsed().as_secs_f64(), mib(usage::peak(arena.worker()?)?));
    let spent = idle::watch(arena, Duration::from_secs(u64::from(seconds))).await?;
    let began = Instant::now();
    arena.stop_task(task.id).await?;
    api.act(task.id, "resume").await?;
    api.wait_task(task.id, PATIENCE, "the task to follow again", follows).await?;
    let again = began.elapsed().as_secs_f64();
    compare(&source, &target, count).await?;
    arena.stop_task(task.id).await?;
    arena.delete_task(task.id).await?;
    let row = |name: &str, values: [f64; 3]| Row { name: name.to_owned(), values: values.into() };
    Ok(Figures {
        name: "tables",
        what: format!("{count} tables in one task, equal at the end"),
        columns: &["seconds", "peak MiB", "worker's CPU %"],
        rows: vec![
            row("until all are followed", [load, load_peak, f64::NAN]),
            row("a change in each", [changes, changes_peak, f64::NAN]),
            row("nothing to do", [f64::from(seconds), f64::NAN, spent.worker]),
            row("stopped and resumed", [again, f64::NAN, f64::NAN]),
        ],
        judged: vec![Judged {
            what: "the worker's memory, MiB".to_owned(),
            is: load_peak.max(changes_peak),
            at_most: MOST_MEMORY,
        }],
    })
}

/// Waits for the last table's change, which comes after all others.
async fn arrived(target: &Client, count: u32) -> Result<()> {
    let sql = format!("select 1 from public.t{} where id = 7 and word like '% more'", count - 1);
    let wait = async {
        while target.query_opt(&sql, &[]).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT.max(PATIENCE), wait).await.context("the changes do not come")?
}

/// Every row of every table, as text.
async fn compare(source: &Client, target: &Client, count: u32) -> Result<()> {
    for first in (0..count).step_by(AT_ONCE as usize) {
        let one = |number: u32| format!("select {number}, t::text from public.t{number} as t");
        let all: Vec<String> = (first..(first + AT_ONCE).min(count)).map(one).collect();
        let sql = format!("select string_agg(r::text, ',' order by r::text) from ({}) as r", all.join(" union all "));
        let (from, to) = (source.query_one(&sql, &[]).await?, target.query_one(&sql, &[]).await?);
        let equal = from.get::<_, Option<String>>(0) == to.get::<_, Option<String>>(0);
        ensure!(equal, "tables t{first} and following are others in the target");
    }
    Ok(())
}
