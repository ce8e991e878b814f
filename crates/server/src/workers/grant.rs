//! What is sent with a lease or a job: configuration and opened secrets, for the one worker that holds it.

use wavemark_domain::ids::{JobId, TokenId};
use wavemark_domain::kept_log::{self, OverBudget};
use wavemark_domain::state::TaskStatus;
use wavemark_domain::task::{TaskKind, TaskSettings};
use wavemark_domain::{EndpointId, Fault, Problem, TaskId};
use wavemark_protocol::{EndpointConfig, JobGrant, JobOutcome, JobWork, LeaseGrant, LeaseWork, Secrets};
use wavemark_store::jobs::JobKind;
use wavemark_store::leases::Granted;
use wavemark_store::{PgConnection, endpoints, jobs, orders, tasks};

use crate::problem::{ApiProblem, ApiResult};
use crate::state::AppState;

/// The lease's message. If the task's secrets do not open, the task fails with that as its problem and nothing is
/// sent: one bad key must not keep the other tasks waiting.
pub(super) async fn lease(
    state: &AppState,
    connection: &mut PgConnection,
    granted: Granted,
) -> ApiResult<Option<LeaseGrant>> {
    let task = granted.task;
    match lease_message(state, connection, granted).await {
        Ok(message) => Ok(Some(message)),
        Err(problem) if problem.code() == "keyring" => {
            tasks::fail(connection, task, &unopened(&problem)).await?;
            Ok(None)
        }
        Err(problem) => Err(problem),
    }
}

fn unopened(problem: &ApiProblem) -> Problem {
    Problem::new(Fault::Settings, "keyring", problem.detail())
        .advice("Add the missing key to the server's keyring, or set the endpoint's secrets again.")
}

async fn lease_message(state: &AppState, connection: &mut PgConnection, granted: Granted) -> ApiResult<LeaseGrant> {
    let config = tasks::config(connection, granted.task, granted.config_version).await?;
    let config = config.ok_or_else(|| ApiProblem::not_found("configuration"))?;
    let work = match granted.status {
        TaskStatus::Stopping => LeaseWork::Stop,
        TaskStatus::Deleting | TaskStatus::CleanUpPending => LeaseWork::CleanUp,
        _ => LeaseWork::Run,
    };
    Ok(LeaseGrant {
        task: granted.task,
        name: config.name,
        epoch: granted.epoch,
        generation: granted.generation,
        first_grant: granted.first_grant,
        work,
        config_version: granted.config_version,
        kind: config.kind,
        source: endpoint(state, connection, config.source).await?,
        target: endpoint(state, connection, config.target).await?,
        mappings: config.mappings,
        settings: config.settings,
        orders: orders::open(connection, granted.task).await?,
    })
}

/// The job's message. If secrets do not open, the job fails with that.
pub(super) async fn job(
    state: &AppState,
    connection: &mut PgConnection,
    token: TokenId,
    id: JobId,
    kind: JobKind,
) -> ApiResult<Option<JobGrant>> {
    match job_message(state, connection, id, kind).await {
        Ok(message) => Ok(Some(message)),
        Err(problem) if problem.code() == "keyring" => {
            let outcome = JobOutcome::Failed { problem: unopened(&problem) };
            let outcome = serde_json::to_value(outcome).map_err(wavemark_store::Error::from)?;
            jobs::finish(connection, id, token, true, &outcome).await?;
            Ok(None)
        }
        Err(problem) => Err(problem),
    }
}

async fn job_message(state: &AppState, connection: &mut PgConnection, id: JobId, kind: JobKind) -> ApiResult<JobGrant> {
    let work = match kind {
        JobKind::Test(of) => {
            let stored = endpoints::get(connection, of).await?.ok_or_else(|| ApiProblem::not_found("endpoint"))?;
            JobWork::Test {
                endpoint: endpoint(state, connection, of).await?,
                as_source: stored.role.is_source(),
                as_target: stored.role.is_target(),
            }
        }
        JobKind::Discover(of) => JobWork::Discover { endpoint: endpoint(state, connection, of).await? },
        JobKind::Assess(of) => {
            let Looked { name, kind, source, target, mappings, settings } = looked(state, connection, of).await?;
            JobWork::Assess { task: of, name, kind, source, target, mappings, settings }
        }
        JobKind::Adoptable(of) => {
            let Looked { name, kind, source, target, mappings, settings } = looked(state, connection, of).await?;
            JobWork::Adoptable { task: of, name, kind, source, target, mappings, settings }
        }
        JobKind::LookAtLog(of) => {
            let task = tasks::get(connection, of).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
            let config = tasks::config(connection, of, task.config_version).await?;
            let config = config.ok_or_else(|| ApiProblem::not_found("configuration"))?;
            let drops = config.settings.log_over_budget == OverBudget::DropSlot;
            JobWork::LookAtLog {
                task: of,
                name: config.name,
                generation: task.generation,
                epoch: task.epoch,
                kind: config.kind,
                source: endpoint(state, connection, config.source).await?,
                let_go_above: kept_log::budget(&config.settings).filter(|_| drops),
                bookmark: task.progress.and_then(|progress| progress.bookmark_key),
                settings: config.settings,
            }
        }
    };
    Ok(JobGrant { id, work })
}

/// A task's newest configuration, for a job that looks at both of its systems.
struct Looked {
    name: String,
    kind: TaskKind,
    source: EndpointConfig,
    target: EndpointConfig,
    mappings: serde_json::Value,
    settings: TaskSettings,
}

async fn looked(state: &AppState, connection: &mut PgConnection, of: TaskId) -> ApiResult<Looked> {
    let task = tasks::get(connection, of).await?.ok_or_else(|| ApiProblem::not_found("task"))?;
    let config = tasks::config(connection, of, task.config_version).await?;
    let config = config.ok_or_else(|| ApiProblem::not_found("configuration"))?;
    Ok(Looked {
        name: config.name,
        kind: config.kind,
        source: endpoint(state, connection, config.source).await?,
        target: endpoint(state, connection, config.target).await?,
        mappings: config.mappings,
        settings: config.settings,
    })
}

async fn endpoint(state: &AppState, connection: &mut PgConnection, id: EndpointId) -> ApiResult<EndpointConfig> {
    let stored = endpoints::get(connection, id).await?.ok_or_else(|| ApiProblem::not_found("endpoint"))?;
    let secrets = endpoints::secrets(connection, &state.keyring, id).await?;
    Ok(EndpointConfig {
        name: stored.name,
        engine: stored.engine,
        settings: stored.settings,
        secrets: Secrets(secrets),
    })
}
