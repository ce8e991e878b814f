//! What can go wrong between this client and the server.

use std::time::Duration;
use std::{fmt, io};

use thiserror::Error;
use wavemark_domain::Fault;

/// An error that the server reported (manual: "Error and Notice Message Fields", protocol-error-fields).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    /// The sentence, in the server's language.
    pub message: String,
    /// More about it. May hold row values: not for logs.
    pub detail: Option<String>,
    /// What the server advises.
    pub hint: Option<String>,
    /// Where in the server it was raised.
    pub routine: Option<String>,
}

impl ServerError {
    /// Whether the server closes the connection after this.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.severity == "FATAL" || self.severity == "PANIC"
    }

    /// What a supervisor does about it when the command that failed says nothing more precise.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self.code.as_str() {
            // No slot or sender is left, which waiting doesn't change.
            "53400" => Fault::Settings,
            // The log segment that was asked for is gone.
            "58P01" => Fault::PositionLost,
            // An object in use, a lock, an I/O error, an internal error.
            "55006" | "55P03" | "58030" | "XX000" => Fault::Transient,
            // Connection, transaction rollback, resources, operator intervention.
            code if matches!(code.get(..2), Some("08" | "40" | "53" | "57")) => Fault::Transient,
            _ => Fault::Settings,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl fmt::Debug for ServerError {
    /// Leaves the detail out, which may hold row values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.severity)
    }
}

impl std::error::Error for ServerError {}

/// Why a call on the wire failed.
#[derive(Debug, Error)]
pub enum WireError {
    /// The host's name has no address.
    #[error("cannot find an address of host {host}")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers at the address.
    #[error("cannot connect to {host}:{port}")]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The server is there but too slow.
    #[error("{step} took longer than {} s", after.as_secs_f32())]
    Timeout {
        /// What was waited for.
        step: &'static str,
        /// How long.
        after: Duration,
    },
    /// The settings demand TLS.
    #[error("the server does not offer TLS, which the settings demand")]
    TlsNotOffered,
    /// No TLS session: an untrusted certificate, a wrong host name, a client certificate that is missing.
    #[error("cannot set up TLS with {host}")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The login failed on this side of the connection.
    #[error("cannot log in: {0}")]
    Login(String),
    /// The server says no.
    #[error(transparent)]
    Server(#[from] Box<ServerError>),
    /// The connection broke.
    #[error("the connection to the server broke")]
    Io(#[from] io::Error),
    /// The server ended the connection without a word.
    #[error("the server closed the connection")]
    Closed,
    /// Bytes that the protocol does not allow here.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// A message above the limit; nothing was allocated for it.
    #[error("the server announced a message of {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// As announced.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A command was given up half-way before, so that the answers no longer match the questions.
    #[error("an earlier command on this connection was given up; open a new one")]
    Unfinished,
}

impl WireError {
    /// What a supervisor does about it when the caller knows nothing more precise.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Server(error) => error.fault(),
            Self::Tls { source, .. }
                if source.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                Fault::Settings
            }
            Self::TlsNotOffered | Self::Login(_) => Fault::Settings,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::Io(_)
            | Self::Closed => Fault::Transient,
            Self::Protocol(_) | Self::TooLarge { .. } | Self::Unfinished => Fault::Internal,
        }
    }

    /// The server's error, if it is one.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }

    /// The server's SQLSTATE, if it is the server's error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.server().map(|error| error.code.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_server_error_follows_from_its_code() {
        let cases = [
            ("57P01", Fault::Transient),
            ("40001", Fault::Transient),
            ("53300", Fault::Transient),
            ("53400", Fault::Settings),
            ("55006", Fault::Transient),
            ("28P01", Fault::Settings),
            ("42501", Fault::Settings),
            ("58P01", Fault::PositionLost),
            ("é", Fault::Settings),
        ];
        for (code, fault) in cases {
            let error = ServerError { code: code.to_owned(), ..ServerError::default() };
            assert_eq!(error.fault(), fault, "{code}");
        }
    }
}
