//! Where the log stands.

use std::collections::BTreeSet;

use wavemark_connector::source::LogState;
use wavemark_domain::{Fault, Position, Problem};

use super::begin::is_refused;
use super::history::History;
use super::retention::{self, Retention};
use crate::defaults::Dialect;
use crate::error;
use crate::gtid::{Domains, Executed, GtidSet};
use crate::position::{Memo, Place};
use crate::settings::Settings;
use crate::sql::literal;
use crate::wire::{Connection, Row, WireError};

/// Where the log ends; `None` for a server without one, and a user that may not ask.
pub(super) async fn end(control: &mut Connection) -> Result<Option<Place>, Problem> {
    let server = identity(control).await?;
    let status = status(control).await?;
    Ok(status.and_then(|row| Place::new(&row.text(0)?, row.number(1)?, server)))
}

/// What the server says of its log's end; `None` as in [`end`].
async fn status(control: &mut Connection) -> Result<Option<Row>, Problem> {
    for ask in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
        match control.query(ask).await {
            Ok(rows) => return Ok(rows.into_iter().next()),
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
    Ok(offset.parse().ok().and_then(|offset| Place::new(&file, offset, server)))
}

/// What was executed before a place, as MariaDB computes it from the place's file, which takes a while; MySQL can't.
pub(super) async fn executed(control: &mut Connection, place: &Place) -> Result<Executed, Problem> {
    if Dialect::of(&control.version) == Dialect::Mysql {
        return Ok(Executed::Unknown);
    }
    let text = ask(control, &format!("SELECT BINLOG_GTID_POS({}, {})", literal(&place.file), place.offset)).await?;
    Ok(text.as_deref().and_then(Domains::parse).map_or(Executed::Unknown, Executed::Mariadb))
}

/// What MySQL has executed, while nothing is committed: at other times its set and the end of its log are of two moments.
pub(super) async fn executed_by_now(control: &mut Connection) -> Result<Executed, Problem> {
    if !numbers(control).await? {
        return Ok(Executed::Unknown);
    }
    let text = status(control).await?.and_then(|row| row.text(4)).map(|text| text.replace('\n', ""));
    Ok(text.as_deref().and_then(GtidSet::parse).map_or(Executed::Unknown, Executed::Mysql))
}

/// Whether the server is one of MySQL's that numbers every transaction.
pub(super) async fn numbers(control: &mut Connection) -> Result<bool, Problem> {
    if Dialect::of(&control.version) == Dialect::Mariadb {
        return Ok(false);
    }
    Ok(ask(control, "SELECT @@global.gtid_mode").await?.is_some_and(|mode| mode == "ON"))
}

/// The transactions of MySQL whose numbers are in use: what stands in the log is one of them until all who look can see it.
pub(super) async fn in_commit(control: &mut Connection) -> Result<BTreeSet<String>, Problem> {
    Ok(owned(&ask(control, "SELECT @@global.gtid_owned").await?.unwrap_or_default()))
}

/// `uuid:23#8:24#9,uuid:tag:7#10`, each with the session that has it.
fn owned(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for origin in text.split(',') {
        let (numbers, names): (Vec<&str>, Vec<&str>) = origin.trim().split(':').partition(|part| part.contains('#'));
        let number = |number: &str| format!("{}:{}", names.join(":"), number.split('#').next().unwrap_or_default());
        found.extend(numbers.into_iter().map(number));
    }
    found
}

/// One text that the server says; `None` for NULL.
pub(super) async fn ask(control: &mut Connection, sql: &str) -> Result<Option<String>, Problem> {
    let rows = control.query(sql).await.map_err(|cause| error::problem(&cause, "ask for the state of the log"))?;
    Ok(rows.first().and_then(|row| row.text(0)))
}

/// Which server it is.
pub(super) async fn identity(control: &mut Connection) -> Result<String, Problem> {
    // The last for those that have neither of the others: servers that copy from each other differ in it.
    for ask in ["SELECT @@server_uuid", "SELECT @@server_uid", "SELECT @@server_id"] {
        match control.query(ask).await {
            Ok(rows) => return Ok(rows.first().and_then(|row| row.text(0)).unwrap_or_default()),
            // A variable that is not known.
            Err(WireError::Server { code: 1_193, .. }) => {}
            Err(cause) => return Err(error::problem(&cause, "ask which server it is")),
        }
    }
    Ok(String::new())
}

/// That there is no log to follow.
pub(super) fn no_log(settings: &Settings) -> Problem {
    let user = &settings.user;
    let text = format!("The source writes no binary log, or user {user} may not ask where it ends.");
    Problem::new(Fault::Settings, "log-missing", text).advice(format!(
        "Start the server with log_bin and binlog_format = ROW; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `{user}`;"
    ))
}

/// The files of the log and their lengths, in order.
pub(crate) async fn files(control: &mut Connection) -> Result<Vec<(String, u64)>, Problem> {
    let rows = control.query("SHOW BINARY LOGS").await;
    let rows = rows.map_err(|cause| error::problem(&cause, "list the files of the log"))?;
    Ok(rows.iter().filter_map(|row| Some((row.text(0)?, row.number(1)?))).collect())
}

/// How far the log goes beyond a bookmark.
pub(super) async fn log_state(
    control: &mut Connection,
    settings: &Settings,
    (history, retention): (&History, &Retention),
    bookmark: Option<&Position>,
) -> Result<LogState, Problem> {
    let end = end(control).await?.ok_or_else(|| no_log(settings))?;
    let end = history.put(end)?;
    let mut behind_bytes = None;
    let needed = bookmark.and_then(Place::from_position).filter(|place| place.server == end.server);
    if let Some(place) = &needed {
        let since = files(control).await?.into_iter().filter(|(file, _)| {
            Place::new(file, 0, "").is_some_and(|other| (place.number..=end.number).contains(&other.number))
        });
        let all: u64 = since.map(|(_, length)| length).sum();
        behind_bytes = Some(all.saturating_sub(place.offset));
    }
    let drops_in_seconds = match needed {
        Some(place) => retention.seconds_left(control, settings, &place).await?,
        None => None,
    };
    // The server keeps its log by its own settings, whoever reads it.
    Ok(LogState {
        end: end.to_position(&Memo::default()),
        behind_bytes,
        kept_bytes: None,
        limit_bytes: retention::most_bytes(control).await?,
        drops_in_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_use_are_told_one_by_one() {
        let found = owned("3e11:23#8:24#9,\n4f22:blue:7#10#11");
        assert_eq!(found, ["3e11:23", "3e11:24", "4f22:blue:7"].map(str::to_owned).into());
        assert_eq!(owned(""), BTreeSet::new());
    }
}
