//! What columns hold in words that no system owns, and their values in the form that goes with it.

use wavemark_domain::{Batch, Cell, Column, Fault, Logical, Problem};

use crate::native::ColumnNative;
use crate::types;
use crate::value::Value;

/// What a column holds; `None` for a type that has no word.
pub(crate) fn logical(column: &Column) -> Option<Logical> {
    types::logical(&ColumnNative::of(column).ok()?)
}

/// Whether a type is one of geometries: the number of their reference system, then the standard's well-known binary.
pub(crate) fn is_shape(data_type: &str) -> bool {
    matches!(
        data_type,
        "geometry"
            | "point"
            | "linestring"
            | "polygon"
            | "multipoint"
            | "multilinestring"
            | "multipolygon"
            | "geometrycollection"
            | "geomcollection"
    )
}

/// Appends a value to the row being written, in the form that goes with what its column holds.
pub(crate) fn push(batch: &mut Batch, logical: &Logical, value: Value<'_>) -> Result<(), Problem> {
    match (logical, value) {
        (_, Value::Null) => batch.push_marker(Cell::NULL),
        (Logical::Int16, value) => batch.push_value(&whole::<i16>(value)?.to_be_bytes()),
        (Logical::Int32, value) => batch.push_value(&whole::<i32>(value)?.to_be_bytes()),
        (Logical::Int64, value) => batch.push_value(&whole::<i64>(value)?.to_be_bytes()),
        (Logical::Uint64, value) => batch.push_value(&whole::<u64>(value)?.to_be_bytes()),
        (Logical::Float32, Value::Float(value)) => batch.push_value(&value.to_be_bytes()),
        (Logical::Float64, Value::Double(value)) => batch.push_value(&value.to_be_bytes()),
        (Logical::Date, Value::Moment(value)) => batch.push_value(&value.date.to_bytes()),
        (Logical::Timestamp { .. } | Logical::Instant { .. }, Value::Moment(value)) => {
            batch.push_value(&value.to_bytes());
        }
        (Logical::Time { .. }, Value::Time(micros)) => batch.push_value(&micros.to_be_bytes()),
        (Logical::Uuid, Value::Bytes(text)) => batch.push_value(&uuid(text).ok_or_else(|| unlike(logical))?),
        (
            Logical::Decimal { .. }
            | Logical::Text { .. }
            | Logical::Bytes
            | Logical::Json
            | Logical::Enum { .. }
            | Logical::Set { .. }
            | Logical::Bits { .. },
            Value::Bytes(bytes),
        ) => batch.push_value(bytes),
        _ => return Err(unlike(logical)),
    }
    Ok(())
}

fn whole<T: TryFrom<i64> + TryFrom<u64>>(value: Value<'_>) -> Result<T, Problem> {
    let number = match value {
        Value::Int(value) => T::try_from(value).ok(),
        Value::Uint(value) => T::try_from(value).ok(),
        _ => None,
    };
    number.ok_or_else(|| {
        Problem::new(Fault::Data, "type-differs", "The server gave a number of another type than it declares.")
    })
}

fn unlike(logical: &Logical) -> Problem {
    let text = format!("The server gave something else than a value of type {logical}.");
    Problem::new(Fault::Data, "type-differs", text)
}

/// The sixteen bytes of a UUID, from themselves or from its text.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if let Ok(bytes) = text.try_into() {
        return Some(bytes);
    }
    let mut digits = text.iter().filter(|byte| **byte != b'-').map(|byte| char::from(*byte).to_digit(16));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use wavemark_domain::moment::{Date, Timestamp};
    use wavemark_domain::{ChangeKind, TableId};

    use super::*;

    fn written(logical: &Logical, value: Value<'_>) -> Result<Option<Vec<u8>>, Problem> {
        let mut batch = Batch::default();
        let row = batch.begin_row();
        push(&mut batch, logical, value)?;
        batch.push_change(TableId(0), ChangeKind::Insert, None, Some(row));
        let change = batch.changes()[0];
        Ok(batch.new_row(&change, 1).and_then(|cells| batch.value(cells[0])).map(<[u8]>::to_vec))
    }

    #[test]
    fn values_have_the_form_of_their_type() {
        assert_eq!(written(&Logical::Int16, Value::Uint(255)).unwrap().unwrap(), [0, 255]);
        assert_eq!(written(&Logical::Int32, Value::Int(-1)).unwrap().unwrap(), [0xFF; 4]);
        assert_eq!(written(&Logical::Uint64, Value::Uint(u64::MAX)).unwrap().unwrap(), [0xFF; 8]);
        assert_eq!(written(&Logical::Int64, Value::Null).unwrap(), None);
        let moment = Timestamp { date: Date { year: 2024, month: 2, day: 0 }, micros: 5 };
        assert_eq!(written(&Logical::Date, Value::Moment(moment)).unwrap().unwrap(), moment.date.to_bytes());
        let uuid = Value::Bytes(b"00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(written(&Logical::Uuid, uuid).unwrap().unwrap()[..4], [0, 0x11, 0x22, 0x33]);
        assert!(written(&Logical::Uuid, Value::Bytes(b"0011")).is_err());
        assert!(written(&Logical::Int16, Value::Int(40_000)).is_err());
        assert!(written(&Logical::Date, Value::Bytes(b"2024-01-01")).is_err());
    }
}
