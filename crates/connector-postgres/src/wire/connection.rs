//! A connection before it streams: startup, login, and the simple query protocol.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;

use super::backend;
use super::buffer::ReadBuffer;
use super::socket::{self, Socket, limited};
use super::{ConnectSettings, WireError, auth};

/// The session's settings that give the log's values their text form, the same as the server's own subscriptions use.
const REPLICATION: [(&str, &str); 5] = [
    ("replication", "database"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
];

/// A logged-in connection. It takes ordinary SQL and, in replication mode, commands of the replication protocol.
pub struct Connection {
    pub(super) socket: Socket,
    pub(super) buffer: ReadBuffer,
    pub(super) out: BytesMut,
    pub(super) channel_bound: bool,
    parameters: HashMap<String, String>,
    backend_pid: i32,
    // Invariant: true from the moment a command is sent until the server is ready for the next one.
    in_flight: bool,
}

/// The answer to one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row in text form.
#[derive(Clone, PartialEq, Eq)]
pub struct Row(pub Vec<Option<Vec<u8>>>);

impl Row {
    /// A cell's bytes; `None` for null and for a cell that isn't there.
    #[must_use]
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        self.0.get(column)?.as_deref()
    }

    /// A cell's text; `None` for null, for a cell that isn't there and for one that is not UTF-8.
    #[must_use]
    pub fn text(&self, column: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes(column)?).ok()
    }
}

impl std::fmt::Debug for Row {
    /// Row values stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({} cells)", self.0.len())
    }
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// When the host isn't reached in time, TLS can't be set up as demanded, or the login fails.
    pub async fn connect(settings: &ConnectSettings) -> Result<Self, WireError> {
        let mut connection = Self {
            socket: socket::connect(settings).await?,
            buffer: ReadBuffer::new(settings.read_buffer, settings.max_message),
            out: BytesMut::new(),
            channel_bound: false,
            parameters: HashMap::new(),
            backend_pid: 0,
            in_flight: true,
        };
        limited("logging in", settings.connect_timeout, connection.start(settings)).await?;
        Ok(connection)
    }

    /// What the server told about itself or the session, e.g. `server_version`, `TimeZone`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The major version, e.g. 15; 0 if the server doesn't tell.
    #[must_use]
    pub fn server_major(&self) -> u32 {
        let version = self.parameter("server_version").unwrap_or_default();
        let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
        version[..digits].parse().unwrap_or(0)
    }

    /// The server process of this connection (`pg_stat_activity.pid`).
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.socket.is_encrypted()
    }

    /// Whether the login was bound to the TLS session.
    #[must_use]
    pub fn is_channel_bound(&self) -> bool {
        self.channel_bound
    }

    /// Runs a command or statements over the simple protocol: one [`Rows`] per statement.
    ///
    /// Not cancel safe: when the future is dropped before its end, the connection only answers
    /// [`WireError::Unfinished`] from then on.
    ///
    /// # Errors
    /// The server's first error, after which the connection goes on unless it was fatal; or a broken connection.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Rows>, WireError> {
        self.send_query(sql).await?;
        let mut answers = Vec::new();
        let mut current = Rows::default();
        let mut failure = None;
        loop {
            let (kind, body) = self.receive().await?;
            match kind {
                b'T' => current.columns = backend::columns(&body)?,
                b'D' => current.rows.push(Row(backend::cells(&body)?)),
                b'C' | b'I' => answers.push(std::mem::take(&mut current)),
                b'E' => {
                    let error = backend::error(&body)?;
                    if error.is_fatal() {
                        return Err(error.into());
                    }
                    failure = failure.or(Some(error));
                }
                // COPY has no place here: data from the server is passed over, data for it refused.
                b'H' | b'd' | b'c' => {}
                b'G' => {
                    frontend::copy_fail("COPY FROM STDIN is not supported on this connection", &mut self.out)?;
                    self.flush().await?;
                }
                b'Z' => break,
                other => return Err(unexpected(other)),
            }
        }
        self.answered();
        failure.map_or(Ok(answers), |error| Err(error.into()))
    }

    /// Says goodbye. Dropping the connection does as well, less politely.
    ///
    /// # Errors
    /// When the connection is broken already.
    pub async fn close(mut self) -> Result<(), WireError> {
        frontend::terminate(&mut self.out);
        self.flush().await?;
        Ok(self.socket.shutdown().await?)
    }

    /// The answer to the last command is over.
    pub(super) fn answered(&mut self) {
        self.in_flight = false;
    }

    /// Whether the caller comes back for what the server sends soon and by itself, so that it need not be woken by each piece.
    pub(super) fn is_unhurried(&self, unhurried: bool) {
        self.socket.stream().unhurried().store(unhurried, Ordering::Relaxed);
    }

    pub(super) fn certificate(&self) -> Option<&[u8]> {
        self.socket.certificate()
    }

    /// Sends a query and marks the connection as busy.
    pub(super) async fn send_query(&mut self, sql: &str) -> Result<(), WireError> {
        if self.in_flight {
            return Err(WireError::Unfinished);
        }
        self.out.clear();
        frontend::query(sql, &mut self.out)?;
        self.in_flight = true;
        self.flush().await
    }

    /// The next message that isn't a notice or a parameter, with a copy of its body.
    pub(super) async fn receive(&mut self) -> Result<(u8, Vec<u8>), WireError> {
        loop {
            let Some((kind, range)) = self.buffer.next()? else {
                self.buffer.fill(&mut self.socket).await?;
                continue;
            };
            let body = self.buffer.body(range);
            match kind {
                b'N' => tracing::debug!(notice = ?backend::error(body)?, "the server gave notice"),
                b'S' => {
                    let (name, value) = backend::parameter(body)?;
                    self.parameters.insert(name, value);
                }
                b'A' => {}
                _ => return Ok((kind, body.to_vec())),
            }
        }
    }

    /// The body of the next message, which must be of this kind.
    pub(super) async fn expect(&mut self, expected: u8) -> Result<Vec<u8>, WireError> {
        match self.receive().await? {
            (kind, body) if kind == expected => Ok(body),
            (b'E', body) => Err(backend::error(&body)?.into()),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Sends what was written to `out`.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        self.socket.write_all_buf(&mut self.out).await?;
        Ok(self.socket.flush().await?)
    }

    async fn start(&mut self, settings: &ConnectSettings) -> Result<(), WireError> {
        let own = [("client_encoding", "UTF8"), ("user", &*settings.user), ("database", &*settings.database)];
        let own = own.into_iter().chain(REPLICATION.into_iter().filter(|_| settings.replication));
        let further = settings.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        frontend::startup_message(own.chain(further), &mut self.out)?;
        self.flush().await?;
        auth::log_in(self, settings).await?;
        loop {
            match self.receive().await? {
                (b'K', body) => self.backend_pid = backend::Fields(&body).i32()?,
                (b'Z', _) => break,
                (b'E', body) => return Err(backend::error(&body)?.into()),
                (other, _) => return Err(unexpected(other)),
            }
        }
        self.answered();
        Ok(())
    }
}

/// A message that has no place where it came.
pub(super) fn unexpected(kind: u8) -> WireError {
    WireError::Protocol(format!("an unexpected message of the kind '{}'", kind.escape_ascii()))
}
