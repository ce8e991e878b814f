//! Somebody else at the target who locks rows in another order than waves do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::flight::transactions;
use super::{Arena, Cycle, Fault, Phase, RECOVERY};
use crate::system::{Kind, Refused, Session, System};

/// Tables whose rows the writers update.
const UPDATED: [&str; 8] =
    ["accounts", "customers", "documents", "orders", "order_lines", "products", "seats", "stock"];
/// How PostgreSQL and the others call a deadlock.
const CODES: [&str; 2] = ["40P01", "1213"];

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
    /// Locks rows in every order until waves were the victim of a deadlock, and so were we. MySQL and MariaDB take the one that has
    /// written less, which we can make the wave and not ourselves.
    pub(super) async fn deadlock(&mut self) -> Result<Cycle> {
        let before = self.in_flight(Phase::Following).await?;
        let begun = Instant::now();
        let (mut waves, mut ours) = (0, u32::from(self.target.kind().is_family()));
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
        let mut session = self.target.back_door().open().await?;
        let is_family = self.target.kind().is_family();
        if is_family {
            session.rows(HEAVY).await?;
        } else {
            // Who has waited for so long looks for a deadlock; a wave does after a second, which is the default.
            let patience = if wave_is_victim { "30s" } else { "10ms" };
            session.rows(&format!("set deadlock_timeout = '{patience}'")).await?;
        }
        // While a wave waits here, the next one grows to changes of many tables.
        if gave_way(session.rows("begin; select 1 from shop.accounts for update").await)? {
            return Ok(Met::WeGaveWay);
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let weigh = if is_family { WEIGH } else { "" };
        let lock = format!("rollback; begin; {weigh} select 1 from shop.{table} for update");
        if gave_way(session.rows(&lock).await)? {
            return Ok(Met::WeGaveWay);
        }
        if !wave_waits(&self.target, &mut session).await? {
            session.rows("rollback").await?;
            return Ok(Met::Missed);
        }
        if !wave_is_victim && !is_family {
            // By now the wave has looked for a deadlock in vain.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        let deadlocks = self.deadlocks().await?;
        let others: Vec<_> = UPDATED.iter().filter(|&&other| other != table).collect();
        let all = others.iter().map(|other| format!("select 1 from shop.{other} for update")).collect::<Vec<_>>();
        let locked = session.rows(&all.join("; ")).await;
        // A client of the family's is gone after an error, and its transaction with it.
        drop(session.rows("rollback").await);
        if gave_way(locked)? {
            return Ok(Met::WeGaveWay);
        }
        // A server process of PostgreSQL tells its counts a second later at most.
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
        let sql = match self.target.kind() {
            Kind::Postgres => "select deadlocks from pg_stat_database where datname = current_database()",
            Kind::Mariadb => {
                "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'INNODB_DEADLOCKS'"
            }
            Kind::Mysql => "SELECT `count` FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'",
        };
        self.target.back_door().open().await?.number(sql).await
    }
}

/// Whether a statement of ours was a deadlock's victim.
fn gave_way(answer: Result<Vec<String>, Refused>) -> Result<bool> {
    match answer {
        Err(refused) if refused.code.as_deref().is_some_and(|code| CODES.contains(&code)) => Ok(true),
        other => Ok(other.map(|_| false)?),
    }
}

/// A table of our own, in which to write more than any wave does.
const HEAVY: &str = "CREATE DATABASE IF NOT EXISTS beside; CREATE TABLE IF NOT EXISTS beside.heavy (id bigint AUTO_INCREMENT PRIMARY KEY); \
    SET SESSION innodb_lock_wait_timeout = 20";
const WEIGH: &str = "insert into beside.heavy select null from shop.accounts a, shop.accounts b where b.id <= 20;";

/// Whether a wave comes to wait for us soon.
async fn wave_waits(target: &System, session: &mut Session) -> Result<bool> {
    let sql = "select 1 from pg_stat_activity where application_name like 'wavemark %'
        and wait_event_type = 'Lock' and pg_backend_pid() = any (pg_blocking_pids(pid)) limit 1";
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let waits = if target.kind().is_family() {
            transactions(target, session).await?.iter().any(|one| one.contains("LOCK WAIT"))
        } else {
            !session.rows(sql).await?.is_empty()
        };
        if waits {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(false)
}
