//! The long poll: leases and jobs, at once if there are any, else when some are announced; and that something was asked
//! of a task that the worker holds. It looks again every second whatever is announced, so that lapsed leases are found
//! and announcements are only a hint.

use std::time::Duration;

use axum::extract::State;
use tokio::time::Instant;
use wavemark_domain::WorkerId;
use wavemark_domain::ids::TokenId;
use wavemark_protocol::{Poll, Work};
use wavemark_store::workers::Known;
use wavemark_store::{jobs, leases, tokens, workers};

use super::{Presented, WorkerToken, grant, token_refused, unknown_worker};
use crate::extract::Json;
use crate::problem::ApiResult;
use crate::state::{AppState, commit};

const MOST_JOBS: i64 = 4;

pub(super) async fn poll(
    State(state): State<AppState>,
    WorkerToken(token): WorkerToken,
    Presented(digest): Presented,
    Json(poll): Json<Poll>,
) -> ApiResult<Json<Work>> {
    let until = Instant::now() + Duration::from_secs(u64::from(poll.wait_seconds.min(60)));
    let mut announced = state.work.subscribe();
    let mut known = Some(first_look(&state, token, poll.worker).await?);
    loop {
        announced.mark_unchanged();
        // A worker that stopped reporting gets nothing: it may be frozen with its poll still open.
        let Some(worker) = known else { return Ok(Json(Work::default())) };
        let work = look(&state, token, &poll, worker).await?;
        let over = Instant::now() >= until || state.shutdown.is_cancelled();
        let is_asked = poll.last_ask.is_some_and(|heard| work.last_ask > heard);
        if over || is_asked || !work.leases.is_empty() || !work.jobs.is_empty() {
            return Ok(Json(work));
        }
        let again = until.min(Instant::now() + Duration::from_secs(1));
        tokio::select! {
            _ = announced.changed() => {}
            () = tokio::time::sleep_until(again) => {}
            () = state.shutdown.cancelled() => {}
        }
        let mut transaction = state.begin().await?;
        // Revoked while it waited: no lease goes out, with its secrets.
        tokens::worker(&mut transaction, &digest).await?.ok_or_else(token_refused)?;
        known = workers::still_heard(&mut transaction, poll.worker, token).await?;
        commit(transaction).await?;
    }
}

async fn first_look(state: &AppState, token: TokenId, worker: WorkerId) -> ApiResult<Known> {
    let mut transaction = state.begin().await?;
    let known = workers::seen(&mut transaction, worker, token).await?.ok_or_else(unknown_worker)?;
    commit(transaction).await?;
    Ok(known)
}

async fn look(state: &AppState, token: TokenId, poll: &Poll, known: Known) -> ApiResult<Work> {
    let mut transaction = state.begin().await?;
    let mut work = Work { last_ask: known.last_ask, ..Work::default() };
    if !known.drain && poll.free_places > 0 {
        let places = i64::from(poll.free_places);
        let since = state.reachable_since();
        for granted in leases::claim(&mut transaction, poll.worker, &known.engines, places, since).await? {
            tracing::info!(
                task.id = %granted.task, worker.id = %poll.worker, lease.epoch = granted.epoch.0, "a lease is granted"
            );
            work.leases.extend(grant::lease(state, &mut transaction, granted).await?);
        }
    }
    if !known.drain {
        for (id, kind) in jobs::claim(&mut transaction, poll.worker, &known.engines, MOST_JOBS).await? {
            work.jobs.extend(grant::job(state, &mut transaction, token, id, kind).await?);
        }
    }
    commit(transaction).await?;
    Ok(work)
}
