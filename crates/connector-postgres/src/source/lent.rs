//! Sessions that read in one snapshot, lent to one reader after the other: those of our own client for COPY, which most rows
//! come by, and the driver's for rows by their keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_domain::Problem;

use super::names::literal;
use super::{oversized, session};
use crate::error;
use crate::settings::Settings;
use crate::wire::Connection;

/// The sessions of a view's readers.
pub(super) struct Readers {
    pub(super) settings: Settings,
    pub(super) task: TaskContext,
    /// Names of the same snapshot, exported by each of the two sessions that keep it.
    pub(super) snapshots: [String; 2],
    idle: Mutex<Idle>,
    permits: Arc<Semaphore>,
}

/// Sessions in the snapshot that nobody uses.
#[derive(Default)]
pub(super) struct Idle {
    clients: Vec<Client>,
    copies: Vec<Connection>,
}

/// Begins a transaction that reads in the snapshot.
pub(super) async fn import(client: &Client, snapshot: &str) -> Result<(), Problem> {
    client.batch_execute(&importing(snapshot)).await.map_err(|error| {
        let problem = error::driver(&error, &format!("import the snapshot {snapshot}"));
        if error.as_db_error().is_some() { gone(problem) } else { problem }
    })
}

fn importing(snapshot: &str) -> String {
    format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}", literal(snapshot))
}

/// The session that exported it is gone: a view must be made again, which is what *transient* asks for.
fn gone(problem: Problem) -> Problem {
    Problem::transient("snapshot-gone", problem.text)
}

/// A session that reads in the snapshot.
#[async_trait]
pub(super) trait Reading: Sized {
    async fn connect(settings: &Settings, task: &TaskContext) -> Result<Self, Problem>;
    async fn import(&mut self, snapshot: &str) -> Result<(), Problem>;
    async fn roll_back(&mut self) -> Result<(), Problem>;
    /// Those of its kind that are idle.
    fn idle(idle: &mut Idle) -> &mut Vec<Self>;
    fn is_of_use(&self) -> bool;
}

#[async_trait]
impl Reading for Client {
    async fn connect(settings: &Settings, task: &TaskContext) -> Result<Self, Problem> {
        session::rows(settings, task, "load").await
    }

    async fn import(&mut self, snapshot: &str) -> Result<(), Problem> {
        import(self, snapshot).await
    }

    async fn roll_back(&mut self) -> Result<(), Problem> {
        self.batch_execute("ROLLBACK").await.map_err(|error| error::driver(&error, "end a transaction"))
    }

    fn idle(idle: &mut Idle) -> &mut Vec<Self> {
        &mut idle.clients
    }

    fn is_of_use(&self) -> bool {
        !self.is_closed()
    }
}

#[async_trait]
impl Reading for Connection {
    async fn connect(settings: &Settings, task: &TaskContext) -> Result<Self, Problem> {
        session::copies(settings, task, "load").await
    }

    async fn import(&mut self, snapshot: &str) -> Result<(), Problem> {
        self.query(&importing(snapshot)).await.map(drop).map_err(|error| {
            let problem = error::wire(&error, &format!("import the snapshot {snapshot}"));
            if error.server().is_some() { gone(problem) } else { problem }
        })
    }

    async fn roll_back(&mut self) -> Result<(), Problem> {
        self.query("ROLLBACK").await.map(drop).map_err(|error| error::wire(&error, "end a transaction"))
    }

    fn idle(idle: &mut Idle) -> &mut Vec<Self> {
        &mut idle.copies
    }

    /// Whether it is broken shows when it is used.
    fn is_of_use(&self) -> bool {
        true
    }
}

/// A reader's session; it goes back to the others with [`Lent::give_back`], else it is closed.
pub(super) struct Lent<R> {
    pub(super) session: R,
    readers: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl<R: Reading> Lent<R> {
    /// Bytes that a row may have.
    pub(super) fn most_row(&self) -> usize {
        oversized::most(&self.readers.task.settings)
    }

    pub(super) fn give_back(self) {
        R::idle(&mut self.readers.idle()).push(self.session);
    }
}

impl Readers {
    /// None is open yet. The snapshot has a name by each of the two sessions that keep it.
    pub(super) fn new(settings: &Settings, task: &TaskContext, snapshots: [String; 2]) -> Self {
        let most = usize::from(task.settings.load_parallelism).clamp(1, 32) + 1;
        Self {
            settings: settings.clone(),
            task: task.clone(),
            snapshots,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(most)),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session in the snapshot; waits while the most are in use.
    pub(super) async fn lend<R: Reading>(self: &Arc<Self>) -> Result<Lent<R>, Problem> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Problem::internal("A view was closed while it was read."))?;
        let session = match self.take_idle::<R>() {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Lent { session, readers: Arc::clone(self), _permit: permit })
    }

    /// An idle one of the kind. If there is none, one of the other kind is closed in its place: no more are open than may be
    /// in use.
    fn take_idle<R: Reading>(&self) -> Option<R> {
        let mut idle = self.idle();
        let found = R::idle(&mut idle).pop().filter(R::is_of_use);
        if found.is_none() && idle.clients.pop().is_none() {
            idle.copies.pop();
        }
        found
    }

    async fn connect<R: Reading>(&self) -> Result<R, Problem> {
        let mut session = R::connect(&self.settings, &self.task).await?;
        match session.import(&self.snapshots[0]).await {
            Ok(()) => return Ok(session),
            Err(problem) if problem.code == "snapshot-gone" => {}
            Err(problem) => return Err(problem),
        }
        session.roll_back().await?;
        session.import(&self.snapshots[1]).await?;
        Ok(session)
    }
}
