//! Another server in the place of a source of MySQL's family, which has a log of its own.

use std::time::Instant;

use anyhow::Result;
use rand::Rng as _;

use super::{Arena, Cycle, Fault, Phase, RECOVERY};
use crate::proxy::Trouble;

impl Arena {
    /// The server that took over has all that was committed, and the task may lack any part of it: half of the times its own way
    /// to the source ended a while before.
    pub(super) async fn failover(&mut self) -> Result<Cycle> {
        let before = self.in_flight(Phase::Following).await?;
        let is_dark = self.random.random_bool(0.5);
        if is_dark {
            self.links.source.strike(Trouble::Hole);
            self.pause(500..3_000).await;
        }
        let struck = Instant::now();
        self.source.fail_over().await?;
        self.links.source.lead_to(self.source.port());
        self.links.source.heal();
        self.writers.lead_to(&self.source);
        let begun = self.source.end().await?;
        self.until_target("a wave of the other server's log", RECOVERY, |now| now.bookmark.reaches(begun)).await?;
        self.caught_up(RECOVERY).await?;
        let recovered = struck.elapsed();
        self.source.copy_again()?;
        let lost = if is_dark { ", the source out of reach a while before" } else { "" };
        let in_flight = format!("{}{lost}", before.in_words(Phase::Following));
        Ok(Cycle { fault: Fault::Failover, in_flight, takeover: None, recovered })
    }
}
