//! What the server does by itself. Each part is woken by a timer or by the database, reads the state and moves it
//! toward what it should be; several servers may do so at once.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;
use wavemark_domain::Problem;
use wavemark_protocol::JobOutcome;
use wavemark_store::{CHANGE_CHANNEL, PgListener, Result, WORK_CHANNEL, jobs, kept_log, leases, samples, sessions};

use crate::state::AppState;

pub(crate) fn start(state: &AppState, tracker: &TaskTracker) {
    let listening = state.clone();
    tracker.spawn(async move { until_shutdown(&listening, listen(&listening)).await });
    let lapsing = state.clone();
    tracker.spawn(async move { until_shutdown(&lapsing, watch_leases(&lapsing)).await });
    let keeping = state.clone();
    tracker.spawn(async move { until_shutdown(&keeping, tidy(&keeping)).await });
}

async fn until_shutdown(state: &AppState, work: impl Future<Output = ()>) {
    tokio::select! {
        () = state.shutdown.cancelled() => {}
        () = work => {}
    }
}

/// Hears what other servers and transactions announce. What is missed while the connection is lost doesn't
/// matter: both are hints, and a tick is given whenever listening begins.
async fn listen(state: &AppState) {
    loop {
        if let Err(error) = hear(state).await {
            tracing::debug!(error = %error, "listening for announcements was interrupted");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn hear(state: &AppState) -> Result<()> {
    let mut listener = PgListener::connect_with(&state.pool).await?;
    listener.listen_all([WORK_CHANNEL, CHANGE_CHANNEL]).await?;
    state.tick();
    loop {
        let heard = listener.recv().await?;
        if heard.channel() == WORK_CHANNEL {
            state.work.send_modify(|count| *count = count.wrapping_add(1));
        } else {
            state.tick();
        }
    }
}

/// Says which tasks lost their worker. A failure to reach the database moves the time from which leases are judged:
/// their holders could not report either.
async fn watch_leases(state: &AppState) {
    let mut timer = interval(Duration::from_secs(2));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reached = true;
    loop {
        timer.tick().await;
        let result = lapse(state, reached).await;
        if let Err(error) = &result
            && reached
        {
            tracing::warn!(error = %error, "the metadata database can't be reached; tasks run on");
        }
        reached = result.is_ok();
    }
}

async fn lapse(state: &AppState, reached_before: bool) -> Result<()> {
    let mut transaction = state.pool.begin().await?;
    if !reached_before {
        state.set_reachable_since(sessions::now(&mut transaction).await?);
        tracing::info!("the metadata database is reached again");
    }
    let lapsed = leases::lapse(&mut transaction, state.reachable_since()).await?;
    if lapsed > 0 {
        tracing::warn!(task_count = lapsed, "leases lapsed");
    }
    let nobody = failed("no-worker", "No worker took the job within a minute.");
    let silent = failed("worker-silent", "The worker that took the job did not answer within two minutes.");
    for kind in jobs::give_up(&mut transaction, &nobody, &silent).await? {
        if let jobs::JobKind::LookAtLog(task) = kind {
            let why = Problem::transient("no-worker", "no worker looked at it");
            kept_log::not_looked(&mut transaction, task, &why).await?;
        }
    }
    kept_log::ask(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

fn failed(code: &str, text: &str) -> serde_json::Value {
    let advice = "Start a worker that has this system's connector and can reach the server, then try again.";
    let problem = Problem::transient(code, text).advice(advice);
    serde_json::to_value(JobOutcome::Failed { problem }).unwrap_or_default()
}

/// Thins samples and drops what is no longer of use, every minute.
async fn tidy(state: &AppState) {
    let mut timer = interval(Duration::from_mins(1));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let done = async {
            let mut transaction = state.pool.begin().await?;
            samples::thin(&mut transaction).await?;
            wavemark_store::background::tidy(&mut transaction).await?;
            transaction.commit().await?;
            Result::<()>::Ok(())
        };
        if let Err(error) = done.await {
            tracing::debug!(error = %error, "tidying the metadata failed; it is tried again in a minute");
        }
    }
}
