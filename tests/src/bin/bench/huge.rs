//! Fields up to about the largest that PostgreSQL has: whether each passes or how it is refused, and what the worker
//! holds meanwhile. Nothing may be lost in silence: what does not arrive must be told.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::api::Task;

use crate::arena::Arena;
use crate::crowd::mib;
use crate::figures::{Figures, Row};
use crate::usage;

const FROM: &str = "bench_huge";
const TO: &str = "bench_enormous";
const PATIENCE: Duration = Duration::from_mins(5);
/// In MiB; PostgreSQL itself refuses a field of 1,024.
const SIZES: [i32; 4] = [64, 256, 512, 1_000];
/// The default, and the most.
const ROW_MIB: [u32; 2] = [64, 1_024];

pub(crate) async fn measure(arena: &Arena) -> Result<Figures> {
    let mut rows = Vec::new();
    for row_mib in ROW_MIB {
        rows.extend(measure_with(arena, row_mib).await?);
    }
    Ok(Figures {
        name: "huge",
        what: "single fields, and the worker's memory at most".to_owned(),
        columns: &["seconds", "peak MiB"],
        rows,
        judged: Vec::new(),
    })
}

/// One task that takes rows of so many MiB.
async fn measure_with(arena: &Arena, row_mib: u32) -> Result<Vec<Row>> {
    println!("\nHuge: single fields of up to 1,000 MiB, with row_mib = {row_mib} …");
    arena.fresh_database(&arena.source, FROM).await?;
    arena.fresh_database(&arena.target, TO).await?;
    let (source, target) = (arena.source.connect(FROM).await?, arena.target.connect(TO).await?);
    source.batch_execute("create table fields (mib int primary key, field bytea)").await?;
    let name = format!("huge {row_mib}");
    let task = arena.make_task_with(&name, FROM, TO, "%", &json!({"row_mib": row_mib})).await?;
    let api = &arena.installation.api;
    api.act(task, "start").await?;
    let follows = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.phase == "following");
    api.wait_task(task, PATIENCE, "the task to follow", follows).await?;
    let mut rows = Vec::new();
    for size in SIZES {
        usage::forget_peak(arena.worker()?)?;
        let began = Instant::now();
        let sql = "insert into fields select $1, convert_to(repeat('0123456789abcdef', $1 * 65536), 'UTF8')";
        source.execute(sql, &[&size]).await.with_context(|| format!("writing a field of {size} MiB"))?;
        let passed = passes(arena, task, &target, size).await?;
        let peak = mib(usage::peak(arena.worker()?)?);
        rows.push(Row {
            name: format!("{size} MiB, row_mib {row_mib}: {}", if passed { "passed" } else { "refused" }),
            values: vec![began.elapsed().as_secs_f64(), peak],
        });
        if !passed {
            break;
        }
        let same = "select md5(field) from public.fields where mib = $1";
        let (from, to) = (source.query_one(same, &[&size]).await?, target.query_one(same, &[&size]).await?);
        ensure!(from.get::<_, String>(0) == to.get::<_, String>(0), "the field of {size} MiB is another in the target");
    }
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    Ok(rows)
}

/// True once it is there, false once the table is parked for it; an error if neither comes.
async fn passes(arena: &Arena, task: Uuid, target: &Client, size: i32) -> Result<bool> {
    let api = &arena.installation.api;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if target.query_opt("select 1 from public.fields where mib = $1", &[&size]).await?.is_some() {
            return Ok(true);
        }
        let told = api.task(task).await?;
        if told.tables_parked > 0 || told.status == "failed" {
            println!("  refused: {}", told.in_words());
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("a field of {size} MiB neither passes nor is refused: {}", api.task(task).await?.in_words())
}
