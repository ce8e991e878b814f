//! What the worker holds at most: loading wide rows, and following transactions of many and of wide rows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::api::Task;

use crate::arena::{Arena, digest};
use crate::crowd::mib;
use crate::figures::{Figures, Judged, Row};
use crate::follow::mark;
use crate::usage;

const FROM: &str = "bench_memory";
const TO: &str = "bench_remembered";
const TABLES: [&str; 3] = ["narrow", "wide", "documents"];
const PATIENCE: Duration = Duration::from_mins(15);
/// In MiB, whatever the transaction or row.
const MOST: f64 = 256.0;
const WIDE_COLUMNS: u32 = 100;

/// One transaction each; `{}` is where its rows' numbers begin.
const TRANSACTIONS: [(&str, &str); 5] = [
    (
        "5,000,000 rows inserted",
        "insert into narrow select n, n % 97, 'word ' || n from generate_series({}, {} + 4999999) n",
    ),
    ("5,000,000 rows updated", "update narrow set number = number + 1 where id >= {}"),
    (
        "100,000 of 100 columns",
        "insert into wide select (r).* from (select wide_row(n) as r from generate_series({}, {} + 99999) n) as w",
    ),
    ("30,000 jsonb of 10 kB", "insert into documents select n, document(n) from generate_series({}, {} + 29999) n"),
    ("30,000 jsonb updated", "update documents set document = document(id + 1) where id >= {}"),
];

pub(crate) async fn measure(arena: &Arena) -> Result<Figures> {
    println!("\nMemory: filling wide tables …");
    let (source, target) = prepare(arena).await?;
    usage::forget_peak(arena.worker()?)?;
    let task = arena.make_task("memory", FROM, TO, "%").await?;
    let mut rows = vec![load(arena, task).await?];
    for (name, sql) in TRANSACTIONS {
        usage::forget_peak(arena.worker()?)?;
        source.batch_execute(&sql.replace("{}", "1000000")).await.with_context(|| format!("running {sql}"))?;
        let began = Instant::now();
        let marker = mark(&source).await?;
        wait_for(&target, marker).await?;
        rows.push(row(arena, name, began)?);
    }
    for table in TABLES {
        let equal = digest(&source, table).await? == digest(&target, table).await?;
        ensure!(equal, "{table} is another in the target");
    }
    println!("\nSource and target are equal, row by row.");
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    let most = rows.iter().map(|row| row.values[1]).fold(0.0, f64::max);
    Ok(Figures {
        name: "memory",
        what: "the worker's memory at most, for one transaction each".to_owned(),
        columns: &["seconds", "peak MiB"],
        rows,
        judged: vec![Judged { what: "the worker's memory, MiB".to_owned(), is: most, at_most: MOST }],
    })
}

/// The tables, with some wide rows for the load.
async fn prepare(arena: &Arena) -> Result<(Client, Client)> {
    arena.fresh_database(&arena.source, FROM).await?;
    arena.fresh_database(&arena.target, TO).await?;
    let columns: Vec<String> = (1..WIDE_COLUMNS)
        .map(|number| format!("c{number} {}", ["int", "text", "numeric", "timestamptz"][number as usize % 4]))
        .collect();
    let cells: Vec<String> = (1..WIDE_COLUMNS)
        .map(|number| {
            ["n", "'cell ' || n", "n * 1.25", "'2026-01-01Z'::timestamptz + n * interval '1 s'"][number as usize % 4]
                .to_owned()
        })
        .collect();
    let source = arena.source.connect(FROM).await?;
    let wide = format!(
        "create table wide (id int primary key, {}); \
         create function wide_row(n int) returns wide language sql as $$ select row(n, {})::wide $$",
        columns.join(", "),
        cells.join(", ")
    );
    source.batch_execute(&wide).await?;
    source
        .batch_execute(
            "create table bench_marker (id bigint primary key);
             create table narrow (id int primary key, number int, word text);
             create table documents (id int primary key, document jsonb);
             create function document(n int) returns jsonb language sql as $$
                 select jsonb_build_object('n', n, 'text', (select string_agg(md5(n || '.' || i), '') \
                 from generate_series(1, 312) as i)) $$;
             insert into wide select (r).* from (select wide_row(n) as r from generate_series(1, 100000) n) as w;
             insert into documents select n, document(n) from generate_series(1, 30000) n",
        )
        .await?;
    Ok((source, arena.target.connect(TO).await?))
}

async fn load(arena: &Arena, task: Uuid) -> Result<Row> {
    let api = &arena.installation.api;
    let began = Instant::now();
    api.act(task, "start").await?;
    let follows = |task: &Task| task.progress.as_ref().is_some_and(|progress| progress.phase == "following");
    let loaded = api.wait_task(task, PATIENCE, "the load", follows).await?;
    ensure!(loaded.tables_parked == 0, "the load failed: {}", loaded.in_words());
    row(arena, "load of wide rows", began)
}

fn row(arena: &Arena, name: &str, began: Instant) -> Result<Row> {
    let peak = mib(usage::peak(arena.worker()?)?);
    Ok(Row { name: name.to_owned(), values: vec![began.elapsed().as_secs_f64(), peak] })
}

async fn wait_for(target: &Client, marker: i64) -> Result<()> {
    let wait = async {
        while target.query_opt("select 1 from public.bench_marker where id = $1", &[&marker]).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the transaction does not come")?
}
