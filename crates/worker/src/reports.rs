//! Reports: about once a second all tasks at once, and at once when a task ended or something is asked of one.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wavemark_domain::WorkerId;
use wavemark_protocol::Report;

use crate::client::{Client, ClientError};
use crate::tasks::Tasks;
use crate::usage::Usage;

/// Reports until `ended`, then once more to give the leases back.
///
/// # Errors
/// The server refuses this worker for good, as after its token was revoked: nothing more is reported.
pub(crate) async fn report(
    client: Arc<Client>,
    tasks: Arc<Tasks>,
    ended: CancellationToken,
) -> Result<(), ClientError> {
    let mut usage = Usage::default();
    let mut failing = false;
    loop {
        let every = client.report_every().await;
        let last = tokio::select! {
            biased;
            () = ended.cancelled() => true,
            () = tasks.news.notified() => false,
            () = tokio::time::sleep(every) => false,
        };
        match send(&client, &tasks, &mut usage).await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the server answers again");
            }
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("the report was not taken; tasks run on and reports are kept: {error}");
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        if last {
            return Ok(());
        }
    }
}

async fn send(client: &Client, tasks: &Tasks, usage: &mut Usage) -> Result<(), ClientError> {
    let reports = tasks.reports();
    let (cpu_percent, memory_bytes) = usage.now();
    let report = Report {
        worker: WorkerId::default(),
        draining: tasks.is_draining(),
        cpu_percent,
        memory_bytes,
        tasks: reports.clone(),
    };
    let answer = client.report(report).await?;
    tasks.answered(&reports, &answer.tasks);
    if answer.drain && !tasks.is_draining() {
        tasks.drain();
    }
    Ok(())
}
