//! Tables cut into chunks by ranges of their key: one whole number by ranges of one width, other keys by every so many rows,
//! for which the key is read once from its beginning to its end. Tables without a key are read by partition, or as one: a load of
//! theirs that was interrupted begins anew, so that it does not matter which rows were in which partition then.

use serde::{Deserialize, Serialize};
use wavemark_connector::source::ChunkRange;
use wavemark_domain::{Column, Logical, Problem, TablePlan};

use crate::charset;
use crate::native::ColumnNative;
use crate::sql::{quoted, quoted_table};
use crate::wire::{Connection, Row};
use crate::{encoding, error};

/// The most chunks of one table.
const MOST: u64 = 10_000;

/// A key as literals, column by column.
type Key = Vec<String>;

/// A range of keys: the first that is in it, and the first that isn't any more. Of the outermost one side is open, for
/// rows that have come since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Keys {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<Key>,
    /// The partition that it is instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
}

impl Keys {
    fn to_range(&self) -> ChunkRange {
        ChunkRange(serde_json::json!(self).to_string())
    }
}

/// The columns of a table's key with what they hold; `None` if it has none, or one that is not cut by.
fn columns(table: &TablePlan) -> Option<Vec<(&Column, Logical)>> {
    let of = |name: &String| {
        let column = table.source.columns.iter().find(|column| column.name == *name)?;
        let logical = encoding::logical(column)?;
        let is_exact = !matches!(logical, Logical::Float32 | Logical::Float64 | Logical::Bits { .. } | Logical::Json);
        // Labels stand in the order of their numbers, and are compared as texts: ranges of them would overlap.
        let is_ordered = !matches!(logical, Logical::Enum { .. } | Logical::Set { .. });
        (is_exact && is_ordered).then_some((column, logical))
    };
    let columns: Vec<_> = table.source.key.iter().map(of).collect::<Option<_>>()?;
    (!columns.is_empty()).then_some(columns)
}

/// The chunks of a table, of about so many bytes each.
pub(super) async fn cut(control: &mut Connection, table: &TablePlan, bytes: u64) -> Result<Vec<ChunkRange>, Problem> {
    let count = table.source.bytes_estimated.unwrap_or(0).div_ceil(bytes.max(1)).clamp(1, MOST);
    if count > 1 && table.is_keyless() {
        let partitions = partitions(control, table).await?;
        if partitions.len() > 1 {
            let keys = |partition| Keys { partition: Some(partition), ..Keys::default() };
            return Ok(partitions.into_iter().map(keys).map(|keys| keys.to_range()).collect());
        }
    }
    let borders = match columns(table).filter(|_| count > 1) {
        None => Vec::new(),
        Some(columns) => match columns.as_slice() {
            [(key, Logical::Int16 | Logical::Int32 | Logical::Int64 | Logical::Uint64)] => {
                whole(control, table, &key.name, count).await?
            }
            columns => every(control, table, columns, count).await?,
        },
    };
    Ok(ranges(borders).iter().map(Keys::to_range).collect())
}

/// The names of a table's partitions; none of those by the time at which rows were valid, which say otherwise what is in them.
async fn partitions(control: &mut Connection, table: &TablePlan) -> Result<Vec<String>, Problem> {
    let sql = format!(
        "SELECT DISTINCT partition_name FROM information_schema.partitions WHERE table_schema = {} AND table_name = {} \
         AND partition_name IS NOT NULL AND partition_method <> 'SYSTEM_TIME' ORDER BY 1",
        crate::sql::literal(&table.name().schema),
        crate::sql::literal(&table.name().table)
    );
    let rows = control.query(&sql).await;
    let rows =
        rows.map_err(|cause| error::problem(&cause, "look for the partitions of a table").table(table.name()))?;
    Ok(rows.iter().filter_map(|row| row.text(0)).collect())
}

async fn ask(control: &mut Connection, table: &TablePlan, sql: &str) -> Result<Option<Row>, Problem> {
    let rows = control.query(sql).await;
    let rows = rows.map_err(|cause| error::problem(&cause, "cut a table into chunks").table(table.name()))?;
    Ok(rows.into_iter().next())
}

/// Borders of one width between the least and the highest number.
async fn whole(control: &mut Connection, table: &TablePlan, key: &str, count: u64) -> Result<Vec<Key>, Problem> {
    let key = quoted(key);
    let sql = format!("SELECT MIN({key}), MAX({key}) FROM {}", quoted_table(table.name()));
    let row = ask(control, table, &sql).await?;
    let ends = row.and_then(|row| Some((row.number(0)?, row.number(1)?)));
    Ok(ends.map_or_else(Vec::new, |(least, most)| borders(least, most, count)))
}

fn borders(least: i128, most: i128, count: u64) -> Vec<Key> {
    let width = ((most - least) / i128::from(count)).max(0) + 1;
    let borders = (1..i128::from(count)).map(|at| least + at * width).take_while(|border| *border <= most);
    borders.map(|border| vec![border.to_string()]).collect()
}

/// A border after every so many rows.
async fn every(
    control: &mut Connection,
    table: &TablePlan,
    columns: &[(&Column, Logical)],
    count: u64,
) -> Result<Vec<Key>, Problem> {
    let step = (table.source.rows_estimated.unwrap_or(0) / count).max(1);
    let literals: Vec<String> = columns.iter().map(|(column, logical)| literal(column, logical)).collect();
    let names: Vec<String> = columns.iter().map(|(column, _)| quoted(&column.name)).collect();
    let mut borders: Vec<Key> = Vec::new();
    while borders.len() < usize::try_from(MOST).unwrap_or(usize::MAX) {
        let beyond = borders.last().map_or_else(String::new, |last| format!(" WHERE {}", at_least(&names, last)));
        let sql = format!(
            "SELECT {} FROM {}{beyond} ORDER BY {} LIMIT 1 OFFSET {step}",
            literals.join(", "),
            quoted_table(table.name()),
            names.join(", ")
        );
        let Some(row) = ask(control, table, &sql).await? else { break };
        let key: Option<Key> = (0..columns.len()).map(|at| row.text(at)).collect();
        borders.extend(key);
    }
    Ok(borders)
}

/// The expression that gives a column's value as a literal.
fn literal(column: &Column, logical: &Logical) -> String {
    let name = quoted(&column.name);
    let charset = ColumnNative::of(column).unwrap_or_default().charset.unwrap_or_default();
    match logical {
        Logical::Int16 | Logical::Int32 | Logical::Int64 | Logical::Uint64 | Logical::Decimal { .. } => name,
        Logical::Bytes => format!("CONCAT('x''', HEX({name}), '''')"),
        // As it is there: what can't be converted to and fro would be compared in another order.
        Logical::Text { .. } if charset::is_read_as_bytes(&charset) => {
            format!("CONCAT('_{charset} x''', HEX({name}), '''')")
        }
        Logical::Text { .. } => {
            format!("CONCAT('_utf8mb4 x''', HEX(CONVERT({name} USING utf8mb4)), '''')")
        }
        _ => format!("QUOTE({name})"),
    }
}

/// The ranges between borders; together they have every key.
fn ranges(borders: Vec<Key>) -> Vec<Keys> {
    let from = std::iter::once(None).chain(borders.clone().into_iter().map(Some));
    let below = borders.into_iter().map(Some).chain(std::iter::once(None));
    from.zip(below).map(|(from, below)| Keys { from, below, partition: None }).collect()
}

/// That a key is at least another, column by column, as the server orders it.
fn at_least(names: &[String], key: &[String]) -> String {
    match (names, key) {
        ([name], [value, ..]) => format!("{name} >= {value}"),
        ([name, names @ ..], [value, key @ ..]) => {
            format!("({name} > {value} OR ({name} = {value} AND {}))", at_least(names, key))
        }
        _ => "TRUE".to_owned(),
    }
}

/// What a chunk's rows have in common, to be put behind a SELECT from the table.
pub(super) fn condition(table: &TablePlan, range: &ChunkRange) -> Result<String, Problem> {
    let keys: Keys = serde_json::from_str(&range.0)
        .map_err(|error| Problem::internal(format!("A chunk can't be read: {error}.")).table(table.name()))?;
    if let Some(partition) = keys.partition {
        return Ok(format!(" PARTITION ({})", quoted(&partition)));
    }
    let names: Vec<String> = table.source.key.iter().map(|name| quoted(name)).collect();
    let from = keys.from.map(|from| at_least(&names, &from));
    let below = keys.below.map(|below| format!("NOT ({})", at_least(&names, &below)));
    let sides: Vec<String> = from.into_iter().chain(below).collect();
    Ok(if sides.is_empty() { String::new() } else { format!(" WHERE {}", sides.join(" AND ")) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::examples::{self, column, int};

    #[test]
    fn ranges_have_every_key_once() {
        for (least, most, count) in [(1, 10, 3), (-5, 5, 4), (7, 7, 5), (0, i128::from(u64::MAX), 10), (1, 2, 9)] {
            let ranges = ranges(borders(least, most, count));
            assert!(ranges.len() <= usize::try_from(count).unwrap());
            assert_eq!((&ranges[0].from, &ranges.last().unwrap().below), (&None, &None));
            for pair in ranges.windows(2) {
                assert!(pair[0].below.is_some());
                assert_eq!(pair[0].below, pair[1].from);
            }
        }
        assert_eq!(borders(1, 10, 3), [["5"], ["9"]]);
    }

    fn plan(key: &[&str]) -> TablePlan {
        let labels = |data_type| json!({"data_type": data_type, "labels": ["b", "a"], "charset": "utf8mb4"});
        let (kind, marks) = (column("kind", labels("enum")), column("marks", labels("set")));
        examples::plan(vec![int("id"), kind, marks], key)
    }

    #[test]
    fn keys_of_labels_are_not_cut_by() {
        assert!(columns(&plan(&["id"])).is_some());
        for key in [&["kind"][..], &["id", "kind"], &["marks", "id"]] {
            assert!(columns(&plan(key)).is_none(), "{key:?}");
        }
    }

    #[test]
    fn a_range_is_stored_as_json() {
        let keys = Keys { from: Some(vec!["5".to_owned()]), ..Keys::default() };
        assert_eq!(keys.to_range().0, r#"{"from":["5"]}"#);
        assert_eq!(serde_json::from_str::<Keys>("{}").unwrap(), Keys::default());
    }

    #[test]
    fn a_key_of_several_columns_is_compared_column_by_column() {
        let names = ["a".to_owned(), "b".to_owned()];
        let key = ["1".to_owned(), "x'00'".to_owned()];
        assert_eq!(at_least(&names, &key), "(a > 1 OR (a = 1 AND b >= x'00'))");
    }
}
