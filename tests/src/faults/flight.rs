//! What is in flight, as the target itself shows it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use uuid::Uuid;

use super::{Arena, Phase};
use crate::order::newest_bookmark;
use crate::system::{Place, Session, System};

/// The lag of a task that is well.
const LAG: Duration = Duration::from_secs(2);
/// How often the target is looked at for something in flight, which is over in a moment.
const CLOSELY: Duration = Duration::from_millis(3);
/// How often for what stays. Several worlds share the machine, and what looks is not what is tested.
const NOW_AND_THEN: Duration = Duration::from_millis(30);

/// What the target holds of the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The fence's epoch.
    pub epoch: i64,
    /// The newest wave, or 0 while there is no bookmark.
    pub wave: i64,
    /// The epoch of the newest wave.
    pub wave_epoch: i64,
    /// The newest bookmark as a place in the source's log.
    pub bookmark: Place,
    /// Chunks of all tables.
    pub chunks: i64,
    /// Those that are done.
    pub chunks_done: i64,
    /// Transactions of workers that are open and have written.
    pub open: i64,
}

impl State {
    /// Whether work of the phase is in flight: a transaction that has written is open, in the load between the first
    /// and the last chunk.
    fn is_in_flight(&self, phase: Phase) -> bool {
        self.open > 0
            && match phase {
                Phase::Loading => self.wave == 0 && 0 < self.chunks_done && self.chunks_done < self.chunks,
                Phase::Following => self.wave > 0,
            }
    }

    pub(super) fn in_words(&self, phase: Phase) -> String {
        match phase {
            Phase::Loading => {
                format!("{} chunks open, {} of {} done", self.open, self.chunks_done, self.chunks)
            }
            Phase::Following => format!("the wave after {} open", self.wave),
        }
    }
}

/// Reads the state.
pub(super) async fn state(target: &System, session: &mut Session, task: Uuid) -> Result<State> {
    let sql = format!(
        "select coalesce((select epoch from wavemark.fence where task = '{task}'), 0), \
         coalesce((select max(wave) from wavemark.progress where task = '{task}'), 0), \
         coalesce((select epoch from wavemark.progress where task = '{task}' order by wave desc limit 1), 0), \
         (select count(*) from wavemark.chunks where task = '{task}'), \
         (select count(done_at) from wavemark.chunks where task = '{task}'), {}",
        newest_bookmark(session, task)
    );
    let row = session.row(&sql).await?;
    let number = |at: usize| row.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(State {
        epoch: number(0),
        wave: number(1),
        wave_epoch: number(2),
        chunks: number(3),
        chunks_done: number(4),
        bookmark: row
            .get(5)
            .zip(row.get(6))
            .and_then(|(text, bytes)| Place::of_bookmark(text, bytes))
            .unwrap_or_default(),
        open: open(target, session).await?,
    })
}

/// Transactions of workers that are open and have written.
async fn open(target: &System, session: &mut Session) -> Result<i64> {
    if !target.kind().is_family() {
        let sql = "select count(*) from pg_stat_activity \
            where application_name like 'wavemark %' and backend_xid is not null and state <> 'idle'";
        return session.number(sql).await;
    }
    let all = transactions(target, session).await?;
    Ok(all.iter().filter(|one| one.contains("undo log entries")).count().try_into()?)
}

/// What the server's status says of each transaction of a worker. The tables that say it are renewed only when nobody has looked for a
/// tenth of a second.
pub(super) async fn transactions(target: &System, session: &mut Session) -> Result<Vec<String>> {
    let status = session.rows("SHOW ENGINE INNODB STATUS").await?.join("");
    let user = format!(" {} ", target.user());
    let all = status.split("---TRANSACTION ").skip(1);
    Ok(all.filter(|one| one.contains("ACTIVE") && one.contains(&user)).map(str::to_owned).collect())
}

impl Arena {
    /// Looks at the target again and again until `done`; an unreachable target is waited for.
    pub(super) async fn until_target(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&State) -> bool,
    ) -> Result<State> {
        self.watch_target(what, limit, NOW_AND_THEN, done).await
    }

    async fn watch_target(
        &self,
        what: &str,
        limit: Duration,
        pause: Duration,
        done: impl Fn(&State) -> bool,
    ) -> Result<State> {
        let end = Instant::now() + limit;
        let mut session = None;
        loop {
            if session.as_ref().is_none_or(Session::is_lost) {
                session = self.target.back_door().open().await.ok();
            }
            // Before the first load the target has no such tables.
            let now = match &mut session {
                Some(session) => state(&self.target, session, self.task).await.ok(),
                None => None,
            };
            if let Some(now) = now.filter(&done) {
                return Ok(now);
            }
            if Instant::now() > end {
                let task = self.installation.api.task(self.task).await;
                let task = task.map_or_else(|error| format!("{error:#}"), |task| task.in_words());
                bail!("waited {limit:?} for {what}; the target has {now:?}; the task: {task}");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits until something is in flight.
    pub(super) async fn in_flight(&self, phase: Phase) -> Result<State> {
        let limit = Duration::from_secs(30);
        self.watch_target("work in flight", limit, CLOSELY, |now| now.is_in_flight(phase)).await
    }

    /// Waits until the target is again at most [`LAG`] behind the source.
    pub(super) async fn caught_up(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let now = self.source.end().await?;
            let reached = self.until_target("the source's end", LAG, |state| state.bookmark.reaches(now)).await;
            match reached {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    return Err(error.context(format!("the lag is not below {LAG:?} after {limit:?}")));
                }
                Err(_) => {}
            }
        }
    }

    /// Whether it still is, a moment after the worker was frozen: a commit under way would have ended by then.
    pub(super) async fn still_in_flight(&self, phase: Phase) -> Result<Option<State>> {
        let mut session = self.target.back_door().open().await?;
        tokio::time::sleep(Duration::from_millis(30)).await;
        Ok(Some(state(&self.target, &mut session, self.task).await?).filter(|now| now.is_in_flight(phase)))
    }
}
