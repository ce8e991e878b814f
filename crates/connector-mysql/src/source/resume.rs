//! From where the log is gone on with: whether a position is still there, at its own server or at another.

use wavemark_domain::{Fault, Position, Problem};

use super::history::History;
use super::state;
use crate::defaults::Dialect;
use crate::gtid::{Domains, Executed};
use crate::log::{By, Server, Start};
use crate::position::{Memo, Place};
use crate::settings::Settings;
use crate::sql::literal;
use crate::wire::Connection;
use crate::{client, discover, error};

/// Where the log is to be read from, with what has to be known for that. What it was asked by is closed by then.
pub(super) async fn start(settings: &Settings, history: &History, from: &Position) -> Result<(Start, Server), Problem> {
    let mut control = client::open(settings).await?;
    let start = (checked(&mut control, history, from).await?, server(&mut control).await?);
    control.close().await;
    Ok(start)
}

/// What has to be known of the server to read its log.
pub(super) async fn server(control: &mut Connection) -> Result<Server, Problem> {
    let rows = control.query("SELECT @@lower_case_table_names").await;
    let rows = rows.map_err(|cause| error::problem(&cause, "ask how the server compares names"))?;
    let folds: u8 = rows.first().and_then(|row| row.number(0)).unwrap_or_default();
    Ok(Server {
        dialect: Dialect::of(&control.version),
        folds_names: folds != 0,
        lowers_names: folds == 1,
        // A version that has no such setting logs nothing else.
        logs_rows: state::ask(control, "SELECT @@global.binlog_format")
            .await
            .ok()
            .flatten()
            .is_none_or(|how| how == "ROW"),
        logs_actions: discover::logs_actions(control).await,
    })
}

/// How a position is gone on from.
///
/// The server's own places come first: they are exact whether transactions are numbered or not. By the numbers it goes on where
/// the log is another server's, and in every era after the first: there a transaction that was read already at another server may
/// stand behind the place.
pub(super) async fn checked(control: &mut Connection, history: &History, from: &Position) -> Result<Start, Problem> {
    let place =
        Place::from_position(from).ok_or_else(|| lost("The bookmark is not a place in a binary log.".to_owned()))?;
    let (begun_at, executed) = Memo::of(from).map_err(|cause| lost(format!("The bookmark can't be read: {cause}.")))?;
    let server = state::identity(control).await?;
    let file = begun_at.map(|begun_at| ((&*place.file).into(), begun_at));
    if *server == *place.server {
        in_files(control, &place).await?;
        let now = history.put(place.clone())?;
        if now.era == 0 {
            return by_place(control, Start { place: now, executed, file, by: By::Place }).await;
        }
        executed_there(control, &executed).await?;
        return Ok(Start { place: now, executed, file, by: By::Transactions });
    }
    if executed == Executed::Unknown {
        let text = format!(
            "The source is another server ({server}) than the one whose log was read ({}), and the bookmark has no GTIDs to find \
             its place there.",
            place.server
        );
        return Err(lost(text).advice("Reload the tables; with gtid_mode = ON a task goes on at another server."));
    }
    executed_there(control, &executed).await?;
    let place = history.put(Place { server: server.into(), number: 0, offset: 0, file: "".into(), era: 0 })?;
    Ok(Start { place, executed, file: None, by: By::Transactions })
}

/// The start at a place of this server's own log, with what was executed before it.
async fn by_place(control: &mut Connection, mut start: Start) -> Result<Start, Problem> {
    if start.executed == Executed::Unknown {
        start.executed = state::executed(control, &start.place).await?;
    }
    let is_unknown = start.executed == Executed::Unknown && state::numbers(control).await?;
    if is_unknown || u32::try_from(start.place.offset).is_err() {
        start.by = By::File;
    }
    Ok(start)
}

/// Whether the log still has the place.
async fn in_files(control: &mut Connection, place: &Place) -> Result<(), Problem> {
    let files = state::files(control).await?;
    match files.iter().find(|(file, _)| **file == *place.file) {
        None => Err(lost(format!("The source has no file {} of its log any more.", place.file))),
        Some((file, length)) if *length < place.offset => {
            Err(lost(format!("The source's file {file} ends at {length}, before the bookmark at {}.", place.offset)))
        }
        Some(_) => Ok(()),
    }
}

/// Whether the server has executed what the target has, and has the log of what came then.
async fn executed_there(control: &mut Connection, executed: &Executed) -> Result<(), Problem> {
    match executed {
        Executed::Unknown => Err(lost("The bookmark has no GTIDs to find its place at another server.".to_owned())),
        Executed::Mysql(set) => {
            let set = literal(&set.to_string());
            if !state::numbers(control).await? {
                let text = "The source is another server than the one whose log was read, and does not number its transactions.";
                return Err(lost(text.to_owned()).advice("SET GLOBAL gtid_mode = ON there, or reload the tables."));
            }
            if !is_true(control, &format!("SELECT GTID_SUBSET({set}, @@global.gtid_executed)")).await? {
                return Err(behind(control).await);
            }
            if !is_true(control, &format!("SELECT GTID_SUBSET(@@global.gtid_purged, {set})")).await? {
                return Err(lost("The source has purged transactions from its log that the target lacks.".to_owned()));
            }
            Ok(())
        }
        Executed::Mariadb(domains) => {
            let there = state::ask(control, "SELECT @@global.gtid_binlog_pos").await?.unwrap_or_default();
            let there = Domains::parse(&there).unwrap_or_default();
            // Whether it has these very transactions the server says when the log is asked for.
            if domains.ahead_of(&there).is_empty() { Ok(()) } else { Err(behind(control).await) }
        }
    }
}

async fn is_true(control: &mut Connection, sql: &str) -> Result<bool, Problem> {
    Ok(state::ask(control, sql).await?.is_some_and(|answer| answer == "1"))
}

/// The server lacks transactions that the target has. One that copies from another may be about to get them.
async fn behind(control: &mut Connection) -> Problem {
    let text = "The source lacks transactions that the target has";
    match copies(control).await {
        Some(true) => {
            Problem::new(Fault::Transient, BEHIND, format!("{text}: it is a replica that has not executed them yet."))
                .advice("It is tried again. If it does not end, look at the replica's threads (SHOW REPLICA STATUS).")
        }
        Some(false) => lost(format!("{text}: another server became the primary without them."))
            .advice("Find out what was lost at the source; reloading the tables makes the target equal to it."),
        None => Problem::new(
            Fault::Transient,
            BEHIND,
            format!("{text}, and whether it is about to get them the user may not ask."),
        )
        .advice(
            "GRANT SLAVE MONITOR (MySQL: REPLICATION CLIENT) to the source's user. A replica gets them by itself; if \
                         it is none, reload the tables.",
        ),
    }
}

const BEHIND: &str = "source-behind";

/// Whether the server copies from another; nothing if the user may not ask.
async fn copies(control: &mut Connection) -> Option<bool> {
    // Older versions do not know the first, and the second is gone from MySQL 8.4.
    for ask in ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"] {
        if let Ok(rows) = control.query(ask).await {
            return Some(!rows.is_empty());
        }
    }
    None
}

fn lost(text: String) -> Problem {
    Problem::new(Fault::PositionLost, "log-purged", text)
        .advice("Reload the tables, and have the server keep its log for longer (binlog_expire_logs_seconds).")
}
