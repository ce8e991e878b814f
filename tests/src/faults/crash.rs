//! A worker that dies at a named point of its program, and another one that finishes what it began.
//!
//! The worker that is to die is alone when the task comes to it, so that it is the one that gets it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::Rng as _;
use wavemark_connector::crash::POINTS;

use super::flight::State;
use super::{Arena, Cycle, Fault, Phase, RECOVERY, TAKEOVER};

/// How long a point may need to be passed: another worker's lease may have to lapse first.
const PASSED: Duration = Duration::from_mins(1);
/// What is loaded aside: tables of some chunks that are written all the time, and that nobody watches.
const ASIDE: [(&str, &str); 2] = [("shop", "documents"), ("shop", "order_lines")];
/// How a worker is told where to die.
const VARIABLE: &str = "WAVEMARK_CRASH";

/// Every named point.
#[must_use]
pub fn points() -> &'static [&'static str] {
    POINTS
}

/// From which life of a task a point is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    FirstLoad,
    ResumedLoad,
    Waves,
    /// Of tables that are loaded aside while the others are followed.
    Aside,
}

impl Life {
    pub(super) fn phase(self) -> Phase {
        if matches!(self, Self::Waves | Self::Aside) { Phase::Following } else { Phase::Loading }
    }
}

pub(super) fn life(point: &str) -> Life {
    match point.split('.').next() {
        Some("forward") => Life::ResumedLoad,
        Some("wave") => Life::Waves,
        Some("aside") => Life::Aside,
        _ if point == "source.confirmed" => Life::Waves,
        _ => Life::FirstLoad,
    }
}

impl Arena {
    /// Has the worker that holds the task die at a point, and waits until another one has finished its work.
    pub(super) async fn crash(&mut self, point: &'static str) -> Result<Cycle> {
        let life = life(point);
        let phase = life.phase();
        let holder = self.installation.holder(self.task).await?;
        let armed = 1 - holder;
        if phase == Phase::Following {
            self.in_flight(Phase::Following).await?;
        } else {
            self.stop_before_reload().await?;
        }
        self.installation.workers[armed].kill()?;
        self.installation.workers[holder].terminate(RECOVERY)?;
        let count = self.random.random_range(1..=times(point));
        self.installation.workers[armed].set_env(VARIABLE, format!("{point}:{count}"));
        self.installation.workers[armed].start()?;
        match life {
            Life::Waves => {}
            Life::Aside => self.installation.api.ask_of_tables(self.task, "reload", &ASIDE).await?,
            Life::FirstLoad | Life::ResumedLoad => self.installation.api.act(self.task, "reload").await?,
        }
        if life == Life::ResumedLoad {
            self.interrupt_load(armed).await?;
        }
        self.dies(armed, point).await?;
        let died = Instant::now();
        let before = self.until_target("what the dead worker left", RECOVERY, |_| true).await?;
        self.installation.workers[armed].unset_env(VARIABLE);
        self.installation.workers[holder].start()?;
        let takeover = self.finished_by_another(phase, &before, died).await?;
        self.installation.workers[armed].start()?;
        if life == Life::Aside {
            self.until_live().await?;
        }
        *self.fired.entry(point).or_default() += 1;
        let in_flight = format!("passed for the {count}. time");
        Ok(Cycle { fault: Fault::Crash(point), in_flight, takeover, recovered: died.elapsed() })
    }

    async fn finished_by_another(&mut self, phase: Phase, before: &State, died: Instant) -> Result<Option<Duration>> {
        if phase == Phase::Loading {
            self.live_again().await?;
            let news = |now: &State| now.wave > 1;
            return self.until_target("a wave after the load", RECOVERY, news).await.map(|_| None);
        }
        let goes_on = |now: &State| now.wave_epoch > before.epoch;
        self.until_target("another worker to go on", TAKEOVER * 4, goes_on).await?;
        Ok(Some(self.noted_takeover(died.elapsed())))
    }

    /// Kills the worker in the middle of a table's load and starts it again, so that it has to bring forward what the
    /// writers touched meanwhile.
    async fn interrupt_load(&mut self, worker: usize) -> Result<()> {
        // Tables of some chunks that the writers change all the time.
        let sql = format!(
            "select 1 from wavemark.chunks where task = '{}' \
             and source_table in ('documents', 'order_lines', 'customers', 'orders') \
             group by source_table having count(done_at) between 1 and count(*) - 1",
            self.task
        );
        let mut target = self.target.session().await?;
        let end = Instant::now() + PASSED;
        while target.rows(&sql).await?.is_empty() {
            ensure!(Instant::now() < end, "no table was loaded in part in {PASSED:?}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        self.installation.workers[worker].kill()?;
        let half = !target.rows(&sql).await?.is_empty();
        ensure!(half, "the last chunks were loaded before the worker was dead: the shop is too small for this fault");
        self.installation.workers[worker].start()
    }

    /// Waits until the worker is dead and makes sure of what it died.
    async fn dies(&mut self, worker: usize, point: &str) -> Result<()> {
        let worker = &mut self.installation.workers[worker];
        let end = Instant::now() + PASSED;
        while worker.is_running() {
            ensure!(Instant::now() < end, "the point {point} was not passed in {PASSED:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let said = worker.log_end(5).contains(&format!("crash point {point} reached: aborting"));
        ensure!(said, "the worker died of something else than {point}");
        // Its number can be another's once it was waited for.
        worker.wait(Duration::from_secs(5)).map(drop).context("waiting for a worker that is dead")
    }
}

/// How often a point is surely passed.
fn times(point: &str) -> u32 {
    match point {
        "table.begun" | "chunk.copied" | "chunk.committed" | "table.finished" => 10,
        "wave.read" | "wave.applied" | "wave.commit-sent" | "wave.committed" | "source.confirmed" => 20,
        _ => 1,
    }
}
