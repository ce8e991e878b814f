//! Short work: test an endpoint, discover its tables, assess a task.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wavemark_connector::TaskContext;
use wavemark_domain::ids::{ConfigVersion, Generation};
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{Epoch, Position, Problem, TaskId};
use wavemark_engine::Run;
use wavemark_protocol::{EndpointConfig, JobGrant, JobOutcome, JobWork, LeaseGrant, LeaseWork};

use crate::client::Client;
use crate::tasks::{Tasks, Told, settings_of};

/// How long a job may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Does a job and tells the server; a job whose outcome can't be told is done again by whoever gets it next.
pub(crate) async fn run(client: Arc<Client>, tasks: Arc<Tasks>, job: JobGrant) {
    let outcome = match tokio::time::timeout(PATIENCE, work(&tasks, job.work)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(problem)) => JobOutcome::Failed { problem },
        Err(_) => {
            let text = format!("The system did not answer within {} seconds", PATIENCE.as_secs());
            JobOutcome::Failed { problem: Problem::transient("job-timeout", text) }
        }
    };
    for _ in 0..3 {
        match client.job_done(job.id, &outcome).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(job.id = %job.id, "the job's outcome was not taken: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn work(tasks: &Tasks, work: JobWork) -> Result<JobOutcome, Problem> {
    match work {
        JobWork::Test { endpoint, as_source, as_target } => test(tasks, &endpoint, as_source, as_target).await,
        JobWork::Discover { endpoint } => {
            let tables = tasks.connector(&endpoint)?.discover(&settings_of(&endpoint)).await?;
            Ok(JobOutcome::Discovered { tables })
        }
        JobWork::LookAtLog { task, name, generation, epoch, kind, source, let_go_above, bookmark, settings } => {
            let spill_dir = PathBuf::new();
            let task = TaskContext { task, name, generation, epoch, first_grant: false, kind, settings, spill_dir };
            look_at_log(tasks, task, &source, (let_go_above, bookmark)).await
        }
        JobWork::Assess { task, name, kind, source, target, mappings, settings } => {
            let run = run_for(tasks, (task, name, kind), (source, target), mappings, settings)?;
            Ok(JobOutcome::Assessed { findings: wavemark_engine::assess(&run).await? })
        }
        JobWork::Adoptable { task, name, kind, source, target, mappings, settings } => {
            let run = run_for(tasks, (task, name, kind), (source, target), mappings, settings)?;
            Ok(JobOutcome::Adoptable { found: wavemark_engine::adoptable(&run).await? })
        }
    }
}

/// A task with everything to look at it, and no right to change anything.
fn run_for(
    tasks: &Tasks,
    (task, name, kind): (TaskId, String, TaskKind),
    (source, target): (EndpointConfig, EndpointConfig),
    mappings: serde_json::Value,
    settings: TaskSettings,
) -> Result<Run, Problem> {
    let lease = LeaseGrant {
        task,
        name,
        epoch: Epoch(0),
        generation: Generation(0),
        first_grant: true,
        work: LeaseWork::Run,
        config_version: ConfigVersion(0),
        kind,
        source,
        target,
        mappings,
        settings,
        orders: Vec::new(),
    };
    tasks.run_of(lease, Told::default())
}

/// Looks at the log that a task's source keeps. Only the source is asked: the target may be away.
async fn look_at_log(
    tasks: &Tasks,
    task: TaskContext,
    source: &EndpointConfig,
    (let_go_above, bookmark): (Option<u64>, Option<Position>),
) -> Result<JobOutcome, Problem> {
    let source = tasks.connector(source)?.source(&settings_of(source))?;
    let state = source.log_state(&task, bookmark.as_ref(), Duration::ZERO).await?;
    let over = let_go_above.filter(|most| state.kept_bytes.is_some_and(|kept| kept > *most));
    let let_go = match over {
        Some(most) => source.let_go(&task, most).await?,
        None => None,
    };
    Ok(JobOutcome::LookedAtLog {
        position: source.describe(&state.end),
        kept_bytes: state.counted_bytes(),
        limit_bytes: state.limit_bytes,
        let_go,
        drops_in_seconds: state.drops_in_seconds,
    })
}

async fn test(
    tasks: &Tasks,
    endpoint: &EndpointConfig,
    as_source: bool,
    as_target: bool,
) -> Result<JobOutcome, Problem> {
    let mut steps = Vec::new();
    let connector = tasks.connector(endpoint)?;
    connector.test(&settings_of(endpoint), as_source, as_target, &mut |step| steps.push(step)).await;
    Ok(JobOutcome::Tested { steps })
}
