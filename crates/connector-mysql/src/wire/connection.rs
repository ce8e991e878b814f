//! Logging in, and statements whose answers are text.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio_rustls::TlsConnector;

use super::WireError;
use super::auth::Method;
use super::packet::Packets;
use super::socket;
use crate::fields::Fields;

// Capabilities (manual: "Capabilities Flags").
const LONG_PASSWORD: u32 = 1;
/// An update counts the rows that it found, not those that it made other than they were.
const FOUND_ROWS: u32 = 1 << 1;
const LONG_FLAG: u32 = 1 << 2;
/// The server may ask for what LOAD DATA LOCAL reads. No source's connection has it.
const LOCAL_FILES: u32 = 1 << 7;
/// A command may be several statements, and have as many answers. No source's connection has it.
const MULTI_STATEMENTS: u32 = 1 << 16;
const MULTI_RESULTS: u32 = 1 << 17;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRS: u32 = 1 << 20;
const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
const DEPRECATE_EOF: u32 = 1 << 24;
const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH | DEPRECATE_EOF;
const WANTED: u32 = NEEDED | LONG_PASSWORD | LONG_FLAG | TRANSACTIONS | CONNECT_ATTRS | PLUGIN_AUTH_LENENC;
const WRITES: u32 = FOUND_ROWS | LOCAL_FILES | MULTI_STATEMENTS | MULTI_RESULTS;

/// `utf8mb4_general_ci`, which every version knows.
const COLLATION: u8 = 45;
/// The longest payload that is taken.
const MOST: u32 = 1 << 30;

const COM_QUIT: u8 = 0x01;
pub(super) const COM_QUERY: u8 = 0x03;
const OK: u8 = 0x00;
/// The session's state in an OK packet: another answer follows.
const MORE: u16 = 1 << 3;
/// The first byte of the payload that asks for a file.
pub(super) const FILE: u8 = 0xFB;
/// The first byte of the payload that ends rows.
pub(crate) const END: u8 = 0xFE;
/// A payload that begins so and is this long is a row.
pub(crate) const LONG: usize = 0xFF_FFFF;

/// Where to log in, and as whom.
#[derive(Clone)]
pub(crate) struct Login<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    pub(crate) password: &'a [u8],
    /// None if the connection is not to be encrypted.
    pub(crate) tls: Option<TlsConnector>,
    /// Whether the server's certificate is checked.
    pub(crate) is_verified: bool,
    /// How long each step may take.
    pub(crate) within: Duration,
    /// Whether it is to write: the server may then ask for the rows of a load, and an update counts the rows found.
    pub(crate) writes: bool,
}

/// A session at a server.
pub(crate) struct Connection {
    pub(crate) packets: Packets,
    /// The server's version as it says it.
    pub(crate) version: String,
    /// Whether the server waits for the rest of a load.
    pub(super) loading: bool,
    /// The longest command that the server takes.
    pub(crate) most: usize,
}

/// What a statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// Rows that were inserted or deleted, or found by an update.
    pub(crate) affected: u64,
    /// How often the server warned.
    pub(crate) warnings: u16,
}

/// A row of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(Vec<Option<Vec<u8>>>);

impl Row {
    /// A cell as text; `None` for NULL, and for one that isn't there.
    pub(crate) fn text(&self, at: usize) -> Option<String> {
        self.0.get(at)?.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A cell as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, at: usize) -> Option<T> {
        self.text(at)?.parse().ok()
    }
}

/// What a server says of itself first.
struct Greeting {
    version: String,
    capabilities: u32,
    nonce: Vec<u8>,
    method: Vec<u8>,
}

impl Connection {
    /// Connects, encrypts if the login says so, and logs in.
    pub(crate) async fn open(login: &Login<'_>) -> Result<Self, WireError> {
        let socket = socket::connect(login.host, login.port, login.within).await?;
        let entering = Self::enter(Packets::new(socket), login);
        let timeout = || WireError::Timeout { step: "logging in", after: login.within };
        tokio::time::timeout(login.within, entering).await.map_err(|_| timeout())?
    }

    async fn enter(mut packets: Packets, login: &Login<'_>) -> Result<Self, WireError> {
        let greeting = greeting(&packets.answer().await?)?;
        if greeting.capabilities & NEEDED != NEEDED {
            return Err(WireError::Protocol("it is older than MySQL 5.7 and MariaDB 10.6"));
        }
        let wanted = if login.writes { WANTED | WRITES } else { WANTED };
        let mut capabilities = wanted & (greeting.capabilities | LONG_PASSWORD);
        if let Some(connector) = &login.tls {
            if greeting.capabilities & SSL == 0 {
                return Err(WireError::TlsNotOffered);
            }
            capabilities |= SSL;
            packets.send(&introduction(capabilities)).await?;
            packets = packets.encrypt(connector, login.host).await?;
        }
        let method = Method::named(&greeting.method).unwrap_or(Method::Native);
        let may_show = packets.is_encrypted() && login.is_verified;
        // Nothing is shown to a server that was not asked for it yet.
        let method = if method == Method::Clear { Method::Native } else { method };
        let proof = method.proof(login.password, &greeting.nonce, may_show)?;
        packets.send(&response(capabilities, login, method, &proof)).await?;
        log_in(&mut packets, login, method, may_show).await?;
        Ok(Self { packets, version: greeting.version, loading: false, most: usize::MAX })
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.packets.is_encrypted()
    }

    /// Runs one statement; its rows, if it has any.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>, WireError> {
        let mut rows = Vec::new();
        self.run(sql.as_bytes(), |row| rows.push(row)).await?;
        Ok(rows)
    }

    /// Runs one statement; what it did. Rows that it may have are let go.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<Done, WireError> {
        self.execute_bytes(sql.as_bytes()).await
    }

    /// The same of a statement that may not be text as a whole.
    pub(crate) async fn execute_bytes(&mut self, sql: &[u8]) -> Result<Done, WireError> {
        self.run(sql, drop).await
    }

    /// Runs statements with a semicolon between them, up to the first that fails. `take` hears what each did; one that gives
    /// rows has so many affected.
    pub(crate) async fn execute_many(
        &mut self,
        sql: &[u8],
        take: &mut (dyn FnMut(Done) + Send),
    ) -> Result<(), WireError> {
        self.send(COM_QUERY, sql).await?;
        loop {
            let mut rows = 0;
            let (done, more) = self.outcome(|_| rows += 1).await?;
            take(Done { affected: done.affected.max(rows), ..done });
            if !more {
                return Ok(());
            }
        }
    }

    async fn run(&mut self, sql: &[u8], take: impl FnMut(Row)) -> Result<Done, WireError> {
        self.send(COM_QUERY, sql).await?;
        let (done, more) = self.outcome(take).await?;
        if more {
            return Err(WireError::Protocol("it answers one statement more than once"));
        }
        Ok(done)
    }

    /// One statement's answer, and whether another follows.
    async fn outcome(&mut self, mut take: impl FnMut(Row)) -> Result<(Done, bool), WireError> {
        let first = self.packets.answer().await?;
        let columns = match first.first() {
            Some(&OK) => return ended(&first),
            Some(&FILE) => {
                self.loading = true;
                return Err(WireError::Protocol("it asks for a file"));
            }
            _ => Fields(&first).length()?,
        };
        for _ in 0..columns {
            self.packets.answer().await?;
        }
        loop {
            let payload = self.packets.answer().await?;
            if payload.first() == Some(&END) && payload.len() < LONG {
                return ended(&payload);
            }
            let mut fields = Fields(&payload);
            let cells = (0..columns).map(|_| Ok(fields.cell()?.map(<[u8]>::to_vec)));
            take(Row(cells.collect::<Result<_, WireError>>()?));
        }
    }

    /// Sends a command.
    pub(crate) async fn send(&mut self, command: u8, what: &[u8]) -> Result<(), WireError> {
        if self.loading {
            return Err(WireError::Unfinished);
        }
        // The server would close the connection.
        if what.len() >= self.most {
            return Err(WireError::TooLarge { most: self.most });
        }
        self.packets.begin();
        let mut payload = Vec::with_capacity(1 + what.len());
        payload.push(command);
        payload.extend_from_slice(what);
        self.packets.send(&payload).await
    }

    /// Says goodbye, so that the server notes no broken connection.
    pub(crate) async fn close(mut self) {
        drop(self.send(COM_QUIT, &[]).await);
    }
}

/// An `OK` packet.
pub(super) fn done(payload: &[u8]) -> Result<Done, WireError> {
    ended(payload).map(|(done, _)| done)
}

/// An `OK` packet, also the one that ends rows, and whether another answer follows.
fn ended(payload: &[u8]) -> Result<(Done, bool), WireError> {
    let mut fields = Fields(payload);
    if !matches!(fields.u8()?, OK | END) {
        return Err(WireError::Protocol("it ends a statement in a way that is not known"));
    }
    let affected = fields.length()? as u64;
    // The number of the last row that was counted.
    fields.length()?;
    let state = fields.u16()?;
    Ok((Done { affected, warnings: fields.u16()? }, state & MORE != 0))
}

/// `HandshakeV10`.
fn greeting(payload: &[u8]) -> Result<Greeting, WireError> {
    let mut fields = Fields(payload);
    if fields.u8()? != 10 {
        return Err(WireError::Protocol("it greets in a way that is not known"));
    }
    let version = String::from_utf8_lossy(fields.until_zero()?).into_owned();
    // The session's number.
    fields.take(4)?;
    let mut nonce = fields.take(8)?.to_vec();
    fields.take(1)?;
    let low = fields.u16()?;
    fields.take(3)?;
    let high = fields.u16()?;
    let length = usize::from(fields.u8()?);
    fields.take(10)?;
    let capabilities = u32::from(low) | u32::from(high) << 16;
    let rest = fields.take(length.saturating_sub(8).max(13))?;
    nonce.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
    // Some versions leave the zero out that ends the name.
    let method = fields.0.strip_suffix(&[0]).unwrap_or(fields.0).to_vec();
    Ok(Greeting { version, capabilities, nonce, method })
}

/// What begins the response, and is all of it that asks for TLS.
fn introduction(capabilities: u32) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.put_u32_le(capabilities);
    out.put_u32_le(MOST);
    out.put_u8(COLLATION);
    out.put_bytes(0, 23);
    out
}

/// `HandshakeResponse41`.
fn response(capabilities: u32, login: &Login<'_>, method: Method, proof: &[u8]) -> BytesMut {
    let mut out = introduction(capabilities);
    out.put_slice(login.user.as_bytes());
    out.put_u8(0);
    // A proof is 64 bytes at most, so one byte says its length in either form.
    out.put_u8(u8::try_from(proof.len()).unwrap_or_default());
    out.put_slice(proof);
    out.put_slice(method.name().as_bytes());
    out.put_u8(0);
    if capabilities & CONNECT_ATTRS != 0 {
        let attributes = [["program_name", "wavemark"]];
        let mut pairs = Vec::new();
        for text in attributes.as_flattened() {
            pairs.push(u8::try_from(text.len()).unwrap_or_default());
            pairs.extend_from_slice(text.as_bytes());
        }
        out.put_u8(u8::try_from(pairs.len()).unwrap_or_default());
        out.put_slice(&pairs);
    }
    out
}

/// What the server asks until it lets the user in.
async fn log_in(packets: &mut Packets, login: &Login<'_>, mut method: Method, may_show: bool) -> Result<(), WireError> {
    loop {
        let payload = packets.answer().await?;
        let mut fields = Fields(&payload);
        match fields.u8()? {
            0x00 => return Ok(()),
            END => {
                method = Method::named(fields.until_zero()?)?;
                let nonce = fields.0.strip_suffix(&[0]).unwrap_or(fields.0);
                let proof = method.proof(login.password, nonce, may_show)?;
                packets.send(&proof).await?;
            }
            // It remembers the password's hash, and says OK next; or it does not, and wants the password.
            0x01 if method == Method::CachingSha2 && fields.0 == [3] => {}
            0x01 if method == Method::CachingSha2 && fields.0 == [4] && packets.is_encrypted() => {
                packets.send(&[login.password, &[0]].concat()).await?;
            }
            0x01 if method == Method::CachingSha2 && fields.0 == [4] => return Err(WireError::PasswordInTheOpen),
            _ => return Err(WireError::Protocol("it answers a login in a way that is not known")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_read() {
        let mut payload = b"\x0a5.5.5-10.11.6-MariaDB\0\x07\0\0\0abcdefgh\0".to_vec();
        payload.extend([0xFE, 0xF7, 45, 2, 0, 0xFF, 0x81, 21]);
        payload.extend([0; 10]);
        payload.extend(b"ijklmnopqrst\0mysql_native_password\0");
        let greeting = greeting(&payload).unwrap();
        assert_eq!(greeting.version, "5.5.5-10.11.6-MariaDB");
        assert_eq!(greeting.capabilities, 0x81FF_F7FE);
        assert_eq!(greeting.nonce, b"abcdefghijklmnopqrst");
        assert_eq!(greeting.method, b"mysql_native_password");
    }

    #[test]
    fn a_greeting_that_is_cut_is_an_error() {
        let payload = b"\x0a8.0\0\x07\0\0\0abcdefgh\0\xFE\xF7\x2d\x02\0\xFF\x81\xFF";
        for length in 0..payload.len() {
            assert!(greeting(&payload[..length]).is_err());
        }
        assert!(greeting(b"\x09").is_err());
    }

    /// The first is what MySQL 9 says of an update of three rows with a warning, the second what MariaDB says behind rows.
    #[test]
    fn what_a_statement_did_is_read() {
        let of = |payload: &[u8]| done(payload);
        assert_eq!(of(b"\0\x03\0\x02\0\x01\0").unwrap(), Done { affected: 3, warnings: 1 });
        assert_eq!(of(b"\xFE\0\0\x22\0\0\0").unwrap(), Done { affected: 0, warnings: 0 });
        assert_eq!(of(b"\0\xFC\x10\x27\0\x02\0\xFF\xFFmore").unwrap(), Done { affected: 10_000, warnings: 65_535 });
        assert!(of(b"\0\x03\0\x02\0\x01").is_err());
        assert!(of(b"\x01\x03\0\x02\0\x01\0").is_err());
        assert!(of(b"").is_err());
    }
}
