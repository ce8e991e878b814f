//! A stop of the target in the middle of a commit.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Arena, Cycle, Fault, Phase, RECOVERY};

impl Arena {
    /// Stops the target while a COMMIT runs in it. Whether that commit is there afterwards is left to chance, and
    /// nobody but the target knows.
    pub(super) async fn stop_in_commit(&mut self) -> Result<Cycle> {
        let before = self.in_flight(Phase::Following).await?;
        self.target.slow_commits().await?;
        let open = self.until_in_commit().await?;
        self.pause(0..160).await;
        let struck = Instant::now();
        self.target.stop_at_once()?;
        self.target.restart()?;
        self.target.ordinary_commits().await?;
        let left = self.until_target("what the target kept", RECOVERY, |_| true).await?;
        self.until_target("a wave after the restart", RECOVERY, |now| now.wave > left.wave).await?;
        self.caught_up(RECOVERY).await?;
        let kept = if left.wave > open { "was kept" } else { "was lost" };
        let in_flight = format!("{}; the commit of wave {} {kept}", before.in_words(Phase::Following), open + 1);
        Ok(Cycle { fault: Fault::StopInCommit, in_flight, takeover: None, recovered: struck.elapsed() })
    }

    /// Waits until a COMMIT of a wave runs; gives the newest wave before it.
    async fn until_in_commit(&self) -> Result<i64> {
        let running = if self.target.kind().is_family() {
            format!("information_schema.processlist where user = '{}' and info = 'COMMIT'", self.target.user())
        } else {
            "pg_stat_activity where application_name like 'wavemark %' and state = 'active' and query = 'COMMIT'"
                .to_owned()
        };
        let sql = format!(
            "select (select max(wave) from wavemark.progress where task = '{}') from {running} limit 1",
            self.task
        );
        let mut session = self.target.back_door().open().await?;
        let end = Instant::now() + RECOVERY;
        loop {
            if let Some(wave) = session.rows(&sql).await?.first() {
                return Ok(wave.parse()?);
            }
            ensure!(Instant::now() < end, "no COMMIT was seen to run in {RECOVERY:?}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}
