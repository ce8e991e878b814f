//! A load into PostgreSQL: the table with its key by Wavemark, by Sling, by the client piped into `COPY`, and by pgloader from
//! MariaDB, which is what it can read.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use uuid::Uuid;

use super::orders::{self, SCHEMA, TABLE};
use super::{Instance, System};
use crate::Rounds;
use crate::arena::{Arena, succeed};
use crate::load::{self, Load, psql};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Usage};

const TO: &str = "bench_from_mysql";
/// Where Sling's program is; without it there is no comparison.
const SLING: &str = "WAVEMARK_BENCH_SLING";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Wavemark,
    Pipe,
    Sling,
    Pgloader,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Wavemark => "wavemark",
            Self::Pipe => "client | COPY",
            Self::Sling => "sling",
            Self::Pgloader => "pgloader",
        }
    }
}

/// Who takes part: Sling only where it is.
fn ways<P: System>() -> Vec<Way> {
    let sling = std::env::var_os(SLING).is_some().then_some(Way::Sling);
    let pgloader = P::READ_BY_PGLOADER.then_some(Way::Pgloader);
    [Way::Wavemark, Way::Pipe].into_iter().chain(sling).chain(pgloader).collect()
}

/// The load as a whole, and its rows alone.
pub(crate) async fn measure<P: System>(arena: &Arena, millions: u32, rounds: Rounds) -> Result<[Section; 2]> {
    println!("\nLoad from {}: filling {TABLE} with {millions} million rows …", P::TITLE);
    let source = Instance::<P>::start()?;
    orders::fill(&source, millions)?;
    let expected = orders::digest(&source)?;
    let ways = ways::<P>();
    let mut contestants: Vec<_> = ways.iter().map(|way| Contestant::new(way.name())).collect();
    let mut rows_alone = [Contestant::new(Way::Wavemark.name()), Contestant::new(Way::Pipe.name())];
    let mut peak = 0;
    for round in 0..rounds.discarded + rounds.counted {
        for turn in 0..ways.len() {
            let at = (round + turn) % ways.len();
            arena.fresh_database(&arena.target, TO).await?;
            arena.settle(&[], &[]).await?;
            usage::forget_peak(arena.worker()?)?;
            let load = run(arena, &source, ways[at]).await?;
            let found = orders::digest_of_copy(&arena.target.connect(TO).await?).await?;
            ensure!(found == expected, "{} made another table: {found}, not {expected}", ways[at].name());
            if ways[at] == Way::Wavemark {
                peak = peak.max(usage::peak(arena.worker()?)?);
            }
            if round >= rounds.discarded {
                contestants[at].runs.push(load.whole);
                if let Some(alone) = rows_alone.get_mut(at) {
                    alone.runs.extend(load.rows);
                }
            }
        }
    }
    sections(&source, millions * 1_000_000, peak, contestants, rows_alone.into())
}

fn sections<P: System>(
    source: &Instance<P>,
    rows: u32,
    peak: u64,
    contestants: Vec<Contestant>,
    alone: Vec<Contestant>,
) -> Result<[Section; 2]> {
    let title = source.title()?;
    let section = |name, what: &str, contestants, wanted| Section {
        name,
        what: format!("{title} to PostgreSQL, {rows} rows, {what}"),
        unit: Unit::Rows,
        count: rows,
        contestants,
        wanted,
        worker_peak_bytes: peak,
        stages: Vec::new(),
    };
    let at_most = |name: &str| (name == Way::Sling.name()).then_some(0.5);
    let others = contestants.iter().enumerate().skip(1);
    let whole =
        others.map(|(against, other)| Wanted { against, at_most_time: at_most(other.name), at_least_rate: None });
    let whole = whole.collect();
    let pipe = vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(0.8) }];
    Ok([
        section("mysql-load", "with primary key", contestants, whole),
        section("mysql-load-rows", "from the first row to the last, before the key", alone, pipe),
    ])
}

async fn run<P: System>(arena: &Arena, source: &Instance<P>, way: Way) -> Result<Load> {
    match way {
        Way::Wavemark => wavemark(arena, source).await,
        Way::Pipe => pipe(arena, source),
        Way::Sling => sling(arena, source).map(|whole| Load { whole, rows: None }),
        Way::Pgloader => pgloader(arena, source).map(|whole| Load { whole, rows: None }),
    }
}

async fn wavemark<P: System>(arena: &Arena, source: &Instance<P>) -> Result<Load> {
    let name = format!("load {}", Uuid::new_v4().simple());
    let endpoints = (
        source.endpoint(arena, &format!("{name} source"), "source").await?,
        arena.endpoint(&format!("{name} target"), "target", &arena.target, TO).await?,
    );
    let task = arena.between(&name, endpoints, (SCHEMA, TABLE), &json!({})).await?;
    load::timed(arena, task, arena.target.connect(TO).await?, source.as_source(arena)?).await
}

/// As text, which is the only form that the client has, into a table without a key; the key comes after.
fn pipe<P: System>(arena: &Arena, source: &Instance<P>) -> Result<Load> {
    let make = format!(
        "create schema {SCHEMA}; create table {SCHEMA}.{TABLE} (id bigint not null, customer int not null, \
         status varchar(12) not null, amount numeric(12,2) not null, placed timestamp not null, note varchar(120))"
    );
    let roots = source.as_source(arena)?;
    let meter = Meter::start(roots)?;
    succeed(&mut psql(&arena.target, TO, &make))?;
    let rows = Meter::start(roots)?;
    let mut client = source.client();
    client.args(["--quick", "--batch", "--skip-column-names", "--execute", &format!("SELECT * FROM {SCHEMA}.{TABLE}")]);
    let mut from = client.stdout(Stdio::piped()).spawn().context("starting the client")?;
    let output = from.stdout.take().context("the client has an output")?;
    let copy = format!("copy {SCHEMA}.{TABLE} from stdin (null 'NULL')");
    succeed(psql(&arena.target, TO, &copy).stdin(output))?;
    ensure!(from.wait()?.success(), "the client failed to read the source");
    let rows = rows.stop()?;
    succeed(&mut psql(&arena.target, TO, &format!("alter table {SCHEMA}.{TABLE} add primary key (id)")))?;
    Ok(Load { whole: meter.stop()?, rows: Some(rows) })
}

/// With its own defaults, and the key.
fn sling<P: System>(arena: &Arena, source: &Instance<P>) -> Result<Usage> {
    let home = tempfile::tempdir()?;
    let mut sling = Command::new(std::env::var_os(SLING).context("nobody said where Sling is")?);
    sling.env("HOME", home.path()).env("SLING_HOME_DIR", home.path()).env("SLING_DISABLE_TELEMETRY", "TRUE");
    sling.args(["run", "--src-conn", &source.url(SCHEMA), "--src-stream", &format!("{SCHEMA}.{TABLE}")]);
    sling.args(["--tgt-conn", &format!("{}?sslmode=disable", arena.target.url(TO))]);
    sling.args(["--tgt-object", &format!("{SCHEMA}.{TABLE}"), "--mode", "full-refresh"]);
    sling.args(["--tgt-options", r#"{"table_keys": {"primary": ["id"]}}"#]);
    let meter = Meter::start(source.as_source(arena)?)?;
    succeed(&mut sling)?;
    meter.stop()
}

/// With its own defaults, which are the tables, then the rows, then the keys, of the whole database.
fn pgloader<P: System>(arena: &Arena, source: &Instance<P>) -> Result<Usage> {
    let home = tempfile::tempdir()?;
    let mut pgloader = Command::new("pgloader");
    pgloader.env("HOME", home.path()).arg("--root-dir").arg(home.path());
    pgloader.args(["--no-ssl-cert-verification", &source.url(SCHEMA).replacen(":@", "@", 1), &arena.target.url(TO)]);
    let meter = Meter::start(source.as_source(arena)?)?;
    succeed(&mut pgloader)?;
    meter.stop()
}
