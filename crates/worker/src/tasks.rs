//! The tasks that this worker holds: one engine run each, with what the next report says of it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use wavemark_connector::spec::{LOAD_RATE, MAX_CONNECTIONS};
use wavemark_connector::target::OpenError;
use wavemark_connector::{Connector, EndpointSettings, TaskContext};
use wavemark_domain::mapping::Mappings;
use wavemark_domain::{Epoch, Fault, Problem, TaskId};
use wavemark_engine::{Connections, Ended, Failure, Orders, Pace, Run, Share, Status};
use wavemark_protocol::{EndpointConfig, Instruction, LeaseGrant, LeaseWork, RunState, TaskAnswer, TaskReport};

/// All tasks of this worker.
pub(crate) struct Tasks {
    connectors: Vec<Arc<dyn Connector>>,
    spill_dir: PathBuf,
    places: u16,
    /// By the endpoint's name: MiB a second, and what keeps to it.
    paces: Mutex<BTreeMap<String, (u64, Arc<Pace>)>>,
    connections: Arc<Connections>,
    held: Mutex<Held>,
    tracker: TaskTracker,
    /// Woken when a task ends or something is asked of one, so that the report goes out at once.
    pub(crate) news: Notify,
}

#[derive(Default)]
struct Held {
    draining: bool,
    tasks: BTreeMap<TaskId, Task>,
}

/// What a run and its reports share.
pub(crate) type Told = (Status, Orders, CancellationToken);

/// One lease.
struct Task {
    epoch: Epoch,
    status: Status,
    orders: Orders,
    stop: CancellationToken,
    state: RunState,
    /// Dropping it ends the run wherever it is.
    _running: AbortOnDropHandle<()>,
}

impl Tasks {
    pub(crate) fn new(connectors: Vec<Arc<dyn Connector>>, spill_dir: PathBuf, places: u16) -> Self {
        Self {
            connectors,
            spill_dir,
            places,
            paces: Mutex::default(),
            connections: Arc::default(),
            held: Mutex::default(),
            tracker: TaskTracker::new(),
            news: Notify::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.held().tasks.len()
    }

    pub(crate) fn free_places(&self) -> u16 {
        let held = self.held();
        let taken = u16::try_from(held.tasks.len()).unwrap_or(u16::MAX);
        if held.draining { 0 } else { self.places.saturating_sub(taken) }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.held().draining
    }

    /// Takes a lease. A run of the same task under an older epoch is dropped first.
    pub(crate) fn start(self: &Arc<Self>, lease: LeaseGrant) {
        let (task, epoch) = (lease.task, lease.epoch);
        tracing::info!(task.id = %task, lease.epoch = %epoch, work = ?lease.work, "took {}", lease.name);
        let (status, orders, stop) = (Status::default(), Orders::default(), CancellationToken::new());
        let tasks = Arc::clone(self);
        let mut held = self.held();
        let run = {
            let told = (status.clone(), orders.clone(), stop.clone());
            self.tracker.spawn(async move {
                let outcome = AssertUnwindSafe(tasks.work(lease, told)).catch_unwind().await;
                let broke = || Problem::internal("the engine broke; the log of the worker has the place");
                tasks.ended(task, epoch, outcome.unwrap_or_else(|_| RunState::Failed { problem: broke() }));
            })
        };
        let running = AbortOnDropHandle::new(run);
        held.tasks.insert(task, Task { epoch, status, orders, stop, state: RunState::Running, _running: running });
    }

    async fn work(&self, lease: LeaseGrant, told: Told) -> RunState {
        let work = lease.work;
        let run = match self.run_of(lease, told) {
            Ok(run) => run,
            Err(problem) => return RunState::Failed { problem },
        };
        match work {
            LeaseWork::Run => match self.run(&run).await {
                Ok(Ended::Stopped) if self.is_draining() => RunState::Released,
                Ok(Ended::Stopped) => RunState::Stopped,
                Ok(Ended::Finished) => RunState::Finished,
                Err(Failure::Fenced { held, generation }) => RunState::Fenced { held, generation },
                Err(Failure::Problem(problem)) => RunState::Failed { problem },
            },
            LeaseWork::Stop => raise_fence(&run).await,
            LeaseWork::CleanUp => match wavemark_engine::clean_up(&run).await {
                Ok(()) => RunState::CleanedUp,
                // Told with what the target holds, so that the next grant is above it.
                Err(left) if left.problem.fault == Fault::Fenced => match raise_fence(&run).await {
                    fenced @ RunState::Fenced { .. } => fenced,
                    _ => RunState::CleanUpPending { problem: left.problem, statements: left.statements },
                },
                Err(left) => RunState::CleanUpPending { problem: left.problem, statements: left.statements },
            },
        }
    }

    /// Runs a task; what a comparison found is told at once.
    async fn run(&self, run: &Run) -> Result<Ended, Failure> {
        let running = run.run();
        tokio::pin!(running);
        loop {
            tokio::select! {
                ended = &mut running => return ended,
                () = run.orders.compares.over() => self.news.notify_one(),
            }
        }
    }

    /// Everything that the engine needs, from a lease.
    pub(crate) fn run_of(&self, lease: LeaseGrant, (status, orders, stop): Told) -> Result<Run, Problem> {
        let mappings = Mappings::parse(&lease.mappings)
            .map_err(|error| Problem::new(Fault::Settings, "mapping", error.to_string()))?;
        let source = self.connector(&lease.source)?.source(&settings_of(&lease.source))?;
        let target = self.connector(&lease.target)?.target(&settings_of(&lease.target))?;
        orders.give(lease.orders);
        let paces = [&lease.source, &lease.target].into_iter().filter_map(|endpoint| self.pace_of(endpoint)).collect();
        let connections = self.share_of(&lease.source, &lease.target);
        Ok(Run {
            task: TaskContext {
                task: lease.task,
                name: lease.name,
                generation: lease.generation,
                epoch: lease.epoch,
                first_grant: lease.first_grant,
                kind: lease.kind,
                settings: lease.settings,
                spill_dir: self.spill_dir.clone(),
            },
            mappings,
            source_engine: lease.source.engine,
            source,
            target,
            status,
            orders,
            paces,
            connections,
            stop,
        })
    }

    /// The pace of an endpoint's loads, one for all tasks of this worker; the newest setting counts.
    fn pace_of(&self, endpoint: &EndpointConfig) -> Option<Arc<Pace>> {
        let mib = endpoint.settings.get(LOAD_RATE)?.as_u64()?;
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let known = paces.get(&endpoint.name).filter(|(known, _)| *known == mib);
        let pace = known.map_or_else(|| Arc::new(Pace::new(mib << 20)), |(_, pace)| Arc::clone(pace));
        paces.insert(endpoint.name.clone(), (mib, Arc::clone(&pace)));
        Some(pace)
    }

    /// The connections of both endpoints, counted for all tasks of this worker; the newest setting counts.
    fn share_of(&self, source: &EndpointConfig, target: &EndpointConfig) -> Share {
        for endpoint in [source, target] {
            let most = endpoint.settings.get(MAX_CONNECTIONS).and_then(serde_json::Value::as_u64);
            self.connections.cap(&endpoint.name, most);
        }
        Share::new(&self.connections, &source.name, &target.name)
    }

    /// The connector that an endpoint needs.
    pub(crate) fn connector(&self, endpoint: &EndpointConfig) -> Result<&Arc<dyn Connector>, Problem> {
        self.connectors.iter().find(|connector| connector.spec().engine == endpoint.engine).ok_or_else(|| {
            let text = format!("This worker has no connector for {}", endpoint.engine);
            Problem::new(Fault::Settings, "no-connector", text).advice("Run a worker of a version that has it.")
        })
    }

    fn ended(&self, task: TaskId, epoch: Epoch, state: RunState) {
        tracing::info!(task.id = %task, lease.epoch = %epoch, ?state, "the run ended");
        if let Some(held) = self.held().tasks.get_mut(&task).filter(|held| held.epoch == epoch) {
            held.state = state;
        }
        self.news.notify_one();
    }

    /// What the next report says of each task.
    pub(crate) fn reports(&self) -> Vec<TaskReport> {
        let held = self.held();
        let report = |(id, task): (&TaskId, &Task)| {
            // Before the progress, which then shows what follows from them.
            let orders_done = task.orders.done();
            TaskReport {
                task: *id,
                epoch: task.epoch,
                state: task.state.clone(),
                progress: task.status.progress(),
                events: task.status.events(),
                orders_done,
                compares: task.orders.compares.reports(),
            }
        };
        held.tasks.iter().map(report).collect()
    }

    /// Does what the server answered to a report: forgets what it has, stops and abandons what it says.
    pub(crate) fn answered(&self, sent: &[TaskReport], answers: &[TaskAnswer]) {
        let mut held = self.held();
        for report in sent {
            let Some(task) = held.tasks.get(&report.task).filter(|task| task.epoch == report.epoch) else { continue };
            task.status.forget_events(report.events.len());
            task.orders.forget(&report.orders_done);
            let answer = answers.iter().find(|answer| answer.task == report.task);
            if let Some(answer) = answer {
                task.orders.give(answer.orders.clone());
                task.orders.ask_drain(answer.drain);
                report.compares.iter().for_each(|report| task.orders.compares.heard(report));
                task.orders.compares.give(answer.compares.clone(), &answer.compares_open);
            }
            let answer = answer.map(|answer| answer.instruction);
            match answer {
                Some(Instruction::Stop) => task.stop.cancel(),
                Some(Instruction::Abandon) => {
                    tracing::warn!(task.id = %report.task, "the lease is another's: stopping");
                }
                Some(Instruction::Continue) | None => {}
            }
            if answer == Some(Instruction::Abandon) || report.state.is_final() {
                held.tasks.remove(&report.task);
            }
        }
    }

    /// Takes nothing new and asks every task to finish its wave.
    pub(crate) fn drain(&self) {
        let mut held = self.held();
        held.draining = true;
        for task in held.tasks.values() {
            task.stop.cancel();
        }
        self.tracker.close();
    }

    /// Waits until no task runs.
    pub(crate) async fn idle(&self) {
        self.tracker.wait().await;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Raises the epoch in the target: what an earlier worker still has open can't be committed any more. Opens no loaders:
/// it is over at once, and takes nothing of what the endpoint's cap leaves.
async fn raise_fence(run: &Run) -> RunState {
    let mut task = run.task.clone();
    task.settings.load_parallelism = 0;
    match run.target.open(&task).await {
        Ok(_) => RunState::Stopped,
        Err(OpenError::Fenced { held, generation }) => RunState::Fenced { held: Some(held), generation },
        Err(OpenError::Problem(problem)) => RunState::Failed { problem },
    }
}

/// An endpoint's settings as a connector takes them.
pub(crate) fn settings_of(endpoint: &EndpointConfig) -> EndpointSettings {
    EndpointSettings {
        name: endpoint.name.clone(),
        values: endpoint.settings.clone(),
        secrets: endpoint.secrets.0.clone(),
    }
}
