//! What the worker holds at most of one transaction of two million rows, into each direction.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use uuid::Uuid;

use super::follow::loaded;
use super::{Instance, System};
use crate::arena::Arena;
use crate::crowd::mib;
use crate::figures::{Figures, Judged, Row};
use crate::usage;

const SCHEMA: &str = "bench";
const FROM: &str = "bench_large";
const TO: &str = "bench_from_mysql";
/// In MiB, whatever the transaction.
const MOST: f64 = 256.0;
const TABLE: &str = "CREATE TABLE large (id int PRIMARY KEY, word varchar(120) NOT NULL)";
const ROWS: u32 = 2_000_000;

pub(crate) async fn measure<P: System>(arena: &Arena) -> Result<Figures> {
    println!("\nMemory of {}: one transaction of {ROWS} rows in each direction …", P::TITLE);
    let server = Instance::<P>::start()?;
    let rows = vec![from_it(arena, &server).await?, to_it(arena, &server).await?];
    let most = rows.iter().map(|row| row.values[1]).fold(0.0, f64::max);
    Ok(Figures {
        name: "mysql-memory",
        what: format!("{}, the worker's memory at most, one transaction of {ROWS} rows of 90 bytes", server.title()?),
        columns: &["seconds", "peak MiB", "our CPU, µs"],
        rows,
        judged: vec![Judged { what: "the worker's memory, MiB".to_owned(), is: most, at_most: MOST }],
    })
}

async fn from_it<P: System>(arena: &Arena, server: &Instance<P>) -> Result<Row> {
    arena.fresh_database(&arena.target, TO).await?;
    server.execute(&format!("CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4; USE {SCHEMA}; {TABLE}"))?;
    let name = format!("memory {}", Uuid::new_v4().simple());
    let endpoints = (
        server.endpoint(arena, &format!("{name} source"), "source").await?,
        arena.endpoint(&format!("{name} target"), "target", &arena.target, TO).await?,
    );
    let task = arena.between(&name, endpoints, (SCHEMA, "%"), &json!({})).await?;
    loaded(arena, task).await?;
    // A target's own server has the numbers that the other has not.
    let digits = (0..10).map(|n| format!("SELECT {n} AS n")).collect::<Vec<_>>().join(" UNION ALL ");
    let tables: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("({digits}) AS {name}")).into();
    server.execute(&format!(
        "INSERT INTO {SCHEMA}.large SELECT n, repeat(lpad(n, 20, '0'), 4) FROM (SELECT 1 + g.n * 1000000 + f.n * 100000 + e.n * 10000 + \
         d.n * 1000 + c.n * 100 + b.n * 10 + a.n AS n FROM {} WHERE g.n < 2) AS numbers ORDER BY n",
        tables.join(" JOIN ")
    ))?;
    let target = arena.target.connect(TO).await?;
    let count = format!("select count(*) from {SCHEMA}.large");
    run(arena, task, "from it to PostgreSQL", async || Ok(target.query_one(&count, &[]).await?.get::<_, i64>(0))).await
}

async fn to_it<P: System>(arena: &Arena, server: &Instance<P>) -> Result<Row> {
    server.execute(&format!("DROP DATABASE {SCHEMA}"))?;
    arena.fresh_database(&arena.source, FROM).await?;
    arena.source.execute(FROM, &[&format!("create schema {SCHEMA}"), &TABLE.replace("large", "bench.large")]).await?;
    let name = format!("memory {}", Uuid::new_v4().simple());
    let endpoints = (
        arena.endpoint(&format!("{name} source"), "source", &arena.source, FROM).await?,
        server.endpoint(arena, &format!("{name} target"), "target").await?,
    );
    let task = arena.between(&name, endpoints, (SCHEMA, "%"), &json!({})).await?;
    loaded(arena, task).await?;
    let rows =
        "insert into bench.large select n, repeat(lpad(n::text, 20, '0'), 4) from generate_series(1, 2000000) as n";
    arena.source.execute(FROM, &[rows]).await?;
    let count = format!("SELECT count(*) FROM {SCHEMA}.large");
    run(arena, task, "from PostgreSQL to it", async || Ok(server.value(&count)?.parse()?)).await
}

/// Resumes the task and waits until the target has all of the transaction, which must come as a whole.
async fn run(arena: &Arena, task: Uuid, name: &str, count: impl AsyncFn() -> Result<i64>) -> Result<Row> {
    let worker = arena.worker()?;
    usage::forget_peak(worker)?;
    let mut exact = usage::Exact::of(worker)?;
    let began = Instant::now();
    arena.installation.api.act(task, "resume").await?;
    loop {
        exact.look()?;
        match count().await.context("counting the rows")? {
            0 => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            rows => break ensure!(rows == i64::from(ROWS), "a part of a transaction is in the target: {rows} rows"),
        }
        ensure!(began.elapsed() < std::time::Duration::from_mins(5), "the transaction does not come");
    }
    exact.look()?;
    let seconds = began.elapsed().as_secs_f64();
    let peak = mib(usage::peak(worker)?);
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    let cpu = exact.spent().as_secs_f64() * 1e6 / f64::from(ROWS);
    Ok(Row { name: name.to_owned(), values: vec![seconds, peak, cpu] })
}
