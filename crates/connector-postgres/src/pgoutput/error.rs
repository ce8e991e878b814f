//! Why bytes are not a pgoutput message.

use std::fmt;

/// A message that could not be decoded: which one, where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The name of the message as the manual has it, or `message` when not even that is known.
    pub message: &'static str,
    /// The byte of the message, counted from 0, at which decoding stopped.
    pub at: usize,
    /// What was wrong there.
    pub reason: Reason,
}

/// What was wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The message ends inside this field.
    Truncated(&'static str),
    /// Bytes are left after the message's last field.
    Trailing(usize),
    /// No message starts with this byte.
    UnknownMessage(u8),
    /// A message of a protocol version or an option that is never asked for.
    NotRequested,
    /// This field has a value that the manual doesn't list.
    Unexpected(&'static str, u8),
    /// This count or length is negative.
    Negative(&'static str),
    /// This name is not UTF-8.
    NotUtf8(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pgoutput {}, byte {}: ", self.message, self.at)?;
        match self.reason {
            Reason::Truncated(field) => write!(f, "it ends inside {field}"),
            Reason::Trailing(count) => write!(f, "{count} bytes follow its end"),
            Reason::UnknownMessage(tag) => write!(f, "no message starts with byte 0x{tag:02x}"),
            Reason::NotRequested => f.write_str("this kind of message was not asked for"),
            Reason::Unexpected(field, value) => write!(f, "{field} has the unknown value 0x{value:02x}"),
            Reason::Negative(field) => write!(f, "{field} is negative"),
            Reason::NotUtf8(field) => write!(f, "{field} is not UTF-8"),
        }
    }
}

impl std::error::Error for DecodeError {}
