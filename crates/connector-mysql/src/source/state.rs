//! Where the log stands, and whether it is still there from a place on.

use wavemark_connector::source::LogState;
use wavemark_domain::{Fault, Position, Problem};

use super::begin::is_refused;
use crate::defaults::Dialect;
use crate::log::Server;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Connection, WireError};
use crate::{client, discover, error};

/// Where the log ends; `None` for a server without one, and a user that may not ask.
pub(super) async fn end(control: &mut Connection) -> Result<Option<Place>, Problem> {
    let server = identity(control).await?;
    for ask in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
        match control.query(ask).await {
            Ok(rows) => return Ok(rows.first().and_then(|row| Place::new(&row.text(0)?, row.number(1)?, &server))),
            // Older versions, and MariaDB, do not know the first; the second is gone from MySQL 8.4.
            Err(WireError::Server { code: 1_064, .. }) => {}
            Err(cause) if is_refused(&cause) => return Ok(None),
            Err(cause) => return Err(error::problem(&cause, "ask where the log ends")),
        }
    }
    Ok(None)
}

/// Where in the log the snapshot of this session stands, from which it reads; `None` where the server does not note that.
pub(super) async fn of_snapshot(reader: &mut Connection) -> Result<Option<Place>, Problem> {
    let rows = reader.query("SHOW STATUS LIKE 'binlog_snapshot_%'").await;
    let rows = rows.map_err(|cause| error::problem(&cause, "ask where in the log the snapshot stands"))?;
    let value = |name: &str| {
        let is_it = |known: String| known.eq_ignore_ascii_case(name);
        rows.iter().find(|row| row.text(0).is_some_and(is_it)).and_then(|row| row.text(1))
    };
    let (Some(file), Some(offset)) = (value("binlog_snapshot_file"), value("binlog_snapshot_position")) else {
        return Ok(None);
    };
    let server = identity(reader).await?;
    Ok(offset.parse().ok().and_then(|offset| Place::new(&file, offset, &server)))
}

/// Which server it is.
async fn identity(control: &mut Connection) -> Result<String, Problem> {
    for ask in ["SELECT @@server_uuid", "SELECT @@server_uid"] {
        match control.query(ask).await {
            Ok(rows) => return Ok(rows.first().and_then(|row| row.text(0)).unwrap_or_default()),
            // A variable that is not known.
            Err(WireError::Server { code: 1_193, .. }) => {}
            Err(cause) => return Err(error::problem(&cause, "ask which server it is")),
        }
    }
    Ok(String::new())
}

/// Where the log is to be read from, with what has to be known for that. What it was asked by is closed by then.
pub(super) async fn start(settings: &Settings, from: &Position) -> Result<(Place, Server), Problem> {
    let mut control = client::open(settings).await?;
    let start = (checked(&mut control, from).await?, server(&mut control).await?);
    control.close().await;
    Ok(start)
}

/// What has to be known of the server to read its log.
async fn server(control: &mut Connection) -> Result<Server, Problem> {
    let rows = control.query("SELECT @@lower_case_table_names").await;
    let rows = rows.map_err(|cause| error::problem(&cause, "ask how the server compares names"))?;
    let folds: u8 = rows.first().and_then(|row| row.number(0)).unwrap_or_default();
    Ok(Server {
        dialect: Dialect::of(&control.version),
        folds_names: folds != 0,
        lowers_names: folds == 1,
        logs_actions: discover::logs_actions(control).await,
    })
}

/// That there is no log to follow.
pub(super) fn no_log(settings: &Settings) -> Problem {
    let user = &settings.user;
    let text = format!("The source writes no binary log, or user {user} may not ask where it ends.");
    Problem::new(Fault::Settings, "log-missing", text).advice(format!(
        "Start the server with log_bin and binlog_format = ROW; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `{user}`;"
    ))
}

fn lost(text: String) -> Problem {
    Problem::new(Fault::PositionLost, "log-purged", text)
        .advice("Reload the tables, and have the server keep its log for longer (binlog_expire_logs_seconds).")
}

/// The files of the log and their lengths, in order.
async fn files(control: &mut Connection) -> Result<Vec<(String, u64)>, Problem> {
    let rows = control.query("SHOW BINARY LOGS").await;
    let rows = rows.map_err(|cause| error::problem(&cause, "list the files of the log"))?;
    Ok(rows.iter().filter_map(|row| Some((row.text(0)?, row.number(1)?))).collect())
}

/// A place that was noted, as one of this very server's log.
pub(super) async fn checked(control: &mut Connection, from: &Position) -> Result<Place, Problem> {
    let place =
        Place::from_position(from).ok_or_else(|| lost("The bookmark is not a place in a binary log.".to_owned()))?;
    let server = identity(control).await?;
    if server != place.server {
        let text =
            format!("The source is another server ({server}) than the one whose log was read ({}).", place.server);
        return Err(lost(text));
    }
    let files = files(control).await?;
    match files.iter().find(|(file, _)| *file == place.file) {
        None => Err(lost(format!("The source has no file {} of its log any more.", place.file))),
        Some((file, length)) if *length < place.offset => {
            Err(lost(format!("The source's file {file} ends at {length}, before the bookmark at {}.", place.offset)))
        }
        Some(_) => Ok(place),
    }
}

/// How far the log goes beyond a bookmark.
pub(super) async fn log_state(
    control: &mut Connection,
    settings: &Settings,
    bookmark: Option<&Position>,
) -> Result<LogState, Problem> {
    let end = end(control).await?.ok_or_else(|| no_log(settings))?;
    let mut behind_bytes = None;
    if let Some(place) = bookmark.and_then(Place::from_position) {
        let since = files(control).await?.into_iter().filter(|(file, _)| {
            Place::new(file, 0, "").is_some_and(|other| (place.number..=end.number).contains(&other.number))
        });
        let all: u64 = since.map(|(_, length)| length).sum();
        behind_bytes = Some(all.saturating_sub(place.offset));
    }
    // The server keeps its log by its own settings, whoever reads it.
    Ok(LogState { end: end.to_position(), behind_bytes, kept_bytes: None, limit_bytes: None })
}
