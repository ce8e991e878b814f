//! Readers that all see the tables as of one moment.
//!
//! A transaction with a consistent snapshot sees what was committed when it began. For several to see the same, nothing
//! may commit while they begin, which takes milliseconds:
//!
//! 1. `FLUSH TABLES WITH READ LOCK` stops all writers; it takes the right RELOAD (or `FLUSH_TABLES`).
//! 2. Without it, as on RDS and Aurora, `LOCK TABLES … READ` stops writers of the task's tables, and waits for the
//!    transactions that have written to them.
//! 3. Without either nobody is stopped. At a MySQL that numbers its transactions readers begin one after the other, and the log
//!    says what happened between them: `between`.
//! 4. MariaDB notes with a snapshot the place of the log at which that stands (`binlog_snapshot_file`), as Percona's servers
//!    do, so that the log can be followed from there: by one reader.
//! 5. Elsewhere one reader has no place, and there is a load alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use wavemark_connector::TaskContext;
use wavemark_domain::{Column, Fault, Position, Problem, TablePlan};

use super::history::History;
use super::view::SnapshotView;
use super::{Looker, between, state};
use crate::gtid::Executed;
use crate::log::begun_at;
use crate::native::ColumnNative;
use crate::position::Memo;
use crate::settings::Settings;
use crate::sql::{literal, quoted_table};
use crate::wire::{Connection, WireError};
use crate::{client, discover, error};

/// A view as of now, with as many readers as the task may have.
pub(super) async fn view(
    (looker, history): (&Arc<Looker>, &History),
    task: &TaskContext,
    tables: &[TablePlan],
) -> Result<SnapshotView, Problem> {
    let settings = &looker.settings;
    let mut control = client::open(settings).await?;
    let mut readers = Vec::new();
    for _ in 0..task.settings.load_parallelism.max(1) {
        readers.push(client::open(settings).await?);
    }
    let patience = patience(task);
    let locked = lock(&mut control, tables, patience).await?;
    if locked == Locked::Nothing && task.kind.follows() && state::numbers(&mut control).await? {
        return between::view((looker, history), task, tables, (control, readers)).await;
    }
    if locked == Locked::Nothing {
        readers.truncate(1);
        // Nothing stops those who alter tables, so these are held before the snapshot is there.
        run(&mut control, "START TRANSACTION READ ONLY", "hold tables").await?;
        hold(&mut control, tables, patience).await?;
    }
    for reader in &mut readers {
        begin(reader).await?;
        hold(reader, tables, patience).await?;
    }
    let place = match readers.first_mut() {
        Some(reader) if locked == Locked::Nothing => state::of_snapshot(reader).await?,
        _ => state::end(&mut control).await?,
    };
    let place = place.map(|place| history.put(place)).transpose()?;
    if place.is_none() && task.kind.follows() {
        return Err(if locked == Locked::Nothing { may_not_lock(settings) } else { state::no_log(settings) });
    }
    let is_still = locked == Locked::Everything && task.kind.follows();
    let mut executed = if is_still { state::executed_by_now(&mut control).await? } else { Executed::Unknown };
    let go_on = if locked == Locked::Nothing { "COMMIT" } else { "UNLOCK TABLES" };
    run(&mut control, go_on, "let others go on").await?;
    as_planned(&mut control, tables).await?;
    let position = match place {
        Some(place) if task.kind.follows() => {
            if executed == Executed::Unknown {
                executed = state::executed(&mut control, &place).await?;
            }
            place.to_position(&Memo::new(begun_at(settings, &place).await?, &executed))
        }
        // A load needs no place in the log.
        _ => Position::new(Vec::new()),
    };
    Ok(SnapshotView::new(position, control, readers, HashMap::new()))
}

/// How long others are waited for.
pub(super) fn patience(task: &TaskContext) -> Duration {
    Duration::from_secs(task.settings.lock_timeout_seconds.into())
}

/// Tables at once: what is asked of each is nothing.
const AT_ONCE: usize = 50;

/// Keeps tables from being altered for as long as the reader's transaction lasts. What it reads is as of its beginning, and the
/// names of columns are as of now: two that change names in between would be taken for each other, without an error.
pub(super) async fn hold(reader: &mut Connection, tables: &[TablePlan], patience: Duration) -> Result<(), Problem> {
    let set = format!("SET SESSION lock_wait_timeout = {}", patience.as_secs().max(1));
    run(reader, &set, "set up a session").await?;
    for some in tables.chunks(AT_ONCE) {
        let asks: Vec<String> =
            some.iter().map(|table| format!("(SELECT 1 FROM {} LIMIT 0)", quoted_table(table.name()))).collect();
        // One that can't be read is told by who reads it, and must not keep the others from it.
        let each = if reader.query(&asks.join(" UNION ALL ")).await.is_ok() { &[][..] } else { &asks[..] };
        for ask in each {
            match reader.query(ask).await {
                Err(cause) if cause.code() == Some(LOCK_WAIT) => return Err(busy(patience)),
                Err(cause) if cause.code().is_none() => return Err(error::problem(&cause, "hold a table")),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether the tables still have the columns that they are planned with. A plan that is older than the place from which on
/// the log is read knows nothing of what was altered in between.
pub(super) async fn as_planned(control: &mut Connection, plan: &[TablePlan]) -> Result<(), Problem> {
    if plan.is_empty() {
        return Ok(());
    }
    let schemas: BTreeSet<String> = plan.iter().map(|table| literal(&table.name().schema)).collect();
    let now = discover::columns_in(control, &schemas.into_iter().collect::<Vec<_>>().join(", ")).await?;
    let is_other = |table: &&TablePlan| {
        let planned = &table.source.columns;
        // One that is gone is told by who reads it.
        now.get(table.name()).is_some_and(|columns| {
            columns.len() != planned.len() || !planned.iter().zip(columns).all(|(planned, now)| is_as(planned, now))
        })
    };
    plan.iter().find(is_other).map_or(Ok(()), |table| {
        let text = format!("Table {} was altered while its load was about to begin.", table.name());
        Err(Problem::new(Fault::Transient, "table-altered-meanwhile", text).table(table.name()))
    })
}

/// Whether the log's rows of a column are read now as they are by its plan.
fn is_as(planned: &Column, now: &Column) -> bool {
    let native = |column| ColumnNative::of(column).unwrap_or_default();
    let (planned_native, now_native) = (native(planned), native(now));
    planned.name == now.name
        && planned.declared == now.declared
        && planned_native.charset == now_native.charset
        && (planned_native.unsaid.is_none() || planned_native.unsaid == now_native.unsaid)
}

pub(super) async fn run(connection: &mut Connection, sql: &str, doing: &str) -> Result<(), Problem> {
    connection.query(sql).await.map(drop).map_err(|cause| error::problem(&cause, doing))
}

/// Who can't write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locked {
    /// Anybody.
    Everything,
    /// Whoever writes to the task's tables.
    Tables,
    Nothing,
}

/// Stops writers, as far as the user may.
async fn lock(control: &mut Connection, tables: &[TablePlan], patience: Duration) -> Result<Locked, Problem> {
    let set = format!("SET SESSION lock_wait_timeout = {}", patience.as_secs().max(1));
    run(control, &set, "set up a session").await?;
    let names: Vec<String> = tables.iter().map(|table| format!("{} READ", quoted_table(table.name()))).collect();
    let ways = [
        ("FLUSH TABLES WITH READ LOCK".to_owned(), Locked::Everything),
        (format!("LOCK TABLES {}", names.join(", ")), Locked::Tables),
    ];
    for (way, locked) in ways.iter().take(if names.is_empty() { 1 } else { 2 }) {
        match control.query(way).await {
            Ok(_) => return Ok(*locked),
            Err(cause) if is_refused(&cause) => {}
            Err(cause) if cause.code() == Some(LOCK_WAIT) => return Err(busy(patience)),
            Err(cause) => return Err(error::problem(&cause, "stop writers for a moment")),
        }
    }
    Ok(Locked::Nothing)
}

const LOCK_WAIT: u16 = 1_205;

/// Without a lock nobody can say which place of the log the readers stand at.
fn may_not_lock(settings: &Settings) -> Problem {
    let user = &settings.user;
    let text = format!(
        "User {user} may neither FLUSH TABLES nor LOCK TABLES, and the server does not number its transactions, so that the load's place \
         in the log can't be told."
    );
    Problem::new(Fault::Settings, "right-missing", text)
        .advice(format!("{} Or set gtid_mode = ON: then nobody has to be stopped.", grants(settings)))
}

/// What lets the user stop writers for a moment.
pub(super) fn grants(settings: &Settings) -> String {
    let user = &settings.user;
    format!("GRANT RELOAD ON *.* TO `{user}`; or, where that is not given: GRANT LOCK TABLES ON *.* TO `{user}`;")
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

pub(super) async fn begin(reader: &mut Connection) -> Result<(), Problem> {
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    run(reader, isolation, "begin a snapshot").await?;
    run(reader, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", "begin a snapshot").await
}
