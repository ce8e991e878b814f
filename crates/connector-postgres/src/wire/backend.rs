//! The bodies of the server's messages, read without trust.

use super::{ServerError, WireError};

/// Reads fields from a message's body.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A zero-terminated string. Bytes that aren't UTF-8 are replaced: these are names and messages for people.
    pub(super) fn string(&mut self) -> Result<String, WireError> {
        let length = self.0.iter().position(|byte| *byte == 0).ok_or_else(short)?;
        let text = String::from_utf8_lossy(self.bytes(length)?).into_owned();
        self.0 = self.0.get(1..).unwrap_or_default();
        Ok(text)
    }
}

fn short() -> WireError {
    WireError::Protocol("a message that ends too early".to_owned())
}

/// `ErrorResponse` and `NoticeResponse`.
pub(super) fn error(body: &[u8]) -> Result<Box<ServerError>, WireError> {
    let mut fields = Fields(body);
    let mut error = ServerError::default();
    loop {
        let [kind] = fields.array()?;
        if kind == 0 {
            return Ok(Box::new(error));
        }
        let text = fields.string()?;
        match kind {
            b'V' => error.severity = text,
            b'S' if error.severity.is_empty() => error.severity = text,
            b'C' => error.code = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            b'H' => error.hint = Some(text),
            b'R' => error.routine = Some(text),
            _ => {}
        }
    }
}

/// The warning by which version 18 says that a publication is not there where it reads: from there on it sends nothing of
/// its tables. Those before end the stream with an error, and so does this one here.
pub(super) fn skipped(notice: &[u8]) -> Result<Option<Box<ServerError>>, WireError> {
    /// `object_not_in_prerequisite_state`: no other warning of a stream has it.
    const NOT_THERE: &str = "55000";
    let notice = error(notice)?;
    Ok((notice.severity == "WARNING" && notice.code == NOT_THERE).then_some(notice))
}

/// `ParameterStatus`.
pub(super) fn parameter(body: &[u8]) -> Result<(String, String), WireError> {
    let mut fields = Fields(body);
    Ok((fields.string()?, fields.string()?))
}

/// The names in a `RowDescription`.
pub(super) fn columns(body: &[u8]) -> Result<Vec<String>, WireError> {
    let mut fields = Fields(body);
    let count = fields.i16()?;
    (0..count)
        .map(|_| {
            let name = fields.string()?;
            // Table, attribute, type, size, modifier, format: of no use here.
            fields.bytes(18)?;
            Ok(name)
        })
        .collect()
}

/// The cells of a `DataRow`.
pub(super) fn cells(body: &[u8]) -> Result<Vec<Option<Vec<u8>>>, WireError> {
    let mut fields = Fields(body);
    let count = fields.i16()?;
    (0..count)
        .map(|_| match usize::try_from(fields.i32()?) {
            Ok(length) => Ok(Some(fields.bytes(length)?.to_vec())),
            Err(_) => Ok(None),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_is_read_field_by_field() {
        let found =
            error(b"SFEHLER\0VERROR\0C42P01\0Mno such table\0Dthe detail\0Hlook again\0F\x66\0Rraise\0\0").unwrap();
        assert_eq!(
            *found,
            ServerError {
                severity: "ERROR".to_owned(),
                code: "42P01".to_owned(),
                message: "no such table".to_owned(),
                detail: Some("the detail".to_owned()),
                hint: Some("look again".to_owned()),
                routine: Some("raise".to_owned()),
            }
        );
        assert_eq!(format!("{found:?}"), "ERROR: no such table (SQLSTATE 42P01)");
    }

    #[test]
    fn one_warning_alone_means_that_nothing_is_sent_any_more() {
        let missing = b"SWARNUNG\0VWARNING\0C55000\0Mskipped loading publication \"mine\"\0\0";
        assert_eq!(skipped(missing).unwrap().unwrap().message, "skipped loading publication \"mine\"");
        assert!(skipped(b"SWARNING\0VWARNING\0C01000\0Manything else\0\0").unwrap().is_none());
        assert!(skipped(b"SNOTICE\0VNOTICE\0C55000\0Mno warning\0\0").unwrap().is_none());
    }

    proptest! {
        #[test]
        fn no_body_makes_a_reader_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (error(&body), skipped(&body).is_ok(), parameter(&body), columns(&body), cells(&body));
        }
    }
}
