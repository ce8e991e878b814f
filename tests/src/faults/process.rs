//! Processes that die or freeze, and what must follow from each kind of it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::Rng as _;

use super::flight::State;
use super::{Arena, Cycle, Fault, Phase, RECOVERY, Strike, TAKEOVER};
use crate::signal::Signal;

/// A strike that was made.
pub(super) struct Struck {
    pub(super) at: Instant,
    pub(super) before: State,
    pub(super) in_flight: String,
    /// The worker that held the task.
    place: usize,
}

impl Arena {
    /// Strikes once and waits until the task goes on.
    pub(super) async fn process(&mut self, strike: Strike, phase: Phase) -> Result<Cycle> {
        if phase == Phase::Loading {
            self.reload().await?;
        }
        let struck = self.strike(strike, phase).await?;
        let takeover = self.heal(strike, phase, &struck).await?;
        if phase == Phase::Loading {
            self.live_again().await?;
        }
        let news = |now: &State| now.wave > struck.before.wave || phase == Phase::Loading && now.wave > 1;
        self.until_target("a wave after everything was back", RECOVERY, news).await?;
        let fault = Fault::Process(strike, phase);
        Ok(Cycle { fault, in_flight: struck.in_flight, takeover, recovered: struck.at.elapsed() })
    }

    /// Strikes when something is in flight.
    pub(super) async fn strike(&mut self, strike: Strike, phase: Phase) -> Result<Struck> {
        // A task that was told to reload has a holder only once it works.
        self.in_flight(phase).await?;
        let place = self.installation.holder(self.task).await?;
        let before = match strike {
            // Half of the kills hit a worker that was frozen with a transaction open; the others may hit a commit.
            Strike::KillWorker if self.random.random_bool(0.5) => self.in_flight(phase).await?,
            Strike::KillWorker | Strike::FreezeWorker => self.freeze_in_flight(place, phase).await?,
            Strike::KillServer | Strike::KillSource | Strike::KillTarget => self.in_flight(phase).await?,
        };
        let at = Instant::now();
        match strike {
            Strike::KillWorker => self.installation.workers[place].kill()?,
            Strike::FreezeWorker => {}
            Strike::KillServer => self.installation.server.kill()?,
            Strike::KillSource => self.source.kill()?,
            Strike::KillTarget => self.target.kill()?,
        }
        Ok(Struck { at, before, in_flight: before.in_words(phase), place })
    }

    /// Freezes the holder at a moment when its transaction stays open. A small wave is sent as a whole, and ends without it: the
    /// longer it stands still, the larger is the wave of all that was written meanwhile.
    async fn freeze_in_flight(&self, place: usize, phase: Phase) -> Result<State> {
        let worker = &self.installation.workers[place];
        for tried in 0..300 {
            self.in_flight(phase).await?;
            worker.signal(Signal::Stop)?;
            if let Some(state) = self.still_in_flight(phase).await? {
                return Ok(state);
            }
            tokio::time::sleep(Duration::from_millis(20 * (tried % 150))).await;
            worker.signal(Signal::Continue)?;
        }
        bail!("no transaction stayed open when the worker was frozen")
    }

    /// Brings back what was struck; for a worker, gives how long it took until another one went on.
    pub(super) async fn heal(&mut self, strike: Strike, phase: Phase, struck: &Struck) -> Result<Option<Duration>> {
        match strike {
            Strike::KillWorker => {
                let takeover = self.taken_over(phase, struck).await?;
                self.installation.workers[struck.place].start()?;
                Ok(Some(takeover))
            }
            Strike::FreezeWorker => {
                let takeover = self.taken_over(phase, struck).await?;
                self.wake(struck).await?;
                Ok(Some(takeover))
            }
            Strike::KillServer => self.server_back(struck).await.map(|()| None),
            Strike::KillSource | Strike::KillTarget => {
                self.pause(0..3_000).await;
                let system = if strike == Strike::KillSource { &mut self.source } else { &mut self.target };
                system.restart()?;
                Ok(None)
            }
        }
    }

    /// Waits until another worker has opened the target and, while following, committed a wave.
    async fn taken_over(&mut self, phase: Phase, struck: &Struck) -> Result<Duration> {
        let goes_on = |now: &State| match phase {
            Phase::Loading => now.epoch > struck.before.epoch,
            Phase::Following => now.wave_epoch > struck.before.epoch,
        };
        self.until_target("another worker to go on", TAKEOVER * 4, goes_on).await?;
        Ok(self.noted_takeover(struck.at.elapsed()))
    }

    /// A worker that goes on too late is a violation, and no reason to end what else can be seen.
    pub(super) fn noted_takeover(&mut self, took: Duration) -> Duration {
        if took > TAKEOVER {
            self.violations.push(format!("another worker went on only after {took:.1?}"));
        }
        took
    }

    /// Lets the frozen worker go on and gives it time to do what it should not.
    async fn wake(&mut self, struck: &Struck) -> Result<()> {
        self.pause(0..1_500).await;
        self.installation.workers[struck.place].signal(Signal::Continue)?;
        self.pause(1_500..3_000).await;
        let holder = self.installation.holder(self.task).await?;
        let task = self.installation.api.task(self.task).await?;
        ensure!(
            task.epoch > struck.before.epoch,
            "worker-{} has the task under epoch {} after a frozen one under {}",
            holder + 1,
            task.epoch,
            struck.before.epoch
        );
        Ok(())
    }

    /// The task must make progress without the server; then the server comes back, sometimes after the lease's time.
    async fn server_back(&mut self, struck: &Struck) -> Result<()> {
        let before = struck.before;
        let news = |now: &State| now.wave > before.wave || now.chunks_done > before.chunks_done;
        self.until_target("progress without the server", RECOVERY, news).await?;
        let long = self.random.random_bool(0.3);
        self.pause(if long { 10_000..13_000 } else { 500..2_500 }).await;
        self.installation.server.start()?;
        self.installation.api.wait_ready(Duration::from_secs(30)).await
    }

    pub(super) async fn pause(&mut self, millis: std::ops::Range<u64>) {
        let millis = self.random.random_range(millis);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}
