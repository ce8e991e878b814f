//! A load between two servers of the kind, against the system's own dump piped into its client, and against one stream of
//! rows from client to client into `LOAD DATA`.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use uuid::Uuid;

use super::orders::{self, COLUMNS, SCHEMA, TABLE};
use super::{Instance, System};
use crate::Rounds;
use crate::arena::{Arena, succeed};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Roots, Usage};

pub(crate) async fn measure<P: System>(arena: &Arena, millions: u32, rounds: Rounds) -> Result<Section> {
    println!("\nLoad between two {}: filling {TABLE} with {millions} million rows …", P::TITLE);
    let (source, target) = (Instance::<P>::start()?, Instance::<P>::start()?);
    orders::fill(&source, millions)?;
    let expected = orders::digest(&source)?;
    let mut contestants = ["wavemark", "dump | client", "LOAD DATA"].map(Contestant::new);
    let mut peak = 0;
    for round in 0..rounds.discarded + rounds.counted {
        for turn in 0..contestants.len() {
            let at = (round + turn) % contestants.len();
            // The log of the round before would fill the disk.
            target.execute(&format!("DROP DATABASE IF EXISTS {SCHEMA}; PURGE BINARY LOGS BEFORE now()"))?;
            let usage = match at {
                0 => wavemark(arena, &source, &target).await?,
                1 => dump(arena, &source, &target)?,
                _ => stream(arena, &source, &target)?,
            };
            let found = orders::digest(&target)?;
            ensure!(found == expected, "{} made another table: {found}, not {expected}", contestants[at].name);
            if at == 0 {
                peak = peak.max(usage::peak(arena.worker()?)?);
            }
            if round >= rounds.discarded {
                contestants[at].runs.push(usage);
            }
        }
    }
    let rows = millions * 1_000_000;
    Ok(Section {
        name: "mysql-copy",
        what: format!("between two {}, {rows} rows with primary key", source.title()?),
        unit: Unit::Rows,
        count: rows,
        contestants: contestants.into(),
        wanted: vec![
            Wanted { against: 1, at_most_time: Some(0.6), at_least_rate: None },
            Wanted { against: 2, at_most_time: None, at_least_rate: None },
        ],
        worker_peak_bytes: peak,
        stages: Vec::new(),
    })
}

fn roots<P: System>(arena: &Arena, source: &Instance<P>, target: &Instance<P>) -> Result<Roots> {
    Ok(Roots { target: target.pid(), ..source.as_source(arena)? })
}

async fn wavemark<P: System>(arena: &Arena, source: &Instance<P>, target: &Instance<P>) -> Result<Usage> {
    let name = format!("copy {}", Uuid::new_v4().simple());
    let endpoints = (
        source.endpoint(arena, &format!("{name} source"), "source").await?,
        target.endpoint(arena, &format!("{name} target"), "target").await?,
    );
    let task = arena.between(&name, endpoints, (SCHEMA, TABLE), &json!({})).await?;
    let mut session = target.session()?;
    usage::forget_peak(arena.worker()?)?;
    let meter = Meter::start(roots(arena, source, target)?)?;
    arena.installation.api.act(task, "start").await?;
    session.first_bookmark().await?;
    let usage = meter.stop()?;
    arena.stop_task(task).await?;
    arena.delete_task(task).await?;
    Ok(usage)
}

/// As anybody makes it, as of one moment. Its rows are statements of many rows each, with checks of keys switched off.
fn dump<P: System>(arena: &Arena, source: &Instance<P>, target: &Instance<P>) -> Result<Usage> {
    let meter = Meter::start(roots(arena, source, target)?)?;
    let mut dump = source.tool("dump");
    dump.args(["--single-transaction", "--quick", "--databases", SCHEMA]);
    let mut dump = dump.stdout(Stdio::piped()).spawn().context("starting the dump")?;
    let output = dump.stdout.take().context("a dump has an output")?;
    succeed(target.client().stdin(output))?;
    ensure!(dump.wait()?.success(), "the dump failed");
    meter.stop()
}

/// What a careful person does by hand. No text has anything in it that would have to be escaped.
fn stream<P: System>(arena: &Arena, source: &Instance<P>, target: &Instance<P>) -> Result<Usage> {
    let meter = Meter::start(roots(arena, source, target)?)?;
    target
        .execute(&format!("CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4; CREATE TABLE {SCHEMA}.{TABLE} {COLUMNS}"))?;
    let rows = format!("SELECT id, customer, status, amount, placed, IFNULL(note, '\\\\N') FROM {SCHEMA}.{TABLE}");
    let mut from = source.client();
    from.args(["--quick", "--batch", "--raw", "--skip-column-names", "--execute", &rows]);
    let mut from = from.stdout(Stdio::piped()).spawn().context("starting the client that reads")?;
    let output = from.stdout.take().context("a client has an output")?;
    let load = format!("LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE {SCHEMA}.{TABLE}");
    succeed(target.client().args(["--local-infile=1", "--execute", &load]).stdin(output))?;
    ensure!(from.wait()?.success(), "the client failed to read the source");
    meter.stop()
}
