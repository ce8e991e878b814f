//! Rows by their keys: keys as they travel, as literals of the server's.

use wavemark_connector::source::{KeySet, Touched};
use wavemark_domain::moment::{DAY, Date, Timestamp};
use wavemark_domain::{Column, Logical, TablePlan};

use crate::charset::{self, Charset, Charsets};
use crate::encoding;
use crate::native::ColumnNative;
use crate::sql::{literal, quoted, quoted_table};

/// How many rows are asked for at once.
const KEYS: usize = 200;

/// Whether rows can be asked for exactly by their keys.
pub(super) fn are_findable(table: &TablePlan) -> bool {
    let is_exact = |logical| !matches!(logical, None | Some(Logical::Float32 | Logical::Float64));
    !table.is_keyless() && key_of(table).map(encoding::logical).all(is_exact)
}

/// Keys whose rows can't be asked for exactly have the table start over.
pub(super) fn fetched(touched: Touched, table: Option<&TablePlan>) -> Touched {
    match (touched, table) {
        (Touched::Keys(_), Some(table)) if !are_findable(table) => {
            Touched::StartOver(format!("table {} has a key of floating numbers", table.name()))
        }
        (touched, _) => touched,
    }
}

/// The columns of a table's key.
fn key_of(table: &TablePlan) -> impl Iterator<Item = &Column> {
    table.key.iter().map(|at| &table.source.columns[table.columns[*at].source])
}

/// A column of a key.
struct Part {
    /// Quoted.
    name: String,
    logical: Option<Logical>,
    charset: Option<Charset>,
}

impl Part {
    fn of(column: &Column, charsets: &Charsets) -> Self {
        let native = ColumnNative::of(column).unwrap_or_default();
        let charset = charset::of_texts(&native).and_then(|name| charsets.named(name));
        Self { name: quoted(&column.name), logical: encoding::logical(column), charset }
    }

    /// A condition. Two texts may be equal by their column's collation: the index finds them by that, and their bytes then
    /// tell them apart. Of a text that has other bytes in the column, too, the index may find only some.
    fn equals(&self, cell: &[u8]) -> Option<String> {
        let (name, logical) = (&self.name, self.logical.as_ref()?);
        let value = value(logical, cell)?;
        if !matches!(logical, Logical::Text { .. } | Logical::Enum { .. } | Logical::Set { .. }) {
            return Some(format!("{name} = {value}"));
        }
        let exact = format!("CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin = {value} COLLATE utf8mb4_bin");
        let text = std::str::from_utf8(cell).ok()?;
        let is_ambiguous = self.charset.as_ref().is_some_and(|charset| charset.is_ambiguous(text));
        Some(if is_ambiguous { exact } else { format!("{name} = {value} AND {exact}") })
    }
}

/// The statements that give the rows of these keys, each row once.
pub(super) fn statements(table: &TablePlan, keys: &KeySet, charsets: &Charsets) -> Vec<String> {
    let parts: Vec<Part> = key_of(table).map(|column| Part::of(column, charsets)).collect();
    let conditions: Vec<String> = keys
        .iter()
        .map(|key| {
            let cells: Vec<String> = parts.iter().zip(key).filter_map(|(part, cell)| part.equals(cell)).collect();
            format!("({})", cells.join(" AND "))
        })
        .collect();
    conditions.chunks(KEYS).map(|some| format!("{} WHERE {}", select(table), some.join(" OR "))).collect()
}

/// All rows of a table, in the order of the plan's columns.
pub(super) fn select(table: &TablePlan) -> String {
    let columns: Vec<String> =
        table.columns.iter().map(|column| expression(&table.source.columns[column.source])).collect();
    format!("SELECT {} FROM {}", columns.join(", "), quoted_table(table.name()))
}

/// A column as it is read.
fn expression(column: &Column) -> String {
    let native = ColumnNative::of(column).unwrap_or_default();
    let name = quoted(&column.name);
    match charset::of_texts(&native) {
        Some(charset) if charset::is_read_as_bytes(charset) => format!("CONVERT({name} USING binary)"),
        _ => name,
    }
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
    use std::sync::Arc;

    use super::*;
    use crate::charset::Tree;

    #[test]
    fn keys_become_literals_of_their_type() {
        let part = |logical: &Logical| Part { name: "k".to_owned(), logical: Some(logical.clone()), charset: None };
        let of = |logical: &Logical, cell: &[u8]| part(logical).equals(cell).unwrap();
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
        assert_eq!(part(&Logical::Float64).equals(&[0; 8]), None);
    }
    #[test]
    fn a_text_of_which_a_column_may_have_others_is_looked_for_without_the_index() {
        let roman = [(vec![0x87, 0x54], 'Ⅰ'), (vec![0xFA, 0x4A], 'Ⅰ'), (vec![0x41], 'A')];
        let charset = Some(Charset::Told(Arc::new(Tree::of(roman, false))));
        let part = Part { name: "k".to_owned(), logical: Some(Logical::Text { length: None }), charset };
        assert!(part.equals(b"A").unwrap().starts_with("k = 'A' AND"));
        assert!(part.equals("Ⅰ".as_bytes()).unwrap().starts_with("CONVERT(k USING utf8mb4)"));
    }
}
