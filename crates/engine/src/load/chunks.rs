//! Copying chunks: each loader takes the next chunk as it gets free.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;
use wavemark_connector::crash;
use wavemark_connector::source::View;
use wavemark_connector::target::{ChunkMark, Loader};
use wavemark_domain::state::TableState;
use wavemark_domain::{Fault, Problem, TablePlan};

use super::{Job, format_for, no_loader};
use crate::pace;
use crate::run::Run;

/// What becomes of a table that has its rows, keys and indexes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The log takes over.
    Complete,
    /// It has to catch up before that.
    Wait,
}

/// What the loaders share.
struct Shared {
    run: Run,
    plan: Arc<[TablePlan]>,
    view: Arc<dyn View>,
    then: Then,
    queue: Mutex<Queue>,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// Chunks of each table that are not done.
    left: Vec<usize>,
    failed: Vec<Option<Problem>>,
}

/// Copies all jobs and finishes each table after its last. Returns the tables that failed on data, and the loaders; any
/// other problem ends the load.
pub(super) async fn copy(
    run: &Run,
    plan: &Arc<[TablePlan]>,
    view: Arc<dyn View>,
    loaders: Vec<Box<dyn Loader>>,
    jobs: Vec<Job>,
    then: Then,
) -> Result<(Vec<(usize, Problem)>, Vec<Box<dyn Loader>>), Problem> {
    let mut left = vec![0; plan.len()];
    for job in &jobs {
        left[job.table] += 1;
    }
    let queue = Queue { jobs: jobs.into(), left, failed: vec![None; plan.len()] };
    let shared = Arc::new(Shared { run: run.clone(), plan: Arc::clone(plan), view, then, queue: Mutex::new(queue) });
    let mut working = JoinSet::new();
    for loader in loaders {
        working.spawn(work(Arc::clone(&shared), loader));
    }
    if working.is_empty() {
        return Err(no_loader());
    }
    let mut loaders = Vec::with_capacity(working.len());
    while let Some(ended) = working.join_next().await {
        loaders.push(ended.map_err(|error| Problem::internal(format!("a loader broke: {error}")))??);
    }
    let failed = std::mem::take(&mut shared.queue().failed);
    let failed = failed.into_iter().enumerate().filter_map(|(table, problem)| Some((table, problem?)));
    Ok((failed.collect(), loaders))
}

async fn work(shared: Arc<Shared>, mut loader: Box<dyn Loader>) -> Result<Box<dyn Loader>, Problem> {
    while let Some(job) = shared.next_job() {
        let table = &shared.plan[job.table];
        let copied = match &job.chunk {
            Some(chunk) => copy_chunk(&shared, table, chunk, &job, loader.as_mut()).await,
            None => Ok(()),
        };
        let finished = match copied {
            Ok(()) if shared.chunk_done(job.table) => finish(&shared, table, loader.as_mut()).await,
            other => other,
        };
        match finished {
            Err(problem) if problem.fault == Fault::Data => shared.table_failed(job.table, problem),
            other => other?,
        }
    }
    Ok(loader)
}

async fn copy_chunk(
    shared: &Shared,
    table: &TablePlan,
    chunk: &ChunkMark,
    job: &Job,
    loader: &mut dyn Loader,
) -> Result<(), Problem> {
    let status = &shared.run.status;
    status.update_table(table.id, |progress| progress.chunks_read += 1);
    let format = format_for(&shared.run, table);
    let rows = shared.view.read(table, &chunk.range, format, job.without.clone()).await?;
    let mut rows = pace::paced(rows, &shared.run.paces);
    let heard = |bytes| status.update(|progress| progress.bytes_loaded += bytes);
    let copied = loader.load(table, chunk.number, rows.as_mut(), &heard).await?;
    crash::point("chunk.committed");
    status.update(|progress| progress.rows_loaded += copied.rows);
    status.update_table(table.id, |progress| {
        progress.chunks_done += 1;
        progress.rows_loaded += copied.rows;
        progress.bytes_loaded += copied.bytes;
    });
    Ok(())
}

async fn finish(shared: &Shared, table: &TablePlan, loader: &mut dyn Loader) -> Result<(), Problem> {
    loader.finish_table(table).await?;
    crash::point("table.finished");
    if shared.then == Then::Complete {
        loader.complete_table(table).await?;
        crash::point("table.completed");
    }
    let follows = shared.run.task.kind.follows();
    shared.run.status.table_state(table, if follows { TableState::CatchingUp } else { TableState::Done });
    Ok(())
}

impl Shared {
    fn next_job(&self) -> Option<Job> {
        let mut queue = self.queue();
        while let Some(job) = queue.jobs.pop_front() {
            if queue.failed[job.table].is_none() {
                return Some(job);
            }
        }
        None
    }

    /// Counts a chunk as done; true if it was its table's last.
    fn chunk_done(&self, table: usize) -> bool {
        let mut queue = self.queue();
        queue.left[table] -= 1;
        queue.left[table] == 0 && queue.failed[table].is_none()
    }

    fn table_failed(&self, table: usize, problem: Problem) {
        self.queue().failed[table].get_or_insert(problem);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
