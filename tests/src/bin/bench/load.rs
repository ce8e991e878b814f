//! The load: one table of pgbench into an empty database, three ways.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;
use wavemark_tests::cluster::Cluster;

use crate::Rounds;
use crate::arena::{Arena, LIMIT, digest, succeed};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Usage};

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

/// Fills the source and lets all of them copy it.
pub(crate) async fn measure(arena: &Arena, scale: u32, rounds: Rounds) -> Result<Section> {
    println!("\nLoad: filling {TABLE} with {} rows …", u64::from(scale) * 100_000);
    arena.fresh_database(&arena.source, FROM).await?;
    succeed(arena.source.program("pgbench").args(["-i", "-q", "-s", &scale.to_string(), FROM]))?;
    let expected = digest(&arena.source.connect(FROM).await?, TABLE).await?;
    let named = |name| Contestant::new(name);
    let mut contestants = [named("wavemark"), named("pgcopydb"), named("COPY | COPY")];
    let mut peak = 0;
    for round in 0..rounds.discarded + rounds.counted {
        for turn in 0..ORDER.len() {
            let at = (round + turn) % ORDER.len();
            arena.fresh_database(&arena.target, TO).await?;
            arena.settle(&[FROM], &[]).await?;
            usage::forget_peak(arena.worker()?)?;
            let usage = run(arena, ORDER[at]).await?;
            let found = digest(&arena.target.connect(TO).await?, TABLE).await?;
            ensure!(found == expected, "{} made another table", contestants[at].name);
            if ORDER[at] == Way::Wavemark {
                peak = peak.max(usage::peak(arena.worker()?)?);
            }
            if round >= rounds.discarded {
                contestants[at].runs.push(usage);
            }
        }
    }
    let rows = u32::try_from(expected.0).context("more rows than a benchmark needs")?;
    Ok(Section {
        name: "load",
        what: format!("{TABLE}, {rows} rows, with primary key"),
        unit: Unit::Rows,
        count: rows,
        contestants: contestants.into(),
        wanted: vec![
            Wanted { against: 1, at_most_time: Some(1.3), at_least_rate: None },
            Wanted { against: 2, at_most_time: None, at_least_rate: None },
        ],
        worker_peak_bytes: peak,
        stages: Vec::new(),
    })
}

async fn run(arena: &Arena, way: Way) -> Result<Usage> {
    match way {
        Way::Wavemark => wavemark(arena).await,
        Way::Pgcopydb => pgcopydb(arena),
        Way::Pipe => pipe(arena),
    }
}

/// From the start of the task through the API to its first bookmark, which is committed after rows and keys.
async fn wavemark(arena: &Arena) -> Result<Usage> {
    let name = format!("load {}", uuid::Uuid::new_v4().simple());
    let task = arena.make_task(&name, FROM, TO, TABLE).await?;
    let target = arena.target.connect(TO).await?;
    let meter = Meter::start(arena.roots()?)?;
    arena.installation.api.act(task, "start").await?;
    tokio::time::timeout(LIMIT, first_bookmark(&target)).await.context("the load does not end")??;
    let usage = meter.stop()?;
    drop(target);
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    Ok(usage)
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
fn pipe(arena: &Arena) -> Result<Usage> {
    const MAKE: &str = "create table pgbench_accounts (aid int not null, bid int, abalance int, filler char(84))";
    let meter = Meter::start(arena.roots()?)?;
    succeed(&mut psql(&arena.target, TO, MAKE))?;
    let copy_out = format!("copy {TABLE} to stdout (format binary)");
    let mut from = psql(&arena.source, FROM, &copy_out).stdout(Stdio::piped()).spawn().context("starting psql")?;
    let rows = from.stdout.take().context("psql has an output")?;
    let copy_in = format!("copy {TABLE} from stdin (format binary)");
    succeed(psql(&arena.target, TO, &copy_in).stdin(rows))?;
    ensure!(from.wait()?.success(), "psql failed to read the source");
    succeed(&mut psql(&arena.target, TO, &format!("alter table {TABLE} add primary key (aid)")))?;
    meter.stop()
}

fn psql(cluster: &Cluster, database: &str, sql: &str) -> Command {
    let mut command = cluster.program("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
    command
}
