//! What a connection needs to know.

use std::time::Duration;

use secrecy::SecretString;

use crate::tls::Tls;

/// Whether the login must be bound to the TLS session (SCRAM-SHA-256-PLUS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Where both sides can. A server that can but was made to look as if it could not is noticed by SCRAM itself.
    #[default]
    Prefer,
    /// Always: any other login is refused before the password is used.
    Require,
}

/// The settings of one connection.
#[derive(Clone, Debug)]
pub struct ConnectSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password, where the server asks for one.
    pub password: Option<SecretString>,
    /// Database.
    pub database: String,
    /// Further run-time parameters for the session. They come after the client's own (`client_encoding`; in replication mode
    /// also `DateStyle`, `IntervalStyle`, `extra_float_digits`, `bytea_output`) and win over them.
    pub parameters: Vec<(String, String)>,
    /// Whether the session speaks the replication protocol beside SQL.
    pub replication: bool,
    /// TLS.
    pub tls: Tls,
    /// Channel binding.
    pub channel_binding: ChannelBinding,
    /// How long each address, and then TLS and login together, may take.
    pub connect_timeout: Duration,
    /// After how much silence the connection is probed; three probes a third of this apart.
    pub keepalive: Duration,
    /// How long sent bytes may stay unacknowledged before the connection counts as broken.
    pub user_timeout: Duration,
    /// Size of the read buffer at rest, in bytes. It grows for a larger message and shrinks after.
    pub read_buffer: usize,
    /// The largest message taken, in bytes. A row may be larger than one field's limit of 1 GB.
    pub max_message: usize,
}

impl ConnectSettings {
    /// Settings with the usual limits and no password.
    pub fn new(
        host: impl Into<String>,
        port: u16,
        user: impl Into<String>,
        database: impl Into<String>,
        tls: Tls,
    ) -> Self {
        Self {
            host: host.into(),
            port,
            user: user.into(),
            password: None,
            database: database.into(),
            parameters: Vec::new(),
            replication: true,
            tls,
            channel_binding: ChannelBinding::Prefer,
            connect_timeout: Duration::from_secs(15),
            keepalive: Duration::from_secs(15),
            user_timeout: Duration::from_secs(30),
            read_buffer: 512 * 1024,
            max_message: i32::MAX as usize,
        }
    }
}
