//! Rows by their keys: keys as they travel, as literals of the server's.

use wavemark_connector::source::{KeySet, Touched};
use wavemark_domain::moment::{DAY, Date, Timestamp};
use wavemark_domain::{Logical, TablePlan};

use crate::encoding;
use crate::sql::{literal, quoted, quoted_table};

/// How many rows are asked for at once.
const KEYS: usize = 200;

/// Keys whose rows can't be asked for exactly have the table start over.
pub(super) fn fetched(touched: Touched, table: Option<&TablePlan>) -> Touched {
    let is_float = |table: &TablePlan| {
        logical(table).iter().any(|logical| matches!(logical, None | Some(Logical::Float32 | Logical::Float64)))
    };
    match (touched, table) {
        (Touched::Keys(_), Some(table)) if is_float(table) => {
            Touched::StartOver(format!("table {} has a key of floating numbers", table.name()))
        }
        (touched, _) => touched,
    }
}

/// What the columns of a table's key hold.
fn logical(table: &TablePlan) -> Vec<Option<Logical>> {
    table.key.iter().map(|at| encoding::logical(&table.source.columns[table.columns[*at].source])).collect()
}

/// The statements that give the rows of these keys, each row once.
pub(super) fn statements(table: &TablePlan, keys: &KeySet) -> Vec<String> {
    let logical = logical(table);
    let names: Vec<String> =
        table.key.iter().map(|at| quoted(&table.source.columns[table.columns[*at].source].name)).collect();
    let conditions: Vec<String> = keys
        .iter()
        .map(|key| {
            let cells = names.iter().zip(&logical).zip(key);
            let cells: Vec<String> =
                cells.filter_map(|((name, logical), cell)| equals(name, logical.as_ref()?, cell)).collect();
            format!("({})", cells.join(" AND "))
        })
        .collect();
    conditions.chunks(KEYS).map(|some| format!("{} WHERE {}", select(table), some.join(" OR "))).collect()
}

/// All rows of a table, in the order of the plan's columns.
pub(super) fn select(table: &TablePlan) -> String {
    let columns: Vec<String> =
        table.columns.iter().map(|column| quoted(&table.source.columns[column.source].name)).collect();
    format!("SELECT {} FROM {}", columns.join(", "), quoted_table(table.name()))
}

/// A condition on a column of a key. Two texts may be equal by their column's collation: the index finds them by that, and
/// their bytes then tell them apart.
fn equals(name: &str, logical: &Logical, cell: &[u8]) -> Option<String> {
    let value = value(logical, cell)?;
    Some(match logical {
        Logical::Text { .. } | Logical::Enum { .. } | Logical::Set { .. } => {
            format!(
                "{name} = {value} AND CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin = {value} COLLATE utf8mb4_bin"
            )
        }
        _ => format!("{name} = {value}"),
    })
}

fn value(logical: &Logical, cell: &[u8]) -> Option<String> {
    let text = || std::str::from_utf8(cell).ok();
    Some(match logical {
        Logical::Int16 => i16::from_be_bytes(cell.try_into().ok()?).to_string(),
        Logical::Int32 => i32::from_be_bytes(cell.try_into().ok()?).to_string(),
        Logical::Int64 => i64::from_be_bytes(cell.try_into().ok()?).to_string(),
        Logical::Uint64 => u64::from_be_bytes(cell.try_into().ok()?).to_string(),
        Logical::Decimal { .. } => text()?.to_owned(),
        Logical::Text { .. } | Logical::Enum { .. } | Logical::Set { .. } => literal(text()?),
        Logical::Bytes => format!("x'{}'", hex(cell)),
        Logical::Bits { .. } => format!("CAST(x'{}' AS unsigned)", hex(cell)),
        Logical::Uuid => format!("'{}'", hex(cell)),
        Logical::Date => format!("'{}'", Date::from_bytes(cell)?),
        Logical::Time { .. } => format!("'{}'", clock(i64::from_be_bytes(cell.try_into().ok()?))),
        Logical::Timestamp { .. } | Logical::Instant { .. } => {
            let Timestamp { date, micros } = Timestamp::from_bytes(cell)?;
            format!("'{date} {}'", clock(micros.rem_euclid(DAY)))
        }
        Logical::Boolean | Logical::Float32 | Logical::Float64 | Logical::Json => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// `-838:59:59.000000`
fn clock(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, micros) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    format!("{sign}{:02}:{:02}:{:02}.{micros:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_literals_of_their_type() {
        let of = |logical: &Logical, cell: &[u8]| equals("k", logical, cell).unwrap();
        assert_eq!(of(&Logical::Uint64, &u64::MAX.to_be_bytes()), "k = 18446744073709551615");
        assert_eq!(of(&Logical::Int16, &(-5_i16).to_be_bytes()), "k = -5");
        assert_eq!(of(&Logical::Bytes, &[0, 255]), "k = x'00ff'");
        let date = Date { year: 2024, month: 2, day: 0 };
        assert_eq!(of(&Logical::Date, &date.to_bytes()), "k = '2024-02-00'");
        let moment = Timestamp { date, micros: DAY - 1 };
        assert_eq!(of(&Logical::Timestamp { digits: 6 }, &moment.to_bytes()), "k = '2024-02-00 23:59:59.999999'");
        assert_eq!(of(&Logical::Time { digits: 0 }, &(-3_600_000_000_i64).to_be_bytes()), "k = '-01:00:00.000000'");
        let text = of(&Logical::Text { length: None }, "it's".as_bytes());
        assert!(text.starts_with("k = 'it''s' AND CONVERT(k USING utf8mb4) COLLATE utf8mb4_bin = 'it''s'"), "{text}");
        assert_eq!(equals("k", &Logical::Float64, &[0; 8]), None);
    }
}
