//! Having the server send its log.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use wavemark_domain::{Fault, Problem};

use super::file_too_large;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Connection, WireError};
use crate::{client, error};

const COM_BINLOG_DUMP: u8 = 0x12;
/// The server's number of all errors that end the log.
const LOG_ERROR: u16 = 1_236;

/// Sums with the events as they are in the file, a sign of life every five seconds, and MariaDB's own events as they are.
const SESSION: &str = "SET @master_binlog_checksum = @@global.binlog_checksum, \
    @source_binlog_checksum = @@global.binlog_checksum, @master_heartbeat_period = 5000000000, \
    @source_heartbeat_period = 5000000000, @mariadb_slave_capability = 4";

/// The log from a place on.
pub(super) struct LogStream {
    connection: Connection,
    /// By how much the server's clock is before ours, in microseconds.
    ahead: i64,
}

impl LogStream {
    /// Asks for the log. `number` is how the server tells its readers apart: one that comes with the same takes the other's
    /// place.
    pub(super) async fn open(settings: &Settings, from: &Place, number: u32) -> Result<Self, Problem> {
        let offset = u32::try_from(from.offset).map_err(|_| file_too_large(from))?;
        let mut connection = client::open(settings).await?;
        let failed = |cause: WireError| error::problem(&cause, "read the source's log");
        connection.query(SESSION).await.map_err(failed)?;
        let clock =
            connection.query("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)").await.map_err(failed)?;
        let ahead = clock.first().and_then(|row| row.number::<i64>(0)).map_or(0, |there| there - now());
        let mut ask = Vec::with_capacity(10 + from.file.len());
        ask.extend(offset.to_le_bytes());
        ask.extend([0, 0]);
        ask.extend(number.to_le_bytes());
        ask.extend(from.file.as_bytes());
        connection.send(COM_BINLOG_DUMP, &ask).await.map_err(failed)?;
        Ok(Self { connection, ahead })
    }

    /// The server's clock (microseconds since 1970).
    pub(super) fn clock(&self) -> i64 {
        now() + self.ahead
    }

    /// The next event. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<BytesMut, Problem> {
        let mut payload = self.connection.packets.answer().await.map_err(|cause| lost(&cause))?;
        match payload.first() {
            Some(0) => Ok(payload.split_off(1)),
            _ => Err(Problem::transient("log-ended", "The source ended the stream of its log.")),
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Why the log can't be read on.
fn lost(cause: &WireError) -> Problem {
    let problem = error::problem(cause, "read the source's log");
    let WireError::Server { code: LOG_ERROR, message, .. } = cause else {
        return match problem.fault {
            Fault::Data => Problem { fault: Fault::Transient, ..problem },
            _ => problem,
        };
    };
    let gone = ["could not find", "impossible position", "purged", "missing", "not found"];
    if gone.iter().any(|words| message.to_lowercase().contains(words)) {
        return Problem { fault: Fault::PositionLost, code: "log-purged".to_owned(), ..problem }
            .advice("Reload the tables, and have the server keep its log for longer (binlog_expire_logs_seconds).");
    }
    Problem { fault: Fault::Transient, code: "log-ended".to_owned(), ..problem }
}
