//! What goes wrong on the wire.

use std::io;
use std::time::Duration;

use crate::fields::Malformed;

/// An error of a connection. None of them repeats a value or a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the address of {host} can't be found")]
    Resolve { host: String, source: io::Error },
    #[error("{host}:{port} can't be reached")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("{step} took longer than {} s", after.as_secs())]
    Timeout { step: &'static str, after: Duration },
    #[error("the connection to {host} can't be encrypted")]
    Tls { host: String, source: io::Error },
    #[error("the server does not encrypt connections")]
    TlsNotOffered,
    #[error("the password would have to be sent over a connection that is not encrypted")]
    PasswordInTheOpen,
    #[error("the server asks for the password itself, and nothing proves that it is the right server")]
    PasswordToAnybody,
    #[error("the server asks for {0}, which is not known here")]
    UnknownLogin(String),
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("it takes more than the {most} bytes that the server lets a statement have (max_allowed_packet)")]
    TooLarge { most: usize },
    #[error("a load on this connection was not brought to its end")]
    Unfinished,
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("the server broke the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// The server's own error.
    #[error("{message}")]
    Server { code: u16, state: String, message: String },
}

impl WireError {
    /// The server's number of the error.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the server does not take the rows of a load from its client: `local_infile` is off. MySQL from 8.0.21 on
    /// has a number for it, MariaDB another; older versions call it a command that is not allowed.
    pub(crate) fn is_load_refused(&self) -> bool {
        matches!(self.code(), Some(3948 | 4166 | 1148))
    }
}
