//! What columns hold in words that no system owns, and their values in the form that goes with it.

use wavemark_domain::{Batch, Cell, Column, Fault, Logical, Problem};

use crate::native::ColumnNative;
use crate::value::Value;

/// What a column holds; `None` for a type that has no word.
pub(crate) fn logical(column: &Column) -> Option<Logical> {
    let native = ColumnNative::of(column).ok()?;
    Some(match (native.data_type.as_str(), native.unsigned) {
        ("tinyint" | "year", _) | ("smallint", false) => Logical::Int16,
        ("smallint", true) | ("mediumint", _) | ("int", false) => Logical::Int32,
        ("int", true) | ("bigint", false) => Logical::Int64,
        ("bigint", true) => Logical::Uint64,
        ("decimal", _) => Logical::Decimal { precision: native.precision, scale: native.scale },
        ("float", _) => Logical::Float32,
        ("double", _) => Logical::Float64,
        ("bit", _) => Logical::Bits { length: native.precision.unwrap_or(1) },
        // Without a character set it is bytes, whatever it is called.
        ("char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext", _) if native.charset.is_none() => {
            Logical::Bytes
        }
        ("char" | "varchar", _) => Logical::Text { length: native.length },
        ("tinytext" | "text" | "mediumtext" | "longtext" | "inet4" | "inet6", _) => Logical::Text { length: None },
        ("binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector", _) => Logical::Bytes,
        (shape, _) if is_shape(shape) => Logical::Bytes,
        ("date", _) => Logical::Date,
        ("time", _) => Logical::Time { digits: native.digits },
        ("datetime", _) => Logical::Timestamp { digits: native.digits },
        ("timestamp", _) => Logical::Instant { digits: native.digits },
        ("uuid", _) => Logical::Uuid,
        ("json", _) => Logical::Json,
        ("enum", _) => Logical::Enum { labels: native.labels },
        ("set", _) => Logical::Set { labels: native.labels },
        _ => return None,
    })
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
    use serde_json::json;
    use wavemark_domain::moment::{Date, Timestamp};
    use wavemark_domain::{ChangeKind, TableId};

    use super::*;

    fn column(data_type: &str, more: ColumnNative) -> Column {
        let native = json!(ColumnNative { data_type: data_type.to_owned(), ..more });
        Column { name: "c".into(), declared: data_type.into(), not_null: false, generated: false, native }
    }

    fn written(logical: &Logical, value: Value<'_>) -> Result<Option<Vec<u8>>, Problem> {
        let mut batch = Batch::default();
        let row = batch.begin_row();
        push(&mut batch, logical, value)?;
        batch.push_change(TableId(0), ChangeKind::Insert, None, Some(row));
        let change = batch.changes()[0];
        Ok(batch.new_row(&change, 1).and_then(|cells| batch.value(cells[0])).map(<[u8]>::to_vec))
    }

    #[test]
    fn each_number_goes_where_all_of_its_values_fit() {
        let of = |name: &str, unsigned| logical(&column(name, ColumnNative { unsigned, ..ColumnNative::default() }));
        for (name, signed, unsigned) in [
            ("tinyint", Logical::Int16, Logical::Int16),
            ("smallint", Logical::Int16, Logical::Int32),
            ("mediumint", Logical::Int32, Logical::Int32),
            ("int", Logical::Int32, Logical::Int64),
            ("bigint", Logical::Int64, Logical::Uint64),
        ] {
            assert_eq!(of(name, false), Some(signed), "{name}");
            assert_eq!(of(name, true), Some(unsigned), "{name}");
        }
        assert_eq!(of("geometry", false), Some(Logical::Bytes));
        assert_eq!(of("xmltype", false), None);
    }

    #[test]
    fn each_type_stands_in_the_manual_as_what_it_travels_as() {
        const MANUAL: &str = include_str!("../../../docs/FIDELITY.md");
        let table = MANUAL.split("## From MySQL").nth(1).unwrap().split("\n## ").next().unwrap();
        let mut seen = 0;
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let (declared, travels) = (cells.next().unwrap(), cells.next().unwrap());
            for name in declared.split(", ").map(|name| name.trim_matches('`')) {
                let (data_type, unsigned) = name.strip_suffix(" unsigned").map_or((name, false), |name| (name, true));
                let charset = travels.contains("text").then(|| "utf8mb4".to_owned());
                let native = ColumnNative { unsigned, charset, ..ColumnNative::default() };
                let logical = logical(&column(data_type, native)).map(|logical| logical.to_string());
                assert_eq!(logical.as_deref(), Some(travels), "{name}");
                seen += 1;
            }
        }
        assert_eq!(seen, 47);
    }

    #[test]
    fn a_text_without_a_character_set_is_bytes() {
        assert_eq!(logical(&column("varchar", ColumnNative::default())), Some(Logical::Bytes));
        let utf8 = ColumnNative { charset: Some("utf8mb4".into()), length: Some(7), ..ColumnNative::default() };
        assert_eq!(logical(&column("varchar", utf8)), Some(Logical::Text { length: Some(7) }));
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
