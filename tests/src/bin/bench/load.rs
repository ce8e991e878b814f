//! The load: one table of pgbench into an empty database, three ways.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;
use uuid::Uuid;
use wavemark_tests::cluster::Cluster;

use crate::Rounds;
use crate::arena::{Arena, LIMIT, digest, succeed};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Roots, Usage};

const FROM: &str = "bench_load";
const TO: &str = "bench_loaded";
const TABLE: &str = "pgbench_accounts";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Wavemark,
    Pgcopydb,
    Pipe,
}

const ORDER: [Way; 3] = [Way::Wavemark, Way::Pgcopydb, Way::Pipe];

/// One way's load: as a whole, and up to the last row.
pub(crate) struct Load {
    pub(crate) whole: Usage,
    pub(crate) rows: Option<Usage>,
}

/// Fills the source and lets all of them copy it. Gives the load as a whole, and its rows alone against the pipe.
pub(crate) async fn measure(arena: &Arena, scale: u32, rounds: Rounds) -> Result<[Section; 2]> {
    println!("\nLoad: filling {TABLE} with {} rows …", u64::from(scale) * 100_000);
    arena.fresh_database(&arena.source, FROM).await?;
    succeed(arena.source.program("pgbench").args(["-i", "-q", "-s", &scale.to_string(), FROM]))?;
    let expected = digest(&arena.source.connect(FROM).await?, TABLE).await?;
    let named = |name| Contestant::new(name);
    let mut contestants = [named("wavemark"), named("pgcopydb"), named("COPY | COPY")];
    let mut rows_alone = [named("wavemark"), named("COPY | COPY")];
    let mut peak = 0;
    for round in 0..rounds.discarded + rounds.counted {
        for turn in 0..ORDER.len() {
            let at = (round + turn) % ORDER.len();
            arena.fresh_database(&arena.target, TO).await?;
            arena.settle(&[FROM], &[]).await?;
            usage::forget_peak(arena.worker()?)?;
            let load = run(arena, ORDER[at]).await?;
            let found = digest(&arena.target.connect(TO).await?, TABLE).await?;
            ensure!(found == expected, "{} made another table", contestants[at].name);
            if ORDER[at] == Way::Wavemark {
                peak = peak.max(usage::peak(arena.worker()?)?);
            }
            if round >= rounds.discarded {
                contestants[at].runs.push(load.whole);
                if let Some(alone) = rows_alone.iter_mut().find(|one| one.name == contestants[at].name) {
                    alone.runs.extend(load.rows);
                }
            }
        }
    }
    let rows = u32::try_from(expected.0).context("more rows than a benchmark needs")?;
    let section = |name, what: &str, contestants: Vec<Contestant>, wanted| Section {
        name,
        what: format!("{TABLE}, {rows} rows, {what}"),
        unit: Unit::Rows,
        count: rows,
        contestants,
        wanted,
        worker_peak_bytes: peak,
        stages: Vec::new(),
    };
    let whole = vec![
        Wanted { against: 1, at_most_time: Some(1.0), at_least_rate: None },
        Wanted { against: 2, at_most_time: None, at_least_rate: None },
    ];
    let alone = vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(0.85) }];
    Ok([
        section("load", "with primary key", contestants.into(), whole),
        section("copy", "from the first row to the last, before the key", rows_alone.into(), alone),
    ])
}

async fn run(arena: &Arena, way: Way) -> Result<Load> {
    match way {
        Way::Wavemark => wavemark(arena).await,
        Way::Pgcopydb => pgcopydb(arena).map(|whole| Load { whole, rows: None }),
        Way::Pipe => pipe(arena),
    }
}

async fn wavemark(arena: &Arena) -> Result<Load> {
    let name = format!("load {}", Uuid::new_v4().simple());
    let task = arena.make_task(&name, FROM, TO, TABLE).await?;
    timed(arena, task, arena.target.connect(TO).await?, arena.roots()?).await
}

/// From the start of the task through the API to its first bookmark, which is committed after rows and keys. The rows
/// alone take from the target's first COPY to the beginning of the key. The task is gone afterwards.
pub(crate) async fn timed(arena: &Arena, task: Uuid, target: Client, roots: Roots) -> Result<Load> {
    let meter = Meter::start(roots)?;
    arena.installation.api.act(task, "start").await?;
    let copying = "select exists (select from pg_stat_progress_copy)";
    let indexing = "select exists (select from pg_stat_progress_create_index)";
    let load = async {
        is_so(&target, copying).await?;
        let rows = Meter::start(roots)?;
        is_so(&target, indexing).await?;
        let rows = rows.stop()?;
        first_bookmark(&target).await?;
        Ok::<_, anyhow::Error>(rows)
    };
    let rows = tokio::time::timeout(LIMIT, load).await.context("the load does not end")??;
    let whole = meter.stop()?;
    drop(target);
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    Ok(Load { whole, rows: Some(rows) })
}

/// Waits until a question to the target is answered by yes.
async fn is_so(target: &Client, question: &str) -> Result<()> {
    while !target.query_one(question, &[]).await?.get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn first_bookmark(target: &Client) -> Result<()> {
    loop {
        let there = target.query_one("select to_regclass('wavemark.progress') is not null", &[]).await?;
        if there.get(0) && !target.query("select 1 from wavemark.progress limit 1", &[]).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As Debian has it, with its own defaults: four tables and four indexes at once, and a vacuum at the end.
fn pgcopydb(arena: &Arena) -> Result<Usage> {
    let folder = tempfile::tempdir()?;
    let filters = folder.path().join("filters.ini");
    fs::write(&filters, format!("[include-only-table]\npublic.{TABLE}\n"))?;
    let mut command = Command::new("pgcopydb");
    command.arg("clone").args(["--source", &arena.source.url(FROM), "--target", &arena.target.url(TO)]);
    command.arg("--dir").arg(folder.path().join("work")).arg("--filters").arg(&filters).current_dir("/");
    let meter = Meter::start(arena.roots()?)?;
    succeed(&mut command)?;
    meter.stop()
}

/// `psql … | psql …` in the binary form, then the key.
fn pipe(arena: &Arena) -> Result<Load> {
    const MAKE: &str = "create table pgbench_accounts (aid int not null, bid int, abalance int, filler char(84))";
    let meter = Meter::start(arena.roots()?)?;
    succeed(&mut psql(&arena.target, TO, MAKE))?;
    let rows = Meter::start(arena.roots()?)?;
    let copy_out = format!("copy {TABLE} to stdout (format binary)");
    let mut from = psql(&arena.source, FROM, &copy_out).stdout(Stdio::piped()).spawn().context("starting psql")?;
    let output = from.stdout.take().context("psql has an output")?;
    let copy_in = format!("copy {TABLE} from stdin (format binary)");
    succeed(psql(&arena.target, TO, &copy_in).stdin(output))?;
    ensure!(from.wait()?.success(), "psql failed to read the source");
    let rows = rows.stop()?;
    succeed(&mut psql(&arena.target, TO, &format!("alter table {TABLE} add primary key (aid)")))?;
    Ok(Load { whole: meter.stop()?, rows: Some(rows) })
}

pub(crate) fn psql(cluster: &Cluster, database: &str, sql: &str) -> Command {
    let mut command = cluster.program("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
    command
}
