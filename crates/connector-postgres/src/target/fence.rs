//! The fence: who may write.
//!
//! 1. The opener's own sessions are connected first, so that their names can be written down.
//! 2. It takes the task's row with a short lock timeout. A predecessor that holds the row (a stopped worker with
//!    an open transaction, a COMMIT still under way) makes that time out: its sessions, as the row names them, are
//!    ended, and it tries again.
//! 3. Holding the row, it ends every session that the row names and waits until each is gone from
//!    `pg_stat_activity`. This matters even when nobody held the row: a session under the *same* epoch would pass
//!    the check of the epoch later.
//! 4. Only then the row gets the new epoch and the new names, and that is committed.
//!
//! Invariant: the names of a predecessor leave the row only after its sessions are gone. A crash between any two
//! steps leaves them for the next opener.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;
use wavemark_connector::TaskContext;
use wavemark_connector::fence::{Held, forgotten};
use wavemark_connector::target::OpenError;
use wavemark_domain::ids::Generation;
use wavemark_domain::{Epoch, Fault, Problem};

use super::fault::problem;
use crate::client::Backend;

/// How long the row's lock is waited for before the sessions that may hold it are ended.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '300ms'";
/// How long all of it may take; a server process can't be ended while it waits for a disk.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 4 } else { 20 });
const POLL: Duration = Duration::from_millis(20);

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

    /// Takes the fence beside others, a wave too: chunks and changes of tables.
    pub(crate) fn share(&self) -> String {
        format!("SELECT wavemark.share('{}', {}, {})", self.task, self.generation, self.epoch)
    }

    /// Takes the fence beside no other wave.
    pub(crate) fn hold(&self) -> String {
        format!("SELECT wavemark.hold('{}', {}, {})", self.task, self.generation, self.epoch)
    }
}

/// The row of a task.
struct Row {
    held: Held,
    writers: Vec<Backend>,
}

/// Raises the fence to the task's epoch for `writers`; see the module for the steps.
pub(crate) async fn raise(client: &mut Client, task: &TaskContext, writers: &[Backend]) -> Result<(), OpenError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt(client, task, writers, deadline).await {
            Err(Attempt::Held) if Instant::now() < deadline => end_holders(client, task).await?,
            Err(Attempt::Held) => return Err(stuck().into()),
            Err(Attempt::Failed(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// Ends what an earlier run has open, removes all that is kept for the task and leaves a tombstone: no worker opens
/// this generation again. A generation above the task's is left alone.
pub(crate) async fn bury(client: &mut Client, task: &TaskContext) -> Result<(), Problem> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_to_bury(client, task, deadline).await {
            Err(Attempt::Held) if Instant::now() < deadline => match end_holders(client, task).await {
                Err(OpenError::Problem(problem)) => return Err(problem),
                Ok(()) | Err(OpenError::Fenced { .. }) => tokio::time::sleep(POLL).await,
            },
            Err(Attempt::Held) => return Err(stuck()),
            Err(Attempt::Failed(OpenError::Problem(problem))) => return Err(problem),
            Err(Attempt::Failed(fenced @ OpenError::Fenced { .. })) => {
                return Err(Problem::new(Fault::Fenced, "fenced", fenced.to_string()));
            }
            Ok(()) => return Ok(()),
        }
    }
}

async fn try_to_bury(client: &mut Client, task: &TaskContext, deadline: Instant) -> Result<(), Attempt> {
    let grant = Grant::of(task);
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK_WAIT).await?;
    let Some(row) = lock(&transaction, &grant).await? else {
        // A first grant that was never used may still be in a worker's hands.
        insert(&transaction, task, &[], true).await?;
        return Ok(transaction.commit().await?);
    };
    if row.held.generation.0 == grant.generation && row.held.tombstone {
        return Ok(());
    }
    row.held.admit(task)?;
    end_all(&transaction, &row.writers, deadline).await?;
    super::marks::forget(&transaction, grant.task).await?;
    transaction.execute("DELETE FROM wavemark.exceptions WHERE task = $1", &[&grant.task]).await?;
    transaction
        .execute(
            "UPDATE wavemark.fence SET tombstone = true, writers = '[]', generation = $2, epoch = $3 WHERE task = $1",
            &[&grant.task, &grant.generation, &grant.epoch],
        )
        .await?;
    Ok(transaction.commit().await?)
}

const DOING: &str = "raise the fence of the task in the target";

enum Attempt {
    /// Another session holds the row.
    Held,
    Failed(OpenError),
}

impl From<tokio_postgres::Error> for Attempt {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            return Self::Held;
        }
        Self::Failed(problem(&error, DOING).into())
    }
}

impl From<OpenError> for Attempt {
    fn from(error: OpenError) -> Self {
        Self::Failed(error)
    }
}

impl From<Problem> for Attempt {
    fn from(error: Problem) -> Self {
        Self::Failed(error.into())
    }
}

async fn attempt(
    client: &mut Client,
    task: &TaskContext,
    writers: &[Backend],
    deadline: Instant,
) -> Result<(), Attempt> {
    let grant = Grant::of(task);
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK_WAIT).await?;
    let Some(row) = lock(&transaction, &grant).await? else {
        if !task.first_grant {
            return Err(forgotten(task).into());
        }
        insert(&transaction, task, writers, false).await?;
        return Ok(transaction.commit().await?);
    };
    row.held.admit(task)?;
    end_all(&transaction, &row.writers, deadline).await?;
    if row.held.generation.0 < grant.generation {
        super::marks::supersede(&transaction, grant.task).await?;
    }
    transaction
        .execute(
            "UPDATE wavemark.fence SET name = $2, generation = $3, epoch = $4, tombstone = false, writers = $5, \
             kind = $6, opened_at = pg_catalog.clock_timestamp() WHERE task = $1",
            &[&grant.task, &task.name, &grant.generation, &grant.epoch, &as_json(writers), &task.kind.word()],
        )
        .await?;
    Ok(transaction.commit().await?)
}

fn as_json(writers: &[Backend]) -> serde_json::Value {
    serde_json::json!(writers)
}

async fn lock(transaction: &Transaction<'_>, grant: &Grant) -> Result<Option<Row>, tokio_postgres::Error> {
    const SQL: &str = "SELECT generation, epoch, tombstone, writers FROM wavemark.fence WHERE task = $1 FOR UPDATE";
    Ok(transaction.query_opt(SQL, &[&grant.task]).await?.as_ref().map(row))
}

fn row(row: &tokio_postgres::Row) -> Row {
    Row {
        held: Held { generation: Generation(row.get(0)), epoch: Epoch(row.get(1)), tombstone: row.get(2) },
        writers: serde_json::from_value(row.get(3)).unwrap_or_default(),
    }
}

/// Two first openings at once: the second waits for the first's insert and then finds the row, or times out.
async fn insert(
    transaction: &Transaction<'_>,
    task: &TaskContext,
    writers: &[Backend],
    tombstone: bool,
) -> Result<(), Attempt> {
    let grant = Grant::of(task);
    let done = transaction
        .execute(
            "INSERT INTO wavemark.fence (task, name, generation, epoch, writers, tombstone, kind) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (task) DO NOTHING",
            &[
                &grant.task,
                &task.name,
                &grant.generation,
                &grant.epoch,
                &as_json(writers),
                &tombstone,
                &task.kind.word(),
            ],
        )
        .await?;
    if done == 1 { Ok(()) } else { Err(Attempt::Held) }
}

/// Ends the sessions that may hold the row, as its newest committed version names them.
async fn end_holders(client: &Client, task: &TaskContext) -> Result<(), OpenError> {
    const SQL: &str = "SELECT generation, epoch, tombstone, writers FROM wavemark.fence WHERE task = $1";
    let failed = |error: tokio_postgres::Error| problem(&error, DOING);
    if let Some(found) = client.query_opt(SQL, &[&task.task.0]).await.map_err(failed)? {
        let found = row(&found);
        found.held.admit(task)?;
        for writer in &found.writers {
            end(client, writer).await?;
        }
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}

/// Ends sessions and waits until they are gone.
async fn end_all(transaction: &Transaction<'_>, writers: &[Backend], deadline: Instant) -> Result<(), Attempt> {
    for writer in writers {
        while end(transaction, writer).await? {
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
        "A session of an earlier run in the target database does not end, although it was told to, or somebody else's \
         holds the task's row in wavemark.fence.",
    )
    .advice("SELECT * FROM pg_stat_activity shows it: WHERE application_name LIKE 'wavemark%', or in pg_locks.")
}

/// Tells one session to end; returns whether it is still there.
///
/// Who may not see another role's sessions sees no start time; then the role decides whether it is the same one.
async fn end(client: &impl tokio_postgres::GenericClient, writer: &Backend) -> Result<bool, Problem> {
    const SQL: &str = "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
        WHERE a.pid = $1 AND a.pid <> pg_catalog.pg_backend_pid() AND a.usename = $3::text::name \
        AND coalesce(a.backend_start = $2::text::timestamptz, true)";
    // Inside a transaction the view keeps what it showed first.
    let failed = |error: tokio_postgres::Error| {
        problem(&error, "end a session of an earlier run in the target database")
            .advice(format!("GRANT {} or pg_signal_backend to the endpoint's role.", writer.role))
    };
    client.query_one("SELECT pg_catalog.pg_stat_clear_snapshot()", &[]).await.map_err(failed)?;
    let found = client.query_opt(SQL, &[&writer.pid, &writer.started, &writer.role]).await.map_err(failed)?;
    Ok(found.is_some())
}
