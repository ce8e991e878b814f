//! A cursor over one message that knows its name and never reads past its end.

use super::{DecodeError, Reason};

/// Reads the fields of one message in order.
pub(super) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    message: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8], message: &'static str) -> Self {
        Self { data, at: 0, message }
    }

    /// Names the message once its first byte is known.
    pub(super) fn set_message(&mut self, message: &'static str) {
        self.message = message;
    }

    /// The byte that is read next.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `from` up to what was read last.
    pub(super) fn since(&self, from: usize) -> &'a [u8] {
        self.data.get(from..self.at).unwrap_or_default()
    }

    #[cold]
    pub(super) fn error(&self, reason: Reason) -> DecodeError {
        DecodeError { message: self.message, at: self.at, reason }
    }

    /// An error about the byte that was read last.
    #[cold]
    pub(super) fn unexpected(&self, field: &'static str, value: u8) -> DecodeError {
        DecodeError { message: self.message, at: self.at.saturating_sub(1), reason: Reason::Unexpected(field, value) }
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self.data.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.error(Reason::Truncated(field))),
        }
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    #[inline]
    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// An Int16 that counts something.
    #[inline]
    pub(super) fn count16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let value = self.array(field).map(i16::from_be_bytes)?;
        u16::try_from(value).map_err(|_| self.error(Reason::Negative(field)))
    }

    /// An Int32 that counts something.
    #[inline]
    pub(super) fn count32(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let value = self.i32(field)?;
        usize::try_from(value).map_err(|_| self.error(Reason::Negative(field)))
    }

    #[inline]
    pub(super) fn bytes(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.data.get(self.at..).and_then(|rest| rest.get(..length)) {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => Err(self.error(Reason::Truncated(field))),
        }
    }

    /// A String: UTF-8, ended by a zero byte.
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return Err(self.error(Reason::Truncated(field)));
        };
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| self.error(Reason::NotUtf8(field)))?;
        self.at += length + 1;
        Ok(text)
    }

    /// States that the message is over.
    #[inline]
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.data.len() - self.at {
            0 => Ok(()),
            left => Err(self.error(Reason::Trailing(left))),
        }
    }
}
