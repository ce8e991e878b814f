//! `QUERY_EVENT`: a statement, and what it was run with as far as that says what its text means.

use super::event::Written;
use crate::fields::{Fields, Malformed};

/// A statement in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// The session that ran it: the server's number, and the session's there.
    pub(crate) session: (u32, u32),
    /// Whether that matters: it, or what the session ran with it, has temporary tables.
    pub(crate) is_of_session: bool,
    /// The schema that it was run in.
    pub(crate) schema: &'a [u8],
    /// In the character set of who sent it.
    pub(crate) text: &'a [u8],
    /// The number of the error that it ended with after a part of it was done; 0 for none.
    pub(crate) error: u16,
    /// The bits of its `sql_mode`; none if the log does not have them.
    pub(crate) sql_mode: Option<u64>,
    /// The number of a collation of the text's character set.
    pub(crate) charset: Option<u16>,
}

/// What stands before the schema in a statement that loads a file, where other things are between.
const OF_FILE: usize = 4 + 4 + 4 + 1;

impl<'a> Query<'a> {
    pub(super) fn read(fields: Fields<'a>, written: Written) -> Result<Self, Malformed> {
        Self::with(fields, written, 0)
    }

    /// `EXECUTE_LOAD_QUERY_EVENT`: a statement that loads a file, which is logged as such.
    pub(super) fn of_file(fields: Fields<'a>, written: Written) -> Result<Self, Malformed> {
        Self::with(fields, written, OF_FILE)
    }

    fn with(mut fields: Fields<'a>, written: Written, between: usize) -> Result<Self, Malformed> {
        let session = (written.server, fields.u32()?);
        fields.take(4)?;
        let schema = usize::from(fields.u8()?);
        let error = fields.u16()?;
        let variables = usize::from(fields.u16()?);
        fields.take(between)?;
        let (sql_mode, charset) = variables_of(Fields(fields.take(variables)?));
        let schema = fields.take(schema)?;
        fields.take(1)?;
        Ok(Self { session, is_of_session: written.is_of_session, schema, text: fields.0, error, sql_mode, charset })
    }
}

/// The mode and the character set. They stand before what newer versions have in addition, but for MariaDB's collations of
/// character sets, so that what is not known ends the search.
fn variables_of(mut fields: Fields<'_>) -> (Option<u64>, Option<u16>) {
    let mut found = (None, None);
    // What is cut short has no more to say; the statement is read without.
    while let Ok(number) = fields.u8() {
        let read = match number {
            FLAGS | AUTO_INCREMENT => fields.take(4).map(drop),
            SQL_MODE => fields.array().map(|bytes| found.0 = Some(u64::from_le_bytes(bytes))),
            CATALOG => text(&mut fields, 1),
            CATALOG_WITHOUT_ZERO | TIME_ZONE => text(&mut fields, 0),
            CHARSET => fields.u16().and_then(|charset| {
                found.1 = Some(charset);
                fields.take(4).map(drop)
            }),
            CHARSET_COLLATIONS => fields.u8().and_then(|count| fields.take(usize::from(count) * 4).map(drop)),
            _ => return found,
        };
        if read.is_err() {
            return found;
        }
    }
    found
}

fn text(fields: &mut Fields<'_>, behind: usize) -> Result<(), Malformed> {
    let length = usize::from(fields.u8()?);
    fields.take(length + behind).map(drop)
}

const FLAGS: u8 = 0;
const SQL_MODE: u8 = 1;
const CATALOG: u8 = 2;
const AUTO_INCREMENT: u8 = 3;
const CHARSET: u8 = 4;
const TIME_ZONE: u8 = 5;
const CATALOG_WITHOUT_ZERO: u8 = 6;
/// From MariaDB 11.3 on: which collation a character set has where a statement names that alone.
const CHARSET_COLLATIONS: u8 = 131;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_character_set_are_found_among_the_variables() {
        let mut variables = vec![0, 0, 0, 0, 0, 1, 4, 0, 0x20, 0, 0, 0, 0, 0, 6, 3];
        variables.extend(b"std");
        variables.extend([3, 1, 0, 1, 0, 131, 2, 33, 0, 0, 8, 45, 0, 0, 9, 4, 33, 0, 8, 0, 9, 0, 5, 6]);
        variables.extend(b"SYSTEM");
        variables.extend([200, 1, 2]);
        let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, 4, 0x2A, 4, u8::try_from(variables.len()).unwrap(), 0];
        body.extend(&variables);
        body.extend(b"shop\0ALTER");
        let query = Query::read(Fields(&body), Written { server: 3, is_of_session: true }).unwrap();
        assert_eq!((query.session, query.is_of_session), ((3, 7), true));
        assert_eq!((query.schema, query.text, query.error), (&b"shop"[..], &b"ALTER"[..], 1_066));
        assert_eq!((query.sql_mode, query.charset), (Some(0x20_0004), Some(33)));
        for length in 0..body.len() - 10 {
            assert!(Query::read(Fields(&body[..length]), Written::default()).is_err(), "{length}");
        }
    }

    #[test]
    fn a_statement_that_loads_a_file_is_one() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
        body.extend([9; OF_FILE]);
        body.extend(b"shop\0LOAD DATA");
        assert_eq!(Query::of_file(Fields(&body), Written::default()).unwrap().text, b"LOAD DATA");
    }
}
