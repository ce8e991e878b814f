//! Following PostgreSQL into MySQL or MariaDB, against what the server itself needs for the same changes: as sets that are netted
//! already, loaded beside the table and upserted, and statement by statement.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::changes::{self, CHANGES, FROM, Round, Rows, SCHEMA};
use super::follow::loaded;
use super::session::Session;
use super::{Instance, System};
use crate::Rounds;
use crate::arena::{Arena, succeed};
use crate::follow::{recorded, stages, wait_slot};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Usage};

/// The databases of those who don't follow.
const STAGED: &str = "staged_upsert";
const SINGLES: &str = "single_statements";

struct Course<'a, P: System> {
    arena: &'a Arena,
    source: Client,
    target: Instance<P>,
    looker: Session,
    task: Uuid,
}

pub(crate) async fn measure<P: System>(arena: &Arena, rounds: Rounds) -> Result<Section> {
    println!("\nFollow into {}: filling the source and copying it …", P::TITLE);
    let mut course = Course::<P>::prepare(arena).await?;
    let mut contestants = ["wavemark", "staged upsert", "single statements"].map(Contestant::new);
    let (mut rows, mut peak, mut told) = (Rows::new(), 0, Vec::new());
    for number in 0..rounds.discarded + rounds.counted {
        let round = rows.next_round()?;
        changes::at_postgres(arena, &round)?;
        for turn in 0..contestants.len() {
            let at = (number + turn) % contestants.len();
            arena.settle(&[FROM], &[]).await?;
            let usage = match at {
                0 => {
                    let (usage, stage) = course.follow(&round).await?;
                    peak = peak.max(usage::peak(arena.worker()?)?);
                    told.extend((number >= rounds.discarded).then_some(stage));
                    usage
                }
                1 => course.fed(STAGED, round.staged()?)?,
                _ => course.fed(SINGLES, round.singles()?)?,
            };
            if number >= rounds.discarded {
                contestants[at].runs.push(usage);
            }
        }
        course.compare().await?;
    }
    println!("\nThe source and all copies are equal, row by row.");
    Ok(Section {
        name: "mysql-apply",
        what: format!("follow, PostgreSQL to {}, {CHANGES} changes in transactions of four", course.target.title()?),
        unit: Unit::Changes,
        count: CHANGES,
        contestants: contestants.into(),
        wanted: vec![
            Wanted { against: 1, at_most_time: None, at_least_rate: Some(0.6) },
            Wanted { against: 2, at_most_time: None, at_least_rate: Some(3.0) },
        ],
        worker_peak_bytes: peak,
        stages: told,
    })
}

impl<'a, P: System> Course<'a, P> {
    async fn prepare(arena: &'a Arena) -> Result<Self> {
        let target = Instance::<P>::start()?;
        changes::fill_postgres(arena).await?;
        for database in [STAGED, SINGLES] {
            changes::fill_mysql(&target, database)?;
        }
        let name = format!("apply {}", Uuid::new_v4().simple());
        let endpoints = (
            arena.endpoint(&format!("{name} source"), "source", &arena.source, FROM).await?,
            target.endpoint(arena, &format!("{name} target"), "target").await?,
        );
        let task = arena.between(&name, endpoints, (SCHEMA, "%"), &json!({})).await?;
        loaded(arena, task).await?;
        let source = arena.source.connect(FROM).await?;
        Ok(Self { arena, source, looker: target.session()?, target, task })
    }

    async fn follow(&mut self, round: &Round) -> Result<(Usage, Value)> {
        usage::forget_peak(self.arena.worker()?)?;
        let recording = recorded(self.arena, true).await?;
        wait_slot(&self.source, "wavemark%", false).await?;
        self.arena.installation.api.act(self.task, "resume").await?;
        wait_slot(&self.source, "wavemark%", true).await?;
        let meter = Meter::start(self.target.as_target(self.arena)?)?;
        let there = format!("SELECT count(*) FROM {SCHEMA}.bench_marker WHERE id = {}", round.marker);
        self.looker.until(&there).await.context("the last change does not come")?;
        let usage = meter.stop()?;
        recording.map_or(Ok(()), crate::profile::Recording::end)?;
        let stage = stages(self.arena, self.task).await?;
        self.arena.stop_task(self.task).await?;
        Ok((usage, stage))
    }

    /// Statements that the client reads from a file.
    fn fed(&self, database: &str, statements: std::fs::File) -> Result<Usage> {
        let mut client = self.target.client();
        client.args(["--local-infile=1", database]).stdin(statements);
        let meter = Meter::start(self.target.as_target(self.arena)?)?;
        succeed(&mut client)?;
        meter.stop()
    }

    async fn compare(&self) -> Result<()> {
        let expected = changes::digest_of_postgres(&self.source).await?;
        for database in [SCHEMA, STAGED, SINGLES] {
            let found = changes::digest_of_mysql(&self.target, database)?;
            ensure!(found == expected, "{database} is another: {found}, not {expected}");
        }
        Ok(())
    }
}
