//! One event: its header, and what kind of event it is.

use crate::fields::{Fields, Malformed};
use crate::gtid::GtidSet;

use super::compressed::Compressed;
use super::gtid::{self, Numbered};
use super::payload::Payload;
use super::pieces::Piece;
use super::query::Query;
use super::rows::{RowKind, Rows};
use super::table_map::TableMap;

pub(super) const HEADER: usize = 19;
pub(super) const CHECKSUM: usize = 4;

/// What stands before each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Seconds since 1970, when the statement began.
    pub(crate) timestamp: u32,
    pub(crate) kind: u8,
    /// The number that the server which wrote it first has in its configuration.
    pub(crate) server: u32,
    /// How long it is.
    pub(crate) length: usize,
    /// Where the next event begins; 0 for one that is not in the file.
    pub(crate) next: u32,
    /// Whether who does not know the kind may pass over it.
    pub(crate) is_ignorable: bool,
    /// Whether its statement means something else in another session: there are temporary tables in it, or in what the session ran
    /// with it.
    is_of_session: bool,
}

/// By whom what is behind a header was written, as that says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) server: u32,
    pub(super) is_of_session: bool,
}

/// Whether events end with a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    None,
    Crc32,
}

/// What an event says.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// How the events of the file are written.
    Format {
        checksum: Checksum,
        /// Whether the server begins the file because it was started.
        is_start: bool,
    },
    /// What follows is in another file.
    Rotate {
        file: &'a [u8],
        position: u64,
    },
    /// What follows has a number.
    Numbered(Numbered),
    /// What follows has none.
    Unnumbered,
    /// What was executed before the file.
    Previous(GtidSet),
    Query(Query<'a>),
    /// The text of the statement whose rows follow.
    Annotated(&'a [u8]),
    /// The transaction is committed.
    Xid,
    /// The transaction is prepared, or, in one step, committed.
    Prepared {
        is_committed: bool,
    },
    /// What the next rows are of.
    TableMap(TableMap<'a>),
    Rows(Rows<'a>),
    /// A part of an event of rows.
    Piece(Piece<'a>),
    /// Stands for another event, of which a part is compressed.
    Compressed(Compressed<'a>),
    /// A whole transaction.
    Payload(Payload<'a>),
    /// Written by a server that lost track of what it did.
    Incident,
    /// Events of a form that is not read.
    Unreadable(&'static str),
    /// Nothing that matters here: heartbeats, comments, marks.
    Other,
    /// An event of a kind that is not known, and that may matter.
    Unknown(u8),
}

impl Header {
    /// How long the event is that begins with this header, itself included.
    pub(super) fn length(header: &[u8]) -> Result<usize, Malformed> {
        let mut fields = Fields(header);
        fields.take(4 + 1 + 4)?;
        fields.u32().map(|length| length as usize)
    }

    /// The header, and what is behind it.
    pub(crate) fn read(event: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let length = Self::length(event)?;
        let mut fields = Fields(event);
        let timestamp = fields.u32()?;
        let kind = fields.u8()?;
        let server = fields.u32()?;
        fields.take(4)?;
        let next = fields.u32()?;
        let flags = fields.u16()?;
        let (is_ignorable, is_of_session) = (flags & IGNORABLE != 0, flags & OF_SESSION != 0);
        if length != event.len() {
            return Err(Malformed("an event has another length than it says"));
        }
        Ok((Self { timestamp, kind, server, length, next, is_ignorable, is_of_session }, fields.0))
    }
}

/// Takes the sum off an event and compares it.
pub(crate) fn checked(event: &[u8], checksum: Checksum) -> Result<&[u8], Malformed> {
    if checksum == Checksum::None {
        return Ok(event);
    }
    let at = event.len().checked_sub(CHECKSUM).filter(|at| *at >= HEADER);
    let (body, sum) = at.and_then(|at| event.split_at_checked(at)).ok_or(Malformed("an event has no checksum"))?;
    let sum = Fields(sum).u32()?;
    if crc32fast::hash(body) == sum { Ok(body) } else { Err(Malformed("an event has another checksum than it says")) }
}

impl<'a> Event<'a> {
    /// Reads an event; `checksum` is as the file's own description says.
    pub(crate) fn read(event: &'a [u8], checksum: Checksum) -> Result<(Header, Self), Malformed> {
        let (header, whole) = Header::read(event)?;
        // A description says itself whether it has a sum, which it has wherever the server knows of sums.
        if header.kind == FORMAT {
            return Ok((header, format(event, whole)?));
        }
        // The first word of a connection, which file is read, comes before that is known.
        let summed = if header.kind == ROTATE && header.next == 0 && checked(event, Checksum::Crc32).is_ok() {
            Checksum::Crc32
        } else {
            checksum
        };
        let body = checked(event, summed)?.get(HEADER..).unwrap_or_default();
        let written = Written { server: header.server, is_of_session: header.is_of_session };
        let event = match Self::body(header.kind, written, body)? {
            Self::Unknown(_) if header.is_ignorable => Self::Other,
            event => event,
        };
        Ok((header, event))
    }

    /// Reads what stands behind the header of an event of this kind.
    pub(super) fn body(kind: u8, written: Written, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        Ok(match kind {
            QUERY => Self::Query(Query::read(fields, written)?),
            EXECUTE_LOAD => Self::Query(Query::of_file(fields, written)?),
            ROTATE => {
                let position = fields.u64()?;
                Self::Rotate { file: fields.0, position }
            }
            ANNOTATED => Self::Annotated(body),
            XID => Self::Xid,
            XA_PREPARE => Self::Prepared { is_committed: fields.u8()? != 0 },
            TABLE_MAP => Self::TableMap(TableMap::read(body)?),
            ROWS_V1..=25 => Self::Rows(Rows::read(row_kind(kind - ROWS_V1)?, false, body)?),
            ROWS..=32 => Self::Rows(Rows::read(row_kind(kind - ROWS)?, true, body)?),
            PARTIAL_UPDATE => Self::Rows(Rows::read(RowKind::Update, true, body)?.in_parts()),
            PAYLOAD => Self::Payload(Payload::read(body)?),
            QUERY_COMPRESSED => {
                Self::Compressed(Compressed::new((QUERY, written), body, Query::read(fields, written)?.text))
            }
            ROWS_COMPRESSED_V1..=168 => {
                let number = kind - ROWS_COMPRESSED_V1;
                let packed = Rows::read(row_kind(number)?, false, body)?.images();
                Self::Compressed(Compressed::new((ROWS_V1 + number, written), body, packed))
            }
            ROWS_COMPRESSED..=171 => {
                let number = kind - ROWS_COMPRESSED;
                let packed = Rows::read(row_kind(number)?, true, body)?.images();
                Self::Compressed(Compressed::new((ROWS + number, written), body, packed))
            }
            PIECE => Self::Piece(Piece::read(body)?),
            MARIADB_GTID => Self::Numbered(gtid::mariadb(written.server, fields)?),
            MYSQL_GTID => Self::Numbered(gtid::mysql(fields)?),
            NO_GTID => Self::Unnumbered,
            TAGGED_GTID => Self::Numbered(gtid::tagged(fields)?),
            PREVIOUS_GTIDS => Self::Previous(gtid::previous(fields)?),
            INCIDENT => Self::Incident,
            // Before version 5.1.18.
            20..=22 => Self::Unreadable("its rows are of a form that no version has written for long"),
            other if WITHOUT_ROWS.contains(&other) => Self::Other,
            other => Self::Unknown(other),
        })
    }
}

/// Kinds that say nothing of rows: the ends of files, values of variables, files that a statement loads, heartbeats,
/// comments (MySQL's are numbered up to 42, MariaDB's from 161 on). That a file is encrypted (164) is said of what lies on the
/// server's disk: it decrypts what it sends.
const WITHOUT_ROWS: [u8; 19] = [0, 1, 3, 5, 7, 9, 11, 13, 14, 17, 27, 28, 29, 36, 37, 41, 161, 163, 164];
const ANNOTATED: u8 = 160;
const EXECUTE_LOAD: u8 = 18;
/// The flag of a kind that may be passed over.
const IGNORABLE: u16 = 0x80;
/// `LOG_EVENT_THREAD_SPECIFIC_F`.
const OF_SESSION: u16 = 0x04;
const QUERY: u8 = 2;
const ROTATE: u8 = 4;
const FORMAT: u8 = 15;
const XID: u8 = 16;
const XA_PREPARE: u8 = 38;
const TABLE_MAP: u8 = 19;
/// The first of the three kinds of rows, before version 5.6 and from then on.
const ROWS_V1: u8 = 23;
const ROWS: u8 = 30;
const INCIDENT: u8 = 26;
/// New rows may have parts of JSON values (`binlog_row_value_options`).
const PARTIAL_UPDATE: u8 = 39;
const PAYLOAD: u8 = 40;
const MYSQL_GTID: u8 = 33;
const NO_GTID: u8 = 34;
const PREVIOUS_GTIDS: u8 = 35;
const TAGGED_GTID: u8 = 42;
const MARIADB_GTID: u8 = 162;
const QUERY_COMPRESSED: u8 = 165;
/// The first of the three kinds of rows, as those that they stand for.
const ROWS_COMPRESSED_V1: u8 = 166;
const ROWS_COMPRESSED: u8 = 169;
const PIECE: u8 = 172;

fn row_kind(number: u8) -> Result<RowKind, Malformed> {
    match number {
        0 => Ok(RowKind::Write),
        1 => Ok(RowKind::Update),
        2 => Ok(RowKind::Delete),
        _ => Err(Malformed("rows are of a kind that is not known")),
    }
}

/// `FORMAT_DESCRIPTION_EVENT`: its last byte before its sum says whether events have one.
fn format<'a>(event: &[u8], body: &[u8]) -> Result<Event<'a>, Malformed> {
    let mut fields = Fields(body);
    if fields.u16()? != 4 {
        return Err(Malformed("the log is of a version that is not known"));
    }
    fields.take(50)?;
    let is_start = fields.u32()? != 0;
    if usize::from(fields.u8()?) != HEADER {
        return Err(Malformed("the log's headers are of a length that is not known"));
    }
    let how = fields
        .0
        .len()
        .checked_sub(CHECKSUM + 1)
        .and_then(|at| fields.0.get(at))
        .ok_or(Malformed("a description is short"))?;
    let checksum = match how {
        0 => Checksum::None,
        1 => {
            checked(event, Checksum::Crc32)?;
            Checksum::Crc32
        }
        _ => return Err(Malformed("the log has checksums of a kind that is not known")),
    };
    Ok(Event::Format { checksum, is_start })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(kind: u8, next: u32, body: &[u8], checksum: Checksum) -> Vec<u8> {
        let sum = if checksum == Checksum::Crc32 { CHECKSUM } else { 0 };
        let mut event = Vec::new();
        event.extend(1_700_000_000_u32.to_le_bytes());
        event.push(kind);
        event.extend(7_u32.to_le_bytes());
        event.extend(u32::try_from(HEADER + body.len() + sum).unwrap().to_le_bytes());
        event.extend(next.to_le_bytes());
        event.extend([0, 0]);
        event.extend(body);
        if checksum == Checksum::Crc32 {
            event.extend(crc32fast::hash(&event).to_le_bytes());
        }
        event
    }

    #[test]
    fn a_statement_is_read_with_its_schema() {
        let mut body = [0; 8].to_vec();
        body.extend([4, 0, 0, 3, 0, 9, 9, 9]);
        body.extend(b"shop\0BEGIN");
        for checksum in [Checksum::None, Checksum::Crc32] {
            let event = event(QUERY, 400, &body, checksum);
            let (header, read) = Event::read(&event, checksum).unwrap();
            assert_eq!((header.timestamp, header.next), (1_700_000_000, 400));
            assert!(matches!(read, Event::Query(Query { schema: b"shop", text: b"BEGIN", .. })), "{read:?}");
        }
    }

    #[test]
    fn an_event_with_another_sum_is_refused() {
        let mut event = event(XID, 400, &[0; 8], Checksum::Crc32);
        event[20] ^= 1;
        assert!(Event::read(&event, Checksum::Crc32).is_err());
    }

    #[test]
    fn the_first_rotation_is_read_with_and_without_a_sum() {
        let body = [&4_u64.to_le_bytes()[..], b"bin.000002"].concat();
        for checksum in [Checksum::None, Checksum::Crc32] {
            let event = event(ROTATE, 0, &body, checksum);
            let (_, read) = Event::read(&event, Checksum::None).unwrap();
            assert!(matches!(read, Event::Rotate { file: b"bin.000002", position: 4 }), "{read:?}");
        }
    }

    #[test]
    fn a_kind_that_is_not_known_is_passed_over_only_where_it_says_so() {
        let mut event = event(99, 400, &[1, 2, 3], Checksum::None);
        assert!(matches!(Event::read(&event, Checksum::None).unwrap().1, Event::Unknown(99)));
        event[17] = 0x80;
        assert!(matches!(Event::read(&event, Checksum::None).unwrap().1, Event::Other));
    }

    #[test]
    fn a_cut_event_is_refused() {
        let whole = event(QUERY, 400, &[0; 30], Checksum::None);
        for length in 0..whole.len() {
            assert!(Event::read(&whole[..length], Checksum::None).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind: u8, body: Vec<u8>) {
            let event = event(kind, 0, &body, Checksum::None);
            drop(Event::read(&event, Checksum::None));
            drop(Event::read(&event, Checksum::Crc32));
            drop(Event::read(&body, Checksum::None));
        }
    }
}
