//! Trouble in the network, on one of the three links that an installation has.
//!
//! Each cycle makes sure that the trouble was felt: nothing comes through a link that is dead, and something does
//! through one that is only slow.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::flight::State;
use super::{Arena, Cycle, Fault, Phase, RECOVERY};
use crate::proxy::{Proxy, Trouble, Way};

/// Longer than any side waits for a peer that is gone (30 s), so that connections end in the hole.
const LONG: Duration = Duration::from_secs(40);
/// A peer that takes everything and is not heard ends no connection at all: it goes on with the peer's next attempt to
/// send again, and these get rarer the longer it lasts.
const SILENT: Duration = Duration::from_secs(20);
/// What was sent before the link died is applied within this time.
const SETTLED: Duration = Duration::from_secs(3);

/// Which link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between workers and source.
    Source,
    /// Between workers and target.
    Target,
    /// Between server and metadata.
    Metadata,
}

/// A trouble on a link, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where.
    pub place: Place,
    /// What.
    pub trouble: Trouble,
    /// For how long; a swallowed reply needs no time.
    pub hold: Duration,
}

impl Network {
    /// Every trouble on every link once; where bytes are counted, how many is drawn.
    pub fn every(random: &mut StdRng) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |place, trouble, hold| all.push(Self { place, trouble, hold });
        for place in [Place::Source, Place::Target] {
            for trouble in [Trouble::Cut, Trouble::Reset] {
                add(place, trouble, Duration::from_millis(random.random_range(4_000..9_000)));
            }
            add(place, Trouble::Hole, LONG);
            add(place, Trouble::HalfOpen(Way::Up), LONG);
            add(place, Trouble::HalfOpen(Way::Down), SILENT);
            for bytes in [random.random_range(100..5_000), random.random_range(5_000..200_000)] {
                add(place, Trouble::CutAfter(bytes), Duration::from_secs(8));
            }
            add(place, Trouble::Delay(Duration::from_millis(200)), Duration::from_secs(10));
            add(place, Trouble::Rate(64_000), Duration::from_secs(10));
        }
        for _ in 0..3 {
            add(Place::Target, Trouble::SwallowCommit, Duration::ZERO);
        }
        add(Place::Metadata, Trouble::Delay(Duration::from_millis(200)), Duration::from_secs(10));
        add(Place::Metadata, Trouble::Hole, LONG);
        all
    }

    /// Whether no wave can be made while it lasts. A source that isn't heard by still sends what it has.
    fn stops_waves(self) -> bool {
        let unheard = self.place == Place::Source && self.trouble == Trouble::HalfOpen(Way::Up);
        let dead = matches!(self.trouble, Trouble::Cut | Trouble::Reset | Trouble::Hole | Trouble::HalfOpen(_));
        self.place != Place::Metadata && dead && !unheard
    }

    /// Whether waves must go on while it lasts. On a slow link to the target a single wave may take longer, for it
    /// grows with what waits for it.
    fn lets_waves_pass(self) -> bool {
        self.place == Place::Metadata || self.place == Place::Source && matches!(self.trouble, Trouble::Delay(_))
    }

    fn is_slow(self) -> bool {
        matches!(self.trouble, Trouble::Delay(_) | Trouble::Rate(_))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Source => "source",
            Place::Target => "target",
            Place::Metadata => "metadata",
        };
        match self.trouble {
            Trouble::Cut => write!(f, "cut {place}"),
            Trouble::Reset => write!(f, "reset {place}"),
            Trouble::Hole => write!(f, "black hole {place}"),
            Trouble::HalfOpen(Way::Up) => write!(f, "half-open up {place}"),
            Trouble::HalfOpen(Way::Down) => write!(f, "half-open down {place}"),
            Trouble::Delay(delay) => write!(f, "{} ms more {place}", delay.as_millis()),
            Trouble::Rate(rate) => write!(f, "{} kB/s {place}", rate / 1_000),
            Trouble::CutAfter(bytes) => write!(f, "cut after {bytes} {place}"),
            Trouble::SwallowCommit => write!(f, "COMMIT reply lost {place}"),
            Trouble::FlipBit => write!(f, "bit flipped {place}"),
        }
    }
}

impl Arena {
    /// Makes trouble, waits until it is felt and over, and then until the target is up to date again.
    pub(super) async fn network(&mut self, network: Network) -> Result<Cycle> {
        let before = self.in_flight(Phase::Following).await?;
        let (made, swallowed) = (self.link(network.place).made(), self.link(network.place).swallowed());
        self.link(network.place).strike(network.trouble);
        let felt = self.felt(network, &before, made, swallowed).await;
        self.link(network.place).heal();
        let healed = Instant::now();
        let felt = felt?;
        if network.place == Place::Metadata {
            self.installation.api.wait_ready(RECOVERY).await?;
        }
        self.caught_up(RECOVERY).await?;
        if network.trouble == Trouble::Hole && network.hold >= LONG {
            self.no_session_is_left_over().await?;
        }
        let runs = |task: &crate::api::Task| task.status == "running";
        self.installation.api.wait_task(self.task, RECOVERY, "the task to run", runs).await?;
        let in_flight = format!("{}; {felt}", before.in_words(Phase::Following));
        Ok(Cycle { fault: Fault::Network(network), in_flight, takeover: None, recovered: healed.elapsed() })
    }

    fn link(&self, place: Place) -> &Proxy {
        match place {
            Place::Source => &self.links.source,
            Place::Target => &self.links.target,
            Place::Metadata => self.installation.metadata_link.as_ref().expect("an arena's metadata has a link"),
        }
    }

    /// Waits for the trouble's time and says how it showed.
    async fn felt(&self, network: Network, before: &State, made: u64, swallowed: u64) -> Result<String> {
        if network.trouble == Trouble::SwallowCommit {
            return self.until_swallowed(swallowed).await;
        }
        if network.stops_waves() {
            return self.dead(network.hold).await;
        }
        tokio::time::sleep(network.hold).await;
        if network.lets_waves_pass() {
            return self.waves_pass(before).await;
        }
        if network.is_slow() {
            let after = self.until_target("the waves so far", RECOVERY, |_| true).await?;
            return Ok(format!("{} waves meanwhile", after.wave - before.wave));
        }
        let again = self.link(network.place).made() - made;
        if matches!(network.trouble, Trouble::CutAfter(_)) {
            ensure!(again > 0, "no connection was made anew where each is cut after some bytes");
        }
        Ok(format!("{again} new connections"))
    }

    /// Two more waves come while the trouble lasts, for one may have been on its way already.
    async fn waves_pass(&self, before: &State) -> Result<String> {
        let now = self.until_target("the waves so far", RECOVERY, |_| true).await?;
        let news = |state: &State| state.wave > now.wave + 1;
        let after = self.until_target("waves in spite of the trouble", RECOVERY, news).await?;
        Ok(format!("{} waves meanwhile", after.wave - before.wave))
    }

    /// PostgreSQL ends the sessions whose client vanished in the hole: a part of a task has one session each. At the others
    /// nothing tells what part a session has.
    async fn no_session_is_left_over(&self) -> Result<()> {
        let sql = "select coalesce(string_agg(application_name, ', '), '') from (select application_name
            from pg_stat_activity where application_name like 'wavemark %' group by 1 having count(*) > 1) twice";
        let end = Instant::now() + RECOVERY;
        for (place, system) in [("source", &self.source), ("target", &self.target)] {
            if system.kind().is_family() {
                continue;
            }
            let mut session = system.back_door().open().await?;
            loop {
                let twice = session.row(sql).await?.remove(0);
                if twice.is_empty() {
                    break;
                }
                ensure!(Instant::now() < end, "at the {place} sessions are left over: {twice}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    async fn until_swallowed(&self, swallowed: u64) -> Result<String> {
        let end = Instant::now() + RECOVERY;
        while self.link(Place::Target).swallowed() == swallowed {
            ensure!(Instant::now() < end, "no reply to a COMMIT came by in {RECOVERY:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok("a reply to COMMIT was swallowed".to_owned())
    }

    /// No wave may be made by way of a dead link.
    async fn dead(&self, hold: Duration) -> Result<String> {
        tokio::time::sleep(SETTLED.min(hold / 2)).await;
        let before = self.until_target("the waves so far", RECOVERY, |_| true).await?;
        tokio::time::sleep(hold.saturating_sub(SETTLED.min(hold / 2))).await;
        let after = self.until_target("the waves so far", RECOVERY, |_| true).await.context("after the trouble")?;
        ensure!(before.wave == after.wave, "waves {} to {} came through a dead link", before.wave, after.wave);
        Ok(format!("nothing came through for {hold:.1?}"))
    }
}
