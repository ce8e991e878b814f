//! `TABLE_MAP_EVENT`: which table the next rows are of, and of what types its columns are.

use crate::fields::{Fields, Malformed};

/// What a column's cells look like in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoggedColumn {
    /// A whole number of so many bytes.
    Whole(u8),
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    Date,
    /// With so many digits behind a second's point.
    Time(u8),
    Datetime(u8),
    Timestamp(u8),
    /// Behind a length of so many bytes.
    Bytes(u8),
    /// The number of a label in so many bytes.
    Enum(u8),
    /// The labels' bits in so many bytes.
    Set(u8),
    /// So many bytes of bits, the highest first.
    Bits(u8),
    /// MySQL's binary JSON, behind a length of so many bytes.
    Json(u8),
    /// A geometry, behind a length of so many bytes.
    Geometry(u8),
    /// Bytes that MariaDB has compressed (`COMPRESSED`), behind a length of so many bytes.
    Deflated(u8),
    /// A type that is not known, by its number, or one behind such, of which nothing more is known either.
    Unknown(u8),
}

/// One table as the log describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMap<'a> {
    /// The number by which rows name it.
    pub(crate) id: u64,
    pub(crate) schema: &'a [u8],
    pub(crate) table: &'a [u8],
    pub(crate) columns: Vec<LoggedColumn>,
    /// The columns' names, if the server logs them (`binlog_row_metadata` is FULL).
    pub(crate) names: Option<Vec<&'a [u8]>>,
}

/// The number of the names among what may stand behind the columns.
const NAMES: u8 = 4;
/// The most columns that a table can have.
const MOST: usize = 4_096;

impl<'a> TableMap<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(body);
        let id = table_id(&mut fields)?;
        fields.take(2)?;
        let schema = name(&mut fields)?;
        let table = name(&mut fields)?;
        let count = fields.length()?;
        if count > MOST {
            return Err(Malformed("a table has more columns than one can have"));
        }
        let kinds = fields.take(count)?;
        let columns = columns(kinds, Fields(fields.sized()?))?;
        Ok(Self { id, schema, table, columns, names: names(fields, count) })
    }
}

/// The columns by their types' numbers and what is said beside those.
///
/// How much is said of a type that nobody here knows can't be known, so what is said of the columns behind it can't be read.
/// No rows of the table can be read then; whether that matters is for whoever follows the table.
fn columns(kinds: &[u8], mut meta: Fields<'_>) -> Result<Vec<LoggedColumn>, Malformed> {
    let mut columns = Vec::with_capacity(kinds.len());
    for kind in kinds {
        match column(*kind, &mut meta)? {
            Some(column) => columns.push(column),
            None => break,
        }
    }
    columns.extend(kinds[columns.len()..].iter().map(|kind| LoggedColumn::Unknown(*kind)));
    Ok(columns)
}

/// The names among what else is said of columns, each part behind its number and its length. What can't be read there is
/// not needed.
fn names(mut fields: Fields<'_>, count: usize) -> Option<Vec<&[u8]>> {
    // Which columns may be NULL.
    fields.take(count.div_ceil(8)).ok()?;
    loop {
        let number = fields.u8().ok()?;
        let mut part = Fields(fields.sized().ok()?);
        if number == NAMES {
            return (0..count).map(|_| part.sized().ok()).collect();
        }
    }
}

/// Six bytes.
pub(super) fn table_id(fields: &mut Fields<'_>) -> Result<u64, Malformed> {
    let mut id = [0; 8];
    id[..6].copy_from_slice(fields.take(6)?);
    Ok(u64::from_le_bytes(id))
}

fn name<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
    let length = usize::from(fields.u8()?);
    let name = fields.take(length)?;
    fields.take(1)?;
    Ok(name)
}

/// A column by its type's number and what is said beside it; none if it is not known how much that is.
fn column(kind: u8, meta: &mut Fields<'_>) -> Result<Option<LoggedColumn>, Malformed> {
    let length_of = |most: u16| if most > 255 { 2 } else { 1 };
    Ok(Some(match kind {
        1 => LoggedColumn::Whole(1),
        2 => LoggedColumn::Whole(2),
        9 => LoggedColumn::Whole(3),
        3 => LoggedColumn::Whole(4),
        8 => LoggedColumn::Whole(8),
        4 => meta.take(1).map(|_| LoggedColumn::Float)?,
        5 => meta.take(1).map(|_| LoggedColumn::Double)?,
        13 => LoggedColumn::Year,
        10 | 14 => LoggedColumn::Date,
        15 | 253 => LoggedColumn::Bytes(length_of(meta.u16()?)),
        16 => {
            let [bits, bytes] = meta.array()?;
            LoggedColumn::Bits(bytes.saturating_add(u8::from(bits > 0)))
        }
        17 => LoggedColumn::Timestamp(digits(meta)?),
        18 => LoggedColumn::Datetime(digits(meta)?),
        19 => LoggedColumn::Time(digits(meta)?),
        245 => LoggedColumn::Json(width(meta)?),
        246 => {
            let [precision, scale] = meta.array()?;
            LoggedColumn::Decimal { precision, scale }
        }
        // Vectors, too, are bytes behind a length.
        242 | 249..=252 => LoggedColumn::Bytes(width(meta)?),
        255 => LoggedColumn::Geometry(width(meta)?),
        254 => string(meta)?,
        140 => LoggedColumn::Deflated(width(meta)?),
        141 => LoggedColumn::Deflated(length_of(meta.u16()?)),
        // NULL, and times and moments as versions before 5.6.4 wrote them: nothing is said beside these.
        6 | 7 | 11 | 12 => LoggedColumn::Unknown(kind),
        _ => return Ok(None),
    }))
}

fn digits(meta: &mut Fields<'_>) -> Result<u8, Malformed> {
    meta.u8()
        .and_then(|digits| if digits > 6 { Err(Malformed("a second has more than six digits")) } else { Ok(digits) })
}

fn width(meta: &mut Fields<'_>) -> Result<u8, Malformed> {
    meta.u8()
        .and_then(|width| if (1..=4).contains(&width) { Ok(width) } else { Err(Malformed("a length has no width")) })
}

/// Fixed texts, enums and sets share a number; two bits of the first byte are the length's, turned over.
fn string(meta: &mut Fields<'_>) -> Result<LoggedColumn, Malformed> {
    let [first, second] = meta.array()?;
    let (kind, high) =
        if first & 0x30 == 0x30 { (first, 0) } else { (first | 0x30, u16::from((first & 0x30) ^ 0x30) << 4) };
    let most = high | u16::from(second);
    match kind {
        247 if (1..=2).contains(&second) => Ok(LoggedColumn::Enum(second)),
        248 if (1..=8).contains(&second) => Ok(LoggedColumn::Set(second)),
        254 => Ok(LoggedColumn::Bytes(if most > 255 { 2 } else { 1 })),
        other => Ok(LoggedColumn::Unknown(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_is_read_with_its_columns() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
        body.extend(b"\x04shop\0\x01t\0");
        body.extend([6, 3, 15, 246, 254, 18, 252]);
        // varchar(300), decimal(10,2), enum in one byte, datetime(6), a blob of up to 64 KiB
        body.extend([8, 0x2C, 0x01, 10, 2, 247, 1, 6, 2, 0x3E]);
        let map = TableMap::read(&body).unwrap();
        assert_eq!((map.id, map.schema, map.table), (7, &b"shop"[..], &b"t"[..]));
        assert_eq!(
            map.columns,
            [
                LoggedColumn::Whole(4),
                LoggedColumn::Bytes(2),
                LoggedColumn::Decimal { precision: 10, scale: 2 },
                LoggedColumn::Enum(1),
                LoggedColumn::Datetime(6),
                LoggedColumn::Bytes(2),
            ]
        );
        assert_eq!(map.names, None);
        for length in 0..body.len() - 1 {
            assert!(TableMap::read(&body[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn names_of_columns_are_read_where_the_log_has_them() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
        body.extend(b"\x04shop\0\x01t\0");
        // Two numbers; signs first, then the names.
        body.extend([2, 3, 8, 0, 0b11, 1, 1, 0x40, 4, 5, 2, b'i', b'd', 1, b'n']);
        let map = TableMap::read(&body).unwrap();
        assert_eq!(map.names, Some(vec![&b"id"[..], b"n"]));
        body.truncate(body.len() - 1);
        assert_eq!(TableMap::read(&body).unwrap().names, None);
    }

    #[test]
    fn a_long_fixed_text_hides_its_length_in_its_kind() {
        // char(255) of four bytes each: 1,020 bytes.
        assert_eq!(column(254, &mut Fields(&[0xCE, 0xFC])), Ok(Some(LoggedColumn::Bytes(2))));
        assert_eq!(column(254, &mut Fields(&[0xFE, 0x0A])), Ok(Some(LoggedColumn::Bytes(1))));
    }

    /// As MariaDB 10.11 writes it: int, varchar(1000), varchar(10), text, blob, tinytext, longblob, varbinary(300), mediumtext, of
    /// which all but the first are `COMPRESSED`.
    #[test]
    fn compressed_columns_are_read_with_what_is_said_of_them() {
        let mut body = vec![0x12, 0, 0, 0, 0, 0, 1, 0, 4];
        body.extend(b"shop\0\x01c\0");
        body.extend([9, 3, 141, 141, 140, 140, 140, 140, 141, 140]);
        body.extend([11, 0xA1, 0x0F, 0x29, 0x00, 2, 2, 1, 4, 0x2D, 0x01, 3, 0xFE, 0x01]);
        let widths = [2, 1, 2, 2, 1, 4, 2, 3].map(LoggedColumn::Deflated);
        let columns = [&[LoggedColumn::Whole(4)][..], &widths].concat();
        assert_eq!(TableMap::read(&body).unwrap().columns, columns);
    }

    #[test]
    fn behind_a_type_that_is_not_known_no_column_is_known() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
        body.extend(b"\x04shop\0\x01t\0");
        // A datetime of old, of which nothing is said, then one of a type that may come, with three bytes, and varchar(300).
        body.extend([4, 12, 3, 99, 15, 5, 1, 2, 3, 0x2C, 0x01, 0]);
        let [old, new, behind] = [12, 99, 15].map(LoggedColumn::Unknown);
        let map = TableMap::read(&body).unwrap();
        assert_eq!((map.table, map.columns), (&b"t"[..], vec![old, LoggedColumn::Whole(4), new, behind]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            drop(TableMap::read(&body));
        }
    }
}
