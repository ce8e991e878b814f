//! Tables cut into chunks: by ranges of a key that is one whole number. Others are read as one.

use serde::{Deserialize, Serialize};
use wavemark_connector::source::ChunkRange;
use wavemark_domain::{Logical, Problem, TablePlan};

use super::begin::{quoted, quoted_table};
use crate::wire::Connection;
use crate::{encoding, error};

/// The most chunks of one table.
const MOST: u64 = 10_000;

/// A range of keys: the first that is in it, and the first that isn't any more. Of the outermost one side is open, for
/// rows that have come since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Keys {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<i128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<i128>,
}

impl Keys {
    fn to_range(&self) -> ChunkRange {
        ChunkRange(serde_json::json!(self).to_string())
    }
}

/// The name of the key's column, if it is one by whose ranges the table is cut.
fn column(table: &TablePlan) -> Option<&str> {
    let [name] = table.source.key.as_slice() else { return None };
    let column = table.source.columns.iter().find(|column| column.name == *name)?;
    let is_whole =
        matches!(encoding::logical(column)?, Logical::Int16 | Logical::Int32 | Logical::Int64 | Logical::Uint64);
    is_whole.then_some(name.as_str())
}

/// The chunks of a table, of about so many bytes each.
pub(super) async fn cut(control: &mut Connection, table: &TablePlan, bytes: u64) -> Result<Vec<ChunkRange>, Problem> {
    let whole = vec![Keys::default().to_range()];
    let count = table.source.bytes_estimated.unwrap_or(0).div_ceil(bytes.max(1)).clamp(1, MOST);
    let Some(key) = column(table).filter(|_| count > 1) else { return Ok(whole) };
    let key = quoted(key);
    let sql = format!("SELECT MIN({key}), MAX({key}) FROM {}", quoted_table(table.name()));
    let rows = control.query(&sql).await;
    let rows = rows.map_err(|cause| error::problem(&cause, "cut a table into chunks").table(table.name()))?;
    let ends = rows.first().and_then(|row| Some((row.number(0)?, row.number(1)?)));
    Ok(ends.map_or(whole, |(least, most)| ranges(least, most, count).iter().map(Keys::to_range).collect()))
}

/// Ranges of one width that together have every key.
fn ranges(least: i128, most: i128, count: u64) -> Vec<Keys> {
    let width = ((most - least) / i128::from(count)).max(0) + 1;
    let borders: Vec<i128> =
        (1..i128::from(count)).map(|at| least + at * width).take_while(|border| *border <= most).collect();
    let from = std::iter::once(None).chain(borders.iter().copied().map(Some));
    let below = borders.iter().copied().map(Some).chain(std::iter::once(None));
    from.zip(below).map(|(from, below)| Keys { from, below }).collect()
}

/// What a chunk's rows have in common, to be put behind a SELECT.
pub(super) fn condition(table: &TablePlan, range: &ChunkRange) -> Result<String, Problem> {
    let keys: Keys = serde_json::from_str(&range.0)
        .map_err(|error| Problem::internal(format!("A chunk can't be read: {error}.")).table(table.name()))?;
    let key = column(table).map(quoted).unwrap_or_default();
    let sides = [keys.from.map(|from| format!("{key} >= {from}")), keys.below.map(|below| format!("{key} < {below}"))];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    Ok(if sides.is_empty() { String::new() } else { format!(" WHERE {}", sides.join(" AND ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_every_key_once() {
        for (least, most, count) in [(1, 10, 3), (-5, 5, 4), (7, 7, 5), (0, i128::from(u64::MAX), 10), (1, 2, 9)] {
            let ranges = ranges(least, most, count);
            assert!(ranges.len() <= usize::try_from(count).unwrap());
            assert_eq!((ranges[0].from, ranges.last().unwrap().below), (None, None));
            for pair in ranges.windows(2) {
                assert!(pair[0].below.is_some());
                assert_eq!(pair[0].below, pair[1].from);
                assert!(pair[0].from < pair[0].below);
            }
        }
    }

    #[test]
    fn a_range_is_stored_as_json() {
        let keys = Keys { from: Some(5), below: None };
        assert_eq!(keys.to_range().0, r#"{"from":5}"#);
        assert_eq!(serde_json::from_str::<Keys>("{}").unwrap(), Keys::default());
    }
}
