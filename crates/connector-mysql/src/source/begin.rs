//! Readers that all see the tables as of one moment.
//!
//! A transaction with a consistent snapshot sees what was committed when it began. For several to see the same, nothing
//! may commit while they begin, which takes milliseconds:
//!
//! 1. `FLUSH TABLES WITH READ LOCK` stops all writers; it takes the right RELOAD (or `FLUSH_TABLES`).
//! 2. Without it, as on RDS and Aurora, `LOCK TABLES … READ` stops writers of the task's tables, and waits for the
//!    transactions that have written to them.
//! 3. Without either there is one reader.

use std::time::Duration;

use wavemark_connector::TaskContext;
use wavemark_domain::{Fault, Problem, TableName, TablePlan};

use super::view::SnapshotView;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Connection, WireError};
use crate::{client, error};

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table in SQL.
pub(super) fn quoted_table(name: &TableName) -> String {
    format!("{}.{}", quoted(&name.schema), quoted(&name.table))
}

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
        readers.truncate(1);
    }
    for reader in &mut readers {
        begin(reader).await?;
    }
    let place = place(&mut control).await?;
    if locked {
        run(&mut control, "UNLOCK TABLES", "let writers go on").await?;
    }
    Ok(SnapshotView::new(place.to_position(), control, readers))
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

/// The user lacks the right, or the service gives it to nobody.
fn is_refused(cause: &WireError) -> bool {
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

/// Where the log ends. Servers without one, and users that may not ask, have no place: a load needs none.
async fn place(control: &mut Connection) -> Result<Place, Problem> {
    let none = || Place { number: 0, offset: 0, file: "none.0".to_owned() };
    for ask in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
        match control.query(ask).await {
            Ok(rows) => {
                let told = rows.first().and_then(|row| Place::new(&row.text(0)?, row.number(1)?));
                return Ok(told.unwrap_or_else(none));
            }
            // Older versions, and MariaDB, do not know the first; the second is gone from MySQL 8.4.
            Err(WireError::Server { code: 1_064, .. }) => {}
            Err(cause) if is_refused(&cause) => return Ok(none()),
            Err(cause) => return Err(error::problem(&cause, "ask where the log ends")),
        }
    }
    Ok(none())
}
