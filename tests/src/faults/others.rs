//! What others do at the target: locks in another order, and a stop in the middle of a commit.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::Rng as _;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Arena, Cycle, Fault, Phase, RECOVERY};
use crate::cluster::Mode;
use crate::pair::TARGET;

/// Tables whose rows the writers update.
const UPDATED: [&str; 8] =
    ["accounts", "customers", "documents", "orders", "order_lines", "products", "seats", "stock"];

/// How one try to meet a wave the wrong way round ended.
#[derive(PartialEq, Eq)]
enum Met {
    /// The wave was the victim.
    WaveGaveWay,
    /// We were.
    WeGaveWay,
    /// The wave held nothing that we wanted, or did not come by.
    Missed,
}

impl Arena {
    /// Locks rows in every order until waves were the victim of a deadlock, and so were we.
    pub(super) async fn deadlock(&mut self) -> Result<Cycle> {
        let before = self.in_flight(Phase::Following).await?;
        let begun = Instant::now();
        let (mut waves, mut ours) = (0, 0);
        for number in 0.. {
            // First rows that a wave comes to late, then rows that it has already.
            let table = UPDATED[UPDATED.len() - 1 - number / 2 % UPDATED.len()];
            match self.meet_wave(table, number % 2 == 0).await? {
                Met::WaveGaveWay => waves += 1,
                Met::WeGaveWay => ours += 1,
                Met::Missed => {}
            }
            if waves > 0 && ours > 0 {
                break;
            }
            ensure!(begun.elapsed() < 2 * RECOVERY, "{waves} waves and {ours} of our own gave way in {number} tries");
            // Waves go on between two tries.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let over = Instant::now();
        self.caught_up(RECOVERY).await?;
        let in_flight = format!("{}; the victim was {waves} times a wave", before.in_words(Phase::Following));
        Ok(Cycle { fault: Fault::Deadlock, in_flight, takeover: None, recovered: over.elapsed() })
    }

    /// Locks a table's rows, and when a wave waits for one of them, the rows of all others.
    async fn meet_wave(&self, table: &str, wave_is_victim: bool) -> Result<Met> {
        let client = self.pair.target.connect(TARGET).await?;
        // Who has waited for so long looks for a deadlock; a wave does after a second, which is the default.
        let patience = if wave_is_victim { "30s" } else { "10ms" };
        client.batch_execute(&format!("set deadlock_timeout = '{patience}'")).await?;
        // While a wave waits here, the next one grows to changes of many tables.
        client.batch_execute("begin; select from shop.accounts for update").await?;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        client.batch_execute(&format!("rollback; begin; select from shop.{table} for update")).await?;
        if !wave_waits(&client).await? {
            client.batch_execute("rollback").await?;
            return Ok(Met::Missed);
        }
        if !wave_is_victim {
            // By now the wave has looked for a deadlock in vain.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        let deadlocks = self.deadlocks().await?;
        let others: Vec<_> = UPDATED.iter().filter(|&&other| other != table).collect();
        let all = others.iter().map(|other| format!("select from shop.{other} for update")).collect::<Vec<_>>();
        let locked = client.batch_execute(&all.join("; ")).await;
        client.batch_execute("rollback").await?;
        match locked {
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => return Ok(Met::WeGaveWay),
            other => other.context("locking rows of the target")?,
        }
        // A server process tells its counts a second later at most.
        let end = Instant::now() + Duration::from_secs(3);
        while self.deadlocks().await? == deadlocks {
            if Instant::now() > end {
                return Ok(Met::Missed);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Met::WaveGaveWay)
    }

    async fn deadlocks(&self) -> Result<i64> {
        let client = self.pair.target_client().await?;
        let sql = "select deadlocks from pg_stat_database where datname = current_database()";
        Ok(client.query_one(sql, &[]).await?.get(0))
    }

    /// Stops the target while a COMMIT runs in it. Whether that commit is there afterwards is left to chance, and
    /// nobody but the target knows.
    pub(super) async fn stop_in_commit(&mut self) -> Result<Cycle> {
        let before = self.in_flight(Phase::Following).await?;
        let target = &self.pair.target;
        // A commit waits this long between its record and the flush of it.
        let slow = ["alter system set commit_delay = 100000", "alter system set commit_siblings = 0"];
        target.execute("postgres", &slow).await?;
        target.execute("postgres", &["select pg_reload_conf()"]).await?;
        let open = self.until_in_commit().await?;
        let pause = self.random.random_range(0..160);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let struck = Instant::now();
        target.stop(Mode::Immediate)?;
        target.restart()?;
        let reset =
            ["alter system reset commit_delay", "alter system reset commit_siblings", "select pg_reload_conf()"];
        target.execute("postgres", &reset).await?;
        let left = self.until_target("what the target kept", RECOVERY, |_| true).await?;
        self.until_target("a wave after the restart", RECOVERY, |now| now.wave > left.wave).await?;
        self.caught_up(RECOVERY).await?;
        let kept = if left.wave > open { "was kept" } else { "was lost" };
        let in_flight = format!("{}; the commit of wave {} {kept}", before.in_words(Phase::Following), open + 1);
        Ok(Cycle { fault: Fault::StopInCommit, in_flight, takeover: None, recovered: struck.elapsed() })
    }

    /// Waits until a COMMIT of a wave runs; gives the newest wave before it.
    async fn until_in_commit(&self) -> Result<i64> {
        let client = self.pair.target.connect(TARGET).await?;
        let sql = "select (select max(wave) from wavemark.progress where task = $1) from pg_stat_activity
            where application_name like 'wavemark %' and state = 'active' and query = 'COMMIT' limit 1";
        let end = Instant::now() + RECOVERY;
        loop {
            if let Some(row) = client.query_opt(sql, &[&self.task]).await? {
                return Ok(row.get(0));
            }
            ensure!(Instant::now() < end, "no COMMIT was seen to run in {RECOVERY:?}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// Whether a wave comes to wait for us soon.
async fn wave_waits(client: &Client) -> Result<bool> {
    let sql = "select exists (select from pg_stat_activity where application_name like 'wavemark %'
        and wait_event_type = 'Lock' and pg_backend_pid() = any (pg_blocking_pids(pid)))";
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        if client.query_one(sql, &[]).await?.get(0) {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(false)
}
