//! The fence: who may write.
//!
//! 1. Each of the opener's own sessions takes a lock of the server's (`GET_LOCK`) under a name of its own: as long as a
//!    name is held, its session is there, and the server says which one it is.
//! 2. The opener takes the task's row with a short lock timeout. A predecessor that holds the row (a stopped worker with
//!    an open transaction, a COMMIT still under way) makes that time out: its sessions, as the row names them, are
//!    ended, and it is tried again.
//! 3. Holding the row, it ends every session that the row names and waits until no name is held any more. This matters
//!    even when nobody held the row: a statement that changes a table commits by itself and checks no epoch while it runs.
//! 4. Only then the row gets the new epoch and the new names, and that is committed.
//!
//! Invariant: the names of a predecessor leave the row only after its sessions are gone. A crash between any two
//! steps leaves them for the next opener.

use std::time::{Duration, Instant};

use uuid::Uuid;
use wavemark_connector::TaskContext;
use wavemark_connector::fence::{Held, forgotten};
use wavemark_connector::target::OpenError;
use wavemark_domain::ids::Generation;
use wavemark_domain::{Epoch, Fault, Problem};

use super::fault::problem;
use super::marks;
use crate::sql::literal;
use crate::wire::{Connection, WireError};

/// How long the row's lock is waited for before the sessions that may hold it are ended; the server has whole seconds.
const LOCK_WAIT: &str = "SET SESSION innodb_lock_wait_timeout = 1";
/// How long all of it may take; a session can't be ended while it waits for a disk.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
const DOING: &str = "raise the fence of the task in the target";

/// What each writing transaction shows to the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) task: Uuid,
    pub(crate) generation: i32,
    pub(crate) epoch: i64,
}

impl Grant {
    pub(crate) fn of(task: &TaskContext) -> Self {
        Self { task: task.task.0, generation: task.generation.0, epoch: task.epoch.0 }
    }

    /// Takes the fence beside others; gives a row if it lets us through. Waves keep each other off by their numbers.
    pub(crate) fn share(&self) -> String {
        format!(
            "SELECT 1 FROM wavemark.fence WHERE task = '{}' AND generation = {} AND epoch = {} AND NOT tombstone \
             LOCK IN SHARE MODE",
            self.task, self.generation, self.epoch
        )
    }

    /// Begins a transaction under the fence.
    pub(crate) async fn begin(&self, connection: &mut Connection, doing: &str) -> Result<(), Problem> {
        let failed = |cause: WireError| problem(&cause, doing);
        connection.query("START TRANSACTION").await.map_err(failed)?;
        let rows = connection.query(&self.share()).await.map_err(failed)?;
        if rows.is_empty() { Err(overtaken()) } else { Ok(()) }
    }
}

/// What is told where the fence lets nobody through.
pub(crate) fn overtaken() -> Problem {
    Problem::new(Fault::Fenced, "fenced", "Another epoch holds the target.")
}

/// Takes the lock by which a session is known.
pub(crate) async fn name(connection: &mut Connection) -> Result<String, Problem> {
    let name = format!("wavemark {}", Uuid::new_v4());
    let rows = connection.query(&format!("SELECT GET_LOCK({}, 0)", literal(&name))).await;
    let rows = rows.map_err(|cause| problem(&cause, "name a session at the target"))?;
    if rows.first().and_then(|row| row.number::<i32>(0)) == Some(1) {
        return Ok(name);
    }
    Err(Problem::internal("A session at the target could not be named: its lock is taken."))
}

/// The row of a task.
struct Row {
    held: Held,
    writers: Vec<String>,
}

enum Attempt {
    /// Another session holds the row.
    Held,
    Failed(OpenError),
}

impl From<WireError> for Attempt {
    fn from(cause: WireError) -> Self {
        // Lock wait timeout, deadlock.
        if matches!(cause.code(), Some(1205 | 1213)) {
            return Self::Held;
        }
        Self::Failed(problem(&cause, DOING).into())
    }
}

impl<E: Into<OpenError>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Raises the fence to the task's epoch for the sessions of these names; see the module for the steps.
pub(crate) async fn raise(
    connection: &mut Connection,
    task: &TaskContext,
    writers: &[String],
) -> Result<(), OpenError> {
    with_patience(connection, task, Goal::Open(writers)).await
}

/// Ends what an earlier run has open, removes all that is kept for the task and leaves a tombstone: no worker opens
/// this generation again. A generation above the task's is left alone.
pub(crate) async fn bury(connection: &mut Connection, task: &TaskContext) -> Result<(), Problem> {
    match with_patience(connection, task, Goal::Bury).await {
        Ok(()) => Ok(()),
        Err(OpenError::Problem(problem)) => Err(problem),
        Err(fenced @ OpenError::Fenced { .. }) => Err(Problem::new(Fault::Fenced, "fenced", fenced.to_string())),
    }
}

#[derive(Clone, Copy)]
enum Goal<'a> {
    Open(&'a [String]),
    Bury,
}

async fn with_patience(connection: &mut Connection, task: &TaskContext, goal: Goal<'_>) -> Result<(), OpenError> {
    let failed = |cause: WireError| problem(&cause, DOING);
    let deadline = Instant::now() + PATIENCE;
    connection.query(LOCK_WAIT).await.map_err(failed)?;
    loop {
        let outcome = match goal {
            Goal::Open(writers) => open(connection, task, writers, deadline).await,
            Goal::Bury => remove(connection, task, deadline).await,
        };
        match outcome {
            Ok(()) => {
                connection.query("COMMIT").await.map_err(failed)?;
                return Ok(());
            }
            Err(attempt) => {
                connection.query("ROLLBACK").await.map_err(failed)?;
                match attempt {
                    Attempt::Failed(error) => return Err(error),
                    Attempt::Held if Instant::now() >= deadline => return Err(stuck().into()),
                    Attempt::Held => end_holders(connection, task).await?,
                }
            }
        }
    }
}

async fn open(
    connection: &mut Connection,
    task: &TaskContext,
    writers: &[String],
    deadline: Instant,
) -> Result<(), Attempt> {
    let grant = Grant::of(task);
    let Some(row) = lock(connection, &grant).await? else {
        if !task.first_grant {
            return Err(forgotten(task).into());
        }
        return insert(connection, task, writers, false).await;
    };
    row.held.admit(task)?;
    end_all(connection, &row.writers, deadline).await?;
    if row.held.generation.0 < grant.generation {
        marks::supersede(connection, grant.task).await?;
    }
    let sql = format!(
        "UPDATE wavemark.fence SET name = {}, generation = {}, epoch = {}, tombstone = false, writers = {}, kind = {}, \
         opened_at = CURRENT_TIMESTAMP(6) WHERE task = '{}'",
        literal(&task.name),
        grant.generation,
        grant.epoch,
        as_json(writers),
        literal(task.kind.word()),
        grant.task
    );
    Ok(connection.query(&sql).await.map(drop)?)
}

async fn remove(connection: &mut Connection, task: &TaskContext, deadline: Instant) -> Result<(), Attempt> {
    let grant = Grant::of(task);
    let Some(row) = lock(connection, &grant).await? else {
        // A first grant that was never used may still be in a worker's hands.
        return insert(connection, task, &[], true).await;
    };
    if row.held.generation.0 == grant.generation && row.held.tombstone {
        return Ok(());
    }
    row.held.admit(task)?;
    end_all(connection, &row.writers, deadline).await?;
    marks::forget(connection, grant.task).await?;
    connection.query(&format!("DELETE FROM wavemark.exceptions WHERE task = '{}'", grant.task)).await?;
    let sql = format!(
        "UPDATE wavemark.fence SET tombstone = true, writers = '[]', generation = {}, epoch = {} WHERE task = '{}'",
        grant.generation, grant.epoch, grant.task
    );
    Ok(connection.query(&sql).await.map(drop)?)
}

fn as_json(writers: &[String]) -> String {
    literal(&serde_json::json!(writers).to_string())
}

async fn lock(connection: &mut Connection, grant: &Grant) -> Result<Option<Row>, WireError> {
    connection.query("START TRANSACTION").await?;
    read(connection, grant.task, " FOR UPDATE").await
}

async fn read(connection: &mut Connection, task: Uuid, how: &str) -> Result<Option<Row>, WireError> {
    let sql = format!("SELECT generation, epoch, tombstone, writers FROM wavemark.fence WHERE task = '{task}'{how}");
    let rows = connection.query(&sql).await?;
    Ok(rows.first().map(|row| Row {
        held: Held {
            generation: Generation(row.number(0).unwrap_or_default()),
            epoch: Epoch(row.number(1).unwrap_or_default()),
            tombstone: row.number::<i32>(2) == Some(1),
        },
        writers: row.text(3).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
    }))
}

/// Two first openings at once: the second waits for the first's insert and then finds the row, or times out.
async fn insert(
    connection: &mut Connection,
    task: &TaskContext,
    writers: &[String],
    tombstone: bool,
) -> Result<(), Attempt> {
    let grant = Grant::of(task);
    let sql = format!(
        "INSERT INTO wavemark.fence (task, name, generation, epoch, writers, tombstone, kind) \
         VALUES ('{}', {}, {}, {}, {}, {tombstone}, {})",
        grant.task,
        literal(&task.name),
        grant.generation,
        grant.epoch,
        as_json(writers),
        literal(task.kind.word())
    );
    match connection.query(&sql).await {
        Ok(_) => Ok(()),
        Err(cause) if cause.code() == Some(super::fault::DUPLICATE) => Err(Attempt::Held),
        Err(cause) => Err(cause.into()),
    }
}

/// Ends the sessions that may hold the row, as its newest committed version names them.
async fn end_holders(connection: &mut Connection, task: &TaskContext) -> Result<(), OpenError> {
    let found = read(connection, task.task.0, "").await.map_err(|cause| problem(&cause, DOING))?;
    if let Some(row) = found {
        row.held.admit(task)?;
        for writer in &row.writers {
            end(connection, writer).await?;
        }
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}

/// Ends sessions and waits until they are gone.
async fn end_all(connection: &mut Connection, writers: &[String], deadline: Instant) -> Result<(), Attempt> {
    for writer in writers {
        while end(connection, writer).await? {
            if Instant::now() > deadline {
                return Err(stuck().into());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

fn stuck() -> Problem {
    Problem::transient(
        "predecessor-stuck",
        "A session of an earlier run in the target does not end, although it was told to, or somebody else's holds the \
         task's row in wavemark.fence.",
    )
    .advice("SHOW FULL PROCESSLIST and SHOW ENGINE INNODB STATUS show who it is.")
}

/// Tells the session of a name to end; returns whether it is still there.
async fn end(connection: &mut Connection, name: &str) -> Result<bool, Problem> {
    let failed = |cause: WireError| {
        problem(&cause, "end a session of an earlier run in the target")
            .advice("The session belongs to another user: GRANT CONNECTION_ADMIN (MySQL), CONNECTION ADMIN (MariaDB).")
    };
    let rows = connection.query(&format!("SELECT IS_USED_LOCK({})", literal(name))).await.map_err(failed)?;
    let Some(holder) = rows.first().and_then(|row| row.number::<u64>(0)) else { return Ok(false) };
    match connection.query(&format!("KILL CONNECTION {holder}")).await {
        // No such session: it has ended meanwhile.
        Err(WireError::Server { code: 1094, .. }) | Ok(_) => Ok(true),
        Err(cause) => Err(failed(cause)),
    }
}
