//! Readers that all see the tables as of one moment.
//!
//! A transaction with a consistent snapshot sees what was committed when it began. For several to see the same, nothing
//! may commit while they begin, which takes milliseconds:
//!
//! 1. `FLUSH TABLES WITH READ LOCK` stops all writers; it takes the right RELOAD (or `FLUSH_TABLES`).
//! 2. Without it, as on RDS and Aurora, `LOCK TABLES … READ` stops writers of the task's tables, and waits for the
//!    transactions that have written to them.
//! 3. Without either there is one reader, and a load alone.

use std::time::Duration;

use wavemark_connector::TaskContext;
use wavemark_domain::{Fault, Position, Problem, TablePlan};

use super::state;
use super::view::SnapshotView;
use crate::settings::Settings;
use crate::sql::quoted_table;
use crate::wire::{Connection, WireError};
use crate::{client, error};

/// A view as of now, with as many readers as the task may have.
pub(super) async fn view(
    settings: &Settings,
    task: &TaskContext,
    tables: &[TablePlan],
) -> Result<SnapshotView, Problem> {
    let mut control = client::open(settings).await?;
    let mut readers = Vec::new();
    for _ in 0..task.settings.load_parallelism.max(1) {
        readers.push(client::open(settings).await?);
    }
    let patience = Duration::from_secs(task.settings.lock_timeout_seconds.into());
    let locked = lock(&mut control, tables, patience).await?;
    if !locked {
        if task.kind.follows() {
            return Err(may_not_lock(settings));
        }
        readers.truncate(1);
    }
    for reader in &mut readers {
        begin(reader).await?;
    }
    let place = state::end(&mut control).await?;
    if place.is_none() && task.kind.follows() {
        return Err(state::no_log(settings));
    }
    if locked {
        run(&mut control, "UNLOCK TABLES", "let writers go on").await?;
    }
    // A load needs no place in the log.
    let position = place.map_or_else(|| Position::new(Vec::new()), |place| place.to_position());
    Ok(SnapshotView::new(position, control, readers))
}

async fn run(connection: &mut Connection, sql: &str, doing: &str) -> Result<(), Problem> {
    connection.query(sql).await.map(drop).map_err(|cause| error::problem(&cause, doing))
}

/// Stops writers; false if the user may not.
async fn lock(control: &mut Connection, tables: &[TablePlan], patience: Duration) -> Result<bool, Problem> {
    let set = format!("SET SESSION lock_wait_timeout = {}", patience.as_secs().max(1));
    run(control, &set, "set up a session").await?;
    let names: Vec<String> = tables.iter().map(|table| format!("{} READ", quoted_table(table.name()))).collect();
    let ways = ["FLUSH TABLES WITH READ LOCK".to_owned(), format!("LOCK TABLES {}", names.join(", "))];
    for way in ways.iter().take(if names.is_empty() { 1 } else { 2 }) {
        match control.query(way).await {
            Ok(_) => return Ok(true),
            Err(cause) if is_refused(&cause) => {}
            Err(cause) if cause.code() == Some(LOCK_WAIT) => return Err(busy(patience)),
            Err(cause) => return Err(error::problem(&cause, "stop writers for a moment")),
        }
    }
    Ok(false)
}

const LOCK_WAIT: u16 = 1_205;

/// Without a lock nobody can say which place of the log the readers stand at.
fn may_not_lock(settings: &Settings) -> Problem {
    let user = &settings.user;
    let text = format!(
        "User {user} may neither FLUSH TABLES nor LOCK TABLES, so that the load's place in the log can't be told."
    );
    Problem::new(Fault::Settings, "right-missing", text).advice(format!(
        "GRANT RELOAD ON *.* TO `{user}`; or, where that is not given: GRANT LOCK TABLES ON *.* TO `{user}`;"
    ))
}

/// The user lacks the right, or the service gives it to nobody.
pub(super) fn is_refused(cause: &WireError) -> bool {
    matches!(cause.code(), Some(1_044 | 1_045 | 1_142 | 1_227))
}

fn busy(patience: Duration) -> Problem {
    let text = format!(
        "Writers could not be stopped for a moment within {} s: a statement or transaction runs that long.",
        patience.as_secs()
    );
    Problem::new(Fault::Transient, "lock-timeout", text).advice("It is tried again; SHOW PROCESSLIST tells what runs.")
}

async fn begin(reader: &mut Connection) -> Result<(), Problem> {
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    run(reader, isolation, "begin a snapshot").await?;
    run(reader, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", "begin a snapshot").await
}
