//! Following between two servers of the kind, against the system's own replica with its own settings, all equally durable. A round's
//! changes wait in the source's log while nobody follows; the clock runs from when its reader starts until the last of them
//! is there.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use super::changes::{self, CHANGES, Round, Rows, SCHEMA};
use super::follow::loaded;
use super::session::Session;
use super::{Instance, System, USER};
use crate::Rounds;
use crate::arena::Arena;
use crate::follow::{recorded, stages};
use crate::report::{Contestant, Section, Unit, Wanted};
use crate::usage::{self, Meter, Roots, Usage};

struct Course<'a, P: System> {
    arena: &'a Arena,
    source: Instance<P>,
    /// Ours, and the one that copies by itself, each with a session that looks.
    copies: [(Instance<P>, Session); 2],
    task: Uuid,
}

pub(crate) async fn measure<P: System>(arena: &Arena, rounds: Rounds) -> Result<Section> {
    println!("\nFollow between two {}: filling the source and copying it …", P::TITLE);
    let mut course = Course::<P>::prepare(arena).await?;
    let mut contestants = ["wavemark", "replica"].map(Contestant::new);
    let (mut rows, mut peak, mut told) = (Rows::new(), 0, Vec::new());
    for number in 0..rounds.discarded + rounds.counted {
        let round = rows.next_round()?;
        changes::at_mysql(&course.source, &round)?;
        for turn in 0..2 {
            let at = (number + turn) % 2;
            let usage = if at == 0 {
                let (usage, stage) = course.follow(&round).await?;
                peak = peak.max(usage::peak(arena.worker()?)?);
                told.extend((number >= rounds.discarded).then_some(stage));
                usage
            } else {
                course.replicate(&round).await?
            };
            if number >= rounds.discarded {
                contestants[at].runs.push(usage);
            }
        }
        course.compare()?;
    }
    println!("\nThe source and both copies are equal, row by row.");
    Ok(Section {
        name: "mysql-replica",
        what: format!("follow between two {}, {CHANGES} changes in transactions of four", course.source.title()?),
        unit: Unit::Changes,
        count: CHANGES,
        contestants: contestants.into(),
        wanted: vec![Wanted { against: 1, at_most_time: None, at_least_rate: Some(3.0) }],
        worker_peak_bytes: peak,
        stages: told,
    })
}

impl<'a, P: System> Course<'a, P> {
    async fn prepare(arena: &'a Arena) -> Result<Self> {
        let source = Instance::<P>::start()?;
        changes::fill_mysql(&source, SCHEMA)?;
        let copies = [Instance::<P>::start_as(2)?, Instance::<P>::start_as(3)?];
        let name = format!("replica {}", Uuid::new_v4().simple());
        let endpoints = (
            source.endpoint(arena, &format!("{name} source"), "source").await?,
            copies[0].endpoint(arena, &format!("{name} target"), "target").await?,
        );
        let task = arena.between(&name, endpoints, (SCHEMA, "%"), &json!({})).await?;
        loaded(arena, task).await?;
        changes::fill_mysql(&copies[1], SCHEMA)?;
        copies.iter().try_for_each(|copy| copy.execute(P::DURABLE))?;
        let (file, offset) = source.log_end()?;
        copies[1].execute(&P::copy_from(source.port(), USER, &file, &offset))?;
        let [ours, native] = copies;
        let copies = [(ours.session()?, ours), (native.session()?, native)].map(|(session, copy)| (copy, session));
        Ok(Self { arena, source, copies, task })
    }

    fn roots(&self, at: usize) -> Result<Roots> {
        Ok(Roots { target: self.copies[at].0.pid(), ..self.source.as_source(self.arena)? })
    }

    async fn follow(&mut self, round: &Round) -> Result<(Usage, Value)> {
        usage::forget_peak(self.arena.worker()?)?;
        let recording = recorded(self.arena, true).await?;
        let mut looker = self.source.session()?;
        let before = looker.ask("SELECT max(id) FROM information_schema.processlist")?;
        self.arena.installation.api.act(self.task, "resume").await?;
        let reads = "SELECT count(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
        looker.until(&format!("{reads} AND id > {before}")).await?;
        let meter = Meter::start(self.roots(0)?)?;
        arrived(&mut self.copies[0].1, round).await?;
        let usage = meter.stop()?;
        recording.map_or(Ok(()), crate::profile::Recording::end)?;
        let stage = stages(self.arena, self.task).await?;
        self.arena.stop_task(self.task).await?;
        Ok((usage, stage))
    }

    async fn replicate(&mut self, round: &Round) -> Result<Usage> {
        let meter = Meter::start(self.roots(1)?)?;
        let (copy, session) = &mut self.copies[1];
        copy.execute(P::START_COPYING)?;
        arrived(session, round).await?;
        let usage = meter.stop()?;
        copy.execute(P::STOP_COPYING)?;
        Ok(usage)
    }

    fn compare(&self) -> Result<()> {
        let expected = changes::digest_of_mysql(&self.source, SCHEMA)?;
        for (copy, _) in &self.copies {
            let found = changes::digest_of_mysql(copy, SCHEMA)?;
            ensure!(found == expected, "a copy is another: {found}, not {expected}");
        }
        Ok(())
    }
}

async fn arrived(session: &mut Session, round: &Round) -> Result<()> {
    let there = format!("SELECT count(*) FROM {SCHEMA}.bench_marker WHERE id = {}", round.marker);
    session.until(&there).await.context("the last change does not come")
}
