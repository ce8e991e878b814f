//! Rows in binary form (manual: "Binary Protocol Resultset"), each read where it lies.

use wavemark_domain::moment::{Date, Timestamp};

use super::WireError;
use super::connection::{Connection, END, LONG};
use crate::fields::{Fields, Malformed};
use crate::value::Value;

const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

/// The flag of a number without a sign.
const UNSIGNED: u16 = 1 << 5;

const SECOND: i64 = 1_000_000;
/// A time is at most 838 hours and some minutes.
const MOST_DAYS: i64 = 35;

/// A column as its rows have it: the protocol's number of the type, and whether a number has no sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind(u8, bool);

/// The rows of one statement, and the connection until they are read.
pub(crate) struct Rows {
    connection: Connection,
    statement: u32,
    kinds: Vec<Kind>,
    ended: bool,
}

impl Rows {
    /// Runs a statement that gives rows.
    pub(crate) async fn open(mut connection: Connection, sql: &str) -> Result<Self, WireError> {
        connection.send(COM_STMT_PREPARE, sql.as_bytes()).await?;
        let prepared = connection.packets.answer().await?;
        let mut fields = Fields(&prepared);
        fields.take(1)?;
        let (statement, columns, parameters) = (fields.u32()?, fields.u16()?, fields.u16()?);
        for _ in 0..usize::from(columns) + usize::from(parameters) {
            connection.packets.answer().await?;
        }
        let [a, b, c, d] = statement.to_le_bytes();
        connection.send(COM_STMT_EXECUTE, &[a, b, c, d, 0, 1, 0, 0, 0]).await?;
        let first = connection.packets.answer().await?;
        let columns = Fields(&first).length()?;
        let mut kinds = Vec::with_capacity(columns.min(4_096));
        for _ in 0..columns {
            kinds.push(kind(&connection.packets.answer().await?)?);
        }
        Ok(Self { connection, statement, kinds, ended: false })
    }

    /// Hands the next row's cells to `take`, one after the other; false at the end.
    pub(crate) async fn next<E: From<WireError>>(
        &mut self,
        mut take: impl FnMut(usize, Value<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.ended {
            return Ok(false);
        }
        let payload = self.connection.packets.answer().await?;
        if payload.first() == Some(&END) && payload.len() < LONG {
            self.ended = true;
            return Ok(false);
        }
        let mut fields = Fields(&payload);
        fields.take(1).map_err(WireError::from)?;
        let nulls = fields.take((self.kinds.len() + 2).div_ceil(8)).map_err(WireError::from)?;
        for (at, kind) in self.kinds.iter().enumerate() {
            // The first two bits mean nothing.
            let is_null = nulls[(at + 2) / 8] & 1 << ((at + 2) % 8) != 0;
            let value = if is_null { Value::Null } else { kind.read(&mut fields).map_err(WireError::from)? };
            take(at, value)?;
        }
        Ok(true)
    }

    /// The connection, once all rows are read.
    pub(crate) async fn close(mut self) -> Result<Connection, WireError> {
        if !self.ended {
            return Err(WireError::Protocol("its rows were not read to the end"));
        }
        self.connection.send(COM_STMT_CLOSE, &self.statement.to_le_bytes()).await?;
        Ok(self.connection)
    }
}

/// `ColumnDefinition41`.
fn kind(payload: &[u8]) -> Result<Kind, Malformed> {
    let mut fields = Fields(payload);
    for _ in 0..6 {
        fields.sized()?;
    }
    fields.length()?;
    fields.take(6)?;
    let kind = fields.u8()?;
    Ok(Kind(kind, fields.u16()? & UNSIGNED != 0))
}

impl Kind {
    fn read<'a>(self, fields: &mut Fields<'a>) -> Result<Value<'a>, Malformed> {
        let Self(kind, unsigned) = self;
        Ok(match kind {
            1 if unsigned => Value::Uint(fields.u8()?.into()),
            1 => Value::Int(i8::from_le_bytes(fields.array()?).into()),
            // A year is an unsigned number of two bytes.
            2 | 13 if unsigned || kind == 13 => Value::Uint(fields.u16()?.into()),
            2 => Value::Int(i16::from_le_bytes(fields.array()?).into()),
            3 | 9 if unsigned => Value::Uint(fields.u32()?.into()),
            3 | 9 => Value::Int(i32::from_le_bytes(fields.array()?).into()),
            8 if unsigned => Value::Uint(u64::from_le_bytes(fields.array()?)),
            8 => Value::Int(i64::from_le_bytes(fields.array()?)),
            4 => Value::Float(f32::from_le_bytes(fields.array()?)),
            5 => Value::Double(f64::from_le_bytes(fields.array()?)),
            7 | 10 | 12 => Value::Moment(moment(Fields(fields.sized()?))?),
            11 => Value::Time(time(Fields(fields.sized()?))?),
            _ => Value::Bytes(fields.sized()?),
        })
    }
}

/// What is zero at the end is left out.
fn moment(mut fields: Fields<'_>) -> Result<Timestamp, Malformed> {
    let mut date = Date { year: 0, month: 0, day: 0 };
    let mut micros = 0;
    if !fields.0.is_empty() {
        date = Date { year: fields.u16()?.into(), month: fields.u8()?, day: fields.u8()? };
    }
    if !fields.0.is_empty() {
        micros = clock(&mut fields)?;
    }
    Ok(Timestamp { date, micros })
}

fn time(mut fields: Fields<'_>) -> Result<i64, Malformed> {
    if fields.0.is_empty() {
        return Ok(0);
    }
    let is_negative = fields.u8()? != 0;
    let days = i64::from(fields.u32()?);
    if days > MOST_DAYS {
        return Err(Malformed("a time is longer than one can be"));
    }
    let micros = days * 24 * 3_600 * SECOND + clock(&mut fields)?;
    Ok(if is_negative { -micros } else { micros })
}

/// Hours, minutes, seconds, and microseconds if there are any.
fn clock(fields: &mut Fields<'_>) -> Result<i64, Malformed> {
    let [hours, minutes, seconds] = fields.array::<3>()?.map(i64::from);
    let micros = if fields.0.is_empty() { 0 } else { i64::from(fields.u32()?) };
    Ok(((hours * 60 + minutes) * 60 + seconds) * SECOND + micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(kind: u8, unsigned: bool, bytes: &[u8]) -> Value<'_> {
        Kind(kind, unsigned).read(&mut Fields(bytes)).unwrap()
    }

    #[test]
    fn numbers_keep_their_sign() {
        assert_eq!(read(1, false, &[0xFF]), Value::Int(-1));
        assert_eq!(read(1, true, &[0xFF]), Value::Uint(255));
        assert_eq!(read(8, true, &[0xFF; 8]), Value::Uint(u64::MAX));
        assert_eq!(read(13, false, &[0xFF, 0xFF]), Value::Uint(65_535));
        assert_eq!(read(9, false, &[0, 0, 0x80, 0xFF]), Value::Int(-8_388_608));
    }

    #[test]
    fn what_is_zero_at_the_end_of_a_moment_is_left_out() {
        let of = |year, month, day, micros| Value::Moment(Timestamp { date: Date { year, month, day }, micros });
        assert_eq!(read(12, false, &[0]), of(0, 0, 0, 0));
        assert_eq!(read(10, false, &[4, 0xE8, 7, 2, 29]), of(2024, 2, 29, 0));
        assert_eq!(read(12, false, &[7, 0xE8, 7, 0, 0, 23, 59, 1]), of(2024, 0, 0, 86_341 * SECOND));
        assert_eq!(read(7, false, &[11, 0xE8, 7, 1, 1, 0, 0, 0, 1, 0, 0, 0]), of(2024, 1, 1, 1));
    }

    #[test]
    fn a_time_may_be_longer_than_a_day_and_less_than_nothing() {
        assert_eq!(read(11, false, &[0]), Value::Time(0));
        assert_eq!(
            read(11, false, &[8, 1, 34, 0, 0, 0, 22, 59, 59]),
            Value::Time(-(838 * 3_600 + 59 * 60 + 59) * SECOND)
        );
        assert_eq!(read(11, false, &[12, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]), Value::Time(-1));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind: u8, unsigned: bool, bytes: Vec<u8>) {
            let _ = Kind(kind, unsigned).read(&mut Fields(&bytes));
            let _ = super::kind(&bytes);
        }
    }
}
