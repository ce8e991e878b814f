//! Having the server send its log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use wavemark_domain::{Fault, Problem};

use super::start::{By, Start};
use crate::binlog::{Checksum, Event};
use crate::defaults::Dialect;
use crate::gtid::{Executed, GtidSet};
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::{Connection, WireError};
use crate::{client, error};

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
/// That the statements are sent, too, whose rows follow (MariaDB).
const ANNOTATED: u16 = 2;
/// That the place is said by what was executed.
const THROUGH_GTID: u16 = 4;
/// Where the first event of a file begins.
pub(super) const FIRST: u64 = 4;
/// How long the log may be silent: the server is asked for a sign of life every five seconds.
pub(super) const SILENCE: Duration = Duration::from_mins(1);
/// The servers' numbers of the errors that end the log: all of them, and `MariaDB`'s of a transaction that is not in it.
const LOG_ERRORS: [u16; 2] = [1_236, 1_955];

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
    pub(super) async fn open(settings: &Settings, from: &Start, number: u32) -> Result<Self, Problem> {
        let mut connection = client::open(settings).await?;
        let failed = |cause: WireError| error::problem(&cause, "read the source's log");
        connection.query(SESSION).await.map_err(failed)?;
        let clock =
            connection.query("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)").await.map_err(failed)?;
        let ahead = clock.first().and_then(|row| row.number::<i64>(0)).map_or(0, |there| there - now());
        let flags = if Dialect::of(&connection.version) == Dialect::Mariadb { ANNOTATED } else { 0 };
        match (from.by, &from.executed) {
            (By::Transactions, Executed::Mysql(executed)) => {
                connection.send(COM_BINLOG_DUMP_GTID, &all_but(executed, number)).await.map_err(failed)?;
            }
            (By::Transactions, Executed::Mariadb(executed)) => {
                let state = format!("SET @slave_connect_state = '{executed}', @slave_gtid_strict_mode = 0");
                connection.query(&state).await.map_err(failed)?;
                connection.send(COM_BINLOG_DUMP, &from_place(("", FIRST), number, flags)).await.map_err(failed)?;
            }
            (By::Transactions, Executed::Unknown) => return Err(Problem::internal("what was executed is not known")),
            (By::Place, _) => {
                let ask = from_place((&from.place.file, from.place.offset), number, flags);
                connection.send(COM_BINLOG_DUMP, &ask).await.map_err(failed)?;
            }
            (By::File, _) => {
                let ask = from_place((&from.place.file, FIRST), number, flags);
                connection.send(COM_BINLOG_DUMP, &ask).await.map_err(failed)?;
            }
        }
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

/// When a file of the log was begun (seconds since 1970), as it says itself.
pub(crate) async fn begun_at(settings: &Settings, file: &Place) -> Result<u32, Problem> {
    let start = Place { offset: FIRST, ..file.clone() };
    let mut stream = LogStream::open(settings, &Start::at(start), passing_number()).await?;
    loop {
        let event = stream.next().await?;
        let read = Event::read(&event, Checksum::None);
        let (header, event) = read.map_err(|cause| super::malformed(cause, file))?;
        if matches!(event, Event::Format { .. }) {
            return Ok(header.timestamp);
        }
    }
}

/// A number that nobody else has: whoever has it would lose his place.
pub(super) fn passing_number() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.subsec_nanos() | 1 << 31
}

/// The parameters of `COM_BINLOG_DUMP`.
fn from_place((file, offset): (&str, u64), number: u32, flags: u16) -> Vec<u8> {
    let mut ask = Vec::with_capacity(10 + file.len());
    // `state::start` has places beyond that reached by their file.
    ask.extend(u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
    ask.extend(flags.to_le_bytes());
    ask.extend(number.to_le_bytes());
    ask.extend(file.as_bytes());
    ask
}

/// The parameters of `COM_BINLOG_DUMP_GTID`: all transactions but these.
fn all_but(executed: &GtidSet, number: u32) -> Vec<u8> {
    let mut set = Vec::new();
    executed.encode(&mut set);
    let mut ask = Vec::with_capacity(26 + set.len());
    ask.extend(THROUGH_GTID.to_le_bytes());
    ask.extend(number.to_le_bytes());
    // No file's name.
    ask.extend(0_u32.to_le_bytes());
    ask.extend(FIRST.to_le_bytes());
    ask.extend(u32::try_from(set.len()).unwrap_or_default().to_le_bytes());
    ask.extend(set);
    ask
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// That the log was silent for too long.
pub(super) fn silent() -> Problem {
    let text = format!("The source's log was silent for {} s.", SILENCE.as_secs());
    Problem::transient("source-silent", text).advice("Look whether the server hangs, and what the network does.")
}

/// Why the log can't be read on.
fn lost(cause: &WireError) -> Problem {
    let problem = error::problem(cause, "read the source's log");
    let message = match cause {
        WireError::Server { code, message, .. } if LOG_ERRORS.contains(code) => message,
        _ if problem.fault == Fault::Data => return Problem { fault: Fault::Transient, ..problem },
        _ => return problem,
    };
    let gone =
        ["could not find", "impossible position", "purged", "missing", "not found", "not in the master", "more gtids"];
    if gone.iter().any(|words| message.to_lowercase().contains(words)) {
        return Problem { fault: Fault::PositionLost, code: "log-purged".to_owned(), ..problem }
            .advice("Reload the tables, and have the server keep its log for longer (binlog_expire_logs_seconds).");
    }
    Problem { fault: Fault::Transient, code: "log-ended".to_owned(), ..problem }
}
