//! A source of MySQL's family that has removed its log beyond the bookmark while the task stood.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{Arena, Cycle, Fault, RECOVERY};

impl Arena {
    /// The task must tell that its position is lost and change nothing; a reload makes it equal.
    pub(super) async fn purged_log(&mut self) -> Result<Cycle> {
        self.stop_before_reload().await?;
        let stood = self.until_target("what the target has", RECOVERY, |_| true).await?;
        let begun = self.writers.counts().transactions;
        let end = Instant::now() + RECOVERY;
        while self.writers.counts().transactions == begun {
            ensure!(Instant::now() < end, "nobody wrote while the task stood");
            self.pause(20..50).await;
        }
        // What is removed must be known to whoever judges.
        self.source.purge(&self.order).await?;
        self.installation.api.act(self.task, "resume").await?;
        let fails = |task: &crate::api::Task| task.status == "failed";
        let task = self.installation.api.wait_task(self.task, RECOVERY, "the position to be lost", fails).await?;
        let code = task.problem.as_ref().map(|problem| problem.code.as_str());
        ensure!(code == Some("log-purged"), "the task failed for another reason: {}", task.in_words());
        let now = self.until_target("what the target has", RECOVERY, |_| true).await?;
        ensure!(now.wave == stood.wave, "wave {} was made after the position was lost", now.wave);
        let struck = Instant::now();
        self.installation.api.act(self.task, "reload").await?;
        self.live_again().await?;
        let in_flight = format!("bookmark after wave {}, and no log from there on", stood.wave);
        Ok(Cycle { fault: Fault::PurgedLog, in_flight, takeover: None, recovered: struck.elapsed() })
    }
}
